# SPDX-License-Identifier: Apache-2.0
"""What a back end makes of models, and of what is none."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from hal.conformance.outcome import Broken, NotApplicable

from ..backend import CompileOptions
from ..errors import Error
from ..target import KINDS, Target
from .check import check
from .session import Session


@check
def compiled(session: Session) -> str:
    """`compile` gives files in its folder, the engine's version, and nothing that is not plain.

    Why: It is sent from process to process, and written as JSON.

    See: autoglm.backend.Compiled
    """
    made, _ = session.compiled(session.basis)
    if not made.files:
        raise Broken("it made no file")
    for name, path in made.files.items():
        if not name or Path(name).is_absolute() or ".." in Path(name).parts:
            raise Broken(f"a file is called {name!r}")
        if not path.is_file():
            raise Broken(f"file {name!r} is not there: {path}")
    if not any(letter.isdigit() for letter in made.engine):
        raise Broken(f"engine {made.engine!r} has no version")
    try:
        if json.loads(json.dumps(made.notes, allow_nan=False)) != dict(made.notes):
            raise Broken(f"its notes come back otherwise from JSON: {made.notes!r}")
        pickle.dumps(made)
    except (TypeError, ValueError) as error:
        raise Broken(f"its result is not plain: {error}") from None
    return f"{made.engine}: {', '.join(made.files)}"


@check
def explained(session: Session) -> str:
    """What it says of operators is so: those of the model are counted, and each kernel.

    Why: ``--explain`` prints both.

    See: autoglm.backend.Compiled, operators and fused
    """
    basis = session.basis
    made, _ = session.compiled(basis)
    if not made.operators:
        raise NotApplicable("it says nothing of operators")
    graph = onnx.load(session.model(basis)).graph
    if sum(made.operators.values()) != len(graph.node):
        raise Broken(f"the model has {len(graph.node)} operators, it tells of {made.operators}")
    left = sum(made.fused.values())
    if any(count < 1 for count in made.fused.values()):
        raise Broken(f"a kernel is there less than once: {made.fused}")
    return f"{len(graph.node)} operators, {left or 'it does not say how many'} kernels"


@check
def honest(session: Session) -> str:
    """For every target of which `can_compile` says yes, it compiles; where it says no, it refuses.

    Why: Nothing is pretended: a user plans with that list.

    See: autoglm.backend.Backend, can_compile and compile
    """
    basis = session.basis
    model = session.model(basis)
    compiles, refuses = [], []
    for kind in KINDS:
        target = Target(kind)
        can = session.backend.can_compile(target)
        if can is None:
            continue
        if target == session.target and can.here:
            session.compiled(basis)
            compiles.append(kind)
            continue
        folder = session.folder / f"honest-{kind}"
        folder.mkdir(exist_ok=True)
        try:
            made = session.backend.compile(model, target, CompileOptions(), folder)
        except Exception as error:  # noqa: BLE001 - an Error, or the engine's own
            if can.here:
                raise Broken(f"it says that it compiles for {kind}, and then: {error!r}") from None
            refuses.append(kind)
            continue
        if not can.here:
            raise Broken(f"it compiles for {kind}, and says: {can}")
        if not any(path.stat().st_size for path in made.files.values()):
            raise Broken(f"for {kind} it made nothing")
        compiles.append(kind)
    return f"compiles for {', '.join(compiles) or 'none'}; refuses {', '.join(refuses) or 'none'}"


@check
def no_model(session: Session) -> str:
    """A file that is no model, or has an operator that nobody knows, is refused.

    Why: The next engine is tried then, and the user is told.

    See: autoglm.backend.Backend, compile
    """
    session.compiled(session.basis)
    noise = session.folder / "noise.onnx"
    noise.write_bytes(bytes(range(256)) * 8)
    unknown = session.folder / "unknown.onnx"
    about = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Frobnicate", ["x"], ["y"], domain="example.nowhere")],
        "unknown",
        [about("x", TensorProto.FLOAT, [2])],
        [about("y", TensorProto.FLOAT, [2])],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("example.nowhere", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), unknown)
    said = []
    for path in (noise, unknown):
        folder = session.folder / f"{path.stem}.files"
        folder.mkdir(exist_ok=True)
        try:
            session.backend.compile(path, session.target, CompileOptions(), folder)
        except Exception as error:  # noqa: BLE001 - an Error, or the engine's own
            said.append(type(error).__name__ if not isinstance(error, Error) else "refused")
        else:
            raise Broken(f"{path.name} is compiled as if nothing were wrong")
    return f"no model: {said[0]}; unknown operator: {said[1]}"
