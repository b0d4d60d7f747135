# SPDX-License-Identifier: Apache-2.0
"""The architecture of a decoder: numbers that its ``config.json`` gives, held to what we compute.

Qwen2 and Qwen3 (https://arxiv.org/abs/2407.10671, https://arxiv.org/abs/2505.09388): RMSNorm before
attention and feed-forward, grouped-query attention, rotary positions, SwiGLU. Qwen2 adds biases to
query, key and value, Qwen3 norms each head of query and key.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from ..errors import ModelError

ARCHITECTURES = ("qwen2", "qwen3")
"""The values of ``model_type`` that are computed."""
_LARGEST = 1 << 24
"""No extent of a decoder comes near it; a larger one is a damaged file."""


@dataclass(frozen=True)
class DecoderConfig:
    """A decoder's architecture.

    Attributes:
        architecture: One of `ARCHITECTURES`.
        vocabulary: Token ids are below it.
        hidden: Width between layers.
        intermediate: Width within the feed-forward of a layer.
        layers: How many.
        heads: Of queries.
        kv_heads: Of keys and values; divides `heads`.
        head: Width of a head, even.
        context: The most tokens of prompt and answer together.
        rope_base: Of the wavelengths of rotary positions.
        epsilon: Of RMSNorm.
        tied: Logits are computed with the table of embeddings.
        qkv_bias: Query, key and value have biases.
        head_norm: Each head of query and key is normed.
    """

    architecture: str
    vocabulary: int
    hidden: int
    intermediate: int
    layers: int
    heads: int
    kv_heads: int
    head: int
    context: int
    rope_base: float
    epsilon: float
    tied: bool
    qkv_bias: bool
    head_norm: bool

    def __post_init__(self) -> None:
        for name in ("vocabulary", "hidden", "intermediate", "layers", "heads", "kv_heads",
                     "head", "context"):  # fmt: skip
            value = getattr(self, name)
            if not isinstance(value, int) or not 0 < value < _LARGEST:
                raise ModelError(f"a decoder's configuration: {name} is {value!r}")
        if self.heads % self.kv_heads or self.head % 2:
            raise ModelError(
                f"a decoder's configuration: {self.heads} heads of {self.head} with"
                f" {self.kv_heads} heads of keys and values: they do not divide"
            )

    @classmethod
    def from_huggingface(cls, value: Mapping[str, Any]) -> DecoderConfig:
        """From the content of a ``config.json``.

        Raises:
            ModelError: It is of another architecture, or asks for what is not computed.
        """
        kind = value.get("model_type")
        if kind not in ARCHITECTURES:
            raise ModelError(
                f"config.json: model_type is {kind!r}; there are: {', '.join(ARCHITECTURES)}"
            )
        try:
            return _from_huggingface(value)
        except KeyError as error:
            raise ModelError(f"config.json: {error.args[0]} is missing") from None
        except (TypeError, ValueError) as error:
            raise ModelError(f"config.json: {error}") from None

    def cache_names(self) -> list[tuple[str, str]]:
        """Input and output of each buffer of the graph's cache: by layer, the keys first."""
        return [
            (f"past_key_values.{layer}.{kind}", f"present.{layer}.{kind}")
            for layer in range(self.layers)
            for kind in ("key", "value")
        ]

    def to_json(self) -> dict[str, Any]:
        """As the manifest of an artifact has it."""
        return dataclasses.asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> DecoderConfig:
        """From a manifest.

        Raises:
            ModelError, TypeError: It is no such description.
        """
        return cls(**value)


def _from_huggingface(value: Mapping[str, Any]) -> DecoderConfig:
    kind = value["model_type"]
    _refuse_others(value)
    heads, hidden = int(value["num_attention_heads"]), int(value["hidden_size"])
    return DecoderConfig(
        architecture=kind,
        vocabulary=int(value["vocab_size"]),
        hidden=hidden,
        intermediate=int(value["intermediate_size"]),
        layers=int(value["num_hidden_layers"]),
        heads=heads,
        kv_heads=int(value.get("num_key_value_heads") or heads),
        head=int(value.get("head_dim") or (128 if kind == "qwen3" else hidden // max(heads, 1))),
        context=int(value["max_position_embeddings"]),
        rope_base=_rope_base(value),
        epsilon=float(value.get("rms_norm_eps", 1e-6)),
        tied=bool(value.get("tie_word_embeddings", False)),
        qkv_bias=kind == "qwen2" or bool(value.get("attention_bias", False)),
        head_norm=kind == "qwen3",
    )


def _rope_base(value: Mapping[str, Any]) -> float:
    """In releases of transformers before 5, rope_theta stood by itself, with rope_scaling."""
    rope = value.get("rope_parameters") or value.get("rope_scaling") or {}
    kind = rope.get("rope_type", rope.get("type", "default"))
    if kind != "default":
        raise ModelError(
            f"config.json: rotary positions are scaled ({kind!r}), which is not computed;"
            " without rope_scaling the model serves its original context"
        )
    return float(rope.get("rope_theta", value.get("rope_theta", 10000.0)))


def _refuse_others(value: Mapping[str, Any]) -> None:
    if value.get("hidden_act", "silu") != "silu":
        raise ModelError(f"config.json: hidden_act is {value['hidden_act']!r}, silu is computed")
    kinds = set(value.get("layer_types") or ["full_attention"])
    if value.get("use_sliding_window") or kinds != {"full_attention"}:
        raise ModelError("config.json: attention in a sliding window is not computed")
