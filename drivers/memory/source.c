/* SPDX-License-Identifier: Apache-2.0 */
/* Where memory comes from: a dax device, a file, shared memory, a memfd, a descriptor. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "memory.h"

#ifndef STATX_ATTR_DAX
#define STATX_ATTR_DAX 0x00200000
#endif
#ifndef MFD_HUGE_SHIFT
#define MFD_HUGE_SHIFT 26
#endif

static int fail_address(struct hal_device *dev, const char *cause)
{
    return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev), "%s", cause);
}

/* ---- what a descriptor is ----------------------------------------------------------------------
 */

/* While somebody still holds a dax device that was taken from its driver, it can be opened, and
 * some kernels crash when it is then mapped. */
static int check_dax_driver(const struct memory *memory)
{
    char driver[PATH_MAX + 8];

    snprintf(driver, sizeof(driver), "%s/driver", memory->sysfs);
    return access(driver, F_OK) ? hal_fail(-ENODEV, "open", memory->path,
                                           "no kernel driver has it (bind device_dax to it)")
                                : 0;
}

/* A dax device: size and alignment are its folder's, and a mapping keeps to the alignment. */
static int take_dax(struct hal_device *dev, struct memory *out, const struct stat *node)
{
    char link[64], subsystem[PATH_MAX], path[PATH_MAX + 16];
    int64_t size, align;
    int err;

    snprintf(link, sizeof(link), "/sys/dev/char/%u:%u", major(node->st_rdev), minor(node->st_rdev));
    if (!realpath(link, out->sysfs))
        return hal_fail(-errno, "open", out->path, "%s", link);
    snprintf(path, sizeof(path), "%s/subsystem", out->sysfs);
    if (!realpath(path, subsystem) || !strstr(subsystem, "/dax"))
        return hal_fail_plain(
            -ENOTSUP, "open", out->path,
            "neither a dax device nor a file (registers are for the driver mmio)");
    err = check_dax_driver(out);
    if (!err)
        err = read_number(out->sysfs, "size", &size);
    if (!err)
        err = read_number(out->sysfs, "align", &align);
    if (err)
        return err;
    if (size <= 0 || align <= 0 || (align & (align - 1)))
        return hal_fail_plain(-ENXIO, "open", out->path,
                              "the device has %" PRId64 " bytes, aligned to %" PRId64
                              " (daxctl reconfigure-device)",
                              size, align);
    if (number_option(dev, "size") > size)
        return hal_fail_plain(-ERANGE, "open", out->path,
                              "size=%" PRId64 ", but the device has %" PRId64 " bytes",
                              number_option(dev, "size"), size);
    out->kind = KIND_DEVDAX;
    out->size = (uint64_t)(number_option(dev, "size") ? number_option(dev, "size") : size);
    out->alignment = (uint64_t)align;
    return 0;
}

static bool is_dax_file(int fd)
{
    struct statx facts;

    return !statx(fd, "", AT_EMPTY_PATH, 0, &facts) && facts.stx_attributes & STATX_ATTR_DAX;
}

/* A file: extended when it is to be created, else it must be large enough. */
static int take_file(struct hal_device *dev, struct memory *out, bool create)
{
    uint64_t wanted = (uint64_t)number_option(dev, "size"), whole = wanted;
    struct statfs system;
    struct stat file;

    if (fstatfs(out->fd, &system) || fstat(out->fd, &file))
        return hal_fail(-errno, "open", out->path, NULL);
    out->alignment = (uint64_t)sysconf(_SC_PAGESIZE);
    if (system.f_type == HUGETLBFS_MAGIC) { /* which has whole pages only */
        out->alignment = (uint64_t)system.f_bsize;
        whole = (wanted + out->alignment - 1) & ~(out->alignment - 1);
    }
    if (out->kind == KIND_FILE && is_dax_file(out->fd))
        out->kind = KIND_FSDAX;
    out->persistent = (out->kind == KIND_FILE || out->kind == KIND_FSDAX) &&
                      system.f_type != TMPFS_MAGIC && system.f_type != RAMFS_MAGIC &&
                      system.f_type != HUGETLBFS_MAGIC;
    if (create && wanted > (uint64_t)file.st_size) {
        if (ftruncate(out->fd, (off_t)whole))
            return hal_fail(-errno, "open", out->path, "extend to %" PRIu64 " bytes", whole);
        file.st_size = (off_t)whole;
    }
    if (!file.st_size)
        return hal_fail_plain(-EINVAL, "open", out->path,
                              "it is empty: give a size, and create=true (?size=1MiB&create=true)");
    if (wanted > (uint64_t)file.st_size)
        return hal_fail_plain(-ERANGE, "open", out->path,
                              "size=%" PRIu64 ", but it has %lld bytes (create=true extends it)",
                              wanted, (long long)file.st_size);
    out->size = wanted ? wanted : (uint64_t)file.st_size;
    return 0;
}

/* A disk in the page cache, a pmem one usually: kernels give no DAX mapping of it. */
static int take_block(struct hal_device *dev, struct memory *out)
{
    int64_t wanted = number_option(dev, "size"), size = lseek(out->fd, 0, SEEK_END);

    if (size <= 0)
        return hal_fail_plain(-ENXIO, "open", out->path, "the disk has no bytes");
    if (wanted > size)
        return hal_fail_plain(-ERANGE, "open", out->path,
                              "size=%" PRId64 ", but it has %" PRId64 " bytes", wanted, size);
    out->kind = KIND_BLOCK;
    out->persistent = true;
    out->size = (uint64_t)(wanted ? wanted : size);
    out->alignment = (uint64_t)sysconf(_SC_PAGESIZE);
    return 0;
}

/* ---- opening it --------------------------------------------------------------------------------
 */

static int access_flags(const struct memory *memory)
{
    return memory->read_only ? O_RDONLY : O_RDWR;
}

/* A disk that a mounted file system is on is not written behind its back: O_EXCL is -EBUSY then. */
static int node_flags(const struct memory *memory, const char *path)
{
    struct stat node;
    bool disk = !stat(path, &node) && S_ISBLK(node.st_mode);

    return access_flags(memory) | (disk && !memory->read_only ? O_EXCL : 0);
}

static int check_create(struct hal_device *dev, const struct memory *memory)
{
    if (option(dev, "create") && memory->read_only)
        return fail_address(dev, "create=true and read_only=true exclude each other");
    if (option(dev, "create") && number_option(dev, "size") <= 0)
        return fail_address(dev, "create=true needs a size (?size=1MiB)");
    return 0;
}

static int open_path(struct hal_device *dev, struct memory *out, const char *path)
{
    struct stat node;
    bool create = option(dev, "create") && (stat(path, &node) || S_ISREG(node.st_mode));
    int err = check_create(dev, out);

    if (err)
        return err;
    snprintf(out->path, sizeof(out->path), "%s", path);
    out->fd = create ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
    if (create && out->fd < 0)
        return hal_fail(-errno, "open", path, "create");
    if (!create)
        out->fd = hal_open_node(path, node_flags(out, path));
    if (out->fd < 0)
        return out->fd;
    hal_device_set_fd(dev, out->fd);
    if (fstat(out->fd, &node))
        return hal_fail(-errno, "open", path, NULL);
    out->kind = KIND_FILE;
    if (S_ISCHR(node.st_mode))
        return take_dax(dev, out, &node);
    if (S_ISBLK(node.st_mode))
        return take_block(dev, out);
    if (!S_ISREG(node.st_mode))
        return hal_fail_plain(-ENOTSUP, "open", path, "neither a dax device nor a file");
    return take_file(dev, out, create);
}

static int open_shm(struct hal_device *dev, struct memory *out, const char *name)
{
    bool create = option(dev, "create");
    int err = check_create(dev, out);

    if (err)
        return err;
    if (name[0] != '/' || !name[1] || strchr(name + 1, '/'))
        return fail_address(dev,
                            "a name of shared memory is one '/' and then no other (shm:/name)");
    snprintf(out->path, sizeof(out->path), "/dev/shm%s", name);
    out->kind = KIND_SHM;
    out->fd = shm_open(name, access_flags(out) | (create ? O_CREAT : 0), 0600);
    if (out->fd < 0)
        return hal_fail(-errno, "open", out->path,
                        errno == ENOENT ? "nobody has made it: create=true does" : NULL);
    hal_device_set_fd(dev, out->fd);
    return take_file(dev, out, create);
}

/* MFD_HUGETLB with the logarithm of the pages' size; 0: ordinary pages. */
static int huge_flags(struct hal_device *dev, unsigned *flags)
{
    uint64_t huge = (uint64_t)number_option(dev, "huge");

    if (!huge)
        return 0;
    if (huge & (huge - 1) || huge <= (uint64_t)sysconf(_SC_PAGESIZE))
        return fail_address(dev, "huge= is the size of a huge page: 2MiB, 1GiB (ls "
                                 "/sys/kernel/mm/hugepages lists what there is)");
    *flags |= MFD_HUGETLB | (unsigned)__builtin_ctzll(huge) << MFD_HUGE_SHIFT;
    return 0;
}

static int open_memfd(struct hal_device *dev, struct memory *out, const char *name)
{
    unsigned flags = MFD_CLOEXEC;
    int err = huge_flags(dev, &flags);

    if (err)
        return err;
    if (number_option(dev, "size") <= 0)
        return fail_address(dev, "a memfd needs a size (?size=1MiB)");
    if (out->read_only)
        return fail_address(dev, "a new memfd that is read only stays empty");
    snprintf(out->path, sizeof(out->path), "memfd:%s", name);
    out->kind = KIND_MEMFD;
    out->fd = memfd_create(name, flags);
    if (out->fd < 0)
        return hal_fail(-errno, "open", out->path,
                        flags & MFD_HUGETLB ? "no huge pages of that size here: ls "
                                              "/sys/kernel/mm/hugepages lists what there is"
                                            : NULL);
    hal_device_set_fd(dev, out->fd);
    return take_file(dev, out, true);
}

/* A descriptor of this process, usually one that another process has sent; it stays the caller's.
 */
static int open_fd(struct hal_device *dev, struct memory *out, const char *text)
{
    char link[64], target[PATH_MAX];
    struct stat node;
    char *end;
    long number = strtol(text, &end, 10);
    ssize_t n;

    if (end == text || *end || number < 0 || number > INT_MAX)
        return fail_address(dev, "fd: is followed by the number of a descriptor");
    out->fd = fcntl((int)number, F_DUPFD_CLOEXEC, 0);
    if (out->fd < 0)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "this process has no descriptor %ld", number);
    hal_device_set_fd(dev, out->fd);
    snprintf(link, sizeof(link), "/proc/self/fd/%d", out->fd);
    n = readlink(link, target, sizeof(target) - 1);
    if (n < 0 || fstat(out->fd, &node))
        return hal_fail(-errno, "open", hal_device_uri(dev), NULL);
    target[n] = '\0';
    strcpy(out->path, target[0] == '/' && strncmp(target, "/memfd:", 7) ? target : target + 1);
    out->read_only |= (fcntl(out->fd, F_GETFL) & O_ACCMODE) == O_RDONLY;
    out->kind = !strncmp(target, "/memfd:", 7)     ? KIND_MEMFD
                : !strncmp(target, "/dev/shm/", 9) ? KIND_SHM
                                                   : KIND_FILE;
    if (S_ISCHR(node.st_mode))
        return take_dax(dev, out, &node);
    if (!S_ISREG(node.st_mode))
        return hal_fail_plain(-ENOTSUP, "open", hal_device_uri(dev),
                              "%s is no memory (a dma-buf is for the driver dmabuf)", target);
    return take_file(dev, out, false);
}

int find_memory(struct hal_device *dev, struct memory *out)
{
    const char *address = hal_device_address(dev);

    if (number_option(dev, "huge") && strncmp(address, "memfd:", 6))
        return fail_address(dev, "huge= is for memfd; a file on hugetlbfs has huge pages anyway");
    if (!strncmp(address, "shm:", 4))
        return open_shm(dev, out, address + 4);
    if (!strncmp(address, "memfd:", 6))
        return open_memfd(dev, out, address + 6);
    if (!strncmp(address, "fd:", 3))
        return open_fd(dev, out, address + 3);
    if (address[0] == '/')
        return open_path(dev, out, address);
    if (is_bar(address))
        return open_bar(dev, out, address);
    return fail_address(dev, "say /dev/daxX.Y, a file's whole path, shm:/NAME, memfd:NAME, fd:N or "
                             "a PCI device's BAR (0000:00:04.0/2)");
}

/* Without it a full disk, or a /dev/shm of 64 MiB, would be a SIGBUS at some store. */
int reserve_memory(struct hal_device *dev, const struct memory *memory)
{
    if (memory->kind == KIND_DEVDAX || memory->kind == KIND_MEMFD || memory->kind == KIND_BAR ||
        !option(dev, "create"))
        return 0;
    if (fallocate(memory->fd, 0, 0, (off_t)memory->size) && errno != EOPNOTSUPP)
        return hal_fail(-errno, "open", memory->path, "take %" PRIu64 " bytes", memory->size);
    return 0;
}
