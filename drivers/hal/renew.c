/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What may change while a link is open: this machine's token, which ends, and the list of revoked
 * certificates. There is no thread that looks after them: a call does, once a second at most.
 */
#include <errno.h>
#include <stdatomic.h>
#include <time.h>

#include "remote.h"

#define EVERY 1000000000LL /* ns between two looks */
#define AHEAD 60000        /* ms before the token's end from which a new one is sent */
#define PATIENCE_MS 2000   /* with the agent's answer */
#define TOKEN_MAX 4096

static int64_t now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

static int send_token(struct hal_device *dev, struct remote *remote, const char *token)
{
    uint8_t body[TOKEN_MAX + 2];
    struct wire_writer writer = {.at = body, .left = sizeof(body)};
    struct request request = {.type = WIRE_TOKEN, .lane = WIRE_LANE_NONE, .tail = body};
    struct answer answer;
    int err;

    wire_add_text(&writer, token);
    request.tail_size = (size_t)(writer.at - body);
    err = remote_exchange(dev, &request, &answer, hal_after_ms(PATIENCE_MS));
    if (err)
        return err;
    if (answer.length >= 8)
        remote->token_until = (int64_t)wire_get(answer.body, 8);
    remote_answer_free(&request, &answer);
    return 0;
}

/* A token that is refused, or not there, is told by the agent when the old one has ended. */
static void renew(struct hal_device *dev, struct remote *remote)
{
    char token[TOKEN_MAX + 1];
    uint64_t sum;

    if (now_ms() < remote->token_until - AHEAD ||
        remote_token(remote->folder, token, sizeof(token)))
        return;
    sum = remote_sum(REMOTE_SUM, token, strlen(token));
    if (sum == remote->token_sum)
        return; /* it is the one that we have sent */
    remote->token_sum = sum;
    (void)send_token(dev, remote, token);
}

/* FNV-1a (RFC 9923): to know bytes again. `sum` is that of those before them. */
uint64_t remote_sum(uint64_t sum, const void *bytes, size_t size)
{
    const uint8_t *at = bytes;

    for (size_t i = 0; i < size; i++)
        sum = (sum ^ at[i]) * 0x100000001b3;
    return sum;
}

void remote_look(struct hal_device *dev, enum wire_lane lane)
{
    struct remote *remote = remote_of(dev);
    int64_t now = hal_now();
    bool revoked;

    if (now < atomic_load_explicit(&remote->look_at, memory_order_relaxed))
        return;
    pthread_mutex_lock(&remote->lock);
    if (remote->dialling || remote->broken) {
        pthread_mutex_unlock(&remote->lock);
        return;
    }
    atomic_store_explicit(&remote->look_at, now + EVERY, memory_order_relaxed);
    remote->dialling = true; /* as for dialling: this caller alone asks what is of no lane */
    remote->dialler = remote_lane(remote, lane);
    pthread_mutex_unlock(&remote->lock);

    revoked = remote_revoked(remote->credentials, SSL_get0_peer_certificate(remote->ssl));
    if (!revoked)
        renew(dev, remote);

    pthread_mutex_lock(&remote->lock);
    if (revoked)
        remote_break(dev, remote, -EACCES, "the agent's certificate was revoked");
    remote->dialling = false;
    remote->dialler = HAL_LANE_CONTROL;
    remote_wake_all(dev);
    pthread_mutex_unlock(&remote->lock);
}
