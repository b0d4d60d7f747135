# SPDX-License-Identifier: Apache-2.0
"""Tokens per second of language models against the transformers library, in one process.

Both answer the same prompt by the same number of tokens, the likeliest each time, in 32-bit floats
on every processor; eight at once are eight different requests for us, and one batch for the peer.
Both answers are compared token by token before a figure is taken.
"""

from __future__ import annotations

import queue
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import autoglm
from autoglm.decoder import LanguageModel, Sampling, load

from .rounds import Row, Unavailable, medians

GOAL = ">= 2"
PROMPT, ANSWER, TOGETHER = 32, 48, 8
_SHAPE: dict[str, Any] = {
    "vocab_size": 32000,
    "num_attention_heads": 8,
    "num_key_value_heads": 2,
    "max_position_embeddings": 1024,
    "initializer_range": 0.05,
    "tie_word_embeddings": True,
}
SIZES: dict[str, dict[str, Any]] = {
    "11 M": {"hidden_size": 256, "intermediate_size": 704, "num_hidden_layers": 4},
    "82 M": {"hidden_size": 640, "intermediate_size": 2560, "num_hidden_layers": 10},
}
"""Of Qwen2's architecture, by parameters."""


def rows() -> list[Row]:
    """Two rows a size: one answer, and eight at once."""
    try:
        import transformers  # noqa: F401
    except ImportError as error:
        raise Unavailable(f"transformers cannot be imported: {error}") from None
    with tempfile.TemporaryDirectory() as folder:
        return [row for size in SIZES for row in _rows(size, Path(folder, size.replace(" ", "")))]


def _rows(size: str, folder: Path) -> list[Row]:
    from tests.autoglm.languages import save_shape

    peer = save_shape(_SHAPE | SIZES[size], folder)
    artifact = folder / "model.glm"
    autoglm.compile(folder, output=artifact)
    with load(artifact, slots=TOGETHER, capacity=PROMPT + ANSWER) as model:
        return [_row(size, model, peer, count) for count in (1, TOGETHER)]


def _row(size: str, model: LanguageModel, peer: Any, count: int) -> Row:
    prompts = [[(7 * n + 31 * each) % 32000 for n in range(PROMPT)] for each in range(count)]
    ours, theirs = _ours(model, prompts), _theirs(peer, prompts)
    if ours() != theirs():
        raise Unavailable(f"{size}: the answers are not the same")
    took = medians({"ours": ours, "transformers": theirs}, rounds=5)
    speed = {name: count * ANSWER / (each * 1e-9) for name, each in took.items()}
    return Row(
        f"Qwen2 of {size}, {count} at once",
        speed["ours"],
        {"transformers": speed["transformers"]},
        GOAL,
        speed["ours"] / speed["transformers"],
        "tokens/s",
        f"prompts of {PROMPT}, answers of {ANSWER} tokens, equal token by token",
    )


def _ours(model: LanguageModel, prompts: list[list[int]]) -> Callable[[], list[list[int]]]:
    sampling = Sampling(max_tokens=ANSWER, ignore_end=True)

    def answer() -> list[list[int]]:
        found: list[queue.SimpleQueue[Any]] = [queue.SimpleQueue() for _ in prompts]
        for prompt, events in zip(prompts, found, strict=True):
            model.answers.submit(prompt, sampling, events.put)
        return [list(iter(events.get, "length")) for events in found]

    return answer


def _theirs(peer: Any, prompts: list[list[int]]) -> Callable[[], list[list[int]]]:
    import torch

    ids = torch.tensor(prompts)
    mask = torch.ones_like(ids)

    def answer() -> list[list[int]]:
        with torch.inference_mode():
            found = peer.generate(
                ids,
                attention_mask=mask,
                max_new_tokens=ANSWER,
                do_sample=False,
                eos_token_id=None,
                pad_token_id=0,
            )
        return [[int(token) for token in each[PROMPT:]] for each in found]

    return answer
