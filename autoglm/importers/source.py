# SPDX-License-Identifier: Apache-2.0
"""A model as an importer hands it on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Source:
    """A model as ONNX. Everything in it can be pickled.

    Attributes:
        path: The ONNX file; weights that it keeps outside are beside it.
        name: For people: the stem of the file, or the recipe's name.
        sha256: Of what was read, in hexadecimal.
        family: ``graph``, or ``decoder`` for a language model that generates.
        details: For the manifest; see `ModelInfo.details`.
        files: More files for the artifact, such as a tokenizer's, by the name of their blob.
        typical: Extents at which to check and to time it, by name; what the caller says goes first.
    """

    path: Path
    name: str
    sha256: str
    family: str = "graph"
    details: Mapping[str, Any] = field(default_factory=dict)
    files: Mapping[str, Path] = field(default_factory=dict)
    typical: Mapping[str, int] = field(default_factory=dict)
