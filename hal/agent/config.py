# SPDX-License-Identifier: Apache-2.0
"""The configuration of an agent, agent.toml: what is exported, where, to how many.

Nothing is exported and nothing listens beyond the loopback unless it says so. Every key that is not
known, and every value of a wrong type or out of range, is an error that names file and key. What
the keys mean is in docs/hal-agent.md as well.
"""

from __future__ import annotations

import dataclasses
import errno
import ipaddress
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, TypeVar

from hal.errors import InvalidArgument, NotFound, PermissionDenied
from hal.link.listener import LOOPBACK

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PORT: Final = 7362
SIZE_MAX: Final = 1 << 20
"""Most bytes of the file."""
DEVICES_MAX: Final = 4096
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,126}")
_URI: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]*(:|\?|$)")


def _number(default: float, least: float, most: float) -> Any:
    return field(default=default, metadata={"range": (least, most)})


@dataclass(frozen=True, slots=True)
class Listen:
    """Where the agent listens, unless systemd gives it its sockets.

    Attributes:
        host: An address; "::" is every one.
        port: TCP; 0 takes any.
    """

    host: str = LOOPBACK
    port: int = _number(PORT, 0, 65535)


@dataclass(frozen=True, slots=True)
class Limits:
    """How many there may be at one time.

    Attributes:
        links: Links in all.
        per_identity: Links of one controller.
        half_open: Connections that have not proved themselves yet, in all; when there are more, the
            oldest is closed.
        per_address: The same, of one address.
    """

    links: int = _number(256, 1, 10000)
    per_identity: int = _number(64, 1, 10000)
    half_open: int = _number(256, 1, 10000)
    per_address: int = _number(64, 1, 10000)


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a device is held.

    Attributes:
        keep: Most seconds that a lease outlives its lost link.
        longest: Seconds after which a lease ends in any case; 0: it does not.
    """

    keep: int = _number(60, 0, 3600)
    longest: int = _number(0, 0, 30 * 86400)


@dataclass(frozen=True, slots=True)
class AuditPlace:
    """Where the audit log goes.

    Attributes:
        file: Path; "": standard error, which the journal takes.
    """

    file: str = ""


@dataclass(frozen=True, slots=True)
class MetricsPlace:
    """Where Prometheus asks.

    Attributes:
        port: TCP, on the loopback alone; 0: nowhere.
    """

    port: int = _number(0, 0, 65535)


@dataclass(frozen=True, slots=True)
class Announce:
    """Whether and how the agent is announced on the network. It never is from the loopback.

    Attributes:
        enabled: Whether.
        protocols: Of "mdns" and "ssdp".
        interfaces: Names of network interfaces; empty: all.
        model: What this machine is, for people.
    """

    enabled: bool = True
    protocols: tuple[str, ...] = ("mdns", "ssdp")
    interfaces: tuple[str, ...] = ()
    model: str = ""


@dataclass(frozen=True, slots=True)
class Config:
    """All of it.

    Attributes:
        devices: URI by the name it is exported by.
    """

    devices: Mapping[str, str] = field(default_factory=dict)
    listen: Listen = Listen()
    limits: Limits = Limits()
    leases: LeaseTimes = LeaseTimes()
    audit: AuditPlace = AuditPlace()
    metrics: MetricsPlace = MetricsPlace()
    announce: Announce = Announce()

    @classmethod
    def load(cls, path: Path) -> Config:
        """Read a file.

        Raises:
            NotFound, PermissionDenied, InvalidArgument: The message says what is wrong where, and
                what to do.
        """
        stated = _parsed(path)
        _known(path, "", stated, tuple(f.name for f in dataclasses.fields(cls)))
        config = cls(
            _devices(path, stated.get("devices", {})),
            _section(path, "listen", Listen, stated),
            _section(path, "limits", Limits, stated),
            _section(path, "leases", LeaseTimes, stated),
            _section(path, "audit", AuditPlace, stated),
            _section(path, "metrics", MetricsPlace, stated),
            _section(path, "announce", Announce, stated),
        )
        _check(path, config)
        return config


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches that address."""
    try:
        return ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return host == "localhost"


S = TypeVar("S")


def _parsed(path: Path) -> dict[str, Any]:
    what = f'read the configuration "{path}"'
    try:
        with path.open("rb") as file:
            content = file.read(SIZE_MAX + 1)
        if len(content) > SIZE_MAX:
            raise InvalidArgument(errno.EFBIG, f"{what}: more than {SIZE_MAX} bytes: is it TOML?")
        table: dict[str, Any] = tomllib.loads(content.decode())
    except FileNotFoundError as error:
        text = f"{what}: no such file: make it, or name another by --config"
        raise NotFound(errno.ENOENT, text) from error
    except PermissionError as error:
        text = f"{what}: permission denied: who runs hal-agent must be able to read it"
        raise PermissionDenied(errno.EACCES, text) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidArgument(errno.EINVAL, f"{what}: it is no TOML: {error}") from error
    except IsADirectoryError as error:
        raise InvalidArgument(errno.EISDIR, f"{what}: it is a folder, not a file") from error
    return table


def _wrong(path: Path, key: str, what: str) -> InvalidArgument:
    return InvalidArgument(errno.EINVAL, f'read the configuration "{path}": {key}: {what}')


def _known(path: Path, under: str, table: Mapping[str, Any], keys: tuple[str, ...]) -> None:
    for key in table:
        if key not in keys:
            name = f"{under}.{key}" if under else key
            raise _wrong(path, name, f"unknown; known here: {', '.join(keys)}")


def _table(path: Path, name: str, table: object) -> dict[str, Any]:
    if not isinstance(table, dict):
        raise _wrong(path, name, f"must be a table: [{name}]")
    return table


def _section(path: Path, name: str, kind: type[S], stated: Mapping[str, Any]) -> S:
    fields = {f.name: f for f in dataclasses.fields(kind)}  # type: ignore[arg-type]
    table = _table(path, name, stated.get(name, {}))
    _known(path, name, table, tuple(fields))
    values = {key: _value(path, f"{name}.{key}", fields[key], table[key]) for key in table}
    return kind(**values)


def _value(path: Path, key: str, of: dataclasses.Field[Any], value: object) -> object:
    kind = type(of.default)
    if kind is tuple:
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _wrong(path, key, 'must be a list of texts: ["...", "..."]')
        return tuple(value)
    if type(value) is not kind:
        words = {bool: "true or false", int: "a whole number", str: "a text"}
        raise _wrong(path, key, f"must be {words[kind]}")
    if isinstance(value, int) and "range" in of.metadata:
        least, most = of.metadata["range"]
        if not least <= value <= most:
            raise _wrong(path, key, f"{value} is not of {least} .. {most}")
    return value


def _devices(path: Path, stated: object) -> Mapping[str, str]:
    table = _table(path, "devices", stated)
    if len(table) > DEVICES_MAX:
        raise _wrong(path, "devices", f"{len(table)} are more than {DEVICES_MAX}")
    for name, uri in table.items():
        key = f"devices.{name}"
        if not _NAME.fullmatch(name):
            text = "a name is a letter or digit, then up to 126 letters, digits, _ - or ."
            raise _wrong(path, key, text)
        if not isinstance(uri, str) or not _URI.match(uri):
            raise _wrong(path, key, 'must be a URI: "driver:address?option=value"')
        if uri.startswith("hal:"):
            raise _wrong(path, key, "a device of another machine is exported by that machine")
    return table


def _check(path: Path, config: Config) -> None:
    """What no single value shows."""
    for name in config.announce.protocols:
        if name not in ("mdns", "ssdp"):
            raise _wrong(path, "announce.protocols", f'no "{name}"; there are "mdns" and "ssdp"')
    if config.limits.per_address > config.limits.half_open:
        raise _wrong(path, "limits.per_address", "more than half_open: lower it, or raise that")
    if config.limits.per_identity > config.limits.links:
        raise _wrong(path, "limits.per_identity", "more than links: lower it, or raise that")
    if not config.listen.host:
        raise _wrong(path, "listen.host", 'must be an address; "::" is every one')
