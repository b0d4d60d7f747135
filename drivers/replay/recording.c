/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/driver.h>

#include "recording.h"

#define CHOICES_MAX 64

static const char *const kinds[] = {"read", "write", "transfer", "control", "get", "set"};

const char *entry_kind_name(enum entry_kind kind)
{
    return kinds[kind];
}

/* ---- words of a line --------------------------------------------------------------------------
 */

/* The words still to be read; a word that is missing or wrong sets `bad`. */
struct words {
    char *rest;
    int bad;
};

static const char *word(struct words *words)
{
    const char *found = strtok_r(NULL, " \n", &words->rest);

    if (!found)
        words->bad = 1;
    return found ? found : "";
}

static int64_t number(struct words *words)
{
    const char *text = word(words);
    char *end;
    int64_t value = strtoll(text, &end, 10);

    if (end == text || *end)
        words->bad = 1;
    return value;
}

static double real(struct words *words)
{
    const char *text = word(words);
    char *end;
    double value = strtod(text, &end);

    if (end == text || *end)
        words->bad = 1;
    return value;
}

static int nibble(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* Hexadecimal, or "-" for none. A NUL is put behind, so that text can be used as it is. */
static struct bytes hex(struct words *words)
{
    const char *text = word(words);
    size_t len = strcmp(text, "-") ? strlen(text) / 2 : 0;
    struct bytes bytes = {calloc(1, len + 1), len};

    if (!bytes.data || (len && strlen(text) % 2)) {
        words->bad = 1;
        return bytes;
    }
    for (size_t i = 0; i < len; i++) {
        int high = nibble(text[2 * i]), low = nibble(text[2 * i + 1]);
        if (high < 0 || low < 0) {
            words->bad = 1;
            break;
        }
        bytes.data[i] = (uint8_t)(high << 4 | low);
    }
    return bytes;
}

/* ---- lines ------------------------------------------------------------------------------------
 */

static void parse_transfer(struct words *words, struct entry *entry)
{
    int64_t count = number(words);

    entry->result = number(words);
    if (words->bad || count < 1 || count > HAL_SEGMENTS_MAX) {
        words->bad = 1;
        return;
    }
    entry->exchanges = calloc((size_t)count, sizeof(*entry->exchanges));
    if (!entry->exchanges) {
        words->bad = 1;
        return;
    }
    for (; entry->exchange_count < (size_t)count && !words->bad; entry->exchange_count++) {
        struct exchange *exchange = &entry->exchanges[entry->exchange_count];
        int64_t len = number(words);
        exchange->len = len > 0 ? (size_t)len : 0;
        exchange->tx = hex(words);
        exchange->rx = hex(words);
        if ((exchange->tx.len && exchange->tx.len != exchange->len) ||
            (exchange->rx.len && exchange->rx.len != exchange->len))
            words->bad = 1;
    }
}

static void parse_named(struct words *words, struct entry *entry)
{
    snprintf(entry->name, sizeof(entry->name), "%s", word(words));
    entry->result = number(words);
    entry->out = hex(words);
}

static void parse_fields(struct words *words, struct entry *entry)
{
    switch (entry->kind) {
    case ENTRY_READ:
        number(words); /* what was asked for */
        entry->result = number(words);
        entry->out = hex(words);
        break;
    case ENTRY_WRITE:
        entry->in = hex(words);
        entry->result = number(words);
        break;
    case ENTRY_TRANSFER:
        parse_transfer(words, entry);
        break;
    case ENTRY_CONTROL:
        entry->request = (uint32_t)number(words);
        entry->result = number(words);
        entry->in = hex(words);
        entry->out = hex(words);
        break;
    case ENTRY_GET:
    case ENTRY_SET:
        parse_named(words, entry);
        break;
    }
}

static int parse_entry(struct words *words, const char *first, unsigned line, struct entry *entry)
{
    const char *name = word(words);
    char *end;

    entry->line = line;
    entry->time_us = strtoll(first, &end, 10);
    if (*end)
        return -EBADMSG;
    for (size_t i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++) {
        if (!strcmp(kinds[i], name)) {
            entry->kind = (enum entry_kind)i;
            parse_fields(words, entry);
            return words->bad ? -EBADMSG : 0;
        }
    }
    return -EBADMSG;
}

/* "attribute NAME TYPE ACCESS MIN MAX UNIT DOC CHOICE..." */
static int parse_attribute(struct words *words, struct hal_attribute *attr)
{
    const char **choices = calloc(CHOICES_MAX + 1, sizeof(*choices));
    size_t count = 0;

    attr->choices = choices;
    attr->name = strdup(word(words));
    attr->type = (enum hal_type)number(words);
    attr->access = (uint32_t)number(words) & (HAL_ATTR_READ | HAL_ATTR_WRITE);
    attr->min = real(words);
    attr->max = real(words);
    attr->unit = (const char *)hex(words).data;
    attr->doc = (const char *)hex(words).data;
    if (words->bad || !choices || !attr->name || attr->type < HAL_TYPE_BOOL ||
        attr->type > HAL_TYPE_CHOICE)
        return -EBADMSG;
    while (words->rest && *words->rest && *words->rest != '\n' && count < CHOICES_MAX)
        choices[count++] = (const char *)hex(words).data;
    return words->bad ? -EBADMSG : 0;
}

/* ---- files ------------------------------------------------------------------------------------
 */

/* Room for one element more of a list whose count doubles at powers of two. */
static void *one_more(void *list, size_t count, size_t size)
{
    void *grown;

    if (count & (count - 1))
        return list;
    grown = realloc(list, (count ? 2 * count : 1) * size);
    return grown;
}

static int add_line(struct recording *recording, char *text, unsigned line)
{
    struct words words = {.bad = 0};
    const char *first = strtok_r(text, " \n", &words.rest);
    void *grown;

    if (!first || !strcmp(first, "uri"))
        return 0;
    if (!strcmp(first, "attribute")) {
        grown = one_more(recording->attributes, recording->attribute_count,
                         sizeof(*recording->attributes));
        if (!grown)
            return -ENOMEM;
        recording->attributes = grown;
        memset(&recording->attributes[recording->attribute_count], 0,
               sizeof(*recording->attributes));
        return parse_attribute(&words, &recording->attributes[recording->attribute_count++]);
    }
    grown = one_more(recording->entries, recording->count, sizeof(*recording->entries));
    if (!grown)
        return -ENOMEM;
    recording->entries = grown;
    memset(&recording->entries[recording->count], 0, sizeof(*recording->entries));
    return parse_entry(&words, first, line, &recording->entries[recording->count++]);
}

static int load_lines(FILE *file, const char *path, struct recording *out)
{
    char *text = NULL;
    size_t size = 0;
    unsigned line = 1;
    int err = 0;

    if (getline(&text, &size, file) < 0 || strcmp(text, "halrec 1\n") != 0)
        err = hal_fail_plain(-EBADMSG, "open", path, "it does not begin with \"halrec 1\"");
    while (!err && getline(&text, &size, file) >= 0) {
        line++;
        err = add_line(out, text, line);
        if (err == -EBADMSG)
            hal_fail_plain(err, "open", path, "line %u is not that of a recording", line);
    }
    free(text);
    return err;
}

int recording_load(const char *path, struct recording *out)
{
    FILE *file = fopen(path, "re");
    int err;

    memset(out, 0, sizeof(*out));
    if (!file)
        return hal_fail(-errno, "open", path, NULL);
    err = load_lines(file, path, out);
    fclose(file);
    if (err)
        recording_free(out);
    return err;
}

static void free_entry(struct entry *entry)
{
    for (size_t i = 0; i < entry->exchange_count; i++) {
        free(entry->exchanges[i].tx.data);
        free(entry->exchanges[i].rx.data);
    }
    free(entry->exchanges);
    free(entry->in.data);
    free(entry->out.data);
}

static void free_attribute(const struct hal_attribute *attr)
{
    for (const char *const *choice = attr->choices; choice && *choice; choice++)
        free((void *)*choice);
    free((void *)attr->choices);
    free((void *)attr->name);
    free((void *)attr->unit);
    free((void *)attr->doc);
}

void recording_free(struct recording *recording)
{
    for (size_t i = 0; i < recording->count; i++)
        free_entry(&recording->entries[i]);
    for (size_t i = 0; i < recording->attribute_count; i++)
        free_attribute(&recording->attributes[i]);
    free(recording->entries);
    free(recording->attributes);
    memset(recording, 0, sizeof(*recording));
}
