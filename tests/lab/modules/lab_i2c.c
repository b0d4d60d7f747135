/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * An I2C adapter with no wires: plain transfers (I2C_RDWR with repeated start), which i2c-stub and
 * the PC's SMBus controller lack, 10-bit addresses, SMBus with PEC, and faults on demand.
 *
 *   0x1b   MAX6650 fan controller (driver max6650): 8-bit registers
 *   0x20   SMBus target: byte, word, block, process call; see smbus_reply()
 *   0x21   the same, and every transfer must carry a PEC byte
 *   0x44   LTC4215 power monitor (driver ltc4215): 8-bit registers
 *   0x48   LM75 thermometer (driver lm75): 16-bit registers; parameter temperature, in 1/2 degrees
 *   0x50   AT24C02 EEPROM: 256 bytes in pages of 8; parameter write_cycle_us
 *   0x2a5  10-bit address, 8-bit registers
 *
 * Nothing answers at any other address (-ENXIO).  Besides the parameters of lab_fault.h and
 * lab_log.h there are:
 *   pec_error N     spoil the PEC byte of the next N reads
 *   retries, timeout_ms   (read only) what I2C_RETRIES and I2C_TIMEOUT set
 * The log has one line a transfer: "0x50:w1 0x50:r16", in 10-bit form "0x2a5t:w1", with "n" for a
 * message without a start and "i" for one that goes on unacknowledged, and "= -6" after it when it
 * failed.
 *
 * Unbinding the platform device "lab-i2c" is pulling the adapter out: from then on every transfer
 * through a descriptor still open is -ENODEV, and the unbind returns when the last one is closed.
 */
#include <linux/crc8.h>
#include <linux/i2c.h>
#include <linux/ktime.h>
#include <linux/module.h>
#include <linux/platform_device.h>

#include "lab_fault.h"
#include "lab_log.h"

#define EEPROM_PAGE 8
#define CRC8_SMBUS 0x07 /* x^8 + x^2 + x + 1, SMBus 3.1 section 6.4.1 */

enum kind { EEPROM, REGISTERS8, REGISTERS16, SMBUS, SMBUS_PEC };

struct chip {
    u16 address;
    bool ten;
    enum kind kind;
    u8 memory[256];
    u8 pointer;
    /* of an SMBus target: the answer to the last command, and the PEC so far */
    u8 reply[I2C_SMBUS_BLOCK_MAX + 1];
    u8 pec;
    ktime_t busy_until;
};

static struct chip chips[] = {
    {.address = 0x1b, .kind = REGISTERS8},
    {.address = 0x20, .kind = SMBUS},
    {.address = 0x21, .kind = SMBUS_PEC},
    {.address = 0x44, .kind = REGISTERS8},
    {.address = 0x48, .kind = REGISTERS16},
    {.address = 0x50, .kind = EEPROM},
    {.address = 0x2a5, .ten = true, .kind = REGISTERS8},
};

static struct i2c_adapter adapter;
static struct platform_device *device;
static bool removed;
static u8 crc_table[CRC8_TABLE_SIZE];

static uint write_cycle_us, pec_error;
static int temperature = 50; /* half degrees: 25 C */
module_param(write_cycle_us, uint, 0644);
module_param(pec_error, uint, 0644);
module_param(temperature, int, 0644);

static int retries_get(char *buffer, const struct kernel_param *param)
{
    return sysfs_emit(buffer, "%d\n", adapter.retries);
}

static int timeout_get(char *buffer, const struct kernel_param *param)
{
    return sysfs_emit(buffer, "%u\n", jiffies_to_msecs(adapter.timeout));
}

static const struct kernel_param_ops retries_ops = {.get = retries_get};
static const struct kernel_param_ops timeout_ops = {.get = timeout_get};
module_param_cb(retries, &retries_ops, NULL, 0444);
module_param_cb(timeout_ms, &timeout_ops, NULL, 0444);

static struct chip *chip_at(const struct i2c_msg *msg)
{
    int i;

    for (i = 0; i < ARRAY_SIZE(chips); i++)
        if (chips[i].address == msg->addr && chips[i].ten == !!(msg->flags & I2C_M_TEN))
            return &chips[i];
    return NULL;
}

/* --- memories: a pointer byte, then data --------------------------------------------------- */

static u8 *memory_byte(struct chip *chip, unsigned int n)
{
    u8 at = chip->pointer;

    if (chip->kind == REGISTERS16) /* n counts the bytes of one register */
        return &chip->memory[(at * 2 + n % 2) & 0xff];
    chip->pointer++;
    return &chip->memory[at];
}

/* After a start the first byte is the pointer; without one the bytes before go on. */
static void memory_write(struct chip *chip, const u8 *data, unsigned int len, bool start)
{
    unsigned int i;

    if (!len)
        return;
    if (start)
        chip->pointer = data[0];
    for (i = start; i < len; i++) {
        u8 page = chip->pointer & ~(EEPROM_PAGE - 1);

        *memory_byte(chip, i - start) = data[i];
        if (chip->kind == EEPROM) /* the pointer wraps within the page */
            chip->pointer = page | (chip->pointer & (EEPROM_PAGE - 1));
    }
    if (chip->kind == EEPROM && len > start)
        chip->busy_until = ktime_add_us(ktime_get(), write_cycle_us);
}

static void memory_read(struct chip *chip, u8 *data, unsigned int len)
{
    unsigned int i;

    if (chip->address == 0x48) { /* register 0: signed, 9 bits, left-aligned */
        chip->memory[0] = (u16)(temperature << 7) >> 8;
        chip->memory[1] = (u16)(temperature << 7) & 0xff;
    }
    for (i = 0; i < len; i++)
        data[i] = *memory_byte(chip, i);
}

/* --- SMBus target: the meaning of a transfer follows from its command byte ------------------- */

/*
 * Commands 0x00-0x3f are byte or word registers (low byte first), 0x40-0x4f are blocks of up to 32
 * bytes, 0x50 is a process call that gives the complement of its word, 0x60 a block process call
 * that gives its block in reverse.
 */
static void smbus_reply(struct chip *chip, const u8 *data, unsigned int len)
{
    u8 command = data[0];
    unsigned int i;

    memset(chip->reply, 0, sizeof(chip->reply));
    chip->pointer = command;
    if (command < 0x40) {
        for (i = 1; i < len; i++)
            chip->memory[(command + i - 1) & 0x3f] = data[i];
    } else if (command < 0x50) {
        if (len > 1) /* one block is kept, whichever command wrote it */
            memcpy(chip->memory + 0x40, data + 1, min_t(unsigned int, len - 1, 33));
    } else if (command == 0x50 && len > 2) {
        chip->reply[0] = ~data[1];
        chip->reply[1] = ~data[2];
    } else if (command == 0x60 && len > 1) {
        chip->reply[0] = min3((unsigned int)data[1], len - 2, (unsigned int)I2C_SMBUS_BLOCK_MAX);
        for (i = 0; i < chip->reply[0]; i++)
            chip->reply[1 + i] = data[1 + chip->reply[0] - i];
    }
}

static int smbus_write(struct chip *chip, const struct i2c_msg *msg, bool more)
{
    u8 head = msg->addr << 1;
    unsigned int len = msg->len;

    if (!len) /* SMBus quick */
        return 0;
    chip->pec = crc8(crc_table, &head, 1, 0);
    chip->pec = crc8(crc_table, msg->buf, len, chip->pec);
    /* The PEC byte ends a write, unless a read follows.  Right, it makes the remainder zero. */
    if (chip->kind == SMBUS_PEC && !more) {
        if (chip->pec)
            return -EREMOTEIO;
        len--;
    }
    if (!more)
        chip->pec = 0;
    if (len)
        smbus_reply(chip, msg->buf, len);
    return 0;
}

static int smbus_read(struct chip *chip, struct i2c_msg *msg)
{
    u8 head = msg->addr << 1 | 1, command = chip->pointer;
    unsigned int len = msg->len - (chip->kind == SMBUS_PEC), i;
    const u8 *from = chip->reply;

    if (!msg->len)
        return 0;
    if (command < 0x40)
        from = chip->memory;
    else if (command < 0x50)
        from = chip->memory + 0x40;
    for (i = 0; i < len; i++)
        msg->buf[i] = command < 0x40 ? from[(command + i) & 0x3f] : from[i];
    if (msg->flags & I2C_M_RECV_LEN) {
        if (!from[0] || from[0] > I2C_SMBUS_BLOCK_MAX)
            return -EPROTO;
        memcpy(msg->buf, from, from[0] + 1);
        len += from[0];
        msg->len += from[0];
    }
    if (chip->kind == SMBUS_PEC) {
        chip->pec = crc8(crc_table, &head, 1, chip->pec);
        chip->pec = crc8(crc_table, msg->buf, len, chip->pec);
        msg->buf[len] = chip->pec;
        if (pec_error) {
            pec_error--;
            msg->buf[len] ^= 0xff;
        }
    }
    chip->pec = 0;
    return 0;
}

/* --- the adapter -------------------------------------------------------------------------------
 */

static int transfer_one(struct i2c_msg *msg, bool more)
{
    struct chip *chip = chip_at(msg);

    if (!chip || (!(msg->flags & I2C_M_NOSTART) && ktime_before(ktime_get(), chip->busy_until)))
        return msg->flags & I2C_M_IGNORE_NAK ? 0 : -ENXIO;
    if (chip->kind >= SMBUS)
        return msg->flags & I2C_M_RD ? smbus_read(chip, msg) : smbus_write(chip, msg, more);
    if (msg->flags & I2C_M_RD)
        memory_read(chip, msg->buf, msg->len);
    else
        memory_write(chip, msg->buf, msg->len, !(msg->flags & I2C_M_NOSTART));
    return 0;
}

static int lab_transfer(struct i2c_adapter *adap, struct i2c_msg *msgs, int num)
{
    char line[512];
    int err, i, n = 0;

    if (READ_ONCE(removed))
        return -ENODEV;
    for (i = 0; i < num; i++)
        n += scnprintf(
            line + n, sizeof(line) - n, "%s0x%02x%s:%c%u%s%s", i ? " " : "", msgs[i].addr,
            msgs[i].flags & I2C_M_TEN ? "t" : "", msgs[i].flags & I2C_M_RD ? 'r' : 'w', msgs[i].len,
            msgs[i].flags & I2C_M_NOSTART ? "n" : "", msgs[i].flags & I2C_M_IGNORE_NAK ? "i" : "");
    err = lab_fault();
    for (i = 0; i < num && !err; i++)
        err = transfer_one(&msgs[i], i + 1 < num && (msgs[i + 1].flags & I2C_M_RD));
    if (err)
        lab_log("%s = %d\n", line, err);
    else
        lab_log("%s\n", line);
    return err ? err : num;
}

static u32 lab_functionality(struct i2c_adapter *adap)
{
    return I2C_FUNC_I2C | I2C_FUNC_10BIT_ADDR | I2C_FUNC_NOSTART | I2C_FUNC_PROTOCOL_MANGLING |
           I2C_FUNC_SMBUS_EMUL_ALL;
}

static const struct i2c_algorithm algorithm = {
    .master_xfer = lab_transfer,
    .functionality = lab_functionality,
};

static void chips_reset(void)
{
    static const u8 fan[] = {[0x02] = 0x0a, [0x04] = 0xff, [0x0c] = 60, [0x16] = 0x02};
    static const u8 power[] = {[4] = 100, [5] = 200, [6] = 50};
    int i;

    for (i = 0; i < ARRAY_SIZE(chips); i++) {
        memset(chips[i].memory, chips[i].kind == EEPROM ? 0xff : 0, sizeof(chips[i].memory));
        chips[i].busy_until = 0;
        chips[i].pointer = 0;
        if (chips[i].address == 0x1b)
            memcpy(chips[i].memory, fan, sizeof(fan));
        if (chips[i].address == 0x44)
            memcpy(chips[i].memory, power, sizeof(power));
    }
}

static void adapter_remove(void *unused)
{
    WRITE_ONCE(removed, true);
    i2c_del_adapter(&adapter);
}

static int lab_probe(struct platform_device *pdev)
{
    int err;

    chips_reset();
    memset(&adapter, 0, sizeof(adapter));
    adapter.owner = THIS_MODULE;
    adapter.algo = &algorithm;
    adapter.dev.parent = &pdev->dev;
    strscpy(adapter.name, "lab i2c", sizeof(adapter.name));
    WRITE_ONCE(removed, false);
    err = i2c_add_adapter(&adapter);
    return err ? err : devm_add_action_or_reset(&pdev->dev, adapter_remove, NULL);
}

static struct platform_driver driver = {
    .probe = lab_probe,
    .driver = {.name = "lab-i2c"},
};

static int __init lab_init(void)
{
    int err;

    crc8_populate_msb(crc_table, CRC8_SMBUS);
    err = platform_driver_register(&driver);
    if (err)
        return err;
    device = platform_device_register_simple("lab-i2c", PLATFORM_DEVID_NONE, NULL, 0);
    if (IS_ERR(device))
        platform_driver_unregister(&driver);
    return PTR_ERR_OR_ZERO(device);
}

static void __exit lab_exit(void)
{
    platform_device_unregister(device);
    platform_driver_unregister(&driver);
}

module_init(lab_init);
module_exit(lab_exit);
MODULE_LICENSE("GPL");
MODULE_DESCRIPTION("I2C adapter for tests");
