/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hal: a device of another machine, over mutual TLS (docs/protocol.md).
 *
 *     hal://bench-pi/uart0?id=UUID&baud=115200
 *     hal://UUID/uart0?at=10.0.0.3:7362
 *
 * Options that are not ours go to the device over there.
 */
#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "remote.h"

/* ---- opening ----------------------------------------------------------------------------------
 */

static void destroy(struct remote *remote)
{
    remote_disconnect(remote);
    for (int lane = 0; lane < WIRE_LANES; lane++)
        free(remote->pending[lane].body);
    remote_credentials_free(remote->credentials);
    free(remote->stream.ring);
    free(remote->question);
    free(remote->attributes);
    free(remote->choices);
    free(remote->texts);
    pthread_mutex_destroy(&remote->lock);
    free(remote);
}

static int remote_init(struct hal_device *dev)
{
    struct remote *remote = calloc(1, sizeof(*remote));
    hal_deadline until = hal_device_open_deadline(dev);
    int err;

    if (!remote)
        return -ENOMEM;
    remote->fd = remote->ready = remote->news = -1;
    remote->dialler = HAL_LANE_CONTROL;
    remote->chance = (unsigned)hal_now();
    pthread_mutex_init(&remote->lock, NULL);
    hal_device_set_state(dev, remote);
    err = remote_address(dev, remote);
    if (!err)
        err = remote_connect(dev, remote, until);
    if (remote->ready >= 0)
        hal_device_set_fds(dev, remote->ready, -1);
    if (!err)
        err = remote_hello(dev, until);
    if (!err)
        err = remote_open(dev, until);
    if (!err)
        err = hal_device_set_served_by(dev, remote->driver);
    if (!err && remote->flags & WIRE_STREAM)
        err = remote_stream_begin(dev);
    if (err)
        destroy(remote);
    return err;
}

static void remote_fini(struct hal_device *dev)
{
    destroy(remote_of(dev));
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

static int ask(struct hal_device *dev, size_t most)
{
    uint8_t head[4];
    struct request request = {
        .type = WIRE_READ, .lane = WIRE_LANE_READ, .head = head, .head_size = sizeof(head)};

    wire_put(head, most < WIRE_BODY_MAX ? most : WIRE_BODY_MAX, 4);
    return remote_send(dev, &request, HAL_FOREVER);
}

static int no_stream(struct hal_device *dev, const char *operation)
{
    return hal_fail(-EOPNOTSUPP, operation, hal_device_uri(dev),
                    "memory is no stream: use hal_read_at() and hal_write_at()");
}

/* What there is at once over there: asked, answered. */
static ssize_t read_now(struct hal_device *dev, void *buf, size_t len)
{
    uint8_t head[4];
    size_t most = len < WIRE_BODY_MAX ? len : WIRE_BODY_MAX;
    struct request request = {.type = WIRE_READ,
                              .lane = WIRE_LANE_READ,
                              .head = head,
                              .head_size = sizeof(head),
                              .into = buf,
                              .room = most};
    struct answer answer;
    ssize_t got;

    wire_put(head, most, sizeof(head));
    got = remote_exchange(dev, &request, &answer, HAL_NOWAIT);
    if (got)
        return got;
    got = (ssize_t)answer.length;
    if (answer.body != buf)
        got = hal_fail_plain(-EPROTO, "read", hal_device_uri(dev), "more came than was wanted");
    remote_answer_free(&request, &answer);
    return got;
}

static ssize_t read_when_asked(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    ssize_t got = remote_take(dev, buf, len);
    int err;

    if (got == -ENOENT && until == HAL_NOWAIT)
        got = read_now(dev, buf, len);
    else if (got == -ENOENT)
        got = -EAGAIN;
    else
        return got;
    if (got != -EAGAIN)
        return got;
    err = ask(dev, len); /* so that the descriptor tells when there is something */
    return err ? err : -EAGAIN;
}

static ssize_t remote_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    ssize_t got;
    int err;

    if (remote->flags & WIRE_MEMORY)
        return no_stream(dev, "read");
    for (;;) {
        remote_look(dev, WIRE_LANE_READ);
        if (remote->flags & WIRE_STREAM)
            got = remote_stream_read(dev, buf, len);
        else
            got = read_when_asked(dev, buf, len, until);
        if (got != -ENOLINK || !remote->keep || until == HAL_NOWAIT)
            return got;
        err = remote_redial(dev, WIRE_LANE_READ, until);
        if (err)
            return err;
    }
}

static ssize_t counted(struct hal_device *dev, const struct request *request, size_t len,
                       hal_deadline until)
{
    struct answer answer;
    ssize_t count;
    int err = remote_exchange(dev, request, &answer, until);

    if (err)
        return err;
    count = answer.length == 4 ? (ssize_t)wire_get(answer.body, 4) : -1;
    remote_answer_free(request, &answer);
    if (count < 0 || (size_t)count > len)
        return hal_fail_plain(-EPROTO, "write", hal_device_uri(dev), "the answer is damaged");
    return count;
}

static ssize_t remote_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    uint8_t count[4];
    size_t most = len < WIRE_BODY_MAX ? len : WIRE_BODY_MAX;
    struct request request = {.type = WIRE_WRITE,
                              .lane = WIRE_LANE_WRITE,
                              .tail = buf,
                              .tail_size = most,
                              .into = count,
                              .room = sizeof(count)};

    if (remote_of(dev)->flags & WIRE_MEMORY)
        return no_stream(dev, "write");
    return counted(dev, &request, most, until);
}

/* ---- what goes through the control lane -------------------------------------------------------
 */

static long remote_control(struct hal_device *dev, uint32_t number, void *arg, size_t size,
                           hal_deadline until)
{
    uint8_t head[8];
    struct request request = {.type = WIRE_CONTROL,
                              .lane = WIRE_LANE_CONTROL,
                              .head = head,
                              .head_size = sizeof(head),
                              .tail = arg,
                              .tail_size = size};
    struct answer answer;
    long result;
    int err;

    if (size > 65536)
        return -EMSGSIZE;
    wire_put(head, number, 4);
    wire_put(head + 4, size, 4);
    err = remote_exchange(dev, &request, &answer, until);
    if (err)
        return err;
    if (answer.length != 8 + size) {
        err = hal_fail_plain(-EPROTO, "control", hal_device_uri(dev), "the answer is damaged");
    } else if (size) {
        memcpy(arg, answer.body + 8, size);
    }
    result = err ? err : (long)wire_get(answer.body, 8);
    remote_answer_free(&request, &answer);
    return result;
}

#define SEGMENT 40

static void put_segment(uint8_t *at, const struct hal_segment *segment)
{
    memset(at, 0, SEGMENT);
    wire_put(at, segment->flags, 4);
    at[4] = (uint8_t)((segment->tx ? 1 : 0) | (segment->rx ? 2 : 0));
    at[5] = segment->bits;
    at[6] = segment->lanes_tx;
    at[7] = segment->lanes_rx;
    wire_put(at + 8, segment->len, 8);
    wire_put(at + 16, segment->address, 4);
    wire_put(at + 20, segment->speed_hz, 4);
    wire_put(at + 24, segment->delay_us, 2);
    wire_put(at + 26, segment->word_delay_us, 2);
}

static uint8_t *segments_body(const struct hal_segment *segments, size_t count, size_t *size)
{
    size_t room = 4 + count * SEGMENT;
    uint8_t *body, *at;

    for (size_t i = 0; i < count; i++)
        room += segments[i].tx ? segments[i].len : 0;
    *size = room;
    body = room <= WIRE_BODY_MAX ? calloc(1, room) : NULL;
    if (!body)
        return NULL;
    wire_put(body, count, 2);
    at = body + 4 + count * SEGMENT;
    for (size_t i = 0; i < count; i++) {
        put_segment(body + 4 + i * SEGMENT, &segments[i]);
        if (segments[i].tx) {
            memcpy(at, segments[i].tx, segments[i].len);
            at += segments[i].len;
        }
    }
    return body;
}

static ssize_t take_received(struct hal_device *dev, const struct hal_segment *segments,
                             size_t count, const struct answer *answer)
{
    struct wire_reader body = {.at = answer->body, .left = answer->length};
    int64_t result = (int64_t)wire_number(&body, 8);

    for (size_t i = 0; i < count && !body.failed; i++) {
        const uint8_t *got = segments[i].rx ? wire_take(&body, segments[i].len) : NULL;

        if (got)
            memcpy(segments[i].rx, got, segments[i].len);
    }
    if (body.failed || result < 0)
        return hal_fail_plain(-EPROTO, "transfer", hal_device_uri(dev), "the answer is damaged");
    return (ssize_t)result;
}

static ssize_t remote_transfer(struct hal_device *dev, const struct hal_segment *segments,
                               size_t count, hal_deadline until)
{
    struct request request = {.type = WIRE_TRANSFER, .lane = WIRE_LANE_CONTROL};
    struct answer answer;
    uint8_t *body = segments_body(segments, count, &request.tail_size);
    ssize_t result;

    if (!body)
        return request.tail_size > WIRE_BODY_MAX ? -EMSGSIZE : -ENOMEM;
    request.tail = body;
    result = remote_exchange(dev, &request, &answer, until);
    if (!result) {
        result = take_received(dev, segments, count, &answer);
        remote_answer_free(&request, &answer);
    }
    free(body);
    return result;
}

/* ---- memory -----------------------------------------------------------------------------------
 */

static int remote_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    uint8_t head[12], out[8];
    struct request request = {.type = WIRE_LOAD,
                              .lane = WIRE_LANE_CONTROL,
                              .head = head,
                              .head_size = sizeof(head),
                              .into = out,
                              .room = sizeof(out)};
    struct answer answer;
    int err;

    wire_put(head, offset, 8);
    wire_put(head + 8, width, 4);
    err = remote_exchange(dev, &request, &answer, HAL_FOREVER);
    if (err)
        return err;
    if (answer.length == 8)
        *value = wire_get(answer.body, 8);
    else
        err = hal_fail_plain(-EPROTO, "load", hal_device_uri(dev), "the answer is damaged");
    remote_answer_free(&request, &answer);
    return err;
}

static int remote_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    uint8_t head[24] = {0};
    struct request request = {
        .type = WIRE_STORE, .lane = WIRE_LANE_CONTROL, .head = head, .head_size = sizeof(head)};
    struct answer answer;
    int err;

    wire_put(head, offset, 8);
    wire_put(head + 8, width, 4);
    wire_put(head + 16, value, 8);
    err = remote_exchange(dev, &request, &answer, HAL_FOREVER);
    if (!err)
        remote_answer_free(&request, &answer);
    return err;
}

static ssize_t remote_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                              hal_deadline until)
{
    uint8_t head[12];
    size_t most = len < WIRE_BODY_MAX ? len : WIRE_BODY_MAX;
    struct request request = {.type = WIRE_READ_AT,
                              .lane = WIRE_LANE_READ,
                              .head = head,
                              .head_size = sizeof(head),
                              .into = buf,
                              .room = most};
    struct answer answer;
    ssize_t result;

    wire_put(head, offset, 8);
    wire_put(head + 8, most, 4);
    result = remote_exchange(dev, &request, &answer, until);
    if (result)
        return result;
    result = (ssize_t)answer.length;
    if (answer.body != buf)
        result = hal_fail_plain(-EPROTO, "read", hal_device_uri(dev), "more came than was wanted");
    remote_answer_free(&request, &answer);
    return result;
}

static ssize_t remote_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                               hal_deadline until)
{
    uint8_t head[8], count[4];
    size_t most = len < WIRE_BODY_MAX - sizeof(head) ? len : WIRE_BODY_MAX - sizeof(head);
    struct request request = {.type = WIRE_WRITE_AT,
                              .lane = WIRE_LANE_WRITE,
                              .head = head,
                              .head_size = sizeof(head),
                              .tail = buf,
                              .tail_size = most,
                              .into = count,
                              .room = sizeof(count)};

    wire_put(head, offset, 8);
    return counted(dev, &request, most, until);
}

/* ---- the driver -------------------------------------------------------------------------------
 */

static const char *const leases[] = {"shared", "exclusive", "takeover", NULL};

static const struct hal_attribute attributes[] = {
    {.name = "id",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_OPEN,
     .doc = "UUID that the machine must prove to have"},
    {.name = "at",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_OPEN,
     .doc = "where a machine that is named by its UUID is: host[:port]; several, between commas, "
            "are tried until one proves to be it"},
    {.name = "credentials",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_OPEN,
     .doc = "folder of this machine's key, certificate and token (hal-ca)"},
    {.name = "lease",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_OPEN,
     .choices = leases,
     .initial = "shared",
     .doc = "whether others may have the device open as well; takeover: for an administrator, "
            "who ends the leases of others"},
    {.name = "reconnect",
     .unit = "s",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .min = 0,
     .max = 3600,
     .initial = "0",
     .doc = "for how long a lost link is dialled again; 0: it is not"},
};

bool remote_takes(const char *option)
{
    for (size_t i = 0; i < sizeof(attributes) / sizeof(*attributes); i++)
        if (!strcmp(attributes[i].name, option))
            return true;
    return false;
}

static const struct hal_match matches[] = {
    {"dnssd:_hal-device._tcp", "//{at}?id={id}", "a machine; /DEVICE comes before the ?"},
};

static const struct driver_ops ops = {
    .init = remote_init,
    .read = remote_read,
    .write = remote_write,
    .fini = remote_fini,
    .transfer = remote_transfer,
    .control = remote_control,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(*attributes),
    .summary = "a device of another machine, over mutual TLS",
    .address = "//HOST[:PORT]/DEVICE?id=UUID",
    .flags = HAL_DRIVER_ANY_OPTION,
    .load = remote_load,
    .store = remote_store,
    .read_at = remote_read_at,
    .write_at = remote_write_at,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(*matches),
};

HAL_PLUGIN("hal", &ops, "0.1.0");
