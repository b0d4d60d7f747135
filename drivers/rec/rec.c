/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rec: another device, with every operation written down.
 *
 *     rec:session.halrec,uart:/dev/ttyUSB0?baud=115200
 *
 * The address is the file to write and, behind the first comma, the device's own URI; the options
 * are the device's. The file is text, a line an operation (docs/record.md); `replay` answers from
 * it. Lines are written when an operation has its result, so those of two threads come in the order
 * in which they ended.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hal/attribute.h>
#include <hal/driver.h>

#define SLICE_NS 20000000 /* how long a cancel may go unseen in a device without descriptor */

struct rec {
    hal_handle inner;
    bool has_fd;
    int64_t opened;       /* hal_now() */
    pthread_mutex_t lock; /* over file */
    FILE *file;
    struct hal_attribute *attributes; /* the inner device's, with our get and set */
};

static struct rec *rec_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* ---- the file ---------------------------------------------------------------------------------
 */

static void put_hex(FILE *file, const void *bytes, size_t len)
{
    const uint8_t *b = bytes;

    fputc(' ', file);
    if (!len)
        fputc('-', file);
    for (size_t i = 0; i < len; i++)
        fprintf(file, "%02x", b[i]);
}

/* Begin a line: microseconds since the opening, operation. The file is held until end_line(). */
static FILE *begin_line(struct rec *rec, const char *operation)
{
    pthread_mutex_lock(&rec->lock);
    fprintf(rec->file, "%" PRId64 " %s", (hal_now() - rec->opened) / 1000, operation);
    return rec->file;
}

/* A recording that cannot be written is an error of the operation that would be missing in it. */
static int end_line(struct hal_device *dev)
{
    struct rec *rec = rec_of(dev);
    int err = 0;

    fputc('\n', rec->file);
    if (fflush(rec->file) || ferror(rec->file))
        err = -errno;
    pthread_mutex_unlock(&rec->lock);
    return err ? hal_fail(err, "record", hal_device_uri(dev), NULL) : 0;
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* Devices with a descriptor are waited for by the library; others wait inside, a slice at a time,
 * so that a cancel is seen. */
static hal_deadline slice_end(const struct rec *rec, hal_deadline until)
{
    hal_deadline slice;

    if (rec->has_fd || until <= HAL_NOWAIT)
        return HAL_NOWAIT;
    slice = hal_after(SLICE_NS);
    return slice < until ? slice : until;
}

/* After a slice in which nothing came: go on (0), or why not. */
static int next_slice(struct hal_device *dev, enum hal_lane lane, ssize_t n, hal_deadline slice,
                      hal_deadline until)
{
    if (n != -ETIMEDOUT || slice >= until)
        return (int)n;
    n = hal_device_wait(dev, lane, -1, 0, 1); /* no wait: was it cancelled? */
    return n == -ETIMEDOUT ? 0 : (int)n;
}

static ssize_t rec_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct rec *rec = rec_of(dev);
    hal_deadline slice;
    ssize_t n;
    int err;

    do {
        slice = slice_end(rec, until);
        n = hal_read(rec->inner, buf, len, slice);
    } while (n == -ETIMEDOUT && !(n = next_slice(dev, HAL_LANE_READ, n, slice, until)));
    if (n == -EAGAIN || n == -ETIMEDOUT || n == -ECANCELED || n == -EINTR)
        return n == -EAGAIN ? n : hal_fail_forward((int)n);
    fprintf(begin_line(rec, "read"), " %zu %zd", len, n);
    put_hex(rec->file, buf, n > 0 ? (size_t)n : 0);
    err = end_line(dev);
    return err ? err : n < 0 ? hal_fail_forward((int)n) : n;
}

static ssize_t rec_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    struct rec *rec = rec_of(dev);
    hal_deadline slice;
    ssize_t n;
    int err;

    do {
        slice = slice_end(rec, until);
        n = hal_write(rec->inner, buf, len, slice);
    } while (n == -ETIMEDOUT && !(n = next_slice(dev, HAL_LANE_WRITE, n, slice, until)));
    if (n == -EAGAIN || n == -ETIMEDOUT || n == -ECANCELED || n == -EINTR)
        return n == -EAGAIN ? n : hal_fail_forward((int)n);
    put_hex(begin_line(rec, "write"), buf, n > 0 ? (size_t)n : len);
    fprintf(rec->file, " %zd", n);
    err = end_line(dev);
    return err ? err : n < 0 ? hal_fail_forward((int)n) : n;
}

/* ---- exchanges --------------------------------------------------------------------------------
 */

static ssize_t rec_transfer(struct hal_device *dev, const struct hal_segment *segments,
                            size_t count, hal_deadline until)
{
    struct rec *rec = rec_of(dev);
    ssize_t n = hal_transfer(rec->inner, segments, count, until);
    FILE *file = begin_line(rec, "transfer");
    int err;

    fprintf(file, " %zu %zd", count, n);
    for (size_t i = 0; i < count; i++) {
        fprintf(file, " %zu", segments[i].len);
        put_hex(file, segments[i].tx, segments[i].tx ? segments[i].len : 0);
        put_hex(file, segments[i].rx, segments[i].rx && n >= 0 ? segments[i].len : 0);
    }
    err = end_line(dev);
    return err ? err : n < 0 ? hal_fail_forward((int)n) : n;
}

static long rec_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                        hal_deadline until)
{
    struct rec *rec = rec_of(dev);
    void *given = malloc(size ? size : 1);
    long result;
    int err;

    if (!given)
        return -ENOMEM;
    if (size)
        memcpy(given, arg, size);
    result = hal_control(rec->inner, request, arg, size, until);
    fprintf(begin_line(rec, "control"), " %" PRIu32 " %ld", request, result);
    put_hex(rec->file, given, size);
    put_hex(rec->file, arg, result >= 0 ? size : 0);
    err = end_line(dev);
    free(given);
    return err ? err : result < 0 ? hal_fail_forward((int)result) : result;
}

/* ---- attributes -------------------------------------------------------------------------------
 */

static void put_text(FILE *file, const char *text)
{
    put_hex(file, text, strlen(text));
}

static int rec_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    struct rec *rec = rec_of(dev);
    int err = hal_get(rec->inner, attr->name, out, HAL_FOREVER), failed;
    char text[HAL_TEXT_MAX] = "";

    if (!err && hal_value_format(out, text, sizeof(text)) < 0)
        text[0] = '\0';
    fprintf(begin_line(rec, "get"), " %s %d", attr->name, err);
    put_text(rec->file, text);
    failed = end_line(dev);
    return failed ? failed : err ? hal_fail_forward(err) : 0;
}

static int rec_set(struct hal_device *dev, const struct hal_attribute *attr,
                   const struct hal_value *value)
{
    struct rec *rec = rec_of(dev);
    int err = hal_set(rec->inner, attr->name, value, HAL_FOREVER), failed;
    char text[HAL_TEXT_MAX] = "";

    if (hal_value_format(value, text, sizeof(text)) < 0)
        text[0] = '\0';
    fprintf(begin_line(rec, "set"), " %s %d", attr->name, err);
    put_text(rec->file, text);
    failed = end_line(dev);
    return failed ? failed : err ? hal_fail_forward(err) : 0;
}

/* One line an attribute, so that a replay has the same. */
static void put_attribute(FILE *file, const struct hal_attribute *attr)
{
    fprintf(file, "attribute %s %d %u %.17g %.17g", attr->name, (int)attr->type, attr->access,
            attr->min, attr->max);
    put_text(file, attr->unit ? attr->unit : "");
    put_text(file, attr->doc ? attr->doc : "");
    for (const char *const *choice = attr->choices; choice && *choice; choice++)
        put_text(file, *choice);
    fputc('\n', file);
}

static int take_attributes(struct hal_device *dev, struct rec *rec)
{
    long count = hal_attribute_count(rec->inner);

    if (count < 0)
        return hal_fail_forward((int)count);
    rec->attributes = calloc((size_t)count + 1, sizeof(*rec->attributes));
    if (!rec->attributes)
        return -ENOMEM;
    for (long i = 0; i < count; i++) {
        const struct hal_attribute *inner;
        int err = hal_attribute_at(rec->inner, (size_t)i, &inner);
        if (err)
            return hal_fail_forward(err);
        put_attribute(rec->file, inner);
        rec->attributes[i] = *inner;
        rec->attributes[i].access &= ~(uint32_t)HAL_ATTR_OPEN; /* the inner device has had them */
        rec->attributes[i].get = rec_get;
        rec->attributes[i].set = rec_set;
    }
    hal_device_set_attributes(dev, rec->attributes, (size_t)count);
    return 0;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

/* "FILE,URI" and the options -> the file's name and the device's URI with its options. */
static int split_address(struct hal_device *dev, char *path, char *uri, size_t size)
{
    const char *address = hal_device_address(dev), *comma = strchr(address, ',');
    const struct hal_option *option;
    size_t used;

    if (!comma || comma == address || !comma[1])
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "the address is FILE,URI: rec:session.halrec,uart:/dev/ttyUSB0");
    memcpy(path, address, (size_t)(comma - address));
    path[comma - address] = '\0';
    used = (size_t)snprintf(uri, size, "%s", comma + 1);
    for (size_t i = 0; (option = hal_device_option_at(dev, i)) && used < size; i++) {
        long n;
        used += (size_t)snprintf(uri + used, size - used, "%c%s=", i ? '&' : '?', option->key);
        n = used < size ? hal_uri_quote(option->value, uri + used, size - used) : -ENAMETOOLONG;
        if (n < 0)
            return hal_fail_forward((int)n);
        used += (size_t)n;
    }
    return used < size ? 0 : -ENAMETOOLONG;
}

/* The inner device's descriptors, doubled: the library closes what it is given. */
static int share_descriptors(struct hal_device *dev, struct rec *rec)
{
    struct hal_description inner;
    int err = hal_describe(rec->inner, &inner, sizeof(inner)), in, out;

    if (err)
        return hal_fail_forward(err);
    rec->has_fd = inner.fd_in >= 0 && inner.fd_out >= 0;
    if (!rec->has_fd)
        return 0;
    in = fcntl(inner.fd_in, F_DUPFD_CLOEXEC, 0);
    out = inner.fd_out == inner.fd_in ? in : fcntl(inner.fd_out, F_DUPFD_CLOEXEC, 0);
    hal_device_set_fds(dev, in, out);
    return in < 0 || out < 0 ? -errno : 0;
}

static void discard(struct rec *rec)
{
    if (rec->inner > 0)
        hal_close(rec->inner);
    if (rec->file)
        fclose(rec->file);
    free(rec->attributes);
    pthread_mutex_destroy(&rec->lock);
    free(rec);
}

static int start(struct hal_device *dev, struct rec *rec)
{
    char path[HAL_URI_MAX + 1] = "", uri[HAL_URI_MAX + 1] = "";
    int err = split_address(dev, path, uri, sizeof(uri));

    if (err)
        return err;
    rec->inner = hal_open(uri, hal_device_open_deadline(dev));
    if (rec->inner < 0)
        return hal_fail_forward((int)rec->inner);
    rec->file = fopen(path, "wxe");
    if (!rec->file)
        return hal_fail(-errno, "open", path,
                        errno == EEXIST ? "a recording is never overwritten" : "to record into");
    fputs("halrec 1\nuri", rec->file);
    put_text(rec->file, uri);
    fputc('\n', rec->file);
    err = take_attributes(dev, rec);
    return err ? err : share_descriptors(dev, rec);
}

static int rec_init(struct hal_device *dev)
{
    struct rec *rec = calloc(1, sizeof(*rec));
    int err;

    if (!rec)
        return -ENOMEM;
    pthread_mutex_init(&rec->lock, NULL);
    rec->opened = hal_now();
    err = start(dev, rec);
    if (err)
        discard(rec);
    else
        hal_device_set_state(dev, rec);
    return err;
}

static void rec_fini(struct hal_device *dev)
{
    discard(rec_of(dev));
}

/* The library polls the descriptors itself; without them nobody would wake a sleeper here. */
static int rec_poll(struct hal_device *dev, int events)
{
    if (!rec_of(dev)->has_fd)
        return hal_fail(-EOPNOTSUPP, "poll", hal_device_uri(dev),
                        "the recorded device has no descriptor");
    int ready = hal_poll(rec_of(dev)->inner, events, HAL_NOWAIT);

    return ready == -EAGAIN ? 0 : ready < 0 ? hal_fail_forward(ready) : ready;
}

static const struct driver_ops rec_ops = {
    .init = rec_init,
    .read = rec_read,
    .write = rec_write,
    .fini = rec_fini,
    .transfer = rec_transfer,
    .control = rec_control,
    .poll = rec_poll,
    .summary = "Records every operation on another device",
    .address = "FILE,URI",
    .flags = HAL_DRIVER_ANY_OPTION,
};

HAL_PLUGIN("rec", &rec_ops, "0.1.0");
