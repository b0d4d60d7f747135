# SPDX-License-Identifier: Apache-2.0
"""Finding devices by mDNS, against avahi-browse: hosts in namespaces, the same devices for both.

Each round is a new look: a new avahi-daemon (whose cache is empty, as ours is) and avahi-browse
until it has resolved the last device; a new `MdnsScout` until the last one is in the roster.
"""

from __future__ import annotations

import asyncio
import gc
import os
import shutil
import statistics
import time
from collections.abc import Callable
from pathlib import Path

from hal.discovery.roster import Roster, Sighting
from tests.net.namespaces import Host, Net, Process, lacking

from .rounds import Row, Unavailable

ROUNDS = {1: 15, 100: 7, 1000: 3}
"""How often each contestant looks, by the number of devices: chance counts most where few are."""

PATIENCE = 20.0
"""Seconds until a contestant gives up."""

FLOOD, FLOODS = 10_000, 12
"""Devices that announce themselves, and how often at most: packets are lost when so many come."""


def rows() -> list[Row]:
    """All rows of this module.

    Raises:
        Unavailable: No rights to make network namespaces, or no avahi.
    """
    if reason := lacking():
        raise Unavailable(f"{reason}; root is needed")
    for program in ("avahi-daemon", "avahi-browse", "dbus-daemon"):
        if shutil.which(program) is None:
            raise Unavailable(f"{program} is not installed (tools/packages-test.txt)")
    return [*(_find(count) for count in ROUNDS), *_many()]


def _find(count: int) -> Row:
    with Net() as net:
        crowd, ours, theirs = net.host("crowd"), net.host("ours"), net.host("theirs")
        net.crowd(crowd, count)
        hal, avahi = [], []
        for _ in range(ROUNDS[count]):
            hal.append(ours.call(lambda: asyncio.run(_scout(count))))
            avahi.append(_avahi(theirs, count))
    mine = statistics.median(took for took, _ in hal)
    peer = statistics.median(took for took, _ in avahi)
    least = min(found for _, found in avahi)
    note = f"found at least {min(found for _, found in hal)}, avahi-browse {least}"
    names = "a device" if count == 1 else f"{count} devices"
    return Row(
        f"mDNS, find {names}", mine, {"avahi-browse": peer}, "<= 1.00", mine / peer, "ms", note
    )


async def _scout(count: int) -> tuple[float, int]:
    """Milliseconds until all are found, and how many were."""
    from hal.discovery.mdns import MdnsScout

    roster = Roster()
    seen = _noted(roster)
    start = time.perf_counter()
    looking = asyncio.ensure_future(MdnsScout().run(roster))
    found = await _grown(seen.__len__, count, PATIENCE)
    took = (time.perf_counter() - start) * 1e3
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    return took, found


def _noted(roster: Roster) -> set[str]:
    """The ids of what a roster is shown, as it comes: the set is not merged at each look."""
    seen: set[str] = set()
    see = roster.see

    def note(sighting: Sighting) -> bool:
        seen.add(sighting.record.id)
        return see(sighting)

    roster.see = note  # type: ignore[method-assign]
    return seen


async def _grown(size: Callable[[], int], count: int, patience: float) -> int:
    """Wait until there are so many; how many there are."""
    end = time.perf_counter() + patience
    while (found := size()) < count and time.perf_counter() < end:  # noqa: ASYNC110
        await asyncio.sleep(patience / 2000)
    return found


def _avahi(host: Host, count: int) -> tuple[float, int]:
    host.run("pkill", "-x", "avahi-daemon", check=False)
    host.run("pkill", "-x", "dbus-daemon", check=False)
    host.run("rm", "-rf", "/run/dbus", "/run/avahi-daemon")
    host.run("mkdir", "-p", "/run/dbus", "/run/avahi-daemon")
    host.start_avahi()
    found: set[str] = set()
    start = time.perf_counter()
    browse = host.popen("avahi-browse", "-rp", "_hal-device._tcp")
    try:
        while len(found) < count:
            left = start + PATIENCE - time.perf_counter()
            found.add(browse.expect("=;", max(left, 0)).split(";")[3])
    except AssertionError:  # It does not resolve them all.
        pass
    finally:
        took = (time.perf_counter() - start) * 1e3
        browse.kill()
    return took, len(found)


def _many() -> list[Row]:
    """What it costs to know of thousands."""
    with Net() as net:
        crowd, ours = net.host("crowd"), net.host("ours")
        many = net.crowd(crowd, FLOOD, "flood")
        found, memory, spent, idle = ours.call(lambda: asyncio.run(_cost(many)))
    note = f"{found:,} of {FLOOD:,} devices on one host"
    return [
        Row("mDNS, memory over idle", memory, {}, "<= 50", memory, "MiB", note),
        Row("mDNS, CPU a device, to find it", spent, {}, unit="ms"),
        Row("mDNS, CPU while they live", idle, {}, unit="%", note="of one core, looked at in turn"),
    ]


async def _cost(many: Process) -> tuple[int, float, float, float]:
    from hal.discovery.mdns import MdnsScout

    roster = Roster()
    seen = _noted(roster)
    gc.collect()
    before, start = _resident(), time.process_time()
    looking = asyncio.ensure_future(MdnsScout().run(roster))
    found = await _flooded(many, seen)
    roster.snapshot()
    gc.collect()
    memory, spent = _resident() - before, time.process_time() - start
    start = time.process_time()
    await asyncio.sleep(10)
    idle = (time.process_time() - start) * 10
    looking.cancel()
    await asyncio.gather(looking, return_exceptions=True)
    return found, memory / (1 << 20), spent * 1e3 / max(found, 1), idle


async def _flooded(many: Process, seen: set[str]) -> int:
    """Let all announce themselves until all are seen; how many are."""
    for _ in range(FLOODS):
        many.send("go")
        await asyncio.to_thread(many.expect, "told")
        found = await _grown(seen.__len__, FLOOD, 2.0)
        if found == FLOOD:
            break
    return found


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")
