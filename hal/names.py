# SPDX-License-Identifier: Apache-2.0
"""Logical names of the configuration file (docs/names.md): what each stands for now."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from . import _core
from .errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from .discovery.config import Config, Name
    from .discovery.record import Record

__all__ = ["known", "resolve"]


def known() -> Mapping[str, Name]:
    """The names of the configuration files.

    Raises:
        InvalidArgument: A file is wrong; the text says which, where, and what to do.
    """
    return _config("names").names


def resolve(name: str, records: Iterable[Record] | None = None) -> str:
    """The URI that a name of the configuration file stands for now.

    Args:
        name: The name.
        records: Where to look for its device; None: on this machine, which opens none.

    Raises:
        NotFound: There is no such name, or its device is not there, or no driver fits it.
        InvalidArgument: Several devices are so, or the file is wrong.
    """
    found = _config(name).names.get(name)
    if found is None:
        raise NotFound(f'open "{name}": no such name in the configuration files')
    uri = found.uri or _only(found, _local(found) if records is None else records).uri
    return _with(uri, found.options)


def substitute(uri: str) -> str | None:
    """What to open in place of a URI that libhal found nothing for.

    Returns:
        None when it is not a name of the configuration file alone, or libhal knows that name.
    """
    name, _, query = uri.partition("?")
    if ":" in name or name in _core.bindings() or name in {d[0] for d in _core.drivers()}:
        return None
    if name not in _config(name).names:
        return None
    options = dict(option.partition("=")[::2] for option in query.split("&") if option)
    return _with(resolve(name), options, quoted=True)


def _config(name: str) -> Config:
    from .discovery import config

    try:
        return config.load()
    except config.ConfigError as error:
        raise InvalidArgument(f'open "{name}": {error}') from error


def _local(name: Name) -> Iterable[Record]:
    from .discovery import CLASSES, local_inventory

    wanted = name.wanted.get("class")
    return local_inventory(classes=[wanted] if wanted else CLASSES)


def _only(name: Name, records: Iterable[Record]) -> Record:
    fitting = [record for record in records if name.fits(record)]
    served = [record for record in fitting if record.uri]
    if len(served) == 1:
        return served[0]
    if not fitting:
        raise NotFound(
            f'open "{name.name}": no device has {name} ({name.place}); '
            "hal-probe list shows those that are there"
        )
    if not served:
        names = ", ".join(record.name for record in fitting)
        raise NotFound(f'open "{name.name}": no driver fits {names} ({name.place})')
    names = ", ".join(f"{record.name} (id {record.id})" for record in served)
    raise InvalidArgument(
        f'open "{name.name}": {len(served)} devices have {name}: {names}; '
        f"give the id of one ({name.place})"
    )


def _with(uri: str, options: Mapping[str, str], *, quoted: bool = False) -> str:
    """A URI with options added; they replace those that it has."""
    bare, _, query = uri.partition("?")
    merged = dict(option.partition("=")[::2] for option in query.split("&") if option)
    for key, value in options.items():
        merged[key] = value if quoted else _core.quote(value)
    words = [f"{key}={value}" if value else key for key, value in merged.items()]
    return f"{bare}?{'&'.join(words)}" if words else bare
