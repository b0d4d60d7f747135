# SPDX-License-Identifier: Apache-2.0
"""Checks of the attributes."""

from __future__ import annotations

import errno
import os
import re
from typing import Any

from hal._abi import ffi, lib

from .check import check
from .outcome import Broken, NotApplicable
from .raw import Raw, Row, after, last_error, name_of
from .subject import WAIT, Session

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}")
NUMBERS = (lib.HAL_TYPE_INT, lib.HAL_TYPE_FLOAT)
VAGUE = (-errno.EIO, -errno.EINVAL, -errno.EFAULT, -errno.EAGAIN)
"""Failures of a get that do not say what is the matter."""


@check
def attribute_table(run: Session) -> str:
    """Every row of the attribute table is whole: name, type, doc, access, functions, range.

    Why: programs and hal-probe show attributes and check values by nothing but this table.

    See: hal/attribute.h, struct hal_attribute
    """
    rows = list(run.open().rows())
    names = [row.name for row in rows]
    for row in rows:
        if fault := _fault(row):
            raise Broken(f'attribute "{row.name}": {fault}')
        if names.count(row.name) > 1:
            raise Broken(f'attribute "{row.name}" is there {names.count(row.name)} times')
    return f"{len(rows)} attributes"


def _fault(row: Row) -> str:
    known = lib.HAL_ATTR_READ | lib.HAL_ATTR_WRITE | lib.HAL_ATTR_OPEN
    choice = row.type == lib.HAL_TYPE_CHOICE
    faults = {
        "the name is not formed as a driver's": not NAME.fullmatch(row.name),
        "it has no doc": not (row.doc or "").strip(),
        f"there is no type {row.type}": not lib.HAL_TYPE_BOOL <= row.type <= lib.HAL_TYPE_CHOICE,
        f"access {row.access:#x}: none, or unknown bits": not row.access or row.access & ~known,
        "it is readable and has no get": row.readable and not row.has_get,
        "it is writable and has no set": row.writable and not row.has_set,
        f"the range {row.minimum:g} .. {row.maximum:g} is empty": row.minimum > row.maximum,
        "it is a choice without choices": choice and not row.choices,
        "a choice is there twice": len(set(row.choices)) < len(row.choices),
    }
    return next((text for text, true in faults.items() if true), "")


@check
def attribute_values(run: Session) -> str:
    """A readable attribute gives a value of its type, within its range, or says why it cannot.

    Why: programs work with values unchecked; "EIO" for what this device lacks looks like a fault.

    See: hal/attribute.h, hal_get()
    """
    device = run.open()
    read = refused = 0
    for row in device.rows():
        if not row.readable:
            continue
        result, value = device.get(row.name, after(WAIT))
        if result in VAGUE:
            raise Broken(
                f'get "{row.name}": {name_of(result)} ({last_error()}); what this device does not '
                "have is -EOPNOTSUPP, what cannot be known now has an error of its own"
            )
        if result < 0:
            _says_why(row, result)
            refused += 1
            continue
        read += 1
        _fits(row, value)
    return f"{read} read, {refused} not, each with its reason"


def _says_why(row: Row, result: int) -> None:
    if '"' not in last_error() or lib.hal_last_errno() != -result:
        raise Broken(f'get "{row.name}": {name_of(result)}, and the message is "{last_error()}"')


def _fits(row: Row, value: Any) -> None:
    if value.type != row.type:
        raise Broken(f'get "{row.name}": a value of type {value.type}, not {row.type}')
    if row.type in NUMBERS and (row.minimum or row.maximum):
        number = value.i if row.type == lib.HAL_TYPE_INT else value.f
        if not row.minimum <= number <= row.maximum:
            raise Broken(
                f'get "{row.name}": {number} is outside {row.minimum:g} .. {row.maximum:g}'
            )
    if row.choices and _text(value) not in row.choices:
        raise Broken(f'get "{row.name}": "{_text(value)}" is none of {", ".join(row.choices)}')


def _text(value: Any) -> str:
    return os.fsdecode(ffi.string(value.s))


@check
def attribute_refusals(run: Session) -> str:
    """An unknown name, a wrong type, a value out of range and a missing right are told apart.

    Why: a program that sets "bauds" must hear of it, and hear what it could have meant.

    See: hal/attribute.h, hal_get() and hal_set()
    """
    device = run.open()
    tried = _expect(device.get("no-such-attribute", after(WAIT))[0], errno.ENOENT, "get of none")
    for row in device.rows():
        if not row.readable:
            tried += _expect(
                device.get(row.name, after(WAIT))[0], errno.EACCES, f'get "{row.name}"'
            )
        for text, number in _wrong(row):
            result = device.set_text(row.name, text, after(WAIT))
            tried += _expect(result, number, f'set "{row.name}" to "{text}"')
    return f"{tried} refused"


def _wrong(row: Row) -> list[tuple[str, int]]:
    if not row.writable:
        return [("1", errno.EACCES)]
    if row.type == lib.HAL_TYPE_CHOICE:
        return [("no-such-choice", errno.EINVAL)]
    if row.type == lib.HAL_TYPE_BOOL:
        return [("neither", errno.EINVAL)]
    if row.type not in NUMBERS:
        return []
    wrong = [("a word", errno.EINVAL)]
    if (row.minimum or row.maximum) and abs(row.maximum) < 2**53 and abs(row.minimum) < 2**53:
        beyond = 1 + max(1.0, abs(row.maximum)) / 2**20
        wrong.append((f"{int(row.maximum + beyond) + 1}", errno.ERANGE))
        wrong.append((f"{int(row.minimum - beyond) - 1}", errno.ERANGE))
    return wrong


def _expect(result: int, number: int, what: str) -> int:
    if result != -number:
        raise Broken(f"{what}: {name_of(result)}, not {name_of(-number)}")
    return 1


@check
def attribute_readback(run: Session) -> str:
    """What a set has accepted, a get then tells.

    Why: a setting that is dropped without a word is found only on the wire.

    See: hal/attribute.h, hal_set()
    """
    run.needs_writes()
    device = run.open()
    tried = [row.name for row in device.rows() if _readback(device, row)]
    if not tried:
        raise NotApplicable("no attribute can be both read and changed here")
    return f"{len(tried)} changed and put back"


def _readback(device: Raw, row: Row) -> bool:
    if not (row.readable and row.writable):
        return False
    result, before = device.get(row.name, after(WAIT))
    if result < 0 or device.set(row.name, before, after(WAIT)) < 0:
        return False  # not now, on this device
    accepted = changed = False
    for other in _others(row, before):
        if device.set(row.name, other, after(WAIT)) < 0:
            continue
        accepted = True
        result, now = device.get(row.name, after(WAIT))
        if result < 0:
            raise Broken(f'get "{row.name}" after a set: {name_of(result)} ({last_error()})')
        _fits(row, now)
        if plain(now) != plain(before):  # perhaps rounded to what the device can do
            changed = True
            break
    device.set(row.name, before, after(WAIT))
    if accepted and not changed:
        raise Broken(
            f'set "{row.name}" was accepted, and it still reads {plain(before)!r} as before'
        )
    return changed


def plain(value: Any) -> bool | int | float | str:
    """A struct hal_value as Python has it."""
    if value.type == lib.HAL_TYPE_BOOL:
        return bool(value.b)
    if value.type == lib.HAL_TYPE_INT:
        return int(value.i)
    return float(value.f) if value.type == lib.HAL_TYPE_FLOAT else _text(value)


def _others(row: Row, before: Any) -> list[Any]:
    """Values other than the present one, from near to far."""
    now = plain(before)
    others: list[dict[str, Any]] = []
    if isinstance(now, bool):
        others = [{"b": not now}]
    elif isinstance(now, int):
        numbers = (now + 1, now - 1, now * 2, now // 2)
        others = [{"i": number} for number in numbers if number != now and _inside(row, number)]
    elif isinstance(now, float):
        steps = ((now + row.maximum) / 2, (now + row.minimum) / 2, now * 2, now + 1)
        others = [{"f": number} for number in steps if number != now and _inside(row, number)]
    else:
        others = [{"s": os.fsencode(choice)} for choice in row.choices if choice != now]
    return [ffi.new("struct hal_value *", _value(row.type, each)) for each in others]


def _inside(row: Row, number: float) -> bool:
    return (not row.minimum and not row.maximum) or row.minimum <= number <= row.maximum


def _value(kind: int, member: dict[str, Any]) -> Any:
    value: Any = ffi.new("struct hal_value *")
    value.type = kind
    for name, content in member.items():
        setattr(value, name, content)
    return value[0]
