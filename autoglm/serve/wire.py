# SPDX-License-Identifier: Apache-2.0
"""Requests to run a model, by the Open Inference Protocol (`protocol`): from bytes to arrays.

All that is read comes from outside: what does not fit is an `InputError` that says what and where.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import numpy as np

from ..errors import InputError
from ..manifest import ModelInfo
from ..tensor import Array, TensorSpec, check_inputs
from .document import Document, NotPlain, Slot
from .protocol import DATATYPES

if TYPE_CHECKING:
    from .reply import Words

MOST_EXTENTS: Final = 32
LONGEST_KNOWN: Final = 4096
"""Bytes of JSON that are kept for when they come again."""
MOST_KNOWN: Final = 256
"""How many of them, for one model."""


@dataclass(frozen=True)
class _Input:
    """One input as it was stated: in JSON, unless it has a size.

    Attributes:
        size: In bytes, when it is binary.
        data: When it is JSON.
    """

    name: str
    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    where: str
    size: int | None
    data: object


@dataclass(frozen=True, eq=False)
class Form:
    """What requests say that differ in their arrays' values and in their ``id`` only.

    Attributes:
        id: The client's name for it, or what stands for it; None when there is none.
        inputs: All of them.
        outputs: Names of those that are wanted; empty for all.
        binary: Names of those that are wanted in binary.
        size: Of the binary inputs, in bytes.
        answers: What answers say around their arrays, by the description of those
            (`exchange.Layout`); it is `reply` that keeps it.
    """

    id: str | Slot | None
    inputs: Sequence[_Input]
    outputs: Sequence[str]
    binary: frozenset[str]
    size: int
    answers: dict[bytes, Words] = field(default_factory=dict)


class Request(NamedTuple):
    """A request to run a model, which `tensor.check_inputs` has found to fit.

    Attributes:
        form: What it says.
        id: The client's name for it; None when there is none.
        inputs: By name; those that came in binary are views of the body.
    """

    form: Form
    id: str | None
    inputs: Mapping[str, Array]


class Reader:
    """Reads requests to run a model. One thread uses it.

    A client states the same again and again where only the arrays in it, or behind it, differ: what
    was understood once is kept.

    Args:
        info: The model.
    """

    def __init__(self, info: ModelInfo) -> None:
        self._inputs = info.inputs
        self._specs = {spec.name: spec for spec in info.inputs}
        self._outputs = [spec.name for spec in info.outputs]
        self._holes = len(info.inputs) + 1
        self._known: dict[tuple[bytes, ...], Form] = {}

    def read(self, body: bytes, length: int | None) -> Request:
        """A request, from its body.

        Args:
            body: All of it.
            length: Bytes of it that are JSON, when arrays follow; None: it is JSON.

        Raises:
            InputError: It is no such request; the sentence says where.
        """
        document = self._document(body, length)
        try:
            form = self._known.get(document.around)
            if form is not None:
                return _request(form, document, body)
            form = self._form(document.outline())
            request = self._fit(form, document, body)
            self._keep(document.around, form)
        except NotPlain:  # slower, and says what is wrong
            request = self._fit(self._form(document.whole()), document, body)
        return request

    def _document(self, body: bytes, length: int | None) -> Document:
        if length is None:
            return Document(body, self._holes)
        if length > len(body):
            raise InputError(f"the JSON has {length} bytes by its header, the body has {len(body)}")
        text = body[:length]
        known = (text,) in self._known  # so there are no holes in it
        return Document(text, 0 if known else self._holes)

    def _fit(self, form: Form, document: Document, body: bytes) -> Request:
        request = _request(form, document, body)
        check_inputs(self._inputs, request.inputs)
        return request

    def _keep(self, around: tuple[bytes, ...], form: Form) -> None:
        if sum(map(len, around)) <= LONGEST_KNOWN:
            if len(self._known) >= MOST_KNOWN:
                self._known.clear()
            self._known[around] = form

    def _form(self, content: object) -> Form:
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
        if not isinstance(identifier, str | Slot | None):
            raise InputError("id is a text")
        size = sum(each.size or 0 for each in inputs.values())
        return Form(identifier, tuple(inputs.values()), outputs, binary, size)


def _request(form: Form, document: Document, body: bytes) -> Request:
    name = document.name(form.id) if isinstance(form.id, Slot) else form.id
    return Request(form, name, _arrays(form, document, body))


def _arrays(form: Form, document: Document, body: bytes) -> dict[str, Array]:
    """The inputs.

    Args:
        form: Of the request.
        document: Its JSON.
        body: All of it.
    """
    at = len(document.text)
    if form.size != len(body) - at:
        raise _misfit(form, len(body) - at)
    arrays: dict[str, Array] = {}
    for each in form.inputs:
        if each.size is not None:
            arrays[each.name] = np.ndarray(each.shape, each.dtype, body, at)
            at += each.size
        elif isinstance(each.data, Slot):
            arrays[each.name] = _from_numbers(each.data, each, document)
        else:
            arrays[each.name] = _from_list(each.data, each.dtype, each.shape, each.where)
    return arrays


def _misfit(form: Form, left: int) -> InputError:
    """What is wrong with so many bytes behind the JSON."""
    for each in form.inputs:
        size = each.size or 0
        if size > left:
            return InputError(f"{each.where}: {size} bytes are stated, {left} are left")
        left -= size
    return InputError(f"{left} bytes follow that no input names")


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
    dtype = np.dtype(spec.dtype)
    if size is not None:
        _check_size(size, math.prod(shape) * dtype.itemsize, where)
        if isinstance(stated.get("data"), Slot):
            raise NotPlain  # nobody reads what may be no list
    return _Input(spec.name, dtype, shape, where, size, stated.get("data"))


def _check_size(size: object, wanted: int, where: str) -> None:
    if not _whole(size):
        raise InputError(f"{where}: binary_data_size is a number of bytes")
    if size != wanted:
        raise InputError(f"{where}: {size} bytes, its shape and type want {wanted}")


def _from_numbers(slot: Slot, stated: _Input, document: Document) -> Array:
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
