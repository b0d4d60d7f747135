/* SPDX-License-Identifier: Apache-2.0 */
/* Attributes of the far device: getting and setting them. */
#include <errno.h>
#include <stdlib.h>

#include "remote.h"
#include "wire_value.h"

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
    if (!wire_take_value(&body, out) || out->type != attribute->type)
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
    wire_add_value(&writer, value);
    request.head_size = (size_t)(writer.at - body);
    err = remote_exchange(dev, &request, &answer, HAL_FOREVER);
    if (!err)
        remote_answer_free(&request, &answer);
    return err;
}
