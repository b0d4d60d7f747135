# SPDX-License-Identifier: Apache-2.0
"""Many answers at once: requests join and leave the batch between any two tokens.

One thread owns the engine. It reads prompts a piece at a time, and after each piece gives every
answer that is under way its next token, so a long prompt holds nobody up for long. Answers under
way are in slots 0 to n - 1, the prompt that is being read in slot n.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable, Sequence

from ..errors import DeviceError, Error, InputError, Overloaded
from .engine import Engine
from .sampling import Sampler, Sampling

PIECE = 128
"""How many tokens of a prompt are read between two steps."""
WAITING = 64
"""How many requests may wait for a slot, unless another number is asked for."""

STOP, LENGTH, CAPACITY = "stop", "length", "capacity"
"""Why an answer ended: the model said so, it is as long as was asked for, or there is no room."""

Event = int | str | Error
"""A token; or, as the last one, why the answer ended."""

log = logging.getLogger("autoglm")


class Job:
    """An answer that was asked for.

    Attributes:
        prompt: Its tokens.
        answer: The tokens so far.
        sampling: How to choose them.
    """

    def __init__(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        sink: Callable[[Event], None],
        answer: Sequence[int] = (),
    ) -> None:
        self.prompt = tuple(prompt)
        self.answer = list(answer)
        self.sampling = sampling
        self.cancelled = False
        self.slot = 0
        self.length = 0  # how many tokens are in the slot
        self._sink = sink
        self._sampler = Sampler(sampling, self.prompt, self.answer)

    def cancel(self) -> None:
        """Nobody wants it any more: soon nothing is told. Any thread may call it."""
        self.cancelled = True

    @property
    def unread(self) -> Sequence[int]:
        """Tokens that are to be in the slot, and are not yet."""
        return (*self.prompt, *self.answer)[self.length :]

    def choose(self, logits: object, ends: frozenset[int]) -> str:
        """Take the next token, and tell it; why the answer ends with it, else empty."""
        token = self._sampler.choose(logits)  # type: ignore[arg-type]
        if token in ends and not self.sampling.ignore_end:
            return STOP
        self.answer.append(token)
        self.tell(token)
        return LENGTH if len(self.answer) >= self.sampling.max_tokens else ""

    def tell(self, event: Event) -> None:
        """Tell the sink, unless nobody wants it."""
        if not self.cancelled:
            self._sink(event)


class Batcher:
    """Answers requests with one engine, several at once. Any thread may call it.

    Args:
        engine: Taken over; nobody else calls it.
        ends: Tokens that end an answer.
        waiting: How many requests may wait for a slot.
    """

    def __init__(self, engine: Engine, ends: frozenset[int], waiting: int = WAITING) -> None:
        self._engine = engine
        self._ends = ends
        self._most = waiting
        self._waiting: deque[Job] = deque()
        self._reading: Job | None = None
        self._running: list[Job] = []
        self._changed = threading.Condition()
        self._closed = False
        self._thread = threading.Thread(target=self._work, name="decoder", daemon=True)
        self._thread.start()

    @property
    def capacity(self) -> int:
        """The most tokens of prompt and answer together."""
        return self._engine.capacity

    @property
    def vocabulary(self) -> int:
        """Tokens are below it."""
        return self._engine.config.vocabulary

    def submit(
        self,
        prompt: Sequence[int],
        sampling: Sampling,
        sink: Callable[[Event], None],
        answer: Sequence[int] = (),
    ) -> Job:
        """Ask for an answer.

        Args:
            prompt: One token or more.
            sampling: How.
            sink: Called in the batcher's thread with each token, and last with why it ended; it
                must not block.
            answer: Tokens of the answer that are known: it is gone on with after them.

        Raises:
            InputError: The prompt is empty, too long, or has a token that there is not.
            Overloaded: Too many wait already.
            DeviceError: The batcher is closed.
        """
        check_prompt(prompt, self.capacity, self.vocabulary)
        job = Job(prompt, sampling, sink, answer)
        with self._changed:
            if self._closed:
                raise DeviceError("generate: the decoder was closed")
            if len(self._waiting) >= self._most:
                raise Overloaded(f"generate: {len(self._waiting)} requests wait already")
            self._waiting.append(job)
            self._changed.notify()
        return job

    @property
    def counts(self) -> tuple[int, int]:
        """How many answers are under way, and how many requests wait."""
        return len(self._running) + bool(self._reading), len(self._waiting)

    def close(self) -> None:
        """End the thread. Answers that are under way end by a `DeviceError`."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not threading.current_thread():
            self._thread.join()

    # ---- the thread ----

    def _work(self) -> None:
        while self._wait():
            try:
                self._drop_cancelled()
                self._read_piece()
                self._step()
            except Error as error:  # noqa: PERF203 - each round by itself
                self._fail(error)
            except Exception as error:
                log.exception("the decoder failed")
                self._fail(DeviceError(f"generate: {type(error).__name__}: {error}"))
        self._fail(DeviceError("generate: the decoder was closed"))

    def _wait(self) -> bool:
        """Until there is something to do; whether there will be more."""
        with self._changed:
            while not (self._closed or self._waiting or self._reading or self._running):
                self._changed.wait()
            return not self._closed

    def _drop_cancelled(self) -> None:
        for job in [job for job in self._running if job.cancelled]:
            self._leave(job)
        if self._reading and self._reading.cancelled:
            self._reading = None

    def _read_piece(self) -> None:
        """Read the next piece of a prompt, when there is a prompt and a slot for it."""
        job = self._reading or self._next()
        if job is None:
            return
        self._reading = job
        unread = job.unread
        logits = self._engine.read(job.slot, unread[:PIECE], job.length)
        job.length += min(PIECE, len(unread))
        if len(unread) <= PIECE:
            self._reading = None
            self._running.append(job)
            self._go_on(job, logits)

    def _next(self) -> Job | None:
        with self._changed:
            while self._waiting and len(self._running) < self._engine.slots:
                job = self._waiting.popleft()
                if not job.cancelled:
                    job.slot = len(self._running)
                    return job
        return None

    def _step(self) -> None:
        """The next token of every answer that is under way."""
        jobs = list(self._running)
        if not jobs:
            return
        logits = self._engine.step([job.answer[-1] for job in jobs], [job.length for job in jobs])
        for job in jobs:  # all of them first: to leave a slot moves what others hold
            job.length += 1
        for job, row in zip(jobs, logits, strict=True):
            self._go_on(job, row)

    def _go_on(self, job: Job, logits: object) -> None:
        """Choose the next token of an answer; end it when that is its end."""
        try:
            ended: str | Error = job.choose(logits, self._ends)
        except Error as error:  # of this answer alone
            ended = error
        if not ended and job.length >= self.capacity:
            ended = CAPACITY
        if ended:
            job.tell(ended)
            self._leave(job)

    def _leave(self, job: Job) -> None:
        """Free the slot of an answer: the last one of those under way takes it."""
        last = self._running.pop()
        if last is not job:
            self._engine.move(last.slot, job.slot, last.length)
            self._running[job.slot] = last
            last.slot = job.slot
        if self._reading:
            slot = len(self._running)
            self._engine.move(self._reading.slot, slot, self._reading.length)
            self._reading.slot = slot

    def _fail(self, error: Error) -> None:
        """Every answer under way ends by an error; after a close those that wait do too."""
        with self._changed:
            jobs = [*self._running, *([self._reading] if self._reading else [])]
            self._running, self._reading = [], None
            if self._closed:
                jobs += self._waiting
                self._waiting.clear()
        for job in jobs:
            job.tell(error)


def check_prompt(prompt: Sequence[int], capacity: int, vocabulary: int) -> None:
    """Hold a prompt against what a decoder takes.

    Raises:
        InputError: It is empty, too long, or has a token that there is not.
    """
    if not prompt:
        raise InputError("the prompt is empty: it has no tokens")
    if len(prompt) >= capacity:
        raise InputError(
            f"the prompt has {len(prompt)} tokens; with the answer, {capacity} are the most"
        )
    if not all(0 <= token < vocabulary for token in prompt):
        raise InputError(f"the prompt has a token that is not from 0 to {vocabulary - 1}")
