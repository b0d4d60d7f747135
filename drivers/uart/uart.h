/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of this driver share. Linux's own termios2 is used throughout, for any speed; it
 * cannot be seen together with libc's <termios.h>, which therefore is included nowhere here. */
#ifndef UART_H
#define UART_H

#include <asm/termbits.h>
#include <linux/serial.h>
#include <stdbool.h>
#include <stdint.h>

#include <hal/driver.h>

struct uart {
    char *node;                /* the device itself, links resolved: what errors name */
    struct termios2 saved;     /* the line as it was found */
    bool restore;              /* ... and is left */
    bool exclusive;            /* nobody else may open it */
    struct serial_rs485 rs485; /* as wished: the kernel forgets it while RS-485 is off */
};

/* ---- uart.c ---- */

/* Word a failed call (negative errno). A tty that hung up is gone for ever, whatever errno it
 * chose; one that does not know the request is short of `lacking`. */
int uart_fail(struct hal_device *dev, int err, const char *operation, const char *lacking);
/* Take the line for this descriptor alone, or beside others who do not mind. 0 or negative errno,
 * without message. */
int uart_claim(int fd, bool exclusive);
/* -EBUSY, with whoever has the node open. */
int uart_busy(const char *node);

/* ---- line.c: what termios holds ---- */

/* The order of the first rows of uart_attributes. */
enum line_setting {
    LINE_BAUD,
    LINE_BITS,
    LINE_PARITY,
    LINE_STOP,
    LINE_FLOW,
    LINE_HANGUP,
    LINE_SETTINGS
};

/* What was asked for: value[i] counts when bit i of `which` is set. */
struct line_wish {
    unsigned which;
    struct hal_value value[LINE_SETTINGS];
};

/* 0 or negative errno, without message. */
int line_load(int fd, struct termios2 *line);
/* Raw mode and all the settings that are wished for, or none. 0, or worded failure. */
int line_open(struct hal_device *dev, const struct line_wish *wish);
/* Put `saved` back, once what was written has gone out. */
void line_restore(int fd, const struct termios2 *saved);

/* Waiting until everything written has left. A tty does not tell when: it has to be asked again. */
struct line_drain {
    struct termios2 line;
    hal_deadline patience; /* with a FIFO that does not get empty; 0: not yet running */
};

#define LINE_STEP_NS 10000000 /* ask at least that often: the line may be flushed, or go */

int line_drain_begin(int fd, struct line_drain *drain);
/* Time that it may still take, ns; 0 when all is out; or negative errno. */
int64_t line_unsent(int fd, struct line_drain *drain);

int line_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out);
int line_set(struct hal_device *dev, const struct hal_attribute *attr,
             const struct hal_value *value);

/* ---- attributes.c: the table, and what ioctl_tty(2) holds ---- */

#define UART_ATTRIBUTES 35
extern const struct hal_attribute uart_attributes[];

/* Word a failure to "get" or "set" an attribute. */
int attribute_fail(struct hal_device *dev, const struct hal_attribute *attr, const char *verb,
                   int err, const char *lacking);
/* The tty took a setting without a complaint and did something else. */
int attribute_ignored(struct hal_device *dev, const struct hal_attribute *attr,
                      const struct hal_value *asked, const struct hal_value *got);
/* Drive a modem line (TIOCM_...). 0 or negative errno, without message. */
int modem_drive(int fd, int line, bool on);

/* ---- rs485.c ---- */

enum rs485_setting {
    RS485_RTS_ON_SEND,
    RS485_DELAY_BEFORE,
    RS485_DELAY_AFTER,
    RS485_RX_DURING_TX,
    RS485_TERMINATE,
    RS485_ENABLED
};

int rs485_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out);
int rs485_set(struct hal_device *dev, const struct hal_attribute *attr,
              const struct hal_value *value);

#endif
