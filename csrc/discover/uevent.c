/* SPDX-License-Identifier: Apache-2.0 */
/* Messages of the kernel (lib/kobject_uevent.c) and of udevd (libsystemd, device-monitor.c): of
 * both only the subsystem is looked at, to leave alone what concerns nobody. */
#include <string.h>

#include "internal.h"

/* How a message of udevd begins; numbers are of this machine's byte order. */
struct udev_header {
    char prefix[8]; /* "libudev" */
    uint32_t magic;
    uint32_t header_size;
    uint32_t properties_offset;
    uint32_t properties_len;
};

/* Subsystems that make or unmake what is listed under another. */
static const char *const helpers[] = {"i2c-dev", "spidev", "spi_master", "vfio"};

static bool is_listed(const char *subsystem, size_t len)
{
    for (size_t i = 0; i < discover_source_count; i++)
        if (strlen(discover_sources[i].subsystem) == len &&
            !memcmp(discover_sources[i].subsystem, subsystem, len))
            return true;
    for (size_t i = 0; i < COUNT_OF(helpers); i++)
        if (strlen(helpers[i]) == len && !memcmp(helpers[i], subsystem, len))
            return true;
    return false;
}

/* KEY=value, each ended by NUL; the last may lack it. */
static bool properties_concern(const char *at, size_t len)
{
    static const char key[] = "SUBSYSTEM=";

    while (len) {
        size_t line = strnlen(at, len);
        if (line >= strlen(key) && !memcmp(at, key, strlen(key)))
            return is_listed(at + strlen(key), line - strlen(key));
        at += line;
        len -= line;
        if (len) { /* the NUL */
            at++;
            len--;
        }
    }
    return false;
}

bool uevent_concerns(const char *message, size_t len)
{
    struct udev_header header;
    size_t start;

    if (len >= sizeof(header) && !memcmp(message, "libudev", 8)) {
        memcpy(&header, message, sizeof(header));
        if (header.properties_offset > len ||
            header.properties_len > len - header.properties_offset)
            return false;
        return properties_concern(message + header.properties_offset, header.properties_len);
    }
    start = strnlen(message, len); /* ACTION@DEVPATH */
    return start < len && memchr(message, '@', start) &&
           properties_concern(message + start + 1, len - start - 1);
}
