# SPDX-License-Identifier: Apache-2.0
"""The process of a worker, see there: ``python -m autoglm.work SOCKET REGION ...`` (descriptors).

Each socket with its region is a lane, in which one call is made at a time. The first message says
what to load, and is answered by an object; each further one describes the inputs of a call, which
are in the region, and is answered by a description of its outputs, or by an object: what went
wrong. An object before that answer tells what is new: which candidate runs, what it counted. When
the sockets end, so does the process, whatever it is doing.
"""

from __future__ import annotations

import gc
import logging
import os
import resource
import select
import signal
import socket
import sys
import threading
from collections.abc import Mapping
from typing import Any

import orjson

from hal import processor

from . import errors
from .busy_poll import BusyPoll, receive
from .crowd import Crowd
from .exchange import Region
from .loaded import Loaded, load

LARGEST_MESSAGE = 1 << 16
"""In bytes; a text that is longer is cut."""


def main() -> int:
    """Serve until the sockets end, or no device is left."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    numbers = [int(argument) for argument in sys.argv[1:]]
    lanes = [
        (socket.socket(fileno=link), Region(region))
        for link, region in zip(numbers[::2], numbers[1::2], strict=True)
    ]
    link = lanes[0][0]
    threading.Thread(target=_end_with, args=(link,), daemon=True).start()
    asked = orjson.loads(link.recv(LARGEST_MESSAGE))
    if asked["memory"]:
        resource.setrlimit(resource.RLIMIT_DATA, (asked["memory"], asked["memory"]))
    try:
        model = load(
            asked["path"], asked["device"], threads=asked["threads"], without=asked["without"]
        )
    except (errors.Error, OSError, MemoryError) as error:
        link.send(_failure(error))
        return 1
    crowd = _crowd(model, asked, len(lanes))
    names = [each.name for each in model.choice.candidates]
    for lane in lanes[1:]:
        threading.Thread(
            target=_serve, args=(*lane, crowd, asked["largest"], BusyPoll(0)), daemon=True
        ).start()
    gc.freeze()  # what is loaded stays: a collection that looks at it all takes milliseconds
    link.send(_message({"candidates": names, "concurrent": model.concurrent} | _now(model)))
    poll = BusyPoll(asked["busy_poll"])  # who is alone comes to this lane
    _serve(*lanes[0], crowd, asked["largest"], poll)
    return 0


def _crowd(model: Loaded, asked: Mapping[str, Any], lanes: int) -> Crowd:
    """The model, a second time where calls at once are to have fewer threads each."""
    if asked["threads"] or asked["memory"]:
        return Crowd(model)

    def again(threads: int) -> Loaded:  # on that very device, however loaded it is by now
        number = model.device.number
        return load(asked["path"], number, threads=threads, without=asked["without"])

    return Crowd.of(model, lanes, again)


def _serve(link: socket.socket, region: Region, crowd: Crowd, largest: int, poll: BusyPoll) -> None:
    known = crowd.alone.candidate, crowd.alone.counters
    while description := receive(link, LARGEST_MESSAGE, poll, crowd.idle):
        model = crowd.enter()
        try:
            answer, lost = _answer(description, region, model, largest)
        finally:
            crowd.leave()
        now = model.candidate, model.counters
        if now != known and not lost:
            known = now
            link.send(_message(_now(model)))
        link.send(answer)
        if lost:
            os._exit(1)  # a new process begins with all devices


def _answer(description: bytes, region: Region, model: Loaded, largest: int) -> tuple[bytes, bool]:
    """The answer to a call, and whether no device is left after it."""
    try:
        inputs = region.take(description)
        return region.put(model.run(inputs.views), inputs.end, largest), False
    except errors.DeviceError as error:
        return _failure(error, lost=True), True
    except (errors.Error, OSError, MemoryError) as error:
        return _failure(error), False


def _now(model: Loaded) -> dict[str, Any]:
    return {
        "candidate": model.candidate.name,
        "counters": model.counters,
        "spare": _spare(model),
    }


def _spare(model: Loaded) -> bool:
    """Whether a call leaves a processor to others."""
    device = model.device
    if device.kind != "cpu":
        return device.details.get("type") != "cpu"  # else it is the processor in disguise
    return model.threads < processor.info().cores


def _message(content: dict[str, Any]) -> bytes:
    return orjson.dumps(content)


def _failure(error: BaseException, *, lost: bool = False) -> bytes:
    """What went wrong, by the name of its class; anything that is not ours is a device's fault."""
    kind = type(error).__name__
    ours = kind if isinstance(error, errors.Error) and kind in errors.__all__ else "DeviceError"
    text = str(error) or kind
    return _message({"error": ours, "text": text[: LARGEST_MESSAGE // 16], "lost": lost})


def _end_with(link: socket.socket) -> None:
    """End with the other side, in the middle of a call too."""
    poll = select.poll()
    poll.register(link, select.POLLRDHUP)
    poll.poll()
    os._exit(0)


if __name__ == "__main__":
    sys.exit(main())
