/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verilated: a design in Verilog, simulated: its registers and its interrupt, as a board has them.
 *
 *     verilated:gemm                       one of those that came with the library
 *     verilated:/home/me/uart16550.so      any other, see model.h
 *
 * Registers are 32 bits wide, behind AXI4-Lite. A read waits for an interrupt and gives the count
 * of them, a 32-bit integer, as uio does. The clock runs for a while after every access, in a
 * thread of its own, and then stands still, so a design at rest takes no time.
 */
#include <dlfcn.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <hal/driver.h>
#include <hal/registry.h>

#include "model.h"

#define WORD 4
#define BATCH 64 /* clocks between two looks at who waits */

struct verilated {
    void *library;
    const struct verilated_model *model;
    void *instance;
    pthread_mutex_t lock; /* of the instance, and what is below */
    pthread_cond_t accessed;
    pthread_t clock;
    uint32_t run; /* clocks that go by after an access */
    uint32_t left;
    int32_t interrupts;
    bool level;
    bool ends;
    atomic_int callers; /* who wants the lock: the clock lets them */
    int event;          /* rings when the interrupt rises */
    bool wired;         /* the library owns the event */
};

static struct verilated *verilated_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* ---- the clock ------------------------------------------------------------------------------- */

/* With the lock held. */
static void look_at_interrupt(struct verilated *sim)
{
    bool level = sim->model->interrupt(sim->instance);
    const uint64_t one = 1;

    if (level && !sim->level) {
        sim->interrupts++;
        if (write(sim->event, &one, sizeof(one)) < 0)
            return; /* it has rung 2^64 times unheard */
    }
    sim->level = level;
}

static void *run_clock(void *arg)
{
    struct verilated *sim = arg;

    pthread_mutex_lock(&sim->lock);
    while (!sim->ends) {
        if (!sim->left) {
            pthread_cond_wait(&sim->accessed, &sim->lock);
        } else if (atomic_load(&sim->callers)) {
            pthread_mutex_unlock(&sim->lock);
            sched_yield();
            pthread_mutex_lock(&sim->lock);
        } else {
            uint32_t cycles = sim->left < BATCH ? sim->left : BATCH;

            sim->model->clock(sim->instance, cycles);
            sim->left -= cycles;
            look_at_interrupt(sim);
        }
    }
    pthread_mutex_unlock(&sim->lock);
    return NULL;
}

static void begin_access(struct verilated *sim)
{
    atomic_fetch_add(&sim->callers, 1);
    pthread_mutex_lock(&sim->lock);
    atomic_fetch_sub(&sim->callers, 1);
}

static void end_access(struct verilated *sim)
{
    look_at_interrupt(sim);
    sim->left = sim->run;
    pthread_cond_signal(&sim->accessed);
    pthread_mutex_unlock(&sim->lock);
}

/* ---- registers and blocks -------------------------------------------------------------------- */

static int check(struct hal_device *dev, const char *operation, uint64_t offset, size_t len)
{
    const struct verilated_model *model = verilated_of(dev)->model;

    if (offset % WORD || len % WORD)
        return hal_fail_plain(-EINVAL, operation, hal_device_uri(dev),
                              "0x%" PRIx64 " + %zu: its registers have 4 bytes", offset, len);
    if (offset > model->size || len > model->size - offset)
        return hal_fail_plain(-ERANGE, operation, hal_device_uri(dev),
                              "offset 0x%" PRIx64 " + %zu is beyond the 0x%" PRIx32 " bytes of %s",
                              offset, len, model->size, model->design);
    return 0;
}

static int explain(struct hal_device *dev, const char *operation, uint64_t offset,
                   enum verilated_answer answer)
{
    static const char *const names[] = {"OKAY", "EXOKAY", "SLVERR", "DECERR", "nothing"};

    if (answer == VERILATED_OKAY)
        return 0;
    return hal_fail_plain(-EIO, operation, hal_device_uri(dev), "0x%" PRIx64 ": %s answered %s",
                          offset, verilated_of(dev)->model->design, names[answer]);
}

static int read_words(struct hal_device *dev, uint8_t *bytes, size_t len, uint64_t offset)
{
    struct verilated *sim = verilated_of(dev);
    enum verilated_answer answer = VERILATED_OKAY;
    size_t at = 0;

    begin_access(sim);
    for (; at < len && answer == VERILATED_OKAY; at += WORD) {
        uint32_t word = 0;

        answer = sim->model->read(sim->instance, (uint32_t)(offset + at), &word);
        memcpy(bytes + at, &word, WORD);
    }
    end_access(sim);
    return explain(dev, "read", offset + at - WORD, answer);
}

static int write_words(struct hal_device *dev, const uint8_t *bytes, size_t len, uint64_t offset)
{
    struct verilated *sim = verilated_of(dev);
    enum verilated_answer answer = VERILATED_OKAY;
    size_t at = 0;

    begin_access(sim);
    for (; at < len && answer == VERILATED_OKAY; at += WORD) {
        uint32_t word;

        memcpy(&word, bytes + at, WORD);
        answer = sim->model->write(sim->instance, (uint32_t)(offset + at), word);
    }
    end_access(sim);
    return explain(dev, "write", offset + at - WORD, answer);
}

static int verilated_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    uint32_t word;
    int err = check(dev, "load", offset, width);

    if (!err && width != WORD)
        err = hal_fail_plain(-EINVAL, "load", hal_device_uri(dev), "its registers have 4 bytes");
    if (!err)
        err = read_words(dev, (uint8_t *)&word, WORD, offset);
    if (!err)
        *value = word;
    return err;
}

static int verilated_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    uint32_t word = (uint32_t)value;
    int err = check(dev, "store", offset, width);

    if (!err && width != WORD)
        err = hal_fail_plain(-EINVAL, "store", hal_device_uri(dev), "its registers have 4 bytes");
    return err ? err : write_words(dev, (const uint8_t *)&word, WORD, offset);
}

static ssize_t verilated_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                                 hal_deadline until)
{
    int err = check(dev, "read", offset, len);

    (void)until;
    if (!err)
        err = read_words(dev, buf, len, offset);
    return err ? err : (ssize_t)len;
}

static ssize_t verilated_write_at(struct hal_device *dev, const void *buf, size_t len,
                                  uint64_t offset, hal_deadline until)
{
    int err = check(dev, "write", offset, len);

    (void)until;
    if (!err)
        err = write_words(dev, buf, len, offset);
    return err ? err : (ssize_t)len;
}

/* ---- interrupts ------------------------------------------------------------------------------ */

static ssize_t verilated_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct verilated *sim = verilated_of(dev);
    uint64_t rung;

    (void)until;
    if (len < sizeof(sim->interrupts))
        return hal_fail(-EINVAL, "read", hal_device_uri(dev),
                        "the count of interrupts has 4 bytes; room for %zu was given", len);
    if (!sim->wired)
        return hal_fail(-EOPNOTSUPP, "read", hal_device_uri(dev), "opened with irq=false");
    if (read(sim->event, &rung, sizeof(rung)) < 0)
        return -errno;
    begin_access(sim);
    memcpy(buf, &sim->interrupts, sizeof(sim->interrupts));
    pthread_mutex_unlock(&sim->lock);
    return sizeof(sim->interrupts);
}

static ssize_t verilated_write(struct hal_device *dev, const void *buf, size_t len,
                               hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "write", hal_device_uri(dev),
                    "registers have offsets: use hal_store() or hal_write_at()");
}

/* ---- attributes ------------------------------------------------------------------------------ */

static int get_cycles(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    struct verilated *sim = verilated_of(dev);

    (void)attr;
    begin_access(sim);
    out->i = (int64_t)sim->model->cycles(sim->instance);
    pthread_mutex_unlock(&sim->lock);
    return 0;
}

static int get_design(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    (void)attr;
    snprintf(out->s, sizeof(out->s), "%s", verilated_of(dev)->model->design);
    return 0;
}

static const struct hal_attribute attributes[] = {
    {.name = "run",
     .doc = "Clocks that go by after an access.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .min = 0,
     .max = INT32_MAX,
     .initial = "4096"},
    {.name = "irq",
     .doc = "Whether its interrupt is wired; without, there is no descriptor and nothing to read.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "true"},
    {.name = "cycles",
     .doc = "Clocks since it was opened.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_cycles},
    {.name = "design",
     .doc = "Its top module.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_design},
};

/* ---- opening --------------------------------------------------------------------------------- */

/* A name stands for a file of HAL_VERILATED_PATH, else of the library's own folder. */
static void find_file(const char *address, char path[PATH_MAX])
{
    const char *set = secure_getenv("HAL_VERILATED_PATH");

    if (strchr(address, '/'))
        snprintf(path, PATH_MAX, "%s", address);
    else if (set)
        snprintf(path, PATH_MAX, "%s/%s.so", set, address);
    else
        snprintf(path, PATH_MAX, "%s/../verilated/%s.so", hal_driver_dir(), address);
}

static int load_model(struct hal_device *dev, struct verilated *sim)
{
    const char *address = hal_device_address(dev);
    char path[PATH_MAX];

    if (!*address)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "which design? verilated:gemm, or the path of a model");
    find_file(address, path);
    if (access(path, F_OK))
        return hal_fail(-errno, "open", path,
                        "no such model; those of the library are built where Verilator is");
    sim->library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (!sim->library)
        return hal_fail_plain(-ENOEXEC, "open", path, "%s", dlerror());
    sim->model = dlsym(sim->library, "verilated_model");
    if (!sim->model || sim->model->abi != VERILATED_ABI)
        return hal_fail_plain(-ENOEXEC, "open", path, "it is no model of ABI %d", VERILATED_ABI);
    return 0;
}

static void forget(struct verilated *sim)
{
    if (sim->instance)
        sim->model->destroy(sim->instance);
    if (!sim->wired && sim->event >= 0)
        close(sim->event);
    if (sim->library)
        dlclose(sim->library);
    pthread_cond_destroy(&sim->accessed);
    pthread_mutex_destroy(&sim->lock);
    free(sim);
}

static int start(struct hal_device *dev, struct verilated *sim)
{
    struct hal_value run, wired;
    int err = load_model(dev, sim);

    if (err)
        return err;
    sim->instance = sim->model->create();
    if (!sim->instance)
        return -ENOMEM;
    sim->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (sim->event < 0)
        return -errno;
    err = hal_device_option(dev, "irq", &wired);
    if (err >= 0)
        err = hal_device_option(dev, "run", &run);
    if (err < 0)
        return err;
    sim->run = (uint32_t)run.i;
    sim->wired = wired.b;
    if (sim->wired)
        hal_device_set_fd(dev, sim->event);
    return -pthread_create(&sim->clock, NULL, run_clock, sim);
}

static int verilated_init(struct hal_device *dev)
{
    struct verilated *sim = calloc(1, sizeof(*sim));
    int err;

    if (!sim)
        return -ENOMEM;
    sim->event = -1;
    pthread_mutex_init(&sim->lock, NULL);
    pthread_cond_init(&sim->accessed, NULL);
    err = start(dev, sim);
    if (err)
        forget(sim);
    else
        hal_device_set_state(dev, sim);
    return err;
}

static void verilated_fini(struct hal_device *dev)
{
    struct verilated *sim = verilated_of(dev);

    begin_access(sim);
    sim->ends = true;
    end_access(sim);
    pthread_join(sim->clock, NULL);
    forget(sim);
}

static const struct driver_ops verilated_ops = {
    .init = verilated_init,
    .read = verilated_read,
    .write = verilated_write,
    .fini = verilated_fini,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Designs in Verilog, simulated: registers and an interrupt",
    .address = "NAME or /path/model.so",
    .load = verilated_load,
    .store = verilated_store,
    .read_at = verilated_read_at,
    .write_at = verilated_write_at,
};

HAL_PLUGIN("verilated", &verilated_ops, "0.1.0");
