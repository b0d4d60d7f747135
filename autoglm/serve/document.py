# SPDX-License-Identifier: Apache-2.0
"""The JSON of a request to run a model, without a Python object for each number of its arrays.

Making those objects, and an array of them, takes longer than all the rest of a request.
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

_DATA: Final = re.compile(rb'"data"\s*:\s*(?=\[)')
_MARK: Final = secrets.token_hex(16)
"""Begins what stands for a list. Nobody else knows it, so no request has it."""
_DIRECT: Final = frozenset("fdbhilBHIL")
"""Of numpy's element types (`numpy.dtype.char`) those that are read as they are."""


class NotPlain(Exception):
    """A list is no flat one of numbers of its type, or is in another place than an input's."""


@dataclass(frozen=True)
class Slot:
    """Stands for a list of numbers.

    Attributes:
        index: Which one of the text's.
    """

    index: int


class Document:
    """A text with its lists ``data`` apart: up to the first ``]``, so only a flat one is whole.

    Args:
        text: JSON, or none.
        most: Lists to look for.

    Attributes:
        text: The same.
        around: What is before, between and behind the lists.
    """

    def __init__(self, text: bytes, most: int) -> None:
        self.text = text
        around: list[bytes] = []
        self._begins: list[int] = []
        at = 0
        while len(around) < most and (found := _DATA.search(text, at)):
            around.append(text[at : found.end()])
            self._begins.append(found.end())
            at = text.find(b"]", found.end()) + 1 or len(text)
        self.around = (*around, text[at:])

    def outline(self) -> object:
        """What it says, with a `Slot` for the list ``data`` of each object of ``inputs``.

        Returns:
            The same for every text with this around its lists.

        Raises:
            NotPlain: A list is not flat, or not one of these, or the text is no JSON.
        """
        marks = [b'"%s%d"' % (_MARK.encode(), index) for index in range(len(self._begins))]
        pieces = [piece for pair in zip(self.around, marks, strict=False) for piece in pair]
        try:
            stated = loads(b"".join((*pieces, self.around[-1])), "the request")
        except InputError:
            raise NotPlain from None
        found = [slot.index for entry in _entries(stated) if (slot := _take_slot(entry))]
        if found != list(range(len(self._begins))):
            raise NotPlain
        return stated

    def whole(self) -> object:
        """All that it says, with an object for each number.

        Raises:
            InputError: It is no JSON, or says too much; the sentence says where.
        """
        return loads(self.text, "the request")

    def array(self, slot: Slot, dtype: np.dtype[Any], size: int) -> Array:
        """The numbers of a list.

        Args:
            slot: Of this text's `outline`, or of one with the same around its lists.
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


def _take_slot(entry: dict[str, Any]) -> Slot | None:
    """What stands for an entry's list, from now on in the place of its mark."""
    data = entry.get("data")
    if not isinstance(data, str) or not data.startswith(_MARK):
        return None
    entry["data"] = slot = Slot(int(data[len(_MARK) :]))
    return slot
