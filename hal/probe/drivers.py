# SPDX-License-Identifier: Apache-2.0
"""hal-probe drivers: which drivers there are, which do not work and why."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, replace

import hal
from hal import Access, Attribute, DriverInfo

from . import output
from .outcome import Exit


def run(*, verbose: bool, json: bool) -> Exit:
    """Load every plug-in of the search path, and tell what came of it."""
    before = {driver.name: driver.state for driver in hal.drivers()}
    hal.load_drivers()
    found = sorted(hal.drivers(), key=lambda driver: driver.name)
    states = {driver.name: _state(driver, before) for driver in found}
    if json:
        output.emit("drivers", _data(found, states))
    else:
        _print(found, states, verbose=verbose)
    return Exit.FAILED if "refused" in states.values() else Exit.OK


def search_path() -> list[str]:
    """The folders that plug-ins are looked for in, first to last."""
    extra = os.environ.get("HAL_DRIVER_PATH", "").split(":")
    return [*filter(None, extra), hal.driver_dir()]


def library() -> dict[str, object]:
    """Version and ABI of the library."""
    from hal._abi import lib

    return {"version": hal.version(), "abi": int(lib.HAL_ABI_VERSION)}


def driver_of(name: str) -> DriverInfo | None:
    """The driver of that name, loaded if it can be; None when there is none."""
    found = {driver.name: driver for driver in hal.drivers()}.get(name)
    if found is None or found.state != "loadable" or not found.path:
        return found
    try:
        hal.load_driver(found.path)
    except hal.Error as error:
        return replace(found, state="refused", reason=str(error))
    return {driver.name: driver for driver in hal.drivers()}.get(name)


def driver_data(driver: DriverInfo) -> dict[str, object]:
    """A driver as plain data."""
    return {
        "name": driver.name,
        "state": driver.state,
        "version": driver.version or "",
        "summary": driver.summary or "",
        "address": driver.address or "",
        "path": driver.path or "",
        "reason": driver.reason or "",
    }


def attribute_data(attribute: Attribute) -> dict[str, object]:
    """An attribute's description as plain data."""
    return {
        "name": attribute.name,
        "type": type_name(attribute),
        "unit": attribute.unit or "",
        "access": access_name(attribute),
        "range": list(attribute.range) if attribute.range else None,
        "choices": list(attribute.choices),
        "initial": attribute.initial,
        "doc": attribute.doc,
    }


def type_name(attribute: Attribute) -> str:
    """One of "bool", "int", "float", "text", "choice"."""
    if attribute.choices:
        return "choice"
    return "text" if attribute.type is str else attribute.type.__name__


def access_name(attribute: Attribute) -> str:
    """Letters: "r" and "w" for read and write, "o" when it may be given in the URI."""
    letters = ((Access.READ, "r"), (Access.WRITE, "w"), (Access.OPEN, "o"))
    return "".join(letter for bit, letter in letters if attribute.access & bit)


def limits(attribute: Attribute) -> str:
    """What an attribute may hold, in one text."""
    if attribute.choices:
        return " ".join(attribute.choices)
    if attribute.range:
        return f"{attribute.range[0]:.12g} .. {attribute.range[1]:.12g}"
    return ""


def _state(driver: DriverInfo, before: Mapping[str, str]) -> str:
    """A plug-in that was loaded just now, to see whether it can be, is one that can be loaded."""
    if driver.state == "registered" and before.get(driver.name) == "loadable":
        return "loadable"
    return driver.state


def _data(found: list[DriverInfo], states: dict[str, str]) -> dict[str, object]:
    return {
        "library": library(),
        "search_path": search_path(),
        "drivers": [
            driver_data(driver)
            | {
                "state": states[driver.name],
                "attributes": [attribute_data(attribute) for attribute in driver.attributes],
                "matches": [asdict(row) for row in driver.matches],
            }
            for driver in found
        ],
    }


def _print(found: list[DriverInfo], states: dict[str, str], *, verbose: bool) -> None:
    facts = library()
    output.say(f"libhal {facts['version']}, driver ABI {facts['abi']}")
    output.say("plug-ins are looked for in:")
    for folder in search_path():
        output.say(f"  {folder}" if os.path.isdir(folder) else f"  {folder} (not there)")
    output.say()
    rows = [
        (d.name, states[d.name], d.version or "-", d.address or "-", d.summary or d.path or "-")
        for d in found
    ]
    output.table(("NAME", "STATE", "VERSION", "ADDRESS", "WHAT"), rows)
    for driver in found:
        if driver.reason:
            output.say()
            output.say(f"{driver.name} refused: {driver.reason}")
            output.say(f"  {driver.path}")
    if verbose:
        for driver in found:
            _print_attributes(driver)


def _print_attributes(driver: DriverInfo) -> None:
    if not driver.attributes and not driver.matches:
        return
    output.say()
    output.say(f"{driver.name}: {driver.path or 'registered by a program'}", "bold")
    if driver.matches:
        fits = [
            (f"  {row.fits}", f"{driver.name}:{row.address}", row.note) for row in driver.matches
        ]
        output.table(("  FITS", "OPENED BY", "WHAT"), fits)
    if not driver.attributes:
        return
    rows = [
        (f"  {a.name}", type_name(a), a.unit or "-", access_name(a), a.initial or "-", limits(a))
        for a in driver.attributes
    ]
    output.table(("  ATTRIBUTE", "TYPE", "UNIT", "ACCESS", "INITIAL", "RANGE"), rows)
