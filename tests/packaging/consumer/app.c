/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A program outside the project:  app URI [TEXT]
 * Prints the library's driver folder, writes TEXT to the device, prints what it reads.
 */
#include <stdio.h>
#include <string.h>

#include <hal/hal.h>

static int failed(void)
{
    fprintf(stderr, "%s\n", hal_last_error());
    return 1;
}

int main(int argc, char **argv)
{
    hal_deadline until = hal_after_ms(5000);
    hal_handle dev;
    char buf[64];
    ssize_t n;

    if (argc < 2 || hal_check_library() < 0)
        return failed();
    dev = hal_open(argv[1], until);
    if (dev < 0)
        return failed();
    if (argc > 2 && hal_write(dev, argv[2], strlen(argv[2]), until) < 0)
        return failed();
    n = hal_read(dev, buf, sizeof(buf), until);
    if (n < 0 || hal_close(dev) < 0)
        return failed();
    printf("%s\n%.*s\n", hal_driver_dir(), (int)n, buf);
    return 0;
}
