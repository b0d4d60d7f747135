# SPDX-License-Identifier: Apache-2.0
"""Discovery on this machine: a look, from the kernel's event to the callback, ten thousand records.

What the network adds is measured by ``discovery_network``.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence

from hal.discovery import local_inventory
from hal.discovery.inventory import Standing

from .rounds import Row

ISOLATED = (
    *("unshare", "--net", "--mount", "--kill-child", "sh", "-c"),
    'mount -t sysfs sysfs /sys && exec "$@"',
    "sh",
)
"""Runs a command in a network stack of its own, whose links come and go as it likes."""

UDEVD = "/lib/systemd/systemd-udevd"
WITH_UDEVD = (
    *("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "sh", "-c"),
    "mount -t sysfs sysfs /sys && mount -t tmpfs tmpfs /run && mkdir /run/udev"
    f" && {{ {UDEVD} --resolve-names=never >/run/udevd 2>&1 & }}"
    " && for i in 1 2 3 4 5 6 7 8 9 10; do [ -S /run/udev/control ] && break; sleep 0.2; done"
    ' && { [ -S /run/udev/control ] || { echo "udevd did not start" >&2; exit 1; }; }'
    ' && exec "$@"',
    "sh",
)
"""The same, with a udevd of its own, whose rules see the events before programs do."""

EVENTS = """
import json, select, subprocess, time
import hal
from hal.discovery.uevents import Uevents

seen = []
taken = []
monitor = Uevents("kernel")
with hal.watch("class=network", network=False) as watch:
    end = watch.subscribe(lambda change: seen.append((time.monotonic(), len(change.records))))
    while not seen:
        time.sleep(0.01)
    for count in [1, 0] * 25:
        seen.clear()
        time.sleep(0.1)
        words = ("add", "bench0", "type", "bridge") if count else ("del", "bench0")
        with subprocess.Popen(["ip", "link", *words]):
            select.select([monitor], [], [])
            event = time.monotonic()
        while not any(number == count for _, number in seen):
            time.sleep(0.001)
        taken.append(next(when for when, number in seen if number == count) - event)
        while monitor.read(100):
            pass
    end()
print(json.dumps(taken))
"""

CROWD = """
import json, os, time, uuid
from hal.discovery import Record, Roster, Sighting
from hal.discovery.engine import Engine
from hal.discovery.query import Query
from hal.discovery.watch import Changes

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

def sighting(number):
    address = f"10.{number >> 8}.{number & 255}.1"
    name = str(uuid.UUID(int=number))
    return Sighting(
        source="mdns", key=f"{name}._hal-device._tcp.local.",
        record=Record(
            id=name, identity=f"announced {name}", name=name, device_class="remote",
            vendor="maker", model="model", uri=f"hal://{address}:7070", host=f"{name}.local",
            addresses=(address, f"fd00::{number:x}"), state="announced", trust="unverified",
            properties={"type": "_hal-device._tcp", "version": "1.0", "protocol": "hal/1",
                        "capabilities": "i2c gpio"},
            sources=("mdns",), last_seen=1.0),
        places=frozenset({f"host {name}.local", f"ip {address}", f"ip fd00::{number:x}"}),
        origin=address, expires=time.monotonic() + 4500)

roster = Roster()
engine = Engine(Query.parse(""), [], roster)
changes = Changes(engine)
engine.start()
changes.next()
idle, used = resident(), time.process_time()
for number in range(10_000):
    roster.see(sighting(number))
seen = 0
while seen < 10_000:
    seen = len(changes.next().records)
used = time.process_time() - used
grown = resident() - idle
begun = time.perf_counter()
for number in range(20):
    roster.lose("mdns", f"{uuid.UUID(int=number)}._hal-device._tcp.local.")
    roster.snapshot()
one = (time.perf_counter() - begun) / 20
engine.stop()
print(json.dumps([grown, used, one]))
"""


def _median_ms(look: Callable[[], object], rounds: int = 31) -> float:
    times = []
    for _ in range(rounds):
        begun = time.perf_counter()
        look()
        times.append(time.perf_counter() - begun)
    return statistics.median(times) * 1e3


def look_rows() -> list[Row]:
    """A whole look at this machine, and one at the subsystem of an event."""
    standing = Standing()
    count = len(standing.look())
    whole, part = _median_ms(local_inventory), _median_ms(lambda: standing.look({"net"}))
    note = f"{count} records"
    return [
        Row("local inventory", whole, {}, "<= 100", whole, "ms", note),
        Row("look at one subsystem", part, {}, "", None, "ms"),
    ]


def event_row(name: str, place: Sequence[str]) -> Row:
    """From the kernel's event to the callback, links of a network stack made for it."""
    run = subprocess.run(
        [*place, sys.executable, "-c", EVENTS], capture_output=True, text=True, check=False
    )
    if run.returncode:
        why = (run.stderr.strip().splitlines() or ["no reason told"])[-1]
        return Row(name, 0, {}, "<= 200", None, "", f"unavailable: {why}")
    taken = sorted(1e3 * seconds for seconds in json.loads(run.stdout))
    note = f"median; longest {taken[-1]:.1f} ms of {len(taken)}"
    middle = statistics.median(taken)
    return Row(name, middle, {}, "<= 200", taken[-1], "ms", note)


def crowd_rows() -> list[Row]:
    """Ten thousand devices, heard of one by one and seen by one consumer."""
    run = subprocess.run([sys.executable, "-c", CROWD], stdout=subprocess.PIPE, check=True)
    grown, used, one = json.loads(run.stdout)
    size = grown / (1 << 20)
    return [
        Row("memory of 10,000 records", size, {}, "<= 50", size, "MiB", "beyond the idle watch"),
        Row("CPU to take 10,000 records", used * 1e3, {}, "", None, "ms"),
        Row("one lost among 10,000", one * 1e3, {}, "", None, "ms", "to the next whole set"),
    ]


def rows() -> list[Row]:
    """All rows of this module."""
    return [
        *look_rows(),
        event_row("kernel event to callback", ISOLATED),
        event_row("the same, by way of udevd", WITH_UDEVD),
        *crowd_rows(),
    ]
