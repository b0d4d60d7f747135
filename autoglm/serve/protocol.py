# SPDX-License-Identifier: Apache-2.0
"""The words of the Open Inference Protocol, version 2.

Sources: the protocol's inference_rest.md, and Triton's extension_binary_data.md, whose binary
arrays follow the JSON; the header ``Inference-Header-Content-Length`` says where they begin.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import quote

from ..tensor import TensorSpec

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
VERSION: Final = "1"
"""Of every model: an artifact is one version, and another artifact is another model."""


def places(model: str) -> tuple[str, str]:
    """Paths of what a model answers to: as it is, and by its version."""
    path = f"/v2/models/{quote(model, safe='')}"
    return path, f"{path}/versions/{VERSION}"


def tensor(spec: TensorSpec) -> dict[str, Any]:
    """A tensor as metadata has it; a dynamic extent is -1."""
    shape = [-1 if isinstance(extent, str) else extent for extent in spec.shape]
    return {"name": spec.name, "datatype": DATATYPES.get(spec.dtype, "BYTES"), "shape": shape}
