# SPDX-License-Identifier: Apache-2.0
"""A language model as the service has it: in a worker, asked by OpenAI's API."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.routing import BaseRoute

from ..decoder.batching import WAITING
from ..decoder.language_model import CAPACITY, SLOTS, LanguageModel, Opened
from ..decoder.worker import Worker
from ..errors import DeviceError
from .model import Served


class Language(Served):
    """A model that continues texts.

    Args:
        path: An artifact of a language model.
        device: As `autoglm.load` takes it.
        slots: How many answers at once.
        capacity: The most tokens of prompt and answer together.
        threads: For one call; 0 for every processor.
        waiting: How many requests may wait for a slot; the next ones get 429.
        memory: Bytes of its own that the worker may have; 0: any.
        stall: Seconds without a token after which the worker is replaced.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        device: int | str | None = None,
        *,
        slots: int = SLOTS,
        capacity: int = CAPACITY,
        threads: int = 0,
        waiting: int = WAITING,
        memory: int = 0,
        stall: float = 120.0,
    ) -> None:
        opened = Opened(path, device)
        self.info = opened.info
        self.name = Path(path).stem
        self._candidate = opened.candidate.name
        self._text = opened.text()
        self._path, self._device = path, device
        self._options: dict[str, Any] = {
            "slots": slots,
            "capacity": capacity,
            "threads": threads,
            "waiting": waiting,
            "memory": memory,
            "stall": stall,
        }
        self._model: LanguageModel | None = None
        self.worker: Worker | None = None

    @property
    def ready(self) -> bool:
        """Whether the worker has the model loaded."""
        return self.worker is not None and self.worker.ready

    @property
    def candidate(self) -> str:
        """What runs it."""
        return self._candidate if self.ready else ""

    @property
    def deaths(self) -> int:
        """Of the worker's processes."""
        return self.worker.deaths if self.worker else 0

    @property
    def waiting(self) -> int:
        """For a slot."""
        return self.worker.counts[1] if self.worker else 0

    @property
    def model(self) -> LanguageModel:
        """What answers.

        Raises:
            DeviceError: It is not started.
        """
        if self._model is None:
            raise DeviceError(f"generate: {self.name} is not loaded")
        return self._model

    async def start(self) -> None:
        """Start the worker."""
        self.worker = await asyncio.to_thread(Worker, self._path, self._device, **self._options)
        self._model = LanguageModel(self.info, self._text, self.worker)

    async def stop(self) -> None:
        """End the worker."""
        if self.worker is not None:
            await asyncio.to_thread(self.worker.close)
        self.worker = self._model = None

    @classmethod
    def routes(cls, models: Mapping[str, Served]) -> list[BaseRoute]:
        """OpenAI's."""
        from . import openai

        return openai.routes(_of(models))

    @classmethod
    def describe(cls, models: Mapping[str, Served]) -> dict[str, Any]:
        """Those routes as OpenAPI's ``paths``."""
        from . import openai

        return openai.describe(list(_of(models)))


def _of(models: Mapping[str, Served]) -> dict[str, Language]:
    return {name: model for name, model in models.items() if isinstance(model, Language)}
