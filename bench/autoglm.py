# SPDX-License-Identifier: Apache-2.0
"""The engine that autoglm chose, against each engine by itself, on trained models.

Peers run as their own documentation says to: ONNX Runtime and OpenVINO on the source file with
their defaults for latency, PyTorch eagerly with inference_mode. IREE and TVM have no defaults that
are of use; they are compiled with what our back ends tell them.

How fast an engine is depends on where its memory happens to lie, and on the minute: by a tenth and
more here. So each turn loads its model anew, and a ratio is the median of those of turns that were
taken one after the other. Those that are near ours take `_LOADS` turns, the others `_FEW`. The note
gives the range in which the ratio lies by 95 per cent.
"""

from __future__ import annotations

import random
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cache, partial
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
from autoglm.reference import Reference, difference, extents, index_limits, seeded
from autoglm.target import Target
from autoglm.tensor import Array
from tests.autoglm import models

from .rounds import Contestant, Row, middle, quiet

GOAL = "<= 1.02"
OURS = "ours"
_LOADS, _FEW = 101, 5
_TURN = 0.05  # seconds of the calls of a turn
_TOGETHER = 150.0  # seconds of all turns of a model
_NEAR = 1.5  # times ours: more turns of a peer that slow tell nothing
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


def rows() -> Iterator[Row]:
    """A row a model."""
    with tempfile.TemporaryDirectory() as folder:
        for number, (name, (model, pins)) in enumerate(MODELS.items()):
            yield _row(name, model(), pins, Path(folder, str(number)))


def _row(name: str, source: Path, pins: Pins, folder: Path) -> Row:
    folder.mkdir()
    artifact = folder / "model.glm"
    report = autoglm.compile(source, output=artifact, pins=pins, seconds=15)
    ready = clean(source, folder, pins)
    inputs = seeded(ready.inputs, extents(ready.inputs, {}), 0, index_limits(ready.path))
    once, missing = _try(_peers(artifact, source, ready.path, pins, folder), inputs)
    near = {name: peer for name, (peer, took) in once.items() if took < _HOPELESS * once[OURS][1]}
    loads = {name: [took] for name, (_, took) in once.items()} | _turns(near, inputs)
    taken = {name: statistics.median(each) for name, each in loads.items()}
    theirs = {peer: taken[peer] / 1e6 for peer in taken if peer != OURS}
    chosen = next(each for each in report.candidates if each.chosen)
    best = min(theirs, key=lambda peer: theirs[peer])
    told = [f"{chosen.program.engine}, {chosen.threads} threads; {len(loads[OURS])} loads"]
    for peer in dict.fromkeys((best, "onnxruntime")):
        ratio, low, high = _ratio(loads[OURS], loads[peer])
        told.append(f"{ratio:.3f} ({low:.3f} to {high:.3f}) of {peer}")
    ratio, *_ = _ratio(loads[OURS], loads[best])
    return Row(name, taken[OURS] / 1e6, theirs, GOAL, ratio, "ms", "; ".join([*told, *missing]))


def _try(
    peers: Mapping[str, Peer], inputs: Inputs
) -> tuple[dict[str, tuple[Peer, float]], list[str]]:
    """What one call takes of each, in nanoseconds; and what some cannot do."""
    once, missing = {}, []
    for name, peer in peers.items():
        try:
            call = peer(inputs)
            call()
        except Error as error:
            missing.append(f"{name}: {str(error)[:100]}")
            continue
        once[name] = peer, _once(call)
    return once, missing


def _turns(peers: Mapping[str, Peer], inputs: Inputs) -> dict[str, list[float]]:
    """Nanoseconds of a call, one figure a load; who is far from ours after `_FEW` turns retires."""
    taken: dict[str, list[float]] = {name: [] for name in peers}
    order, shuffle = list(peers), random.Random(7).shuffle
    until = time.monotonic() + _TOGETHER
    for turn in range(_LOADS):
        if turn == _FEW:
            middle = {name: statistics.median(each) for name, each in taken.items()}
            order = [name for name in order if middle[name] < _NEAR * middle[OURS]]
        if turn > _FEW and time.monotonic() > until:
            break
        shuffle(order)
        for name in order:
            taken[name].append(_turn(peers[name](inputs)))
    return taken


def _turn(call: Contestant) -> float:
    """Median nanoseconds of a call of what was just loaded."""
    quiet()
    call()
    calls = max(3, min(200, round(_TURN * 1e9 / _once(call))))
    return statistics.median(_once(call) for _ in range(calls))


def _ratio(ours: Sequence[float], theirs: Sequence[float]) -> tuple[float, float, float]:
    """Median ratio of turns, and its range."""
    turns = min(len(ours), len(theirs))
    return middle([own / other for own, other in zip(ours[:turns], theirs[:turns], strict=True)])


def _once(call: Contestant) -> float:
    began = time.perf_counter_ns()
    call()
    return float(time.perf_counter_ns() - began)


Peer = Callable[[Inputs], Contestant]


def _peers(artifact: Path, source: Path, ready: Path, pins: Pins, folder: Path) -> dict[str, Peer]:
    """Each loads the model anew, and gives what calls it once; ours among them."""
    peers: dict[str, Peer] = {
        OURS: lambda inputs: _ours(artifact, inputs),
        "onnxruntime": lambda inputs: _onnxruntime(source, inputs, pins),
        "openvino": lambda inputs: _openvino(ready, inputs),
    }
    for name in ("iree", "tvm"):
        if name in backends():
            peers[name] = partial(_by_back_end, name, ready, folder)
    silero = source == models.silero_vad()
    peers["torch"] = _silero_in_torch if silero else lambda inputs: _torch(ready, inputs)
    return peers


def _ours(artifact: Path, inputs: Inputs) -> Contestant:
    model = autoglm.load(artifact)
    return lambda: model(inputs)


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
    """Run as our back end of that name does, without anything of ours around it."""
    loaded = _compiled(name, ready, folder / name).load(0)
    return lambda: loaded.run(inputs)


@cache
def _compiled(name: str, ready: Path, folder: Path) -> trial.Subject:
    folder.mkdir()
    limits = child.Limits(seconds=600)
    ended = child.call(
        trial.build, name, ready, Target("cpu"), CompileOptions(), folder, limits=limits
    )
    made = ended.value
    files = dict.fromkeys(made.files, "")
    program = Program("cpu", name, made.engine, files, made.features, notes=made.notes)
    return trial.Subject(program, made.files, this_processor())


def _torch(ready: Path, inputs: Inputs) -> Contestant:
    """Held against ONNX Runtime first: operator by operator it is our own reading of ONNX."""
    from .torch_eager import Graph, to_torch

    graph, given = Graph(ready), to_torch(inputs)
    made = {f"{i}": tensor.numpy() for i, tensor in enumerate(graph(given))}
    right = {f"{i}": array for i, array in enumerate(Reference(ready).run(inputs).values())}
    apart = difference(made, right, 1e-3, 1e-4)
    if apart.complaint:
        raise Error(apart.complaint)
    return lambda: graph(given)


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
