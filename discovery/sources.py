# SPDX-License-Identifier: Apache-2.0
"""What to look for, and how to describe it: one row a kernel subsystem.

A describing function gets a device's folder and returns what it makes of it, or None when the
folder is not a device of that class (a partition, a virtual terminal).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from dataclasses import dataclass, field

from .names import Names
from .sysfs import Node


@dataclass(slots=True)
class Facts:
    """What a describing function found out; the rest of a record is the same for all classes.

    Attributes:
        model: What it is; "" leaves the name of the hardware it belongs to.
        vendor: Who made it; likewise.
        serial: Its serial number; likewise.
        driver: The HAL driver that serves it.
        uri: What to open.
        node: The node, or file of sysfs, that a program opens; "" when there is none.
        mode: How: "r", "w" or "rw".
        addresses: Other ways to name it.
        properties: What else is worth telling; empty values are dropped.
        kernel: Why it belongs to the kernel and is not for programs, "" when it is for them.
        hint: What to do to get a node when `driver` is named and there is none.
    """

    model: str = ""
    vendor: str = ""
    serial: str = ""
    driver: str = ""
    uri: str = ""
    node: str = ""
    mode: str = "rw"
    addresses: list[str] = field(default_factory=list)
    properties: dict[str, str] = field(default_factory=dict)
    kernel: str = ""
    hint: str = ""


@dataclass(frozen=True, slots=True)
class Source:
    """A place to look.

    Attributes:
        device_class: What is found there.
        subsystem: The kernel's bus or class.
        describe: What makes a device of it.
    """

    device_class: str
    subsystem: str
    describe: Callable[[Node, Context], Facts | None]


class Context:
    """What describing functions share.

    Args:
        root: Where the machine's root is, without a slash at its end.
    """

    def __init__(self, root: str) -> None:
        self.pci_names = Names(root, "pci.ids")
        self.usb_names = Names(root, "usb.ids")


# ---- buses that carry programs' devices ----------------------------------------------------------

_VIRTUAL_SERIAL = ("ttyGS", "rfcomm")  # A USB gadget's and Bluetooth's lines hang on no hardware.
_UARTS = ("none", "8250", "16450", "16550", "16550A", "Cirrus", "16650", "16650V2", "16750",
          "Startech", "16C950", "16654", "16850", "RSA")  # fmt: skip
"""Kinds of UART by number: <linux/serial.h>, PORT_*."""


def serial_line(node: Node, _: Context) -> Facts | None:
    """A serial line: not virtual terminals and ptys, nor the slots of UARTs that are not there."""
    virtual = "/devices/virtual/" in node.path
    kind = node.integer("type")
    if kind == 0 or (virtual and not node.name.startswith(_VIRTUAL_SERIAL)):
        return None
    facts = _by_node(node, "uart")
    if kind is not None and kind < len(_UARTS):
        facts.model = f"{_UARTS[kind]} UART"
    facts.properties = {
        "port": node.attr("port"),
        "irq": node.attr("irq"),
        "console": "yes" if node.attr("console") == "Y" else "",
    }
    return facts


def i2c(node: Node, _context: Context) -> Facts | None:
    """An I2C adapter, or a device on one."""
    if adapter := re.fullmatch(r"i2c-(\d+)", node.name):
        exists = os.path.isdir(f"{node.path}/i2c-dev/{node.name}")
        return Facts(
            model=node.attr("name"),
            driver="i2c",
            uri=f"i2c:{adapter[1]}",
            node=f"/dev/{node.name}" if exists else "",
            hint="sudo modprobe i2c-dev",
        )
    place = re.fullmatch(r"(\d+)-([0-9a-f]{4})", node.name)
    if not place:
        return Facts(model=node.attr("name"))  # Named by ACPI: the name does not tell the address.
    bus, address = place[1], int(place[2], 16)
    ten_bit = address & 0xA000 == 0xA000  # i2c_encode_flags_to_addr() in i2c-core-base.c
    address &= 0x3FF if ten_bit else 0x7F
    return Facts(
        model=node.attr("name"),
        driver="i2c",
        uri=f"i2c:{bus}/{address:#04x}",
        node=f"/dev/i2c-{bus}",
        properties={"address": f"{address:#04x}", "address_bits": "10" if ten_bit else "7"},
        kernel=f"kernel driver {node.driver}" if node.driver else "",
        hint="sudo modprobe i2c-dev",
    )


def spi_controller(_node: Node, _: Context) -> Facts | None:
    """An SPI controller; programs open the devices on it."""
    return Facts(model="SPI controller")


def spi(node: Node, _: Context) -> Facts | None:
    """A device on an SPI bus; programs reach it through spidev only."""
    name = node.name.removeprefix("spi")
    spidev = next(iter(node.names("spidev")), "")
    hint = f"echo spidev | sudo tee /sys{node.devpath}/driver_override"
    return Facts(
        model=node.attr("modalias").removeprefix("spi:"),
        driver="spi",
        uri=f"spi:{name}",
        node=f"/dev/{spidev}" if spidev else "",
        properties={"modalias": node.attr("modalias")},
        kernel=f"kernel driver {node.driver}" if node.driver and not spidev else "",
        hint=f"{hint}; echo {node.name} | sudo tee /sys/bus/spi/drivers/spidev/bind",
    )


def gpio(node: Node, _: Context) -> Facts | None:
    """A GPIO chip; not the chips and lines of the old sysfs interface."""
    if node.path.split("/")[-2] == "gpio":
        return None
    facts = _by_node(node, "gpio", f"gpio:{node.name}")
    above = node.parent
    chips = [name for name in above.names("gpio") if name.startswith("gpiochip")] if above else []
    if above and len(chips) == 1:  # The old interface, where the kernel has it, tells more.
        facts.model = above.attr(f"gpio/{chips[0]}/label")
        facts.properties = {"lines": above.attr(f"gpio/{chips[0]}/ngpio")}
    return facts


def iio(node: Node, _: Context) -> Facts | None:
    """An industrial I/O device: converter or sensor."""
    if not node.name.startswith("iio:device"):
        return None  # A trigger.
    facts = _by_node(node, "iio", node.name)
    facts.model = node.attr("name") or node.attr("label")
    channels = [n for n in node.names() if re.fullmatch(r"in_.*_(raw|input)|out_.*_raw", n)]
    facts.properties = {"channels": " ".join(re.sub(r"_(raw|input)$", "", n) for n in channels)}
    return facts


def pwm(node: Node, _: Context) -> Facts | None:
    """A PWM chip, whose channels are exported through sysfs."""
    if not node.name.startswith("pwmchip"):
        return None
    return Facts(
        driver="pwm",
        uri=f"pwm:{node.name}/0",
        node=f"/sys{node.devpath}/export",
        mode="w",
        properties={"channels": node.attr("npwm")},
    )


def led(node: Node, _: Context) -> Facts | None:
    """An LED."""
    trigger = re.search(r"\[([^]]+)\]", node.attr("trigger"))
    return Facts(
        driver="led",
        uri=f"led:{node.name}",
        node=f"/sys{node.devpath}/brightness",
        properties={
            "brightness": node.attr("brightness"),
            "max_brightness": node.attr("max_brightness"),
            "trigger": trigger[1] if trigger else "",
        },
    )


def hwmon(node: Node, _: Context) -> Facts | None:
    """A monitoring chip: temperatures, voltages, fans, power."""
    inputs = [n.removesuffix("_input") for n in node.names() if n.endswith("_input")]
    labels = {name: node.attr(f"{name}_label") for name in inputs}
    return Facts(
        model=node.attr("name"),
        driver="hwmon",
        uri=f"hwmon:{node.name}",
        node=f"/sys{node.devpath}/name",
        mode="r",
        properties={"sensors": ", ".join(f"{n} ({t})" if t else n for n, t in labels.items())},
    )


# ---- buses that carry everything -----------------------------------------------------------------


def pci(node: Node, context: Context) -> Facts | None:
    """A PCI function. Its first memory BAR is what a program would map."""
    bars = _bars(node)
    bar = next(iter(bars), None)
    vendor, model = _pci_name(node, context)
    facts = Facts(vendor=vendor, model=model, addresses=[node.name], properties=_pci_facts(node))
    facts.properties |= {f"bar{number}": str(size) for number, size in bars.items()}
    facts.kernel = f"kernel driver {node.driver}" if node.driver else ""
    if bar is not None:
        facts.driver = "mmio"
        facts.uri = f"mmio:{node.name}/{bar}"
        facts.node = f"/sys{node.devpath}/resource{bar}"
    return facts


def _pci_facts(node: Node) -> dict[str, str]:
    return {
        "id": _pci_id(node, "vendor", "device"),
        "subsystem": _pci_id(node, "subsystem_vendor", "subsystem_device"),
        "class": f"{_hex(node, 'class'):06x}",
        "revision": node.attr("revision"),
        **_pcie_link(node, "current_link", "link"),
        **_pcie_link(node, "max_link", "max_link"),
        "iommu_group": node.link("iommu_group"),
        "numa_node": _known(node.attr("numa_node")),
    }


def _pcie_link(node: Node, attribute: str, name: str) -> dict[str, str]:
    """Speed and width of a PCI Express link; empty for a device that hangs on none."""
    speed, width = node.attr(f"{attribute}_speed"), node.attr(f"{attribute}_width")
    if speed in ("", "Unknown") or width in ("0", "255"):
        return {}
    return {f"{name}_speed": speed, f"{name}_width": width}


def _pci_id(node: Node, vendor: str, device: str) -> str:
    maker, product = _hex(node, vendor), _hex(node, device)
    return f"{maker:04x}:{product:04x}" if maker or product else ""


def _bars(node: Node) -> dict[int, int]:
    """Sizes in bytes of the memory BARs, by number (<linux/ioport.h>: IORESOURCE_MEM)."""
    bars = {}
    lines = node.tree.read(f"{node.path}/resource", keep_lines=True).split("\n")
    for number, line in enumerate(lines[:6]):
        fields = [int(part, 16) for part in line.split()]
        if len(fields) == 3 and fields[2] & 0x200:
            bars[number] = fields[1] - fields[0] + 1
    return bars


def _pci_name(node: Node, context: Context) -> tuple[str, str]:
    vendor, device = _hex(node, "vendor"), _hex(node, "device")
    maker, model = context.pci_names.lookup(vendor, device)
    return maker or f"vendor {vendor:04x}", model or f"device {device:04x}"


def usb(node: Node, context: Context) -> Facts | None:
    """A USB device. Its interfaces are not devices of their own."""
    if node.properties.get("DEVTYPE") != "usb_device":
        return None
    vendor, model = _usb_name(node, context)
    interfaces = [n for n in node.names() if re.fullmatch(r"[\d.-]+:\d+\.\d+", n)]
    drivers = {node.tree.node(f"{node.path}/{name}").driver for name in interfaces} - {""}
    return Facts(
        vendor=vendor,
        model=model,
        serial=usb_serial(node),
        node=node.devnode,
        addresses=[node.name],
        properties={
            "id": f"{node.attr('idVendor')}:{node.attr('idProduct')}",
            "class": node.attr("bDeviceClass"),
            "speed": _bit_rate(node.attr("speed")),
            "interfaces": str(len(interfaces)) if interfaces else "",
            "interface_drivers": " ".join(sorted(drivers)),
        },
        kernel=f"kernel driver {', '.join(sorted(drivers))}" if drivers else "",
    )


def usb_serial(node: Node) -> str:
    """Serial number of a USB device. A root hub's is the address of its controller: none."""
    return "" if node.attr("idVendor") == "1d6b" else node.attr("serial")


def _usb_name(node: Node, context: Context) -> tuple[str, str]:
    vendor, model = _code(node, "idVendor"), _code(node, "idProduct")
    known = context.usb_names.lookup(vendor, model)
    return (
        node.attr("manufacturer") or known[0] or f"vendor {vendor:04x}",
        node.attr("product") or known[1] or f"product {model:04x}",
    )


# ---- memory --------------------------------------------------------------------------------------


def numa_node(node: Node, _: Context) -> Facts | None:
    """A NUMA node's memory. One without processors is memory on a bus, as CXL expanders are."""
    total = re.search(r"MemTotal:\s+(\d+) kB", node.attr("meminfo"))
    if not total or total[1] == "0":
        return None
    cpus = node.attr("cpulist")
    return Facts(
        model="system RAM" if cpus else "system RAM without processors",
        properties={
            "size": str(int(total[1]) * 1024),
            "processors": cpus,
            "distance": node.attr("distance"),
        },
    )


def dax(node: Node, _: Context) -> Facts | None:
    """A device-DAX range, or one that the kernel uses as ordinary RAM."""
    if not node.integer("size"):
        return None  # A seed: the kernel's empty slot for the next one.
    facts = _by_node(node, "memory")
    facts.model = "device DAX"
    facts.kernel = "kernel driver kmem: it is part of system RAM" if node.driver == "kmem" else ""
    facts.hint = f"daxctl reconfigure-device --mode=devdax {node.name}"
    facts.properties = {
        "size": node.attr("size"),
        "align": node.attr("align"),
        "numa_node": _known(node.attr("numa_node")),
        "target_node": _known(node.attr("target_node")),
    }
    return facts


def pmem(node: Node, _: Context) -> Facts | None:
    """A persistent-memory disk (other block devices are not memory)."""
    if not re.fullmatch(r"pmem\d+(\.\d+)?s?", node.name):
        return None
    facts = _by_node(node, "memory")
    facts.model = "persistent memory"
    facts.properties = {
        "size": str((node.integer("size") or 0) * 512),
        "dax": node.attr("queue/dax"),
        "read-only": "yes" if node.attr("ro") == "1" else "",
        "numa_node": _known(node.attr("device/numa_node")),
    }
    return facts


def nvdimm(node: Node, _: Context) -> Facts | None:
    """An NVDIMM module; programs use the namespaces on it."""
    if not re.fullmatch(r"nmem\d+", node.name):
        return None
    return Facts(
        model="NVDIMM",
        serial=node.attr("nfit/serial"),
        properties={"id": node.attr("nfit/id"), "state": node.attr("state")},
    )


def cxl(node: Node, _: Context) -> Facts | None:
    """A CXL memory device, or a region made of some."""
    if re.fullmatch(r"mem\d+", node.name):
        return Facts(
            model="CXL memory device",
            serial=node.attr("serial") if node.integer("serial") else "",
            node=node.devnode,
            properties={
                "volatile_size": _size(node.attr("ram/size")),
                "persistent_size": _size(node.attr("pmem/size")),
                "firmware": node.attr("firmware_version"),
                "numa_node": _known(node.attr("numa_node")),
            },
        )
    if re.fullmatch(r"region\d+", node.name):
        return Facts(
            model="CXL region",
            properties={
                "size": _size(node.attr("size")),
                "mode": node.attr("mode"),
                "uuid": node.attr("uuid"),
                "interleave_ways": node.attr("interleave_ways"),
                "interleave_granularity": _size(node.attr("interleave_granularity")),
                "start": node.attr("resource"),
            },
        )
    return None


# ---- accelerators --------------------------------------------------------------------------------


def drm(node: Node, _: Context) -> Facts | None:
    """A GPU's render node: what computes. Nodes that only show pictures are left out."""
    if not node.name.startswith("renderD"):
        return None
    return Facts(node=node.devnode, properties={"kind": "gpu"})


def accel(node: Node, _: Context) -> Facts | None:
    """A compute accelerator (kernel documentation: accel/introduction.rst)."""
    return Facts(node=node.devnode, properties={"kind": "accel"})


def fpga(node: Node, _: Context) -> Facts | None:
    """An FPGA manager: what programs an FPGA."""
    return Facts(
        model=node.attr("name"),
        node=node.devnode,
        properties={"kind": "fpga", "manager_state": node.attr("state")},
    )


def remoteproc(node: Node, _: Context) -> Facts | None:
    """A processor beside the main ones: DSP, microcontroller, NPU."""
    return Facts(
        model=node.attr("name"),
        properties={
            "kind": "remote processor",
            "processor_state": node.attr("state"),
            "firmware": node.attr("firmware"),
        },
    )


# ---- what else a program meets -------------------------------------------------------------------


def network(node: Node, _: Context) -> Facts | None:
    """A network interface, the machine's own loop excepted (<linux/if_arp.h>)."""
    if node.attr("type") == "772":
        return None
    virtual = "/devices/virtual/" in node.path
    return Facts(
        model=f"virtual interface {node.properties.get('DEVTYPE', '')}".strip() if virtual else "",
        addresses=[address] if (address := node.attr("address")) else [],
        properties={
            "link": node.attr("operstate"),
            "speed": _bit_rate(node.attr("speed")),
            "mtu": node.attr("mtu"),
            "kind": node.properties.get("DEVTYPE", ""),
        },
    )


def video(node: Node, _: Context) -> Facts | None:
    """A camera, codec or tuner."""
    return Facts(model=node.attr("name"), node=node.devnode)


def sound(node: Node, _: Context) -> Facts | None:
    """A sound card."""
    number = node.name.removeprefix("card")
    if not number.isdigit():
        return None
    return Facts(model=node.attr("id"), node=f"/dev/snd/controlC{number}")


SOURCES = (
    Source("serial", "tty", serial_line),
    Source("i2c", "i2c", i2c),
    Source("spi", "spi_master", spi_controller),
    Source("spi", "spi", spi),
    Source("gpio", "gpio", gpio),
    Source("iio", "iio", iio),
    Source("pwm", "pwm", pwm),
    Source("led", "leds", led),
    Source("hwmon", "hwmon", hwmon),
    Source("pci", "pci", pci),
    Source("usb", "usb", usb),
    Source("memory", "node", numa_node),
    Source("memory", "dax", dax),
    Source("memory", "block", pmem),
    Source("memory", "nd", nvdimm),
    Source("memory", "cxl", cxl),
    Source("accelerator", "drm", drm),
    Source("accelerator", "accel", accel),
    Source("accelerator", "fpga_manager", fpga),
    Source("accelerator", "remoteproc", remoteproc),
    Source("network", "net", network),
    Source("video", "video4linux", video),
    Source("sound", "sound", sound),
)
"""Everything that is looked for. A class may come from several subsystems."""


def hardware(node: Node, context: Context) -> tuple[str, str, str]:
    """Vendor, model and serial number of the USB or PCI device, or chip, that `node` is part of."""
    for step in node.line():
        if step.subsystem == "usb" and step.properties.get("DEVTYPE") == "usb_device":
            return *_usb_name(step, context), usb_serial(step)
        if step.subsystem == "pci":
            return *_pci_name(step, context), ""
        if compatible := step.properties.get("OF_COMPATIBLE_0"):  # Device tree: "vendor,model".
            vendor, comma, model = compatible.partition(",")
            return (vendor, model, "") if comma else ("", compatible, "")
    return "", "", ""


def _by_node(node: Node, driver: str, address: str = "") -> Facts:
    """A device that a driver opens by its node."""
    devnode = node.devnode
    uri = f"{driver}:{address.removeprefix(f'{driver}:') or devnode}" if address or devnode else ""
    return Facts(driver=driver, uri=uri, node=devnode)


def _hex(node: Node, name: str) -> int:
    return node.integer(name) or 0


def _code(node: Node, name: str) -> int:
    try:
        return int(node.attr(name), 16)
    except ValueError:
        return 0


def _bit_rate(text: str) -> str:
    """Bits a second, from the kernel's Mbit/s; "" when it knows none."""
    try:
        rate = float(text)
    except ValueError:
        return ""
    return f"{rate * 1e6:.0f}" if rate > 0 else ""


def _known(text: str) -> str:
    """A NUMA node; the kernel writes -1 for none."""
    return "" if text == "-1" else text


def _size(text: str) -> str:
    """A size that the kernel may give in hexadecimal."""
    try:
        return str(int(text, 0))
    except ValueError:
        return ""
