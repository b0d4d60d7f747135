# SPDX-License-Identifier: Apache-2.0
"""Which device a user means: by URI, logical name, kernel name, node, address or id."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import hal
from hal.discovery import Inventory, Record, local_inventory

from .outcome import Exit, Failure

_SCHEME = re.compile(r"^([A-Za-z0-9][\w.-]*):(.*)$", re.DOTALL)

_HARDWARE = re.compile(r"^([0-9a-f]{4}:)?[0-9a-f]{2}[:.][0-9a-f]", re.IGNORECASE)
"""How PCI and MAC addresses begin; as URIs they would be of a driver called "0000"."""


@dataclass(frozen=True)
class Target:
    """What a user named.

    Attributes:
        text: As it was typed.
        uri: What `hal.open()` takes, "" when no driver serves it.
        record: What the inventory knows of it, None when it is not in there.
    """

    text: str
    uri: str
    record: Record | None

    @property
    def node(self) -> str:
        """The path that opening it opens; "" when it has none or it is not known."""
        if self.record is not None:
            return self.record.node
        address = address_of(self.uri)
        return address if address.startswith("/") else ""


def usable_drivers() -> dict[str, str]:
    """Names of the HAL drivers, each with the reason why it cannot be used, "" when it can."""
    hal.load_drivers()  # Whether a plug-in works is known once it is loaded.
    return {driver.name: driver.reason or "" for driver in hal.drivers()}


def look(root: str = "/", *, holders: bool = False) -> Inventory:
    """The inventory, with states that take account of the installed drivers."""
    return local_inventory(root, drivers=usable_drivers(), holders=holders)


def find(text: str, inventory: Inventory) -> Target:
    """What `text` names.

    Raises:
        Failure: Nothing has that name.
    """
    uri = hal.bindings().get(text) or _configured(text, inventory) or text
    record = _record(uri, inventory)
    if record is not None:
        return Target(text, uri if _is_uri(uri) and uri != record.name else record.uri, record)
    if _is_uri(uri):
        return Target(text, uri, None)
    if _is_tty(text):
        return Target(text, f"uart:{text}", None)
    raise Failure(
        f'find "{text}": no device, driver or logical name is called so',
        Exit.NOT_FOUND,
        hal.NotFound.kind,
        suggestions(text, inventory),
    )


def _configured(text: str, inventory: Inventory) -> str:
    """The URI of a logical name of the configuration file; "" when it is none."""
    name = text.partition("?")[0]
    if ":" in name or "/" in name or name in usable_drivers():
        return ""
    try:
        known = hal.names.known()
    except hal.InvalidArgument:  # A file that is wrong is in the way of its own names only.
        if _record(text, inventory) is None:
            raise
        return ""
    return hal.names.resolve(name, inventory) if name in known else ""


def address_of(uri: str) -> str:
    """The address of a URI, options cut off."""
    match = _SCHEME.match(uri)
    return match[2].split("?", 1)[0] if match else ""


def scheme_of(uri: str) -> str:
    """The driver of a URI."""
    match = _SCHEME.match(uri)
    return match[1] if match else uri.split("?", 1)[0]


def suggestions(text: str, inventory: Inventory) -> list[str]:
    """Names that look like `text`, and the command that lists all of them."""
    from difflib import get_close_matches

    names = {alias: record for record in inventory for alias in _aliases(record)}
    near = get_close_matches(text, names, n=6, cutoff=0.7)
    near += [name for name in names if text and text.lower() in name.lower()]
    meant = dict.fromkeys(names[name].uri or names[name].name for name in near)
    return [f"did you mean {name}?" for name in list(meant)[:3]] + ["hal-probe list"]


def _is_uri(text: str) -> bool:
    if _HARDWARE.match(text):
        return False
    return bool(_SCHEME.match(text)) or text.split("?", 1)[0] in usable_drivers()


def _is_tty(path: str) -> bool:
    """Is this the node of a tty? Pseudo-terminals, which are not listed, are named so."""
    try:
        number = os.stat(path).st_rdev
    except (OSError, ValueError):
        return False
    major, minor = os.major(number), os.minor(number)
    if 136 <= major <= 143:  # Kernel documentation, admin-guide/devices.txt: Unix98 PTY slaves
        return True
    try:
        return os.readlink(f"/sys/dev/char/{major}:{minor}/subsystem").endswith("/tty")
    except OSError:  # No device: a plain file, or a node without one.
        return False


def _record(text: str, inventory: Inventory) -> Record | None:
    """The record with that name, or the one that a URI, a link or a folder of sysfs leads to."""
    plain = text.split("?", 1)[0]
    wanted = {text, plain, os.path.realpath(plain) if plain.startswith("/") else plain}
    driver, address = scheme_of(plain), address_of(plain)
    if address:
        node = address if address.startswith("/") else f"/dev/{address}"
        wanted |= {f"{driver}:{node}", f"{driver}:{os.path.realpath(node)}"}
    exact = next((record for record in inventory if wanted & _aliases(record)), None)
    if exact is not None or not address:
        return exact
    part = address.rpartition("/")[0]  # "gpiochip0/4,5", "1/0x51": a part of a device.
    names = {part, f"{driver}:{part}"} - {""}
    parts = (r for r in inventory if r.driver == driver and names & _aliases(r))
    return next(parts, None)


def _aliases(record: Record) -> set[str]:
    names = {record.name, record.id, record.uri, record.node, f"/sys{record.path}"}
    return (names | set(record.addresses)) - {""}
