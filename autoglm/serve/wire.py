# SPDX-License-Identifier: Apache-2.0
"""The Open Inference Protocol, version 2, as bytes: requests read, answers written.

Sources: the protocol's inference_rest.md, and Triton's extension_binary_data.md, whose binary
arrays follow the JSON; the header ``Inference-Header-Content-Length`` says where they begin. All
that is read comes from outside: what does not fit is an `InputError` that says what and where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

import numpy as np
import orjson

from ..errors import InputError
from ..manifest import ModelInfo
from ..tensor import Array, TensorSpec
from .document import Document, NotPlain, Slot

DATATYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    **{f"uint{bits}": f"UINT{bits}" for bits in (8, 16, 32, 64)},
    **{f"int{bits}": f"INT{bits}" for bits in (8, 16, 32, 64)},
    **{f"float{bits}": f"FP{bits}" for bits in (16, 32, 64)},
    "bfloat16": "BF16",
}
"""The protocol's names of numpy's element types."""
HEADER: Final = "Inference-Header-Content-Length"
"""Says how many bytes of a body are JSON, when arrays follow."""
FIELD: Final = HEADER.lower().encode()
JSON: Final = b"application/json"
BINARY: Final = b"application/octet-stream"
MOST_TENSORS: Final = 256
"""In one request."""
MOST_EXTENTS: Final = 32
LONGEST_KNOWN: Final = 4096
"""Bytes of JSON that are kept for when they come again."""
MOST_KNOWN: Final = 256
"""How many of them, for one model."""


@dataclass(frozen=True)
class Request:
    """A request to run a model.

    Attributes:
        id: The client's name for it; None when there is none.
        inputs: By name; those that came in binary are views of the body.
        outputs: Names of those that are wanted; empty for all.
        binary: Names of those that are wanted in binary.
    """

    id: str | None
    inputs: Mapping[str, Array]
    outputs: Sequence[str]
    binary: frozenset[str]


@dataclass(frozen=True)
class _Input:
    """One input as it was stated: in JSON, unless it has a size."""

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    where: str
    size: int | None
    data: object


@dataclass(frozen=True)
class _Head:
    """The JSON of a request."""

    id: str | None
    inputs: Sequence[_Input]
    outputs: Sequence[str]
    binary: frozenset[str]


class Reader:
    """Reads requests to run a model.

    A client states the same again and again where only the arrays in it, or behind it, differ: what
    was understood once is kept.

    Args:
        info: The model.
    """

    def __init__(self, info: ModelInfo) -> None:
        self._specs = {spec.name: spec for spec in info.inputs}
        self._outputs = [spec.name for spec in info.outputs]
        self._known: dict[tuple[bytes, ...], _Head] = {}

    def read(self, body: bytes, length: int | None) -> Request:
        """A request, from its body.

        Args:
            body: All of it.
            length: Bytes of it that are JSON, when arrays follow; None: it is JSON.

        Raises:
            InputError: It is no such request; the sentence says where.
        """
        if length is not None and length > len(body):
            raise InputError(f"the JSON has {length} bytes by its header, the body has {len(body)}")
        document = Document(body if length is None else body[:length], len(self._specs))
        arrays = memoryview(body)[len(document.text) :]
        try:
            head = self._known.get(document.around) or self._learn(document)
            return _request(head, document, arrays)
        except NotPlain:  # slower, and says what is wrong
            return _request(self._head(document.whole()), document, arrays)

    def _learn(self, document: Document) -> _Head:
        """What is said around the lists of numbers."""
        head = self._head(document.outline())
        if sum(map(len, document.around)) <= LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[document.around] = head
        return head

    def _head(self, content: object) -> _Head:
        stated = _object(content, "the request")
        inputs: dict[str, _Input] = {}
        for index, each in enumerate(_list(stated.get("inputs"), "inputs")):
            where = f"inputs[{index}]"
            found = _input(_object(each, where), where, self._specs)
            if found.name in inputs:
                raise InputError(f"{where}: {found.name!r} is there twice")
            inputs[found.name] = found
        outputs, binary = _outputs(stated, self._outputs)
        identifier = stated.get("id")
        if identifier is not None and not isinstance(identifier, str):
            raise InputError("id is a text")
        return _Head(identifier, tuple(inputs.values()), outputs, binary)


def _request(head: _Head, document: Document, arrays: memoryview) -> Request:
    tail = _Tail(arrays)
    inputs = {each.name: _array(each, document, tail) for each in head.inputs}
    tail.end()
    return Request(head.id, inputs, head.outputs, head.binary)


def write(model: str, request: Request, outputs: Mapping[str, Array]) -> tuple[bytes, int | None]:
    """The answer to a request.

    Args:
        model: Name of the one that ran.
        request: What was asked for.
        outputs: What the model gave.

    Returns:
        The body, and how many bytes of it are JSON when arrays follow, else None. JSON has no
        number for what is infinite or none (NaN): it is null there; in binary it is as it is.
    """
    chunks: list[bytes] = []
    stated = []
    for name in request.outputs or outputs:
        array = np.ascontiguousarray(outputs[name])
        entry: dict[str, Any] = {
            "name": name,
            "shape": list(outputs[name].shape),
            "datatype": _datatype(array.dtype),
        }
        if name in request.binary:
            entry["parameters"] = {"binary_data_size": array.nbytes}
            chunks.append(array.tobytes())
        else:
            entry["data"] = _plain(array.reshape(-1))
        stated.append(entry)
    head: dict[str, Any] = {"model_name": model, "model_version": VERSION, "outputs": stated}
    if request.id is not None:
        head["id"] = request.id
    text = orjson.dumps(head, option=orjson.OPT_SERIALIZE_NUMPY)
    return (b"".join((text, *chunks)), len(text)) if chunks else (text, None)


def headers(content: bytes, head: int | None) -> list[tuple[bytes, bytes]]:
    """Those of an answer.

    Args:
        content: Its body.
        head: As `write` gave it.
    """
    found = [(b"content-length", b"%d" % len(content))]
    if head is None:
        found.append((b"content-type", JSON))
    else:
        found += [(b"content-type", BINARY), (FIELD, b"%d" % head)]
    return found


VERSION: Final = "1"
"""Of every model: an artifact is one version, and another artifact is another model."""


def tensor(spec: TensorSpec) -> dict[str, Any]:
    """A tensor as metadata has it; a dynamic extent is -1."""
    shape = [-1 if isinstance(extent, str) else extent for extent in spec.shape]
    return {"name": spec.name, "datatype": DATATYPES.get(spec.dtype, "BYTES"), "shape": shape}


@cache
def _datatype(dtype: np.dtype[Any]) -> str:
    return DATATYPES[dtype.name]


class _Tail:
    """The arrays behind the JSON, in the order in which it names them."""

    def __init__(self, rest: memoryview) -> None:
        self._rest = rest

    def take(self, size: int, where: str) -> memoryview:
        if size > len(self._rest):
            raise InputError(f"{where}: {size} bytes are stated, {len(self._rest)} are left")
        taken, self._rest = self._rest[:size], self._rest[size:]
        return taken

    def end(self) -> None:
        if self._rest:
            raise InputError(f"{len(self._rest)} bytes follow that no input names")


def _input(stated: Mapping[str, Any], where: str, specs: Mapping[str, TensorSpec]) -> _Input:
    name = stated.get("name")
    spec = specs.get(name) if isinstance(name, str) else None
    if spec is None:
        raise InputError(
            f"{where}: no input {name!r:.100}; there are: {', '.join(map(str, specs.values()))}"
        )
    where = f"{where} ({spec.name!r})"
    if stated.get("datatype") != DATATYPES.get(spec.dtype):
        raise InputError(
            f"{where}: datatype {stated.get('datatype')!r:.100}, the model takes"
            f" {DATATYPES.get(spec.dtype, spec.dtype)!r}"
        )
    shape = _shape(stated.get("shape"), where, spec)
    size = _object(stated.get("parameters", {}), f"{where}: parameters").get("binary_data_size")
    if size is not None and not _whole(size):
        raise InputError(f"{where}: binary_data_size is a number of bytes")
    return _Input(spec.name, np.dtype(spec.dtype), shape, where, size, stated.get("data"))


def _array(stated: _Input, document: Document, tail: _Tail) -> Array:
    if isinstance(stated.data, Slot):
        return _from_numbers(stated.data, stated, document)
    if stated.size is None:
        return _from_list(stated.data, stated.dtype, stated.shape, stated.where)
    data = tail.take(stated.size, stated.where)
    return _from_bytes(data, stated.dtype, stated.shape, stated.where)


def _from_numbers(slot: Slot, stated: _Input, document: Document) -> Array:
    if stated.size is not None:
        raise NotPlain  # nobody reads what may be no list
    array = document.array(slot, stated.dtype, math.prod(stated.shape))
    if array.dtype != stated.dtype:
        array = _cast(array, stated.dtype, stated.where)
    return array.reshape(stated.shape)


def _shape(stated: object, where: str, spec: TensorSpec) -> tuple[int, ...]:
    """The shape, held against the model's before any memory is taken for it."""
    shape = _list(stated, f"{where}: shape")
    if len(shape) > MOST_EXTENTS or not all(_whole(extent) for extent in shape):
        raise InputError(f"{where}: a shape is at most {MOST_EXTENTS} whole numbers, 0 or more")
    fits = len(shape) == len(spec.shape) and all(
        isinstance(wanted, str) or wanted == extent
        for extent, wanted in zip(shape, spec.shape, strict=True)
    )
    if not fits:
        raise InputError(f"{where}: shape {shape}, the model takes {spec}")
    return tuple(shape)


def _from_bytes(
    data: memoryview, dtype: np.dtype[Any], shape: tuple[int, ...], where: str
) -> Array:
    wanted = math.prod(shape) * dtype.itemsize
    if len(data) != wanted:
        raise InputError(f"{where}: {len(data)} bytes, its shape and type want {wanted}")
    return np.frombuffer(data, dtype).reshape(shape)


def _from_list(data: object, dtype: np.dtype[Any], shape: tuple[int, ...], where: str) -> Array:
    if not isinstance(data, list):
        raise InputError(f"{where}: data is a list")
    try:
        array = np.array(data)
    except (ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{where}: data is no array of one shape: {error}") from None
    if array.size != math.prod(shape):
        raise InputError(f"{where}: {array.size} elements, its shape wants {math.prod(shape)}")
    if array.ndim > 1 and array.shape != shape:
        raise InputError(f"{where}: data is of shape {list(array.shape)}, not {list(shape)}")
    if array.size and array.dtype.kind not in _TAKES[dtype.kind]:
        raise InputError(f"{where}: data holds what is no {dtype.name}")
    return _cast(array, dtype, where).reshape(shape)


_TAKES: Final[Mapping[str, str]] = {"b": "b", "i": "iu", "u": "iu", "f": "iuf", "V": "iuf"}
"""What kinds of numpy array JSON numbers may have become, for each kind of element type."""


def _cast(array: Array, dtype: np.dtype[Any], where: str) -> Array:
    """Of the model's type, unless that changes whole numbers or makes numbers infinite."""
    with np.errstate(over="ignore", invalid="ignore"):
        cast = array.astype(dtype)
    same = np.array_equal(cast, array) if dtype.kind in "iu" else bool(np.isfinite(cast).all())
    if not same:
        raise InputError(f"{where}: data holds numbers that no {dtype.name} has")
    return cast


def _outputs(head: Mapping[str, Any], known: Sequence[str]) -> tuple[list[str], frozenset[str]]:
    """Names of the outputs that are wanted, and those of them that are wanted in binary."""
    parameters = _object(head.get("parameters", {}), "parameters")
    every = _flag(parameters, "binary_data_output", False, "parameters")
    stated = _list(head.get("outputs", []), "outputs")
    wanted, binary = [], set(known) if every and not stated else set()
    for index, each in enumerate(stated):
        where = f"outputs[{index}]"
        entry = _object(each, where)
        name = entry.get("name")
        if not isinstance(name, str) or name not in known:
            raise InputError(f"{where}: no output {name!r:.100}; there are: {', '.join(known)}")
        if name in wanted:
            raise InputError(f"{where}: {name!r} is there twice")
        wanted.append(name)
        of_output = _object(entry.get("parameters", {}), f"{where}: parameters")
        if _flag(of_output, "binary_data", every, where):
            binary.add(name)
    return wanted, frozenset(binary)


def _object(value: object, where: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{where} is an object")
    return value


def _list(value: object, where: str) -> list[Any]:
    if not isinstance(value, list):
        raise InputError(f"{where} is a list")
    return value


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 48


def _flag(parameters: Mapping[str, Any], name: str, default: bool, where: str) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise InputError(f"{where}: {name} is true or false")
    return value


def _plain(array: Array) -> Array | list[Any]:
    """What the JSON writer takes: it knows numpy's own types."""
    return array.astype(np.float32) if array.dtype.kind == "V" else array
