# SPDX-License-Identifier: Apache-2.0
"""Fuzzing of all that reads what strangers send, by atheris (libFuzzer for Python).

    python -m tests.fuzz.discovery [LIBFUZZER OPTIONS] [CORPUS ...]

The first byte of an input chooses what reads the rest. Nothing may be raised but what is promised,
nothing that is kept may hold control characters or grow beyond its bounds, and what is sent again
must be read again as the same.
"""

from __future__ import annotations

import asyncio
import ipaddress
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import atheris
import dns.exception
import dns.message
import dns.name

import hal  # noqa: F401 - not to be instrumented

with atheris.instrument_imports(include=["hal.discovery"]):
    from hal.discovery import foreign, service, txt, unicast
    from hal.discovery.liveness import Liveness
    from hal.discovery.query import Query
    from hal.discovery.roster import Limits, Roster
    from hal.discovery.ssdp import heard
    from hal.discovery.ssdp.advertisement import Advertisement, is_search
    from hal.discovery.ssdp.message import Message, MessageError, parse
    from hal.discovery.ssdp.transport import Sender

from hal.discovery.announcement import Announcement
from hal.discovery.record import Record
from hal.errors import InvalidArgument

LOOP = asyncio.new_event_loop()
UUID = "0d4b7c1e-5f0a-4b59-9d35-8d5f0f0f9a11"
OURS = Advertisement(Announcement(UUID, 7000, boot="00000000"), boot=1, max_age=1800)
HOSTS = ("10.0.0.1", "10.0.0.2", "fe80::1")


def check(roster: Roster) -> None:
    """What holds of every set of records, whoever told of them."""
    snapshot = roster.snapshot()
    assert len(snapshot.records) <= 200
    for record in snapshot.records:
        assert record.trust == "unverified", record
        assert _printable(record.as_dict()), record
        assert len(str(record.as_dict())) < 32_768, record
    for problem in snapshot.problems:
        assert len(problem.cause) < 4096


def _printable(value: object) -> bool:
    if isinstance(value, str):
        return value.isprintable()
    if isinstance(value, dict):
        return _printable([*value, *value.values()])
    return all(map(_printable, value)) if isinstance(value, list | tuple) else True


def ssdp(data: bytes) -> None:
    """Packets, with an empty byte between them, from three senders in turn."""
    roster = Roster(Limits(sightings=200, per_origin=100))
    now = [0.0]
    kept = heard.Heard(Liveness(roster), lambda: {"10.0.0.1": "02:00:00:00:00:01"}, lambda: now[0])
    for index, packet in enumerate(data.split(b"\0")):
        try:
            message = parse(packet)
        except MessageError:
            continue
        assert len(message.fields) <= 40
        sender = Sender(ipaddress.ip_address(HOSTS[index % 3]), 1900, "eth0", 2)
        kept.hear(message, sender)
        if is_search(message):
            OURS.sought(message.target)
            assert message.mx is None or 1 <= message.mx <= 5
        fields = {name: value for name, value in message.fields.items() if len(value) < 1250}
        try:
            sent = bytes(Message(message.kind, fields))
        except MessageError:  # It has grown beyond the size of a packet.
            continue
        again = parse(sent)
        assert (again.kind, again.fields) == (message.kind, fields)
        now[0] += 1
    check(roster)
    now[0] += heard.AGE_MAX + 1
    kept.expire()
    assert len(kept) == 0 and not roster.snapshot().records


def texts(data: bytes) -> None:
    """TXT records."""
    read = txt.parse(data)
    assert len(read.pairs) <= txt.PAIRS_MAX and len(read.problem) < 200
    for key in read.pairs:
        assert _printable(read.text(key)) and len(key) <= 64
    strings = [(key, value) for key, value in read.pairs.items()]
    if len(data) <= txt.ANNOUNCED_MAX and not read.problem:
        assert txt.parse(txt.build(strings)).pairs == read.pairs
    try:
        said = txt.decode(read)
    except ValueError:
        return
    assert _printable([said.id, said.model, said.version, said.protocol, said.boot])


def services(data: bytes) -> None:
    """Services, as DNS-SD tells of them: all the way into a record."""
    give = atheris.FuzzedDataProvider(data)
    roster = Roster(Limits(sightings=200, per_origin=100))
    for number in range(3):
        addresses = [_address(give) for _ in range(give.ConsumeIntInRange(0, 4))]
        announced = service.Service(
            type=give.PickValueInList(list(service.TYPES)),
            instance=give.ConsumeUnicode(40),
            host=give.ConsumeUnicode(40),
            port=give.ConsumeIntInRange(-1, 70_000),
            addresses=service.ranked(addresses, loopback=give.ConsumeBool()),
            text=give.ConsumeBytes(give.ConsumeIntInRange(0, 300)),
        )
        try:
            seen = service.sighting(announced, "mdns", str(number), origin="10.0.0.1")
        except ValueError:
            continue
        service.endpoints(announced)
        state = give.PickValueInList(["announced", "reachable", "silent"])
        roster.see(replace(seen, record=replace(seen.record, state=state)))
        check(roster)
    roster.replace("mdns", ())
    assert not roster.snapshot().records


def _address(give: atheris.FuzzedDataProvider) -> str:
    kind = give.ConsumeIntInRange(0, 3)
    if kind == 0:
        return str(ipaddress.IPv4Address(give.ConsumeIntInRange(0, 2**32 - 1)))
    if kind == 1:
        return str(ipaddress.IPv6Address(give.ConsumeIntInRange(0, 2**128 - 1)))
    if kind == 2:
        return f"fe80::{give.ConsumeIntInRange(0, 65535):x}%eth0"
    return str(give.ConsumeUnicode(20))


def answers(data: bytes) -> None:
    """What a name server answers, or a named host: the same to every question."""
    try:
        message = dns.message.from_wire(data, ignore_trailing=True)
    except (dns.exception.DNSException, EOFError):  # What `unicast.direct` is prepared for.
        return

    async def ask(_name: dns.name.Name, _kind: str) -> dns.message.Message:
        return message

    browsing = unicast.browse(ask, dns.name.from_text("local"), "eth0")
    roster = Roster(Limits(sightings=200, per_origin=100))
    for number, found in enumerate(LOOP.run_until_complete(browsing)):
        with suppress(ValueError):  # It makes no device.
            roster.see(service.sighting(found, "static", str(number), origin="10.0.0.1"))
    check(roster)


def ssdp_locations(data: bytes) -> None:
    """Locations and texts of devices that say they are ours, or SoapyRemote."""
    give = atheris.FuzzedDataProvider(data)
    roster = Roster(Limits(sightings=200, per_origin=100))
    kept = heard.Heard(Liveness(roster), clock=lambda: 0.0)
    scheme = give.PickValueInList(["hal://10.0.0.1:7/", "hal://", "tcp://", "http://", ""])
    kinds = [UUID, "urn:schemas-pothosware-com:service:soapyRemote:1", "upnp:rootdevice"]
    fields = {
        "NTS": "ssdp:alive",
        "NT": give.PickValueInList(kinds),
        "USN": f"uuid:{UUID}" if give.ConsumeBool() else f"uuid:{give.ConsumeUnicode(40)}",
        "LOCATION": scheme + give.ConsumeUnicode(30),
        heard.TEXT_FIELD: give.ConsumeUnicode(600),
    }
    fields = {name: "".join(filter(str.isprintable, value)) for name, value in fields.items()}
    kept.hear(Message("NOTIFY", fields), Sender(ipaddress.ip_address("10.0.0.1"), 1900, "e", 2))
    check(roster)


RECORD = Record(
    id=UUID,
    identity="x",
    name="ttyUSB0",
    device_class="serial",
    uri="uart:/dev/ttyUSB0",
    properties={"a": "b"},
)


def queries(data: bytes) -> None:
    """Queries."""
    try:
        query = Query.parse(data.decode("utf-8", "surrogateescape"))
    except InvalidArgument:
        return
    query(RECORD)
    query.of([RECORD])
    assert query.exact in (True, False)


READERS: tuple[Callable[[bytes], None], ...] = (
    ssdp,
    texts,
    services,
    ssdp_locations,
    queries,
    answers,
)


def read(data: bytes) -> None:
    """Give an input to the reader that its first byte names."""
    if data:
        READERS[data[0] % len(READERS)](data[1:])


if __name__ == "__main__":
    assert foreign.KINDS
    asyncio.set_event_loop(LOOP)
    atheris.Setup(sys.argv, read)
    atheris.Fuzz()
