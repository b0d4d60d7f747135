/* SPDX-License-Identifier: Apache-2.0 */
/* Finding chips and lines by what people call them. */
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "gpio.h"

#define LIST_SIZE 512

/* The nodes of all chips, in the order of their numbers. */
struct chips {
    struct dirent **entries;
    int count;
};

static int is_chip(const struct dirent *entry)
{
    return !strncmp(entry->d_name, "gpiochip", 8) &&
           (entry->d_type == DT_CHR || entry->d_type == DT_UNKNOWN);
}

static void chips_find(struct chips *chips)
{
    chips->count = scandir("/dev", &chips->entries, is_chip, versionsort);
    if (chips->count < 0)
        chips->entries = NULL;
}

static void chips_free(struct chips *chips)
{
    for (int i = 0; i < chips->count; i++)
        free(chips->entries[i]);
    free(chips->entries);
}

static void chips_node(const struct chips *chips, int index, char *out, size_t size)
{
    snprintf(out, size, "/dev/%.32s", chips->entries[index]->d_name);
}

/* ---- one chip ---- */

static int ask_chip(int fd, struct gpiochip_info *info)
{
    if (ioctl(fd, GPIO_GET_CHIPINFO_IOCTL, info) < 0)
        return -errno;
    info->name[sizeof(info->name) - 1] = info->label[sizeof(info->label) - 1] = '\0';
    return 0;
}

/* A descriptor, or a negative errno without words. */
static int open_quietly(const char *node, struct gpiochip_info *info)
{
    int fd = open(node, O_RDWR | O_CLOEXEC);
    int err = fd < 0 ? -errno : ask_chip(fd, info);

    if (fd >= 0 && err)
        close(fd);
    return err ? err : fd;
}

/* Sets node, chip and chip_fd; or a worded failure. */
static int open_chip(struct gpio *gpio, const char *node)
{
    struct stat st;
    int err;

    if ((size_t)snprintf(gpio->node, sizeof(gpio->node), "%s", node) >= sizeof(gpio->node))
        return hal_fail(-ENAMETOOLONG, "open", node, NULL);
    if (stat(node, &st) == 0 && !S_ISCHR(st.st_mode))
        return hal_fail(-ENOTTY, "open", node, "not a GPIO chip");
    gpio->chip_fd = hal_open_node(node, O_RDWR);
    if (gpio->chip_fd < 0)
        return gpio->chip_fd;
    err = ask_chip(gpio->chip_fd, &gpio->chip);
    if (err == -ENODEV)
        return hal_fail(err, "open", node, "the chip was removed");
    return err ? hal_fail(-ENOTTY, "open", node, "not a GPIO chip") : 0;
}

int chip_line(int chip_fd, uint32_t offset, struct gpio_v2_line_info *info)
{
    memset(info, 0, sizeof(*info));
    info->offset = offset;
    if (ioctl(chip_fd, GPIO_V2_GET_LINEINFO_IOCTL, info) < 0)
        return -errno;
    info->name[sizeof(info->name) - 1] = info->consumer[sizeof(info->consumer) - 1] = '\0';
    return 0;
}

/* ---- chips by name ---- */

static void list_chips(const struct chips *chips, char *out, size_t size)
{
    size_t used = 0;

    *out = '\0';
    for (int i = 0; i < chips->count && used < size; i++) {
        struct gpiochip_info info = {0};
        char node[64];
        int fd;

        chips_node(chips, i, node, sizeof(node));
        fd = open_quietly(node, &info);
        used += (size_t)snprintf(out + used, size - used, "%s%s", used ? ", " : "", node + 5);
        if (fd < 0)
            continue;
        close(fd);
        if (used < size)
            used += (size_t)snprintf(out + used, size - used, " (%s)", info.label);
    }
}

/* How many chips have this label; the node of the last one, and of the first that may not be
 * opened (empty: all may). */
static int find_label(const char *label, char *node, char *closed, size_t size)
{
    struct chips chips;
    int found = 0;

    *closed = '\0';
    chips_find(&chips);
    for (int i = 0; i < chips.count; i++) {
        struct gpiochip_info info = {0};
        char path[64];
        int fd;

        chips_node(&chips, i, path, sizeof(path));
        fd = open_quietly(path, &info);
        if ((fd == -EACCES || fd == -EPERM) && !*closed)
            snprintf(closed, size, "%s", path);
        if (fd < 0)
            continue;
        close(fd);
        if (!strcmp(info.label, label)) {
            snprintf(node, size, "%s", path);
            found++;
        }
    }
    chips_free(&chips);
    return found;
}

static int say_no_chip(struct hal_device *dev, const char *name, const char *closed)
{
    char known[LIST_SIZE];
    struct chips chips;
    int fd;

    if (*closed) { /* the one that is meant may be among those that tell us nothing */
        fd = hal_open_node(closed, O_RDWR);
        if (fd < 0)
            return fd;
        close(fd);
    }
    chips_find(&chips);
    list_chips(&chips, known, sizeof(known));
    chips_free(&chips);
    if (!*known)
        return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev),
                              "no GPIO chip \"%s\", nor any other on this machine", name);
    return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev),
                          "no GPIO chip \"%s\"; there are: %s", name, known);
}

static bool all_digits(const char *text)
{
    return *text && text[strspn(text, "0123456789")] == '\0';
}

/* "gpiochip0", "0", "/dev/gpiochip0", or a label. */
static int open_named(struct hal_device *dev, struct gpio *gpio, const char *name)
{
    char node[64], closed[64], path[HAL_URI_MAX + 16];
    int found;

    if (*name == '/')
        return open_chip(gpio, name);
    snprintf(path, sizeof(path), "/dev/%s%s", all_digits(name) ? "gpiochip" : "", name);
    if (all_digits(name) || (!strncmp(name, "gpiochip", 8) && all_digits(name + 8)))
        return open_chip(gpio, path);
    found = find_label(name, node, closed, sizeof(node));
    if (found == 1)
        return open_chip(gpio, node);
    if (found > 1)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "%d chips have the label \"%s\"; take one by its node's name", found,
                              name);
    return say_no_chip(dev, name, closed);
}

/* ---- lines ---- */

/* Where a line of a certain name was seen. */
struct sighting {
    int count;
    uint32_t offset; /* the last one */
    char node[64];   /* ... and its chip */
    char where[128]; /* all of them, for words */
    char closed[64]; /* a chip that may not be opened */
};

static void sight(struct sighting *seen, const char *node, uint32_t offset)
{
    size_t used = strlen(seen->where);

    snprintf(seen->where + used, sizeof(seen->where) - used, "%s%s/%u", used ? ", " : "", node + 5,
             offset);
    snprintf(seen->node, sizeof(seen->node), "%s", node);
    seen->offset = offset;
    seen->count++;
}

static void search_chip(int fd, const struct gpiochip_info *chip, const char *node,
                        const char *name, struct sighting *seen)
{
    struct gpio_v2_line_info info;

    for (uint32_t i = 0; i < chip->lines; i++)
        if (chip_line(fd, i, &info) == 0 && !strcmp(info.name, name))
            sight(seen, node, i);
}

static void search_all(const char *name, struct sighting *seen)
{
    struct chips chips;

    chips_find(&chips);
    for (int i = 0; i < chips.count; i++) {
        struct gpiochip_info info = {0};
        char node[64];
        int fd;

        chips_node(&chips, i, node, sizeof(node));
        fd = open_quietly(node, &info);
        if ((fd == -EACCES || fd == -EPERM) && !*seen->closed)
            snprintf(seen->closed, sizeof(seen->closed), "%s", node);
        if (fd < 0)
            continue;
        search_chip(fd, &info, node, name, seen);
        close(fd);
    }
    chips_free(&chips);
}

static int add_line(struct hal_device *dev, struct gpio *gpio, uint32_t offset)
{
    const char *uri = hal_device_uri(dev);

    if (gpio->count == GPIO_V2_LINES_MAX)
        return hal_fail_plain(-E2BIG, "open", uri, "more than %d lines", GPIO_V2_LINES_MAX);
    for (unsigned i = 0; i < gpio->count; i++)
        if (gpio->offsets[i] == offset)
            return hal_fail_plain(-EINVAL, "open", uri, "line %u is named twice", offset);
    gpio->offsets[gpio->count] = offset;
    gpio->all |= UINT64_C(1) << gpio->count++;
    return 0;
}

static int add_offset(struct hal_device *dev, struct gpio *gpio, const char *text)
{
    unsigned long offset = strtoul(text, NULL, 10);

    if (strlen(text) > 9 || offset >= gpio->chip.lines)
        return hal_fail_plain(-ERANGE, "open", hal_device_uri(dev),
                              "%s (%s) has %u lines, 0 .. %u; there is no line %s", gpio->chip.name,
                              gpio->chip.label, gpio->chip.lines, gpio->chip.lines - 1, text);
    return add_line(dev, gpio, (uint32_t)offset);
}

static int say_line(struct hal_device *dev, const struct gpio *gpio, const char *name,
                    const struct sighting *seen)
{
    const char *uri = hal_device_uri(dev);
    char unseen[128] = "";

    if (seen->count > 1)
        return hal_fail_plain(-EINVAL, "open", uri,
                              "%d lines are called \"%s\": %s; take one of these instead",
                              seen->count, name, seen->where);
    if (gpio->chip_fd >= 0 && !seen->count)
        return hal_fail_plain(-ENOENT, "open", uri, "%s (%s) has no line called \"%s\"",
                              gpio->chip.name, gpio->chip.label, name);
    if (*seen->closed)
        snprintf(unseen, sizeof(unseen), " (%s may not be opened, so was not asked)", seen->closed);
    return hal_fail_plain(-ENOENT, "open", uri, "no chip has a line called \"%s\"%s", name, unseen);
}

/* By name: on the chip that is open, else on any. */
static int add_named(struct hal_device *dev, struct gpio *gpio, const char *name, bool any_chip)
{
    struct sighting seen = {0};
    int err;

    if (any_chip)
        search_all(name, &seen);
    else
        search_chip(gpio->chip_fd, &gpio->chip, gpio->node, name, &seen);
    if (!seen.count && *seen.closed && gpio->chip_fd < 0) {
        int fd = hal_open_node(seen.closed, O_RDWR); /* says what rights are missing */
        if (fd < 0)
            return fd;
        close(fd);
    }
    if (seen.count != 1)
        return say_line(dev, gpio, name, &seen);
    if (any_chip && gpio->chip_fd >= 0 && strcmp(gpio->node, seen.node))
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "\"%s\" is on %s, the lines before it are on %s; a device has lines "
                              "of one chip",
                              name, seen.node, gpio->node);
    err = gpio->chip_fd < 0 ? open_chip(gpio, seen.node) : 0;
    return err ? err : add_line(dev, gpio, seen.offset);
}

static int add_lines(struct hal_device *dev, struct gpio *gpio, const char *text, bool any_chip)
{
    char list[HAL_URI_MAX + 1], *rest = list, *word;
    int err = 0;

    snprintf(list, sizeof(list), "%s", text);
    while (!err && (word = strsep(&rest, ","))) {
        if (!*word)
            err = hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                                 "an empty line name; lines are named as in gpiochip0/4,5");
        else if (!all_digits(word))
            err = add_named(dev, gpio, word, any_chip);
        else if (any_chip)
            err = hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                                 "line %s of which chip? As in gpiochip0/%s", word, word);
        else
            err = add_offset(dev, gpio, word);
    }
    return err;
}

/* ---- addresses ---- */

/* An address without lines: a chip by its node's name or number. */
static bool names_chip(const char *address)
{
    return *address == '/' || all_digits(address) ||
           (!strncmp(address, "gpiochip", 8) && all_digits(address + 8));
}

/* One word that is no chip's name: a line of any chip, or else a chip's label. */
static int resolve_word(struct hal_device *dev, struct gpio *gpio, const char *address)
{
    struct sighting seen = {0};
    char node[64], closed[64];

    if (!strchr(address, ',')) {
        search_all(address, &seen);
        if (!seen.count && find_label(address, node, closed, sizeof(node)) == 1)
            return open_chip(gpio, node);
    }
    return add_lines(dev, gpio, address, true);
}

int chip_resolve(struct hal_device *dev, struct gpio *gpio)
{
    const char *address = hal_device_address(dev), *slash = strrchr(address, '/');
    char chip[HAL_URI_MAX + 1];
    struct stat st;
    int err;

    if (!*address)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "which lines? As in gpio:gpiochip0/4,5 or gpio:LED");
    if (*address == '/' && (slash == address || stat(address, &st) == 0))
        return open_chip(gpio, address);
    if (!slash || (*address == '/' && !strncmp(address, "/dev/", 5) && slash == address + 4))
        return names_chip(address) ? open_named(dev, gpio, address)
                                   : resolve_word(dev, gpio, address);
    snprintf(chip, sizeof(chip), "%.*s", (int)(slash - address), address);
    err = open_named(dev, gpio, chip);
    return err ? err : add_lines(dev, gpio, slash + 1, false);
}
