# SPDX-License-Identifier: Apache-2.0
"""Hosts on a network, made of the kernel's namespaces; this machine's own network is not touched.

    with Net() as net:
        a = net.host("a", avahi=True)
        b = net.host("b")
        a.run("avahi-browse", "-rpt", "_iio._tcp")
        b.call(lambda: socket.create_connection((a.address, 80)))

A host has its own network, mounts (/run is empty, /sys shows its interfaces), host name and
processes. Namespaces have no names here: they live as long as a process is in them, and the
kernel kills those processes when the one that made the network ends, however it ends. So any
number of networks can be there at once, and none is left behind.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TypeVar

T = TypeVar("T")

ROOT = Path(__file__).parent.parent.parent
CLONE_NEWNET = 0x40000000  # <linux/sched.h>

PATIENCE = 60.0
"""Seconds for what has to come: only a failure, or a machine that is busy, takes so long."""

_KEEPER = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "--mount", "--uts", "--pid"]
_KEEPER += ["--fork", "--kill-child", "--mount-proc", "--propagation", "private"]

_START = """
set -e
ip link set lo up
mount -t tmpfs tmpfs /run
mkdir -p /run/dbus /run/lock /run/avahi-daemon /run/hal
mount -t sysfs sysfs /sys
echo 0 >/proc/sys/net/ipv6/conf/default/accept_dad
echo 0 >/proc/sys/net/ipv6/conf/all/accept_dad
hostname "$1"
echo up
while read -r line; do :; done
"""  # It ends when its standard input is closed, and all else in the namespace with it.

_AVAHI = """
[server]
use-ipv4=yes
use-ipv6=yes
ratelimit-interval-usec=0
cache-entries-max=200000
objects-per-client-max=20000
entries-per-entry-group-max=20000
[wide-area]
enable-wide-area=no
[publish]
publish-hinfo=no
publish-workstation=no
[rlimits]
"""


def lacking() -> str:
    """Why networks cannot be made here; "" when they can."""
    done = subprocess.run([*_KEEPER, "true"], capture_output=True, text=True, check=False)
    return f"no rights to make namespaces ({done.stderr.strip()})" if done.returncode else ""


def _is_stopped(pid: int) -> bool:
    """Whether all threads of a process are (proc(5): the state follows the name in brackets)."""
    states = [
        path.read_text().rpartition(")")[2].split()[0]
        for path in Path(f"/proc/{pid}/task").glob("*/stat")
    ]
    return all(state == "T" for state in states)


class Process:
    """A program that runs in a host; its output is read as it comes.

    Attributes:
        lines: What it has written so far (standard output and error together).
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._entry = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        self.lines: list[str] = []
        self._queue: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self._entry.stdout
        for line in self._entry.stdout:
            self._queue.put(line.decode("utf-8", "replace").rstrip("\n"))
        self._queue.put(None)

    def send(self, line: str) -> None:
        """Write a line to its standard input."""
        assert self._entry.stdin
        self._entry.stdin.write(f"{line}\n".encode())
        self._entry.stdin.flush()

    def expect(self, text: str, timeout: float = PATIENCE) -> str:
        """Wait for a line that holds a text, from here on, and return it."""
        end = time.monotonic() + timeout
        while True:
            try:
                line = self._queue.get(timeout=max(end - time.monotonic(), 0))
            except queue.Empty:
                line = None
            if line is None:
                raise AssertionError(f"{text!r} did not come within {timeout} s:\n{self.output}")
            self.lines.append(line)
            if text in line:
                return line

    @property
    def output(self) -> str:
        """What `expect` has read."""
        return "\n".join(self.lines)

    @property
    def pid(self) -> int:
        """Of the program itself, as seen from outside."""
        children = Path(f"/proc/{self._entry.pid}/task/{self._entry.pid}/children")
        return int((children.read_text().split() or [str(self._entry.pid)])[0])

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to the program itself, not to what put it into the namespace."""
        if self._entry.poll() is not None:
            return
        os.kill(self.pid, number)
        if number == signal.SIGSTOP:  # Its threads stop one by one, a moment after.
            end = time.monotonic() + PATIENCE
            while not _is_stopped(self.pid):
                assert time.monotonic() < end, "it does not stop"
                time.sleep(0.001)
        if number == signal.SIGCONT:  # nsenter(1) stops with the program, and goes on with it.
            self._entry.send_signal(number)

    def kill(self) -> None:
        """End it at once; it has no time to say goodbye."""
        self.signal(signal.SIGKILL)
        self.close()

    def stop(self, timeout: float = PATIENCE) -> int:
        """End it by SIGTERM; its exit status."""
        self.signal(signal.SIGTERM)
        try:
            return self._entry.wait(timeout)
        finally:
            self.close()

    def close(self) -> None:
        """Make sure that it has ended."""
        self._entry.kill()  # What it started dies with it (pdeathsig).
        self._entry.wait()
        self._reader.join(5)
        for stream in (self._entry.stdin, self._entry.stdout):
            if stream:
                stream.close()


class Host:
    """A machine on the network; made by `Net.host`.

    Attributes:
        name: Its host name.
        address: Its IPv4 address on the first network.
        address6: Its IPv6 address there.
        pid: Of its first process, as seen from outside.
    """

    def __init__(self, name: str, number: int) -> None:
        self.name = name
        self.address = f"10.77.0.{number}"
        self.address6 = f"fd77::{number:x}"
        self._processes: list[Process] = []
        self._keeper = subprocess.Popen(
            [*_KEEPER, "bash", "-c", _START, "host", name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert self._keeper.stdout
        said = self._keeper.stdout.readline()
        if said != "up\n":
            raise RuntimeError(f"host {name}: {said}{self._keeper.stdout.read()}")
        children = Path(f"/proc/{self._keeper.pid}/task/{self._keeper.pid}/children")
        self.pid = int(children.read_text().split()[0])

    def _enter(self, *command: str | Path) -> list[str]:
        into = ["nsenter", "-t", str(self.pid), "-n", "-m", "-u", "-p", f"--wd={ROOT}"]
        return [*into, "setpriv", "--pdeathsig", "KILL", *map(str, command)]

    def run(self, *command: str | Path, check: bool = True, timeout: float = PATIENCE) -> str:
        """Run a program to its end; what it wrote (standard output and error)."""
        done = subprocess.run(
            self._enter(*command),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
        )
        text = done.stdout.decode("utf-8", "replace")
        assert not check or done.returncode == 0, f"{self.name}: {command} failed:\n{text}"
        return text

    def popen(self, *command: str | Path) -> Process:
        """Start a program. It ends with the host at the latest."""
        process = Process(self._enter(*command))
        self._processes.append(process)
        return process

    def python(self, code: str, *arguments: str, timeout: float = PATIENCE) -> str:
        """Run Python code in a process of its own; what it wrote."""
        return self.run(sys.executable, "-c", code, *arguments, timeout=timeout)

    def call(self, function: Callable[[], T]) -> T:
        """Call a function in a thread of this process that is on the host's network.

        Its sockets, and those of threads it starts, are the host's; files are this machine's.
        """
        result: list[T] = []
        failure: list[BaseException] = []

        def run() -> None:
            try:
                _enter_network(self.pid)
                result.append(function())
            except BaseException as error:  # noqa: BLE001 - raised again below
                failure.append(error)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        thread.join()
        if failure:
            raise failure[0]
        return result[0]

    def link(self, state: str, device: str = "eth0") -> None:
        """Put a link "up" or "down"; its addresses are kept."""
        self.run("sysctl", "-qw", f"net.ipv6.conf.{device}.keep_addr_on_down=1")
        self.run("ip", "link", "set", device, state)

    def link_down(self, device: str = "eth0") -> None:
        """Put a link down."""
        self.link("down", device)

    def link_up(self, device: str = "eth0") -> None:
        """Put a link up again."""
        self.link("up", device)

    def start_avahi(self) -> None:
        """Start dbus-daemon and avahi-daemon; they are there on return."""
        self.run("chown", "avahi:avahi", "/run/avahi-daemon")
        self.run("dbus-daemon", "--system", "--nopidfile", "--fork")
        self.run("bash", "-c", 'echo "$1" >/run/avahi.conf', "bash", _AVAHI)
        self.run("avahi-daemon", "-D", "--no-rlimits", "-f", "/run/avahi.conf")

    def tidy(self) -> None:
        """End the programs that still run on it."""
        while self._processes:
            self._processes.pop().close()

    def close(self) -> None:
        """End it, and all that runs in it."""
        assert self._keeper.stdin and self._keeper.stdout
        self._keeper.stdin.close()
        try:
            self._keeper.wait(5)
        except subprocess.TimeoutExpired:
            self._keeper.kill()
            self._keeper.wait()
        self._keeper.stdout.close()
        self.tidy()


class Net:
    """A switch, and the hosts on it."""

    def __init__(self) -> None:
        self._switch = Host("switch", 0)
        self._networks: list[str] = []
        self.hosts: list[Host] = []

    def host(self, name: str, *, avahi: bool = False, networks: Sequence[str] = ("lan",)) -> Host:
        """Add a host.

        Args:
            name: Its host name.
            avahi: Does avahi-daemon run on it (with a D-Bus)?
            networks: The networks it is on: eth0 is on the first, eth1 on the second ...
        """
        host = Host(name, len(self.hosts) + 1)
        self.hosts.append(host)
        for index, network in enumerate(networks):
            self._plug(host, f"eth{index}", network)
        if avahi:
            host.start_avahi()
        return host

    def _plug(self, host: Host, device: str, network: str) -> None:
        if network not in self._networks:
            self._networks.append(network)
            bridge = ["type", "bridge", "mcast_snooping", "0", "forward_delay", "0"]
            self._switch.run("ip", "link", "add", network, *bridge)
            self._switch.run("ip", "link", "set", network, "up")
        number = self._networks.index(network)
        port = f"p{len(self.hosts)}{device}"
        link = ["ip", "link", "add", device, "netns", str(host.pid), "type", "veth"]
        subprocess.run(
            ["nsenter", "-t", str(self._switch.pid), "-n", *link, "peer", "name", port], check=True
        )
        self._switch.run("ip", "link", "set", port, "master", network, "up")
        last = len(self.hosts)
        host.run(
            "sh",
            "-ec",
            f"ip addr add 10.77.{number}.{last}/24 brd + dev {device};"
            f"ip addr add fd77:0:{number}::{last:x}/64 dev {device} nodad;"
            f"ip link set {device} up",
        )

    def crowd(self, host: Host, count: int, *mode: str) -> Process:
        """Many devices on one host (see crowd.py); the other hosts know the way to them."""
        host.run("ip", "route", "replace", "local", "10.78.0.0/16", "dev", "lo")
        for other in self.hosts:
            if other is not host:
                other.run("ip", "route", "replace", "10.78.0.0/16", "via", host.address)
        devices = host.popen(
            sys.executable, "-m", "tests.net.crowd", str(count), host.address, *mode
        )
        devices.expect("ready")
        return devices

    @contextmanager
    def lossy(self, one: Host, other: Host, loss: float) -> Iterator[None]:
        """Two hosts' cables come together in one that loses a part of all packets (lossy.py)."""
        ports = [f"p{self.hosts.index(host) + 1}eth0" for host in (one, other)]
        for port in ports:
            self._switch.run("ip", "link", "set", port, "nomaster")
        cable = self._switch.popen(sys.executable, "-m", "tests.net.lossy", *ports, str(loss))
        cable.expect("carries")
        try:
            yield
        finally:
            cable.kill()

    def filter_multicast(self, host: Host, device: str = "eth0") -> None:
        """Let no multicast packet through to a host, as many switches and clouds do."""
        port = f"p{self.hosts.index(host) + 1}{device}"
        self._switch.run("bridge", "link", "set", "dev", port, "mcast_flood", "off")

    def close(self) -> None:
        """Remove everything."""
        for host in (*self.hosts, self._switch):
            host.close()

    def __enter__(self) -> Net:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def listener(port: int) -> socket.socket:
    """A port of the calling thread's network that answers, by the kernel alone: nobody accepts."""
    return socket.create_server(
        ("", port), family=socket.AF_INET6, dualstack_ipv6=True, backlog=1024
    )


def _enter_network(pid: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    descriptor = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    try:
        if libc.setns(descriptor, CLONE_NEWNET):
            error = ctypes.get_errno()
            raise OSError(error, f"setns: {os.strerror(error)}")
    finally:
        os.close(descriptor)
