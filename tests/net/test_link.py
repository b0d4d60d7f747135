# SPDX-License-Identifier: Apache-2.0
"""hal-agent and hal:// on two hosts: devices used over a network that breaks, loses and freezes."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import termios
import threading
import time
import tty
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import pytest

import hal
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from hal.link.token import Right
from tests.far import AGENT, CONTROLLER, DEVICE, equip
from tests.needs import needs

from .conftest import Lan
from .lossy import plain
from .namespaces import Host, Net, Process
from .running import until

T = TypeVar("T")

SOON = 20.0
"""Seconds for what must come; only a failure waits so long."""
SECRET = b"the password is swordfish"


@dataclass
class Site:
    """A host with devices, and one that uses them.

    Attributes:
        far: Where the agent is.
        near: Where the controller is.
        folder: Of credentials and configurations.
        line: The far end of the serial line.
    """

    far: Host
    near: Host
    folder: Path
    line: int
    config: str

    @contextlib.contextmanager
    def agent(self, port: int = 7362, announce: bool = False) -> Iterator[Process]:
        """An agent that serves for the length of the block."""
        process = self.start(port, announce)
        try:
            yield process
        finally:
            process.signal(signal.SIGCONT)
            process.stop()

    def start(self, port: int = 7362, announce: bool = False) -> Process:
        """An agent that serves."""
        path = self.folder / f"agent-{port}.toml"
        where = (
            f'[listen]\nhost = "::"\nport = {port}\n[announce]\nenabled = {str(announce).lower()}\n'
        )
        path.write_text(self.config + where)
        command = (*AGENT, "--config", path, "--own", self.folder / "device", "--no-control")
        process = self.far.popen(*map(str, command))
        process.expect(f"port {port}", SOON)
        return process

    def uri(self, device: str, *options: str, port: int = 7362) -> str:
        own = (f"id={DEVICE}", f"credentials={self.folder / 'me'}")
        return f"hal://{self.far.address}:{port}/{device}?" + "&".join((*own, *options))

    def use(self, function: Callable[[], T]) -> T:
        """Do something on the controller's host."""
        return self.near.call(function)


def equipped(far: Host, near: Host, folder: Path, line: tuple[int, str]) -> Site:
    """A site with its papers."""
    authority = Authority.create(folder / "ca")
    equip(authority, folder / "device", Identity(DEVICE, Role.DEVICE), [])
    equip(authority, folder / "me", Identity(CONTROLLER, Role.CONTROLLER), [Right("*", "rw")])
    config = (
        f'[devices]\nuart = "uart:{line[1]}?baud=9600"\ni2c = "sim:i2c"\ngpio = "sim:gpio"\n'
        'spi = "sim:spi"\nmemory = "memory:memfd:far?size=4MiB"\n'
    )
    return Site(far, near, folder, line[0], config)


@contextlib.contextmanager
def serial_line() -> Iterator[tuple[int, str]]:
    """The far end's descriptor and the near end's path."""
    far, near = os.openpty()
    tty.setraw(near)
    try:
        yield far, os.ttyname(near)
    finally:
        os.close(near)
        os.close(far)


@pytest.fixture(scope="module")
def site(_lan: Lan, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serial_line() as line:
        yield equipped(_lan.c, _lan.d, tmp_path_factory.mktemp("site"), line)


@pytest.fixture(scope="module", autouse=True)
def freezing(site: Site) -> Iterator[Future[float]]:
    """What takes the longest, begun before the first test: a host that freezes (SIGSTOP)."""
    with ThreadPoolExecutor(1) as pool:
        yield pool.submit(site.use, lambda: freeze(site))


def receive(descriptor: int, count: int) -> bytes:
    """Exactly so many bytes of the far end of a line."""
    data = b""
    while len(data) < count:
        data += os.read(descriptor, count - len(data))
    return data


# ---- devices -------------------------------------------------------------------------------------


def drive(site: Site) -> None:
    """Every kind of device, as if it were here."""
    with hal.Uart.open(site.uri("uart", "baud=38400", "lease=exclusive"), timeout=SOON) as line:
        line.write(SECRET + b"\n", timeout=SOON)
        assert receive(site.line, len(SECRET) + 1) == SECRET + b"\n"
        os.write(site.line, b"answer\nand more")
        assert line.readline(timeout=SOON) == b"answer\n"
        assert line.read_exact(8, timeout=SOON) == b"and more"
        assert termios.tcgetattr(site.line)[5] == termios.B38400
        line.attributes["baud"] = 115200
        assert termios.tcgetattr(site.line)[5] == termios.B115200
        with pytest.raises(hal.Timeout):
            line.read(1, timeout=0.05)
    with hal.open(site.uri("i2c"), timeout=SOON) as chip:
        chip.transfer([hal.Segment(b"\x10" + SECRET)], timeout=SOON)
        chip.transfer([hal.Segment(b"\x10")], timeout=SOON)
        assert chip.transfer([hal.Segment(rx=len(SECRET))], timeout=SOON)[0] == SECRET
    with hal.open(site.uri("spi"), timeout=SOON) as wire:
        assert wire.transfer([hal.Segment(SECRET, len(SECRET))], timeout=SOON)[0] == SECRET
    with hal.open(site.uri("gpio"), timeout=SOON) as lines:
        lines.write(b"\1\0\1", timeout=SOON)
        assert lines.read(3, timeout=SOON) == b"\1\0\1"
    with hal.Memory.open(site.uri("memory"), timeout=SOON) as memory:
        block = os.urandom(1 << 20)
        memory.write_at(block[: 1 << 19], 0, timeout=SOON)
        memory.write_at(SECRET, 1 << 20, timeout=SOON)
        assert memory.read_at(1 << 19, 0, timeout=SOON) == block[: 1 << 19]
        memory.store(8, 0x11223344, 4)
        assert memory.load(8, 4) == 0x11223344


def test_devices_of_another_host_and_nothing_but_tls_between(site: Site) -> None:
    """All devices are used; what crosses the network meanwhile is looked at by tshark."""
    needs("tcpdump", "tshark")
    capture = site.folder / "capture.pcap"
    words = ("-i", "eth0", "-B", "16384", "--immediate-mode", "-U", "-w", str(capture))
    tap = site.far.popen("tcpdump", *words, "tcp port 7362")
    tap.expect("listening on")
    with site.agent():
        site.use(lambda: drive(site))
    until(lambda: is_whole(capture))
    assert tap.stop() == 0
    data = capture.read_bytes()
    token = (site.folder / "me" / "token").read_bytes()
    assert SECRET not in data and token[:40] not in data and b"uart" not in data
    # What TCP sends again is read where it came first.
    again = "tcp.analysis.retransmission || tcp.analysis.spurious_retransmission"
    other = f"tcp.len > 0 && !tls && !tcp.reassembled_in && !({again})"
    assert read(site, capture, other, "frame.number") == []
    seen = {
        part
        for line in read(site, capture, "tls.handshake.type", "tls.handshake.type")
        for part in line
    }
    assert seen == {"1", "2"}  # ClientHello and ServerHello; all else is encrypted.
    kinds = {
        part
        for line in read(site, capture, "tls", "tls.record.content_type", "tls.record.opaque_type")
        for part in line
    }
    assert kinds == {"20", "22", "23"}  # change_cipher_spec (of TLS 1.2's looks), the two, data.


def is_whole(capture: Path) -> bool:
    """Half a mebibyte each way is in it, and nothing comes any more."""
    size = capture.stat().st_size
    time.sleep(0.3)
    return size > 1 << 20 and size == capture.stat().st_size


def read(site: Site, capture: Path, only: str, *fields: str) -> list[list[str]]:
    """What tshark reads of the packets that it shows: the values of these fields."""
    command = ["tshark", "-n", "-r", str(capture), "-d", "tcp.port==7362,tls", "-Y", only]
    # Two processors capture: a segment may be in the file before the one that it follows.
    command += ["-2", "-o", "tcp.reassemble_out_of_order:TRUE"]
    command += ["-T", "fields", "-E", "separator=,"]
    for field in fields:
        command += ["-e", field]
    lines = site.far.run(*command).splitlines()
    return [
        [value for value in line.split(",") if value]
        for line in lines
        if line and not line.startswith("Running as user")
    ]


def test_it_is_found_by_its_uuid(site: Site) -> None:
    """Without an address; and what it exports is told, without an open device."""
    own = f"credentials={site.folder / 'me'}"
    with site.agent(announce=True):

        def look() -> None:
            with hal.open(f"hal://{DEVICE}/memory?{own}", timeout=SOON) as device:
                device.write_at(b"x", 0, timeout=SOON)
                told = hal.exports(f"hal://{DEVICE}?{own}", timeout=SOON)
                assert [export.name for export in told] == ["gpio", "i2c", "memory", "spi", "uart"]
                (held,) = (export for export in told if export.lease)
                assert held.name == "memory" and str(CONTROLLER) in held.holder
                with hal.open(held.uri, timeout=SOON) as again:
                    assert again.read_at(1, 0, timeout=SOON) == b"x"

        site.use(look)
    with pytest.raises(hal.NotFound, match="nobody on the network"):
        site.use(lambda: hal.open(f"hal://{CONTROLLER}/memory?{own}", timeout=0.3))


# ---- what happens to networks and machines -------------------------------------------------------


def test_the_cable_is_pulled_and_put_back(site: Site) -> None:
    """A call in between ends by its deadline; the next ones go on."""
    with site.agent():

        def work() -> None:
            with hal.open(site.uri("memory", "reconnect=60"), timeout=SOON) as device:
                device.write_at(b"before", 0, timeout=SOON)
                site.far.link_down()
                try:
                    with pytest.raises(hal.Timeout):
                        device.read_at(6, 0, timeout=0.2)
                finally:
                    site.far.link_up()
                assert device.read_at(6, 0, timeout=SOON) == b"before"

        site.use(work)


def test_an_agent_is_killed_and_restarted(site: Site) -> None:
    """What reads is told of the gap, and goes on; nobody has to do a thing."""
    process = site.start()

    def work() -> None:
        nonlocal process
        with hal.open(site.uri("uart", "reconnect=60"), timeout=SOON) as line:
            os.write(site.line, b"one\n")
            assert line.readline(timeout=SOON) == b"one\n"
            process.kill()
            restarted = threading.Timer(0.3, lambda: started.append(site.start()))
            restarted.start()
            with pytest.raises(hal.Error, match="how many is not known") as caught:
                line.readline(timeout=SOON)
            assert caught.value.errno == errno.EOVERFLOW
            os.write(site.line, b"two\n")
            assert line.readline(timeout=SOON) == b"two\n"
            restarted.join()

    started: list[Process] = []
    try:
        site.use(work)
    finally:
        for one in (process, *started):
            one.stop()


@pytest.mark.usefixtures("_rights")
def test_packets_are_lost(tmp_path: Path) -> None:
    """Every twentieth: every byte comes, once and in order."""
    with Net() as net, serial_line() as line:
        far, near = net.host("far"), net.host("near")
        for host in (far, near):
            host.call(lambda: plain("eth0"))
        site = equipped(far, near, tmp_path, line)
        with net.lossy(far, near, 0.05), site.agent():

            def work() -> None:
                with (
                    hal.open(site.uri("uart"), timeout=SOON) as device,
                    hal.open(site.uri("memory"), timeout=SOON) as memory,
                ):
                    for number in range(40):
                        text = f"line {number} of several\n".encode()
                        os.write(site.line, text)
                        assert device.readline(timeout=SOON) == text
                        device.write(text, timeout=SOON)
                        assert receive(site.line, len(text)) == text
                    block = os.urandom(1 << 18)
                    memory.write_at(block, 0, timeout=SOON)
                    assert memory.read_at(1 << 18, 0, timeout=SOON) == block

            site.use(work)


def freeze(site: Site) -> float:
    """An agent's whole process is stopped, and later goes on; how long it took to be noticed."""
    with (
        site.agent(port=7365) as agent,
        hal.open(site.uri("memory", port=7365), timeout=SOON) as hasty,
        hal.open(site.uri("memory", "reconnect=60", port=7365), timeout=SOON) as patient,
    ):
        patient.write_at(b"cold", 0, timeout=SOON)
        agent.signal(signal.SIGSTOP)
        with pytest.raises(hal.Timeout):
            hasty.read_at(4, 0, timeout=0.3)
        began = time.monotonic()
        with pytest.raises(hal.LinkLost, match="silent"):
            hasty.read_at(4, 0)  # No deadline, and yet not for ever.
        took = time.monotonic() - began
        agent.signal(signal.SIGCONT)
        assert patient.read_at(4, 0, timeout=SOON) == b"cold"
        return took


def test_a_host_that_freezes_is_noticed(freezing: Future[float]) -> None:
    """By whoever waits without a deadline: asked after 10 s, given up after 5 more."""
    assert freezing.result(120) >= 10
