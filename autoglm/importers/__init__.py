# SPDX-License-Identifier: Apache-2.0
"""From whatever a model comes as, to ONNX.

An importer is a module with ``read(path, folder) -> Source``. It writes what it makes into the
folder; what is a file of the caller's already is left where it is.
"""

from __future__ import annotations

import os
import zipfile
from pathlib import Path

from ..errors import ModelError
from .source import Source

__all__ = ["Source", "read"]


def read(model: str | os.PathLike[str], folder: Path) -> Source:
    """Import a model. It is imported in a child: engines that read models may crash.

    Args:
        model: An ONNX file, or a program that torch.export saved.
        folder: Empty, for what is made.

    Raises:
        ModelError: It is none of these, or is damaged.
        TargetUnavailable: What reading it needs is not installed.
    """
    path = Path(model)
    if not path.is_file():
        raise ModelError(f'no model "{path}": there is no such file')
    if zipfile.is_zipfile(path):
        from . import torch

        return torch.read(path, folder)
    from . import onnx

    return onnx.read(path, folder)
