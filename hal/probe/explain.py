# SPDX-License-Identifier: Apache-2.0
"""hal-probe explain: which stage on the way to a device fails, and what to type next."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, cast

from hal.discovery import EXCLUSIVE, Inventory, Record, access, local_inventory

from . import output, vfio
from .drivers import driver_of, search_path
from .firmware import disabled
from .outcome import Exit, Failure
from .target import Target, address_of, find, scheme_of, usable_drivers


@dataclass(frozen=True)
class Stage:
    """One step on the way from a name to an open device.

    Attributes:
        name: What is looked at.
        ok: Is it as it has to be?
        text: What was found.
        advice: What to type, or to do, when it is not.
        code: The exit code that it gives then.
    """

    name: str
    ok: bool
    text: str
    advice: list[str] = field(default_factory=list)
    code: Exit = Exit.FAILED

    def as_dict(self) -> dict[str, object]:
        """The stage as plain data."""
        return {"stage": self.name, "ok": self.ok, "text": self.text, "next": self.advice}


def run(device: str, root: str, *, json: bool) -> Exit:
    """Print every stage; the first that fails gives the exit code."""
    inventory = local_inventory(root)  # Which drivers there are is a stage of its own.
    try:
        target: Target | None = find(device, inventory)
    except Failure as failure:
        target = None
        stages = [_unknown(device, failure, inventory, root)]
    if target is not None:
        stages = list(_stages(target, inventory, "" if root == "/" else os.path.realpath(root)))
        stages[1:1] = _firmware(target, root)
    failed = next((stage for stage in stages if not stage.ok), None)
    code = failed.code if failed else Exit.OK
    if json:
        _emit(device, target, stages, failed, code)
    else:
        _print(device, target, stages)
    return code


def _stages(target: Target, inventory: Inventory, root: str) -> Iterator[Stage]:
    record = target.record
    yield _name(target)
    if scheme_of(target.uri) == "vfio":
        yield from (Stage(*finding) for finding in vfio.look(target.uri, root))
        yield _driver(target)
        return
    if record is not None:
        yield _kernel(record)
    elif _is_empty_slot(target.node, root):
        text = "the kernel keeps this name for a UART, and found none: the board has no such port"
        yield Stage("kernel", False, text, ["hal-probe list --class serial"], Exit.NOT_FOUND)
    if record is None or target.node or record.driver:
        yield from _node_stages(target, inventory, root)
    if record is not None and record.fits:
        yield Stage("match", True, _match(record, target))
    yield _driver(target)


# ---- the name -----------------------------------------------------------------------------------


def _name(target: Target) -> Stage:
    record = target.record
    if record is None:
        return _uri(target.uri)
    words = filter(None, [f"{record.device_class} device {record.name}", record.description])
    stage = _uri(target.uri) if "?" in target.uri else None  # Options may be ill-formed.
    return Stage("name", True, ", ".join(words)) if stage is None or stage.ok else stage


def _uri(uri: str) -> Stage:
    """Let the library judge a URI that no device of this machine has."""
    from hal._abi import ffi, lib

    def text(string: Any) -> str:
        return cast("bytes", ffi.string(string)).decode("utf-8", "replace")

    parsed: Any = ffi.new("struct hal_uri *")
    if lib.hal_uri_parse(uri.encode(), parsed) < 0:
        return Stage("name", False, text(lib.hal_last_error()), ["hal-probe --help"], Exit.USAGE)
    words = f'URI of driver "{text(parsed.driver)}"'
    address = text(parsed.address)
    return Stage("name", True, f'{words}, address "{address}"' if address else words)


def _firmware(target: Target, root: str) -> list[Stage]:
    """A device that no record is of: does the device tree keep it from the kernel?"""
    if target.record is not None:
        return []
    why, steps = disabled(target.text, root)
    return [Stage("kernel", False, why, steps, Exit.NOT_FOUND)] if why else []


def _unknown(device: str, failure: Failure, inventory: Inventory, root: str = "/") -> Stage:
    """A name that nothing has: what it looks like tells what may be missing."""
    name = device.removeprefix("/dev/")
    why, steps = disabled(device, root)
    if why:
        return Stage("name", False, f"{failure.message}: {why}", steps, Exit.NOT_FOUND)
    hints = [hint for pattern, hint in _HINTS if re.match(pattern, name)]
    hints += _orphans(inventory) if re.match(r"tty(USB|ACM)|usb|serial/", name) else []
    text = failure.message
    if device.startswith("/") and os.path.exists(device):
        text = f"{device} is there, but is no node of a device that discovery knows"
    return Stage("name", False, text, [*hints, *failure.next], Exit.NOT_FOUND)


_HINTS = (
    (
        r"ttyUSB|ttyACM|serial/",
        "is the adapter plugged in? the kernel's last word: sudo dmesg | tail",
    ),
    (r"ttyS\d", "a UART the kernel did not find: the board has none, or firmware hides it"),
    (r"i2c|\d+-[0-9a-f]{4}", "sudo modprobe i2c-dev    # then: hal-probe list --class i2c"),
    (r"spi", "an SPI bus is enabled in the device tree; its node needs: sudo modprobe spidev"),
    (r"iio", "is the sensor's kernel driver loaded? lsmod, dmesg"),
    (r"video", "is the camera's kernel driver loaded? lsmod, dmesg"),
    (r"dax|pmem", "ndctl list --human; daxctl list --human"),
    (r"pts/|tty[a-z]\d", "a pseudo-terminal exists only while its program runs"),
)


def _orphans(inventory: Inventory) -> list[str]:
    """USB devices that no kernel driver has taken: the adapter that is meant may be among them."""
    return [
        f"USB device {record.name} ({record.description}, {record.properties.get('id', '?')}) "
        "has no kernel driver: is its module there? lsmod"
        for record in inventory
        if record.properties.get("interfaces") and not record.properties.get("interface_drivers")
    ]


# ---- the kernel's side --------------------------------------------------------------------------


def _kernel(record: Record) -> Stage:
    if record.state != "kernel":
        driver = f"kernel driver {record.kernel_driver}" if record.kernel_driver else ""
        console = "kernel messages go out on it (console)" if "console" in record.properties else ""
        words = filter(None, [f"/sys{record.path}", driver, console])
        return Stage("kernel", True, ", ".join(words))
    advice = []
    if record.device_class in ("pci", "spi", "i2c"):
        unbind = f"/sys/bus/{record.device_class}/drivers/{record.kernel_driver}/unbind"
        advice = [
            "# this takes it from the kernel; disks and interfaces on it go away:",
            f"echo {record.name} | sudo tee {unbind}",
        ]
    return Stage("kernel", False, f"it is in use by the kernel: {record.detail}", advice, Exit.BUSY)


def _is_empty_slot(node: str, root: str) -> bool:
    """Is this a tty that Linux makes for a UART which may be there, and is not?"""
    try:
        with open(f"{root}/sys/class/tty/{os.path.basename(node)}/type", encoding="ascii") as file:
            return file.read().strip() == "0"
    except OSError:  # No tty, or one that is no UART.
        return False


def _node_stages(target: Target, inventory: Inventory, root: str) -> Iterator[Stage]:
    node, record = target.node, target.record
    if not node and record is None:
        return  # A driver that opens no node, or whose address is not one.
    if not node:
        hint = [record.detail] if record and record.detail else []
        yield Stage("node", False, "the kernel gives programs no node", hint, Exit.NOT_FOUND)
        return
    try:
        rights = access.rights(root + node)
    except OSError as error:
        yield _no_node(node, error, record, inventory)
        return
    yield Stage("node", True, os.path.realpath(node) if not root else node)
    yield _rights(rights, record)
    yield _holder(node, root, exclusive=record is None or record.device_class in EXCLUSIVE)


def _no_node(node: str, error: OSError, record: Record | None, inventory: Inventory) -> Stage:
    if isinstance(error, PermissionError):
        text = f"{node}: a folder on the way to it may not be entered"
        return Stage("node", False, text, [f"namei -l {node}"], Exit.PERMISSION)
    if record is not None:
        advice = _NO_SYSFS_FILE if node.startswith("/sys/") else _NO_NODE
        text = f"{node}: {error.strerror}, though the kernel has the device"
        return Stage("node", False, text, advice, Exit.NOT_FOUND)
    unknown = _unknown(node, Failure("", Exit.NOT_FOUND, "", _similar(node)), inventory)
    return Stage("node", False, f"{node}: {error.strerror}", unknown.advice, Exit.NOT_FOUND)


_NO_NODE = [
    "sudo udevadm trigger    # has udevd look at all devices again",
    "in a container, start it with the node: docker run --device NODE ...",
]
_NO_SYSFS_FILE = [
    "the kernel was built without it, or is locked down: cat /sys/kernel/security/lockdown"
]


def _similar(node: str) -> list[str]:
    """Nodes beside it that are called alike."""
    folder, _, base = node.rpartition("/")
    stem = base.rstrip("0123456789")
    if not stem or not os.path.isdir(folder or "/"):
        return ["hal-probe list"]
    names = [name for name in sorted(os.listdir(folder or "/")) if name.startswith(stem)]
    return [f"there are: {', '.join(names)}"] * bool(names) + ["hal-probe list"]


def _rights(rights: access.Rights, record: Record | None) -> Stage:
    if rights.granted:
        return Stage("rights", True, str(rights))
    advice = access.remedy(rights, record.subsystem if record else "tty")
    return Stage("rights", False, f"Permission denied ({rights})", advice, Exit.PERMISSION)


def _holder(node: str, root: str, *, exclusive: bool) -> Stage:
    found, hidden = access.holders([os.path.realpath(root + node)], root)
    who = [holder for holders in found.values() for holder in holders]
    if not who:
        unseen = f" (not looked into: {hidden} processes of others)" if hidden else ""
        return Stage("holder", True, f"nobody has it open{unseen}")
    text = ", ".join(map(str, who))
    if not exclusive:
        return Stage("holder", True, f"open in {text} too; several may have it")
    advice = [f"kill {holder.pid}    # ends {holder.name}" for holder in who]
    return Stage("holder", False, f"held by {text}", advice, Exit.BUSY)


# ---- our side -----------------------------------------------------------------------------------


def _match(record: Record, target: Target) -> str:
    """Which drivers fit, and why the best one is it."""
    best, *others = record.fits
    text = str(best)
    if others:
        beaten = "; ".join(map(str, others))
        text += f" beats {beaten}" if best.score > others[0].score else f" comes before {beaten}"
    if target.uri and scheme_of(target.uri) != best.driver:
        text += f"; you have named {scheme_of(target.uri)}"
    return text


def _driver(target: Target) -> Stage:
    record = target.record
    name = scheme_of(target.uri) if target.uri else (record.driver if record else "")
    if not name:
        return Stage("driver", True, _none(record))
    driver = driver_of(name)
    if driver is None:
        return _no_driver(name)
    if driver.state == "refused":
        advice = ["build it against this libhal", "hal-probe drivers"]
        return Stage("driver", False, f"refused: {driver.reason}", advice)
    if not address_of(target.uri) and driver.address not in (None, "(none)"):
        text = f"it needs an address: {name}:{driver.address}"
        return Stage("driver", False, text, ["hal-probe list"], Exit.USAGE)
    words = (driver.name, driver.version, driver.path or "registered by a program")
    return Stage("driver", True, " ".join(filter(None, words)))


def _none(record: Record | None) -> str:
    """Why a device has no driver."""
    if record is None:
        return "no HAL driver serves this class; it is listed only"
    refused = [name for name, reason in usable_drivers().items() if reason]
    text = f"no HAL driver fits subsystem {record.subsystem}; it is listed only"
    return f"{text} (refused, see hal-probe drivers: {', '.join(refused)})" if refused else text


def _no_driver(name: str) -> Stage:
    known = [driver for driver, refusal in usable_drivers().items() if not refusal]
    text = f'no driver "{name}" in {", ".join(search_path())}; there are: {", ".join(known)}'
    advice = [f"put {name}.so into a folder and set HAL_DRIVER_PATH to it", "hal-probe drivers"]
    return Stage("driver", False, text, advice, Exit.NOT_FOUND)


# ---- output -------------------------------------------------------------------------------------


def _emit(
    device: str, target: Target | None, stages: list[Stage], failed: Stage | None, code: Exit
) -> None:
    data = {
        "device": device,
        "uri": target.uri if target else "",
        "record": target.record.as_dict() if target and target.record else None,
        "stages": [stage.as_dict() for stage in stages],
        "failed": failed.name if failed else None,
        "exit": int(code),
    }
    output.emit("explain", data)


def _print(device: str, target: Target | None, stages: list[Stage]) -> None:
    output.say(device, "bold")
    rows = [(f"  {stage.name}", "ok" if stage.ok else "fail", stage.text) for stage in stages]
    output.table((), rows)
    failed = [stage for stage in stages if not stage.ok]
    for stage in failed:
        output.say()
        output.say(f"{stage.name}: what to do" if stage.advice else f"{stage.name}: no advice")
        for line in stage.advice:
            output.command(line)
    if not failed:
        output.say()
        _print_fine(device, target)


def _print_fine(device: str, target: Target | None) -> None:
    if target is None or not target.uri:
        output.say("It is there. No HAL driver opens it.")
        return
    output.say("Nothing is in the way. To try it:")
    output.command(f"hal-probe test {device}")
