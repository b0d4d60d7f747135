# SPDX-License-Identifier: Apache-2.0
"""A machine made of files: sysfs, /dev and /proc of hardware that nobody here has.

The layout is the kernel's own (Documentation/ABI/ and admin-guide/sysfs-rules.rst); what reads it
cannot tell it from a mounted sysfs.
"""

from __future__ import annotations

import os
from pathlib import Path

FTDI = "/devices/pci0000:00/0000:00:14.0/usb1/1-2"
I2C = "/devices/platform/fe804000.i2c/i2c-1"
SPI = "/devices/platform/fe204000.spi/spi_master/spi0"
CXL = "/devices/platform/ACPI0017:00/root0"
GPU = "/devices/pci0000:00/0000:01:00.0"

PCI_IDS = """#
# a comment
8086  Intel Corporation
\ta36d  Cannon Lake PCH USB 3.1 xHCI Host Controller
\t\t1028 0871  a subsystem of it
8087  Nobody
\ta36d  Of another vendor
10de  NVIDIA Corporation
\t2204  GA102
"""


UNPRIVILEGED = [
    "setpriv",
    *("--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs"),
    *("--inh-caps=-all,+dac_read_search", "--ambient-caps=+dac_read_search"),
]
"""Command prefix: as "nobody", who may read (Python may be in root's home) but not write."""


class Machine:
    """A made-up machine.

    Args:
        root: The folder to build it in.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for folder in ("sys/devices", "sys/bus", "sys/class", "dev", "proc", "etc"):
            (root / folder).mkdir(parents=True)
        self.write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n")

    def write(self, path: str, content: str | bytes) -> Path:
        """Write a file, its folders made first."""
        target = self.root / path.lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        return target

    def device(
        self,
        devpath: str,
        where: str = "",
        *,
        node: str = "",
        mode: int = 0o600,
        driver: str = "",
        attrs: dict[str, str] | None = None,
        uevent: dict[str, str] | None = None,
    ) -> str:
        """Make a device.

        Args:
            devpath: Its folder below /sys.
            where: "class/tty" or "bus/pci": who lists it.
            node: Name of its node below /dev.
            mode: The node's permission bits.
            driver: The kernel driver bound to it.
            attrs: Its attribute files.
            uevent: Lines of its uevent file.
        """
        folder = self.root / "sys" / devpath.lstrip("/")
        folder.mkdir(parents=True, exist_ok=True)
        lines = dict(uevent or {})
        if node:
            lines["DEVNAME"] = node
            self.write(f"/dev/{node}", "").chmod(mode)
        self.write(f"/sys{devpath}/uevent", "".join(f"{k}={v}\n" for k, v in lines.items()))
        for name, value in (attrs or {}).items():
            self.write(f"/sys{devpath}/{name}", f"{value}\n")
        if where:
            self._list(folder, where)
        if driver:
            target = self.root / "sys" / where / "drivers" / driver
            target.mkdir(parents=True, exist_ok=True)
            _link(folder / "driver", target)
        return devpath

    def _list(self, folder: Path, where: str) -> None:
        subsystem = self.root / "sys" / where
        listing = subsystem / "devices" if where.startswith("bus/") else subsystem
        listing.mkdir(parents=True, exist_ok=True)
        _link(folder / "subsystem", subsystem)
        _link(listing / folder.name, folder)


def _link(link: Path, target: Path) -> None:
    link.symlink_to(os.path.relpath(target, link.parent))


def workbench(root: Path) -> Machine:
    """A machine with something of every class."""
    machine = Machine(root)
    machine.write("/usr/share/misc/pci.ids", PCI_IDS)
    for fill in (_serial, _i2c, _spi, _gpio_iio, _pci_usb, _memory, _accelerators, _others):
        fill(machine)
    return machine


def usb_serial(
    machine: Machine, devpath: str, tty: str, serial: str, *, mode: int = 0o660, port: str = ""
) -> None:
    """A USB serial adapter (FTDI) with one line."""
    name = devpath.rpartition("/")[2]
    machine.device(
        devpath,
        "bus/usb",
        node=f"bus/usb/001/{int(name.rpartition('-')[2].replace('.', '')):03}",
        driver="usb",
        uevent={"DEVTYPE": "usb_device", "PRODUCT": "403/6001/600"},
        attrs={
            "idVendor": "0403",
            "idProduct": "6001",
            "manufacturer": "FTDI",
            "product": "FT232R USB UART",
            "serial": serial,
            "speed": "12",
            "bDeviceClass": "00",
        },
    )
    interface = machine.device(
        f"{devpath}/{name}:1.0",
        "bus/usb",
        driver="ftdi_sio",
        uevent={"DEVTYPE": "usb_interface"},
    )
    line = machine.device(f"{interface}/{port or tty}", "bus/usb-serial", driver="ftdi_sio")
    machine.device(f"{line}/tty/{tty}", "class/tty", node=tty, mode=mode)


def _serial(machine: Machine) -> None:
    machine.device("/devices/pnp0/00:05", "bus/pnp", driver="serial")
    port = machine.device("/devices/pnp0/00:05/00:05:0/00:05:0.0", "bus/serial-base", driver="port")
    attrs = {"type": "4", "port": "0x3F8", "irq": "4", "console": "N"}
    machine.device(f"{port}/tty/ttyS0", "class/tty", node="ttyS0", mode=0o666, attrs=attrs)
    empty = {"type": "0", "port": "0x2F8", "irq": "3"}
    slots = "/devices/platform/serial8250"
    machine.device(slots, "bus/platform", driver="serial8250")
    machine.device(f"{slots}/tty/ttyS1", "class/tty", node="ttyS1", attrs=empty)
    soc = "/devices/platform/soc/fe201000.serial"
    compatible = {"OF_COMPATIBLE_0": "arm,pl011", "OF_COMPATIBLE_N": "1"}
    machine.device(soc, "bus/amba", driver="uart-pl011", uevent=compatible)
    machine.device(f"{soc}/tty/ttyAMA0", "class/tty", node="ttyAMA0", attrs={"type": "32"})
    for name in ("tty1", "ptmx", "console", "ttyp0"):
        machine.device(f"/devices/virtual/tty/{name}", "class/tty", node=name)
    machine.device("/devices/virtual/tty/ttyGS0", "class/tty", node="ttyGS0")


def _i2c(machine: Machine) -> None:
    machine.device("/devices/platform/fe804000.i2c", "bus/platform", driver="i2c-bcm2835")
    machine.device(I2C, "bus/i2c", attrs={"name": "bcm2835 (i2c@7e804000)"})
    machine.device(f"{I2C}/i2c-dev/i2c-1", "class/i2c-dev", node="i2c-1", mode=0o666)
    machine.device(f"{I2C}/1-0050", "bus/i2c", driver="at24", attrs={"name": "24c32"})
    machine.device(f"{I2C}/1-0068", "bus/i2c", attrs={"name": "ds3231"})
    machine.device(f"{I2C}/1-a250", "bus/i2c", attrs={"name": "tenbit"})
    machine.device(f"{I2C}/i2c-PRP0001:00", "bus/i2c", attrs={"name": "acpi-sensor"})
    machine.device("/devices/platform/fe805000.i2c/i2c-2", "bus/i2c", attrs={"name": "unloaded"})


def _spi(machine: Machine) -> None:
    machine.device("/devices/platform/fe204000.spi", "bus/platform", driver="spi-bcm2835")
    machine.device(SPI, "class/spi_master")
    attrs = {"modalias": "spi:spidev"}
    machine.device(f"{SPI}/spi0.0", "bus/spi", driver="spidev", attrs=attrs)
    machine.device(f"{SPI}/spi0.0/spidev/spidev0.0", "class/spidev", node="spidev0.0", mode=0o666)
    attrs = {"modalias": "spi:mcp2515"}
    machine.device(f"{SPI}/spi0.1", "bus/spi", driver="mcp251x", attrs=attrs)
    machine.device(f"{SPI}/spi0.2", "bus/spi", attrs={"modalias": "spi:flash"})


def _gpio_iio(machine: Machine) -> None:
    above = "/devices/platform/fe200000.gpio"
    machine.device(above, "bus/platform", driver="pinctrl-bcm2835")
    machine.device(f"{above}/gpiochip0", "bus/gpio", node="gpiochip0", mode=0o666)
    attrs = {"label": "pinctrl-bcm2711", "ngpio": "58", "base": "512"}
    machine.device(f"{above}/gpio/gpiochip512", "class/gpio", attrs=attrs)
    attrs = {
        "name": "ads1015",
        "in_voltage0_raw": "1",
        "in_voltage1_raw": "2",
        "in_temp_input": "3",
    }
    machine.device(f"{I2C}/1-0068/iio:device0", "bus/iio", node="iio:device0", attrs=attrs)
    machine.device("/devices/trigger0", "bus/iio", attrs={"name": "sysfstrig0"})


def _pci_usb(machine: Machine) -> None:
    bar = "0x00000000a1200000 0x00000000a120ffff 0x0000000000140204"
    none = "0x0000000000000000 0x0000000000000000 0x0000000000000000"
    ids = {
        "vendor": "0x8086",
        "device": "0xa36d",
        "class": "0x0c0330",
        "revision": "0x10",
        "subsystem_vendor": "0x1028",
        "subsystem_device": "0x0871",
        "numa_node": "-1",
        "resource": "\n".join([bar] + [none] * 6),
    }
    xhci = "/devices/pci0000:00/0000:00:14.0"
    machine.device(xhci, "bus/pci", driver="xhci_hcd", attrs=ids)
    hub = {
        "idVendor": "1d6b",
        "idProduct": "0002",
        "manufacturer": "Linux",
        "product": "xHCI Host Controller",
        "serial": "0000:00:14.0",
        "speed": "480",
        "bDeviceClass": "09",
    }
    machine.device(
        f"{xhci}/usb1",
        "bus/usb",
        node="bus/usb/001/001",
        uevent={"DEVTYPE": "usb_device"},
        attrs=hub,
    )
    usb_serial(machine, FTDI, "ttyUSB0", "A50285BI")
    io_bar = "0x000000000000e000 0x000000000000e0ff 0x0000000000040101"
    gpu = {
        "vendor": "0x10de",
        "device": "0x2204",
        "class": "0x030000",
        "revision": "0xa1",
        "numa_node": "0",
        "resource": "\n".join([io_bar, bar] + [none] * 5),
    }
    machine.device(GPU, "bus/pci", attrs=gpu)
    machine.write(f"/sys{GPU}/resource1", "").chmod(0o600)


def _memory(machine: Machine) -> None:
    ram = {
        "meminfo": "Node 0 MemTotal: 16384 kB\nNode 0 MemFree: 1 kB",
        "cpulist": "0-3",
        "distance": "10 20",
    }
    machine.device("/devices/system/node/node0", "bus/node", attrs=ram)
    far = {"meminfo": "Node 1 MemTotal: 8192 kB", "cpulist": "", "distance": "20 10"}
    machine.device("/devices/system/node/node1", "bus/node", attrs=far)
    machine.device("/devices/system/node/node2", "bus/node", attrs={"meminfo": "MemTotal: 0 kB"})
    attrs = {
        "serial": "0x1234",
        "ram/size": "0x10000000",
        "pmem/size": "0x0",
        "numa_node": "1",
        "firmware_version": "BWFW VERSION 0",
    }
    endpoint = "/devices/pci0000:35/0000:35:00.0/0000:36:00.0"
    machine.device(f"{endpoint}/mem0", "bus/cxl", node="cxl/mem0", mode=0o600, attrs=attrs)
    machine.device(CXL, "bus/cxl")
    attrs = {
        "size": "0x10000000",
        "mode": "ram",
        "interleave_ways": "1",
        "resource": "0x4080000000",
        "interleave_granularity": "256",
        "uuid": "",
    }
    machine.device(f"{CXL}/decoder0.0", "bus/cxl")
    machine.device(f"{CXL}/decoder0.0/region0", "bus/cxl", driver="cxl_region", attrs=attrs)
    hmem = "/devices/platform/hmem.0"
    dax = {"size": "1073741824", "align": "2097152", "numa_node": "-1", "target_node": "1"}
    machine.device(
        f"{hmem}/dax0.0", "bus/dax", driver="device_dax", node="dax0.0", mode=0o666, attrs=dax
    )
    machine.device(f"{hmem}/dax0.1", "bus/dax", attrs={"size": "0"})
    machine.device(f"{CXL}/dax1.0", "bus/dax", driver="kmem", attrs=dax)
    bus = "/devices/LNXSYSTM:00/ACPI0012:00/ndbus0"
    attrs = {"nfit/id": "8089-a2-1748-00000001", "nfit/serial": "0x00000001", "state": "idle"}
    machine.device(f"{bus}/nmem0", "bus/nd", driver="nvdimm", attrs=attrs)
    machine.device(
        f"{bus}/region0/namespace0.0/block/pmem0",
        "class/block",
        node="pmem0",
        attrs={"size": "2048", "queue/dax": "1", "ro": "0"},
    )
    machine.device("/devices/virtual/block/loop0", "class/block", node="loop0")


def _accelerators(machine: Machine) -> None:
    machine.device(f"{GPU}/drm/card0", "class/drm", node="dri/card0")
    machine.device(f"{GPU}/drm/renderD128", "class/drm", node="dri/renderD128", mode=0o666)
    machine.device(
        "/devices/pci0000:00/0000:00:0b.0/accel/accel0",
        "class/accel",
        node="accel/accel0",
        mode=0o666,
    )
    attrs = {"name": "Xilinx Zynq FPGA Manager", "state": "operating"}
    machine.device(
        "/devices/platform/f8007000.devcfg/fpga_manager/fpga0", "class/fpga_manager", attrs=attrs
    )
    region = "/devices/platform/f8007000.devcfg/fpga_region/fpga-region0"
    machine.device(region, "class/fpga_region", attrs={"compat_id": "0x1234"})
    attrs = {"name": "dsp", "state": "offline", "firmware": "dsp.elf"}
    machine.device("/devices/platform/dsp/remoteproc/remoteproc0", "class/remoteproc", attrs=attrs)


def _others(machine: Machine) -> None:
    nic = {
        "type": "1",
        "address": "00:1b:21:3a:4f:10",
        "addr_assign_type": "0",
        "operstate": "up",
        "speed": "1000",
        "mtu": "1500",
    }
    machine.device("/devices/pci0000:00/0000:00:19.0/net/enp0s25", "class/net", attrs=nic)
    machine.device("/devices/virtual/net/lo", "class/net", attrs={"type": "772"})
    camera = machine.device("/devices/platform/camera", "bus/platform")
    machine.device(
        f"{camera}/video4linux/video0",
        "class/video4linux",
        node="video0",
        mode=0o666,
        attrs={"name": "Test Camera"},
    )
    machine.device("/devices/platform/audio/sound/card0", "class/sound", attrs={"id": "Headphones"})
    machine.write("/dev/snd/controlC0", "").chmod(0o666)
    machine.device(
        "/devices/virtual/thermal/hwmon0",
        "class/hwmon",
        attrs={"name": "cpu_thermal", "temp1_input": "41000", "temp1_label": "die"},
    )
    machine.device(
        "/devices/platform/leds/leds/ACT",
        "class/leds",
        attrs={"brightness": "0", "max_brightness": "255", "trigger": "none [mmc0] on"},
    )
    machine.device(
        "/devices/platform/fe20c000.pwm/pwm/pwmchip0",
        "class/pwm",
        attrs={"npwm": "2", "export": ""},
    )
