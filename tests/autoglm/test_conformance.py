# SPDX-License-Identifier: Apache-2.0
"""autoglm-conformance: our back ends pass it, and each of those in broken_backends.py is caught."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest

from autoglm.conformance.check import checks
from autoglm.conformance.cli import main
from autoglm.conformance.models import MODELS
from autoglm.conformance.run import judge, run
from autoglm.conformance.session import Session
from autoglm.conformance.subject import Subject
from autoglm.errors import Error
from autoglm.scaffold.template import check_name, write_files
from hal.conformance.outcome import Result
from tests.native import ROOT

from . import broken_backends

ON_LAVAPIPE = (
    *("devices", "devices_work", "elsewhere", "compiled", "values_linear", "again"),
    *("outputs_own", "gives_back", "checksums", "no_device"),
)
"""What is tried on Vulkan: lavapipe builds each kernel with LLVM when a program is loaded."""
IN_C = (
    *("compiled", "explained", "values_linear", "values_integers", "outputs_own", "concurrent"),
    *("gives_back", "checksums", "damaged_files"),
)
"""What is tried of code in C: gcc takes seconds for each model."""
SUBJECTS: dict[str, tuple[Subject, tuple[str, ...]]] = {
    "iree": (Subject("iree"), ()),
    "opencl": (Subject("opencl", "opencl"), ()),
    "vulkan": (Subject("iree", "vulkan"), ON_LAVAPIPE),
    "tvm": (Subject("tvm"), ()),
    "onnxruntime": (Subject("onnxruntime"), ()),
    "openvino": (Subject("openvino"), ()),
    "c": (Subject("c"), IN_C),
    "fpga": (Subject("fpga", "fpga"), ()),
    "mlu": (Subject("mlu", "mlu"), ()),
}
"""By what a test is called: what is tried, and by which checks; all where none are named."""
REFUSED: dict[str, set[str]] = {
    "iree": set(),
    "opencl": {"values_half", "values_dynamic"},
    "vulkan": set(),
    "tvm": set(),
    "onnxruntime": set(),
    "openvino": {"values_double"},
    "c": set(),
    "fpga": {f"values_{model.name}" for model in MODELS} - {"values_quantised"},
}
"""Models that a back end may refuse, saying why."""

Outcomes = dict[str, Future[list[Result]]]


@pytest.fixture(scope="module")
def outcomes(request: pytest.FixtureRequest) -> Iterator[Outcomes]:
    """What comes of every subject that a test was chosen for; two are tried at a time."""
    wanted = {
        item.callspec.params["name"]
        for item in request.session.items
        if item.path == request.path
        and hasattr(item, "callspec")
        and "name" in item.callspec.params
    }
    with ThreadPoolExecutor(2) as pool:
        yield {name: pool.submit(run, *SUBJECTS[name]) for name in SUBJECTS if name in wanted}


@pytest.mark.timeout(900)  # the first one waits for most of the others
@pytest.mark.parametrize("name", SUBJECTS)
def test_ours(name: str, outcomes: Outcomes) -> None:
    results = outcomes[name].result()
    failed = [f"{each.check}: {each.seen}" for each in results if each.outcome == "fail"]
    assert not failed
    passed = {each.check for each in results if each.outcome == "pass"}
    if name == "mlu":
        assert passed >= {"named", "targets", "devices", "honest"}
        return
    values = {each.check for each in results if each.check.startswith("values_")}
    assert values - passed <= REFUSED[name], "a model is refused, or not tried"
    assert {"compiled", "outputs_own", "gives_back", "checksums"} <= passed


@pytest.mark.parametrize("broken", broken_backends.ALL, ids=lambda broken: broken.__name__)
def test_broken_is_caught(broken: type[broken_backends.Interpreter], tmp_path: Path) -> None:
    session = Session(Subject(f"{broken.__module__}:{broken.__name__}"), tmp_path)
    (check,) = (each for each in checks() if each.name == broken.caught_by)
    result = judge(check, session)
    assert result.outcome == "fail", result.seen
    assert re.search(broken.seen, result.seen), result.seen


def test_what_they_break_is_whole() -> None:
    """The back end that the broken ones are made from passes what catches them."""
    subject = Subject(f"{broken_backends.__name__}:Interpreter", paths=(str(ROOT),))
    names = {broken.caught_by for broken in broken_backends.ALL}
    results = run(subject, names)
    assert {each.check for each in results} == names
    assert [each.seen for each in results if each.outcome == "fail"] == []


def test_a_check_that_dies_fails_and_the_rest_run() -> None:
    subject = Subject(f"{broken_backends.__name__}:Dies", paths=(str(ROOT),))
    died, rest = run(subject, ["values_linear", "damaged_notes"])
    assert (died.check, died.outcome) == ("values_linear", "fail")
    assert "SIGSEGV" in died.seen
    assert rest.check == "damaged_notes"


@pytest.mark.parametrize(
    ("arguments", "target", "reason"),
    [
        (["mlu"], "mlu", "it does not compile for mlu here: .*MagicMind"),
        (["mlu", "--target", "cpu"], "cpu", "it does not compile for cpu, but for mlu"),
        (
            ["iree", "--target", "opencl"],
            "opencl",
            "for opencl, but for cpu, aarch64, riscv64, cuda",
        ),
        (["iree", "--target", "cuda:sm_999"], "cuda:sm_999", "here: iree has no code for sm_999"),
    ],
)
def test_what_cannot_be_judged(
    arguments: list[str], target: str, reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    form = ["--json"] if target != "cpu" else []
    with pytest.raises(SystemExit) as ended:
        main([*arguments, *form, "--check", "named", "--check", "compiled"])
    assert ended.value.code == 5
    said = capsys.readouterr().out
    if form:
        document = json.loads(said)
        assert document["target"] == target
        assert re.search(reason, document["unjudged"])
    else:
        assert re.search(f"could not be judged: .*{reason}", said)


def test_the_target_that_is_tried_unless_another_is_said() -> None:
    for name, target in (("iree", "cpu"), ("opencl", "opencl"), ("fpga", "fpga"), ("mlu", "mlu")):
        assert Subject(name).resolved().target == target
    fails = Subject(f"{broken_backends.__name__}:Interpreter")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(broken_backends.Interpreter, "can_compile", lambda *_: 1 / 0)
        assert fails.resolved().target == "cpu"


def test_every_check_is_documented() -> None:
    page = (ROOT / "docs/backends.md").read_text(encoding="utf-8")
    for check in checks():
        name = "values_MODEL" if check.name.startswith("values_") else check.name
        assert re.search(rf"`{name}`", page), f"docs/backends.md does not have {check.name}"
        assert check.contract
        assert check.why
        assert check.where.startswith("autoglm.")


def test_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["mlu", "--target", "mlu", "--json", "--check", "named", "--check", "targets"])
    assert ended.value.code == 0
    document = json.loads(capsys.readouterr().out)
    assert document["passed"]
    assert [each["outcome"] for each in document["checks"]] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["nobody"], 1, "no back end 'nobody'"),
        (["mlu", "--check", "nothing"], 2, "no check nothing"),
        (["mlu", "--target", "abacus", "--check", "named"], 4, "no target 'abacus'"),
        (["json:JSONDecoder", "--check", "named"], 1, "is no autoglm.backend.Backend"),
    ],
)
def test_wrong_use(
    arguments: list[str], status: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == status
    assert said in capsys.readouterr().err


@pytest.fixture(scope="module")
def vendors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A package made by autoglm-new-backend, installed: the folder it is installed in."""
    folder = tmp_path_factory.mktemp("vendor")
    made, installed = folder / "made", folder / "installed"
    command = [sys.executable, "-m", "autoglm.scaffold", "acme-one", "--dir", str(made)]
    subprocess.run(command, check=True, capture_output=True)
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-build-isolation"]
    subprocess.run([*pip, "--target", str(installed), str(made)], check=True, capture_output=True)
    return folder


def test_a_new_back_end_passes_as_it_stands(vendors: Path) -> None:
    """As its author runs its test, with the package in a folder of PYTHONPATH."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", vendors / "made"],
        check=False,
        capture_output=True,
        text=True,
        cwd=vendors,
        env={**os.environ, "PYTHONPATH": str(vendors / "installed")},
    )
    assert done.returncode == 0, done.stdout
    assert "1 passed" in done.stdout


def test_nothing_is_overwritten(vendors: Path, tmp_path: Path) -> None:
    with pytest.raises(Error, match="nothing was written"):
        write_files(vendors / "made", {"new.txt": "", "README.md": ""})
    assert not (vendors / "made/new.txt").exists()
    write_files(tmp_path / "other", {"new.txt": ""})


@pytest.mark.parametrize("name", ["Acme", "9", "a--b", "iree"])
def test_names(name: str) -> None:
    with pytest.raises(Error, match=f"new back end '{name}'"):
        check_name(name)
