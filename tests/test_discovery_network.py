# SPDX-License-Identifier: Apache-2.0
"""What discovery reads from networks, and how it judges it: no network is needed here but lo."""

from __future__ import annotations

import asyncio
import gc
import ipaddress
import json
import multiprocessing
import socket
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import dns.message
import dns.name
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hal.discovery import device_id, foreign, static, txt, unicast
from hal.discovery.announcement import Announcement
from hal.discovery.liveness import Liveness, Pace
from hal.discovery.mdns.gate import (
    BYTES_BURST,
    BYTES_RATE,
    PACKETS_BURST,
    PACKETS_RATE,
    SENDERS_MAX,
    Gate,
)
from hal.discovery.record import Record
from hal.discovery.roster import Roster
from hal.discovery.service import TYPES, Service, endpoints, ranked, sighting
from hal.discovery.sighting import Sighting
from hal.discovery.within import within

ID = "6f0c1f9e-8f5a-4b8b-9a86-5b1f1d8c1a11"
FEW = settings(max_examples=60, deadline=None)
QUICK = Pace(period=0.05, timeout=0.5, retry=0.02, dormant=0.05, burst=100)


def _reason(call: Callable[[], object]) -> str:
    """Why a call refuses, "" when it does not."""
    try:
        call()
    except ValueError as error:
        return str(error)
    return ""


# ---- TXT records ------------------------------------------------------------------------------


@FEW
@given(st.binary(max_size=txt.READ_MAX + 64))
def test_any_bytes_are_read(data: bytes) -> None:
    read = txt.parse(data)
    assert len(read.pairs) <= txt.PAIRS_MAX
    for key in read.pairs:
        assert read.text(key).isprintable()
    assert _reason(lambda: txt.decode(read)).isprintable()


KEYS = st.text(
    st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="="), min_size=1
)


@FEW
@given(st.dictionaries(KEYS, st.none() | st.binary(max_size=100), max_size=8))
def test_what_is_built_is_read(pairs: dict[str, bytes | None]) -> None:
    lower = {key.lower(): value for key, value in pairs.items()}
    fits = {key: value for key, value in lower.items() if len(key) <= 64}
    assert dict(txt.parse(txt.build(fits.items(), 4096)).pairs) == fits


def test_txt_rules() -> None:
    """RFC 6763, section 6: the first of equal keys counts; no key, no meaning; keys in any case."""
    data = b"\x03A=1\x03a=2\x02=x\x00\x04flag\x02e="
    assert dict(txt.parse(data).pairs) == {"a": b"1", "flag": None, "e": b""}
    assert "ends within" in txt.parse(b"\x05ab").problem
    assert "not read" in txt.parse(bytes(txt.READ_MAX + 1)).problem
    assert txt.parse(bytes(txt.READ_MAX)).problem == ""
    pairs = [f"k{number}".encode() for number in range(txt.PAIRS_MAX + 1)]
    strings = [bytes([len(pair)]) + pair for pair in pairs]
    for count in (txt.PAIRS_MAX - 1, txt.PAIRS_MAX):
        whole = txt.parse(b"".join(strings[:count]))
        assert (len(whole.pairs), whole.problem) == (count, "")
    more = txt.parse(b"".join(strings))
    assert len(more.pairs) == txt.PAIRS_MAX and f"more than {txt.PAIRS_MAX}" in more.problem
    assert txt.parse(b"\x04a=\x1b\x07").text("a") == "\\x1b\\x07"


@pytest.mark.parametrize(
    ("pairs", "said"),
    [
        ([("a=b", "")], 'without "="'),
        ([("", "x")], "1 to 64"),
        ([("k" * 65, "x")], "1 to 64"),
        ([("é", "x")], "ASCII"),
        ([("a", "1"), ("A", "2")], "twice"),
        ([("a", "x" * 254)], "at most 255"),
        ([("a", "x" * 200), ("b", "x" * 200)], "at most 400"),
    ],
)
def test_what_cannot_be_built(pairs: list[tuple[str, str]], said: str) -> None:
    with pytest.raises(ValueError) as error:
        txt.build(pairs)
    assert said in str(error.value)


def test_limits_of_a_txt_record() -> None:
    assert len(txt.build([("a", "x" * 253)])) == 256  # 255 and the length
    exact = [("a", "x" * 253), ("b", "x" * 141)]
    assert len(txt.build(exact)) == txt.ANNOUNCED_MAX


@FEW
@given(
    st.lists(st.from_regex(r"[a-z0-9][a-z0-9._-]{0,31}", fullmatch=True), max_size=300),
    st.text(st.characters(codec="utf-8", categories=["L", "N", "P"]), max_size=20),
)
def test_device_text_fits(capabilities: list[str], model: str) -> None:
    """However much it can, what a device says fits; what was left out is counted."""
    said = txt.DeviceText(ID, "1.0", "hal/1", model, tuple(capabilities), "0123abcd")
    data = said.encode()
    assert len(data) <= txt.ANNOUNCED_MAX
    read = txt.decode(txt.parse(data))
    assert len(read.capabilities) + read.more == len(capabilities)
    assert read.capabilities == tuple(capabilities[: len(read.capabilities)])
    assert (read.id, read.model, read.boot) == (ID, model, "0123abcd")


def test_device_text_refused() -> None:
    for text, said in (
        (b"", "no id"),
        (b"\x06id=abc", "no UUID"),
        (b"\x27id=00000000-0000-0000-0000-000000000000", "no UUID"),
        (b"\x09txtvers=2", "only 1"),
    ):
        with pytest.raises(ValueError) as error:
            txt.decode(txt.parse(text))
        assert said in str(error.value)
    short = txt.parse(b"\x27id=" + ID.encode() + b"\x07ver=2.1\x07cap=i2c\x0aproto=hal7")
    assert txt.decode(short).version == "2.1" and txt.decode(short).capabilities == ("i2c",)


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ({"port": 0}, "port 0"),
        ({"port": 65536}, "port 65536"),
        ({"id": "x"}, "no UUID"),
        ({"model": "a\nb"}, "control characters"),
        ({"model": "x" * 400}, "at most 255"),
        ({"model": "x" * 150, "version": "x" * 150}, "no room"),
        ({"capabilities": ("I2C",)}, "not 1 to 32"),
        ({"boot": "xyz"}, "8 hexadecimal"),
    ],
)
def test_announcements_are_checked(said: dict[str, object], cause: str) -> None:
    with pytest.raises(ValueError) as error:
        Announcement(**{"id": ID, "port": 1, **said})  # type: ignore[arg-type]
    assert cause in str(error.value)


# ---- services ---------------------------------------------------------------------------------


@FEW
@given(
    st.sampled_from(TYPES),
    st.text(max_size=63),
    st.text(max_size=255),
    st.integers(-1, 70000),
    st.lists(st.ip_addresses().map(str) | st.text(max_size=40), max_size=20),
    st.binary(max_size=300),
)
def test_any_service_makes_a_sighting_or_a_reason(
    kind: str, instance: str, host: str, port: int, addresses: list[str], text: bytes
) -> None:
    service = Service(kind, instance, host, port, ranked(addresses), text)
    reason = _reason(lambda: sighting(service, "mdns", "key"))
    assert reason.isprintable()
    if reason:
        return
    seen = sighting(service, "mdns", "key")
    record = seen.record
    assert record.trust == "unverified" and record.state == "announced" and seen.places
    texts = (record.name, record.host, record.model, record.vendor, *record.properties.values())
    assert all(value.isprintable() for value in texts)
    assert uuid.UUID(record.id)


def test_a_stranger_says_nothing_in_our_name() -> None:
    """What a TXT record holds has names of its own among the properties."""
    text = bytes([13]) + b"uri.visa=evil" + bytes([14]) + b"service._x=bad"
    record = sighting(
        Service("_scpi-raw._tcp", "x", "h", 5025, ("10.0.0.3",), text), "mdns", "key"
    ).record
    assert record.properties["txt.uri.visa"] == "evil"
    assert "uri.visa" not in record.properties
    assert "service._x" not in record.properties


def test_addresses_are_ranked() -> None:
    heard = ["fe80::1%eth0", "127.0.0.1", "2001:db8::1", "10.0.0.3", "224.0.0.1", "::1", "fe80::2"]
    heard += ["0.0.0.0", "255.255.255.255", "::ffff:10.0.0.4", "nonsense", "10.0.0.3"]
    assert ranked(heard) == ("10.0.0.3", "10.0.0.4", "2001:db8::1", "fe80::1%eth0")
    assert "127.0.0.1" in ranked(heard, loopback=True)
    assert len(ranked(f"10.0.1.{i}" for i in range(50))) == 16


def _foreign(kind: str, *pairs: tuple[str, str], instance: str = "Thing") -> Record:
    text = txt.build(pairs)
    return sighting(
        Service(kind, instance, "t.local", 4880, ("10.0.0.3",), text), "mdns", "k"
    ).record


def test_identity_of_foreign_devices() -> None:
    """What it stands on: a UUID, a MAC address, a serial number, else the name."""
    number = str(uuid.uuid4())
    said = foreign.Product(uuid=number)
    assert _foreign("_soapy._tcp", ("uuid", number)).id == foreign.identify(said, "radio", "x")[0]
    assert _foreign("_soapy._tcp", ("uuid", "none")).identity == "service radio Thing"
    assert _foreign("_esphomelib._tcp", ("mac", "24:0A:C4:11:22:33")).identity.endswith("22:33")
    product = [("Manufacturer", "Acme"), ("Model", "M"), ("SerialNumber", "MY5304")]
    same = {_foreign(kind, *product).id for kind in ("_lxi._tcp", "_hislip._tcp", "_scpi-raw._tcp")}
    assert len(same) == 1
    dummy = _foreign("_lxi._tcp", *product[:2], ("SerialNumber", "0000"))
    assert dummy.identity == "service instrument Thing"


@pytest.mark.parametrize(
    ("kind", "host", "port", "uri"),
    [
        ("_iio._tcp", "10.0.0.3", 30431, "ip:10.0.0.3"),
        ("_iio._tcp", "fd77::1", 4000, "ip:[fd77::1]:4000"),
        ("_soapy._tcp", "fd77::1", 55132, "driver=remote,remote=tcp://[fd77::1]:55132"),
        ("_hislip._tcp", "10.0.0.3", 4880, "TCPIP::10.0.0.3::hislip0::INSTR"),
        ("_hislip._tcp", "10.0.0.3", 4881, "TCPIP::10.0.0.3::hislip0,4881::INSTR"),
        ("_vxi-11._tcp", "10.0.0.3", 111, "TCPIP::10.0.0.3::inst0::INSTR"),
        ("_scpi-raw._tcp", "10.0.0.3", 5025, "TCPIP::10.0.0.3::5025::SOCKET"),
        ("_lxi._tcp", "10.0.0.3", 80, "http://10.0.0.3/"),
        ("_lxi._tcp", "fe80::1%eth0", 8080, "http://[fe80::1%25eth0]:8080/"),
        ("_coaps._udp", "10.0.0.3", 5684, "coaps://10.0.0.3:5684"),
    ],
)
def test_uris_of_other_tools(kind: str, host: str, port: int, uri: str) -> None:
    make = foreign.KINDS[kind].uri
    assert make and make(host, port) == uri


def test_instruments_are_not_connected_to() -> None:
    """Some serve one connection at a time."""
    service = Service("_scpi-raw._tcp", "x", "h", 5025, ("10.0.0.3",))
    assert endpoints(service) == ()
    assert endpoints(replace(service, type="_iio._tcp")) == (("10.0.0.3", 5025),)


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        ("board", "board", static.PORT),
        ("board.lab.test:80", "board.lab.test", 80),
        ("192.0.2.1", "192.0.2.1", static.PORT),
        ("2001:db8::1", "2001:db8::1", static.PORT),
        ("[2001:db8::1]:99", "2001:db8::1", 99),
    ],
)
def test_named_hosts(text: str, host: str, port: int) -> None:
    target = static.parse(text)
    assert (target.host, target.port) == (host, port)
    assert static.parse(str(target)) == target


@pytest.mark.parametrize(
    "text", ["", ":80", "a:b", "a:0", "a:65536", "[::1", "a" * 254, "a:1:2:3:z"]
)
def test_ill_named_hosts(text: str) -> None:
    with pytest.raises(ValueError) as error:
        static.parse(text)
    assert "not a name or address" in str(error.value)


def test_how_many_hosts_can_be_named() -> None:
    names = [f"host{number}" for number in range(static.HOSTS_MAX + 1)]
    for count in (static.HOSTS_MAX - 1, static.HOSTS_MAX):
        static.StaticScout(names[:count])
    with pytest.raises(ValueError, match=f"at most {static.HOSTS_MAX}"):
        static.StaticScout(names)


@pytest.mark.parametrize(("listed", "read"), [(2, 2), (3, 3), (4, 3), (100, 3)])
def test_how_much_of_a_domain_is_read(
    monkeypatch: pytest.MonkeyPatch, listed: int, read: int
) -> None:
    monkeypatch.setattr(unicast, "INSTANCES_MAX", 3)
    zone = [f"_iio._tcp.lab. 60 IN PTR d{n}._iio._tcp.lab." for n in range(listed)]
    zone += [f"d{n}._iio._tcp.lab. 60 IN SRV 0 0 30431 host.lab." for n in range(listed)]
    zone += ["host.lab. 60 IN A 10.0.0.3"]

    async def ask(name: dns.name.Name, kind: str) -> dns.message.Message | None:
        answers = [line for line in zone if line.startswith(f"{name} ") and f" {kind} " in line]
        text = "\n".join(["id 1", "flags QR", ";ANSWER", *answers])
        return dns.message.from_text(text) if answers else None

    services = asyncio.run(unicast.browse(ask, dns.name.from_text("lab")))
    assert len(services) == read
    assert {service.addresses for service in services} == {("10.0.0.3",)}


# ---- the gate ---------------------------------------------------------------------------------


def test_gate_bounds_a_sender() -> None:
    now = 0.0
    gate = Gate("lo", lambda: now)
    gate.networks = (ipaddress.ip_network("10.0.0.0/8"),)
    one, two = "10.0.0.1", "10.0.0.2"
    assert sum(gate.admits(one, 100) for _ in range(PACKETS_BURST + 10)) == PACKETS_BURST
    assert gate.dropped == 10 and gate.admits(two, 100)
    now = 1.0
    assert sum(gate.admits(one, 100) for _ in range(2 * PACKETS_RATE)) == PACKETS_RATE
    big = "10.0.0.3"
    assert gate.admits(big, BYTES_BURST - 1)
    assert [gate.admits(big, size) for size in (2, 1, 1)] == [False, True, False]
    now = 2.0
    assert [gate.admits(big, size) for size in (BYTES_RATE + 1, BYTES_RATE)] == [False, True]
    gate.ban(two, 5)
    assert not gate.admits(two, 1)
    now = 6.9
    assert not gate.admits(two, 1)
    now = 7.0
    assert gate.admits(two, 1)
    assert not gate.admits("192.0.2.1", 1)  # Not of this link.
    for number in range(2 * SENDERS_MAX):  # Forged senders: no more is remembered of them.
        gate.admits(str(ipaddress.ip_address("10.1.0.0") + number), 1)
    assert len(gate._budgets) <= SENDERS_MAX


# ---- liveness ---------------------------------------------------------------------------------


def _sighting(key: str = "k") -> Sighting:
    record = Record(
        id=str(uuid.uuid5(uuid.NAMESPACE_URL, key)),
        identity=key,
        name=key,
        device_class="remote",
        state="announced",
        trust="unverified",
    )
    return Sighting("mdns", key, record, frozenset({"ip 127.0.0.1"}), "127.0.0.1")


async def _until(condition: Callable[[], object], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end
        await asyncio.sleep(0.005)


async def _serve(port: int = 0) -> tuple[asyncio.Server, int]:
    server = await asyncio.start_server(lambda _r, w: w.close(), "127.0.0.1", port)
    return server, server.sockets[0].getsockname()[1]


def test_lives_dies_returns() -> None:
    async def story() -> None:
        roster = Roster()
        liveness = Liveness(roster, QUICK)
        looking = asyncio.ensure_future(liveness.run())
        states: list[str] = []

        def state() -> str:
            records = roster.snapshot().records
            now = records[0].state if records else "lost"
            if not states or states[-1] != now:
                states.append(now)
            return now

        server, port = await _serve()
        unreachable = ("127.0.0.1", 1)
        assert liveness.see(_sighting(), (unreachable, ("127.0.0.1", port)))
        state()
        await _until(lambda: state() == "reachable")
        server.close()
        await server.wait_closed()
        await _until(lambda: state() == "silent")
        assert roster.snapshot().records[0].detail == "127.0.0.1 port 1: Connection refused"
        await _until(lambda: state() == "lost")
        server, _ = await _serve(port)
        await _until(lambda: state() == "reachable")
        assert states == ["announced", "reachable", "silent", "lost", "reachable"]
        liveness.lose("k")
        assert state() == "lost" and len(liveness) == 0
        server.close()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    asyncio.run(story())


def test_a_wait_that_is_cancelled_as_it_fails_leaves_nothing() -> None:
    """Both at once: nobody asks for the failure any more, and asyncio need not complain."""

    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        complaints: list[str] = []
        loop.set_exception_handler(lambda _, context: complaints.append(context["message"]))
        refused = loop.create_future()

        async def work() -> None:
            await refused

        waiting = asyncio.ensure_future(within(60, work()))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        refused.set_exception(ConnectionRefusedError())
        loop.call_soon(waiting.cancel)
        with pytest.raises((asyncio.CancelledError, ConnectionRefusedError)):
            await waiting
        del waiting
        gc.collect()
        return complaints

    assert asyncio.run(story()) == []


def test_one_address_is_not_hammered() -> None:
    """However many announcements name one address, a bounded number of its ports is looked at."""

    async def story() -> int:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen(512)
            listener.setblocking(False)
            liveness = Liveness(Roster(), replace(QUICK, period=60, per_host=5))
            looking = asyncio.ensure_future(liveness.run())
            for number in range(100):
                liveness.see(_sighting(str(number)), (listener.getsockname(),))
            taken = 0

            def accept() -> int:
                nonlocal taken
                with suppress(BlockingIOError):
                    while True:
                        listener.accept()[0].close()
                        taken += 1
                return taken

            await _until(lambda: accept() >= 5)
            await asyncio.sleep(0.3)  # The others would come now.
            looking.cancel()
            await asyncio.gather(looking, return_exceptions=True)
            return accept()

    assert asyncio.run(story()) == 5


def test_proofs_are_asked_for_in_turn() -> None:
    """However many devices of ours answer, so many a second are asked to prove themselves."""

    async def story() -> None:
        roster = Roster()
        asked: list[str] = []

        async def ask(device: str, _host: str, _port: int) -> str:
            asked.append(device)
            return ""

        begun = time.monotonic()
        liveness = Liveness(roster, replace(QUICK, proofs=2.0), ask)
        looking = asyncio.ensure_future(liveness.run())
        server, port = await _serve()
        for number in range(20):
            seen = _sighting(str(number))
            ours = replace(seen.record, properties={"protocol": txt.PROTOCOL})
            liveness.see(replace(seen, record=ours), (("127.0.0.1", port),))
        await _until(lambda: all(r.state == "reachable" for r in roster.snapshot().records))
        await _until(lambda: len(asked) >= 2)
        assert len(asked) <= 2 + 2 * (time.monotonic() - begun)
        proven = {r.id for r in roster.snapshot().records if r.trust == "verified"}
        assert proven == {*asked}
        server.close()
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)

    asyncio.run(story())


def test_unsaid_is_shown_when_it_answers() -> None:
    async def story() -> None:
        roster = Roster()
        liveness = Liveness(roster, QUICK)
        server, port = await _serve()
        liveness.see(_sighting(), (("127.0.0.1", port),), unsaid=True)
        assert roster.snapshot().records == ()
        looking = asyncio.ensure_future(liveness.run())
        await _until(lambda: roster.snapshot().records)
        looking.cancel()
        await asyncio.gather(looking, return_exceptions=True)
        server.close()

    asyncio.run(story())


# ---- the id of the machine ----------------------------------------------------------------------


def test_id_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HAL_STATE_DIR", str(tmp_path / "state"))
    first, second = device_id.load(), device_id.load()
    assert first.made and not second.made and first.id == second.id and not second.hint
    assert first.path == tmp_path / "state/device.json"
    assert first.path.stat().st_mode & 0o777 == 0o644
    assert [path.name for path in first.path.parent.iterdir()] == ["device.json"]


def test_id_file_that_is_broken(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    for content in ("", "{", "[]", '{"id": "x"}', '{"id": 7}', "[" * 60000, '{"id": null}'):
        path.write_text(content)
        with pytest.raises(device_id.DeviceIdError) as error:
            device_id.load(path)
        assert str(path) in str(error.value) and "remove it" in str(error.value)
        assert path.read_text() == content
    with pytest.raises(device_id.DeviceIdError) as error:
        device_id.load(Path("/proc/none/device.json"))
    assert "HAL_STATE_DIR" in str(error.value)


def test_id_of_a_copied_disk(tmp_path: Path) -> None:
    path = tmp_path / "device.json"
    own = device_id.load(path).id
    kept = json.loads(path.read_text())
    path.write_text(json.dumps({**kept, "machine": str(uuid.uuid4())}))
    copied = device_id.load(path)
    assert copied.id == own and "another machine" in copied.hint and str(path) in copied.hint


def _load(path: Path) -> str:
    return device_id.load(path).id


def test_id_made_by_many_at_once(tmp_path: Path) -> None:
    with multiprocessing.get_context("fork").Pool(8) as pool:
        assert len({*pool.map(_load, [tmp_path / "device.json"] * 16)}) == 1
