/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/match.h
 * @brief Which devices a driver fits, stated in one table beside its code.
 *
 *     static const struct hal_match matches[] = {
 *         {"subsystem:i2c of:atmel,24c*", "{bus}/{address}", "EEPROMs in the device tree"},
 *         {"subsystem:i2c i2c:24c*", "{bus}/{address}", NULL},
 *     };
 *
 * Discovery holds every device against the tables of all drivers. The best row names the driver
 * and makes the URI; hal-probe explain shows all that fit, and why the best one won.
 *
 * ## What a row fits
 * `fits` is one or more words with a space between them; each has to fit the device. A word is
 * KIND:GLOB (fnmatch(3): '*', '?', '[...]'), in the spirit of the kernel's modalias, and fits when
 * the device has such a text:
 *
 * | kind               | text                                                                   |
 * |--------------------|------------------------------------------------------------------------|
 * | subsystem          | the kernel's bus or class ("tty"), and with the name ("block/pmem0")   |
 * | driver             | the kernel driver that is bound to it: "vfio-pci"                      |
 * | of                 | each device-tree `compatible`, the most specific first: "atmel,24c02"  |
 * | acpi               | each ACPI or PNP id: "PNP0501"                                         |
 * | pci, usb, i2c, spi, platform ... | the kernel's modalias: "v00008086d0000A36Dsv*", "24c02"  |
 * | dnssd              | the type of a service: "_hal-device._tcp"                              |
 * | ssdp               | the urn of a UPnP device or service                                    |
 *
 * Ids are those of the hardware: a tty has those of the USB interface, or the UART, it is part of.
 * A row that is to fit the tty alone, not the USB device too, says so:
 * "subsystem:tty usb:v0403p6001*".
 *
 * ## How well it fits
 * | the strongest word                                                               | score   |
 * |----------------------------------------------------------------------------------|---------|
 * | an id: of, acpi (less 1 for each id before it in the device's list, 9 at most),  | 51 - 60 |
 * | modalias, dnssd, ssdp                                                            | or 60   |
 * | a class of devices: a glob that begins with a wildcard, "v*", or so ("pci:v*bc02*") | 40   |
 * | a subsystem and a name, "subsystem:block/pmem*"; a kernel driver                 | 20      |
 * | a subsystem                                                                      | 10      |
 *
 * and 1 more for each further word. [match] in the configuration file beats all of these (100).
 * Of equal scores the longer `fits` wins, then the driver that is first in the alphabet.
 */
#ifndef HAL_MATCH_H
#define HAL_MATCH_H

#include <hal/export.h>

HAL_BEGIN_DECLS

/** One row: which devices, and how they are opened. Strings stay while the driver is registered. */
struct hal_match {
    const char *fits; /**< see above; HAL_MATCH_MAX bytes at most */
    /** What follows "driver:" in the URI. {node}, {name} (the kernel's), {number} (at the name's
     *  end), {bus}, {address}, {chip}, {bar} stand for what the device has, {id} and {at}
     *  ("host:port") for what a service has; a device that lacks any of those that are asked for
     *  does not fit. '%' and '?' in them are escaped. */
    const char *address;
    const char *note; /**< for people: what these devices are; NULL: nothing to add */
};

/** Longest `fits` and `address`, without the terminating NUL. */
#define HAL_MATCH_MAX 255

HAL_END_DECLS

#endif
