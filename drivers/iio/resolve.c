/* SPDX-License-Identifier: Apache-2.0 */
/* Finding devices and triggers by what people call them. */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "iio.h"

struct search {
    const char *prefix; /* "iio:device", "trigger" */
    const char *name;
    int found;
    char folder[PATH_SIZE]; /* the last that was found */
    char where[128];        /* all that were found, for words */
    char known[512];        /* all that there are, for words */
};

static void add_word(char *list, size_t size, const char *word)
{
    size_t used = strlen(list);

    snprintf(list + used, size - used, "%s%s", used ? ", " : "", word);
}

static void look_at(struct search *search, const char *entry)
{
    char path[PATH_SIZE], name[TEXT_SIZE], label[TEXT_SIZE], word[TEXT_SIZE + 64];

    snprintf(path, sizeof(path), "%s/%s/name", IIO_FOLDER, entry);
    sysfs_read(path, name, sizeof(name));
    snprintf(path, sizeof(path), "%s/%s/label", IIO_FOLDER, entry);
    sysfs_read(path, label, sizeof(label));
    if (*search->prefix == 't')
        snprintf(word, sizeof(word), "%s", name);
    else
        snprintf(word, sizeof(word), "%.40s (%s)", strchr(entry, ':') + 1, name);
    add_word(search->known, sizeof(search->known), word);
    if (strcmp(name, search->name) && (!*label || strcmp(label, search->name)))
        return;
    add_word(search->where, sizeof(search->where), entry);
    snprintf(search->folder, sizeof(search->folder), "%s/%s", IIO_FOLDER, entry);
    search->found++;
}

static void run_search(struct search *search)
{
    struct dirent **entries;
    int count = scandir(IIO_FOLDER, &entries, NULL, versionsort);

    for (int i = 0; i < count; i++) {
        if (!strncmp(entries[i]->d_name, search->prefix, strlen(search->prefix)))
            look_at(search, entries[i]->d_name);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
}

/* "device0", "iio:device0", or a path to its node or folder: its number; -1: none of these. */
static int number_in(const char *address)
{
    const char *slash = strrchr(address, '/'), *text = slash ? slash + 1 : address;
    char end;
    int number;

    if (!strncmp(text, "iio:", 4))
        text += 4;
    if (!strncmp(text, "device", 6))
        text += 6;
    return sscanf(text, "%9d%c", &number, &end) == 1 && number >= 0 ? number : -1;
}

static int say_missing(struct hal_device *dev, const struct search *search)
{
    const char *uri = hal_device_uri(dev);

    if (search->found > 1)
        return hal_fail_plain(-EINVAL, "open", uri, "%d devices are called \"%s\": %s",
                              search->found, search->name, search->where);
    if (!*search->known)
        return hal_fail_plain(-ENOENT, "open", uri, "this machine has no IIO device");
    return hal_fail_plain(-ENOENT, "open", uri, "no IIO device \"%s\"; there are: %s", search->name,
                          search->known);
}

int resolve_device(struct hal_device *dev, struct iio *iio)
{
    const char *address = hal_device_address(dev);
    struct search search = {.prefix = "iio:device", .name = address};
    int number = number_in(address);

    if (!*address)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev),
                              "which device? As in iio:device0, or by its name");
    if (number >= 0)
        snprintf(iio->folder, sizeof(iio->folder), "%s/iio:device%d", IIO_FOLDER, number);
    if (number < 0 || !sysfs_exists(iio->folder)) {
        run_search(&search);
        if (search.found != 1)
            return say_missing(dev, &search);
        snprintf(iio->folder, sizeof(iio->folder), "%s", search.folder);
    }
    snprintf(iio->node, sizeof(iio->node), "/dev/%.48s", strrchr(iio->folder, '/') + 1);
    return 0;
}

int resolve_trigger(struct hal_device *dev, const char *name, char *folder, size_t size)
{
    struct search search = {.prefix = "trigger", .name = name};

    run_search(&search);
    snprintf(folder, size, "%s", search.folder);
    if (search.found == 1)
        return 0;
    if (search.found)
        return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev), "%d triggers are called \"%s\"",
                              search.found, name);
    return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev), "no trigger \"%s\"; there are: %s",
                          name, *search.known ? search.known : "none");
}
