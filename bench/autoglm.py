# SPDX-License-Identifier: Apache-2.0
"""The engine that autoglm chose, against each engine by itself, on trained models.

Peers run as their own documentation says to: ONNX Runtime and OpenVINO on the source file with
their defaults for latency, PyTorch eagerly with inference_mode. IREE and TVM have no defaults that
are of use; they are compiled with what our back ends tell them.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import autoglm
from autoglm import child, trial
from autoglm.backend import CompileOptions, backends
from autoglm.cleanup import clean
from autoglm.devices import this_processor
from autoglm.errors import Error
from autoglm.manifest import Program
from autoglm.ready import Pins
from autoglm.reference import extents, index_limits, seeded
from autoglm.target import Target
from autoglm.tensor import Array
from tests.autoglm import models

from .rounds import Contestant, Row, medians

GOAL = "<= 1.02"
_TURN = 0.03  # seconds of each turn
_TOGETHER = 20.0  # seconds of all turns
_HOPELESS = 10.0  # times ours: for a peer that slow one call is enough

Inputs = Mapping[str, Array]

MODELS: Mapping[str, tuple[Callable[[], Path], Pins]] = {
    "silero-vad, 512 samples": (
        models.silero_vad,
        Pins(shapes={"input": (1, 576)}, values={"sr": 16000}),
    ),
    "magika, one file": (models.magika, Pins(extents={"unk__214": 1})),
    "PP-OCR classifier, 48x192": (models.ocr_classifier, Pins(shapes={"x": (1, 3, 48, 192)})),
    "PP-OCR detector, 320x320": (models.ocr_detector, Pins(shapes={"x": (1, 3, 320, 320)})),
    "PP-OCR recogniser, 48x320": (models.ocr_recogniser, Pins(shapes={"x": (1, 3, 48, 320)})),
    "MiniLM int8, 32 tokens": (models.minilm, Pins(extents={"batch": 1, "sequence": 32})),
}


def rows() -> list[Row]:
    """A row a model."""
    with tempfile.TemporaryDirectory() as folder:
        return [
            _row(name, model(), pins, Path(folder, str(number)))
            for number, (name, (model, pins)) in enumerate(MODELS.items())
        ]


def _row(name: str, source: Path, pins: Pins, folder: Path) -> Row:
    folder.mkdir()
    report = autoglm.compile(source, output=folder / "model.glm", pins=pins, seconds=15)
    ready = clean(source, folder, pins)
    inputs = seeded(ready.inputs, extents(ready.inputs, {}), 0, index_limits(ready.path))
    missing: list[str] = []
    with autoglm.load(folder / "model.glm") as ours:
        contestants: dict[str, Contestant] = {"ours": lambda: ours(inputs)}
        for peer, make in _peers(source, ready.path, pins, folder).items():
            try:
                call = make(inputs)
                call()
            except Error as error:
                missing.append(f"{peer}: {str(error)[:100]}")
                continue
            contestants[peer] = call
        taken = _times(contestants)
    theirs = {peer: taken[peer] / 1e6 for peer in taken if peer != "ours"}
    chosen = next(each for each in report.candidates if each.chosen)
    best = min(theirs, key=lambda peer: theirs[peer])
    against = f"{taken['ours'] / taken['onnxruntime']:.3f} of onnxruntime"
    told = f"{chosen.program.engine}, {chosen.threads} threads; best peer {best}; {against}"
    return Row(
        name,
        taken["ours"] / 1e6,
        theirs,
        GOAL,
        taken["ours"] / 1e6 / theirs[best],
        "ms",
        "; ".join([told, *missing]),
    )


def _times(contestants: Mapping[str, Contestant]) -> dict[str, float]:
    """Medians, in nanoseconds; of those far behind the time of one call, so that none waits."""
    once = {name: _once(call) for name, call in contestants.items()}
    near = {
        name: call for name, call in contestants.items() if once[name] < _HOPELESS * once["ours"]
    }
    batch = max(2, round(_TURN / min(once.values()) * 1e9))
    rounds = max(21, min(201, round(_TOGETHER * 1e9 / (batch * sum(once[name] for name in near)))))
    return {**once, **medians(near, rounds=rounds, batch=batch)}


def _once(call: Contestant) -> float:
    began = time.perf_counter_ns()
    call()
    return float(time.perf_counter_ns() - began)


Peer = Callable[[Inputs], Contestant]


def _peers(source: Path, ready: Path, pins: Pins, folder: Path) -> dict[str, Peer]:
    peers: dict[str, Peer] = {
        "onnxruntime": lambda inputs: _onnxruntime(source, inputs, pins),
        "openvino": lambda inputs: _openvino(ready, inputs),
    }
    for name in ("iree", "tvm"):
        if name in backends():
            peers[name] = partial(_by_back_end, name, ready, folder)
    if source == models.silero_vad():
        peers["torch"] = _silero_in_torch
    return peers


def _onnxruntime(source: Path, inputs: Inputs, pins: Pins) -> Contestant:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    given = {**inputs, **{name: np.array(int(value)) for name, value in pins.values.items()}}
    return lambda: session.run(None, given)


def _openvino(ready: Path, inputs: Inputs) -> Contestant:
    import openvino

    try:
        made = openvino.Core().compile_model(ready, "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    except RuntimeError as error:
        raise Error(str(error).splitlines()[-1]) from error
    request = made.create_infer_request()
    return lambda: request.infer(inputs)


def _by_back_end(name: str, ready: Path, folder: Path, inputs: Inputs) -> Contestant:
    """Compiled and run as our back end of that name does, without anything of ours around it."""
    target = Target("cpu")
    made = folder / name
    made.mkdir()
    limits = child.Limits(seconds=600)
    ended = child.call(trial.build, name, ready, target, CompileOptions(), made, limits=limits)
    compiled = ended.value
    program = Program(
        "cpu",
        name,
        compiled.engine,
        dict.fromkeys(compiled.files, ""),
        compiled.features,
        notes=compiled.notes,
    )
    loaded = trial.Subject(program, compiled.files, this_processor()).load(0)
    return lambda: loaded.run(inputs)


def _silero_in_torch(inputs: Inputs) -> Contestant:
    """Its own TorchScript, which keeps the state in the module."""
    import torch

    path = models.silero_vad().with_name("silero_vad.jit")
    module: Any = torch.jit.load(path).eval()
    samples = torch.from_numpy(inputs["input"][:, 64:])

    def call() -> object:
        with torch.inference_mode():
            return module(samples, 16000)

    for _ in range(3):  # it optimises itself in the first calls
        call()
    return call
