# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/autoglm-runtime.md run, beside a service as the page starts it."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

import pytest

from autoglm import busy_poll
from autoglm.serve import head, shortcut
from autoglm.serve.limits import Limits
from tests.autoglm.serving import serving
from tests.native import ROOT

PAGE = (ROOT / "docs/autoglm-runtime.md").read_text("utf-8")


def test_examples(perceptron_glm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    artifact = Path("model.glm")
    artifact.write_bytes(perceptron_glm.read_bytes())
    with serving(artifact) as service:
        for block in re.findall(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL):
            said = io.StringIO()
            with contextlib.redirect_stdout(said):
                exec(block.replace(":8000/", f":{service.port}/"), {})
            assert said.getvalue()


def test_bounds_are_those_of_the_code() -> None:
    limits = Limits()
    for text in (
        f"| `--max-requests` | {limits.requests} answered",
        f"connections | {limits.connections} |",
        f"| `--max-body` | {limits.body >> 20} MiB",
        f"together | {limits.bodies >> 20} MiB",
        f"| `--deadline` | {limits.deadline:.0f} s",
        f"| {limits.head:.0f} s for the head",
        f"| `--grace` | {limits.grace:.0f} s",
        f"whose head has at most {head.LONGEST >> 10} KiB,",
        f"`Content-Length`, of at most {shortcut.LONGEST >> 10} KiB.",
        f"understood of {shortcut.MOST} heads is kept",
    ):
        assert text in PAGE
    assert busy_poll.DEFAULT == 1000 and "a\nmillisecond at most" in PAGE
