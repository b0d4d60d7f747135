/* SPDX-License-Identifier: Apache-2.0 */
/* Which devices are asked for. A part of discovery/query.py. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <hal/driver.h>

#include "internal.h"

#define QUERY "query"

static const struct {
    const char *key;
    size_t offset;
    bool tells_case;
} keys[] = {
    {"class", offsetof(struct hal_discovered, device_class), false},
    {"vendor", offsetof(struct hal_discovered, vendor), false},
    {"model", offsetof(struct hal_discovered, model), false},
    {"serial", offsetof(struct hal_discovered, serial), false},
    {"driver", offsetof(struct hal_discovered, driver), false},
    {"state", offsetof(struct hal_discovered, state), false},
    {"id", offsetof(struct hal_discovered, id), false},
    {"subsystem", offsetof(struct hal_discovered, subsystem), false},
    {"name", offsetof(struct hal_discovered, name), true},
    {"uri", offsetof(struct hal_discovered, uri), true},
    {"node", offsetof(struct hal_discovered, node), true},
    {"path", offsetof(struct hal_discovered, path), true},
};

/* The number of a key; COUNT_OF(keys) when there is none of that name. */
static size_t key_number(const char *key)
{
    size_t i = 0;

    while (i < COUNT_OF(keys) && strcmp(keys[i].key, key) != 0)
        i++;
    return i;
}

/* One word, its quotes taken away; where it ended, or NULL when a quotation does not end. */
static const char *unquote(const char *at, char **out)
{
    char quote = 0;

    for (; *at && (quote || *at != ' '); at++) {
        if (quote && *at == quote)
            quote = 0;
        else if (!quote && (*at == '\'' || *at == '"'))
            quote = *at;
        else
            *(*out)++ = *at;
    }
    *(*out)++ = '\0';
    return quote ? NULL : at;
}

static int add_word(struct query *query, char *word, const char *text)
{
    char *equals = strchr(word, '=');
    size_t key = 0;

    if (query->count == QUERY_WORDS)
        return hal_fail_plain(-EINVAL, QUERY, text, "more than %d words", QUERY_WORDS);
    if (equals && word[strspn(word, "abcdefghijklmnopqrstuvwxyz_")] == '=') {
        *equals = '\0';
        key = key_number(word);
        if (key == COUNT_OF(keys))
            return hal_fail_plain(-EINVAL, QUERY, text,
                                  "unknown key \"%s\" (known are class, vendor, model, serial, "
                                  "driver, state, id, subsystem, name, uri, node, path)",
                                  word);
        query->words[query->count].key = keys[key].key;
        query->words[query->count++].pattern = equals + 1;
        return 0;
    }
    query->words[query->count].key = "";
    query->words[query->count++].pattern = word;
    return 0;
}

int query_parse(const char *text, struct query *query)
{
    char *out = query->text;

    query->count = 0;
    if (!text)
        return 0;
    if (strlen(text) + 2 > sizeof(query->text) / 2)
        return hal_fail_plain(-EINVAL, QUERY, NULL, "%zu letters, %zu at most", strlen(text),
                              sizeof(query->text) / 2 - 2);
    for (const char *at = text; *(at += strspn(at, " "));) {
        char *word = out;
        int err;
        at = unquote(at, &out);
        if (!at)
            return hal_fail_plain(-EINVAL, QUERY, text, "a quotation does not end");
        err = add_word(query, word, text);
        if (err)
            return err;
    }
    return 0;
}

/* '*' and '?' only; what the kernel names may hold a '['. */
static bool fits(const char *pattern, const char *text, bool tells_case)
{
    const char *star = NULL, *mark = NULL;

    while (*text) {
        bool same =
            *pattern == '?' || *pattern == *text ||
            (!tells_case && tolower((unsigned char)*pattern) == tolower((unsigned char)*text));
        if (*pattern == '*') {
            star = ++pattern;
            mark = text;
        } else if (same && *pattern) {
            pattern++;
            text++;
        } else if (star) {
            pattern = star;
            text = ++mark;
        } else {
            return false;
        }
    }
    return !pattern[strspn(pattern, "*")];
}

static bool holds(const char *key, const char *pattern, const struct hal_discovered *device)
{
    static const char *const names[] = {"id", "name", "uri", "node"};
    const char *value;

    if (*key) {
        size_t number = key_number(key);
        memcpy(&value, (const char *)device + keys[number].offset, sizeof(value));
        return fits(pattern, value, keys[number].tells_case);
    }
    for (size_t i = 0; i < COUNT_OF(names); i++)
        if (holds(names[i], pattern, device))
            return true;
    return false;
}

bool query_holds(const struct query *query, const struct hal_discovered *device)
{
    for (size_t i = 0; i < query->count; i++) {
        bool any = false;
        for (size_t j = 0; j < query->count && !any; j++) {
            bool same = i == j ||
                        (*query->words[i].key && !strcmp(query->words[i].key, query->words[j].key));
            any = same && holds(query->words[j].key, query->words[j].pattern, device);
        }
        if (!any)
            return false;
    }
    return true;
}
