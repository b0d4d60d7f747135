/* SPDX-License-Identifier: Apache-2.0 */
/* UUIDs of version 5: RFC 9562, section 5.5; SHA-1: FIPS 180-4, section 6.1. */
#include <string.h>

#include "internal.h"

/* discovery/identity.py: NAMESPACE. */
static const uint8_t name_space[16] = {0xb3, 0xd6, 0xc1, 0xa5, 0x54, 0xc5, 0x5a, 0xc2,
                                       0x9a, 0x33, 0x3f, 0x1d, 0x5c, 0x0f, 0x6b, 0x1e};

struct sha1 {
    uint32_t state[5];
    uint8_t block[64];
    uint64_t length;
};

static uint32_t rotate(uint32_t word, unsigned by)
{
    return word << by | word >> (32 - by);
}

static void digest_block(struct sha1 *sha)
{
    uint32_t w[80], a = sha->state[0], b = sha->state[1], c = sha->state[2], d = sha->state[3],
                    e = sha->state[4];

    for (unsigned t = 0; t < 16; t++)
        w[t] = (uint32_t)sha->block[t * 4] << 24 | (uint32_t)sha->block[t * 4 + 1] << 16 |
               (uint32_t)sha->block[t * 4 + 2] << 8 | sha->block[t * 4 + 3];
    for (unsigned t = 16; t < 80; t++)
        w[t] = rotate(w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16], 1);
    for (unsigned t = 0; t < 80; t++) {
        uint32_t f = t < 20              ? (b & c) | (~b & d)
                     : t >= 40 && t < 60 ? (b & c) | (b & d) | (c & d)
                                         : b ^ c ^ d;
        uint32_t k = t < 20 ? 0x5a827999 : t < 40 ? 0x6ed9eba1 : t < 60 ? 0x8f1bbcdc : 0xca62c1d6;
        uint32_t next = rotate(a, 5) + f + e + k + w[t];
        e = d;
        d = c;
        c = rotate(b, 30);
        b = a;
        a = next;
    }
    sha->state[0] += a;
    sha->state[1] += b;
    sha->state[2] += c;
    sha->state[3] += d;
    sha->state[4] += e;
}

static void add(struct sha1 *sha, const void *data, size_t len)
{
    const uint8_t *bytes = data;

    while (len--) {
        sha->block[sha->length++ % 64] = *bytes++;
        if (sha->length % 64 == 0)
            digest_block(sha);
    }
}

static void finish(struct sha1 *sha, uint8_t out[20])
{
    uint64_t bits = sha->length * 8;

    add(sha, "\x80", 1);
    while (sha->length % 64 != 56)
        add(sha, "", 1);
    for (int shift = 56; shift >= 0; shift -= 8)
        add(sha, &(uint8_t){(uint8_t)(bits >> shift)}, 1);
    for (unsigned i = 0; i < 20; i++)
        out[i] = (uint8_t)(sha->state[i / 4] >> (24 - i % 4 * 8));
}

const char *uuid_of(struct arena *arena, const char *text)
{
    struct sha1 sha = {{0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0}, {0}, 0};
    uint8_t d[20];

    add(&sha, name_space, sizeof(name_space));
    add(&sha, text, strlen(text));
    finish(&sha, d);
    d[6] = (uint8_t)((d[6] & 0x0f) | 0x50);
    d[8] = (uint8_t)((d[8] & 0x3f) | 0x80);
    return arena_print(
        arena, "%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", d[0], d[1],
        d[2], d[3], d[4], d[5], d[6], d[7], d[8], d[9], d[10], d[11], d[12], d[13], d[14], d[15]);
}
