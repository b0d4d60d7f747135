/* SPDX-License-Identifier: Apache-2.0 */
/* A batch of operations: one frame there, one back, and everything where it is wanted. */
#include <errno.h>
#include <stdlib.h>

#include <hal/error.h>

#include "remote.h"

/* Bytes of the question. 0: it, or the answer, does not fit a frame. */
static size_t measure(const struct hal_operation *operations, size_t count)
{
    size_t asked = 4, answered = 4 + 2 + HAL_MESSAGE_MAX; /* one operation may fail */

    for (size_t i = 0; i < count; i++) {
        asked += 8;
        answered += 8;
        if (!remote_measure(&operations[i], &asked, &answered))
            return 0;
    }
    return asked;
}

static size_t put_all(uint8_t *body, size_t size, const struct hal_operation *operations,
                      size_t count)
{
    struct wire_writer writer = {.at = body, .left = size};

    wire_add_number(&writer, count, 4);
    for (size_t i = 0; i < count; i++) {
        uint8_t *length = writer.at + 4;

        wire_add_number(&writer, remote_type(&operations[i]), 8); /* and room for the length */
        remote_put(&writer, &operations[i]);
        wire_put(length, (uint64_t)(writer.at - length - 4), 4);
    }
    return (size_t)(writer.at - body);
}

/* ---- the answer -------------------------------------------------------------------------------
 */

static int damaged(struct hal_device *dev)
{
    return hal_fail_plain(-EPROTO, "batch", hal_device_uri(dev), "the answer is damaged");
}

/* One operation's part: its outcome is in it, also when it failed over there. 0 or -EPROTO. */
static int take_one(struct hal_device *dev, struct hal_operation *operation,
                    struct wire_reader *body)
{
    uint64_t number = wire_number(body, 4);
    struct wire_reader own = {.left = (size_t)wire_number(body, 4)};
    const char *text;
    size_t length;

    own.at = wire_take(body, own.left);
    if (body->failed || number > WIRE_ERRNO_MAX)
        return damaged(dev);
    if (!number)
        return remote_take_result(dev, operation, &own);
    text = wire_text(&own, &length);
    operation->result =
        hal_fail_plain(-(int)number, "remote", hal_device_uri(dev), "%.*s", (int)length, text);
    return 0;
}

/* Only the last of those that were tried may have failed, and only then may some be missing. */
static int take_all(struct hal_device *dev, struct hal_operation *operations, size_t count,
                    struct wire_reader *body)
{
    size_t tried = (size_t)wire_number(body, 2);

    (void)wire_number(body, 2);
    if (tried > count)
        return damaged(dev);
    for (size_t i = 0; i < tried; i++) {
        int err = take_one(dev, &operations[i], body);

        if (err)
            return err;
        if (operations[i].result < 0)
            return i + 1 == tried ? 0 : damaged(dev);
    }
    return tried == count ? 0 : damaged(dev);
}

int remote_batch(struct hal_device *dev, struct hal_operation *operations, size_t count,
                 hal_deadline until)
{
    struct request request = {.type = WIRE_BATCH, .lane = WIRE_LANE_CONTROL};
    size_t size = measure(operations, count);
    struct answer answer;
    uint8_t *body;
    int err;

    if (!size)
        return hal_fail_plain(-EMSGSIZE, "batch", hal_device_uri(dev),
                              "the operations, or their answers, do not fit a frame of %u bytes: "
                              "make several batches of it",
                              WIRE_BODY_MAX);
    body = malloc(size);
    if (!body)
        return -ENOMEM;
    request.tail = body;
    request.tail_size = put_all(body, size, operations, count);
    err = remote_exchange(dev, &request, &answer, until);
    if (!err) {
        struct wire_reader reader = {.at = answer.body, .left = answer.length};

        err = take_all(dev, operations, count, &reader);
        remote_answer_free(&request, &answer);
    }
    free(body);
    return err;
}
