# SPDX-License-Identifier: Apache-2.0
"""Kernel devices behind an agent: over the link they do what they do here, to the last byte."""

from __future__ import annotations

import errno
import os
import termios
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import hal
from hal import Segment
from hal.agent import opened, server
from hal.agent.audit import Audit
from hal.agent.leases import Leases
from hal.agent.server import Agent
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from hal.link.token import Right
from tests.far import CONTROLLER, DEVICE, equip

from . import devices
from .devices import EEPROM, GpioSim, Module
from .host import Host

SCRATCH = 0x04
"""Register of the edu device that holds the complement of what was written."""


def exported() -> dict[str, str]:
    """One device of each kind, as `agent.toml` has them."""
    return {
        "eeprom": f"i2c:{devices.i2c_bus()}/{EEPROM:#04x}",
        "keys": f"gpio:{devices.gpio_chip()}/5,3",
        "relay": f"gpio:{devices.gpio_chip()}/4,2",
        "line": f"uart:{devices.SERIAL}",
        "adc": f"iio:{devices.IIO}",
        "edu": f"mmio:{devices.pci(devices.EDU)[0].name}/0?enable=true",
    }


@dataclass(frozen=True)
class Far:
    """An agent of this machine, and what opens its devices, and the same ones without it."""

    port: int
    folder: Path
    devices: dict[str, str]

    def uri(self, name: str) -> str:
        return f"hal://127.0.0.1:{self.port}/{name}?id={DEVICE}&credentials={self.folder}"

    def both(self, name: str) -> tuple[str, str]:
        """Without the agent, and by it."""
        return self.devices[name], self.uri(name)


@pytest.fixture(scope="module")
def far(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    folder = tmp_path_factory.mktemp("far")
    authority = Authority.create(folder / "ca")
    own = equip(authority, folder / "device", Identity(DEVICE, Role.DEVICE), [])
    rights = [Right("*", "rw")]
    equip(authority, folder / "me", Identity(CONTROLLER, Role.CONTROLLER), rights)
    names = exported()
    audit = Audit(folder / "audit")
    leases = Leases(names, 60, None, opened.serve)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(server, "PATIENCE", 60.0)  # The handshake is emulated as well.
        agent = Agent(own, leases, ("127.0.0.1", 0), audit=audit)
        thread = threading.Thread(target=agent.serve)
        thread.start()
        yield Far(agent.port, folder / "me", names)
        agent.stop()
        thread.join()
    audit.close()


def test_an_i2c_chip(far: Far, lab_i2c: Module) -> None:
    """The same bytes come, by the same transactions on the bus; its errors keep their numbers."""

    def use(uri: str) -> tuple[object, ...]:
        with hal.I2c.open(uri, timeout=60) as chip:
            chip.write(b"\x40lab!")
            whole = chip.transfer([Segment(b"\x40"), Segment(rx=4)])
            found = whole, chip.read_register(0x41), chip.read_registers(0x40, 4)
            lab_i2c.fail(errno.ENXIO)
            with pytest.raises(hal.Error) as caught:
                chip.write(b"\x40")
            return found, caught.value.errno, type(caught.value), lab_i2c.log()

    here, there = (use(uri) for uri in far.both("eeprom"))
    assert here == there
    assert here[0] == ([b"lab!"], ord("a"), b"lab!")


def test_gpio_lines(far: Far, gpio_sim: GpioSim) -> None:
    """Edges come in their order and number, and levels go out."""

    def edges(uri: str) -> list[tuple[object, ...]]:
        gpio_sim.pull(3, 0)
        gpio_sim.pull(5, 0)
        with hal.Gpio.open(uri, timeout=60, edge="both") as keys:
            for line, level in ((3, 1), (3, 0), (5, 1), (5, 0)):
                gpio_sim.pull(line, level)
            events = keys.read_events(timeout=60)
            while len(events) < 4:
                events += keys.read_events(timeout=60)
            return [(e.edge, e.offset, e.line, e.line_sequence, e.sequence) for e in events]

    here, there = (edges(uri) for uri in far.both("keys"))
    assert here == there
    assert [event[0] for event in here] == ["rising", "falling"] * 2
    with hal.Gpio.open(far.uri("relay"), timeout=60, values="01") as relay:
        assert (gpio_sim.value(4), gpio_sim.value(2)) == (0, 1)
        relay.values = (1, 0)
        assert (gpio_sim.value(4), gpio_sim.value(2)) == (1, 0)


def speed(node: str) -> int:
    """As the kernel has it."""
    descriptor = os.open(node, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
    try:
        return int(termios.tcgetattr(descriptor)[5])
    finally:
        os.close(descriptor)


def test_a_serial_line(far: Far, host: Host) -> None:
    """Its far end is outside of the machine; a setting is the kernel's."""
    host.clear("serial")
    with hal.Uart.open(far.uri("line"), timeout=60) as line:
        line.baud = 57600
        assert speed(devices.SERIAL) == termios.B57600
        line.write(b"from afar\n")
        assert host.receive("serial", 10) == b"from afar\n"
        host.send("serial", b"and back\n")
        assert line.readline() == b"and back\n"


def test_an_iio_device(far: Far) -> None:
    """Its settings are those that the kernel tells, and a capture is the same."""

    def use(uri: str) -> tuple[object, ...]:
        options: dict[str, hal.Value] = {"channels": "voltage0", "trigger": "lab-hrtimer"}
        with hal.Iio.open(uri, timeout=60, frequency=100, **options) as adc:
            scale, offset = adc.attributes["voltage0.scale"], adc.attributes["voltage0.offset"]
            return scale, offset, adc.capture(3, raw=True)["voltage0"].tolist()

    here, there = (use(uri) for uri in far.both("adc"))
    assert here == there
    assert there[1] == float((devices.iio_device() / "in_voltage0_offset").read_text())


def test_registers(far: Far) -> None:
    """What is written by the agent is read without it, and the reverse."""
    uri, remote = far.both("edu")
    with hal.Mmio.open(uri) as here, hal.Mmio.open(remote, timeout=60) as there:
        assert there.load(0, 4) == here.load(0, 4)
        there.store(SCRATCH, 0x12345678, 4)
        assert here.load(SCRATCH, 4) == 0xEDCBA987
        here.store(SCRATCH, 0xFF, 4)
        assert there.load(SCRATCH, 4) == 0xFFFFFF00
