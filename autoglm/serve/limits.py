# SPDX-License-Identifier: Apache-2.0
"""How much the service takes on at one time, and for how long."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Limits:
    """Bounds. What is beyond them is refused at once, with the status that says so.

    Attributes:
        requests: Being answered or waiting at one time, in all; the next ones get 429.
        connections: At one time; the next ones get 503.
        body: Bytes of one request; a longer one gets 413.
        bodies: Bytes of all requests at one time; beyond it 429.
        deadline: Seconds for one request, from its head to the end of its answer; then 504. A
            client asks for less by the header ``Request-Timeout``.
        head: Seconds for the head of a request to come; then the connection is closed.
        grace: Seconds that requests have to come to their end when the service is stopped.
    """

    requests: int = 256
    connections: int = 1024
    body: int = 64 << 20
    bodies: int = 512 << 20
    deadline: float = 60.0
    head: float = 10.0
    grace: float = 30.0
