# SPDX-License-Identifier: Apache-2.0
"""hal.perf on memory devices of the lab: it runs, reports, and leaves alone what it should.

Figures mean nothing here: the machine is emulated.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hal
from hal import perf

from . import devices
from .devices import until
from .host import Host

SIZE = 1 << 16


def measured(device: hal.Device, *, write: bool, registers: bool = False) -> perf.Report:
    report = perf.measure(
        device, most=SIZE, seconds=0.5, rounds=1, write=write, registers=registers
    )
    assert {point.block for point in report.points} <= {4096, 16384, SIZE}
    assert all(point.figure.median > 0 for point in report.points)
    assert report.bounds
    return report


@pytest.mark.parametrize("name", ["nvdimm", "cxl"])
def test_devdax(name: str, host: Host) -> None:
    place = devices.dax(name)
    until(Path(place.node).exists)
    block = os.urandom(SIZE)
    with hal.Memory.open(f"memory:{place.node}") as device:
        device.write_at(block, 0)
        report = measured(device, write=False)
        assert (report.target.kind, report.target.flush) == ("persistent", "needed")
        assert report.target.page == device.alignment
        assert [missing.what for missing in report.missing if missing.advice] == ["writing"]
        assert device.read_at(SIZE, 0) == block
        report = measured(device, write=True)
        assert report.point("flush-range") is not None
        assert host.read_file(name, place.offset, 64) == b"\xa5" * 64


def test_a_dax_file(pmem_folder: Path) -> None:
    path = pmem_folder / "perf-file"
    with hal.Memory.open(f"memory:{path}", size=SIZE, create=True) as device:
        report = measured(device, write=True)
    assert report.target.kind == "persistent"
    path.unlink()


def test_shared_memory_of_the_host(host: Host) -> None:
    """A BAR that can be prefetched: 4 and 8 bytes an access, stores gathered."""
    address = devices.pci(devices.IVSHMEM)[0].name
    with hal.Mmio.open(f"mmio:{address}/2", enable=True) as device:
        report = measured(device, write=False)
        assert {p.pattern for p in report.points if p.memory == "target"} == {"load", "latency"}
        report = measured(device, write=True)
    assert report.target.device_memory
    assert {p.width for p in report.points if p.memory == "target"} == {4, 8}
    assert "write-combining" in {pair.name for pair in report.comparisons}
    assert {bound.kind for bound in report.bounds} == {"device"}
    assert host.read_file("ivshmem", 0, 64) == b"\xa5" * 64


def test_registers_are_not_touched_unasked() -> None:
    address = devices.pci(devices.EDU)[0].name
    with hal.Mmio.open(f"mmio:{address}/0", enable=True) as device:
        device.write32(4, 0x1234)
        with pytest.raises(hal.Unsupported, match="--registers"):
            perf.measure(device)
        report = perf.measure(device, most=64, seconds=0.2, rounds=1, registers=True, write=True)
        assert {p.width for p in report.points if p.memory == "target"} == {4}
        assert not report.target.written
        assert device.read32(4) == 0xFFFFEDCB


def test_a_dma_buf() -> None:
    with hal.Dmabuf.open("dmabuf:system", size=SIZE) as buffer:
        report = measured(buffer, write=False)
    assert not report.target.device_memory
