# SPDX-License-Identifier: Apache-2.0
"""A model as the service has it."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from ..busy_poll import DEFAULT
from ..errors import Error
from ..exchange import Layout
from ..manifest import ModelInfo
from ..tensor import Array
from ..worker import Call, Result, Worker
from .wire import Reader


class Served(ABC):
    """One model. It belongs to the event loop of the service.

    Attributes:
        name: By which requests name it: the artifact's file name, without its end.
        info: The source model.
    """

    name: str
    info: ModelInfo

    @property
    @abstractmethod
    def ready(self) -> bool:
        """Whether requests would be answered now."""

    @property
    @abstractmethod
    def candidate(self) -> str:
        """What runs it (`dispatch.Candidate.name`); empty while nothing does."""

    @property
    @abstractmethod
    def deaths(self) -> int:
        """How many processes that ran it have ended without being told to."""

    @property
    @abstractmethod
    def waiting(self) -> int:
        """Requests that have not begun."""

    @property
    def counters(self) -> Mapping[str, int]:
        """What the device has counted, by name; empty where it counts nothing."""
        return {}

    @abstractmethod
    async def start(self) -> None:
        """Load it; returns when it is ready.

        Raises:
            Error: It cannot be.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Give everything back; no request is being answered."""

    @classmethod
    def routes(cls, models: Mapping[str, Served]) -> list[BaseRoute]:
        """What requests to models of this class go to, besides what every model has.

        Args:
            models: All that are served, by name.
        """
        return []

    @classmethod
    def describe(cls, models: Mapping[str, Served]) -> dict[str, Any]:
        """Those routes as OpenAPI's ``paths``."""
        return {}


def kinds(models: Mapping[str, Served]) -> list[type[Served]]:
    """The classes of models, each once."""
    return list(dict.fromkeys(type(model) for model in models.values()))


class Graph(Served):
    """A model that maps arrays to arrays, in a worker.

    Args:
        path: An artifact.
        device: As `autoglm.load` takes it.
        threads: For one call; 0 for every processor.
        memory: Bytes of its own that the worker may have; 0: any.
        stall: Seconds without an answer after which the worker is replaced.
        busy_poll: As `Worker` takes it.

    Attributes:
        worker: Runs it.
        reader: Of requests to run it.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: int | str | None = None,
        *,
        threads: int = 0,
        memory: int = 0,
        stall: float = 120.0,
        busy_poll: int = DEFAULT,
    ) -> None:
        self.worker = Worker(
            path, device, threads=threads, memory=memory, stall=stall, busy_poll=busy_poll
        )
        self.info = self.worker.info
        self.name = Path(path).stem
        self.reader = Reader(self.info)

    @property
    def ready(self) -> bool:
        """Whether the worker has the model loaded."""
        return self.worker.ready

    @property
    def candidate(self) -> str:
        """What runs it."""
        return self.worker.candidate

    @property
    def deaths(self) -> int:
        """Of the worker's processes."""
        return self.worker.deaths

    @property
    def waiting(self) -> int:
        """For the worker."""
        return self.worker.waiting

    @property
    def counters(self) -> Mapping[str, int]:
        """By the worker's device."""
        return self.worker.counters

    async def start(self) -> None:
        """Start the worker."""
        await self.worker.start()

    async def stop(self) -> None:
        """End the worker."""
        await self.worker.stop()

    async def run(self, inputs: Mapping[str, Array], use: Callable[[Layout], Result]) -> Result:
        """As `Worker.run`."""
        return await self.worker.run(inputs, use)

    def begin(self, inputs: Mapping[str, Array], done: Callable[[Layout | Error], None]) -> Call:
        """As `Worker.begin`."""
        return self.worker.begin(inputs, done)
