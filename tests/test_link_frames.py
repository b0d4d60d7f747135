# SPDX-License-Identifier: Apache-2.0
"""The frames of docs/protocol.md, as hal.link.frames reads and writes them.

tests/c/test_wire.cc does the same with the codec of the C client.
"""

from __future__ import annotations

import struct

import pytest

from hal.link import frames
from hal.link.frames import HEADER, Reader, Type
from tests.vectors import Vector, vectors

FORMS = {"u8": "<B", "u16": "<H", "u32": "<I", "u64": "<Q", "i32": "<i", "i64": "<q", "f64": "<d"}


@pytest.mark.parametrize("vector", vectors(), ids=lambda vector: vector.title)
def test_vector(vector: Vector) -> None:
    head, *fields = vector.fields
    length, kind, lane, flags, identifier, wait = map(int, head.value.split())
    assert head.kind == "header" and length == len(vector.data) - HEADER.size
    assert HEADER.unpack(head.data) == (length, kind, lane, flags, identifier, wait)
    assert HEADER.pack(length, kind, lane, flags, identifier, wait) == head.data
    assert Type(kind).name.lower() == vector.title.partition(" ")[0].strip(",")
    if not wait:
        assert frames.pack(kind, lane, flags, identifier, vector.data[16:]) == vector.data
    body = Reader(memoryview(vector.data)[HEADER.size :])
    for field in fields:
        if field.kind == "str":
            assert f'"{body.text()}"' == field.value
            assert frames.text(field.value[1:-1]) == field.data
        elif field.kind == "bytes":
            assert body.bytes(len(field.data)) == field.data
        else:
            form = struct.Struct(FORMS[field.kind])
            value = (float if field.kind == "f64" else int)(field.value)
            assert body.take(form) == (value,)
            assert form.pack(value) == field.data
    body.end()


def test_every_type_has_a_vector() -> None:
    assert {vector.data[4] for vector in vectors()} == set(Type)
