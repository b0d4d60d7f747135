/* SPDX-License-Identifier: Apache-2.0 */
/* Which drivers fit a device, and how well: hal/match.h. As discovery/matching.py. */
#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/match.h>
#include <hal/registry.h>
#include <hal/uri.h>

#include "internal.h"

enum { ID = 60, CLASS = 40, NAMED = 20, SUBSYSTEM = 10, LISTED = 9 };

#define TRAITS_MAX 64

/* What words of match tables are held against. */
struct traits {
    size_t count;
    struct {
        const char *kind, *text;
        int index; /* among those of its kind */
    } all[TRAITS_MAX];
};

static void add(struct traits *traits, const char *kind, const char *text)
{
    int index = 0;

    if (!*text || traits->count == TRAITS_MAX)
        return;
    for (size_t i = 0; i < traits->count; i++)
        index += !strcmp(traits->all[i].kind, kind);
    traits->all[traits->count].kind = kind;
    traits->all[traits->count].text = text;
    traits->all[traits->count++].index = index;
}

/* Each word of `text`, with any of `between` between them. */
static void add_list(struct tree *tree, struct traits *traits, const char *kind, const char *text,
                     const char *between)
{
    while (*(text += strspn(text, between))) {
        size_t len = strcspn(text, between);
        add(traits, kind, arena_text(tree->arena, text, len));
        text += len;
    }
}

static void add_compatible(struct tree *tree, struct traits *traits, struct node *node)
{
    int count = atoi(node_property(tree, node, "OF_COMPATIBLE_N"));

    for (int i = 0; i < count && i < TRAITS_MAX; i++)
        add(traits, "of",
            node_property(tree, node, arena_print(tree->arena, "OF_COMPATIBLE_%d", i)));
}

static const char *upper(struct tree *tree, const char *text)
{
    size_t len = strlen(text);
    char *copy = arena_take(tree->arena, len + 1);

    for (size_t i = 0; copy && i < len; i++)
        copy[i] = (char)toupper((unsigned char)text[i]);
    return copy ? copy : "";
}

/* As the kernel writes it for interfaces; it gives devices none. */
static const char *usb_modalias(struct tree *tree, struct node *node)
{
    static const char *const files[][2] = {{"v", "idVendor"},          {"p", "idProduct"},
                                           {"d", "bcdDevice"},         {"dc", "bDeviceClass"},
                                           {"dsc", "bDeviceSubClass"}, {"dp", "bDeviceProtocol"}};
    const char *alias = "";

    for (size_t i = 0; i < COUNT_OF(files); i++)
        alias = arena_print(tree->arena, "%s%s%s", alias, files[i][0],
                            upper(tree, node_attr(tree, node, files[i][1])));
    return alias;
}

static void add_ids(struct tree *tree, struct traits *traits, struct node *node)
{
    const char *alias = node_property(tree, node, "MODALIAS"), *colon;

    add_compatible(tree, traits, node);
    if (!*alias)
        alias = node_attr(tree, node, "modalias");
    colon = strchr(alias, ':');
    if (!strcmp(node->subsystem, "pnp"))
        add_list(tree, traits, "acpi", node_attr(tree, node, "id"), " \t");
    else if (!strncmp(alias, "acpi:", 5))
        add_list(tree, traits, "acpi", alias + 5, ":");
    if (!strcmp(node->subsystem, "usb") &&
        !strcmp(node_property(tree, node, "DEVTYPE"), "usb_device"))
        add(traits, "usb", usb_modalias(tree, node));
    else if (colon && strncmp(alias, "acpi:", 5) != 0 && strncmp(alias, "of:", 3) != 0)
        add(traits, arena_text(tree->arena, alias, (size_t)(colon - alias)), colon + 1);
}

static void take_traits(struct tree *tree, struct traits *traits, struct node *node)
{
    size_t own;

    add(traits, "subsystem", node->subsystem);
    add(traits, "subsystem", arena_print(tree->arena, "%s/%s", node->subsystem, node->name));
    add(traits, "driver", node_link(tree, node, "driver"));
    own = traits->count;
    for (; node && traits->count == own; node = node_parent(tree, node))
        add_ids(tree, traits, node);
}

/* ---- scores --------------------------------------------------------------------------------- */

static int points(const char *kind, const char *glob, int index)
{
    if (!strcmp(kind, "driver"))
        return NAMED;
    if (!strcmp(kind, "subsystem"))
        return strchr(glob, '/') ? NAMED : SUBSYSTEM;
    if (strchr("*?[", glob[0]) || (glob[1] && strchr("*?[", glob[1])))
        return CLASS;
    if (!strcmp(kind, "of") || !strcmp(kind, "acpi"))
        return ID - (index < LISTED ? index : LISTED);
    return ID;
}

/* One word, KIND:GLOB. */
static int word_score(const char *word, size_t len, const struct traits *traits)
{
    char text[256], *glob;

    snprintf(text, sizeof(text), "%.*s", (int)len, word);
    glob = strchr(text, ':');
    if (!glob)
        return 0;
    *glob++ = '\0';
    for (size_t i = 0; i < traits->count; i++)
        if (!strcmp(traits->all[i].kind, text) && !fnmatch(glob, traits->all[i].text, FNM_NOESCAPE))
            return points(text, glob, traits->all[i].index);
    return 0;
}

static int score(const char *fits, const struct traits *traits)
{
    int best = 0, more = -1;

    while (*fits) {
        size_t len = strcspn(fits, " ");
        int word = word_score(fits, len, traits);
        if (!word)
            return 0;
        if (word > best)
            best = word;
        more++;
        fits += len + (fits[len] == ' ');
    }
    return best ? best + more : 0;
}

/* ---- addresses ------------------------------------------------------------------------------ */

static const char *field(const struct node *node, const struct facts *facts, const char *name,
                         size_t len)
{
    const struct {
        const char *name, *value;
    } fields[] = {{"node", facts->node},       {"name", node->name},  {"bus", facts->bus},
                  {"address", facts->address}, {"chip", facts->chip}, {"bar", facts->bar}};
    const char *number = node->name + strlen(node->name);

    for (size_t i = 0; i < COUNT_OF(fields); i++)
        if (strlen(fields[i].name) == len && !strncmp(fields[i].name, name, len))
            return fields[i].value;
    while (number > node->name && isdigit((unsigned char)number[-1]))
        number--;
    return len == 6 && !strncmp(name, "number", 6) ? number : NULL;
}

struct text {
    char out[HAL_URI_MAX + 1];
    size_t used;
};

static bool put(struct text *text, const char *part, size_t len)
{
    if (len >= sizeof(text->out) - text->used)
        return false;
    memcpy(text->out + text->used, part, len);
    text->used += len;
    text->out[text->used] = '\0';
    return true;
}

static bool put_escaped(struct text *text, const char *part)
{
    for (; *part; part++) {
        bool fits = *part == '%'   ? put(text, "%25", 3)
                    : *part == '?' ? put(text, "%3F", 3)
                                   : put(text, part, 1);
        if (!fits)
            return false;
    }
    return true;
}

/* "driver:" and the address, its fields filled in; false when the device lacks one of them. */
static bool expand(struct text *text, const struct row *row, const struct node *node,
                   const struct facts *facts)
{
    const char *at = row->address;

    text->used = 0;
    if (!put(text, row->driver, strlen(row->driver)) || !put(text, ":", 1))
        return false;
    while (*at) {
        size_t plain = strcspn(at, "{"), len;
        const char *value;
        if (!put(text, at, plain))
            return false;
        at += plain;
        if (!*at)
            break;
        len = strcspn(++at, "}");
        value = field(node, facts, at, len);
        if (!value || !*value || !put_escaped(text, value))
            return false;
        at += len + (at[len] == '}');
    }
    return true;
}

/* ---- the best row --------------------------------------------------------------------------- */

static bool better(int score, const struct row *row, int best_score, const struct row *best)
{
    size_t len = strlen(row->fits), best_len = best ? strlen(best->fits) : 0;

    if (score != best_score)
        return score > best_score;
    if (best && len != best_len)
        return len > best_len;
    return best && strcmp(row->driver, best->driver) < 0;
}

void match_device(struct tree *tree, struct node *node, const struct facts *facts,
                  const struct row *rows, struct hal_discovered *device)
{
    struct traits traits = {0};
    const struct row *best = NULL;
    struct text text;

    device->driver = device->uri = device->why = "";
    take_traits(tree, &traits, node);
    for (; rows; rows = rows->next) {
        int points = score(rows->fits, &traits);
        if (!points || !better(points, rows, device->score, best) ||
            !expand(&text, rows, node, facts))
            continue;
        best = rows;
        device->score = points;
        device->driver = rows->driver;
        device->why = rows->fits;
        device->uri = arena_text(tree->arena, text.out, text.used);
    }
}

/* ---- the tables ----------------------------------------------------------------------------- */

struct tables {
    struct arena *arena;
    struct row **end;
};

static int copy_table(const struct hal_driver_info *info, void *arg)
{
    struct tables *tables = arg;

    for (size_t i = 0; i < info->match_count; i++) {
        const struct hal_match *match = &info->matches[i];
        struct row *row = arena_take(tables->arena, sizeof(*row));
        if (!row)
            return 1;
        row->driver = arena_text(tables->arena, info->name, strlen(info->name));
        row->fits = arena_text(tables->arena, match->fits, strlen(match->fits));
        row->address = arena_text(tables->arena, match->address, strlen(match->address));
        *tables->end = row;
        tables->end = &row->next;
    }
    return 0;
}

int match_rows(struct arena *arena, struct row **out)
{
    struct tables tables = {arena, out};
    long refused = hal_load_drivers();
    int err;

    *out = NULL;
    if (refused < 0)
        return (int)refused;
    err = hal_driver_each(copy_table, &tables);
    return err > 0 ? 0 : err; /* the arena is exhausted then */
}
