/* SPDX-License-Identifier: Apache-2.0 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "iio.h"

#define READ HAL_ATTR_READ
#define WRITE (HAL_ATTR_READ | HAL_ATTR_WRITE)
#define OPEN (HAL_ATTR_READ | HAL_ATTR_OPEN)
#define BUFFER_MAX (1 << 20)

static int fail(struct hal_device *dev, const struct hal_attribute *attr, const char *verb, int err,
                const char *path)
{
    char operation[HAL_NAME_MAX + 8];

    snprintf(operation, sizeof(operation), "%s %s", verb, attr->name);
    return sysfs_fail(dev, err, operation, path);
}

/* Nine digits behind the point are what the kernel reads at most, and a point in any locale. */
void number_format(double value, char *out, size_t size)
{
    double whole = value < 0 ? -value : value;
    unsigned long long n = (unsigned long long)whole;
    unsigned long long fraction = (unsigned long long)((whole - (double)n) * 1e9 + 0.5);

    if (fraction >= 1000000000) {
        n++;
        fraction = 0;
    }
    if (fraction)
        snprintf(out, size, "%s%llu.%09llu", value < 0 ? "-" : "", n, fraction);
    else
        snprintf(out, size, "%s%llu", value < 0 ? "-" : "", n);
}

/* ---- channels ---- */

static const struct entry *entry_of(const struct iio *iio, const struct hal_attribute *attr)
{
    return &iio->entries[attr->tag];
}

/* Offset and scale of a channel; the file that could not be read in *path. */
static int read_terms(const struct channel *channel, double *offset, double *scale,
                      const char **path)
{
    int err = 0;

    *offset = 0;
    *scale = 1;
    if (*channel->offset)
        err = sysfs_number(*path = channel->offset, offset);
    if (!err && *channel->scale)
        err = sysfs_number(*path = channel->scale, scale);
    *scale *= channel->quantity->factor;
    return err;
}

static int value_get(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);
    const struct channel *channel = &iio->channels[entry_of(iio, attr)->channel];
    const char *path = channel->raw;
    double raw, offset, scale;
    int err = sysfs_number(path, &raw);

    if (!err)
        err = read_terms(channel, &offset, &scale, &path);
    if (err)
        return fail(dev, attr, "get", err, path);
    out->f = (raw + offset) * scale;
    return 0;
}

static int value_set(struct hal_device *dev, const struct hal_attribute *attr,
                     const struct hal_value *value)
{
    const struct iio *iio = hal_device_state(dev);
    const struct channel *channel = &iio->channels[entry_of(iio, attr)->channel];
    const char *path = channel->raw;
    double offset, scale, raw;
    char text[64];
    int err = read_terms(channel, &offset, &scale, &path);

    if (!err) {
        raw = value->f / scale - offset;
        if (!channel->processed)
            raw = (double)(long long)(raw + (raw < 0 ? -0.5 : 0.5));
        number_format(raw, text, sizeof(text));
        err = sysfs_write(path = channel->raw, text);
    }
    return err ? fail(dev, attr, "set", err, path) : 0;
}

static double factor_of(const struct iio *iio, const struct entry *entry)
{
    return entry->role == ROLE_SCALE ? iio->channels[entry->channel].quantity->factor : 1;
}

static int file_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);
    const struct entry *entry = entry_of(iio, attr);
    double number;
    int err = sysfs_number(entry->path, &number);

    if (err)
        return fail(dev, attr, "get", err, entry->path);
    if (entry->role == ROLE_RAW)
        out->i = (int64_t)number;
    else if (entry->role == ROLE_SWITCH)
        out->b = number != 0;
    else
        out->f = number * factor_of(iio, entry);
    return 0;
}

static int file_set(struct hal_device *dev, const struct hal_attribute *attr,
                    const struct hal_value *value)
{
    const struct iio *iio = hal_device_state(dev);
    const struct entry *entry = entry_of(iio, attr);
    char text[64];
    int err;

    if (entry->role == ROLE_RAW)
        snprintf(text, sizeof(text), "%lld", (long long)value->i);
    else if (entry->role == ROLE_SWITCH)
        snprintf(text, sizeof(text), "%d", value->b);
    else
        number_format(value->f / factor_of(iio, entry), text, sizeof(text));
    err = sysfs_write(entry->path, text);
    return err ? fail(dev, attr, "set", err, entry->path) : 0;
}

/* ---- the device's own table ---- */

/* The kernel marks also the values of inputs as writable when the driver writes anything at all. */
static bool writable(const struct iio *iio, const struct entry *entry)
{
    struct stat st;

    if ((entry->role == ROLE_VALUE || entry->role == ROLE_RAW) &&
        !iio->channels[entry->channel].output)
        return false;
    return stat(entry->path, &st) == 0 && st.st_mode & 0222;
}

/* The kernel has names like "accel_x&y&z", which are none of an attribute. */
static void tidy(char *name)
{
    for (; *name; name++)
        if (!strchr("._-", *name) && !(*name >= '0' && *name <= '9') &&
            !(*name >= 'a' && *name <= 'z') && !(*name >= 'A' && *name <= 'Z'))
            *name = '_';
}

static bool known(const struct iio *iio, const char *name)
{
    for (size_t i = 0; i < iio->entry_count; i++)
        if (!strcmp(iio->entries[i].name, name))
            return true;
    return false;
}

static int add_entry(struct iio *iio, enum role role, const char *name, const char *path,
                     unsigned channel, const char *doc)
{
    struct entry *entries = realloc(iio->entries, (iio->entry_count + 1) * sizeof(*entries));
    struct entry *entry;

    if (!entries)
        return -ENOMEM;
    iio->entries = entries;
    entry = &entries[iio->entry_count];
    memset(entry, 0, sizeof(*entry));
    entry->role = role;
    entry->channel = channel;
    snprintf(entry->name, sizeof(entry->name), "%s", name);
    tidy(entry->name);
    snprintf(entry->path, sizeof(entry->path), "%s", path);
    snprintf(entry->doc, sizeof(entry->doc), "%s", doc);
    iio->entry_count += strlen(name) <= HAL_NAME_MAX && !known(iio, entry->name);
    return 0;
}

static int add_property(struct iio *iio, enum role role, unsigned index, const char *property,
                        const char *path, const char *doc)
{
    char name[64];

    if (!*path)
        return 0;
    snprintf(name, sizeof(name), "%s.%s", iio->channels[index].name, property);
    return add_entry(iio, role, name, path, index, doc);
}

static int add_channel(struct iio *iio, unsigned index)
{
    static const char *const more[] = {"calibbias", "calibscale", "hardwaregain",
                                       "oversampling_ratio", "integration_time"};
    const struct channel *channel = &iio->channels[index];
    const char *direction = channel->output ? "out" : "in";
    int err = add_entry(iio, ROLE_VALUE, channel->name, channel->raw, index,
                        channel->output ? "What the channel gives out." : "What it measures now.");

    if (!err && !channel->processed)
        err = add_property(iio, ROLE_RAW, index, "raw", channel->raw,
                           "The converter's number; value = (raw + offset) * scale.");
    if (!err)
        err = add_property(iio, ROLE_SCALE, index, "scale", channel->scale,
                           "Units of the value for each step of the raw number.");
    if (!err)
        err = add_property(iio, ROLE_NUMBER, index, "offset", channel->offset,
                           "Added to the raw number before scaling.");
    for (size_t i = 0; i < sizeof(more) / sizeof(*more) && !err; i++) {
        char path[PATH_SIZE];
        channel_file(iio, direction, channel->name + (channel->output ? 4 : 0), more[i], path);
        err = add_property(iio, ROLE_NUMBER, index, more[i], path,
                           "As the kernel has it, in its unit.");
    }
    return err;
}

static bool ends_with(const char *text, const char *end)
{
    size_t n = strlen(text), m = strlen(end);

    return n > m && !strcmp(text + n - m, end);
}

/* "in_voltage0_thresh_rising_en" -> "voltage0.rising.en", "in_accel_x_mag_falling_value" ->
 * "accel_x.mag_falling.value": an attribute's name is short, and most events are thresholds. */
static bool event_name(const char *file, char *out, size_t size)
{
    static const char *const kinds[] = {"_thresh_", "_mag_",     "_roc_",
                                        "_change_", "_gesture_", "_fault_"};
    const char *kind = NULL, *property = strrchr(file, '_');

    for (size_t i = 0; i < sizeof(kinds) / sizeof(*kinds) && !kind; i++)
        kind = strstr(file, kinds[i]);
    if (strncmp(file, "in_", 3) || !kind || kind <= file + 3)
        return false;
    snprintf(out, size, "%.*s.", (int)(kind - file - 3), file + 3);
    if (!strncmp(kind, "_thresh_", 8) && strncmp(kind, "_thresh_adaptive", 16) &&
        property > kind + 8)
        kind += 7;
    if (property <= kind)
        return false;
    snprintf(out + strlen(out), size - strlen(out), "%.*s.%s", (int)(property - kind - 1), kind + 1,
             property + 1);
    return true;
}

static int add_event(struct iio *iio, const char *file)
{
    char name[256], path[PATH_SIZE];

    if (!event_name(file, name, sizeof(name)))
        return 0;
    snprintf(path, sizeof(path), "%.200s/events/%.128s", iio->folder, file);
    if (ends_with(file, "_en"))
        return add_entry(iio, ROLE_SWITCH, name, path, 0, "Whether this event is reported.");
    return add_entry(iio, ROLE_NUMBER, name, path, 0,
                     "Of this event, as the kernel has it, in its unit.");
}

static int add_events(struct iio *iio)
{
    char path[PATH_SIZE];
    struct dirent **entries;
    int count, err = 0;

    snprintf(path, sizeof(path), "%.200s/events", iio->folder);
    count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        if (!err)
            err = add_event(iio, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return err;
}

static void describe(const struct iio *iio, size_t index, struct hal_attribute *row)
{
    const struct entry *entry = &iio->entries[index];
    const char *unit = entry->role == ROLE_VALUE || entry->role == ROLE_SCALE
                           ? iio->channels[entry->channel].quantity->unit
                           : "";
    bool value = entry->role == ROLE_VALUE;

    memset(row, 0, sizeof(*row));
    row->name = entry->name;
    row->unit = *unit ? unit : NULL;
    row->doc = entry->doc;
    row->type = entry->role == ROLE_RAW      ? HAL_TYPE_INT
                : entry->role == ROLE_SWITCH ? HAL_TYPE_BOOL
                                             : HAL_TYPE_FLOAT;
    row->access = writable(iio, entry) ? WRITE : READ;
    row->get = value ? value_get : file_get;
    row->set = value ? value_set : file_set;
    row->tag = (int64_t)index;
}

int attributes_make(struct hal_device *dev, struct iio *iio)
{
    int err = 0;

    for (unsigned i = 0; i < iio->channel_count && !err; i++)
        err = add_channel(iio, i);
    if (!err)
        err = add_events(iio);
    if (err || !iio->entry_count)
        return err;
    iio->attributes = calloc(iio->entry_count, sizeof(*iio->attributes));
    if (!iio->attributes)
        return -ENOMEM;
    for (size_t i = 0; i < iio->entry_count; i++)
        describe(iio, i, &iio->attributes[i]);
    hal_device_set_attributes(dev, iio->attributes, iio->entry_count);
    return 0;
}

/* ---- what all devices have ---- */

static const char *const files[] = {"name",
                                    "label",
                                    "trigger/current_trigger",
                                    "current_timestamp_clock",
                                    "buffer/length",
                                    "buffer/watermark",
                                    "buffer/data_available"};
enum { NAME, LABEL, TRIGGER, CLOCK, LENGTH, WATERMARK, AVAILABLE };

static void fixed_path(const struct iio *iio, const struct hal_attribute *attr, char *out)
{
    snprintf(out, PATH_SIZE, "%.200s/%s", iio->folder, files[attr->tag]);
}

static int lacks(struct hal_device *dev, const struct hal_attribute *attr, const char *verb,
                 const char *path)
{
    char operation[HAL_NAME_MAX + 8];

    snprintf(operation, sizeof(operation), "%s %s", verb, attr->name);
    return hal_fail_plain(-EOPNOTSUPP, operation, hal_device_uri(dev), "the device has no %s",
                          strrchr(path, '/') + 1);
}

/* A text that the device does not have is empty. */
static int text_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);
    char path[PATH_SIZE];
    int err;

    fixed_path(iio, attr, path);
    err = sysfs_read(path, out->s, sizeof(out->s));
    if (!err || (err == -ENOENT && sysfs_exists(iio->folder)))
        return 0;
    return fail(dev, attr, "get", err, path);
}

/* Who gives it in the URI has it put back at the close; see capture.c. */
static int text_set(struct hal_device *dev, const struct hal_attribute *attr,
                    const struct hal_value *value)
{
    const struct iio *iio = hal_device_state(dev);
    char path[PATH_SIZE], now[TEXT_SIZE];
    int err;

    fixed_path(iio, attr, path);
    if (!sysfs_exists(path) && sysfs_exists(iio->folder))
        return lacks(dev, attr, "set", path);
    if (sysfs_read(path, now, sizeof(now)) == 0 && !strcmp(now, value->s))
        return 0;
    err = sysfs_write(path, value->s);
    return err ? fail(dev, attr, "set", err, path) : 0;
}

static int number_get(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);
    char path[PATH_SIZE];
    double number = 0;
    int err;

    fixed_path(iio, attr, path);
    err = sysfs_number(path, &number);
    if (err == -ENOENT && sysfs_exists(iio->folder))
        return lacks(dev, attr, "get", path);
    out->i = (int64_t)number;
    return err ? fail(dev, attr, "get", err, path) : 0;
}

static int frequency_get(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);
    char path[PATH_SIZE];
    int err;

    if (!capture_frequency_file(iio, path))
        return lacks(dev, attr, "get", "/sampling_frequency, nor has its trigger");
    err = sysfs_number(path, &out->f);
    return err ? fail(dev, attr, "get", err, path) : 0;
}

static int frequency_set(struct hal_device *dev, const struct hal_attribute *attr,
                         const struct hal_value *value)
{
    const struct iio *iio = hal_device_state(dev);
    char path[PATH_SIZE], text[64];
    double now;
    int err;

    if (!capture_frequency_file(iio, path))
        return lacks(dev, attr, "set", "/sampling_frequency, nor has its trigger");
    if (value->f == iio->frequency && iio->capturing)
        return 0; /* init has done it */
    if (sysfs_number(path, &now) == 0 && now == value->f)
        return 0;
    number_format(value->f, text, sizeof(text));
    err = sysfs_write(path, text);
    return err ? fail(dev, attr, "set", err, path) : 0;
}

static int channels_get(struct hal_device *dev, const struct hal_attribute *attr,
                        struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);
    size_t used = 0;

    (void)attr;
    out->s[0] = '\0';
    for (uint32_t i = 0; i < iio->scan.count && used < sizeof(out->s); i++)
        used += (size_t)snprintf(out->s + used, sizeof(out->s) - used, "%s%s", i ? "," : "",
                                 iio->scan.elements[i].channel);
    return used < sizeof(out->s) ? 0 : -ENAMETOOLONG;
}

static int node_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);

    (void)attr;
    snprintf(out->s, sizeof(out->s), "%s", iio->node);
    return 0;
}

static int switch_get(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    const struct iio *iio = hal_device_state(dev);

    out->b = attr->tag ? iio->events : iio->timestamp;
    return 0;
}

#define ROW(name_, unit_, type_, access_, get_, set_, tag_, doc_)                                  \
    .name = name_, .unit = unit_, .doc = doc_, .type = HAL_TYPE_##type_, .access = access_,        \
    .get = get_, .set = set_, .tag = tag_

/* clang-format off */
const struct hal_attribute iio_attributes[] = {
    {ROW("name", NULL, TEXT, READ, text_get, NULL, NAME, "The device's name.")},
    {ROW("label", NULL, TEXT, READ, text_get, NULL, LABEL, "The board's name for it.")},
    {ROW("node", NULL, TEXT, READ, node_get, NULL, 0, "The device node.")},
    {ROW("channels", NULL, TEXT, OPEN, channels_get, NULL, 0,
         "What is captured, as voltage0,voltage1; all: every channel that can be.")},
    {ROW("timestamp", NULL, BOOL, OPEN, switch_get, NULL, 0,
         "Captured scans end with the time, where the device has it."), .initial = "true"},
    {ROW("trigger", NULL, TEXT, OPEN, text_get, NULL, TRIGGER,
         "What makes the device take a scan, by name.")},
    {ROW("frequency", "Hz", FLOAT, WRITE | OPEN, frequency_get, frequency_set, 0,
         "Scans a second: of the trigger if it has a rate, else of the device."),
     .max = 1e12},
    {ROW("buffer", NULL, INT, OPEN, number_get, NULL, LENGTH,
         "Scans that the kernel holds."), .min = 2, .max = BUFFER_MAX},
    {ROW("watermark", NULL, INT, OPEN, number_get, NULL, WATERMARK,
         "Scans that must be there before a read that waits is woken."), .min = 1, .max = BUFFER_MAX},
    {ROW("available", NULL, INT, READ, number_get, NULL, AVAILABLE,
         "Scans that wait to be read; of some devices 0 or 1 only.")},
    {ROW("events", NULL, BOOL, OPEN, switch_get, NULL, 1,
         "Reading gives events (thresholds and such)."), .initial = "false"},
    {ROW("clock", NULL, TEXT, WRITE | OPEN, text_get, text_set, CLOCK,
         "Clock of timestamps: realtime, monotonic, monotonic_raw, boottime, tai ...")},
};
/* clang-format on */
