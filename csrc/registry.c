/* SPDX-License-Identifier: Apache-2.0 */
/* Drivers and logical names. Drivers stand in a list that only ever grows at its head and whose
 * entries are never freed, so looking one up takes no lock. */
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "internal.h"

#define REGISTER "register driver"
#define UNREGISTERED (-1)

static _Atomic(struct driver *) drivers;
static pthread_mutex_t drivers_lock = PTHREAD_MUTEX_INITIALIZER; /* for writers */

static struct driver *find(const char *name)
{
    struct driver *driver = atomic_load_explicit(&drivers, memory_order_acquire);

    while (driver && strcmp(driver->name, name) != 0)
        driver = driver->next;
    return driver;
}

struct driver *driver_first(void)
{
    return atomic_load_explicit(&drivers, memory_order_acquire);
}

/* Keep it registered. False: it is not (any more). */
static bool hold(struct driver *driver, int64_t share)
{
    int64_t refs = atomic_load_explicit(&driver->refs, memory_order_relaxed);

    while (refs >= 0)
        if (atomic_compare_exchange_weak_explicit(&driver->refs, &refs, refs + share,
                                                  memory_order_acquire, memory_order_relaxed))
            return true;
    return false;
}

static void let_go(struct driver *driver, int64_t share)
{
    atomic_fetch_sub_explicit(&driver->refs, share, memory_order_release);
}

struct driver *driver_get(const char *name)
{
    struct driver *driver = find(name);

    return driver && hold(driver, 1) ? driver : NULL;
}

void driver_put(struct driver *driver)
{
    let_go(driver, 1);
}

bool driver_is_registered(const char *name)
{
    struct driver *driver = find(name);

    return driver && atomic_load(&driver->refs) != UNREGISTERED;
}

static bool same_file(const char *a, const char *b)
{
    struct stat first, second;

    return !strcmp(a, b) || (!stat(a, &first) && !stat(b, &second) &&
                             first.st_dev == second.st_dev && first.st_ino == second.st_ino);
}

bool driver_is_from(const char *name, const char *path)
{
    struct driver *driver = find(name);
    bool is;

    pthread_mutex_lock(&drivers_lock); /* its path changes when it is registered again */
    is = driver && atomic_load(&driver->refs) != UNREGISTERED && driver->path &&
         same_file(driver->path, path);
    pthread_mutex_unlock(&drivers_lock);
    return is;
}

/* ---- registering ---------------------------------------------------------------------------- */

/* Members that this library does not know must not be used: it could not honour them. */
static bool uses_unknown_members(const struct driver_ops *ops, size_t size)
{
    const unsigned char *bytes = (const unsigned char *)ops;

    for (size_t i = sizeof(*ops); i < size; i++)
        if (bytes[i])
            return true;
    return false;
}

static int check_ops(const char *name, const struct driver_ops *ops, size_t size, uint32_t abi)
{
    const size_t least = offsetof(struct driver_ops, write) + sizeof(ops->write);

    if (abi != HAL_ABI_VERSION)
        return hal_fail_plain(-EPROTONOSUPPORT, REGISTER, name,
                              "it was built for ABI %u, this library has ABI %u", abi,
                              HAL_ABI_VERSION);
    if (!ops)
        return hal_fail_plain(-EFAULT, REGISTER, name, "the table of functions is NULL");
    if (size < least || !ops->init || !ops->read || !ops->write)
        return hal_fail_plain(-ENOSYS, REGISTER, name,
                              "init, read and write are needed; %s is missing",
                              size < least ? "part of the table"
                              : !ops->init ? "init"
                              : !ops->read ? "read"
                                           : "write");
    if (uses_unknown_members(ops, size))
        return hal_fail_plain(-E2BIG, REGISTER, name,
                              "its table has members that libhal %s does not know",
                              hal_version_string());
    return 0;
}

static void set_ops(struct driver *driver, const struct driver_ops *ops, size_t size,
                    const char *path, const char *version)
{
    memset(&driver->ops, 0, sizeof(driver->ops));
    memcpy(&driver->ops, ops, size < sizeof(*ops) ? size : sizeof(*ops));
    driver->path = path;
    driver->version = version;
    atomic_store_explicit(&driver->refs, 0, memory_order_release);
}

/* Called with drivers_lock held. */
static int add(const char *name, const struct driver_ops *ops, size_t size, const char *path,
               const char *version)
{
    struct driver *driver = find(name);

    if (driver && atomic_load(&driver->refs) != UNREGISTERED)
        return hal_fail_plain(-EEXIST, REGISTER, name, "a driver of that name is registered%s%s",
                              driver->path ? ", from " : "", driver->path ? driver->path : "");
    if (!driver) {
        driver = calloc(1, sizeof(*driver));
        if (!driver)
            return -ENOMEM;
        strcpy(driver->name, name);
        atomic_store(&driver->refs, UNREGISTERED);
        driver->next = atomic_load(&drivers);
        atomic_store_explicit(&drivers, driver, memory_order_release);
    }
    set_ops(driver, ops, size, path, version);
    return 0;
}

static bool is_bound(const char *name);

static _Thread_local unsigned registrations;

unsigned driver_registrations(void)
{
    return registrations;
}

int driver_register(const char *name, const struct driver_ops *ops, size_t size, uint32_t abi,
                    const char *path, const char *version)
{
    struct driver_ops known = {0};
    int err = name_check(name);

    if (err)
        return hal_fail_plain(err, REGISTER, name, "%s", name_complaint(err));
    err = check_ops(name, ops, size, abi);
    if (err)
        return err;
    memcpy(&known, ops, size < sizeof(known) ? size : sizeof(known));
    err = attribute_check_table(known.attributes, known.attribute_count, REGISTER, name);
    if (!err)
        err = match_check_table(known.matches, known.match_count, REGISTER, name);
    if (err)
        return err;
    pthread_mutex_lock(&drivers_lock);
    if (is_bound(name))
        err = hal_fail_plain(-EEXIST, REGISTER, name, "a logical name is bound so; unbind it");
    else
        err = add(name, ops, size, path, version);
    pthread_mutex_unlock(&drivers_lock);
    registrations += !err;
    return err;
}

int hal_register_driver_abi(const char *name, const struct driver_ops *ops, size_t size,
                            uint32_t abi)
{
    uint32_t mark = error_begin();
    int err = driver_register(name, ops, size, abi, NULL, NULL);

    return err ? error_end(mark, err, REGISTER, name) : 0;
}

static int unregister(const char *name)
{
    struct driver *driver = name ? find(name) : NULL;
    int64_t refs = 0;

    if (!name)
        return -EFAULT;
    if (!driver_is_registered(name))
        return hal_fail_plain(-ENOENT, "unregister driver", name, "no such driver");
    if (driver->path)
        return hal_fail_plain(-EPERM, "unregister driver", name, "it is the plug-in %s",
                              driver->path);
    if (atomic_compare_exchange_strong(&driver->refs, &refs, UNREGISTERED))
        return 0;
    if (refs % DRIVER_VISIT == 0)
        return hal_fail_plain(-EBUSY, "unregister driver", name, "it is being listed");
    return hal_fail_plain(-EBUSY, "unregister driver", name, "%lld of its devices are open",
                          (long long)(refs % DRIVER_VISIT));
}

int hal_unregister_driver(const char *name)
{
    uint32_t mark = error_begin();
    int err;

    pthread_mutex_lock(&drivers_lock);
    err = unregister(name);
    pthread_mutex_unlock(&drivers_lock);
    return err ? error_end(mark, err, "unregister driver", name) : 0;
}

/* ---- finding, for hal_open() ---------------------------------------------------------------- */

#define NAMES_MAX 64

struct names {
    char all[NAMES_MAX][HAL_NAME_MAX + 1];
    const char *pointers[NAMES_MAX];
    size_t count;
};

static int add_name(const struct hal_driver_info *info, void *arg)
{
    struct names *names = arg;

    if (info->state == HAL_DRIVER_REFUSED || names->count == NAMES_MAX)
        return 0;
    names->pointers[names->count] = strcpy(names->all[names->count], info->name);
    names->count++;
    return 0;
}

static int say_no_driver(const char *name, const char *uri)
{
    char list[HAL_TEXT_MAX] = "none", folders[HAL_TEXT_MAX * 2];
    struct names names = {.count = 0};
    const char *nearest;
    size_t used = 0;

    hal_driver_each(add_name, &names);
    for (size_t i = 0; i < names.count && used < sizeof(list); i++)
        used += (size_t)snprintf(list + used, sizeof(list) - used, "%s%s", i ? ", " : "",
                                 names.pointers[i]);
    nearest = name_nearest(name, names.pointers, names.count);
    if (nearest)
        return hal_fail_plain(-ENOENT, "open", uri,
                              "no driver or logical name \"%s\"; did you mean \"%s\"?", name,
                              nearest);
    plugin_path_text(folders, sizeof(folders));
    return hal_fail_plain(
        -ENOENT, "open", uri,
        "no driver or logical name \"%s\"; there are: %s; looked for %s.so in: %s", name, list,
        name, folders);
}

int driver_find(const char *name, const char *uri, struct driver **out)
{
    int err;

    *out = driver_get(name);
    if (*out)
        return 0;
    err = plugin_load(name);
    *out = driver_get(name); /* also when its plug-in was refused, but registered it by itself */
    if (*out)
        return 0;
    return err && err != -ENOENT ? err : say_no_driver(name, uri);
}

static int visit_driver(struct driver *driver, hal_driver_visitor visit, void *arg)
{
    struct hal_driver_info info = {
        .name = driver->name,
        .state = HAL_DRIVER_REGISTERED,
        .path = driver->path,
        .version = driver->version,
        .summary = driver->ops.summary,
        .address = driver->ops.address,
        .open = (uint64_t)(atomic_load(&driver->refs) % DRIVER_VISIT),
        .attributes = driver->ops.attributes,
        .attribute_count = driver->ops.attribute_count,
        .matches = driver->ops.matches,
        .match_count = driver->ops.match_count,
    };

    return visit(&info, arg);
}

int hal_driver_each(hal_driver_visitor visit, void *arg)
{
    int result = 0;

    if (!visit)
        return error_end(error_begin(), -EFAULT, "list drivers", NULL);
    for (struct driver *d = driver_first(); d && !result; d = d->next) {
        if (!hold(d, DRIVER_VISIT))
            continue;
        result = visit_driver(d, visit, arg);
        let_go(d, DRIVER_VISIT);
    }
    return result ? result : plugin_each_unloaded(visit, arg);
}

/* ---- logical names -------------------------------------------------------------------------- */

struct binding {
    char name[HAL_NAME_MAX + 1];
    char uri[HAL_URI_MAX + 1];
    struct binding *next;
};

static struct binding *bindings;
static pthread_mutex_t bindings_lock = PTHREAD_MUTEX_INITIALIZER;

/* Where the binding hangs, or the list's end. Called with bindings_lock held. */
static struct binding **binding_at(const char *name)
{
    struct binding **at = &bindings;

    while (*at && strcmp((*at)->name, name) != 0)
        at = &(*at)->next;
    return at;
}

bool binding_get(const char *name, char uri[HAL_URI_MAX + 1])
{
    struct binding *found;

    pthread_mutex_lock(&bindings_lock);
    found = *binding_at(name);
    if (found)
        strcpy(uri, found->uri);
    pthread_mutex_unlock(&bindings_lock);
    return found != NULL;
}

static bool is_bound(const char *name)
{
    char uri[HAL_URI_MAX + 1];

    return binding_get(name, uri);
}

static int check_binding(const char *name, const char *uri)
{
    struct hal_uri parsed;
    int err = name_check(name);

    if (err)
        return hal_fail_plain(err, "bind", name, "%s", name_complaint(err));
    err = uri_parse(uri, &parsed);
    if (err)
        return err;
    if (driver_is_registered(name))
        return hal_fail_plain(-EEXIST, "bind", name, "a driver of that name is registered");
    if (!*parsed.address && is_bound(parsed.driver))
        return hal_fail_plain(-EINVAL, "bind", name, "\"%s\" is a logical name itself",
                              parsed.driver);
    return 0;
}

/* Called with drivers_lock held, so that nobody registers a driver of that name meanwhile. */
static int bind_name(const char *name, const char *uri)
{
    struct binding *binding;
    int err = check_binding(name, uri);

    if (err)
        return err;
    binding = calloc(1, sizeof(*binding));
    if (!binding)
        return -ENOMEM;
    strcpy(binding->name, name);
    strcpy(binding->uri, uri);
    pthread_mutex_lock(&bindings_lock);
    if (*binding_at(name)) {
        err = hal_fail_plain(-EEXIST, "bind", name, "it is bound to %s", (*binding_at(name))->uri);
        free(binding);
    } else {
        binding->next = bindings;
        bindings = binding;
    }
    pthread_mutex_unlock(&bindings_lock);
    return err;
}

int hal_bind(const char *name, const char *uri)
{
    uint32_t mark = error_begin();
    int err;

    pthread_mutex_lock(&drivers_lock);
    err = bind_name(name, uri);
    pthread_mutex_unlock(&drivers_lock);
    return err ? error_end(mark, err, "bind", name) : 0;
}

int hal_unbind(const char *name)
{
    struct binding *gone = NULL, **at;
    uint32_t mark = error_begin();

    if (!name)
        return error_end(mark, -EFAULT, "unbind", NULL);
    pthread_mutex_lock(&bindings_lock);
    at = binding_at(name);
    if (*at) {
        gone = *at;
        *at = gone->next;
    }
    pthread_mutex_unlock(&bindings_lock);
    if (!gone)
        return error_end(mark, hal_fail_plain(-ENOENT, "unbind", name, "it is not bound"), "unbind",
                         name);
    free(gone);
    return 0;
}

/* A copy of the list, so that the visitor may bind and unbind. */
static struct binding *copy_bindings(void)
{
    struct binding *copy = NULL;

    pthread_mutex_lock(&bindings_lock);
    for (struct binding *b = bindings; b; b = b->next) {
        struct binding *one = malloc(sizeof(*one));
        if (!one)
            break;
        *one = *b;
        one->next = copy;
        copy = one;
    }
    pthread_mutex_unlock(&bindings_lock);
    return copy;
}

int hal_binding_each(hal_binding_visitor visit, void *arg)
{
    struct binding *list;
    int result = 0;

    if (!visit)
        return error_end(error_begin(), -EFAULT, "list names", NULL);
    list = copy_bindings();
    while (list) {
        struct binding *next = list->next;
        if (!result)
            result = visit(list->name, list->uri, arg);
        free(list);
        list = next;
    }
    return result;
}

/* ---- fork(2) -------------------------------------------------------------------------------- */

void registry_before_fork(void)
{
    pthread_mutex_lock(&drivers_lock);
    pthread_mutex_lock(&bindings_lock);
}

void registry_after_fork(void)
{
    pthread_mutex_unlock(&bindings_lock);
    pthread_mutex_unlock(&drivers_lock);
}
