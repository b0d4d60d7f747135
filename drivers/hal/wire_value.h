/* SPDX-License-Identifier: Apache-2.0 */
/* Values of attributes in frames of hal/1: both ends have them in the same form. */
#ifndef WIRE_VALUE_H
#define WIRE_VALUE_H

#include <hal/attribute.h>

#include "wire.h"

/* False, and `failed` of the reader, when it is none. */
static inline bool wire_take_value(struct wire_reader *reader, struct hal_value *value)
{
    unsigned type = (unsigned)wire_number(reader, 1);
    const char *text;
    size_t length;

    (void)wire_take(reader, 7);
    memset(value, 0, sizeof(*value));
    value->type = (enum hal_type)type;
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

static inline void wire_add_value(struct wire_writer *writer, const struct hal_value *value)
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

#endif
