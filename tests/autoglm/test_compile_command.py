# SPDX-License-Identifier: Apache-2.0
"""What a user types, and how autoglm-compile ends."""

from __future__ import annotations

import contextlib
import math
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

import autoglm
from autoglm import threads
from autoglm.cases import Check
from autoglm.commands.compile import _number, cli
from autoglm.errors import Error, ModelError
from autoglm.light.deliver import deliver
from autoglm.ready import Pins

from .test_child import ends

STATUSES = {signal.SIGHUP: 129, signal.SIGINT: 130, signal.SIGTERM: 143}


@contextlib.contextmanager
def _compiling(model: Path, folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that has said that it begins, with temporary files in a folder."""
    folder.mkdir()
    words = [sys.executable, "-c", "from autoglm.commands.compile import main; main()"]
    words += ["--model", str(model), "--output", str(folder.with_suffix(".glm"))]
    env = {**os.environ, "TMPDIR": str(folder)}
    with subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=env) as started:
        try:
            assert started.stderr
            assert started.stderr.readline() == "autoglm-compile: reading the model ...\n"
            yield started
        finally:
            started.kill()


def _children(process: int) -> list[str]:
    """The processes that a process has started, as soon as there are any."""
    place = Path(f"/proc/{process}/task/{process}/children")
    while not (found := place.read_text().split()):
        time.sleep(0.01)
    return found


@pytest.mark.parametrize("number", STATUSES)
def test_a_signal_ends_it_in_order(
    number: signal.Signals, perceptron: Path, tmp_path: Path
) -> None:
    """Nothing is left in the folder of temporary files, and no child."""
    folder = tmp_path / "temporary"
    with _compiling(perceptron, folder) as process:
        children = _children(process.pid)
        assert list(folder.glob("autoglm-*"))
        process.send_signal(number)
        assert process.wait(60) == STATUSES[number]
    for child in children:
        ends(child)
    assert not [name for name in os.listdir(folder) if name != ".ses"]  # ONNX Runtime's
    assert not folder.with_suffix(".glm").exists()


# ---- options that change nothing -----------------------------------------------------------------

GRAPH = "an artifact of a graph (.onnx, .pt2)"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ("--weights-beside", f"with {GRAPH}: it goes with --emit"),
        ("--emit library --output o --engine c", f"with --emit: it goes with {GRAPH}"),
        ("--emit library --output o --typical n=4", f"with --emit: it goes with {GRAPH}"),
        *(
            (f"--emit library --output o {option}", f"a language model and {GRAPH}")
            for option in ("--explain", "--threads 1", "--no-source", "--random-weights")
        ),
        ("--list-targets", "--model changes nothing with --list-targets: it goes with --emit and"),
    ],
)
def test_an_option_that_changes_nothing(arguments: str, says: str) -> None:
    done = CliRunner().invoke(cli, ["--model", "missing.onnx", *arguments.split()])
    assert (done.exit_code, says in done.output) == (2, True), done.output


@pytest.mark.parametrize(
    "option",
    [
        "--dim n=1",
        "--set n=1",
        "--shape x=1",
        "--typical n=1",
        "--engine c",
        f"--inputs {__file__}",
    ],
)
def test_an_option_that_changes_nothing_of_a_language_model(option: str) -> None:
    done = CliRunner().invoke(cli, ["--model", "qwen", *option.split()])
    told = f"{option.split(maxsplit=1)[0]} changes nothing with a language model: it goes with "
    assert (done.exit_code, told in done.output) == (2, True), done.output


@pytest.mark.parametrize("option", ["--dim=a=1", "--shape=a=1", "--set=a=1", "--typical=a=1"])
def test_a_name_is_given_once(option: str) -> None:
    told = CliRunner().invoke(cli, ["--model", "x.onnx", option, option.replace("1", "2")])
    assert told.exit_code == 2
    assert "'a' is there twice" in told.output


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("9007199254740993", 2**53 + 1),
        ("-3", -3),
        ("0.5", 0.5),
        ("true", 1),
        ("false", 0),
        ("inf", math.inf),
    ],
)
def test_constants_keep_all_their_digits(text: str, number: float) -> None:
    assert _number(text) == number


def test_a_configuration_is_for_weights_that_are_made_up(tmp_path: Path) -> None:
    arguments = ["--model", "qwen", "--weights", str(tmp_path), "--config", "config.json"]
    done = CliRunner().invoke(cli, arguments)
    assert (done.exit_code, "--config goes with --random-weights" in done.output) == (2, True)
    output = tmp_path / "x.glm"
    with pytest.raises(ModelError, match="is for weights that are made up"):
        autoglm.compile("qwen", output=output, weights=tmp_path, config="config.json")


def test_a_language_model_in_python_takes_no_more(tmp_path: Path) -> None:
    output = tmp_path / "x.glm"
    for told in (
        {"engines": "c"},
        {"pins": Pins({"n": 1})},
        {"check": Check(typical={"n": 1})},
        {"check": Check(inputs={"x": np.zeros(1)})},
    ):
        with pytest.raises(ModelError, match="cannot be chosen"):
            autoglm.compile("qwen", output=output, **told)


def test_a_language_model_becomes_no_program(tmp_path: Path) -> None:
    for model in (tmp_path, "qwen"):
        with pytest.raises(ModelError, match='" is a language model: these become artifacts, not'):
            deliver(model, "cpu", "executable", tmp_path / "program")


def test_threads_have_a_bound(perceptron: Path, tmp_path: Path) -> None:
    most = threads.MOST
    arguments = ["--model", str(perceptron), "--output", str(tmp_path / "nodir" / "x")]
    for count, code in ((most, 1), (most + 1, 2)):
        done = CliRunner().invoke(cli, [*arguments, "--threads", str(count)])
        assert done.exit_code == code  # 1: the folder is missing
    with pytest.raises(Error, match=f"{most + 1} threads"):
        autoglm.compile(perceptron, output=tmp_path / "nodir" / "x", threads=most + 1)
