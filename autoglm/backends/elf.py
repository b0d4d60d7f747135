# SPDX-License-Identifier: Apache-2.0
"""Shared objects, looked at before dlopen(3), which ends the process when one is cut."""

from __future__ import annotations

import struct

from ..errors import ArtifactError

_HEADER = struct.Struct("<16s2HI3QI6H")
"""ELF-64 Object File Format 1.5, "ELF header"."""
_SECTIONS, _SECTION_SIZE, _SECTION_COUNT = 6, 11, 12


def check_whole(view: memoryview, name: str) -> None:
    """That a shared object has all its bytes.

    Args:
        view: Them.
        name: What the file is called, for the error.

    Raises:
        ArtifactError: It has not, or is something else.
    """
    if len(view) < _HEADER.size or bytes(view[:5]) != b"\x7fELF\x02":
        raise ArtifactError(f"{name} is no ELF file of 64 bits")
    header = _HEADER.unpack_from(view)
    if header[_SECTIONS] + header[_SECTION_SIZE] * header[_SECTION_COUNT] > len(view):
        raise ArtifactError(f"{name} ends before its section headers do")
