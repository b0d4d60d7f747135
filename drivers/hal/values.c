/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of the far device: their values on the wire, and getting and setting them. */
#include <errno.h>
#include <stdlib.h>

#include "remote.h"

bool remote_take_value(struct wire_reader *reader, struct hal_value *value)
{
    unsigned type = (unsigned)wire_number(reader, 1);
    const char *text;
    size_t length;

    (void)wire_take(reader, 7);
    *value = (struct hal_value){.type = (enum hal_type)type};
    switch (type) {
    case HAL_TYPE_BOOL:
        value->b = wire_number(reader, 8) != 0;
        break;
    case HAL_TYPE_INT:
        value->i = (int64_t)wire_number(reader, 8);
        break;
    case HAL_TYPE_FLOAT:
        value->f = wire_double(reader);
        break;
    case HAL_TYPE_TEXT:
    case HAL_TYPE_CHOICE:
        text = wire_text(reader, &length);
        if (length >= sizeof(value->s))
            reader->failed = true;
        else
            memcpy(value->s, text, length);
        break;
    default:
        reader->failed = true;
    }
    return !reader->failed;
}

void remote_add_value(struct wire_writer *writer, const struct hal_value *value)
{
    uint64_t bits = 0;

    wire_add_number(writer, value->type, 8);
    switch (value->type) {
    case HAL_TYPE_BOOL:
        wire_add_number(writer, value->b, 8);
        break;
    case HAL_TYPE_INT:
        wire_add_number(writer, (uint64_t)value->i, 8);
        break;
    case HAL_TYPE_FLOAT:
        memcpy(&bits, &value->f, sizeof(bits));
        wire_add_number(writer, bits, 8);
        break;
    case HAL_TYPE_TEXT:
    case HAL_TYPE_CHOICE:
        wire_add_text(writer, value->s);
        break;
    }
}

int remote_get(struct hal_device *dev, const struct hal_attribute *attribute, struct hal_value *out)
{
    uint8_t index[2];
    struct request request = {
        .type = WIRE_GET, .lane = WIRE_LANE_CONTROL, .head = index, .head_size = sizeof(index)};
    struct answer answer;
    struct wire_reader body;
    int err;

    wire_put(index, (uint64_t)attribute->tag, 2);
    err = remote_exchange(dev, &request, &answer, HAL_FOREVER);
    if (err)
        return err;
    body = (struct wire_reader){.at = answer.body, .left = answer.length};
    if (!remote_take_value(&body, out) || out->type != attribute->type)
        err = hal_fail_plain(-EPROTO, "get", attribute->name, "the value is damaged");
    remote_answer_free(&request, &answer);
    return err;
}

int remote_set(struct hal_device *dev, const struct hal_attribute *attribute,
               const struct hal_value *value)
{
    uint8_t body[2 + 8 + 2 + HAL_TEXT_MAX];
    struct wire_writer writer = {.at = body, .left = sizeof(body)};
    struct request request = {.type = WIRE_SET, .lane = WIRE_LANE_CONTROL, .head = body};
    struct answer answer;
    int err;

    wire_add_number(&writer, (uint64_t)attribute->tag, 2);
    remote_add_value(&writer, value);
    request.head_size = (size_t)(writer.at - body);
    err = remote_exchange(dev, &request, &answer, HAL_FOREVER);
    if (!err)
        remote_answer_free(&request, &answer);
    return err;
}
