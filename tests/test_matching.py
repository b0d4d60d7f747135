# SPDX-License-Identifier: Apache-2.0
"""Which drivers fit a device: the scale of <hal/match.h>, ties, overrides, what is escaped."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hal
from hal.discovery import Record, local_inventory
from hal.discovery.matching import (
    OVERRIDE,
    Override,
    Row,
    candidates,
    expand,
    installed,
    score,
    traits,
)
from hal.discovery.sysfs import Sysfs
from tests.machine import FTDI, I2C, Machine, usb_serial, workbench

EEPROM = {
    "subsystem": ["i2c", "i2c/1-0050"],
    "of": ["microchip,24c32", "atmel,24c32"],
    "i2c": ["24c32"],
}
PLACE = {"name": "1-0050", "node": "/dev/i2c-1", "bus": "1", "address": "0x50"}


@pytest.mark.parametrize(
    ("fits", "points"),
    [
        ("subsystem:i2c", 10),
        ("subsystem:i2c/1-00*", 20),
        ("i2c:24c*", 60),
        ("i2c:*", 40),
        ("i2c:2*", 40),
        ("of:microchip,24c32", 60),
        ("of:atmel,24c*", 59),
        ("of:*,24c32", 40),
        ("subsystem:i2c i2c:24c*", 61),
        ("subsystem:i2c of:atmel,24c32 i2c:24c32", 62),
        ("subsystem:spi i2c:24c*", 0),
        ("subsystem:i2", 0),
        ("acpi:PNP0501", 0),
        ("of:atmel,24C32", 0),  # as it is written: compatible strings tell case
        ("i2c:24c[0-3]2", 60),
        ("i2c:24c[!0-3]2", 0),
        ("i2c:24c3?", 60),
    ],
)
def test_the_scale(fits: str, points: int) -> None:
    assert score(fits, EEPROM) == points


def test_an_id_far_down_the_list_still_beats_a_class() -> None:
    many = {"of": [f"maker,chip{n}" for n in range(30)]}
    assert [score(f"of:maker,chip{n}", many) for n in (0, 1, 9, 10, 29)] == [60, 59, 51, 51, 51]


def test_the_best_is_first_each_driver_once() -> None:
    rows = [
        Row("i2c", "subsystem:i2c", "{bus}/{address}", "a target"),
        Row("at24", "i2c:24c*", "{bus}/{address}"),
        Row("at24", "subsystem:i2c", "{bus}/{address}?wrong=1"),
        Row("bee", "i2c:24c*", "{bus}"),
        Row("longer", "i2c:24c3*", "{bus}"),
        Row("elsewhere", "subsystem:tty", "{node}"),
        Row("lacking", "of:microchip,24c32", "{bar}"),
    ]
    found = candidates(EEPROM, PLACE, rows)
    assert [fit.driver for fit in found] == ["longer", "at24", "bee", "i2c"]
    assert found[1].uri == "at24:1/0x50"
    assert str(found[3]) == "i2c: subsystem:i2c, a target (score 10)"


@pytest.mark.parametrize(
    ("driver", "address", "uri"),
    [
        ("i2c", "", "i2c:1/0x50"),
        ("at24", "", "at24:1/0x50?size=8"),
        ("other", "{bus}", "other:1"),  # needs no table
        ("at24", "{node}", "at24:/dev/i2c-1"),
        ("uart", "", None),  # none of its rows is for this subsystem
        ("other", "", None),
        ("other", "{bar}", None),
    ],
)
def test_the_configuration_has_the_last_word(driver: str, address: str, uri: str | None) -> None:
    rows = [
        Row("i2c", "subsystem:i2c", "{bus}/{address}"),
        Row("at24", "subsystem:i2c of:nobody,else", "{bus}/{address}?size=8"),
        Row("best", "i2c:24c32", "{bus}"),
        Row("uart", "subsystem:tty", "{node}"),
    ]
    rules = [
        Override("i2c:98*", "best", "", "FILE"),
        Override("i2c:24c*", driver, address, "FILE"),
        Override("i2c:24c*", "best", "", "FILE"),  # a later one does not count
    ]
    first, *_ = candidates(EEPROM, PLACE, rows, rules)
    if uri is None:
        assert first.driver == "best"
        return
    assert (first.driver, first.uri, first.score) == (driver, uri, OVERRIDE)
    assert first.why == "i2c:24c*, says FILE"


def test_what_would_be_an_option_is_escaped() -> None:
    assert expand("{name}/0?x=1", {"name": "a?b%c"}) == "a%3Fb%25c/0?x=1"
    assert expand("{name}", {"name": ""}) is None
    assert expand("plain", {}) == "plain"


@given(st.text(), st.dictionaries(st.sampled_from(["of", "i2c"]), st.lists(st.text(), max_size=3)))
def test_any_text_is_judged(glob: str, texts: dict[str, list[str]]) -> None:
    """Texts come from devices: whatever they are, there is an answer."""
    assert 0 <= score(f"of:{glob}", texts) <= 60 + glob.count(" ")


# ---- what devices say of themselves --------------------------------------------------------------


@pytest.fixture
def bench(tmp_path: Path) -> Machine:
    return workbench(tmp_path)


def of(bench: Machine, devpath: str, subsystem: str) -> dict[str, list[str]]:
    tree = Sysfs(str(bench.root))
    return traits(tree.node(f"{tree.sys}{devpath}"), subsystem)


def test_a_line_has_the_ids_of_its_adapter(bench: Machine) -> None:
    found = of(bench, f"{FTDI}/1-2:1.0/ttyUSB0/tty/ttyUSB0", "tty")
    assert found["subsystem"] == ["tty", "tty/ttyUSB0"]
    (modalias,) = found["usb"]
    assert modalias.startswith("v0403p6001d")
    assert "pci" not in found


def test_the_kernels_modalias_counts_where_there_is_one(bench: Machine) -> None:
    usb_serial(bench, "/devices/usb9/9-1", "ttyUSB9", "X")
    modalias = "usb:v0403p6001d0600dc00dsc00dp00icFFiscFFipFFin00"
    bench.write("/sys/devices/usb9/9-1/9-1:1.0/modalias", f"{modalias}\n")
    found = of(bench, "/devices/usb9/9-1/9-1:1.0/ttyUSB9/tty/ttyUSB9", "tty")
    assert found["usb"] == [modalias.removeprefix("usb:")]


def test_ids_of_firmware(bench: Machine) -> None:
    bench.device("/devices/pnp0/00:06", "bus/pnp", attrs={"id": "PNP0501\nPNP0500"})
    bench.device("/devices/pnp0/00:06/tty/ttyS9", "class/tty", node="ttyS9", attrs={"type": "4"})
    assert of(bench, "/devices/pnp0/00:06/tty/ttyS9", "tty")["acpi"] == ["PNP0501", "PNP0500"]
    alias = {"MODALIAS": "acpi:BOSC0200:BMA250E:"}
    bench.device(f"{I2C}/i2c-BOSC0200:00", "bus/i2c", uevent=alias)
    assert of(bench, f"{I2C}/i2c-BOSC0200:00", "i2c")["acpi"] == ["BOSC0200", "BMA250E"]
    compatible = {
        "MODALIAS": "of:NeepromT(null)Cmicrochip,24c32Catmel,24c32",
        "OF_COMPATIBLE_0": "microchip,24c32",
        "OF_COMPATIBLE_1": "atmel,24c32",
        "OF_COMPATIBLE_N": "2",
    }
    bench.device(f"{I2C}/1-0057", "bus/i2c", uevent=compatible)
    found = of(bench, f"{I2C}/1-0057", "i2c")
    assert found["of"] == ["microchip,24c32", "atmel,24c32"]
    assert set(found) == {"subsystem", "of"}


# ---- in the inventory ----------------------------------------------------------------------------


class Special(hal.Driver):
    """A driver for one adapter, that opens nothing."""

    matches = (hal.Match("subsystem:tty usb:v0403p6001*", "{node}?speed=fast", "FT232R"),)


@pytest.fixture
def special() -> Iterator[str]:
    hal.register_driver("ftdi-special", Special)
    yield "ftdi-special"
    hal.unregister_driver("ftdi-special")


def look(bench: Machine) -> dict[str, Record]:
    return {record.name: record for record in local_inventory(str(bench.root))}


def test_a_driver_for_the_hardware_beats_one_for_the_subsystem(
    bench: Machine, special: str
) -> None:
    found = look(bench)
    record = found["ttyUSB0"]
    assert (record.driver, record.uri) == (special, "ftdi-special:/dev/ttyUSB0?speed=fast")
    assert [(fit.driver, fit.score) for fit in record.fits] == [(special, 61), ("uart", 10)]
    assert record.fits[0].why == "subsystem:tty usb:v0403p6001*, FT232R"
    assert found["ttyS0"].driver == "uart"
    assert found["1-2"].fits == ()  # the USB device itself
    assert record.as_dict()["fits"][1]["uri"] == "uart:/dev/ttyUSB0"


def test_one_that_cannot_be_used_comes_after(bench: Machine, special: str) -> None:
    drivers = {special: "it is broken", "uart": ""}
    found = {r.name: r for r in local_inventory(str(bench.root), drivers=drivers)}
    assert found["ttyUSB0"].driver == "uart"
    assert [fit.driver for fit in found["ttyUSB0"].fits] == ["uart", special]


def test_without_a_driver_that_fits_the_refused_are_named(bench: Machine) -> None:
    drivers = {"uart": 'load "uart.so": invalid ELF header'}
    found = {r.name: r for r in local_inventory(str(bench.root), drivers=drivers, rows=[])}
    line = found["ttyUSB0"]
    assert (line.driver, line.uri, line.state) == ("", "", "no driver")
    assert line.detail == "none that is installed fits; refused: uart (" + drivers["uart"] + ")"
    assert found["video0"].state == "ready"  # no driver of ours is for cameras


def test_every_driver_for_devices_of_the_kernel_has_a_table() -> None:
    with_table = {row.driver for row in installed()}
    ours = (d for d in hal.drivers() if (d.path or "").startswith(hal.driver_dir()))
    without = {driver.name for driver in ours} - with_table
    others = {"loopback", "sim", "verilated", "rec", "replay", "hal", "gemm"}
    assert without <= others  # no device of the kernel's, or one that another driver reaches
    assert {"uart", "i2c", "spi", "gpio", "iio", "pwm", "led", "hwmon", "mmio"} <= with_table


def test_what_the_kernel_hands_over_is_vfios(bench: Machine) -> None:
    bar = "0x00000000fea00000 0x00000000feafffff 0x0000000000040200"
    attrs = {"vendor": "0x1234", "device": "0x11e8", "class": "0xff0000", "resource": bar}
    path = "/devices/pci0000:00/0000:00:09.0"
    bench.device(path, "bus/pci", driver="vfio-pci", attrs=attrs)
    bench.write(f"/sys{path}/resource0", "").chmod(0o666)
    record = look(bench)["0000:00:09.0"]
    assert [(fit.uri, fit.score) for fit in record.fits] == [
        ("vfio:0000:00:09.0/0", 21),
        ("mmio:0000:00:09.0/0", 10),
    ]
    assert record.state == "ready"
