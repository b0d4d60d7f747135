/* SPDX-License-Identifier: Apache-2.0 */
/*
 * replay: a device that answers from a recording made by `rec`, and tells the first difference.
 *
 *     replay:session.halrec
 *     replay:session.halrec?timing=true      answers as late as the device did
 *
 * Each lane goes through its own operations in the order recorded. A read waits until the writes
 * recorded before it have been made. Writes and reads are compared as streams: how they were cut
 * into calls does not matter. After the first difference every call fails with -EPROTO and says it.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/driver.h>

#include "recording.h"

struct replay {
    struct recording recording;
    bool timing;
    int64_t opened;
    pthread_mutex_t lock; /* over all below */
    size_t next[3];       /* by lane: the entry that is next */
    size_t done[2];       /* bytes of it that were read, written already */
    char difference[HAL_TEXT_MAX];
};

static struct replay *replay_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

static enum hal_lane lane_of(const struct entry *entry)
{
    return entry->kind == ENTRY_READ    ? HAL_LANE_READ
           : entry->kind == ENTRY_WRITE ? HAL_LANE_WRITE
                                        : HAL_LANE_CONTROL;
}

/* The lane's next entry, NULL at the end. */
static struct entry *next_entry(struct replay *replay, enum hal_lane lane)
{
    size_t *at = &replay->next[lane];

    while (*at < replay->recording.count && lane_of(&replay->recording.entries[*at]) != lane)
        ++*at;
    return *at < replay->recording.count ? &replay->recording.entries[*at] : NULL;
}

static void advance(struct replay *replay, enum hal_lane lane)
{
    replay->next[lane]++;
    if (lane != HAL_LANE_CONTROL)
        replay->done[lane] = 0;
}

/* ---- differences ------------------------------------------------------------------------------
 */

static int say_difference(struct hal_device *dev)
{
    return hal_fail_plain(-EPROTO, "replay", hal_device_address(dev), "%s",
                          replay_of(dev)->difference);
}

/* Remember the first difference. Called with the lock held. */
static HAL_PRINTF(3, 4) int differ(struct hal_device *dev, const struct entry *entry,
                                   const char *format, ...)
{
    struct replay *replay = replay_of(dev);
    va_list args;
    int n;

    if (entry)
        n = snprintf(replay->difference, sizeof(replay->difference), "line %u: recorded %s, ",
                     entry->line, entry_kind_name(entry->kind));
    else
        n = snprintf(replay->difference, sizeof(replay->difference), "the recording has ended, ");
    va_start(args, format);
    vsnprintf(replay->difference + n, sizeof(replay->difference) - (size_t)n, format, args);
    va_end(args);
    return say_difference(dev);
}

/* A failure that was recorded fails again. */
static int say_recorded(struct hal_device *dev, const struct entry *entry)
{
    return hal_fail((int)entry->result, entry_kind_name(entry->kind), hal_device_uri(dev),
                    "as recorded in line %u", entry->line);
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* Are the writes that were recorded before this read made? */
static bool is_due(struct replay *replay)
{
    next_entry(replay, HAL_LANE_WRITE);
    return replay->next[HAL_LANE_WRITE] > replay->next[HAL_LANE_READ];
}

static ssize_t read_now(struct hal_device *dev, uint8_t *buf, size_t len)
{
    struct replay *replay = replay_of(dev);
    struct entry *entry = next_entry(replay, HAL_LANE_READ);
    size_t n;

    if (*replay->difference)
        return say_difference(dev);
    if (!entry)
        return 0;
    if (!is_due(replay))
        return -EAGAIN;
    if (entry->result < 0) {
        advance(replay, HAL_LANE_READ);
        return say_recorded(dev, entry);
    }
    n = entry->out.len - replay->done[HAL_LANE_READ];
    if (n > len)
        n = len;
    if (n)
        memcpy(buf, entry->out.data + replay->done[HAL_LANE_READ], n);
    replay->done[HAL_LANE_READ] += n;
    if (replay->done[HAL_LANE_READ] == entry->out.len)
        advance(replay, HAL_LANE_READ);
    return (ssize_t)n;
}

/* When the next read was recorded; 0: at once. */
static hal_deadline due_time(struct hal_device *dev)
{
    struct replay *replay = replay_of(dev);
    struct entry *entry;
    hal_deadline at = 0;

    if (!replay->timing)
        return 0;
    pthread_mutex_lock(&replay->lock);
    entry = next_entry(replay, HAL_LANE_READ);
    if (entry)
        at = replay->opened + entry->time_us * 1000;
    pthread_mutex_unlock(&replay->lock);
    return at;
}

static ssize_t replay_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct replay *replay = replay_of(dev);
    hal_deadline at = due_time(dev);
    ssize_t n;

    while (hal_now() < at) {
        int err = hal_device_wait(dev, HAL_LANE_READ, -1, 0, at < until ? at : until);
        if (err < 0 && !(err == -ETIMEDOUT && at <= until))
            return err;
    }
    pthread_mutex_lock(&replay->lock);
    n = read_now(dev, buf, len);
    pthread_mutex_unlock(&replay->lock);
    return n;
}

static ssize_t write_now(struct hal_device *dev, const uint8_t *buf, size_t len)
{
    struct replay *replay = replay_of(dev);
    struct entry *entry = next_entry(replay, HAL_LANE_WRITE);
    size_t done = replay->done[HAL_LANE_WRITE], n;

    if (*replay->difference)
        return say_difference(dev);
    if (!entry)
        return differ(dev, NULL, "%zu bytes are written", len);
    n = entry->in.len - done < len ? entry->in.len - done : len;
    for (size_t i = 0; i < n; i++)
        if (buf[i] != entry->in.data[done + i])
            return differ(dev, entry, "byte %zu is 0x%02x; written is 0x%02x", done + i,
                          entry->in.data[done + i], buf[i]);
    replay->done[HAL_LANE_WRITE] += n;
    if (replay->done[HAL_LANE_WRITE] == entry->in.len)
        advance(replay, HAL_LANE_WRITE);
    return entry->result < 0 ? say_recorded(dev, entry) : (ssize_t)n;
}

static ssize_t replay_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    struct replay *replay = replay_of(dev);
    ssize_t n;

    (void)until;
    pthread_mutex_lock(&replay->lock);
    n = write_now(dev, buf, len);
    pthread_mutex_unlock(&replay->lock);
    hal_device_wake(dev, POLLIN);
    return n;
}

/* ---- exchanges --------------------------------------------------------------------------------
 */

/* The control lane's next entry if it is of that kind, else the difference. */
static int expect(struct hal_device *dev, enum entry_kind kind, const char *what,
                  struct entry **out)
{
    struct replay *replay = replay_of(dev);

    *out = next_entry(replay, HAL_LANE_CONTROL);
    if (*replay->difference)
        return say_difference(dev);
    if (*out && (*out)->kind == kind)
        return 0;
    return differ(dev, *out, "asked for is %s %s", entry_kind_name(kind), what);
}

static int compare_segment(struct hal_device *dev, const struct entry *entry, size_t i,
                           const struct hal_segment *segment)
{
    const struct exchange *exchange = &entry->exchanges[i];

    if (segment->len != exchange->len)
        return differ(dev, entry, "segment %zu has %zu bytes; asked for are %zu", i, exchange->len,
                      segment->len);
    if ((segment->tx != NULL) != (exchange->tx.len > 0) ||
        (segment->tx && memcmp(segment->tx, exchange->tx.data, segment->len) != 0))
        return differ(dev, entry, "segment %zu sends other bytes", i);
    return 0;
}

static ssize_t transfer_now(struct hal_device *dev, const struct hal_segment *segments,
                            size_t count)
{
    struct entry *entry;
    int err = expect(dev, ENTRY_TRANSFER, "", &entry);

    if (!err && count != entry->exchange_count)
        err = differ(dev, entry, "%zu segments; asked for are %zu", entry->exchange_count, count);
    for (size_t i = 0; i < count && !err; i++)
        err = compare_segment(dev, entry, i, &segments[i]);
    if (err)
        return err;
    advance(replay_of(dev), HAL_LANE_CONTROL);
    if (entry->result < 0)
        return say_recorded(dev, entry);
    for (size_t i = 0; i < count; i++)
        if (segments[i].rx && entry->exchanges[i].rx.len)
            memcpy(segments[i].rx, entry->exchanges[i].rx.data, segments[i].len);
    return entry->result;
}

static ssize_t replay_transfer(struct hal_device *dev, const struct hal_segment *segments,
                               size_t count, hal_deadline until)
{
    struct replay *replay = replay_of(dev);
    ssize_t n;

    (void)until;
    pthread_mutex_lock(&replay->lock);
    n = transfer_now(dev, segments, count);
    pthread_mutex_unlock(&replay->lock);
    return n;
}

static long control_now(struct hal_device *dev, uint32_t request, void *arg, size_t size)
{
    struct entry *entry;
    char what[16];
    int err;

    snprintf(what, sizeof(what), "0x%x", request);
    err = expect(dev, ENTRY_CONTROL, what, &entry);
    if (!err && (entry->request != request || entry->in.len != size ||
                 (size && memcmp(entry->in.data, arg, size) != 0)))
        err = differ(dev, entry, "request 0x%x; asked for is 0x%x, or with another argument",
                     entry->request, request);
    if (err)
        return err;
    advance(replay_of(dev), HAL_LANE_CONTROL);
    if (entry->result < 0)
        return say_recorded(dev, entry);
    if (entry->out.len == size && size)
        memcpy(arg, entry->out.data, size);
    return entry->result;
}

static long replay_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                           hal_deadline until)
{
    struct replay *replay = replay_of(dev);
    long result;

    (void)until;
    pthread_mutex_lock(&replay->lock);
    result = control_now(dev, request, arg, size);
    pthread_mutex_unlock(&replay->lock);
    return result;
}

/* ---- attributes -------------------------------------------------------------------------------
 */

static int expect_named(struct hal_device *dev, enum entry_kind kind, const char *name,
                        struct entry **out)
{
    int err = expect(dev, kind, name, out);

    if (!err && *out && strcmp((*out)->name, name) != 0)
        err = differ(dev, *out, "of %s; asked for is %s", (*out)->name, name);
    return err;
}

static int replay_get(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    struct replay *replay = replay_of(dev);
    struct entry *entry;
    int err;

    pthread_mutex_lock(&replay->lock);
    err = expect_named(dev, ENTRY_GET, attr->name, &entry);
    if (!err) {
        advance(replay, HAL_LANE_CONTROL);
        err = entry->result < 0
                  ? say_recorded(dev, entry)
                  : hal_value_parse(attr, entry->out.len ? (char *)entry->out.data : "", out);
    }
    pthread_mutex_unlock(&replay->lock);
    return err;
}

static int replay_set(struct hal_device *dev, const struct hal_attribute *attr,
                      const struct hal_value *value)
{
    struct replay *replay = replay_of(dev);
    char text[HAL_TEXT_MAX];
    struct entry *entry;
    int err;

    if (hal_value_format(value, text, sizeof(text)) < 0)
        return -EINVAL;
    pthread_mutex_lock(&replay->lock);
    err = expect_named(dev, ENTRY_SET, attr->name, &entry);
    if (!err && strcmp((char *)entry->out.data, text) != 0)
        err = differ(dev, entry, "of %s to %s; asked for is %s", attr->name,
                     (char *)entry->out.data, text);
    if (!err) {
        advance(replay, HAL_LANE_CONTROL);
        err = entry->result < 0 ? say_recorded(dev, entry) : 0;
    }
    pthread_mutex_unlock(&replay->lock);
    return err;
}

static int get_difference(struct hal_device *dev, const struct hal_attribute *attr,
                          struct hal_value *out)
{
    struct replay *replay = replay_of(dev);

    (void)attr;
    pthread_mutex_lock(&replay->lock);
    memcpy(out->s, replay->difference, sizeof(out->s));
    pthread_mutex_unlock(&replay->lock);
    return 0;
}

/* How many operations are still to be made: 0 at the end says that all of the recording was used.
 */
static int get_left(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    struct replay *replay = replay_of(dev);

    (void)attr;
    out->i = 0;
    pthread_mutex_lock(&replay->lock);
    for (size_t i = 0; i < replay->recording.count; i++)
        out->i += i >= replay->next[lane_of(&replay->recording.entries[i])];
    pthread_mutex_unlock(&replay->lock);
    return 0;
}

static const struct hal_attribute attributes[] = {
    {.name = "timing",
     .doc = "Reads answer no earlier than they were recorded.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "false"},
    {.name = "replay.difference",
     .doc = "The first difference from the recording; empty: none so far.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_difference},
    {.name = "replay.left",
     .doc = "Recorded operations that have not been made yet.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_left},
};

/* ---- opening ----------------------------------------------------------------------------------
 */

static int replay_init(struct hal_device *dev)
{
    struct replay *replay = calloc(1, sizeof(*replay));
    struct recording *recording;
    struct hal_value timing;
    int err;

    if (!replay)
        return -ENOMEM;
    recording = &replay->recording;
    err = recording_load(hal_device_address(dev), recording);
    if (err) {
        free(replay);
        return err;
    }
    for (size_t i = 0; i < recording->attribute_count; i++) {
        recording->attributes[i].get = replay_get;
        recording->attributes[i].set = replay_set;
    }
    hal_device_option(dev, "timing", &timing);
    replay->timing = timing.b;
    replay->opened = hal_now();
    pthread_mutex_init(&replay->lock, NULL);
    hal_device_set_state(dev, replay);
    hal_device_set_attributes(dev, recording->attributes, recording->attribute_count);
    return 0;
}

static void replay_fini(struct hal_device *dev)
{
    struct replay *replay = replay_of(dev);

    recording_free(&replay->recording);
    pthread_mutex_destroy(&replay->lock);
    free(replay);
}

static int replay_poll(struct hal_device *dev, int events)
{
    struct replay *replay = replay_of(dev);
    int ready = events & POLLOUT;

    pthread_mutex_lock(&replay->lock);
    if (!next_entry(replay, HAL_LANE_READ) || is_due(replay))
        ready |= events & POLLIN;
    pthread_mutex_unlock(&replay->lock);
    return ready;
}

static const struct driver_ops replay_ops = {
    .init = replay_init,
    .read = replay_read,
    .write = replay_write,
    .fini = replay_fini,
    .transfer = replay_transfer,
    .control = replay_control,
    .poll = replay_poll,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Answers from a recording made by rec",
    .address = "FILE",
};

HAL_PLUGIN("replay", &replay_ops, "0.1.0");
