# SPDX-License-Identifier: Apache-2.0
"""What can be said of the driver ``gpio`` without lines: errors, and how records are taken apart.

The driver itself is tested on simulated chips in tests/lab/guest/test_gpio.py.
"""

from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

import hal
from hal import gpio


@pytest.mark.parametrize(
    ("uri", "error", "number", "text"),
    [
        ("gpio:", hal.InvalidArgument, errno.EINVAL, "which lines"),
        ("gpio:4,5", hal.InvalidArgument, errno.EINVAL, "of which chip"),
        ("gpio:no-such-chip/0", hal.NotFound, errno.ENOENT, "no GPIO chip"),
        ("gpio:/dev/null/0", hal.Error, errno.ENOTTY, "not a GPIO chip"),
        (f"gpio:{__file__}", hal.Error, errno.ENOTTY, "not a GPIO chip"),
        ("gpio:0/0?edge=sideways", hal.InvalidArgument, errno.EINVAL, "rising"),
        ("gpio:0/0?event_buffer=1025", hal.InvalidArgument, errno.ERANGE, "1024"),
        ("gpio:0/0?debounce=-1ms", hal.InvalidArgument, errno.ERANGE, "debounce"),
    ],
)
def test_a_wrong_uri_is_explained(uri: str, error: type[hal.Error], number: int, text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        hal.open(uri)
    assert caught.value.errno == number


def test_a_chip_that_is_not_there_is_not_found() -> None:
    if Path("/dev/gpiochip4095").exists():
        pytest.skip("this machine has a /dev/gpiochip4095")
    with pytest.raises(hal.NotFound) as caught:
        hal.open("gpio:4095/0")
    assert caught.value.errno == errno.ENOENT


def test_records_are_those_of_the_header() -> None:
    assert gpio._EVENT.size == 48
    assert gpio._INFO.size == 80
    assert gpio._ABOUT.size == 72
    record = struct.pack("=QIIIIII16x", 5, 2, 17, 1, 9, 4, 3)
    assert gpio._events(record * 2) == [hal.GpioEvent(5, "falling", 17, 1, 9, 4, 3)] * 2


def test_attributes_are_listed_without_a_chip() -> None:
    hal.load_drivers()
    (info,) = [driver for driver in hal.drivers() if driver.name == "gpio"]
    rows = {row.name: row for row in info.attributes}
    assert rows["bias"].choices == ("as-is", "off", "pull-up", "pull-down")
    assert rows["debounce"].unit == "s"
    assert all(row.doc for row in rows.values())
