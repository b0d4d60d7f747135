# SPDX-License-Identifier: Apache-2.0
"""One look at this machine: every source asked, every device made a record."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from . import access, config, identity, matching
from .record import CLASSES, EXCLUSIVE, Fit, Inventory, Problem, Record
from .sources import SOURCES, Context, Facts, Source, firmware, hardware
from .sysfs import Node, Sysfs, natural

EMPTY = "the kernel knows such devices and has found none"
ABSENT = "the kernel has no such subsystem (built without, or its module is not loaded)"


def local_devices(root: str = "/") -> list[Record]:
    """The devices of this machine, ordered by class and name.

    No device node is opened. See `local_inventory` for what could not be seen, and for states that
    take account of the installed drivers and of other processes.

    Args:
        root: Where the machine's root is; another than "/" reads a copied or made-up machine.
    """
    return list(local_inventory(root))


def local_inventory(
    root: str = "/",
    *,
    drivers: Mapping[str, str] | None = None,
    holders: bool = False,
    classes: Collection[str] = CLASSES,
    rows: Sequence[matching.Row] | None = None,
) -> Inventory:
    """The devices of this machine, and what could not be seen.

    Args:
        root: Where the machine's root is; another than "/" reads a copied or made-up machine.
        drivers: HAL drivers: name, and why it cannot be used ("" when it can). None: not
            considered.
        holders: Look through all processes for who holds which device. It takes a while on a busy
            machine (about 20 us an open file).
        classes: Which classes to look for.
        rows: What drivers say they fit; None: the tables of those installed.
    """
    return Standing(root, drivers=drivers, classes=classes, rows=rows).look(holders=holders)


class Standing:
    """What is known of a machine from earlier looks, so that a further one need not see all again.

    One thread uses it at a time.

    Args:
        root: As for `local_inventory`, and so the others.
        drivers: HAL drivers, and why they cannot be used.
        classes: Which classes to look for.
        rows: What drivers say they fit.
    """

    def __init__(
        self,
        root: str = "/",
        *,
        drivers: Mapping[str, str] | None = None,
        classes: Collection[str] = CLASSES,
        rows: Sequence[matching.Row] | None = None,
    ) -> None:
        self._root = root
        self._drivers = drivers
        self._classes = classes
        self._rows = rows
        self._context = Context(os.path.realpath(root).rstrip("/"))
        self._parts: dict[Source, _Part] = {}

    def look(
        self, subsystems: Collection[str] | None = None, *, holders: bool = False
    ) -> Inventory:
        """The devices now, and what could not be seen.

        Args:
            subsystems: The kernel's buses and classes to look at again, as its events name them;
                the rest is as it was seen last. None: all.
            holders: As for `local_inventory`.
        """
        problems: list[Problem] = []
        tree = _tree(self._root, problems)
        machine = tree.read(f"{tree.root}/etc/machine-id")
        settings = _settings(tree.root, problems)
        rows = matching.installed() if self._rows is None else self._rows
        known = _Known(rows, settings.overrides, self._drivers)
        for source in SOURCES:
            if source.device_class in self._classes and _concerns(subsystems, source):
                self._parts[source] = _part(source, tree, self._context, machine, known)
        parts = self._parts.values()
        found = [seen for part in parts for seen in part.found]
        records = [record for part in parts for record in part.records]
        problems += [problem for part in parts for problem in part.problems]
        problems += self._context.nameless()
        records = _linked(_tell_apart(records, found, machine, problems))
        records = _named(records, settings)
        if holders:
            records = _with_holders(records, tree.root, problems)
        return Inventory(
            tuple(records), tuple(problems), _unseen(tree, self._context, records, self._classes)
        )


_SPOKEN_FOR = {"i2c-dev": "i2c", "spidev": "spi"}
"""Subsystems that have no source, but whose devices are the nodes of those of another."""


def _concerns(subsystems: Collection[str] | None, source: Source) -> bool:
    """Are these (None: all) where devices of a source come from?"""
    if subsystems is None:
        return True
    return any(_SPOKEN_FOR.get(name, name) == source.subsystem for name in subsystems)


@dataclass(frozen=True, slots=True)
class _Seen:
    source: Source
    node: Node
    facts: Facts


@dataclass(frozen=True, slots=True)
class _Part:
    """What one source has given."""

    found: list[_Seen]
    records: list[Record]
    problems: list[Problem]


def _part(source: Source, tree: Sysfs, context: Context, machine: str, known: _Known) -> _Part:
    problems: list[Problem] = []
    found = list(_collect(source, tree, context, problems))
    return _Part(found, [_record(seen, machine, tree.root, known) for seen in found], problems)


def _tree(root: str, problems: list[Problem]) -> Sysfs:
    if os.path.realpath(root) != "/":
        return Sysfs(root)
    try:
        from .udev import Udev  # Loads libudev, which a minimal system may lack.
    except ImportError as error:
        problems.append(Problem("udev", f"{error}: reading sysfs alone, without udev's names"))
        return Sysfs(root)
    tree = Udev()
    if not tree.running:
        cause = "udevd is not running: no links like /dev/serial/by-id, node rights as the kernel"
        problems.append(Problem("udev", f"{cause} sets them"))
    return tree


def _collect(
    source: Source, tree: Sysfs, context: Context, problems: list[Problem]
) -> Iterable[_Seen]:
    try:
        nodes = list(tree.nodes(source.subsystem))
    except OSError as error:
        problems.append(Problem(source.device_class, f"{source.subsystem}: {error}"))
        return
    for node in nodes:
        facts = _described(source, node, context, problems)
        if facts is not None:
            yield _Seen(source, node, facts)


def _described(
    source: Source, node: Node, context: Context, problems: list[Problem]
) -> Facts | None:
    try:
        facts = source.describe(node, context)
        if facts is not None:
            _fill(facts, node, context)
    except (OSError, ValueError) as error:
        problems.append(Problem(source.device_class, f"{node.name}: {error}"))
        return None
    return facts


def _fill(facts: Facts, node: Node, context: Context) -> None:
    """What a describing function left open comes from the hardware underneath."""
    vendor, model, serial = hardware(node, context)
    facts.vendor = facts.vendor or vendor
    facts.model = facts.model or model
    facts.serial = facts.serial or serial
    links = node.properties.get("DEVLINKS", "").split()
    node_path = [facts.node] if facts.node.startswith("/dev/") else []
    names, told = firmware(node)
    facts.addresses = [*node_path, *links, *facts.addresses, *names]
    facts.properties |= told


@dataclass(frozen=True, slots=True)
class _Known:
    """What is known of drivers: their tables, what the configuration says, which can be used."""

    rows: Sequence[matching.Row]
    overrides: Sequence[matching.Override]
    drivers: Mapping[str, str] | None

    def fits(self, seen: _Seen) -> tuple[Fit, ...]:
        """The drivers that fit a device; those that can be used before those that cannot."""
        traits = matching.traits(seen.node, seen.source.subsystem)
        fields = matching.fields(seen.node, seen.facts.node) | seen.facts.fields
        found = matching.candidates(traits, fields, self.rows, self.overrides)
        return tuple(sorted(found, key=lambda fit: bool(self.unusable(fit.driver))))

    def unusable(self, driver: str) -> str:
        """Why a driver cannot be used; "" when it can, or nobody asked."""
        if self.drivers is None:
            return ""
        return self.drivers.get(driver, "it is not installed")


def _settings(root: str, problems: list[Problem]) -> config.Config:
    try:
        return config.load(root)
    except config.ConfigError as error:
        problems.append(Problem("configuration", str(error)))
        return config.Config()


def _named(records: list[Record], settings: config.Config) -> list[Record]:
    names = config.named(records, settings)
    return [replace(r, names=names[r.id]) if r.id in names else r for r in records]


def _record(seen: _Seen, machine: str, root: str, known: _Known) -> Record:
    source, node, facts = seen.source, seen.node, seen.facts
    key, meaning = identity.derive(source.device_class, node, machine)
    fits = known.fits(seen)
    best = fits[0] if fits else Fit("", "", 0, "")
    state, detail = _state(source.device_class, facts, root, best.driver, known)
    return Record(
        id=key,
        identity=meaning,
        name=node.name,
        device_class=source.device_class,
        vendor=facts.vendor,
        model=facts.model,
        serial=facts.serial,
        driver=best.driver,
        kernel_driver=_kernel_driver(node),
        uri=best.uri,
        fits=fits,
        node=facts.node,
        addresses=tuple(facts.addresses),
        properties={key: value for key, value in facts.properties.items() if value},
        state=state,
        detail=detail,
        subsystem=source.subsystem,
        path=node.devpath,
    )


_BINDING = {"pci", "usb", "spi", "platform", "pnp", "virtio", "amba", "dax", "nd", "cxl"}
"""Buses whose devices have a driver of their own, or none."""


def _kernel_driver(node: Node) -> str:
    """The driver that serves a device: its own, or that of the nearest one that may have one.

    "serial-base" (Linux 6.5) is a layer in between, bound to itself.
    """
    for step in node.line():
        client = step.subsystem == "i2c" and not step.name.startswith("i2c-")
        if (
            step.subsystem in _BINDING
            or client
            or (step.driver and step.subsystem != "serial-base")
        ):
            return step.driver
    return ""


_SERVED = ("serial", "i2c", "spi", "gpio", "iio", "pwm", "led", "hwmon")
"""Classes whose devices are nothing to programs without a HAL driver."""


def _state(
    device_class: str, facts: Facts, root: str, driver: str, known: _Known
) -> tuple[str, str]:
    if facts.kernel:
        return "kernel", facts.kernel
    if driver and known.unusable(driver):
        return "no driver", known.unusable(driver)
    if not driver and facts.node and device_class in _SERVED and known.drivers is not None:
        return "no driver", _none_fits(known.drivers)
    if (driver or facts.hint) and not facts.node:
        return "no node", facts.hint
    if not facts.node:
        return "present", ""
    try:
        rights = access.rights(root + facts.node, facts.mode)
    except OSError as error:
        return "no node", f"{facts.node}: {error.strerror}"
    return ("ready", "") if rights.granted else ("denied", str(rights))


def _none_fits(drivers: Mapping[str, str]) -> str:
    refused = [f"{name} ({reason})" for name, reason in drivers.items() if reason]
    return "none that is installed fits" + "; refused: " * bool(refused) + ", ".join(refused)


def _tell_apart(
    records: list[Record], found: list[_Seen], machine: str, problems: list[Problem]
) -> list[Record]:
    """Devices that claim one identity at two places get that of their place, all of them."""
    for record in _twins(records):
        if not record.identity.startswith("place"):
            cause = f"another device claims to be {record.identity} too; told apart by place"
            problems.append(Problem(record.name, cause))
    for rule in (identity.place, identity.path):
        twins = {record.path for record in _twins(records)}
        for index, seen in enumerate(found):
            if seen.node.devpath in twins:
                key, text = rule(seen.source.device_class, seen.node, machine)
                records[index] = replace(records[index], id=key, identity=text)
    return records


def _twins(records: list[Record]) -> list[Record]:
    count = Counter(record.id for record in records)
    return [record for record in records if count[record.id] > 1]


def _linked(records: list[Record]) -> list[Record]:
    """The records in order, each with the id of the nearest one above it."""
    by_path = {record.path: record.id for record in records}
    linked = [replace(record, parent=_above(record.path, by_path)) for record in records]
    return sorted(linked, key=lambda r: (CLASSES.index(r.device_class), natural(r.path)))


def _above(path: str, by_path: Mapping[str, str]) -> str:
    while path := path.rpartition("/")[0]:
        if path in by_path:
            return by_path[path]
    return ""


def _with_holders(records: list[Record], root: str, problems: list[Problem]) -> list[Record]:
    """The records, those that are ready told apart into free and busy."""
    nodes = {os.path.realpath(root + r.node) for r in records if r.state == "ready"}
    held, hidden = access.holders(nodes, root)
    if hidden:
        problems.append(
            Problem("holders", f"not looked into, for lack of rights: {hidden} processes")
        )
    return [
        _asked(record, held.get(os.path.realpath(root + record.node), [])) for record in records
    ]


def _asked(record: Record, held_by: list[access.Holder]) -> Record:
    if record.state != "ready":
        return record
    who = ", ".join(map(str, held_by))
    if who and record.device_class not in EXCLUSIVE:
        return replace(record, state="free", detail=f"shared with {who}")
    return replace(record, state="busy" if who else "free", detail=who)


def _unseen(
    tree: Sysfs, context: Context, records: list[Record], classes: Collection[str]
) -> dict[str, str]:
    """Why there is nothing of a class."""
    seen = {record.device_class for record in records}
    reasons = {}
    for device_class in CLASSES:
        if device_class in seen or device_class not in classes:
            continue
        kinds = [s.subsystem for s in SOURCES if s.device_class == device_class]
        if not kinds:
            continue  # Not a machine's own: of the network.
        reason = EMPTY if any(map(tree.folders, kinds)) else ABSENT
        reasons[device_class] = reason + _disabled(context, device_class)
    return reasons


_DISABLED_KINDS = ("serial", "i2c", "spi", "gpio", "pwm")
"""Classes whose devices' nodes in a device tree are called as they are."""


def _disabled(context: Context, device_class: str) -> str:
    """What the device tree has of a class and keeps from the kernel, "" when that is nothing."""
    if device_class not in _DISABLED_KINDS:
        return ""
    names = [name for name in context.disabled_nodes if name.partition("@")[0] == device_class]
    return f"; disabled in the device tree: {', '.join(names)}" if names else ""
