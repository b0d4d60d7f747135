# SPDX-License-Identifier: Apache-2.0
"""Checks that run inside the aarch64 guest, with Debian's plain Python: the standard library only.

Each function named ``check_...`` is one item of tests/lab/test_aarch64.py.
"""

from __future__ import annotations

import ctypes
import fcntl
import mmap
import os
import struct
import subprocess
from pathlib import Path

TREE = Path("/proc/device-tree")


def run(*command: object) -> str:
    """Run a tool and give what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


def strings(path: Path) -> list[str]:
    """Give a device-tree property's strings."""
    return path.read_bytes().rstrip(b"\0").decode().split("\0")


def node_of(device: Path) -> Path:
    """Give the device-tree node that a device in sysfs was made from."""
    return (device / "of_node").resolve()


def named(pattern: str, name: str) -> Path:
    """Give the folder of the one attribute file that holds this text."""
    found = [p.parent for p in Path("/sys").glob(pattern) if p.read_text().strip() == name]
    assert len(found) == 1, f"{name} in {pattern}: {found}"
    return found[0]


def check_machine() -> None:
    assert os.uname().machine == "aarch64"
    assert "linux,dummy-virt" in strings(TREE / "compatible")


def check_tree_has_our_nodes() -> None:
    assert strings(TREE / "board-spi/compatible") == ["spi-gpio"]
    assert strings(TREE / "board-i2c/eeprom@50/compatible") == ["atmel,24c02"]
    assert struct.unpack(">I", (TREE / "board-i2c/eeprom@50/reg").read_bytes()) == (0x50,)


def check_serial_line_comes_from_the_tree() -> None:
    node = node_of(Path("/sys/class/tty/ttyAMA0/device"))
    assert "arm,pl011" in strings(node / "compatible")


def check_spi_device_comes_from_the_tree() -> None:
    nodes = {
        node_of(path).name: path
        for path in Path("/sys/bus/spi/devices").iterdir()
        if (path / "of_node").exists()
    }
    device = nodes["device@0"]
    assert strings(node_of(device) / "label") == ["lab-spi-device"]
    node = next((device / "spidev").iterdir()).name
    assert transfer(f"/dev/{node}", b"\xff\x00") == b"\0\0"


def transfer(path: str, data: bytes) -> bytes:
    """Move bytes both ways over SPI."""
    out, back = ctypes.create_string_buffer(data, len(data)), ctypes.create_string_buffer(len(data))
    device = os.open(path, os.O_RDWR)
    places = ctypes.addressof(out), ctypes.addressof(back)
    fcntl.ioctl(device, 0x40206B00, struct.pack("QQIIHBBBBBx", *places, len(data), 0, *[0] * 6))
    os.close(device)
    return back.raw


def check_spi_controller_of_ours() -> None:
    controller = next(Path("/sys/devices/platform/lab-spi/spi_master").iterdir())
    number = controller.name.removeprefix("spi")
    assert transfer(f"/dev/spidev{number}.0", b"wire") == b"wire"
    transfer(f"/dev/spidev{number}.1", b"\x06")
    transfer(f"/dev/spidev{number}.1", b"\x02\x00ab")
    assert transfer(f"/dev/spidev{number}.1", b"\x03\x00\0\0")[2:] == b"ab"


def check_i2c_bus_comes_from_the_tree() -> None:
    buses = {node_of(path).name: path for path in Path("/sys/class/i2c-dev").glob("*/device")}
    bus = buses["board-i2c"].parent.name.removeprefix("i2c-")
    assert (buses["board-i2c"] / f"{bus}-0050/name").read_text() == "24c02\n"
    probe = subprocess.run(["i2ctransfer", "-y", bus, "r1@0x51"], check=False, capture_output=True)
    assert probe.returncode, "a bus without pull-ups cannot answer"


def check_i2c_adapter_of_ours() -> None:
    bus = named("class/i2c-dev/*/name", "lab i2c").name.removeprefix("i2c-")
    run("i2ctransfer", "-y", bus, "w3@0x50", "0x10", "0xab", "0xcd")
    assert run("i2ctransfer", "-y", bus, "w1@0x50", "0x10", "r2").split() == ["0xab", "0xcd"]


def check_gpio_controller_of_the_board() -> None:
    chips = {
        node_of(p).name: p.name
        for p in Path("/sys/bus/gpio/devices").glob("gpiochip*")
        if (p / "of_node").exists()
    }
    chip = next(name for node, name in chips.items() if node.startswith("pl061@"))
    lines = run("gpioinfo", chip)
    for holder in ("sck", "mosi", "miso", "sda", "scl"):
        assert f'"{holder}"' in lines, lines
    run("gpioset", chip, "7=1")


def check_gpio_simulated_button() -> None:
    chip, line = run("gpiofind", "BUTTON").split()
    pull = next(Path("/sys/devices/platform").glob(f"gpio-sim.*/{chip}/sim_gpio{line}/pull"))
    for text, level in (("pull-up", "1"), ("pull-down", "0")):
        pull.write_text(text)
        assert run("gpioget", chip, line).strip() == level


def check_edu_registers() -> None:
    found = [
        p
        for p in Path("/sys/bus/pci/devices").iterdir()
        if (p / "device").read_text() == "0x11e8\n"
    ]
    (found[0] / "enable").write_text("1")
    bar = os.open(found[0] / "resource0", os.O_RDWR | os.O_SYNC)
    memory = mmap.mmap(bar, 1 << 20)
    os.close(bar)
    registers = (ctypes.c_uint32 * 64).from_buffer(memory)
    assert registers[0] == 0x010000ED
    registers[1] = 0x12345678
    assert registers[1] == 0xEDCBA987
