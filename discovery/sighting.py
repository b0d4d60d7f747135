# SPDX-License-Identifier: Apache-2.0
"""One device as one source sees it."""

from __future__ import annotations

from dataclasses import dataclass

from .record import Record


@dataclass(frozen=True, slots=True)
class Sighting:
    """One device as one source sees it, at one place.

    Attributes:
        source: Who sees it: "local", "mdns", "ssdp", "static", "dns".
        key: Which of the source's sightings it is (a service instance, a USN and its sender); a
            newer one with the same key takes its place.
        record: What is seen. `record.id` says which device it claims to be.
        places: Where it is, as names that two sightings of one place share: "ip 10.0.0.3",
            "host deva.local", "mac 02:..", "path /sys/..". Sightings that claim one identity and
            share no place, not even through a third, are clones.
        origin: Address it was heard from, for the bound on what one sender may add; "" for sources
            that cannot be flooded.
        expires: `time.monotonic()` at which it is void unless seen again; None: when it is lost.
        links: Network interfaces: the one it was heard by; of a device of this machine, those it
            has. Who is heard by a link that is part of a device here, and claims to be it, is it.
    """

    source: str
    key: str
    record: Record
    places: frozenset[str] = frozenset()
    origin: str = ""
    expires: float | None = None
    links: tuple[str, ...] = ()
