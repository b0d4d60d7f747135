# SPDX-License-Identifier: Apache-2.0
"""Ways of installing the package, and a project of somebody else that uses it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.native import run
from tests.needs import find

from . import environments
from .environments import Environment

CONSUMER = Path(__file__).parent / "consumer"


@pytest.fixture(scope="session")
def source() -> Path:
    return environments.source()


@pytest.fixture(scope="session")
def wheel() -> Path:
    return environments.wheel()


@pytest.fixture(scope="session")
def sdist() -> Path:
    return environments.sdist()


@pytest.fixture(scope="session", params=environments.KINDS)
def environment(request: pytest.FixtureRequest) -> Environment:
    kind: str = request.param
    return environments.environment(kind)


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
