# SPDX-License-Identifier: Apache-2.0
"""Fixtures of the tests in the guest, and an end to those that hang.

The host loads this file too, to collect the tests.
"""

from __future__ import annotations

import faulthandler
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.reporter import EXCHANGE

from .devices import GpioSim, Led, Module, pmem_block, spi_defaults
from .host import Host
from .limit import LIMIT, limit_of


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", f"lab_timeout(seconds): a limit other than {LIMIT:.0f}")


def pytest_runtest_setup() -> None:
    """Never touch this machine's own devices, whatever way the test was started."""
    if os.environ.get("HAL_LAB") != "1":
        pytest.fail("this test runs in a lab guest only (see tests/lab/README.md)", pytrace=False)


if os.environ.get(EXCHANGE):
    _console = open("/dev/console", "w")  # noqa: SIM115 - as long as the process

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
        """End a test that hangs, and with it this process; the console then shows where it was."""
        faulthandler.dump_traceback_later(limit_of(item), exit=True, file=_console)
        try:
            return (yield)
        finally:
            faulthandler.cancel_dump_traceback_later()


@pytest.fixture(scope="session")
def host() -> Iterator[Host]:
    """The host: plugs and unplugs, has the serial lines' far ends and the memories' files."""
    host = Host()
    yield host
    host.close()


def _module(name: str) -> Iterator[Module]:
    module = Module(name)
    module.reset()
    yield module
    module.reset()


@pytest.fixture
def lab_i2c() -> Iterator[Module]:
    """Faults and log of our I2C adapter, reset before and after the test."""
    yield from _module("lab_i2c")


@pytest.fixture
def lab_spi() -> Iterator[Module]:
    """Faults and log of our SPI controller; these and the devices' settings are reset around it."""
    for module in _module("lab_spi"):
        spi_defaults()
        module.clear()
        yield module
        spi_defaults()


@pytest.fixture
def lab_pwm() -> Iterator[Module]:
    """Faults and log of our PWM chip, reset before and after the test."""
    yield from _module("lab_pwm")


@pytest.fixture(scope="session")
def gpio_sim() -> GpioSim:
    """The far side of the GPIO chip of 16 lines."""
    return GpioSim()


@pytest.fixture
def led() -> Iterator[Led]:
    """A LED that is there for one test."""
    led = Led()
    yield led
    led.close()


@pytest.fixture(scope="session")
def pmem_folder() -> Iterator[Path]:
    """A folder on persistent memory: ext4 with DAX, so that MAP_SYNC works."""
    device, folder = pmem_block(), Path("/run/pmem")
    subprocess.run(["mkfs.ext4", "-q", "-b", "4096", device], check=True)
    folder.mkdir()
    subprocess.run(["mount", "-o", "dax", device, str(folder)], check=True)
    yield folder
    subprocess.run(["umount", str(folder)], check=True)
