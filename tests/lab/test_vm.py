# SPDX-License-Identifier: Apache-2.0
"""A guest gives back status and output; one that panics or hangs fails with its console shown."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from .machine import Machine
from .prepare import Kit, LabUnavailable, prepare
from .vm import Guest, GuestDied

pytestmark = pytest.mark.timeout(900)  # the first test may wait for the preparation


def bare(folder: Path) -> Machine:
    """Give a machine without devices, which boots fastest."""
    exit_device = ["-device", "isa-debug-exit,iobase=0xf4,iosize=1"]
    return Machine("x86_64", ["-machine", "q35", "-m", "512M", *exit_device], "console=ttyS0")


@pytest.fixture(scope="module")
def kit() -> Kit:
    """What the guests boot from."""
    try:
        return prepare("x86_64")
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"no lab: {error}")
        pytest.skip(f"no lab: {error}")


def test_status_and_output_come_back(kit: Kit) -> None:
    with Guest(kit, bare) as guest:
        command = ["bash", "-c", "echo $WORD; pwd; exit 7"]
        result = guest.run(command, environment={"WORD": "a 'b' $c"})
    assert (result.status, result.output) == (7, f"a 'b' $c\n{Path.cwd()}\n")


def test_panic_shows_the_console(kit: Kit) -> None:
    with Guest(kit, bare) as guest, pytest.raises(GuestDied, match="without a result") as died:
        guest.run(["bash", "-c", "echo before; echo c >/proc/sysrq-trigger; sleep 60"])
    assert "Kernel panic - not syncing: sysrq triggered crash" in str(died.value)
    assert "before" in str(died.value)


def test_hang_is_ended(kit: Kit) -> None:
    with Guest(kit, bare) as guest:
        with pytest.raises(GuestDied, match="did not end within 2 s"):
            guest.run(["sleep", "1000"], timeout=2)
        assert not guest.running()
