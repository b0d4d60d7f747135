# SPDX-License-Identifier: Apache-2.0
"""A language model that is ready to be asked: `load`."""

from __future__ import annotations

import asyncio
import os
import queue
from collections.abc import AsyncGenerator, Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ..artifact import Artifact
from ..closing import Closing
from ..dispatch import choose
from ..errors import ArtifactError, Error
from ..files import ArtifactFiles
from ..manifest import ModelInfo
from ..threads import check_threads
from .batching import WAITING, Batcher, Event
from .config import DecoderConfig
from .engine import Engine
from .sampling import Sampling
from .text import Stops, Text
from .weights import FILE

FAMILY = "decoder"
"""Of language models' artifacts."""
BACKEND = "decoder"
"""Of their programs."""
GRAPH, WEIGHTS, TOKENIZER, TEMPLATE = "decoder.onnx", FILE, "tokenizer.json", "chat.jinja"
"""The files of a program; a model without a chat template lacks the last one."""
SLOTS, CAPACITY = 8, 4096
"""How many answers at once, and how many tokens of prompt and answer together, unless told."""


@dataclass(frozen=True)
class Piece:
    """A part of an answer.

    Attributes:
        text: What it adds.
        tokens: How many tokens the answer has up to here.
        finish: Why the answer ends with it: ``stop``, the model or a string said so; ``length``,
            it has `Sampling.max_tokens`; ``capacity``, prompt and answer together have as many
            tokens as there may be. Empty when more comes.
    """

    text: str
    tokens: int
    finish: str = ""


class Cancel(Protocol):
    """An answer that can be given up."""

    def cancel(self) -> None:
        """Nobody wants it any more."""


class Answers(Protocol):
    """What makes answers of prompts: `Batcher`, or one in another process."""

    @property
    def capacity(self) -> int:
        """The most tokens of prompt and answer together."""

    @property
    def vocabulary(self) -> int:
        """Tokens are below it."""

    @property
    def counts(self) -> tuple[int, int]:
        """How many answers are under way, and how many requests wait."""

    def submit(
        self, prompt: Sequence[int], sampling: Sampling, sink: Callable[[Event], None]
    ) -> Cancel:
        """As `Batcher.submit`."""

    def close(self) -> None:
        """As `Batcher.close`."""


class LanguageModel(Closing):
    """Text in, text out. Threads and event loops may share it.

    Attributes:
        info: The source model.
        text: Its tokenizer and chat template.
        answers: What makes answers of tokens.
    """

    info: ModelInfo
    text: Text
    answers: Answers

    def __init__(self, info: ModelInfo, text: Text, answers: Answers) -> None:
        self.info = info
        self.text = text
        self.answers = answers

    @property
    def capacity(self) -> int:
        """The most tokens of prompt and answer together."""
        return self.answers.capacity

    @property
    def vocabulary(self) -> int:
        """Tokens are below it."""
        return self.answers.vocabulary

    def generate(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> Generator[Piece, None, None]:
        """Answer a prompt, piece by piece.

        Args:
            prompt: A text, or its tokens.
            sampling: How; without it the likeliest token is taken each time.
            stop: Strings before which the answer ends.

        Raises:
            InputError: The prompt is empty or too long, or a value is out of bounds.
            Overloaded: Too many requests wait already.
            DeviceError: The engine failed.
        """
        events: queue.SimpleQueue[Event] = queue.SimpleQueue()
        stops = Stops(self.text, stop)
        job = self._submit(prompt, sampling, events.put)
        try:
            count = 0
            while True:
                event = events.get()
                count += isinstance(event, int)
                piece = _piece(event, stops, count)
                if piece is not None:
                    yield piece
                    if piece.finish:
                        return
        finally:
            job.cancel()

    async def agenerate(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling | None = None,
        stop: Sequence[str] = (),
    ) -> AsyncGenerator[Piece, None]:
        """As `generate`, without blocking the event loop. Closing the iterator frees the slot."""
        loop = asyncio.get_running_loop()
        events: asyncio.Queue[Event] = asyncio.Queue()
        stops = Stops(self.text, stop)

        def sink(event: Event) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(events.put_nowait, event)

        job = self._submit(prompt, sampling, sink)
        try:
            count = 0
            while True:
                event = await events.get()
                count += isinstance(event, int)
                piece = _piece(event, stops, count)
                if piece is not None:
                    yield piece
                    if piece.finish:
                        return
        finally:
            job.cancel()

    def close(self) -> None:
        """Give all of it back; answers that are under way fail."""
        self.answers.close()

    def _submit(
        self,
        prompt: str | Sequence[int],
        sampling: Sampling | None,
        sink: Callable[[Event], None],
    ) -> Cancel:
        tokens = self.text.encode(prompt) if isinstance(prompt, str) else prompt
        return self.answers.submit(tokens, sampling or Sampling(), sink)


def _piece(event: Event, stops: Stops, count: int) -> Piece | None:
    """What an event adds to the answer; None when nothing yet."""
    if isinstance(event, Error):
        raise event
    if isinstance(event, str):
        return Piece(stops.rest(), count, event)
    text = stops.add(event)
    if stops.stopped:
        return Piece(text, count, "stop")
    return Piece(text, count) if text else None


class Opened:
    """What an artifact holds of a language model, read by memory map.

    Args:
        path: The artifact.
        device: The number, or the kind, of the only device to use; None for the best.

    Attributes:
        info: The source model.
        candidate: What runs, and where.
        ends: Tokens that end an answer.

    Raises:
        OSError: It cannot be read.
        ArtifactError: It is damaged, of a later version, or no language model's.
        WrongTarget, TargetUnavailable, DeviceError: It cannot run there; the sentence says why.
    """

    def __init__(self, path: str | os.PathLike[str], device: int | str | None = None) -> None:
        self.artifact = Artifact(path)
        try:
            self.info = _language(self.artifact)
            self.candidate = choose(self.artifact, device).candidates[0]
            self.program = self.candidate.program
            self.files = ArtifactFiles(self.artifact, self.program)
            self.config = _config(self.info.details)
            self.ends = frozenset(map(int, self.info.details.get("ends", ())))
        except BaseException:
            self.artifact.close()
            raise

    def text(self) -> Text:
        """The tokenizer and the chat template."""
        template = ""
        if TEMPLATE in self.program.files:
            template = bytes(self.files.view(TEMPLATE)).decode()
        return Text(self.files.view(TOKENIZER), template, self.info.details.get("words"))

    def engine(self, slots: int, capacity: int, threads: int) -> Engine:
        """The model, ready on the processor."""
        return Engine(
            self.files.view(GRAPH),
            self.files.view(WEIGHTS),
            self.config,
            slots=slots,
            capacity=capacity,
            threads=threads,
        )


def _language(artifact: Artifact) -> ModelInfo:
    info = artifact.manifest.model
    if info.family != FAMILY:
        raise ArtifactError(
            f'read "{artifact.path}": {info.name} is no language model, it cannot continue a text'
        )
    return info


def _config(details: Mapping[str, Any]) -> DecoderConfig:
    try:
        return DecoderConfig.from_json(details["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise ArtifactError(f"the decoder's configuration is ill-formed: {error}") from None


def load(
    path: str | os.PathLike[str],
    device: int | str | None = None,
    *,
    slots: int = SLOTS,
    capacity: int = CAPACITY,
    threads: int = 0,
    waiting: int = WAITING,
) -> LanguageModel:
    """Make a language model ready, in this process.

    Args:
        path: An artifact of a language model.
        device: The number, or the kind, of the only device to use; None for the best.
        slots: How many answers at once.
        capacity: The most tokens of prompt and answer together; at most the model's context.
        threads: For one call; 0 for every processor.
        waiting: How many requests may wait.

    Returns:
        The model. The caller closes it, best by ``with``.

    Raises:
        OSError: It cannot be read.
        ArtifactError: It is damaged, of a later version, or no language model's.
        WrongTarget, DeviceError: It cannot run on that device.
        TargetUnavailable: What it was compiled for, or a library, is not here.
        Error: There are to be more than `autoglm.threads.MOST` threads.
    """
    check_threads(threads)
    opened = Opened(path, device)
    engine = opened.engine(slots, capacity, threads)
    return LanguageModel(opened.info, opened.text(), Batcher(engine, opened.ends, waiting))
