/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hwmon: temperatures, voltages, currents, powers, fans of a hardware monitor, in SI units.
 *
 *     hwmon:hwmon2      hwmon:coretemp      (its name, when only one has it)
 *
 * Every file of the chip that the kernel's naming scheme knows becomes an attribute: temp1_input is
 * "temp1", temp1_max is "temp1.max". Reading the device gives all inputs as lines of text. Source:
 * Documentation/hwmon/sysfs-interface.rst.
 */
#include <dirent.h>
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hal/driver.h>

#define FOLDER "/sys/class/hwmon"

/* What a sensor's files hold: the unit, and what a count is worth. */
struct quantity {
    const char *prefix;
    const char *unit;
    double scale;
    const char *doc;
};

static const struct quantity quantities[] = {
    {"temp", "°C", 1e-3, "Temperature"},
    {"in", "V", 1e-3, "Voltage"},
    {"curr", "A", 1e-3, "Current"},
    {"power", "W", 1e-6, "Power"},
    {"energy", "J", 1e-6, "Energy"},
    {"fan", "1/min", 1, "Fan speed"},
    {"humidity", "%RH", 1e-3, "Humidity"},
    {"freq", "Hz", 1, "Frequency"},
    {"pwm", NULL, 1, "Fan control, 0 .. 255"},
};

struct hwmon {
    char folder[PATH_MAX];
    struct hal_attribute *attributes;
    size_t count;
};

/* ---- files and attributes ---------------------------------------------------------------------
 */

static const struct quantity *quantity_of(const char *file)
{
    for (size_t i = 0; i < sizeof(quantities) / sizeof(quantities[0]); i++) {
        size_t len = strlen(quantities[i].prefix);
        if (!strncmp(file, quantities[i].prefix, len) && file[len] >= '0' && file[len] <= '9')
            return &quantities[i];
    }
    return NULL;
}

/* "temp1.max" -> "temp1_max", "temp1" -> "temp1_input", "pwm1" -> "pwm1". */
static void file_of(const struct hwmon *hwmon, const struct hal_attribute *attr, char out[PATH_MAX])
{
    const char *dot = strchr(attr->name, '.');

    if (dot)
        snprintf(out, PATH_MAX, "%.3000s/%.*s_%s", hwmon->folder, (int)(dot - attr->name),
                 attr->name, dot + 1);
    else
        snprintf(out, PATH_MAX, "%.3000s/%s%s", hwmon->folder, attr->name,
                 strncmp(attr->name, "pwm", 3) ? "_input" : "");
}

static int get_sensor(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    char path[PATH_MAX], text[HAL_TEXT_MAX], *end;
    double raw;
    long n;

    file_of(hal_device_state(dev), attr, path);
    n = hal_node_read_text(path, text, sizeof(text));
    if (n < 0)
        return (int)n;
    if (attr->type == HAL_TYPE_TEXT) {
        strcpy(out->s, text);
        return 0;
    }
    raw = strtod(text, &end);
    if (end == text)
        return hal_fail_plain(-EPROTO, "read", path, "\"%s\" is no number", text);
    if (attr->type == HAL_TYPE_BOOL)
        out->b = raw != 0;
    else
        out->f = raw * quantities[attr->tag].scale;
    return 0;
}

static int set_sensor(struct hal_device *dev, const struct hal_attribute *attr,
                      const struct hal_value *value)
{
    char path[PATH_MAX], text[64];

    file_of(hal_device_state(dev), attr, path);
    snprintf(text, sizeof(text), "%.0f", value->f / quantities[attr->tag].scale);
    return hal_node_write_text(path, text);
}

/* Fields of a sensor that are whole words or flags rather than quantities. */
static enum hal_type type_of(const char *field)
{
    if (!strcmp(field, "label"))
        return HAL_TYPE_TEXT;
    if (strstr(field, "alarm") || !strcmp(field, "fault") || !strcmp(field, "beep"))
        return HAL_TYPE_BOOL;
    return HAL_TYPE_FLOAT;
}

/* Fields that count or choose something, whatever the sensor measures. */
static bool is_setting(const char *field)
{
    static const char *const settings[] = {"type",          "div",      "pulses",  "enable", "mode",
                                           "channels_temp", "interval", "samples", NULL};

    for (size_t i = 0; settings[i]; i++)
        if (!strcmp(field, settings[i]) || !strncmp(field, "auto_", 5))
            return true;
    return false;
}

/* Fill in a row for a file; false when it is none of a sensor's. */
static bool describe(const struct hwmon *hwmon, const char *file, struct hal_attribute *row)
{
    const struct quantity *quantity = quantity_of(file);
    const char *field = quantity ? strchr(file, '_') : NULL;
    char name[HAL_NAME_MAX + 2], path[PATH_MAX];

    if (!quantity || strlen(file) > HAL_NAME_MAX || (field && is_setting(field + 1)))
        return false;
    snprintf(name, sizeof(name), "%s", file);
    if (field && !strcmp(field, "_input"))
        name[field - file] = '\0';
    else if (field)
        name[field - file] = '.';
    else if (strncmp(file, "pwm", 3) != 0)
        return false;
    snprintf(path, sizeof(path), "%.3000s/%s", hwmon->folder, file);
    row->name = strdup(name);
    row->type = field ? type_of(field + 1) : HAL_TYPE_FLOAT;
    row->unit = row->type == HAL_TYPE_FLOAT ? quantity->unit : NULL;
    row->doc = quantity->doc;
    row->access = HAL_ATTR_READ;
    if (row->type == HAL_TYPE_FLOAT && !access(path, W_OK) && strcmp(field ? field : "", "_input"))
        row->access |= HAL_ATTR_WRITE;
    row->get = get_sensor;
    row->set = set_sensor;
    row->tag = quantity - quantities;
    return row->name != NULL;
}

static int list_sensors(struct hwmon *hwmon)
{
    struct dirent **files;
    int count = scandir(hwmon->folder, &files, NULL, versionsort);

    if (count < 0)
        return hal_fail(-errno, "list", hwmon->folder, NULL);
    hwmon->attributes = calloc((size_t)count + 1, sizeof(*hwmon->attributes));
    for (int i = 0; i < count; i++) {
        if (hwmon->attributes &&
            describe(hwmon, files[i]->d_name, &hwmon->attributes[hwmon->count]))
            hwmon->count++;
        free(files[i]);
    }
    free(files);
    return hwmon->attributes ? 0 : -ENOMEM;
}

/* ---- bytes ------------------------------------------------------------------------------------
 */

/* All inputs, a line each: "temp1 45 °C". */
static ssize_t hwmon_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct hwmon *hwmon = hal_device_state(dev);
    size_t used = 0;

    (void)until;
    for (size_t i = 0; i < hwmon->count; i++) {
        const struct hal_attribute *attr = &hwmon->attributes[i];
        struct hal_value value;
        char line[128];
        int n;
        if (strchr(attr->name, '.') || get_sensor(dev, attr, &value))
            continue; /* a sensor that cannot be read now (no fan, asleep) is left out */
        n = snprintf(line, sizeof(line), "%s %.9g%s%s\n", attr->name, value.f,
                     attr->unit ? " " : "", attr->unit ? attr->unit : "");
        if (used + (size_t)n > len)
            return used ? (ssize_t)used
                        : hal_fail(-EMSGSIZE, "read", hal_device_uri(dev),
                                   "%d bytes are needed at least", n);
        memcpy((char *)buf + used, line, (size_t)n);
        used += (size_t)n;
    }
    return (ssize_t)used;
}

static ssize_t hwmon_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "write", hal_device_uri(dev),
                    "a monitor takes no bytes; its limits are attributes");
}

/* ---- opening ----------------------------------------------------------------------------------
 */

static bool has_name(const char *folder, const char *name)
{
    char path[PATH_MAX], text[64];

    snprintf(path, sizeof(path), FOLDER "/%.200s/name", folder);
    return hal_node_read_text(path, text, sizeof(text)) >= 0 && !strcmp(text, name);
}

/* The folder of the monitor with that chip name; how many have it. */
static int find_by_name(const char *name, char out[PATH_MAX])
{
    struct dirent **folders;
    int count = scandir(FOLDER, &folders, NULL, versionsort), found = 0;

    for (int i = 0; i < count; i++) {
        if (folders[i]->d_name[0] != '.' && has_name(folders[i]->d_name, name) && !found++)
            snprintf(out, PATH_MAX, FOLDER "/%.200s", folders[i]->d_name);
        free(folders[i]);
    }
    if (count >= 0)
        free(folders);
    return found;
}

static int find_folder(struct hal_device *dev, char out[PATH_MAX])
{
    const char *address = hal_device_address(dev);
    int found;

    if (!*address || strchr(address, '/') || *address == '.')
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "the address is hwmonN or a chip's name");
    snprintf(out, PATH_MAX, FOLDER "/%.200s", address);
    if (!access(out, F_OK))
        return 0;
    found = find_by_name(address, out);
    if (found == 1)
        return 0;
    if (found > 1)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "%d monitors are called so; open one by hwmonN", found);
    return hal_fail(-ENOENT, "open", hal_device_uri(dev), "no such monitor in " FOLDER);
}

static void discard(struct hwmon *hwmon)
{
    for (size_t i = 0; i < hwmon->count; i++)
        free((char *)hwmon->attributes[i].name);
    free(hwmon->attributes);
    free(hwmon);
}

static int hwmon_init(struct hal_device *dev)
{
    struct hwmon *hwmon = calloc(1, sizeof(*hwmon));
    int err;

    if (!hwmon)
        return -ENOMEM;
    err = find_folder(dev, hwmon->folder);
    if (!err)
        err = list_sensors(hwmon);
    if (err) {
        discard(hwmon);
        return err;
    }
    hal_device_set_state(dev, hwmon);
    hal_device_set_attributes(dev, hwmon->attributes, hwmon->count);
    return 0;
}

static void hwmon_fini(struct hal_device *dev)
{
    discard(hal_device_state(dev));
}

static const struct hal_match matches[] = {
    {"subsystem:hwmon", "{name}", NULL},
};

static const struct driver_ops hwmon_ops = {
    .init = hwmon_init,
    .read = hwmon_read,
    .write = hwmon_write,
    .fini = hwmon_fini,
    .summary = "Hardware monitors: temperature, voltage, current, power, fans",
    .address = "hwmonN or chip name",
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("hwmon", &hwmon_ops, "0.1.0");
