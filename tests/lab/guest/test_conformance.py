# SPDX-License-Identifier: Apache-2.0
"""The conformance kit on kernel devices: every driver keeps the contract there, too."""

from __future__ import annotations

import pytest

from hal.conformance.run import run
from hal.conformance.subject import Subject

from . import devices
from .devices import Led, Module, until
from .host import Host

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


@pytest.mark.lab_timeout(LIMIT)
def test_uart(host: Host) -> None:
    """A 16550A at whose far end nobody speaks."""
    passed = conform(f"uart:{devices.SERIAL}", writes=False)
    assert {"would_block", "deadline", "interrupted", "cancel_read", "close_waiting"} <= passed
    assert {"leaks", "fork", "poll_agrees", "descriptor"} <= passed
