# SPDX-License-Identifier: Apache-2.0
"""The process of a worker: ``python -m autoglm.work SOCKET REGION`` (descriptors), see `worker`.

The first message says what to load; each further one is a call. One answer each, as JSON; arrays go
through the region. When the socket ends, so does the process, whatever it is doing.
"""

from __future__ import annotations

import json
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
from typing import Any

from . import errors
from .exchange import Region
from .loaded import Loaded, load

LARGEST_MESSAGE = 1 << 16
"""In bytes; a text that is longer is cut."""


def main() -> int:
    """Serve until the socket ends, or no device is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    link = socket.socket(fileno=int(sys.argv[1]))
    region = Region(int(sys.argv[2]))
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    asked = json.loads(link.recv(LARGEST_MESSAGE))
    if asked["memory"]:
        resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
    try:
        model = load(
            asked["path"], asked["device"], threads=asked["threads"], without=asked["without"]
        )
    except (errors.Error, OSError, MemoryError) as error:
        link.send(_failure(error))
        return 1
    with model:
        link.send(
            _message({"candidates": [each.name for each in model.choice.candidates]} | _now(model))
        )
        return _serve(link, region, model, asked["largest"])


def _serve(link: socket.socket, region: Region, model: Loaded, largest: int) -> int:
    while message := link.recv(LARGEST_MESSAGE):
        answer, lost = _answer(json.loads(message), region, model, largest)
        link.send(answer)
        if lost:
            return 1  # a new process begins with all devices
    return 0


def _answer(
    call: dict[str, Any], region: Region, model: Loaded, largest: int
) -> tuple[bytes, bool]:
    """The answer to a call, and whether no device is left after it."""
    try:
        outputs = model(region.take(call["slots"]))
        if sum(output.nbytes for output in outputs.values()) > largest:
            raise errors.InputError(f"the outputs are larger than {largest} bytes")
        slots, _ = region.put(outputs, call["end"])
        return _message({"slots": slots} | _now(model)), False
    except (errors.Error, OSError, MemoryError) as error:
        return _failure(error), isinstance(error, errors.DeviceError)


def _now(model: Loaded) -> dict[str, Any]:
    return {"candidate": model.candidate.name}


def _message(content: dict[str, Any]) -> bytes:
    return json.dumps(content).encode()


def _failure(error: BaseException) -> bytes:
    """What went wrong, by the name of its class; anything that is not ours is a device's fault."""
    kind = type(error).__name__
    ours = kind if isinstance(error, errors.Error) and kind in errors.__all__ else "DeviceError"
    text = str(error) or kind
    return _message({"error": ours, "text": text[: LARGEST_MESSAGE // 16]})


def _end_with(link: socket.socket) -> None:
    """End with the other side, in the middle of a call too."""
    poll = select.poll()
    poll.register(link, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
