# SPDX-License-Identifier: Apache-2.0
"""Machines that nobody here has, replayed from their descriptions by umockdev.

The descriptions (machines/*.umockdev) were written from what is publicly known of such machines.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from hal import discovery
from hal.probe.firmware import disabled

from .needs import needs
from .test_discovery_devicetree import board, folder, unpack  # noqa: F401 - fixtures

ROOT = Path(__file__).parent.parent
MACHINES = ROOT / "tests/machines"
NAMES = ("laptop", "raspberry_pi", "jetson")


def replay(description: Path, *command: str) -> str:
    """Run a command on a recorded machine and give what it prints."""
    needs("umockdev-run")
    run = subprocess.run(
        ["umockdev-run", "--device", str(description), "--", *command],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "COLUMNS": "200", "HAL_CONFIG": os.devnull},
    )
    assert run.returncode == 0, run.stderr
    return run.stdout


def looked(description: Path) -> Any:
    return json.loads(replay(description, sys.executable, "-m", "tests.machines.look"))


@cache
def seen(name: str) -> Any:
    """What discovery sees of a machine: once a run."""
    return looked(MACHINES / f"{name}.umockdev")


def by_name(records: Sequence[dict[str, Any]]) -> dict[tuple[str, str], dict[str, Any]]:
    return {(record["device_class"], record["name"]): record for record in records}


@pytest.fixture(params=NAMES)
def machine(request: pytest.FixtureRequest) -> Any:
    return seen(request.param)


# ---- every machine ------------------------------------------------------------------------------


def test_udev_and_a_copy_of_sysfs_give_the_same_records(machine: Any) -> None:
    udev, copy = by_name(machine["udev"]), by_name(machine["copy"])
    assert udev.keys() == copy.keys()
    differing = {"id", "parent", "state", "detail", "vendor", "model"}
    for key, record in udev.items():
        for field in record.keys() - differing:
            assert record[field] == copy[key][field], (key, field)


def test_records_are_whole_and_nothing_failed(machine: Any) -> None:
    records = machine["copy"]
    assert [text for text in machine["problems"] if "numbers in place of names" not in text] == []
    assert len({record["id"] for record in records}) == len(records)
    for record in records:
        assert record["model"], record
        assert all(text.isprintable() for text in record["addresses"])


def test_drivers_fit_by_class(machine: Any) -> None:
    opened = {
        "serial": r"uart:/dev/tty\w+",
        "gpio": r"gpio:gpiochip\d+",
        "iio": r"iio:iio:device\d+|iio:device\d+",
        "pwm": r"pwm:pwmchip\d+/0",
        "led": r"led:.*",
        "hwmon": r"hwmon:hwmon\d+",
    }
    for record in machine["copy"]:
        pattern = opened.get(record["device_class"])
        if pattern:
            assert re.fullmatch(pattern, record["uri"]), record
            assert record["state"] == "ready"


# ---- identity -----------------------------------------------------------------------------------

REBOOTED: dict[str, dict[str, str]] = {
    "laptop": {
        r"\b0000:01:00\.0": "0000:03:00.0",  # a card was put in: buses are counted anew
        r"\b0000:02:00\.0": "0000:04:00.0",
        r"usb2\b": "usb6",
        r"\b2-(\d)": r"6-\1",
        r"usb1\b": "usb5",
        r"\b1-(\d)": r"5-\1",
        r"bus/usb/00(\d)": r"bus/usb/01\1",
        "ttyUSB0": "ttyUSB3",
        "renderD128": "renderD130",
        "i2c-0": "i2c-12",
        "hwmon5": "hwmon1",
        "video0": "video2",
        r"(card|controlC)0": r"\g<1>1",
        "wlp0s20f3": "wlan0",
    },
    "raspberry_pi": {
        "i2c-1/1-00": "i2c-11/11-00",
        r"i2c-1\b": "i2c-11",
        "ttyUSB0": "ttyUSB1",
        "ttyAMA0": "ttyAMA1",
        r"usb1\b": "usb3",
        r"\b1-1": "3-1",
        "iio:device0": "iio:device2",
        "gpiochip0": "gpiochip4",
        "gpiochip569": "gpiochip512",
        "hwmon2": "hwmon0",
        "pwmchip0": "pwmchip2",
        "renderD128": "renderD129",
        "hailo0": "hailo1",
        "0001:01:00.0": "0001:03:00.0",
        "video19": "video0",
        r"(card|controlC)0": r"\g<1>2",
        "eth0": "end0",
    },
    "jetson": {
        "i2c-1/1-00": "i2c-9/9-00",
        r"i2c-1\b": "i2c-9",
        "i2c-7": "i2c-1",
        r"usb2\b": "usb4",
        r"\b2-1": "4-1",
        "gpiochip0": "gpiochip2",
        "gpiochip1": "gpiochip0",
        "hwmon1": "hwmon4",
        "pwmchip0": "pwmchip1",
        "renderD128": "renderD129",
        "0008:03:00.0": "0008:05:00.0",
    },
}
"""What the kernel may count differently after a reboot."""


@pytest.mark.parametrize("name", NAMES)
def test_ids_are_the_same_after_a_reboot_that_counts_anew(name: str, tmp_path: Path) -> None:
    text = (MACHINES / f"{name}.umockdev").read_text()
    for pattern, replacement in REBOOTED[name].items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    again = tmp_path / "rebooted.umockdev"
    again.write_text(text)
    before = {record["id"]: record["identity"] for record in seen(name)["copy"]}
    after = {record["id"]: record["identity"] for record in looked(again)["copy"]}
    assert after == before


# ---- the laptop ---------------------------------------------------------------------------------


def test_what_acpi_says_of_the_laptop() -> None:
    laptop = seen("laptop")
    records = by_name(laptop["copy"])
    pad = records["i2c", "i2c-ELAN0678:00"]
    assert pad["properties"]["acpi_path"] == r"\_SB_.PC00.I2C0.TPD0"
    assert pad["properties"]["acpi_id"] == "ELAN0678"
    assert r"\_SB_.PC00.GFX0" in records["pci", "0000:00:02.0"]["addresses"]
    assert "acpi_path" not in records["serial", "ttyUSB0"]["properties"]
    missing = {path: why for _, path, _, why in laptop["acpi"] if why}
    assert list(missing) == [r"\_SB_.PC00.I2C1.SENS"]
    assert "not there" in missing[r"\_SB_.PC00.I2C1.SENS"]


def test_a_machine_without_files_of_names_says_so_once() -> None:
    assert seen("laptop")["problems"] == [
        f"{kind}: numbers in place of names: there is no {kind}.ids; "
        f"sudo apt install {kind}.ids (or hwdata)"
        for kind in ("pci", "usb")
    ]


def test_what_the_laptops_devices_are_called() -> None:
    records = by_name(seen("laptop")["udev"])
    assert records["pci", "0000:02:00.0"]["vendor"].startswith("Samsung Electronics")
    assert records["video", "video0"]["vendor"] == "Chicony Electronics Co.,Ltd."
    line = records["serial", "ttyUSB0"]
    assert line["serial"] == "A50285BI"
    assert "/dev/serial/by-id/usb-FTDI_FT232R_USB_UART_A50285BI-if00-port0" in line["addresses"]


CAUSES: dict[str, dict[str, list[str]]] = {
    "laptop": {
        "0000:01:00.0": ["slot width", "trained down"],
        "0000:02:00.0": ["older port"],
        "renderD129": ["slot width", "trained down"],
        "1-2.2": ["older hub"],
        "1-3": ["USB 2 cable"],
        "1-4": ["USB 2 port"],
    },
    "raspberry_pi": {
        "0001:01:00.0": ["older port", "slot width"],
        "hailo0": ["older port", "slot width"],
    },
    "jetson": {
        "0004:01:00.0": ["lanes lost"],
        "0008:01:00.0": ["slot width"],
        "0008:03:00.0": ["slower above"],
    },
}


@pytest.mark.parametrize("name", NAMES)
def test_slow_links_are_flagged_with_their_causes(name: str) -> None:
    found = {
        link["name"]: [finding["cause"] for finding in link["findings"]]
        for link in seen(name)["links"]
        if link["findings"]
    }
    assert found == CAUSES[name]


def test_an_idle_link_is_not_called_broken() -> None:
    gpu = next(link for link in seen("laptop")["links"] if link["name"] == "renderD129")
    text = gpu["findings"][1]["text"]
    assert text.startswith("2.5 GT/s where both ends can 16 (it is suspended): it may be idle")
    assert gpu["device_max"]["text"] == "16 GT/s x16"
    assert gpu["port_max"]["text"] == "16 GT/s x8"


# ---- the boards ---------------------------------------------------------------------------------


def test_a_switch_is_on_the_way_of_what_is_behind_it() -> None:
    links = [link for link in seen("jetson")["links"] if link["name"] == "0008:03:00.0"]
    assert [link["device_class"] for link in links] == ["accelerator", "pci"]
    way = [(hop["device"], hop["port"]) for hop in links[0]["hops"]]
    assert way == [("0008:03:00.0", "0008:02:01.0"), ("0008:01:00.0", "0008:00:00.0")]
    assert links[0]["bandwidth"] == pytest.approx(8e9 / 8 * 2 * 128 / 130)
    assert "0008:02:01.0" not in {link["name"] for link in seen("jetson")["links"]}


def test_bus_speeds_come_from_the_device_tree() -> None:
    links = {link["name"]: link for link in seen("jetson")["links"]}
    assert links["1-0040"]["now"]["text"] == "400 kHz"
    assert links["spi0.0"]["now"]["text"] == "50 MHz"


def test_names_of_the_device_tree_name_devices() -> None:
    records = by_name(seen("raspberry_pi")["copy"])
    bus = records["i2c", "i2c-1"]
    assert bus["properties"]["alias"] == "i2c1"
    assert {"i2c1", "/axi/pcie@1000120000/rp1/i2c@74000"} <= set(bus["addresses"])
    assert "serial0" in records["serial", "ttyAMA0"]["addresses"]
    chip = records["i2c", "1-0076"]
    assert (chip["vendor"], chip["properties"]["compatible"]) == ("bosch", "bosch,bme280")
    assert records["iio", "iio:device0"]["properties"]["of_node"].endswith("/bme280@76")
    assert "of_node" not in records["serial", "ttyUSB0"]["properties"]
    hailo = records["accelerator", "hailo0"]
    assert "compatible" not in hailo["properties"]


def test_the_tree_and_the_devices_say_the_same(board: str) -> None:  # noqa: F811
    tree = discovery.device_tree(board)
    assert tree is not None
    told = [r["properties"] for r in seen("raspberry_pi")["copy"] if "of_node" in r["properties"]]
    both = [facts for facts in told if facts["of_node"] in tree.nodes]
    assert len(both) >= 6
    for facts in both:
        assert tuple(facts["compatible"].split()) == tree.nodes[facts["of_node"]].compatible


def test_an_accelerator_without_a_kernel_driver_is_listed_with_the_reason() -> None:
    record = by_name(seen("jetson")["copy"])["accelerator", "0008:03:00.0"]
    assert (record["state"], record["node"]) == ("no node", "")
    assert "no kernel driver" in record["detail"]


# ---- as a user asks -----------------------------------------------------------------------------

Probe = Callable[..., str]


@pytest.fixture
def pi() -> Probe:
    """Runs hal-probe on the Raspberry Pi's copy."""

    def probe(*arguments: str) -> str:
        words = " ".join(arguments)
        line = f'exec {sys.executable} -m hal.probe {words} --root "$UMOCKDEV_DIR"'
        return replay(MACHINES / "raspberry_pi.umockdev", "sh", "-c", line)

    return probe


def test_a_device_is_shown_by_its_alias(pi: Probe) -> None:
    shown = json.loads(pi("show", "serial0", "--json"))
    assert shown["record"]["name"] == "ttyAMA0"


def test_links_as_people_read_them(pi: Probe) -> None:
    text = pi("links")
    row = next(line for line in text.splitlines() if line.startswith("  hailo0"))
    assert re.split(r"\s{2,}", row.strip()) == [
        "hailo0", "PCIe 2.0, 5 GT/s x1", "8 GT/s x4", "500 MB/s", "-", "streaming",
    ]  # fmt: skip
    assert "hailo0, 0001:01:00.0: slot width: port 0001:00:00.0 has x1 of the x4" in text
    assert "renderD128: on the processors' own chip" in text


@pytest.mark.parametrize(
    ("device", "stage"),
    [("i2c-1", "name"), ("i2c:1/0x50", "kernel")],
)
def test_a_disabled_bus_is_explained(board: str, tmp_path: Path, device: str, stage: str) -> None:  # noqa: F811
    tree = discovery.device_tree(board)
    assert tree is not None
    root = unpack(tree, tmp_path)
    (root / "sys/devices").mkdir(parents=True)
    run = subprocess.run(
        [sys.executable, "-m", "hal.probe", "explain", device, "--root", str(root), "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    data = json.loads(run.stdout)
    assert (run.returncode, data["failed"]) == (3, stage)
    failed = next(stage for stage in data["stages"] if not stage["ok"])
    assert 'i2c@74000 is disabled in the device tree: status = "disabled"' in failed["text"]
    assert failed["next"][0].startswith("dtparam=i2c=on")


@pytest.mark.parametrize(
    ("name", "nodes"),
    [
        ("/dev/i2c-1", ["i2c@74000"]),
        ("i2c1", ["i2c@74000"]),
        ("i2c-7", ["i2c@70000", "i2c@74000"]),  # No alias says which.
        ("pwmchip0", ["pwm@98000"]),
        ("spi0", []),  # That one is in use.
        ("ttyAMA0", []),
        ("eth0", []),
    ],
)
def test_which_nodes_a_name_may_mean(
    board: str,  # noqa: F811
    tmp_path: Path,
    name: str,
    nodes: list[str],
) -> None:
    tree = discovery.device_tree(board)
    assert tree is not None
    why, steps = disabled(name, str(unpack(tree, tmp_path)))
    assert re.findall(r"(\S+) is disabled|(pwm@\w+) is said to have failed", why) == [
        (node, "") if not node.startswith("pwm") else ("", node) for node in nodes
    ]
    assert bool(steps) == bool(nodes)


def test_why_there_is_nothing_of_a_class(board: str, tmp_path: Path) -> None:  # noqa: F811
    tree = discovery.device_tree(board)
    assert tree is not None
    root = unpack(tree, tmp_path)
    unseen = discovery.local_inventory(str(root)).unseen
    assert unseen["i2c"].endswith("; disabled in the device tree: i2c@70000, i2c@74000")
    assert "disabled" not in unseen["spi"]
