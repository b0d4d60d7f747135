# SPDX-License-Identifier: Apache-2.0
"""The process of a worker: ``python -m autoglm.decoder.work SOCKET`` (a descriptor), see `worker`.

Both sides write JSON, a line a message. The first says what to load; then ``ask`` and ``drop``
come, and tokens and ends of answers go. When the socket ends, so does the process.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any

from .. import errors
from .batching import Batcher, Event, Job
from .language_model import Opened
from .sampling import Sampling

LONGEST_TEXT = 4096
"""Characters of an error's sentence."""

log = logging.getLogger("autoglm")


class _Link:
    """The socket; any thread may write to it."""

    def __init__(self, descriptor: int) -> None:
        self._socket = socket.socket(fileno=descriptor)
        self._lock = threading.Lock()
        self.lines = self._socket.makefile("rb")

    def send(self, message: dict[str, Any]) -> None:
        with self._lock:
            try:
                self._socket.sendall(json.dumps(message).encode() + b"\n")
            except OSError:
                os._exit(0)  # nobody is there any more


def main() -> int:
    """Answer until the socket ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    link = _Link(int(sys.argv[1]))
    asked = json.loads(link.lines.readline())
    if asked["memory"]:
        resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
    try:
        opened = Opened(asked["path"], asked["device"])
        engine = opened.engine(asked["slots"], asked["capacity"], asked["threads"])
    except (errors.Error, OSError, MemoryError) as error:
        link.send(_failure(error))
        return 1
    batcher = Batcher(engine, opened.ends, sys.maxsize)  # the other side bounds what waits
    link.send({"capacity": engine.capacity, "vocabulary": engine.config.vocabulary})
    _serve(link, batcher)
    os._exit(0)  # a step that is under way is not waited for


def _serve(link: _Link, batcher: Batcher) -> None:
    jobs: dict[int, Job] = {}
    lock = threading.Lock()
    for line in link.lines:
        message = json.loads(line)
        with lock:
            if "drop" in message:
                job = jobs.pop(message["drop"], None)
                if job is not None:
                    job.cancel()
                continue
            number = message["ask"]
            try:
                jobs[number] = batcher.submit(
                    message["prompt"],
                    Sampling(**message["sampling"]),
                    _sink(link, number, jobs, lock),
                    message["answer"],
                )
            except errors.Error as error:
                link.send({"of": number} | _failure(error))


def _sink(
    link: _Link, number: int, jobs: dict[int, Job], lock: threading.Lock
) -> Callable[[Event], None]:
    def tell(event: Event) -> None:
        if isinstance(event, errors.DeviceError):
            log.error("%s", event)
            os._exit(1)  # the engine is of no more use; a new process goes on with every answer
        if isinstance(event, int):
            link.send({"of": number, "token": event})
            return
        with lock:
            jobs.pop(number, None)
        link.send({"of": number} | ({"end": event} if isinstance(event, str) else _failure(event)))

    return tell


def _failure(error: BaseException) -> dict[str, Any]:
    """What went wrong, by the name of its class; anything that is not ours is a device's fault."""
    kind = type(error).__name__
    ours = kind if isinstance(error, errors.Error) and kind in errors.__all__ else "DeviceError"
    return {"error": ours, "text": (str(error) or kind)[:LONGEST_TEXT]}


if __name__ == "__main__":
    sys.exit(main())
