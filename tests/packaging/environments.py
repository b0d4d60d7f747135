# SPDX-License-Identifier: Apache-2.0
"""The package as strangers get it: wheel, sdist, editable install; each in an empty venv.

Each is made once in a test run, ahead of the tests: pip takes half a minute for one.
"""

from __future__ import annotations

import atexit
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

from tests import ahead
from tests.native import NOTHING, ROOT, run

KINDS = ("wheel", "sdist", "editable")
# What ccache has of one copy of the project is good for the others: pip's are temporary folders.
CACHED = {"CCACHE_BASEDIR": tempfile.gettempdir()}
PIP = ("-m", "pip", "--quiet", "--disable-pip-version-check")


@dataclass(frozen=True)
class Environment:
    """A venv that has the package and what it depends on, nothing else."""

    kind: str
    path: Path

    def run(
        self, program: str, *arguments: str, cwd: Path, env: Mapping[str, str] = NOTHING
    ) -> str:
        """Run one of the venv's programs, as from an activated shell; its output."""
        path = f"{self.path}/bin:/usr/local/bin:/usr/bin:/bin"
        clean = {"PATH": path, "PYTHONPATH": "", "HAL_DRIVER_PATH": ""}
        return run(self.path / "bin" / program, *arguments, cwd=cwd, env={**clean, **env})

    def python(self, code: str, cwd: Path, env: Mapping[str, str] = NOTHING) -> str:
        """Run Python code; its output."""
        return self.run("python", "-c", code, cwd=cwd, env=env).strip()


def source() -> Path:
    """The project as git has it, new files included: nothing that was built here."""
    return ahead.result("source", _source)


def wheel() -> Path:
    """A wheel made from the source tree with the build tools of this environment."""
    return ahead.result("wheel", _wheel)


def sdist() -> Path:
    """A source distribution, by the hook that every build front end calls."""
    return ahead.result("sdist", _sdist)


def environment(kind: str) -> Environment:
    """An empty venv with the package installed in one of the three ways.

    The sdist and the editable install build with pip's isolation: what pyproject.toml asks for is
    all that they get.
    """
    return ahead.result(f"{kind} installed", partial(_environment, kind))


def make_ahead() -> None:
    """Begin to make all of them, beside the tests."""
    for kind in KINDS:
        ahead.begin(f"{kind} installed", partial(_environment, kind))


@cache
def _folder() -> Path:
    """Where they are, until the tests end."""
    path = tempfile.mkdtemp(prefix="packaging-")
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return Path(path)


def _source() -> Path:
    target = _folder() / "source/project"
    listing = run("git", "ls-files", "-z", "-co", "--exclude-standard")
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if path.is_symlink() or path.is_file():  # neither: deleted, not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name, follow_symlinks=False)
    return target


def _wheel() -> Path:
    folder = _folder() / "wheels"
    command = (*PIP, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, source())
    run("nice", sys.executable, *command, env=CACHED)
    (path,) = folder.glob("*.whl")
    return path


def _sdist() -> Path:
    folder = _folder() / "sdists"
    folder.mkdir()
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    run("nice", sys.executable, "-c", code, cwd=source())
    (path,) = folder.glob("*.tar.gz")
    return path


def _environment(kind: str) -> Environment:
    path = _folder() / kind / "venv"
    run("nice", sys.executable, "-m", "venv", path)
    if kind == "editable":
        # A copy of its own: building in place must not change what the others are made from.
        tree = path.parent / "project"
        shutil.copytree(source(), tree, symlinks=True)
        what: tuple[str | Path, ...] = ("--editable", tree)
    else:
        what = (wheel() if kind == "wheel" else sdist(),)
    python = path / "bin/python"
    run("nice", python, *PIP, "install", "--no-compile", *what, cwd=path, env=CACHED)
    return Environment(kind, path)
