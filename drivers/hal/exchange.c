/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Requests and answers. The lanes of a device share one TLS link: whoever waits takes in all that
 * comes, and wakes the lane whose answer it was. `remote->lock` is held for what is done with the
 * link, never while waiting.
 */
#include <errno.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <openssl/err.h>

#include "remote.h"

#define SILENCE 10000000000LL      /* ns of waiting without a frame after which a caller asks */
#define PING_PATIENCE 5000000000LL /* ns that he then waits */
#define ROUND_TRIP 1000            /* ms that a call which may not wait waits for the link */
#define AT_ONCE 1000000000LL       /* ns after a signal in which the same call is that call again */
#define SMALL 4096                 /* requests up to this go out as one TLS record */

/* ---- the end of a link ------------------------------------------------------------------------
 */

void remote_wake_all(struct hal_device *dev)
{
    hal_device_wake(dev, POLLIN | POLLOUT);
    hal_device_wake(dev, 0);
}

/* The link is no more; every call from now on says why. The first reason stays. */
int remote_break(struct hal_device *dev, struct remote *remote, int err, const char *why)
{
    if (!remote->broken) {
        remote->broken = err;
        remote->lost_at = remote->dialling ? remote->lost_at : hal_now();
        snprintf(remote->why, sizeof(remote->why), "%s", why);
    }
    remote_wake_all(dev);
    return remote->broken;
}

int remote_lost(struct hal_device *dev, struct remote *remote)
{
    return hal_fail_plain(remote->broken, "use", hal_device_uri(dev), "the link is lost: %s",
                          remote->why);
}

/* What an SSL_read() or SSL_write() that gave nothing means: 0 when it can go on later. */
static int stalled(struct hal_device *dev, struct remote *remote, int result, int *events)
{
    int error = SSL_get_error(remote->ssl, result), saved = errno;
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    ERR_clear_error();
    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
        *events = error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT;
        return 0;
    }
    if (error == SSL_ERROR_ZERO_RETURN)
        remote_break(dev, remote, -ENOLINK, "the other end has closed it");
    else if (error == SSL_ERROR_SYSCALL && saved)
        remote_break(dev, remote, -ENOLINK, strerror(saved));
    else
        remote_break(dev, remote, -ENOLINK, reason ? reason : "it ended in the middle");
    return remote->broken;
}

/* ---- taking in --------------------------------------------------------------------------------
 */

static struct pending *pending_of(struct remote *remote, const struct wire_header *header)
{
    struct pending *pending = &remote->pending[header->lane];

    if (!(header->flags & WIRE_ANSWER) || !pending->waiting || pending->id != header->id)
        return NULL;
    return pending;
}

/* An answer to no request: an error of the link or of the stream, or to PING. */
static bool is_told(const struct wire_header *header)
{
    return header->type == WIRE_PING ||
           (header->flags & WIRE_ERROR && (!header->id || header->type == WIRE_DATA));
}

/* A header is whole: where does its body go? */
static int start_body(struct hal_device *dev, struct remote *remote)
{
    const struct wire_header *header = &remote->incoming;
    struct pending *pending;

    if (!wire_get_header(remote->header, &remote->incoming))
        return remote_break(dev, remote, -EPROTO, "the other end does not speak hal/1");
    remote->got = 0;
    remote->heard = hal_now();
    remote->pinged = 0;
    if (header->type == WIRE_DATA && !header->flags) {
        remote->phase = PHASE_POSITION;
        return remote_stream_data(dev, remote);
    }
    pending = pending_of(remote, header);
    if (!pending && header->flags & WIRE_ANSWER && !is_told(header))
        return remote_break(dev, remote, -EPROTO, "an answer came to no question");
    remote->phase = PHASE_BODY;
    remote->body_owned = true;
    if (pending && pending->into && !(header->flags & WIRE_ERROR) &&
        header->length <= pending->room - pending->length) {
        remote->body = pending->into + pending->length;
        remote->body_owned = false;
        return 0;
    }
    remote->body = malloc(header->length ? header->length : 1);
    return remote->body ? 0 : remote_break(dev, remote, -ENOMEM, "no memory for an answer");
}

void remote_wake(struct hal_device *dev, struct remote *remote, enum wire_lane lane)
{
    uint64_t one = 1;

    if (lane == WIRE_LANE_NONE) {
        remote_wake_all(dev);
    } else if (lane == WIRE_LANE_READ) {
        if (!remote->news_told && write(remote->news, &one, sizeof(one)) < 0) {
            /* Full: it is readable as it is. */
        }
        remote->news_told = true;
        hal_device_wake(dev, POLLIN);
    } else if (lane == WIRE_LANE_WRITE) {
        hal_device_wake(dev, POLLOUT);
    } else {
        hal_device_wake(dev, 0);
    }
}

void remote_quiet(struct remote *remote)
{
    uint64_t drained;

    if (remote->news_told && read(remote->news, &drained, sizeof(drained)) < 0) {
        /* Nobody else reads it: it cannot be empty. */
    }
    remote->news_told = false;
}

/* What the agent says without being asked, and its last words. */
static void heard(struct hal_device *dev, struct remote *remote)
{
    struct wire_reader body = {.at = remote->body, .left = remote->incoming.length};
    const char *text = "";
    size_t length = 0;
    char why[sizeof(remote->why)];
    static const int ended[] = {-ENOLINK, -ENODEV, -EACCES, -EBUSY}; /* notices 3 to 6 */

    if (remote->incoming.flags & WIRE_ERROR) {
        int err = wire_errno(&body);

        text = wire_text(&body, &length);
        snprintf(why, sizeof(why), "%.*s", (int)length, text);
        if (remote->incoming.type == WIRE_DATA && err < 0)
            remote_stream_failed(remote, err, text, length);
        else
            remote_break(dev, remote, err < 0 ? err : -EPROTO, why);
    } else if (remote->incoming.type == WIRE_NOTICE) {
        unsigned kind = (unsigned)wire_number(&body, 2);

        (void)wire_number(&body, 2);
        (void)wire_number(&body, 8);
        text = wire_text(&body, &length);
        snprintf(why, sizeof(why), "%.*s", (int)length, text);
        if (kind == 1) { /* sooner than our clock says, maybe: the next call sends a new token */
            remote->token_until = 0;
            atomic_store_explicit(&remote->look_at, 0, memory_order_relaxed);
        } else if (kind == 2) {
            remote_break(dev, remote, -EBUSY, why);
        } else if (kind >= 3 && kind <= 6) {
            remote_break(dev, remote, ended[kind - 3], why);
        }
    }
}

/* A frame that is no part of the stream is whole. */
static void finish_body(struct hal_device *dev, struct remote *remote)
{
    const struct wire_header *header = &remote->incoming;
    struct pending *pending = pending_of(remote, header);

    if (!pending) {
        heard(dev, remote);
        free(remote->body);
    } else if (header->flags & WIRE_MORE && !remote->body_owned) {
        pending->length += header->length;
    } else if (header->flags & WIRE_MORE) {
        free(remote->body);
        if (!pending->given_up)
            remote_break(dev, remote, -EPROTO, "more came than was asked for");
    } else {
        bool whole = remote->body_owned; /* of what did not fit, or is an error */

        pending->waiting = false;
        pending->answered = true;
        pending->flags = header->flags;
        pending->length = header->length + (whole ? 0 : pending->length);
        pending->body = whole ? remote->body : NULL;
    }
    remote->body = NULL;
}

/* Where the next bytes go, and how many. */
static uint8_t *next_room(struct hal_device *dev, struct remote *remote, size_t *room)
{
    switch (remote->phase) {
    case PHASE_HEADER:
        *room = WIRE_HEADER - remote->got;
        return remote->header + remote->got;
    case PHASE_POSITION:
        *room = sizeof(remote->lead) - remote->got;
        return remote->lead + remote->got;
    case PHASE_DATA:
        *room = remote->incoming.length - sizeof(remote->lead) - remote->got;
        return *room ? remote_stream_room(dev, remote, room) : remote->lead;
    default:
        *room = remote->incoming.length - remote->got;
        return remote->body + remote->got;
    }
}

/* A part of a frame is whole. True: the frame is. */
static bool next_phase(struct hal_device *dev, struct remote *remote)
{
    switch (remote->phase) {
    case PHASE_HEADER:
        (void)start_body(dev, remote);
        return false;
    case PHASE_POSITION:
        (void)remote_stream_position(dev, remote);
        remote->phase = PHASE_DATA;
        remote->got = 0;
        return false;
    case PHASE_BODY:
        finish_body(dev, remote);
        break;
    default:
        break;
    }
    remote->phase = PHASE_HEADER;
    remote->got = 0;
    return true;
}

/* This lane has what it waits for. */
static bool has_news(const struct remote *remote, enum wire_lane lane)
{
    const struct stream *stream = &remote->stream;

    if (lane == WIRE_LANE_READ && remote->flags & WIRE_STREAM)
        return stream->fill || stream->ended || stream->failed ||
               (stream->direct && remote->phase == PHASE_HEADER);
    return remote->pending[lane].answered;
}

/* The bytes that are wanted next. False: none at once, or never more. */
static bool take_in(struct hal_device *dev, struct remote *remote, int *events)
{
    size_t room, got = 0;
    uint8_t *to = next_room(dev, remote, &room);
    int result;

    if (!to || remote->broken)
        return false;
    if (!room)
        return true;
    result = SSL_read_ex(remote->ssl, to, room, &got);
    if (result <= 0) {
        stalled(dev, remote, result, events);
        return false;
    }
    if (remote->phase == PHASE_DATA)
        remote_stream_came(remote, to, got);
    remote->got += got;
    return true;
}

int remote_pump(struct hal_device *dev, struct remote *remote, enum wire_lane own)
{
    int events = POLLIN;
    size_t room;

    if (remote->dialling && own != WIRE_LANE_NONE)
        return events;
    while (take_in(dev, remote, &events)) {
        enum wire_lane lane = (enum wire_lane)remote->incoming.lane;

        (void)next_room(dev, remote, &room);
        if (remote->broken || room || !next_phase(dev, remote))
            continue;
        if (lane != own) {
            remote_wake(dev, remote, lane);
        } else if (has_news(remote, own)) { /* ours first; what else is there is found next time */
            if (SSL_has_pending(remote->ssl)) {
                remote_wake(dev, remote, WIRE_LANE_READ);
                remote_wake_all(dev);
            }
            break;
        }
    }
    return events;
}

/* ---- sending ----------------------------------------------------------------------------------
 */

enum hal_lane remote_lane(const struct remote *remote, enum wire_lane lane)
{
    if (lane == WIRE_LANE_NONE)
        return remote->dialler;
    if (lane == WIRE_LANE_READ)
        return HAL_LANE_READ;
    return lane == WIRE_LANE_WRITE ? HAL_LANE_WRITE : HAL_LANE_CONTROL;
}

/* Whoever may not wait for the device still has to be told what became of his request. */
static int wait_for_link(int fd, int events)
{
    struct pollfd one = {.fd = fd, .events = (short)events};
    int got = poll(&one, 1, ROUND_TRIP);

    return got > 0 ? 0 : got ? -errno : -EAGAIN;
}

int remote_wait(struct hal_device *dev, struct remote *remote, enum wire_lane lane, int fd,
                int events, hal_deadline until)
{
    int got;

    pthread_mutex_unlock(&remote->lock);
    if (until == HAL_NOWAIT && fd >= 0)
        got = wait_for_link(fd, events);
    else
        got = hal_device_wait(dev, remote_lane(remote, lane), fd, events, until);
    pthread_mutex_lock(&remote->lock);
    return got < 0 ? got : 0;
}

/* Wait until the link takes more. Whoever takes nothing in, and says nothing, has gone. */
static int wait_to_send(struct hal_device *dev, struct remote *remote, enum wire_lane lane,
                        int events, hal_deadline until)
{
    hal_deadline next = hal_after(SILENCE + PING_PATIENCE);
    int64_t began = hal_now();
    int err = remote_wait(dev, remote, lane, remote->fd, events, next < until ? next : until);

    if (err != -ETIMEDOUT || next >= until)
        return err;
    return remote->heard < began ? -ENOLINK : 0;
}

/* A frame that went out in part cannot be taken back: then the link ends. */
static int send_bytes(struct hal_device *dev, struct remote *remote, enum wire_lane lane,
                      const uint8_t *bytes, size_t size, hal_deadline until)
{
    while (size && !remote->broken) {
        size_t sent = 0;
        int events = 0, err, result = SSL_write_ex(remote->ssl, bytes, size, &sent);

        if (result > 0) {
            bytes += sent;
            size -= sent;
            continue;
        }
        if (stalled(dev, remote, result, &events))
            break;
        err = wait_to_send(dev, remote, lane, events, until);
        if (err && err != -EINTR) {
            remote_break(dev, remote, err == -ENOLINK ? err : -ETIMEDOUT,
                         "the other end takes nothing in");
            return err;
        }
    }
    return remote->broken;
}

static uint32_t wait_of(hal_deadline until)
{
    int64_t left;

    if (until == HAL_FOREVER)
        return WIRE_WAIT_FOREVER;
    left = (until - hal_now()) / 1000000;
    return left < 0 ? 0 : left > 86400000 ? 86400000 : (uint32_t)left;
}

/* One at a time sends; others wait for their turn. */
static int begin_sending(struct hal_device *dev, struct remote *remote, enum wire_lane lane,
                         hal_deadline until)
{
    int err = 0;

    while (remote->sending && !remote->broken && !err)
        err = remote_wait(dev, remote, lane, -1, 0, until);
    if (!err && !remote->broken)
        remote->sending = true;
    return err ? err : remote->broken;
}

static void end_sending(struct hal_device *dev, struct remote *remote)
{
    remote->sending = false;
    if (remote->send_waiters)
        remote_wake_all(dev);
}

/* Send a frame. The lock is held. */
static int send_frame(struct hal_device *dev, struct remote *remote, const struct request *request,
                      uint32_t id, hal_deadline until)
{
    size_t body = request->head_size + request->tail_size;
    struct wire_header header = {.length = (uint32_t)body,
                                 .type = (uint8_t)request->type,
                                 .lane = (uint8_t)request->lane,
                                 .id = id,
                                 .wait = wait_of(until)};
    uint8_t first[SMALL];
    size_t fits = sizeof(first) - WIRE_HEADER - request->head_size;
    size_t begun = request->tail_size < fits ? request->tail_size : fits;
    int err;

    wire_put_header(first, &header);
    if (request->head_size)
        memcpy(first + WIRE_HEADER, request->head, request->head_size);
    if (begun)
        memcpy(first + WIRE_HEADER + request->head_size, request->tail, begun);
    err = send_bytes(dev, remote, request->lane, first, WIRE_HEADER + request->head_size + begun,
                     until);
    if (!err && begun < request->tail_size)
        err = send_bytes(dev, remote, request->lane, (const uint8_t *)request->tail + begun,
                         request->tail_size - begun, until);
    return err;
}

/* ---- requests ---------------------------------------------------------------------------------
 */

/* Ask whether anybody is there. A frame that somebody is sending asks as well. */
static void ping(struct hal_device *dev, struct remote *remote, hal_deadline until)
{
    static const uint8_t token[8];
    struct request request = {
        .type = WIRE_PING, .lane = WIRE_LANE_NONE, .head = token, .head_size = sizeof(token)};

    remote->pinged = hal_now();
    if (remote->sending)
        return;
    remote->sending = true;
    (void)send_frame(dev, remote, &request, 0, until);
    end_sending(dev, remote);
}

/* When somebody who waits in a lane asks whether the other end lives, or knows that it does not. */
static hal_deadline next_look(const struct remote *remote, enum wire_lane lane)
{
    int64_t sent = remote->pending[lane].sent;

    if (remote->pinged)
        return remote->pinged + PING_PATIENCE;
    return (sent > remote->heard ? sent : remote->heard) + SILENCE;
}

/* Wait for what the link brings, and see to it that the other end lives. */
static int wait_alive(struct hal_device *dev, struct remote *remote, enum wire_lane lane,
                      int events, hal_deadline until)
{
    hal_deadline next = next_look(remote, lane);
    int err = remote_wait(dev, remote, lane, remote->fd, events, next < until ? next : until);

    if (err != -ETIMEDOUT || next >= until)
        return err;
    if (remote->broken || hal_now() < next_look(remote, lane)) /* something has come meanwhile */
        return 0;
    if (remote->pinged)
        remote_break(dev, remote, -ENOLINK, "the other end is silent");
    else
        ping(dev, remote, until);
    return 0;
}

static void forget(struct pending *pending)
{
    free(pending->body);
    pending->body = NULL;
    pending->answered = pending->given_up = false;
    pending->interrupted = 0;
}

/* The answer of whoever gave up on this lane before comes first. */
static int settle(struct hal_device *dev, struct remote *remote, enum wire_lane lane,
                  hal_deadline until)
{
    struct pending *pending = &remote->pending[lane];
    int err = 0;

    while (remote->dialling && lane != WIRE_LANE_NONE && !err)
        err = remote_wait(dev, remote, lane, -1, 0, until);
    if (pending->link != remote->links)
        pending->waiting = false; /* whoever gave up asked on another link */
    while (pending->waiting && !remote->broken && !err) {
        int events = remote_pump(dev, remote, lane);

        if (pending->waiting && !remote->broken)
            err = wait_alive(dev, remote, lane, events, until);
    }
    if (!err && !remote->broken)
        forget(pending);
    return err ? err : remote->broken;
}

/* The number of a request: the one it has had already, or the next of its lane. */
static uint32_t number_of(struct remote *remote, enum wire_lane lane, uint32_t before)
{
    if (before)
        remote->last_ids[lane] = before;
    else if (!++remote->last_ids[lane])
        remote->last_ids[lane] = 1;
    return remote->last_ids[lane];
}

static int send_locked(struct hal_device *dev, struct remote *remote, const struct request *request,
                       uint32_t *id, hal_deadline until)
{
    struct pending *pending = &remote->pending[request->lane];
    int err = settle(dev, remote, request->lane, until);

    if (err)
        return err;
    remote->send_waiters++;
    err = begin_sending(dev, remote, request->lane, until);
    remote->send_waiters--;
    if (err)
        return err;
    *id = number_of(remote, request->lane, *id);
    *pending = (struct pending){.waiting = true,
                                .id = *id,
                                .sent = hal_now(),
                                .link = remote->links,
                                .into = request->into,
                                .room = request->room};
    err = send_frame(dev, remote, request, *id, until);
    end_sending(dev, remote);
    return err;
}

int remote_say(struct hal_device *dev, const struct request *request, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    int err;

    pthread_mutex_lock(&remote->lock);
    remote->send_waiters++;
    err = begin_sending(dev, remote, request->lane, until);
    remote->send_waiters--;
    if (!err) {
        err = send_frame(dev, remote, request, 0, until);
        end_sending(dev, remote);
    }
    pthread_mutex_unlock(&remote->lock);
    return err;
}

int remote_send(struct hal_device *dev, const struct request *request, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    uint32_t id = 0;
    int err;

    pthread_mutex_lock(&remote->lock);
    err = send_locked(dev, remote, request, &id, until);
    if (err && err == remote->broken)
        err = remote_lost(dev, remote);
    pthread_mutex_unlock(&remote->lock);
    return err;
}

/* Whoever asked goes; the answer, if it comes, must not go where he wanted it. */
static void give_up(struct hal_device *dev, struct remote *remote, enum wire_lane lane)
{
    struct pending *pending = &remote->pending[lane];

    pending->given_up = true;
    if (remote->phase == PHASE_BODY && !remote->body_owned &&
        remote->incoming.lane == (uint8_t)lane) {
        uint8_t *own = malloc(remote->incoming.length ? remote->incoming.length : 1);

        if (own)
            memcpy(own, remote->body, remote->got);
        else
            remote_break(dev, remote, -ENOMEM, "no memory for an answer");
        remote->body = own;
        remote->body_owned = true;
    }
    pending->into = NULL;
}

static int failed_there(struct hal_device *dev, struct pending *pending)
{
    struct wire_reader body = {.at = pending->body, .left = pending->length};
    int err = wire_errno(&body);
    size_t length;
    const char *text = wire_text(&body, &length);

    if (body.failed || err >= 0)
        err = hal_fail_plain(-EPROTO, "use", hal_device_uri(dev), "an error without a number came");
    else
        err = hal_fail_plain(err, "remote", hal_device_uri(dev), "%.*s", (int)length, text);
    forget(pending);
    return err;
}

/* Reading changes nothing: it may be done again under another number. */
static bool may_repeat(enum wire_type type)
{
    return type == WIRE_READ_AT || type == WIRE_LOAD || type == WIRE_GET;
}

/* To know a request again. Never 0. */
static uint64_t sum_of(const struct request *request)
{
    uint8_t type = (uint8_t)request->type;
    uint64_t sum = remote_sum(REMOTE_SUM, &type, 1);

    if (request->head_size)
        sum = remote_sum(sum, request->head, request->head_size);
    if (request->tail_size)
        sum = remote_sum(sum, request->tail, request->tail_size);
    return sum ? sum : 1;
}

/* A call that a signal ended is made again, as -EINTR asks for: its request is underway, or even
 * answered, and is not sent again. It has the number and the lease of the first time. Later it is
 * another call, which wants to know what is true then. */
static bool is_again(const struct remote *remote, const struct request *request, uint32_t *id,
                     unsigned *lease)
{
    const struct pending *pending = &remote->pending[request->lane];

    if (!pending->interrupted || hal_now() - pending->interrupted_at >= AT_ONCE ||
        pending->interrupted != sum_of(request))
        return false;
    *id = pending->id;
    *lease = pending->lease;
    return true;
}

static int take_answer(struct hal_device *dev, struct pending *pending, struct answer *answer)
{
    if (pending->flags & WIRE_ERROR)
        return failed_there(dev, pending);
    answer->body = pending->body ? pending->body : pending->into;
    answer->length = pending->length;
    pending->body = NULL;
    pending->answered = false;
    return 0;
}

/* On the link it was sent on, and not answered. */
static bool is_underway(const struct remote *remote, const struct pending *pending)
{
    return !pending->answered && !remote->broken && pending->link == remote->links;
}

/* What waits over there for a caller who was cancelled need not go on. */
static void cancel_there(struct hal_device *dev, struct remote *remote)
{
    struct request request = {.type = WIRE_CANCEL, .lane = WIRE_LANE_NONE};

    if (remote->sending || remote->broken)
        return;
    remote->sending = true;
    (void)send_frame(dev, remote, &request, 0, HAL_NOWAIT);
    end_sending(dev, remote);
}

static int answer_locked(struct hal_device *dev, struct remote *remote,
                         const struct request *request, struct answer *answer, hal_deadline until)
{
    struct pending *pending = &remote->pending[request->lane];
    bool fresh = true;
    int err = 0;

    while (is_underway(remote, pending) && !err) {
        int events = POLLIN;

        /* What was just asked has no answer yet: no look at the socket is needed to see that. */
        if (!fresh || SSL_has_pending(remote->ssl))
            events = remote_pump(dev, remote, request->lane);
        fresh = false;
        if (is_underway(remote, pending))
            err = wait_alive(dev, remote, request->lane, events, until);
    }
    if (pending->answered)
        return take_answer(dev, pending, answer);
    if (!err)
        return remote->broken ? remote_lost(dev, remote) : -ENOLINK; /* there is another already */
    give_up(dev, remote, request->lane);
    if (err == -EINTR && (request->lane == WIRE_LANE_WRITE || request->lane == WIRE_LANE_CONTROL)) {
        pending->interrupted = sum_of(request);
        pending->interrupted_at = hal_now();
        pending->lease = remote->lease_anew;
    }
    if (err == -ECANCELED)
        cancel_there(dev, remote);
    return err;
}

/* Whether the link was lost in a way that dialling again may mend. */
static bool is_lost(const struct remote *remote, const struct pending *pending, unsigned links)
{
    return remote->keep && !pending->answered &&
           (remote->broken == -ENOLINK || remote->links != links);
}

/* Once. `id` is the request's number, 0 before it has one; true in `again`: it may be underway on
 * this link; true in `lost`: try again on another link. */
static int exchange_once(struct hal_device *dev, struct remote *remote,
                         const struct request *request, struct answer *answer, uint32_t *id,
                         bool *again, bool *lost, hal_deadline until)
{
    struct pending *pending = &remote->pending[request->lane];
    unsigned links;
    int err = 0;

    pthread_mutex_lock(&remote->lock);
    links = remote->links;
    if (*again && pending->link == links && !remote->broken)
        pending->interrupted = 0;
    else
        err = send_locked(dev, remote, request, id, until);
    *again = false;
    if (!err)
        err = answer_locked(dev, remote, request, answer, until);
    *lost = err && request->lane != WIRE_LANE_NONE && is_lost(remote, pending, links);
    if (err && err == remote->broken)
        err = remote_lost(dev, remote);
    pthread_mutex_unlock(&remote->lock);
    return err;
}

int remote_exchange(struct hal_device *dev, const struct request *request, struct answer *answer,
                    hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    unsigned lease = remote->lease_anew;
    uint32_t id = 0;
    bool again, lost;

    if (request->lane != WIRE_LANE_NONE)
        remote_look(dev, request->lane);
    again = is_again(remote, request, &id, &lease);
    for (;;) {
        int err;

        if (remote->lease_anew != lease && id && !may_repeat(request->type))
            return hal_fail_plain(-ENOLINK, "use", hal_device_uri(dev),
                                  "the link was lost, and the lease with it: this may or may not "
                                  "have been done");
        if (remote->lease_anew != lease)
            id = 0;
        lease = remote->lease_anew;
        err = exchange_once(dev, remote, request, answer, &id, &again, &lost, until);
        if (!lost)
            return err;
        err = remote_redial(dev, request->lane, until);
        if (err)
            return err;
    }
}

void remote_answer_free(const struct request *request, struct answer *answer)
{
    if (answer->body != request->into)
        free(answer->body);
    answer->body = NULL;
}

/* ---- reading: asked for ahead, delivered when it is there ------------------------------------ */

ssize_t remote_take(struct hal_device *dev, void *buf, size_t len)
{
    struct remote *remote = remote_of(dev);
    struct pending *pending = &remote->pending[WIRE_LANE_READ];
    ssize_t result = -EAGAIN;

    pthread_mutex_lock(&remote->lock);
    remote_quiet(remote);
    if (pending->waiting)
        remote_pump(dev, remote, WIRE_LANE_READ);
    if (pending->answered && pending->flags & WIRE_ERROR) {
        result = failed_there(dev, pending);
    } else if (pending->answered) {
        size_t left = pending->length - remote->taken;
        size_t n = left < len ? left : len;

        if (n)
            memcpy(buf, pending->body + remote->taken, n);
        remote->taken += n;
        result = (ssize_t)n;
        if (remote->taken == pending->length) {
            remote->taken = 0;
            forget(pending);
        } else {
            remote_wake(dev, remote, WIRE_LANE_READ); /* the rest: still readable */
        }
    } else if (remote->broken) {
        result = remote_lost(dev, remote);
    } else if (!pending->waiting) {
        result = -ENOENT; /* nobody has asked yet */
    }
    pthread_mutex_unlock(&remote->lock);
    return result;
}
