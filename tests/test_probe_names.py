# SPDX-License-Identifier: Apache-2.0
"""hal-probe names; and what list, show, explain and drivers tell of names and of matching."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from .machine import FTDI, Machine, workbench
from .test_probe import probe, probe_json

NAMES = """
[names]
back = "loopback:?capacity=8192"
lost = {serial = "no such number"}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "hal.toml"
    path.write_text(NAMES)
    monkeypatch.setenv("HAL_CONFIG", str(path))
    return path


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """The workbench, with a configuration of its own."""
    bench = workbench(tmp_path / "machine")
    names = f'[names]\ngps = {{path = "{FTDI}", class = "serial"}}\n'
    bench.write("/etc/hal/hal.toml", f'{names}[match]\n"i2c:lm75" = "i2c:{{bus}}"\n')
    modalias = {"MODALIAS": "i2c:lm75"}
    bench.device("/devices/platform/fe804000.i2c/i2c-1/1-0048", "bus/i2c", uevent=modalias)
    return bench


def stage(data: Any, name: str) -> str:
    return next(str(stage["text"]) for stage in data["stages"] if stage["stage"] == name)


def test_every_name_and_what_it_opens(config: Path) -> None:
    code, data = probe_json("names")
    assert code == 3  # one of them opens nothing
    assert data["files"] == [str(config)]
    back, lost = data["names"]
    assert (back["name"], back["uri"], back["error"]) == ("back", "loopback:?capacity=8192", "")
    assert (lost["uri"], lost["for"]) == ("", "serial no such number")
    assert "no device has serial no such number" in lost["error"]
    config.write_text(NAMES.partition("lost")[0])
    run = probe("names")
    assert run.returncode == 0
    assert re.search(r"^back +loopback:\?capacity=8192", run.stdout, re.MULTILINE)


def test_calls_for_a_c_program(config: Path) -> None:
    lines = probe("names", "--c").stdout.splitlines()
    assert lines[0] == 'hal_bind("back", "loopback:?capacity=8192");'
    assert lines[1].startswith("/* ")
    assert lines[1].endswith(" */")


def test_without_names_it_says_where_they_are_looked_for(config: Path) -> None:
    config.write_text("")
    run = probe("names")
    assert run.returncode == 0
    assert str(config) in run.stdout


def test_a_file_that_is_wrong(config: Path) -> None:
    config.write_text("[names]\nx = 1\n")
    code, data = probe_json("names")
    assert code == 2
    assert f'read "{config}": names.x: must be a URI' in data["error"]["message"]
    _, listed = probe_json("list", "--class", "memory")
    assert any("names.x" in problem["cause"] for problem in listed["problems"])
    assert probe("show", "node0").returncode == 0  # it is in the way of its own names only
    code, data = probe_json("show", "x")
    assert code == 2
    assert "names.x" in data["error"]["message"]


def test_a_name_is_a_device(config: Path) -> None:
    code, data = probe_json("show", "back")
    assert (code, data["uri"]) == (0, "loopback:?capacity=8192")
    code, data = probe_json("explain", "lost")
    assert code != 0
    assert "no device has serial no such number" in str(data)


def test_list_and_show_tell_names_and_fits(machine: Machine) -> None:
    root = ("--root", str(machine.root))
    text = probe("list", *root).stdout
    assert re.search(r"^  ttyUSB0 .* gps,", text, re.MULTILINE)
    _, data = probe_json("show", "ttyUSB0", *root)
    assert data["record"]["names"] == ["gps"]
    (fit,) = data["record"]["fits"]
    assert fit == {
        "driver": "uart",
        "uri": "uart:/dev/ttyUSB0",
        "score": 10,
        "why": "subsystem:tty, a serial line",
    }
    text = " ".join(probe("show", "ttyUSB0", *root).stdout.split())
    assert "fitting drivers uart: subsystem:tty, a serial line (score 10)" in text
    assert "logical names gps" in text


def test_explain_tells_why_a_driver_won(machine: Machine) -> None:
    root = ("--root", str(machine.root))
    _, data = probe_json("explain", "ttyUSB0", *root)
    assert stage(data, "match") == "uart: subsystem:tty, a serial line (score 10)"
    _, data = probe_json("explain", "1-0048", *root)
    file = machine.root / "etc/hal/hal.toml"
    assert stage(data, "match") == f"i2c: i2c:lm75, says {file} (score 100)"
    _, data = probe_json("explain", "mem0", *root)
    assert "no HAL driver fits subsystem cxl" in stage(data, "driver")


def test_drivers_tell_what_they_fit() -> None:
    _, data = probe_json("drivers")
    found = {driver["name"]: driver["matches"] for driver in data["drivers"]}
    row = {"fits": "subsystem:tty", "address": "{node}", "note": "a serial line"}
    assert found["uart"] == [row]
    assert found["loopback"] == []
    text = probe("drivers", "--verbose").stdout
    assert re.search(r"^ +subsystem:tty +uart:\{node\} +a serial line$", text, re.MULTILINE)
