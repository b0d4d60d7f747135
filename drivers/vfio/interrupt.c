/* SPDX-License-Identifier: Apache-2.0 */
/* Interrupts: the kernel adds each to an eventfd. INTx, a level, is masked by the kernel when it
 * comes and let through again before the next wait; messages (MSI, MSI-X) are edges.
 * Source: include/uapi/linux/vfio.h (VFIO_DEVICE_SET_IRQS); PCI 3.0, 6.8. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "vfio.h"

#define NONE (-1)

/* By VFIO's index. */
static const char *const names[] = {"intx", "msi", "msix"};

const char *interrupt_name(const struct interrupt *interrupt)
{
    return interrupt->index == NONE ? "none" : names[interrupt->index];
}

/* ---- what the kernel is told -------------------------------------------------------------------
 */

/* `count` vectors from `start` on; `events` holds an eventfd for each, when flags say so. */
static int set_irqs(const struct function *function, int index, uint32_t flags, unsigned start,
                    unsigned count, const int32_t *events)
{
    size_t data = flags & VFIO_IRQ_SET_DATA_EVENTFD ? count * sizeof(*events) : 0;
    struct vfio_irq_set *set = calloc(1, sizeof(*set) + data);
    int result;

    if (!set)
        return -ENOMEM;
    set->argsz = (uint32_t)(sizeof(*set) + data);
    set->flags = flags;
    set->index = (uint32_t)index;
    set->start = start;
    set->count = count;
    if (data)
        memcpy(set->data, events, data);
    result = ioctl(function->fd, VFIO_DEVICE_SET_IRQS, set);
    free(set);
    return result < 0 ? -errno : result;
}

/* One vector, to an eventfd or (-1) to nowhere. */
static int assign(const struct function *function, unsigned vector, int event)
{
    int32_t events[] = {event};

    return set_irqs(function, function->irq,
                    VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, vector, 1, events);
}

/* Without allocation: waits do this. */
static int set_mask(const struct vfio *vfio, uint32_t action)
{
    struct vfio_irq_set set = {.argsz = sizeof(set),
                               .flags = VFIO_IRQ_SET_DATA_NONE | action,
                               .index = (uint32_t)vfio->interrupt.index,
                               .start = vfio->interrupt.vector,
                               .count = 1};

    return ioctl(vfio->function->fd, VFIO_DEVICE_SET_IRQS, &set) < 0 ? -errno : 0;
}

/* ---- letting it through, holding it back -------------------------------------------------------
 */

static int set_armed(struct hal_device *dev, bool on)
{
    struct vfio *vfio = vfio_of(dev);
    struct interrupt *interrupt = &vfio->interrupt;
    int err;

    if (interrupt->automasked)
        err = set_mask(vfio, on ? VFIO_IRQ_SET_ACTION_UNMASK : VFIO_IRQ_SET_ACTION_MASK);
    else
        err = assign(vfio->function, interrupt->vector, on ? interrupt->event : -1);
    if (err)
        return hal_fail(err, on ? "arm" : "disarm", hal_device_uri(dev), NULL);
    atomic_store(&interrupt->armed, on);
    return 0;
}

static int no_interrupt(struct hal_device *dev, const char *operation)
{
    return hal_fail(-EOPNOTSUPP, operation, hal_device_uri(dev),
                    "opened without interrupt: open with irq=auto (msix, msi, intx); registers "
                    "have offsets: hal_load(), hal_read_at()");
}

/* Whether the kernel wants the device back: then no interrupt will come. */
static int check_gone(struct hal_device *dev)
{
    uint64_t asked;

    if (read(vfio_of(dev)->function->gone, &asked, sizeof(asked)) < 0)
        return 0;
    asked = 1; /* for the other handles */
    if (write(vfio_of(dev)->function->gone, &asked, sizeof(asked)) < 0)
        return -errno;
    return hal_fail(-ENODEV, "read", hal_device_uri(dev),
                    "the device is being taken away (pulled out, or unbound from vfio-pci): close "
                    "it, and end its mappings; the kernel waits for that");
}

ssize_t vfio_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    struct interrupt *interrupt = &vfio_of(dev)->interrupt;
    uint64_t more;
    uint32_t count;
    int err;

    (void)until;
    if (interrupt->index == NONE)
        return no_interrupt(dev, "read");
    if (len < sizeof(count))
        return hal_fail(-EINVAL, "read", hal_device_uri(dev),
                        "the count of interrupts has 4 bytes; room for %zu was given", len);
    if (read(interrupt->event, &more, sizeof(more)) > 0) {
        if (interrupt->automasked)
            atomic_store(&interrupt->armed, false);
        count = (uint32_t)(atomic_fetch_add(&interrupt->count, more) + more);
        memcpy(buf, &count, sizeof(count));
        return sizeof(count);
    }
    if (errno != EAGAIN)
        return -errno;
    err = check_gone(dev);
    if (!err && !atomic_load(&interrupt->armed))
        err = set_armed(dev, true);
    return err ? err : -EAGAIN;
}

ssize_t vfio_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    uint32_t on;
    int err;

    (void)until;
    if (vfio_of(dev)->interrupt.index == NONE)
        return no_interrupt(dev, "write");
    if (len != sizeof(on))
        return hal_fail(-EINVAL, "write", hal_device_uri(dev),
                        "4 bytes let interrupts through (1) or hold them back (0), not %zu", len);
    memcpy(&on, buf, sizeof(on));
    err = set_armed(dev, on != 0);
    return err ? err : (ssize_t)len;
}

long interrupt_trigger(struct hal_device *dev)
{
    const struct vfio *vfio = vfio_of(dev);
    int err;

    if (vfio->interrupt.index == NONE)
        return no_interrupt(dev, "trigger");
    err = set_mask(vfio, VFIO_IRQ_SET_ACTION_TRIGGER);
    return err ? hal_fail(err, "trigger", hal_device_uri(dev), NULL) : 0;
}

/* ---- which vector ------------------------------------------------------------------------------
 */

static unsigned vectors_of(const struct function *function, int index)
{
    struct vfio_irq_info info = {.argsz = sizeof(info), .index = (uint32_t)index};

    return ioctl(function->fd, VFIO_DEVICE_GET_IRQ_INFO, &info) ? 0 : info.count;
}

static int choose_index(struct hal_device *dev, const struct function *function, int *out)
{
    struct hal_value asked;

    hal_device_option(dev, "irq", &asked);
    *out = NONE;
    if (!strcmp(asked.s, "none"))
        return 0;
    for (int i = VFIO_PCI_INTX_IRQ_INDEX; i <= VFIO_PCI_MSIX_IRQ_INDEX; i++)
        if (!strcmp(asked.s, names[i]) || (!strcmp(asked.s, "auto") && vectors_of(function, i)))
            *out = i;
    if (*out != NONE && vectors_of(function, *out))
        return 0;
    return hal_fail(-EOPNOTSUPP, "open", hal_device_uri(dev),
                    "irq=%s: it has %u of intx, %u of msi, %u of msix", asked.s,
                    vectors_of(function, VFIO_PCI_INTX_IRQ_INDEX),
                    vectors_of(function, VFIO_PCI_MSI_IRQ_INDEX),
                    vectors_of(function, VFIO_PCI_MSIX_IRQ_INDEX));
}

/* How many to turn on: the first handle says, as a running set cannot grow. */
static int choose_count(struct hal_device *dev, const struct function *function, int index,
                        unsigned vector, unsigned *out)
{
    unsigned have = vectors_of(function, index);
    struct hal_value asked;

    *out = hal_device_option(dev, "vectors", &asked) > 0 ? (unsigned)asked.i : vector + 1;
    if (*out > vector && *out <= have)
        return 0;
    return hal_fail_plain(-ERANGE, "open", hal_device_uri(dev),
                          "vector %u of %u: it has %u %s vectors, 0 .. %u", vector, *out, have,
                          names[index], have - 1);
}

static int turn_on(struct hal_device *dev, struct function *function, int index, unsigned vector,
                   int event)
{
    int32_t events[VECTORS_MAX];
    unsigned count;
    int result = choose_count(dev, function, index, vector, &count);

    if (result)
        return result;
    for (unsigned i = 0; i < count; i++)
        events[i] = i == vector ? event : -1;
    result = set_irqs(function, index, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0,
                      count, events);
    if (result > 0)
        return hal_fail(-ENOSPC, "open", hal_device_uri(dev),
                        "%u vectors: the machine has room for %d now", count, result);
    if (result)
        return hal_fail(result, "open", hal_device_uri(dev), "turn on irq=%s", names[index]);
    function->irq = index;
    function->irq_count = count;
    return 0;
}

/* One more, of a set that another handle has turned on. */
static int join(struct hal_device *dev, const struct function *function, int index, unsigned vector,
                int event)
{
    int err;

    if (function->irq != index)
        return hal_fail_plain(-EBUSY, "open", hal_device_uri(dev),
                              "this process has opened it with irq=%s; a function has one kind",
                              names[function->irq]);
    if (vector >= function->irq_count)
        return hal_fail_plain(-EBUSY, "open", hal_device_uri(dev),
                              "vector %u: the first handle turned on %u; open that with vectors=%u",
                              vector, function->irq_count, vector + 1);
    if (function->irq_taken[vector / 64] >> vector % 64 & 1)
        return hal_fail_plain(-EBUSY, "open", hal_device_uri(dev),
                              "another handle of this process has vector %u", vector);
    err = assign(function, vector, event);
    return err ? hal_fail(err, "open", hal_device_uri(dev), "vector %u", vector) : 0;
}

/* An eventfd by which the kernel asks for the device back. Kernels without this wait in silence. */
static int watch_removal(struct hal_device *dev, struct function *function)
{
    int32_t events[1];
    int err;

    if (function->gone >= 0)
        return 0;
    events[0] = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (events[0] < 0)
        return -errno;
    function->gone = events[0];
    if (!vectors_of(function, VFIO_PCI_REQ_IRQ_INDEX))
        return 0;
    err = set_irqs(function, VFIO_PCI_REQ_IRQ_INDEX,
                   VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 1, events);
    return err ? hal_fail(err, "open", hal_device_uri(dev), "watch for its removal") : 0;
}

static int claim(struct hal_device *dev, struct vfio *vfio, int index)
{
    struct function *function = vfio->function;
    struct interrupt *interrupt = &vfio->interrupt;
    int err;

    err = watch_removal(dev, function);
    if (!err)
        err = function->irq_users
                  ? join(dev, function, index, interrupt->vector, interrupt->event)
                  : turn_on(dev, function, index, interrupt->vector, interrupt->event);
    if (err)
        return err;
    function->irq_users++;
    function->irq_taken[interrupt->vector / 64] |= UINT64_C(1) << interrupt->vector % 64;
    interrupt->index = index;
    interrupt->automasked = index == VFIO_PCI_INTX_IRQ_INDEX;
    atomic_store(&interrupt->armed, true);
    return 0;
}

static void release(struct vfio *vfio)
{
    struct function *function = vfio->function;
    unsigned vector = vfio->interrupt.vector;

    function->irq_taken[vector / 64] &= ~(UINT64_C(1) << vector % 64);
    if (--function->irq_users) {
        assign(function, vector, -1);
        return;
    }
    set_irqs(function, function->irq, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, 0, 0,
             NULL);
    function->irq = NONE;
}

/* ---- what is waited on: the interrupt, or the device's removal ---------------------------------
 */

static int watch(int epoll, int fd)
{
    struct epoll_event event = {.events = EPOLLIN};

    return epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) ? -errno : 0;
}

static int open_epoll(struct hal_device *dev, const struct vfio *vfio)
{
    int epoll = epoll_create1(EPOLL_CLOEXEC), err;

    if (epoll < 0)
        return -errno;
    hal_device_set_fd(dev, epoll);
    if (fcntl(epoll, F_SETFL, O_NONBLOCK))
        return -errno;
    err = watch(epoll, vfio->interrupt.event);
    return err ? err : watch(epoll, vfio->function->gone);
}

int interrupt_init(struct hal_device *dev, struct vfio *vfio)
{
    struct interrupt *interrupt = &vfio->interrupt;
    struct hal_value vector;
    int index, err = choose_index(dev, vfio->function, &index);

    if (err || index == NONE)
        return err;
    hal_device_option(dev, "vector", &vector);
    interrupt->vector = (unsigned)vector.i;
    interrupt->event = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (interrupt->event < 0)
        return -errno;
    function_lock();
    err = claim(dev, vfio, index);
    function_unlock();
    if (!err)
        err = open_epoll(dev, vfio);
    if (err)
        interrupt_fini(vfio);
    return err;
}

void interrupt_fini(struct vfio *vfio)
{
    struct interrupt *interrupt = &vfio->interrupt;

    function_lock();
    if (interrupt->index != NONE)
        release(vfio);
    interrupt->index = NONE;
    if (interrupt->event >= 0)
        close(interrupt->event);
    interrupt->event = -1;
    function_unlock();
}
