# SPDX-License-Identifier: Apache-2.0
"""Serial lines: the face of devices of the driver ``uart`` (docs/uart.md)."""

from __future__ import annotations

import struct

from .device import Device, Seconds, face
from .errors import InvalidArgument
from .settings import Setting, State

__all__ = ["Uart"]

# enum hal_uart_request and enum hal_uart_queue, <hal/uart.h>
_BREAK, _DRAIN, _FLUSH = 0x5501, 0x5502, 0x5503
_INPUT, _OUTPUT = 1, 2


@face("uart")
class Uart(Device):
    """A serial line.

    Settings and states of the line are properties; all of them, and some rarer ones (RS-485,
    counters), are in ``attributes`` too, and may be given when opening::

        line = hal.Uart.open("uart:/dev/ttyUSB0", baud=115200, parity="even")
        line.baud = 9600
    """

    __slots__ = ()

    baud = Setting[int]("baud", "Speed in baud; reads as what the hardware really does.")
    bits = Setting[int]("bits", "Data bits of a character, 5 to 8.")
    parity = Setting[str]("parity", '"none", "even", "odd", "mark" or "space".')
    stop = Setting[float]("stop", "Stop bits: 1, 1.5 or 2.")
    flow = Setting[str]("flow", 'Flow control: "none", "rtscts" or "xonxoff".')
    exclusive = Setting[bool]("exclusive", "Whether nobody else may open the line.")
    low_latency = Setting[bool]("low_latency", "Whether bytes are handed over at once.")
    dtr = Setting[bool]("dtr", "Data terminal ready, an output.")
    rts = Setting[bool]("rts", "Request to send, an output.")
    rs485 = Setting[bool]("rs485", "RS-485 mode: RTS switches the transmitter.")
    cts = State[bool]("cts", "Clear to send, an input.")
    dsr = State[bool]("dsr", "Data set ready, an input.")
    dcd = State[bool]("dcd", "Data carrier detect, an input.")
    ri = State[bool]("ri", "Ring indicator, an input.")
    input_queue = State[int]("queue.input", "Bytes in the kernel that nobody has read.")
    output_queue = State[int]("queue.output", "Bytes in the kernel that have not been sent.")

    def break_(self, seconds: float = 0.25, timeout: Seconds = ...) -> None:
        """Send a break of 0.001 to 5 seconds, in whole milliseconds."""
        if not 0.001 <= seconds <= 5:
            raise InvalidArgument(f"break: it must last 0.001 to 5 seconds; got {seconds}")
        self.control(_BREAK, struct.pack("I", round(seconds * 1000)), timeout)

    def drain(self, timeout: Seconds = ...) -> None:
        """Wait until all that was written has left the line."""
        self.control(_DRAIN, b"", timeout)

    def flush(self, *, input: bool = True, output: bool = True) -> None:  # noqa: A002
        """Drop what has not been read, and what has not been sent."""
        queues = (_INPUT if input else 0) | (_OUTPUT if output else 0)
        if queues:
            self.control(_FLUSH, struct.pack("I", queues))
