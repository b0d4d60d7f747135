/* SPDX-License-Identifier: Apache-2.0 */
/* Opening device nodes, with errors that say what to do. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <pwd.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "internal.h"

#define TEXT_SIZE 512

struct text {
    char s[TEXT_SIZE];
    size_t used;
    bool cut;
};

static HAL_PRINTF(2, 3) void add(struct text *text, const char *format, ...)
{
    va_list args;
    int n;

    va_start(args, format);
    n = vsnprintf(text->s + text->used, sizeof(text->s) - text->used, format, args);
    va_end(args);
    if (n > 0)
        text->used += (size_t)n;
    if (text->used >= sizeof(text->s)) {
        text->cut = true;
        text->used = sizeof(text->s) - 1;
        memcpy(text->s + text->used - 3, "...", 3);
    }
}

/* ---- permission ----------------------------------------------------------------------------- */

static const char *user_name(uid_t uid, char *out, size_t size)
{
    char scratch[1024];
    struct passwd entry, *found = NULL;

    getpwuid_r(uid, &entry, scratch, sizeof(scratch), &found);
    if (found)
        snprintf(out, size, "%s", entry.pw_name);
    else
        snprintf(out, size, "%u", uid);
    return out;
}

static const char *group_name(gid_t gid, char *out, size_t size)
{
    char scratch[4096];
    struct group entry, *found = NULL;

    getgrgid_r(gid, &entry, scratch, sizeof(scratch), &found);
    if (found)
        snprintf(out, size, "%s", entry.gr_name);
    else
        snprintf(out, size, "%u", gid);
    return out;
}

static void add_own_groups(struct text *text)
{
    gid_t groups[64];
    int count = getgroups((int)COUNT_OF(groups), groups);
    char name[64];

    if (count <= 0) {
        groups[0] = getegid();
        count = 1;
    }
    for (int i = 0; i < count; i++)
        add(text, "%s%s", i ? ", " : "", group_name(groups[i], name, sizeof(name)));
}

/* What gives this user the rights: membership where the group has them, else a udev rule. */
static void add_remedy(struct text *text, const char *path, const struct stat *node, int flags)
{
    mode_t need = (flags & O_ACCMODE) == O_RDONLY   ? S_IRGRP
                  : (flags & O_ACCMODE) == O_WRONLY ? S_IWGRP
                                                    : S_IRGRP | S_IWGRP;
    const char *base = strrchr(path, '/');
    char group[64], user[64];

    if ((node->st_mode & need) == need && node->st_gid != 0)
        add(text, "; to get access: sudo usermod -aG %s %s, then log in again",
            group_name(node->st_gid, group, sizeof(group)),
            user_name(geteuid(), user, sizeof(user)));
    else
        add(text,
            "; to get access: a udev rule KERNEL==\"%s\", GROUP=\"%s\", MODE=\"0660\" in "
            "/etc/udev/rules.d, then: sudo udevadm trigger",
            base ? base + 1 : path, group_name(getegid(), group, sizeof(group)));
}

static int say_no_permission(int err, const char *path, int flags)
{
    char owner[64], group[64];
    struct text text = {.used = 0};
    struct stat node;

    if (stat(path, &node))
        return hal_fail(err, "open", path, "a folder on the way to it may not be entered");
    add(&text, "owner %s:%s, mode %04o; you are in: ", user_name(node.st_uid, owner, sizeof(owner)),
        group_name(node.st_gid, group, sizeof(group)), node.st_mode & 07777);
    add_own_groups(&text);
    add_remedy(&text, path, &node, flags);
    return hal_fail(err, "open", path, "%s", text.s);
}

/* ---- who holds a node ----------------------------------------------------------------------- */

static bool same_node(const struct stat *a, const struct stat *b)
{
    if ((S_ISCHR(a->st_mode) || S_ISBLK(a->st_mode)) &&
        (a->st_mode & S_IFMT) == (b->st_mode & S_IFMT))
        return a->st_rdev == b->st_rdev;
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino;
}

static bool process_holds(const char *pid, const struct stat *node)
{
    char path[PATH_MAX];
    struct dirent *entry;
    struct stat open_file;
    bool holds = false;
    DIR *fds;

    snprintf(path, sizeof(path), "/proc/%s/fd", pid);
    fds = opendir(path);
    if (!fds)
        return false;
    while (!holds && (entry = readdir(fds)))
        holds = entry->d_name[0] != '.' && !fstatat(dirfd(fds), entry->d_name, &open_file, 0) &&
                same_node(node, &open_file);
    closedir(fds);
    return holds;
}

static void add_process(struct text *text, const char *pid)
{
    char path[64], name[32] = "?";
    FILE *comm;

    snprintf(path, sizeof(path), "/proc/%.20s/comm", pid);
    comm = fopen(path, "re");
    if (comm) {
        if (fgets(name, sizeof(name), comm))
            name[strcspn(name, "\n")] = '\0';
        fclose(comm);
    }
    add(text, "%spid %s (%s)", text->used ? ", " : "", pid, name);
}

static void find_holders(struct text *text, const char *path)
{
    struct dirent *entry;
    struct stat node;
    DIR *proc;

    if (stat(path, &node))
        return;
    proc = opendir("/proc");
    if (!proc)
        return;
    while (!text->cut && (entry = readdir(proc)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' &&
            process_holds(entry->d_name, &node))
            add_process(text, entry->d_name);
    closedir(proc);
}

long hal_node_holders(const char *path, char *out, size_t size)
{
    struct text text = {.used = 0};
    uint32_t mark = error_begin();

    if (!path || !out || !size)
        return error_end(mark, -EFAULT, "holders", path);
    find_holders(&text, path);
    snprintf(out, size, "%s", text.s);
    if (text.cut || text.used >= size)
        return error_end(mark, -ENAMETOOLONG, "holders", path);
    return (long)text.used;
}

static int say_busy(int err, const char *path)
{
    struct text text = {.used = 0};

    find_holders(&text, path);
    if (text.used)
        return hal_fail(err, "open", path, "held by %s", text.s);
    return hal_fail(err, "open", path, "/proc does not show by whom");
}

/* ---- a node that is not there --------------------------------------------------------------- */

/* Neighbours with the same letters up to the first digit: ttyUSB1 for ttyUSB0. */
static int say_missing(int err, const char *path)
{
    const char *base = strrchr(path, '/') ? strrchr(path, '/') + 1 : path;
    size_t letters = strcspn(base, "0123456789");
    char folder[PATH_MAX];
    struct text text = {.used = 0};
    struct dirent **entries;
    int count;

    snprintf(folder, sizeof(folder), "%.*s", (int)(base - path), path);
    count = scandir(*folder ? folder : ".", &entries, NULL, versionsort);
    for (int i = 0; i < count; i++) {
        if (letters && !strncmp(entries[i]->d_name, base, letters))
            add(&text, "%s%s%s", text.used ? ", " : "", folder, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    if (text.used)
        return hal_fail(err, "open", path, "there are: %s", text.s);
    if (count < 0)
        return hal_fail(err, "open", path, "there is no such folder");
    return hal_fail(err, "open", path, NULL);
}

#define UDEV_TIME_NS 1000000000 /* udev has given a new node its owner and mode by then */
#define UDEV_STEP_NS 20000000

/* A node that has just appeared belongs to root until udev has got to it. */
static bool is_new(const char *path)
{
    struct timespec now;
    struct stat node;

    if (stat(path, &node) || clock_gettime(CLOCK_REALTIME, &now))
        return false;
    return now.tv_sec - node.st_ctim.tv_sec <= 1 && node.st_uid == 0 && !access("/run/udev", F_OK);
}

/* open(2), again for a short while where udev may still be at work. Negative errno. */
static int open_patiently(const char *path, int flags)
{
    const struct timespec step = {.tv_nsec = UDEV_STEP_NS};
    int64_t give_up = hal_now() + UDEV_TIME_NS;
    int fd;

    for (;;) {
        fd = open(path, flags | O_CLOEXEC);
        if (fd >= 0)
            return fd;
        fd = -errno;
        if (fd != -EACCES || hal_now() >= give_up || !is_new(path))
            return fd;
        nanosleep(&step, NULL);
    }
}

int hal_open_node(const char *path, int flags)
{
    int err;

    if (!path)
        return hal_fail(-EFAULT, "open", NULL, NULL);
    err = open_patiently(path, flags);
    if (err >= 0)
        return err;
    switch (-err) {
    case EACCES:
    case EPERM:
        return say_no_permission(err, path, flags);
    case EBUSY:
        return say_busy(err, path);
    case ENOENT:
        return say_missing(err, path);
    case ENXIO:
    case ENODEV:
        return hal_fail(err, "open", path, "the node is there, its hardware or driver is not");
    default:
        return hal_fail(err, "open", path, NULL);
    }
}

long hal_node_read_text(const char *path, char *out, size_t size)
{
    int fd = path && out && size ? hal_open_node(path, O_RDONLY) : -EFAULT;
    ssize_t n;

    if (fd < 0)
        return fd;
    n = read(fd, out, size);
    if (n < 0)
        n = hal_fail(-errno, "read", path, NULL);
    else if ((size_t)n == size)
        n = hal_fail(-ENAMETOOLONG, "read", path, "more than %zu bytes", size - 1);
    close(fd);
    if (n < 0)
        return n;
    if (n && out[n - 1] == '\n')
        n--;
    out[n] = '\0';
    return n;
}

int hal_node_write_text(const char *path, const char *text)
{
    int fd = path && text ? hal_open_node(path, O_WRONLY) : -EFAULT;
    int err = 0;

    if (fd < 0)
        return fd;
    if (write(fd, text, strlen(text)) < 0)
        err = hal_fail(-errno, "write", path, "the kernel refuses \"%s\"", text);
    close(fd);
    return err;
}
