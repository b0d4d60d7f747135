/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a message of the kernel or of udevd: it is read within its bounds, and concerns
 * somebody only if a subsystem that is listed stands in it.
 */
#include <stdio.h>
#include <stdlib.h>

#include "../../csrc/discover/uevent.c"

/* A part of the list in sources.c. */
const struct source discover_sources[] = {{"serial", "tty", NULL}, {"pci", "pci", NULL}};
const size_t discover_source_count = COUNT_OF(discover_sources);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *message = malloc(size ? size : 1); /* of exactly this size: AddressSanitizer guards it */

    if (!message)
        return 0;
    memcpy(message, data, size);
    if (uevent_concerns(message, size) && !memmem(message, size, "SUBSYSTEM=", 10)) {
        fprintf(stderr, "it names no subsystem\n");
        abort();
    }
    free(message);
    return 0;
}
