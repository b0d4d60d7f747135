/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any text as a URI: it is parsed or refused with a message, and what was parsed is the same after
 * it was quoted, put together and parsed again.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/hal.h>

#include "must.h"

/* Longer than a URI may be: every byte may become three. */
static char rebuilt[4 * HAL_URI_MAX];

static void append(const char *text)
{
    MUST(strlen(rebuilt) + strlen(text) < sizeof(rebuilt));
    strcat(rebuilt, text);
}

static void append_quoted(const char *value)
{
    char quoted[3 * HAL_URI_MAX + 1];

    MUST(hal_uri_quote(value, quoted, sizeof(quoted)) == (long)strlen(quoted));
    append(quoted);
}

static void rebuild(const struct hal_uri *uri)
{
    rebuilt[0] = '\0';
    append(uri->driver);
    append(":");
    append_quoted(uri->address);
    for (size_t i = 0; i < uri->option_count; i++) {
        append(i ? "&" : "?");
        append(uri->options[i].key);
        append("=");
        append_quoted(uri->options[i].value);
    }
}

static void compare(const struct hal_uri *a, const struct hal_uri *b)
{
    MUST(!strcmp(a->driver, b->driver));
    MUST(!strcmp(a->address, b->address));
    MUST(a->option_count == b->option_count);
    for (size_t i = 0; i < a->option_count; i++) {
        MUST(!strcmp(a->options[i].key, b->options[i].key));
        MUST(!strcmp(a->options[i].value, b->options[i].value));
    }
}

/* A name that is bound opens what it is bound to; the round trip of options is in there, too. */
static void bind_and_open(const char *text)
{
    hal_handle dev;

    if (hal_bind("fuzzed", text))
        return;
    dev = hal_open("fuzzed?added=1", HAL_NOWAIT);
    MUST(dev != 0);
    if (dev > 0)
        MUST(hal_close(dev) == 0);
    MUST(hal_unbind("fuzzed") == 0);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct hal_uri uri, again;
    char *text = malloc(size + 1); /* just as long, so that reading beyond it is seen */
    int err;

    if (!text)
        return 0;
    memcpy(text, data, size);
    text[size] = '\0';
    err = hal_uri_parse(text, &uri);
    if (err) {
        MUST(hal_last_errno() == -err && *hal_last_error());
    } else {
        MUST(strlen(text) <= HAL_URI_MAX && uri.option_count <= HAL_OPTIONS_MAX);
        rebuild(&uri);
        if (strlen(rebuilt) <= HAL_URI_MAX) {
            MUST(hal_uri_parse(rebuilt, &again) == 0);
            compare(&uri, &again);
        }
    }
    if (err || !strncmp(uri.driver, "loopback", 8))
        bind_and_open(text);
    free(text);
    return 0;
}
