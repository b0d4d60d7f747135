/* SPDX-License-Identifier: Apache-2.0 */
/* Scans of several channels into the kernel's buffer. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iio.h"

#define ELEMENTS_MAX 256

/* A channel that can be part of a scan. */
struct element {
    char file[128]; /* "in_voltage0", of the names in scan_elements */
    char name[32];
    int index;
    bool chosen;
    struct hal_iio_element layout;
};

struct elements {
    struct element all[ELEMENTS_MAX];
    size_t count;
};

static void element_path(const struct iio *iio, const struct element *element, const char *property,
                         char *out)
{
    snprintf(out, PATH_SIZE, "%.200s/scan_elements/%.100s_%s", iio->folder, element->file,
             property);
}

/* ---- what there is ---- */

/* "le:s12/16X2>>4": byte order, sign, bits, storage, repeat, shift. */
static int parse_type(const char *text, struct hal_iio_element *out)
{
    unsigned bits, storage, shift = 0, repeat = 1;
    char order, sign;

    if (sscanf(text, "%ce:%c%u/%uX%u>>%u", &order, &sign, &bits, &storage, &repeat, &shift) != 6) {
        repeat = 1;
        if (sscanf(text, "%ce:%c%u/%u>>%u", &order, &sign, &bits, &storage, &shift) < 4)
            return -EPROTO;
    }
    if (!storage || storage > 64 || storage % 8 || bits > storage || shift >= storage || !repeat ||
        repeat > 255)
        return -EPROTO;
    out->bits = (uint8_t)bits;
    out->storage = (uint8_t)storage;
    out->shift = (uint8_t)shift;
    out->repeat = (uint8_t)repeat;
    out->is_signed = sign == 's' || sign == 'S';
    out->big_endian = order == 'b';
    return 0;
}

static int fill_layout(struct hal_device *dev, const struct iio *iio, struct element *element)
{
    struct hal_iio_element *layout = &element->layout;
    bool output = !strncmp(element->file, "out_", 4);
    const char *channel = element->file + (output ? 4 : 3);
    const struct quantity *quantity = quantity_of(channel);
    char path[PATH_SIZE], text[TEXT_SIZE];
    int err;

    element_path(iio, element, "type", path);
    err = sysfs_read(path, text, sizeof(text));
    if (err)
        return sysfs_fail(dev, err, "open", path);
    if (parse_type(text, layout))
        return hal_fail_plain(-EPROTO, "open", path, "\"%s\" is no layout of a channel", text);
    snprintf(layout->channel, sizeof(layout->channel), "%s", element->name);
    snprintf(layout->unit, sizeof(layout->unit), "%s", quantity->unit);
    layout->scale = 1;
    channel_file(iio, output ? "out" : "in", channel, "scale", path);
    if (strcmp(channel, "timestamp") && *path)
        err = sysfs_number(path, &layout->scale);
    if (err)
        return sysfs_fail(dev, err, "open", path);
    layout->scale *= quantity->factor;
    channel_file(iio, output ? "out" : "in", channel, "offset", path);
    if (*path)
        err = sysfs_number(path, &layout->offset);
    return err ? sysfs_fail(dev, err, "open", path) : 0;
}

static int add_element(struct hal_device *dev, const struct iio *iio, struct elements *elements,
                       const char *file)
{
    struct element *element = &elements->all[elements->count];
    size_t length = strlen(file);
    char path[PATH_SIZE];
    bool output = !strncmp(file, "out_", 4);
    const char *name = file + (output ? 4 : 3);
    double index = 0;
    int err;

    if (length < 7 || length >= 100 || strcmp(file + length - 3, "_en") ||
        elements->count == ELEMENTS_MAX)
        return 0;
    snprintf(element->file, sizeof(element->file), "%.*s", (int)(length - 3), file);
    length -= 3 + (size_t)(name - file);
    snprintf(element->name, sizeof(element->name), "%s%.*s", output ? "out_" : "",
             length < 27 ? (int)length : 27, name);
    element_path(iio, element, "index", path);
    err = sysfs_number(path, &index);
    if (err)
        return sysfs_fail(dev, err, "open", path);
    element->index = (int)index;
    elements->count++;
    return 0;
}

static int by_index(const void *a, const void *b)
{
    return ((const struct element *)a)->index - ((const struct element *)b)->index;
}

static int find_elements(struct hal_device *dev, const struct iio *iio, struct elements *elements)
{
    char path[PATH_SIZE];
    struct dirent **entries;
    int count, err = 0;

    snprintf(path, sizeof(path), "%.200s/scan_elements", iio->folder);
    count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (!err)
            err = add_element(dev, iio, elements, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    if (err)
        return err;
    if (!elements->count)
        return hal_fail_plain(-EOPNOTSUPP, "open", hal_device_uri(dev),
                              "the device has no buffer; read its channels one by one");
    qsort(elements->all, elements->count, sizeof(elements->all[0]), by_index);
    return 0;
}

/* ---- what is wanted ---- */

static struct element *element_named(struct elements *elements, const char *name)
{
    for (size_t i = 0; i < elements->count; i++)
        if (!strcmp(elements->all[i].name, name))
            return &elements->all[i];
    return NULL;
}

static int say_no_channel(struct hal_device *dev, const struct elements *elements, const char *name)
{
    char known[512] = "";
    size_t used = 0;

    for (size_t i = 0; i < elements->count && used < sizeof(known); i++)
        used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
                                 elements->all[i].name);
    return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                          "no channel \"%s\" can be captured; there are: %s", name, known);
}

static int choose(struct hal_device *dev, const struct iio *iio, struct elements *elements,
                  char *list)
{
    struct element *element;
    bool all = !strcmp(list, "all");
    char *word;

    while (!all && (word = strsep(&list, ","))) {
        element = element_named(elements, word);
        if (!element)
            return say_no_channel(dev, elements, word);
        element->chosen = true;
    }
    for (size_t i = 0; i < elements->count; i++)
        elements->all[i].chosen |= all && strcmp(elements->all[i].name, "timestamp");
    element = element_named(elements, "timestamp");
    if (element && iio->timestamp)
        element->chosen = true;
    return 0;
}

static uint32_t align(uint32_t position, uint32_t size)
{
    return (position + size - 1) / size * size;
}

/* As the kernel lays a scan out: by index, each channel at a multiple of its size, the whole a
 * multiple of the largest. */
static int lay_out(struct hal_device *dev, struct iio *iio, struct elements *elements)
{
    struct hal_iio_scan *scan = &iio->scan;
    uint32_t largest = 1;

    for (size_t i = 0; i < elements->count; i++) {
        struct element *element = &elements->all[i];
        uint32_t size;
        int err;
        if (!element->chosen)
            continue;
        if (scan->count == HAL_IIO_CHANNELS_MAX)
            return hal_fail_plain(-E2BIG, "open", hal_device_uri(dev), "more than %d channels",
                                  HAL_IIO_CHANNELS_MAX);
        err = fill_layout(dev, iio, element);
        if (err)
            return err;
        size = element->layout.storage / 8u * element->layout.repeat;
        element->layout.position = align(scan->size, size);
        scan->size = element->layout.position + size;
        largest = size > largest ? size : largest;
        scan->elements[scan->count++] = element->layout;
    }
    scan->size = align(scan->size, largest);
    return 0;
}

/* ---- settings ---- */

bool capture_frequency_file(const struct iio *iio, char *out)
{
    char path[PATH_SIZE], trigger[TEXT_SIZE], name[TEXT_SIZE];
    struct dirent **entries;
    int count;

    *out = '\0';
    snprintf(path, sizeof(path), "%.200s/trigger/current_trigger", iio->folder);
    sysfs_read(path, trigger, sizeof(trigger));
    count = *trigger ? scandir(IIO_FOLDER, &entries, NULL, NULL) : -1;
    for (int i = 0; i < count; i++) {
        snprintf(path, sizeof(path), "%s/%.64s/name", IIO_FOLDER, entries[i]->d_name);
        if (!strncmp(entries[i]->d_name, "trigger", 7) &&
            sysfs_read(path, name, sizeof(name)) == 0 && !strcmp(name, trigger))
            snprintf(out, PATH_SIZE, "%s/%.64s/sampling_frequency", IIO_FOLDER, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    if (!sysfs_exists(out))
        snprintf(out, PATH_SIZE, "%.200s/sampling_frequency", iio->folder);
    for (size_t i = 0; i < iio->channel_count && !sysfs_exists(out); i++)
        if (!iio->channels[i].output)
            channel_file(iio, "in", iio->channels[i].name, "sampling_frequency", out);
    return sysfs_exists(out);
}

static int change(struct hal_device *dev, struct iio *iio, const char *file, const char *text)
{
    char path[PATH_SIZE];

    snprintf(path, sizeof(path), "%.200s/%s", iio->folder, file);
    return sysfs_change(dev, iio, "open", path, text);
}

static int set_trigger(struct hal_device *dev, struct iio *iio)
{
    struct hal_value value;
    char folder[PATH_SIZE], path[PATH_SIZE];
    int err;

    if (hal_device_option(dev, "trigger", &value) != 1)
        return 0;
    snprintf(path, sizeof(path), "%.200s/trigger/current_trigger", iio->folder);
    if (!sysfs_exists(path))
        return hal_fail_plain(-EOPNOTSUPP, "open", hal_device_uri(dev),
                              "the device takes no trigger");
    err = resolve_trigger(dev, value.s, folder, sizeof(folder));
    if (err)
        return err;
    snprintf(path, sizeof(path), "%.200s/name", folder);
    sysfs_read(path, value.s, sizeof(value.s));
    return change(dev, iio, "trigger/current_trigger", value.s);
}

static int set_frequency(struct hal_device *dev, struct iio *iio)
{
    struct hal_value value;
    char path[PATH_SIZE], text[64];
    double now;

    if (hal_device_option(dev, "frequency", &value) != 1)
        return 0;
    iio->frequency = value.f;
    if (!capture_frequency_file(iio, path))
        return hal_fail_plain(-EOPNOTSUPP, "open", hal_device_uri(dev),
                              "neither the device nor its trigger has a rate that can be set");
    if (sysfs_number(path, &now) == 0 && now == value.f)
        return 0;
    number_format(value.f, text, sizeof(text));
    return sysfs_change(dev, iio, "set frequency", path, text);
}

/* The kernel wants the watermark within the length at every moment. */
static int set_buffer(struct hal_device *dev, struct iio *iio)
{
    struct hal_value length, watermark;
    bool any_length = hal_device_option(dev, "buffer", &length) == 1;
    char text[32];
    int err = 0;

    if (hal_device_option(dev, "watermark", &watermark) != 1)
        watermark.i = 1;
    if (!any_length)
        length.i = watermark.i > 64 ? watermark.i * 2 : 128;
    if (watermark.i > length.i)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "watermark %lld is above buffer, %lld scans", (long long)watermark.i,
                              (long long)length.i);
    err = change(dev, iio, "buffer/watermark", "1");
    snprintf(text, sizeof(text), "%lld", (long long)length.i);
    if (!err)
        err = change(dev, iio, "buffer/length", text);
    snprintf(text, sizeof(text), "%lld", (long long)watermark.i);
    if (!err)
        err = change(dev, iio, "buffer/watermark", text);
    return err;
}

static int enable_elements(struct hal_device *dev, struct iio *iio, const struct elements *elements)
{
    int err = 0;

    for (int on = 0; on <= 1; on++)
        for (size_t i = 0; i < elements->count && !err; i++) {
            char path[PATH_SIZE];
            if (elements->all[i].chosen != on)
                continue;
            element_path(iio, &elements->all[i], "en", path);
            err = sysfs_change(dev, iio, "open", path, on ? "1" : "0");
        }
    return err;
}

/* ---- start and stop ---- */

static int check_idle(struct hal_device *dev, const struct iio *iio)
{
    char path[PATH_SIZE];
    double on = 0;

    snprintf(path, sizeof(path), "%.200s/buffer/enable", iio->folder);
    if (sysfs_number(path, &on) == 0 && on != 0)
        return hal_fail(-EBUSY, "open", hal_device_uri(dev),
                        "somebody captures already; if nobody does: echo 0 | sudo tee %s", path);
    return 0;
}

static int enable(struct hal_device *dev, struct iio *iio)
{
    char path[PATH_SIZE], trigger[TEXT_SIZE];
    int err;

    snprintf(path, sizeof(path), "%.200s/trigger/current_trigger", iio->folder);
    sysfs_read(path, trigger, sizeof(trigger));
    snprintf(path, sizeof(path), "%.200s/buffer/enable", iio->folder);
    err = sysfs_write(path, "1");
    if (err == -EINVAL)
        return hal_fail(err, "open", hal_device_uri(dev),
                        "the device cannot capture these channels together%s",
                        *trigger ? "" : ", or needs a trigger: trigger=NAME");
    if (err)
        return sysfs_fail(dev, err, "open", path);
    iio->capturing = true;
    return 0;
}

static int start(struct hal_device *dev, struct iio *iio, struct elements *elements)
{
    struct hal_value value;
    int err;

    if (hal_device_option(dev, "clock", &value) == 1) {
        err = change(dev, iio, "current_timestamp_clock", value.s);
        if (err)
            return err;
    }
    hal_device_option(dev, "channels", &value);
    err = check_idle(dev, iio);
    if (!err)
        err = find_elements(dev, iio, elements);
    if (!err)
        err = choose(dev, iio, elements, value.s);
    if (!err)
        err = lay_out(dev, iio, elements);
    if (!err)
        err = enable_elements(dev, iio, elements);
    if (!err)
        err = set_trigger(dev, iio);
    if (!err)
        err = set_frequency(dev, iio);
    if (!err)
        err = set_buffer(dev, iio);
    return err ? err : enable(dev, iio);
}

int capture_start(struct hal_device *dev, struct iio *iio)
{
    struct elements *elements = calloc(1, sizeof(*elements));
    int err;

    if (!elements)
        return -ENOMEM;
    err = start(dev, iio, elements);
    free(elements);
    if (err)
        capture_stop(iio);
    return err;
}

void capture_stop(struct iio *iio)
{
    char path[PATH_SIZE];

    if (iio->capturing) {
        snprintf(path, sizeof(path), "%.200s/buffer/enable", iio->folder);
        sysfs_write(path, "0");
    }
    iio->capturing = false;
    sysfs_undo(iio);
}
