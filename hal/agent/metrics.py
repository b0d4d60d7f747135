# SPDX-License-Identifier: Apache-2.0
"""What Prometheus is told of an agent (text format 0.0.4), on the loopback alone."""

from __future__ import annotations

import errno
from collections import Counter as Tally
from collections.abc import Iterator
from typing import TYPE_CHECKING, Final

from hal.errors import InvalidArgument
from hal.link.listener import LOOPBACK

try:
    from prometheus_client import CollectorRegistry, Counter, Histogram, start_http_server
    from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
    from prometheus_client.registry import Collector
except ImportError as error:
    raise InvalidArgument(
        errno.ENOPKG,
        "metrics.port: the library prometheus_client is not there: "
        "pip install 'open-autoglm[metrics]'",
    ) from error

if TYPE_CHECKING:
    from .server import Agent

BUCKETS: Final = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0)
"""Seconds; 2 s is where a handshake is given up."""


class Metrics:
    """Counts, and answers Prometheus.

    Args:
        port: TCP, on the loopback; 0 takes any.

    Attributes:
        port: Where it answers.
        handshake: Seconds from connection to proved certificate.

    Raises:
        InvalidArgument: The port is taken.
    """

    def __init__(self, port: int) -> None:
        self._registry = CollectorRegistry()
        self._events = Counter(
            "hal_agent_events", "What happened, as the audit log has it.", ["event"],
            registry=self._registry,
        )  # fmt: skip
        self._refusals = Counter(
            "hal_agent_refusals", "Who or what was not let in.", ["reason"],
            registry=self._registry,
        )  # fmt: skip
        self.handshake = Histogram(
            "hal_agent_handshake_seconds", "From connection to proved certificate.",
            buckets=BUCKETS, registry=self._registry,
        )  # fmt: skip
        try:
            self._server, self._thread = start_http_server(port, LOOPBACK, self._registry)
        except OSError as error:
            text = f"metrics.port: listen on {LOOPBACK} port {port}: {error.strerror}"
            raise InvalidArgument(error.errno, text) from error
        self.port = int(self._server.server_port)

    def count(self, event: str, reason: str) -> None:
        """Count a line of the audit log."""
        self._events.labels(event).inc()
        if event == "refused":
            self._refusals.labels(reason).inc()

    def watch(self, agent: Agent) -> None:
        """Tell of this agent as well, as it is when Prometheus asks."""
        self._registry.register(_State(agent))

    def close(self) -> None:
        """Answer no more."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _State(Collector):
    """What an agent is like now."""

    def __init__(self, agent: Agent) -> None:
        self._agent = agent

    def collect(self) -> Iterator[Metric]:
        """Look."""
        agent = self._agent
        links = [session.link for session in list(agent.sessions)]
        received = agent.bytes[0] + sum(link.received for link in links)
        sent = agent.bytes[1] + sum(link.sent for link in links)
        requests = agent.requests + sum(link.requests for link in links)
        yield GaugeMetricFamily("hal_agent_links", "Links that are open.", agent.gate.links)
        yield GaugeMetricFamily(
            "hal_agent_half_open", "Connections that are not proved yet.", agent.gate.half_open
        )
        yield CounterMetricFamily("hal_agent_requests", "Requests to devices.", requests)
        traffic = CounterMetricFamily(
            "hal_agent_bytes", "Bytes of frames, without TLS's own.", labels=["direction"]
        )
        traffic.add_metric(["received"], received)
        traffic.add_metric(["sent"], sent)
        yield traffic
        held = Tally(lease.name for lease in agent.leases.held())
        leases = GaugeMetricFamily("hal_agent_leases", "Leases held.", labels=["device"])
        for name in {export.name for export in agent.leases.all()} | set(held):
            leases.add_metric([name], held[name])
        yield leases
        until = agent.credentials.certificate.not_valid_after_utc.timestamp()
        yield GaugeMetricFamily(
            "hal_agent_certificate_end_seconds", "When the certificate ends, since 1970.", until
        )
        ends = [session.until for session in list(agent.sessions) if session.until]
        yield GaugeMetricFamily(
            "hal_agent_next_token_end_seconds",
            "When the first token of a link ends, since 1970; 0: there is none.",
            min(ends, default=0),
        )
