# SPDX-License-Identifier: Apache-2.0
"""SPI: the face of devices of the driver ``spi`` (docs/spi.md)."""

from __future__ import annotations

from . import _core
from .device import Device, face
from .settings import Setting, State

__all__ = ["Spi"]


@face("spi")
class Spi(Device, _core.SpiHandle):
    """A chip select of an SPI bus (``spi:0.1``).

    ``transfer()`` and ``transfer_into()`` send and receive at once; ``read()`` and ``write()`` go
    one way; each holds the chip select for its whole length. Settings are properties, and may be
    given when opening::

        with hal.Spi.open("spi:0.1", mode=0, speed=1_000_000) as flash:
            identity = flash.transfer(bytes([0x9F, 0, 0, 0]))[1:]
            read = bytes([0x03, 0, 0, 0])
            page = flash.transfer([hal.Segment(read), hal.Segment(rx=256)])[0]

    Words of more than 8 bits lie in the buffers as 2 or 4 bytes each, in the machine's byte order,
    as numpy's ``uint16`` and ``uint32`` do.

    Raises:
        InvalidArgument: More bytes than ``message_max`` under one chip select (EMSGSIZE), or what
            the controller cannot do; the text says which.
        Unsupported: A setting that the controller refuses; the text names the mode's bits.
        Unplugged: The controller was removed.
    """

    __slots__ = ()

    mode = Setting[int]("mode", "0 to 3: clock polarity (2) and phase (1) as one number.")
    speed = Setting[int]("speed", "Highest clock, Hz.")
    bits = Setting[int]("bits", "Size of a word, 1 to 32 bits.")
    lsb_first = Setting[bool]("lsb_first", "Whether the least significant bit goes first.")
    cs_high = Setting[bool]("cs_high", "Whether the chip select is active when high.")
    no_cs = Setting[bool]("no_cs", "Whether the chip select is left alone.")
    three_wire = Setting[bool]("three_wire", "Whether one line serves both directions.")
    ready = Setting[bool]("ready", "Whether the chip may pause the controller.")
    loop = Setting[bool]("loop", "Whether the controller receives what it sends.")
    lanes_tx = Setting[int]("lanes_tx", "Data lines to send: 1, 2, 4 or 8.")
    lanes_rx = Setting[int]("lanes_rx", "Data lines to receive: 1, 2, 4 or 8.")
    delay = Setting[float]("delay", "Pause after each segment, seconds.")
    word_delay = Setting[float]("word_delay", "Pause between words, seconds.")
    message_max = State[int]("message_max", "Most bytes each way under one chip select.")
