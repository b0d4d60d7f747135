# SPDX-License-Identifier: Apache-2.0
"""By what a source model is known."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path


def digest(paths: Iterable[Path]) -> str:
    """The SHA-256 of files, one after another, in hexadecimal."""
    sha256 = hashlib.sha256()
    for path in paths:
        with open(path, "rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
    return sha256.hexdigest()
