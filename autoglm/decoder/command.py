# SPDX-License-Identifier: Apache-2.0
"""What ``autoglm-runtime`` does with a language model besides serving it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from ..artifact import Artifact
from ..benchmark import Figures, timed
from ..device import Device
from ..dispatch import Candidate, choose
from .batching import CAPACITY
from .language_model import LanguageModel, load
from .sampling import Sampling

PROMPT, ANSWER = 32, 32
"""Tokens of one call of the benchmark."""


def prompt(model: Path, options: Mapping[str, Any]) -> int:
    """Let a language model go on from a text; print its answer as it comes.

    An answer that ends before it is as long as was asked for, for want of room, says so.
    """
    sampling = Sampling(max_tokens=options["max_tokens"])
    tokens = 0
    with _loaded(model, options["device"], options["threads"]) as loaded:
        texts = []
        for piece in loaded.generate(options["prompt"], sampling):
            tokens, finish = piece.tokens, piece.finish
            texts.append(piece.text)
            if not options["json"]:
                click.echo(piece.text, nl=False)
        room = loaded.capacity
    if options["json"]:
        said = {"text": "".join(texts), "tokens": tokens, "finish_reason": finish}
        click.echo(json.dumps(said, indent=2))
    else:
        click.echo()
    if finish == CAPACITY:
        click.echo(
            f"autoglm-runtime: the answer is cut after {tokens} of {sampling.max_tokens} tokens:"
            f" prompt and answer together have {room} at most",
            err=True,
        )
    return 0


@dataclass(frozen=True)
class _Runs:
    """What `benchmark.timed` says it timed."""

    device: Device
    candidate: Candidate
    counters: Mapping[str, int] = field(default_factory=dict)


def measure(model: Path, device: int, options: Mapping[str, Any]) -> Figures:
    """Time answers of `ANSWER` tokens to prompts of `PROMPT`, one after the other."""
    with Artifact(model) as artifact:
        candidate = choose(artifact, device).candidates[0]
    runs: Any = _Runs(candidate.device, candidate)
    sampling = Sampling(max_tokens=ANSWER, ignore_end=True)
    with _loaded(model, device, options["threads"]) as loaded:
        tokens = [n % loaded.vocabulary for n in range(PROMPT)]

        def call() -> None:
            for _ in loaded.generate(tokens, sampling):
                pass

        call()
        return timed(runs, call, options["seconds"], ANSWER, "tokens/s")


def _loaded(model: Path, device: int | str | None, threads: int) -> LanguageModel:
    return load(model, device, slots=1, threads=threads)
