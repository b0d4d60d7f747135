# SPDX-License-Identifier: Apache-2.0
"""SSDP between hosts: with peers that others wrote, and with those who mean ill."""

from __future__ import annotations

import json
import resource
import select
import signal
import socket
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import replace
from itertools import islice, pairwise
from pathlib import Path

import pytest

from hal.discovery.announce import Announcer
from hal.discovery.announcement import Announcement
from hal.discovery.mdns import MdnsScout
from hal.discovery.ssdp import SsdpAnnouncer, SsdpScout, heard, responder
from hal.discovery.ssdp.kinds import HAL_TYPE
from hal.discovery.ssdp.message import Message, parse
from tests.needs import needs

from .namespaces import Host, Net
from .running import announcing, gone, scouting, seen, until

UUID = "0d4b7c1e-5f0a-4b59-9d35-8d5f0f0f9a11"
BOARD = Announcement(UUID, 7000, "Bench board", "1.2", ("i2c", "gpio"))
GROUP = ("239.255.255.250", 1900)

Hosts = tuple[Host, Host]


@pytest.fixture(scope="module")
def hosts(_rights: None) -> Iterator[Hosts]:
    """Two hosts on one network; each test leaves them as they were."""
    with Net() as net:
        yield net.host("a"), net.host("b")


@pytest.fixture
def announcer(tmp_path: Path) -> Callable[[Announcement], SsdpAnnouncer]:
    return lambda device: SsdpAnnouncer(device, state=tmp_path / "bootid")


# ---- peers --------------------------------------------------------------------------------------


def test_gssdp_discover_finds_us(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    needs("gssdp-discover")
    a, b = hosts
    discover = ("gssdp-discover", "-i", "eth0", "-m", "all", "-t")
    targets = (HAL_TYPE, f"uuid:{UUID}", "upnp:rootdevice", "ssdp:all")
    with announcing(a, BOARD, announcer):
        peers = [b.popen(*discover, target) for target in targets]
        for peer, target in zip(peers, targets, strict=True):
            peer.expect("resource available")
            assert f"uuid:{UUID}" in peer.expect("USN")
            assert peer.expect("Location").endswith("hal://10.77.0.1:7000/")
            if target != "ssdp:all":
                assert target in peer.output
    for peer in peers:  # It is told when we say goodbye.
        peer.expect("resource unavailable")
        peer.kill()


def test_media_server(hosts: Hosts, tmp_path: Path) -> None:
    needs("minidlnad")
    a, b = hosts
    settings = tmp_path / "minidlna.conf"
    settings.write_text(
        f"port=8200\nmedia_dir={tmp_path}\ndb_dir={tmp_path}\nlog_dir={tmp_path}\n"
        "friendly_name=shelf\nnetwork_interface=eth0\n"
    )
    server = a.popen("minidlnad", "-S", "-f", settings, "-P", tmp_path / "pid")
    with scouting(b, SsdpScout()) as roster:
        record = seen(roster, device_class="automation")
        until(lambda: "MediaServer" in str(roster.snapshot().records[0].properties))
        record = seen(roster, record.id)
        assert record.properties["uri.upnp"] == f"http://{a.address}:8200/rootDesc.xml"
        assert record.name.startswith("MiniDLNA")
        assert (record.trust, record.state, record.uri) == ("unverified", "announced", "")
        assert len(roster.snapshot().records) == 1
        server.stop()
        gone(roster)


# ---- ourselves ----------------------------------------------------------------------------------


def test_device_comes_changes_and_goes(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    a, b = hosts
    with scouting(b, SsdpScout()) as roster:
        with announcing(a, BOARD, announcer) as device:
            record = seen(roster, UUID, state="reachable")
            assert (record.device_class, record.model) == ("remote", "Bench board")
            assert record.properties["capabilities"] == "i2c,gpio"
            until(lambda: len(seen(roster, UUID).addresses) == 3, what=lambda: seen(roster, UUID))
            assert seen(roster, UUID).addresses[-1].startswith("[fe80::")  # in need of a scope
            device.update(replace(BOARD, model="Another board"))
            seen(roster, UUID, model="Another board")
            device.update(replace(BOARD, port=7001))
            until(lambda: all(":7001" in at for at in seen(roster, UUID).addresses))
        gone(roster)


def test_ipv6_alone(hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]) -> None:
    a, b = hosts
    for host in hosts:
        host.run("ip", "addr", "del", f"{host.address}/24", "dev", "eth0")
    try:
        with announcing(a, BOARD, announcer), scouting(b, SsdpScout()) as roster:
            until(lambda: len(seen(roster, UUID).addresses) == 2, what=lambda: seen(roster, UUID))
            record = seen(roster, UUID, state="reachable")
            assert record.addresses[0] == f"[{a.address6}]:7000"
            assert record.addresses[1].startswith("[fe80::") and "eth0]:" in record.addresses[1]
    finally:
        for host in hosts:
            host.run("ip", "addr", "add", f"{host.address}/24", "brd", "+", "dev", "eth0")


def test_death_without_goodbye(
    hosts: Hosts,
    announcer: Callable[[Announcement], SsdpAnnouncer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    a, b = hosts
    monkeypatch.setattr(heard, "AGE_MAX", 2)
    with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer):
        seen(roster, UUID)
        a.link_down()
        try:
            gone(roster)
        finally:
            a.link_up()


def test_clock_jumps(
    hosts: Hosts,
    announcer: Callable[[Announcement], SsdpAnnouncer],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Time of day is for people; what expires goes by the monotonic clock."""
    a, b = hosts
    true = time.time
    monkeypatch.setattr(heard, "AGE_MAX", 2)
    with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer) as device:
        seen(roster, UUID)
        monkeypatch.setattr(time, "time", lambda: true() + 1e9)
        time.sleep(0.3)
        seen(roster, UUID, timeout=0)
        monkeypatch.setattr(time, "time", lambda: true() - 1e9)
        device.update(replace(BOARD, model="Another board"))  # its BOOTID grows all the same
        seen(roster, UUID, model="Another board")
        a.link_down()
        try:
            gone(roster)
        finally:
            a.link_up()


def test_scout_follows_its_interface(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    a, b = hosts
    with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer):
        seen(roster, UUID)
        b.link_down()
        gone(roster)
        assert "no network interface can multicast" in str(
            until(lambda: roster.snapshot().problems)
        )
        b.link_up()
        seen(roster, UUID)
        until(lambda: not roster.snapshot().problems)


def test_what_fails_is_told_and_stops_nothing_else(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    """No group can be joined by IPv4, and a program holds the port of IPv6 for itself alone."""
    a, b = hosts

    def hold() -> socket.socket:
        entry = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        entry.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        entry.bind(("::", 1900))
        return entry

    b.run("sysctl", "-qw", "net.ipv4.igmp_max_memberships=0")
    try:
        with b.call(hold), scouting(b, SsdpScout()) as roster:
            until(lambda: len(roster.snapshot().problems) == 2, what=roster.snapshot)
            said = " ".join(map(str, roster.snapshot().problems))
            assert "eth0: join 239.255.255.250: No buffer space" in said
            assert "IPv6 port 1900: Address already in use" in said
            with announcing(a, BOARD, announcer):  # Searches and their answers need neither.
                until(lambda: len(seen(roster, UUID).addresses) == 3)
        b.run("sysctl", "-qw", "net.ipv4.igmp_max_memberships=20")
        with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer):
            seen(roster, UUID)
            assert not roster.snapshot().problems
    finally:
        b.run("sysctl", "-qw", "net.ipv4.igmp_max_memberships=20")


def test_a_group_that_cannot_be_reached_is_told_once(hosts: Hosts, tmp_path: Path) -> None:
    """However often is sent; and once more when it can be reached again."""
    a, _ = hosts
    told: list[str] = []

    def trouble(cause: str, about: str) -> None:
        if about == "eth0 ff02::c":
            told.append(cause)

    a.run("ip", "-6", "route", "del", "multicast", "ff00::/8", "dev", "eth0", "table", "local")
    try:
        with announcing(
            a, BOARD, lambda said: SsdpAnnouncer(said, None, trouble, state=tmp_path / "bootid")
        ) as device:
            for number in range(3):
                device.update(replace(BOARD, model=f"Board {number}"))
            assert told == ["send: Network is unreachable; is multicast filtered here?"]
            a.link_down()
            a.link_up()
            until(lambda: told[-1] == "")
        # What is sent while the link comes may fail otherwise; that is told once, too.
        assert all(one != other for one, other in pairwise(told))
        assert told.count("") == 1 and told[-1] == ""
    finally:
        a.link_down()
        a.link_up()


def test_announcer_follows_its_interface(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    """A device begins without a network; one comes, and then another address (UDA 1.2.4)."""
    a, b = hosts
    a.link_down()
    with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer):
        time.sleep(0.2)
        assert not roster.snapshot().records
        a.link_up()
        seen(roster, UUID)
        a.run("ip", "addr", "add", "10.77.0.77/24", "dev", "eth0")
        try:
            until(lambda: "10.77.0.77:7000" in seen(roster, UUID).addresses)
        finally:
            a.run("ip", "addr", "del", "10.77.0.77/24", "dev", "eth0")


def test_two_networks_and_a_host_on_both(
    net: Net, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    a = net.host("a", networks=("lan", "lab"))
    b = net.host("b", networks=("lan", "lab"))
    c = net.host("c", networks=("lab",))
    with (
        announcing(a, BOARD, announcer),
        scouting(b, SsdpScout()) as both,
        scouting(b, SsdpScout(["eth1"])) as lab,
        scouting(c, SsdpScout()) as far,
    ):
        until(lambda: len(seen(both, UUID).addresses) == 6, what=lambda: seen(both, UUID))
        assert len(both.snapshot().records) == 1
        for roster in (lab, far):
            until(lambda roster=roster: len(seen(roster, UUID).addresses) == 3)  # type: ignore[misc]
            assert "10.77.1.1:7000" in seen(roster, UUID).addresses
        b.link_down("eth1")
        gone(lab)
        assert any("eth1" in str(problem) for problem in lab.snapshot().problems)
        until(lambda: len(seen(both, UUID).addresses) == 3)
        with announcing(c, replace(BOARD, id=UUID.replace("0d", "0e")), announcer):
            time.sleep(0.3)
            assert len(both.snapshot().records) == 1
            b.link_up("eth1")
            until(lambda: len(both.snapshot().records) == 2)


def test_clone_raises_an_alarm(hosts: Hosts, tmp_path: Path) -> None:
    """One UUID at two places that both answer."""
    a, b = hosts
    other = replace(BOARD, boot="ffffffff")
    with (
        scouting(b, SsdpScout()) as roster,
        announcing(a, BOARD, lambda device: SsdpAnnouncer(device, state=tmp_path / "a")),
    ):
        seen(roster, UUID, state="reachable")
        with announcing(b, other, lambda device: SsdpAnnouncer(device, state=tmp_path / "b")):
            until(lambda: [r.state for r in roster.snapshot().records] == ["cloned"] * 2)
            until(lambda: [p for p in roster.snapshot().problems if p.source == "clone"])
        until(lambda: [r.state for r in roster.snapshot().records] == ["reachable"])
        assert a.address in str(seen(roster, UUID).addresses)


# ---- strangers ----------------------------------------------------------------------------------


def ask(
    host: Host,
    *,
    source: str = "",
    port: int = 0,
    to: tuple[str, int] = GROUP,
    mx: str = "1",
    target: str = HAL_TYPE,
    wait: float = 10,
    enough: int = 1000,
) -> list[Message]:
    """Search from a host, and give the answers (when there are enough, without waiting longer)."""

    def search() -> list[Message]:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as entry:
            entry.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            entry.bind((source or host.address, port))
            entry.setsockopt(
                socket.IPPROTO_IP,
                socket.IP_MULTICAST_IF,
                socket.inet_aton(source or host.address),
            )
            fields = {"HOST": "x", "MAN": '"ssdp:discover"', "ST": target}
            entry.sendto(bytes(Message("M-SEARCH", fields | ({"MX": mx} if mx else {}))), to)
            answers: list[Message] = []
            deadline = time.monotonic() + wait
            while len(answers) < enough and (left := deadline - time.monotonic()) > 0:
                entry.settimeout(left)
                try:
                    answers.append(parse(entry.recv(2048)))
                except TimeoutError:
                    break
            return answers

    return host.call(search)


def test_who_is_answered_and_who_is_not(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    a, b = hosts
    with announcing(a, BOARD, announcer):
        (answer,) = ask(b, enough=1)
        assert answer.get("LOCATION") == "hal://10.77.0.1:7000/"
        assert answer.get("EXT") == "" and "EXT" in answer.fields
        for wrong in ("", "-3", "0", "x", "999999999999x"):
            assert ask(b, mx=wrong, wait=0.1) == [], wrong
        own = answer.search_port
        assert own is not None
        for port in (1900, own):  # Alone: at once, and without MX.
            (direct,) = ask(b, to=(a.address, port), mx="", enough=1)
            assert direct.get("USN") == answer.get("USN")
        assert len(ask(b, to=(a.address, own), target="ssdp:all", enough=3)) == 3
        assert ask(b, to=(a.address, own), port=1023, wait=0.3) == []
        assert len(ask(b, to=(a.address, own), port=1024, enough=1)) == 1
        for host, other in ((a, b), (b, a)):  # A sender of another network, though routed here
            host.run("ip", "route", "add", "192.0.2.0/24", "via", other.address)
        b.run("ip", "addr", "add", "192.0.2.5/32", "dev", "eth0")
        try:
            assert ask(b, source="192.0.2.5", wait=1.2) == []
            assert ask(b, source="192.0.2.5", to=(a.address, own), wait=0.3) == []
        finally:
            b.run("ip", "addr", "del", "192.0.2.5/32", "dev", "eth0")
            for host in hosts:
                host.run("ip", "route", "del", "192.0.2.0/24")


def test_answers_are_limited(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    """A forged sender is not flooded by us, whatever he seems to ask."""
    a, b = hosts
    asked = {"HOST": "x", "MAN": '"ssdp:discover"', "ST": HAL_TYPE}

    def search() -> int:
        """Search from many ports, so that they are other searches; how many are answered."""
        with ExitStack() as stack:
            ports = [
                stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
                for _ in range(4 * responder.BURST)
            ]
            for entry in ports:
                entry.sendto(bytes(Message("M-SEARCH", asked)), (a.address, 1900))
            answered: set[socket.socket] = set()
            while fresh := select.select(set(ports) - answered, [], [], 0.5)[0]:
                answered.update(fresh)
            return len(answered)

    with announcing(a, BOARD, announcer):
        began = time.monotonic()
        answers = b.call(search)
        most = responder.BURST + responder.RATE * (time.monotonic() - began) + 1
        assert responder.BURST <= answers <= most


def strangers(host: Host, packets: Iterable[bytes], source: str = "") -> None:
    """Send packets to the group from a host."""
    crowds(host, {source or host.address: packets})


def crowds(host: Host, floods: Mapping[str, Iterable[bytes]]) -> None:
    """The same from several of its addresses, one after the other."""

    def send() -> None:
        for own, packets in floods.items():
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as entry:
                entry.bind((own, 0))
                entry.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
                for packet in packets:
                    entry.sendto(packet, GROUP)
            time.sleep(0.02)  # who listens is on the same two processors

    host.call(send)


def lie(index: int, **changes: str) -> bytes:
    """A notice of a device that is not there."""
    fields = {
        "HOST": "239.255.255.250:1900",
        "CACHE-CONTROL": "max-age=1800",
        "LOCATION": f"http://10.77.0.2:{index % 60000 + 1}/d.xml",
        "NT": "upnp:rootdevice",
        "NTS": "ssdp:alive",
        "USN": f"uuid:{index:08x}-0000-4000-8000-000000000000::upnp:rootdevice",
    }
    lines = [f"{name}: {value}" for name, value in (fields | changes).items()]
    return "\r\n".join(["NOTIFY * HTTP/1.1", *lines, "", ""]).encode()


def test_goodbye_in_the_name_of_another(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    """The sender is forged too: by a second program of the device's own host."""
    a, b = hosts
    with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer):
        seen(roster, UUID)
        (answer,) = ask(b, enough=1)
        boot = answer.get("BOOTID.UPNP.ORG")
        until(lambda: len(seen(roster, UUID).addresses) == 3)
        counts: list[int] = []  # of each moment: the device may repeat its notice at once

        def count() -> None:
            counts.extend(len(each.addresses) for each in roster.snapshot().records)

        end = roster.listen(count)
        goodbye = {"NTS": "ssdp:byebye", "USN": f"uuid:{UUID}", "BOOTID.UPNP.ORG": boot}
        strangers(a, [lie(0, **goodbye)])
        until(lambda: 2 in counts)
        until(lambda: len(seen(roster, UUID).addresses) == 3)
        end()


def test_lies_and_garbage_stop_nothing(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    a, b = hosts
    garbage = [
        b"",
        b"\0" * 1400,
        bytes(range(256)),
        b"NOTIFY * HTTP/1.1\r\n" + b"A: b\r\n" * 9000,
        b"NOTIFY * HTTP/1.1\r\nA: " + b"x" * 60_000,
        b"HTTP/1.1 200 OK\r\n\r\n",
        b'M-SEARCH * HTTP/1.1\r\nMAN: "ssdp:discover"\r\nMX: -3\r\nST: ssdp:all\r\n\r\n',
        lie(1, **{"CACHE-CONTROL": "max-age=999999999999"}),
        lie(2, LOCATION="hal://10.77.0.1:7000/", USN=f"uuid:{UUID}"),  # claims to be elsewhere
        lie(3, LOCATION="http://[::ffff:10.0.0.1%25x]:0/\u202e"),
        lie(4, NTS="ssdp:byebye", USN=f"uuid:{UUID}::upnp:rootdevice"),
        lie(5, NTS="ssdp:update", USN=f"uuid:{UUID}", **{"NEXTBOOTID.UPNP.ORG": "2147483647"}),
        lie(6, SERVER="\x1b[2J" + "\xff" * 500),
        lie(7).replace(b"LOCATION", b"LOC\xff\xfeATION"),
    ]
    with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer):
        before = seen(roster, UUID, state="reachable")
        strangers(b, garbage * 3)
        kept = until(lambda: len(roster.snapshot().records) == 4 and roster.snapshot().records)
        record = seen(roster, UUID)
        assert {"hal", "10.77.0.1:7000"} & {record.name[:3], *record.addresses}
        assert set(before.addresses) <= set(record.addresses)
        assert all(other.trust == "unverified" for other in kept)
        assert not any(
            char < " " or char == "\u202e" for other in kept for char in str(other.as_dict())
        )
    with scouting(b, SsdpScout()) as roster, announcing(a, BOARD, announcer):
        seen(roster, UUID)  # The announcer, which heard it all too, goes on.


def resident() -> int:
    """Bytes of memory that this process has."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_flood_of_10000_devices(
    hosts: Hosts, announcer: Callable[[Announcement], SsdpAnnouncer]
) -> None:
    """By 100 senders, twice over; a good device that comes meanwhile is found."""
    a, b = hosts
    senders = [f"10.77.0.{number}" for number in range(100, 200)]
    batch = "".join(f"addr add {sender}/24 dev eth0\n" for sender in senders)
    a.run("bash", "-c", f"ip -batch - <<<'{batch}'")
    floods = {
        sender: [
            lie(100 * number + index, LOCATION=f"http://{sender}:{index}/") for index in range(100)
        ]
        for number, sender in enumerate(senders)
    }
    try:
        with scouting(b, SsdpScout()) as roster:
            before = resident()
            crowds(a, dict(islice(floods.items(), 50)))
            device = announcing(b, BOARD, announcer)
            device.__enter__()
            crowds(a, dict(islice(floods.items(), 50, None)))
            crowds(a, floods)
            seen(roster, UUID, state="reachable")
            assert 100 < len(roster.snapshot().records) <= heard.DEVICES_MAX
            assert resident() - before < 40 << 20
            device.__exit__(None, None, None)
            gone(roster, UUID)
    finally:
        a.run("bash", "-c", f"ip -batch - <<<'{batch.replace('addr add', 'addr del')}'")


# ---- captured -----------------------------------------------------------------------------------


def test_one_record_of_mdns_and_ssdp(net: Net) -> None:
    """SoapyRemote announces itself by both; the UUID tells that it is one."""
    needs("SoapySDRServer", "avahi-daemon")
    a, b = net.host("a", avahi=True), net.host("b")
    server = a.popen("SoapySDRServer", "--bind")
    server.expect("Press Ctrl+C")
    with scouting(b, MdnsScout(), SsdpScout()) as roster:
        record = seen(roster, device_class="radio", sources=("mdns", "ssdp"))
        assert record.properties["uri.soapysdr"] == f"driver=remote,remote=tcp://{a.address}:55132"
        assert len(roster.snapshot().records) == 1
        server.signal(signal.SIGINT)
        gone(roster)


Fields = dict[str, list[str]]


def dissected(host: Host, file: Path) -> list[Fields]:
    """What tshark reads in a capture: for each packet, its fields and their values."""
    text = host.run("tshark", "-n", "-r", file, "-T", "json", "--no-duplicate-keys")
    packets = []
    for packet in json.loads(text[text.index("[") :]):
        fields: Fields = {}
        _collect(packet["_source"]["layers"], fields)
        packets.append(fields)
    return packets


def _collect(tree: object, fields: Fields, name: str = "") -> None:
    if isinstance(tree, dict):
        for key, value in tree.items():
            fields.setdefault(key, [])
            _collect(value, fields, key)
    elif isinstance(tree, list):
        for value in tree:
            _collect(value, fields, name)
    else:
        fields[name].append(str(tree))


def one(packet: Fields, *names: str) -> str:
    """The value of the field that has one of these names."""
    (value,) = next(packet[name] for name in names if name in packet)
    return value


def test_our_packets_are_well_formed(
    net: Net, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A capture of all that we send, by SSDP and mDNS, read by tshark."""
    needs("tcpdump", "tshark")
    monkeypatch.setenv("HAL_STATE_DIR", str(tmp_path / "state"))
    a, b = net.host("a"), net.host("b")
    file = tmp_path / "capture.pcap"
    capture = b.popen(
        "tcpdump", "--immediate-mode", "-i", "eth0", "-U", "-Z", "root", "-w", file, "udp"
    )
    capture.expect("listening on")
    with scouting(b, MdnsScout(), SsdpScout()) as roster:
        with announcing(a, BOARD, Announcer) as device:
            seen(roster, UUID, sources=("mdns", "ssdp"))
            device.update(replace(BOARD, model="Another board"))
            seen(roster, UUID, model="Another board")
        gone(roster)
    time.sleep(0.2)
    capture.stop()
    packets = dissected(b, file)
    assert not [packet for packet in packets if "_ws.malformed" in packet]
    groups = GROUP[0], "ff02::c", "ff05::c", "224.0.0.251", "ff02::fb"
    for packet in packets:
        protocol = one(packet, "frame.protocols").rpartition(":")[2]
        if one(packet, "ip.dst", "ipv6.dst") in groups:
            assert one(packet, "ip.ttl", "ipv6.hlim") == {"ssdp": "2", "mdns": "255"}[protocol]
    _check_ssdp([packet for packet in packets if "ssdp" in packet])
    _check_mdns([packet for packet in packets if "mdns" in packet])


def _check_ssdp(packets: list[Fields]) -> None:
    boots, configs, said, following = [], [], set(), set()
    for packet in packets:
        header = _header(packet)
        source = one(packet, "ip.src", "ipv6.src")
        if "http.response.code" in packet:
            assert one(packet, "http.response.code") == "200"
            assert header.keys() >= {"EXT", "DATE", "ST", "USN", "SERVER", "CACHE-CONTROL"}
            said.add("answer")
        elif one(packet, "http.request.method") == "M-SEARCH" and "MX" in header:
            assert header.keys() >= {"HOST", "MAN", "ST"} and header["MAN"] == '"ssdp:discover"'
            said.add("search")
            continue
        elif one(packet, "http.request.method") == "M-SEARCH":
            continue
        else:
            host = header["HOST"].rpartition(":")[0].strip("[]")
            assert host == one(packet, "ip.dst", "ipv6.dst")
            assert header["USN"].startswith(f"uuid:{UUID}")
            assert header["USN"].endswith(header["NT"])
            said.add(header["NTS"])
        if header.get("NTS") != "ssdp:byebye":
            literal = f"[{source}]" if ":" in source else source
            assert header["LOCATION"] == f"hal://{literal}:7000/"
            assert 49152 <= int(header["SEARCHPORT.UPNP.ORG"]) <= 65535
        boots.append(int(header["BOOTID.UPNP.ORG"]))
        configs.append(header["CONFIGID.UPNP.ORG"])
        if header.get("NTS") == "ssdp:update":
            following.add(int(header["NEXTBOOTID.UPNP.ORG"]))
    assert boots == sorted(boots) and {boots[0], *following} == {boots[0], boots[-1]} == {*boots}
    assert len(set(configs)) == 2
    assert said == {"search", "answer", "ssdp:alive", "ssdp:update", "ssdp:byebye"}


def _header(packet: Fields) -> dict[str, str]:
    """The header fields, wherever this version of tshark puts them."""
    kinds = ("http.request.line", "http.response.line", "http.unknown_header")
    lines = [line for kind in kinds for line in packet.get(kind, [])]
    named = {"HOST": "http.host", "LOCATION": "http.location"}
    lines += [f"{name}:{packet[field][0]}" for name, field in named.items() if field in packet]
    pairs = (line.replace("\\r\\n", "").partition(":")[::2] for line in lines)
    return {name: value.strip() for name, value in pairs}


def _check_mdns(packets: list[Fields]) -> None:
    types, models, goodbyes = set(), set(), 0
    for packet in packets:
        assert one(packet, "dns.id") == "0x0000"
        types |= {*packet.get("dns.qry.name", []), *packet.get("dns.ptr.domain_name", [])}
        models |= {text for text in packet.get("dns.txt", []) if text.startswith("model=")}
        assert set(packet.get("dns.srv.port", [])) <= {"7000"}
        assert all(len(text) < 256 for text in packet.get("dns.txt", []))
        goodbyes += "0" in packet.get("dns.resp.ttl", [])
    assert {"_hal-device._tcp.local", f"{UUID}._hal-device._tcp.local"} <= types
    assert models == {"model=Bench board", "model=Another board"}
    assert goodbyes
