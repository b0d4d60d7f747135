# SPDX-License-Identifier: Apache-2.0
"""docs/python.md runs as it is written."""

from __future__ import annotations

import doctest
import re
from pathlib import Path
from typing import Any

import pytest

GUIDE = Path(__file__).parent.parent / "docs" / "python.md"


def test_the_guide_runs_from_top_to_bottom() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 10
    names: dict[str, Any] = {}
    runner = doctest.DocTestRunner(verbose=False)
    output: list[str] = []
    for number, block in enumerate(blocks):
        line = text[: text.index(block)].count("\n")
        test = doctest.DocTestParser().get_doctest(block, names, f"block {number}", "", line)
        runner.run(test, out=output.append, clear_globs=False)
        names.update(test.globs)
    if output:
        pytest.fail("".join(output), pytrace=False)
