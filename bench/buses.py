# SPDX-License-Identifier: Apache-2.0
"""I2C, SPI and GPIO from Python beside smbus2, spidev and gpiod, on stand-ins (``standin.c``).

No bus is needed: every contestant's request is one real ioctl(2) that does nothing, so what differs
is what each does around it. "beyond the system call" is the time less that of the bare ioctl.
"""

from __future__ import annotations

import ctypes
import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import gpiod
import smbus2
import spidev

import hal

from .program import build
from .rounds import Row, medians

BUS, TARGET, REGISTER = 77, 0x50, 5
SIZE = 64
BATCH = 21  # a write and a read each: as many messages as the kernel takes in one call


def _bare(library: Path) -> float:
    """Nanoseconds of the request alone, from C."""
    call = ctypes.CDLL(str(library)).standin_bare
    call.restype = ctypes.c_double
    fd = os.open(f"/dev/i2c-{BUS}", os.O_RDWR)
    try:
        return float(min(call(fd, 1000) for _ in range(200)))
    finally:
        os.close(fd)


def _rows(
    name: str, peer: str, ours: Callable[[], object], theirs: Callable[[], object], bare: float
) -> list[Row]:
    """One operation: in all, and beyond the system call."""
    found = medians({"hal": ours, peer: theirs, "nothing": lambda: None}, rounds=301, batch=200)
    empty = found.pop("nothing")
    mine, other = (found[key] - empty for key in ("hal", peer))
    own, their_own = mine - bare, other - bare
    return [
        Row(name, mine, {peer: other}, "<= 1.00", mine / other),
        Row("  beyond the system call", own, {peer: their_own}, "<= 0.50", own / their_own),
    ]


def _i2c(bare: float) -> list[Row]:
    with hal.I2c.open(f"i2c:{BUS}/{TARGET:#x}") as chip, smbus2.SMBus(BUS) as bus:
        pair = [hal.Segment(bytes([REGISTER])), hal.Segment(rx=16)]
        segments = pair * BATCH
        batch = medians(
            {
                "hal": lambda: chip.transfer(segments),
                "one by one": lambda: [chip.read_registers(REGISTER, 16) for _ in range(BATCH)],
            },
            batch=20,
        )
        return [
            *_rows(
                "I2C register read",
                "smbus2",
                lambda: chip.read_register(REGISTER),
                lambda: bus.read_byte_data(TARGET, REGISTER),
                bare,
            ),
            *_rows(
                "I2C register write",
                "smbus2",
                lambda: chip.write_register(REGISTER, 1),
                lambda: bus.write_byte_data(TARGET, REGISTER, 1),
                bare,
            ),
            *_rows(
                "SMBus word read",
                "smbus2",
                lambda: chip.smbus_read_word(REGISTER),
                lambda: bus.read_word_data(TARGET, REGISTER),
                bare,
            ),
            _batch(f"I2C, {BATCH} reads of 16 B in one call", batch),
        ]


def _spi(bare: float) -> list[Row]:
    theirs = spidev.SpiDev()
    theirs.open(BUS, 0)
    data = bytes(SIZE)
    as_list = list(data)
    with hal.Spi.open(f"spi:{BUS}.0") as chip:
        segments = [hal.Segment(data, SIZE, flags=hal.Spi.CS_CHANGE)] * BATCH
        batch = medians(
            {
                "hal": lambda: chip.transfer(segments),
                "one by one": lambda: [chip.transfer(data) for _ in range(BATCH)],
            },
            batch=20,
        )
        rows = _rows(
            f"SPI transfer, {SIZE} B",
            "spidev",
            lambda: chip.transfer(data),
            lambda: theirs.xfer2(as_list),
            bare,
        )
    theirs.close()
    return [*rows, _batch(f"SPI, {BATCH} transfers of {SIZE} B in one call", batch)]


def _gpio(bare: float) -> list[Row]:
    on, off = gpiod.line.Value.ACTIVE, gpiod.line.Value.INACTIVE
    output = gpiod.LineSettings(direction=gpiod.line.Direction.OUTPUT)
    place = f"gpiochip{BUS}"
    with (
        hal.Gpio.open(f"gpio:{place}/0,1", direction="output") as ours,
        gpiod.request_lines(f"/dev/{place}", config={(0, 1): output}) as theirs,
    ):

        def toggle() -> None:
            ours[0] = 1
            ours[0] = 0

        def toggle_theirs() -> None:
            theirs.set_value(0, on)
            theirs.set_value(0, off)

        theirs.set_values({0: on, 1: off})
        assert ours.values == (1, 0)  # both reach the same lines
        return [
            *_rows("GPIO toggle (on, off)", "gpiod", toggle, toggle_theirs, 2 * bare),
            *_rows("GPIO read", "gpiod", lambda: ours[0], lambda: theirs.get_value(0), bare),
            *_rows(
                "GPIO read, two lines",
                "gpiod",
                lambda: ours.values,
                theirs.get_values,
                bare,
            ),
        ]


def _batch(name: str, found: dict[str, float]) -> Row:
    ours = found.pop("hal")
    ratio = found["one by one"] / ours
    return Row(name, ours, found, ratio=ratio, note=f"{ratio:.1f} times faster than one by one")


def rows() -> list[Row]:
    """All rows of this module, from a process that has the stand-in preloaded."""
    library = build("standin.c", "-shared", "-fPIC")
    child = subprocess.run(
        [sys.executable, "-m", "bench.buses", str(library)],
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "LD_PRELOAD": str(library)},
        timeout=600,
    )
    return [Row(**row) for row in json.loads(child.stdout)]


if __name__ == "__main__":
    alone = _bare(Path(sys.argv[1]))
    print(json.dumps([asdict(row) for row in [*_i2c(alone), *_spi(alone), *_gpio(alone)]]))
