# SPDX-License-Identifier: Apache-2.0
"""Models by name: an architecture from a configuration, and weights from a folder.

A recipe brings no weights and downloads none. They come from a folder, or are made up by a seed
when that is asked for: to try a machine, and to measure it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .decoder.config import DecoderConfig
from .decoder.language_model import TEMPLATE, TOKENIZER
from .decoder.weights import TABLES, layout
from .errors import ModelError
from .importers import huggingface
from .importers.source import Source
from .tensor import Array

_QWEN2: Mapping[str, Any] = {
    "model_type": "qwen2",
    "hidden_size": 896,
    "intermediate_size": 4864,
    "num_hidden_layers": 24,
    "num_attention_heads": 14,
    "num_key_value_heads": 2,
    "max_position_embeddings": 32768,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
_QWEN3: Mapping[str, Any] = {
    "model_type": "qwen3",
    "hidden_size": 1024,
    "intermediate_size": 3072,
    "num_hidden_layers": 28,
    "num_attention_heads": 16,
    "num_key_value_heads": 8,
    "head_dim": 128,
    "max_position_embeddings": 40960,
    "rope_theta": 1000000.0,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": True,
}
RECIPES: Mapping[str, Mapping[str, Any]] = {"qwen": _QWEN2, "qwen3": _QWEN3}
"""By name, the configuration for weights that are made up: the shape of Qwen2.5-0.5B and that of
Qwen3-0.6B, but for the vocabulary, which is that of bytes. Weights of a folder bring theirs."""

SPECIAL = ("<|endoftext|>", "<|im_start|>", "<|im_end|>")
"""The tokens besides bytes: an end, and what begins and ends a message."""
CHAT = (
    "{% for message in messages %}"
    "<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
"""Conversations as ChatML."""
SEED = 0
"""Of weights that are made up."""


def read(
    name: str,
    folder: Path,
    *,
    weights: Path | None = None,
    random_weights: bool = False,
    config: Path | None = None,
) -> Source:
    """Make a recipe's model.

    Args:
        name: One of `RECIPES`.
        folder: Empty, for what is made.
        weights: A folder of Hugging Face's.
        random_weights: Make the weights up, by `SEED`.
        config: A ``config.json`` for weights that are made up, instead of the recipe's own.

    Raises:
        ModelError: It is not said where the weights come from, or more than one place is; or they
            are another architecture's.
        TargetUnavailable: A library is not installed.
    """
    if weights is not None and random_weights:
        raise ModelError(
            f'{name}: --weights "{weights}" and --random-weights exclude one another: the weights'
            " come from the folder, or are made up"
        )
    if weights is not None and config is not None:
        raise ModelError(
            f'{name}: --weights "{weights}" and --config exclude one another: the folder has a'
            " config.json of its own"
        )
    if weights is None and not random_weights:
        raise ModelError(
            f"{name}: say where the weights come from: --weights DIR, a folder of Hugging Face's"
            " with config.json, *.safetensors and tokenizer.json; or --random-weights, which makes"
            " them up. Nothing is downloaded."
        )
    if weights is not None:
        return _with_weights(name, weights, folder)
    return _made_up(name, folder, config)


def _with_weights(name: str, weights: Path, folder: Path) -> Source:
    if not weights.is_dir():
        raise ModelError(f'{name}: "{weights}" is no folder with weights')
    _config(name, weights / "config.json")
    return huggingface.read(weights, folder)


def _config(name: str, path: Path) -> Mapping[str, Any]:
    """A ``config.json`` of the recipe's architecture."""
    given = huggingface.read_config(path)
    kind, wanted = given.get("model_type"), RECIPES[name]["model_type"]
    if kind != wanted:
        raise ModelError(f'{name}: "{path}" is of a {kind!r}, the recipe of a {wanted!r}')
    return given


def _made_up(name: str, folder: Path, path: Path | None) -> Source:
    given = dict(RECIPES[name])
    if path is not None:
        given |= _config(name, path)
    given["vocab_size"] = 256 + len(SPECIAL)
    config = DecoderConfig.from_huggingface(given)
    huggingface.write_model(folder, config, _random(config))
    files = {TOKENIZER: folder / TOKENIZER, TEMPLATE: folder / TEMPLATE}
    files[TOKENIZER].write_text(json.dumps(byte_tokenizer()), "utf-8")
    files[TEMPLATE].write_text(CHAT, "utf-8")
    details = {
        "weights": f"random, seed {SEED}",
        "ends": [256 + SPECIAL.index(each) for each in ("<|endoftext|>", "<|im_end|>")],
        "words": {"eos_token": "<|im_end|>"},
    }
    return huggingface.finish(folder, name, config, details, files)


def _random(config: DecoderConfig) -> Iterator[tuple[str, Array]]:
    """Normally distributed, so that each layer keeps the size of what it takes; norms are ones."""
    random = np.random.default_rng(SEED)
    for name, place in layout(config).items():
        if name in TABLES:
            continue
        if name.endswith("norm"):
            yield name, np.ones(place.shape, np.float32)
            continue
        values = random.standard_normal(place.shape, np.float32)
        width = place.shape[0 if "." in name else 1]
        yield name, values * np.float32(width**-0.5)


def byte_tokenizer() -> dict[str, Any]:
    """A ``tokenizer.json`` whose tokens are the 256 bytes, and `SPECIAL`."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers

    alphabet = _bytes_as_characters()
    tokenizer = Tokenizer(models.BPE({each: number for number, each in enumerate(alphabet)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([AddedToken(each, normalized=False) for each in SPECIAL])
    made: dict[str, Any] = json.loads(tokenizer.to_str())
    return made


def _bytes_as_characters() -> list[str]:
    """The character by which byte-level tokenizers write each byte.

    Printable ones are as in Latin-1, the others in order from U+0100 on.
    """
    printable = {*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)}
    others = (code for code in range(256) if code not in printable)
    moved = {code: 0x100 + place for place, code in enumerate(others)}
    return [chr(moved.get(code, code)) for code in range(256)]
