/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gemm: products of int8 matrices on an FPGA, by the unit of gemm.v.
 *
 *     gemm:                            simulated (verilated:gemm)
 *     gemm:uio:uio0                    a board, with its interrupt
 *     gemm:mmio:0000:03:00.0/0         a board behind PCI, asked until it is done
 *
 * Options are those of the registers' device.
 *
 * A product is one transfer of three segments: A is sent, m rows of k bytes; B is sent, k rows of n
 * bytes; C is received, m rows of n 32-bit integers. m, k and n follow from the three lengths. The
 * driver cuts it into tiles, and adds up what is deeper than the unit. Sums wrap around.
 */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <hal/driver.h>

#define SIMULATED "verilated:gemm"
#define ID 0x4d4d4547u
#define SIDE 8 /* rows of a tile of A and C, columns of one of B and C */
#define DEPTH_MAX 256
#define PAUSE_NS 20000 /* between two looks at a unit without interrupt */

enum reg {
    REG_ID = 0x000,
    REG_SHAPE = 0x004,
    REG_CONTROL = 0x008,
    REG_STATUS = 0x00c,
    REG_INTERRUPT = 0x010,
    REG_DEPTH = 0x014,
    REG_CYCLES = 0x018,
    REG_A = 0x400,
    REG_B = 0x1000,
    REG_C = 0x2000
};

enum { CONTROL_START = 1, CONTROL_CLEAR = 2, STATUS_BUSY = 1, STATUS_DONE = 2 };

struct gemm {
    hal_handle registers;
    int interrupt; /* a descriptor that becomes readable; -1: there is none */
    char uri[HAL_URI_MAX + 1];
    uint32_t depth;     /* as the unit was told last; 0: not yet */
    const int8_t *kept; /* the part of B that the unit holds, of the transfer that runs; or NULL */
    _Atomic uint64_t tiles, cycles;
};

/* One product. Lengths are as in the comment above. */
struct product {
    const int8_t *a, *b;
    int32_t *c;
    size_t m, k, n;
};

static struct gemm *gemm_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* ---- the unit -------------------------------------------------------------------------------- */

static int get(const struct gemm *gemm, enum reg reg, uint32_t *value)
{
    uint64_t wide = 0;
    int err = hal_load(gemm->registers, reg, 4, &wide);

    *value = (uint32_t)wide;
    return err ? hal_fail_forward(err) : 0;
}

static int set(const struct gemm *gemm, enum reg reg, uint32_t value)
{
    int err = hal_store(gemm->registers, reg, 4, value);

    return err ? hal_fail_forward(err) : 0;
}

/* The registers' own device may take a part of a block. */
static int put_block(const struct gemm *gemm, enum reg reg, const void *bytes, size_t len,
                     hal_deadline until)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = hal_write_at(gemm->registers, (const uint8_t *)bytes + at, len - at,
                                 (uint64_t)reg + at, until);
        if (n <= 0)
            return hal_fail_forward(n ? (int)n : -EIO);
        at += (size_t)n;
    }
    return 0;
}

static int get_block(const struct gemm *gemm, enum reg reg, void *bytes, size_t len,
                     hal_deadline until)
{
    for (size_t at = 0; at < len;) {
        ssize_t n = hal_read_at(gemm->registers, (uint8_t *)bytes + at, len - at,
                                (uint64_t)reg + at, until);
        if (n <= 0)
            return hal_fail_forward(n ? (int)n : -EIO);
        at += (size_t)n;
    }
    return 0;
}

/* Take the interrupts that have come; that lets the next one through. */
static int take_interrupts(const struct gemm *gemm)
{
    int32_t count;
    ssize_t n;

    do
        n = hal_read(gemm->registers, &count, sizeof(count), HAL_NOWAIT);
    while (n > 0);
    return n == -EAGAIN ? 0 : hal_fail_forward((int)n);
}

/* Sleep till the unit may have ended. */
static int pause_for(struct hal_device *dev, const struct gemm *gemm, hal_deadline until)
{
    hal_deadline soon = hal_after(PAUSE_NS);
    int events;

    if (gemm->interrupt >= 0) {
        events = hal_device_wait(dev, HAL_LANE_CONTROL, gemm->interrupt, POLLIN, until);
        return events < 0 ? events : take_interrupts(gemm);
    }
    if (hal_now() >= until)
        return -ETIMEDOUT;
    events = hal_device_wait(dev, HAL_LANE_CONTROL, -1, 0, soon < until ? soon : until);
    return events < 0 && events != -ETIMEDOUT ? events : 0;
}

/* Wait until these bits of STATUS are as wanted. */
static int await(struct hal_device *dev, uint32_t mask, uint32_t wanted, hal_deadline until)
{
    const struct gemm *gemm = gemm_of(dev);
    uint32_t status;

    for (;;) {
        int err = get(gemm, REG_STATUS, &status);

        if (err || (status & mask) == wanted)
            return err;
        err = pause_for(dev, gemm, until);
        if (err)
            return err;
    }
}

static int run(struct hal_device *dev, uint32_t depth, bool clear, hal_deadline until)
{
    struct gemm *gemm = gemm_of(dev);
    uint32_t cycles;
    int err = gemm->depth == depth ? 0 : set(gemm, REG_DEPTH, depth);

    if (!err) {
        gemm->depth = depth;
        err = set(gemm, REG_CONTROL, CONTROL_START | (clear ? CONTROL_CLEAR : 0));
    }
    if (!err)
        err = await(dev, STATUS_DONE, STATUS_DONE, until);
    if (!err)
        err = set(gemm, REG_STATUS, STATUS_DONE);
    if (!err)
        err = get(gemm, REG_CYCLES, &cycles);
    if (err)
        return err;
    atomic_fetch_add(&gemm->tiles, 1);
    atomic_fetch_add(&gemm->cycles, cycles);
    return 0;
}

/* ---- tiles ----------------------------------------------------------------------------------- */

static size_t least(size_t a, size_t b)
{
    return a < b ? a : b;
}

/* Columns first .. of up to 8 rows of A; rows that are not there are zeros. */
static void pack_a(const struct product *p, size_t row, size_t first, size_t depth, int8_t *out)
{
    size_t rows = least(SIDE, p->m - row);

    memset(out, 0, depth * SIDE);
    for (size_t i = 0; i < rows; i++)
        for (size_t k = 0; k < depth; k++)
            out[k * SIDE + i] = p->a[(row + i) * p->k + first + k];
}

static void pack_b(const struct product *p, size_t column, size_t first, size_t depth, int8_t *out)
{
    size_t columns = least(SIDE, p->n - column);

    memset(out, 0, depth * SIDE);
    for (size_t k = 0; k < depth; k++)
        memcpy(out + k * SIDE, p->b + (first + k) * p->n + column, columns);
}

/* The part of B goes to the unit unless it holds it from the tile before. */
static int put_b(struct gemm *gemm, const struct product *p, size_t column, size_t first,
                 size_t depth, hal_deadline until)
{
    const int8_t *part = p->b + first * p->n + column;
    int8_t packed[DEPTH_MAX * SIDE];
    int err;

    if (gemm->kept == part)
        return 0;
    gemm->kept = NULL;
    pack_b(p, column, first, depth, packed);
    err = put_block(gemm, REG_B, packed, depth * SIDE, until);
    if (!err)
        gemm->kept = part;
    return err;
}

static int get_c(const struct gemm *gemm, const struct product *p, size_t row, size_t column,
                 hal_deadline until)
{
    size_t rows = least(SIDE, p->m - row), columns = least(SIDE, p->n - column);
    int32_t tile[SIDE * SIDE];
    int err = get_block(gemm, REG_C, tile, rows * SIDE * sizeof(tile[0]), until);

    for (size_t i = 0; i < rows && !err; i++)
        memcpy(p->c + (row + i) * p->n + column, tile + i * SIDE, columns * sizeof(tile[0]));
    return err;
}

static int compute_tile(struct hal_device *dev, const struct product *p, size_t row, size_t column,
                        hal_deadline until)
{
    struct gemm *gemm = gemm_of(dev);
    int8_t packed[DEPTH_MAX * SIDE];

    for (size_t first = 0; first < p->k; first += DEPTH_MAX) {
        size_t depth = least(DEPTH_MAX, p->k - first);
        int err = put_b(gemm, p, column, first, depth, until);

        pack_a(p, row, first, depth, packed);
        if (!err)
            err = put_block(gemm, REG_A, packed, depth * SIDE, until);
        if (!err)
            err = run(dev, (uint32_t)depth, !first, until);
        if (err)
            return err;
    }
    return get_c(gemm, p, row, column, until);
}

static int compute(struct hal_device *dev, const struct product *p, hal_deadline until)
{
    /* A transfer that was given up may have left it at work. */
    int err = await(dev, STATUS_BUSY, 0, until);

    gemm_of(dev)->kept = NULL;
    for (size_t column = 0; column < p->n && !err; column += SIDE)
        for (size_t row = 0; row < p->m && !err; row += SIDE)
            err = compute_tile(dev, p, row, column, until);
    return err;
}

/* ---- the transfer ---------------------------------------------------------------------------- */

static uint64_t root(uint64_t square)
{
    uint64_t low = 0, high = UINT32_MAX;

    while (low < high) {
        uint64_t middle = (low + high + 1) / 2;

        if (middle <= square / middle)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

/* a = m k, b = k n and c = m n, so k^2 = a b / c. */
static bool take_lengths(struct product *p, uint64_t a, uint64_t b, uint64_t c)
{
    if (!a || !b || !c || a > UINT32_MAX || b > UINT32_MAX || a * b % c)
        return false;
    p->k = root(a * b / c);
    p->m = a / p->k;
    p->n = b / p->k;
    return p->m * p->k == a && p->k * p->n == b && p->m * p->n == c;
}

static ssize_t gemm_transfer(struct hal_device *dev, const struct hal_segment *segments,
                             size_t count, hal_deadline until)
{
    struct product p;
    int err;

    if (count != 3 || !segments[0].tx || segments[0].rx || !segments[1].tx || segments[1].rx ||
        segments[2].tx || !segments[2].rx)
        return hal_fail(-EOPNOTSUPP, "multiply", hal_device_uri(dev),
                        "a product has three segments: A and B to send, C to receive");
    if (segments[2].len % sizeof(int32_t) ||
        !take_lengths(&p, segments[0].len, segments[1].len, segments[2].len / sizeof(int32_t)))
        return hal_fail_plain(-EINVAL, "multiply", hal_device_uri(dev),
                              "%zu bytes of A, %zu of B and %zu of C belong to no product",
                              segments[0].len, segments[1].len, segments[2].len);
    p.a = segments[0].tx;
    p.b = segments[1].tx;
    p.c = segments[2].rx;
    if ((uintptr_t)p.c % _Alignof(int32_t))
        return hal_fail_plain(-EINVAL, "multiply", hal_device_uri(dev), "C is not aligned");
    err = compute(dev, &p, until);
    return err ? err : (ssize_t)(segments[0].len + segments[1].len + segments[2].len);
}

static ssize_t gemm_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "read", hal_device_uri(dev),
                    "a product is one hal_transfer() of three segments");
}

static ssize_t gemm_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)buf;
    (void)len;
    (void)until;
    return hal_fail(-EOPNOTSUPP, "write", hal_device_uri(dev),
                    "a product is one hal_transfer() of three segments");
}

/* The registers as they are, for a look: in the control lane, as transfers are. */
static int gemm_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value)
{
    int err = hal_load(gemm_of(dev)->registers, offset, width, value);

    return err ? hal_fail_forward(err) : 0;
}

static int gemm_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value)
{
    struct gemm *gemm = gemm_of(dev);
    int err = hal_store(gemm->registers, offset, width, value);

    gemm->depth = 0; /* it may be another now */
    return err ? hal_fail_forward(err) : 0;
}

/* ---- attributes ------------------------------------------------------------------------------ */

static int get_tiles(struct hal_device *dev, const struct hal_attribute *attr,
                     struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)atomic_load(&gemm_of(dev)->tiles);
    return 0;
}

static int get_cycles(struct hal_device *dev, const struct hal_attribute *attr,
                      struct hal_value *out)
{
    (void)attr;
    out->i = (int64_t)atomic_load(&gemm_of(dev)->cycles);
    return 0;
}

static int get_registers(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    snprintf(out->s, sizeof(out->s), "%.*s", HAL_TEXT_MAX - 1, gemm_of(dev)->uri);
    return 0;
}

static int get_interrupt(struct hal_device *dev, const struct hal_attribute *attr,
                         struct hal_value *out)
{
    (void)attr;
    out->b = gemm_of(dev)->interrupt >= 0;
    return 0;
}

static const struct hal_attribute attributes[] = {
    {.name = "tiles",
     .doc = "Runs of the unit since it was opened.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_tiles},
    {.name = "cycles",
     .doc = "Clocks that the unit took for them.",
     .type = HAL_TYPE_INT,
     .access = HAL_ATTR_READ,
     .get = get_cycles},
    {.name = "registers",
     .doc = "The device that its registers are.",
     .type = HAL_TYPE_TEXT,
     .access = HAL_ATTR_READ,
     .get = get_registers},
    {.name = "interrupt",
     .doc = "It tells by an interrupt that it is done; else it is asked.",
     .type = HAL_TYPE_BOOL,
     .access = HAL_ATTR_READ,
     .get = get_interrupt},
};

/* ---- opening --------------------------------------------------------------------------------- */

static int check_unit(struct hal_device *dev, const struct gemm *gemm)
{
    uint32_t id, shape;
    int err = get(gemm, REG_ID, &id);

    if (!err && id != ID)
        return hal_fail_plain(-ENODEV, "open", hal_device_uri(dev),
                              "%s is no gemm unit: its ID is 0x%" PRIx32 ", not 0x%x", gemm->uri,
                              id, ID);
    if (!err)
        err = get(gemm, REG_SHAPE, &shape);
    if (!err && shape != (DEPTH_MAX << 16 | SIDE << 8 | SIDE))
        return hal_fail_plain(-ENODEV, "open", hal_device_uri(dev),
                              "the unit has a shape, 0x%" PRIx32 ", that this driver does not know",
                              shape);
    return err;
}

static int start(struct hal_device *dev, struct gemm *gemm)
{
    int err = check_unit(dev, gemm);

    if (err)
        return err;
    gemm->interrupt = hal_fd(gemm->registers, POLLIN);
    if (gemm->interrupt < 0)
        return set(gemm, REG_INTERRUPT, 0);
    err = take_interrupts(gemm);
    return err ? err : set(gemm, REG_INTERRUPT, 1);
}

/* The registers' URI; options are theirs. */
static int make_uri(struct hal_device *dev, char *uri, size_t size)
{
    const char *address = hal_device_address(dev);
    size_t used = (size_t)snprintf(uri, size, "%s", *address ? address : SIMULATED);
    const struct hal_option *option;

    for (size_t i = 0; (option = hal_device_option_at(dev, i)) && used < size; i++) {
        long n;

        used += (size_t)snprintf(uri + used, size - used, "%c%s=", i ? '&' : '?', option->key);
        n = used < size ? hal_uri_quote(option->value, uri + used, size - used) : -ENAMETOOLONG;
        if (n < 0)
            return hal_fail_forward((int)n);
        used += (size_t)n;
    }
    return used < size ? 0 : -ENAMETOOLONG;
}

static int gemm_init(struct hal_device *dev)
{
    struct gemm *gemm = calloc(1, sizeof(*gemm));
    int err;

    if (!gemm)
        return -ENOMEM;
    hal_device_set_state(dev, gemm);
    err = make_uri(dev, gemm->uri, sizeof(gemm->uri));
    if (!err) {
        gemm->registers = hal_open(gemm->uri, hal_device_open_deadline(dev));
        err = gemm->registers < 0 ? hal_fail_forward((int)gemm->registers) : start(dev, gemm);
    }
    if (!err)
        return 0;
    if (gemm->registers > 0)
        hal_close(gemm->registers);
    free(gemm);
    return err;
}

static void gemm_fini(struct hal_device *dev)
{
    struct gemm *gemm = gemm_of(dev);

    hal_store(gemm->registers, REG_INTERRUPT, 4, 0);
    hal_close(gemm->registers);
    free(gemm);
}

static const struct driver_ops gemm_ops = {
    .init = gemm_init,
    .read = gemm_read,
    .write = gemm_write,
    .fini = gemm_fini,
    .transfer = gemm_transfer,
    .attributes = attributes,
    .attribute_count = sizeof(attributes) / sizeof(attributes[0]),
    .summary = "Products of int8 matrices on an FPGA",
    .address = "URI of its registers, or nothing: simulated",
    .flags = HAL_DRIVER_ANY_OPTION,
    .load = gemm_load,
    .store = gemm_store,
};

HAL_PLUGIN("gemm", &gemm_ops, "0.1.0");
