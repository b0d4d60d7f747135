/* SPDX-License-Identifier: Apache-2.0 */
/* Which adapter is meant, and what sysfs tells about it and its targets. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "i2c.h"

#define I2C_MAJOR 89 /* Documentation/admin-guide/devices.txt */
#define SYSFS_BUS "/sys/bus/i2c/devices"
#define NAME_SIZE 128

/* ---- sysfs ---- */

static bool read_line(const char *path, char *out, int size)
{
    FILE *file = fopen(path, "re");
    bool good = file && fgets(out, size, file);

    if (file)
        fclose(file);
    if (good)
        out[strcspn(out, "\n")] = '\0';
    return good;
}

static bool name_of(unsigned bus, char *out, size_t size)
{
    char path[64];

    snprintf(path, sizeof(path), SYSFS_BUS "/i2c-%u/name", bus);
    return read_line(path, out, (int)size);
}

bool adapter_name(const struct i2c *i2c, char *out, size_t size)
{
    return name_of(i2c->bus, out, size);
}

static bool registered(unsigned bus)
{
    char path[64];

    snprintf(path, sizeof(path), SYSFS_BUS "/i2c-%u", bus);
    return access(path, F_OK) == 0;
}

bool adapter_gone(const struct i2c *i2c)
{
    return access(SYSFS_BUS, F_OK) == 0 && !registered(i2c->bus);
}

/* Digits alone: true and the number, which is below the kernel's limit of minor numbers. */
static bool parse_digits(const char *text, unsigned *number)
{
    size_t digits = strspn(text, "0123456789");

    if (!digits || digits > 7 || text[digits])
        return false;
    *number = (unsigned)strtoul(text, NULL, 10);
    return true;
}

/* "i2c-12", alone: true and the number. */
static bool parse_bus(const char *text, unsigned *bus)
{
    return !strncmp(text, "i2c-", 4) && parse_digits(text + 4, bus);
}

/* Call `visit` for each adapter in the folder until it returns true. */
static bool each_adapter(const char *folder, bool (*visit)(unsigned bus, void *arg), void *arg)
{
    DIR *entries = opendir(folder);
    struct dirent *entry;
    bool found = false;
    unsigned bus;

    if (!entries)
        return false;
    while (!found && (entry = readdir(entries)))
        found = parse_bus(entry->d_name, &bus) && visit(bus, arg);
    closedir(entries);
    return found;
}

/* ---- a target's kernel driver ---- */

/* The entry in sysfs: 10-bit addresses stand above 0xa000. */
static void target_entry(const struct i2c *i2c, int address, char *out, size_t size)
{
    bool ten_bit = i2c->ten_bit || address > ADDRESS7_MAX;

    snprintf(out, size, "%u-%04x", i2c->bus, (unsigned)address | (ten_bit ? 0xa000u : 0));
}

static bool driver_of(const char *entry, char *out, size_t size)
{
    char path[96], target[PATH_MAX];
    const char *slash;
    ssize_t n;

    snprintf(path, sizeof(path), SYSFS_BUS "/%.32s/driver", entry);
    n = readlink(path, target, sizeof(target) - 1);
    if (n < 0)
        return false;
    target[n] = '\0';
    slash = strrchr(target, '/');
    snprintf(out, size, "%.*s", (int)size - 1, slash ? slash + 1 : target);
    return true;
}

int adapter_busy(const struct i2c *i2c, int address, const char *operation, const char *object)
{
    char entry[32], driver[64];

    target_entry(i2c, address, entry, sizeof(entry));
    if (!driver_of(entry, driver, sizeof(driver)))
        return hal_fail(-EBUSY, operation, object,
                        "a kernel driver uses address 0x%02x, behind a multiplexer of this bus; "
                        "force=on talks to it all the same",
                        (unsigned)address);
    return hal_fail(-EBUSY, operation, object,
                    "the kernel driver \"%s\" uses %s; take it away: echo %s | sudo tee "
                    "/sys/bus/i2c/drivers/%s/unbind, or force=on talks to the target beside it",
                    driver, entry, entry, driver);
}

/* ---- from a name to a node ---- */

struct search {
    const char *name;
    unsigned bus;
    unsigned count;
    char list[512]; /* of what is there, or of what fits */
};

static void list_adapter(struct search *search, unsigned bus, const char *name)
{
    size_t used = strlen(search->list);

    snprintf(search->list + used, sizeof(search->list) - used, "%s%u (%s)", used ? ", " : "", bus,
             name);
}

static bool add_any(unsigned bus, void *arg)
{
    char name[NAME_SIZE] = "?";

    name_of(bus, name, sizeof(name));
    list_adapter(arg, bus, name);
    return false;
}

static bool add_named(unsigned bus, void *arg)
{
    struct search *search = arg;
    char name[NAME_SIZE];

    if (name_of(bus, name, sizeof(name)) && !strcmp(name, search->name)) {
        search->bus = bus;
        search->count++;
        list_adapter(search, bus, name);
    }
    return false;
}

static bool add_child(unsigned bus, void *arg)
{
    struct search *search = arg;

    search->bus = bus;
    search->count++;
    list_adapter(search, bus, "below it");
    return false;
}

static int say_adapters(int err, const char *object, const char *why)
{
    struct search all = {.name = NULL};

    each_adapter(SYSFS_BUS, add_any, &all);
    return hal_fail_plain(err, "open", object, "%s; %s%s", why,
                          *all.list ? "there are: " : "this machine has none", all.list);
}

static int settle_search(const struct search *search, const char *object, unsigned *bus)
{
    if (search->count == 0)
        return say_adapters(-ENOENT, object, "no I2C adapter of that name");
    if (search->count > 1)
        return hal_fail_plain(-EINVAL, "open", object, "several adapters fit: %s; give a number",
                              search->list);
    *bus = search->bus;
    return 0;
}

/* A path in sysfs: of the adapter itself, of its entry below class/i2c-dev, or of the controller
 * above it, whose name does not depend on the order in which drivers were loaded. */
static int bus_of_sysfs(const char *path, unsigned *bus)
{
    struct search below = {.name = path};
    char *real = realpath(path, NULL);
    int err = 0;

    if (!real)
        return hal_fail(-errno, "open", path, NULL);
    if (!parse_bus(strrchr(real, '/') + 1, bus)) {
        each_adapter(real, add_child, &below);
        err = settle_search(&below, path, bus);
    }
    free(real);
    return err;
}

static int bus_of_node(const char *path, unsigned *bus)
{
    struct stat node;

    if (stat(path, &node)) {
        int fd = hal_open_node(path, O_RDONLY); /* words it, with what there is in its place */
        if (fd >= 0)
            close(fd);
        return fd < 0 ? fd : hal_fail(-ENOENT, "open", path, NULL);
    }
    /* Opening has effects on some nodes, so a wrong one is not opened to find that out. */
    if (!S_ISCHR(node.st_mode) || major(node.st_rdev) != I2C_MAJOR)
        return hal_fail(-ENOTTY, "open", path, "not an I2C adapter; those are /dev/i2c-N");
    *bus = minor(node.st_rdev);
    return 0;
}

static int bus_of_name(const char *name, unsigned *bus)
{
    struct search search = {.name = name};

    if (parse_bus(name, bus))
        return 0;
    each_adapter(SYSFS_BUS, add_named, &search);
    return settle_search(&search, name, bus);
}

static int find_bus(const char *adapter, unsigned *bus)
{
    if (parse_digits(adapter, bus))
        return 0;
    if (!strncmp(adapter, "/sys/", 5))
        return bus_of_sysfs(adapter, bus);
    return *adapter == '/' ? bus_of_node(adapter, bus) : bus_of_name(adapter, bus);
}

/* The node of a path as it is; else the one that the kernel gives the number. */
static char *node_of(const char *adapter, unsigned bus)
{
    char path[32];
    char *real;

    if (*adapter == '/' && strncmp(adapter, "/sys/", 5) != 0)
        return realpath(adapter, NULL);
    snprintf(path, sizeof(path), "/dev/i2c-%u", bus);
    real = realpath(path, NULL);
    return real ? real : strdup(path);
}

/* ---- the address of a URI ---- */

/* Decimal or 0x hexadecimal, as numbers are in URIs. */
static bool parse_number(const char *text, unsigned long *out)
{
    bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
    char *end;

    if (*text < '0' || *text > '9')
        return false;
    errno = 0;
    *out = strtoul(text, &end, hex ? 16 : 10);
    return *end == '\0' && !errno;
}

static int check_address(struct hal_device *dev, struct i2c *i2c, unsigned long address)
{
    const char *uri = hal_device_uri(dev);
    struct hal_value ten_bit;
    int given = hal_device_option(dev, "ten_bit", &ten_bit);

    i2c->ten_bit = given == 1 ? ten_bit.b : address > ADDRESS7_MAX;
    if (address > ADDRESS10_MAX)
        return hal_fail_plain(-ERANGE, "open", uri, "0x%lx is above 0x%x, the highest address",
                              address, ADDRESS10_MAX);
    if (address > ADDRESS7_MAX && !i2c->ten_bit)
        return hal_fail_plain(-ERANGE, "open", uri, "0x%lx is above 0x%x: ten_bit=off does not fit",
                              address, ADDRESS7_MAX);
    i2c->address = (int)address;
    if (i2c_reserved(i2c->address, i2c->ten_bit) && !i2c->reserved)
        return hal_fail_plain(-EINVAL, "open", uri,
                              "the address 0x%02lx is reserved (0x00 .. 0x07 and 0x78 .. 0x7f); "
                              "reserved=on opens it all the same",
                              address);
    return 0;
}

/* Cut the address off and keep it. A path whose last part is no number is a bus alone. */
static int split(struct hal_device *dev, struct i2c *i2c, char *text)
{
    char *slash = strrchr(text, '/');
    unsigned long address;
    struct hal_value ten_bit;

    i2c->address = NO_ADDRESS;
    i2c->ten_bit = hal_device_option(dev, "ten_bit", &ten_bit) == 1 && ten_bit.b;
    if (!slash || (*text == '/' && !parse_number(slash + 1, &address)))
        return 0;
    if (!parse_number(slash + 1, &address))
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "\"%s\" is no address; it looks like 1/0x50", slash + 1);
    *slash = '\0';
    return check_address(dev, i2c, address);
}

int adapter_resolve(struct hal_device *dev, struct i2c *i2c)
{
    char text[HAL_URI_MAX + 1];
    int err;

    snprintf(text, sizeof(text), "%s", hal_device_address(dev));
    err = split(dev, i2c, text);
    if (err)
        return err;
    if (!*text)
        return say_adapters(-EINVAL, hal_device_uri(dev),
                            "which adapter? i2c:1/0x50 is the target 0x50 of bus 1, i2c:1 the bus");
    err = find_bus(text, &i2c->bus);
    if (err)
        return err;
    i2c->node = node_of(text, i2c->bus);
    return i2c->node ? 0 : -ENOMEM;
}

int adapter_open(const struct i2c *i2c)
{
    if (access(i2c->node, F_OK) == 0)
        return hal_open_node(i2c->node, O_RDWR | O_NONBLOCK);
    if (registered(i2c->bus))
        return hal_fail(-ENOENT, "open", i2c->node,
                        "the adapter is there, its node is not: sudo modprobe i2c-dev");
    return say_adapters(-ENOENT, i2c->node, "no such I2C adapter");
}
