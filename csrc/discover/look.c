/* SPDX-License-Identifier: Apache-2.0 */
/* One look at a machine: every source asked, every device described. As discovery/inventory.py. */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

struct looking {
    struct tree tree;
    struct look *look;
    const struct source *source;
    const struct row *rows;
    const char *machine; /* content of /etc/machine-id */
    struct node **nodes; /* of the devices, in the same order */
    size_t room;
};

static bool make_room(struct looking *looking)
{
    struct look *look = looking->look;
    size_t room = looking->room ? looking->room * 2 : 64;
    struct hal_discovered *devices = arena_take(&look->arena, room * sizeof(*devices));
    struct node **nodes = arena_take(&look->arena, room * sizeof(struct node *));

    if (!devices || !nodes)
        return false;
    if (look->count) {
        memcpy(devices, look->devices, look->count * sizeof(*devices));
        memcpy(nodes, looking->nodes, look->count * sizeof(struct node *));
    }
    look->devices = devices;
    looking->nodes = nodes;
    looking->room = room;
    return true;
}

static const char *state_of(const struct looking *looking, const struct facts *facts,
                            const char *driver)
{
    char path[PATH_MAX];

    if (facts->kernel)
        return "kernel";
    if (!*facts->node)
        return *driver || facts->hint ? "no node" : "present";
    if (snprintf(path, sizeof(path), "%s%s", looking->tree.root, facts->node) >=
            (int)sizeof(path) ||
        access(path, F_OK))
        return "no node";
    return faccessat(AT_FDCWD, path, facts->mode, AT_EACCESS) ? "denied" : "ready";
}

static bool describe(struct node *node, void *arg)
{
    struct looking *looking = arg;
    struct look *look = looking->look;
    struct facts facts = {.mode = R_OK | W_OK};
    struct hal_discovered *device;

    if (!looking->source->describe(&looking->tree, node, &facts))
        return true;
    if (look->count == looking->room && !make_room(looking))
        return false;
    if (!facts.node)
        facts.node = "";
    sources_fill(&looking->tree, node, &facts);
    device = &look->devices[look->count];
    looking->nodes[look->count++] = node;
    match_device(&looking->tree, node, &facts, looking->rows, device);
    device->device_class = looking->source->device_class;
    device->subsystem = looking->source->subsystem;
    device->id = identity_derive(&looking->tree, device->device_class, node, looking->machine);
    device->name = node->name;
    device->vendor = facts.vendor;
    device->model = facts.model;
    device->serial = facts.serial;
    device->node = facts.node;
    device->state = state_of(looking, &facts, device->driver);
    device->path = node->devpath;
    device->change = HAL_DISCOVER_ADDED;
    return true;
}

/* ---- devices that claim one identity -------------------------------------------------------- */

struct claim {
    const char *id;
    size_t index;
};

static int compare_claims(const void *a, const void *b)
{
    const struct claim *first = a, *second = b;

    return strcmp(first->id, second->id);
}

typedef const char *(*identity_rule)(struct tree *tree, const char *device_class, struct node *node,
                                     const char *machine);

/* Give those that share an id the one of another rule, all of them. */
static void tell_apart(struct looking *looking, identity_rule rule)
{
    struct look *look = looking->look;
    struct claim *claims = arena_take(&look->arena, (look->count + 1) * sizeof(*claims));

    if (!claims)
        return;
    for (size_t i = 0; i < look->count; i++)
        claims[i] = (struct claim){look->devices[i].id, i};
    qsort(claims, look->count, sizeof(*claims), compare_claims);
    for (size_t i = 0; i < look->count; i++) {
        bool shared = (i && !strcmp(claims[i].id, claims[i - 1].id)) ||
                      (i + 1 < look->count && !strcmp(claims[i].id, claims[i + 1].id));
        struct hal_discovered *device = &look->devices[claims[i].index];
        if (shared)
            device->id = rule(&looking->tree, device->device_class, looking->nodes[claims[i].index],
                              looking->machine);
    }
}

/* ---- the whole ------------------------------------------------------------------------------ */

static size_t class_order(const char *device_class)
{
    size_t i = 0;

    while (i < discover_source_count && strcmp(discover_sources[i].device_class, device_class) != 0)
        i++;
    return i;
}

static int compare_devices(const void *a, const void *b)
{
    const struct hal_discovered *first = a, *second = b;
    size_t x = class_order(first->device_class), y = class_order(second->device_class);

    return x != y ? (x > y) - (x < y) : natural_compare(first->path, second->path);
}

static void keep_wanted(struct look *look, const struct query *query)
{
    size_t kept = 0;

    for (size_t i = 0; i < look->count; i++)
        if (query_holds(query, &look->devices[i]))
            look->devices[kept++] = look->devices[i];
    look->count = kept;
}

static int take(struct looking *looking, const char *root, const struct query *query)
{
    struct look *look = looking->look;
    struct row *rows;
    char real[PATH_MAX];
    int err;

    if (!realpath(root, real))
        return -errno;
    looking->tree.arena = &look->arena;
    looking->tree.root = strcmp(real, "/") ? arena_text(&look->arena, real, strlen(real)) : "";
    err = match_rows(&look->arena, &rows);
    if (err)
        return err;
    looking->rows = rows;
    looking->machine = tree_read(
        &looking->tree, arena_print(&look->arena, "%s/etc/machine-id", looking->tree.root));
    for (size_t i = 0; i < discover_source_count; i++) {
        looking->source = &discover_sources[i];
        if (!tree_each(&looking->tree, looking->source->subsystem, describe, looking))
            return -ENOMEM;
    }
    tell_apart(looking, identity_place);
    tell_apart(looking, identity_path);
    if (look->arena.exhausted)
        return -ENOMEM;
    if (look->count)
        qsort(look->devices, look->count, sizeof(*look->devices), compare_devices);
    keep_wanted(look, query);
    return 0;
}

int look_take(struct look *look, const char *root, const struct query *query)
{
    struct looking *looking = calloc(1, sizeof(*looking));
    int err = -ENOMEM;

    memset(look, 0, sizeof(*look));
    if (looking) {
        looking->look = look;
        err = take(looking, root, query);
    }
    free(looking);
    if (err)
        look_free(look);
    return err;
}

void look_free(struct look *look)
{
    arena_free(&look->arena);
    look->devices = NULL;
    look->count = 0;
}
