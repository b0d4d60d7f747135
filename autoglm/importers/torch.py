# SPDX-License-Identifier: Apache-2.0
"""Programs that torch.export.save() wrote (.pt2), by way of torch.onnx.

Reading one unpickles what is in it, as torch.export.load() does: import programs of your own only.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import logging
import warnings
from pathlib import Path

from ..errors import ModelError, TargetUnavailable
from .digest import digest
from .source import Source


def read(path: Path, folder: Path) -> Source:
    """Turn an exported program into ONNX; its dynamic extents are kept.

    Args:
        path: What torch.export.save() wrote.
        folder: For the ONNX file.

    Raises:
        ModelError: It is no such program, or uses what ONNX does not have.
        TargetUnavailable: PyTorch is not installed.
    """
    if importlib.util.find_spec("torch") is None:
        raise TargetUnavailable(
            f'reading "{path}" needs PyTorch, which is not installed:'
            " pip install 'open-autoglm[torch]'"
        )
    import torch

    try:
        program = torch.export.load(path)
    except Exception as error:
        raise ModelError(f'"{path}" is no program of torch.export: {_first(error)}') from error
    made = folder / f"{path.stem}.onnx"
    logging.disable(logging.WARNING)  # the exporter tells of versions of its own converters
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            torch.onnx.export(program, (), str(made), dynamo=True, external_data=False)
    except Exception as error:
        raise ModelError(f'"{path}" cannot be expressed in ONNX: {_first(error)}') from error
    finally:
        logging.disable(logging.NOTSET)
    return Source(made, path.stem, digest([path]))


def _first(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:300]
