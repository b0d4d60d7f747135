# SPDX-License-Identifier: Apache-2.0
"""ONNX files, as they are (https://onnx.ai/onnx/repo-docs/IR.html)."""

from __future__ import annotations

from pathlib import Path

import onnx
from google.protobuf.message import DecodeError

from ..errors import ModelError
from . import outside
from .digest import digest
from .source import Source


def read(path: Path, folder: Path) -> Source:
    """Check an ONNX file, with the weights that it keeps outside.

    Args:
        path: The file.
        folder: Not used: the file stays where it is.

    Raises:
        ModelError: It is none, is damaged, or breaks the rules of ONNX; or weights that it keeps
            outside are not where it says.
    """
    del folder
    try:
        model = onnx.load(path, load_external_data=False)
    except (DecodeError, OSError) as error:
        raise ModelError(f'"{path}" is no ONNX model: {error}') from None
    if not model.graph.output:  # any few bytes are a message of protobuf
        raise ModelError(f'"{path}" is no ONNX model: it has no outputs')
    beside = outside.files(path, model)
    try:
        onnx.checker.check_model(str(path))
    except (onnx.checker.ValidationError, ValueError, OSError) as error:
        raise ModelError(f'"{path}" breaks the rules of ONNX: {error}') from None
    return Source(path, path.stem, digest([path, *beside]))
