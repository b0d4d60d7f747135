/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of hal/1 (docs/protocol.md): numbers in and out of bytes, with bounds. */
#ifndef WIRE_H
#define WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define WIRE_HEADER 16
#define WIRE_BODY_MAX (1u << 20)
#define WIRE_WAIT_FOREVER UINT32_MAX
#define WIRE_ERRNO_MAX 4095 /* Linux has no larger ones */

enum wire_type {
    WIRE_HELLO = 1,
    WIRE_LIST,
    WIRE_OPEN,
    WIRE_READ,
    WIRE_WRITE,
    WIRE_TRANSFER,
    WIRE_CONTROL,
    WIRE_GET,
    WIRE_SET,
    WIRE_LOAD,
    WIRE_STORE,
    WIRE_READ_AT,
    WIRE_WRITE_AT,
    WIRE_CREDIT,
    WIRE_DATA,
    WIRE_CANCEL,
    WIRE_PING,
    WIRE_NOTICE,
    WIRE_TOKEN,
    WIRE_BATCH,
    WIRE_RESUME
};

enum wire_lane { WIRE_LANE_READ, WIRE_LANE_WRITE, WIRE_LANE_CONTROL, WIRE_LANE_NONE, WIRE_LANES };

enum wire_flag { WIRE_ANSWER = 1, WIRE_ERROR = 2, WIRE_MORE = 4 };

enum wire_device { WIRE_STREAM = 1, WIRE_MEMORY = 2 }; /* flags of OPEN's answer */

struct wire_header {
    uint32_t length;
    uint8_t type;
    uint8_t lane;
    uint8_t flags;
    uint32_t id;
    uint32_t wait;
};

/* ---- numbers ------------------------------------------------------------------------------- */

static inline void wire_put(uint8_t *at, uint64_t number, unsigned width)
{
    for (unsigned i = 0; i < width; i++)
        at[i] = (uint8_t)(number >> (8 * i));
}

static inline uint64_t wire_get(const uint8_t *at, unsigned width)
{
    uint64_t number = 0;

    for (unsigned i = 0; i < width; i++)
        number |= (uint64_t)at[i] << (8 * i);
    return number;
}

static inline void wire_put_header(uint8_t at[WIRE_HEADER], const struct wire_header *header)
{
    wire_put(at, header->length, 4);
    at[4] = header->type;
    at[5] = header->lane;
    at[6] = header->flags;
    at[7] = 0;
    wire_put(at + 8, header->id, 4);
    wire_put(at + 12, header->wait, 4);
}

/* False when it is none: too long, or of no lane there is. */
static inline bool wire_get_header(const uint8_t at[WIRE_HEADER], struct wire_header *header)
{
    header->length = (uint32_t)wire_get(at, 4);
    header->type = at[4];
    header->lane = at[5];
    header->flags = at[6];
    header->id = (uint32_t)wire_get(at + 8, 4);
    header->wait = (uint32_t)wire_get(at + 12, 4);
    return header->length <= WIRE_BODY_MAX && header->lane < WIRE_LANES && !at[7];
}

/* ---- bodies: a cursor that never leaves them ------------------------------------------------ */

/* Reading: what is behind the end reads as 0, and `failed` says so. */
struct wire_reader {
    const uint8_t *at;
    size_t left;
    bool failed;
};

static inline const uint8_t *wire_take(struct wire_reader *reader, size_t length)
{
    const uint8_t *at = reader->at;

    if (reader->failed || length > reader->left) {
        reader->failed = true;
        return NULL;
    }
    reader->at += length;
    reader->left -= length;
    return at;
}

static inline uint64_t wire_number(struct wire_reader *reader, unsigned width)
{
    const uint8_t *at = wire_take(reader, width);

    return at ? wire_get(at, width) : 0;
}

static inline double wire_double(struct wire_reader *reader)
{
    uint64_t bits = wire_number(reader, 8);
    double number;

    memcpy(&number, &bits, sizeof(number));
    return number;
}

/* A str: its first byte and its length. It holds no NUL, or reading has failed. */
static inline const char *wire_text(struct wire_reader *reader, size_t *length)
{
    const uint8_t *at;

    *length = (size_t)wire_number(reader, 2);
    at = wire_take(reader, *length);
    if (at && memchr(at, 0, *length))
        reader->failed = true;
    if (reader->failed)
        *length = 0; /* whoever copies first and looks then copies nothing */
    return reader->failed ? "" : (const char *)at;
}

/* The errno of an error's body, negative; 0: it is none. */
static inline int wire_errno(struct wire_reader *reader)
{
    uint64_t number = wire_number(reader, 4);

    return number <= WIRE_ERRNO_MAX ? -(int)number : 0;
}

/* Writing: what does not fit is not written, and `failed` says so. */
struct wire_writer {
    uint8_t *at;
    size_t left;
    bool failed;
};

static inline void wire_add(struct wire_writer *writer, const void *bytes, size_t length)
{
    if (writer->failed || length > writer->left) {
        writer->failed = true;
        return;
    }
    if (length)
        memcpy(writer->at, bytes, length);
    writer->at += length;
    writer->left -= length;
}

static inline void wire_add_number(struct wire_writer *writer, uint64_t number, unsigned width)
{
    uint8_t bytes[8];

    wire_put(bytes, number, width);
    wire_add(writer, bytes, width);
}

static inline void wire_add_text(struct wire_writer *writer, const char *text)
{
    size_t length = strlen(text);

    if (length > UINT16_MAX)
        writer->failed = true;
    wire_add_number(writer, length, 2);
    wire_add(writer, text, length);
}

#endif
