# SPDX-License-Identifier: Apache-2.0
"""What is different between two sets of devices."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from .record import Problem, Record
from .roster import Snapshot


@dataclass(frozen=True, slots=True)
class Change:
    """The set of devices, and what is different since the change before.

    Attributes:
        generation: Grows with each change of the watch.
        records: All devices that the query asks for, by class and name.
        added: Those that are new.
        changed: Those of which anything but `last_seen` is different, as they are now.
        removed: Those that are gone, as they were last.
        problems: What cannot be seen at present, and why.
    """

    generation: int
    records: tuple[Record, ...]
    added: tuple[Record, ...]
    changed: tuple[Record, ...]
    removed: tuple[Record, ...]
    problems: tuple[Problem, ...]

    @classmethod
    def between(cls, old: Snapshot | None, new: Snapshot) -> Change:
        """What is different from one set to a later one; from None, all of it."""
        before, now = _keyed(old.records if old else ()), _keyed(new.records)
        return cls(
            new.generation,
            new.records,
            tuple(record for key, record in now.items() if key not in before),
            tuple(r for key, r in now.items() if key in before and not alike(before[key], r)),
            tuple(record for key, record in before.items() if key not in now),
            new.problems,
        )

    @property
    def differs(self) -> bool:
        """Is any device different?"""
        return bool(self.added or self.changed or self.removed)


def alike(old: Record, new: Record) -> bool:
    """Do two records say the same, the time aside?"""
    return old is new or replace(old, last_seen=new.last_seen) == new


def all_alike(old: Sequence[Record], new: Sequence[Record]) -> bool:
    """Do two ordered sets of records say the same, the time aside?"""
    return len(old) == len(new) and all(map(alike, old, new))


def _keyed(records: Iterable[Record]) -> dict[tuple[str, int], Record]:
    """The records by id; clones, which have the same, by their order."""
    count: Counter[str] = Counter()
    keyed = {}
    for record in records:
        keyed[record.id, count[record.id]] = record
        count[record.id] += 1
    return keyed
