# SPDX-License-Identifier: Apache-2.0
"""Artifacts that many tests use, compiled once; and where these tests run.

When others are to run as well, these run beside them: engines keep a processor busy for minutes.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from autoglm import backend, compiler
from autoglm.cases import Check
from autoglm.commands.compile import cli as compile_command
from autoglm.ready import Pins
from tests.beside import Beside
from tests.conftest import HERE

from . import bad_engines, models, small

if TYPE_CHECKING:
    from autoglm.manifest import Program
    from autoglm.serve.limits import Limits

    from .languages import Spoken
    from .serving import Service

# Children import engines of megabytes of Python: what is compiled of it is kept, whatever is set.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

BY_OPENVINO = {"silero_vad", "ocr_classifier", "minilm"}
"""What OpenVINO is tried on besides: what it cannot do, is faster with, and has int8 weights."""

Compile = Callable[[str], Path]

FOLDER = Path(__file__).parent
_beside = pytest.StashKey[Beside]()


@pytest.hookimpl(trylast=True)
def pytest_collection_finish(session: pytest.Session) -> None:
    """Let them begin when what is done ahead is done."""
    ours = [item for item in session.items if item.path.is_relative_to(FOLDER)]
    beside = [item for item in ours if item.path.name not in HERE]
    if not beside or len(ours) == len(session.items) or session.config.option.collectonly:
        return
    for item in beside:
        item.add_marker(pytest.mark.timeout(0))  # its limit is kept there
    session.config.stash[_beside] = Beside(session.config, beside)
    session.config.stash[_beside].begin()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> bool | None:
    """Give the reports of a test that runs beside."""
    beside = item.config.stash.get(_beside, None)
    ours = item.path.is_relative_to(FOLDER) and item.path.name not in HERE
    if beside is None or not ours:
        return None
    beside.pass_on(item)
    return True


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Leave nothing running."""
    if beside := session.config.stash.get(_beside, None):
        beside.stop()


@pytest.fixture(scope="module")
def faulty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A back end whose devices fail is installed."""
    with small.faulty(tmp_path_factory.mktemp("faulty")):
        yield


@pytest.fixture
def with_bad_engines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The back ends of bad_engines.py, installed as a vendor's package is."""
    site = tmp_path / "site"
    points = site / "bad_engines-1.dist-info" / "entry_points.txt"
    points.parent.mkdir(parents=True)
    points.with_name("METADATA").write_text("Name: bad-engines\nVersion: 1\n")
    shutil.copy(bad_engines.__file__, site / "bad_engines.py")
    classes = (
        *("Crashes", "Hangs", "Swells", "Refuses", "Wrong", "WrongInIree", "NotHere"),
        *("CrashesAtRun", "CrashesLater"),
    )
    names = {each: getattr(bad_engines, each).name for each in classes}
    lines = [f"{name} = bad_engines:{each}" for each, name in names.items()]
    points.write_text("\n".join(["[autoglm.backends]", *lines, "gone = no_such_module:Gone", ""]))
    monkeypatch.syspath_prepend(site)
    backend._installed.cache_clear()
    yield
    backend._installed.cache_clear()


@pytest.fixture(scope="module")
def service(faulty: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service of the small model, whose clients have a second for a head."""
    from autoglm.serve.limits import Limits

    yield from _serving(tmp_path_factory, small.good(), Limits(head=1.0, body=1 << 20))


@pytest.fixture(scope="module")
def slow(faulty: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The same where a call takes 0.5 s, and three requests may wait."""
    from autoglm.serve.limits import Limits

    yield from _serving(tmp_path_factory, small.bad("slow", seconds=0.5), Limits(requests=3))


def _serving(paths: pytest.TempPathFactory, program: Program, limits: Limits) -> Iterator[Service]:
    from .serving import serving

    path = small.write(paths.mktemp("service") / "small.glm", [program])
    with serving(path, limits=limits) as running:
        yield running


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for artifacts of this session."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def perceptron(artifacts: Path) -> Path:
    """A small model: float32 x[batch, 16] to y[batch, 4]."""
    return models.perceptron(artifacts / "perceptron.onnx")


@pytest.fixture(scope="session")
def perceptron_glm(artifacts: Path, perceptron: Path) -> Path:
    """It, compiled for this processor by ONNX Runtime."""
    output = artifacts / "perceptron.glm"
    compiler.compile(perceptron, output=output, engines=["onnxruntime"], seconds=0.2)
    return output


@pytest.fixture(scope="session")
def trained(artifacts: Path) -> Compile:
    """Compiles a trained model by its name in `models`, by the engines of processors, once."""

    @cache
    def compiled(name: str) -> Path:
        vad = name == "silero_vad"
        output = artifacts / f"{name}.glm"
        compiler.compile(
            getattr(models, name)(),
            output=output,
            pins=Pins(values={"sr": 16000}) if vad else None,
            check=Check(typical={"sequence": 576}) if vad else None,
            engines=["onnxruntime", *(["openvino"] if name in BY_OPENVINO else [])],
            seconds=0.3,
        )
        return output

    return compiled


@pytest.fixture(scope="session")
def languages(artifacts: Path) -> Callable[[str], Spoken]:
    """Language models by architecture, ``qwen2`` or ``qwen3``; each is made once."""

    @cache
    def made(kind: str) -> Spoken:
        from .languages import Spoken, save  # torch and transformers take seconds to import

        folder = save(kind, artifacts / kind)
        output = artifacts / f"{kind}.glm"
        asked = ["--model", {"qwen2": "qwen"}.get(kind, kind), "--weights", str(folder)]
        asked += ["--target", "cpu", "--output", str(output), "--threads", "1", "--quiet"]
        assert compile_command.main(asked, standalone_mode=False) == 0
        return Spoken(folder, output)

    return made


@pytest.fixture(scope="session")
def qwen(languages: Callable[[str], Spoken]) -> Spoken:
    """A Qwen2."""
    return languages("qwen2")
