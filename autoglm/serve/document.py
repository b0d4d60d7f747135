# SPDX-License-Identifier: Apache-2.0
"""The JSON of a request to run a model, without a Python object for each number of its arrays.

Making those objects, and an array of them, takes longer than all the rest of a request.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, Literal

import numpy as np
import orjson
import simdjson

from ..errors import InputError
from ..tensor import Array

_BUFFERS: Final[Mapping[str, tuple[Literal["d", "i", "u"], str]]] = {
    "f": ("d", "float64"),
    "V": ("d", "float64"),
    "i": ("i", "int64"),
    "u": ("u", "uint64"),
}
"""What simdjson makes of the numbers of a list, for each kind of numpy's element types."""


_DATA: Final = re.compile(rb'"data"\s*:\s*\[')


class Numbers:
    """A list that is not taken apart yet.

    Args:
        stated: The list.
        flat: Whether it is known to hold no other list.

    Attributes:
        flat: The same.
    """

    def __init__(self, stated: simdjson.Array, flat: bool) -> None:
        self._stated = stated
        self.flat = flat

    def array(self, kind: str) -> Array | None:
        """Its numbers, of the widest type of a kind.

        Args:
            kind: As `numpy.dtype.kind`.

        Returns:
            None: It is no flat list of such numbers; `plain` says what it is.
        """
        if not self.flat or kind not in _BUFFERS:
            return None
        of_type, dtype = _BUFFERS[kind]
        try:
            return np.frombuffer(self._stated.as_buffer(of_type=of_type), dtype)
        except (TypeError, ValueError):
            return None

    def plain(self) -> list[Any]:
        """It, as a list of Python's."""
        return self._stated.as_list()


def read(text: bytes) -> object:
    """What JSON says; each list ``data`` of an object's ``inputs`` as `Numbers`.

    Raises:
        InputError: It is no JSON; the sentence says where.
    """
    try:
        stated = simdjson.Parser().parse(text)
    except (ValueError, RuntimeError) as error:
        raise InputError(f"the request is no JSON: {_where(text) or error}") from None
    if not isinstance(stated, simdjson.Object) or "inputs" not in stated:
        return _plain(stated)
    found = {key: _plain(stated[key]) for key in stated if key != "inputs"}
    inputs = stated["inputs"]
    if not isinstance(inputs, simdjson.Array):
        return found | {"inputs": _plain(inputs)}
    entries = [_entry(each) for each in inputs]
    lists = 1 + isinstance(found.get("outputs"), list) + sum(map(_lists, entries))
    flat = not _more(text, lists)
    return found | {"inputs": [_with_numbers(each, flat) for each in entries]}


def apart(text: bytes, most: int) -> tuple[tuple[bytes, ...], list[memoryview]]:
    """The lists ``data`` of a text, if they are flat, and what is around them.

    Args:
        text: JSON, or none.
        most: Lists to look for.

    Returns:
        What is before, between and behind the lists, and the lists, which are not copied.
    """
    around: list[bytes] = []
    lists: list[memoryview] = []
    at, view = 0, memoryview(text)
    while len(lists) < most and (found := _DATA.search(text, at)):
        begin = found.end() - 1
        end = text.find(b"]", begin) + 1 or len(text)
        around.append(text[at:begin])
        lists.append(view[begin:end])
        at = end
    return (*around, text[at:]), lists


def numbers(text: memoryview) -> Numbers | None:
    """A list of `apart`; None: it is no list, or not flat."""
    try:
        stated = simdjson.Parser().parse(text)
    except (ValueError, RuntimeError):
        return None
    return Numbers(stated, flat=True) if isinstance(stated, simdjson.Array) else None


def _where(text: bytes) -> str:
    """What is no JSON in it; simdjson does not say."""
    try:
        orjson.loads(text)
    except orjson.JSONDecodeError as error:
        return str(error)
    return ""


def _more(text: bytes, lists: int) -> bool:
    """Whether more lists may begin in it: a bracket in a name counts, too."""
    at = -1
    for _ in range(lists):
        at = text.find(b"[", at + 1)
    return text.find(b"[", at + 1) >= 0


def _entry(stated: simdjson.SimValue) -> object:
    if not isinstance(stated, simdjson.Object):
        return _plain(stated)
    return {key: stated[key] if key == "data" else _plain(stated[key]) for key in stated}


def _lists(entry: object) -> int:
    """How many lists a plain entry has: its shape and its numbers."""
    if not isinstance(entry, dict):
        return 0
    return isinstance(entry.get("shape"), list) + isinstance(entry.get("data"), simdjson.Array)


def _with_numbers(entry: object, flat: bool) -> object:
    if not isinstance(entry, dict) or "data" not in entry:
        return entry
    data = entry["data"]
    known = Numbers(data, flat) if isinstance(data, simdjson.Array) else _plain(data)
    return entry | {"data": known}


def _plain(stated: simdjson.SimValue) -> object:
    if isinstance(stated, simdjson.Object):
        return stated.as_dict()
    if isinstance(stated, simdjson.Array):
        return stated.as_list()
    return stated
