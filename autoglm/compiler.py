# SPDX-License-Identifier: Apache-2.0
"""The pipeline: a model is read, made ready, compiled by every engine, checked, timed, written.

Each step that runs code of an engine is a child with limits. What becomes of each candidate is kept
in the report, the reasons of those that failed above all.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import hal
import hal.processor

from . import artifact, child, trial
from .backend import CompileOptions, backend, backends, broken
from .candidate import REFERENCE, Candidate, best_threads, fastest
from .cases import Check
from .child import ChildError, Limits
from .decoder.asked import Asked, is_language
from .devices import processor_for
from .errors import (
    AccuracyError,
    CompileError,
    Error,
    ModelError,
    TargetError,
    TargetUnavailable,
)
from .importers import Source
from .manifest import Accuracy, Latency, ModelInfo, Program
from .output import OutputError, check_file, refuse_sources
from .prepare import Prepared, prepare
from .ready import Clean, Pins
from .recipes import RECIPES
from .target import Target
from .targets import availability
from .threads import check_threads
from .trial import Checked, Raced

if TYPE_CHECKING:
    from .decoder.compiler import Made

Progress = Callable[[str], None]

HERE = Target("cpu")
"""This machine's processor."""


class UnknownEngine(Error):
    """There is no back end of that name."""

    exit_status = 2


@dataclass(frozen=True)
class Report:
    """What was done.

    Attributes:
        output: The artifact.
        source: The model as it was read.
        clean: The model as the engines got it.
        reference: The engine that says what is right, with its version.
        machine: Which machine compiled.
        candidates: Every one.
        reasons: By target, why the chosen one was.
        bytes: Of the artifact.
    """

    output: Path
    source: Source
    clean: Clean
    reference: str
    machine: hal.processor.Processor
    candidates: Sequence[Candidate]
    reasons: Mapping[str, str]
    bytes: int


def compile(
    model: str | os.PathLike[str],
    target: str | Sequence[str] = "cpu",
    *,
    output: str | os.PathLike[str] | None = None,
    pins: Pins | None = None,
    check: Check | None = None,
    engines: str | Sequence[str] = (),
    threads: int = 0,
    keep_source: bool = True,
    seconds: float = 5.0,
    explain: bool = False,
    limits: Limits | None = None,
    progress: Progress | None = None,
    weights: str | os.PathLike[str] | None = None,
    random_weights: bool = False,
    config: str | os.PathLike[str] | None = None,
) -> Report:
    """Compile a model, check it, and write the artifact.

    It takes seconds to minutes; any thread may call it, each call has files and processes of its
    own.

    Args:
        model: An ONNX file, or what else `autoglm.importers.read` takes; for a language model a
            folder of Hugging Face's, or the name of a recipe (`autoglm.recipes`).
        target: What for; several are put into one artifact.
        output: The artifact to write, by default `default_output`: that replaces only an artifact.
        pins: What to fix: extents, shapes, inputs that become constants.
        check: At which inputs and tolerances to check.
        engines: Only this back end, or these, by name; all that serve the target otherwise.
        threads: For one call at run time; 0 finds out how many are best.
        keep_source: Keep the source model in the artifact, as fall-back for any processor.
        seconds: How long to time the candidates, altogether.
        explain: Also find out what engines make of operators.
        limits: Time and memory of each step.
        progress: Is told, in a few words, what is being done.
        weights: Of a recipe: the folder that its weights come from.
        random_weights: Of a recipe: make its weights up.
        config: Of a recipe whose weights are made up: a ``config.json`` for another size.

    Raises:
        ModelError: The model cannot be read, or does not run.
        OutputError: The artifact cannot be written, or the model is read from that file; told
            before all else. It is an OSError, too.
        TargetError: There is no such target, or none is given.
        UnknownEngine: There is no such back end.
        TargetUnavailable: What compiling for it needs is not here.
        CompileError: Every engine failed.
        AccuracyError: What was compiled computes something else than the model. As with every
            error, nothing is written.
    """
    targets = [Target.parse(text) for text in _several(target)]
    if not targets:
        raise TargetError("no target is given: an artifact has a program for one at least")
    check_threads(threads)
    path = _checked_output(output, model, weights, config)
    if is_language(model):
        check = check or Check()
        if engines or (pins or Pins()) != Pins() or check.typical or check.inputs:
            raise ModelError(
                f'"{os.fspath(model)}" is a language model: engines, pins, and the inputs of the'
                " check cannot be chosen"
            )
        if config and not random_weights:
            raise ModelError(f'"{os.fspath(config)}" is for weights that are made up by a seed')
        asked = Asked(
            Path(weights) if weights else None,
            random_weights,
            Path(config) if config else None,
            check.seed,
            check.rtol,
            check.atol,
            threads,
        )
        told = limits or default_limits()
        return _compile_language(model, targets, path, asked, told, progress)
    if weights or random_weights or config:
        raise ModelError(f'"{os.fspath(model)}" is no recipe: there are {", ".join(RECIPES)}')
    served = {each: _serving(each, _several(engines)) for each in targets}
    with tempfile.TemporaryDirectory(prefix="autoglm-") as folder:
        work = _Work(
            Path(folder),
            pins or Pins(),
            check or Check(),
            CompileOptions(threads, explain),
            limits or default_limits(),
            seconds,
            progress or (lambda _: None),
        )
        work.prepare(model, path)
        for each, names in served.items():
            work.compile(each, names)
        return work.write(path, keep_source)


def default_output(model: str | os.PathLike[str]) -> Path:
    """NAME.glm in the current directory: of a file NAME.onnx, a folder NAME, or a recipe NAME."""
    path = Path(model)
    return Path(f"{path.resolve().name if path.is_dir() else path.stem}.glm")


def prepare_for(
    outputs: Sequence[Path], model: str, folder: Path, pins: Pins, check: Check
) -> Prepared:
    """As `prepare`, and see that no output is a file with weights of the model; called in a child.

    Raises:
        OutputError: One is.
        Error: As `prepare`.
    """
    prepared = prepare(model, folder, pins, check)
    there = [output for output in outputs if output.exists()]
    if there:
        import onnx

        from .importers import outside

        source = prepared.source.path
        beside = outside.files(source, onnx.load(source, load_external_data=False))
        for output in there:
            refuse_sources(output, beside)
    return prepared


def _several(names: str | Sequence[str]) -> Sequence[str]:
    """One name is a sequence of one, not of its letters."""
    return [names] if isinstance(names, str) else names


def _checked_output(
    output: str | os.PathLike[str] | None,
    model: str | os.PathLike[str],
    *sources: str | os.PathLike[str] | None,
) -> Path:
    """Where the artifact goes, when it can: nothing of what it is made from is there."""
    path = default_output(model) if output is None else Path(output)
    check_file(path)
    if path.exists() and artifact.is_artifact(path):  # wherever it is, no model is read from it
        return path
    refuse_sources(path, [Path(source) for source in (model, *sources) if source])
    if output is None and path.exists():
        raise OutputError(f'write "{path}": it is no artifact; to replace it, name it as output')
    return path


def default_limits() -> Limits:
    """Most of what is free: what is left is for everybody else."""
    return Limits(memory=int(hal.processor.info().free * 0.8))


def _compile_language(
    model: str | os.PathLike[str],
    targets: Sequence[Target],
    output: Path,
    asked: Asked,
    limits: Limits,
    progress: Progress | None,
) -> Report:
    """The same for a language model, which one engine serves (`autoglm.decoder.compiler`)."""
    from .decoder.compiler import check_targets, make

    check_targets(model, targets)
    with tempfile.TemporaryDirectory(prefix="autoglm-") as folder:
        ended = child.call(
            make, os.fspath(model), Path(folder), targets, asked, limits=limits, progress=progress
        )
        made: Made = ended.value
        found = [
            _of_language(made, ended, program, checked, asked.threads)
            for program, checked in made.tried
        ]
        programs = [(each.program, each.files) for each in found]
        artifact.write(output, made.info, programs, None, f"open-autoglm {hal.__version__}")
    operators = made.operators
    clean = Clean(
        made.source.path,
        made.info.inputs,
        made.info.outputs,
        operators,
        operators,
        made.parameters,
        outside=True,
        notes=(f"the weights: {made.source.details['weights']}",),
    )
    reasons = dict.fromkeys(map(str, targets), "the engine of language models")
    reference, machine = found[0].program.engine, hal.processor.info()
    size = output.stat().st_size
    return Report(output, made.source, clean, reference, machine, found, reasons, size)


def _of_language(
    made: Made, ended: child.Ended, program: Program, checked: Checked, threads: int
) -> Candidate:
    found = Candidate(program, made.files, operators=made.operators, fused=made.fused, chosen=True)
    found.size = sum(path.stat().st_size for path in made.files.values())
    found.compile_s, found.compile_memory, found.memory = ended.seconds, ended.memory, ended.memory
    found.checked, found.threads = checked, threads
    found.device = processor_for(Target.parse(program.target))
    if program.latency:
        took = program.latency
        found.raced[threads] = Raced(took.median_ms, took.p99_ms, took.calls, ())
    return found


def _serving(target: Target, engines: Sequence[str]) -> list[str]:
    """The back ends that can compile for a target here."""
    unknown = [name for name in engines if name not in backends()]
    if unknown:
        why = broken().get(unknown[0], "it is not installed")
        kind = Error if unknown[0] in broken() else UnknownEngine
        raise kind(f"no engine {unknown[0]!r}: {why}; there are: {', '.join(backends())}")
    told = availability(target)
    if engines:
        told = {name: found for name, found in told.items() if name in engines}
    serving = [name for name, found in told.items() if found.here]
    if serving:
        return sorted(serving, key=lambda name: name != REFERENCE)
    reasons = "; ".join(f"{name}: {found}" for name, found in told.items())
    raise TargetUnavailable(
        f"cannot compile for {str(target)!r} here: {reasons or 'no engine that is asked for does'}"
    )


def _leave_out_unchecked(right: Sequence[Candidate]) -> None:
    """Beside what was checked, what could not be is not kept."""
    for each in right:
        if not each.checked:
            each.problem = f"left out: it could not be checked here: {each.program.unchecked}"


def _untimed(ran: Sequence[Candidate], right: Sequence[Candidate]) -> str:
    """Why there is more than one program, or one that nothing was compared with."""
    if ran:
        return "every one that is right is kept: how fast they are is known where they run"
    return f"nothing could be checked: {right[0].program.unchecked}"


class _Work:
    """One compile, while it lasts."""

    prepared: Prepared

    def __init__(
        self,
        folder: Path,
        pins: Pins,
        check: Check,
        options: CompileOptions,
        limits: Limits,
        seconds: float,
        progress: Progress,
    ) -> None:
        self.folder = folder
        self.pins = pins
        self.check = check
        self.options = options
        self.limits = limits
        self.seconds = seconds
        self.progress = progress
        self.machine = hal.processor.info()
        self.candidates: list[Candidate] = []
        self._made: dict[tuple[Target, str], Candidate] = {}
        self.reasons: dict[str, str] = {}

    def prepare(self, model: str | os.PathLike[str], output: Path) -> None:
        """Read the model, make it ready, and find out what is right."""
        self.progress("reading the model")
        arguments = [output], os.fspath(model), self.folder, self.pins, self.check
        try:
            ended = self._call(prepare_for, *arguments)
        except ChildError as error:
            raise ModelError(f'reading "{os.fspath(model)}": {error}') from None
        self.prepared = ended.value

    def compile(self, target: Target, names: Sequence[str]) -> None:
        """Let every engine compile for a target, and keep the best."""
        found = [self._candidate(target, name) for name in names]
        self.candidates += found
        if not any(each.checked for each in found):
            self._vouch(found)
        right = [each for each in found if not each.problem]
        if not right:
            reasons = "; ".join(f"{each.backend}: {each.problem}" for each in found)
            if any(each.wrong for each in found):
                raise AccuracyError(f"for {str(target)!r} nothing is right: {reasons}")
            raise CompileError(f"no engine can compile the model for {str(target)!r}: {reasons}")
        ran = [each for each in right if each.checked]
        if ran:
            _leave_out_unchecked(right)
        if ran and not ran[0].emulated:
            chosen, self.reasons[str(target)] = self._choose(ran)
            chosen.chosen = True
            return
        for each in ran or right:  # which one is best is known where they run
            each.chosen = True
        self.reasons[str(target)] = _untimed(ran, right)

    def _candidate(self, target: Target, name: str) -> Candidate:
        """What a back end makes of the model for a target; once, whoever asks for it."""
        key = target, name
        if key not in self._made:
            self._made[key] = self._make(target, name)
        return self._made[key]

    def _make(self, target: Target, name: str) -> Candidate:
        found = Candidate(Program(str(target), name, "", {}))
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        self.progress(f"{name} compiles for {target}")
        try:
            model = self.prepared.clean.path
            ended = self._call(trial.build, name, model, target, self.options, folder)
            found.take(ended.value)
            found.compile_s, found.compile_memory = ended.seconds, ended.memory
            if found.device:
                self._hold(found)
        except Error as error:
            found.problem = str(error)
        return found

    def _hold(self, found: Candidate) -> None:
        """Hold a candidate against the source model."""
        self.progress(f"{found.backend} is held against {self.prepared.reference}")
        check, subject = self.check, found.subject()
        cases, threads = self.prepared.cases, self.options.threads
        ended = self._call(trial.check, subject, cases, check.rtol, check.atol, threads)
        checked: Checked = ended.value
        found.checked, found.memory = checked, 0 if found.emulated else ended.memory
        if checked.complaint:
            found.wrong = True
            found.problem = f"it is not what the source model computes: {checked.complaint}"
        else:
            accuracy = Accuracy(
                self.prepared.reference, check.seed, check.rtol, check.atol, checked.worst
            )
            found.program = replace(found.program, accuracy=accuracy)

    def _vouch(self, found: Sequence[Candidate]) -> None:
        """Where no program of a target can run here: see how well their engines read the model.

        What the same engine makes of it for this processor is held against the source model. The
        code for the target stays unchecked, but what comes before it is one for all of them.
        """
        for each in found:
            able = backend(each.backend).can_compile(HERE)
            if each.problem or able is None or not able.here:
                continue
            vouched = self._candidate(HERE, each.backend)
            told = f"by the same engine, for this processor: {vouched.standing}"
            if vouched.wrong:
                each.wrong, each.problem = True, told
            each.program = replace(each.program, unchecked=f"{each.program.unchecked}; {told}")

    def _choose(self, ran: Sequence[Candidate]) -> tuple[Candidate, str]:
        """Time the candidates in turns, and take the fastest."""
        best = min(each.call_ms for each in ran)
        near = [each for each in ran if not trial.hopeless(each.call_ms, best)]
        self.progress(f"timing {', '.join(each.backend for each in near)}")
        try:
            self._race(near)
        except Error as error:  # one crashed, or two are in one another's way in one process
            near = [each for each in near if self._races(each)]
            left = near or [each for each in ran if not each.problem]
            if not left:
                raise CompileError(f"no engine runs for long: {error}") from None
            found = min(left, key=lambda each: each.best.median_ms if near else each.call_ms)
            return found, f"{found.backend} is the fastest by itself; in turns: {error}"
        return fastest(near)

    def _races(self, found: Candidate) -> bool:
        try:
            self._race([found])
        except Error as error:
            found.problem = str(error)
        return not found.problem

    def _race(self, near: Sequence[Candidate]) -> None:
        """Time candidates in turns, and note the best number of threads of each."""
        entries = [(each, count) for each in near for count in self._thread_counts(near)]
        subjects = [(each.subject(), count) for each, count in entries]
        ended = self._call(trial.race, subjects, self.prepared.cases[0], self.seconds)
        for (each, count), raced in zip(entries, ended.value, strict=True):
            each.raced[count] = raced
        for each in near:
            self._settle(each)

    def _thread_counts(self, near: Sequence[Candidate]) -> list[int]:
        if self.options.threads or any(each.device and each.device.kind != "cpu" for each in near):
            return [self.options.threads]
        return sorted({1, self.machine.cores})

    def _settle(self, found: Candidate) -> None:
        """Note the best number of threads, and how fast that is."""
        found.threads = best_threads(found.raced)
        best = found.best
        model = self.machine.model
        latency = Latency(best.median_ms, best.p99_ms, best.calls, model, found.threads)
        found.program = replace(found.program, latency=latency)

    def write(self, output: Path, keep_source: bool) -> Report:
        """Write what was chosen."""
        self.progress(f"writing {output}")
        info = ModelInfo(
            self.prepared.source.name,
            self.prepared.source.sha256,
            self.prepared.clean.inputs,
            self.prepared.clean.outputs,
            self.prepared.source.family,
            self.prepared.source.details,
        )
        artifact.write(
            output,
            info,
            [(each.program, each.files) for each in self.candidates if each.chosen],
            self.prepared.clean.path if keep_source and not self.prepared.clean.outside else None,
            f"open-autoglm {hal.__version__}",
        )
        return Report(
            output,
            self.prepared.source,
            self.prepared.clean,
            self.prepared.reference,
            self.machine,
            self.candidates,
            self.reasons,
            output.stat().st_size,
        )

    def _call(self, function: Callable[..., object], *arguments: object) -> child.Ended:
        return child.call(function, *arguments, limits=self.limits, progress=self.progress)
