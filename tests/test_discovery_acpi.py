# SPDX-License-Identifier: Apache-2.0
"""ACPI: devices, tables, the console, and where its byte code says that I2C devices are."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hal import discovery
from hal.discovery.acpi import AcpiDevice, Console
from hal.discovery.aml import I2cPlace, i2c_places, places_in

from .needs import needs
from .test_discovery_machines import MACHINES, by_name, replay

TABLES = "sys/firmware/acpi/tables"


@pytest.fixture(scope="module")
def ssdt(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A table with I2C devices, by ACPICA's own compiler."""
    needs("iasl")
    target = tmp_path_factory.mktemp("acpi") / "touchpad"
    command = ["iasl", "-va", "-p", str(target), str(MACHINES / "touchpad.asl")]
    subprocess.run(command, check=True, capture_output=True)
    return target.with_suffix(".aml").read_bytes()


def table(root: Path, name: str, content: bytes | bytearray) -> None:
    place = root / TABLES / name
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(content)


# ---- where I2C devices are ----------------------------------------------------------------------


def test_addresses_of_i2c_devices(ssdt: bytes) -> None:
    """Not of one whose descriptors differ (EITH), nor of one without any."""
    assert places_in(ssdt) == {
        r"\_SB_.PC00.I2C0.TPD0": I2cPlace(0x15, ten_bit=False, speed=400_000),
        r"\_SB_.PC00.I2C1.SENS": I2cPlace(0x251, ten_bit=True, speed=100_000),
    }


def test_tables_are_read_by_their_names(ssdt: bytes, tmp_path: Path) -> None:
    assert i2c_places(str(tmp_path)) == {}
    table(tmp_path, "DATA", ssdt)
    assert i2c_places(str(tmp_path)) == {}
    table(tmp_path, "SSDT12", ssdt)
    assert len(i2c_places(str(tmp_path))) == 2


@given(st.data())
def test_a_damaged_table_is_read(ssdt: bytes, data: st.DataObject) -> None:
    blob = bytearray(ssdt)
    for _ in range(data.draw(st.integers(0, 10))):
        blob[data.draw(st.integers(0, len(blob) - 1))] = data.draw(st.integers(0, 255))
    for path, place in places_in(bytes(blob[: data.draw(st.integers(0, len(blob)))])).items():
        assert path.startswith("\\")
        assert 0 <= place.address <= 0x3FF


@given(st.binary(max_size=2000))
def test_any_bytes_are_read(blob: bytes) -> None:
    places_in(bytes(36) + blob)


def test_the_laptops_touchpad_has_its_address(ssdt: bytes, tmp_path: Path) -> None:
    path = tmp_path / "SSDT1"
    path.write_bytes(ssdt)
    command = [sys.executable, "-m", "tests.machines.look", str(path)]
    found = json.loads(replay(MACHINES / "laptop.umockdev", *command))
    pad = by_name(found["copy"])["i2c", "i2c-ELAN0678:00"]
    assert (pad["uri"], pad["properties"]["address"]) == ("i2c:0/0x15", "0x15")
    assert (pad["state"], pad["detail"]) == ("kernel", "kernel driver i2c_hid_acpi")
    link = next(link for link in found["links"] if link["name"] == pad["name"])
    assert link["now"]["text"] == "400 kHz"


# ---- devices and tables -------------------------------------------------------------------------


def test_tables_tell_their_makers(ssdt: bytes, tmp_path: Path) -> None:
    table(tmp_path, "SSDT1", ssdt)
    table(tmp_path, "HMAT", b"HMAT")
    (tmp_path / TABLES / "data").mkdir()
    hmat, first = discovery.acpi_tables(str(tmp_path))
    assert (hmat.signature, hmat.meaning) == ("HMAT", "memory latency and bandwidth")
    assert (hmat.size, hmat.revision, hmat.oem) == (4, 0, "")
    assert (first.name, first.signature, first.meaning) == ("SSDT1", "SSDT", "more devices")
    assert (first.size, first.revision, first.oem) == (len(ssdt), 2, "TEST TOUCHPAD")


def test_a_machine_without_acpi(tmp_path: Path) -> None:
    assert discovery.acpi_tables(str(tmp_path)) == []
    assert discovery.acpi_devices(str(tmp_path)) == []
    assert discovery.acpi_console(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("revision", "code", "exact", "baud"),
    [(2, 7, 0, 115200), (2, 0, 0, 0), (2, 7, 921600, 115200), (4, 7, 921600, 921600)],
)
def test_the_console_of_the_firmware(
    tmp_path: Path, revision: int, code: int, exact: int, baud: int
) -> None:
    spcr = bytearray(90)
    spcr[:4], spcr[8], spcr[58] = b"SPCR", revision, code
    struct.pack_into("<BBBBQ", spcr, 40, 0, 32, 0, 3, 0x900_0000)
    struct.pack_into("<I", spcr, 80, exact)
    table(tmp_path, "SPCR", spcr)
    assert discovery.acpi_console(str(tmp_path)) == Console(0x900_0000, "memory", baud)
    spcr[40] = 1
    table(tmp_path, "SPCR", spcr[:59])
    console = discovery.acpi_console(str(tmp_path))
    assert console is not None
    assert console.space == "io"
    table(tmp_path, "SPCR", spcr[:58])
    assert discovery.acpi_console(str(tmp_path)) is None


@pytest.mark.parametrize(
    ("status", "missing"),
    [(None, ""), (15, ""), (11, ""), (0, "not there"), (1, "switched off"), (3, "has failed")],
)
def test_what_a_devices_status_means(status: int | None, missing: str) -> None:
    device = AcpiDevice("X:00", r"\X", "X", "", (), "", status, ())
    assert missing in device.missing
    assert bool(missing) == bool(device.missing)
