/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this driver share. Sources: the kernel's Documentation/ABI/testing/
 * sysfs-bus-iio* and Documentation/driver-api/iio/buffers.rst, include/uapi/linux/iio/. */
#ifndef IIO_H
#define IIO_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <hal/driver.h>
#include <hal/iio.h>

#define IIO_FOLDER "/sys/bus/iio/devices"
#define PATH_SIZE 384
#define TEXT_SIZE 256
#define NAME_SIZE 48

/* A kind of quantity: how the kernel's unit becomes one of the SI. */
struct quantity {
    const char *type;
    const char *unit;
    double factor;
};

/* What an attribute of the device's own table reads and writes. */
enum role { ROLE_VALUE, ROLE_RAW, ROLE_SCALE, ROLE_NUMBER, ROLE_SWITCH };

struct channel {
    char name[NAME_SIZE]; /* "voltage0", "accel_x", "out_voltage0" */
    bool output;
    bool processed; /* the kernel gives values in its unit, not raw ones */
    const struct quantity *quantity;
    char raw[PATH_SIZE]; /* sysfs files; empty: there is none */
    char scale[PATH_SIZE];
    char offset[PATH_SIZE];
};

/* Behind one attribute. */
struct entry {
    enum role role;
    char name[64];
    char doc[96];
    char path[PATH_SIZE];
    unsigned channel; /* of VALUE, RAW, SCALE */
};

/* A sysfs file that was changed, and what it held before. */
struct undo {
    char path[PATH_SIZE];
    char text[TEXT_SIZE];
    struct undo *next; /* the one changed before */
};

struct iio {
    char folder[PATH_SIZE]; /* "/sys/bus/iio/devices/iio:device0" */
    char node[64];          /* "/dev/iio:device0" */
    struct channel *channels;
    size_t channel_count;
    struct entry *entries;
    struct hal_attribute *attributes;
    size_t entry_count;
    struct hal_iio_scan scan; /* count 0: no capture */
    bool capturing;           /* the buffer is enabled */
    bool timestamp;
    bool events;
    double frequency; /* asked for at open; 0: not */
    struct undo *undo;
};

/* ---- sysfs.c ---- */

/* Read a file without its newline. 0 or a negative errno. */
int sysfs_read(const char *path, char *out, size_t size);
int sysfs_number(const char *path, double *out);
int sysfs_write(const char *path, const char *text);
bool sysfs_exists(const char *path);
/* Word a failure to read or write a file of the device. */
int sysfs_fail(struct hal_device *dev, int err, const char *operation, const char *path);
/* Write a file unless it holds that already, and remember what it held. 0, or worded. */
int sysfs_change(struct hal_device *dev, struct iio *iio, const char *operation, const char *path,
                 const char *text);
/* Put back all that sysfs_change() changed, the last first. */
void sysfs_undo(struct iio *iio);

/* ---- resolve.c ---- */

/* Find the device that the address names. Sets folder and node. */
int resolve_device(struct hal_device *dev, struct iio *iio);
/* The folder of the trigger or device with this name; names of all triggers for words. */
int resolve_trigger(struct hal_device *dev, const char *name, char *folder, size_t size);

/* ---- channels.c ---- */

int channels_find(struct iio *iio);
const struct channel *channels_by_name(const struct iio *iio, const char *name);
const struct quantity *quantity_of(const char *channel);
/* The sysfs file of a property of a channel, own or shared; empty when there is none. */
void channel_file(const struct iio *iio, const char *direction, const char *channel,
                  const char *property, char *out);

/* ---- attributes.c ---- */

#define IIO_ATTRIBUTES 12
extern const struct hal_attribute iio_attributes[IIO_ATTRIBUTES];

/* As the kernel reads it, in any locale. */
void number_format(double value, char *out, size_t size);
/* Make the device's own table. 0 or -ENOMEM. */
int attributes_make(struct hal_device *dev, struct iio *iio);

/* ---- capture.c ---- */

/* Where the rate of scans is set: the trigger's or the device's. False: nowhere. */
bool capture_frequency_file(const struct iio *iio, char *out);
/* Choose the channels and start the buffer as the options say. `fd` of the node is open. */
int capture_start(struct hal_device *dev, struct iio *iio);
void capture_stop(struct iio *iio);

#endif
