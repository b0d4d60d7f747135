# SPDX-License-Identifier: Apache-2.0
"""``python -m bench.remote.agent LIBRARY FOLDER``: an agent with a memory and an endless stream.

It is hal-agent's own server; what is added is a thread that fills the stream, a pipe.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import sys
import threading
from pathlib import Path

import hal
from hal._link import Served
from hal.agent import opened
from hal.agent.audit import Audit
from hal.agent.config import Limits
from hal.agent.leases import Leases
from hal.agent.server import Agent
from hal.link.credentials import Credentials

DEVICES = {"memory": "memory:memfd:bench?size=1MiB", "stream": "loopback:?capacity=1048576"}


def main() -> None:
    """Serve until SIGTERM."""
    library, folder = ctypes.CDLL(sys.argv[1]), Path(sys.argv[2])

    def serve(device: hal.Device, keep: bool) -> Served:
        if device.driver == "loopback":
            fd = os.dup(device.fileno(select.POLLOUT))
            os.set_blocking(fd, True)
            threading.Thread(target=library.bare_fill, args=(fd,), daemon=True).start()
        return opened.serve(device, keep)

    limits = Limits(links=1000, per_identity=1000, half_open=1000, per_address=1000)
    with (folder / "audit.jsonl").open("wb"):
        pass
    audit = Audit(folder / "audit.jsonl")
    leases = Leases(DEVICES, 60, None, serve)
    agent = Agent(Credentials(folder), leases, ("127.0.0.1", 0), limits=limits, audit=audit)
    signal.signal(signal.SIGPIPE, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, lambda *_: agent.stop())
    print(f"port {agent.port}", flush=True)
    agent.serve()
    audit.close()


if __name__ == "__main__":
    main()
