/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pwm: channels of the kernel's PWM chips, as attributes.
 *
 *     pwm:pwmchip0/1?frequency=1kHz&duty=25%&enabled=true
 *
 * A channel that is not exported yet is exported while the device is open. Reading gives the duty
 * as a line of text, writing takes it. Source: Documentation/driver-api/pwm.rst,
 * Documentation/ABI/testing/sysfs-class-pwm.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hal/driver.h>

#define FOLDER "/sys/class/pwm"
#define NS_PER_S 1e9

struct pwm {
    char chip[64]; /* "pwmchip0" */
    unsigned channel;
    bool exported; /* by us */
};

static void path_of(const struct pwm *pwm, const char *file, char out[PATH_MAX])
{
    snprintf(out, PATH_MAX, FOLDER "/%s/pwm%u/%s", pwm->chip, pwm->channel, file);
}

static int get_number(const struct pwm *pwm, const char *file, int64_t *out)
{
    char path[PATH_MAX], text[32], *end;
    long n;

    path_of(pwm, file, path);
    n = hal_node_read_text(path, text, sizeof(text));
    if (n < 0)
        return (int)n;
    *out = strtoll(text, &end, 10);
    return end == text || *end ? -EPROTO : 0;
}

static int set_number(const struct pwm *pwm, const char *file, int64_t value)
{
    char path[PATH_MAX], text[32];

    path_of(pwm, file, path);
    snprintf(text, sizeof(text), "%lld", (long long)value);
    return hal_node_write_text(path, text);
}

/* ---- times: the kernel keeps period and duty_cycle in ns; the others are made of them -------- */

static int set_duty(const struct pwm *pwm, double part)
{
    int64_t period;
    int err = get_number(pwm, "period", &period);

    return err ? err : set_number(pwm, "duty_cycle", (int64_t)(part * (double)period + 0.5));
}

/* The kernel refuses a period below the duty: the duty goes first where it must shrink. */
static int set_period(const struct pwm *pwm, int64_t ns)
{
    int64_t period, duty;
    int err = get_number(pwm, "period", &period);
    double part;

    if (!err)
        err = get_number(pwm, "duty_cycle", &duty);
    if (err)
        return err;
    part = period ? (double)duty / (double)period : 0;
    if (duty > ns)
        err = set_number(pwm, "duty_cycle", 0);
    if (!err)
        err = set_number(pwm, "period", ns);
    return err || !period ? err : set_duty(pwm, part);
}

enum time_attribute { PERIOD, FREQUENCY, DUTY_TIME, DUTY };

static int get_time(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct pwm *pwm = hal_device_state(dev);
    int64_t period, duty;
    int err = get_number(pwm, "period", &period);

    if (!err)
        err = get_number(pwm, "duty_cycle", &duty);
    if (err)
        return err;
    switch ((enum time_attribute)attr->tag) {
    case PERIOD:
        out->f = (double)period / NS_PER_S;
        break;
    case FREQUENCY:
        out->f = period ? NS_PER_S / (double)period : 0;
        break;
    case DUTY_TIME:
        out->f = (double)duty / NS_PER_S;
        break;
    case DUTY:
        out->f = period ? (double)duty / (double)period : 0;
        break;
    }
    return 0;
}

static int set_time(struct hal_device *dev, const struct hal_attribute *attr,
                    const struct hal_value *value)
{
    const struct pwm *pwm = hal_device_state(dev);

    switch ((enum time_attribute)attr->tag) {
    case PERIOD:
        return set_period(pwm, (int64_t)(value->f * NS_PER_S + 0.5));
    case FREQUENCY:
        if (value->f <= 0)
            return hal_fail_plain(-ERANGE, "set frequency", hal_device_uri(dev),
                                  "a cycle that never ends; use enabled=false");
        return set_period(pwm, (int64_t)(NS_PER_S / value->f + 0.5));
    case DUTY_TIME:
        return set_number(pwm, "duty_cycle", (int64_t)(value->f * NS_PER_S + 0.5));
    case DUTY:
        return set_duty(pwm, value->f);
    }
    return -EINVAL;
}

static int get_enabled(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    int64_t value;
    int err = get_number(hal_device_state(dev), "enable", &value);

    (void)attr;
    out->b = !err && value;
    return err;
}

static int set_enabled(struct hal_device *dev, const struct hal_attribute *attr,
                       const struct hal_value *value)
{
    (void)attr;
    return set_number(hal_device_state(dev), "enable", value->b);
}

static int get_polarity(struct hal_device *dev, const struct hal_attribute *attr,
                        struct hal_value *out)
{
    char path[PATH_MAX];
    long n;

    (void)attr;
    path_of(hal_device_state(dev), "polarity", path);
    n = hal_node_read_text(path, out->s, sizeof(out->s));
    return n < 0 ? (int)n : 0;
}

static int set_polarity(struct hal_device *dev, const struct hal_attribute *attr,
                        const struct hal_value *value)
{
    char path[PATH_MAX];

    (void)attr;
    path_of(hal_device_state(dev), "polarity", path);
    return hal_node_write_text(path, value->s);
}

#define EVERY (HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN)

static const char *const polarities[] = {"normal", "inversed", NULL};

static const struct hal_attribute attributes[] = {
    {.name = "polarity",
     .doc = "Whether the duty is the high or the low part; not while enabled.",
     .type = HAL_TYPE_CHOICE,
     .access = EVERY,
     .choices = polarities,
     .get = get_polarity,
     .set = set_polarity},
    {.name = "period",
     .unit = "s",
     .doc = "Of one cycle; the duty keeps its part of it.",
     .type = HAL_TYPE_FLOAT,
     .access = EVERY,
     .min = 0, /* what it is until it has been set */
     .max = 1e3,
     .get = get_time,
     .set = set_time,
     .tag = PERIOD},
    {.name = "frequency",
     .unit = "Hz",
     .doc = "Cycles a second: the period, written otherwise.",
     .type = HAL_TYPE_FLOAT,
     .access = EVERY,
     .min = 0,
     .max = 1e9,
     .get = get_time,
     .set = set_time,
     .tag = FREQUENCY},
    {.name = "duty_time",
     .unit = "s",
     .doc = "The active part of a cycle, at most the period.",
     .type = HAL_TYPE_FLOAT,
     .access = EVERY,
     .min = 0,
     .max = 1e3,
     .get = get_time,
     .set = set_time,
     .tag = DUTY_TIME},
    {.name = "duty",
     .doc = "The active part of a cycle, 0 .. 1 (or with %).",
     .type = HAL_TYPE_FLOAT,
     .access = EVERY,
     .min = 0,
     .max = 1,
     .get = get_time,
     .set = set_time,
     .tag = DUTY},
    {.name = "enabled",
     .doc = "Whether the output runs.",
     .type = HAL_TYPE_BOOL,
     .access = EVERY,
     .get = get_enabled,
     .set = set_enabled},
};

/* ---- bytes ------------------------------------------------------------------------------------
 */

static ssize_t pwm_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    static const struct hal_attribute duty = {.tag = DUTY};
    struct hal_value value;
    char text[32];
    int err = get_time(dev, &duty, &value), n;

    (void)until;
    if (err)
        return err;
    n = snprintf(text, sizeof(text), "%.9g\n", value.f);
    if ((size_t)n > len)
        return hal_fail(-EMSGSIZE, "read", hal_device_uri(dev), "%d bytes are needed", n);
    memcpy(buf, text, (size_t)n);
    return n;
}

static ssize_t pwm_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    static const struct hal_attribute duty = {
        .name = "duty", .type = HAL_TYPE_FLOAT, .access = HAL_ATTR_WRITE, .max = 1};
    char text[32];
    struct hal_value value;
    int err;

    (void)until;
    snprintf(text, sizeof(text), "%.*s", (int)(len < 31 ? len : 31), (const char *)buf);
    text[strcspn(text, "\n")] = '\0';
    err = hal_value_parse(&duty, text, &value);
    if (err)
        return hal_fail_forward(err);
    err = set_duty(hal_device_state(dev), value.f);
    return err ? err : (ssize_t)len;
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static int parse_address(struct hal_device *dev, struct pwm *pwm)
{
    int used = 0;

    if (sscanf(hal_device_address(dev), "%63[a-zA-Z0-9_-]/%u%n", pwm->chip, &pwm->channel, &used) ==
            2 &&
        !hal_device_address(dev)[used])
        return 0;
    return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                          "the address is CHIP/CHANNEL: pwm:pwmchip0/1");
}

static int export_channel(struct hal_device *dev, struct pwm *pwm)
{
    char path[PATH_MAX], text[16];
    int err;

    path_of(pwm, "period", path);
    if (!access(path, F_OK))
        return 0;
    snprintf(path, sizeof(path), FOLDER "/%s/export", pwm->chip);
    snprintf(text, sizeof(text), "%u", pwm->channel);
    err = hal_node_write_text(path, text);
    if (err == -EBUSY)
        return hal_fail(err, "open", hal_device_uri(dev), "a kernel driver uses this channel");
    if (err == -ENODEV || err == -EINVAL)
        return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev), "%s has no channel %u",
                              pwm->chip, pwm->channel);
    pwm->exported = !err;
    return err;
}

static int pwm_init(struct hal_device *dev)
{
    struct pwm *pwm = calloc(1, sizeof(*pwm));
    int err;

    if (!pwm)
        return -ENOMEM;
    err = parse_address(dev, pwm);
    if (!err)
        err = export_channel(dev, pwm);
    if (err)
        free(pwm);
    else
        hal_device_set_state(dev, pwm);
    return err;
}

static void pwm_fini(struct hal_device *dev)
{
    struct pwm *pwm = hal_device_state(dev);
    char path[PATH_MAX], text[16];

    if (pwm->exported) {
        snprintf(path, sizeof(path), FOLDER "/%s/unexport", pwm->chip);
        snprintf(text, sizeof(text), "%u", pwm->channel);
        hal_node_write_text(path, text); /* the chip may be gone: then so is the channel */
    }
    free(pwm);
}

static const struct hal_match matches[] = {
    {"subsystem:pwm", "{name}/0", "a PWM chip: its first channel"},
};

static const struct driver_ops pwm_ops = {
    .init = pwm_init,
    .read = pwm_read,
    .write = pwm_write,
    .fini = pwm_fini,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Channels of PWM chips",
    .address = "CHIP/CHANNEL",
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("pwm", &pwm_ops, "0.1.0");
