# SPDX-License-Identifier: Apache-2.0
"""JSON from outside, whose Python objects have bounded memory.

A value of two bytes of text may become an object of hundreds. What a text would take is bounded
before it is read; one that is only text and long numbers takes little, however long it is.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from ..errors import InputError

LARGEST: Final = 256 << 20
"""Bytes of the objects of one text, about."""
_COSTS: Final = ((b",", 64), (b"[", 64), (b"{", 256))
"""Bytes of a value, a list and an object, with their places in another one (CPython, 64 bits)."""


def loads(text: bytes, what: str) -> Any:
    """What a text says.

    Args:
        text: JSON, or none.
        what: It is, for the error.

    Raises:
        InputError: It is no JSON, or would take more memory than `LARGEST`.
    """
    if _cost(text) > LARGEST:
        raise InputError(
            f"{what} has too many values: as Python objects they would take more than"
            f" {LARGEST >> 20} MiB; arrays are flat lists of numbers, or binary"
        )
    try:
        return orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise InputError(f"{what} is no JSON: {error}") from None


def _cost(text: bytes) -> int:
    """Bytes that its objects take at most, about; signs within strings count as others do."""
    if len(text) <= LARGEST >> 8:  # whatever it says
        return 0
    return sum(text.count(sign) * cost for sign, cost in _COSTS)
