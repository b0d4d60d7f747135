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

/* ---- blocks -----------------------------------------------------------------------------------
 */

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
    .batch = remote_batch,
};

HAL_PLUGIN("hal", &ops, "0.1.0");
