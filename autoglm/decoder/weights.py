# SPDX-License-Identifier: Apache-2.0
"""The weights of a decoder in one file: where each tensor is follows from the configuration alone.

Little-endian 32-bit floats, row by row, each tensor at a multiple of `ALIGNMENT` bytes. Both graphs
of a decoder read the same file, as views of a memory map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO

import numpy as np

from ..errors import ArtifactError
from ..tensor import Array
from .config import DecoderConfig

FILE = "weights"
"""How the file is called, beside the graphs."""
TABLES = ("cos", "sin")
"""What is in it that no one trained: of rotary positions."""
ALIGNMENT = 64
"""In bytes: a line of the cache, and the widest vector."""


@dataclass(frozen=True)
class Place:
    """Where a tensor is.

    Attributes:
        shape: Its extents.
        offset: In bytes, from the beginning of the file.
    """

    shape: tuple[int, ...]
    offset: int

    @property
    def length(self) -> int:
        """In bytes."""
        return 4 * int(np.prod(self.shape))


def layout(config: DecoderConfig) -> dict[str, Place]:
    """Where each tensor is, by name, in the order of the file."""
    found: dict[str, Place] = {}
    offset = 0
    for name, shape in _shapes(config):
        found[name] = Place(shape, offset)
        offset = -(-(offset + found[name].length) // ALIGNMENT) * ALIGNMENT
    return found


def _shapes(config: DecoderConfig) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Matrices are (inputs, outputs) but for the tables of embeddings and of logits."""
    hidden, queries, keys = config.hidden, config.heads * config.head, config.kv_heads * config.head
    yield "embed", (config.vocabulary, hidden)
    if not config.tied:
        yield "head", (config.vocabulary, hidden)
    yield "norm", (hidden,)
    yield "cos", (config.context, config.head // 2)
    yield "sin", (config.context, config.head // 2)
    for layer in range(config.layers):
        yield f"{layer}.attention.norm", (hidden,)
        yield f"{layer}.attention.qkv", (hidden, queries + 2 * keys)
        if config.qkv_bias:
            yield f"{layer}.attention.qkv_bias", (queries + 2 * keys,)
        if config.head_norm:
            yield f"{layer}.attention.query_norm", (config.head,)
            yield f"{layer}.attention.key_norm", (config.head,)
        yield f"{layer}.attention.output", (queries, hidden)
        yield f"{layer}.mlp.norm", (hidden,)
        yield f"{layer}.mlp.gate_up", (hidden, 2 * config.intermediate)
        yield f"{layer}.mlp.down", (config.intermediate, hidden)


def positions(config: DecoderConfig) -> dict[str, Array]:
    """Cosine and sine of every position's angles (https://arxiv.org/abs/2104.09864), in float32."""
    steps = np.arange(0, config.head, 2, dtype=np.float32) / np.float32(config.head)
    rates = (1.0 / np.power(np.float32(config.rope_base), steps)).astype(np.float32)
    angles = np.outer(np.arange(config.context, dtype=np.float32), rates)
    return {"cos": np.cos(angles), "sin": np.sin(angles)}


def write(file: IO[bytes], config: DecoderConfig, tensors: Iterator[tuple[str, Array]]) -> None:
    """Write tensors, one at a time.

    Args:
        file: Open for writing.
        config: Says where they go.
        tensors: Name and values, each name of `layout` once.

    Raises:
        ValueError: A name or a shape is another, or one is missing.
    """
    places = layout(config)
    for name, values in tensors:
        place = places.pop(name)
        if values.shape != place.shape:
            raise ValueError(f"{name} has shape {values.shape}, the configuration {place.shape}")
        file.seek(place.offset)
        file.write(np.ascontiguousarray(values, dtype="<f4").data)
    if places:
        raise ValueError(f"no weights for {', '.join(places)}")


def views(data: memoryview, config: DecoderConfig) -> Mapping[str, Array]:
    """Each tensor, read-only, without a copy.

    Raises:
        ArtifactError: There are fewer bytes than the configuration takes.
    """
    places = layout(config)
    end = max(place.offset + place.length for place in places.values())
    if len(data) < end:
        raise ArtifactError(f"the weights have {len(data)} bytes, the configuration takes {end}")
    return {
        name: np.frombuffer(data, "<f4", place.length // 4, place.offset).reshape(place.shape)
        for name, place in places.items()
    }
