/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file hal/uart.h
 * @brief Requests of serial lines (driver `uart`) for hal_control().
 *
 * Settings and states of a line are attributes (docs/uart.md lists them: baud, bits, parity, stop,
 * flow, rts, dtr, cts, ...). What is done once is here. Sources: termios(3), ioctl_tty(2).
 */
#ifndef HAL_UART_H
#define HAL_UART_H

#include <stdint.h>

#include <hal/export.h>

HAL_BEGIN_DECLS

enum hal_uart_request {
    /** Send a break. arg: const uint32_t, its length in milliseconds, 1 .. 5000. */
    HAL_UART_BREAK = 0x5501,
    /** Wait until all that was written has left the line. No arg. */
    HAL_UART_DRAIN = 0x5502,
    /** Drop what has not been read, or not been sent. arg: const uint32_t, enum hal_uart_queue. */
    HAL_UART_FLUSH = 0x5503
};

/** Queues of a line, or-ed. */
enum hal_uart_queue {
    HAL_UART_INPUT = 1, /**< the kernel's input queue, and what libhal has buffered */
    HAL_UART_OUTPUT = 2
};

HAL_END_DECLS

#endif
