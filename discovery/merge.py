# SPDX-License-Identifier: Apache-2.0
"""How the sightings that claim one identity become records.

1. Sightings that share a place, also through a third, are of one device: one record. So are that of
   a device plugged into this machine and the one heard by a network interface that is part of it.
2. Of devices at different places that are all known to live, each keeps a record of its own, with
   the state "cloned", and an alarm is raised. One that has proved its identity, or that the kernel
   of this machine tells of, is the true one and keeps its state.
3. While at most one of the places is known to live, the device has moved or the rest is hearsay:
   the record is that of the living place, else of the one seen last. Addresses of other places
   never get into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from .record import Record
from .sighting import Sighting

_TRUST = ("local", "verified", "unverified")
_SOURCES = ("local", "static", "mdns", "dns", "ssdp")
_PROVEN = ("local", "verified")
_HEARD = ("reachable", "silent", "announced")
"""States that tell of the network, the most telling first."""

_SHOWN = 4
"""Places named in a text; a flood of them must not make it long."""


def merge(sightings: Sequence[Sighting]) -> tuple[list[Record], str]:
    """The records of all sightings of one identity.

    Args:
        sightings: At least one; all have the same `record.id`.

    Returns:
        The records (more than one only for clones), and the alarm, "" when there is none.
    """
    if len(sightings) == 1:
        return [_united(sightings)], ""
    groups = [sorted(group, key=_rank) for group in _plugged(together(sightings))]
    living = [group for group in groups if any(map(_alive, group))]
    if len(living) > 1:
        living.sort(key=lambda group: _rank(group[0]))
        return [_cloned(group, living) for group in living], _alarm(living)
    best = living[0] if living else max(groups, key=_last_seen)
    return [_united(best)], ""


def together(sightings: Iterable[Sighting]) -> list[list[Sighting]]:
    """The sightings, grouped so that those which share a place are in one group.

    Those that name no place cannot be told from the others: they join the first group.
    """
    groups: list[tuple[set[str], list[Sighting]]] = []
    placeless = []
    for sighting in sightings:
        if not sighting.places:
            placeless.append(sighting)
            continue
        places, members = set(sighting.places), [sighting]
        apart = []
        for group in groups:
            if group[0].isdisjoint(places):
                apart.append(group)
            else:
                places |= group[0]
                members = group[1] + members
        groups = [*apart, (places, members)]
    if placeless and not groups:
        return [placeless]
    if placeless:
        groups[0][1].extend(placeless)
    return [members for _, members in groups]


def _plugged(groups: list[list[Sighting]]) -> list[list[Sighting]]:
    """The groups, that of a device plugged in joined by who is heard by its own network interface.

    Two that are heard there are two, and stay apart: one of them is not it.
    """
    for here in groups:
        own = {link for sighting in here if sighting.source == "local" for link in sighting.links}
        heard = [g for g in groups if g is not here and any(own.intersection(s.links) for s in g)]
        if len(heard) == 1:
            apart = [group for group in groups if group is not here and group is not heard[0]]
            return [here + heard[0], *apart]
    return groups


def _alive(sighting: Sighting) -> bool:
    """Is it known to be there, not just said to be?"""
    return sighting.record.state == "reachable" or sighting.record.trust in _PROVEN


def _last_seen(group: Sequence[Sighting]) -> tuple[float, tuple[int, int, float, str]]:
    return max(s.record.last_seen for s in group), _rank(group[0])


def _rank(sighting: Sighting) -> tuple[int, int, float, str]:
    """Sort key: whose word counts most comes first."""
    record = sighting.record
    return (
        _index(_TRUST, record.trust),
        _index(_SOURCES, sighting.source),
        -record.last_seen,
        sighting.key,
    )


def _index(order: Sequence[str], name: str) -> int:
    return order.index(name) if name in order else len(order)


def _united(group: Sequence[Sighting]) -> Record:
    """One record of all sightings of one place, the best first.

    What the device is called, and how it is, says the best of those who tell how to open it.
    """
    best = next((sighting for sighting in group if sighting.record.uri), group[0])
    if len(group) == 1:
        if best.record.sources == (best.source,):
            return best.record
        return replace(best.record, sources=(best.source,))
    group = [best, *(sighting for sighting in group if sighting is not best)]
    records = [sighting.record for sighting in group]
    texts = {name: _first(records, name) for name in _TEXTS}
    state = texts["state"] = _state(records)
    texts["detail"] = _first((r for r in records if r.state == state), "detail")
    return replace(
        best.record,
        **texts,
        addresses=_addresses(records),
        properties={k: v for record in reversed(records) for k, v in record.properties.items()},
        sources=tuple(dict.fromkeys(sighting.source for sighting in group)),
        last_seen=max(record.last_seen for record in records),
        fits=next((record.fits for record in records if record.fits), ()),
        names=tuple(dict.fromkeys(name for record in records for name in record.names)),
    )


_TEXTS = (
    "vendor",
    "model",
    "serial",
    "driver",
    "kernel_driver",
    "uri",
    "node",
    "subsystem",
    "path",
    "parent",
    "host",
)
"""Members that a lesser sighting fills when the better one does not know them."""


def _first(records: Iterable[Record], name: str) -> str:
    return next((text for record in records if (text := getattr(record, name))), "")


def _state(records: Sequence[Record]) -> str:
    if records[0].state not in _HEARD:
        return records[0].state
    states = {record.state for record in records}
    return next(state for state in _HEARD if state in states)


def _addresses(records: Iterable[Record]) -> tuple[str, ...]:
    """All of them, of the best sighting first; the link-local of IPv6 last (it needs a scope)."""
    all_of_them = dict.fromkeys(address for record in records for address in record.addresses)
    return tuple(sorted(all_of_them, key=is_link_local))


def is_link_local(address: str) -> bool:
    """Is this (or the host in this URI) an IPv6 link-local address, fe80::/10 (RFC 4291)?"""
    host = address.rpartition("//")[2].lstrip("[").lower()
    return host[:3] in ("fe8", "fe9", "fea", "feb") and ":" in host[4:5]


def _cloned(group: Sequence[Sighting], groups: Sequence[Sequence[Sighting]]) -> Record:
    record = _united(group)
    others = "; ".join(_where(other) for other in groups[:_SHOWN] if other is not group)
    detail = f"claimed at {others} too"
    proven = [other for other in groups if _proven(other)]
    if proven == [group]:
        return replace(record, detail=record.detail or detail)
    return replace(record, state="cloned", detail="; ".join(filter(None, (record.detail, detail))))


def _proven(group: Iterable[Sighting]) -> bool:
    return any(sighting.record.trust in _PROVEN for sighting in group)


def _where(group: Iterable[Sighting]) -> str:
    places = sorted({place for sighting in group for place in sighting.places})
    more = f" and {len(places) - _SHOWN} more" if len(places) > _SHOWN else ""
    return f"{', '.join(places[:_SHOWN])}{more}"


def _alarm(groups: Sequence[Sequence[Sighting]]) -> str:
    """What is wrong when one identity lives at several places, and what to do."""
    proven = [group for group in groups if _proven(group)]
    places = "; ".join(map(_where, groups[:_SHOWN]))
    more = f"; and {len(groups) - _SHOWN} more" if len(groups) > _SHOWN else ""
    advice = "give one of them an identity of its own"
    if len(proven) == 1:
        advice = f"the one at {_where(proven[0])} is proven, trust no other"
    return f"{len(groups)} devices claim to be {groups[0][0].record.id}: {places}{more}; {advice}"
