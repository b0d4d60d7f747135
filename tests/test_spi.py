# SPDX-License-Identifier: Apache-2.0
"""hal.Spi over a chip that is a driver in Python; buses are in tests/lab/guest/test_spi.py."""

from __future__ import annotations

import array
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

import hal
from hal import Segment, Spi
from hal.device import face

NAME = "spi-of-test"


class Inverter(hal.Driver):
    """What is received is the complement of what is sent."""

    here: Inverter

    def init(self, device: hal.DriverDevice) -> None:
        super().init(device)
        self.lengths: list[int] = []
        Inverter.here = self

    def transfer(self, segments: Sequence[Segment], deadline: float) -> None:
        for segment in segments:
            sent = bytes(segment.tx) if isinstance(segment.tx, memoryview) else b""
            self.lengths.append(len(sent))
            if isinstance(segment.rx, memoryview):
                sent = sent or bytes(len(segment.rx))
                segment.rx[:] = bytes(byte ^ 0xFF for byte in sent)


@pytest.fixture(scope="module", autouse=True)
def driver() -> Iterator[None]:
    """The driver, opened as hal.Spi."""
    face(NAME)(Spi)
    hal.register_driver(NAME, Inverter)
    yield
    hal.unregister_driver(NAME)


@pytest.fixture
def chip() -> Iterator[Spi]:
    with Spi.open(NAME) as device:
        yield device


def test_the_face_is_the_drivers() -> None:
    with pytest.raises(hal.NotFound, match=r"/dev/spidev1234\.5"):
        Spi.open("spi:1234.5")
    with pytest.raises(hal.InvalidArgument, match="4 is outside"):
        Spi.open("spi:0.0", mode=4)


def test_bytes_out_bytes_in(chip: Spi) -> None:
    assert chip.transfer(b"\x00\x0f") == b"\xff\xf0"
    assert chip.transfer(bytearray(b"\x01"), timeout=1) == b"\xfe"
    assert chip.transfer(memoryview(b"\x01\x02\x03")[1:]) == b"\xfd\xfc"
    assert chip.transfer(array.array("H", [0])) == b"\xff\xff"
    assert chip.transfer(np.zeros(3, np.uint8)) == b"\xff" * 3
    assert chip.transfer(b"") == b""


def test_segments_in_one_call(chip: Spi) -> None:
    into = bytearray(1)
    segments = [Segment(b"ab"), Segment(b"\x00", 1), Segment(rx=2), Segment(b"\x01", into)]
    assert chip.transfer(segments) == [b"\xff", b"\xff\xff", into]
    assert into == b"\xfe"
    assert Inverter.here.lengths == [2, 1, 0, 1]
    assert chip.transfer(tuple(segments)) == [b"\xff", b"\xff\xff", into]
    assert chip.transfer(segments=[(b"a", 1)]) == [b"\x9e"]


def test_into_a_buffer(chip: Spi) -> None:
    words = np.zeros(4, np.uint16)
    assert chip.transfer_into(b"\x00" * 8, words) == 8
    assert (words == 0xFFFF).all()
    both = bytearray(b"\x0f")
    assert chip.transfer_into(both, both) == 1
    assert both == b"\xf0"
    with pytest.raises(hal.InvalidArgument, match="tx has 2 bytes, rx 1"):
        chip.transfer_into(b"ab", bytearray(1))


def test_wrong_types(chip: Spi) -> None:
    with pytest.raises(TypeError):
        chip.transfer("text")  # type: ignore[arg-type]
    with pytest.raises(TypeError):
        chip.transfer([1, 2, 3])  # type: ignore[list-item]
    with pytest.raises(TypeError):
        chip.transfer(5)  # type: ignore[call-overload]
    with pytest.raises(BufferError, match="writable"):
        chip.transfer_into(b"a", b"b")
    with pytest.raises(TypeError, match="unexpected keyword"):
        chip.transfer(b"a", speed=1)  # type: ignore[call-overload]
