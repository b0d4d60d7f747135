# SPDX-License-Identifier: Apache-2.0
"""One boot of the aarch64 guest: the checks, and those C tests that a kernel decides."""

from __future__ import annotations

import json
from pathlib import Path

from tests import ahead
from tests.lab.machine import aarch64_iommu
from tests.lab.prepare import prepare
from tests.lab.vm import Guest
from tests.native import built, run

SUITES = ("test_cache", "test_gpio", "test_i2c", "test_lane", "test_spi", "test_uart", "test_vfio")
"""What a kernel of this architecture decides, or has devices for; user-mode QEMU runs all of them
(tests/test_c_suites.py)."""
KEY = "aarch64 guest"


def results() -> dict[str, str]:
    """How each check and each C test went: nothing, or why it failed. Once in a test run.

    Raises:
        LabUnavailable: There is no kernel or emulator for it.
    """
    return ahead.result(KEY, _boot)


def boot_ahead() -> None:
    """Begin, beside others."""
    ahead.begin(KEY, _boot)


def _commands() -> dict[str, dict[str, object]]:
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


def _boot() -> dict[str, str]:
    kit = prepare("aarch64")
    commands = _commands()
    with Guest(kit, aarch64_iommu) as guest:  # its PCI devices are behind an SMMU
        (guest.exchange / "commands.json").write_text(json.dumps(commands))
        runner = ["python3", str(Path(__file__).parent / "runner.py")]
        runner += ["/run/lab/commands.json", "/run/lab/results.json"]
        done = guest.run(runner, timeout=1100)
        assert done.status == 0, done.output
        found: dict[str, str] = json.loads((guest.exchange / "results.json").read_text())
        return found
