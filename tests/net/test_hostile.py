# SPDX-License-Identifier: Apache-2.0
"""Packets that are nearly right, thousands of them, at scouts and announcers that do their work."""

from __future__ import annotations

import logging
import random
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from zeroconf import const
from zeroconf._dns import DNSAddress, DNSPointer, DNSQuestion, DNSService, DNSText
from zeroconf._protocol.outgoing import DNSOutgoing

from hal.discovery.announce import Announcer
from hal.discovery.announcement import Announcement
from hal.discovery.mdns import MdnsAnnouncer, MdnsScout
from hal.discovery.ssdp import SsdpScout
from hal.discovery.ssdp.search import search

from .namespaces import Host, Net
from .running import announcing, scouting, seen
from .test_ssdp import lie

UUID = "0d4b7c1e-5f0a-4b59-9d35-8d5f0f0f9a11"
BOARD = Announcement(UUID, 7000, "Bench board", "1.2", ("i2c", "gpio"))
PACKETS = 1500
SEED = 20


def mutants(seeds: list[bytes], count: int, seed: int) -> Iterator[bytes]:
    """Packets with a few bytes changed, cut out, repeated, or put in."""
    chance = random.Random(seed)
    for _ in range(count):
        packet = bytearray(chance.choice(seeds))
        for _ in range(chance.choice((1, 1, 2, 4, 16))):
            at = chance.randrange(len(packet) + 1)
            other = min(len(packet), at + chance.choice((1, 2, 4, 30)))
            change = chance.randrange(5)
            if change == 0 and at < len(packet):
                packet[at] = chance.choice(
                    (0, 1, 0x3F, 0x7F, 0x80, 0xC0, 0xC1, 0xFF, packet[at] ^ 1)
                )
            elif change == 1:
                del packet[at:other]
            elif change == 2:
                packet[at:at] = packet[at:other]
            elif change == 3:
                packet[at:at] = chance.randbytes(other - at)
            elif chance.random() < 0.1:
                packet[at:at] = bytes([chance.randrange(256)]) * 1000
        yield bytes(packet[:8000])


def dns(
    name: str,
    text: bytes,
    target: str = "c.local.",
    address: str = "10.77.0.3",
    *,
    question: bool = False,
) -> bytes:
    """An mDNS packet as a device of ours, or a browser, sends it."""
    kind = "_hal-device._tcp.local."
    full = f"{name}.{kind}"
    out = DNSOutgoing(const._FLAGS_QR_QUERY if question else const._FLAGS_QR_RESPONSE)
    records = [
        DNSPointer(kind, const._TYPE_PTR, const._CLASS_IN, 120, full),
        DNSService(full, const._TYPE_SRV, const._CLASS_IN, 120, 0, 0, 7000, target),
        DNSText(full, const._TYPE_TXT, const._CLASS_IN, 120, text),
        DNSAddress(target, const._TYPE_A, const._CLASS_IN, 120, socket.inet_aton(address)),
    ]
    for record in records:
        out.add_answer_at_time(record, 0)
    return out.packets()[0]


def send(host: Host, to: str, port: int, packets: Iterable[bytes], source: str = "") -> None:
    own = source or host.address

    def run() -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as entry:
            entry.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            entry.bind((own, port))
            interface = socket.inet_aton(own)
            entry.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, interface)
            entry.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_TTL, 255)
            for number, packet in enumerate(packets):
                entry.sendto(packet, (to, port))
                if number % 100 == 99:
                    time.sleep(0.02)  # So that they are read, not dropped.

    host.call(run)


def test_mutants(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """No callback raises (`Loop.close` looks), and all do their work as before."""
    a, b, c = net.host("a"), net.host("b"), net.host("c")
    monkeypatch.setenv("HAL_STATE_DIR", str(tmp_path))
    other = UUID.replace("0d", "0e")
    text = Announcement(other, 7000, "Liar", boot="00000000").text()
    mdns = [
        dns(other, text),
        dns(UUID, text, f"{UUID}.local."),
        dns(other, b"", question=True),
    ]
    ssdp = [
        lie(1, LOCATION="hal://10.77.0.3:7000/", USN=f"uuid:{other}"),
        lie(2),
        bytes(search("ssdp:all", 1, "239.255.255.250:1900")),
    ]
    with (
        caplog.at_level(logging.ERROR),
        scouting(b, MdnsScout(), SsdpScout()) as roster,
        announcing(a, BOARD, Announcer),
    ):
        seen(roster, UUID, sources=("mdns", "ssdp"))
        send(c, "239.255.255.250", 1900, mutants(ssdp, PACKETS, SEED))
        send(c, "224.0.0.251", 5353, mutants(mdns, PACKETS, SEED))
        late = replace(BOARD, id=UUID.replace("0d", "0f"))
        with announcing(c, late, Announcer):  # They hear still, and the announcers answer still.
            seen(roster, late.id, sources=("mdns", "ssdp"))
            with scouting(b, MdnsScout(), SsdpScout()) as fresh:
                record = seen(fresh, UUID, sources=("mdns", "ssdp"))
                assert "10.77.0.1:7000" in record.addresses
        for record in roster.snapshot().records:
            assert record.trust == "unverified"
            assert str(record.as_dict()).isprintable()
        assert len(roster.snapshot().records) < 2 * PACKETS
    assert not [entry.getMessage() for entry in caplog.records]


def test_nobody_beyond_the_link_is_answered_or_believed(net: Net, tmp_path: Path) -> None:
    """RFC 6762, sections 5.5 and 11: else each device would be an amplifier for whoever asks."""
    a, b = net.host("a"), net.host("b")
    for host, other in ((a, b), (b, a)):
        host.run("ip", "route", "add", "192.0.2.0/24", "via", other.address)
    b.run("ip", "addr", "add", "192.0.2.5/32", "dev", "eth0")
    with announcing(a, BOARD, MdnsAnnouncer):
        assert lookup(b, a.address, source="192.0.2.5") == b""
        time.sleep(0.2)  # zeroconf leaves out what it was asked within a second.
        assert UUID.encode() in lookup(b, a.address, source=b.address)
    liar = UUID.replace("0d", "0e")
    text = Announcement(liar, 7000).text()
    with scouting(a, MdnsScout(), SsdpScout()) as roster:
        time.sleep(0.5)
        for source in ("192.0.2.5", b.address):
            for to in ("224.0.0.251", a.address):
                send(b, to, 5353, [dns(liar, text, address=b.address)], source)
            for to in ("239.255.255.250", a.address):
                where = {"LOCATION": f"hal://{source}:7000/", "USN": f"uuid:{liar}"}
                send(b, to, 1900, [lie(0, **where)], source)
            if source != b.address:
                time.sleep(0.3)
                assert not roster.snapshot().records
        seen(roster, liar, sources=("mdns", "ssdp"))


def lookup(host: Host, to: str, source: str) -> bytes:
    """Ask a host by unicast for devices, and give the answer."""

    def run() -> bytes:
        question = DNSOutgoing(const._FLAGS_QR_QUERY, multicast=False)
        kind = "_hal-device._tcp.local."
        question.add_question(DNSQuestion(kind, const._TYPE_PTR, const._CLASS_IN))
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as entry:
            entry.bind((source, 0))
            entry.settimeout(1)
            for packet in question.packets():
                entry.sendto(packet, (to, 5353))
            with suppress(TimeoutError):
                return entry.recv(9000)
        return b""

    return host.call(run)
