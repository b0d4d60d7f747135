/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "iio.h"

int sysfs_read(const char *path, char *out, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    *out = '\0';
    if (fd < 0)
        return -errno;
    n = read(fd, out, size - 1);
    if (n < 0) {
        int err = -errno;
        close(fd);
        return err;
    }
    close(fd);
    while (n > 0 && (out[n - 1] == '\n' || out[n - 1] == ' '))
        n--;
    out[n] = '\0';
    return 0;
}

/* strtod(3) heeds the locale; the kernel writes [-]digits[.digits], perhaps with a unit behind. */
static int parse_number(const char *text, double *out)
{
    double value = 0, step = 1;
    bool negative = *text == '-', any = false;

    text += negative || *text == '+';
    for (; *text >= '0' && *text <= '9'; text++, any = true)
        value = value * 10 + (*text - '0');
    if (*text == '.')
        for (text++; *text >= '0' && *text <= '9'; text++, any = true)
            value += (*text - '0') * (step /= 10);
    *out = negative ? -value : value;
    return any ? 0 : -EPROTO;
}

int sysfs_number(const char *path, double *out)
{
    char text[TEXT_SIZE];
    int err = sysfs_read(path, text, sizeof(text));

    return err ? err : parse_number(text, out);
}

int sysfs_write(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CLOEXEC);
    int err = 0;

    if (fd < 0)
        return -errno;
    if (write(fd, *text ? text : "\n", *text ? strlen(text) : 1) < 0)
        err = -errno;
    close(fd);
    return err;
}

bool sysfs_exists(const char *path)
{
    return *path && access(path, F_OK) == 0;
}

int sysfs_fail(struct hal_device *dev, int err, const char *operation, const char *path)
{
    const struct iio *iio = hal_device_state(dev);
    struct stat st;

    if (err == -EINTR)
        return err;
    if (err == -ENODEV || access(iio->folder, F_OK))
        return hal_fail(-ENODEV, operation, hal_device_uri(dev), "the device was removed");
    if ((err == -EACCES || err == -EPERM) && stat(path, &st) == 0)
        return hal_fail(err, operation, path,
                        "owner uid %u, gid %u, mode %04o; to get access: a udev rule "
                        "SUBSYSTEM==\"iio\", RUN+=\"/bin/sh -c 'chgrp -R iio /sys%%p && chmod -R "
                        "g=u /sys%%p'\" and: sudo usermod -aG iio %s",
                        st.st_uid, st.st_gid, st.st_mode & 07777u,
                        getenv("USER") ? getenv("USER") : "YOU");
    if (err == -EBUSY)
        return hal_fail(err, operation, path, "not while the buffer captures");
    return hal_fail(err, operation, path, NULL);
}

int sysfs_change(struct hal_device *dev, struct iio *iio, const char *operation, const char *path,
                 const char *text)
{
    struct undo *undo = calloc(1, sizeof(*undo));
    int err = undo ? sysfs_read(path, undo->text, sizeof(undo->text)) : -ENOMEM;

    if (!err && strcmp(undo->text, text) == 0) {
        free(undo);
        return 0;
    }
    if (!err)
        err = sysfs_write(path, text);
    if (err) {
        free(undo);
        return sysfs_fail(dev, err, operation, path);
    }
    snprintf(undo->path, sizeof(undo->path), "%s", path);
    undo->next = iio->undo;
    iio->undo = undo;
    return 0;
}

/* What cannot be put back (the device is gone) is nobody's any more. */
void sysfs_undo(struct iio *iio)
{
    struct undo *undo;

    while ((undo = iio->undo)) {
        iio->undo = undo->next;
        sysfs_write(undo->path, undo->text);
        free(undo);
    }
}
