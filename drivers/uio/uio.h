/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the uio driver share. */
#ifndef UIO_H
#define UIO_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>

#include <hal/driver.h>

/* How the interrupt is let through again after it came. */
enum rearm {
    REARM_NONE,  /* the kernel's driver does it */
    REARM_WRITE, /* a word written to /dev/uioN (the kernel's irqcontrol) */
    REARM_PCI    /* the Interrupt Disable bit in the command register of PCI configuration space */
};

struct uio {
    char name[16];   /* "uio0" */
    char folder[48]; /* "/sys/class/uio/uio0" */
    enum rearm rearm;
    bool no_interrupt;
    int config;                   /* descriptor of PCI configuration space; -1: not needed */
    atomic_bool armed;            /* let through since the last interrupt was read */
    pthread_mutex_t opening;      /* of the registers */
    _Atomic hal_handle registers; /* an mmio device; 0: not opened yet */
    char registers_uri[128];      /* "": there are none */
};

static inline struct uio *uio_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* rearm.c */
int rearm_init(struct hal_device *dev, struct uio *uio);
void rearm_fini(struct uio *uio);
int rearm_set(struct hal_device *dev, bool on);
const char *rearm_name(enum rearm rearm);

/* registers.c */
int registers_init(struct hal_device *dev, struct uio *uio);
void registers_fini(struct uio *uio);
int uio_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value);
int uio_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value);
ssize_t uio_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                    hal_deadline until);
ssize_t uio_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                     hal_deadline until);
int uio_map(struct hal_device *dev, struct hal_mapping *mapping);

#endif
