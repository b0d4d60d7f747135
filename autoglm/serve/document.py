# SPDX-License-Identifier: Apache-2.0
"""The JSON of a request to run a model, without a Python object for each number of its arrays.

Making those objects, and an array of them, takes longer than all the rest of a request. So what
changes from one request to the next is kept apart: the lists of numbers, and the request's ``id``.
"""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from .. import _numbers
from ..errors import InputError
from ..tensor import Array
from .bounded_json import loads

_HOLE: Final = re.compile(rb'"data"\s*:\s*(?=\[)|"id"\s*:\s*(?=")')
_TEXT: Final = re.compile(rb'"([^"\\\x00-\x1f]*)"')
"""A string that stands for itself (RFC 8259, section 7)."""
_MARK: Final = secrets.token_hex(16)
"""Begins what stands for a hole. Nobody else knows it, so no request has it."""
_LIST: Final = ord("[")
_DIRECT: Final = frozenset("fdbhilBHIL")
"""Of numpy's element types (`numpy.dtype.char`) those that are read as they are."""


class NotPlain(Exception):
    """A list is no flat one of numbers of its type, or is in another place than an input's.

    Or the ``id`` is not the request's, or has characters that are written in another way.
    """


@dataclass(frozen=True)
class Slot:
    """Stands for a list of numbers, or for the ``id``.

    Attributes:
        index: Which hole it is of the text's.
    """

    index: int


class Document:
    """A text with holes: its lists ``data``, and its ``id``.

    A list goes up to its first ``]``, a string up to its next ``"``: what is not flat is not whole.

    Args:
        text: JSON, or none.
        most: Holes to look for.

    Attributes:
        text: The same.
        around: What is before, between and behind the holes.
    """

    def __init__(self, text: bytes, most: int) -> None:
        self.text = text
        around: list[bytes] = []
        self._begins: list[int] = []
        at = 0
        while len(around) < most and (found := _HOLE.search(text, at)):
            begin = found.end()
            around.append(text[at:begin])
            self._begins.append(begin)
            end = b"]" if text[begin] == _LIST else b'"'
            at = text.find(end, begin + 1) + 1 or len(text)
        self.around = (*around, text[at:])

    def outline(self) -> object:
        """What it says, with a `Slot` for each ``data`` of ``inputs`` that is a list, and ``id``.

        Returns:
            The same for every text with this around its holes.

        Raises:
            NotPlain: A hole is not flat, or not one of these, or the text is no JSON.
        """
        marks = [b'"%s%d"' % (_MARK.encode(), index) for index in range(len(self._begins))]
        pieces = [piece for pair in zip(self.around, marks, strict=False) for piece in pair]
        try:
            stated = loads(b"".join((*pieces, self.around[-1])), "the request")
        except InputError:
            raise NotPlain from None
        holders = [(stated, "id"), *((entry, "data") for entry in _entries(stated))]
        found = [slot.index for each in holders if (slot := _take_slot(*each))]
        if sorted(found) != list(range(len(self._begins))):
            raise NotPlain
        return stated

    def whole(self) -> object:
        """All that it says, with an object for each number.

        Raises:
            InputError: It is no JSON, or says too much; the sentence says where.
        """
        return loads(self.text, "the request")

    def name(self, slot: Slot) -> str:
        """The ``id``.

        Args:
            slot: Of this text's `outline`, or of one with the same around its holes.

        Raises:
            NotPlain: It has characters that are written in another way, or is no UTF-8.
        """
        found = _TEXT.match(self.text, self._begins[slot.index])
        if found is None:
            raise NotPlain
        try:
            return found[1].decode()
        except UnicodeDecodeError:
            raise NotPlain from None

    def array(self, slot: Slot, dtype: np.dtype[Any], size: int) -> Array:
        """The numbers of a list.

        Args:
            slot: Of this text's `outline`, or of one with the same around its holes.
            dtype: The type that they are to have.
            size: How many.

        Returns:
            Of that type, or of float64 for one that is narrower than float32.

        Raises:
            NotPlain: The list has another number of them, or holds what is no number of that type.
        """
        begin = self._begins[slot.index]
        if 2 * size > len(self.text) - begin or dtype.kind not in "fiuV":  # "1,"
            raise NotPlain
        found = np.empty(size, dtype if dtype.char in _DIRECT else np.float64)
        if not _numbers.read(self.text, begin, found):
            raise NotPlain
        return found


def _entries(stated: object) -> list[dict[str, Any]]:
    """The objects of ``inputs``."""
    inputs = stated.get("inputs") if isinstance(stated, dict) else None
    entries = inputs if isinstance(inputs, list) else []
    return [each for each in entries if isinstance(each, dict)]


def _take_slot(holder: object, member: str) -> Slot | None:
    """What stands for a hole, from now on in the place of its mark; None: it is none."""
    mark = holder.get(member) if isinstance(holder, dict) else None
    if not isinstance(holder, dict) or not isinstance(mark, str) or not mark.startswith(_MARK):
        return None
    holder[member] = slot = Slot(int(mark[len(_MARK) :]))
    return slot
