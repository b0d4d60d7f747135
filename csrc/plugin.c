/* SPDX-License-Identifier: Apache-2.0 */
/* Drivers in shared objects: where they are looked for, how they are judged and loaded. */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

#define LOAD "load driver"
#define SUFFIX ".so"
#define DRIVERS "/hal/drivers"

/* Why a plug-in file could not be used; the last word on each path. */
struct refusal {
    char *path;
    char *reason;
    struct refusal *next;
};

static struct refusal *refusals;
static pthread_mutex_t refusals_lock = PTHREAD_MUTEX_INITIALIZER;
/* Held while a plug-in is loaded; recursive, since its constructors may register drivers. */
static pthread_mutex_t load_lock = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

/* ---- the search path ------------------------------------------------------------------------ */

static char own_dir[PATH_MAX];

/* The folder that the library lies in, made absolute: the program may go elsewhere. */
__attribute__((constructor)) static void find_own_dir(void)
{
    char folder[PATH_MAX], real[PATH_MAX];
    Dl_info info;
    const char *slash;

    if (!dladdr((const void *)&own_dir, &info) || !info.dli_fname)
        return;
    slash = strrchr(info.dli_fname, '/');
    snprintf(folder, sizeof(folder), "%.*s", slash ? (int)(slash - info.dli_fname) : 1,
             slash ? info.dli_fname : ".");
    if (*folder != '/' && realpath(folder, real))
        strcpy(folder, real);
    if (strlen(folder) + sizeof(DRIVERS) <= sizeof(own_dir))
        strcat(strcpy(own_dir, folder), DRIVERS);
}

const char *hal_driver_dir(void)
{
    return own_dir;
}

/* A folder by the one name that it has; as it is when it does not exist. */
static void resolve(const char *folder, char out[PATH_MAX])
{
    if (!realpath(folder, out))
        snprintf(out, PATH_MAX, "%s", folder);
}

/* The first folder of a search path to out, "" when there is none; what is behind it. */
static const char *take_folder(const char *path, char out[PATH_MAX])
{
    size_t len = strcspn(path, ":");
    char folder[PATH_MAX];

    *out = '\0';
    if (len && len < sizeof(folder)) {
        snprintf(folder, sizeof(folder), "%.*s", (int)len, path);
        resolve(folder, out);
    }
    return path + len + (path[len] == ':');
}

static bool came_before(const char *folder, const char *path, const char *end)
{
    char other[PATH_MAX];

    while (path < end) {
        path = take_folder(path, other);
        if (!strcmp(folder, other))
            return true;
    }
    return false;
}

typedef int (*folder_visitor)(const char *folder, void *arg);

/* Each folder of the search path, once, until the visitor returns something else than 0. */
static int each_folder(folder_visitor visit, void *arg)
{
    const char *set = secure_getenv("HAL_DRIVER_PATH"), *path = set ? set : "", *at = path;
    char folder[PATH_MAX];
    int result = 0;

    while (*at && !result) {
        const char *before = at;
        at = take_folder(at, folder);
        if (*folder && !came_before(folder, path, before))
            result = visit(folder, arg);
    }
    resolve(own_dir, folder);
    return result || !*folder || came_before(folder, path, at) ? result : visit(folder, arg);
}

struct text {
    char *out;
    size_t size, used;
};

static int append_folder(const char *folder, void *arg)
{
    struct text *text = arg;

    if (text->used < text->size)
        text->used += (size_t)snprintf(text->out + text->used, text->size - text->used, "%s%s",
                                       text->used ? ", " : "", folder);
    return 0;
}

void plugin_path_text(char *out, size_t size)
{
    struct text text = {out, size, 0};

    *out = '\0';
    each_folder(append_folder, &text);
}

/* ---- refusals ------------------------------------------------------------------------------- */

static struct refusal **refusal_at(const char *path)
{
    struct refusal **at = &refusals;

    while (*at && strcmp((*at)->path, path) != 0)
        at = &(*at)->next;
    return at;
}

static void forget_refusal(const char *path)
{
    struct refusal *gone, **at;

    pthread_mutex_lock(&refusals_lock);
    at = refusal_at(path);
    gone = *at;
    if (gone)
        *at = gone->next;
    pthread_mutex_unlock(&refusals_lock);
    if (gone) {
        free(gone->path);
        free(gone->reason);
        free(gone);
    }
}

static void remember_refusal(const char *path, const char *reason)
{
    struct refusal *entry = calloc(1, sizeof(*entry));

    forget_refusal(path);
    if (!entry)
        return;
    entry->path = strdup(path);
    entry->reason = strdup(reason);
    if (!entry->path || !entry->reason) {
        free(entry->path);
        free(entry->reason);
        free(entry);
        return;
    }
    pthread_mutex_lock(&refusals_lock);
    entry->next = refusals;
    refusals = entry;
    pthread_mutex_unlock(&refusals_lock);
}

static char *refusal_of(const char *path)
{
    struct refusal *entry;
    char *reason = NULL;

    pthread_mutex_lock(&refusals_lock);
    entry = *refusal_at(path);
    if (entry)
        reason = strdup(entry->reason);
    pthread_mutex_unlock(&refusals_lock);
    return reason;
}

/* ---- loading -------------------------------------------------------------------------------- */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');

    return slash ? slash + 1 : path;
}

/* Is it called ".so" at all? */
static bool has_suffix(const char *base)
{
    size_t len = strlen(base);

    return *base != '.' && len > strlen(SUFFIX) && !strcmp(base + len - strlen(SUFFIX), SUFFIX);
}

/* "dir/NAME.so" -> NAME; false when the file is not called so. */
static bool stem_of(const char *path, char name[HAL_NAME_MAX + 1])
{
    const char *base = base_of(path);
    size_t len;

    if (!has_suffix(base))
        return false;
    len = strlen(base) - strlen(SUFFIX);
    if (len > HAL_NAME_MAX)
        return false;
    snprintf(name, HAL_NAME_MAX + 1, "%.*s", (int)len, base);
    return name_check(name) == 0;
}

static int judge(const struct hal_plugin *plugin, const char *path)
{
    char stem[HAL_NAME_MAX + 1];

    if (!plugin || plugin->magic != HAL_PLUGIN_MAGIC)
        return hal_fail_plain(-ENOEXEC, LOAD, path,
                              "it has no entry symbol hal_plugin made by "
                              "HAL_PLUGIN()");
    if (plugin->abi != HAL_ABI_VERSION)
        return hal_fail_plain(-EPROTONOSUPPORT, LOAD, path,
                              "it was built for ABI %u, this is libhal %s with ABI %u; rebuild it",
                              plugin->abi, hal_version_string(), HAL_ABI_VERSION);
    if (!plugin->name || !stem_of(path, stem) || strcmp(stem, plugin->name) != 0)
        return hal_fail_plain(-ENOEXEC, LOAD, path,
                              "it says it is driver \"%s\"; the file must be called NAME.so",
                              plugin->name ? plugin->name : "NULL");
    return 0;
}

/* The path lives as long as the driver: for ever. */
static int register_plugin(const struct hal_plugin *plugin, const char *path)
{
    char *kept = strdup(path);
    int err;

    if (!kept)
        return -ENOMEM;
    err = driver_register(plugin->name, plugin->ops, plugin->ops_size, plugin->abi, kept,
                          plugin->version);
    if (!err)
        return 0;
    free(kept);
    return err == -ENOMEM ? err : hal_fail_plain(err, LOAD, path, "%s", hal_last_error());
}

static int load_file(const char *path)
{
    unsigned registrations = driver_registrations();
    const struct hal_plugin *plugin;
    char name[HAL_NAME_MAX + 1];
    void *object;
    int err;

    if (stem_of(path, name) && driver_is_from(name, path))
        return 0;
    if (access(path, F_OK))
        return hal_fail(-ENOENT, LOAD, path, NULL);
    object = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!object)
        return hal_fail_plain(-ENOEXEC, LOAD, path, "%s", dlerror());
    plugin = dlsym(object, "hal_plugin");
    err = judge(plugin, path);
    if (!err)
        err = register_plugin(plugin, path);
    /* Drivers that its constructors registered are its code: then it stays, refused or not. */
    if (err && driver_registrations() == registrations)
        dlclose(object);
    return err;
}

/* Load a file and remember the verdict. */
static int try_file(const char *path)
{
    int err;

    pthread_mutex_lock(&load_lock);
    err = load_file(path);
    if (err)
        remember_refusal(path, hal_last_error());
    else
        forget_refusal(path);
    pthread_mutex_unlock(&load_lock);
    return err;
}

/* A file is known by its folder's one name, and by its own, which names the driver. */
static int known_path(const char *path, char out[PATH_MAX])
{
    const char *base = base_of(path);
    char folder[PATH_MAX], real[PATH_MAX];

    if (!*base)
        return -ENOENT;
    if (strlen(path) >= sizeof(folder))
        return -ENAMETOOLONG;
    snprintf(folder, sizeof(folder), "%.*s", (int)(base - path), path);
    if (!realpath(*folder ? folder : ".", real))
        return -errno;
    return snprintf(out, PATH_MAX, "%s/%s", real, base) < PATH_MAX ? 0 : -ENAMETOOLONG;
}

int hal_load_driver(const char *path)
{
    uint32_t mark = error_begin();
    char known[PATH_MAX] = "";
    int err;

    if (!path)
        return error_end(mark, -EFAULT, LOAD, NULL);
    err = known_path(path, known);
    if (!err)
        err = try_file(known);
    return err ? error_end(mark, err, LOAD, path) : 0;
}

struct wanted {
    const char *name;
    int err;
};

static int load_from(const char *folder, void *arg)
{
    struct wanted *wanted = arg;
    char path[PATH_MAX];

    if (snprintf(path, sizeof(path), "%s/%s" SUFFIX, folder, wanted->name) >= (int)sizeof(path) ||
        access(path, F_OK))
        return 0;
    wanted->err = try_file(path);
    return 1;
}

int plugin_load(const char *name)
{
    struct wanted wanted = {name, -ENOENT};

    each_folder(load_from, &wanted);
    return wanted.err;
}

/* ---- listing -------------------------------------------------------------------------------- */

/* What is done with each plug-in file: `name` is NULL when the file's is no driver name, `shadow`
 * the file of the same name that comes before it, or NULL. */
struct listing {
    int (*visit)(const char *path, const char *name, const char *shadow, void *arg);
    void *arg;
    const char *folder;
};

static int shadowing(const char *folder, void *arg)
{
    struct text *search = arg; /* out: the path looked for and found; used: the name's offset */
    char path[PATH_MAX];

    if ((size_t)snprintf(path, sizeof(path), "%s/%s", folder, search->out + search->used) >=
        sizeof(path))
        return 0;
    if (!strcmp(path, search->out))
        return 1; /* come to the file itself: nothing before it */
    if (access(path, F_OK))
        return 0;
    snprintf(search->out, search->size, "%s", path);
    return 2;
}

static int visit_file(struct listing *listing, const char *base)
{
    char path[PATH_MAX], first[PATH_MAX], name[HAL_NAME_MAX + 1];
    struct text search = {first, sizeof(first), strlen(listing->folder) + 1};
    bool shadowed;

    if (!has_suffix(base) ||
        snprintf(path, sizeof(path), "%s/%s", listing->folder, base) >= (int)sizeof(path))
        return 0;
    if (!stem_of(base, name))
        return listing->visit(path, NULL, NULL, listing->arg);
    strcpy(first, path);
    shadowed = each_folder(shadowing, &search) == 2;
    return listing->visit(path, name, shadowed ? first : NULL, listing->arg);
}

static int list_folder(const char *folder, void *arg)
{
    struct listing *listing = arg;
    struct dirent **entries;
    int count = scandir(folder, &entries, NULL, alphasort), result = 0;

    listing->folder = folder;
    for (int i = 0; i < count; i++) {
        if (!result)
            result = visit_file(listing, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    listing->folder = NULL;
    return result;
}

struct unloaded {
    hal_driver_visitor visit;
    void *arg;
};

static int visit_unloaded(const char *path, const char *name, const char *shadow, void *arg)
{
    struct unloaded *unloaded = arg;
    struct hal_driver_info info = {
        .name = name ? name : base_of(path), .state = HAL_DRIVER_REFUSED, .path = path};
    char reason[PATH_MAX + 64];
    char *refused;
    int result;

    if (name && driver_is_from(name, path))
        return 0;
    refused = refusal_of(path);
    if (!name)
        info.reason = "it must be called NAME.so; " NAME_FORM;
    else if (shadow && snprintf(reason, sizeof(reason), "shadowed by %s", shadow) > 0)
        info.reason = reason;
    else if (refused)
        info.reason = refused;
    else if (driver_is_registered(name))
        info.reason = "a driver of that name is registered";
    else
        info.state = HAL_DRIVER_LOADABLE;
    result = unloaded->visit(&info, unloaded->arg);
    free(refused);
    return result;
}

/* A refused file that is not in the search path: somebody named it to hal_load_driver(). */
static int visit_elsewhere(const char *path, void *arg)
{
    struct unloaded *unloaded = arg;
    char name[HAL_NAME_MAX + 1];
    struct hal_driver_info info = {
        .name = stem_of(path, name) ? name : path, .state = HAL_DRIVER_REFUSED, .path = path};
    char *reason = refusal_of(path);
    int result;

    info.reason = reason;
    result = unloaded->visit(&info, unloaded->arg);
    free(reason);
    return result;
}

static int is_parent(const char *folder, void *arg)
{
    const char *path = arg;
    size_t len = strlen(folder);

    return !strncmp(path, folder, len) && path[len] == '/' && !strchr(path + len + 1, '/');
}

static int each_elsewhere(struct unloaded *unloaded)
{
    char *paths[64];
    size_t count = 0;
    int result = 0;

    pthread_mutex_lock(&refusals_lock);
    for (struct refusal *r = refusals; r && count < COUNT_OF(paths); r = r->next)
        if (!access(r->path, F_OK) && !each_folder(is_parent, r->path))
            paths[count++] = strdup(r->path);
    pthread_mutex_unlock(&refusals_lock);
    for (size_t i = 0; i < count; i++) {
        if (paths[i] && !result)
            result = visit_elsewhere(paths[i], unloaded);
        free(paths[i]);
    }
    return result;
}

int plugin_each_unloaded(hal_driver_visitor visit, void *arg)
{
    struct unloaded unloaded = {visit, arg};
    struct listing listing = {visit_unloaded, &unloaded, NULL};
    int result = each_folder(list_folder, &listing);

    return result ? result : each_elsewhere(&unloaded);
}

static int load_if_first(const char *path, const char *name, const char *shadow, void *arg)
{
    long *refused = arg;

    if (!name || (!shadow && try_file(path)))
        ++*refused;
    return 0;
}

long hal_load_drivers(void)
{
    long refused = 0;
    struct listing listing = {load_if_first, &refused, NULL};

    each_folder(list_folder, &listing);
    return refused;
}

/* ---- fork(2) -------------------------------------------------------------------------------- */

void plugin_before_fork(void)
{
    pthread_mutex_lock(&load_lock);
    pthread_mutex_lock(&refusals_lock);
}

void plugin_after_fork(bool in_child)
{
    static const pthread_mutex_t fresh = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

    pthread_mutex_unlock(&refusals_lock);
    if (in_child)
        load_lock = fresh; /* it belongs to the thread's number in the parent */
    else
        pthread_mutex_unlock(&load_lock);
}
