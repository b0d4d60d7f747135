# SPDX-License-Identifier: Apache-2.0
"""The package as strangers get it: wheel, sdist, editable install; each in an empty venv."""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.native import NOTHING, ROOT, run
from tests.needs import find

CONSUMER = Path(__file__).parent / "consumer"
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


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project as git has it, new files included: nothing that was built here."""
    target = tmp_path_factory.mktemp("source") / "project"
    listing = run("git", "ls-files", "-z", "-co", "--exclude-standard")
    for name in filter(None, listing.split("\0")):
        path = ROOT / name
        if path.is_symlink() or path.is_file():  # neither: deleted, not yet committed
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, target / name, follow_symlinks=False)
    return target


@pytest.fixture(scope="session")
def wheel(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel made from the source tree with the build tools of this environment."""
    folder = tmp_path_factory.mktemp("wheel")
    command = (*PIP, "wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, source)
    run(sys.executable, *command, env=CACHED)
    (path,) = folder.glob("*.whl")
    return path


@pytest.fixture(scope="session")
def sdist(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution, by the hook that every build front end calls."""
    folder = tmp_path_factory.mktemp("sdist")
    code = f"from setuptools import build_meta; build_meta.build_sdist({str(folder)!r})"
    run(sys.executable, "-c", code, cwd=source)
    (path,) = folder.glob("*.tar.gz")
    return path


@pytest.fixture(scope="session", params=["wheel", "sdist", "editable"])
def environment(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Environment:
    """An empty venv with the package installed in one of the three ways.

    The sdist and the editable install build with pip's isolation: what pyproject.toml asks for is
    all that they get.
    """
    kind: str = request.param
    what: list[str | Path]
    path = tmp_path_factory.mktemp(kind) / "venv"
    run(sys.executable, "-m", "venv", path)
    if kind == "editable":
        # A copy of its own: building in place must not change what the others are made from.
        tree = path.parent / "project"
        shutil.copytree(request.getfixturevalue("source"), tree, symlinks=True)
        what = ["--editable", tree]
    else:
        what = [request.getfixturevalue(kind)]
    run(path / "bin" / "python", *PIP, "install", "--no-compile", *what, cwd=path, env=CACHED)
    return Environment(kind, path)


@pytest.fixture
def consumer(tmp_path: Path) -> Path:
    """A project of somebody else, in a folder of its own."""
    return Path(shutil.copytree(CONSUMER, tmp_path / "consumer"))


@pytest.fixture(scope="session")
def cmake_consumer() -> Callable[[Path, Path], Path]:
    """Build the consumer project against the CMake package in a folder; its build folder."""

    def build(project: Path, package: Path) -> Path:
        tree = project / "build"
        run(
            *("cmake", "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={find('ninja')}"),
            *(f"-Dhal_DIR={package}", "-S", project, "-B", tree),
            *("-DCMAKE_BUILD_TYPE=Release", "-DCMAKE_C_FLAGS=-Wall -Wextra -Wpedantic -Werror"),
        )
        run("cmake", "--build", tree)
        return tree

    return build
