/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the vfio driver share.
 *
 *     handle (struct vfio)   one open device: a region, perhaps an interrupt
 *     function               a PCI function; its handles in this process share it
 *     space                  what its IOMMU group sees of memory; its functions share it
 *
 * The kernel gives a group to one process, and that once: so the handles of a process share. */
#ifndef HAL_DRIVER_VFIO_H
#define HAL_DRIVER_VFIO_H

#include <linux/vfio.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>
#include <hal/vfio.h>

#define ADDRESS_MAX 24     /* "0000:00:04.0" */
#define FOLDER_MAX 64      /* "/sys/bus/pci/devices/0000:00:04.0" */
#define NODE_MAX 48        /* "/dev/vfio/devices/vfio0" */
#define VECTORS_MAX 2048   /* of MSI-X: PCI 3.0, 6.8.2 */
#define AREAS_MAX 8        /* of a region, that can be mapped */
#define IOVA_RANGES_MAX 32 /* of an IOMMU */

enum backend {
    BACKEND_AUTO,
    BACKEND_GROUP,  /* /dev/vfio/vfio and /dev/vfio/GROUP */
    BACKEND_IOMMUFD /* /dev/iommu and /dev/vfio/devices/vfioN */
};

/* What the address names, as sysfs knows it. */
struct place {
    char address[ADDRESS_MAX];
    char folder[FOLDER_MAX];
    unsigned region; /* index in VFIO's numbering */
    int group;
    bool noiommu;        /* the group is made up: nothing stands between device and memory */
    char node[NODE_MAX]; /* of the function itself; "": the kernel has none */
};

struct range {
    uint64_t first, last;
};

struct space {
    struct space *next;
    unsigned references;
    enum backend backend;
    int group;
    bool noiommu;
    int container; /* or /dev/iommu */
    int group_fd;  /* -1 with /dev/iommu */
    uint32_t ioas; /* the address space's number in /dev/iommu */

    pthread_mutex_t lock; /* of what follows */
    struct mapping *mappings;
    struct range ranges[IOVA_RANGES_MAX];
    unsigned range_count;
    uint64_t page;   /* the IOMMU's smallest, or the processor's if that is larger */
    uint64_t locked; /* bytes that are mapped */
};

struct function {
    struct function *next;
    unsigned references;
    char address[ADDRESS_MAX];
    int fd;
    struct space *space;
    bool can_reset;
    uint64_t config; /* where configuration space begins in fd */
    int gone;        /* eventfd: the kernel wants the device back; -1: not asked for */

    int irq;            /* index of the kind that is on; -1 */
    unsigned irq_count; /* vectors that are on */
    unsigned irq_users; /* handles that have one */
    uint64_t irq_taken[VECTORS_MAX / 64];
};

/* A part of a region that can be mapped, and is. */
struct area {
    uint64_t offset, size;
    volatile uint8_t *base;
};

struct region {
    unsigned index;
    uint32_t flags; /* VFIO_REGION_INFO_FLAG_... */
    uint64_t size;
    uint64_t start; /* in the function's descriptor */
    struct area areas[AREAS_MAX];
    unsigned area_count;
    bool swap; /* the device's byte order is not ours */
    bool prefetchable;
    char what[80];
};

struct interrupt {
    int index; /* -1: opened without */
    unsigned vector;
    int event; /* eventfd that the kernel adds interrupts to */
    bool automasked;
    atomic_bool armed;
    _Atomic uint64_t count; /* those that were read */
};

/* An open device. */
struct vfio {
    struct vfio *next;
    struct function *function;
    struct region region;
    struct interrupt interrupt;
    unsigned dma_bits;
    _Atomic uint64_t dma_bytes;
};

static inline struct vfio *vfio_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* place.c: the address, what sysfs says of it, and why it cannot be had */
int place_find(struct hal_device *dev, bool noiommu, struct place *out);
bool place_has_mates(const struct place *place);
int place_explain_mates(struct hal_device *dev, const struct place *place, int err);

/* function.c: what the handles of a process share */
int function_get(struct hal_device *dev, const struct place *place, enum backend backend,
                 struct vfio *handle);
void function_put(struct vfio *handle);
int function_command(struct hal_device *dev, const struct function *function, uint16_t bits,
                     bool on);
int function_command_get(struct hal_device *dev, const struct function *function, uint16_t *out);
int function_reset(struct hal_device *dev);
void function_lock(void);
void function_unlock(void);

/* space.c: containers and groups, /dev/iommu */
int space_get(struct hal_device *dev, const struct place *place, enum backend backend,
              struct space **out);
void space_put(struct space *space);
void space_forget_all(void);
int space_open_function(struct hal_device *dev, const struct place *place, struct space *space);
int space_read_ranges(struct hal_device *dev, struct space *space);
int space_map(struct space *space, uint64_t address, uint64_t iova, uint64_t size, uint32_t flags);
int space_unmap(struct space *space, uint64_t iova, uint64_t size);
const char *backend_name(enum backend backend);

/* dma.c: memory that devices reach */
long dma_map(struct hal_device *dev, struct hal_vfio_dma *dma);
long dma_unmap(struct hal_device *dev, uint64_t iova);
void dma_unmap_all(struct vfio *handle);
void dma_forget(struct space *space);

/* region.c: registers and blocks */
int region_init(struct hal_device *dev, struct vfio *vfio, const struct place *place);
void region_fini(struct region *region);
int vfio_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value);
int vfio_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value);
ssize_t vfio_read_at(struct hal_device *dev, void *buf, size_t len, uint64_t offset,
                     hal_deadline until);
ssize_t vfio_write_at(struct hal_device *dev, const void *buf, size_t len, uint64_t offset,
                      hal_deadline until);
int vfio_map(struct hal_device *dev, struct hal_mapping *mapping);

/* interrupt.c */
int interrupt_init(struct hal_device *dev, struct vfio *vfio);
void interrupt_fini(struct vfio *vfio);
ssize_t vfio_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until);
ssize_t vfio_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until);
long interrupt_trigger(struct hal_device *dev);
const char *interrupt_name(const struct interrupt *interrupt);

#endif
