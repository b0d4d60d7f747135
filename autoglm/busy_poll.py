# SPDX-License-Identifier: Apache-2.0
"""Waiting for a message without sleeping, while it is expected soon.

A processor that sleeps takes tens of microseconds to wake up, more where a hypervisor has to run it
again, and what it runs next finds cold caches. Who expects a message looks for it again and again
instead, for a bounded time. Whether one is expected, the last wait tells: who waited longer sleeps
the next time, so what is asked now and then costs nothing.

Source of the rule: "The KVM halt polling system", in the kernel's
Documentation/virt/kvm/halt-polling.rst. Its window grows and shrinks, this one is there or not.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable

from hal import processor

DEFAULT = 1000
"""Microseconds: longer than a client of one request after the other takes between two."""


class BusyPoll:
    """Whether to look for the next message instead of sleeping. One thread uses it.

    Where there is one processor only, never: whoever is waited for needs it.

    Args:
        microseconds: To look at most, in each wait; 0: never.

    Attributes:
        seconds: The same.
        soon: Whether the last wait was shorter.
    """

    def __init__(self, microseconds: int) -> None:
        self.seconds = microseconds / 1e6 if processor.info().cores > 1 else 0.0
        self.soon = False

    def waited(self, seconds: float) -> None:
        """A wait is over, and took so long."""
        self.soon = seconds < self.seconds


def receive(link: socket.socket, size: int, poll: BusyPoll, alone: Callable[[], bool]) -> bytes:
    """The next message of a socket, as its ``recv``.

    Args:
        link: One that blocks.
        size: Of the largest message, in bytes.
        poll: Of this link.
        alone: Whether nobody else has work for this process; then it sleeps.
    """
    began = time.monotonic()
    message = _look(link, size, began + poll.seconds, alone) if poll.soon else None
    if message is None:
        message = link.recv(size)
    poll.waited(time.monotonic() - began)
    return message


def _look(link: socket.socket, size: int, until: float, alone: Callable[[], bool]) -> bytes | None:
    message = None
    while message is None and time.monotonic() < until and alone():
        message = _there(link, size)
    return message


def _there(link: socket.socket, size: int) -> bytes | None:
    """The message that has come, if one has."""
    try:
        return link.recv(size, socket.MSG_DONTWAIT)
    except BlockingIOError:
        os.sched_yield()  # whoever else wants this processor may have it
        return None
