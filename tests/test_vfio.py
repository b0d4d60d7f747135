# SPDX-License-Identifier: Apache-2.0
"""The driver ``vfio`` where it cannot serve: what it says. The rest is in tests/lab/guest."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

import hal
from hal.interrupts import Interrupts

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
