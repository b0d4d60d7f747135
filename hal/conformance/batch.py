# SPDX-License-Identifier: Apache-2.0
"""The check of hal_batch()."""

from __future__ import annotations

import errno
import os
from typing import Any

from hal._abi import ffi, lib

from .attributes import plain
from .check import check
from .memory import BEYOND, ROOM, WIDTHS, memory
from .outcome import Broken, NotApplicable
from .raw import Raw, after, last_error, name_of
from .subject import WAIT, Session

WORDS = (0x5A, 0xA5)
"""Stored to one register, one after the other, in one batch."""


@check
def batch(run: Session) -> str:
    """A batch does, in order, what the single calls do; the first that fails is the last tried.

    Why: over a link many calls are made one batch, and a program must not see the difference.

    See: hal/batch.h, hal_batch(); hal/driver.h, batch
    """
    device = run.open()
    seen = [_attributes(device), _registers(device)]
    if run.subject.writes:
        seen.append(_stores(device))
    if not any(seen):
        raise NotApplicable("it has no attribute that stays as it is, and no registers")
    return "; ".join(filter(None, seen))


def _operation(kind: int, **operands: Any) -> dict[str, Any]:
    return {"kind": kind, **operands}


def _do(device: Raw, operations: list[dict[str, Any]]) -> tuple[int, Any]:
    """hal_batch(): how many were done, and the operations as they are after it."""
    all_ = ffi.new("struct hal_operation[]", operations)
    return int(lib.hal_batch(device.handle, all_, len(operations), after(WAIT))), all_


def _done(device: Raw, operations: list[dict[str, Any]]) -> Any:
    done, all_ = _do(device, operations)
    if done != len(operations):
        raise Broken(
            f"of {len(operations)} operations that each work alone, {name_of(done)} were done: "
            f"{last_error()}"
        )
    return all_


# ---- attributes ---------------------------------------------------------------------------------


def _attributes(device: Raw) -> str:
    """Those that stay as they are read the same in a batch."""
    now = {row.name: _still(device, row.name) for row in device.rows()}
    still = {name: value for name, value in now.items() if value is not None}
    if not still:
        return ""
    names = [ffi.new("char[]", os.fsencode(name)) for name in still]
    values = [ffi.new("struct hal_value *") for _ in still]
    _done(
        device,
        [
            _operation(lib.HAL_OPERATION_GET, name=name, value=value)
            for name, value in zip(names, values, strict=True)
        ],
    )
    for (name, single), value in zip(still.items(), values, strict=True):
        if plain(value) != single:
            raise Broken(f'get "{name}": {single!r} alone, {plain(value)!r} in a batch')
    return f"{len(still)} attributes"


def _still(device: Raw, name: str) -> bool | int | float | str | None:
    """What it reads, three times the same; None otherwise."""
    seen = []
    for _ in range(3):
        result, value = device.get(name, after(WAIT))
        seen.append(None if result < 0 else plain(value))
    return seen[0] if seen[0] == seen[1] == seen[2] else None


# ---- registers ----------------------------------------------------------------------------------


def _width(device: Raw) -> int:
    """The widest that a register at the start has; 0: there are no registers."""
    return max((width for width in WIDTHS if not device.load(0, width)[0]), default=0)


def _registers(device: Raw) -> str:
    """A load beyond the end fails in a batch as it does alone, and ends it."""
    width = _width(device)
    if not width:
        return ""
    good, wrong = (
        _operation(lib.HAL_OPERATION_LOAD, offset=offset, width=width) for offset in (0, BEYOND[0])
    )
    alone = device.load(BEYOND[0], width)[0]
    done, all_ = _do(device, [good, wrong, good])
    results = [int(one.result) for one in all_]
    if done != 1 or results != [0, alone, -errno.ECANCELED]:
        told = ", ".join(map(name_of, results))
        raise Broken(
            f"a load, one that alone gives {name_of(alone)}, and a load: {name_of(done)} done, "
            f"with results {told}"
        )
    return "the one that fails ends it"


def _stores(device: Raw) -> str:
    """Stores and loads take their turns, and behind one that fails nothing is stored."""
    try:
        with memory(device):
            width = _width(device)
            if not width or device.store(ROOM // 2, width, 0):
                return ""
            _in_order(device, width)
            _not_behind(device, width)
    except NotApplicable:
        return ""
    return "stores and loads in order"


def _in_order(device: Raw, width: int) -> None:
    place = {"offset": ROOM // 2, "width": width}
    operations = []
    for word in WORDS:
        operations.append(_operation(lib.HAL_OPERATION_STORE, word=word, **place))
        operations.append(_operation(lib.HAL_OPERATION_LOAD, **place))
    all_ = _done(device, operations)
    loaded = (int(all_[1].word), int(all_[3].word))
    if loaded != WORDS:
        raise Broken(
            f"{WORDS[0]:#x} stored, loaded, {WORDS[1]:#x} stored, loaded: "
            f"{loaded[0]:#x}, {loaded[1]:#x} came"
        )


def _not_behind(device: Raw, width: int) -> None:
    before = device.load(ROOM // 2, width)
    _do(
        device,
        [
            _operation(lib.HAL_OPERATION_LOAD, offset=BEYOND[0], width=width),
            _operation(lib.HAL_OPERATION_STORE, offset=ROOM // 2, width=width, word=0x3C),
        ],
    )
    if device.load(ROOM // 2, width) != before:
        raise Broken("a store behind an operation that failed was done")
