# SPDX-License-Identifier: Apache-2.0
"""Where multicast does not reach: named hosts, and DNS-SD from a real name server (dnsmasq)."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import pytest

from hal.discovery.mdns import MdnsScout
from hal.discovery.static import StaticScout
from hal.discovery.unicast import DnsScout
from tests.needs import needs

from .conftest import Lan
from .device import PORT, device
from .looking import QUICK, Looking
from .namespaces import Net

ID = "0c4d1f9e-8f5a-4b8b-9a86-5b1f1d8c1a11"
NAME = f"{ID}._hal-device._tcp.lab.test"


@pytest.fixture
def name_server(lan: Lan) -> Iterator[str]:
    """dnsmasq that lists one device of ours and one iiod in lab.test, and nothing in bare.test."""
    needs("dnsmasq")
    listed = [
        f"--ptr-record=_hal-device._tcp.lab.test,{NAME}",
        f"--srv-host={NAME},board1.lab.test,{PORT}",
        f"--txt-record={NAME},txtvers=1,id={ID},protocol=hal/1,model=Board",
        f"--host-record=board1.lab.test,{lan.c.address},{lan.c.address6}",
        "--ptr-record=_iio._tcp.lab.test,pluto._iio._tcp.lab.test",
        "--srv-host=pluto._iio._tcp.lab.test,board1.lab.test,30431",
        "--ptr-record=_mqtt._tcp.lab.test,nowhere._mqtt._tcp.lab.test",  # without SRV
    ]
    plain = ["-C", "/dev/null", "--no-resolv", "--no-hosts", "--log-facility=-", "--user=root"]
    local = ["--local=/lab.test/", "--local=/bare.test/"]
    server = lan.d.popen("dnsmasq", "-k", *plain, *local, *listed)
    server.expect("started")
    yield lan.d.address
    server.stop()


def test_dns_sd(lan: Lan, name_server: str) -> None:
    listener = lan.c.popen(sys.executable, "-m", "http.server", "-b", "::", str(PORT))
    scout = DnsScout(["lab.test", "bare.test"], [name_server], refresh=0.5, pace=QUICK)
    with Looking(lan.a, scout) as look:
        own = look.record(id=ID, state="reachable")
        assert own.model == "Board" and own.sources == ("dns",) and own.host == "board1.lab.test"
        assert own.addresses == (f"{lan.c.address}:{PORT}", f"[{lan.c.address6}]:{PORT}")
        iio = look.record(name="pluto")
        assert iio.properties["uri.libiio"] == f"ip:{lan.c.address}"
        assert "_hal-device._tcp.bare.test" in look.problem("dns bare.test: lists no devices")
        listener.kill()
        look.record(id=ID, state="silent")
    listener.close()


def test_no_name_server(lan: Lan, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hal.discovery.unicast.TIMEOUT", 0.5)
    with Looking(lan.a, DnsScout(["lab.test"], ["127.0.0.1"])) as look:
        assert "no answer from the name server" in look.problem("dns lab.test")


def test_named_hosts(lan: Lan) -> None:
    """A host that tells what it offers is listed by it, another one by its name."""
    names = [lan.c.address, f"{lan.a.address}:81", "nowhere.test"]
    listener = lan.a.popen(sys.executable, "-m", "http.server", "81")
    with device(lan.c, "Board") as own, Looking(lan.d, StaticScout(names, pace=QUICK)) as look:
        assert look.record(id=own.id, state="reachable").model == "Board"
        plain = look.record(name=lan.a.address, state="reachable")
        assert plain.uri == f"hal://{lan.a.address}:81" and plain.trust == "unverified"
        assert "its address cannot be found" in look.problem("static nowhere.test")
        listener.kill()
        silent = look.record(name=lan.a.address, state="silent")
        assert "Connection refused" in silent.detail


def test_filtered_multicast(net: Net) -> None:
    """A switch that lets no multicast through: mDNS is deaf, a named host is found all the same."""
    a, b = net.host("a"), net.host("b")
    net.filter_multicast(a)
    net.filter_multicast(b)
    with (
        device(b, "Board") as own,
        Looking(a, MdnsScout(pace=QUICK), StaticScout([b.address], pace=QUICK)) as look,
    ):
        record = look.record(id=own.id, state="reachable")
        assert record.sources == ("static",)
