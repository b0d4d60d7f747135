/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "internal.h"

#define PARSE "parse URI"

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    if (c >= 'a' && c <= 'f')
        return c - 'a' + 10;
    if (c >= 'A' && c <= 'F')
        return c - 'A' + 10;
    return -1;
}

static bool is_control(char c)
{
    return (unsigned char)c < 0x20 || c == 0x7f;
}

/* Decode %XX from text[0..len) to out, which has room for len + 1. The length, or -EINVAL. */
static long decode(const char *text, size_t len, char *out)
{
    size_t n = 0;

    for (size_t i = 0; i < len; i++) {
        char c = text[i];
        int high = c == '%' && len - i > 2 ? hex_digit(text[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text[i + 2]) : -1;
        if (low >= 0) {
            c = (char)(high * 16 + low);
            i += 2;
        }
        if (is_control(c))
            return -EINVAL;
        out[n++] = c;
    }
    out[n] = '\0';
    return (long)n;
}

/* Where the next part of the decoded text goes. */
struct cursor {
    struct hal_uri *uri;
    size_t used;
};

static int put(struct cursor *at, const char *text, size_t len, const char **out)
{
    long n = decode(text, len, at->uri->text + at->used);

    if (n < 0)
        return (int)n;
    *out = at->uri->text + at->used;
    at->used += (size_t)n + 1;
    return 0;
}

/* A name is taken as it is: nothing in it needs %XX. */
static int put_name(struct cursor *at, const char *text, size_t len, const char **out)
{
    char *name = at->uri->text + at->used;

    memcpy(name, text, len);
    name[len] = '\0';
    at->used += len + 1;
    *out = name;
    return name_check(name);
}

static int parse_option(struct cursor *at, const char *text, size_t len)
{
    struct hal_uri *uri = at->uri;
    struct hal_option *option;
    const char *equals = memchr(text, '=', len);
    size_t key_len = equals ? (size_t)(equals - text) : len;
    int err;

    if (uri->option_count == HAL_OPTIONS_MAX)
        return hal_fail_plain(-E2BIG, PARSE, uri->driver, "more than %d options", HAL_OPTIONS_MAX);
    option = &uri->options[uri->option_count];
    err = put_name(at, text, key_len, &option->key);
    if (err)
        return hal_fail_plain(err == -ENOENT ? -EINVAL : err, PARSE, uri->driver,
                              "option \"%.*s\": %s", (int)len, text, name_complaint(err));
    for (size_t i = 0; i < uri->option_count; i++)
        if (!strcmp(uri->options[i].key, option->key))
            return hal_fail_plain(-EINVAL, PARSE, uri->driver, "option \"%s\" is given twice",
                                  option->key);
    option->value = "true";
    err = equals ? put(at, equals + 1, len - key_len - 1, &option->value) : 0;
    if (err)
        return hal_fail_plain(err, PARSE, uri->driver, "option \"%s\" holds a control character",
                              option->key);
    uri->option_count++;
    return 0;
}

static int parse_options(struct cursor *at, const char *text)
{
    while (*text) {
        size_t len = strcspn(text, "&");
        int err = parse_option(at, text, len);
        if (err)
            return err;
        text += len + (text[len] == '&');
    }
    return 0;
}

int uri_parse(const char *text, struct hal_uri *out)
{
    struct cursor at = {out, 0};
    size_t name_len, address_len;
    const char *rest;
    int err;

    if (!text || !out)
        return hal_fail(-EFAULT, PARSE, NULL, "%s is NULL", text ? "out" : "the URI");
    if (strnlen(text, HAL_URI_MAX + 1) > HAL_URI_MAX)
        return hal_fail(-ENAMETOOLONG, PARSE, NULL, "more than %d bytes", HAL_URI_MAX);
    out->option_count = 0;
    name_len = strcspn(text, ":?");
    err = put_name(&at, text, name_len, &out->driver);
    if (err)
        return hal_fail_plain(err, PARSE, text, "before ':' stands a driver's name; %s",
                              name_complaint(err));
    rest = text + name_len + (text[name_len] == ':');
    address_len = strcspn(rest, "?");
    err = put(&at, rest, address_len, &out->address);
    if (err)
        return hal_fail_plain(err, PARSE, out->driver, "the address holds a control character");
    rest += address_len;
    return *rest == '?' ? parse_options(&at, rest + 1) : 0;
}

int hal_uri_parse(const char *text, struct hal_uri *out)
{
    uint32_t mark = error_begin();
    int err = uri_parse(text, out);

    return err ? error_end(mark, err, PARSE, text) : 0;
}

static long quote(const char *value, char *out, size_t size)
{
    static const char hex[] = "0123456789ABCDEF";
    size_t n = 0;

    if (!value || !out)
        return -EFAULT;
    for (; *value; value++) {
        unsigned char c = (unsigned char)*value;
        bool escape = c >= 0x80 || strchr("%?&=#+ ", c);
        if (is_control(*value))
            return hal_fail_plain(-EINVAL, "quote", NULL, "control character 0x%02x", c);
        if (n + (escape ? 3 : 1) >= size)
            return -ENAMETOOLONG;
        if (escape) {
            out[n++] = '%';
            out[n++] = hex[c >> 4];
            out[n++] = hex[c & 15];
        } else {
            out[n++] = *value;
        }
    }
    if (n >= size)
        return -ENAMETOOLONG;
    out[n] = '\0';
    return (long)n;
}

long hal_uri_quote(const char *value, char *out, size_t size)
{
    uint32_t mark = error_begin();
    long n = quote(value, out, size);

    return n < 0 ? error_end(mark, (int)n, "quote", NULL) : n;
}
