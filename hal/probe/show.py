# SPDX-License-Identifier: Apache-2.0
"""hal-probe show: everything that is known of one device."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import hal
from hal import Access, Attribute, DriverInfo
from hal.attributes import Value
from hal.discovery import Record

from . import output
from .drivers import access_name, attribute_data, driver_data, driver_of, limits, type_name
from .outcome import Exit, Failure
from .registers import RegisterReading, read_registers, register_rows
from .target import Target, find, look, scheme_of

TIMEOUT = 5.0
"""Seconds that opening, and each attribute, may take."""


@dataclass(frozen=True)
class Reading:
    """An attribute and its value now.

    Attributes:
        attribute: What the driver says about it.
        value: None when it was not read.
        error: Why it was not, "" when nobody tried.
    """

    attribute: Attribute
    value: Value | None = None
    error: str = ""

    def as_dict(self) -> dict[str, object]:
        """The reading as plain data."""
        return attribute_data(self.attribute) | {"value": self.value, "error": self.error}


@dataclass(frozen=True)
class Sight:
    """All that was found out.

    Attributes:
        target: What the user named.
        driver: The driver that serves it, None when it is not installed.
        readings: Its attributes.
        failure: Why it could not be opened, None when it could, or was not to be.
        registers: What its registers hold, when a map was given.
    """

    target: Target
    driver: DriverInfo | None
    readings: list[Reading]
    failure: Failure | None
    registers: list[RegisterReading]

    def as_dict(self) -> dict[str, object]:
        """The whole as plain data."""
        record = self.target.record
        return {
            "device": self.target.text,
            "uri": self.target.uri,
            "record": record.as_dict() if record else None,
            "driver": driver_data(self.driver) if self.driver else None,
            "attributes": [reading.as_dict() for reading in self.readings],
            "failure": self.failure.as_dict() if self.failure else None,
            "registers": [reading.as_dict() for reading in self.registers],
        }


def run(device: str, root: str, *, opening: bool, json: bool, registers: str | None = None) -> Exit:
    """Print the device's record, its driver, and, opened, its attributes with their values."""
    target = find(device, look(root, holders=True))
    sight = _sight(target, registers, opening=opening and root == "/")
    if json:
        output.emit("show", sight.as_dict())
    else:
        _print(sight)
    return sight.failure.code if sight.failure else Exit.OK


def _sight(target: Target, registers: str | None, *, opening: bool) -> Sight:
    readings: list[Reading] = []
    values: list[RegisterReading] = []
    failure = None
    if opening and target.uri:
        try:
            readings, values = _read(target.uri, registers)
        except hal.Error as error:
            failure = Failure.of(error, [f"hal-probe explain {target.text}"])
            if target.record is None:  # Then there is nothing else to show.
                raise failure from error
    driver = driver_of(scheme_of(target.uri)) if target.uri else None
    if driver and not readings:
        readings = [Reading(attribute) for attribute in driver.attributes]
    return Sight(target, driver, readings, failure, values)


def _read(uri: str, registers: str | None) -> tuple[list[Reading], list[RegisterReading]]:
    with hal.open(uri, timeout=TIMEOUT) as device:
        device.timeout = TIMEOUT
        readings = [_reading(device, attribute) for attribute in device.attributes.describe_all()]
        return readings, read_registers(device, registers) if registers else []


def _reading(device: hal.Device, attribute: Attribute) -> Reading:
    if not attribute.access & Access.READ:
        return Reading(attribute, error="it can only be written")
    try:
        return Reading(attribute, device.attributes[attribute.name])
    except hal.Error as error:
        return Reading(attribute, error=str(error))


def _print(sight: Sight) -> None:
    target, driver = sight.target, sight.driver
    output.say(target.record.name if target.record else target.uri, "bold")
    facts = _record_facts(target.record) if target.record else {}
    if target.uri:
        facts |= {"uri": target.uri, **_driver_facts(driver, scheme_of(target.uri))}
    output.facts(facts)
    if sight.readings:
        output.say()
        output.table(("ATTRIBUTE", "VALUE", "TYPE", "ACCESS", "RANGE"), map(_row, sight.readings))
        output.say()
        meanings = [(reading.attribute.name, reading.attribute.doc) for reading in sight.readings]
        output.table(("ATTRIBUTE", "MEANING"), meanings)
        _print_unread(sight.readings)
    if sight.registers:
        output.say()
        output.table(("REGISTER", "OFFSET", "VALUE", "FIELDS"), register_rows(sight.registers))
    if sight.failure:
        output.say()
        output.say(f"not opened: {sight.failure.message}")
        for line in sight.failure.next:
            output.command(line)


def _record_facts(record: Record) -> dict[str, str]:
    return {
        "class": record.device_class,
        "logical names": " ".join(record.names),
        "vendor": record.vendor,
        "model": record.model,
        "serial number": record.serial,
        "state": f"{record.state}: {record.detail}" if record.detail else record.state,
        "node": record.node,
        "addresses": " ".join(record.addresses),
        "kernel driver": record.kernel_driver,
        "sysfs": f"/sys{record.path}",
        "id": record.id,
        "id stands on": record.identity,
        "fitting drivers": "; ".join(map(str, record.fits)),
        **record.properties,
    }


def _driver_facts(driver: DriverInfo | None, name: str) -> dict[str, str]:
    if driver is None:
        return {"driver": f"{name}: not installed"}
    return {
        "driver": f"{driver.name} {driver.version or ''} ({driver.state})",
        "plug-in": driver.path or "",
        "refused": driver.reason or "",
    }


def _row(reading: Reading) -> tuple[str, ...]:
    attribute, value = reading.attribute, reading.value
    text = str(value).lower() if isinstance(value, bool) else str(value)
    return (
        attribute.name,
        "-" if value is None else f"{text} {attribute.unit or ''}".strip(),
        type_name(attribute),
        access_name(attribute),
        limits(attribute),
    )


def _print_unread(readings: Iterable[Reading]) -> None:
    """Why values are missing, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for reading in readings:
        if reading.error:
            reason = reading.error.rpartition(": ")[2]
            by_reason.setdefault(reason, []).append(reading.attribute.name)
    for reason, names in by_reason.items():
        output.say()
        output.say(f"No value of {', '.join(names)}: {reason}.")
