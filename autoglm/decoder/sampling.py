# SPDX-License-Identifier: Apache-2.0
"""Which token comes next, given the logits.

In the order of the transformers library: penalties, temperature, top-k, top-p. What is drawn
depends on the seed, on how many tokens were drawn before, and on nothing else: neither on which
other requests are answered at the same time, nor on whether the process was another in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np

from ..errors import Error, InputError
from ..tensor import Array

_BOUNDS: dict[str, tuple[float, float]] = {
    "temperature": (0.0, 100.0),
    "top_k": (0, 1 << 24),
    "top_p": (0.0, 1.0),
    "repetition_penalty": (0.01, 100.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "seed": (0, (1 << 64) - 1),
    "max_tokens": (1, 1 << 24),
}
_NEVER = 1e-12
"""Chances below it, where the likeliest token has 1, are left out of a nucleus."""


@dataclass(frozen=True)
class Sampling:
    """How to choose tokens, and when to stop.

    Attributes:
        max_tokens: Of the answer, at most.
        temperature: 0 takes the likeliest token each time; 1 draws as the model has it.
        top_k: Draw from that many of the likeliest; 0 from all.
        top_p: Draw from the likeliest that have that probability together.
        repetition_penalty: What logits of tokens that stand in prompt or answer are divided by
            where positive, multiplied by where negative (https://arxiv.org/abs/1909.05858).
        presence_penalty: What is taken from logits of tokens that stand in the answer.
        frequency_penalty: The same, for each time that they do.
        seed: Of the draws.
        ignore_end: Go on after a token that ends an answer.

    Raises:
        InputError: A value is out of bounds; the sentence has them.
    """

    max_tokens: int = 128
    temperature: float = 0.0
    top_k: int = 0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    seed: int = 0
    ignore_end: bool = False

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name == "ignore_end":
                continue
            least, most = _BOUNDS[field.name]
            whole = isinstance(field.default, int)
            right = isinstance(value, int) if whole else isinstance(value, (int, float))
            if not right or isinstance(value, bool) or not least <= value <= most:
                kind = "a whole number" if whole else "a number"
                raise InputError(
                    f"{field.name} is {value!r}; it is {kind} from {least:g} to {most:g}"
                )

    def to_json(self) -> dict[str, Any]:
        """As plain values: the arguments of `Sampling`."""
        return dict(vars(self))


class Sampler:
    """Chooses the tokens of one answer.

    Args:
        sampling: How.
        prompt: The tokens of the prompt.
        answer: Tokens of the answer that were chosen before, when it is gone on with.
    """

    def __init__(
        self, sampling: Sampling, prompt: Sequence[int], answer: Sequence[int] = ()
    ) -> None:
        self._sampling = sampling
        self._seen = set(prompt) | set(answer)
        self._counts: dict[int, int] = {}
        self._drawn = 0
        for token in answer:
            self._note(token)

    def choose(self, logits: Array) -> int:
        """The next token.

        Args:
            logits: float32[vocabulary]; not changed.

        Raises:
            Error: They are not finite: the model computes nothing of sense here.
        """
        sampling = self._sampling
        logits = self._penalised(logits)
        best = int(logits.argmax())
        if not np.isfinite(logits[best]):
            raise Error("generate: the model's logits are not finite, it cannot go on from here")
        token = best if sampling.temperature == 0 else self._draw(logits)
        self._note(token)
        return token

    def _note(self, token: int) -> None:
        self._seen.add(token)
        self._counts[token] = self._counts.get(token, 0) + 1
        self._drawn += 1

    def _penalised(self, logits: Array) -> Array:
        sampling = self._sampling
        if sampling.repetition_penalty != 1.0 and self._seen:
            logits = logits.copy()
            seen = np.fromiter(self._seen, np.int64)
            there = logits[seen]
            penalty = np.float32(sampling.repetition_penalty)
            logits[seen] = np.where(there < 0, there * penalty, there / penalty)
        if (sampling.presence_penalty or sampling.frequency_penalty) and self._counts:
            logits = logits.copy()
            tokens = np.fromiter(self._counts, np.int64)
            counts = np.fromiter(self._counts.values(), np.float32)
            logits[tokens] -= sampling.presence_penalty + sampling.frequency_penalty * counts
        return logits

    def _draw(self, logits: Array) -> int:
        sampling = self._sampling
        tokens = _likeliest(logits, sampling.top_k)
        scores = logits[tokens].astype(np.float64) / sampling.temperature
        chances = np.exp(scores - scores.max())
        if sampling.top_p < 1.0:
            tokens, chances = _nucleus(tokens, chances, sampling.top_p)
        sums = np.cumsum(chances)
        # One generator for each draw: its state is (seed, how many were drawn), see the module.
        random = np.random.Generator(np.random.Philox(key=sampling.seed, counter=self._drawn))
        place = int(np.searchsorted(sums, random.random() * sums[-1], side="right"))
        return int(tokens[min(place, len(tokens) - 1)])


def _likeliest(logits: Array, count: int) -> Array:
    """The tokens with the highest logits, by number; all when `count` is 0."""
    size = len(logits)
    if not 0 < count < size:
        return np.arange(size)
    return np.sort(np.argpartition(logits, size - count)[size - count :])


def _nucleus(tokens: Array, chances: Array, share: float) -> tuple[Array, Array]:
    """The likeliest tokens that have that share of all chances; the one that reaches it is in."""
    wanted = share * chances.sum()
    near = np.flatnonzero(chances > _NEVER)  # the others are many, and slow to sort
    order = near[np.argsort(-chances[near], kind="stable")]
    end = int(np.searchsorted(np.cumsum(chances[order]), wanted)) + 1
    return tokens[order[:end]], chances[order[:end]]
