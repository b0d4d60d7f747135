# SPDX-License-Identifier: Apache-2.0
"""The far end of a pseudo-terminal, which sends back what it gets."""

from __future__ import annotations

import os
import select
import threading
import time


class EchoPeer:
    """A pty whose master this object holds; ``path`` is the slave, for the driver under test."""

    def __init__(self) -> None:
        self._master, slave = os.openpty()
        self.path = os.ttyname(slave)
        os.close(slave)
        os.set_blocking(self._master, False)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._echo, daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Close the master: the line hangs up. Also the end of the peer; twice does nothing."""
        self._ended.set()
        self._thread.join()

    def _echo(self) -> None:
        waiting = b""
        poller = select.poll()
        try:
            while not self._ended.is_set():
                # Reads no more than it can send on, as a line with flow control.
                wanted = select.POLLOUT if waiting else select.POLLIN
                poller.register(self._master, wanted)
                events = poller.poll(20)
                if not events:
                    continue
                if not events[0][1] & wanted:  # nobody has the slave open
                    waiting = b""
                    time.sleep(0.002)
                    continue
                try:
                    if waiting:
                        waiting = waiting[os.write(self._master, waiting) :]
                    else:
                        waiting = os.read(self._master, 4096)
                except BlockingIOError:
                    continue
                except OSError:  # EIO: nobody has the slave open
                    waiting = b""
        finally:
            os.close(self._master)
