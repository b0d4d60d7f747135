/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dmabuf: buffers shared with devices, allocated from a heap of the kernel or taken over.
 *
 *     dmabuf:system?size=1MiB      from /dev/dma_heap/system
 *     dmabuf:fd:7                  a descriptor that another driver or process has given
 *
 * Blocks are copied between DMA_BUF_SYNC_START and _END; mappings are the user's to bracket
 * (hal/dmabuf.h). Sources: Documentation/driver-api/dma-buf.rst,
 * Documentation/userspace-api/dma-buf-heaps.rst.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <linux/dma-buf.h>
#include <linux/dma-heap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <hal/dmabuf.h>
#include <hal/driver.h>

#define HEAPS "/dev/dma_heap"

struct dmabuf {
    int fd; /* the library's: it closes it */
    uint64_t size;
    uint8_t *base; /* NULL: its exporter maps none; then map_errno says why */
    int map_errno;
    bool read_only;
    char exporter[HAL_TEXT_MAX]; /* who made it: "system", a driver's name */
};

static struct dmabuf *dmabuf_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* ---- access of the processor -------------------------------------------------------------------
 */

/* DMA_BUF_SYNC_READ and _WRITE are the bits of enum hal_dmabuf_flag. */
static int sync_access(struct hal_device *dev, uint64_t flags)
{
    struct dma_buf_sync sync = {.flags = flags};

    if (!ioctl(dmabuf_of(dev)->fd, DMA_BUF_IOCTL_SYNC, &sync))
        return 0;
    if (errno == EINTR || errno == EAGAIN)
        return -EINTR;
    return hal_fail(-errno, flags & DMA_BUF_SYNC_END ? "end access" : "begin access",
                    hal_device_uri(dev), NULL);
}

static int check_range(struct hal_device *dev, const char *operation, uint64_t offset, size_t len)
{
    uint64_t size = dmabuf_of(dev)->size;

    if (offset <= size && len <= size - offset)
        return 0;
    return hal_fail_plain(-ERANGE, operation, hal_device_uri(dev),
                          "offset 0x%" PRIx64 " + %zu is beyond its %" PRIu64 " bytes", offset, len,
                          size);
}

/* In range, mapped, and writable when `writes`. */
static int check_access(struct hal_device *dev, const char *operation, uint64_t offset, size_t len,
                        bool writes)
{
    const struct dmabuf *buffer = dmabuf_of(dev);
    int err = check_range(dev, operation, offset, len);

    if (err)
        return err;
    if (!buffer->base)
        return hal_fail(-EOPNOTSUPP, operation, hal_device_uri(dev),
                        "its exporter \"%s\" gives the processor no access (%s)", buffer->exporter,
                        strerror(buffer->map_errno));
    if (writes && buffer->read_only)
        return hal_fail(-EACCES, operation, hal_device_uri(dev), "the descriptor is read only");
    return 0;
}

static ssize_t dmabuf_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                              hal_deadline until)
{
    const struct dmabuf *buffer = dmabuf_of(dev);
    int err = check_access(dev, "read", offset, 1, false);

    (void)until;
    if (!err)
        err = sync_access(dev, DMA_BUF_SYNC_START | DMA_BUF_SYNC_READ);
    if (err)
        return err;
    if (len > buffer->size - offset)
        len = (size_t)(buffer->size - offset);
    memcpy(buf, buffer->base + offset, len);
    err = sync_access(dev, DMA_BUF_SYNC_END | DMA_BUF_SYNC_READ);
    return err ? err : (ssize_t)len;
}

static ssize_t dmabuf_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                               hal_deadline until)
{
    const struct dmabuf *buffer = dmabuf_of(dev);
    int err = check_access(dev, "write", offset, 1, true);

    (void)until;
    if (!err)
        err = sync_access(dev, DMA_BUF_SYNC_START | DMA_BUF_SYNC_WRITE);
    if (err)
        return err;
    if (len > buffer->size - offset)
        len = (size_t)(buffer->size - offset);
    memcpy(buffer->base + offset, buf, len);
    err = sync_access(dev, DMA_BUF_SYNC_END | DMA_BUF_SYNC_WRITE);
    return err ? err : (ssize_t)len;
}

static ssize_t dmabuf_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "read", hal_device_uri(dev),
                    "a buffer is no stream: use hal_read_at() or hal_map()");
}

static ssize_t dmabuf_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "write", hal_device_uri(dev),
                    "a buffer is no stream: use hal_write_at() or hal_map()");
}

/* ---- mapping -----------------------------------------------------------------------------------
 */

static int dmabuf_map(struct hal_device *dev, struct hal_mapping *mapping)
{
    const struct dmabuf *buffer = dmabuf_of(dev);
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE), first = mapping->offset & ~(page - 1);
    int protection = (mapping->flags & HAL_MAP_READ ? PROT_READ : 0) |
                     (mapping->flags & HAL_MAP_WRITE ? PROT_WRITE : 0);
    int err = check_access(dev, "map", mapping->offset, mapping->length ? mapping->length : 1,
                           mapping->flags & HAL_MAP_WRITE);

    if (err)
        return err;
    if (mapping->flags & (HAL_MAP_WRITE_COMBINE | HAL_MAP_SYNC))
        return hal_fail(-EOPNOTSUPP, "map", hal_device_uri(dev),
                        "how a dma-buf is cached is its exporter's choice, and it does not last");
    if (!mapping->length)
        mapping->length = (size_t)(buffer->size - mapping->offset);
    mapping->base_length = (size_t)(mapping->offset - first) + mapping->length;
    mapping->base_length = (mapping->base_length + page - 1) & ~(page - 1);
    mapping->base =
        mmap(NULL, mapping->base_length, protection, MAP_SHARED, buffer->fd, (off_t)first);
    if (mapping->base == MAP_FAILED)
        return hal_fail(-errno, "map", hal_device_uri(dev), "%zu bytes", mapping->base_length);
    mapping->address = (uint8_t *)mapping->base + (mapping->offset - first);
    return 0;
}

/* ---- requests ----------------------------------------------------------------------------------
 */

static long give_fd(struct hal_device *dev)
{
    int fd = fcntl(dmabuf_of(dev)->fd, F_DUPFD_CLOEXEC, 0);

    return fd < 0 ? hal_fail(-errno, "give descriptor", hal_device_uri(dev), NULL) : fd;
}

static long access_request(struct hal_device *dev, uint64_t edge, const void *arg, size_t size)
{
    struct hal_dmabuf_access access;

    if (size != sizeof(access))
        return hal_fail_plain(-EINVAL, "control", hal_device_uri(dev),
                              "the argument is a struct hal_dmabuf_access of %zu bytes, not %zu",
                              sizeof(access), size);
    memcpy(&access, arg, sizeof(access));
    if (!access.flags || access.flags & ~(uint32_t)(HAL_DMABUF_READ | HAL_DMABUF_WRITE))
        return hal_fail_plain(-EINVAL, "control", hal_device_uri(dev),
                              "flags 0x%x: HAL_DMABUF_READ, HAL_DMABUF_WRITE or both are needed",
                              access.flags);
    return sync_access(dev, edge | access.flags);
}

static long dmabuf_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                           hal_deadline until)
{
    (void)until;
    switch (request) {
    case HAL_DMABUF_FD:
        return give_fd(dev);
    case HAL_DMABUF_BEGIN:
        return access_request(dev, DMA_BUF_SYNC_START, arg, size);
    case HAL_DMABUF_END:
        return access_request(dev, DMA_BUF_SYNC_END, arg, size);
    default:
        return -ENOTTY;
    }
}

/* ---- attributes --------------------------------------------------------------------------------
 */

static int get_size(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)dmabuf_of(dev)->size;
    return 0;
}

static int get_exporter(struct hal_device *dev, const struct hal_attribute *attr,
                        struct hal_value *out)
{
    (void)attr;
    strcpy(out->s, dmabuf_of(dev)->exporter);
    return 0;
}

static const struct hal_attribute attributes[] = {
    {.name = "size",
     .unit = "B",
     .doc = "Bytes: whole pages; to be given for a new buffer.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN | HAL_ATTR_READ,
     .max = (double)INT64_MAX,
     .get = get_size},
    {.name = "name",
     .doc = "For people who look at /sys/kernel/debug/dma_buf/bufinfo; 31 letters.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_OPEN},
    {.name = "exporter",
     .doc = "Who made it: a heap, a driver.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_exporter},
};

/* ---- opening -----------------------------------------------------------------------------------
 */

/* The heaps that this kernel offers, for messages. */
static void list_heaps(char *out, size_t size)
{
    DIR *folder = opendir(HEAPS);
    const struct dirent *entry;
    size_t length = 0;

    snprintf(out, size, "none (kernel without CONFIG_DMABUF_HEAPS, or modprobe dma-heap)");
    while (folder && (entry = readdir(folder)))
        if (entry->d_name[0] != '.' && length < size)
            length += (size_t)snprintf(out + length, size - length, "%s%s", length ? " " : "",
                                       entry->d_name);
    if (folder)
        closedir(folder);
}

/* Some kernels try to allocate more than the machine has, and kill processes for it. */
static int check_size(struct hal_device *dev, const struct hal_value *size)
{
    int64_t memory = (int64_t)sysconf(_SC_PHYS_PAGES) * sysconf(_SC_PAGESIZE);

    if (size->i <= memory)
        return 0;
    return hal_fail(-ENOMEM, "open", hal_device_uri(dev),
                    "allocate %" PRId64 " bytes: the machine has %" PRId64, size->i, memory);
}

static int allocate(struct hal_device *dev, const char *heap)
{
    struct dma_heap_allocation_data data = {.fd_flags = O_RDWR | O_CLOEXEC};
    struct hal_value size;
    char path[PATH_MAX], heaps[HAL_TEXT_MAX];
    int node, err;

    if (hal_device_option(dev, "size", &size) < 0 || size.i <= 0)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "a new buffer needs a size (?size=1MiB)");
    err = check_size(dev, &size);
    if (err)
        return err;
    if (!*heap || strchr(heap, '/') ||
        snprintf(path, sizeof(path), HEAPS "/%s", heap) >= (int)sizeof(path))
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "say dmabuf:HEAP?size=..., or dmabuf:fd:N");
    node = open(path, O_RDWR | O_CLOEXEC);
    if (node < 0 && errno == ENOENT) {
        list_heaps(heaps, sizeof(heaps));
        return hal_fail(-ENOENT, "open", path, "heaps there are: %s", heaps);
    }
    if (node < 0)
        node = hal_open_node(path, O_RDWR);
    if (node < 0)
        return node;
    data.len = (uint64_t)size.i;
    err = ioctl(node, DMA_HEAP_IOCTL_ALLOC, &data) ? -errno : 0;
    close(node);
    return err ? hal_fail(err, "open", path, "allocate %lld bytes", (long long)size.i)
               : (int)data.fd;
}

/* It stays the caller's: this is one more. */
static int take_over(struct hal_device *dev, const char *text)
{
    char *end;
    long number = strtol(text, &end, 10);
    int fd;

    if (end == text || *end || number < 0 || number > INT_MAX)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "fd: is followed by the number of a descriptor");
    fd = fcntl((int)number, F_DUPFD_CLOEXEC, 0);
    return fd < 0 ? hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                                   "this process has no descriptor %ld", number)
                  : fd;
}

/* The line "exp_name:\tsystem" of /proc/self/fdinfo/N; only a dma-buf has it. */
static int find_exporter(struct hal_device *dev, struct dmabuf *buffer)
{
    char path[64], line[HAL_TEXT_MAX];
    int found = 0;
    FILE *file;

    snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", buffer->fd);
    file = fopen(path, "re");
    if (!file)
        return hal_fail(-errno, "open", path, NULL);
    while (!found && fgets(line, sizeof(line), file))
        found = sscanf(line, "exp_name: %255[^\n]", buffer->exporter);
    fclose(file);
    return found == 1 ? 0
                      : hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                                       "the descriptor is no dma-buf");
}

static int set_name(struct hal_device *dev, const struct dmabuf *buffer)
{
    struct hal_value name;

    if (hal_device_option(dev, "name", &name) < 0)
        return 0;
    if (ioctl(buffer->fd, DMA_BUF_SET_NAME_B, (uint64_t)(uintptr_t)name.s))
        return hal_fail(-errno, "open", hal_device_uri(dev), "name=%s", name.s);
    return 0;
}

static int set_up(struct hal_device *dev, struct dmabuf *buffer)
{
    bool writable = (fcntl(buffer->fd, F_GETFL) & O_ACCMODE) != O_RDONLY;
    off_t size;
    void *base;
    int err = find_exporter(dev, buffer);

    if (!err) /* as descriptors of devices are */
        err = fcntl(buffer->fd, F_SETFL, fcntl(buffer->fd, F_GETFL) | O_NONBLOCK) ? -errno : 0;
    if (!err)
        err = set_name(dev, buffer);
    if (err)
        return err;
    size = lseek(buffer->fd, 0, SEEK_END);
    if (size <= 0)
        return hal_fail(size ? -errno : -EINVAL, "open", hal_device_uri(dev), "its size");
    buffer->size = (uint64_t)size;
    buffer->read_only = !writable;
    base = mmap(NULL, (size_t)size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED,
                buffer->fd, 0);
    buffer->base = base == MAP_FAILED ? NULL : base;
    buffer->map_errno = base == MAP_FAILED ? errno : 0;
    return 0;
}

static int dmabuf_init(struct hal_device *dev)
{
    const char *address = hal_device_address(dev);
    struct dmabuf *buffer = calloc(1, sizeof(*buffer));
    int err;

    if (!buffer)
        return -ENOMEM;
    buffer->fd = strncmp(address, "fd:", 3) ? allocate(dev, address) : take_over(dev, address + 3);
    err = buffer->fd < 0 ? buffer->fd : 0;
    if (!err) {
        hal_device_set_fd(dev, buffer->fd);
        err = set_up(dev, buffer);
    }
    if (err) {
        free(buffer);
        return err;
    }
    hal_device_set_state(dev, buffer);
    return 0;
}

static void dmabuf_fini(struct hal_device *dev)
{
    struct dmabuf *buffer = dmabuf_of(dev);

    if (buffer->base)
        munmap(buffer->base, (size_t)buffer->size);
    free(buffer);
}

static const struct hal_match matches[] = {
    {"subsystem:dma_heap", "{name}", "a heap to allocate from"},
};

static const struct driver_ops dmabuf_ops = {
    .init = dmabuf_init,
    .read = dmabuf_read,
    .write = dmabuf_write,
    .fini = dmabuf_fini,
    .control = dmabuf_control,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "dma-buf: buffers shared with cameras, encoders, GPUs, accelerators",
    .address = "HEAP | fd:N",
    .read_at = dmabuf_read_at,
    .write_at = dmabuf_write_at,
    .map = dmabuf_map,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("dmabuf", &dmabuf_ops, "0.1.0");
