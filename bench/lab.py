# SPDX-License-Identifier: Apache-2.0
"""The buses on the lab's kernel devices (tests/lab), in an emulated machine: ratios alone count.

Both contestants pay for the emulated kernel's whole path, so ratios here are nearer to one than
those on stand-ins (``buses.py``), which show each one's own overhead.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import hal

from .rounds import Row, Unavailable, medians

ROOT = Path(__file__).parent.parent
NOTE = "emulated: ratios only"
REGISTER, SIZE, BATCH = 5, 64, 21
EDGES, STEP = 10_000, 500


def _row(name: str, peer: str, ours: Callable[[], object], theirs: Callable[[], object]) -> Row:
    found = medians({"hal": ours, peer: theirs}, rounds=41, batch=5)
    return Row(f"{name}, of {peer}", 0, {}, "<= 1.00", found["hal"] / found[peer], "", NOTE)


def _gain(name: str, together: Callable[[], object], single: Callable[[], object]) -> Row:
    found = medians({"together": together, "single": single}, rounds=21)
    ratio = found["single"] / found["together"]
    return Row(f"{name}, gain", 0, {}, ">= 1.00", ratio, "", NOTE)


def _i2c() -> list[Row]:
    import smbus2

    from tests.lab.guest import devices

    number = devices.i2c_bus()
    with (
        hal.I2c.open(f"i2c:{number}/{devices.EEPROM:#x}") as chip,
        smbus2.SMBus(number) as bus,
    ):
        segments = [hal.Segment(bytes([REGISTER])), hal.Segment(rx=16)] * BATCH
        return [
            _row(
                "I2C register read",
                "smbus2",
                lambda: chip.read_register(REGISTER),
                lambda: bus.read_byte_data(devices.EEPROM, REGISTER),
            ),
            _gain(
                f"I2C, {BATCH} reads in one call",
                lambda: chip.transfer(segments),
                lambda: [chip.read_registers(REGISTER, 16) for _ in range(BATCH)],
            ),
        ]


def _spi() -> list[Row]:
    import spidev

    from tests.lab.guest import devices

    bus, _, select = devices.SPI_WIRE.removeprefix("/dev/spidev").partition(".")
    theirs = spidev.SpiDev()
    theirs.open(int(bus), int(select))
    data = bytes(SIZE)
    as_list = list(data)
    with hal.Spi.open(f"spi:{devices.SPI_WIRE}") as chip:
        # Under one chip select: at each change the kernel itself pauses for 10 us.
        segments = [hal.Segment(data, SIZE)] * BATCH
        rows = [
            _row(
                f"SPI transfer, {SIZE} B",
                "spidev",
                lambda: chip.transfer(data),
                lambda: theirs.xfer2(as_list),
            ),
            _gain(
                f"SPI, {BATCH} segments in one call",
                lambda: chip.transfer(segments),
                lambda: [chip.transfer(data) for _ in range(BATCH)],
            ),
        ]
    theirs.close()
    return rows


def _gpio() -> list[Row]:
    import gpiod

    from tests.lab.guest import devices

    chip = devices.gpio_chip()
    on, off = gpiod.line.Value.ACTIVE, gpiod.line.Value.INACTIVE
    output = gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT)
    with (
        hal.Gpio.open(f"gpio:{chip}/4", direction="output") as ours,
        gpiod.request_lines(f"/dev/{chip}", config={5: output}) as theirs,
    ):

        def toggle() -> None:
            ours[0] = 1
            ours[0] = 0

        def toggle_theirs() -> None:
            theirs.set_value(5, on)
            theirs.set_value(5, off)

        return [
            _row("GPIO toggle", "gpiod", toggle, toggle_theirs),
            _row("GPIO read", "gpiod", lambda: ours[0], lambda: theirs.get_value(5)),
        ]


def _edges() -> Row:
    """Edges by the thousand, read before the kernel's queue is full: none may be missing."""
    from tests.lab.guest.devices import GpioSim

    sim = GpioSim()
    seen = lost = 0
    sim.pull(4, 0)
    with hal.Gpio.open(f"gpio:{sim.chip}/4", edge="both", timeout=30) as line:
        for edge in range(EDGES):
            sim.pull(4, 1 - edge % 2)
            if edge % STEP == STEP - 1:
                while seen <= edge:
                    events = line.read_events(STEP)
                    seen += len(events)
                    lost += sum(event.lost for event in events)
    return Row(f"{seen:,} edges, lost", lost, {}, "<= 0", lost, "edges", NOTE)


def rows() -> list[Row]:
    """All rows of this module, measured in one guest.

    Raises:
        Unavailable: this machine cannot have the lab.
    """
    child = subprocess.run(
        [ROOT / "tests/lab/run", "--", sys.executable, "-m", "bench.lab"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    if child.returncode == 125:
        raise Unavailable(child.stderr.strip())
    child.check_returncode()
    return [Row(**row) for row in json.loads(child.stdout.splitlines()[-1])]


if __name__ == "__main__":
    print(json.dumps([asdict(row) for row in [*_i2c(), *_spi(), *_gpio(), _edges()]]))
