# SPDX-License-Identifier: Apache-2.0
"""What can be said of the driver ``iio`` without devices: errors, layouts, events.

The driver itself is tested on the kernel's dummy device in tests/lab/guest/test_iio.py.
"""

from __future__ import annotations

import errno
import struct
from dataclasses import dataclass

import pytest

import hal
from hal import iio


@pytest.mark.parametrize(
    ("uri", "error", "number", "text"),
    [
        ("iio:", hal.InvalidArgument, errno.EINVAL, "which device"),
        ("iio:no-such-device", hal.NotFound, errno.ENOENT, "no IIO device"),
        ("iio:device4095", hal.NotFound, errno.ENOENT, "no IIO device"),
        ("iio:device0?buffer=1", hal.InvalidArgument, errno.ERANGE, "buffer"),
        ("iio:device0?watermark=0", hal.InvalidArgument, errno.ERANGE, "watermark"),
    ],
)
def test_a_wrong_uri_is_explained(uri: str, error: type[hal.Error], number: int, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        hal.open(uri)
    assert caught.value.errno == number


def test_a_record_of_the_header_is_taken_apart() -> None:
    assert iio._ELEMENT.size == iio._ELEMENT_SIZE == 80
    values = (b"voltage0", b"V", 0.5, -3.0, 4, 12, 16, 4, 1, 1, 2)
    record = bytearray(iio._ELEMENT.pack(*values))
    assert iio._element(record, 0) == (
        *("voltage0", "V", 0.5, -3.0, 4),
        *(12, 16, 4, True, True, 2),
    )


@dataclass(frozen=True)
class Case:
    """How bytes are stored, and the numbers they mean."""

    bits: int
    storage: int
    shift: int
    signed: bool
    big_endian: bool
    data: bytes
    numbers: list[int]


CASES = {
    "s12 shifted": Case(12, 16, 4, True, False, b"\xf0\xff\xf7\x7f", [-1, 2047]),
    "u12, dirt above": Case(12, 16, 0, False, True, b"\xf0\x01\x0f\xff", [1, 4095]),
    "s24 in 24": Case(24, 24, 0, True, True, b"\xff\xff\xfe\x00\x00\x02", [-2, 2]),
    "u24 in 32": Case(24, 32, 8, False, False, b"\x99\x01\x00\x80", [0x800001]),
    "s64": Case(
        64, 64, 0, True, False, struct.pack("<2q", -(2**63), 2**63 - 1), [-(2**63), 2**63 - 1]
    ),
    "u64": Case(64, 64, 0, False, False, b"\xff" * 8, [2**64 - 1]),
    "u1": Case(1, 8, 7, False, False, b"\x80\x7f", [1, 0]),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_stored_bits_become_numbers(case: Case) -> None:
    np = pytest.importorskip("numpy")
    shape = (case.bits, case.storage, case.shift)
    element = iio.IioElement("x", "", 1.0, 0.0, 0, *shape, case.signed, case.big_endian, 1)
    scan = iio.IioScan(case.storage // 8, (element,))
    stored = np.frombuffer(case.data, scan.dtype)["x"]
    assert iio._numbers(stored, element).tolist() == case.numbers


def test_a_scan_with_gaps_and_repeats_has_a_type() -> None:
    pytest.importorskip("numpy")
    scan = iio.IioScan(
        24,
        (
            iio.IioElement("a", "V", 1, 0, 0, 12, 16, 4, False, True, 1),
            iio.IioElement("q", "", 1, 0, 4, 16, 16, 0, True, False, 4),
            iio.IioElement("timestamp", "s", 1e-9, 0, 16, 64, 64, 0, True, False, 1),
        ),
    )
    kind = scan.dtype
    assert (kind.itemsize, kind.names) == (24, ("a", "q", "timestamp"))
    assert kind["q"].shape == (4,)
    assert kind.fields is not None
    assert kind.fields["timestamp"][1] == 16
    assert kind["a"].str == ">u2"


def code(
    kind: int, direction: int, channel: int, modifier: int, *places: int, differential: int = 0
) -> int:
    """An event's code, put together as the kernel's IIO_EVENT_CODE does it."""
    first, second = places
    return (
        kind << 56
        | differential << 55
        | direction << 48
        | modifier << 40
        | channel << 32
        | (second & 0xFFFF) << 16
        | first & 0xFFFF
    )


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (code(0, 1, 0, 0, 3, 0), ("voltage3", "thresh", "rising")),
        (code(1, 2, 3, 1, 0, 0), ("accel_x", "mag", "falling")),
        (code(1, 1, 3, 7, 0, 0), ("accel_x&y&z", "mag", "rising")),
        (code(2, 0, 0, 0, 1, 2, differential=1), ("voltage1-voltage2", "roc", "either")),
        (code(5, 3, 20, 0, -1, 0), ("steps", "change", "none")),
        (code(200, 100, 250, 0, 1, 0), ("2501", "200", "100")),
    ],
)
def test_events_are_taken_apart(number: int, words: tuple[str, str, str]) -> None:
    (event,) = iio._events(struct.pack("=Qq", number, 77))
    assert event == (77, *words, number)
