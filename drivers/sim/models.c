/* SPDX-License-Identifier: Apache-2.0 */
/* The classes of devices that are simulated, when all goes well. */
#include <errno.h>
#include <string.h>

#include "sim.h"

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* ---- uart: what is written can be read back, in order, up to `size` bytes ------------------- */

static ssize_t uart_read(struct sim *sim, void *buf, size_t len)
{
    size_t n = least(len, sim->count);
    uint8_t *out = buf;

    if (!n)
        return -EAGAIN;
    for (size_t i = 0; i < n; i++)
        out[i] = sim->memory[(sim->head + i) % sim->size];
    sim->head = (sim->head + n) % sim->size;
    sim->count -= n;
    return (ssize_t)n;
}

static ssize_t uart_write(struct sim *sim, const void *buf, size_t len)
{
    size_t n = least(len, sim->size - sim->count);
    const uint8_t *in = buf;

    if (!n)
        return -EAGAIN;
    for (size_t i = 0; i < n; i++)
        sim->memory[(sim->head + sim->count + i) % sim->size] = in[i];
    sim->count += n;
    return (ssize_t)n;
}

/* ---- i2c: 256 registers; the first byte written is the register, as in an EEPROM ------------- */

static ssize_t i2c_read(struct sim *sim, void *buf, size_t len)
{
    uint8_t *out = buf;

    for (size_t i = 0; i < len; i++)
        out[i] = sim->memory[sim->pointer++];
    return (ssize_t)len;
}

static ssize_t i2c_write(struct sim *sim, const void *buf, size_t len)
{
    const uint8_t *in = buf;

    sim->pointer = in[0];
    for (size_t i = 1; i < len; i++)
        sim->memory[sim->pointer++] = in[i];
    return (ssize_t)len;
}

static ssize_t i2c_transfer(struct sim *sim, const struct hal_segment *segments, size_t count)
{
    ssize_t total = 0;

    for (size_t i = 0; i < count; i++) {
        const struct hal_segment *segment = &segments[i];
        if (!segment->tx == !segment->rx || !segment->len)
            return -EINVAL;
        total += segment->rx ? i2c_read(sim, segment->rx, segment->len)
                             : i2c_write(sim, segment->tx, segment->len);
    }
    return total;
}

/* ---- spi: a wire from output to input ---------------------------------------------------------
 */

static ssize_t spi_read(struct sim *sim, void *buf, size_t len)
{
    (void)sim;
    memset(buf, 0, len);
    return (ssize_t)len;
}

static ssize_t spi_write(struct sim *sim, const void *buf, size_t len)
{
    (void)sim;
    (void)buf;
    return (ssize_t)len;
}

static ssize_t spi_transfer(struct sim *sim, const struct hal_segment *segments, size_t count)
{
    ssize_t total = 0;

    (void)sim;
    for (size_t i = 0; i < count; i++) {
        if (segments[i].rx && segments[i].tx)
            memmove(segments[i].rx, segments[i].tx, segments[i].len);
        else if (segments[i].rx)
            memset(segments[i].rx, 0, segments[i].len);
        total += (ssize_t)segments[i].len;
    }
    return total;
}

/* ---- gpio: `size` lines, one byte each; what is driven is read --------------------------------
 */

static ssize_t gpio_read(struct sim *sim, void *buf, size_t len)
{
    size_t n = least(len, sim->size);

    memcpy(buf, sim->memory, n);
    return (ssize_t)n;
}

static ssize_t gpio_write(struct sim *sim, const void *buf, size_t len)
{
    const uint8_t *levels = buf;

    if (len > sim->size)
        return -EINVAL;
    for (size_t i = 0; i < len; i++) {
        if (levels[i] > 1)
            return -EINVAL;
        sim->memory[i] = levels[i];
    }
    return (ssize_t)len;
}

/* ---- memory: `size` bytes, read and written from the start, or at offsets ----------------------
 */

static ssize_t memory_read(struct sim *sim, void *buf, size_t len)
{
    size_t n = least(len, sim->size);

    memcpy(buf, sim->memory, n);
    return (ssize_t)n;
}

static ssize_t memory_write(struct sim *sim, const void *buf, size_t len)
{
    size_t n = least(len, sim->size);

    memcpy(sim->memory, buf, n);
    return (ssize_t)n;
}

static const struct model models[] = {
    {.name = "uart", .read = uart_read, .write = uart_write},
    {.name = "i2c", .read = i2c_read, .write = i2c_write, .transfer = i2c_transfer},
    {.name = "spi", .read = spi_read, .write = spi_write, .transfer = spi_transfer},
    {.name = "gpio", .read = gpio_read, .write = gpio_write},
    {.name = "memory", .read = memory_read, .write = memory_write, .addressed = true},
};

const struct model *model_find(const char *name)
{
    for (size_t i = 0; i < sizeof(models) / sizeof(models[0]); i++)
        if (!strcmp(models[i].name, name))
            return &models[i];
    return NULL;
}

const char *model_names(void)
{
    return "uart, i2c, spi, gpio, memory";
}
