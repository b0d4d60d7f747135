/* SPDX-License-Identifier: Apache-2.0 */
/* Values as text, and the checks an attribute makes of them. */
#include <errno.h>
#include <inttypes.h>
#include <locale.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

/* Number syntax is that of the "C" locale, whatever the program has set. */
static locale_t c_locale;

__attribute__((constructor)) static void make_locale(void)
{
    c_locale = newlocale(LC_ALL_MASK, "C", (locale_t)0);
}

static bool parse_bool(const char *text, bool *out)
{
    static const char *const words[][2] = {
        {"true", "false"}, {"1", "0"}, {"on", "off"}, {"yes", "no"}};

    for (size_t i = 0; i < COUNT_OF(words); i++) {
        if (!strcasecmp(text, words[i][0]) || !strcasecmp(text, words[i][1])) {
            *out = !strcasecmp(text, words[i][0]);
            return true;
        }
    }
    return false;
}

/* What a number is multiplied by for the text behind it: the attribute's unit with a prefix of the
 * SI (or, for bytes, of IEC 80000-13), or % where there is no unit. 0: that is none of them. */
static double factor_of(const char *suffix, const char *unit)
{
    static const struct {
        const char *prefix;
        double factor;
    } prefixes[] = {{"", 1},    {"n", 1e-9}, {"u", 1e-6},  {"m", 1e-3},     {"k", 1e3},
                    {"M", 1e6}, {"G", 1e9},  {"Ki", 1024}, {"Mi", 1048576}, {"Gi", 1073741824}};

    if (!*suffix)
        return 1;
    if (!unit)
        return strcmp(suffix, "%") ? 0 : 0.01;
    for (size_t i = 0; i < COUNT_OF(prefixes); i++) {
        size_t len = strlen(prefixes[i].prefix);
        bool binary = len == 2;
        if (!strncmp(suffix, prefixes[i].prefix, len) && !strcmp(suffix + len, unit) &&
            (!binary || !strcmp(unit, "B")))
            return prefixes[i].factor;
    }
    return 0;
}

static int parse_float(const char *text, const char *unit, double *out)
{
    double number, factor;
    char *end;

    if (!*text || strchr(" \t\n\v\f\r", *text))
        return -EINVAL;
    errno = 0;
    number = strtod_l(text, &end, c_locale);
    factor = factor_of(end, unit);
    if (end == text || factor == 0 || isnan(number))
        return -EINVAL;
    *out = number * factor;
    /* What is too small is 0; what is too large is not what was written, unless that is "inf". */
    return isinf(*out) && (errno || !isinf(number)) ? -ERANGE : 0;
}

/* "10MHz", "1.5kHz": what a whole number with a unit may look like. It must come out whole. */
static int parse_scaled_int(const char *text, const char *unit, int64_t *out)
{
    double value, rest;
    int err = parse_float(text, unit, &value);

    if (err)
        return err;
    if (value < -9.2e18 || value > 9.2e18)
        return -ERANGE;
    *out = (int64_t)(value < 0 ? value - 0.5 : value + 0.5);
    rest = (double)*out - value; /* 1.005 * 1000 is 1004.9999999999999 */
    return fabs(rest) <= fabs(value) * 1e-12 ? 0 : -EINVAL;
}

/* Decimal or 0x hexadecimal, or a number with its unit. */
static int parse_int(const char *text, const char *unit, int64_t *out)
{
    const char *digits = text + (*text == '-' || *text == '+');
    int base = digits[0] == '0' && (digits[1] == 'x' || digits[1] == 'X') ? 16 : 10;
    char *end;

    if (*digits < '0' || *digits > '9')
        return -EINVAL;
    errno = 0;
    *out = strtoll(text, &end, base);
    if (*end)
        return unit ? parse_scaled_int(text, unit, out) : -EINVAL;
    return errno ? -ERANGE : 0;
}

static void choices_text(const struct hal_attribute *attr, char *out, size_t size)
{
    size_t used = 0;

    *out = '\0';
    for (const char *const *choice = attr->choices; choice && *choice && used < size; choice++)
        used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", *choice);
}

static int check_choice(const struct hal_attribute *attr, const char *text)
{
    char list[HAL_TEXT_MAX];

    for (const char *const *choice = attr->choices; choice && *choice; choice++)
        if (!strcmp(*choice, text))
            return 0;
    choices_text(attr, list, sizeof(list));
    return hal_fail_plain(-EINVAL, "set", attr->name, "\"%s\" is not one of: %s", text, list);
}

static int check_range(const struct hal_attribute *attr, double value, const char *text)
{
    if ((attr->min == 0 && attr->max == 0) || (value >= attr->min && value <= attr->max))
        return 0;
    return hal_fail_plain(-ERANGE, "set", attr->name, "%s is outside %.15g .. %.15g%s%s", text,
                          attr->min, attr->max, attr->unit ? " " : "",
                          attr->unit ? attr->unit : "");
}

static int complain(const struct hal_attribute *attr, int err, const char *text)
{
    static const char *const wanted[] = {
        [HAL_TYPE_BOOL] = "true or false",
        [HAL_TYPE_INT] = "a whole number, decimal or 0x hexadecimal, of 64 bits",
        [HAL_TYPE_FLOAT] = "a number",
    };

    return hal_fail_plain(err, "set", attr->name, "\"%s\" is not %s%s%s", text, wanted[attr->type],
                          attr->unit ? ", alone or in " : "", attr->unit ? attr->unit : "");
}

int value_parse(const struct hal_attribute *attr, const char *text, struct hal_value *out)
{
    int err;

    out->type = attr->type;
    switch (attr->type) {
    case HAL_TYPE_BOOL:
        return parse_bool(text, &out->b) ? 0 : complain(attr, -EINVAL, text);
    case HAL_TYPE_INT:
        err = parse_int(text, attr->unit, &out->i);
        return err ? complain(attr, err, text) : check_range(attr, (double)out->i, text);
    case HAL_TYPE_FLOAT:
        err = parse_float(text, attr->unit, &out->f);
        return err ? complain(attr, err, text) : check_range(attr, out->f, text);
    case HAL_TYPE_TEXT:
    case HAL_TYPE_CHOICE:
        if (strlen(text) >= HAL_TEXT_MAX)
            return hal_fail_plain(-ENAMETOOLONG, "set", attr->name, "more than %d bytes of text",
                                  HAL_TEXT_MAX - 1);
        strcpy(out->s, text);
        return attr->type == HAL_TYPE_CHOICE ? check_choice(attr, text) : 0;
    }
    return hal_fail_plain(-EINVAL, "set", attr->name, "unknown type %d", (int)attr->type);
}

int value_convert(const struct hal_attribute *attr, const struct hal_value *in,
                  struct hal_value *out)
{
    char text[HAL_TEXT_MAX];

    if (in->type == HAL_TYPE_TEXT || in->type == HAL_TYPE_CHOICE) {
        if (!memchr(in->s, '\0', HAL_TEXT_MAX))
            return hal_fail_plain(-EINVAL, "set", attr->name, "the text is not ended by NUL");
        return value_parse(attr, in->s, out);
    }
    /* What is written exactly is checked exactly: a BOOL is no INT, an INT may be a FLOAT. */
    if (in->type != attr->type && !(in->type == HAL_TYPE_INT && attr->type == HAL_TYPE_FLOAT))
        return hal_fail_plain(-EINVAL, "set", attr->name, "a value of another type was given");
    if (hal_value_format(in, text, sizeof(text)) < 0)
        return hal_fail_plain(-EINVAL, "set", attr->name, "the value cannot be written");
    return value_parse(attr, text, out);
}

int hal_value_parse(const struct hal_attribute *attr, const char *text, struct hal_value *out)
{
    uint32_t mark = error_begin();
    int err = attr && text && out ? value_parse(attr, text, out) : -EFAULT;

    return err ? error_end(mark, err, "parse value", attr ? attr->name : NULL) : 0;
}

/* The shortest text that reads back as the same number, in the "C" locale. */
static int print_float(char *out, size_t size, double value)
{
    locale_t before = uselocale(c_locale);
    int n = -1;

    for (int digits = 15; digits <= 17; digits++) {
        n = snprintf(out, size, "%.*g", digits, value);
        if (n < 0 || (size_t)n >= size || strtod(out, NULL) == value)
            break;
    }
    uselocale(before);
    return n;
}

static long format_value(const struct hal_value *value, char *out, size_t size)
{
    int n = -1;

    switch (value->type) {
    case HAL_TYPE_BOOL:
        n = snprintf(out, size, "%s", value->b ? "true" : "false");
        break;
    case HAL_TYPE_INT:
        n = snprintf(out, size, "%" PRId64, value->i);
        break;
    case HAL_TYPE_FLOAT:
        n = print_float(out, size, value->f);
        break;
    case HAL_TYPE_TEXT:
    case HAL_TYPE_CHOICE:
        n = snprintf(out, size, "%.*s", HAL_TEXT_MAX - 1, value->s);
        break;
    }
    if (n < 0)
        return -EINVAL;
    return (size_t)n < size ? n : -ENAMETOOLONG;
}

long hal_value_format(const struct hal_value *value, char *out, size_t size)
{
    uint32_t mark = error_begin();
    long n = value && out ? format_value(value, out, size) : -EFAULT;

    return n < 0 ? error_end(mark, (int)n, "format value", NULL) : n;
}
