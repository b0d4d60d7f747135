# SPDX-License-Identifier: Apache-2.0
"""Which records are asked for.

A query is words, divided by blanks. All must hold; of conditions with one key, any.

    class=i2c vendor="NXP *"          a condition: key=pattern
    class=i2c class=spi host=bench-3
    property:compatible=*at24*        one of `Record.properties`
    uart:/dev/ttyUSB0                 a word: the record of this URI, node, name, address or id
    "ttyUSB*"

In patterns "*" stands for any text and "?" for any one letter (not in what is a URI: there it
begins the options, which name no other device and are left out). What the kernel names is told
apart by case (name, uri, node, address), everything else is not. Values with blanks are quoted as
in a shell.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ..errors import InvalidArgument
from .record import CLASSES, STATES, TRUSTS, Record

LENGTH_MAX: Final = 4096
"""Most letters of a query."""


def _types(record: Record) -> Iterator[str]:
    """What a device calls itself on the network; "service._iio._tcp" is a property, its port."""
    prefix = "service."
    for key, value in record.properties.items():
        if key.startswith(prefix):
            yield key[len(prefix) :]
        elif key == "upnp.types":
            yield from value.split(",")


KEYS: Final[dict[str, Callable[[Record], Iterable[str]]]] = {
    "class": lambda record: (record.device_class,),
    "vendor": lambda record: (record.vendor,),
    "model": lambda record: (record.model,),
    "serial": lambda record: (record.serial,),
    "host": lambda record: (record.host,),
    "driver": lambda record: (record.driver,),
    "kernel_driver": lambda record: (record.kernel_driver,),
    "state": lambda record: (record.state,),
    "trust": lambda record: (record.trust,),
    "source": lambda record: record.sources,
    "type": _types,
    "id": lambda record: (record.id,),
    "name": lambda record: (record.name,),
    "uri": lambda record: (_plain(record.uri),),
    "node": lambda record: (record.node,),
    "address": lambda record: record.addresses,
}
"""What each key looks at. "type" is what a device calls itself on the network: a DNS-SD type or an
SSDP urn."""

_CASE = ("name", "uri", "node", "address")
_KNOWN = {"class": CLASSES, "state": tuple(STATES), "trust": tuple(TRUSTS)}
_PROPERTY = "property:"
_CONDITION = re.compile(rf"({_PROPERTY}[^=\s]+|[A-Za-z_]+)=(.*)", re.DOTALL)
_URI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class Condition:
    """One word of a query.

    Attributes:
        key: One of `KEYS`, "property:NAME", or "" for a word alone.
        pattern: What is wanted, as it was written.
    """

    key: str
    pattern: str

    @property
    def exact(self) -> bool:
        """Does it name one device?"""
        wild = "*" if _URI.match(self.pattern) else "*?"
        return self.key in ("", "uri", "id") and not set(wild) & set(self.pattern)

    def holds(self, record: Record) -> bool:
        """Does a record fulfil it?"""
        pattern = self._pattern()
        return any(map(pattern.fullmatch, self._texts(record)))

    def _pattern(self) -> re.Pattern[str]:
        text, case = self.pattern, self.key in _CASE
        if self.key in ("", "uri"):
            text, case = _plain(text), bool(_URI.match(text)) or "/" in text or self.key == "uri"
        return _compiled(text, case)

    def _texts(self, record: Record) -> Iterable[str]:
        if self.key.startswith(_PROPERTY):
            name = self.key.removeprefix(_PROPERTY)
            return (record.properties.get(name, ""),)
        if self.key:
            return KEYS[self.key](record)
        uri = _plain(record.uri)
        return filter(None, (record.id, record.name, uri, record.node, *record.addresses))


@dataclass(frozen=True, slots=True)
class Query:
    """Which records are asked for.

    Attributes:
        text: The query as it was written.
        conditions: Its words.
    """

    text: str = ""
    conditions: tuple[Condition, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Query:
        """Read a query; "" asks for all.

        Raises:
            InvalidArgument: A key is unknown, a value is none that its key can have, or a quotation
                does not end.
        """
        if len(text) > LENGTH_MAX:
            raise _wrong(text[:40] + "...", f"{len(text)} letters, at most {LENGTH_MAX}")
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise _wrong(text, f"{error}".lower()) from None
        return cls(text, tuple(_condition(word, text) for word in words))

    def __call__(self, record: Record) -> bool:
        """Is this record asked for?"""
        holding: dict[str, bool] = {}
        for condition in self.conditions:
            key = condition.key or condition.pattern  # Words alone must all hold.
            holding[key] = holding.get(key, False) or condition.holds(record)
        return all(holding.values())

    def of(self, records: Iterable[Record]) -> tuple[Record, ...]:
        """Those of the records that are asked for."""
        return tuple(records) if not self.conditions else tuple(filter(self, records))

    @property
    def exact(self) -> bool:
        """Does it ask for one device, so that the first answer is the whole answer?"""
        return any(condition.exact for condition in self.conditions)

    @property
    def local(self) -> bool:
        """Can only devices of this machine fit?"""
        wanted = {(c.key, c.pattern.lower()) for c in self.conditions if c.key in _LOCAL}
        return any(
            {pattern for k, pattern in wanted if k == key} == {value}
            for key, value in _LOCAL.items()
        )


_LOCAL = {"trust": "local", "source": "local", "host": ""}


def _condition(word: str, query: str) -> Condition:
    match = _CONDITION.fullmatch(word)
    if not match:
        return Condition("", word)
    key, pattern = match[1], match[2]
    if not key.startswith(_PROPERTY):
        key = key.lower()
        if key not in KEYS:
            known = f"known are {', '.join(KEYS)}, {_PROPERTY}NAME"
            raise _wrong(query, f'unknown key "{key}"{_meant(key, KEYS)} ({known})')
    if key in _KNOWN and not any(map(_compiled(pattern, False).fullmatch, _KNOWN[key])):
        known = f"there are {', '.join(_KNOWN[key])}"
        raise _wrong(query, f'no {key} "{pattern}"{_meant(pattern, _KNOWN[key])} ({known})')
    return Condition(key, pattern)


def _meant(text: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(text, list(known), 1)
    return f': did you mean "{close[0]}"?' if close else ""


def _plain(uri: str) -> str:
    """A URI without its options."""
    return uri.partition("?")[0] if _URI.match(uri) else uri


@lru_cache
def _compiled(pattern: str, case: bool) -> re.Pattern[str]:
    wild = {"*": ".*", "?": "."}
    text = "".join(wild.get(letter) or re.escape(letter) for letter in re.sub(r"\*+", "*", pattern))
    return re.compile(text, re.DOTALL if case else re.DOTALL | re.IGNORECASE)


def _wrong(query: str, cause: str) -> InvalidArgument:
    return InvalidArgument(f'query "{query}": {cause}')
