# SPDX-License-Identifier: Apache-2.0
"""One device, as discovery tells it; and what a whole look at a machine gives."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final

CLASSES: Final = (
    "serial",
    "i2c",
    "spi",
    "gpio",
    "iio",
    "pwm",
    "led",
    "hwmon",
    "pci",
    "usb",
    "memory",
    "accelerator",
    "network",
    "video",
    "sound",
    "remote",
    "instrument",
    "radio",
    "automation",
)
"""Every value of `Record.device_class`, in the order of lists.

The last four are of the network: devices of ours on other machines, test instruments (LXI), radios
(SoapyRemote), and what home and factory automation announces.
"""

TRUSTS: Final = {
    "local": "the kernel of this machine tells of it",
    "unverified": "it said so itself on the network; nothing proves it",
    "verified": "it has proved its identity over the secure link",
}
"""Every value of `Record.trust` and its meaning."""

EXCLUSIVE: Final = ("serial", "iio")
"""Classes whose devices one program has at a time; others are shared, as by the kernel's design."""

STATES: Final = {
    "free": "you may open it, and nobody holds it (or it can be shared; `detail` says with whom)",
    "ready": "you may open it; whether somebody holds it was not asked",
    "busy": "a process has it open, and it cannot be shared",
    "kernel": "a kernel driver works with it",
    "denied": "its node is there but your rights do not suffice",
    "no node": "the kernel has the device but gives programs no node to open",
    "no driver": "the HAL driver for it is not installed, or was refused",
    "present": "it is there; there is no node by which programs would open it",
    "announced": "it says on the network that it is there; it was not asked",
    "reachable": "its address answers",
    "silent": "it says on the network that it is there, but its address does not answer",
    "cloned": "two devices at two places claim to be it; `detail` says where",
}
"""Every value of `Record.state` and its meaning."""


@dataclass(frozen=True, slots=True)
class Fit:
    """A driver that fits a device.

    Attributes:
        driver: Its name.
        uri: What to open.
        score: How well it fits; the scale is that of <hal/match.h> (docs/discovery-matching.md).
        why: What it was that fitted, for people: the row of the driver's table.
    """

    driver: str
    uri: str
    score: int
    why: str

    def __str__(self) -> str:
        return f"{self.driver}: {self.why} (score {self.score})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """A device: who it is, where it is, what would serve it.

    Text that is not known is "". Text that came from a device holds no control characters.

    Attributes:
        id: UUID that stays the same after a reboot; see `hal.discovery.identity` for the rule.
        identity: What `id` was derived from, for people.
        name: The kernel's name, "ttyUSB0", "0000:00:03.0"; may change when devices come and go.
        device_class: One of `CLASSES`.
        vendor: Maker of the hardware.
        model: What the hardware is.
        serial: Its serial number.
        driver: Name of the HAL driver that fits best; "" when none does.
        kernel_driver: Name of the kernel driver bound to the hardware.
        uri: What to give to `hal.open()`; "" when no HAL driver fits.
        fits: Every driver that fits, the best first.
        names: Logical names that the configuration file gives it.
        node: The device node, or file of sysfs, that a program opens; "" when there is none.
        addresses: Every way to name it, best first: node, links to it, bus or MAC address.
        properties: What else the kernel says. Sizes are in bytes, speeds in bit/s.
        state: One of `STATES`.
        detail: What `state` does not say: who holds it, which right is missing.
        subsystem: The kernel's bus or class that lists it, "tty", "pci".
        path: Its folder below /sys, "/devices/...".
        parent: `id` of the nearest device above it that has a record; "" when there is none.
        host: Name of the machine it is on; "" for this one.
        trust: One of `TRUSTS`.
        sources: Who saw it: "local", "mdns", "ssdp", "static", "dns".
        last_seen: When it was last seen, in seconds since 1970; 0 when that was not noted.
    """

    id: str
    identity: str
    name: str
    device_class: str
    vendor: str = ""
    model: str = ""
    serial: str = ""
    driver: str = ""
    kernel_driver: str = ""
    uri: str = ""
    node: str = ""
    addresses: tuple[str, ...] = ()
    properties: Mapping[str, str] = field(default_factory=dict)
    state: str = "present"
    detail: str = ""
    subsystem: str = ""
    path: str = ""
    parent: str = ""
    host: str = ""
    trust: str = "local"
    sources: tuple[str, ...] = ("local",)
    last_seen: float = 0.0
    fits: tuple[Fit, ...] = ()
    names: tuple[str, ...] = ()

    @property
    def description(self) -> str:
        """Vendor and model in one text, "" when neither is known."""
        if self.model.lower().startswith(self.vendor.lower()):
            return self.model
        return f"{self.vendor} {self.model}".strip()

    def as_dict(self) -> dict[str, Any]:
        """The record as plain data, ready for `json.dumps`."""
        return asdict(self) | {
            "addresses": list(self.addresses),
            "sources": list(self.sources),
            "fits": [asdict(fit) for fit in self.fits],
            "names": list(self.names),
            "properties": dict(self.properties),
        }


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that could not be seen, and why; the rest was looked at all the same.

    Attributes:
        source: The class, or the device, that could not be described.
        cause: What went wrong.
    """

    source: str
    cause: str

    def __str__(self) -> str:
        return f"{self.source}: {self.cause}"


@dataclass(frozen=True, slots=True)
class Inventory:
    """What one look at a machine gave.

    Attributes:
        records: The devices, ordered by class and name.
        problems: What failed.
        unseen: For each class without a device: why there is none.
    """

    records: tuple[Record, ...]
    problems: tuple[Problem, ...]
    unseen: Mapping[str, str]

    def __iter__(self) -> Iterator[Record]:
        return iter(self.records)

    def __len__(self) -> int:
        return len(self.records)
