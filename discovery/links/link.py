# SPDX-License-Identifier: Apache-2.0
"""A link: what a device is reached over, how fast that is, and what it is good for."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Final

SUITS: Final = {
    "control": "registers, sensors, configuration: what is fine below 20 MB/s",
    "streaming": "cameras, recorders, small models: from 20 MB/s (USB 2.0)",
    "general inference": "from 0.9 GB/s (PCIe 3.0 x1): 1 GB of weights is loaded in about a "
    "second, and after that only activations cross the link",
    "memory expansion": "processors load and store in it, and caches stay coherent: memory nodes "
    "without processors, CXL.mem",
    "coherent multi-device work": "devices work on one another's memory with coherent caches: "
    "CXL.cache (accelerators of type 1 and 2), XGMI and the like",
}
"""Every value of `Link.suits` and the rule that gives it."""

STREAMING = 20e6
INFERENCE = 0.9e9
"""Bytes a second from which a link suits the work."""


@dataclass(frozen=True, slots=True)
class Rate:
    """How fast a link is, by its standard.

    Attributes:
        text: For people, "8 GT/s x4".
        standard: "PCIe 3.0", "USB 3.2 Gen 1".
        lanes: How many, each way; 1 where the standard knows none.
        encoding: What the wire adds to the bytes.
        bandwidth: Bytes a second, each way, after encoding. Headers and flow control take more.
    """

    text: str
    standard: str
    lanes: int
    encoding: str
    bandwidth: float


@dataclass(frozen=True, slots=True)
class Hop:
    """One link on the way from a device to the processor.

    Attributes:
        device: Its lower end.
        port: Its upper end, "" when that is the host itself.
        now: What it runs at; None when that is not told.
        possible: What both ends can together; None when that is not told.
    """

    device: str
    port: str
    now: Rate | None
    possible: Rate | None


@dataclass(frozen=True, slots=True)
class Finding:
    """Why a device has a slower link than it could have.

    Attributes:
        cause: "older port", "slot width", "lanes lost", "trained down", "slower above",
            "USB 2 port", "USB 2 cable", "older hub", "cable".
        text: What was seen, and what to do.
    """

    cause: str
    text: str


@dataclass(frozen=True, slots=True)
class Fabric:
    """A link from device to device beside the way to the processor.

    Attributes:
        kind: "xgmi", "infiniband", "ethernet" (RDMA over it).
        name: What the kernel calls it: a hive's id, a port.
        peers: Kernel names of the devices at its other ends, where it tells them.
        bandwidth: Bytes a second each way, None when the kernel does not tell.
    """

    kind: str
    name: str
    peers: tuple[str, ...]
    bandwidth: float | None


@dataclass(frozen=True, slots=True)
class Access:
    """What the firmware says of a memory node as its nearest processors see it (ACPI HMAT).

    Attributes:
        read_latency: In nanoseconds; None when the firmware does not say, as for the others.
        write_latency: In nanoseconds.
        read_bandwidth: In bytes a second.
        write_bandwidth: In bytes a second.
    """

    read_latency: int | None
    write_latency: int | None
    read_bandwidth: float | None
    write_bandwidth: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Link:
    """The link a device sits on.

    Attributes:
        id: The device's, as in its record.
        name: The kernel's name for it.
        device_class: As in its record.
        description: Vendor and model.
        bus: "pcie", "pci", "cxl", "usb", "i2c", "spi", "memory", "platform".
        now: What the link runs at; None when the kernel does not tell.
        device_max: What the device can.
        port: Kernel name of the port above it.
        port_max: What that can.
        slot: The name of the slot on the board, where the firmware has one.
        hops: Every link up to the processor, the device's own first.
        bandwidth: Bytes a second each way, of the slowest hop; from the firmware for memory.
        bandwidth_possible: What the device could have in the best port; None when not known.
        protocols: "CXL.io", "CXL.mem", "CXL.cache".
        fabrics: Links to other devices.
        numa_node: The node it is near; None when the firmware does not say.
        distances: From that node to each node (ACPI SLIT; 10 is local), by node.
        access: For memory: what the firmware says of its speed.
        suits: What it is good for, of `SUITS`.
        findings: Why it is slower than the device could; empty when it is not.
        notes: What else is worth knowing.
    """

    id: str
    name: str
    device_class: str
    description: str = ""
    bus: str
    now: Rate | None = None
    device_max: Rate | None = None
    port: str = ""
    port_max: Rate | None = None
    slot: str = ""
    hops: tuple[Hop, ...] = ()
    bandwidth: float | None = None
    bandwidth_possible: float | None = None
    protocols: tuple[str, ...] = ()
    fabrics: tuple[Fabric, ...] = ()
    numa_node: int | None = None
    distances: dict[int, int] | None = None
    access: Access | None = None
    suits: tuple[str, ...] = ()
    findings: tuple[Finding, ...] = ()
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """The link as plain data, ready for `json.dumps`."""
        return asdict(self)


def suits(
    bandwidth: float | None, *, memory: bool = False, coherent: bool = False
) -> tuple[str, ...]:
    """What a link is good for, by the rule in `SUITS`.

    Args:
        bandwidth: Bytes a second each way, None when it is not known.
        memory: Do processors load and store through it, coherently?
        coherent: Do devices share memory over it, coherently?
    """
    fit = []
    if memory:
        fit.append("memory expansion")
    if coherent:
        fit.append("coherent multi-device work")
    if bandwidth is not None and not memory:
        if bandwidth >= INFERENCE:
            fit.append("general inference")
        else:
            fit.append("streaming" if bandwidth >= STREAMING else "control")
    return tuple(fit)


def slowest(hops: tuple[Hop, ...]) -> float | None:
    """Bandwidth of the slowest hop; None when none tells its own."""
    return min((hop.now.bandwidth for hop in hops if hop.now), default=None)
