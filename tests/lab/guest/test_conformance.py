# SPDX-License-Identifier: Apache-2.0
"""The conformance kit on kernel devices: every driver keeps the contract there, too."""

from __future__ import annotations

import pytest

from hal.conformance.run import run
from hal.conformance.subject import Subject

from . import devices
from .devices import Led, Module, until
from .host import Host
from .test_uio import handed_over
from .test_vfio import handed_over as given_to_vfio

LIMIT = 300
"""Seconds; the guest's Python is slow, and a device is opened some 300 times."""


def conform(uri: str, *, writes: bool) -> set[str]:
    """Run every check; none may fail. The names of those that passed."""
    results = list(run(Subject.of(uri, writes=writes)))
    for result in results:
        print(f"{result.check:20} {result.outcome:5} {result.seconds:6.2f} {result.seen}")
    assert {r.check: r.seen for r in results if r.outcome == "fail"} == {}
    return {result.check for result in results if result.outcome == "pass"}


@pytest.mark.lab_timeout(LIMIT)
def test_i2c() -> None:
    passed = conform(f"i2c:{devices.i2c_bus()}/{devices.EEPROM:#04x}", writes=True)
    assert {"transfers", "leaks", "fork", "attribute_values", "error_messages"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_spi() -> None:
    passed = conform(f"spi:{devices.SPI_WIRE}", writes=True)
    assert {"transfers", "leaks", "fork", "attribute_values", "error_messages"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_gpio_input() -> None:
    passed = conform(f"gpio:{devices.gpio_chip()}/4,5?direction=input", writes=False)
    assert {"leaks", "fork", "attribute_values", "error_messages"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_gpio_events() -> None:
    """Lines that nobody moves: reading waits for an edge."""
    passed = conform(f"gpio:{devices.gpio_chip()}/4,5?edge=both", writes=False)
    assert {"would_block", "deadline", "interrupted", "cancel_read", "close_waiting"} <= passed
    assert {"leaks", "fork", "poll_agrees", "descriptor"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_gpio_output() -> None:
    passed = conform(f"gpio:{devices.gpio_chip()}/4,5?direction=output", writes=True)
    assert {"leaks", "fork", "attribute_values", "error_messages"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_iio_channels() -> None:
    passed = conform(f"iio:{devices.IIO}", writes=False)
    assert {"leaks", "fork", "attribute_values", "error_messages"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_led(led: Led) -> None:
    until((led.folder / "brightness").exists)
    passed = conform(f"led:{led.folder.name}", writes=False)
    assert {"leaks", "fork", "error_messages"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_pwm(lab_pwm: Module) -> None:
    passed = conform(f"pwm:{devices.pwm_chip().name}/0", writes=False)
    assert {"leaks", "fork", "attribute_values", "error_messages"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_hwmon(lab_i2c: Module) -> None:
    passed = conform("hwmon:lm75", writes=False)
    assert {"leaks", "fork", "attribute_values", "error_messages"} <= passed


BLOCKS = {"register_range", "register_width", "block_range", "block_content"}
MAPPINGS = {"map_range", "map_content", "map_rights", "map_outlives"}


@pytest.mark.lab_timeout(LIMIT)
def test_registers() -> None:
    """edu, handed over to uio, whose registers are those of mmio."""
    with handed_over(devices.pci(devices.EDU)[0]) as name:
        passed = conform(f"uio:{name}", writes=False)
    assert {"register_range", "block_range", "map_range", "map_rights", "map_outlives"} <= passed
    assert {"deadline", "cancel_read", "close_waiting", "descriptor", "leaks", "fork"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_memory_of_a_pci_device() -> None:
    address = devices.pci(devices.IVSHMEM)[0].name
    passed = conform(f"memory:{address}/2?enable=true", writes=True)
    assert passed > BLOCKS | MAPPINGS | {"leaks", "fork", "attribute_values", "error_messages"}


@pytest.mark.lab_timeout(LIMIT)
def test_devdax() -> None:
    passed = conform(f"memory:{devices.dax('nvdimm').node}", writes=True)
    assert passed > BLOCKS | MAPPINGS | {"leaks", "fork", "descriptor", "attribute_values"}


@pytest.mark.lab_timeout(LIMIT)
def test_dmabuf() -> None:
    passed = conform("dmabuf:system?size=65536", writes=True)
    assert passed > {"block_range", "block_content", "leaks", "fork", "descriptor"} | MAPPINGS


@pytest.mark.lab_timeout(LIMIT)
def test_uart(host: Host) -> None:
    """A 16550A at whose far end nobody speaks."""
    passed = conform(f"uart:{devices.SERIAL}", writes=False)
    assert {"would_block", "deadline", "interrupted", "cancel_read", "close_waiting"} <= passed
    assert {"leaks", "fork", "poll_agrees", "descriptor"} <= passed


@pytest.mark.lab_timeout(LIMIT)
def test_vfio() -> None:
    """A device that raises no interrupt by itself."""
    with given_to_vfio(devices.pci(devices.EDU)[0]) as name:
        passed = conform(f"vfio:{name}/0?irq=msi", writes=False)
    assert {"would_block", "deadline", "interrupted", "cancel_read", "close_waiting"} <= passed
    assert {"leaks", "fork", "poll_agrees", "descriptor", "map_outlives"} <= passed
