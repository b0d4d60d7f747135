/* SPDX-License-Identifier: Apache-2.0 */
/* A recording in memory (docs/record.md describes the file). */
#ifndef RECORDING_H
#define RECORDING_H

#include <stddef.h>
#include <stdint.h>

#include <hal/attribute.h>

enum entry_kind { ENTRY_READ, ENTRY_WRITE, ENTRY_TRANSFER, ENTRY_CONTROL, ENTRY_GET, ENTRY_SET };

struct bytes {
    uint8_t *data;
    size_t len;
};

/* One segment of a recorded transfer. */
struct exchange {
    size_t len;
    struct bytes tx, rx;
};

struct entry {
    enum entry_kind kind;
    unsigned line;   /* in the file, from 1 */
    int64_t time_us; /* since the recording began */
    long result;
    struct bytes in;  /* write: what was written; control: the argument before */
    struct bytes out; /* read: what came; control: the argument after; get, set: the value's text */
    char name[HAL_NAME_MAX + 1]; /* get, set */
    uint32_t request;            /* control */
    struct exchange *exchanges;  /* transfer */
    size_t exchange_count;
};

struct recording {
    struct entry *entries;
    size_t count;
    struct hal_attribute *attributes; /* names, types, ...; get and set are left to the driver */
    size_t attribute_count;
};

/* Read a file. 0, or a negative errno with a message that names the line. */
int recording_load(const char *path, struct recording *out);
void recording_free(struct recording *recording);
const char *entry_kind_name(enum entry_kind kind);

#endif
