/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the simulator share. */
#ifndef SIM_H
#define SIM_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>

/* ---- faults.c ---- */

/* What shall go wrong, as the options say. */
struct faults {
    double latency, jitter;              /* seconds */
    double drop, corrupt, shorten, fail; /* probabilities, 0 .. 1 */
    int fail_with;                       /* errno */
    int64_t unplug_after_ops;            /* 0: never */
    double unplug_after;                 /* seconds since opening, 0: never */
};

/* One stream of chance a lane, so that threads do not change each other's luck. */
struct chance {
    uint64_t state[3];
};

void chance_seed(struct chance *chance, int64_t seed);
/* True with the given probability. */
bool chance_hits(struct chance *chance, enum hal_lane lane, double probability);
/* 0 .. bound - 1 */
uint64_t chance_below(struct chance *chance, enum hal_lane lane, uint64_t bound);

/* ---- models.c ---- */

struct sim;

/* How a class of device behaves when nothing goes wrong. Called with sim->lock held; never waits.
 * NULL: the class has no such function. */
struct model {
    const char *name;
    ssize_t (*read)(struct sim *sim, void *buf, size_t len);
    ssize_t (*write)(struct sim *sim, const void *buf, size_t len);
    ssize_t (*transfer)(struct sim *sim, const struct hal_segment *segments, size_t count);
    bool addressed; /* registers and blocks at offsets, by way of sim->memory */
};

const struct model *model_find(const char *name);
/* The names of all models, for a message. */
const char *model_names(void);

struct sim {
    const struct model *model;
    struct faults faults;
    struct chance chance;
    pthread_mutex_t lock; /* over all below */
    uint8_t *memory;      /* bytes in flight, registers, lines: what the model makes of it */
    size_t size;          /* of memory */
    size_t head, count;   /* uart: the queue within memory */
    uint8_t pointer;      /* i2c: the register that is read next */
    int64_t ops;          /* operations done */
    int64_t opened;       /* hal_now() */
    bool unplugged;
};

#endif
