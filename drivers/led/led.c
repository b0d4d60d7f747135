/* SPDX-License-Identifier: Apache-2.0 */
/*
 * led: LEDs and backlight-like lamps of the kernel's LED class, as attributes.
 *
 *     led:input3::capslock
 *     led:mmc0::?brightness=1&trigger=none
 *
 * Reading gives the brightness as a line of text, writing takes it. Source:
 * Documentation/ABI/testing/sysfs-class-led, Documentation/leds/leds-class.rst.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/driver.h>

#define FOLDER "/sys/class/leds"
#define TRIGGERS_MAX 4096 /* a page: what one sysfs file can hold */

struct led {
    char folder[PATH_MAX];
};

static void path_of(const struct hal_device *dev, const char *file, char out[PATH_MAX])
{
    const struct led *led = hal_device_state(dev);

    if (snprintf(out, PATH_MAX, "%s/%s", led->folder, file) >= PATH_MAX)
        out[0] = '\0';
}

static int get_number(struct hal_device *dev, const char *file, int64_t *out)
{
    char path[PATH_MAX], text[32], *end;
    long n;

    path_of(dev, file, path);
    n = hal_node_read_text(path, text, sizeof(text));
    if (n < 0)
        return (int)n;
    *out = strtoll(text, &end, 10);
    return end == text || *end ? -EPROTO : 0;
}

static int set_brightness_to(struct hal_device *dev, int64_t value)
{
    char path[PATH_MAX], text[32];
    int64_t max;
    int err = get_number(dev, "max_brightness", &max);

    if (err)
        return err;
    if (value < 0 || value > max)
        return hal_fail_plain(-ERANGE, "set brightness", hal_device_uri(dev),
                              "%lld is outside 0 .. %lld", (long long)value, (long long)max);
    path_of(dev, "brightness", path);
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return hal_node_write_text(path, text);
}

static int get_brightness(struct hal_device *dev, const struct hal_attribute *attr,
                          struct hal_value *out)
{
    return get_number(dev, attr->name, &out->i);
}

static int set_brightness(struct hal_device *dev, const struct hal_attribute *attr,
                          const struct hal_value *value)
{
    (void)attr;
    return set_brightness_to(dev, value->i);
}

/* The file lists all triggers, the active one in brackets. */
static int get_trigger(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    char path[PATH_MAX], *text, *start, *end;
    long n;

    (void)attr;
    text = malloc(TRIGGERS_MAX + 1);
    if (!text)
        return -ENOMEM;
    path_of(dev, "trigger", path);
    n = hal_node_read_text(path, text, TRIGGERS_MAX + 1);
    start = n < 0 ? NULL : strchr(text, '[');
    end = start ? strchr(start, ']') : NULL;
    if (n >= 0)
        n = end && end - start <= HAL_TEXT_MAX ? 0 : -EPROTO;
    if (!n) {
        *end = '\0';
        strcpy(out->s, start + 1);
    }
    free(text);
    return (int)n;
}

static int set_trigger(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    char path[PATH_MAX];

    (void)attr;
    path_of(dev, "trigger", path);
    return hal_node_write_text(path, value->s);
}

/* The files are there only while the trigger is "timer". */
static int get_delay(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    int64_t ms = 0;
    int err = get_number(dev, attr->name, &ms);

    if (err == -ENOENT)
        return hal_fail(-EOPNOTSUPP, "get", hal_device_uri(dev), "the trigger is not \"timer\"");
    out->f = (double)ms / 1e3;
    return err;
}

static int set_delay(struct hal_device *dev, const struct hal_attribute *attr,
                     const struct hal_value *value)
{
    char path[PATH_MAX], text[32];
    int err;

    path_of(dev, attr->name, path);
    snprintf(text, sizeof(text), "%.0f", value->f * 1e3);
    err = hal_node_write_text(path, text);
    if (err == -ENOENT)
        return hal_fail(-EOPNOTSUPP, "set", hal_device_uri(dev), "the trigger is not \"timer\"");
    return err;
}

#define EVERY (HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN)

static const struct hal_attribute attributes[] = {
    {.name = "trigger",
     .doc = "What drives the LED: none, timer, heartbeat, ... as this kernel offers.",
     .type = HAL_TYPE_TEXT,
     .access = EVERY,
     .get = get_trigger,
     .set = set_trigger},
    {.name = "brightness",
     .doc = "0 (off) .. max_brightness.",
     .type = HAL_TYPE_INT,
     .access = EVERY,
     .get = get_brightness,
     .set = set_brightness},
    {.name = "max_brightness",
     .doc = "The brightest this LED can be.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_brightness},
    {.name = "delay_on",
     .unit = "s",
     .doc = "How long it is on, with the trigger \"timer\"; to the millisecond.",
     .type = HAL_TYPE_FLOAT,
     .access = HAL_ATTR_READ | HAL_ATTR_WRITE,
     .min = 0,
     .max = 3600,
     .get = get_delay,
     .set = set_delay},
    {.name = "delay_off",
     .unit = "s",
     .doc = "How long it is off, with the trigger \"timer\"; to the millisecond.",
     .type = HAL_TYPE_FLOAT,
     .access = HAL_ATTR_READ | HAL_ATTR_WRITE,
     .min = 0,
     .max = 3600,
     .get = get_delay,
     .set = set_delay},
};

static ssize_t led_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    int64_t value;
    char text[32];
    int err = get_number(dev, "brightness", &value), n;

    (void)until;
    if (err)
        return err;
    n = snprintf(text, sizeof(text), "%lld\n", (long long)value);
    if ((size_t)n > len)
        return hal_fail(-EMSGSIZE, "read", hal_device_uri(dev), "%d bytes are needed", n);
    memcpy(buf, text, (size_t)n);
    return n;
}

static ssize_t led_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    char text[32], *end;
    int64_t value;
    int err;

    (void)until;
    snprintf(text, sizeof(text), "%.*s", (int)(len < 31 ? len : 31), (const char *)buf);
    value = strtoll(text, &end, 10);
    if (end == text || len > 31 || (*end && *end != '\n'))
        return hal_fail_plain(-EINVAL, "write", hal_device_uri(dev),
                              "a brightness is written as a decimal number");
    err = set_brightness_to(dev, value);
    return err ? err : (ssize_t)len;
}

static int led_init(struct hal_device *dev)
{
    const char *name = hal_device_address(dev);
    struct led *led;
    int64_t max;
    int err;

    if (!*name || strchr(name, '/') || *name == '.')
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "the address is the name of a folder of " FOLDER);
    led = calloc(1, sizeof(*led));
    if (!led)
        return -ENOMEM;
    snprintf(led->folder, sizeof(led->folder), FOLDER "/%s", name);
    hal_device_set_state(dev, led);
    err = get_number(dev, "max_brightness", &max);
    if (err) {
        hal_device_set_state(dev, NULL);
        free(led);
    }
    return err == -ENOENT
               ? hal_fail(err, "open", hal_device_uri(dev), "no LED of that name in " FOLDER)
               : err;
}

static void led_fini(struct hal_device *dev)
{
    free(hal_device_state(dev));
}

static const struct hal_match matches[] = {
    {"subsystem:leds", "{name}", NULL},
};

static const struct driver_ops led_ops = {
    .init = led_init,
    .read = led_read,
    .write = led_write,
    .fini = led_fini,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "LEDs of the kernel's LED class",
    .address = "NAME",
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("led", &led_ops, "0.1.0");
