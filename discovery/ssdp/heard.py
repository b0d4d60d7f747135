# SPDX-License-Identifier: Apache-2.0
"""The devices that SSDP messages tell of: what a control point keeps.

UPnP Device Architecture (UDA) 2.0, sections 1.2 and 1.3. A device sends a message for each of its
types, embedded devices and services; those with one LOCATION from one sender are one device, and
one record. What is believed of it, for nothing proves anything:

* A device is where its messages come from. A LOCATION that names another host gives no address.
* It is there for as long as it says (max-age, 1.2.2), but at least `AGE_MIN` and at most `AGE_MAX`;
  who has more is searched for again before that is over.
* BOOTID.UPNP.ORG only grows (1.2.2): a notice with a lesser one is an old one that somebody
  repeats, and ignored. An answer to a search is no repetition: it counts, so that a device that
  lost count, or whose name somebody used with a great BOOTID, is heard again when it is asked.
* ssdp:byebye and ssdp:update count only from where the device announced itself (1.2.3, 1.2.4), and
  with its BOOTID if it has one.

Devices are bounded in all and by sender. When all places are taken and somebody new comes, whoever
has most of them loses half of his; with nobody to take from, the new one is not noted.
"""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Protocol
from urllib.parse import quote_from_bytes, unquote_to_bytes, urlsplit

from .. import foreign, matching, service, txt
from ..liveness import Endpoint
from ..record import Record
from ..sighting import Sighting
from .kinds import kind_of
from .message import ALIVE, BYEBYE, UPDATE, Message
from .transport import Sender

SOURCE = "ssdp"

DEVICES_MAX, SENDER_MAX = 4096, 256
"""Devices noted in all, and of one sender."""

AGE_MIN, AGE_MAX = 10, 3600
"""Seconds that a device is kept without a further message, at least and at most."""

TYPES_MAX, TYPE_MAX = 12, 128
"""Types noted of a device, and their letters; others are left out."""

UUIDS_MAX = 12
"""UUIDs (its own and those of embedded devices) noted of a device."""

LOCATION_MAX, SERVER_MAX = 300, 128
"""Letters of a LOCATION (a longer one is refused) and a SERVER (cut off)."""

TEXT_FIELD = "TXT.HAL.INTERNAL"
"""Header field of ours (UDA 1.1.3: vendors' fields end in their domain). It holds what the TXT
record of mDNS does (`discovery.txt`): its strings percent-encoded, with ";" between them. It stands
in for the description document that LOCATION gives with UPnP."""

_SAFE = " !#$&'()*+,/:=?@[]~"


@dataclass(slots=True)
class Device:
    """What is noted of one.

    Attributes:
        sender: Where its messages come from.
        where: The same as text.
        location: As it says.
        parts: Of the location: scheme, host and port (`_parts`).
        uuid: Of its root device; until that is known, the first one heard.
        root: Is `uuid` that of the root device?
        uuids: All of them.
        types: Of devices and services.
        server: Operating system and product, as it says.
        text: Its `TEXT_FIELD`.
        boot: Its BOOTID; None when it has none (UDA 1.0).
        search_port: Where it takes unicast searches.
        mac: Its MAC address, as far as it is known.
        expires: When it is void.
        told: Until when the roster has it.
    """

    sender: Sender
    where: str
    location: str
    parts: tuple[str, str, int]
    uuid: str
    root: bool = False
    uuids: set[str] = field(default_factory=set)
    types: dict[str, None] = field(default_factory=dict)
    server: str = ""
    text: str = ""
    boot: int | None = None
    search_port: int | None = None
    mac: str = ""
    expires: float = 0.0
    told: float = 0.0

    @property
    def key(self) -> str:
        """Its sightings' key."""
        return f"{self.where} {self.location}"


class Sink(Protocol):
    """Who is told: `liveness.Liveness`, before a roster."""

    def see(self, sighting: Sighting, endpoints: tuple[Endpoint, ...]) -> bool:
        """There is a device; False when there is no room for it."""

    def lose(self, key: str) -> None:
        """It is gone."""


class Heard:
    """The devices heard of.

    Args:
        sink: Who is told.
        macs: Gives the MAC addresses of neighbours by their IP addresses (without scope).
        clock: The time, monotonic, as of the roster.
    """

    def __init__(
        self,
        sink: Sink,
        macs: Callable[[], Mapping[str, str]] = dict,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._sink = sink
        self._macs = macs
        self._clock = clock
        self._senders: dict[str, dict[str, Device]] = {}
        self._count = 0
        self._most, self._most_until = 0, 0.0
        self.refused = 0

    def __len__(self) -> int:
        return self._count

    def hear(self, message: Message, sender: Sender) -> Device | None:
        """Take note of a message.

        Returns:
            A device that should be asked whether it is so: it is new, or said to be gone, or
            somebody speaks in its name. None: there is nothing to ask.
        """
        kind = message.get("NTS") if message.kind == "NOTIFY" else ALIVE
        uuid = message.uuid
        if message.kind == "M-SEARCH" or not uuid:
            return None
        if kind == ALIVE:
            return self._alive(message, sender, uuid)
        for device in self._known(sender, uuid):
            if not _current(device, message.boot):
                self.refused += 1
            elif kind == BYEBYE:
                self._drop(device)
                return device
            elif kind == UPDATE and message.next_boot is not None:
                device.boot = max(message.next_boot, device.boot or 0)
        return None

    def expire(self) -> float | None:
        """Forget what is past its time. Returns when the next will be, None: none will."""
        now = self._clock()
        everything = [device for own in self._senders.values() for device in own.values()]
        for device in everything:
            if device.expires <= now:
                self._drop(device)
        return min((d.expires for d in everything if d.expires > now), default=None)

    def forget(self, interface: str) -> None:
        """Forget what came by an interface that is gone."""
        for own in list(self._senders.values()):
            for device in list(own.values()):
                if device.sender.name == interface:
                    self._drop(device)

    def locate(self) -> None:
        """Tell anew of devices whose MAC address has become known, or another one."""
        macs = self._macs()
        for own in list(self._senders.values()):
            for device in list(own.values()):
                if macs.get(str(device.sender.address), device.mac) != device.mac:
                    self._tell(device)

    # ---- messages ---------------------------------------------------------------------------

    def _alive(self, message: Message, sender: Sender, uuid: str) -> Device | None:
        location = message.get("LOCATION")
        if not location or len(location) > LOCATION_MAX:
            self.refused += 1
            return None
        known = self._senders.get(str(sender), {}).get(location)
        if known is not None and message.kind == "NOTIFY" and _older(known, message.boot):
            self.refused += 1
            return known
        device = known or self._admit(sender, location, uuid)
        if device is None:
            self.refused += 1
            return None
        changed = _note(device, message, uuid)
        now = self._clock()
        device.expires = now + min(max(message.max_age, AGE_MIN), AGE_MAX)
        if (changed or abs(device.expires - device.told) > 1) and not self._tell(device):
            self._drop(device)
            self.refused += 1
            return None
        return device if known is None else None

    def _known(self, sender: Sender, uuid: str) -> list[Device]:
        return [d for d in self._senders.get(str(sender), {}).values() if uuid in d.uuids]

    def _admit(self, sender: Sender, location: str, uuid: str) -> Device | None:
        for moved in self._known(sender, uuid):  # To another port, or with another description.
            if moved.uuid == uuid:
                self._drop(moved)
        where = str(sender)
        own = self._senders.get(where, {})
        if len(own) >= SENDER_MAX or (self._count >= DEVICES_MAX and not self._make_room(len(own))):
            return None
        device = Device(sender, where, location, _parts(location), uuid)
        self._senders.setdefault(where, {})[location] = device
        self._count += 1
        return device

    def _make_room(self, has: int) -> bool:
        """Take half of the devices of whoever has most, if that is two more than the new one."""
        now = self._clock()
        if now < self._most_until and self._most < has + 2:
            return False
        most = max(self._senders.values(), key=len)
        self._most, self._most_until = (
            len(most),
            now + 1,
        )  # Looking is slow, and a flood asks often.
        if self._most < has + 2:
            return False
        for device in list(most.values())[: len(most) // 2]:
            self._drop(device)
        return True

    def _drop(self, device: Device) -> None:
        own = self._senders[device.where]
        if own.pop(device.location, None) is None:
            return
        self._count -= 1
        if not own:
            del self._senders[device.where]
        self._sink.lose(device.key)

    def _tell(self, device: Device) -> bool:
        device.mac = self._macs().get(str(device.sender.address), device.mac)
        try:
            seen = sighting(device)
        except ValueError:  # It is none of those that it says it is.
            return False
        device.told = device.expires
        return self._sink.see(seen, endpoints(device))


def _note(device: Device, message: Message, uuid: str) -> bool:
    """Take over what a message says. True when that is news."""
    before = (device.uuid, len(device.types), device.server, device.text)
    target = message.target
    if target == "upnp:rootdevice":
        device.uuid, device.root = uuid, True
    elif _is_type(target) and len(device.types) < TYPES_MAX:
        device.types[target] = None
    if len(device.uuids) < UUIDS_MAX:
        device.uuids.add(uuid)
    device.server = message.get("SERVER")[:SERVER_MAX] or device.server
    device.text = message.get(TEXT_FIELD) or device.text
    device.search_port = message.search_port or device.search_port
    if message.boot is not None:
        device.boot = message.boot
    return before != (device.uuid, len(device.types), device.server, device.text)


def _is_type(target: str) -> bool:
    return 0 < len(target) <= TYPE_MAX and not target.startswith(("uuid:", "ssdp:"))


def _older(device: Device, boot: int | None) -> bool:
    return boot is not None and device.boot is not None and boot < device.boot


def _current(device: Device, boot: int | None) -> bool:
    """Is a message with this BOOTID one of the device as it is now, or later?"""
    return device.boot is None or (boot is not None and boot >= device.boot)


# ---- records ------------------------------------------------------------------------------------


def sighting(device: Device) -> Sighting:
    """The sighting of a device. It is not trusted: nothing proves what it says.

    Raises:
        ValueError: It says that it is one of ours, or a service we know, and is not.
    """
    address = device.where
    scheme, host, port = device.parts
    kind = kind_of(device.types)
    if scheme == "hal":
        if host != str(device.sender.address):
            raise ValueError(f"its location names {host}, and not {address}")
        text = _text(device.text) or txt.build([("id", device.uuid)])
        if txt.decode(txt.parse(text)).id != txt.canonical(device.uuid):
            raise ValueError("it gives two ids")
        seen = _as_service(device, txt.SERVICE, port, text)
    elif kind.service:
        text = txt.build([("uuid", device.uuid[: txt.STRING_MAX - 5])])
        seen = _as_service(device, kind.service, port, text)
    else:
        here = frozenset({f"ip {address}"})
        seen = Sighting(SOURCE, device.key, _record(device, scheme, host), here)
    record = seen.record
    if device.types:
        types = {"upnp.types": ",".join(device.types)}
        record = replace(record, properties={**record.properties, **types})
    places = seen.places | {f"mac {device.mac}"} if device.mac else seen.places
    links = (device.sender.name,)
    return Sighting(SOURCE, device.key, record, places, address, device.expires, links)


def endpoints(device: Device) -> tuple[Endpoint, ...]:
    """Where it may be connected to, to see whether it lives: never elsewhere than where it is."""
    scheme, _, port = device.parts
    kind = kind_of(device.types)
    known = scheme == "hal" or (kind.service and foreign.KINDS[kind.service].connect)
    return ((device.where, port),) if known and 0 < port < 65536 else ()


def _as_service(device: Device, kind: str, port: int, text: bytes) -> Sighting:
    """One that mDNS would announce as well: the same rules make the same record of it."""
    host = device.parts[1]
    instance = device.uuid if host == str(device.sender.address) else host or device.uuid
    announced = service.Service(kind, instance, "", port, (device.where,), text)
    return service.sighting(announced, SOURCE, device.key)


def _record(device: Device, scheme: str, host: str) -> Record:
    kind = kind_of(device.types)
    said = foreign.Product(uuid=device.uuid)
    id_, told = foreign.identify(said, kind.device_class, device.uuid)
    at_home = host == str(device.sender.address)
    properties = {
        "upnp.location": device.location,
        "upnp.server": device.server,
        "uri.upnp": device.location if at_home and scheme in ("http", "https") else "",
    }
    product = device.server.split()[-1].replace("/", " ") if "/" in device.server else ""
    record = Record(
        id=id_,
        identity=told,
        name=product or kind.what,
        device_class=kind.device_class,
        model=product or kind.what,
        addresses=(device.where,),
        properties={key: value for key, value in properties.items() if value},
        state="announced",
        detail="" if at_home else f"its location names another host, {host or 'none'}",
        trust="unverified",
        sources=(SOURCE,),
        last_seen=time.time(),
    )
    return matching.with_driver(record, "ssdp", list(device.types), device.where)


def _parts(location: str) -> tuple[str, str, int]:
    """Scheme, host and port of a location; "" and 0 for what it does not have.

    An address is given as `str(ipaddress.ip_address(...))` gives it, without a scope.
    """
    try:
        parts = urlsplit(location)
        host, port = parts.hostname or "", parts.port or 0
    except ValueError:  # A port that is no number, a bracket without its other half.
        return "", "", 0
    with suppress(ValueError):
        host = str(ipaddress.ip_address(host.partition("%")[0]))
    return parts.scheme, host, port


def _text(value: str) -> bytes:
    """The TXT record that a `TEXT_FIELD` stands for."""
    strings = [unquote_to_bytes(part)[: txt.STRING_MAX] for part in value.split(";") if part]
    return b"".join(bytes([len(string)]) + string for string in strings)


def text_field(record: bytes) -> str:
    """The `TEXT_FIELD` that stands for a TXT record."""
    strings, at = [], 0
    while at < len(record):
        strings.append(record[at + 1 : at + 1 + record[at]])
        at += 1 + record[at]
    return ";".join(quote_from_bytes(string, safe=_SAFE) for string in strings)
