/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "gpio.h"

#define EVENT_BUFFER_MAX (GPIO_V2_LINES_MAX * 16) /* the kernel takes no more */
#define US_PER_S 1e6
#define DEBOUNCE_MAX 4294 /* s: the kernel has 32 bits of microseconds */

/* ---- settings of the lines ---- */

#define RISING GPIO_V2_LINE_FLAG_EDGE_RISING
#define FALLING GPIO_V2_LINE_FLAG_EDGE_FALLING

/* Words of a setting and the flags each stands for, in the same order. */
struct setting {
    const char *const *words;
    uint64_t flags[4];
};

enum { DIRECTION, BIAS, DRIVE, EDGE, CLOCK, ACTIVE_LOW, DEBOUNCE };

static const char *const directions[] = {"as-is", "input", "output", NULL};
static const char *const biases[] = {"as-is", "off", "pull-up", "pull-down", NULL};
static const char *const drives[] = {"push-pull", "open-drain", "open-source", NULL};
static const char *const edges[] = {"none", "rising", "falling", "both", NULL};
static const char *const clocks[] = {"monotonic", "realtime", "hardware", NULL};

static const struct setting settings[] = {
    [DIRECTION] = {directions, {0, GPIO_V2_LINE_FLAG_INPUT, GPIO_V2_LINE_FLAG_OUTPUT}},
    [BIAS] = {biases,
              {0, GPIO_V2_LINE_FLAG_BIAS_DISABLED, GPIO_V2_LINE_FLAG_BIAS_PULL_UP,
               GPIO_V2_LINE_FLAG_BIAS_PULL_DOWN}},
    [DRIVE] = {drives, {0, GPIO_V2_LINE_FLAG_OPEN_DRAIN, GPIO_V2_LINE_FLAG_OPEN_SOURCE}},
    [EDGE] = {edges, {0, RISING, FALLING, RISING | FALLING}},
    [CLOCK] = {clocks,
               {0, GPIO_V2_LINE_FLAG_EVENT_CLOCK_REALTIME, GPIO_V2_LINE_FLAG_EVENT_CLOCK_HTE}},
};

static uint64_t mask_of(const struct setting *setting)
{
    return setting->flags[0] | setting->flags[1] | setting->flags[2] | setting->flags[3];
}

static void change(struct gpio_config *config, int64_t which, const struct hal_value *value)
{
    if (which == DEBOUNCE) {
        config->debounce_us = (uint32_t)(value->f * US_PER_S + 0.5);
    } else if (which == ACTIVE_LOW) {
        config->flags &= ~(uint64_t)GPIO_V2_LINE_FLAG_ACTIVE_LOW;
        config->flags |= value->b ? GPIO_V2_LINE_FLAG_ACTIVE_LOW : 0;
    } else {
        const struct setting *setting = &settings[which];
        config->flags &= ~mask_of(setting);
        for (int i = 0; setting->words[i]; i++)
            if (!strcmp(setting->words[i], value->s))
                config->flags |= setting->flags[i];
    }
}

static int setting_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    const struct gpio *gpio = hal_device_state(dev);
    int err = request_need(dev, "get");

    if (err)
        return err;
    if (attr->tag == DEBOUNCE) {
        out->f = gpio->config.debounce_us / US_PER_S;
    } else if (attr->tag == ACTIVE_LOW) {
        out->b = gpio->config.flags & GPIO_V2_LINE_FLAG_ACTIVE_LOW;
    } else {
        const struct setting *setting = &settings[attr->tag];
        int i = 0;
        while (setting->flags[i] != (gpio->config.flags & mask_of(setting)))
            i++;
        snprintf(out->s, sizeof(out->s), "%s", setting->words[i]);
    }
    return 0;
}

/* What the kernel has no way to do with lines that are held. */
static int check_change(struct hal_device *dev, const struct gpio_config *next,
                        const char *operation)
{
    const struct gpio *gpio = hal_device_state(dev);

    if (gpio->events != ((next->flags & (RISING | FALLING)) != 0))
        return hal_fail_plain(-EOPNOTSUPP, operation, hal_device_uri(dev),
                              gpio->events
                                  ? "the device reads events; open the lines without edge to "
                                    "read levels"
                                  : "the device reads levels; open the lines with edge to read "
                                    "events");
    if (gpio->config.flags & mask_of(&settings[DIRECTION]) &&
        !(next->flags & mask_of(&settings[DIRECTION])))
        return hal_fail_plain(-EOPNOTSUPP, operation, hal_device_uri(dev),
                              "a direction once set is changed, not forgotten");
    return 0;
}

static int setting_set(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct gpio_config next = gpio->config;
    char operation[HAL_NAME_MAX + 8];
    int err;

    snprintf(operation, sizeof(operation), "set %s", attr->name);
    err = request_need(dev, operation);
    if (err)
        return err;
    change(&next, attr->tag, value);
    err = request_settle(dev, &next, operation);
    if (!err)
        err = check_change(dev, &next, operation);
    if (err || (next.flags == gpio->config.flags && next.debounce_us == gpio->config.debounce_us))
        return err;
    return request_configure(dev, &next, operation);
}

/* ---- levels ---- */

/* "01": a digit for each line; one digit alone is for all lines. */
static int parse_levels(struct hal_device *dev, const char *text, uint64_t *bits)
{
    const struct gpio *gpio = hal_device_state(dev);
    size_t length = strlen(text);

    if ((length != 1 && length != gpio->count) || strspn(text, "01") != length)
        return hal_fail_plain(-EINVAL, "set values", hal_device_uri(dev),
                              "\"%s\" is not one digit, 0 or 1, for each of %u lines", text,
                              gpio->count);
    *bits = 0;
    for (unsigned i = 0; i < gpio->count; i++)
        if (text[length == 1 ? 0 : i] == '1')
            *bits |= UINT64_C(1) << i;
    return 0;
}

static int values_get(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct hal_gpio_values values = {.mask = gpio->all};
    int err = request_get(dev, &values, "get values");

    (void)attr;
    for (unsigned i = 0; i < gpio->count; i++)
        out->s[i] = values.bits >> i & 1 ? '1' : '0';
    out->s[gpio->count] = '\0';
    return err;
}

static int values_set(struct hal_device *dev, const struct hal_attribute *attr,
                      const struct hal_value *value)
{
    const struct gpio *gpio = hal_device_state(dev);
    struct hal_gpio_values values = {.mask = gpio->all};
    int err = request_need(dev, "set values");

    (void)attr;
    if (!err)
        err = parse_levels(dev, value->s, &values.bits);
    return err ? err : request_set(dev, &values, "set values");
}

/* ---- facts ---- */

enum { FACT_LINES, FACT_LOST, FACT_BUFFER };

static int number_get(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    struct gpio *gpio = hal_device_state(dev);

    switch (attr->tag) {
    case FACT_LINES:
        out->i = gpio->count;
        break;
    case FACT_LOST:
        out->i = (int64_t)atomic_load_explicit(&gpio->lost, memory_order_relaxed);
        break;
    default:
        out->i = gpio->event_buffer;
        break;
    }
    return 0;
}

enum { FACT_CONSUMER, FACT_CHIP, FACT_LABEL, FACT_NODE };

static int text_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct gpio *gpio = hal_device_state(dev);
    const char *const texts[] = {gpio->consumer, gpio->chip.name, gpio->chip.label, gpio->node};

    snprintf(out->s, sizeof(out->s), "%s", texts[attr->tag]);
    return 0;
}

static int offsets_get(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    const struct gpio *gpio = hal_device_state(dev);
    size_t used = 0;

    (void)attr;
    out->s[0] = '\0';
    for (unsigned i = 0; i < gpio->count && used < sizeof(out->s); i++)
        used += (size_t)snprintf(out->s + used, sizeof(out->s) - used, "%s%u", i ? "," : "",
                                 gpio->offsets[i]);
    return used < sizeof(out->s) ? 0 : -ENAMETOOLONG;
}

/* ---- opening ---- */

static int take_consumer(struct hal_device *dev, struct gpio *gpio)
{
    struct hal_value value;

    if (hal_device_option(dev, "consumer", &value) != 1)
        snprintf(value.s, sizeof(value.s), "%.*s", GPIO_MAX_NAME_SIZE - 1,
                 program_invocation_short_name);
    if (strlen(value.s) >= sizeof(gpio->consumer))
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "consumer \"%s\" is longer than the %d bytes the kernel takes",
                              value.s, GPIO_MAX_NAME_SIZE - 1);
    memcpy(gpio->consumer, value.s, strlen(value.s) + 1);
    return 0;
}

static int take_values(struct hal_device *dev, struct gpio *gpio)
{
    struct hal_value value;
    uint64_t bits;
    int err;

    if (!gpio->count || hal_device_option(dev, "values", &value) != 1)
        return 0;
    err = parse_levels(dev, value.s, &bits);
    if (err)
        return err;
    if (gpio->config.flags & GPIO_V2_LINE_FLAG_INPUT)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "values are of outputs; direction is input");
    gpio->config.flags |= GPIO_V2_LINE_FLAG_OUTPUT;
    atomic_store(&gpio->driven, bits);
    return 0;
}

int gpio_options(struct hal_device *dev, struct gpio *gpio)
{
    struct hal_value value;
    int err;

    for (size_t i = 0; i < GPIO_ATTRIBUTES; i++)
        if (gpio_attributes[i].set == setting_set &&
            hal_device_option(dev, gpio_attributes[i].name, &value) == 1)
            change(&gpio->config, gpio_attributes[i].tag, &value);
    if (hal_device_option(dev, "event_buffer", &value) >= 0)
        gpio->event_buffer = (unsigned)value.i;
    err = take_consumer(dev, gpio);
    if (!err)
        err = take_values(dev, gpio);
    if (!err)
        err = request_settle(dev, &gpio->config, "open");
    gpio->events = gpio->config.flags & (RISING | FALLING);
    return err;
}

/* ---- the table ---- */

#define READ HAL_ATTR_READ
#define OPEN (HAL_ATTR_READ | HAL_ATTR_OPEN)
#define SET (HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN)
#define ROW(name_, unit_, type_, access_, get_, set_, tag_, doc_)                                  \
    .name = name_, .unit = unit_, .doc = doc_, .type = HAL_TYPE_##type_, .access = access_,        \
    .get = get_, .set = set_, .tag = tag_
#define WORDS(name_, words_, initial_, tag_, doc_)                                                 \
    ROW(name_, NULL, CHOICE, SET, setting_get, setting_set, tag_, doc_), .choices = words_,        \
                                                                         .initial = initial_

/* clang-format off */
const struct hal_attribute gpio_attributes[] = {
    {WORDS("direction", directions, "as-is", DIRECTION,
           "Input or output; as-is: left as found, or as other settings imply.")},
    {ROW("active_low", NULL, BOOL, SET, setting_get, setting_set, ACTIVE_LOW,
         "Level 1 is the low voltage, of what is read, written and of edges."),
     .initial = "false"},
    {WORDS("bias", biases, "as-is", BIAS, "Resistor of the chip at the lines.")},
    {WORDS("drive", drives, "push-pull", DRIVE, "How outputs are driven.")},
    {ROW("debounce", "s", FLOAT, SET, setting_get, setting_set, DEBOUNCE,
         "Time a level must last to count, in steps of 1 us; 0: no debouncing."),
     .max = DEBOUNCE_MAX, .initial = "0"},
    {WORDS("edge", edges, "none", EDGE, "Edges that are events; with it, reading gives events.")},
    {WORDS("event_clock", clocks, "monotonic", CLOCK,
           "Clock of events' timestamps; hardware: the timestamp engine of some systems.")},
    {ROW("values", NULL, TEXT, SET, values_get, values_set, 0,
         "Levels, a digit a line in the order of the address; written, one digit is for all.")},
    {ROW("event_buffer", NULL, INT, OPEN, number_get, NULL, FACT_BUFFER,
         "Events that the kernel holds before it drops the oldest; 0: 16 a line."),
     .max = EVENT_BUFFER_MAX, .initial = "1024"},
    {ROW("consumer", NULL, TEXT, OPEN, text_get, NULL, FACT_CONSUMER,
         "Name under which the lines are held; the program's unless given.")},
    {ROW("lost", NULL, INT, READ, number_get, NULL, FACT_LOST,
         "Events that the kernel dropped because nobody read in time.")},
    {ROW("lines", NULL, INT, READ, number_get, NULL, FACT_LINES, "How many lines the device has.")},
    {ROW("offsets", NULL, TEXT, READ, offsets_get, NULL, 0, "Their numbers on the chip.")},
    {ROW("chip", NULL, TEXT, READ, text_get, NULL, FACT_CHIP, "The chip's name.")},
    {ROW("label", NULL, TEXT, READ, text_get, NULL, FACT_LABEL, "The chip's label.")},
    {ROW("node", NULL, TEXT, READ, text_get, NULL, FACT_NODE, "The chip's device node.")},
};
/* clang-format on */
