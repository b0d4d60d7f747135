/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of libhal-discover share; nothing here is exported. The rules are those of
 * discovery/ in Python, file by file, and tests hold the two against each other. */
#ifndef HAL_DISCOVER_INTERNAL_H
#define HAL_DISCOVER_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hal/discover.h>

#define COUNT_OF(array) (sizeof(array) / sizeof((array)[0]))

/* ---- arena.c: memory of one look, freed as a whole ---- */

struct block;

struct arena {
    struct block *blocks;
    bool exhausted; /* something did not fit into memory: the look is void */
};

/* Zeroed; when there is no memory, NULL, and the arena is exhausted. */
void *arena_take(struct arena *arena, size_t size);
/* Never NULL: "" when there is no memory. */
const char *arena_text(struct arena *arena, const char *text, size_t len);
__attribute__((format(printf, 2, 3))) const char *arena_print(struct arena *arena,
                                                              const char *format, ...);
void arena_free(struct arena *arena);

/* ---- sysfs.c: the kernel's devices ---- */

/* One device folder. */
struct node {
    const char *path;      /* links resolved, the machine's root included */
    const char *devpath;   /* behind .../sys */
    const char *name;      /* the kernel's, with '/' for '!' */
    const char *subsystem; /* "" for a folder that only groups others */
    const char *uevent;    /* lines; NULL: not read yet */
    struct node *parent;
    bool parent_known;
    struct node *next; /* of the same hash */
};

#define NODE_CHAINS 256

struct tree {
    struct arena *arena;
    const char *root; /* without a slash at its end */
    struct node *chains[NODE_CHAINS];
    const char *siblings_of; /* the folder that was listed last to tell its devices apart */
    const char **siblings;
};

/* The device whose folder is `path`; NULL when there is no memory. */
struct node *tree_node(struct tree *tree, const char *path);
/* A small file's text as one line, control characters spelt out; "" when there is none. */
const char *tree_read(struct tree *tree, const char *path);
/* The devices of a bus or class; false: no memory. */
bool tree_each(struct tree *tree, const char *subsystem,
               bool (*visit)(struct node *node, void *arg), void *arg);
/* What a folder holds, in natural order, ended by NULL. */
const char **tree_names(struct tree *tree, const char *folder);

const char *node_attr(struct tree *tree, const struct node *node, const char *name);
/* An attribute that is a number; `otherwise` when it is none. */
long long node_integer(struct tree *tree, const struct node *node, const char *name,
                       long long otherwise);
const char *node_link(struct tree *tree, const struct node *node, const char *name);
const char *node_property(struct tree *tree, struct node *node, const char *key);
/* "/dev/ttyS0"; "" when there is none. */
const char *node_devnode(struct tree *tree, struct node *node);
struct node *node_parent(struct tree *tree, struct node *node);

/* "tty2" before "tty10". */
int natural_compare(const char *a, const char *b);
bool all_digits(const char *text);

/* ---- uuid.c ---- */

/* The UUID of version 5 (RFC 9562) of a text in the project's name space, 36 letters. */
const char *uuid_of(struct arena *arena, const char *text);

/* ---- identity.c ---- */

/* Id by the number that the device, or what it hangs on, carries; else by its place. */
const char *identity_derive(struct tree *tree, const char *device_class, struct node *node,
                            const char *machine);
const char *identity_place(struct tree *tree, const char *device_class, struct node *node,
                           const char *machine);
const char *identity_path(struct tree *tree, const char *device_class, struct node *node,
                          const char *machine);

/* ---- sources.c ---- */

/* What a describing function found out. NULL: nothing. */
struct facts {
    const char *vendor, *model, *serial;
    const char *node;
    int mode;    /* access(2): how the node is opened */
    bool kernel; /* it belongs to the kernel */
    bool hint;   /* there is a way to get a node */
    const char *bus, *address, *chip, *bar;
};

struct source {
    const char *device_class;
    const char *subsystem;
    /* False: this is no device of that class. */
    bool (*describe)(struct tree *tree, struct node *node, struct facts *facts);
};

extern const struct source discover_sources[];
extern const size_t discover_source_count;

/* Vendor, model and serial number of the hardware, where they are not known yet. */
void sources_fill(struct tree *tree, struct node *node, struct facts *facts);

/* ---- match.c ---- */

/* One row of one driver's table. */
struct row {
    const char *driver, *fits, *address;
    struct row *next;
};

/* The tables of all drivers; plug-ins are loaded for it. */
int match_rows(struct arena *arena, struct row **out);
/* Fill in driver, uri, why and score of the best row. */
void match_device(struct tree *tree, struct node *node, const struct facts *facts,
                  const struct row *rows, struct hal_discovered *device);

/* ---- query.c ---- */

#define QUERY_WORDS 32

struct query {
    size_t count;
    struct {
        const char *key; /* "": a word alone */
        const char *pattern;
    } words[QUERY_WORDS];
    char text[1024];
};

int query_parse(const char *text, struct query *query);
bool query_holds(const struct query *query, const struct hal_discovered *device);

/* ---- look.c ---- */

/* The devices of one look at a machine, by class and path. */
struct look {
    struct arena arena;
    struct hal_discovered *devices;
    size_t count;
};

int look_take(struct look *look, const char *root, const struct query *query);
void look_free(struct look *look);

/* ---- uevent.c ---- */

/* Does a message of the kernel's, or of udevd, concern a device that may be listed? Any bytes will
 * do. */
bool uevent_concerns(const char *message, size_t len);

#endif
