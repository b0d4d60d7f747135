# SPDX-License-Identifier: Apache-2.0
"""hal-new-driver as a user runs it: what it makes builds, opens, conforms and passes its tests."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.native import ROOT, run
from tests.needs import find, needs

HAL = [sys.executable, "-m", "hal"]
PROBE = [sys.executable, "-m", "hal.probe"]
NEW = [sys.executable, "-m", "hal.scaffold"]
CONFORMANCE = [sys.executable, "-c", "from hal.conformance.cli import main; main()"]


def new(*arguments: str, cwd: Path, status: int = 0) -> str:
    """Run hal-new-driver; what it prints. It shows no traceback, whatever happens."""
    done = subprocess.run(
        [*NEW, *arguments], cwd=cwd, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == status, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout + done.stderr


def pytest_in(folder: Path) -> str:
    """Run the driver's own tests, as its author does."""
    return run(sys.executable, "-m", "pytest", "-p", "no:cacheprovider", cwd=folder)


@pytest.mark.parametrize("name", ["thermo", "7seg.v2-x"])
def test_a_driver_in_c(name: str, tmp_path: Path) -> None:
    """It is made, configured, built, opened and tested by what the command says to type."""
    needs("cmake", "cc")
    said = new(name, cwd=tmp_path)
    folder, build = tmp_path / name, tmp_path / name / "build"
    prefix = run(*HAL, "--cmakedir").strip()
    run("cmake", "-S", ".", "-B", "build", f"-DCMAKE_PREFIX_PATH={prefix}", cwd=folder)
    assert "warning" not in run("cmake", "--build", "build", cwd=folder)
    path = {"HAL_DRIVER_PATH": str(build)}
    assert f"{name} 0.1.0" in run(*PROBE, "show", f"{name}:", env=path)
    assert " 0 failed" in run(*CONFORMANCE, f"{name}:", "--writes", env=path)
    assert "4 passed" in pytest_in(folder)
    for line in ("cmake --build build", f"hal-probe show {name}:", f"hal-conformance {name}:"):
        assert line in said


@pytest.mark.parametrize("name", ["thermo", "class"])
def test_a_driver_in_python(name: str, tmp_path: Path) -> None:
    """It is made, opened by the line that the command says to type, and tested."""
    said = new(name, "--python", "--dir", "drivers/mine", cwd=tmp_path)
    folder = tmp_path / "drivers/mine"
    line = next(line for line in said.splitlines() if " -c " in line)
    program = line.partition('"')[2].rpartition('"')[0]
    assert f'hal.Device "{name}:" open' in run(sys.executable, "-c", program, cwd=folder)
    assert "5 passed" in pytest_in(folder)


def test_what_is_made_is_laid_out_and_typed(tmp_path: Path) -> None:
    """By the tools that the project itself is held to."""
    new("thermo", cwd=tmp_path)
    new("thermo", "--python", "--dir", "python", cwd=tmp_path)
    texts = [path.read_text() for path in tmp_path.glob("*/*.*")]
    assert len(texts) == 7
    assert not any("@ident@" in text or "@name@" in text or "@class@" in text for text in texts)
    for folder in (tmp_path / "thermo", tmp_path / "python"):
        options = ["--isolated", "--line-length=100"]
        run("ruff", "check", *options, "--select=B,E,F,I,RUF,UP,W", ".", cwd=folder)
        run("ruff", "format", *options, "--check", ".", cwd=folder)
    sources = ["python/thermo_driver.py", "python/test_thermo.py"]
    path = {"MYPYPATH": str(ROOT)}
    options = ["--strict", "--follow-imports=silent"]  # hal itself is checked elsewhere
    run(sys.executable, "-m", "mypy", *options, *sources, cwd=tmp_path, env=path)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("a b", "a name is a letter or digit, then letters, digits, '_', '-' or '.'"),
        ("-x", "No such option"),
        ("../x", "a name is a letter or digit"),
        ("thermö", "a name is a letter or digit"),
        ("", "the name is empty"),
        ("x" * 32, "longer than 31 bytes"),
        ("loopback", 'new driver "loopback": there is a driver of this name'),
    ],
)
def test_a_wrong_name(name: str, text: str, tmp_path: Path) -> None:
    assert text in new(name, cwd=tmp_path, status=2)
    assert list(tmp_path.iterdir()) == []


def test_the_longest_name(tmp_path: Path) -> None:
    new("x" * 31, cwd=tmp_path)
    assert len(list((tmp_path / ("x" * 31)).iterdir())) == 4


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    """Not a file, not a dangling link; and then nothing else is written either."""
    (tmp_path / "thermo").mkdir()
    (tmp_path / "thermo/README.md").write_text("mine")
    said = new("thermo", cwd=tmp_path, status=1)
    assert 'create "thermo/README.md": it exists' in said
    assert "--dir" in said
    assert [path.name for path in (tmp_path / "thermo").iterdir()] == ["README.md"]
    assert (tmp_path / "thermo/README.md").read_text() == "mine"
    (tmp_path / "thermo/README.md").unlink()
    (tmp_path / "thermo/thermo.c").symlink_to("nowhere")
    assert 'create "thermo/thermo.c"' in new("thermo", cwd=tmp_path, status=1)
    (tmp_path / "thermo/thermo.c").unlink()
    (tmp_path / "thermo/.git").mkdir()  # what is not in the way stays
    new("thermo", cwd=tmp_path)


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = new("thermo", "--dir", "file/x", cwd=tmp_path, status=1)
    assert 'create "file/x": Not a directory' in said
    assert "is a file" in new("thermo", "--dir", "file", cwd=tmp_path, status=2)
    if os.geteuid():
        (tmp_path / "locked").mkdir(0o500)
        said = new("thermo", "--dir", "locked/x", cwd=tmp_path, status=4)
        assert 'create "locked/x": Permission denied' in said


def test_it_is_on_the_path() -> None:
    """As a command; `make build` puts it there."""
    assert find("hal-new-driver")
    said = run("hal-new-driver", "--help")
    assert "Examples:" in said
    assert "Exit codes:" in said
