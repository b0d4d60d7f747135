# SPDX-License-Identifier: Apache-2.0
"""libhal-discover: the same devices, ids, URIs and states as hal.discovery gives.

What C alone has (queries, watches, memory, threads) is tested by tests/c/test_discover.cc.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hal.discovery import local_inventory
from hal.discovery.query import Query
from tests.discover_c import LIBRARY, differences, each
from tests.machine import I2C, Machine, usb_serial, workbench
from tests.native import ROOT, run

MACHINES = sorted((ROOT / "tests/machines").glob("*.umockdev"))


def test_this_machine() -> None:
    assert differences() == []


def test_the_workbench(tmp_path: Path) -> None:
    bench = workbench(tmp_path)
    assert len(each(str(bench.root))) > 30
    assert differences(str(bench.root)) == []


@pytest.mark.parametrize("machine", MACHINES, ids=lambda path: path.stem)
def test_recorded_machines(machine: Path) -> None:
    """As umockdev replays them to both libraries, and as a folder."""
    line = f'{sys.executable} -m tests.discover_c / "$UMOCKDEV_DIR"'
    done = subprocess.run(
        ["umockdev-run", "--device", machine, "--", "sh", "-c", line],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
        env={**os.environ, "HAL_CONFIG": os.devnull},
    )
    assert done.returncode == 0, done.stderr
    for root, (count, differing) in json.loads(done.stdout).items():
        assert differing == [], root
        assert count > 5


SERIALS = [
    "",
    "0000",
    "None",
    "123",
    " A1 ",
    "ä\x7f\t1",
    "1234567890A",
    "7B0B28A4-dead-5487-A013-7b2bc6a909a0",
    "7b0b28a4-dead-5487-a013-7b2bc6a909ag",
    "7b0b28a4-dead-5487-a0137-b2bc6a909a0",
    "7b0b28a4-dead-5487-a013-7b2bc6a909a",
    "00000000-0000-0000-0000-000000000000",
]


def test_what_tells_devices_apart(tmp_path: Path) -> None:
    """Clones, counted names, buses behind bridges, names with '!', numbers of every kind."""
    bench = Machine(tmp_path)
    usb = "/devices/pci0000:00/0000:00:14.0/usb1"
    bench.device("/devices/pci0000:00/0000:00:14.0", "bus/pci")
    bench.device("/devices/pci0000:00/0000:00:1c.0", "bus/pci")
    bench.device("/devices/pci0000:00/0000:00:1c.0/0000:03:00.0", "bus/pci")
    usb_serial(bench, f"{usb}/1-2", "ttyUSB3", "SAME1")
    usb_serial(bench, f"{usb}/1-3", "ttyUSB1", "SAME1")
    for port, serial in enumerate(SERIALS):
        usb_serial(bench, f"{usb}/1-{port + 4}", f"ttyUSB{port + 10}", serial)
    for name in ("ttyX9", "ttyX10", "ttyX2", "ttyX2.1", "ttyX"):
        bench.device(f"/devices/platform/uart/tty/{name}", "class/tty", node=name)
    for number, facts in enumerate(
        [
            {"address": "00:1b:21:3a:4f:10", "addr_assign_type": "0"},
            {"address": "02:1b:21:3a:4f:10", "addr_assign_type": "0"},
            {"address": "00:1b:21:3a:4f:11", "addr_assign_type": "1"},
            {"address": "00:00:00:00:00:00", "addr_assign_type": "0"},
            {"address": "00:1b:21", "addr_assign_type": "0", "dev_port": "1"},
            {"address": "", "dev_id": "0x3"},
            {"address": ":".join(["80"] * 20), "addr_assign_type": "0"},
        ]
    ):
        path = f"/devices/platform/net{number}/net/eth{number}"
        bench.device(path, "class/net", attrs={"type": "1", **facts})
    bench.device("/devices/virtual/net/br0", "class/net", uevent={"DEVTYPE": "bridge"})
    bench.device("/devices/platform/leds/leds/input3!caps?lock%41", "class/leds")
    bench.device("/devices/platform/a/mem1", "bus/cxl", attrs={"serial": "0xffffffffffffffff"})
    bench.device("/devices/platform/b/mem2", "bus/cxl", attrs={"serial": "0x0"})
    for number, uuid in enumerate(["8089-a2", "0000-00-0"]):
        bench.device(f"/devices/platform/nd/nmem{number}", "bus/nd", attrs={"uuid": uuid})
    for name in ("pmem1.2s", "pmem1.s", "pmemx", "pmem12"):
        bench.device(f"/devices/platform/nd/block/{name}", "class/block", node=name)
    for name in ("17-0051", "17-a251", "17-005", "17-00510", "i2c-1x", "x"):
        bench.device(f"{I2C}/{name}", "bus/i2c", attrs={"name": name})
    assert len(each(str(bench.root))) > 40
    assert differences(str(bench.root)) == []


NAMES = st.text(
    st.characters(codec="ascii", exclude_characters="/\0\n", categories=["L", "N", "P"]),
    min_size=1,
    max_size=12,
).filter(lambda name: name not in {".", "..", "uevent", "subsystem"})
KINDS = st.sampled_from(
    ["class/tty", "bus/i2c", "bus/pci", "bus/usb", "bus/spi", "class/net", "class/leds", "bus/cxl"]
)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.tuples(NAMES, NAMES, KINDS), max_size=8, unique_by=lambda entry: entry[1]))
def test_any_names(
    tmp_path_factory: pytest.TempPathFactory, devices: list[tuple[str, str, str]]
) -> None:
    bench = Machine(tmp_path_factory.mktemp("any"))
    for above, name, where in devices:
        bench.device(f"/devices/platform/{above}/{name}", where, node="zero")
    # Names that only differ in zeros ("a1", "a01") have no order of their own.
    found, known = each(str(bench.root)), list(local_inventory(str(bench.root)))
    assert {d["path"] for d in found} == {r.path for r in known}
    if len({r.path.replace("0", "") for r in known}) == len(known):
        assert differences(str(bench.root)) == []


@pytest.mark.parametrize(
    "query",
    [
        "",
        "class=serial",
        "class=SERIAL class=i2c",
        "name=tty*",
        "name=TTY*",
        "uri=i2c:1/*",
        "driver=mmio",
        "state=kernel class=pci",
        'vendor="FTDI" class=usb',
        "vendor=ft?i",
        "serial=A50285BI",
        "node=/dev/ttyUSB0",
        "ttyUSB0",
        "uart:/dev/ttyUSB0",
        "id=*",
        "class=led name=*",
    ],
)
def test_queries_mean_the_same(query: str, tmp_path: Path) -> None:
    bench = workbench(tmp_path)
    wanted = Query.parse(query).of(local_inventory(str(bench.root)))
    assert [d["name"] for d in each(str(bench.root), query)] == [record.name for record in wanted]


def test_the_library(tmp_path: Path) -> None:
    """It stands on libhal and the C library, is small, and shows its functions alone."""
    dynamic = run("readelf", "--dynamic", "--wide", LIBRARY)
    assert "libhal.so.1" in dynamic
    assert "[$ORIGIN]" in dynamic
    symbols = run("nm", "--dynamic", "--defined-only", LIBRARY).splitlines()
    names = {line.split()[-1].partition("@@")[0] for line in symbols} - {"HAL_DISCOVER_1"}
    assert names == {
        f"hal_discover_{name}" for name in ("each", "each_at", "open", "fd", "next", "close")
    }
    run("strip", "-o", tmp_path / "stripped", LIBRARY)
    assert (tmp_path / "stripped").stat().st_size <= 48 * 1024


def test_a_c_program_by_pkg_config(tmp_path: Path) -> None:
    """What docs/discovery-c.md tells a C programmer to write, and to type."""
    page = (ROOT / "docs/discovery-c.md").read_text(encoding="utf-8")
    program = page.partition("```c\n")[2].partition("```")[0]
    assert "class=serial" in program
    (tmp_path / "list.c").write_text(program.replace("class=serial", "class=memory"))
    path = {"PKG_CONFIG_PATH": str(LIBRARY.parent / "pkgconfig")}
    flags = run("pkg-config", "--cflags", "--libs", "hal-discover", env=path).split()
    rpath = f"-Wl,-rpath,{LIBRARY.parent}"
    run("cc", "list.c", "-o", "list", *flags, rpath, cwd=tmp_path)
    memory = [[r.id, r.name] for r in local_inventory(classes=["memory"])]
    assert [line.split()[:2] for line in run(tmp_path / "list").splitlines()] == memory
