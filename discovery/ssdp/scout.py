# SPDX-License-Identifier: Apache-2.0
"""The source "ssdp": what announces itself, or answers a search, by SSDP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Collection, Mapping, Sequence

from .. import proof
from ..liveness import Liveness, Pace
from ..netlink import neighbours
from ..rate import Bucket
from ..roster import Roster
from ..within import together
from .heard import SOURCE, Device, Heard
from .message import BYEBYE, MessageError, parse
from .search import PERIOD, REPEATS, TARGETS, question, search
from .transport import PORT, Link, Sender, Transport

QUESTIONS = 20
"""Unicast searches a second, and at once. One goes to each new device that notifies: its answer,
or the lack of one, leaves its MAC address with the kernel, and so tells that the device at an IPv4
address is the one at an IPv6 address. One goes to whom others may have spoken for."""

_DOUBT = 1.0
"""Seconds after a goodbye until whoever said it is asked: by then he should be gone."""

_SETTLE = 1.2
"""Seconds after a question when the MAC address is looked up."""

_SWEEP = 1.0
"""Seconds between looks for what has expired, at most."""

_PACE = Pace(period=30.0)
"""mDNS, where it sees the device too, looks more often."""


class SsdpScout:
    """Searches for devices, listens for notices, and keeps what they say for as long as it holds.

    Args:
        interfaces: Names of those to use; None for all that can send to groups.
        pace: How often the devices whose port may be connected to are looked after.
    """

    source = SOURCE

    def __init__(
        self, interfaces: Sequence[str] | None = None, *, pace: Pace | None = None
    ) -> None:
        self._interfaces = interfaces
        self._pace = pace or _PACE

    async def run(self, roster: Roster) -> None:
        """Look, and keep the roster right, until cancelled."""
        liveness = Liveness(roster, self._pace, proof.standard())
        listening = _Listening(roster, liveness)
        with Transport(listening, self._interfaces) as transport:
            listening.transport = transport
            try:
                await together((transport.follow(), listening.keep(), liveness.run()))
            finally:
                listening.close()
                roster.replace(SOURCE, ())


class _Listening:
    """One run of a scout.

    Attributes:
        transport: By which is sent.
    """

    transport: Transport

    def __init__(self, roster: Roster, liveness: Liveness) -> None:
        self._roster = roster
        self._heard = Heard(liveness, self._macs)
        self._loop = asyncio.get_running_loop()
        self._timers: set[asyncio.TimerHandle] = set()
        self._settling = False
        self._questions = Bucket(QUESTIONS, QUESTIONS, self._loop.time())
        self._known_macs: dict[str, str] = {}
        self._macs_at = float("-inf")

    def close(self) -> None:
        """Let nothing happen any more."""
        for timer in self._timers:
            timer.cancel()
        self._timers.clear()

    async def keep(self) -> None:
        """Search anew, and forget what has expired, until cancelled."""
        searched = self._loop.time()
        while True:
            following = self._heard.expire()
            wait = _SWEEP if following is None else following - time.monotonic()
            await asyncio.sleep(min(max(wait, 0.01), _SWEEP))
            if self._loop.time() - searched >= PERIOD:
                searched = self._loop.time()
                self._search(self.transport.links)

    # ---- what the transport tells -----------------------------------------------------------

    def heard(self, packet: bytes, sender: Sender) -> None:
        """A packet came."""
        try:
            message = parse(packet)
        except MessageError:
            return
        if message.kind == "200" and not sender.own:
            return  # Answers come to where was asked from.
        doubtful = self._heard.hear(message, sender)
        if doubtful is None:
            return
        if message.get("NTS") == BYEBYE:
            self._later(_DOUBT, self._ask, doubtful)
        elif not sender.own:
            self._ask(doubtful)
        self._settle_soon()

    def linked(self, old: Collection[Link], new: Collection[Link]) -> None:
        """The links have changed: search on the new ones, forget what came by those gone."""
        for name in {link.name for link in old} - {link.name for link in new}:
            self._heard.forget(name)
        fresh = [link for link in new if link not in old]
        self._search(fresh)

    def trouble(self, cause: str, about: str) -> None:
        """Something does not work, or works again."""
        self._roster.trouble(SOURCE, cause, about)

    # ---- what is sent ------------------------------------------------------------------------

    def _search(self, links: Collection[Link]) -> None:
        for link in links:
            for delay in REPEATS:
                self._later(delay, self._send, link)

    def _send(self, link: Link) -> None:
        if link in self.transport.links:
            for target, mx in TARGETS:
                packet = bytes(search(target, mx, link.destination))
                self.transport.multicast(packet, link)

    def _ask(self, device: Device) -> None:
        """Search for a device where it is."""
        if self._questions.take(self._loop.time()):
            port = device.search_port or PORT
            packet = bytes(question(f"uuid:{device.uuid}", f"{device.sender.host}:{port}"))
            self.transport.ask(packet, device.sender, port)

    def _settle_soon(self) -> None:
        if not self._settling:
            self._settling = True
            self._later(_SETTLE, self._settle)

    def _settle(self) -> None:
        self._settling = False
        self._macs_at = float("-inf")
        self._heard.locate()

    def _later(self, delay: float, call: Callable[..., None], *arguments: object) -> None:
        def run() -> None:
            self._timers.discard(timer)
            call(*arguments)

        timer = self._loop.call_later(delay, run)
        self._timers.add(timer)

    def _macs(self) -> Mapping[str, str]:
        """MAC addresses by IP address; looked up at most once a second."""
        now = self._loop.time()
        if now - self._macs_at >= 1:
            self._macs_at = now
            try:
                self._known_macs = neighbours() | self.transport.macs
            except OSError as error:
                self.trouble(str(error), "neighbours")
            else:
                self.trouble("", "neighbours")
        return self._known_macs
