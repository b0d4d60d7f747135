# SPDX-License-Identifier: Apache-2.0
"""Which drivers there are, which could not be loaded and why, and logical names."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from . import _core
from .attributes import Attribute
from .errors import NotFound

__all__ = [
    "DriverInfo",
    "Match",
    "bind",
    "bindings",
    "driver_dir",
    "drivers",
    "load_driver",
    "load_drivers",
    "source_archive",
    "unbind",
    "version",
]

State = Literal["registered", "loadable", "refused"]

# enum hal_driver_state
_STATES: dict[int, State] = {1: "registered", 2: "loadable", 3: "refused"}


@dataclass(frozen=True)
class Match:
    """One row of a driver's table: which devices it fits (docs/discovery-matching.md).

    Attributes:
        fits: Words KIND:GLOB with a space between them; each has to fit.
        address: What follows "driver:" in the URI; {node}, {name} ... stand for the device's.
        note: What these devices are, for people; "" when there is nothing to add.
    """

    fits: str
    address: str
    note: str = ""


@dataclass(frozen=True)
class DriverInfo:
    """One driver.

    Attributes:
        name: The scheme of its URIs.
        state: "registered" (ready), "loadable" (a plug-in nobody has asked for yet) or "refused".
        path: The plug-in's file; None for a driver that the program registered.
        version: The plug-in's; None when it is not known.
        summary: What it drives; None when it is not known.
        address: Form of its address; None when it is not known.
        reason: Why it is refused; else None.
        open: How many of its devices are open.
        attributes: What all its devices have; empty when it is not known.
        matches: Which devices it fits; empty when it fits none, or it is not known.
    """

    name: str
    state: State
    path: str | None
    version: str | None
    summary: str | None
    address: str | None
    reason: str | None
    open: int
    attributes: tuple[Attribute, ...]
    matches: tuple[Match, ...] = ()


def drivers() -> list[DriverInfo]:
    """Every driver: registered ones, then the plug-in files of the search path.

    It loads nothing; after load_drivers() it knows of every plug-in whether it works. Any thread.
    """
    return [_info(fields) for fields in _core.drivers()]


def _info(fields: _core.DriverFields) -> DriverInfo:
    name, state, path, version, summary, address, reason, opened, rows, fits = fields
    attributes = tuple(map(Attribute.from_fields, rows))
    matches = tuple(Match(*row) for row in fits)
    return DriverInfo(
        name, _STATES[state], path, version, summary, address, reason, opened, attributes, matches
    )


def load_drivers() -> int:
    """Load every plug-in of the search path; how many were refused. Any thread."""
    return _core.load_drivers()


def load_driver(path: str | os.PathLike[str]) -> None:
    """Load one plug-in by its path, wherever it is. Any thread.

    Raises:
        NotFound: There is no such file.
        Error: It was built for another ABI (EPROTONOSUPPORT; the text has both versions), is no
            plug-in (ENOEXEC), or its name is taken (EEXIST).
    """
    _core.load_driver(os.fspath(path))


def driver_dir() -> str:
    """The library's own driver folder."""
    return _core.driver_dir()


def source_archive() -> Path:
    """What libhal is built from, a tar file: for libhal.a on another machine (docs/light.md).

    Raises:
        NotFound: This libhal came without it.
    """
    folder = Path(driver_dir()).parents[2] / "share" / "hal"
    path = folder / f"libhal-{version()}.tar.xz"
    if not path.is_file():
        raise NotFound(f'find "{path}": this libhal was installed without its source')
    return path


def bind(name: str, uri: str) -> None:
    """Bind a logical name to a URI: ``hal.open(name)`` then opens it. Any thread."""
    _core.bind(name, uri)


def unbind(name: str) -> None:
    """Undo bind(); devices that are open stay open. Any thread."""
    _core.unbind(name)


def bindings() -> dict[str, str]:
    """Every logical name with its URI."""
    return _core.bindings()


def version() -> str:
    """The version of the libhal that is loaded."""
    return _core.version()
