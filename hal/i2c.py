# SPDX-License-Identifier: Apache-2.0
"""I2C and SMBus: the face of devices of the driver ``i2c`` (docs/i2c.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, NamedTuple

from . import _core
from .device import Device, Seconds, face
from .errors import InvalidArgument
from .settings import Setting, State

if TYPE_CHECKING:
    from ._core import AnyBuffer

__all__ = ["I2c", "I2cAnswer"]

# enum hal_i2c_request and enum hal_i2c_protocol, <hal/i2c.h>
_SCAN = 0x4902
_QUICK, _BYTE, _BYTE_DATA, _WORD_DATA, _PROCESS_CALL, _BLOCK_DATA = range(6)
_BLOCK_CALL, _I2C_BLOCK_DATA = 7, 8
_BLOCK_MAX = 32
_READ, _WRITE = 1, 0


class I2cAnswer(NamedTuple):
    """What a scan found at one address.

    Attributes:
        address: 0x08 to 0x77.
        state: "present": something acknowledged; "in use": a kernel driver has it, so it was not
            asked; "skipped": this adapter cannot ask it safely.
    """

    address: int
    state: Literal["present", "in use", "skipped"]


@face("i2c")
class I2c(Device, _core.I2cHandle):
    """A target on an I2C bus (``i2c:1/0x50``), or the bus alone (``i2c:1``).

    ``read()`` and ``write()`` are one message each, ``transfer()`` is one transaction of several
    with repeated starts. ``read_register()``, ``read_registers()`` and ``write_register()`` do what
    most chips want; the ``smbus_`` methods are the protocols of SMBus, and alone carry packet error
    codes::

        with hal.I2c.open("i2c:1/0x48") as sensor:
            celsius = int.from_bytes(sensor.read_registers(0, 2), "big", signed=True) / 256

    An adapter without plain messages (a PC's SMBus) does by SMBus what SMBus can say, and raises
    Unsupported for the rest.

    Raises:
        ProtocolError: Nobody acknowledged (EREMOTEIO); a wrong packet error code (EBADMSG); an
            answer against the SMBus protocol (EPROTO).
        Busy: Arbitration was lost to another controller.
        Timeout: The bus is stuck, or the timeout passed.
        Error: With errno EIO, a bus error.
        Unplugged: The adapter was removed.
    """

    __slots__ = ()

    address = State[int]("address", "The target's address; -1: the bus alone.")
    ten_bit = State[bool]("ten_bit", "Whether addresses have 10 bits.")
    bus = State[int]("bus", "The adapter's number.")
    adapter = State[str]("adapter", "The adapter's name.")
    pec = Setting[bool]("pec", "Whether SMBus requests carry a packet error code.")
    retries = Setting[int]("retries", "Tries after lost arbitration, of the whole adapter.")
    bus_timeout = Setting[float](
        "bus_timeout", "Longest transaction in seconds (steps of 0.01), of the whole adapter."
    )

    @property
    def functions(self) -> frozenset[str]:
        """What the adapter can do, as words: "i2c", "ten_bit", "pec", "read_block" ..."""
        return frozenset(str(self.attributes["functions"]).split())

    def scan(self, timeout: Seconds = ...) -> list[I2cAnswer]:
        """Ask who answers on the bus, as i2cdetect does; absent addresses are left out.

        Raises:
            Timeout: The bus is stuck, or the timeout passed before the end.
        """
        found = bytearray(3 * 16)
        self.control(_SCAN, found, timeout)
        present, in_use, skipped = found[:16], found[16:32], found[32:]
        answers = []
        for address in range(0x08, 0x78):
            if _has(present, address):
                answers.append(I2cAnswer(address, "present"))
            elif _has(in_use, address):
                answers.append(I2cAnswer(address, "in use"))
            elif _has(skipped, address):
                answers.append(I2cAnswer(address, "skipped"))
        return answers

    def smbus_quick(self, read: bool = False, timeout: Seconds = ...) -> None:
        """Address the target with the read or the write bit, and nothing more."""
        self.smbus(_QUICK, _READ if read else _WRITE, 0, b"", timeout)

    def smbus_receive_byte(self, timeout: Seconds = ...) -> int:
        """Read one byte without a command."""
        return self.smbus(_BYTE, _READ, 0, b"", timeout)[0]

    def smbus_send_byte(self, value: int, timeout: Seconds = ...) -> None:
        """Write one byte without a command."""
        self.smbus(_BYTE, _WRITE, 0, _bytes(value, 1), timeout)

    def smbus_read_byte(self, command: int, timeout: Seconds = ...) -> int:
        """Write a command, read one byte."""
        return self.smbus(_BYTE_DATA, _READ, command, b"", timeout)[0]

    def smbus_write_byte(self, command: int, value: int, timeout: Seconds = ...) -> None:
        """Write a command and one byte."""
        self.smbus(_BYTE_DATA, _WRITE, command, _bytes(value, 1), timeout)

    def smbus_read_word(self, command: int, timeout: Seconds = ...) -> int:
        """Write a command, read two bytes, low one first."""
        return int.from_bytes(self.smbus(_WORD_DATA, _READ, command, b"", timeout), "little")

    def smbus_write_word(self, command: int, value: int, timeout: Seconds = ...) -> None:
        """Write a command and two bytes, low one first."""
        self.smbus(_WORD_DATA, _WRITE, command, _bytes(value, 2), timeout)

    def smbus_process_call(self, command: int, value: int, timeout: Seconds = ...) -> int:
        """Write a command and two bytes, read two bytes, low ones first."""
        data = self.smbus(_PROCESS_CALL, _WRITE, command, _bytes(value, 2), timeout)
        return int.from_bytes(data, "little")

    def smbus_read_block(self, command: int, timeout: Seconds = ...) -> bytes:
        """Write a command, read as many bytes as the target says, 1 to 32."""
        return self.smbus(_BLOCK_DATA, _READ, command, b"", timeout)

    def smbus_write_block(self, command: int, data: AnyBuffer, timeout: Seconds = ...) -> None:
        """Write a command, a count and 1 to 32 bytes."""
        self.smbus(_BLOCK_DATA, _WRITE, command, data, timeout)

    def smbus_block_process_call(
        self, command: int, data: AnyBuffer, timeout: Seconds = ...
    ) -> bytes:
        """Write a command and a block, read a block."""
        return self.smbus(_BLOCK_CALL, _WRITE, command, data, timeout)

    def smbus_read_i2c_block(self, command: int, n: int, timeout: Seconds = ...) -> bytes:
        """Write a command, read n bytes, 1 to 32, without a count on the wire."""
        if not 1 <= n <= _BLOCK_MAX:
            raise InvalidArgument(f"smbus: a block has 1 to {_BLOCK_MAX} bytes; got {n}")
        return self.smbus(_I2C_BLOCK_DATA, _READ, command, bytes(n), timeout)

    def smbus_write_i2c_block(self, command: int, data: AnyBuffer, timeout: Seconds = ...) -> None:
        """Write a command and 1 to 32 bytes, without a count on the wire."""
        self.smbus(_I2C_BLOCK_DATA, _WRITE, command, data, timeout)


def _has(bits: bytearray, address: int) -> bool:
    return bool(bits[address // 8] >> address % 8 & 1)


def _bytes(value: int, size: int) -> bytes:
    """A number as SMBus sends it: low byte first."""
    try:
        return value.to_bytes(size, "little")
    except OverflowError:
        raise InvalidArgument(
            f"smbus: a value of {size} byte(s) is within 0..{256**size - 1}; got {value}"
        ) from None
