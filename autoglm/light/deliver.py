# SPDX-License-Identifier: Apache-2.0
"""From a model to a program or a library, as ``autoglm-compile --emit`` does it."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .. import child, trial
from ..backends.c import PROGRAM, CBackend, notes_of
from ..candidate import where
from ..cases import Case, Check
from ..child import Limits
from ..compiler import default_limits, prepare_for
from ..decoder.asked import is_language
from ..errors import AccuracyError, ModelError, TargetUnavailable
from ..manifest import Program
from ..output import check_file, check_folder, needed_folder, refuse_sources, replacement
from ..ready import Pins
from ..target import Target
from ..trial import Subject
from .emit import executable, library
from .generate import engine, generate, identifier
from .toolchain import builds_libhal, toolchain

FORMS = ("executable", "library")
"""What can be made."""


@dataclass(frozen=True)
class Delivered:
    """What was made.

    Attributes:
        output: The program, or the library's folder.
        name: What the code calls the model.
        engine: What turned it into C, with its version.
        size: Bytes of all files.
        worst: The largest absolute difference from the source model; None when it cannot run here.
        unchecked: Why it cannot; empty when it was checked.
    """

    output: Path
    name: str
    engine: str
    size: int
    worst: float | None
    unchecked: str = ""

    def __str__(self) -> str:
        told = self.unchecked or f"at most {self.worst:.2g} from the source model"
        return f"{self.output}: {self.engine}, {self.size >> 10} KiB, {told}"


def deliver(
    model: str | os.PathLike[str],
    target: str,
    form: str,
    output: str | os.PathLike[str],
    *,
    pins: Pins | None = None,
    check: Check | None = None,
    weights_beside: bool = False,
    limits: Limits | None = None,
    progress: Callable[[str], None] | None = None,
) -> Delivered:
    """Make a program or a library of a model, check it, and write it.

    Args:
        model: An ONNX file, or what else `autoglm.importers.read` takes.
        target: ``cpu``, ``aarch64`` or ``riscv64``.
        form: One of `FORMS`.
        output: The program, or the library's folder, which is made if need be; its name without
            what follows the last dot becomes the model's (`generate.identifier`).
        pins: What to fix; afterwards no extent may be dynamic.
        check: At which inputs and tolerances to check.
        weights_beside: Keep the weights in a file of their own.
        limits: Time and memory of each step.
        progress: Is told, in a few words, what is being done.

    Raises:
        ModelError: The model is a language model, cannot be read, or does not run.
        OutputError: It cannot be written, or the model is read from it; told before all else.
        TargetUnavailable: There is no compiler for the target; the sentence says which.
        CompileError: The model cannot be turned into C, or does not compile.
        AccuracyError: The program computes something else than the model. As with every error,
            nothing is written.
    """
    if is_language(model):
        raise ModelError(
            f'"{os.fspath(model)}" is a language model: these become artifacts, not programs'
        )
    parsed, output, limits = Target.parse(target), Path(output), limits or default_limits()
    _require(parsed)
    name = Path(os.path.abspath(output)).stem
    places = _places(form, output, identifier(name), weights_beside)
    outputs = tuple(places.values())
    _check(form, output, outputs, Path(model))
    check, tell = check or Check(), progress or (lambda _: None)
    with tempfile.TemporaryDirectory(prefix="autoglm-") as scratch:
        folder = Path(scratch)
        tell("reading the model")
        arguments = (outputs, os.fspath(model), folder, pins or Pins(), check)
        prepared = child.call(prepare_for, *arguments, limits=limits, progress=progress).value
        tell(f"compiling for {target}")
        path = prepared.clean.path
        wanted = (parsed, form, folder, name, weights_beside)
        notes = child.call(make, path, *wanted, limits=limits).value
        tell("comparing it with the source model")
        program = Program(str(parsed), CBackend.name, engine(), {PROGRAM: ""}, notes=notes)
        worst, unchecked = _hold(program, folder / PROGRAM, prepared.cases, check, limits)
        _put(form, folder, output, places)
    size = sum(each.stat().st_size for each in outputs)
    return Delivered(output, str(notes["name"]), engine(), size, worst, unchecked)


def _require(target: Target) -> None:
    available = CBackend().can_compile(target)
    if available is None:
        raise TargetUnavailable(f"{target} cannot run C: aarch64, riscv64 and cpu can")
    missing = available if not available.here else builds_libhal()
    if missing:
        raise TargetUnavailable(f"{target}: {missing}")


def make(
    model: Path, target: Target, form: str, folder: Path, name: str, weights_beside: bool
) -> Mapping[str, Any]:
    """Make the form below ``folder/made``, and the program to check it by; a step in a child."""
    chain = toolchain(target)
    if chain is None:
        raise TargetUnavailable(f"there is no C compiler for {target}")
    generated = generate(model, name)
    executable(generated, chain, folder / PROGRAM)
    made = folder / "made"
    if form == "library":
        library(generated, chain, made, weights_beside)
    elif weights_beside:
        executable(generated, chain, made, weights_beside)
    else:
        shutil.copy(folder / PROGRAM, made)
    return {"name": generated.name, **notes_of(generated, chain)}


def _hold(
    program: Program, path: Path, cases: Sequence[Case], check: Check, limits: Limits
) -> tuple[float | None, str]:
    """How far it is from the source model, or why that is not known."""
    device, reason = where(program)
    if device is None:
        return None, f"not checked: {reason}"
    subject = Subject(program, {PROGRAM: path}, device)
    checked = child.call(trial.check, subject, cases, check.rtol, check.atol, 1, limits=limits)
    if checked.value.complaint:
        raise AccuracyError(f"it is not what the source model computes: {checked.value.complaint}")
    return checked.value.worst, ""


def _places(form: str, output: Path, name: str, weights_beside: bool) -> dict[str, Path]:
    """By what `make` calls each file that is delivered, below the scratch folder: where it goes."""
    weights = [".weights"] if weights_beside else []
    if form == "library":
        names = [f"lib{name}.a", f"{name}.h", "glm.h", *(f"{name}{each}" for each in weights)]
        return {f"made/{each}": output / each for each in names}
    return {f"made{each}": output.with_name(f"{output.name}{each}") for each in ["", *weights]}


def _check(form: str, output: Path, places: Sequence[Path], model: Path) -> None:
    """See that everything can be written, and nothing is that the model is read from."""
    if form == "library":
        check_folder(output)
    for place in places:
        if place == output or output.is_dir():
            check_file(place)
        refuse_sources(place, [model])


def _put(form: str, folder: Path, output: Path, places: Mapping[str, Path]) -> None:
    """Write all files, and put none in its place before each is whole."""
    with contextlib.ExitStack() as stack:
        if form == "library":
            stack.enter_context(needed_folder(output))
        for made, place in places.items():
            mode = 0o777 if os.access(folder / made, os.X_OK) else 0o666
            file = stack.enter_context(replacement(place, mode))
            with open(folder / made, "rb") as source:
                shutil.copyfileobj(source, file)
            file.flush()
