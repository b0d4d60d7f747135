# SPDX-License-Identifier: Apache-2.0
"""A batcher in a process of its own, which may die: another goes on where it was, token by token.

What was answered so far is known here, and what a token depends on is its seed and its place
(`sampling`): so an answer is the same whether or not processes died while it was made. The other
side is `work`.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from .. import errors
from ..errors import DeviceError, Error, Overloaded
from .batching import WAITING, Event, check_prompt
from .sampling import Sampling

TRIES = 3
"""How many processes may die under an answer, without a token of it, before it is given up."""
BACKOFF = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each further attempt to start a process; the last one for ever."""

log = logging.getLogger("autoglm")


class _Asked:
    """An answer that was asked for."""

    def __init__(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        sink: Callable[[Event], None],
        forget: Callable[[], None],
    ) -> None:
        self.prompt = list(prompt)
        self.answer: list[int] = []
        self.sampling = sampling
        self.sink = sink
        self.tries = 0
        self.cancel = forget


class Worker:
    """Answers requests as `batching.Batcher` does. Any thread may call it.

    Args:
        path: An artifact of a language model.
        device: The number, or the kind, of the only device to use; None for the best.
        slots: How many answers at once.
        capacity: The most tokens of prompt and answer together; at most the model's context.
        threads: For one call; 0 for every processor.
        waiting: How many requests may wait for a slot.
        memory: Bytes of its own that the process may have (RLIMIT_DATA of setrlimit(2)); 0: any.
        stall: Seconds without a token, with answers under way, after which it is replaced.

    Attributes:
        capacity: As above, with the model's bound.
        vocabulary: Tokens are below it.
        deaths: How many processes have ended without being told to.

    Raises:
        Error: The first process cannot load the model.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: int | str | None = None,
        *,
        slots: int,
        capacity: int,
        threads: int = 0,
        waiting: int = WAITING,
        memory: int = 0,
        stall: float = 120.0,
    ) -> None:
        self._asks = {
            "path": str(Path(path).absolute()),
            "device": device,
            "slots": slots,
            "capacity": capacity,
            "threads": threads,
            "memory": memory,
        }
        self._slots, self._most, self._stall = slots, slots + waiting, stall
        self._live: dict[int, _Asked] = {}
        self._numbers = itertools.count()
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self.deaths = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        messages = self._begin()
        self._thread = threading.Thread(
            target=self._keep, args=(messages,), name="decoder worker", daemon=True
        )
        self._thread.start()

    @property
    def ready(self) -> bool:
        """Whether a process is there that has the model loaded."""
        return self._link is not None

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process else 0

    @property
    def counts(self) -> tuple[int, int]:
        """How many answers are under way, and how many requests wait."""
        live = len(self._live)
        return min(live, self._slots), max(live - self._slots, 0)

    def submit(
        self, prompt: Sequence[int], sampling: Sampling, sink: Callable[[Event], None]
    ) -> _Asked:
        """Ask for an answer, as `Batcher.submit`; the sink is called in a thread of the worker.

        Raises:
            InputError: The prompt is empty, too long, or has a token that there is not.
            Overloaded: Too many wait already.
            DeviceError: The worker is closed.
        """
        check_prompt(prompt, self.capacity, self.vocabulary)
        number = next(self._numbers)
        asked = _Asked(prompt, sampling, sink, lambda: self._forget(number))
        with self._lock:
            if self._closed.is_set():
                raise DeviceError("generate: the decoder was closed")
            if len(self._live) >= self._most:
                raise Overloaded(f"generate: {len(self._live)} requests are waiting already")
            self._live[number] = asked
            self._send_asked(number, asked)
        return asked

    def close(self) -> None:
        """End the process. Answers that are under way end by a `DeviceError`."""
        self._closed.set()
        with self._lock:
            if self._link is not None:
                with contextlib.suppress(OSError):
                    self._link.shutdown(socket.SHUT_RDWR)
        if self._thread is not threading.current_thread():
            self._thread.join()

    def _forget(self, number: int) -> None:
        with self._lock:
            if self._live.pop(number, None) is not None:
                self._send({"drop": number})

    def _send_asked(self, number: int, asked: _Asked) -> None:
        self._send(
            {
                "ask": number,
                "prompt": asked.prompt,
                "answer": asked.answer,
                "sampling": asked.sampling.to_json(),
            }
        )

    def _send(self, message: dict[str, Any]) -> None:
        """To the process; when there is none, the next one is told all that is live."""
        if self._link is not None:
            with contextlib.suppress(OSError):  # it has just died: the thread will see it
                self._link.sendall(json.dumps(message).encode() + b"\n")

    # ---- the thread ----

    def _begin(self) -> Iterator[dict[str, Any]]:
        """Start a process; what it says, once it has the model.

        Raises:
            Error: It cannot load it.
        """
        ours, theirs = socket.socketpair()
        with theirs:
            process = subprocess.Popen(
                [sys.executable, "-m", "autoglm.decoder.work", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                env=dict(os.environ),  # execve(2) fails where a thread changes it meanwhile
                start_new_session=True,  # a Ctrl-C is for the service, which ends it in order
            )
        ours.settimeout(self._stall)
        messages = self._messages(ours)
        try:
            ours.sendall(json.dumps(self._asks).encode() + b"\n")
            self._greet(next(messages, None))
            self._take_on(process, ours)
        except BaseException:
            ours.close()
            process.kill()
            process.wait()
            raise
        return messages

    def _greet(self, hello: dict[str, Any] | None) -> None:
        """The first message of a process: that it has the model, or why not."""
        if hello is None:
            raise DeviceError("load the language model: its process died while it loaded")
        if "error" in hello:
            raise _raised(hello)
        self.capacity: int = hello["capacity"]
        self.vocabulary: int = hello["vocabulary"]

    def _take_on(self, process: subprocess.Popen[bytes], link: socket.socket) -> None:
        """Have that process go on with every answer."""
        with self._lock:
            if self._closed.is_set():
                raise DeviceError("load the language model: the decoder was closed")
            self._process, self._link = process, link
            for number, asked in self._live.items():
                self._send_asked(number, asked)

    def _messages(self, link: socket.socket) -> Iterator[dict[str, Any]]:
        """What a process says, until it ends, or is silent for too long with work to do."""
        held = b""
        while True:
            try:
                data = link.recv(1 << 16)
            except TimeoutError:
                if self._live or not self.ready:
                    log.warning("a language model's process is silent for %g s", self._stall)
                    return
                continue
            except OSError:
                return
            if not data:
                return
            *lines, held = (held + data).split(b"\n")
            yield from map(json.loads, lines)

    def _keep(self, messages: Iterator[dict[str, Any]]) -> None:
        """Have a process, until closed."""
        while True:
            for message in messages:
                self._hear(message)
            self._bury()
            failures = 0
            while not self._closed.wait(BACKOFF[min(failures, len(BACKOFF) - 1)]):
                try:
                    messages = self._begin()
                    break
                except (Error, OSError) as error:
                    failures += 1
                    log.warning("no process can be started for a language model: %s", error)
                    if failures >= TRIES:
                        self._give_up(lambda _: True, DeviceError(f"generate: {error}"))
            else:
                self._give_up(lambda _: True, DeviceError("generate: the decoder was closed"))
                return

    def _hear(self, message: dict[str, Any]) -> None:
        number = message["of"]
        with self._lock:
            asked = self._live.get(number)
            if asked is None:  # dropped meanwhile
                return
            if "token" in message:
                asked.answer.append(message["token"])
                asked.tries = 0
                event: Event = message["token"]
            else:
                del self._live[number]
                event = _raised(message) if "error" in message else str(message["end"])
        asked.sink(event)

    def _bury(self) -> None:
        """What a death means for the answers that were under way."""
        process, link = self._process, self._link
        assert process is not None and link is not None  # noqa: S101 - `_begin` made them
        with self._lock:
            self._process = self._link = None
        link.close()
        if self._closed.is_set():
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(5)
        process.kill()
        code = process.wait()
        if self._closed.is_set():
            return
        self.deaths += 1
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        log.warning("a language model's process ended (%s), another is started", how)
        for asked in self._live.values():
            asked.tries += 1
        self._give_up(
            lambda asked: asked.tries >= TRIES,
            DeviceError(f"generate: the process died in each of {TRIES} attempts, last by {how}"),
        )

    def _give_up(self, which: Callable[[_Asked], bool], error: Error) -> None:
        with self._lock:
            lost = [number for number, asked in self._live.items() if which(asked)]
            gone = [self._live.pop(number) for number in lost]
        for asked in gone:
            asked.sink(error)


def _raised(message: dict[str, Any]) -> Error:
    kind: type[Error] = getattr(errors, message["error"])
    return kind(message["text"])
