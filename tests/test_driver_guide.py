# SPDX-License-Identifier: Apache-2.0
"""docs/drivers.md says what is so: its commands, its excerpts, and the example it walks through."""

from __future__ import annotations

import re
import sys
from pathlib import Path

from hal.scaffold.cli import next_steps
from tests.machine import I2C, Machine
from tests.native import ROOT, run
from tests.needs import needs

GUIDE = (ROOT / "docs/drivers.md").read_text(encoding="utf-8")
EXAMPLE = ROOT / "docs/examples/at24"
OPEN = """
import hal
try:
    hal.open("at24:no such adapter/0x50")
except hal.NotFound as error:
    print(error)
"""
EEPROMS = {
    "1-0050": {"OF_COMPATIBLE_0": "microchip,24c02", "OF_COMPATIBLE_1": "atmel,24c02",
               "OF_COMPATIBLE_N": "2"},
    "1-0051": {"MODALIAS": "i2c:24c256"},
    "1-0068": {"MODALIAS": "i2c:ds3231"},
}  # fmt: skip


def lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines()]


def test_the_commands_are_those_that_hal_new_driver_says() -> None:
    typed = [line.strip() for line in GUIDE.splitlines() if line.startswith("    ")]
    steps = next_steps("thermo", Path("thermo"), python=False)
    start = typed.index("hal-new-driver thermo") + 1
    assert typed[start : start + len(steps)] == steps


def test_the_excerpts_are_from_the_source() -> None:
    source = lines((EXAMPLE / "at24.c").read_text(encoding="utf-8"))
    blocks = re.findall(r"^```c\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 3
    for block in blocks:
        wanted = lines(block)
        places = [i for i, line in enumerate(source) if line == wanted[0]]
        assert any(source[i : i + len(wanted)] == wanted for i in places), block


def test_the_example_builds_by_its_cmake_file_and_passes_errors_on(tmp_path: Path) -> None:
    """What it does on a chip is tested in the lab."""
    needs("cmake", "cc")
    prefix = run(sys.executable, "-m", "hal", "--cmakedir").strip()
    run("cmake", "-S", EXAMPLE, "-B", tmp_path, f"-DCMAKE_PREFIX_PATH={prefix}")
    assert "warning" not in run("cmake", "--build", tmp_path)
    path = {"HAL_DRIVER_PATH": str(tmp_path)}
    said = run(sys.executable, "-c", OPEN, env=path)
    assert "no I2C adapter of that name" in said
    bench = Machine(tmp_path / "bench")
    for name, uevent in EEPROMS.items():
        bench.device(f"{I2C}/{name}", "bus/i2c", node="i2c-1", uevent=uevent)
    listed = run(sys.executable, "-m", "hal.probe", "list", "--root", str(bench.root), env=path)
    assert re.findall(r"\b(?:at24|i2c):\S+", listed) == ["at24:1/0x50", "at24:1/0x51", "i2c:1/0x68"]
