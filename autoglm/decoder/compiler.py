# SPDX-License-Identifier: Apache-2.0
"""A language model's artifact: the graph with a cache, checked against the plain one, and its text.

The check: two prompts of seeded tokens, of different lengths, are read in pieces and answered
together, in one batch. The plain graph, each operator as it stands, then computes prompt and answer
at once. Every logit from which a token was chosen has to agree within tolerance, and the token is
the likeliest there too.
"""

from __future__ import annotations

import math
import os
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx

import hal.processor

from ..backends.onnxruntime import any_processors
from ..child import report
from ..devices import processor_for
from ..errors import AccuracyError, ModelError, TargetUnavailable
from ..importers import huggingface
from ..importers.source import Source
from ..manifest import Accuracy, Latency, ModelInfo, Program
from ..target import Target
from ..tensor import Array, TensorSpec
from ..trial import Checked
from .asked import Asked
from .config import DecoderConfig
from .engine import Engine, session
from .graph import cached
from .language_model import BACKEND, GRAPH, WEIGHTS
from .weights import TABLES, layout, views

PROMPTS = (21, 13)
"""Tokens of the prompts of the check."""
ANSWER = 12
"""Tokens that each is answered with."""
TIMED = 24
"""Steps whose time is taken."""
TARGETS = ("cpu", "aarch64")
"""Kinds of target: ONNX Runtime's processors."""


@dataclass(frozen=True)
class Made:
    """A language model that was made and checked. Everything in it can be pickled.

    Attributes:
        source: The model as it was read, its weights beside it.
        files: For the artifact, by the name under which they are loaded.
        tried: For each target, what it is and what came of the check.
        operators: How many operators the plain graph has, by type.
        fused: How many the one with a cache has.
        parameters: How many numbers the weights are.
    """

    source: Source
    files: Mapping[str, Path]
    tried: Sequence[tuple[Program, Checked]]
    operators: Mapping[str, int]
    fused: Mapping[str, int]
    parameters: int

    @property
    def info(self) -> ModelInfo:
        """For the manifest."""
        source = self.source
        vocabulary = source.details["config"]["vocabulary"]
        return ModelInfo(
            source.name,
            source.sha256,
            (TensorSpec("input_ids", "int64", ("batch", "sequence")),),
            (TensorSpec("logits", "float32", ("batch", "sequence", vocabulary)),),
            source.family,
            source.details,
        )


def check_targets(model: str | os.PathLike[str], targets: Sequence[Target]) -> None:
    """See that language models are compiled for them.

    Raises:
        TargetUnavailable: They are not, for one.
    """
    for target in targets:
        if target.kind not in TARGETS:
            raise TargetUnavailable(
                f"compile {os.fspath(model)!r} for {target}: language models are compiled for"
                f" {', '.join(TARGETS)} only"
            )


def make(model: str, folder: Path, targets: Sequence[Target], asked: Asked) -> Made:
    """Read a model, and make and check its graph; called in a child.

    Raises:
        ModelError: The model cannot be read, or its parts do not fit one another.
        TargetUnavailable: A library is not installed.
        AccuracyError: The check failed.
    """
    report(f"reading {model}")
    source = _read(model, folder, asked)
    config = DecoderConfig.from_json(source.details["config"])
    huggingface.check_tokenizer(source.files, config, source.details["ends"])
    graph = cached(config)
    (folder / GRAPH).write_bytes(graph.SerializeToString())
    run = _tried(folder, config, asked)
    plain = onnx.load(source.path, load_external_data=False)
    return Made(
        source,
        {GRAPH: folder / GRAPH, WEIGHTS: folder / WEIGHTS, **source.files},
        [(_program(target, run), run.checked(target)) for target in targets],
        _operators(plain),
        _operators(graph),
        sum(place.length // 4 for name, place in layout(config).items() if name not in TABLES),
    )


def _read(model: str, folder: Path, asked: Asked) -> Source:
    from .. import recipes

    if model in recipes.RECIPES:
        return recipes.read(
            model,
            folder,
            weights=asked.weights,
            random_weights=asked.random_weights,
            config=asked.config,
        )
    if asked.weights or asked.random_weights or asked.config:
        raise ModelError(
            f"{model!r} brings its weights; --weights, --random-weights, --config are for recipes"
        )
    return huggingface.read(Path(model), folder)


def _operators(graph: onnx.ModelProto) -> dict[str, int]:
    return dict(Counter(node.op_type for node in graph.graph.node))


@dataclass(frozen=True)
class _Run:
    """What came of running the graph here: it is the same for every target.

    Attributes:
        accuracy: How near it came to the plain graph.
        latency: How long a step took.
        load_ms: How long loading took.
    """

    accuracy: Accuracy
    latency: Latency
    load_ms: float

    def checked(self, target: Target) -> Checked:
        """It, as what came of the check of a target."""
        call_ms = math.inf if _elsewhere(target) else self.latency.median_ms
        return Checked(self.accuracy.worst, "", self.load_ms, call_ms)


def _elsewhere(target: Target) -> bool:
    return processor_for(target).emulated


def _program(target: Target, run: _Run) -> Program:
    engine = _engine()
    elsewhere = _elsewhere(target)
    return Program(
        str(target),
        BACKEND,
        engine,
        {},
        features=target.features,
        options=("GroupQueryAttention", "keys and values in place"),
        accuracy=run.accuracy,
        latency=None if elsewhere else run.latency,
        unchecked=f"not timed: {any_processors(engine)}" if elsewhere else "",
    )


def _engine() -> str:
    import onnxruntime

    return f"onnxruntime {onnxruntime.__version__}"


def _tried(folder: Path, config: DecoderConfig, asked: Asked) -> _Run:
    """Run the graph, and hold it against the plain one.

    Raises:
        AccuracyError: It is something else.
    """
    data = np.memmap(folder / WEIGHTS, np.uint8, "r").data
    prompts = _prompts(config, asked.seed)
    report("running it")
    answers, logits, latency, load_ms = _run(
        (folder / GRAPH).read_bytes(), data, config, prompts, asked.threads
    )
    report("running the reference")
    plain = (folder / "model.onnx").read_bytes()
    wanted = _reference(plain, data, config, prompts, answers, asked.threads)
    worst = _compare(config, answers, logits, wanted, asked)
    reference = f"{_engine()}, the plain graph without optimisation"
    return _Run(Accuracy(reference, asked.seed, asked.rtol, asked.atol, worst), latency, load_ms)


def _prompts(config: DecoderConfig, seed: int) -> list[list[int]]:
    random = np.random.default_rng(seed)
    room = max(1, config.context - ANSWER)
    return [random.integers(0, config.vocabulary, min(n, room)).tolist() for n in PROMPTS]


def _run(
    graph: bytes, weights: memoryview, config: DecoderConfig, prompts: list[list[int]], threads: int
) -> tuple[list[list[int]], list[Array], Latency, float]:
    """The answers, the logits they were chosen from, how long a step and loading take."""
    capacity = max(map(len, prompts)) + ANSWER + TIMED
    began = time.perf_counter()
    engine = Engine(graph, weights, config, slots=len(prompts), capacity=capacity, threads=threads)
    load_ms = 1e3 * (time.perf_counter() - began)
    rows: list[list[Array]] = []
    for slot, prompt in enumerate(prompts):
        half = (len(prompt) + 1) // 2
        last = engine.read(slot, prompt[:half], 0)
        if prompt[half:]:
            last = engine.read(slot, prompt[half:], half)
        rows.append([last.copy()])
    answers = [[int(each[-1].argmax())] for each in rows]
    for count in range(ANSWER - 1):
        logits = engine.step(
            [answer[-1] for answer in answers], [len(prompt) + count for prompt in prompts]
        )
        for row, answer, new in zip(rows, answers, logits, strict=True):
            row.append(new.copy())
            answer.append(int(new.argmax()))
    latency = _timed(engine, answers[0][-1], len(prompts[0]) + ANSWER - 1)
    return answers, [np.stack(each) for each in rows], latency, load_ms


def _timed(engine: Engine, token: int, length: int) -> Latency:
    """The time of one step for one sequence."""
    times = []
    for count in range(min(TIMED, engine.capacity - length)):
        began = time.perf_counter()
        engine.step([token], [length + count])
        times.append(1e3 * (time.perf_counter() - began))
    times = times[1:] or times  # the first one makes the binding
    median, slow = np.percentile(times, [50, 99]) if times else (0.0, 0.0)
    return Latency(float(median), float(slow), len(times), hal.processor.info().model)


def _reference(
    plain: bytes,
    weights: memoryview,
    config: DecoderConfig,
    prompts: list[list[int]],
    answers: list[list[int]],
    threads: int,
) -> list[Array]:
    """The plain graph's logits where the answers' tokens were chosen."""
    reference = session(plain, views(weights, config), threads, plain=True)
    found = []
    for prompt, answer in zip(prompts, answers, strict=True):
        tokens = np.array([prompt + answer[:-1]], np.int64)
        (logits,) = reference.run(["logits"], {"input_ids": tokens})
        found.append(np.asarray(logits)[0, len(prompt) - 1 :])
    return found


def _compare(
    config: DecoderConfig,
    answers: list[list[int]],
    logits: list[Array],
    wanted: list[Array],
    asked: Asked,
) -> float:
    """The largest difference.

    Raises:
        AccuracyError: It is too large, or a token is not the likeliest.
    """
    worst = 0.0
    for answer, have, want in zip(answers, logits, wanted, strict=True):
        apart = np.abs(have.astype(np.float64) - want)
        allowed = asked.atol * max(1.0, float(np.abs(want).max())) + asked.rtol * np.abs(want)
        if not (apart <= allowed).all():  # a NaN is out of tolerance too
            raise AccuracyError(
                f"compile a {config.architecture}: logits differ by up to {apart.max():g} from the"
                f" reference's, more than {asked.atol:g} + {asked.rtol:g} of the value"
            )
        worst = max(worst, float(apart.max()))
        for place, token in enumerate(answer):
            best = float(want[place].max())
            if best - float(want[place, token]) > 2 * float(allowed[place, token]):
                raise AccuracyError(
                    f"compile a {config.architecture}: token {place} is {token}, the reference's"
                    f" {int(want[place].argmax())}"
                )
    return worst
