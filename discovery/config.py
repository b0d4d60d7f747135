# SPDX-License-Identifier: Apache-2.0
r"""The configuration file: logical names, and which driver to take (docs/names.md).

    [names]
    console = "uart:/dev/ttyS0?baud=115200"         # a URI
    gps = {serial = "A50285BI", class = "serial"}   # by identity
    left = {path = "/devices/pci0000:00/0000:00:14.0/usb1/1-2", class = "serial"}

    [match]
    "subsystem:tty usb:v0403p6001*" = "uart"

Files are read from HAL_CONFIG (then no other), $XDG_CONFIG_HOME/hal/hal.toml and
/etc/hal/hal.toml; what an earlier one says of a name or a device counts.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

from .matching import Override
from .record import CLASSES, Record

SYSTEM = "/etc/hal/hal.toml"
MAX_SIZE = 1 << 20
"""Most bytes of a file."""

_NOTHING: Mapping[str, str] = MappingProxyType({})
_NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}"
_FITS = r"[a-z0-9_]+:[^ ]+( [a-z0-9_]+:[^ ]+)*"
_DRIVER = r"([A-Za-z0-9][A-Za-z0-9_.-]{0,30})(?::(.+))?"
_KEYS = ("id", "serial", "path", "class", "vendor", "model", "name", "subsystem")


class ConfigError(ValueError):
    """A configuration file that is wrong: which, where in it, what to do."""


class Name(NamedTuple):
    """What a logical name stands for.

    Attributes:
        name: The name.
        uri: A URI; "" when it stands for a device that is looked for.
        wanted: What that device has: "id", "serial", "path" ...; all must be so.
        options: Of the URI, as they were written.
        place: File and key, for people.
    """

    name: str
    uri: str = ""
    wanted: Mapping[str, str] = _NOTHING
    options: Mapping[str, str] = _NOTHING
    place: str = ""

    def fits(self, record: Record) -> bool:
        """Does it stand for this device?"""
        if self.uri:
            bare = self.uri.partition("?")[0]
            return bare == record.uri.partition("?")[0] or bare in _uris(record)
        return all(_has(record, key, value) for key, value in self.wanted.items())

    def __str__(self) -> str:
        if self.uri:
            return self.uri
        return ", ".join(f"{key} {value}" for key, value in self.wanted.items())


class Config(NamedTuple):
    """What the files say.

    Attributes:
        names: Logical names.
        overrides: Which driver to take, in the order in which they are tried.
        files: The files that were read.
    """

    names: Mapping[str, Name] = MappingProxyType({})
    overrides: tuple[Override, ...] = ()
    files: tuple[str, ...] = ()


def files() -> list[str]:
    """Where configuration is looked for, what counts most first."""
    if chosen := os.environ.get("HAL_CONFIG"):
        return [chosen]
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    return [f"{home}/hal/hal.toml", SYSTEM]


def load(root: str = "") -> Config:
    """The configuration; that of another machine when its root is given.

    A file that has not changed is not parsed again. One that is not there is left out, but not one
    that HAL_CONFIG names.

    Raises:
        ConfigError: A file cannot be read, or is wrong.
    """
    paths = [f"{root}{SYSTEM}"] if root else files()
    needed = not root and "HAL_CONFIG" in os.environ
    parts = [part for path in paths if (part := _file(path, needed=needed)) is not None]
    names: dict[str, Name] = {}
    for part in reversed(parts):
        names |= part.names
    overrides = tuple(override for part in parts for override in part.overrides)
    return Config(names, overrides, tuple(path for part in parts for path in part.files))


def named(records: Iterable[Record], config: Config) -> dict[str, tuple[str, ...]]:
    """The logical names of each device that has some, by its id."""
    found: dict[str, list[str]] = {}
    for record in records if config.names else ():
        for name in config.names.values():
            if name.fits(record):
                found.setdefault(record.id, []).append(name.name)
    return {key: tuple(names) for key, names in found.items()}


def _has(record: Record, key: str, value: str) -> bool:
    if key == "class":
        return record.device_class == value
    if key == "path":  # Of the device, or of hardware that it is part of.
        path = value.removeprefix("/sys").rstrip("/")
        below = record.path == path or record.path.startswith(f"{path}/")
        return below or value in (record.node, *record.addresses)
    return str(getattr(record, key)) == value


def _uris(record: Record) -> set[str]:
    """The same URI with each name of the node: links below /dev are the device too."""
    return {f"{record.driver}:{address}" for address in record.addresses}


# ---- a file --------------------------------------------------------------------------------------


def _file(path: str, *, needed: bool) -> Config | None:
    try:
        about = os.stat(path)
        return _parsed(path, about.st_mtime_ns, about.st_size, about.st_ino)
    except FileNotFoundError as error:
        if not needed:
            return None
        raise ConfigError(f'read "{path}": {error.strerror}; HAL_CONFIG names it') from error
    except OSError as error:
        if not needed and isinstance(error, NotADirectoryError):
            return None
        raise ConfigError(f'read "{path}": {error.strerror}') from error


@lru_cache(maxsize=8)
def _parsed(path: str, _changed: int, size: int, _inode: int) -> Config:
    if size > MAX_SIZE:
        raise ConfigError(f'read "{path}": {size} bytes; {MAX_SIZE} at most')
    if sys.version_info >= (3, 11):
        import tomllib as toml
    else:
        import tomli as toml
    with open(path, "rb") as file:
        content = file.read(MAX_SIZE)
    try:
        table = toml.loads(content.decode())
    except (toml.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ConfigError(f'read "{path}": it is no TOML: {error}') from error
    if unknown := sorted(set(table) - {"names", "match"}):
        raise _wrong(path, unknown[0], "no such table; there are [names] and [match]")
    names = {name: _name(path, name, value) for name, value in _table(path, table, "names")}
    overrides = [_override(path, fits, value) for fits, value in _table(path, table, "match")]
    return Config(names, tuple(overrides), (path,))


def _wrong(path: str, key: str, what: str) -> ConfigError:
    return ConfigError(f'read "{path}": {key}: {what}')


def _table(path: str, content: Mapping[str, Any], name: str) -> Iterator[tuple[str, Any]]:
    table = content.get(name, {})
    if not isinstance(table, dict):
        raise _wrong(path, name, f"must be a table: [{name}]")
    return iter(table.items())


def _name(path: str, name: str, value: object) -> Name:
    key = f"names.{name}"
    if not re.fullmatch(_NAME, name):
        raise _wrong(path, key, "a letter or digit, then up to 30 letters, digits, _ - or .")
    if isinstance(value, str):
        value = {"uri": value}
    if not isinstance(value, dict) or not value:
        raise _wrong(path, key, 'must be a URI, or a table: {serial = "...", class = "serial"}')
    wanted = {k: v for k, v in value.items() if k not in ("uri", "options")}
    for word, text in wanted.items():
        if word not in _KEYS:
            known = ", ".join(("uri", "options", *_KEYS))
            raise _wrong(path, f"{key}.{word}", f"no such key; there are {known}")
        if not isinstance(text, str) or not text:
            raise _wrong(path, f"{key}.{word}", "must be a text that is not empty")
    if wanted.get("class", "serial") not in CLASSES:
        raise _wrong(path, f"{key}.class", f"must be one of {', '.join(CLASSES)}")
    uri = value.get("uri", "")
    if not isinstance(uri, str) or bool(uri) == bool(wanted):
        raise _wrong(path, key, "give either a uri, or what the device has: " + ", ".join(_KEYS))
    if uri and not re.match(r"[A-Za-z0-9][\w.-]*(:|\?|$)", uri):
        raise _wrong(path, key, f'"{uri}" is no URI: driver:address?option=value')
    return Name(name, uri, wanted, _options(path, key, value.get("options", {})), f"{path}, {key}")


def _options(path: str, key: str, options: object) -> dict[str, str]:
    if not isinstance(options, dict):
        raise _wrong(path, f"{key}.options", "must be a table such as {baud = 115200}")
    for word, value in options.items():
        if not isinstance(value, str | int | float):
            raise _wrong(path, f"{key}.options.{word}", "must be a text, a number, true or false")
    return {k: str(v).lower() if isinstance(v, bool) else str(v) for k, v in options.items()}


def _override(path: str, fits: str, value: object) -> Override:
    key = f'match."{fits}"'
    if not re.fullmatch(_FITS, fits):
        raise _wrong(path, key, "must be words KIND:GLOB, one space between: usb:v0403p6001*")
    found = re.fullmatch(_DRIVER, value) if isinstance(value, str) else None
    if found is None:
        raise _wrong(path, key, 'must be a driver, "uart", or one with an address, "uart:{node}"')
    return Override(fits, found[1], found[2] or "", path)
