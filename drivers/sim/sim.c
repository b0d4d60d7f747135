/* SPDX-License-Identifier: Apache-2.0 */
/*
 * sim: devices that do not exist, with faults on demand.
 *
 *     sim:uart?drop=1%&latency=5ms&unplug_after=3s&seed=7
 *
 * The address names the class (models.c); the options say what goes wrong (faults.c). An operation
 * first takes its time, then may fail or find the device unplugged, then does what the model does,
 * with bytes lost, changed or left for later. The same seed and the same calls give the same
 * faults.
 */
#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "sim.h"

#define NS_PER_S 1e9

static struct sim *sim_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* ---- time -------------------------------------------------------------------------------------
 */

/* When the device will be unplugged by the clock; HAL_FOREVER: never. */
static hal_deadline unplug_time(const struct sim *sim)
{
    if (sim->faults.unplug_after <= 0)
        return HAL_FOREVER;
    return sim->opened + (int64_t)(sim->faults.unplug_after * NS_PER_S);
}

static int say_unplugged(struct hal_device *dev, const char *operation)
{
    return hal_fail(-ENODEV, operation, hal_device_uri(dev), "unplugged, as its options ask");
}

/* Sleep until `at`, unless the deadline, a cancel or a signal comes first. */
static int sleep_until(struct hal_device *dev, enum hal_lane lane, hal_deadline at,
                       hal_deadline until)
{
    int err;

    while (hal_now() < at) {
        err = hal_device_wait(dev, lane, -1, 0, at < until ? at : until);
        if (err < 0 && !(err == -ETIMEDOUT && at <= until))
            return err;
    }
    return 0;
}

static int take_time(struct hal_device *dev, enum hal_lane lane, hal_deadline until)
{
    struct sim *sim = sim_of(dev);
    double seconds;

    pthread_mutex_lock(&sim->lock);
    seconds = sim->faults.latency;
    if (sim->faults.jitter > 0)
        seconds +=
            sim->faults.jitter * (double)chance_below(&sim->chance, lane, 1 << 20) / (1 << 20);
    pthread_mutex_unlock(&sim->lock);
    if (seconds <= 0)
        return 0;
    return sleep_until(dev, lane, hal_after((int64_t)(seconds * NS_PER_S)), until);
}

/* ---- one operation ----------------------------------------------------------------------------
 */

/* Count an operation and decide whether it fails. Called with the lock held. */
static int strike(struct hal_device *dev, enum hal_lane lane, const char *operation)
{
    struct sim *sim = sim_of(dev);
    const struct faults *faults = &sim->faults;

    if (faults->unplug_after_ops && sim->ops >= faults->unplug_after_ops)
        sim->unplugged = true;
    if (hal_now() >= unplug_time(sim))
        sim->unplugged = true;
    if (sim->unplugged)
        return say_unplugged(dev, operation);
    sim->ops++;
    if (chance_hits(&sim->chance, lane, faults->fail))
        return hal_fail(-faults->fail_with, operation, hal_device_uri(dev),
                        "a fault, as its options ask");
    return 0;
}

/* How much of an operation of `len` bytes is done at once. */
static size_t length_of(struct sim *sim, enum hal_lane lane, size_t len)
{
    if (len > 1 && chance_hits(&sim->chance, lane, sim->faults.shorten))
        return 1 + chance_below(&sim->chance, lane, len - 1);
    return len;
}

/* Change a bit here and there. */
static void corrupt(struct sim *sim, enum hal_lane lane, uint8_t *bytes, size_t len)
{
    if (sim->faults.corrupt <= 0)
        return;
    for (size_t i = 0; i < len; i++)
        if (chance_hits(&sim->chance, lane, sim->faults.corrupt))
            bytes[i] ^= (uint8_t)(1u << chance_below(&sim->chance, lane, 8));
}

/* Leave bytes out; how many are left. */
static size_t drop(struct sim *sim, enum hal_lane lane, uint8_t *bytes, size_t len)
{
    size_t kept = 0;

    if (sim->faults.drop <= 0)
        return len;
    for (size_t i = 0; i < len; i++)
        if (!chance_hits(&sim->chance, lane, sim->faults.drop))
            bytes[kept++] = bytes[i];
    return kept;
}

/* One look at the model: bytes, or -EAGAIN when there are none, or when all of them were lost. */
static ssize_t look(struct hal_device *dev, uint8_t *buf, size_t len)
{
    struct sim *sim = sim_of(dev);
    ssize_t n;

    pthread_mutex_lock(&sim->lock);
    n = sim->model->read(sim, buf, length_of(sim, HAL_LANE_READ, len));
    if (n > 0) {
        int err = strike(dev, HAL_LANE_READ, "read");
        corrupt(sim, HAL_LANE_READ, buf, (size_t)n);
        n = err ? err : (ssize_t)drop(sim, HAL_LANE_READ, buf, (size_t)n);
    } else if (sim->unplugged || hal_now() >= unplug_time(sim)) {
        sim->unplugged = true;
        n = say_unplugged(dev, "read");
    }
    pthread_mutex_unlock(&sim->lock);
    return n ? n : -EAGAIN;
}

static ssize_t sim_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct sim *sim = sim_of(dev);
    hal_deadline end = unplug_time(sim);
    ssize_t n = take_time(dev, HAL_LANE_READ, until);

    while (!n) {
        n = look(dev, buf, len);
        if (n != -EAGAIN)
            break;
        /* Nothing now: wait for a writer, and for the plug to be pulled. */
        n = hal_device_wait(dev, HAL_LANE_READ, -1, 0, end < until ? end : until);
        if (n == -ETIMEDOUT && end < until)
            n = 0;
    }
    if (n > 0)
        hal_device_wake(dev, POLLOUT);
    return n;
}

static ssize_t put(struct hal_device *dev, const uint8_t *buf, size_t len)
{
    struct sim *sim = sim_of(dev);
    size_t part = length_of(sim, HAL_LANE_WRITE, len < 65536 ? len : 65536), kept;
    uint8_t *bytes = malloc(part);
    ssize_t n;

    if (!bytes)
        return -ENOMEM;
    memcpy(bytes, buf, part);
    corrupt(sim, HAL_LANE_WRITE, bytes, part);
    kept = drop(sim, HAL_LANE_WRITE, bytes, part);
    n = kept ? sim->model->write(sim, bytes, kept) : 0;
    free(bytes);
    /* What was dropped counts as written: nobody tells a sender that the line lost it. */
    return n < 0 || (size_t)n < kept ? n : (ssize_t)part;
}

static ssize_t sim_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    struct sim *sim = sim_of(dev);
    ssize_t n = take_time(dev, HAL_LANE_WRITE, until);

    if (n)
        return n;
    pthread_mutex_lock(&sim->lock);
    n = strike(dev, HAL_LANE_WRITE, "write");
    if (!n)
        n = put(dev, buf, len);
    pthread_mutex_unlock(&sim->lock);
    hal_device_wake(dev, POLLIN);
    return n;
}

static void corrupt_received(struct sim *sim, const struct hal_segment *segments, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (segments[i].rx)
            corrupt(sim, HAL_LANE_CONTROL, segments[i].rx, segments[i].len);
}

static ssize_t sim_transfer(struct hal_device *dev, const struct hal_segment *segments,
                            size_t count, hal_deadline until)
{
    struct sim *sim = sim_of(dev);
    ssize_t n;

    if (!sim->model->transfer)
        return hal_fail(-EOPNOTSUPP, "transfer", hal_device_uri(dev), "a simulated %s has none",
                        sim->model->name);
    n = take_time(dev, HAL_LANE_CONTROL, until);
    if (n)
        return n;
    pthread_mutex_lock(&sim->lock);
    n = strike(dev, HAL_LANE_CONTROL, "transfer");
    if (!n)
        n = sim->model->transfer(sim, segments, count);
    if (n > 0)
        corrupt_received(sim, segments, count);
    pthread_mutex_unlock(&sim->lock);
    return n;
}

/* ---- memory at offsets ------------------------------------------------------------------------
 */

static int check_range(struct hal_device *dev, const char *operation, uint64_t offset, size_t len)
{
    struct sim *sim = sim_of(dev);

    if (!sim->model->addressed)
        return hal_fail(-EOPNOTSUPP, operation, hal_device_uri(dev),
                        "a simulated %s has no offsets", sim->model->name);
    if (offset >= sim->size || len > sim->size - offset)
        return hal_fail_plain(-ERANGE, operation, hal_device_uri(dev),
                              "0x%llx + %zu is beyond its %zu bytes", (unsigned long long)offset,
                              len, sim->size);
    return 0;
}

/* The bytes of one access at an offset. */
static int access_at(struct hal_device *dev, enum hal_lane lane, const char *operation,
                     uint64_t offset, void *to, const void *from, size_t len, hal_deadline until)
{
    struct sim *sim = sim_of(dev);
    int err = check_range(dev, operation, offset, len);

    if (!err)
        err = take_time(dev, lane, until);
    if (err)
        return err;
    pthread_mutex_lock(&sim->lock);
    err = strike(dev, lane, operation);
    if (!err && to) {
        memcpy(to, sim->memory + offset, len);
        corrupt(sim, lane, to, len);
    } else if (!err && from) {
        memcpy(sim->memory + offset, from, len);
        corrupt(sim, lane, sim->memory + offset, len);
    }
    pthread_mutex_unlock(&sim->lock);
    return err;
}

static int sim_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    uint8_t bytes[8] = {0};
    int err = access_at(dev, HAL_LANE_CONTROL, "load", offset, bytes, NULL, width, HAL_FOREVER);

    /* Little-endian, whatever the machine: a simulated device is the same everywhere. */
    *value = 0;
    for (unsigned i = width; !err && i-- > 0;)
        *value = *value << 8 | bytes[i];
    return err;
}

static int sim_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    uint8_t bytes[8];

    for (unsigned i = 0; i < width; i++, value >>= 8)
        bytes[i] = (uint8_t)value;
    return access_at(dev, HAL_LANE_CONTROL, "store", offset, NULL, bytes, width, HAL_FOREVER);
}

static size_t up_to_end(const struct hal_device *dev, uint64_t offset, size_t len)
{
    const struct sim *sim = sim_of(dev);

    return offset < sim->size && len > sim->size - offset ? sim->size - (size_t)offset : len;
}

static ssize_t sim_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                           hal_deadline until)
{
    int err;

    len = up_to_end(dev, offset, len);
    err = access_at(dev, HAL_LANE_READ, "read", offset, buf, NULL, len, until);
    return err ? err : (ssize_t)len;
}

static ssize_t sim_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                            hal_deadline until)
{
    int err;

    len = up_to_end(dev, offset, len);
    err = access_at(dev, HAL_LANE_WRITE, "write", offset, NULL, buf, len, until);
    return err ? err : (ssize_t)len;
}

/* ---- readiness --------------------------------------------------------------------------------
 */

static int sim_poll(struct hal_device *dev, int events)
{
    struct sim *sim = sim_of(dev);
    bool queue = sim->model == model_find("uart");
    int ready = 0;

    pthread_mutex_lock(&sim->lock);
    if (sim->unplugged || hal_now() >= unplug_time(sim))
        ready = POLLHUP;
    if (!queue || sim->count)
        ready |= events & POLLIN;
    if (!queue || sim->count < sim->size)
        ready |= events & POLLOUT;
    pthread_mutex_unlock(&sim->lock);
    return ready;
}

/* ---- attributes -------------------------------------------------------------------------------
 */

static const struct {
    const char *name;
    int number;
} errors[] = {{"EIO", EIO},       {"EREMOTEIO", EREMOTEIO}, {"ETIMEDOUT", ETIMEDOUT},
              {"EPROTO", EPROTO}, {"EBADMSG", EBADMSG},     {"EBUSY", EBUSY},
              {"EACCES", EACCES}, {"EINTR", EINTR},         {"ENOMEM", ENOMEM}};

static const char *const error_names[] = {"EIO",   "EREMOTEIO", "ETIMEDOUT", "EPROTO", "EBADMSG",
                                          "EBUSY", "EACCES",    "EINTR",     "ENOMEM", NULL};

static double *fault_field(struct sim *sim, const struct hal_attribute *attr)
{
    return (double *)((char *)&sim->faults + attr->tag);
}

static int get_fault(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    struct sim *sim = sim_of(dev);

    pthread_mutex_lock(&sim->lock);
    out->f = *fault_field(sim, attr);
    pthread_mutex_unlock(&sim->lock);
    return 0;
}

static int set_fault(struct hal_device *dev, const struct hal_attribute *attr,
                     const struct hal_value *value)
{
    struct sim *sim = sim_of(dev);

    pthread_mutex_lock(&sim->lock);
    *fault_field(sim, attr) = value->f;
    pthread_mutex_unlock(&sim->lock);
    hal_device_wake(dev, POLLIN); /* whoever waits works out anew how long */
    return 0;
}

static int get_fail_with(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (errors[i].number == sim_of(dev)->faults.fail_with)
            strcpy(out->s, errors[i].name);
    return 0;
}

static int set_fail_with(struct hal_device *dev, const struct hal_attribute *attr,
                         const struct hal_value *value)
{
    (void)attr;
    for (size_t i = 0; i < sizeof(errors) / sizeof(errors[0]); i++)
        if (!strcmp(errors[i].name, value->s))
            sim_of(dev)->faults.fail_with = errors[i].number;
    return 0;
}

enum number { SEED_OF, UNPLUG_OPS, OPS, SIZE };

static int get_number(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    struct sim *sim = sim_of(dev);

    pthread_mutex_lock(&sim->lock);
    out->i = attr->tag == UNPLUG_OPS ? sim->faults.unplug_after_ops
             : attr->tag == OPS      ? sim->ops
                                     : (int64_t)sim->size;
    pthread_mutex_unlock(&sim->lock);
    return 0;
}

static int set_number(struct hal_device *dev, const struct hal_attribute *attr,
                      const struct hal_value *value)
{
    struct sim *sim = sim_of(dev);

    pthread_mutex_lock(&sim->lock);
    if (attr->tag == SEED_OF)
        chance_seed(&sim->chance, value->i);
    else
        sim->faults.unplug_after_ops = value->i;
    pthread_mutex_unlock(&sim->lock);
    return 0;
}

static int get_unplugged(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    struct sim *sim = sim_of(dev);

    (void)attr;
    pthread_mutex_lock(&sim->lock);
    out->b = sim->unplugged;
    pthread_mutex_unlock(&sim->lock);
    return 0;
}

static int set_unplugged(struct hal_device *dev, const struct hal_attribute *attr,
                         const struct hal_value *value)
{
    struct sim *sim = sim_of(dev);

    (void)attr;
    pthread_mutex_lock(&sim->lock);
    sim->unplugged = value->b;
    pthread_mutex_unlock(&sim->lock);
    hal_device_wake(dev, POLLIN);
    hal_device_wake(dev, POLLOUT);
    return 0;
}

#define EVERY (HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN)

#define SECONDS(field, text)                                                                       \
    {                                                                                              \
        .name = #field, .unit = "s", .doc = text, .type = HAL_TYPE_FLOAT, .access = EVERY,         \
        .min = 0, .max = 3600, .initial = "0", .get = get_fault, .set = set_fault,                 \
        .tag = offsetof(struct faults, field)                                                      \
    }
#define CHANCE(label, field, text)                                                                 \
    {                                                                                              \
        .name = label, .doc = text, .type = HAL_TYPE_FLOAT, .access = EVERY, .min = 0, .max = 1,   \
        .initial = "0", .get = get_fault, .set = set_fault, .tag = offsetof(struct faults, field)  \
    }

static const struct hal_attribute attributes[] = {
    {.name = "seed",
     .doc = "Where chance starts: the same seed and calls give the same faults.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_WRITE | HAL_ATTR_OPEN,
     .initial = "0",
     .set = set_number,
     .tag = SEED_OF},
    SECONDS(latency, "Every operation takes this long."),
    SECONDS(jitter, "And up to this much longer, evenly spread."),
    CHANCE("drop", drop, "Probability that a byte on its way is lost."),
    CHANCE("corrupt", corrupt, "Probability that a byte on its way has one bit changed."),
    CHANCE("short", shorten, "Probability that an operation does only a part."),
    CHANCE("error", fail, "Probability that an operation fails with error_code."),
    {.name = "error_code",
     .doc = "What operations that fail by `error` return.",
     .type = HAL_TYPE_CHOICE,
     .access = EVERY,
     .choices = error_names,
     .initial = "EIO",
     .get = get_fail_with,
     .set = set_fail_with},
    {.name = "unplug_after_ops",
     .doc = "The device is gone after so many operations; 0: never.",
     .type = HAL_TYPE_INT,
     .access = EVERY,
     .min = 0,
     .max = 1e15,
     .initial = "0",
     .get = get_number,
     .set = set_number,
     .tag = UNPLUG_OPS},
    SECONDS(unplug_after, "The device is gone so long after it was opened; 0: never."),
    {.name = "unplugged",
     .doc = "Whether it is gone; set it to unplug the device now, or to put it back.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_READ | HAL_ATTR_WRITE,
     .get = get_unplugged,
     .set = set_unplugged},
    {.name = "ops",
     .doc = "Operations done since it was opened.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_number,
     .tag = OPS},
    {.name = "size",
     .unit = "B",
     .doc = "uart: bytes in flight; gpio: lines; memory: bytes. i2c has 256.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ | HAL_ATTR_OPEN,
     .min = 1,
     .max = 1 << 30,
     .initial = "4096",
     .get = get_number,
     .tag = SIZE},
};

/* ---- opening ----------------------------------------------------------------------------------
 */

static int check_class(struct hal_device *dev, const struct model **out)
{
    *out = model_find(hal_device_address(dev));
    if (*out)
        return 0;
    return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev),
                          "no class \"%s\" is simulated; there are: %s", hal_device_address(dev),
                          model_names());
}

static int sim_init(struct hal_device *dev)
{
    struct hal_value seed, size;
    struct sim *sim;
    int err;

    sim = calloc(1, sizeof(*sim));
    if (!sim)
        return -ENOMEM;
    err = check_class(dev, &sim->model);
    if (err)
        goto free_sim;
    hal_device_option(dev, "seed", &seed);
    hal_device_option(dev, "size", &size);
    sim->size = sim->model->transfer ? 256 : (size_t)size.i;
    sim->memory = calloc(1, sim->size);
    if (!sim->memory) {
        err = -ENOMEM;
        goto free_sim;
    }
    chance_seed(&sim->chance, seed.i);
    pthread_mutex_init(&sim->lock, NULL);
    sim->faults.fail_with = EIO;
    sim->opened = hal_now();
    hal_device_set_state(dev, sim);
    return 0;

free_sim:
    free(sim);
    return err;
}

static void sim_fini(struct hal_device *dev)
{
    struct sim *sim = sim_of(dev);

    pthread_mutex_destroy(&sim->lock);
    free(sim->memory);
    free(sim);
}

static const struct driver_ops sim_ops = {
    .init = sim_init,
    .read = sim_read,
    .write = sim_write,
    .fini = sim_fini,
    .transfer = sim_transfer,
    .poll = sim_poll,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Simulated devices with faults on demand",
    .address = "uart | i2c | spi | gpio | memory",
    .load = sim_load,
    .store = sim_store,
    .read_at = sim_read_at,
    .write_at = sim_write_at,
};

HAL_PLUGIN("sim", &sim_ops, "0.1.0");
