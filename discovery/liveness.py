# SPDX-License-Identifier: Apache-2.0
"""Whether what was announced is there: the announced port is connected to, now and then.

Nothing tells of a death without goodbye: what a responder said stays in caches for up to 75 minutes
(RFC 6762, section 10), and zeroconf keeps it for 1125 s at least. So each device whose kind allows
it (`foreign.Kind.connect`) is connected to over TCP and let go at once; no byte is sent.

With the usual `Pace`, for up to 1000 endpoints:

    it lives                    connected to every 10 s; state "reachable"
    it fails once               tried again after 1 s, then after 2 s
    it has failed 3 times       state "silent": 3 to 13 s after it died
    it has failed 6 times       lost: 4, 8 and 16 s further on
    after that                  tried every 60 s until its announcement is withdrawn, and at once
                                when it announces itself anew; listed again when it answers

Where there is no answer at all, not even a refusal, each try takes 2 to 2.75 s more.

With N > 1000 endpoints the 10 s become N / 100 s: there are at most 100 connections a second, 64 at
a time, and of them one at a time to one endpoint, however many announcements name it.

A device of ours that answers is asked to prove its id over the secure link, where this machine can
judge that (`proof`): then its trust is "verified", until it is silent, or elsewhere. That is done
again every 5 minutes, every minute where it failed, and 10 times a second at most.
"""

from __future__ import annotations

import asyncio
import heapq
import os
import random
import socket
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, replace

from ..errors import Error
from . import proof
from .netlink import neighbours
from .rate import Bucket
from .roster import Roster
from .sighting import Sighting
from .txt import PROTOCOL
from .within import end, within

Endpoint = tuple[str, int]
"""An IP address, with its scope, and a port."""

START = 0.25
"""Seconds that an address has until the next one is tried beside it."""

NEIGHBOURS_AGE = 5.0
"""Seconds for which the kernel's table of neighbours is not read again."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How often is looked, in seconds, and how long it is believed.

    Attributes:
        period: Between looks at one that lives.
        timeout: For an answer.
        retry: Before the second try; doubled for each further one.
        silent_after: Failures until it is "silent".
        lost_after: Failures until it is lost.
        dormant: Between looks at one that is lost, but still announced.
        rate: Connections a second.
        burst: Connections at once, when there was nothing to do before.
        concurrency: Connections at a time.
        per_host: Endpoints of one address that are looked at; one that names more may be made to
            attack a third party, so its further ones stay "announced".
        proven: For which a proof counts.
        doubted: Until one that did not prove itself is asked again.
        proofs: Proofs a second.
    """

    period: float = 10.0
    timeout: float = 2.0
    retry: float = 1.0
    silent_after: int = 3
    lost_after: int = 6
    dormant: float = 60.0
    rate: float = 100.0
    burst: int = 20
    concurrency: int = 64
    per_host: int = 64
    proven: float = 300.0
    doubted: float = 60.0
    proofs: float = 10.0


@dataclass(slots=True)
class _Entry:
    """One sighting and how it fares."""

    sighting: Sighting
    endpoints: tuple[Endpoint, ...]
    failures: int = 0
    due: float = 0.0
    state: str = "announced"
    lost: bool = False
    place: str = ""
    said: str = ""
    proven: Endpoint | None = None
    doubt: str = ""
    ask: float = 0.0

    def __post_init__(self) -> None:
        self.said = self.sighting.record.detail

    def inherit(self, old: _Entry) -> None:
        """Take over what was found out about it at the places where it still is."""
        if old.endpoints and old.endpoints[0] in self.endpoints:
            self.state = old.state
        if old.proven in self.endpoints:
            self.proven, self.ask = old.proven, old.ask

    def distrust(self) -> None:
        """Who answers there next may be somebody else."""
        self.proven, self.doubt, self.ask = None, "", 0.0


class Liveness:
    """Shows sightings to the roster, with the state that they are found in.

    To be used in one event loop, by one scout.

    Args:
        roster: Where they are shown.
        pace: How often to look.
        ask: What asks devices of ours to prove themselves; None: nothing does.
    """

    def __init__(
        self, roster: Roster, pace: Pace | None = None, ask: proof.Ask | None = None
    ) -> None:
        self._roster = roster
        self._pace = pace or Pace()
        self._ask = ask
        self._clock = time.monotonic
        self._entries: dict[str, _Entry] = {}
        self._hosts: dict[str, int] = {}
        self._heap: list[tuple[float, str]] = []
        self._wake = asyncio.Event()
        self._bucket = Bucket(self._pace.rate, self._pace.burst, self._clock())
        self._proofs = Bucket(self._pace.proofs, self._pace.proofs, self._clock())
        self._macs: tuple[float, dict[str, str]] = (-NEIGHBOURS_AGE, {})

    def __len__(self) -> int:
        return len(self._entries)

    def see(
        self, sighting: Sighting, endpoints: tuple[Endpoint, ...], *, unsaid: bool = False
    ) -> bool:
        """Show a sighting, and from now on look whether it lives.

        Args:
            sighting: What is announced; its state is "announced".
            endpoints: Where to connect to, the best first; empty: it is believed unseen.
            unsaid: Nobody announced it: it is not shown before it is known whether it answers.

        Returns:
            False when the roster had no room for it: then it is not looked at either.
        """
        entry = self._entries.get(sighting.key)
        if entry is not None and entry.endpoints == endpoints:
            entry.sighting, entry.said = sighting, sighting.record.detail
            if entry.lost:
                self._schedule(entry, 0.0)
                return True
            return self._show(entry)
        old, entry = entry, _Entry(sighting, endpoints, state="" if unsaid else "announced")
        if old is not None:
            self._count_hosts(old, -1)
            entry.inherit(old)
        if not self._show(entry):
            self._entries.pop(sighting.key, None)
            return False
        self._entries[sighting.key] = entry
        self._count_hosts(entry, 1)
        if endpoints and self._hosts[endpoints[0][0]] <= self._pace.per_host:
            self._schedule(entry, 0.0)
        return True

    def hurry(self, key: str) -> None:
        """It was heard again: if it was thought to be dead, look now."""
        entry = self._entries.get(key)
        if entry is not None and entry.failures >= self._pace.silent_after:
            self._schedule(entry, 0.0)

    def lose(self, key: str) -> None:
        """It is gone for good: it said goodbye."""
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._count_hosts(entry, -1)
            self._roster.lose(entry.sighting.source, key)

    def shown(self, prefix: str = "") -> set[str]:
        """The keys of all sightings that begin so."""
        return {key for key in self._entries if key.startswith(prefix)}

    async def run(self) -> None:
        """Look, until cancelled."""
        tasks: set[asyncio.Task[None]] = set()
        room = asyncio.Semaphore(self._pace.concurrency)

        def ended(task: asyncio.Task[None]) -> None:
            tasks.discard(task)
            room.release()

        try:
            while True:
                key = await self._next()
                await asyncio.sleep(self._bucket.wait(self._clock()))
                await room.acquire()
                if (entry := self._entries.get(key)) is None:
                    room.release()
                    continue
                task = asyncio.ensure_future(self._look(entry))
                tasks.add(task)
                task.add_done_callback(ended)
        finally:
            await end(tuple(tasks))

    async def _next(self) -> str:
        """The key of the one that is due next, when it is due."""
        while True:
            wait = None
            while self._heap:
                due, key = self._heap[0]
                entry = self._entries.get(key)
                if entry is None or entry.due != due:
                    heapq.heappop(self._heap)  # It is gone, or due at another time.
                    continue
                wait = due - self._clock()
                if wait <= 0:
                    heapq.heappop(self._heap)
                    entry.due = 0.0
                    return key
                break
            self._wake.clear()
            timer = None
            if wait is not None:
                timer = asyncio.get_running_loop().call_later(wait, self._wake.set)
            try:
                await self._wake.wait()
            finally:
                if timer is not None:
                    timer.cancel()

    def _schedule(self, entry: _Entry, delay: float) -> None:
        entry.due = self._clock() + delay
        heapq.heappush(self._heap, (entry.due, entry.sighting.key))
        if len(self._heap) > 2 * len(self._entries) + 64:
            self._heap = [(entry.due, key) for key, entry in self._entries.items() if entry.due]
            heapq.heapify(self._heap)
        self._wake.set()

    async def _look(self, entry: _Entry) -> None:
        endpoint, error = await _reach(entry.endpoints, self._pace.timeout)
        if self._entries.get(entry.sighting.key) is not entry:
            return  # It said goodbye meanwhile, or is elsewhere.
        if error:
            self._failed(entry, f"{endpoint[0]} port {endpoint[1]}: {error}")
            return
        self._answered(entry, endpoint)
        if self._ask is not None and self._to_be_asked(entry):
            await self._prove(entry, endpoint, self._ask)

    def _answered(self, entry: _Entry, endpoint: Endpoint) -> None:
        entry.failures, entry.lost, entry.state = 0, False, "reachable"
        if mac := self._mac(endpoint[0]):  # Now that we have talked, the kernel knows it.
            entry.place = f"mac {mac}"
        self._show(entry)
        period = max(self._pace.period, len(self._entries) / self._pace.rate)
        self._schedule(entry, period * random.uniform(0.9, 1.0))  # noqa: S311 - spreads load

    def _to_be_asked(self, entry: _Entry) -> bool:
        """Is it one of ours, and time for its proof?"""
        ours = entry.sighting.record.properties.get("protocol") == PROTOCOL
        now = self._clock()
        return ours and entry.ask <= now and self._proofs.take(now)

    async def _prove(self, entry: _Entry, endpoint: Endpoint, ask: proof.Ask) -> None:
        entry.ask = self._clock() + self._pace.doubted
        cause = ""
        try:
            doubt = await ask(entry.sighting.record.id, *endpoint)
        except Error as error:
            doubt, cause = None, f"devices cannot be asked to prove themselves: {error}"
        self._roster.trouble("link", cause)
        if doubt is None or self._entries.get(entry.sighting.key) is not entry or entry.failures:
            return
        entry.proven, entry.doubt = (None, f"not proved: {doubt}") if doubt else (endpoint, "")
        if entry.proven:
            entry.ask = self._clock() + self._pace.proven
        self._show(entry)

    def _failed(self, entry: _Entry, error: str) -> None:
        pace = self._pace
        entry.failures += 1
        if entry.failures >= pace.silent_after:
            entry.distrust()
        if entry.failures >= pace.lost_after:
            entry.lost = True
            self._roster.lose(entry.sighting.source, entry.sighting.key)
            self._schedule(entry, pace.dormant)
            return
        if entry.failures >= pace.silent_after:
            entry.state = "silent"
            self._show(entry, error)
        self._schedule(entry, min(pace.retry * 2 ** min(entry.failures - 1, 16), pace.dormant))

    def _show(self, entry: _Entry, detail: str = "") -> bool:
        if not entry.state:
            return True
        if entry.state == "announced" and not entry.place:
            return self._roster.see(entry.sighting)
        record = entry.sighting.record
        seen = time.time() if entry.state == "reachable" else record.last_seen
        record = replace(
            record,
            state=entry.state,
            detail=detail or entry.doubt or entry.said,
            trust="verified" if entry.proven else "unverified",
            last_seen=seen,
        )
        places = entry.sighting.places
        if entry.place and entry.place not in places:
            places |= {entry.place}
        # Kept in place of the first one: there are thousands.
        entry.sighting = replace(entry.sighting, record=record, places=places)
        return self._roster.see(entry.sighting)

    def _mac(self, host: str) -> str:
        """The MAC address of a neighbour, "" where there is none."""
        at, macs = self._macs
        if self._clock() - at >= NEIGHBOURS_AGE:
            with suppress(OSError):
                macs = neighbours()
            self._macs = self._clock(), macs
        return macs.get(host.partition("%")[0], "")

    def _count_hosts(self, entry: _Entry, by: int) -> None:
        if entry.endpoints:
            host = entry.endpoints[0][0]
            self._hosts[host] = self._hosts.get(host, 0) + by
            if not self._hosts[host]:
                del self._hosts[host]


async def _reach(endpoints: Sequence[Endpoint], timeout: float) -> tuple[Endpoint, str]:
    """Connect to one of them, beginning with the best (RFC 8305: each has a start on the next).

    Returns:
        The one that answered and ""; else the first, and why it failed.
    """
    tasks: dict[asyncio.Task[str], Endpoint] = {}
    try:
        for index, endpoint in enumerate(endpoints):
            tasks[asyncio.ensure_future(_connect(endpoint, timeout))] = endpoint
            last = index + 1 == len(endpoints)
            limit = asyncio.get_running_loop().time() + (timeout if last else START)
            while (left := limit - asyncio.get_running_loop().time()) > 0:
                waiting = [task for task in tasks if not task.done()]
                if not waiting:
                    break
                await asyncio.wait(waiting, timeout=left, return_when=asyncio.FIRST_COMPLETED)
                for task, place in tasks.items():
                    if task.done() and not task.result():
                        return place, ""
        errors = [task.result() for task in tasks if task.done()]
        return endpoints[0], errors[0] if errors else "no answer"
    finally:
        await end(tasks)


async def _connect(endpoint: Endpoint, timeout: float) -> str:
    """Connect and let go. Why it failed, "" when it did not."""
    host, port = endpoint
    plain, _, scope = host.partition("%")
    address: tuple[str, int] | tuple[str, int, int, int] = (plain, port)
    family = socket.AF_INET
    try:
        if ":" in plain:
            family = socket.AF_INET6
            address = (plain, port, 0, _index(scope))
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setblocking(False)
            await within(timeout, asyncio.get_running_loop().sock_connect(probe, address))
    except asyncio.TimeoutError:
        return "no answer"
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    return ""


def _index(scope: str) -> int:
    if not scope:
        return 0
    return int(scope) if scope.isdecimal() else socket.if_nametoindex(scope)
