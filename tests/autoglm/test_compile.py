# SPDX-License-Identifier: Apache-2.0
"""The pipeline: from a model to an artifact whose programs run, or to nothing, and why."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner
from onnx.external_data_helper import convert_model_to_external_data

import autoglm
import hal.processor
from autoglm import compiler
from autoglm.artifact import Artifact
from autoglm.backends import onnxruntime
from autoglm.candidate import WAKE_MS, best_threads
from autoglm.cases import Check, save
from autoglm.child import Limits
from autoglm.commands.compile import cli
from autoglm.compiler import UnknownEngine
from autoglm.errors import (
    AccuracyError,
    CompileError,
    Error,
    InputError,
    ModelError,
    TargetError,
    TargetUnavailable,
)
from autoglm.explain import as_text
from autoglm.ready import Pins
from autoglm.reference import Reference
from autoglm.target import KINDS
from autoglm.trial import Raced


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "model.glm"


def _reasons(report: compiler.Report) -> dict[str, str]:
    return {each.backend: each.problem for each in report.candidates}


def test_from_a_file_to_a_result(perceptron: Path, perceptron_glm: Path) -> None:
    with Artifact(perceptron_glm) as read:
        (program,) = read.manifest.programs
        assert [str(spec) for spec in read.manifest.model.inputs] == ["x: float32[batch, 16]"]
        assert program.accuracy
        assert program.accuracy.worst < 1e-5
        assert program.latency
        assert program.unchecked == ""
        assert bytes(read.blob(read.manifest.source)), "the source is kept"
    inputs = {"x": np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)}
    wanted = Reference(perceptron).run(inputs)
    with autoglm.load(perceptron_glm) as model:
        np.testing.assert_allclose(model(inputs)["y"], wanted["y"], rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("with_bad_engines")
def test_engines_that_fail_are_told_and_the_next_is_tried(perceptron: Path, output: Path) -> None:
    report = compiler.compile(
        perceptron,
        output=output,
        engines=["crashes", "hangs", "swells", "refuses", "crashes-at-run", "wrong", "onnxruntime"],
        limits=Limits(seconds=25, memory=1 << 30),
        seconds=0.2,
    )
    reasons = _reasons(report)
    assert reasons.pop("onnxruntime") == ""
    assert "SIGSEGV" in reasons["crashes"]
    assert "LLVM ERROR: out of registers" in reasons["crashes"]
    assert "not done within 25 s" in reasons["hangs"]
    assert "more than the 1024 MiB" in reasons["swells"]
    assert reasons["refuses"] == "it has no operator 'Relu'"
    assert "SIGSEGV" in reasons["crashes-at-run"]
    assert "is not what the source model computes: output 'y'" in reasons["wrong"]
    text = as_text(report)
    assert all(reason in text for reason in reasons.values())
    with Artifact(output) as read:
        assert [program.backend for program in read.manifest.programs] == ["onnxruntime"]


@pytest.mark.usefixtures("with_bad_engines")
def test_an_engine_that_crashes_when_timed_is_left_out(perceptron: Path, output: Path) -> None:
    engines = ["onnxruntime", "crashes-later"]
    report = compiler.compile(perceptron, output=output, engines=engines, seconds=0.2)
    assert "SIGSEGV" in _reasons(report)["crashes-later"]
    assert report.reasons["cpu"].startswith("onnxruntime is the fastest by itself; in turns: ")
    with Artifact(output) as read:
        (program,) = read.manifest.programs
        assert program.backend == "onnxruntime"
        assert program.latency


@pytest.mark.usefixtures("with_bad_engines")
def test_what_is_wrong_is_not_written(perceptron: Path, output: Path) -> None:
    output.write_bytes(b"what was there")
    with pytest.raises(AccuracyError, match=r"further apart than 0\.0001 \+ 0\.001"):
        compiler.compile(perceptron, output=output, engines=["wrong"], seconds=0.2)
    assert output.read_bytes() == b"what was there"
    check = Check(rtol=0.1, atol=0.1)
    compiler.compile(perceptron, output=output, engines=["wrong"], check=check, seconds=0.2)
    with Artifact(output) as read:
        (program,) = read.manifest.programs
        assert program.accuracy
        assert (program.accuracy.rtol, program.accuracy.atol) == (0.1, 0.1)
        assert program.accuracy.worst > 1e-3


@pytest.mark.usefixtures("with_bad_engines")
def test_when_every_engine_fails(perceptron: Path, output: Path) -> None:
    with pytest.raises(CompileError, match=r"for 'cpu': refuses: it has no operator 'Relu'"):
        compiler.compile(perceptron, output=output, engines=["refuses"])
    with pytest.raises(Error, match=r"no engine 'gone': no_such_module:Gone: ModuleNotFound"):
        compiler.compile(perceptron, output=output, engines=["gone"])
    assert not output.exists()


def test_shapes_are_pinned_and_several_targets_share_a_file(perceptron: Path, output: Path) -> None:
    report = compiler.compile(
        perceptron,
        ["cpu", "cpu:x86-64-v3", "aarch64"],
        output=output,
        pins=Pins(extents={"batch": 2}),
        engines=["onnxruntime"],
        keep_source=False,
        seconds=0.2,
    )
    with Artifact(output) as read:
        first, portable, foreign = read.manifest.programs
        assert [str(spec) for spec in read.manifest.model.inputs] == ["x: float32[2, 16]"]
        assert read.manifest.source == ""
    assert first.latency
    assert first.latency.threads >= 1
    assert portable.latency
    assert set(first.features) <= hal.processor.info().features
    assert portable.features == (), "what is optimised for any processor needs nothing"
    assert foreign.accuracy, "its graph is any processor's: this machine's engine runs it"
    assert foreign.unchecked.startswith("not timed: the graph is any processor's: onnxruntime ")
    assert foreign.latency is None
    assert set(report.reasons) == {"cpu", "cpu:x86-64-v3", "aarch64"}
    with autoglm.load(output) as model:
        assert model({"x": np.zeros((2, 16), np.float32)})["y"].shape == (2, 4)
        with pytest.raises(InputError):
            model({"x": np.zeros((3, 16), np.float32)})


def test_models_that_are_none(perceptron: Path, tmp_path: Path) -> None:
    from autoglm import importers

    text, cut, cyclic = (tmp_path / name for name in ("text.onnx", "cut.onnx", "cyclic.onnx"))
    text.write_text("no model at all")
    cut.write_bytes(perceptron.read_bytes()[:-100])
    model = onnx.load(perceptron)
    model.graph.node[0].input[0] = "y"
    cyclic.write_bytes(model.SerializeToString())
    for path, says in (
        (text, "is no ONNX model"),
        (cut, "is no ONNX model|breaks the rules"),
        (cyclic, "breaks the rules of ONNX"),
        (tmp_path / "missing.onnx", "there is no such file"),
    ):
        with pytest.raises(ModelError, match=says):
            importers.read(path, tmp_path)


@pytest.mark.timeout(600)  # PyTorch is imported twice, and nothing of it is compiled at first
def test_a_program_of_torch(tmp_path: Path, output: Path) -> None:
    """Exported in a process of its own, so that this one has no torch."""
    script = (
        "import sys, torch\n"
        "torch.manual_seed(3)\n"
        "from torch.nn import GELU, LayerNorm, Linear, Sequential\n"
        "layers = Sequential(Linear(8, 16), GELU(), LayerNorm(16), Linear(16, 3)).eval()\n"
        "x = torch.linspace(-1, 1, 24).reshape(3, 8)\n"
        "rows = torch.export.Dim('rows', min=1, max=64)\n"
        "program = torch.export.export(layers, (x,), dynamic_shapes=({0: rows},))\n"
        "torch.export.save(program, sys.argv[1])\n"
        "layers(x).detach().numpy().tofile(sys.argv[2])\n"
    )
    saved, wanted = tmp_path / "layers.pt2", tmp_path / "wanted"
    subprocess.run([sys.executable, "-c", script, str(saved), str(wanted)], check=True)
    report = compiler.compile(saved, output=output, engines=["onnxruntime"], seconds=0.2)
    (spec,) = report.clean.inputs
    assert isinstance(spec.shape[0], str), "its dynamic extent is kept"
    x = np.linspace(-1, 1, 24, dtype=np.float32).reshape(3, 8)
    with autoglm.load(output) as model:
        (found,) = model({spec.name: x}).values()
    expected = np.fromfile(wanted, np.float32).reshape(3, 3)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-4)


# ---- the command ---------------------------------------------------------------------------------


def _run(*arguments: object) -> tuple[int, str, str]:
    """The installed command: exit status, what it printed, what it said on standard error."""
    command = [sys.executable, "-c", "from autoglm.commands.compile import main; main()"]
    done = subprocess.run(
        [*command, *map(str, arguments)], capture_output=True, text=True, timeout=280, check=False
    )
    return done.returncode, done.stdout, done.stderr


def test_the_command_explains(perceptron: Path, output: Path) -> None:
    """Of a model that keeps its weights outside; the artifact has all of it."""
    model, weights = output.with_name("outside.onnx"), output.with_name("outside.bin")
    source = onnx.load(perceptron)
    convert_model_to_external_data(source, location=weights.name, size_threshold=0)
    onnx.save(source, model)
    status, told, progress = _run(
        *("--model", model, "--output", output, "--engine", "onnxruntime", "--explain")
    )
    assert status == 0, progress
    assert "x: float32[batch, 16]" in told
    assert "before fusion" in told
    assert "median" in told
    assert "worst difference" in told
    assert "reading the model" in progress
    weights.unlink()
    with Artifact(output) as read:
        model.write_bytes(read.blob(read.manifest.source))
    inputs = {"x": np.ones((1, 16), np.float32)}
    wanted = Reference(perceptron).run(inputs)
    np.testing.assert_array_equal(Reference(model).run(inputs)["y"], wanted["y"])


def test_the_command_says_it_as_json(perceptron: Path, output: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "inputs.npz"
    save(inputs, {"x": np.ones((5, 16), np.float32)})
    arguments = ("--model", perceptron, "--output", output, "--engine", "onnxruntime")
    status, told, _ = _run(*arguments, "--inputs", inputs, "--json", "--quiet", "--threads", 1)
    found = json.loads(told)
    (candidate,) = found["candidates"]
    assert status == 0
    assert found["machine"]["cores"] >= 1
    assert candidate["chosen"]
    assert sum(candidate["fused"].values()) < sum(candidate["operators"].values())
    assert list(candidate["latency"]) == ["1"]


@pytest.mark.parametrize(
    ("arguments", "error", "says"),
    [
        (["--target", "cqu"], TargetError, "did you mean 'cpu'"),
        (["--target", "mlu", "--engine", "onnxruntime"], TargetUnavailable, "cannot compile"),
        (["--engine", "nothing"], UnknownEngine, "no engine 'nothing'"),
        (["--dim", "length=4"], ModelError, "no extent is called 'length'"),
    ],
)
def test_the_exit_status_says_what_failed(
    perceptron: Path, output: Path, arguments: list[str], error: type[Error], says: str
) -> None:
    status, _, told = _run("--model", perceptron, "--output", output, *arguments)
    assert (status, says in told) == (error.exit_status, True), told
    assert not output.exists()


def test_wrong_use(perceptron: Path) -> None:
    for arguments in (
        [],
        ["--output", "x"],
        ["--model", str(perceptron), "--emit", "executable"],
        ["--model", str(perceptron), "--output", "x", "--dim", "batch"],
        ["--model", str(perceptron), "--output", "x", "--dim", "batch=0"],
        ["--model", str(perceptron), "--output", "x", "--shape", "x=1,a"],
    ):
        assert CliRunner().invoke(cli, arguments).exit_code == 2


def test_list_targets() -> None:
    told = CliRunner().invoke(cli, ["--list-targets", "--json"])
    found = {each["target"]: each for each in json.loads(told.output)}
    assert list(found) == list(KINDS)
    assert found["cpu"]["available"]
    assert "onnxruntime" in found["cpu"]["backends"]
    lines = CliRunner().invoke(cli, ["--list-targets"]).output.splitlines()
    assert len(lines) == len(KINDS)
    assert all(("available" in line) or ("missing" in line) for line in lines)


@pytest.mark.parametrize(("saved_ms", "threads"), [(0.049, 1), (0.051, 4)])
def test_more_threads_have_to_be_worth_waking(saved_ms: float, threads: int) -> None:
    raced = {1: Raced(1.0, 1.0, 9, ()), 4: Raced(1.0 - saved_ms, 1.0, 9, ())}
    assert WAKE_MS == 0.05
    assert best_threads(raced) == threads


def test_threads_are_bound_where_the_model_has_every_processor(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """ONNX Runtime counts processors from 1; the caller's thread is not its own to bind."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 3})
    assert [onnxruntime._affinities(count) for count in (2, 3, 4)] == ["", "3;4", ""]
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {5})
    assert onnxruntime._affinities(1) == ""
