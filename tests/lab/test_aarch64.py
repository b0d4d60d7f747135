# SPDX-License-Identifier: Apache-2.0
"""The aarch64 guest: its device-tree devices, and C tests on a kernel of that architecture."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.native import built, run

from .aarch64 import checks
from .machine import aarch64_iommu
from .prepare import LabUnavailable, prepare
from .vm import Guest

HERE = Path(__file__).resolve().parent
CHECKS = [name for name in vars(checks) if name.startswith("check_")]
SUITES = ("test_cache", "test_gpio", "test_i2c", "test_lane", "test_spi", "test_uart", "test_vfio")
"""What a kernel of this architecture decides, or has devices for; user-mode QEMU runs all of them
(tests/test_c_suites.py)."""

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


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """How each check and each C test went, in one boot: PCI devices are behind an SMMU."""
    try:
        kit = prepare("aarch64")
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"no lab: {error}")
        pytest.skip(f"no lab: {error}")
    commands = suites()
    with Guest(kit, aarch64_iommu) as guest:
        (guest.exchange / "commands.json").write_text(json.dumps(commands))
        runner = ["python3", str(HERE / "aarch64/runner.py")]
        runner += ["/run/lab/commands.json", "/run/lab/results.json"]
        done = guest.run(runner, timeout=1100)
        assert done.status == 0, done.output
        found: dict[str, str] = json.loads((guest.exchange / "results.json").read_text())
        return found


@pytest.mark.parametrize("name", [*CHECKS, *SUITES])
def test_in_guest(results: dict[str, str], name: str) -> None:
    if results[name]:
        pytest.fail(results[name], pytrace=False)
