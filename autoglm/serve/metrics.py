# SPDX-License-Identifier: Apache-2.0
"""What Prometheus is told of the service (text format 0.0.4)."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from .model import Served

if TYPE_CHECKING:
    from .tally import Tally

BUCKETS: Final = (
    *(0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05),
    *(0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0),
)
"""Seconds."""
MOST_TOLD: Final = 1024
"""Requests that wait to be counted."""
CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metrics:
    """Counts, and answers Prometheus. It belongs to the event loop of the service.

    Args:
        models: Those that are served.
        tally: What is being answered.

    Attributes:
        registry: To which a router may add metrics of its own.
    """

    def __init__(self, models: Iterable[Served], tally: Tally) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "autoglm_requests", "Requests answered.", ["model", "status"], registry=self.registry
        )
        self._seconds = Histogram(
            "autoglm_request_seconds", "From the head of a request to the end of its answer.",
            ["model"], buckets=BUCKETS, registry=self.registry,
        )  # fmt: skip
        self._known: dict[tuple[str, int], tuple[Counter, Histogram]] = {}
        self._told: deque[tuple[str, int, float]] = deque()
        self.registry.register(_State(list(models), tally))

    def tell(self, model: str, status: int, seconds: float) -> None:
        """Note a request, to be counted when there is time: that takes longer than a small model.

        Args:
            model: That it was for; empty when it was for none.
            status: Of its answer; 499 when the client left before it.
            seconds: That it took.
        """
        self._told.append((model, status, seconds))
        if len(self._told) >= MOST_TOLD:
            self.count()

    def count(self) -> None:
        """Count what was told; somebody calls it now and then."""
        while self._told:
            model, status, seconds = self._told.popleft()
            requests, latency = self._of(model, status)
            requests.inc()
            latency.observe(seconds)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        self.count()
        return generate_latest(self.registry)

    def _of(self, model: str, status: int) -> tuple[Counter, Histogram]:
        """What is counted; finding it by labels takes longer than counting."""
        if (model, status) not in self._known:
            self._known[model, status] = (
                self._requests.labels(model, str(status)),
                self._seconds.labels(model),
            )
        return self._known[model, status]


class _State(Collector):
    """What the service is like now."""

    def __init__(self, models: Sequence[Served], tally: Tally) -> None:
        self._models = models
        self._tally = tally

    def collect(self) -> Iterator[Metric]:
        """Look."""
        yield GaugeMetricFamily(
            "autoglm_requests_now", "Requests being answered or waiting.", self._tally.requests
        )
        yield GaugeMetricFamily(
            "autoglm_request_bytes_now", "Bytes of their bodies.", self._tally.bytes
        )
        ready = GaugeMetricFamily(
            "autoglm_model_ready", "1: requests would be answered.", labels=["model", "candidate"]
        )
        deaths = CounterMetricFamily(
            "autoglm_worker_deaths", "Processes that ended without being told to.",
            labels=["model"],
        )  # fmt: skip
        waiting = GaugeMetricFamily(
            "autoglm_worker_waiting", "Calls that have not begun.", labels=["model"]
        )
        counted = CounterMetricFamily(
            "autoglm_device_counted", "By the device itself, such as its clocks.",
            labels=["model", "counter"],
        )  # fmt: skip
        for model in self._models:
            ready.add_metric([model.name, model.candidate], int(model.ready))
            deaths.add_metric([model.name], model.deaths)
            waiting.add_metric([model.name], model.waiting)
            for name, count in model.counters.items():
                counted.add_metric([model.name, name], count)
        yield ready
        yield deaths
        yield waiting
        yield counted
