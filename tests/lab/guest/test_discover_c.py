# SPDX-License-Identifier: Apache-2.0
"""libhal-discover on a kernel with devices of every class, of which one is pulled out."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.discover_c import Watch, differences, each

from . import devices
from .devices import until
from .host import Host


def test_c_and_python_see_the_same() -> None:
    assert differences() == []
    classes = {device["device_class"] for device in each()}
    assert {"serial", "i2c", "spi", "gpio", "iio", "pwm", "led", "hwmon", "pci"} <= classes


@pytest.fixture
def watch() -> Iterator[Watch]:
    it = Watch("class=serial")
    yield it
    it.close()


def test_an_adapter_is_pulled_out_and_put_back(host: Host, watch: Watch) -> None:
    """Its URI comes back. (Its serial number is no number, so its id is that of the port.)"""
    name = devices.USB_SERIAL.removeprefix("/dev/")
    before = watch.next(0)[name]
    assert (before["change"], before["uri"]) == ("added", f"uart:{devices.USB_SERIAL}")
    host.unplug("usb0")
    try:
        until(lambda: watch.next(1).get(name, {}).get("change") == "gone")
    finally:
        host.plug("usb0")
    until(lambda: watch.next(1).get(name, {}).get("state") == "ready")
    assert differences() == []
