# SPDX-License-Identifier: Apache-2.0
"""Where no program of a target can run, what its engine makes for this processor is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from autoglm import compiler
from autoglm.artifact import Artifact
from autoglm.errors import AccuracyError
from autoglm.explain import as_text

pytestmark = pytest.mark.usefixtures("with_bad_engines")


@pytest.fixture
def output(tmp_path: Path) -> Path:
    return tmp_path / "model.glm"


def test_a_model_that_its_engine_misreads_is_not_written(perceptron: Path, output: Path) -> None:
    says = r"for this processor: it is not what the source model computes: output 'y'"
    with pytest.raises(AccuracyError, match=says):
        compiler.compile(perceptron, "cuda", output=output, engines=["wrong-in-iree"])
    assert not output.exists()


def test_what_cannot_be_compiled_here_says_so(perceptron: Path, output: Path) -> None:
    report = compiler.compile(perceptron, "cuda", output=output, engines=["not-here"])
    with Artifact(output) as read:
        (program,) = read.manifest.programs
    assert program.accuracy is None
    assert program.unchecked.endswith("for this processor: not for this one")
    assert program.unchecked in as_text(report)


def test_what_is_asked_for_besides_is_compiled_once(perceptron: Path, output: Path) -> None:
    done: list[str] = []
    compiler.compile(
        perceptron,
        ["cuda", "cpu"],
        output=output,
        engines=["iree"],
        seconds=0.2,
        progress=done.append,
    )
    assert done.count("iree compiles for cpu") == 1
    with Artifact(output) as read:
        cuda, cpu = read.manifest.programs
    assert cpu.accuracy and cpu.latency and not cpu.unchecked
    assert f"for this processor: at most {cpu.accuracy.worst:.2g} off" in cuda.unchecked
    assert cuda.accuracy is None
