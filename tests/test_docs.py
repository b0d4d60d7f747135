# SPDX-License-Identifier: Apache-2.0
"""The pages: links lead somewhere, examples compile, and those that need no device run.

docs/python.md runs in tests/test_python_docs.py.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.native import ROOT, run
from tests.needs import needs

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]
HEAD = "#include <inttypes.h>\n#include <stdio.h>\n#include <string.h>\n#include <hal/hal.h>\n"
STRICT = ("-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-Wno-unused", "-fsyntax-only")
FRAGMENTS = [
    *("cache", "dmabuf", "gpio", "hwmon", "i2c", "iio", "led", "memory", "mmio", "pwm", "record"),
    *("sim", "spi", "uart", "vfio"),
]
RUNS = ("cache", "fpga", "memory", "mmio", "record", "registers", "sim")


def blocks(language: str, pages: list[Path] = PAGES, part: str = "") -> list[object]:
    """Every block of a language that has a part, each an argument that is called page:line."""
    found: list[object] = []
    for page in pages:
        text = page.read_text(encoding="utf-8")
        for match in re.finditer(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL):
            if part not in match[1]:
                continue
            place = f"{page.relative_to(ROOT)}:{text[: match.start()].count(chr(10)) + 1}"
            found.append(pytest.param(match[1], id=place))
    return found


def pages(*names: str) -> list[Path]:
    """Pages by their names."""
    return [ROOT / f"docs/{name}.md" for name in names]


def program(block: str) -> str:
    """A block as a source file: as it is, or what is no include as the inside of main()."""
    if "main(" in block:
        return HEAD + block
    lines = block.splitlines()
    included = [line for line in lines if line.startswith("#")]
    body = [line for line in lines if not line.startswith("#")]
    return HEAD + "\n".join([*included, "int main(void)\n{", *body, "return 0;\n}\n"])


@pytest.mark.parametrize("block", blocks("c", pages(*FRAGMENTS)) + blocks("c", PAGES, "main("))
def test_c_compiles(block: str, tmp_path: Path) -> None:
    needs("cc")
    source = tmp_path / "block.c"
    source.write_text(program(block), encoding="utf-8")
    run("cc", "-std=c11", *STRICT, f"-I{ROOT / 'include'}", source)


@pytest.mark.parametrize("block", blocks("python"))
def test_python_compiles(block: str) -> None:
    if ">>>" in block:
        pytest.skip("a session: tests/test_python_docs.py runs it")
    compile(block, "block.py", "exec")


@pytest.fixture
def instrument() -> Iterator[str]:
    """The path of a serial line whose other side answers every line with its name."""
    theirs, ours = os.openpty()

    def answer() -> None:
        while line := os.read(theirs, 100):
            if line.endswith(b"\n"):
                os.write(theirs, b"MAKER,MODEL,1,2\n")
            if line == b"end":
                return

    thread = threading.Thread(target=answer)
    thread.start()
    yield os.ttyname(ours)
    os.write(ours, b"end")
    thread.join()
    os.close(theirs)
    os.close(ours)


@pytest.mark.parametrize("block", blocks("python", pages(*RUNS)))
def test_python_runs(block: str, instrument: str, tmp_path: Path) -> None:
    script = block.replace("/dev/ttyUSB0", instrument)
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout, "the example shows nothing"


def anchors(page: Path) -> set[str]:
    """What a page's headings are called in links."""
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-") for text in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page: Path) -> None:
    text = re.sub(
        r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    wrong = []
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in anchors(file)):
            wrong.append(target)
    named = re.findall(r"`(docs/[\w./-]+)`", text)
    wrong += [name for name in named if not (ROOT / name).exists()]
    assert not wrong, f"{page.name} points to what is not there: {', '.join(wrong)}"
