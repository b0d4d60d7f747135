/* SPDX-License-Identifier: Apache-2.0 */
/* What a mapping is, by /proc/self/maps and smaps (proc(5)) and by sysfs. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <hal/driver.h>

#include "cache.h"
#include "internal.h"

/* A line of /proc/self/maps. */
struct mapping {
    uint64_t start, end;
    bool shared;
    unsigned int major, minor; /* of the file system, for a file */
    char path[256];
};

/* Where to look, and what is being found out. */
struct query {
    const char *root; /* before /proc and /sys; "" but for tests */
    struct hal_mapping_facts *out;
};

const char *hal_memory_kind_name(enum hal_memory_kind kind)
{
    static const char *const names[] = {
        [HAL_MEMORY_UNKNOWN] = "unknown",
        [HAL_MEMORY_ORDINARY] = "ordinary",
        [HAL_MEMORY_PERSISTENT] = "persistent",
        [HAL_MEMORY_CXL] = "cxl",
        [HAL_MEMORY_WRITE_COMBINING] = "write-combining",
        [HAL_MEMORY_UNCACHED] = "uncached",
    };

    return (size_t)kind < COUNT_OF(names) ? names[kind] : names[0];
}

static void answer(struct query *q, enum hal_memory_kind kind, enum hal_flush_need flush,
                   const char *reason)
{
    q->out->kind = kind;
    q->out->flush = flush;
    snprintf(q->out->reason, sizeof(q->out->reason), "%s", reason);
}

static bool starts_with(const char *text, const char *start)
{
    return !strncmp(text, start, strlen(start));
}

static bool parse_mapping(const char *text, struct mapping *m)
{
    char shared;
    int used = 0;

    if (sscanf(text, "%" SCNx64 "-%" SCNx64 " %*3c%c %*x %x:%x %*u %n", &m->start, &m->end, &shared,
               &m->major, &m->minor, &used) < 5 ||
        !used)
        return false;
    m->shared = shared == 's';
    snprintf(m->path, sizeof(m->path), "%.*s", (int)strcspn(text + used, "\n"), text + used);
    return true;
}

static FILE *open_proc(const struct query *q, const char *name)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/proc/self/%s", q->root, name);
    return fopen(path, "re");
}

/* The mappings of [start, end), one after the other; false when `start` is not mapped. */
static int find_mappings(const struct query *q, uintptr_t start, uintptr_t end,
                         struct mapping *first, struct mapping *other)
{
    FILE *maps = open_proc(q, "maps");
    struct mapping m;
    char *line = NULL;
    size_t room = 0;
    uint64_t next = start;

    if (!maps)
        return hal_fail(-errno, "query", "/proc/self/maps", NULL);
    while (next < end && getline(&line, &room, maps) > 0) {
        if (!parse_mapping(line, &m) || m.end <= next)
            continue;
        if (m.start > next)
            break;
        if (!first->end)
            *first = m;
        else if (strcmp(m.path, first->path) || m.shared != first->shared)
            *other = m;
        else
            first->end = m.end;
        next = m.end;
    }
    free(line);
    fclose(maps);
    if (next < end)
        return hal_fail_plain(-EFAULT, "query", "memory", "address 0x%" PRIx64 " is not mapped",
                              next);
    return 0;
}

/* The VmFlags of the mapping that begins at `start`: two letters each, separated by spaces. */
static void read_flags(const struct query *q, uint64_t start, char *out, size_t size)
{
    FILE *smaps = open_proc(q, "smaps");
    struct mapping m;
    bool here = false;
    char *line = NULL;
    size_t room = 0;

    out[0] = 0;
    if (!smaps)
        return;
    while (getline(&line, &room, smaps) > 0) {
        if (starts_with(line, "VmFlags:") && here) {
            snprintf(out, size, "%s", line + strlen("VmFlags:"));
            break;
        }
        if (parse_mapping(line, &m))
            here = m.start == start;
    }
    free(line);
    fclose(smaps);
}

static bool has_flag(const char *flags, const char *flag)
{
    const char *at = strstr(flags, flag);

    return at && at > flags && at[-1] == ' ' && (at[2] == ' ' || at[2] == '\n' || !at[2]);
}

/* One line of a sysfs file, without its newline; false when it is not there. */
static bool read_line(const char *folder, const char *name, char *out, size_t size)
{
    char path[PATH_MAX];
    ssize_t n;
    int fd;

    if (snprintf(path, sizeof(path), "%s/%s", folder, name) >= (int)sizeof(path))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, out, size - 1);
    close(fd);
    out[n < 0 ? 0 : n] = 0;
    out[strcspn(out, "\n")] = 0;
    return n >= 0;
}

/* What the folders from a device up to /sys/devices tell. */
struct ancestry {
    bool nd_region;  /* there is a persistence_domain, which is then in out->domain */
    bool cxl_region; /* a region of the CXL bus */
    bool hmem;       /* memory that the firmware set apart */
};

static void climb(struct query *q, char *folder, struct ancestry *found)
{
    char link[PATH_MAX + 16], bus[PATH_MAX], *slash;
    const char *name;
    ssize_t n;

    while ((slash = strrchr(folder, '/')) && strcmp(slash, "/devices")) {
        name = slash + 1;
        if (!found->nd_region &&
            read_line(folder, "persistence_domain", q->out->domain, sizeof(q->out->domain)))
            found->nd_region = true;
        snprintf(link, sizeof(link), "%s/subsystem", folder);
        n = readlink(link, bus, sizeof(bus) - 1);
        bus[n < 0 ? 0 : n] = 0;
        if (n >= 4 && !strcmp(bus + n - 4, "/cxl") && starts_with(name, "region"))
            found->cxl_region = true;
        if (starts_with(name, "hmem"))
            found->hmem = true;
        *slash = 0;
    }
}

/* The device behind /sys/dev/{char,block}/MAJOR:MINOR. */
static bool look_up_device(struct query *q, const char *type, unsigned int major,
                           unsigned int minor, struct ancestry *found)
{
    char path[PATH_MAX], folder[PATH_MAX];

    snprintf(path, sizeof(path), "%s/sys/dev/%s/%u:%u", q->root, type, major, minor);
    if (!realpath(path, folder))
        return false;
    snprintf(q->out->device, sizeof(q->out->device), "%.*s", (int)sizeof(q->out->device) - 1,
             strrchr(folder, '/') + 1);
    climb(q, folder, found);
    return true;
}

/* Persistent memory: what the platform flushes by itself when power fails decides. */
static void answer_persistent(struct query *q, const struct ancestry *found)
{
    const char *domain = q->out->domain;

    if (!found->nd_region)
        answer(q, HAL_MEMORY_PERSISTENT, HAL_FLUSH_NEEDED,
               "persistent memory; no nd region in sysfs tells its persistence domain");
    else if (!strcmp(domain, "cpu_cache"))
        answer(q, HAL_MEMORY_PERSISTENT, HAL_FLUSH_NOT_NEEDED,
               "the persistence domain includes the processor's caches (eADR): a store fence is "
               "enough");
    else if (!strcmp(domain, "memory_controller"))
        answer(q, HAL_MEMORY_PERSISTENT, HAL_FLUSH_NEEDED,
               "the persistence domain begins at the memory controller: write back, then fence");
    else
        answer(q, HAL_MEMORY_PERSISTENT, HAL_FLUSH_NEEDED,
               "persistent memory; the platform does not say what survives power loss");
}

static void answer_devdax(struct query *q, const struct ancestry *found)
{
    q->out->flags |= HAL_MAPPING_DAX | HAL_MAPPING_SYNC;
    if (found->nd_region)
        answer_persistent(q, found);
    else if (found->cxl_region)
        answer(q, HAL_MEMORY_CXL, HAL_FLUSH_UNKNOWN,
               "volatile memory of a CXL region: coherent within this host; the kernel does not "
               "tell whether another host shares it, which would need a flush");
    else if (found->hmem)
        answer(q, HAL_MEMORY_ORDINARY, HAL_FLUSH_NOT_NEEDED,
               "memory that the firmware set apart (hmem): coherent, volatile");
    else
        answer(q, HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN,
               "a dax device whose region sysfs does not show");
}

/* A BAR, mapped through the resourceN file of its PCI device. */
static bool answer_pci(struct query *q, const char *path)
{
    const char *file = strrchr(path, '/'), *device;
    size_t digits;

    if (!starts_with(path, "/sys/devices/") || !starts_with(file, "/resource"))
        return false;
    digits = strspn(file + strlen("/resource"), "0123456789");
    file += strlen("/resource") + digits;
    if (!digits || (*file && strcmp(file, "_wc")))
        return false;
    for (device = strrchr(path, '/'); device > path && device[-1] != '/'; device--)
        ;
    snprintf(q->out->device, sizeof(q->out->device), "%.*s", (int)strcspn(device, "/"), device);
    q->out->flags |= HAL_MAPPING_IO;
    if (*file)
        answer(q, HAL_MEMORY_WRITE_COMBINING, HAL_FLUSH_NOT_NEEDED,
               "a PCI BAR mapped for write-combining: stores wait in buffers until a store fence");
    else
        answer(q, HAL_MEMORY_UNCACHED, HAL_FLUSH_NOT_NEEDED,
               "a PCI BAR: every access goes to the device");
    return true;
}

static void answer_character_device(struct query *q, const char *path, dev_t device,
                                    const char *flags)
{
    struct ancestry found = {.hmem = false};
    bool io = has_flag(flags, "io") || has_flag(flags, "pf");

    look_up_device(q, "char", major(device), minor(device), &found);
    if (io)
        q->out->flags |= HAL_MAPPING_IO;
    if (starts_with(path, "/dev/dax"))
        answer_devdax(q, &found);
    else if (starts_with(path, "/dev/uio") && io)
        answer(q, HAL_MEMORY_UNCACHED, HAL_FLUSH_NOT_NEEDED,
               "registers mapped by UIO: every access goes to the device");
    else if (starts_with(path, "/dev/vfio/") && io)
        answer(q, HAL_MEMORY_UNCACHED, HAL_FLUSH_NOT_NEEDED,
               "a device's region mapped by VFIO: every access goes to the device");
    else if (!strcmp(path, "/dev/zero"))
        answer(q, HAL_MEMORY_ORDINARY, HAL_FLUSH_NOT_NEEDED, "shared anonymous memory: coherent");
    else if (!strcmp(path, "/dev/mem"))
        answer(q, HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN,
               "/dev/mem: caching depends on the address and on O_SYNC, which no file shows");
    else
        answer(q, HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN,
               io ? "device memory: its driver chose the caching, which no file shows"
                  : "memory of a driver: whether its device is coherent is not shown");
}

/* A file: in the page cache, unless its file system maps persistent memory itself (DAX). */
static void answer_file(struct query *q, const struct mapping *m, const char *path,
                        const char *flags)
{
    struct ancestry found = {.hmem = false};
    struct statx facts;

    if (has_flag(flags, "sf"))
        q->out->flags |= HAL_MAPPING_SYNC | HAL_MAPPING_DAX;
#ifdef STATX_ATTR_DAX
    if (!statx(AT_FDCWD, path, 0, STATX_TYPE, &facts) && facts.stx_attributes & STATX_ATTR_DAX)
        q->out->flags |= HAL_MAPPING_DAX;
#endif
    if (!(q->out->flags & HAL_MAPPING_DAX)) {
        answer(q, HAL_MEMORY_ORDINARY, HAL_FLUSH_NOT_NEEDED,
               "a file in the page cache: coherent; fsync(2) takes it to its disk");
        return;
    }
    if (!m->shared) {
        answer(q, HAL_MEMORY_ORDINARY, HAL_FLUSH_NOT_NEEDED,
               "a private mapping: stores go to a copy in ordinary memory");
        return;
    }
    look_up_device(q, "block", m->major, m->minor, &found);
    if (q->out->flags & HAL_MAPPING_SYNC)
        answer_persistent(q, &found);
    else
        answer(q, HAL_MEMORY_PERSISTENT, HAL_FLUSH_NEEDED,
               "a DAX file mapped without MAP_SYNC: only fsync(2) or msync(2) makes stores last");
}

static void answer_path(struct query *q, const struct mapping *m)
{
    char flags[256], path[PATH_MAX];
    struct stat st;

    if (starts_with(m->path, "/memfd:") || starts_with(m->path, "/SYSV")) {
        answer(q, HAL_MEMORY_ORDINARY, HAL_FLUSH_NOT_NEEDED, "shared memory: coherent");
        return;
    }
    if (starts_with(m->path, "/dmabuf")) {
        answer(q, HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN,
               "a dma-buf: bracket accesses with DMA_BUF_IOCTL_SYNC, which does what its device "
               "needs");
        return;
    }
    if (answer_pci(q, m->path))
        return;
    snprintf(path, sizeof(path), "%s%s", q->root, m->path);
    read_flags(q, m->start, flags, sizeof(flags));
    if (!stat(path, &st) && S_ISCHR(st.st_mode))
        answer_character_device(q, m->path, st.st_rdev, flags);
    else
        answer_file(q, m, path, flags);
}

static void answer_mapping(struct query *q, const struct mapping *m)
{
    q->out->start = m->start;
    q->out->end = m->end;
    q->out->flags = m->shared ? HAL_MAPPING_SHARED : 0;
    snprintf(q->out->path, sizeof(q->out->path), "%s", m->path);
    if (m->path[0] == '/')
        answer_path(q, m);
    else if (starts_with(m->path, "anon_inode:[vfio"))
        answer(q, HAL_MEMORY_UNCACHED, HAL_FLUSH_NOT_NEEDED,
               "a device's region mapped by VFIO: every access goes to the device");
    else if (starts_with(m->path, "[vvar") || starts_with(m->path, "anon_inode:"))
        answer(q, HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN, "the kernel's own memory");
    else
        answer(q, HAL_MEMORY_ORDINARY, HAL_FLUSH_NOT_NEEDED, "anonymous memory: coherent");
}

COLD int cache_query(const char *root, uintptr_t start, uintptr_t end,
                     struct hal_mapping_facts *out)
{
    struct hal_mapping_facts second;
    struct query q = {root, out};
    struct mapping first = {.end = 0}, other = {.end = 0};
    int err = find_mappings(&q, start, end, &first, &other);

    if (err)
        return err;
    memset(out, 0, sizeof(*out));
    answer_mapping(&q, &first);
    if (!other.end)
        return 0;
    memset(&second, 0, sizeof(second));
    q.out = &second;
    answer_mapping(&q, &other);
    if (second.kind == out->kind && second.flush == out->flush)
        return 0;
    q.out = out;
    answer(&q, HAL_MEMORY_UNKNOWN, HAL_FLUSH_UNKNOWN,
           "the range covers mappings of different kinds: ask for each");
    return 0;
}

COLD int hal_cache_query(const void *ptr, size_t len, struct hal_mapping_facts *out, size_t size)
{
    struct hal_mapping_facts facts;
    uintptr_t start = (uintptr_t)ptr;
    int err;

    len += !len;
    if (!out || !size) {
        err = hal_fail(out ? -EINVAL : -EFAULT, "query", "memory",
                       "the structure has no room, or is NULL");
        return error_settle(err, "query", "memory");
    }
    if (!ptr || len > UINTPTR_MAX - start)
        err =
            hal_fail_plain(-EFAULT, "query", "memory", "%zu bytes from %p are no range", len, ptr);
    else
        err = cache_query("", start, start + len, &facts);
    if (err)
        return error_settle(err, "query", "memory");
    memset(out, 0, size);
    memcpy(out, &facts, size < sizeof(facts) ? size : sizeof(facts));
    return 0;
}
