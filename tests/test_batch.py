# SPDX-License-Identifier: Apache-2.0
"""Device.batch(): what its single calls are, and what it says when one of them fails."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hal
from hal.batch import Control, Get, Load, Operation, Set, Store, Transfer

RW = hal.Access.READ | hal.Access.WRITE
SIZE = 64


class Meter(hal.Driver):
    """Has everything but registers; its requests are 1: count up, 2: wait, 3: be interrupted."""

    attributes = (hal.Attribute("level", int, RW, range=(0, 100)), hal.Attribute("fixed", str))
    level = 0
    fixed = "three"
    ran = 0

    def transfer(self, segments: Any, deadline: float) -> None:
        for segment in segments:
            if segment.rx is not None:
                segment.rx[:] = bytes(byte + 1 for byte in segment.tx)

    def control(self, request: int, buffer: memoryview, deadline: float) -> int:
        self.ran += 1
        if request == 1:
            buffer[0] += 1
            return len(buffer)
        if request == 2:
            self.device.wait(deadline)
        elif request == 3 and self.ran == 1:
            raise hal.Interrupted("a signal came")
        elif request != 3:
            raise hal.Unsupported("there is no such request")
        return 0


@pytest.fixture
def meter() -> Iterator[hal.Device]:
    hal.register_driver("meter", Meter)
    with hal.open("meter:") as device:
        yield device
    hal.unregister_driver("meter")


@pytest.fixture
def memory() -> Iterator[hal.Device]:
    with hal.open("sim:memory", size=SIZE) as device:
        yield device


def test_each_kind(meter: hal.Device) -> None:
    argument, room = bytearray(b"\x04"), bytearray(2)
    results = meter.batch(
        [
            Set("level", 7),
            Get("level"),
            Set("level", "9"),
            Get("level"),
            Get("fixed"),
            Control(1, argument),
            Control(1, b"\x08\x08"),
            Transfer([hal.Segment(b"abc", 3), hal.Segment(b"xy", room), hal.Segment(b"z")]),
        ]
    )
    assert results == [None, 7, None, 9, "three", 1, 2, [b"bcd", room]]
    assert (bytes(argument), bytes(room)) == (b"\x05", b"yz")


def test_registers(memory: hal.Device) -> None:
    assert memory.batch([Store(0, 0x11223344), Load(0), Load(1, 1), Load(0, 8)]) == [
        None,
        0x11223344,
        0x33,
        0x11223344,
    ]
    assert memory.batch([]) == []
    assert memory.batch(iter([Load(4)])) == [0]
    assert memory.batch([Load(0)] * 256) == [0x11223344] * 256


def test_the_first_that_fails_is_told_with_what_was_done(memory: hal.Device) -> None:
    with pytest.raises(hal.InvalidArgument, match="not a multiple of the width 4") as caught:
        memory.batch([Store(0, 5), Load(0), Load(2), Store(0, 6)])
    assert caught.value.results == [None, 5]
    assert caught.value.errno == errno.EINVAL
    assert memory.load(0) == 5
    with pytest.raises(hal.Error) as alone:
        memory.load(2)
    assert str(alone.value) == str(caught.value)
    assert alone.value.results is None


def test_attributes_raise_what_they_always_raise(meter: hal.Device) -> None:
    for wrong, error, match in (
        (Get("levle"), hal.NoAttribute, 'did you mean "level"'),
        (Set("nothing", 1), hal.NoAttribute, 'no attribute "nothing"'),
        (Set("fixed", "x"), hal.PermissionDenied, "read-only"),
        (Set("level", 101), hal.InvalidArgument, "101"),
        (Set("level", "much"), hal.InvalidArgument, "much"),
    ):
        with pytest.raises(error, match=match) as caught:
            meter.batch([Get("level"), wrong])
        assert caught.value.results == [0]


def test_what_a_device_has_not(memory: hal.Device, meter: hal.Device) -> None:
    for device, operation in ((memory, Control(1)), (meter, Load(0)), (meter, Control(9))):
        with pytest.raises(hal.Unsupported) as caught:
            device.batch([operation])
        assert caught.value.results == []


def test_a_batch_that_is_refused_as_a_whole(memory: hal.Device) -> None:
    with pytest.raises(hal.InvalidArgument, match="257 operations") as caught:
        memory.batch([Store(0, 1)] * 257)
    assert caught.value.results is None
    assert memory.load(0) == 0
    memory.close()
    with pytest.raises(hal.Closed) as closed:
        memory.batch([Load(0)])
    assert closed.value.results is None


def test_timeout(meter: hal.Device) -> None:
    for timeout, error in ((0.01, hal.Timeout), (0, hal.WouldBlock)):
        with pytest.raises(error) as caught:
            meter.batch([Set("level", 1), Control(2), Set("level", 2)], timeout=timeout)
        assert caught.value.results == [None]
        assert meter.attributes["level"] == 1


def test_cancel(meter: hal.Device, background: Callable[[Callable[[], object]], Any]) -> None:
    task = background(lambda: meter.batch([Get("level"), Control(2)], timeout=60))
    meter.cancel()
    with pytest.raises(hal.Cancelled) as caught:
        task.result()
    assert caught.value.results == [0]


def test_after_a_signal_it_goes_on_where_it_was(memory: hal.Device, meter: hal.Device) -> None:
    argument = bytearray(1)
    assert meter.batch([Get("level"), Control(3), Control(1, argument)]) == [0, 0, 1]
    assert argument == b"\x01"  # Done once.


def wrong(kind: Callable[..., Operation], *operands: object) -> Operation:
    """An operation that the type checker would refuse."""
    return kind(*operands)


@pytest.mark.parametrize(
    ("operation", "error"),
    [
        (5, TypeError),
        (("Load", 0), TypeError),
        (hal.Segment(b"x"), TypeError),
        (wrong(Load, "0"), TypeError),
        (wrong(Load, -1), ValueError),
        (wrong(Load, 1 << 64), ValueError),
        (wrong(Load, 0, 3), ValueError),
        (wrong(Store, 0, 256, 1), ValueError),
        (wrong(Get, 5), TypeError),
        (wrong(Get, "a\0b"), ValueError),
        (wrong(Set, "size", None), TypeError),
        (wrong(Set, "size", 1 << 64), ValueError),
        (wrong(Set, "size", "x" * 256), ValueError),
        (wrong(Control, "1"), TypeError),
        (wrong(Control, 1 << 32), ValueError),
        (wrong(Control, 1, "text"), TypeError),
        (wrong(Transfer, 5), TypeError),
        (wrong(Transfer, [5]), TypeError),
    ],
)
def test_wrong_operands(memory: hal.Device, operation: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        memory.batch([operation])


# ---- against a model -----------------------------------------------------------------------------

WIDTHS = st.sampled_from([1, 2, 4, 8, 3, 0])
OFFSETS = st.integers(0, SIZE + 8)
LOADS = st.builds(Load, OFFSETS, WIDTHS)
STORES = st.builds(lambda offset, width, value: Store(offset, value % (1 << 8 * width), width),
                   OFFSETS, WIDTHS, st.integers(0, 2**64 - 1))  # fmt: skip


def expected(operations: list[Operation]) -> tuple[list[int | None], bool]:
    """What a memory of SIZE bytes answers, and whether it comes to an end before all are done."""
    memory = bytearray(SIZE)
    results: list[int | None] = []
    for each in operations:
        assert isinstance(each, Load | Store)
        bad = each.width not in {1, 2, 4, 8} or each.offset % each.width
        if bad or each.offset + each.width > SIZE:
            return results, True
        part = slice(each.offset, each.offset + each.width)
        if isinstance(each, Store):
            memory[part] = each.value.to_bytes(each.width, "little")
            results.append(None)
        else:
            results.append(int.from_bytes(memory[part], "little"))
    return results, False


@settings(max_examples=60, deadline=None)
@given(st.lists(LOADS | STORES, max_size=12))
def test_a_memory_by_batches(operations: list[Operation]) -> None:
    results, ends = expected(operations)
    with hal.open("sim:memory", size=SIZE) as device:
        if not ends:
            assert device.batch(operations) == results
            return
        with pytest.raises(hal.Error) as caught:
            device.batch(operations)
        assert caught.value.results == results


ANYTHING: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.integers() | st.floats() | st.text(max_size=5) | st.binary(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner),
    max_leaves=4,
)
GARBAGE = st.one_of(
    ANYTHING,
    st.builds(Load, ANYTHING, ANYTHING),
    st.builds(Store, ANYTHING, ANYTHING, ANYTHING),
    st.builds(Get, ANYTHING),
    st.builds(Set, ANYTHING, ANYTHING),
    st.builds(Control, ANYTHING, ANYTHING),
    st.builds(Transfer, ANYTHING),
)


@settings(max_examples=100, deadline=None)
@given(st.lists(GARBAGE, min_size=1, max_size=4))
def test_garbage_is_refused_or_done(operations: list[Any]) -> None:
    with hal.open("sim:memory", size=SIZE) as device:
        with contextlib.suppress(TypeError, ValueError, OverflowError, BufferError, hal.Error):
            assert len(device.batch(operations)) == len(operations)
        assert device.batch([Store(0, 1), Load(0)]) == [None, 1]  # It lives.
