# SPDX-License-Identifier: Apache-2.0
"""hal-probe exports as a user runs it, against an agent that serves."""

from __future__ import annotations

import hal

from .far import CONTROLLER, DEVICE, Far, far
from .test_probe import probe, probe_json

__all__ = ["far"]


def machine(far: Far) -> str:
    return f"hal://127.0.0.1:{far.port}?id={DEVICE}&credentials={far.folder}"


def test_who_has_what(far: Far) -> None:
    """What is listed opens, and whoever has it is told, to people and to programs."""
    with hal.open(far.uri("echo"), lease="exclusive", timeout=5):
        code, data = probe_json("exports", machine(far))
        text = probe("exports", machine(far), environment={"COLUMNS": "200"}).stdout
    assert code == 0
    found = {export["name"]: export for export in data["exports"]}
    assert set(found) == {export.name for export in far.leases.all()}
    assert (found["echo"]["lease"], found["memory"]["lease"]) == ("exclusive", "")
    assert found["echo"]["holder"].startswith(f"controller {CONTROLLER} at 127.0.0.1 since ")
    hal.open(found["memory"]["uri"], timeout=5).close()
    rows = {line.split()[0]: line for line in text.splitlines() if line}
    assert rows["echo"].split()[:4] == ["echo", "loopback", "loopback:", "exclusive"]
    assert str(CONTROLLER) in rows["echo"]
    assert rows["i2c"].split() == ["i2c", "sim", "sim:i2c", "free"]
    assert f"hal://{DEVICE}/echo?" in text


def test_what_goes_wrong(far: Far) -> None:
    """Each has its exit code, and says what to do."""
    place = f"hal://127.0.0.1:{far.port}"
    run = probe("exports", place)
    assert run.returncode == 2 and "add ?id=UUID" in run.stderr
    other = "33333333-3333-4333-8333-333333333333"
    run = probe("exports", f"{place}?id={other}&credentials={far.folder}")
    assert run.returncode == 4 and f"has not proved to be {other}" in run.stderr
    assert probe("exports", f"{place}?id={DEVICE}&credentials={far.folder}/no").returncode == 3
