/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vfio: registers, interrupts and DMA of a PCI function that vfio-pci hands to user space.
 *
 *     vfio:0000:00:04.0/0                   BAR 0
 *     vfio:0000:00:04.0/0?irq=msi           with its interrupt
 *     vfio:0000:00:04.0/2?irq=msix&vector=3&vectors=8
 *     vfio:0000:00:04.0/config              configuration space
 *
 * The IOMMU lets the device reach what was mapped for it (hal/vfio.h) and nothing else.
 * Sources: Documentation/driver-api/vfio.rst, Documentation/userspace-api/iommufd.rst.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vfio.h"

#define PCI_COMMAND_MASTER 0x0004

/* ---- requests ----------------------------------------------------------------------------------
 */

static long dma_request(struct hal_device *dev, uint32_t request, void *arg, size_t size)
{
    struct hal_vfio_dma dma;
    long result;

    if (size != sizeof(dma))
        return hal_fail_plain(-EINVAL, "control", hal_device_uri(dev),
                              "the argument is a struct hal_vfio_dma of %zu bytes, not %zu",
                              sizeof(dma), size);
    memcpy(&dma, arg, sizeof(dma));
    if (request == HAL_VFIO_DMA_UNMAP)
        return dma_unmap(dev, dma.iova);
    result = dma_map(dev, &dma);
    if (!result)
        memcpy(arg, &dma, sizeof(dma));
    return result;
}

static long vfio_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                         hal_deadline until)
{
    (void)until;
    switch (request) {
    case HAL_VFIO_DMA_MAP:
    case HAL_VFIO_DMA_UNMAP:
        return dma_request(dev, request, arg, size);
    case HAL_VFIO_TRIGGER:
        return interrupt_trigger(dev);
    case HAL_VFIO_RESET:
        return function_reset(dev);
    default:
        return -ENOTTY;
    }
}

/* ---- attributes --------------------------------------------------------------------------------
 */

static int get_size(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)vfio_of(dev)->region.size;
    return 0;
}

static int get_what(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    strcpy(out->s, vfio_of(dev)->region.what);
    return 0;
}

static int get_prefetchable(struct hal_device *dev, const struct hal_attribute *attr,
                            struct hal_value *out)
{
    (void)attr;
    out->b = vfio_of(dev)->region.prefetchable;
    return 0;
}

static int get_irq(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out)
{
    (void)attr;
    strcpy(out->s, interrupt_name(&vfio_of(dev)->interrupt));
    return 0;
}

static int get_count(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)atomic_load(&vfio_of(dev)->interrupt.count);
    return 0;
}

static int get_backend(struct hal_device *dev, const struct hal_attribute *attr,
                       struct hal_value *out)
{
    (void)attr;
    strcpy(out->s, backend_name(vfio_of(dev)->function->space->backend));
    return 0;
}

static int get_group(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    (void)attr;
    out->i = vfio_of(dev)->function->space->group;
    return 0;
}

static int get_bus_master(struct hal_device *dev, const struct hal_attribute *attr,
                          struct hal_value *out)
{
    uint16_t command = 0;
    int err = function_command_get(dev, vfio_of(dev)->function, &command);

    (void)attr;
    out->b = command & PCI_COMMAND_MASTER;
    return err;
}

static int set_bus_master(struct hal_device *dev, const struct hal_attribute *attr,
                          const struct hal_value *value)
{
    (void)attr;
    return function_command(dev, vfio_of(dev)->function, PCI_COMMAND_MASTER, value->b);
}

static int get_dma_bytes(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)atomic_load(&vfio_of(dev)->dma_bytes);
    return 0;
}

static int get_iova_ranges(struct hal_device *dev, const struct hal_attribute *attr,
                           struct hal_value *out)
{
    struct space *space = vfio_of(dev)->function->space;
    size_t length = 0;

    (void)attr;
    out->s[0] = '\0';
    pthread_mutex_lock(&space->lock);
    for (unsigned i = 0; i < space->range_count && length < sizeof(out->s) - 48; i++)
        length +=
            (size_t)snprintf(out->s + length, sizeof(out->s) - length, "%s0x%" PRIx64 "-0x%" PRIx64,
                             i ? " " : "", space->ranges[i].first, space->ranges[i].last);
    pthread_mutex_unlock(&space->lock);
    return 0;
}

static int get_can_reset(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    out->b = vfio_of(dev)->function->can_reset;
    return 0;
}

static const char *const byte_orders[] = {"native", "little", "big", NULL};
static const char *const irqs[] = {"none", "auto", "intx", "msi", "msix", NULL};
static const char *const backends[] = {"auto", "group", "iommufd", NULL};

static const struct hal_attribute attributes[] = {
    {.name = "irq",
     .doc = "The interrupt that reads wait for; reading tells what \"auto\" chose.",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_OPEN | HAL_ATTR_READ,
     .choices = irqs,
     .initial = "none",
     .get = get_irq},
    {.name = "vector",
     .doc = "Which of the interrupt's vectors.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .max = VECTORS_MAX - 1,
     .initial = "0"},
    {.name = "vectors",
     .doc = "How many vectors to turn on, for later handles too; not given: vector + 1.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .min = 1,
     .max = VECTORS_MAX},
    {.name = "backend",
     .doc = "The kernel's interface; reading tells what \"auto\" chose.",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_OPEN | HAL_ATTR_READ,
     .choices = backends,
     .initial = "auto",
     .get = get_backend},
    {.name = "byte_order",
     .doc = "Of the registers; load and store swap where it is not the machine's.",
     .type = HAL_TYPE_CHOICE,
     .access = HAL_ATTR_OPEN,
     .choices = byte_orders,
     .initial = "native"},
    {.name = "dma_bits",
     .doc = "Address bits that the device drives: IOVAs are chosen below 2 to this.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_OPEN,
     .min = 17,
     .max = 64,
     .initial = "64"},
    {.name = "noiommu",
     .doc = "Open although nothing stands between the device and all of memory.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_OPEN,
     .initial = "false"},
    {.name = "bus_master",
     .doc = "Whether the device may begin transfers; mapping for DMA sets it.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_READ | HAL_ATTR_WRITE,
     .get = get_bus_master,
     .set = set_bus_master},
    {.name = "size",
     .unit = "B",
     .doc = "Of the region.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_size},
    {.name = "prefetchable",
     .doc = "Reads have no side effects.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_READ,
     .get = get_prefetchable},
    {.name = "what",
     .doc = "Where the registers are.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_what},
    {.name = "count",
     .doc = "Interrupts that reads of this handle have seen.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_count},
    {.name = "group",
     .doc = "The IOMMU group: functions that the IOMMU cannot keep apart.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_group},
    {.name = "iova_ranges",
     .doc = "Addresses for DMA that the IOMMU translates.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_iova_ranges},
    {.name = "dma_bytes",
     .unit = "B",
     .doc = "Memory that this handle has mapped for DMA, whole pages; it is locked in RAM.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_dma_bytes},
    {.name = "can_reset",
     .doc = "Whether the function has a reset of its own.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_READ,
     .get = get_can_reset},
};

/* ---- opening -----------------------------------------------------------------------------------
 */

static enum backend asked_backend(const struct hal_device *dev)
{
    struct hal_value value;

    hal_device_option(dev, "backend", &value);
    for (enum backend i = BACKEND_GROUP; i <= BACKEND_IOMMUFD; i++)
        if (!strcmp(value.s, backend_name(i)))
            return i;
    return BACKEND_AUTO;
}

static int set_up(struct hal_device *dev, struct vfio *vfio)
{
    struct hal_value noiommu, bits;
    struct place place;
    int err;

    hal_device_option(dev, "noiommu", &noiommu);
    hal_device_option(dev, "dma_bits", &bits);
    vfio->dma_bits = (unsigned)bits.i;
    vfio->interrupt.index = vfio->interrupt.event = -1;
    err = place_find(dev, noiommu.b, &place);
    if (!err)
        err = function_get(dev, &place, asked_backend(dev), vfio);
    if (err)
        return err;
    err = region_init(dev, vfio, &place);
    if (err)
        goto err_put;
    err = interrupt_init(dev, vfio);
    if (err)
        goto err_region;
    return 0;
err_region:
    region_fini(&vfio->region);
err_put:
    function_put(vfio);
    return err;
}

static int vfio_init(struct hal_device *dev)
{
    struct vfio *vfio = calloc(1, sizeof(*vfio));
    int err;

    if (!vfio)
        return -ENOMEM;
    hal_device_set_state(dev, vfio);
    err = set_up(dev, vfio);
    if (err)
        free(vfio);
    return err;
}

static void vfio_fini(struct hal_device *dev)
{
    struct vfio *vfio = vfio_of(dev);

    interrupt_fini(vfio);
    dma_unmap_all(vfio);
    region_fini(&vfio->region);
    function_put(vfio);
    free(vfio);
}

static const struct hal_match matches[] = {
    {"subsystem:pci driver:vfio-pci", "{name}/{bar}", "the first memory BAR of a PCI function"},
};

static const struct driver_ops vfio_ops = {
    .init = vfio_init,
    .read = vfio_read,
    .write = vfio_write,
    .fini = vfio_fini,
    .control = vfio_control,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "PCI functions handed to user space: registers, interrupts, DMA by an IOMMU",
    .address = "PCI/BAR | PCI/config | PCI/rom",
    .load = vfio_load,
    .store = vfio_store,
    .read_at = vfio_read_at,
    .write_at = vfio_write_at,
    .map = vfio_map,
    .matches = matches,
    .match_count = sizeof(matches) / sizeof(matches[0]),
};

HAL_PLUGIN("vfio", &vfio_ops, "0.1.0");
