/* SPDX-License-Identifier: Apache-2.0 */
/* The kernel's devices, read from sysfs. As discovery/sysfs.py. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define ATTRIBUTE_MAX 4096 /* sysfs gives one page */

/* ---- order ---------------------------------------------------------------------------------- */

static size_t digits(const char *text)
{
    return strspn(text, "0123456789");
}

bool all_digits(const char *text)
{
    return *text && !text[digits(text)];
}

static int compare_runs(const char *a, size_t a_len, const char *b, size_t b_len)
{
    int order = memcmp(a, b, a_len < b_len ? a_len : b_len);

    return order ? order : (a_len > b_len) - (a_len < b_len);
}

static int compare_numbers(const char *a, size_t a_len, const char *b, size_t b_len)
{
    for (; a_len && *a == '0'; a_len--)
        a++;
    for (; b_len && *b == '0'; b_len--)
        b++;
    return a_len != b_len ? (a_len > b_len) - (a_len < b_len) : memcmp(a, b, a_len);
}

int natural_compare(const char *a, const char *b)
{
    while (*a || *b) {
        size_t a_len = strcspn(a, "0123456789"), b_len = strcspn(b, "0123456789");
        int order = compare_runs(a, a_len, b, b_len);
        if (order)
            return order;
        a += a_len;
        b += b_len;
        a_len = digits(a);
        b_len = digits(b);
        if (!a_len || !b_len)
            return (a_len > 0) - (b_len > 0);
        order = compare_numbers(a, a_len, b, b_len);
        if (order)
            return order;
        a += a_len;
        b += b_len;
    }
    return 0;
}

static int compare_names(const void *a, const void *b)
{
    const char *const *first = a, *const *second = b;

    return natural_compare(*first, *second);
}

const char **tree_names(struct tree *tree, const char *folder)
{
    static const char *nothing[] = {NULL};
    DIR *dir = opendir(folder);
    size_t count = 0, room = 64;
    const char **names;
    struct dirent *entry;

    names = dir ? arena_take(tree->arena, room * sizeof(*names)) : NULL;
    while (names && (entry = readdir(dir))) {
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        if (count + 1 == room) {
            const char **larger = arena_take(tree->arena, room * 2 * sizeof(*names));
            if (larger)
                memcpy(larger, names, count * sizeof(*names));
            names = larger;
            room *= 2;
            if (!names)
                break;
        }
        names[count++] = arena_text(tree->arena, entry->d_name, strlen(entry->d_name));
    }
    if (dir)
        closedir(dir);
    if (!names)
        return nothing;
    qsort(names, count, sizeof(*names), compare_names);
    return names;
}

/* ---- files ---------------------------------------------------------------------------------- */

static ssize_t read_file(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    ssize_t len;

    if (fd < 0)
        return -1;
    len = read(fd, out, size);
    close(fd);
    return len;
}

/* Without NUL, newline and blank at both ends; the text between, control characters spelt out. */
static const char *cleaned(struct tree *tree, const char *text, size_t len, bool keep_lines)
{
    char out[ATTRIBUTE_MAX * 4 + 1];
    size_t used = 0;

    while (len && (!*text || *text == '\n' || *text == ' ')) {
        text++;
        len--;
    }
    while (len && (!text[len - 1] || text[len - 1] == '\n' || text[len - 1] == ' '))
        len--;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '\n')
            out[used++] = keep_lines ? '\n' : ' ';
        else if (c < 0x20 || c == 0x7f)
            used += (size_t)snprintf(out + used, 5, "\\x%02x", c);
        else
            out[used++] = (char)c;
    }
    return arena_text(tree->arena, out, used);
}

static const char *read_cleaned(struct tree *tree, const char *path, bool keep_lines)
{
    char text[ATTRIBUTE_MAX];
    ssize_t len = read_file(path, text, sizeof(text));

    return len > 0 ? cleaned(tree, text, (size_t)len, keep_lines) : "";
}

const char *tree_read(struct tree *tree, const char *path)
{
    return read_cleaned(tree, path, false);
}

/* ---- devices -------------------------------------------------------------------------------- */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

static const char *kernel_name(struct tree *tree, const char *path)
{
    const char *base = base_of(path);
    char *name = arena_take(tree->arena, strlen(base) + 1);

    if (!name)
        return "";
    strcpy(name, base);
    for (char *at = name; (at = strchr(at, '!'));)
        *at = '/';
    return name;
}

static unsigned hash(const char *text)
{
    unsigned sum = 5381;

    while (*text)
        sum = sum * 33 + (unsigned char)*text++;
    return sum % NODE_CHAINS;
}

struct node *tree_node(struct tree *tree, const char *path)
{
    struct node **chain = &tree->chains[hash(path)], *node;

    for (node = *chain; node; node = node->next)
        if (!strcmp(node->path, path))
            return node;
    node = arena_take(tree->arena, sizeof(*node));
    if (!node)
        return NULL;
    node->path = arena_text(tree->arena, path, strlen(path));
    node->devpath = node->path + strlen(tree->root) + strlen("/sys");
    node->name = kernel_name(tree, path);
    node->subsystem = node_link(tree, node, "subsystem");
    node->next = *chain;
    *chain = node;
    return node;
}

const char *node_attr(struct tree *tree, const struct node *node, const char *name)
{
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s", node->path, name) >= (int)sizeof(path))
        return "";
    return tree_read(tree, path);
}

long long node_integer(struct tree *tree, const struct node *node, const char *name,
                       long long otherwise)
{
    const char *text = node_attr(tree, node, name);
    char *end;
    long long value;

    errno = 0;
    value = strtoll(text, &end, strncmp(text, "0x", 2) ? 10 : 16);
    return *text && !*end && !errno ? value : otherwise;
}

const char *node_link(struct tree *tree, const struct node *node, const char *name)
{
    char path[PATH_MAX], target[PATH_MAX];
    ssize_t len;

    if (snprintf(path, sizeof(path), "%s/%s", node->path, name) >= (int)sizeof(path))
        return "";
    len = readlink(path, target, sizeof(target) - 1);
    if (len <= 0)
        return "";
    target[len] = '\0';
    return arena_text(tree->arena, base_of(target), strlen(base_of(target)));
}

const char *node_property(struct tree *tree, struct node *node, const char *key)
{
    size_t len = strlen(key);
    const char *line;

    if (!node->uevent) {
        char path[PATH_MAX];
        bool fits = snprintf(path, sizeof(path), "%s/uevent", node->path) < (int)sizeof(path);
        node->uevent = fits ? read_cleaned(tree, path, true) : "";
    }
    for (line = node->uevent; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (!strncmp(line, key, len) && line[len] == '=')
            return arena_text(tree->arena, line + len + 1, strcspn(line + len + 1, "\n"));
    }
    return "";
}

const char *node_devnode(struct tree *tree, struct node *node)
{
    const char *name = node_property(tree, node, "DEVNAME");

    return !*name || *name == '/' ? name : arena_print(tree->arena, "/dev/%s", name);
}

static bool is_device(const char *folder)
{
    char path[PATH_MAX];

    return snprintf(path, sizeof(path), "%s/uevent", folder) < (int)sizeof(path) &&
           !access(path, F_OK);
}

struct node *node_parent(struct tree *tree, struct node *node)
{
    size_t top = strlen(tree->root) + strlen("/sys/devices");
    char folder[PATH_MAX];
    char *slash;

    if (node->parent_known)
        return node->parent;
    snprintf(folder, sizeof(folder), "%s", node->path);
    while ((slash = strrchr(folder, '/'))) {
        *slash = '\0';
        if (strlen(folder) <= top)
            break;
        if (is_device(folder)) {
            node->parent = tree_node(tree, folder);
            break;
        }
    }
    node->parent_known = true;
    return node->parent;
}

bool tree_each(struct tree *tree, const char *subsystem,
               bool (*visit)(struct node *node, void *arg), void *arg)
{
    static const char *const places[] = {"%s/sys/bus/%s/devices", "%s/sys/class/%s"};
    char folder[PATH_MAX], path[PATH_MAX], real[PATH_MAX];

    for (size_t i = 0; i < COUNT_OF(places); i++) {
        snprintf(folder, sizeof(folder), places[i], tree->root, subsystem);
        for (const char **name = tree_names(tree, folder); *name; name++) {
            struct node *node;
            if (snprintf(path, sizeof(path), "%s/%s", folder, *name) >= (int)sizeof(path) ||
                !realpath(path, real) || !is_device(real))
                continue;
            node = tree_node(tree, real);
            if (!node || !visit(node, arg))
                return false;
        }
    }
    return !tree->arena->exhausted;
}
