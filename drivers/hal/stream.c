/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A stream: bytes that the agent pushes, no more than it was granted. They go straight to whoever
 * reads, or wait in a ring that has room for all that is granted; so nobody who reads slowly holds
 * up an answer of another lane.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "remote.h"

#define RING (1u << 20)
#define GRANT_AT (RING / 4) /* what has been read is granted again in portions of this */

/* ---- what comes in: with the lock held --------------------------------------------------------
 */

int remote_stream_data(struct hal_device *dev, struct remote *remote)
{
    struct stream *stream = &remote->stream;
    const struct wire_header *header = &remote->incoming;

    if (!(remote->flags & WIRE_STREAM) || header->length < sizeof(remote->lead))
        return remote_break(dev, remote, -EPROTO, "bytes of a stream came for what is none");
    if (header->length - sizeof(remote->lead) > stream->credit)
        return remote_break(dev, remote, -EPROTO, "more of the stream came than was granted");
    return 0;
}

int remote_stream_position(struct hal_device *dev, struct remote *remote)
{
    struct stream *stream = &remote->stream;

    if (wire_get(remote->lead, sizeof(remote->lead)) != stream->position)
        return remote_break(dev, remote, -EPROTO, "bytes of the stream are missing or came twice");
    if (remote->incoming.length == sizeof(remote->lead))
        stream->ended = true;
    return 0;
}

/* Where the next bytes go. There is room for all that is granted. */
uint8_t *remote_stream_room(struct hal_device *dev, struct remote *remote, size_t *room)
{
    struct stream *stream = &remote->stream;
    size_t tail = (stream->head + stream->fill) % RING, free = RING - stream->fill;

    if (stream->direct && stream->wanted && !stream->fill) {
        *room = stream->wanted < *room ? stream->wanted : *room;
        return stream->direct;
    }
    if (!stream->ring && !(stream->ring = malloc(RING))) {
        remote_break(dev, remote, -ENOMEM, "no memory for a stream");
        return NULL;
    }
    free = free < RING - tail ? free : RING - tail;
    *room = free < *room ? free : *room;
    return stream->ring + tail;
}

void remote_stream_came(struct remote *remote, const uint8_t *to, size_t count)
{
    struct stream *stream = &remote->stream;

    if (to == stream->direct) {
        stream->direct += count;
        stream->wanted -= count;
    } else {
        stream->fill += count;
    }
    stream->position += count;
    stream->credit -= (uint32_t)count;
}

void remote_stream_failed(struct remote *remote, int err, const char *text, size_t length)
{
    struct stream *stream = &remote->stream;

    stream->failed = err;
    snprintf(stream->why, sizeof(stream->why), "%.*s", (int)length, text);
}

/* ---- reading ----------------------------------------------------------------------------------
 */

static size_t from_ring(struct stream *stream, uint8_t *to, size_t room)
{
    size_t taken = 0;

    if (stream->gap)
        room = room < stream->before ? room : stream->before;

    while (taken < room && stream->fill) {
        size_t run = RING - stream->head < stream->fill ? RING - stream->head : stream->fill;

        run = run < room - taken ? run : room - taken;
        memcpy(to + taken, stream->ring + stream->head, run);
        stream->head = (stream->head + run) % RING;
        stream->fill -= run;
        taken += run;
    }
    if (stream->gap)
        stream->before -= taken;
    return taken;
}

/* What there is at once: in the ring, then on the link. */
static size_t take(struct hal_device *dev, struct remote *remote, uint8_t *to, size_t room)
{
    struct stream *stream = &remote->stream;
    size_t taken = from_ring(stream, to, room);

    if (taken || stream->gap)
        return taken;
    stream->direct = to;
    stream->wanted = room;
    remote_pump(dev, remote, WIRE_LANE_READ);
    taken = (size_t)(stream->direct - to);
    stream->direct = NULL;
    stream->wanted = 0;
    return taken;
}

void remote_stream_gap(struct remote *remote, uint64_t size, bool unknown)
{
    struct stream *stream = &remote->stream;

    if (!(remote->flags & WIRE_STREAM))
        return;
    if (!stream->gap)
        stream->before = stream->fill;
    stream->gap_size = unknown || (stream->gap && !stream->gap_size) ? 0 : stream->gap_size + size;
    stream->gap = true;
    stream->lost += size;
    stream->position = unknown ? 0 : stream->position + size;
}

static int gap_failed(struct hal_device *dev, struct stream *stream)
{
    uint64_t size = stream->gap_size;

    stream->gap = false;
    stream->gap_size = 0;
    if (!size)
        return hal_fail_plain(-EOVERFLOW, "read", hal_device_uri(dev),
                              "bytes were lost while the link was down, how many is not known; "
                              "reading goes on");
    return hal_fail_plain(-EOVERFLOW, "read", hal_device_uri(dev),
                          "%llu bytes were lost while the link was down; reading goes on",
                          (unsigned long long)size);
}

/* The end, a failure over there, the end of the link: after all that came before. */
static ssize_t no_more(struct hal_device *dev, struct remote *remote)
{
    struct stream *stream = &remote->stream;
    int err = stream->failed;

    if (stream->gap)
        return gap_failed(dev, stream);
    if (stream->ended || stream->failed) {
        stream->paused = true; /* the next grant lets it go on */
        stream->ended = false;
        stream->failed = 0;
        return err ? hal_fail_plain(err, "remote", hal_device_uri(dev), "%s", stream->why) : 0;
    }
    if (remote->broken)
        return remote_lost(dev, remote);
    return -EAGAIN;
}

int remote_grant(struct hal_device *dev, size_t bytes)
{
    uint8_t head[4];
    struct request request = {
        .type = WIRE_CREDIT, .lane = WIRE_LANE_READ, .head = head, .head_size = sizeof(head)};

    wire_put(head, bytes, sizeof(head));
    return remote_say(dev, &request, HAL_FOREVER);
}

int remote_stream_begin(struct hal_device *dev)
{
    struct remote *remote = remote_of(dev);

    size_t free;

    pthread_mutex_lock(&remote->lock);
    free = RING - remote->stream.fill;
    remote->stream.credit = (uint32_t)free;
    remote->stream.owed = 0;
    pthread_mutex_unlock(&remote->lock);
    return remote_grant(dev, free);
}

ssize_t remote_stream_read(struct hal_device *dev, void *buf, size_t len)
{
    struct remote *remote = remote_of(dev);
    struct stream *stream = &remote->stream;
    size_t grant = 0;
    ssize_t result;
    int err = 0;

    pthread_mutex_lock(&remote->lock);
    remote_quiet(remote);
    if (stream->paused && !stream->fill) { /* read once more after an end or a failure */
        stream->paused = false;
        pthread_mutex_unlock(&remote->lock);
        err = remote_grant(dev, 0);
        pthread_mutex_lock(&remote->lock);
    }
    result = (ssize_t)take(dev, remote, buf, len);
    stream->owed += (size_t)result;
    if (!result)
        result = err ? err : no_more(dev, remote);
    else if (stream->fill || stream->ended || stream->failed || remote->broken)
        remote_wake(dev, remote, WIRE_LANE_READ); /* the rest: still readable */
    if (stream->owed >= GRANT_AT && !remote->broken) {
        grant = stream->owed;
        stream->owed = 0;
        stream->credit += (uint32_t)grant;
    }
    pthread_mutex_unlock(&remote->lock);
    if (grant && remote_grant(dev, grant) && result < 0)
        return -EAGAIN; /* the link is lost: the next read tells */
    return result;
}
