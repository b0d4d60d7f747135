# SPDX-License-Identifier: Apache-2.0
"""What every source of sightings is: something that looks, and tells the roster."""

from __future__ import annotations

from typing import Protocol

from .roster import Roster


class Scout(Protocol):
    """A source of sightings that runs until it is cancelled.

    Attributes:
        source: Its name, as in `Sighting.source`.
    """

    source: str

    async def run(self, roster: Roster) -> None:
        """Look, and keep the roster right, until cancelled.

        What fails (an interface, a socket) is told by `roster.trouble` and tried again; it neither
        ends the scout nor the others. When cancelled, it leaves nothing behind: no thread, no
        descriptor, no task. It runs in the event loop of the watch's own thread, so it must not
        block it for more than some 10 ms.
        """
