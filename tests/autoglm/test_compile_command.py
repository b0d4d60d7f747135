# SPDX-License-Identifier: Apache-2.0
"""What a user types, and how autoglm-compile ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native import ROOT

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


def test_statuses_are_documented() -> None:
    page = (ROOT / "docs" / "autoglm.md").read_text("utf-8")
    for number, status in STATUSES.items():
        assert f"| {status} | {number.name} " in page
