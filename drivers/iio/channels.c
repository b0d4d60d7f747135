/* SPDX-License-Identifier: Apache-2.0 */
/* The channels that sysfs shows, and what their numbers mean. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iio.h"

/* Documentation/ABI/testing/sysfs-bus-iio: the unit after offset and scale, and its factor. */
static const struct quantity quantities[] = {
    {"voltage", "V", 1e-3},
    {"altvoltage", "V", 1e-3},
    {"current", "A", 1e-3},
    {"altcurrent", "A", 1e-3},
    {"power", "W", 1e-3},
    {"energy", "J", 1},
    {"temp", "°C", 1e-3},
    {"pressure", "Pa", 1e3},
    {"humidityrelative", "%", 1e-3},
    {"accel", "m/s^2", 1},
    {"gravity", "m/s^2", 1},
    {"anglvel", "rad/s", 1},
    {"angl", "rad", 1},
    {"deltaangl", "rad", 1},
    {"deltavelocity", "m/s", 1},
    {"incli", "rad", 0.017453292519943295},
    {"magn", "T", 1e-4},
    {"illuminance", "lx", 1},
    {"distance", "m", 1},
    {"velocity", "m/s", 1},
    {"capacitance", "F", 1e-9},
    {"resistance", "Ohm", 1},
    {"electricalconductivity", "S/m", 1},
    {"concentration", "%", 1},
    {"massconcentration", "kg/m^3", 1e-9},
    {"phase", "rad", 1},
    {"positionrelative", "%", 1e-3},
    {"colortemp", "K", 1},
    {"activity", "%", 1},
    {"timestamp", "s", 1e-9},
};
static const struct quantity plain = {"", "", 1};

static size_t type_length(const char *channel)
{
    size_t n = 0;

    while (channel[n] >= 'a' && channel[n] <= 'z')
        n++;
    return n;
}

const struct quantity *quantity_of(const char *channel)
{
    size_t n = type_length(channel);

    for (size_t i = 0; i < sizeof(quantities) / sizeof(*quantities); i++)
        if (strlen(quantities[i].type) == n && !strncmp(quantities[i].type, channel, n))
            return &quantities[i];
    return &plain;
}

/* "voltage1-voltage2" -> "voltage-voltage", "accel_x" -> "accel": what channels of a type share. */
static void shared_name(const char *channel, char *out, size_t size)
{
    const char *dash = strchr(channel, '-');
    int n = (int)type_length(channel);

    if (dash)
        snprintf(out, size, "%.*s-%.*s", n, channel, (int)type_length(dash + 1), dash + 1);
    else
        snprintf(out, size, "%.*s", n, channel);
}

void channel_file(const struct iio *iio, const char *direction, const char *channel,
                  const char *property, char *out)
{
    char shared[NAME_SIZE];

    shared_name(channel, shared, sizeof(shared));
    snprintf(out, PATH_SIZE, "%.200s/%s_%s_%s", iio->folder, direction, channel, property);
    if (!sysfs_exists(out))
        snprintf(out, PATH_SIZE, "%.200s/%s_%s_%s", iio->folder, direction, shared, property);
    if (!sysfs_exists(out))
        snprintf(out, PATH_SIZE, "%.200s/%s_%s", iio->folder, direction, property);
    if (!sysfs_exists(out))
        snprintf(out, PATH_SIZE, "%.200s/%s", iio->folder, property);
    if (!sysfs_exists(out))
        *out = '\0';
}

const struct channel *channels_by_name(const struct iio *iio, const char *name)
{
    for (size_t i = 0; i < iio->channel_count; i++)
        if (!strcmp(iio->channels[i].name, name))
            return &iio->channels[i];
    return NULL;
}

/* Take "in_voltage0_raw" apart. False when it is no file of a value. */
static bool parse_file(const char *file, bool *output, char *channel, size_t size, bool *processed)
{
    const char *name, *end = strrchr(file, '_');

    *output = !strncmp(file, "out_", 4);
    if ((!*output && strncmp(file, "in_", 3)) || !end)
        return false;
    name = file + (*output ? 4 : 3);
    *processed = !strcmp(end, "_input");
    if ((!*processed && strcmp(end, "_raw")) || end <= name || (size_t)(end - name) >= size)
        return false;
    snprintf(channel, size, "%.*s", (int)(end - name), name);
    return true;
}

static void fill(const struct iio *iio, struct channel *out, const char *file, const char *channel,
                 bool output, bool processed)
{
    const char *direction = output ? "out" : "in";

    memset(out, 0, sizeof(*out));
    snprintf(out->name, sizeof(out->name), "%s%.*s", output ? "out_" : "", NAME_SIZE - 5, channel);
    out->output = output;
    out->processed = processed;
    out->quantity = quantity_of(channel);
    snprintf(out->raw, sizeof(out->raw), "%.200s/%.128s", iio->folder, file);
    if (!processed) {
        channel_file(iio, direction, channel, "scale", out->scale);
        channel_file(iio, direction, channel, "offset", out->offset);
    }
}

/* A channel with both files counts once: the kernel's own conversion is the better one only where
 * there is no raw value. */
static int add_file(struct iio *iio, const char *file)
{
    char channel[NAME_SIZE - 4];
    struct channel *more, made;
    bool output, processed;

    if (!parse_file(file, &output, channel, sizeof(channel), &processed))
        return 0;
    fill(iio, &made, file, channel, output, processed);
    for (size_t i = 0; i < iio->channel_count; i++)
        if (!strcmp(iio->channels[i].name, made.name)) {
            if (!processed)
                iio->channels[i] = made;
            return 0;
        }
    more = realloc(iio->channels, (iio->channel_count + 1) * sizeof(*more));
    if (!more)
        return -ENOMEM;
    iio->channels = more;
    more[iio->channel_count++] = made;
    return 0;
}

int channels_find(struct iio *iio)
{
    struct dirent **entries;
    int count = scandir(iio->folder, &entries, NULL, versionsort), err = 0;

    for (int i = 0; i < count; i++) {
        if (!err)
            err = add_file(iio, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return count < 0 ? -errno : err;
}
