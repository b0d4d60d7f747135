# SPDX-License-Identifier: Apache-2.0
"""The machines of the lab: which devices QEMU puts into them.

What the kernel itself adds (i2c-stub, gpio-sim, IIO dummy, our own bus controllers, ...) is loaded
in the guest by ``guest/setup.sh``; the names under which tests find everything are in
``guest/devices.py``.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

HERE = Path(__file__).resolve().parent
MIB = 1 << 20


@dataclass(frozen=True)
class Machine:
    """One machine, ready to be given to QEMU."""

    architecture: str
    arguments: list[str]
    kernel: str
    """What this machine adds to the kernel's command line."""
    setup: Path | None = None
    """Script that the guest runs before the command."""
    chardevs: dict[str, Path] = field(default_factory=dict)
    """The other ends of its serial lines, as sockets to connect to."""
    files: dict[str, Path] = field(default_factory=dict)
    """The files behind its memory devices, as the host sees them."""
    pluggable: dict[str, dict[str, str]] = field(default_factory=dict)
    """Devices that can be pulled out and put back, with the properties they have."""


Maker = Callable[[Path], Machine]
"""Makes a machine whose sockets and files are in a folder."""


def x86_64(folder: Path) -> Machine:
    """Give a PC: serial lines, I2C, PCI registers, an IOMMU, shared, persistent and CXL memory."""
    chardevs = {name: folder / f"{name}.sock" for name in ("serial", "usb", "request")}
    files = {name: folder / f"{name}.memory" for name in ("ivshmem", "nvdimm", "cxl", "cxl-labels")}
    # An NVDIMM's size less its label area has to be a multiple of 16 MiB, or no namespace fits.
    sizes = {"ivshmem": 1, "nvdimm": 258, "cxl": 256, "cxl-labels": 1}
    for name, path in files.items():
        with path.open("wb") as file:
            file.truncate(sizes[name] * MIB)
    pluggable = {
        "usb0": {"driver": "usb-serial", "chardev": "usb", "bus": "xhci.0", "always-plugged": "on"},
        "edu2": {"driver": "edu", "bus": "slot0"},
    }
    arguments = [
        "-machine",
        "q35,kernel-irqchip=off,hmat=on,nvdimm=on,nvdimm-persistence=mem-ctrl,"
        "cxl=on,cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G",
        *("-cpu", "max", "-m", "1G,slots=4,maxmem=8G"),
        *_numa(),
        *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
        # With more than one root bus every PCI device has to name its own.
        *("-device", "intel-iommu,intremap=on"),
        *("-device", "edu,bus=pcie.0,id=edu0", "-device", "edu,bus=pcie.0,id=edu1"),
        *("-device", "pcie-root-port,bus=pcie.0,id=slot0,chassis=1,slot=1"),
        *("-device", "isa-serial,chardev=serial"),
        *("-device", "qemu-xhci,bus=pcie.0,id=xhci"),
        *("-device", "virtio-serial-pci,bus=pcie.0"),
        *("-device", "virtserialport,chardev=request,name=hal.request"),
        *("-netdev", "hubport,hubid=0,id=net0"),
        *("-device", "virtio-net-pci,bus=pcie.0,netdev=net0,romfile="),
        *("-device", "ivshmem-plain,bus=pcie.0,memdev=ivshmem"),
        *("-device", "nvdimm,id=nvdimm0,memdev=nvdimm,label-size=2M"),
        *("-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1"),
        # Two root ports: with only one, QEMU and the kernel disagree on the bridge's decoder, and
        # what is stored in the region is lost.
        *("-device", "cxl-rp,port=0,bus=cxl.1,id=cxl-port0,chassis=0,slot=2"),
        *("-device", "cxl-rp,port=1,bus=cxl.1,id=cxl-port1,chassis=0,slot=3"),
        *("-device", "cxl-type3,bus=cxl-port0,memdev=cxl,lsa=cxl-labels,id=cxl0"),
    ]
    for name, properties in pluggable.items():
        options = [
            f"id={name}",
            *(f"{key}={value}" for key, value in properties.items() if key != "driver"),
        ]
        arguments += ["-device", ",".join([properties["driver"], *options])]
    backing = [
        f"memory-backend-file,id={name},share=on,mem-path={path},size={sizes[name]}M"
        for name, path in files.items()
    ]
    sockets = [
        f"socket,id={name},path={path},server=on,wait=off" for name, path in chardevs.items()
    ]
    arguments = [
        *(word for option in sockets for word in ("-chardev", option)),
        *(word for option in backing for word in ("-object", option)),
        *arguments,
    ]
    return Machine(
        "x86_64",
        arguments,
        # Virtual time is real time here: no calibration, no watchdog on a slow clock.
        "console=ttyS0 intel_iommu=on no_timer_check tsc=reliable "
        "modprobe.blacklist=ahci,iTCO_wdt,intel_agp,kvm_amd,kvm_intel,lpc_ich,pcspkr,psmouse",
        HERE / "guest/setup.sh",
        chardevs,
        files,
        pluggable,
    )


def x86_64_newer(folder: Path) -> Machine:
    """Give a PC for a newer kernel and QEMU: an IOMMU with edu behind it, volatile CXL memory."""
    memory = folder / "cxl.memory"
    with memory.open("wb") as file:
        file.truncate(256 * MIB)
    return Machine(
        "x86_64",
        [
            "-machine",
            "q35,kernel-irqchip=off,cxl=on,cxl-fmw.0.targets.0=cxl.1,cxl-fmw.0.size=4G",
            # A virtual machine that says so is not believed to keep its caches out of a new region.
            *("-cpu", "max,-hypervisor", "-m", "1G"),
            *("-device", "isa-debug-exit,iobase=0xf4,iosize=1"),
            *("-device", "intel-iommu,intremap=on"),
            *("-device", "edu,bus=pcie.0", "-device", "edu,bus=pcie.0"),
            *("-netdev", "hubport,hubid=0,id=net0"),
            *("-device", "virtio-net-pci,bus=pcie.0,netdev=net0,romfile="),
            *("-object", f"memory-backend-file,id=cxl,share=on,mem-path={memory},size=256M"),
            *("-device", "pxb-cxl,bus_nr=12,bus=pcie.0,id=cxl.1"),
            *("-device", "cxl-rp,port=0,bus=cxl.1,id=cxl-port0,chassis=0,slot=2"),
            *("-device", "cxl-type3,bus=cxl-port0,volatile-memdev=cxl,id=cxl0"),
        ],
        "console=ttyS0 intel_iommu=on no_timer_check tsc=reliable "
        "modprobe.blacklist=ahci,iTCO_wdt,intel_agp,kmem,lpc_ich,pcspkr,psmouse",
        HERE / "newer/setup.sh",
        files={"cxl": memory},
    )


def _numa() -> list[str]:
    """Give two NUMA nodes with memory, the processor on the first, with the firmware's figures."""
    told = []
    for target, latency, bandwidth in ((0, 80, "64G"), (1, 240, "16G")):
        place = f"hmat-lb,initiator=0,target={target},hierarchy=memory"
        told += [
            f"{place},data-type=access-latency,latency={latency}",
            f"{place},data-type=access-bandwidth,bandwidth={bandwidth}",
        ]
    nodes = ["node,nodeid=0,cpus=0,memdev=node0", "node,nodeid=1,memdev=node1,initiator=0"]
    return [
        *("-object", "memory-backend-ram,id=node0,size=768M"),
        *("-object", "memory-backend-ram,id=node1,size=256M"),
        *(word for one in [*nodes, "dist,src=0,dst=1,val=24", *told] for word in ("-numa", one)),
    ]


def aarch64(folder: Path) -> Machine:
    """Give an Arm board with bit-banged SPI and I2C in its device tree, and an edu device."""
    return _arm(folder, "virt")


def aarch64_iommu(folder: Path) -> Machine:
    """Give the same board with an SMMU before its PCI devices, and a GIC that remaps messages."""
    return _arm(folder, "virt,iommu=smmuv3,gic-version=3")


def _arm(folder: Path, machine: str) -> Machine:
    board = ["-machine", machine, "-cpu", "cortex-a72", "-m", "1G"]
    return Machine(
        "aarch64",
        [*board, "-dtb", str(_device_tree(folder, board)), "-device", "edu"],
        "console=ttyAMA0",
        HERE / "aarch64/setup.sh",
    )


def _device_tree(folder: Path, board: list[str]) -> Path:
    """Give QEMU's own device tree with the lab's nodes added."""
    plain, source, result = (folder / name for name in ("board.dtb", "lab.dts", "lab.dtb"))
    qemu = program("qemu-system-aarch64")
    dump = ["-nodefaults", "-display", "none", "-machine", f"dumpdtb={plain}"]
    subprocess.run([qemu, *board, *dump], check=True, capture_output=True)
    dtc = [program("dtc"), "-q"]
    text = subprocess.check_output([*dtc, "-I", "dtb", "-O", "dts", str(plain)], text=True)
    gpio = re.search(r"pl061@.*?phandle = <(0x[0-9a-f]+)>", text, re.DOTALL)
    if not gpio:
        raise OSError(f'read device tree "{plain}": it has no pl061')
    nodes = (HERE / "aarch64/nodes.dtsi").read_text().replace("GPIO", gpio[1])
    source.write_text(text + nodes)
    subprocess.run([*dtc, "-I", "dts", "-O", "dtb", str(source), "-o", str(result)], check=True)
    return result


def program(name: str) -> str:
    """Give a program's path.

    Raises:
        FileNotFoundError: it is not installed.
    """
    path = shutil.which(name)
    if path is None:
        raise FileNotFoundError(f'find "{name}": not installed (see tests/lab/packages.txt)')
    return path
