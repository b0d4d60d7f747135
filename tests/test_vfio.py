# SPDX-License-Identifier: Apache-2.0
"""The driver ``vfio`` where it cannot serve: what it says. The rest is in tests/lab/guest."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

import hal
from hal.interrupts import Interrupts
from hal.probe.vfio import look

PCI = Path("/sys/bus/pci/devices")


def functions(*, grouped: bool) -> list[Path]:
    """PCI functions of this machine that have an IOMMU group, or have none."""
    found = sorted(PCI.iterdir()) if PCI.exists() else []
    return [path for path in found if (path / "iommu_group").exists() == grouped]


def test_without_iommu() -> None:
    alone = functions(grouped=False)
    if not alone:
        pytest.skip("every PCI function of this machine has an IOMMU, or there is none")
    with pytest.raises(hal.Unsupported) as caught:
        hal.open(f"vfio:{alone[0].name}/0")
    message = str(caught.value)
    if any(Path("/sys/class/iommu").iterdir()):
        assert "does not serve this device" in message
    else:
        assert "no IOMMU is on: " in message
        assert f"Registers without DMA: mmio:{alone[0].name}/0" in message


def test_without_vfio_pci() -> None:
    """The commands in the message are run in the lab."""
    alone = [path for path in functions(grouped=False) if (path / "driver").exists()]
    if not alone:
        pytest.skip("no PCI function of this machine has a driver, and no IOMMU")
    driver = os.path.basename(os.readlink(alone[0] / "driver"))
    if "vfio" in driver:
        pytest.skip("it has been given to vfio-pci")
    with pytest.raises(hal.Busy) as caught:
        hal.open(f"vfio:{alone[0].name}/0", noiommu=True)
    assert f"the kernel driver {driver} is bound to it; give it to vfio-pci" in str(caught.value)
    assert f"echo {alone[0].name} > /sys/bus/pci/drivers_probe" in str(caught.value)


def test_addresses() -> None:
    for wrong in ("", "0000:00:04.0/6", "0000:00:04.0/x", "04.0/0", "0000:00:04.0/0/1"):
        with pytest.raises(hal.InvalidArgument, match="a PCI function and a region"):
            hal.open(f"vfio:{wrong}")
    with pytest.raises(hal.NotFound, match=r"no PCI device ffff:1f:1f\.7 \(lspci"):
        hal.open("vfio:ffff:1f:1f.7/config")


def test_faces() -> None:
    """Registers are mmio's, interrupts uio's."""
    assert issubclass(hal.Vfio, hal.Mmio)
    assert issubclass(hal.Vfio, Interrupts)
    assert issubclass(hal.Uio, Interrupts)


def machine(root: Path, driver: str, mate: str) -> str:
    """The part of sysfs that counts, of a machine with two functions in one group."""
    group = root / "sys/kernel/iommu_groups/7"
    (root / "sys/class/iommu/dmar0").mkdir(parents=True)
    for name, bound in (("0000:00:1f.2", driver), ("0000:00:1f.3", mate)):
        folder = root / "sys/bus/pci/devices" / name
        folder.mkdir(parents=True)
        (folder / "iommu_group").symlink_to(group)
        (group / "devices").mkdir(parents=True, exist_ok=True)
        (group / "devices" / name).symlink_to(folder)
        if bound:
            (root / "sys/bus/pci/drivers" / bound).mkdir(parents=True, exist_ok=True)
            (folder / "driver").symlink_to(root / "sys/bus/pci/drivers" / bound)
    (root / "dev/vfio").mkdir(parents=True)
    (root / "dev/vfio/7").touch()
    return "vfio:0000:00:1f.2/0?irq=auto"


@pytest.mark.parametrize(
    ("driver", "mate", "stage", "text"),
    [
        ("ahci", "", "kernel", "kernel driver ahci; it has to be vfio-pci"),
        ("", "", "kernel", "no kernel driver; it has to be vfio-pci"),
        ("vfio-pci", "i801_smbus", "group", "group 7 has functions .* 0000:00:1f.3 .i801_smbus"),
        ("vfio-pci", "pcieport", "holder", "nobody has it open"),
        ("mlx5_vfio_pci", "vfio-pci", "holder", "nobody has it open"),
    ],
)
def test_hal_probe_explains(tmp_path: Path, driver: str, mate: str, stage: str, text: str) -> None:
    found = list(look(machine(tmp_path, driver, mate), str(tmp_path)))
    assert found[-1][:2] == (stage, stage == "holder")
    assert re.search(text, found[-1][2])
    assert all(fine for _, fine, *_ in found[:-1])


def test_hal_probe_explains_what_is_missing(tmp_path: Path) -> None:
    assert list(look("vfio:nothing", "")) == []
    assert [finding[0] for finding in look("vfio:0000:00:1f.2", str(tmp_path))] == ["device"]
    uri = machine(tmp_path, "vfio-pci", "")
    (tmp_path / "dev/vfio/7").unlink()
    assert list(look(uri, str(tmp_path)))[-1][:2] == ("node", False)
    (tmp_path / "sys/class/iommu/dmar0").rmdir()
    stage, fine, text, advice, _ = list(look(uri, str(tmp_path)))[-1]
    assert (stage, fine, text) == ("iommu", False, "no IOMMU is on")
    assert any("intel_iommu=on" in line for line in advice)
