# SPDX-License-Identifier: Apache-2.0
"""A model in a process of its own, which may die: another takes its place, and no call is lost.

Engines and drivers are large programs in other languages; one that crashes, or that the kernel
kills for want of memory, must not take the service with it. The other side is `work`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import orjson

from hal import processor

from . import busy_poll as polling
from . import errors
from .artifact import Artifact
from .errors import DeviceError, Error
from .exchange import Layout, Region
from .manifest import ModelInfo
from .tensor import Array, check_inputs
from .work import LARGEST_MESSAGE

TRIES = 3
"""How often one call is made before it, and not the worker, is taken to be the fault."""
MOST = 8
"""Lanes, unless more are asked for: each keeps some memory."""
LOADING = 600.0
"""Seconds in which a process must have the model loaded."""
BACKOFF = (0.0, 0.1, 0.5, 1.0, 2.0, 5.0)
"""Seconds before each further attempt to start a process; the last one for ever."""

log = logging.getLogger("autoglm")

Result = TypeVar("Result")


@dataclass
class Call:
    """One call of a model.

    Attributes:
        inputs: Not changed until it is over.
        done: Called once, later, with the outputs, or with what went wrong; it does not raise.
            The outputs are memory of the worker's, and good until it returns.
        tries: How often a process died of it.
        over: It is done, or nobody waits for it any more: then `done` is not called.
    """

    inputs: Mapping[str, Array]
    done: Callable[[Layout | Error], None]
    tries: int = 0
    over: bool = False

    def finish(self, outcome: Layout | Error) -> None:
        """Tell who waits, if somebody does."""
        if not self.over:
            self.over = True
            self.done(outcome)


class _Lane:
    """Where one call is made at a time: a region, the socket of the process, and the call."""

    def __init__(self, region: Region) -> None:
        self.region = region
        self.call: Call | None = None
        self.link: socket.socket
        self.until = 0.0
        self.began = 0.0
        self.ended: asyncio.Future[None]


class Worker:
    """Calls a model in another process, in the order they came, several at once where it can.

    It belongs to one event loop. A process that dies, or does not answer in `stall` seconds, is
    replaced, and the calls that it had are made again, each alone: one after which it dies `TRIES`
    times is the fault itself, and fails. A candidate under which a call died twice is left out.

    Args:
        path: An artifact.
        device: As `autoglm.load` takes it.
        threads: For one call, where the device is the processor; 0 for those that were best when it
            was compiled, and for fewer where calls are made at once (`crowd`).
        memory: Bytes of its own that the process may have (RLIMIT_DATA of setrlimit(2)); 0: any.
        stall: Seconds.
        largest: Bytes of the outputs of one call.
        lanes: How many calls are made at once, where the engine lets them; 0: one a processor,
            `MOST` at most.
        busy_poll: Microseconds for which process and event loop look for each other's next message
            instead of sleeping, while one is expected (`busy_poll.BusyPoll`); 0: none. The loop
            does so where a call leaves it a processor, and goes on with other work meanwhile; the
            process does so between calls, when it needs none.

    Attributes:
        info: The source model.
        candidate: Name of what runs (`dispatch.Candidate.name`); empty while nothing does.
        deaths: How many processes have ended without being told to.
        counters: What the device has counted, as `Executable.counters`; from 0 in each process.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: int | str | None = None,
        *,
        threads: int = 0,
        memory: int = 0,
        stall: float = 120.0,
        largest: int = 1 << 30,
        lanes: int = 0,
        busy_poll: int = polling.DEFAULT,
    ) -> None:
        self._path = Path(path).absolute()
        with Artifact(self._path) as artifact:
            self.info: ModelInfo = artifact.manifest.model
        self.candidate = ""
        self.deaths = 0
        self.counters: Mapping[str, int] = {}
        self._asked: dict[str, Any] = {
            "path": str(self._path),
            "device": device,
            "threads": threads,
            "memory": memory,
            "largest": largest,
            "busy_poll": busy_poll,
        }
        self._poll = polling.BusyPoll(busy_poll)
        self._spare = False
        self._stall = stall
        self._without: set[str] = set()
        self._candidates: list[str] = []
        self._queue: deque[Call] = deque()
        self._count = lanes or min(processor.info().cores, MOST)
        self._lanes: list[_Lane] = []
        self._usable: list[_Lane] = []
        self._alone = False
        self._process: subprocess.Popen[bytes] | None = None
        self._keeper: asyncio.Task[None] | None = None

    @property
    def ready(self) -> bool:
        """Whether a process is there that has the model loaded."""
        return bool(self.candidate)

    @property
    def waiting(self) -> int:
        """Calls that have not begun."""
        return len(self._queue)

    @property
    def pid(self) -> int:
        """Of the process; 0 while there is none."""
        return self._process.pid if self._process else 0

    async def start(self) -> None:
        """Start the process, and wait until the model is loaded.

        Raises:
            Error: It cannot be; as `autoglm.load` raises it.
        """
        self._loop = asyncio.get_running_loop()
        self._lanes = [_Lane(Region.make()) for _ in range(self._count)]
        started = self._loop.create_future()
        self._keeper = asyncio.create_task(self._keep(started))
        try:
            await asyncio.shield(started)
        except BaseException:
            await self.stop()
            raise

    async def call(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Run the model once, as `run`.

        Returns:
            The outputs, by name, the caller's own.
        """
        return await self.run(inputs, _copies)

    async def run(self, inputs: Mapping[str, Array], use: Callable[[Layout], Result]) -> Result:
        """Run the model once. When the caller is cancelled while it waits, it is not run.

        Args:
            inputs: As `Loaded` takes them; not changed until the call is over.
            use: Makes what is wanted of the outputs, which are memory of the worker's, and good
                until it returns. What it raises is raised here.

        Returns:
            What it makes.

        Raises:
            InputError: They do not fit the model.
            DeviceError: Every device failed, or the process died at each of `TRIES` attempts.
        """
        answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()

        def done(outcome: Layout | Error) -> None:
            if answer.done():  # cancelled, and not told yet
                return
            if isinstance(outcome, Error):
                answer.set_exception(outcome)
                return
            try:
                answer.set_result(use(outcome))
            except MemoryError as error:
                answer.set_exception(_ours(error, self.info.name))
            except Exception as error:  # noqa: BLE001 - it is the caller's
                answer.set_exception(error)

        check_inputs(self.info.inputs, inputs)
        call = self.begin(inputs, done)
        try:
            return await answer
        finally:
            call.over = True

    def begin(self, inputs: Mapping[str, Array], done: Callable[[Layout | Error], None]) -> Call:
        """As `call`, for who cannot wait, with inputs that `tensor.check_inputs` has seen already.

        Args:
            inputs: As there.
            done: As `Call.done`.

        Returns:
            The call; who sets it `over` before it begins makes that it never does.

        Raises:
            DeviceError: The worker was stopped; later errors are told to `done`.
        """
        if self._keeper is None:
            raise DeviceError(f"run {self.info.name}: the worker was stopped")
        call = Call(inputs, done)
        self._queue.append(call)
        self._feed()
        return call

    async def stop(self) -> None:
        """End the process. Calls that wait fail."""
        if self._keeper is not None:
            self._keeper.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
            for lane in self._lanes:
                lane.region.close()
        self._fail(DeviceError(f"run {self.info.name}: the worker was stopped"))

    async def _keep(self, started: asyncio.Future[None]) -> None:
        """Have a process, always."""
        failures = 0
        while True:
            await asyncio.sleep(BACKOFF[min(failures, len(BACKOFF) - 1)])
            try:
                await self._live(started)
                failures = 0
            except (Error, OSError) as error:
                failures += 1
                if not started.done():
                    started.set_exception(error)
                    return
                log.warning("%s: no process can be started: %s", self.info.name, error)
                self._without.clear()
                if failures >= TRIES:
                    self._fail(DeviceError(f"run {self.info.name}: {error}"))

    async def _live(self, started: asyncio.Future[None]) -> None:
        """The life of one process, to its end.

        Raises:
            Error, OSError: It could not begin.
        """
        links, process = self._spawn()
        self._process = process
        watch: asyncio.Future[None] | None = None
        try:
            hello = await self._receive(links[0])
            if "error" in hello:
                if hello["error"] == "DeviceError" and self._bounded():
                    hello["text"] = f"load {self.info.name}: {hello['text']}{self._bounded()}"
                raise _raised(hello)
            self._candidates = hello["candidates"]
            self._usable = self._lanes if hello["concurrent"] else self._lanes[:1]
            self._hear(hello)
            if not started.done():
                started.set_result(None)
            ended = self._loop.create_future()
            for lane, link in zip(self._lanes, links, strict=True):
                lane.link, lane.ended = link, ended
                self._loop.add_reader(link, self._readable, lane)
            self._feed()
            watch = asyncio.ensure_future(self._watch(process))
            await ended
        finally:
            self.candidate = ""
            if watch is not None:
                watch.cancel()
            for link in links:
                self._loop.remove_reader(link)
                link.close()
            process.kill()
            code = await asyncio.to_thread(process.wait)
            self._process = None
        self._bury(code)

    def _spawn(self) -> tuple[list[socket.socket], subprocess.Popen[bytes]]:
        pairs = [socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET) for _ in self._lanes]
        descriptors = [
            number
            for lane, (_, theirs) in zip(self._lanes, pairs, strict=True)
            for number in (theirs.fileno(), lane.region.descriptor)
        ]
        process = subprocess.Popen(
            [sys.executable, "-m", "autoglm.work", *map(str, descriptors)],
            stdin=subprocess.DEVNULL,
            pass_fds=descriptors,
            env=dict(os.environ),  # execve(2) fails where a thread changes it meanwhile (EFAULT)
            start_new_session=True,  # a Ctrl-C is for the service, which ends it in order
        )
        for ours, theirs in pairs:
            theirs.close()
            ours.setblocking(False)
        links = [ours for ours, _ in pairs]
        links[0].send(orjson.dumps(self._asked | {"without": sorted(self._without)}))
        return links, process

    async def _receive(self, link: socket.socket) -> dict[str, Any]:
        try:
            message = await asyncio.wait_for(self._loop.sock_recv(link, LARGEST_MESSAGE), LOADING)
        except (asyncio.TimeoutError, ConnectionError):
            message = b""
        if not message:
            told = f"load {self.info.name}: its process died, or hung, while it loaded"
            raise DeviceError(told + self._bounded())
        return dict(orjson.loads(message))

    def _bounded(self) -> str:
        """What may be why it cannot load: engines say little of it, or crash."""
        memory = self._asked["memory"]
        if not memory:
            return ""
        told = f"{memory >> 20} MiB of memory of its own"
        return f"; its process may have {told}, which may be too little (--memory-limit)"

    def _hear(self, news: Mapping[str, Any]) -> None:
        """What a process says of itself."""
        self.candidate, self.counters = news["candidate"], news["counters"]
        self._spare = news["spare"]

    def _feed(self) -> None:
        """Begin calls, while there are any, and lanes for them."""
        while self._queue and self.candidate:
            call = self._queue[0]
            if call.over:
                self._queue.popleft()
                continue
            free = [lane for lane in self._usable if lane.call is None]
            alone = call.tries > 0
            if not free or self._alone or (alone and len(free) < len(self._usable)):
                return
            self._queue.popleft()
            self._alone = alone
            self._begin(free[0], call)
            first = len(free) == len(self._usable) and not self._queue
            if first and self._spare and self._poll.soon:
                self._loop.call_soon(self._look, free[0], call, free[0].began + self._poll.seconds)

    def _begin(self, lane: _Lane, call: Call) -> None:
        try:
            description = lane.region.put(call.inputs)
        except (Error, OSError, MemoryError) as error:
            self._alone = False
            self._loop.call_soon(call.finish, _ours(error, self.info.name))
            return
        lane.call = call
        lane.until = self._loop.time() + self._stall
        lane.began = time.monotonic()
        with contextlib.suppress(ConnectionError):  # it has just died: the reader will see it
            lane.link.send(description)

    def _look(self, lane: _Lane, call: Call, until: float) -> None:
        """Keep the event loop awake, and look for the answer to the only call, up to a time."""
        if lane.call is not call or not self.candidate:
            return
        self._readable(lane)
        if lane.call is call and time.monotonic() < until:
            os.sched_yield()
            self._loop.call_soon(self._look, lane, call, until)

    def _readable(self, lane: _Lane) -> None:
        try:
            message = lane.link.recv(LARGEST_MESSAGE)
        except BlockingIOError:
            return
        except ConnectionError:
            message = b""
        if not message:
            self.candidate = ""
            if not lane.ended.done():
                lane.ended.set_result(None)
            self._loop.remove_reader(lane.link)
            return
        news = orjson.loads(message) if message.startswith(b"{") else {}
        if "candidate" in news:
            self._hear(news)
            return  # the answer follows
        call, lane.call = lane.call, None
        self._poll.waited(time.monotonic() - lane.began)
        self._alone = False
        if call is not None:
            self._answer(lane, call, message, news)
        self._feed()

    def _answer(self, lane: _Lane, call: Call, message: bytes, failure: Mapping[str, Any]) -> None:
        if failure.get("lost"):
            self.candidate = ""  # the process is about to end
            if not call.tries:
                call.tries = 1
                self._queue.appendleft(call)
                return
        call.finish(_raised(failure) if failure else self._outputs(lane, message))
        lane.region.shrink()

    def _outputs(self, lane: _Lane, description: bytes) -> Layout | Error:
        try:
            return lane.region.take(description)
        except (OSError, MemoryError) as error:
            return _ours(error, self.info.name)

    async def _watch(self, process: subprocess.Popen[bytes]) -> None:
        """Kill a process that does not answer."""

        def answers() -> bool:
            now = self._loop.time()
            return all(lane.call is None or now < lane.until for lane in self._lanes)

        while answers():  # noqa: ASYNC110 - a timer for each call would cost every call
            await asyncio.sleep(min(1.0, self._stall / 4))
        log.error("%s: no answer in %g s, its process is killed", self.info.name, self._stall)
        process.kill()

    def _bury(self, code: int) -> None:
        """What a death means for the calls that were being made."""
        self.deaths += 1
        how = signal.Signals(-code).name if code < 0 else f"exit status {code}"
        log.warning("%s: its process ended (%s), another is started", self.info.name, how)
        self._alone = False
        for lane in self._lanes:
            call, lane.call = lane.call, None
            if call is None:
                continue
            if not call.over:
                self._try_again(call, how)

    def _try_again(self, call: Call, how: str) -> None:
        call.tries += 1
        if call.tries < TRIES:
            self._blame(call)
            self._queue.appendleft(call)
            return
        self._without.clear()  # it dies everywhere: the fault is the call's
        text = f"the process died in each of {TRIES} attempts, last by {how}"
        call.finish(DeviceError(f"run {self.info.name}: {text}"))

    def _blame(self, call: Call) -> None:
        """Leave a candidate out, under which a call died twice, when there is another."""
        left = [name for name in self._candidates if name not in self._without]
        if call.tries == TRIES - 1 and len(left) > 1:
            self._without.add(left[0])

    def _fail(self, error: Error) -> None:
        waiting = [*(lane.call for lane in self._lanes if lane.call), *self._queue]
        for lane in self._lanes:
            lane.call = None
        self._queue.clear()
        for call in waiting:
            call.finish(error)


def _copies(outputs: Layout) -> dict[str, Array]:
    return {name: view.copy() for name, view in outputs.views.items()}


def _ours(error: Error | OSError | MemoryError, model: str) -> Error:
    """An error of ours for what may go wrong with the memory between the two."""
    if isinstance(error, Error):
        return error
    return DeviceError(f"run {model}: no memory for its arrays: {error}")


def _raised(message: Mapping[str, Any]) -> Error:
    kind: type[Error] = getattr(errors, message["error"])
    return kind(message["text"])
