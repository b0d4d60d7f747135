# SPDX-License-Identifier: Apache-2.0
"""Programs of another machine are checked on its processor, emulated: real ones, and none timed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from fnmatch import fnmatch
from pathlib import Path

import numpy as np
import onnx
import pytest

import autoglm
from autoglm import compiler
from autoglm.artifact import Artifact
from autoglm.backend import backend, backends
from autoglm.backends import iree_emulated
from autoglm.candidate import where
from autoglm.compiler import Report
from autoglm.conformance.models import MODELS
from autoglm.devices import emulated_processor
from autoglm.errors import AccuracyError, DeviceError, TargetUnavailable
from autoglm.explain import as_dict, as_text
from autoglm.files import ArtifactFiles
from autoglm.manifest import Program
from tests.native import run
from tests.needs import needs

pytestmark = pytest.mark.timeout(600)
(CONVOLUTION,) = (each for each in MODELS if each.name == "convolution")


@pytest.fixture(scope="module", autouse=True)
def needed() -> None:
    for machine in ("aarch64", "riscv64"):
        needs(f"qemu-{machine}-static", f"{machine}-linux-gnu-gcc")


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    """Convolutions for two other machines, by engines that can be run emulated, or not."""
    folder = tmp_path_factory.mktemp("elsewhere")
    onnx.save(CONVOLUTION.build(), folder / "convolution.onnx")
    return compiler.compile(
        folder / "convolution.onnx",
        ["aarch64", "riscv64"],
        output=folder / "convolution.glm",
        engines=["c", "iree"],
        keep_source=False,
    )


@pytest.fixture
def program(report: Report) -> Iterator[tuple[Program, ArtifactFiles]]:
    """That of IREE for aarch64, and its files."""
    with Artifact(report.output) as read:
        found = next(each for each in read.manifest.programs if each.backend == "iree")
        files = ArtifactFiles(read, found)
        yield found, files
        files.close()


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the user's packages for aarch64 belong, empty; that of this environment is hidden."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setattr(sys, "prefix", str(tmp_path))
    return tmp_path / "data" / "open-autoglm" / "aarch64"


def test_what_runs_emulated_is_checked_and_not_timed(report: Report) -> None:
    with Artifact(report.output) as read:
        programs = {(each.target, each.backend): each for each in read.manifest.programs}
    assert set(programs) == {("aarch64", "c"), ("aarch64", "iree"), ("riscv64", "c")}
    for (target, engine), each in programs.items():
        assert each.accuracy and each.accuracy.worst < 1e-5
        assert each.latency is None
        by = f"iree-run-module 3.* for {target}" if engine == "iree" else f"a program for {target}"
        assert fnmatch(each.unchecked, f"not timed: {by}, emulated by qemu-{target}*")


def test_what_cannot_run_is_left_out_beside_it(report: Report) -> None:
    (left_out,) = (each for each in report.candidates if not each.chosen)
    assert left_out.problem == (
        "left out: it could not be checked here: an emulated riscv64: there is no package of IREE's"
        " runtime for riscv64"
    )
    assert left_out.problem in as_text(report)


def test_it_is_explained(report: Report) -> None:
    text = as_text(report)
    assert "target     aarch64: every one that is right is kept: how fast they are is known" in text
    assert text.count("checked    worst difference") == 3
    assert "loads in" not in text and " ms" not in text, "emulation tells no times"
    found = as_dict(report)["candidates"][0]
    assert found["worst"] < 1e-5
    assert (found["load_ms"], found["latency"]) == (None, {})


def test_nothing_of_it_is_run_here(report: Report) -> None:
    with pytest.raises(TargetUnavailable, match="this machine is "):
        autoglm.load(report.output)
    assert not any(device.emulated for device in autoglm.devices())


@pytest.mark.usefixtures("with_bad_engines")
def test_what_is_wrong_is_refused(perceptron: Path, tmp_path: Path) -> None:
    output = tmp_path / "wrong.glm"
    says = "nothing is right: wrong-in-iree: it is not what the source model computes: output 'y'"
    with pytest.raises(AccuracyError, match=says):
        compiler.compile(perceptron, "aarch64", output=output, engines=["wrong-in-iree"])
    assert not output.exists()


def test_without_the_runtime(perceptron: Path, elsewhere: Path, tmp_path: Path) -> None:
    """It says what to type; alone it is kept, and said to be unchecked."""
    output = tmp_path / "x.glm"
    report = compiler.compile(perceptron, "aarch64", output=output, engines=["iree"])
    with Artifact(output) as read:
        (program,) = read.manifest.programs
    assert program.accuracy is None
    assert "an emulated aarch64: iree-run-module 3." in program.unchecked
    command = f"(pip install --upgrade --target {elsewhere} --platform manylinux_2_28_aarch64"
    assert command in program.unchecked
    assert f"nothing could be checked: {program.unchecked}" in as_text(report)


def _runtime(folder: Path, body: str) -> None:
    """A package whose iree-run-module does that, in C."""
    source = folder / "iree" / "_runtime_libs" / "iree-run-module.c"
    source.parent.mkdir(parents=True)
    source.write_text(f"#include <stdio.h>\n#include <unistd.h>\nint main(void) {{ {body} }}\n")
    run("aarch64-linux-gnu-gcc", source, "-o", source.with_suffix(""))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ('fputs("c/list.c:12: NOT_FOUND; no such thing", stderr); return 3;', "failed: NOT_FOUND;"),
        ("return 0;", "wrote no float32: .*No such file"),
        ("return *(volatile int *)0;", "failed: .*signal 11"),
        ("for (;;) pause();", r"was not done within 0\.5 s"),
    ],
)
def test_a_runtime_that_fails(
    body: str,
    says: str,
    program: tuple[Program, ArtifactFiles],
    elsewhere: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _runtime(elsewhere, body)
    if "pause" in body:
        monkeypatch.setattr(iree_emulated, "SECONDS", 0.5)
    loaded = backend("iree").load(*program, emulated_processor("aarch64"), 1)
    with pytest.raises(DeviceError, match=f"iree-run-module, emulated, {says}"):
        loaded.run({"x": np.zeros((1, 3, 12, 12), np.float32)})
    started = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True, check=True)
    assert str(elsewhere) not in started.stdout, "it was ended"


def test_a_runtime_of_another_version(program: tuple[Program, ArtifactFiles]) -> None:
    older = replace(program[0], engine="iree 3.0.0")
    device, says = where(older)
    assert device is None
    assert says.endswith("--no-deps iree-base-runtime==3.0.0)")


def test_without_an_emulator(
    program: tuple[Program, ArtifactFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert where(program[0]) == (
        None,
        "an emulated aarch64: there is no qemu-aarch64 to emulate it"
        " (apt install qemu-user-static)",
    )


def test_a_graph_is_checked_without_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    device, says = where(Program("aarch64", "onnxruntime", "onnxruntime", {}))
    assert device and device.emulated
    assert says.startswith("the graph is any processor's: onnxruntime ")


def test_without_the_libraries_of_the_machine(
    program: tuple[Program, ArtifactFiles], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QEMU_LD_PREFIX", "/nowhere")
    device, says = where(program[0])
    assert device is None
    assert says.endswith("library for aarch64 in /nowhere (apt install libstdc++6-arm64-cross)")


@pytest.mark.parametrize("machine", ["aarch64", "riscv64"])
def test_back_ends_say_what_they_cannot_emulate(machine: str) -> None:
    """Also a program whose target is another machine's, or this one's."""
    device = emulated_processor(machine)
    for name, made in backends().items():
        for target in {"cpu", "cuda", "aarch64", "riscv64"} - {machine}:
            can = made.can_run(Program(target, name, f"{name} 1", {}), device)
            assert not can.here and can.reason, (name, target)
