# SPDX-License-Identifier: Apache-2.0
"""The live set of devices: what all sources together see now, one record a device.

A source tells the roster what it sees (`Roster.see`, `lose`, `replace`) and what is wrong with it
(`trouble`). Who wants to know takes a `Snapshot`, whole, whenever he likes: there is no queue that
could overflow and no event that could be lost. `Roster.listen` tells that a newer one is there.
"""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from .merge import merge
from .record import CLASSES, Problem, Record
from .sighting import Sighting
from .sysfs import natural

__all__ = ["Limits", "Roster", "Sighting", "Snapshot"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much the roster keeps of what the network says.

    When it is full, who announces little finds room still, at the cost of who announces most.
    Sightings without an origin, those of this machine, are counted in none of them.

    Attributes:
        sightings: In all.
        per_origin: Of one sender's address.
        per_identity: That claim one identity.
        troubles: Things that are wrong at a time.
    """

    sightings: int = 20_000
    per_origin: int = 12_000
    per_identity: int = 256
    troubles: int = 256


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The set of devices at one moment.

    Attributes:
        generation: Grows by each change; equal generations of one roster are equal sets, but for
            `Record.last_seen`, which moves without it.
        records: By class and name.
        problems: What is wrong at present: sources that fail, clones, floods.
    """

    generation: int
    records: tuple[Record, ...]
    problems: tuple[Problem, ...]


@dataclass(slots=True)
class _Identity:
    """All that is known of one identity. There are thousands, mostly with one sighting.

    Attributes:
        sightings: Those that claim it.
        heard: How many of them came from the network.
        alarm: Why it is cloned, "" when it is not.
    """

    sightings: tuple[Sighting, ...] = ()
    heard: int = 0
    alarm: str = ""

    def put(self, sighting: Sighting) -> None:
        """Note a sighting, in place of the one with its source and key."""
        which = sighting.source, sighting.key
        if any((s.source, s.key) == which for s in self.sightings):
            self.sightings = tuple(
                sighting if (s.source, s.key) == which else s for s in self.sightings
            )
        else:
            self.sightings = (*self.sightings, sighting)
            self.heard += bool(sighting.origin)

    def take(self, sighting: Sighting) -> None:
        """Forget a sighting."""
        self.sightings = tuple(s for s in self.sightings if s is not sighting)
        self.heard -= bool(sighting.origin)


class Roster:
    """The live set. Any thread may call any method.

    Args:
        limits: How much it keeps.
        clock: What tells the time of `Sighting.expires`.
    """

    def __init__(
        self, limits: Limits | None = None, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limits = limits or Limits()
        self._clock = clock
        self._lock = threading.Lock()
        self._sources: dict[str, dict[str, Sighting]] = {}
        self._identities: dict[str, _Identity] = {}
        self._origins: dict[str, dict[tuple[str, str], None]] = {}
        self._most = 0  # No origin has more sightings than this.
        self._heard = 0
        self._refused: dict[str, str] = {}
        self._troubles: dict[tuple[str, str], str] = {}
        self._deadlines: list[tuple[float, str, str]] = []
        self._listeners: list[Callable[[], None]] = []
        self._generation = 0
        self._touched: set[str] = set()
        self._ordered: list[tuple[Any, Record]] = []
        self._snapshot: Snapshot | None = None

    def see(self, sighting: Sighting) -> bool:
        """Note a sighting, in place of the one with its source and key.

        Returns:
            False when there is no room for it (a problem tells so).
        """
        with self._lock:
            before = self._generation
            kept = self._see(sighting)
            changed = self._generation != before
        if changed:
            self._tell()
        return kept

    def lose(self, source: str, key: str) -> None:
        """Forget a sighting; one that is not there is no error."""
        with self._lock:
            lost = self._drop(source, key)
        if lost:
            self._tell()

    def replace(self, source: str, sightings: Iterable[Sighting]) -> None:
        """Make these all that the source sees: what it saw before and is not among them is lost."""
        new = {sighting.key: sighting for sighting in sightings}
        with self._lock:
            before = self._generation
            for key in self._sources.get(source, {}).keys() - new.keys():
                self._drop(source, key)
            for sighting in new.values():
                self._see(sighting)
            changed = self._generation != before
        if changed:
            self._tell()

    def trouble(self, source: str, cause: str, about: str = "") -> None:
        """Say what is wrong with a source, or ("") that it is right again.

        Args:
            source: The source, as in `Sighting.source`.
            cause: What is wrong and what to do; "" when nothing is any more.
            about: Which part of it: an interface, a host.
        """
        key = source, about
        with self._lock:
            if self._troubles.get(key, "") == cause:
                return
            if not cause:
                del self._troubles[key]
            elif key in self._troubles or len(self._troubles) < self._limits.troubles:
                self._troubles[key] = cause
            else:
                return
            self._change()
        self._tell()

    def expire(self) -> float | None:
        """Drop what is past its time. Returns when the next will be (clock), None: none will."""
        now = self._clock()
        with self._lock:
            before = self._generation
            while self._deadlines:
                deadline, source, key = self._deadlines[0]
                sighting = self._sources.get(source, {}).get(key)
                valid = sighting is not None and sighting.expires == deadline
                if valid and deadline > now:
                    break
                heapq.heappop(self._deadlines)
                if valid:
                    self._drop(source, key)
            changed = self._generation != before
            following = self._deadlines[0][0] if self._deadlines else None
        if changed:
            self._tell()
        return following

    def snapshot(self) -> Snapshot:
        """The set now. Cheap when nothing has changed since the last call."""
        with self._lock:
            if self._snapshot is None or self._touched:
                self._merge()
                records = tuple(record for _, record in self._ordered)
                self._snapshot = Snapshot(self._generation, records, self._problems())
            return self._snapshot

    def listen(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each change, in the thread that made it; it must not wait.

        Returns:
            What ends it.
        """
        with self._lock:
            self._listeners = [*self._listeners, callback]

        def end() -> None:
            with self._lock:
                self._listeners = [other for other in self._listeners if other is not callback]

        return end

    # What follows is called with the lock held, but for _tell.

    def _tell(self) -> None:
        for callback in self._listeners:
            callback()

    def _change(self, identity: str = "") -> None:
        self._generation += 1
        self._snapshot = None
        if identity:
            self._touched.add(identity)

    def _see(self, sighting: Sighting) -> bool:
        source, key = sighting.source, sighting.key
        old = self._sources.get(source, {}).get(key)
        if old is not None and _same(old, sighting):
            self._put(sighting)
            self._seen_again(sighting.record.id)
            return True
        self._drop(source, key)
        if self._refuses(sighting):
            return False
        if sighting.origin:
            of_origin = self._origins.setdefault(sighting.origin, {})
            of_origin[source, key] = None
            self._most = max(self._most, len(of_origin))
            self._heard += 1
        self._put(sighting)
        self._change(sighting.record.id)
        return True

    def _seen_again(self, identity: str) -> None:
        """Only `last_seen` is newer; among several sightings that may change which one counts."""
        if len(self._identities[identity].sightings) > 1:
            self._change(identity)
        else:
            self._touched.add(identity)

    def _put(self, sighting: Sighting) -> None:
        source, key, identity = sighting.source, sighting.key, sighting.record.id
        self._sources.setdefault(source, {})[key] = sighting
        if identity not in self._identities:
            self._identities[identity] = _Identity()
        self._identities[identity].put(sighting)
        if sighting.expires is not None:
            self._await(sighting.expires, source, key)

    def _await(self, deadline: float, source: str, key: str) -> None:
        heapq.heappush(self._deadlines, (deadline, source, key))
        held = sum(map(len, self._sources.values()))
        if len(self._deadlines) > 2 * held + 64:  # Most are void: their sightings were renewed.
            self._deadlines = [
                (sighting.expires, sighting.source, sighting.key)
                for those in self._sources.values()
                for sighting in those.values()
                if sighting.expires is not None
            ]
            heapq.heapify(self._deadlines)

    def _drop(self, source: str, key: str) -> bool:
        sighting = self._sources.get(source, {}).pop(key, None)
        if sighting is None:
            return False
        identity = sighting.record.id
        self._identities[identity].take(sighting)
        if sighting.origin:
            self._heard -= 1
            del self._origins[sighting.origin][source, key]
            if not self._origins[sighting.origin]:
                del self._origins[sighting.origin]
        for name in ("", sighting.origin, identity):
            self._refused.pop(name, None)  # There is room again.
        self._change(identity)
        return True

    def _refuses(self, sighting: Sighting) -> bool:
        """Is there no room for a sighting? Then that is noted."""
        origin, identity, limits = sighting.origin, sighting.record.id, self._limits
        if not origin:
            return False
        known = self._identities.get(identity)
        count = len(self._origins.get(origin, ()))
        if count >= limits.per_origin:
            return self._refuse(origin, f"{origin} announces more than {limits.per_origin}")
        if self._heard >= limits.sightings and not self._make_room(count):
            return self._refuse("", f"there are announcements of more than {limits.sightings}")
        if known and known.heard >= limits.per_identity:
            return self._refuse(identity, f"{identity} is at more than {limits.per_identity}")
        return False

    def _make_room(self, count: int) -> bool:
        """Take the newest from who has most, if that is more than one with `count` will have."""
        if self._most < count + 2:
            return False
        origin = max(self._origins, key=lambda name: len(self._origins[name]))
        self._most = len(self._origins[origin])
        if self._most < count + 2:
            return False
        self._drop(*next(reversed(self._origins[origin])))
        self._refuse(origin, f"{origin} announces more than its share of {self._limits.sightings}")
        return True

    def _refuse(self, name: str, cause: str) -> bool:
        if name not in self._refused and len(self._refused) < self._limits.troubles:
            self._refused[name] = cause
            self._change()
        return True

    def _merge(self) -> None:
        """Make the records of the touched identities anew; the others stay the same objects."""
        touched, self._touched = self._touched, set()
        kept = [entry for entry in self._ordered if entry[1].id not in touched]
        for identity in touched:
            known = self._identities[identity]
            if not known.sightings:
                del self._identities[identity]
                continue
            records, known.alarm = merge(known.sightings)
            kept += [(_order(record), record) for record in records]
        kept.sort(key=_first)
        self._ordered = kept

    def _problems(self) -> tuple[Problem, ...]:
        troubles = [
            Problem(f"{source} {about}".strip(), cause)
            for (source, about), cause in self._troubles.items()
        ]
        floods = [
            Problem("flood", f"{cause} devices or places; further ones are left out")
            for cause in self._refused.values()
        ]
        alarms = [
            Problem("clone", known.alarm) for known in self._identities.values() if known.alarm
        ]
        return (*troubles, *floods, *alarms)


def _same(old: Sighting, new: Sighting) -> bool:
    """Does the newer one tell nothing new but the time?"""
    record = replace(old.record, last_seen=new.record.last_seen)
    told = (old.places, old.origin, old.links) == (new.places, new.origin, new.links)
    return record == new.record and told


_CLASS_ORDER = {name: index for index, name in enumerate(CLASSES)}

_KEY_LENGTH = 64
"""Letters of a name that count in the order: names come from the network."""


def _order(record: Record) -> Any:
    """Sort key of a record: by class and name."""
    place = _CLASS_ORDER.get(record.device_class, len(CLASSES))
    return place, natural(record.name[:_KEY_LENGTH]), record.id, record.path, record.addresses


def _first(entry: tuple[Any, Record]) -> Any:
    return entry[0]
