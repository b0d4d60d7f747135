# SPDX-License-Identifier: Apache-2.0
"""The networks that other tests stand on: hosts reach each other, and nothing is left behind."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from .namespaces import Net


def _alive(namespace: str) -> bool:
    """Is any process in this network namespace?"""
    for entry in Path("/proc").glob("[0-9]*/ns/net"):
        with suppress(OSError):
            if os.readlink(entry) == namespace:
                return True
    return False


def test_hosts_reach_each_other(net: Net) -> None:
    a, b = net.host("a"), net.host("b")
    assert a.run("hostname") == "a\n"
    assert socket.gethostname() != "a"
    assert "lo" in a.run("ls", "/sys/class/net") and "eth0" in a.run("ls", "/sys/class/net")
    for address, family in ((a.address, socket.AF_INET), (a.address6, socket.AF_INET6)):

        def listen(address: str = address, family: int = family) -> socket.socket:
            listener = socket.socket(family)
            listener.bind((address, 4000))
            listener.listen()
            return listener

        def connect(address: str = address) -> socket.socket:
            return socket.create_connection((address, 4000), 5)

        with a.call(listen) as listener, b.call(connect) as near:
            near.sendall(b"x")
            far, (name, *_) = listener.accept()
            with far:
                assert far.recv(1) == b"x"
                assert name in (b.address, b.address6)


def test_link_down_and_up(net: Net) -> None:
    a, b = net.host("a"), net.host("b")
    a.link_down()
    with pytest.raises(OSError, match="Network is unreachable"):
        a.call(lambda: socket.create_connection((b.address, 9), 1))
    a.link_up()
    with pytest.raises(ConnectionRefusedError):
        a.call(lambda: socket.create_connection((b.address, 9), 5))
    with pytest.raises(ConnectionRefusedError):
        a.call(lambda: socket.create_connection((b.address6, 9), 5))


def test_process_is_told_and_ended(net: Net) -> None:
    a = net.host("a")
    script = "trap 'exit 3' TERM; echo ready; while :; do sleep .05; done"
    trap = a.popen("bash", "-c", script)
    trap.expect("ready")
    assert trap.stop() == 3
    trap = a.popen("sleep", "1000")
    trap.kill()
    assert "sleep 1000" not in a.run("ps", "ax", "-o", "args")


def test_nothing_is_left_behind_by_a_kill() -> None:
    """The process that made the network is killed: the kernel removes the rest."""
    code = (
        "import time\n"
        "from tests.net.namespaces import Net\n"
        "net = Net(); a = net.host('a'); a.popen('sleep', '1000')\n"
        "print(a.pid, flush=True); time.sleep(100)\n"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    pid = process.stdout.readline().strip()
    namespace = os.readlink(f"/proc/{pid}/ns/net")
    assert _alive(namespace)
    process.send_signal(signal.SIGKILL)
    process.wait()
    process.stdout.close()
    end = time.monotonic() + 5
    while _alive(namespace) and time.monotonic() < end:
        time.sleep(0.02)
    assert not _alive(namespace)
