/* SPDX-License-Identifier: Apache-2.0 */
/* What to look for, and how to describe it: one row a kernel subsystem. As discovery/sources/. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "internal.h"

static bool starts(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* "mem0": a stem and a number, nothing else. */
static bool is_numbered(const char *name, const char *with)
{
    return starts(name, with) && all_digits(name + strlen(with));
}

static const char *in_sysfs(struct tree *tree, const struct node *node, const char *file)
{
    return arena_print(tree->arena, "/sys%s/%s", node->devpath, file);
}

static bool has_driver(struct tree *tree, const struct node *node)
{
    return *node_link(tree, node, "driver");
}

/* ---- buses that carry programs' devices ----------------------------------------------------- */

static bool serial_line(struct tree *tree, struct node *node, struct facts *facts)
{
    static const char *const uarts[] = {/* <linux/serial.h>, PORT_* */
                                        "none",   "8250",  "16450",   "16550", "16550A",
                                        "Cirrus", "16650", "16650V2", "16750", "Startech",
                                        "16C950", "16654", "16850",   "RSA"};
    long long kind = node_integer(tree, node, "type", -1);
    bool linked = starts(node->name, "ttyGS") || starts(node->name, "rfcomm");

    if (!kind || (strstr(node->devpath, "/devices/virtual/") && !linked))
        return false;
    facts->node = node_devnode(tree, node);
    if (kind > 0 && kind < (long long)COUNT_OF(uarts))
        facts->model = arena_print(tree->arena, "%s UART", uarts[kind]);
    return true;
}

static bool i2c_adapter(struct tree *tree, struct node *node, struct facts *facts)
{
    char path[PATH_MAX];

    snprintf(path, sizeof(path), "%s/i2c-dev/%s", node->path, node->name);
    if (!access(path, F_OK))
        facts->node = arena_print(tree->arena, "/dev/%s", node->name);
    facts->bus = node->name + strlen("i2c-");
    facts->hint = true;
    return true;
}

static bool i2c(struct tree *tree, struct node *node, struct facts *facts)
{
    size_t len = strspn(node->name, "0123456789");
    const char *at = node->name + len;
    unsigned address;

    facts->model = node_attr(tree, node, "name");
    if (is_numbered(node->name, "i2c-"))
        return i2c_adapter(tree, node, facts);
    if (!len || *at != '-' || strspn(at + 1, "0123456789abcdef") != 4 || at[5])
        return true; /* named by ACPI: only its tables tell the address, which Python reads */
    address = (unsigned)strtoul(at + 1, NULL, 16);
    /* i2c_encode_flags_to_addr() in i2c-core-base.c */
    address &= (address & 0xa000) == 0xa000 ? 0x3ff : 0x7f;
    facts->bus = arena_text(tree->arena, node->name, len);
    facts->address = arena_print(tree->arena, "0x%02x", address);
    facts->node = arena_print(tree->arena, "/dev/i2c-%s", facts->bus);
    facts->kernel = has_driver(tree, node);
    facts->hint = true;
    return true;
}

static bool spi_controller(struct tree *tree, struct node *node, struct facts *facts)
{
    (void)tree;
    (void)node;
    facts->model = "SPI controller";
    return true;
}

static bool spi(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *name = node->name + (starts(node->name, "spi") ? strlen("spi") : 0);
    const char *modalias = node_attr(tree, node, "modalias"), *dot = strchr(name, '.');
    char folder[PATH_MAX];
    const char *spidev;

    snprintf(folder, sizeof(folder), "%s/spidev", node->path);
    spidev = tree_names(tree, folder)[0];
    facts->model = starts(modalias, "spi:") ? modalias + strlen("spi:") : modalias;
    if (spidev)
        facts->node = arena_print(tree->arena, "/dev/%s", spidev);
    facts->kernel = !spidev && has_driver(tree, node);
    facts->hint = true;
    facts->bus = arena_text(tree->arena, name, strcspn(name, "."));
    facts->chip = dot ? dot + 1 : NULL;
    return true;
}

static bool gpio(struct tree *tree, struct node *node, struct facts *facts)
{
    const struct node *above = node_parent(tree, node);
    const char *chip = NULL;
    char path[PATH_MAX];
    unsigned chips = 0;

    snprintf(path, sizeof(path), "%.*s", (int)(strrchr(node->path, '/') - node->path), node->path);
    if (!strcmp(strrchr(path, '/'), "/gpio"))
        return false; /* chips and lines of the old sysfs interface */
    facts->node = node_devnode(tree, node);
    if (!above)
        return true;
    snprintf(path, sizeof(path), "%s/gpio", above->path);
    for (const char **name = tree_names(tree, path); *name; name++) {
        if (starts(*name, "gpiochip")) {
            chip = *name;
            chips++;
        }
    }
    if (chips == 1) {
        snprintf(path, sizeof(path), "gpio/%s/label", chip);
        facts->model = node_attr(tree, above, path);
    }
    return true;
}

static bool iio(struct tree *tree, struct node *node, struct facts *facts)
{
    if (!starts(node->name, "iio:device"))
        return false; /* a trigger */
    facts->node = node_devnode(tree, node);
    facts->model = node_attr(tree, node, "name");
    if (!*facts->model)
        facts->model = node_attr(tree, node, "label");
    return true;
}

static bool pwm(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->node = in_sysfs(tree, node, "export");
    facts->mode = W_OK;
    return starts(node->name, "pwmchip");
}

static bool led(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->node = in_sysfs(tree, node, "brightness");
    return true;
}

static bool hwmon(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->model = node_attr(tree, node, "name");
    facts->node = in_sysfs(tree, node, "name");
    facts->mode = R_OK;
    return true;
}

/* ---- buses that carry everything ------------------------------------------------------------ */

#define RESOURCE_MEMORY 0x200 /* <linux/ioport.h>: IORESOURCE_MEM */

/* Number of the first memory BAR, -1 when there is none. */
static int first_bar(struct node *node)
{
    char path[PATH_MAX], line[128];
    unsigned long long start, end, flags;
    int bar = -1;
    FILE *file;

    snprintf(path, sizeof(path), "%s/resource", node->path);
    file = fopen(path, "re");
    if (!file)
        return -1;
    for (int i = 0; i < 6 && bar < 0 && fgets(line, sizeof(line), file); i++)
        if (sscanf(line, "%llx %llx %llx", &start, &end, &flags) == 3 && flags & RESOURCE_MEMORY)
            bar = i;
    fclose(file);
    return bar;
}

static void pci_names(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->vendor =
        arena_print(tree->arena, "vendor %04llx", node_integer(tree, node, "vendor", 0));
    if (!facts->model || !*facts->model)
        facts->model =
            arena_print(tree->arena, "device %04llx", node_integer(tree, node, "device", 0));
}

static bool pci(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *driver = node_link(tree, node, "driver");
    int bar = first_bar(node);

    pci_names(tree, node, facts);
    facts->kernel = *driver && strcmp(driver, "vfio-pci") != 0;
    if (bar >= 0) {
        facts->bar = arena_print(tree->arena, "%d", bar);
        facts->node = arena_print(tree->arena, "/sys%s/resource%d", node->devpath, bar);
    }
    return true;
}

static bool is_usb_device(struct tree *tree, struct node *node)
{
    return !strcmp(node->subsystem, "usb") &&
           !strcmp(node_property(tree, node, "DEVTYPE"), "usb_device");
}

/* "1-2.3:1.0" */
static bool is_interface(const char *name)
{
    size_t device = strspn(name, "0123456789.-"), major, minor;

    if (!device || name[device] != ':')
        return false;
    name += device + 1;
    major = strspn(name, "0123456789");
    minor = name[major] == '.' ? strspn(name + major + 1, "0123456789") : 0;
    return major && minor && !name[major + 1 + minor];
}

static bool drives_interfaces(struct tree *tree, const struct node *node)
{
    for (const char **name = tree_names(tree, node->path); *name; name++) {
        const char *link = is_interface(*name)
                               ? node_link(tree, node, arena_print(tree->arena, "%s/driver", *name))
                               : "";
        if (*link)
            return true;
    }
    return false;
}

static const char *or_number(struct tree *tree, const char *text, const char *what, const char *hex)
{
    return *text ? text : arena_print(tree->arena, "%s %04lx", what, strtoul(hex, NULL, 16));
}

static void usb_names(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *vendor = node_attr(tree, node, "idVendor");
    const char *model = node_attr(tree, node, "product");

    facts->vendor = or_number(tree, node_attr(tree, node, "manufacturer"), "vendor", vendor);
    if (!facts->model || !*facts->model)
        facts->model = or_number(tree, model, "product", node_attr(tree, node, "idProduct"));
    /* A root hub's serial number is the address of its controller: none. */
    if (strcmp(vendor, "1d6b") != 0)
        facts->serial = node_attr(tree, node, "serial");
}

static bool usb(struct tree *tree, struct node *node, struct facts *facts)
{
    if (!is_usb_device(tree, node))
        return false;
    usb_names(tree, node, facts);
    facts->node = node_devnode(tree, node);
    facts->kernel = drives_interfaces(tree, node);
    return true;
}

/* ---- memory --------------------------------------------------------------------------------- */

static bool numa_node(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *total = strstr(node_attr(tree, node, "meminfo"), "MemTotal:");

    if (!total || !strtoull(total + strlen("MemTotal:"), NULL, 10))
        return false;
    facts->model =
        *node_attr(tree, node, "cpulist") ? "system RAM" : "system RAM without processors";
    return true;
}

static bool dax(struct tree *tree, struct node *node, struct facts *facts)
{
    if (!node_integer(tree, node, "size", 0))
        return false; /* a seed: the kernel's empty slot for the next one */
    facts->model = "device DAX";
    facts->node = node_devnode(tree, node);
    facts->kernel = !strcmp(node_link(tree, node, "driver"), "kmem");
    facts->hint = true;
    return true;
}

/* "pmem0", "pmem0.1", "pmem0s" */
static bool is_pmem(const char *name)
{
    size_t len;

    if (!starts(name, "pmem") || !(len = strspn(name += 4, "0123456789")))
        return false;
    name += len;
    if (*name == '.') {
        len = strspn(++name, "0123456789");
        if (!len)
            return false;
        name += len;
    }
    return !*name || !strcmp(name, "s");
}

static bool pmem(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->model = "persistent memory";
    facts->node = node_devnode(tree, node);
    return is_pmem(node->name);
}

static bool nvdimm(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->model = "NVDIMM";
    facts->serial = node_attr(tree, node, "nfit/serial");
    return is_numbered(node->name, "nmem");
}

static bool cxl(struct tree *tree, struct node *node, struct facts *facts)
{
    if (is_numbered(node->name, "region")) {
        facts->model = "CXL region";
        return true;
    }
    facts->model = "CXL memory device";
    if (strtoull(node_attr(tree, node, "serial"), NULL, 0))
        facts->serial = node_attr(tree, node, "serial");
    facts->node = node_devnode(tree, node);
    return is_numbered(node->name, "mem");
}

/* ---- accelerators --------------------------------------------------------------------------- */

static bool by_node(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->node = node_devnode(tree, node);
    return true;
}

static bool drm(struct tree *tree, struct node *node, struct facts *facts)
{
    return starts(node->name, "renderD") && by_node(tree, node, facts);
}

#define PROCESSING_ACCELERATOR 0x12 /* PCI Code and ID Assignment Specification, section 1.19 */

/* A PCI function that says it is an accelerator, and that no kernel driver has taken. */
static bool waiting(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->hint = true;
    return node_integer(tree, node, "class", 0) >> 16 == PROCESSING_ACCELERATOR &&
           !has_driver(tree, node);
}

static bool named(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->model = node_attr(tree, node, "name");
    return by_node(tree, node, facts);
}

static bool fpga_region(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *name = node_attr(tree, node, "name");

    facts->model = *name ? name : "FPGA region";
    return true;
}

static bool remoteproc(struct tree *tree, struct node *node, struct facts *facts)
{
    facts->model = node_attr(tree, node, "name");
    return true;
}

/* ---- what else a program meets -------------------------------------------------------------- */

#define LOOPBACK "772" /* <linux/if_arp.h>: ARPHRD_LOOPBACK */

static bool network(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *kind = node_property(tree, node, "DEVTYPE");

    if (!strcmp(node_attr(tree, node, "type"), LOOPBACK))
        return false;
    if (strstr(node->devpath, "/devices/virtual/"))
        facts->model = arena_print(tree->arena, "virtual interface%s%s", *kind ? " " : "", kind);
    return true;
}

static bool sound(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *number = node->name + (starts(node->name, "card") ? strlen("card") : 0);

    facts->model = node_attr(tree, node, "id");
    facts->node = arena_print(tree->arena, "/dev/snd/controlC%s", number);
    return all_digits(number);
}

const struct source discover_sources[] = {
    {"serial", "tty", serial_line},
    {"i2c", "i2c", i2c},
    {"spi", "spi_master", spi_controller},
    {"spi", "spi", spi},
    {"gpio", "gpio", gpio},
    {"iio", "iio", iio},
    {"pwm", "pwm", pwm},
    {"led", "leds", led},
    {"hwmon", "hwmon", hwmon},
    {"pci", "pci", pci},
    {"usb", "usb", usb},
    {"memory", "node", numa_node},
    {"memory", "dax", dax},
    {"memory", "block", pmem},
    {"memory", "nd", nvdimm},
    {"memory", "cxl", cxl},
    {"accelerator", "drm", drm},
    {"accelerator", "accel", by_node},
    {"accelerator", "hailo_chardev", by_node},
    {"accelerator", "apex", by_node},
    {"accelerator", "pci", waiting},
    {"accelerator", "fpga_manager", named},
    {"accelerator", "fpga_region", fpga_region},
    {"accelerator", "remoteproc", remoteproc},
    {"network", "net", network},
    {"video", "video4linux", named},
    {"sound", "sound", sound},
};
const size_t discover_source_count = COUNT_OF(discover_sources);

/* ---- the hardware a device is part of ------------------------------------------------------- */

static bool hardware(struct tree *tree, struct node *node, struct facts *facts)
{
    const char *compatible, *comma;

    if (is_usb_device(tree, node)) {
        usb_names(tree, node, facts);
        return true;
    }
    if (!strcmp(node->subsystem, "pci")) {
        pci_names(tree, node, facts);
        return true;
    }
    compatible = node_property(tree, node, "OF_COMPATIBLE_0"); /* "vendor,model" */
    if (!*compatible)
        return false;
    comma = strchr(compatible, ',');
    facts->vendor = arena_text(tree->arena, compatible, comma ? (size_t)(comma - compatible) : 0);
    facts->model = comma ? comma + 1 : compatible;
    return true;
}

static const char *first_of(const char *known, const char *else_this)
{
    return known && *known ? known : else_this;
}

void sources_fill(struct tree *tree, struct node *node, struct facts *facts)
{
    struct facts found = {0};

    while (node && !hardware(tree, node, &found))
        node = node_parent(tree, node);
    facts->vendor = first_of(facts->vendor, first_of(found.vendor, ""));
    facts->model = first_of(facts->model, first_of(found.model, ""));
    facts->serial = first_of(facts->serial, first_of(found.serial, ""));
}
