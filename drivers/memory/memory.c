/* SPDX-License-Identifier: Apache-2.0 */
/*
 * memory: memory that has a name: persistent, of a CXL device, shared between processes.
 *
 *     memory:/dev/dax0.0                                devdax: an NVDIMM, a CXL region
 *     memory:/mnt/pmem/log?size=16MiB&create=true       a file, best on a DAX file system
 *     memory:shm:/frames?size=8MiB&create=true          POSIX shared memory
 *     memory:memfd:frames?size=8MiB&huge=2MiB           without a name; hand on hal_fd()
 *     memory:fd:7                                       what another process handed on
 *     memory:0000:00:04.0/2?enable=true                 a prefetchable BAR: ivshmem, a card's RAM
 *
 * Blocks are copied by the kernel, so that a bad page is an error: pread(2) and pwrite(2) for
 * files; for devdax, which has neither, process_vm_writev(2) and process_vm_readv(2) on this
 * process. In both the device is the *local* side, which the kernel reads as copy_from_user() does:
 * with recovery from faults and, on x86, from machine checks. (As the remote side it would be read
 * like memory of the kernel's own, where a machine check is fatal to the machine.) Registers and
 * mappings are the processor's own accesses: there a bad page is SIGBUS.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>
#include <unistd.h>

#include <hal/cache.h>

#include "../mmio/access.h"
#include "memory.h"

#ifndef MAP_SYNC
#define MAP_SYNC 0x80000
#endif
#ifndef MAP_SHARED_VALIDATE
#define MAP_SHARED_VALIDATE 3
#endif

static struct memory *memory_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

static int check_range(struct hal_device *dev, const char *operation, uint64_t offset, size_t len)
{
    uint64_t size = memory_of(dev)->size;

    if (offset <= size && len <= size - offset)
        return 0;
    return hal_fail_plain(-ERANGE, operation, hal_device_uri(dev),
                          "offset 0x%" PRIx64 " + %zu is beyond its %" PRIu64 " bytes", offset, len,
                          size);
}

static int check_writable(struct hal_device *dev, const char *operation)
{
    return memory_of(dev)->read_only
               ? hal_fail(-EACCES, operation, hal_device_uri(dev),
                          "opened for reading alone (read_only=true, or a descriptor that is)")
               : 0;
}

/* ---- registers: one access each ----------------------------------------------------------------
 */

static int memory_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    int err = check_range(dev, "load", offset, width);

    if (!err)
        *value = load_once(memory_of(dev)->base + offset, width, false);
    return err;
}

static int memory_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    int err = check_range(dev, "store", offset, width);

    if (!err)
        err = check_writable(dev, "store");
    if (!err)
        store_once(memory_of(dev)->base + offset, width, value, false);
    return err;
}

/* ---- blocks ------------------------------------------------------------------------------------
 */

static bool not_allowed(ssize_t n)
{
    return n < 0 && (errno == EPERM || errno == ENOSYS); /* a container's seccomp filter */
}

static ssize_t copy_from(const uint8_t *device, void *buf, size_t len)
{
    struct iovec from = {(void *)(uintptr_t)device, len}, to = {buf, len};
    ssize_t n = process_vm_writev(getpid(), &from, 1, &to, 1, 0);

    if (!not_allowed(n))
        return n;
    memcpy(buf, device, len);
    return (ssize_t)len;
}

static ssize_t copy_to(uint8_t *device, const void *buf, size_t len)
{
    struct iovec to = {device, len}, from = {(void *)(uintptr_t)buf, len};
    ssize_t n = process_vm_readv(getpid(), &to, 1, &from, 1, 0);

    if (!not_allowed(n))
        return n;
    memcpy(device, buf, len);
    return (ssize_t)len;
}

/* A dax device that was taken from its kernel driver faults like one with bad pages. */
static int explain_fault(const char *operation, const struct memory *memory, uint64_t offset)
{
    char driver[PATH_MAX + 8];

    snprintf(driver, sizeof(driver), "%s/driver", memory->sysfs);
    if (access(driver, F_OK))
        return hal_fail(-ENODEV, operation, memory->path, NULL);
    return hal_fail(-EIO, operation, memory->path,
                    "a bad page at offset 0x%" PRIx64
                    " (\"ndctl list --media-errors\" lists them), "
                    "or the buffer is not mapped",
                    offset);
}

/* Why a block that lies within the device could not be moved. */
static int explain_block(struct hal_device *dev, const char *operation, uint64_t offset, ssize_t n)
{
    const struct memory *memory = memory_of(dev);
    int err = n ? -errno : -EIO;

    if (memory->kind == KIND_DEVDAX && err == -EFAULT)
        return explain_fault(operation, memory, offset);
    if (!n)
        return hal_fail_plain(err, operation, memory->path,
                              "the file has shrunk: nothing is left at offset 0x%" PRIx64, offset);
    if (err == -EIO && memory->kind == KIND_FSDAX)
        return hal_fail(err, operation, memory->path,
                        "a bad block at offset 0x%" PRIx64 " (\"ndctl list --media-errors\" lists "
                        "them)",
                        offset);
    return hal_fail(err, operation, memory->path, "at offset 0x%" PRIx64, offset);
}

static ssize_t memory_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                              hal_deadline until)
{
    const struct memory *memory = memory_of(dev);
    int err = check_range(dev, "read", offset, 1);
    ssize_t n;

    (void)until;
    if (err)
        return err;
    if (len > memory->size - offset)
        len = (size_t)(memory->size - offset);
    if (memory->kind == KIND_BAR)
        return read_bar(memory, buf, len, offset);
    n = memory->kind == KIND_DEVDAX ? copy_from(memory->base + offset, buf, len)
                                    : pread(memory->fd, buf, len, (off_t)offset);
    return n > 0 ? n : explain_block(dev, "read", offset, n);
}

/* hugetlbfs has no write(2). */
static ssize_t put(const struct memory *memory, const void *buf, size_t len, uint64_t offset)
{
    ssize_t n;

    if (memory->kind != KIND_DEVDAX) {
        n = pwrite(memory->fd, buf, len, (off_t)offset);
        if (n >= 0 || errno != EINVAL)
            return n;
    }
    n = copy_to(memory->base + offset, buf, len);
    /* As far as a store can be made to last here; hal/cache.h says when that is not enough. */
    if (n > 0 && memory->kind == KIND_DEVDAX && memory->persistent)
        hal_cache_persist(memory->base + offset, (size_t)n);
    return n;
}

static ssize_t memory_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                               hal_deadline until)
{
    const struct memory *memory = memory_of(dev);
    int err = check_range(dev, "write", offset, 1);
    ssize_t n;

    (void)until;
    if (!err)
        err = check_writable(dev, "write");
    if (err)
        return err;
    if (len > memory->size - offset)
        len = (size_t)(memory->size - offset);
    if (memory->kind == KIND_BAR)
        return write_bar(memory, buf, len, offset);
    n = put(memory, buf, len, offset);
    return n > 0 ? n : explain_block(dev, "write", offset, n);
}

static ssize_t memory_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "read", hal_device_uri(dev),
                    "memory is no stream: use hal_read_at() or hal_map()");
}

static ssize_t memory_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "write", hal_device_uri(dev),
                    "memory is no stream: use hal_write_at() or hal_map()");
}

/* ---- mapping -----------------------------------------------------------------------------------
 */

static int refuse_sync(struct hal_device *dev)
{
    const struct memory *memory = memory_of(dev);

    if (memory->kind == KIND_FILE || memory->kind == KIND_BLOCK)
        return hal_fail(-EOPNOTSUPP, "map", memory->path,
                        "MAP_SYNC needs a file on a DAX file system (ext4 or xfs on /dev/pmemN, "
                        "mounted with -o dax); map it without, and make it last with fsync(2)");
    return hal_fail(-EOPNOTSUPP, "map", memory->path, "MAP_SYNC: this memory is not persistent");
}

/* How many huge pages are free is in a file whose name has their size in KiB. */
static int explain_huge(struct hal_device *dev, const char *operation, int err,
                        const struct memory *memory, size_t length)
{
    uint64_t kib = memory->alignment >> 10;

    if (err != -ENOMEM || memory->alignment <= (uint64_t)sysconf(_SC_PAGESIZE) ||
        memory->kind == KIND_DEVDAX)
        return hal_fail(err, operation, hal_device_uri(dev), "%zu bytes of %s", length,
                        memory->path);
    return hal_fail(err, operation, hal_device_uri(dev),
                    "%" PRIu64 " free huge pages of %" PRIu64 " KiB are needed: raise "
                    "/sys/kernel/mm/hugepages/hugepages-%" PRIu64 "kB/nr_hugepages%s",
                    length / memory->alignment, kib, kib,
                    kib == 2048 ? " (sysctl vm.nr_hugepages)" : "");
}

/* mmap(2) a part: whole pages, or what devdax and hugetlbfs have for pages, around it. */
static int map_part(struct hal_device *dev, const struct memory *memory, uint64_t offset,
                    size_t length, int protection, int flags, void **base, size_t *base_length)
{
    uint64_t first = offset & ~(memory->alignment - 1);
    uint64_t end = (offset + length + memory->alignment - 1) & ~(memory->alignment - 1);

    *base_length = (size_t)(end - first);
    *base = mmap(NULL, *base_length, protection, flags, memory->fd, (off_t)first);
    return *base == MAP_FAILED ? explain_huge(dev, "map", -errno, memory, *base_length) : 0;
}

static int memory_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    const struct memory *memory = memory_of(dev);
    bool sync = mapping->flags & HAL_MAP_SYNC;
    int protection = (mapping->flags & HAL_MAP_READ ? PROT_READ : 0) |
                     (mapping->flags & HAL_MAP_WRITE ? PROT_WRITE : 0);
    int err = check_range(dev, "map", mapping->offset, mapping->length ? mapping->length : 1);

    if (!err && mapping->flags & HAL_MAP_WRITE)
        err = check_writable(dev, "map");
    if (err)
        return err;
    if (memory->kind == KIND_BAR)
        return map_bar(memory, mapping->offset,
                       mapping->length ? mapping->length : (size_t)(memory->size - mapping->offset),
                       mapping->flags | HAL_MAP_WRITE_COMBINE, mapping);
    if (mapping->flags & HAL_MAP_WRITE_COMBINE)
        return hal_fail(-EOPNOTSUPP, "map", hal_device_uri(dev),
                        "write-combining is for PCI memory");
    if (sync &&
        (!memory->persistent || (memory->kind != KIND_DEVDAX && memory->kind != KIND_FSDAX)))
        return refuse_sync(dev);
    if (!mapping->length)
        mapping->length = (size_t)(memory->size - mapping->offset);
    err = map_part(dev, memory, mapping->offset, mapping->length, protection,
                   sync ? MAP_SHARED_VALIDATE | MAP_SYNC : MAP_SHARED, &mapping->base,
                   &mapping->base_length);
    if (err)
        return err;
    mapping->address = (uint8_t *)mapping->base + (mapping->offset & (memory->alignment - 1));
    return 0;
}

/* ---- attributes --------------------------------------------------------------------------------
 */

static const char *const kinds[] = {"devdax", "fsdax", "file", "shm",
                                    "memfd",  "block", "bar",  NULL};

static int get_size(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)memory_of(dev)->size;
    return 0;
}

static int get_alignment(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)memory_of(dev)->alignment;
    return 0;
}

static int get_kind(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    strcpy(out->s, kinds[memory_of(dev)->kind]);
    return 0;
}

static int get_persistent(struct hal_device *dev, const struct hal_attribute *attr,
                          struct hal_value *out)
{
    (void)attr;
    out->b = memory_of(dev)->persistent;
    return 0;
}

static int get_read_only(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    out->b = memory_of(dev)->read_only;
    return 0;
}

static int get_numa_node(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    const struct memory *memory = memory_of(dev);

    (void)attr;
    if (*memory->sysfs)
        return read_number(memory->sysfs, "numa_node", &out->i);
    out->i = memory->node;
    return 0;
}

static const struct hal_attribute attributes[] = {
    {.name = "size",
     .unit = "B",
     .doc = "Bytes; for a file its own size when not given.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN | HAL_ATTR_READ,
     .max = (double)INT64_MAX,
     .get = get_size},
    {.name = "create",
     .doc = "Make the file or shared memory when it is not there, and extend it to size.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "false"},
    {.name = "read_only",
     .doc = "Refuse every store.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN | HAL_ATTR_READ,
     .initial = "false",
     .get = get_read_only},
    {.name = "enable",
     .doc = "Enable a PCI device that is disabled.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "false"},
    {.name = "huge",
     .unit = "B",
     .doc = "Size of the pages of a memfd; 0: ordinary ones.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .max = (double)(1ll << 40),
     .initial = "0"},
    {.name = "node",
     .doc = "NUMA node to place shared memory or a memfd on; -1: the kernel chooses.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .min = -1,
     .max = 1023,
     .initial = "-1"},
    {.name = "interleave",
     .doc = "NUMA nodes to spread its pages over in turn, as 0,2-3.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_OPEN},
    {.name = "alignment",
     .unit = "B",
     .doc = "What mappings begin and end at: the size of a page, or devdax's alignment.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_alignment},
    {.name = "kind",
     .doc = "What it is.",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_READ,
     .choices = kinds,
     .get = get_kind},
    {.name = "persistent",
     .doc = "It keeps what was made to last when power fails.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_READ,
     .get = get_persistent},
    {.name = "numa_node",
     .doc = "NUMA node nearest to a dax or PCI device, or the one asked for; -1: none.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_numa_node},
};

/* ---- opening -----------------------------------------------------------------------------------
 */

bool option(const struct hal_device *dev, const char *name)
{
    struct hal_value value;

    return hal_device_option(dev, name, &value) >= 0 && value.b;
}

int64_t number_option(const struct hal_device *dev, const char *name)
{
    struct hal_value value;

    return hal_device_option(dev, name, &value) >= 0 ? value.i : 0;
}

static int map_all(struct hal_device *dev, struct memory *memory)
{
    int protection = memory->read_only ? PROT_READ : PROT_READ | PROT_WRITE;
    struct hal_mapping all = {.length = (size_t)memory->size};
    int err;

    if (memory->kind == KIND_BAR)
        err = map_bar(memory, 0, all.length,
                      memory->read_only ? HAL_MAP_READ : HAL_MAP_READ | HAL_MAP_WRITE, &all);
    else
        err = map_part(dev, memory, 0, all.length, protection, MAP_SHARED, &all.base,
                       &all.base_length);
    memory->base = all.base;
    memory->base_length = all.base_length;
    return err;
}

/* Map all of it, place it, and ask what it is. */
static int set_up(struct hal_device *dev, struct memory *memory)
{
    struct hal_mapping_facts facts;
    int err = map_all(dev, memory);

    if (err)
        return err;
    err = place_memory(dev, memory);
    if (!err)
        err = reserve_memory(dev, memory);
    if (err) {
        munmap(memory->base, memory->base_length);
        return err;
    }
    if (memory->kind == KIND_DEVDAX || memory->kind == KIND_FSDAX)
        memory->persistent = !hal_cache_query(memory->base, 1, &facts, sizeof(facts)) &&
                             facts.kind == HAL_MEMORY_PERSISTENT;
    return 0;
}

static int memory_init(struct hal_device *dev)
{
    struct memory *memory = calloc(1, sizeof(*memory));
    int err;

    if (!memory)
        return -ENOMEM;
    memory->read_only = option(dev, "read_only");
    memory->node = number_option(dev, "node");
    err = find_memory(dev, memory);
    if (!err && memory->fd >= 0) /* as descriptors of devices are; memory never waits anyway */
        err = fcntl(memory->fd, F_SETFL, fcntl(memory->fd, F_GETFL) | O_NONBLOCK) ? -errno : 0;
    if (!err)
        err = set_up(dev, memory);
    if (err) {
        close_bar(memory);
        free(memory);
        return err;
    }
    hal_device_set_state(dev, memory);
    if (memory->kind == KIND_DEVDAX)
        set_dax_attributes(dev);
    return 0;
}

static void memory_fini(struct hal_device *dev)
{
    struct memory *memory = memory_of(dev);

    munmap(memory->base, memory->base_length);
    close_bar(memory);
    free(memory);
}

static const struct hal_match matches[] = {
    {"subsystem:dax", "{node}", "a device-DAX range"},
    {"subsystem:block/pmem*", "{node}", "a persistent-memory disk"},
};

static const struct driver_ops memory_ops = {
    .init = memory_init,
    .read = memory_read,
    .write = memory_write,
    .fini = memory_fini,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Memory with a name: devdax, pmem and other files, CXL regions, shared memory",
    .address = "/dev/daxX.Y | FILE | shm:/NAME | memfd:NAME | fd:N | PCI/BAR",
    .load = memory_load,
    .store = memory_store,
    .read_at = memory_read_at,
    .write_at = memory_write_at,
    .map = memory_map,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("memory", &memory_ops, "0.1.0");
