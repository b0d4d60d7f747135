# SPDX-License-Identifier: Apache-2.0
"""Sizes as they are typed and shown: 64KiB."""

from __future__ import annotations

import re

from hal.errors import InvalidArgument

_UNITS = {"B": 0, "KiB": 10, "MiB": 20, "GiB": 30, "TiB": 40}


def parse(text: str) -> int:
    """Bytes of ``"64KiB"``, ``"1 GiB"``, ``"4096"``.

    Raises:
        InvalidArgument: It is none.
    """
    match = re.fullmatch(r"(\d{1,15}) ?([A-Za-z]*)", text.strip())
    if match is None or (match[2] or "B") not in _UNITS:
        units = ", ".join(_UNITS)
        raise InvalidArgument(f'size "{text}": a whole number and a unit are needed ({units})')
    return int(match[1]) << _UNITS[match[2] or "B"]


def text(size: int) -> str:
    """``"64 KiB"``: in the largest unit of which it is a multiple."""
    unit = max((u for u, bits in _UNITS.items() if size % (1 << bits) == 0 and size >> bits),
               key=_UNITS.__getitem__, default="B")  # fmt: skip
    return f"{size >> _UNITS[unit]} {unit}"


def floor(size: int) -> int:
    """The greatest power of two that is not above a size; 0 for 0."""
    return 1 << (size.bit_length() - 1) if size > 0 else 0
