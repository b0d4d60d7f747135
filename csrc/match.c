/* SPDX-License-Identifier: Apache-2.0 */
/* The form of match tables (hal/match.h). Who holds devices against them is discovery. */
#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include "internal.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"

static bool is_plain(const char *text)
{
    for (; *text; text++)
        if ((unsigned char)*text < 0x20 || *text == 0x7f)
            return false;
    return true;
}

/* KIND:GLOB, KIND:GLOB ... */
static const char *fits_complaint(const char *fits)
{
    while (true) {
        size_t kind = strspn(fits, LOWER "0123456789_");
        if (!kind || fits[kind] != ':')
            return "fits is made of words KIND:GLOB, with one space between them";
        fits += kind + 1;
        size_t glob = strcspn(fits, " ");
        if (!glob)
            return "a word of fits has nothing behind its ':'";
        fits += glob;
        if (!*fits++)
            return NULL;
    }
}

static const char *address_complaint(const char *address)
{
    while (*(address += strcspn(address, "{}"))) {
        size_t field = *address == '{' ? strspn(address + 1, LOWER) : 0;
        if (!field || address[field + 1] != '}')
            return "a field of its address is no {name} in small letters";
        address += field + 2;
    }
    return NULL;
}

static const char *row_complaint(const struct hal_match *row)
{
    const char *why;

    if (!row->fits || !row->address)
        return row->fits ? "address is NULL" : "fits is NULL";
    if (strlen(row->fits) > HAL_MATCH_MAX || strlen(row->address) > HAL_MATCH_MAX)
        return "fits and address are 255 bytes at most";
    if (!is_plain(row->fits) || !is_plain(row->address))
        return "it holds a control character";
    why = fits_complaint(row->fits);
    return why ? why : address_complaint(row->address);
}

int match_check_table(const struct hal_match *table, size_t count, const char *operation,
                      const char *object)
{
    if (count && !table)
        return hal_fail_plain(-EINVAL, operation, object,
                              "%zu matches are announced, the table is NULL", count);
    for (size_t i = 0; i < count; i++) {
        const char *why = row_complaint(&table[i]);
        if (why)
            return hal_fail_plain(-EINVAL, operation, object, "match %zu (\"%.64s\"): %s", i,
                                  table[i].fits ? table[i].fits : "NULL", why);
    }
    return 0;
}
