/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a value of any attribute: it is read within the attribute's rules or refused with a
 * message, and what was read is the same after it was written and read again.
 *
 * The first byte chooses type, range and unit, the rest is the text.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/hal.h>

#include "must.h"

static const char *const choices[] = {"none", "even", "odd", NULL};

static struct hal_attribute chosen(uint8_t how)
{
    static const char *const units[] = {NULL, "Hz", "B", "s"};
    struct hal_attribute attr = {.name = "fuzzed", .access = HAL_ATTR_READ, .choices = choices};

    attr.type = (enum hal_type)(how % 8); /* 0, 6 and 7 are none */
    attr.unit = units[how >> 3 & 3];
    if (how & 0x20) {
        attr.min = -100;
        attr.max = 5000;
    }
    return attr;
}

static void check_rules(const struct hal_attribute *attr, const struct hal_value *value)
{
    MUST(value->type == attr->type);
    switch (value->type) {
    case HAL_TYPE_INT:
        MUST(!attr->max || (value->i >= -100 && value->i <= 5000));
        break;
    case HAL_TYPE_FLOAT:
        MUST(value->f == value->f);
        MUST(!attr->max || (value->f >= -100 && value->f <= 5000));
        break;
    case HAL_TYPE_TEXT:
    case HAL_TYPE_CHOICE:
        MUST(memchr(value->s, '\0', sizeof(value->s)));
        break;
    case HAL_TYPE_BOOL:
        break;
    }
}

static void compare(const struct hal_value *a, const struct hal_value *b)
{
    switch (a->type) {
    case HAL_TYPE_BOOL:
        MUST(a->b == b->b);
        break;
    case HAL_TYPE_INT:
        MUST(a->i == b->i);
        break;
    case HAL_TYPE_FLOAT:
        MUST(a->f == b->f);
        break;
    case HAL_TYPE_TEXT:
    case HAL_TYPE_CHOICE:
        MUST(!strcmp(a->s, b->s));
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct hal_attribute attr = chosen(size ? data[0] : 0);
    struct hal_value value, again;
    char *text = calloc(1, size + 1), written[HAL_TEXT_MAX];
    int err;

    if (!text)
        return 0;
    memcpy(text, data + (size ? 1 : 0), size ? size - 1 : 0);
    err = hal_value_parse(&attr, text, &value);
    if (err) {
        MUST(hal_last_errno() == -err && *hal_last_error());
    } else {
        check_rules(&attr, &value);
        MUST(hal_value_format(&value, written, sizeof(written)) == (long)strlen(written));
        MUST(hal_value_parse(&attr, written, &again) == 0);
        compare(&value, &again);
    }
    free(text);
    return 0;
}
