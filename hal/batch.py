# SPDX-License-Identifier: Apache-2.0
"""Several operations in one call: ``device.batch([...])``.

    from hal.batch import Get, Load, Store

    device.batch([Store(0x10, 1), Load(0x14), Get("temperature")])  # [None, 5, 21.5]

They are done in order and nothing comes in between; the first that fails is the last that is tried.
On a device of another machine (``hal://``) the whole batch is one round trip. The rules are those
of ``<hal/batch.h>``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from . import _core
from .errors import NoAttribute, NotFound

if TYPE_CHECKING:
    from ._core import AnyBuffer
    from .attributes import Value
    from .device import Seconds, Segment

__all__ = ["Control", "Get", "Load", "Operation", "Set", "Store", "Transfer", "run"]


class Transfer(NamedTuple):
    """``device.transfer(segments)``; its result is what came, one entry for every rx."""

    segments: Sequence[Segment | tuple[Any, ...]]


class Control(NamedTuple):
    """``device.control(request, buffer)``; its result is 0 or a count."""

    request: int
    buffer: AnyBuffer = b""


class Get(NamedTuple):
    """``device.attributes[name]``; its result is the value."""

    name: str


class Set(NamedTuple):
    """``device.attributes[name] = value``; its result is None."""

    name: str
    value: Value


class Load(NamedTuple):
    """``device.load(offset, width)``; its result is the register's value."""

    offset: int
    width: int = 4


class Store(NamedTuple):
    """``device.store(offset, value, width)``; its result is None."""

    offset: int
    value: int
    width: int = 4


Operation = Transfer | Control | Get | Set | Load | Store

# enum hal_operation_kind
_KINDS: dict[type, int] = {Transfer: 1, Control: 2, Get: 3, Set: 4, Load: 5, Store: 6}


def run(device: _core.Handle, operations: Iterable[Operation], timeout: Seconds) -> list[Any]:
    """What ``Device.batch()`` does."""
    todo = list(operations)
    for index, operation in enumerate(todo):
        if type(operation) not in _KINDS:
            raise TypeError(
                f"batch: operation {index} must be one of hal.batch's, "
                f"not {type(operation).__name__!r}"
            )
    try:
        return _core.batch(device, [(_KINDS[type(each)], *each) for each in todo], timeout)
    except NotFound as error:
        if error.results is None or not isinstance(todo[len(error.results)], Get | Set):
            raise
        missing = NoAttribute(*error.args)
        missing.results = error.results
        raise missing from None
