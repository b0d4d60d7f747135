/* SPDX-License-Identifier: Apache-2.0 */
/* Who a device is, whatever it is called today. The rule is written in discovery/identity.py. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "internal.h"

/* ---- numbers that a device carries ---------------------------------------------------------- */

static bool starts(const char *text, const char *with)
{
    return !strncmp(text, with, strlen(with));
}

/* Is this a text that makers put where a serial number should be? */
static bool is_dummy(const char *serial)
{
    static const char *const dummies[] = {"0123456789abcdef", "1234567890",  "none", "n/a",
                                          "default",          "to be filled"};
    char text[256];
    size_t len = 0;

    serial += strspn(serial, " \t");
    for (; serial[len] && len < sizeof(text) - 1; len++)
        text[len] = (char)tolower((unsigned char)serial[len]);
    while (len && strchr(" \t", text[len - 1]))
        len--;
    text[len] = '\0';
    if (strspn(text, (char[]){text[0], '\0'}) == len)
        return true; /* empty, or one letter again and again */
    for (size_t i = 0; i < COUNT_OF(dummies); i++)
        if (starts(text, dummies[i]) || starts(dummies[i], text))
            return true;
    return false;
}

static const char *usb_number(struct tree *tree, struct node *node)
{
    const char *vendor = node_attr(tree, node, "idVendor");
    const char *product = node_attr(tree, node, "idProduct");
    const char *serial = node_attr(tree, node, "serial");

    /* A root hub's (Linux Foundation) serial number is the address of its controller. */
    if (!*product || !strcmp(vendor, "1d6b") || is_dummy(serial))
        return "";
    return arena_print(tree->arena, "usb %s:%s %s", vendor, product, serial);
}

/* The UUID that a USB device gives for its serial number, NULL when it gives none. */
static const char *usb_uuid(struct tree *tree, struct node *node)
{
    static const char shape[] = "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx";
    const char *serial = node_attr(tree, node, "serial");
    char uuid[sizeof(shape)] = "";

    if (strlen(serial) != strlen(shape) || !serial[strspn(serial, "0-")])
        return NULL;
    for (size_t i = 0; shape[i]; i++) {
        uuid[i] = (char)tolower((unsigned char)serial[i]);
        if (shape[i] == '-' ? uuid[i] != '-' : !isxdigit((unsigned char)uuid[i]))
            return NULL;
    }
    return arena_text(tree->arena, uuid, strlen(uuid));
}

/* Six or more pairs of hexadecimal digits, the last of any two letters. */
static bool is_mac(const char *text)
{
    size_t pairs = 0;

    while (strspn(text, "0123456789abcdef") >= 2 && text[2] == ':') {
        pairs++;
        text += 3;
    }
    return pairs >= 5 && strlen(text) == 2;
}

static const char *mac(struct tree *tree, struct node *node)
{
    const char *address = node_attr(tree, node, "address");
    unsigned first = 0;

    if (strcmp(node_attr(tree, node, "addr_assign_type"), "0") || !is_mac(address))
        return "";
    sscanf(address, "%2x", &first);
    if (first & 2 || !address[strspn(address, "0:")]) /* IEEE 802, clause 8 */
        return "";
    return arena_print(tree->arena, "mac %s", address);
}

static const char *number_of(struct tree *tree, struct node *node)
{
    const char *kind = node->subsystem, *number;

    if (!strcmp(kind, "usb"))
        return usb_number(tree, node);
    if (!strcmp(kind, "net"))
        return mac(tree, node);
    if (!strcmp(kind, "cxl")) {
        unsigned long long serial = strtoull(node_attr(tree, node, "serial"), NULL, 0);
        return serial ? arena_print(tree->arena, "cxl 0x%llx", serial) : "";
    }
    if (!strcmp(kind, "nd")) {
        number = node_attr(tree, node, "nfit/id");
        if (!*number)
            number = node_attr(tree, node, "uuid");
        return number[strspn(number, "0-")] ? arena_print(tree->arena, "nvdimm %s", number) : "";
    }
    return "";
}

/* ---- the way down --------------------------------------------------------------------------- */

/* Buses whose names hardware or firmware fixes. */
static bool is_fixed(const char *kind)
{
    static const char *const fixed[] = {"pci",         "platform", "acpi",     "pnp", "amba",
                                        "of_platform", "scsi",     "mdio_bus", "cpu"};

    for (size_t i = 0; i < COUNT_OF(fixed); i++)
        if (!strcmp(kind, fixed[i]))
            return true;
    return false;
}

/* "/devices/virtual/CLASS/NAME" */
static bool is_virtual(const char *devpath)
{
    const char *rest = devpath + strlen("/devices/virtual/");

    if (!starts(devpath, "/devices/virtual/"))
        return false;
    rest += strcspn(rest, "/");
    return *rest == '/' && rest[1] && !strchr(rest + 1, '/');
}

/* How much of a name is before the number that the kernel counts; all of it when there is none. */
static size_t stem(const char *name)
{
    size_t len = strlen(name), all = len;

    if (!len || !isdigit((unsigned char)name[len - 1]))
        return all;
    while (len && (isdigit((unsigned char)name[len - 1]) || name[len - 1] == '.'))
        len--;
    return len;
}

/* What the folder of a device holds; devices of one folder mostly come one after the other. */
static const char **siblings(struct tree *tree, const struct node *node)
{
    size_t len = (size_t)(strrchr(node->path, '/') - node->path);

    if (!tree->siblings || strlen(tree->siblings_of) != len ||
        strncmp(tree->siblings_of, node->path, len) != 0) {
        tree->siblings_of = arena_text(tree->arena, node->path, len);
        tree->siblings = tree_names(tree, tree->siblings_of);
    }
    return tree->siblings;
}

/* Which of its siblings with the same stem it is. */
static unsigned rank(struct tree *tree, const struct node *node)
{
    size_t len = stem(node->name);
    unsigned before = 0;

    for (const char **name = siblings(tree, node); *name; name++) {
        if (!strcmp(*name, node->name))
            return before;
        before += stem(*name) == len && !strncmp(*name, node->name, len);
    }
    return 0;
}

static long long port(struct tree *tree, const struct node *node)
{
    long long number = node_integer(tree, node, "dev_port", 0);

    return number ? number : node_integer(tree, node, "dev_id", 0);
}

/* A device's name below the one above it, without what the kernel counts. */
static const char *step(struct tree *tree, struct node *node)
{
    const char *name = node->name, *kind = node->subsystem, *at;
    const struct node *above = node_parent(tree, node);
    size_t number = strspn(name, "0123456789"), len = stem(name);
    bool usb = !strcmp(kind, "usb"), i2c = !strcmp(kind, "i2c");

    if (!strcmp(kind, "serial-base")) /* Linux 6.5 put this layer in; older kernels go without */
        return "";
    if (!strcmp(kind, "pci") && above && !strcmp(above->subsystem, "pci"))
        return (at = strrchr(name, ':')) ? at + 1 : name; /* behind bridges buses are counted */
    if (!*kind || is_fixed(kind) || is_virtual(node->devpath))
        return name;
    if (usb && (at = strchr(name, ':')))
        return at; /* an interface, "1-2.3:1.0": it begins with its device */
    if ((usb || i2c) && number && name[number] == '-')
        return name + number + 1; /* "1-2.3", "1-0050": the bus number is counted */
    if (i2c && !(starts(name, "i2c-") && all_digits(name + 4)))
        return name; /* named by ACPI */
    if (!strcmp(kind, "spi"))
        return (at = strchr(name, '.')) ? at + 1 : name;
    if (!strcmp(kind, "net"))
        return arena_print(tree->arena, "net#%lld", port(tree, node)); /* they are renamed */
    if (len == strlen(name))
        return name;
    return arena_print(tree->arena, "%.*s#%u", (int)len, name, rank(tree, node));
}

/* The names from `anchor` (not included; NULL: the root) down to the device. */
static const char *way_down(struct tree *tree, struct node *node, const struct node *anchor)
{
    const char *way = "";

    for (; node && node != anchor; node = node_parent(tree, node)) {
        const char *name = step(tree, node);
        if (*name)
            way = *way ? arena_print(tree->arena, "%s/%s", name, way) : name;
    }
    return way;
}

const char *identity_derive(struct tree *tree, const char *device_class, struct node *node,
                            const char *machine)
{
    const char *own = strcmp(device_class, "usb") ? NULL : usb_uuid(tree, node);

    if (own)
        return own;
    for (struct node *at = node; at; at = node_parent(tree, at)) {
        const char *number = number_of(tree, at);
        if (*number)
            return uuid_of(tree->arena, arena_print(tree->arena, "%s\n%s\n%s", device_class, number,
                                                    way_down(tree, node, at)));
    }
    return identity_place(tree, device_class, node, machine);
}

static const char *of_machine(struct tree *tree, const char *device_class, const char *machine,
                              const char *place)
{
    return uuid_of(tree->arena,
                   arena_print(tree->arena, "%s\nmachine %s\n%s", device_class, machine, place));
}

const char *identity_place(struct tree *tree, const char *device_class, struct node *node,
                           const char *machine)
{
    return of_machine(tree, device_class, machine, way_down(tree, node, NULL));
}

const char *identity_path(struct tree *tree, const char *device_class, struct node *node,
                          const char *machine)
{
    return of_machine(tree, device_class, machine, node->devpath);
}
