# SPDX-License-Identifier: Apache-2.0
"""hal.I2c over a target that is a driver in Python; buses are in tests/lab/guest/test_i2c.py."""

from __future__ import annotations

import errno
import struct
from collections.abc import Callable, Iterator, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hal
from hal import I2c, I2cAnswer, Segment
from hal._abi import ffi, lib
from hal.device import face

NAME = "i2c-of-test"


class Target(hal.Driver):
    """256 registers, a note of every transfer and exchange, and canned answers."""

    here: Target

    def init(self, device: hal.DriverDevice) -> None:
        super().init(device)
        self.registers = bytearray(range(256))
        self.numbers: list[bytes] = []
        self.exchange = b""
        self.answer = b""
        self.scan = bytes(48)
        Target.here = self

    def transfer(self, segments: Sequence[Segment], deadline: float) -> None:
        assert isinstance(segments[0].tx, memoryview)
        tx = bytes(segments[0].tx)
        self.numbers.append(tx)
        if len(segments) == 2:
            assert isinstance(segments[1].rx, memoryview)
            segments[1].rx[:] = self.registers[tx[-1] : tx[-1] + len(segments[1].rx)]
        else:
            self.registers[tx[0] : tx[0] + len(tx) - 1] = tx[1:]

    def control(self, request: int, buffer: memoryview, deadline: float) -> int:
        if request == lib.HAL_I2C_SCAN:
            buffer[:] = self.scan
            return 0
        self.exchange = bytes(buffer)
        buffer[4 : 4 + len(self.answer)] = self.answer
        return len(self.answer)


@pytest.fixture(scope="module", autouse=True)
def driver() -> Iterator[None]:
    """The driver, opened as hal.I2c."""
    face(NAME)(I2c)
    hal.register_driver(NAME, Target)
    yield
    hal.unregister_driver(NAME)


@pytest.fixture
def chip() -> Iterator[I2c]:
    with I2c.open(NAME) as device:
        yield device


def test_the_face_is_the_drivers() -> None:
    assert hal.I2c is I2c
    with pytest.raises(hal.NotFound, match="no such I2C adapter"):
        hal.open("i2c:1234567/0x50")
    with pytest.raises(hal.InvalidArgument, match="0x07 is reserved"):
        I2c.open("i2c:1/0x07")


def test_registers(chip: I2c) -> None:
    assert chip.read_register(0xA5) == 0xA5
    assert chip.read_register(register=7, timeout=1) == 7
    assert chip.read_registers(16, 4) == bytes([16, 17, 18, 19])
    chip.write_register(16, 0xFF)
    chip.write_register(17, bytearray(b"ab"))
    assert chip.read_registers(16, n=3) == b"\xffab"
    assert Target.here.numbers[-1] == b"\x10"


def test_numbers_of_registers_on_the_wire(chip: I2c) -> None:
    @given(st.integers(1, 4), st.data())
    def check(size: int, data: st.DataObject) -> None:
        number = data.draw(st.integers(0, 256**size - 1))
        chip.read_registers(number, 1, register_size=size)
        assert Target.here.numbers[-1] == number.to_bytes(size, "big")

    Target.here.registers = bytearray(512)
    check()


@pytest.mark.parametrize(
    ("call", "number"),
    [
        (lambda chip: chip.read_register(256), errno.ERANGE),
        (lambda chip: chip.read_register(-1), errno.EINVAL),
        (lambda chip: chip.read_register(2**32), errno.EINVAL),
        (lambda chip: chip.read_register(2**80), errno.EINVAL),
        (lambda chip: chip.read_register(0, 0), errno.EINVAL),
        (lambda chip: chip.read_register(0, 5), errno.EINVAL),
        (lambda chip: chip.read_registers(0, -1), errno.EINVAL),
        (lambda chip: chip.read_registers(0, 0), errno.EINVAL),
        (lambda chip: chip.write_register(0, -1), errno.EINVAL),
        (lambda chip: chip.write_register(0, 256), errno.EINVAL),
        (lambda chip: chip.write_register(0, bytes(257)), errno.EMSGSIZE),
        (lambda chip: chip.smbus_read_byte(256), errno.EINVAL),
        (lambda chip: chip.smbus_write_byte(0, 256), errno.EINVAL),
        (lambda chip: chip.smbus_write_word(0, 65536), errno.EINVAL),
        (lambda chip: chip.smbus_write_block(0, bytes(33)), errno.EINVAL),
        (lambda chip: chip.smbus_read_i2c_block(0, 0), errno.EINVAL),
        (lambda chip: chip.smbus_read_i2c_block(0, 33), errno.EINVAL),
    ],
)
def test_wrong_numbers(chip: I2c, call: Callable[[I2c], object], number: int) -> None:
    with pytest.raises(hal.InvalidArgument) as caught:
        call(chip)
    assert caught.value.errno == number
    assert Target.here.numbers == []
    assert Target.here.exchange == b""


def test_wrong_types(chip: I2c) -> None:
    with pytest.raises(TypeError):
        chip.read_register("5")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        chip.write_register(5, "text")  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="missing required argument 'n'"):
        chip.read_registers(5)  # type: ignore[call-arg]


@pytest.mark.parametrize(
    ("call", "sent", "answer", "result"),
    [
        (lambda c: c.smbus_quick(), (0, 0, 0, b""), b"", None),
        (lambda c: c.smbus_quick(read=True), (0, 1, 0, b""), b"", None),
        (lambda c: c.smbus_receive_byte(), (1, 1, 0, b""), b"\x42", 0x42),
        (lambda c: c.smbus_send_byte(9), (1, 0, 0, b"\x09"), b"", None),
        (lambda c: c.smbus_read_byte(3), (2, 1, 3, b""), b"\x42", 0x42),
        (lambda c: c.smbus_write_byte(3, 255), (2, 0, 3, b"\xff"), b"", None),
        (lambda c: c.smbus_read_word(3), (3, 1, 3, b""), b"\x34\x12", 0x1234),
        (lambda c: c.smbus_write_word(3, 0x1234), (3, 0, 3, b"\x34\x12"), b"", None),
        (lambda c: c.smbus_process_call(3, 1), (4, 0, 3, b"\x01\x00"), b"\x00\x01", 0x100),
        (lambda c: c.smbus_read_block(3), (5, 1, 3, b""), bytes(32), bytes(32)),
        (lambda c: c.smbus_write_block(3, b"abc"), (5, 0, 3, b"abc"), b"", None),
        (lambda c: c.smbus_block_process_call(3, b"abc"), (7, 0, 3, b"abc"), b"cba", b"cba"),
        (lambda c: c.smbus_read_i2c_block(3, 2), (8, 1, 3, b"\0\0"), b"xy", b"xy"),
        (lambda c: c.smbus_write_i2c_block(3, b"xy"), (8, 0, 3, b"xy"), b"", None),
    ],
)
def test_smbus_exchanges(
    chip: I2c,
    call: Callable[[I2c], object],
    sent: tuple[int, int, int, bytes],
    answer: bytes,
    result: object,
) -> None:
    Target.here.answer = answer
    assert call(chip) == result
    protocol, read, command, data = sent
    expected = struct.pack("4B32s", protocol, read, command, len(data), data)
    assert Target.here.exchange == expected
    assert len(expected) == ffi.sizeof("struct hal_i2c_smbus")


def test_a_scan_is_a_list_of_answers(chip: I2c) -> None:
    def bits(*addresses: int) -> bytes:
        return sum(1 << address for address in addresses).to_bytes(16, "little")

    # 0x03 and 0x7f are reserved, always skipped, and so not worth a line
    Target.here.scan = bits(0x08, 0x50, 0x77) + bits(0x48) + bits(0x03, 0x30, 0x7F)
    assert chip.scan() == [
        I2cAnswer(0x08, "present"),
        I2cAnswer(0x30, "skipped"),
        I2cAnswer(0x48, "in use"),
        I2cAnswer(0x50, "present"),
        I2cAnswer(0x77, "present"),
    ]
    assert len(Target.here.scan) == ffi.sizeof("struct hal_i2c_scan")
