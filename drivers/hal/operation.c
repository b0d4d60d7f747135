/* SPDX-License-Identifier: Apache-2.0 */
/* What goes through the control lane: an operation's body in a frame, and its answer's. */
#include <errno.h>
#include <stdlib.h>

#include "remote.h"
#include "wire_value.h"

#define SEGMENT 40
#define VALUE_MAX (8 + 2 + HAL_TEXT_MAX)
#define ARGUMENT_MAX 65536
#define SMALL 512 /* bodies up to this take no memory of their own */

/* ---- asking -----------------------------------------------------------------------------------
 */

static bool measure_segments(const struct hal_operation *operation, size_t *asked, size_t *answered)
{
    *asked += 4 + operation->count * SEGMENT;
    *answered += 8;
    for (size_t i = 0; i < operation->count; i++) {
        const struct hal_segment *segment = &operation->segments[i];

        if (segment->len > WIRE_BODY_MAX)
            return false;
        *asked += segment->tx ? segment->len : 0;
        *answered += segment->rx ? segment->len : 0;
    }
    return true;
}

bool remote_measure(const struct hal_operation *operation, size_t *asked, size_t *answered)
{
    switch (operation->kind) {
    case HAL_OPERATION_TRANSFER:
        if (!measure_segments(operation, asked, answered))
            return false;
        break;
    case HAL_OPERATION_CONTROL:
        if (operation->size > ARGUMENT_MAX)
            return false;
        *asked += 8 + operation->size;
        *answered += 8 + operation->size;
        break;
    case HAL_OPERATION_GET:
        *asked += 2;
        *answered += VALUE_MAX;
        break;
    case HAL_OPERATION_SET:
        *asked += 2 + VALUE_MAX;
        break;
    case HAL_OPERATION_LOAD:
        *asked += 12;
        *answered += 8;
        break;
    default:
        *asked += 24;
        break;
    }
    return *asked <= WIRE_BODY_MAX && *answered <= WIRE_BODY_MAX;
}

enum wire_type remote_type(const struct hal_operation *operation)
{
    static const enum wire_type types[] = {
        [HAL_OPERATION_TRANSFER] = WIRE_TRANSFER, [HAL_OPERATION_CONTROL] = WIRE_CONTROL,
        [HAL_OPERATION_GET] = WIRE_GET,           [HAL_OPERATION_SET] = WIRE_SET,
        [HAL_OPERATION_LOAD] = WIRE_LOAD,         [HAL_OPERATION_STORE] = WIRE_STORE,
    };

    return types[operation->kind];
}

static void put_segment(struct wire_writer *writer, const struct hal_segment *segment)
{
    wire_add_number(writer, segment->flags, 4);
    wire_add_number(writer, (segment->tx ? 1 : 0) | (segment->rx ? 2 : 0), 1);
    wire_add_number(writer, segment->bits, 1);
    wire_add_number(writer, segment->lanes_tx, 1);
    wire_add_number(writer, segment->lanes_rx, 1);
    wire_add_number(writer, segment->len, 8);
    wire_add_number(writer, segment->address, 4);
    wire_add_number(writer, segment->speed_hz, 4);
    wire_add_number(writer, segment->delay_us, 2);
    wire_add_number(writer, segment->word_delay_us, 2);
    wire_add_number(writer, 0, 4);
    wire_add_number(writer, 0, 8);
}

static void put_segments(struct wire_writer *writer, const struct hal_segment *segments,
                         size_t count)
{
    wire_add_number(writer, count, 4);
    for (size_t i = 0; i < count; i++)
        put_segment(writer, &segments[i]);
    for (size_t i = 0; i < count; i++)
        if (segments[i].tx)
            wire_add(writer, segments[i].tx, segments[i].len);
}

void remote_put(struct wire_writer *writer, const struct hal_operation *operation)
{
    switch (operation->kind) {
    case HAL_OPERATION_TRANSFER:
        put_segments(writer, operation->segments, operation->count);
        break;
    case HAL_OPERATION_CONTROL:
        wire_add_number(writer, operation->request, 4);
        wire_add_number(writer, operation->size, 4);
        wire_add(writer, operation->argument, operation->size);
        break;
    case HAL_OPERATION_GET:
        wire_add_number(writer, (uint64_t)operation->attribute->tag, 2);
        break;
    case HAL_OPERATION_SET:
        wire_add_number(writer, (uint64_t)operation->attribute->tag, 2);
        wire_add_value(writer, operation->value);
        break;
    case HAL_OPERATION_LOAD:
        wire_add_number(writer, operation->offset, 8);
        wire_add_number(writer, operation->width, 4);
        break;
    default:
        wire_add_number(writer, operation->offset, 8);
        wire_add_number(writer, operation->width, 8);
        wire_add_number(writer, operation->word, 8);
        break;
    }
}

/* ---- the answer -------------------------------------------------------------------------------
 */

static void take_received(struct hal_operation *operation, struct wire_reader *body)
{
    operation->result = (int64_t)wire_number(body, 8);
    for (size_t i = 0; i < operation->count; i++) {
        const struct hal_segment *segment = &operation->segments[i];
        const uint8_t *got = segment->rx ? wire_take(body, segment->len) : NULL;

        if (got)
            memcpy(segment->rx, got, segment->len);
    }
}

static void take_argument(struct hal_operation *operation, struct wire_reader *body)
{
    const uint8_t *got;

    operation->result = (int64_t)wire_number(body, 8);
    got = wire_take(body, operation->size);
    if (got && operation->size)
        memcpy(operation->argument, got, operation->size);
}

static bool take_value(struct hal_operation *operation, struct wire_reader *body)
{
    return wire_take_value(body, operation->value) &&
           operation->value->type == operation->attribute->type;
}

int remote_take_result(struct hal_device *dev, struct hal_operation *operation,
                       struct wire_reader *body)
{
    bool good = true;

    operation->result = 0;
    if (operation->kind == HAL_OPERATION_TRANSFER)
        take_received(operation, body);
    else if (operation->kind == HAL_OPERATION_CONTROL)
        take_argument(operation, body);
    else if (operation->kind == HAL_OPERATION_GET)
        good = take_value(operation, body);
    else if (operation->kind == HAL_OPERATION_LOAD)
        operation->word = wire_number(body, 8);
    if (!good || body->failed || operation->result < 0)
        return hal_fail_plain(-EPROTO, "use", hal_device_uri(dev), "the answer is damaged");
    return 0;
}

/* ---- one operation ----------------------------------------------------------------------------
 */

static int ask(struct hal_device *dev, struct hal_operation *operation, uint8_t *body, size_t size,
               hal_deadline until)
{
    struct wire_writer writer = {.at = body, .left = size};
    uint8_t small[SMALL];
    struct request request = {.type = remote_type(operation),
                              .lane = WIRE_LANE_CONTROL,
                              .tail = body,
                              .into = small,
                              .room = sizeof(small)};
    struct answer answer;
    int err;

    remote_put(&writer, operation);
    request.tail_size = (size_t)(writer.at - body);
    err = remote_exchange(dev, &request, &answer, until);
    if (!err) {
        struct wire_reader reader = {.at = answer.body, .left = answer.length};

        err = remote_take_result(dev, operation, &reader);
        remote_answer_free(&request, &answer);
    }
    return err;
}

static int operate(struct hal_device *dev, struct hal_operation *operation, hal_deadline until)
{
    size_t asked = 0, answered = 0;
    uint8_t small[SMALL], *body = small;
    int err;

    if (!remote_measure(operation, &asked, &answered))
        return -EMSGSIZE;
    if (asked > sizeof(small))
        body = malloc(asked);
    if (!body)
        return -ENOMEM;
    err = ask(dev, operation, body, asked, until);
    if (body != small)
        free(body);
    return err;
}

ssize_t remote_transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                        hal_deadline until)
{
    struct hal_operation operation = {
        .kind = HAL_OPERATION_TRANSFER, .segments = segments, .count = count};
    int err = operate(dev, &operation, until);

    return err ? err : (ssize_t)operation.result;
}

long remote_control(struct hal_device *dev, uint32_t number, void *argument, size_t size,
                    hal_deadline until)
{
    struct hal_operation operation = {
        .kind = HAL_OPERATION_CONTROL, .request = number, .argument = argument, .size = size};
    int err = operate(dev, &operation, until);

    return err ? err : (long)operation.result;
}

int remote_get(struct hal_device *dev, const struct hal_attribute *attribute, struct hal_value *out)
{
    struct hal_operation operation = {
        .kind = HAL_OPERATION_GET, .attribute = attribute, .value = out};

    return operate(dev, &operation, HAL_FOREVER);
}

int remote_set(struct hal_device *dev, const struct hal_attribute *attribute,
               const struct hal_value *value)
{
    struct hal_value wanted = *value;
    struct hal_operation operation = {
        .kind = HAL_OPERATION_SET, .attribute = attribute, .value = &wanted};

    return operate(dev, &operation, HAL_FOREVER);
}

int remote_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    struct hal_operation operation = {.kind = HAL_OPERATION_LOAD, .offset = offset, .width = width};
    int err = operate(dev, &operation, HAL_FOREVER);

    if (!err)
        *value = operation.word;
    return err;
}

int remote_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    struct hal_operation operation = {
        .kind = HAL_OPERATION_STORE, .offset = offset, .width = width, .word = value};

    return operate(dev, &operation, HAL_FOREVER);
}
