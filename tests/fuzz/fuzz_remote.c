/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an agent sends, as the remote driver takes it: any bytes, in pieces of any length, while a
 * program opens the device and uses all that a device has. TLS is left out, and the judgement of
 * tokens (fuzz_token.c): what is below gives the input and takes the requests.
 *
 * Input: length of the pieces, and whether a lost link is dialled again; share of the first link;
 * then frames, the first of which answers HELLO, the second OPEN, or RESUME on the next link.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hal/hal.h>

#include "must.h"
#include "remote.h"

#define URI "fuzzed://127.0.0.1:1/x?id=11111111-1111-4111-8111-111111111111&credentials=/nowhere"

static struct {
    const uint8_t *at;
    size_t left; /* of this link */
    size_t next; /* of the next one */
    size_t piece;
    unsigned turn;
} input;

/* ---- a link without TLS ---- */

int SSL_read_ex(SSL *ssl, void *buf, size_t num, size_t *got)
{
    (void)ssl;
    if (++input.turn % 8 == 0)
        return 0; /* none at once */
    *got = num < input.piece ? num : input.piece;
    *got = *got < input.left ? *got : input.left;
    if (*got)
        memcpy(buf, input.at, *got);
    input.at += *got;
    input.left -= *got;
    return *got > 0;
}

int SSL_write_ex(SSL *ssl, const void *buf, size_t num, size_t *written)
{
    (void)ssl;
    (void)buf;
    *written = num;
    return 1;
}

int SSL_has_pending(const SSL *ssl)
{
    (void)ssl;
    return input.left > 0;
}

int SSL_get_error(const SSL *ssl, int result)
{
    (void)ssl;
    (void)result;
    return input.left ? SSL_ERROR_WANT_READ : SSL_ERROR_ZERO_RETURN;
}

X509 *SSL_get0_peer_certificate(const SSL *ssl)
{
    (void)ssl;
    return NULL;
}

unsigned long ERR_peek_last_error(void)
{
    return 0;
}

const char *ERR_reason_error_string(unsigned long error)
{
    (void)error;
    return NULL;
}

void ERR_clear_error(void)
{
}

int remote_connect(struct hal_device *dev, struct remote *remote, hal_deadline until)
{
    struct epoll_event event = {.events = EPOLLIN};

    (void)until;
    if (!input.left && !input.next)
        return hal_fail_plain(-EACCES, "open", hal_device_uri(dev), "there is no more input");
    if (!input.left) {
        input.left = input.next;
        input.next = 0;
    }
    if (remote->ready < 0) {
        remote->news = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        remote->ready = epoll_create1(EPOLL_CLOEXEC);
    }
    remote->fd = eventfd(1, EFD_NONBLOCK | EFD_CLOEXEC); /* always readable, and writable */
    MUST(remote->fd >= 0 && remote->news >= 0 && remote->ready >= 0);
    MUST(!epoll_ctl(remote->ready, EPOLL_CTL_ADD, remote->fd, &event));
    return 0;
}

void remote_hang_up(struct remote *remote)
{
    if (remote->fd >= 0)
        close(remote->fd);
    remote->fd = -1;
    if (remote->body_owned)
        free(remote->body);
    remote->body = NULL;
    remote->body_owned = false;
    remote->phase = PHASE_HEADER;
    remote->got = 0;
}

void remote_disconnect(struct remote *remote)
{
    remote_hang_up(remote);
    if (remote->news >= 0)
        close(remote->news);
}

void remote_credentials_free(struct credentials *credentials)
{
    MUST(!credentials);
}

bool remote_revoked(const struct credentials *credentials, X509 *certificate)
{
    MUST(!credentials && !certificate);
    return false;
}

int remote_token(const char *folder, char *out, size_t size)
{
    (void)folder;
    snprintf(out, size, "token");
    return 0;
}

int remote_judge(struct hal_device *dev, const struct remote *remote, const char *text,
                 size_t length, int64_t agent_ms)
{
    (void)dev;
    (void)remote;
    (void)agent_ms;
    MUST(!length || !memchr(text, 0, length)); /* all of it is there */
    return 0;
}

/* ---- a program that uses the device ---- */

static void move_bytes(hal_handle dev)
{
    uint8_t *room = malloc(100); /* just as long, so that writing beyond it is seen */
    uint64_t value;

    MUST(room != NULL);
    memset(room, 0, 100);
    MUST(hal_read(dev, room, 100, HAL_FOREVER) <= 100);
    MUST(hal_write(dev, room, 100, HAL_FOREVER) <= 100);
    MUST(hal_read(dev, room, 1, HAL_NOWAIT) <= 1);
    MUST(hal_read_at(dev, room, 100, 8, HAL_FOREVER) <= 100);
    MUST(hal_write_at(dev, room, 100, 8, HAL_FOREVER) <= 100);
    MUST(hal_load(dev, 0, 4, &value) <= 0);
    MUST(hal_store(dev, 0, 4, 1) <= 0);
    free(room);
}

static void transfer(hal_handle dev)
{
    uint8_t *room = malloc(10);
    struct hal_segment segments[] = {{.tx = "a", .len = 1}, {.rx = room, .len = 10}};

    MUST(room != NULL);
    MUST(hal_transfer(dev, segments, 2, HAL_FOREVER) < 1 << 20);
    hal_control(dev, 0x1234, room, 10, HAL_FOREVER);
    free(room);
}

static void batch(hal_handle dev)
{
    uint8_t *room = malloc(10), argument[4] = {0};
    const struct hal_segment segments[] = {{.tx = "a", .len = 1}, {.rx = room, .len = 10}};
    const struct hal_attribute *row = NULL;
    struct hal_value value;
    struct hal_operation operations[] = {
        {.kind = HAL_OPERATION_LOAD, .width = 4},
        {.kind = HAL_OPERATION_CONTROL, .argument = argument, .size = sizeof(argument)},
        {.kind = HAL_OPERATION_TRANSFER, .segments = segments, .count = 2},
        {.kind = HAL_OPERATION_STORE, .width = 4},
        {.kind = HAL_OPERATION_GET, .value = &value},
    };
    size_t count = hal_attribute_at(dev, 0, &row) ? 4 : 5;
    ssize_t done;

    MUST(room != NULL);
    operations[4].name = row ? row->name : NULL;
    done = hal_batch(dev, operations, count, HAL_FOREVER);
    MUST(done <= (ssize_t)count);
    for (ssize_t i = 0; i < done; i++)
        MUST(operations[i].result >= 0);
    if (done >= 0 && done < (ssize_t)count)
        MUST(operations[done].result < 0);
    free(room);
}

static void use_attributes(hal_handle dev)
{
    const struct hal_attribute *row;
    struct hal_value value;

    for (size_t i = 0; i < 8 && !hal_attribute_at(dev, i, &row); i++) {
        MUST(row->name && row->doc);
        if (!hal_get(dev, row->name, &value, HAL_FOREVER))
            hal_set(dev, row->name, &value, HAL_FOREVER);
        for (size_t n = 0; row->choices && row->choices[n]; n++)
            MUST(strlen(row->choices[n]) < 65536);
    }
}

extern const struct hal_plugin hal_plugin;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool registered;
    hal_handle dev;

    if (!registered)
        MUST(!hal_register_driver("fuzzed", hal_plugin.ops));
    registered = true;
    if (size < 2)
        return 0;
    size -= 2;
    input.at = data + 2;
    input.left = size * data[1] / 255;
    input.next = size - input.left;
    input.piece = (data[0] & 0x7f) + 1u;
    input.turn = 0;
    dev = hal_open(data[0] & 0x80 ? URI "&reconnect=5" : URI, HAL_FOREVER);
    MUST(dev != 0);
    if (dev < 0) {
        MUST(hal_last_errno() == -dev && *hal_last_error());
        return 0;
    }
    use_attributes(dev);
    move_bytes(dev);
    transfer(dev);
    batch(dev);
    move_bytes(dev);
    MUST(hal_close(dev) == 0);
    return 0;
}
