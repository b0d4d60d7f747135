# SPDX-License-Identifier: Apache-2.0
"""The aarch64 guest: its device-tree devices, and the C tests on a kernel of that architecture."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.native import ROOT, built, run

from .aarch64 import checks
from .machine import Maker, aarch64, aarch64_iommu
from .prepare import LabUnavailable, prepare
from .vm import Guest

HERE = Path(__file__).resolve().parent
CHECKS = [name for name in vars(checks) if name.startswith("check_")]
SUITES = sorted(path.stem for path in ROOT.glob("tests/c/test_*.cc"))

pytestmark = pytest.mark.timeout(1200)  # the first item waits for compiler, preparation and boot


def suites() -> dict[str, dict[str, object]]:
    """Give the cross-built C tests, as ctest would run them but without its emulator."""
    tree = built("aarch64")
    commands: dict[str, dict[str, object]] = {}
    for test in json.loads(run("ctest", "--test-dir", tree, "--show-only=json-v1"))["tests"]:
        program = test["command"][-1]
        if test["name"] in SUITES:
            settings = {one["name"]: one["value"] for one in test["properties"]}
            environment = dict(line.split("=", 1) for line in settings.get("ENVIRONMENT", ()))
            commands[test["name"]] = {"command": [program], "environment": environment}
    return commands


def in_guest(
    commands: dict[str, dict[str, object]] | None = None, make: Maker = aarch64
) -> dict[str, str]:
    """Run the checks, or commands, in one boot of a machine and give how each went."""
    try:
        kit = prepare("aarch64")
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"no lab: {error}")
        pytest.skip(f"no lab: {error}")
    with Guest(kit, make) as guest:
        runner = ["python3", str(HERE / "aarch64/runner.py"), "/run/lab/results.json"]
        if commands is not None:
            (guest.exchange / "commands.json").write_text(json.dumps(commands))
            runner.append("/run/lab/commands.json")
        done = guest.run(runner, timeout=1100)
        assert done.status == 0, done.output
        results: dict[str, str] = json.loads((guest.exchange / "results.json").read_text())
        return results


@pytest.fixture(scope="module")
def checked() -> dict[str, str]:
    """How each check went."""
    return in_guest()


@pytest.fixture(scope="module")
def tested() -> dict[str, str]:
    """How each C test went."""
    return in_guest(suites())


@pytest.mark.parametrize("name", CHECKS)
def test_check(checked: dict[str, str], name: str) -> None:
    if checked[name]:
        pytest.fail(checked[name], pytrace=False)


@pytest.mark.parametrize("name", SUITES)
def test_c_suite(tested: dict[str, str], name: str) -> None:
    if tested[name]:
        pytest.fail(tested[name], pytrace=False)


def test_vfio_behind_an_iommu() -> None:
    """edu by VFIO: an SMMU between it and memory, its messages through the interrupt controller."""
    failure = in_guest({"test_vfio": suites()["test_vfio"]}, aarch64_iommu)["test_vfio"]
    if failure:
        pytest.fail(failure, pytrace=False)
