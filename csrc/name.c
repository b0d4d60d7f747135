/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <string.h>

#include "internal.h"

static bool is_alnum(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

int name_check(const char *name)
{
    size_t n;

    if (!name)
        return -EFAULT;
    if (!*name)
        return -ENOENT;
    if (!is_alnum(*name))
        return -EINVAL;
    for (n = 1; name[n]; n++) {
        if (!is_alnum(name[n]) && !strchr("_-.", name[n]))
            return -EINVAL;
        if (n == HAL_NAME_MAX)
            return -ENAMETOOLONG;
    }
    return 0;
}

const char *name_complaint(int err)
{
    switch (err) {
    case -EFAULT:
        return "the name is NULL";
    case -ENOENT:
        return "the name is empty";
    case -ENAMETOOLONG:
        return "the name is longer than 31 bytes";
    default:
        return NAME_FORM;
    }
}

/* Levenshtein distance of two names, each at most HAL_NAME_MAX long. */
static unsigned distance(const char *a, const char *b)
{
    unsigned row[HAL_NAME_MAX + 1];
    size_t n = strlen(b), i, j;

    for (j = 0; j <= n; j++)
        row[j] = (unsigned)j;
    for (i = 1; a[i - 1]; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i;
        for (j = 1; j <= n; j++) {
            unsigned best = diagonal + (a[i - 1] != b[j - 1]);
            diagonal = row[j];
            if (row[j] + 1 < best)
                best = row[j] + 1;
            if (row[j - 1] + 1 < best)
                best = row[j - 1] + 1;
            row[j] = best;
        }
    }
    return row[n];
}

const char *name_nearest(const char *name, const char *const *candidates, size_t count)
{
    const char *nearest = NULL;
    unsigned best = 3; /* two mistakes at most */

    for (size_t i = 0; i < count; i++) {
        if (strlen(candidates[i]) > HAL_NAME_MAX)
            continue;
        unsigned d = distance(name, candidates[i]);
        if (d < best && d < strlen(candidates[i])) {
            best = d;
            nearest = candidates[i];
        }
    }
    return nearest;
}
