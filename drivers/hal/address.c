/* SPDX-License-Identifier: Apache-2.0 */
/* hal://host[:port]/device?id=UUID, and hal://UUID/device?at=host[:port][,host[:port]...]. */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "remote.h"

#define DOMAIN ".hal.internal"

static int bad(struct hal_device *dev, const char *cause)
{
    return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev), "%s", cause);
}

/* A UUID as RFC 9562 writes it, in lower case. */
static bool is_uuid(const char *text, size_t length)
{
    if (length != 36)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;
        if (dash ? text[i] != '-'
                 : !isxdigit((unsigned char)text[i]) || isupper((unsigned char)text[i]))
            return false;
    }
    return true;
}

/* host, host:port, [IPv6] or [IPv6]:port */
static int add_place(struct hal_device *dev, struct remote *remote, const char *text, size_t length)
{
    struct place *place = &remote->places[remote->place_count];
    const char *end = text + length, *host = text, *stop, *port = NULL;

    if (remote->place_count == REMOTE_PLACES_MAX)
        return bad(dev, "it names more than 8 places");
    if (length && *text == '[') {
        host = text + 1;
        stop = memchr(text, ']', length);
        if (!stop || (stop + 1 < end && stop[1] != ':'))
            return bad(dev, "an IPv6 address is written [::1] or [::1]:7362");
        if (stop + 1 < end)
            port = stop + 2;
    } else {
        stop = memchr(text, ':', length);
        port = stop ? stop + 1 : NULL;
        stop = stop ? stop : end;
        if (port && memchr(port, ':', (size_t)(end - port)))
            return bad(dev, "an IPv6 address is written [::1] or [::1]:7362");
    }
    if (stop == host || (size_t)(stop - host) > REMOTE_HOST_MAX)
        return bad(dev, "it names no host: hal://host[:port]/device");
    memcpy(place->host, host, (size_t)(stop - host));
    snprintf(place->port, sizeof(place->port), "%s", REMOTE_PORT);
    remote->place_count++;
    if (!port)
        return 0;
    if (port == end || end - port > 5)
        return bad(dev, "the port is a number from 1 to 65535");
    for (const char *digit = port; digit < end; digit++) {
        if (!isdigit((unsigned char)*digit))
            return bad(dev, "the port is a number from 1 to 65535");
    }
    snprintf(place->port, sizeof(place->port), "%.*s", (int)(end - port), port);
    return 0;
}

/* The same, several of them between commas. */
static int add_places(struct hal_device *dev, struct remote *remote, const char *text)
{
    const char *comma;

    while ((comma = strchr(text, ','))) {
        int err = add_place(dev, remote, text, (size_t)(comma - text));

        if (err)
            return err;
        text = comma + 1;
    }
    return add_place(dev, remote, text, strlen(text));
}

static const char *text_option(struct hal_device *dev, const char *name)
{
    const struct hal_option *option;

    for (size_t i = 0; (option = hal_device_option_at(dev, i)); i++) {
        if (!strcmp(option->key, name))
            return option->value;
    }
    return NULL;
}

/* Which device must prove itself: from the address, or the option. */
static int expected(struct hal_device *dev, struct remote *remote, const char *host, size_t length)
{
    const char *id = text_option(dev, "id"), *at = text_option(dev, "at");

    if (is_uuid(host, length)) {
        if (!at)
            return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev),
                                  "where is it? add ?at=HOST[:PORT], or open it from Python, "
                                  "which finds it by discovery");
        snprintf(remote->name, sizeof(remote->name), "%.36s" DOMAIN, host);
        return add_places(dev, remote, at);
    }
    if (!id || !is_uuid(id, strlen(id)))
        return bad(dev, "an address proves nothing: add ?id=UUID of the machine (hal-probe find)");
    snprintf(remote->name, sizeof(remote->name), "%.36s" DOMAIN, id);
    return add_place(dev, remote, host, length);
}

/* Where the credentials are, as hal-ca puts them. */
static int credentials(struct hal_device *dev, struct remote *remote)
{
    const char *named = text_option(dev, "credentials"), *base;
    int length;

    if (!named)
        named = secure_getenv("HAL_LINK");
    base = secure_getenv("XDG_CONFIG_HOME");
    if (named) {
        length = snprintf(remote->folder, sizeof(remote->folder), "%s", named);
    } else if (!geteuid()) {
        length = snprintf(remote->folder, sizeof(remote->folder), "/etc/hal/link");
    } else if (base && *base) {
        length = snprintf(remote->folder, sizeof(remote->folder), "%s/hal/link", base);
    } else {
        const char *home = secure_getenv("HOME");
        length = snprintf(remote->folder, sizeof(remote->folder), "%s/.config/hal/link",
                          home ? home : "");
    }
    if (length < 0 || (size_t)length >= sizeof(remote->folder) - 16)
        return bad(dev, "the folder of the credentials has too long a name");
    return 0;
}

int remote_address(struct hal_device *dev, struct remote *remote)
{
    const char *address = hal_device_address(dev), *slash;
    int err;

    if (strncmp(address, "//", 2))
        return bad(dev, "it is written hal://host[:port]/device");
    address += 2;
    slash = strchr(address, '/');
    if (!slash || !slash[1])
        return bad(dev, "it names no device: hal://host[:port]/device");
    snprintf(remote->device, sizeof(remote->device), "%s", slash + 1);
    err = expected(dev, remote, address, (size_t)(slash - address));
    return err ? err : credentials(dev, remote);
}
