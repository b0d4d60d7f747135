# SPDX-License-Identifier: Apache-2.0
"""mDNS between hosts: avahi, iiod and SoapySDRServer as peers, and networks that misbehave."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
from zeroconf._dns import DNSAddress, DNSPointer, DNSRecord, DNSService, DNSText
from zeroconf._protocol.incoming import DNSIncoming
from zeroconf._protocol.outgoing import DNSOutgoing
from zeroconf.const import (
    _FLAGS_AA,
    _FLAGS_QR_RESPONSE,
    _TYPE_A,
    _TYPE_AAAA,
    _TYPE_PTR,
    _TYPE_SRV,
    _TYPE_TXT,
)

from hal.discovery import txt
from hal.discovery.announcement import Announcement
from hal.discovery.mdns import MdnsScout
from hal.discovery.mdns.gate import Gate
from hal.discovery.mdns.scout import Bounds
from hal.discovery.mdns.segment import segment
from hal.discovery.netlink import Interface, interfaces
from hal.discovery.record import Record
from hal.discovery.roster import Snapshot
from hal.discovery.sysfs import printable
from hal.discovery.within import end
from tests.needs import needs

from . import crowd
from .conftest import Lan
from .device import PORT, device
from .looking import QUICK, Looking
from .namespaces import PATIENCE, Host, Net, Process, listener

RESPONSE = _FLAGS_QR_RESPONSE | _FLAGS_AA
ID = "6f0c1f9e-8f5a-4b8b-9a86-5b1f1d8c1a11"
NAME = f"{ID}.{crowd.TYPE}"
LXI = ("Manufacturer=Acme", "Model=DMM 7", "SerialNumber=MY5304", "FirmwareVersion=1.2")


def publish(host: Host, name: str, kind: str, port: int, *text: str) -> Process:
    return host.popen("avahi-publish-service", name, kind, str(port), *text)


def taken(look: Looking, device_class: str, **uris: str) -> Record:
    """Wait for a device that tools take by these URIs, `uri.<tool>`.

    avahi tells IPv4 addresses by IPv4 alone: when its packet by IPv6 is read first, the device is
    known by that, until the other is read.
    """
    wanted = {f"uri.{tool}": uri for tool, uri in uris.items()}.items()

    def there(snapshot: Snapshot) -> list[Record]:
        return [
            record
            for record in snapshot.records
            if record.device_class == device_class and wanted <= record.properties.items()
        ]

    return there(look.until(there))[0]


def test_we_see_what_others_announce(lan: Lan, tmp_path: Path) -> None:
    """iiod, SoapySDRServer, and what instruments and automation say, published by avahi."""
    needs("iiod", "SoapySDRServer")
    context = tmp_path / "context.xml"
    context.write_text(
        '<?xml version="1.0"?><context name="local" description="x"><device id="iio:device0" '
        'name="adc"><channel id="voltage0" type="input"/></device></context>'
    )
    lan.a.popen("iiod", "-u", f"xml:{context}")
    lan.b.popen("SoapySDRServer", "--bind")
    services = [("_lxi._tcp", 80), ("_hislip._tcp", 4880), ("_vxi-11._tcp", 111)]
    services += [("_scpi-raw._tcp", 5025), ("_scpi-telnet._tcp", 5024)]
    published = [publish(lan.a, "DMM", kind, port, *LXI) for kind, port in services]
    published += [
        publish(lan.b, "lamp", "_esphomelib._tcp", 6053, "mac=240ac4112233", "board=esp32dev"),
        publish(lan.b, "broker", "_mqtt._tcp", 1883),
        publish(lan.b, "node", "_coap._udp", 5683),
    ]
    broker_answers = lan.b.call(partial(listener, 1883))  # else it is lost in some seconds
    with broker_answers, Looking(lan.c, MdnsScout(pace=QUICK)) as look:
        look.record(device_class="iio", state="reachable")
        iio = taken(look, "iio", libiio=f"ip:{lan.a.address}")
        assert iio.name == "iiod on a" and iio.host == "a.local" and iio.trust == "unverified"
        assert iio.addresses[0] == iio.properties["uri.libiio"]
        assert iio.uri == "" and iio.sources == ("mdns",)
        look.record(device_class="radio", state="reachable")
        uri = f"driver=remote,remote=tcp://{lan.b.address}:55132"
        assert taken(look, "radio", soapysdr=uri).identity.startswith("uuid ")
        look.until(
            lambda s: any(
                sum(key.startswith("service.") for key in r.properties) == 5 for r in s.records
            )
        )
        visa = {
            "visa": f"TCPIP::{lan.a.address}::hislip0::INSTR",
            "visa-socket": f"TCPIP::{lan.a.address}::5025::SOCKET",
        }
        meter = taken(look, "instrument", **visa)  # Five announcements, one device.
        assert (meter.vendor, meter.model, meter.serial) == ("Acme", "DMM 7", "MY5304")
        assert len([r for r in look.roster.snapshot().records if r.serial == "MY5304"]) == 1
        lamp = look.record(name="lamp")
        assert lamp.identity == "mac 24:0a:c4:11:22:33" and lamp.model == "esp32dev"
        uri = f"mqtt://{lan.b.address}:1883"
        assert taken(look, "automation", mqtt=uri).name == "broker"
        node = look.record(name="node")
        assert node.state == "announced"  # UDP: there is no connecting to it.
        published[-1].kill()
        look.gone(name="node")  # avahi-daemon says goodbye for it.
        assert look.roster.snapshot().problems == ()
    for process in published:
        process.close()
    for host, name in ((lan.a, "iiod"), (lan.b, "SoapySDRServer")):
        host.run("pkill", "-x", name, check=False)


SERVICE = """<?xml version="1.0" standalone='no'?>
<!DOCTYPE service-group SYSTEM "avahi-service.dtd">
<service-group><name>{first}</name><service><type>_mqtt._tcp</type><port>1883</port>
<txt-record value-format="binary-hex">blob={blob}</txt-record>
<txt-record>flag</txt-record></service></service-group>
"""


def test_any_bytes_in_a_txt_record(net: Net, tmp_path: Path) -> None:
    """avahi announces each of the 256 bytes; they come through, and none commands a terminal."""
    a, b = net.host("a"), net.host("b")
    for first in (0, 128):
        blob = bytes(range(first, first + 128)).hex()
        text = SERVICE.format(first=first, blob=blob)
        (tmp_path / f"{first}.service").write_text(text)
    tmp_path.chmod(0o755)
    a.run("mount", "--bind", tmp_path, "/etc/avahi/services")
    a.start_avahi()
    with Looking(b, MdnsScout(pace=QUICK)) as look:
        found = look.until(lambda s: len(s.records) == 2).records
    for record in found:
        first = int(record.name)
        data = bytes(range(first, first + 128))
        assert record.properties["txt.blob"] == printable(data.decode("utf-8", "replace"))
        assert "txt.flag" not in record.properties  # A key alone has no value.


def test_ipv6_alone(lan: Lan) -> None:
    """Both ways: ours are found by ours and by avahi-browse, avahi's by ours."""
    hosts = (lan.a, lan.c, lan.d)
    for host in hosts:
        host.run("ip", "addr", "del", f"{host.address}/24", "dev", "eth0")
    try:
        with device(lan.c, "Board", ID), Looking(lan.d, MdnsScout(pace=QUICK)) as look:
            record = look.record(id=ID, state="reachable")
            assert record.uri == f"hal://[{lan.c.address6}]:{PORT}?id={ID}"
            assert all(address.startswith("[f") for address in record.addresses)
            line = lan.a.run("avahi-browse", "-rpt", "_hal-device._tcp")
            assert f"=;eth0;IPv6;{ID}" in line and "IPv4" not in line
            with lan.a.call(partial(listener, 1883)):
                broker = publish(lan.a, "broker", "_mqtt._tcp", 1883)
                uri = look.record(name="broker").properties["uri.mqtt"]
                assert uri == f"mqtt://[{lan.a.address6}]:1883"
                broker.kill()
    finally:
        for host in hosts:
            host.run("ip", "addr", "add", f"{host.address}/24", "brd", "+", "dev", "eth0")


def test_an_address_that_comes_later(lan: Lan) -> None:
    """A service known by IPv6 alone is reached by IPv4 once that is told, without coming anew."""
    lan.a.run("ip", "addr", "del", f"{lan.a.address}/24", "dev", "eth0")
    back = ("ip", "addr", "add", f"{lan.a.address}/24", "brd", "+", "dev", "eth0")
    answers = lan.a.call(partial(listener, 1883))
    with answers, Looking(lan.c, MdnsScout(pace=QUICK)) as look:
        try:
            publish(lan.a, "broker", "_mqtt._tcp", 1883)
            first = look.record(name="broker")
            assert first.properties["uri.mqtt"] == f"mqtt://[{lan.a.address6}]:1883"
        finally:
            lan.a.run(*back)
        taken(look, "automation", mqtt=f"mqtt://{lan.a.address}:1883")


@dataclass(frozen=True)
class Board:
    """What a device on a host tells, record by record (RFC 6762, section 10)."""

    on: Host

    def pointer(self) -> DNSRecord:
        return DNSPointer(crowd.TYPE, _TYPE_PTR, 1, 4500, NAME)

    def service(self) -> tuple[DNSRecord, DNSRecord]:
        text = b"".join(bytes([len(s)]) + s for s in (b"txtvers=1", b"id=" + ID.encode()))
        return (
            DNSService(NAME, _TYPE_SRV, crowd.UNIQUE, 120, 0, 0, PORT, "board.local."),
            DNSText(NAME, _TYPE_TXT, crowd.UNIQUE, 4500, text),
        )

    def ipv4(self, ttl: int = 120) -> DNSRecord:
        packed = socket.inet_aton(self.on.address)
        return DNSAddress("board.local.", _TYPE_A, crowd.UNIQUE, ttl, packed)

    def ipv6(self) -> DNSRecord:
        packed = socket.inet_pton(socket.AF_INET6, self.on.address6)
        return DNSAddress("board.local.", _TYPE_AAAA, crowd.UNIQUE, 120, packed)

    def addresses(self) -> set[str]:
        return {f"{self.on.address}:{PORT}", f"[{self.on.address6}]:{PORT}"}


def say(sock: socket.socket, *records: DNSRecord) -> None:
    """Send a packet with these records, in this order."""
    out = DNSOutgoing(RESPONSE)
    for record in records:
        out.add_answer_at_time(record, 0)
    sock.sendto(out.packets()[0], (crowd.GROUP, crowd.PORT))


def tell(host: Host, *records: DNSRecord) -> None:
    """Send a packet from a host."""

    def work() -> None:
        with crowd.speaker(host.address) as sock:
            say(sock, *records)

    host.call(work)


def asked(sock: socket.socket, name: str) -> None:
    """Wait until somebody asks for a name."""
    sock.settimeout(PATIENCE)
    while all(question.name != name for question in DNSIncoming(sock.recv(9000)).questions):
        pass


def test_addresses_in_any_order(lan: Lan) -> None:
    """Records of a packet have no order: an address before the service that it is of is heard."""
    board = Board(lan.c)

    def answers() -> None:
        with crowd.speaker(lan.c.address) as sock:
            say(sock, board.pointer())
            asked(sock, NAME)
            say(sock, board.ipv4(), *board.service(), board.ipv6())

    with Looking(lan.d, MdnsScout(pace=QUICK)) as look, device(lan.a) as other:
        look.record(id=other.id)  # It listens.
        lan.c.call(answers)
        assert set(look.record(id=ID).addresses) == board.addresses()


def test_an_address_that_had_expired(lan: Lan) -> None:
    """It is heard again, by a service that came when it had expired and was still remembered."""
    board = Board(lan.c)

    with Looking(lan.d, MdnsScout(pace=QUICK)) as look, device(lan.a) as other:
        look.record(id=other.id)  # It listens.
        tell(lan.c, board.ipv4(ttl=1))
        time.sleep(1.5)
        tell(lan.c, board.pointer(), *board.service(), board.ipv6())
        assert look.record(id=ID).addresses == (f"[{lan.c.address6}]:{PORT}",)
        tell(lan.c, board.ipv4())
        look.until(lambda s: board.addresses() in [set(r.addresses) for r in s.records])


def test_a_service_that_has_no_address(lan: Lan) -> None:
    """Only its name is announced: it is asked for, and then told."""
    bounds = Bounds(timeout=0.2, tries=1)
    with Looking(lan.d, MdnsScout(pace=QUICK, bounds=bounds)) as look, device(lan.a) as other:
        look.record(id=other.id)  # It listens.
        tell(lan.c, Board(lan.c).pointer())
        assert f"mdns eth0 {ID}" in look.problem("nobody answers for its address")
        assert [record.id for record in look.roster.snapshot().records] == [other.id]


def test_a_tool_takes_the_uri(lan: Lan, tmp_path: Path) -> None:
    """What `uri.libiio` says is what iio_info takes: attributes of a faked sysfs are read."""
    needs("iiod", "iio_info")
    script = (
        "mount -t tmpfs tmpfs /sys/bus; d=/sys/bus/iio/devices/iio:device0; "
        "mkdir -p $d /sys/bus/usb/devices; echo fake-adc >$d/name; echo 1234 >$d/in_voltage0_raw; "
        "printf 'MAJOR=1\\nMINOR=1\\n' >$d/uevent; echo 250:0 >$d/dev; exec iiod -u local:"
    )
    server = lan.a.popen("unshare", "-m", "bash", "-ec", script)
    with Looking(lan.c, MdnsScout(pace=QUICK)) as look:
        iio = look.record(device_class="iio", state="reachable")
        uri = iio.properties["uri.libiio"]
        assert "1234" in lan.c.run("iio_attr", "-u", uri, "-c", "fake-adc", "voltage0", "raw")
        server.kill()
        look.gone(device_class="iio")


def test_others_see_us(lan: Lan) -> None:
    """avahi-browse resolves a device of ours by IPv4 and IPv6; it sees changes and the goodbye."""
    browser = lan.a.popen("avahi-browse", "-rp", "_hal-device._tcp")
    with device(lan.c, "Bücherbrett №7", ID, capabilities=("i2c", "gpio")) as own:
        assert own.announcer and own.announcer.announced == ("eth0",)
        for protocol in ("IPv4", "IPv6"):
            line = lan.a.run("avahi-browse", "-rpt", "_hal-device._tcp")
            found = [
                text for text in line.splitlines() if text.startswith(f"=;eth0;{protocol};{ID}")
            ]
            fields = found[0].split(";")
            assert fields[6] == f"{ID}.local" and fields[8] == str(PORT)
            assert f'"id={ID}"' in fields[9] and '"capabilities=i2c,gpio"' in fields[9]
            assert '"model=B\\195\\188cherbrett \\226\\132\\1507"' in fields[9] or (
                "Bücherbrett №7" in fields[9]
            )
        own.update(Announcement(ID, PORT, "Rack", boot=own.announcement.boot))
        assert '"model=Rack"' in lan.a.run("avahi-browse", "-rpt", "_hal-device._tcp")
    browser.expect(f"-;eth0;IPv4;{ID}")
    browser.kill()


def test_comes_changes_goes(lan: Lan) -> None:
    """A device of ours is found, followed, and lost at its goodbye."""
    with Looking(lan.d, MdnsScout(pace=QUICK)) as look:
        with device(lan.c, "Board", capabilities=("spi",)) as own:
            look.until(lambda s: any(len(r.addresses) == 3 for r in s.records))
            record = look.record(id=own.id, state="reachable")
            assert record.device_class == "remote" and record.model == "Board"
            assert (
                record.uri == f"hal://{lan.c.address}:{PORT}?id={own.id}"
                and record.host == lan.c.address
            )
            assert record.addresses[0] == f"{lan.c.address}:{PORT}"
            assert record.addresses[1] == f"[{lan.c.address6}]:{PORT}"
            assert "%eth0" in record.addresses[2]  # link-local, so last
            assert record.properties["capabilities"] == "spi"
            own.update(Announcement(own.id, PORT, "Rack", boot=own.announcement.boot))
            look.record(id=own.id, model="Rack")
        look.gone(id=own.id)
        assert look.roster.snapshot().problems == ()


def test_killed_without_goodbye(lan: Lan, tmp_path: Path) -> None:
    """Its announcement holds for an hour; that it is dead is found all the same, and its return."""
    announce = (sys.executable, "-m", "hal.probe", "announce", "--protocol", "mdns", "--json")
    command = ("env", f"HAL_STATE_DIR={tmp_path}", *announce)
    with Looking(lan.d, MdnsScout(pace=QUICK)) as look:
        process = lan.c.popen(*command)
        own = process.expect('"id"').split('"')[3]
        look.record(id=own, state="reachable")
        process.kill()
        silent = look.record(id=own, state="silent")
        assert silent.detail.endswith("port 7362: Connection refused")
        look.gone(id=own)
        again = lan.c.popen(*command)
        look.record(id=own, state="reachable")
        assert again.stop() == 0
        look.gone(id=own)


def test_name_taken_by_another(lan: Lan) -> None:
    """Who has our name, with another boot, is a clone: told by the device, and by who looks."""
    taken = publish(lan.a, ID, "_hal-device._tcp", PORT, "txtvers=1", f"id={ID}", "boot=00000000")
    taken.expect("Established")
    with Looking(lan.d, MdnsScout(pace=QUICK)) as look, device(lan.c, "Board", ID) as own:
        places = (lan.a.address, lan.a.address6)  # Whichever was answered first.
        told = [cause for _, cause in own.troubles if "clone" in cause]
        assert any(place in cause for cause in told for place in places), own.troubles
        assert f"{ID}-2" in lan.a.run("avahi-browse", "-pt", "_hal-device._tcp")
        # The one that is published has nobody listening: it is not alive, so no clone yet.
        look.record(id=ID, state="reachable")
        assert not [p for p in look.roster.snapshot().problems if p.source == "clone"]
        server = lan.a.popen(sys.executable, "-m", "http.server", str(PORT))
        assert "2 devices claim to be" in look.problem(ID)
        assert [r.state for r in look.roster.snapshot().records] == ["cloned", "cloned"]
        server.kill()
        look.until(lambda s: [r.state for r in s.records] == ["reachable"])
    taken.kill()


def test_name_taken_from_us(lan: Lan) -> None:
    """We have it first: avahi takes another name."""
    with device(lan.c, "Board", ID):
        second = publish(lan.a, ID, "_hal-device._tcp", PORT, "txtvers=1", f"id={ID}")
        second.expect("collision")
        second.kill()


def test_two_take_one_name_at_once(lan: Lan) -> None:
    """Who hears another under its name tells of it, and with the greater `boot` gives way."""
    with device(lan.c, "Board", ID, boot="ffffffff") as own:
        text = txt.DeviceText(ID, boot="00000000").encode()
        browser = lan.a.popen("avahi-browse", "-p", "_hal-device._tcp")
        browser.expect(f"+;eth0;IPv4;{ID}")
        tell(lan.d, DNSText(NAME, _TYPE_TXT, crowd.UNIQUE, 4500, text))
        browser.expect(f"-;eth0;IPv4;{ID}")
        assert any("clone" in cause for _, cause in own.troubles)
        browser.kill()


def test_link_down_and_up(lan: Lan) -> None:
    """A link that goes takes its devices with it, is told, and is used again when it is back."""
    with device(lan.c) as own, Looking(lan.d, MdnsScout(pace=QUICK)) as look:
        look.record(id=own.id, state="reachable")
        lan.d.link_down()
        assert "eth0: down" in look.problem("no network interface can multicast")
        assert look.gone(id=own.id).records == ()
        lan.d.link_up()
        look.record(id=own.id, state="reachable")
        assert look.roster.snapshot().problems == ()
        lan.c.link_down()  # Now the device's.
        look.record(id=own.id, state="silent")
        lan.c.link_up()
        look.record(id=own.id, state="reachable")


def test_address_change_is_no_clone(lan: Lan) -> None:
    with device(lan.c) as own, Looking(lan.d, MdnsScout(pace=QUICK)) as look:
        look.record(id=own.id, state="reachable")
        lan.c.run("ip", "addr", "del", f"{lan.c.address}/24", "dev", "eth0")
        lan.c.run("ip", "addr", "add", "10.77.0.200/24", "dev", "eth0")
        try:
            look.until(
                lambda s: any(
                    r.addresses[0] == f"10.77.0.200:{PORT}" and r.state == "reachable"
                    for r in s.records
                )
            )
            assert not [p for p in look.roster.snapshot().problems if p.source == "clone"]
        finally:
            lan.c.run("ip", "addr", "del", "10.77.0.200/24", "dev", "eth0")
            lan.c.run("ip", "addr", "add", f"{lan.c.address}/24", "dev", "eth0")


def test_two_networks(net: Net) -> None:
    """One device on both is one record; two devices with one id, a network each, are clones."""
    near = net.host("near", networks=("lan", "other"))
    both = net.host("both", networks=("lan", "other"))
    with Looking(near, MdnsScout(pace=QUICK)) as look:
        with device(both, "Board", ID) as own:
            assert own.announcer and set(own.announcer.announced) == {"eth0", "eth1"}
            found = look.until(
                lambda s: any(
                    {f"10.77.0.2:{PORT}", f"10.77.1.2:{PORT}"} <= {*r.addresses} for r in s.records
                )
            )
            assert len(found.records) == 1 and found.problems == ()
        look.gone(id=ID)
        one, two = net.host("one"), net.host("two", networks=("other",))
        with device(one, "Board", ID), device(two, "Board", ID):
            assert "10.77.0.3" in look.problem("2 devices claim to be")
            near.link_down("eth1")  # One network fails: the other goes on, and there is no clone.
            look.until(lambda s: [r.state for r in s.records] == ["reachable"] and not s.problems)


def test_clock_jump(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    """The wall clock is only shown: nothing is lost when it is set."""
    with device(lan.c) as own, Looking(lan.d, MdnsScout(pace=QUICK)) as look:
        before = look.record(id=own.id, state="reachable").last_seen
        real = time.time
        for jump in (1e8, -1e8):
            monkeypatch.setattr(time, "time", partial(_jumped, real, jump))
            look.until(partial(_seen_at, before + jump))
            assert look.record(id=own.id).state == "reachable"


def _jumped(real: Callable[[], float], jump: float) -> float:
    return real() + jump


def _seen_at(moment: float, snapshot: Snapshot) -> bool:
    return any(abs(record.last_seen - moment) < 60 for record in snapshot.records)


def test_interface_without_multicast(lan: Lan) -> None:
    lan.d.run("ip", "link", "set", "eth0", "multicast", "off")
    try:
        with Looking(lan.d, MdnsScout()) as look:
            assert "no MULTICAST flag" in look.problem("eth0")
            assert "static hosts" in look.problem("eth0")
        with Looking(lan.d, MdnsScout(["eth0", "eth7"])) as look:
            assert "no such interface" in look.problem("mdns eth7")
    finally:
        lan.d.run("ip", "link", "set", "eth0", "multicast", "on")


def test_a_thousand(net: Net) -> None:
    """Every one of 1000 devices that answer at once is resolved."""
    a, b = net.host("a"), net.host("b")
    net.crowd(a, 1000)
    with Looking(b, MdnsScout()) as look:
        found = look.until(lambda s: len(s.records) == 1000)
        assert {len(record.addresses) for record in found.records} == {1}


def test_flood(net: Net) -> None:
    """10,000 devices announce themselves in 5 s: bounded memory, and others stay listed."""
    a, b, c = net.host("a"), net.host("b"), net.host("c")
    many = net.crowd(a, 10_000, "flood")
    with device(c) as own, Looking(b, MdnsScout()) as look:
        look.record(id=own.id, state="reachable")
        before = _resident()
        many.send("go")
        many.expect("told")
        many.kill()
        found = look.until(lambda s: len(s.records) > 1000)
        assert any(record.id == own.id for record in found.records)
        assert _resident() - before < 100 << 20


@pytest.mark.parametrize("steps", [1, 2, 4, 7, 12])
def test_nothing_is_left_open_when_it_is_cancelled_as_it_starts(lan: Lan, steps: int) -> None:
    """However far it has come: the sockets of zeroconf are closed, too."""

    async def begin_and_cancel() -> None:
        async def work(link: Interface) -> None:
            async with segment(link, Gate(link.name)):
                await asyncio.sleep(60)

        tasks = [asyncio.ensure_future(work(link)) for link in interfaces()]
        assert len(tasks) > 1
        for _ in range(steps):
            await asyncio.sleep(0)
        await end(tasks)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ResourceWarning)
        lan.d.call(lambda: asyncio.run(begin_and_cancel()))
        gc.collect()
    assert [str(one.message) for one in caught] == []


def test_flood_beyond_the_bounds(net: Net) -> None:
    """A sender that announces more than is remembered is told, and not listened to for a while."""
    a, b, c = net.host("a"), net.host("b"), net.host("c")
    many = net.crowd(a, 600, "flood")
    bounds = Bounds(names=400, per_origin=200, patience=50, ban=1.5)
    with Looking(b, MdnsScout(bounds=bounds)) as look:
        look.until(lambda _: True)
        time.sleep(0.3)
        many.send("go")
        assert a.address in look.problem("announces more services than are remembered")
        assert len(look.roster.snapshot().records) <= 200
        many.kill()
        with device(c) as own:
            look.record(id=own.id, state="reachable")
            look.until(lambda s: not [p for p in s.problems if "remembered" in p.cause])


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
