# SPDX-License-Identifier: Apache-2.0
"""The files beside an ONNX model in which it keeps weights.

Its tensors say where they are (https://onnx.ai/onnx/repo-docs/ExternalData.html). A place that is
not in the model's folder, or not in the file, is refused before anything is read of it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import onnx
import onnx_ir as ir
from google.protobuf.message import Message

from ..errors import ModelError


def files(path: Path, model: onnx.ModelProto) -> list[Path]:
    """The files in which a model keeps tensors, each of them where it is said to be.

    Args:
        path: The model's file.
        model: What is in it.

    Raises:
        ModelError: A file is missing or elsewhere, or a tensor is not within its file.
    """
    found = set()
    for tensor in _tensors(model):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            continue
        try:
            found.add(_file(path.parent, tensor))
        except ValueError as error:
            raise ModelError(f'"{path}": weight {tensor.name!r} is kept outside: {error}') from None
    return sorted(found)


def _tensors(message: Message) -> Iterator[onnx.TensorProto]:
    """Those of initializers and of attributes, in functions and inner graphs too."""
    if isinstance(message, onnx.TensorProto):
        yield message
        return
    for field, value in message.ListFields():
        if field.message_type is not None:
            for each in [value] if isinstance(value, Message) else value:
                yield from _tensors(each)


def _file(folder: Path, tensor: onnx.TensorProto) -> Path:
    """The file of a tensor.

    Raises:
        ValueError: It is missing or elsewhere, or the tensor is not within it.
    """
    said = {entry.key: entry.value for entry in tensor.external_data}
    place = PurePosixPath(said.get("location", ""))
    if place == PurePosixPath():
        raise ValueError("it is not said in which file")
    if place.is_absolute() or ".." in place.parts:
        raise ValueError(
            f'"{place}" is not in the model\'s folder, and is not read;'
            " save the model anew, with its weights beside it"
        )
    path = folder / place
    if not path.exists():
        raise ValueError(f'there is no file "{path}"; copy it to where the model is')
    offset, length = _number(said, "offset", 0), _bytes(tensor)
    if _number(said, "length", length) != length:
        raise ValueError(
            f'it takes {length} bytes, but {said["length"]} are said to be in "{path}"'
        )
    size = path.stat().st_size
    if offset + length > size:
        raise ValueError(
            f'it takes {length} bytes from {offset} on, but "{path}" has {size};'
            " copy it anew, from where the model comes from"
        )
    return path


def _number(said: dict[str, str], key: str, usual: int) -> int:
    text = said.get(key, str(usual))
    if not (text.isascii() and text.isdigit()):
        raise ValueError(f"its {key} is {text!r}, not a whole number from 0 on")
    return int(text)


def _bytes(tensor: onnx.TensorProto) -> int:
    try:
        bits = ir.DataType(tensor.data_type).bitwidth
    except (TypeError, ValueError):
        raise ValueError(f"type {tensor.data_type} is none that can be there") from None
    count: int = math.prod(tensor.dims)
    return (count * bits + 7) // 8
