# SPDX-License-Identifier: Apache-2.0
"""docs/autoglm.md: its examples in Python run as they stand, its options are the command's."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path

import pytest

from autoglm import errors
from autoglm.artifact import Artifact
from autoglm.commands.compile import cli

PAGE = Path(__file__).parents[2] / "docs" / "autoglm.md"
TEXT = PAGE.read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


def test_examples_run(
    perceptron: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shutil.copy(perceptron, tmp_path / "model.onnx")
    monkeypatch.chdir(tmp_path)
    assert len(EXAMPLES) == 2
    for example in EXAMPLES:
        # Which engines are installed is none of this page: one is enough to run it.
        one = example.replace('output="model.glm")', 'output="model.glm", engines=["onnxruntime"])')
        exec(compile(one, str(PAGE), "exec"), {})
    told = capsys.readouterr().out
    assert "{'y': (1, 4)}" in told
    assert "reading the model" in told
    with Artifact("model.glm") as read:
        assert [program.target for program in read.manifest.programs] == ["cpu", "cpu:x86-64-v3"]


def test_options_are_the_command_s() -> None:
    known = {option for parameter in cli.params for option in parameter.opts} | {"--input"}
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", TEXT)) <= known


def test_exit_statuses_are_those_of_the_errors() -> None:
    table = TEXT.partition("## Exit status")[2].partition("##")[0]
    told = {int(number) for number in re.findall(r"^\| (\d+) \|", table, re.MULTILINE)}
    kinds = [getattr(errors, name) for name in errors.__all__]
    statuses = {kind.exit_status for kind in kinds}
    signals = {128 + each for each in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)}
    assert told - {0} <= statuses | signals
    assert told >= {0, 3, 4, 5, 6, 7, 15} | signals
