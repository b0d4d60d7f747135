# SPDX-License-Identifier: Apache-2.0
"""Who takes part: each contestant's server as a process of its own, and how to reach it."""

from __future__ import annotations

import contextlib
import ctypes
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from hal.link.authority import Authority
from hal.link.identity import Identity, Role, host_name
from hal.link.token import Right
from tests.far import CONTROLLER, DEVICE, equip
from tests.net.namespaces import Host, Net, Process, lacking

from ..program import library

T = TypeVar("T")

PATIENCE = 20.0
"""Seconds for a server to begin."""


class Here:
    """This machine, where there is no right to make a host of the measurement's own."""

    def popen(self, *command: str | Path) -> Process:
        """Start a program."""
        return Process([str(word) for word in command])

    def call(self, function: Callable[[], T]) -> T:
        """Call a function."""
        return function()


@dataclass
class Parties:
    """The servers that run.

    Attributes:
        place: Where they, and whoever measures, run.
        folder: Of the dialling end's key and certificates.
        own: Of the dialled end's.
        library: bare.c, for both ends.
        port: Of hal-agent.
        bare: Port of the bare server.
        grpc: Port of gRPC's; 0: it is not there.
        missing: Peers that are not there, and why.
        agent: The agent's process.
    """

    place: Host | Here
    folder: Path
    own: Path
    library: Path
    port: int = 0
    bare: int = 0
    grpc: int = 0
    missing: dict[str, str] = field(default_factory=dict)
    agent: Process | None = None

    def uri(self, device: str) -> str:
        """Of a device of the agent."""
        return f"hal://127.0.0.1:{self.port}/{device}?id={DEVICE}&credentials={self.folder}"

    @property
    def name(self) -> str:
        """What the dialled end's certificate is for."""
        return host_name(DEVICE)

    def resident(self) -> int:
        """Bytes of memory of the agent."""
        assert self.agent
        rollup = Path(f"/proc/{self.agent.pid}/smaps_rollup").read_text()
        found = re.search(r"^Rss: +(\d+) kB", rollup, re.MULTILINE)
        assert found
        return int(found[1]) << 10


@contextlib.contextmanager
def parties(folder: Path) -> Iterator[Parties]:
    """Start all that can be started."""
    authority = Authority.create(folder / "ca")
    own = equip(authority, folder / "own", Identity(DEVICE, Role.DEVICE), []).folder
    rights = [Right("*", "rw")]
    mine = equip(authority, folder / "mine", Identity(CONTROLLER, Role.CONTROLLER), rights).folder
    with contextlib.ExitStack() as stack:
        reason = lacking()
        place = Here() if reason else stack.enter_context(Net()).host("bench", avahi=True)
        all_ = Parties(place, mine, own, library("remote/bare.c", "-lssl", "-lcrypto"))
        python = (sys.executable, "-m")
        all_.agent, all_.port = _begin(
            all_, stack, *python, "bench.remote.agent", all_.library, own
        )
        code = "import sys; from bench.remote.parties import serve_bare; serve_bare()"
        _, all_.bare = _begin(all_, stack, sys.executable, "-c", code, all_.library, own)
        _, all_.grpc = _begin(all_, stack, *python, "bench.remote.grpc_peer", own)
        if reason:
            why = f"{reason}: it listens on every address, so it needs a host of its own"
            all_.missing |= {"iiod": why, "SoapyRemote": why}
        else:
            _begin_peers(all_, stack)
        yield all_


def _begin(all_: Parties, stack: contextlib.ExitStack, *command: str | Path) -> tuple[Process, int]:
    """Start a server that says its port."""
    process = all_.place.popen(*command)
    stack.callback(process.close)
    return process, int(process.expect("port ", PATIENCE).rpartition(" ")[2])


def _begin_peers(all_: Parties, stack: contextlib.ExitStack) -> None:
    from .iio import SERVE

    if shutil.which("iiod") is None:
        all_.missing["iiod"] = "not installed (tools/packages-bench.txt)"
    else:
        stack.callback(all_.place.popen("unshare", "-m", "sh", "-ec", SERVE).close)
    if shutil.which("SoapySDRServer") is None or shutil.which("pkg-config") is None:
        all_.missing["SoapyRemote"] = "not installed (tools/packages-bench.txt)"
        return
    plugin = library("remote/soapy_source.cc", "-lSoapySDR")
    server = all_.place.popen(
        *("env", f"SOAPY_SDR_PLUGIN_PATH={plugin.parent}"),
        *("SoapySDRServer", "--bind=tcp://127.0.0.1:55132"),
    )
    stack.callback(server.close)
    server.expect("Press Ctrl+C", PATIENCE)


def serve_bare() -> None:
    """Be the bare server: arguments are the library and the folder of the certificates."""
    listener = socket.create_server(("127.0.0.1", 0), backlog=128)
    print(f"port {listener.getsockname()[1]}", flush=True)
    ctypes.CDLL(sys.argv[1]).bare_serve(sys.argv[2].encode(), listener.fileno())


def s_server(all_: Parties) -> tuple[Process, int]:
    """OpenSSL's own server, with the same certificates."""
    own, port = all_.own, all_.place.call(_free_port)
    command = ["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-tls1_3", "-quiet"]
    command += ["-cert", str(own / "cert.pem"), "-key", str(own / "key.pem"), "-num_tickets", "0"]
    command += ["-CAfile", str(own / "ca.pem"), "-Verify", "1", "-verify_return_error"]
    process = all_.place.popen(*command)
    all_.place.call(lambda: _await(port))
    return process, port


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def _await(port: int) -> None:
    """Until somebody listens there."""
    until = time.monotonic() + PATIENCE
    while not _listens(port):
        if time.monotonic() > until:
            raise TimeoutError(f"nobody listens on port {port}")
        time.sleep(0.05)


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


def s_time(all_: Parties, port: int, seconds: int) -> tuple[int, str]:
    """How many links OpenSSL's own client makes; all of what it says."""
    mine = all_.folder
    command = ["openssl", "s_time", "-connect", f"127.0.0.1:{port}", "-new", "-time", str(seconds)]
    command += ["-tls1_3", "-cert", str(mine / "cert.pem"), "-key", str(mine / "key.pem")]
    command += ["-CAfile", str(mine / "ca.pem")]

    def run() -> str:
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
        return done.stdout + done.stderr

    said = all_.place.call(run)
    found = re.search(r"(\d+) connections in \d+ real seconds", said)
    return (int(found[1]) if found else 0), said
