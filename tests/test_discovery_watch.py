# SPDX-License-Identifier: Apache-2.0
"""hal.watch and hal.devices: consumers of every kind, devices that come and go, lost events."""

from __future__ import annotations

import asyncio
import os
import re
import select
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

import hal
from hal.discovery import Changes, Record, Roster, Sighting
from hal.discovery.bell import Bell
from hal.discovery.engine import SCOUTS, Engine
from hal.discovery.query import Query
from hal.discovery.search import QUIET

from . import hotplug
from .forked import IS_THREADED, in_child
from .needs import needs

DEVICE = Record(id="d", identity="test", name="dev", device_class="remote", sources=("test",))


def sighting(key: str, **members: Any) -> Sighting:
    record = replace(DEVICE, id=key, name=f"dev{key}", **members)
    return Sighting("test", key, record, frozenset((f"ip {key}",)))


class Bench:
    """An engine without sources: the test is the source."""

    def __init__(self, query: str = "") -> None:
        self.roster = Roster()
        self.engine = Engine(Query.parse(query), [], self.roster)
        self.engine.start()

    def changes(self) -> Changes:
        return Changes(self.engine)


@pytest.fixture
def bench() -> Iterator[Bench]:
    bench = Bench()
    yield bench
    bench.engine.stop()


def names(records: tuple[Record, ...]) -> list[str]:
    return [record.name for record in records]


def news(changes: Changes, timeout: float = 60) -> hal.Change:
    change = changes.next(timeout)
    assert change is not None
    return change


def until(condition: Callable[[], object], timeout: float = 60) -> None:
    end = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


# ---- consumers -----------------------------------------------------------------------------------


def test_the_first_change_is_the_whole_set(bench: Bench) -> None:
    bench.roster.see(sighting("1"))
    changes = bench.changes()
    until(lambda: names(bench.engine.published.records) == ["dev1"])
    first = news(changes)
    assert names(first.records) == names(first.added) == ["dev1"]
    assert first.changed == first.removed == ()
    bench.roster.see(sighting("2"))
    second = news(changes)
    assert (names(second.records), names(second.added)) == (["dev1", "dev2"], ["dev2"])
    assert second.generation > first.generation
    late = news(bench.changes())  # Who comes late begins with the whole set, too.
    assert (late.records, late.added) == (second.records, second.records)


def test_an_empty_set_is_a_first_change(bench: Bench) -> None:
    assert news(bench.changes()).records == ()


def test_nothing_new_is_none(bench: Bench) -> None:
    changes = bench.changes()
    news(changes)
    begun = time.monotonic()
    assert changes.next(0) is None
    assert changes.next(0.1) is None
    assert time.monotonic() - begun >= 0.1
    bench.roster.see(sighting("1"))
    news(changes)
    bench.roster.see(sighting("1", last_seen=5.0))  # Only the time: that is no news.
    assert changes.next(0.1) is None


def test_who_is_slow_gets_one_change_with_everything(bench: Bench) -> None:
    slow, quick = bench.changes(), bench.changes()
    for number in range(5):
        bench.roster.see(sighting(str(number)))
    until(lambda: len(bench.engine.published.records) == 5)
    assert len(news(slow).records) == 5
    while len(news(quick).records) < 5:
        pass
    for number in range(5, 1005):
        bench.roster.see(sighting(str(number)))
        bench.roster.lose("test", str(number - 2))
    bench.roster.see(sighting("0", state="reachable"))
    until(lambda: bench.engine.published.records == bench.roster.snapshot().records)
    change = news(slow)
    assert len(change.records) == 5
    assert {*names(change.added)} == {"dev1003", "dev1004"}
    assert names(change.removed) == ["dev3", "dev4"]
    assert names(change.changed) == ["dev0"]
    assert slow.next(0) is None


def test_a_problem_is_news(bench: Bench) -> None:
    changes = bench.changes()
    news(changes)
    bench.roster.trouble("mdns", "interface is down", "eth0")
    assert [str(p) for p in news(changes).problems] == ["mdns eth0: interface is down"]
    bench.roster.trouble("mdns", "", "eth0")
    assert news(changes).problems == ()


def test_only_what_the_query_asks_for() -> None:
    bench = Bench("name=dev2")
    changes = bench.changes()
    assert news(changes).records == ()
    bench.roster.see(sighting("1"))
    assert changes.next(0.1) is None
    bench.roster.see(sighting("2"))
    assert names(news(changes).added) == ["dev2"]
    bench.roster.lose("test", "2")
    assert names(news(changes).removed) == ["dev2"]
    bench.engine.stop()


def test_the_descriptor_is_readable_when_there_is_news(bench: Bench) -> None:
    changes = bench.changes()
    poll = select.poll()
    poll.register(changes, select.POLLIN)
    assert poll.poll(10_000)
    assert changes.next(0) is not None
    assert not poll.poll(0)
    bench.roster.see(sighting("1"))
    assert poll.poll(10_000)
    assert poll.poll(0)  # Until it is taken.
    assert changes.next(0) is not None
    assert not poll.poll(0)
    poll.unregister(changes)


def test_close_wakes_who_waits(bench: Bench) -> None:
    changes = bench.changes()
    news(changes)
    threading.Timer(0.1, changes.close).start()
    assert changes.next() is None
    changes.close()
    assert list(changes) == []
    with pytest.raises(hal.Closed):
        changes.fileno()


def test_a_task_waits_without_a_thread(bench: Bench) -> None:
    async def main() -> list[list[str]]:
        seen = []
        changes = bench.changes()
        async for change in changes:
            seen.append(names(change.records))
            if len(seen) == 1:
                asyncio.get_running_loop().call_later(0.05, bench.roster.see, sighting("1"))
            else:
                asyncio.get_running_loop().call_later(0.05, changes.close)
        return seen

    assert asyncio.run(main()) == [[], ["dev1"]]


def test_a_task_that_is_cancelled_leaves_the_loop_clean(bench: Bench) -> None:
    async def main() -> None:
        changes = bench.changes()
        await changes.__anext__()
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(changes.__anext__(), 0.05)
        assert not asyncio.get_running_loop().remove_reader(changes.fileno())
        bench.roster.see(sighting("1"))
        assert names((await changes.__anext__()).added) == ["dev1"]

    asyncio.run(main())


def test_an_abandoned_consumer_is_forgotten(bench: Bench) -> None:
    news(bench.changes())
    until(lambda: not bench.engine._bells)


def test_a_bell_may_be_closed_by_another() -> None:
    bell = Bell()
    threading.Timer(0.05, bell.close).start()
    bell.wait(None)
    assert bell.fileno() == -1
    bell.ring()
    bell.silence()
    bell.wait(None)
    bell.close()


# ---- the watch -----------------------------------------------------------------------------------


def test_watch_shows_this_machine() -> None:
    with hal.watch(network=False) as watch:
        first = news(watch)
        local = {record.id for record in hal.devices(network=False)}
        assert {record.id for record in first.records} == local
        assert {record.trust for record in first.records} == {"local"}
        assert all(record.last_seen > 0 for record in first.records)
        assert {record.id for record in watch.records} == local
    assert watch.next() is None


@pytest.mark.filterwarnings(IS_THREADED)
def test_a_watch_leaves_nothing_behind() -> None:
    def child() -> None:
        """Where nobody else opens files meanwhile."""
        with hal.watch(network=False) as watch:
            news(watch)
        threads, descriptors = set(threading.enumerate()), set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            with hal.watch(network=False) as watch:
                news(watch)
                watch.subscribe(print)
        until(lambda: set(threading.enumerate()) <= threads)
        assert set(os.listdir("/proc/self/fd")) == descriptors
        watch.close()

    assert in_child(child) == ""


def test_a_dropped_watch_stops() -> None:
    before = set(threading.enumerate())
    watch = hal.watch(network=False)
    news(watch)
    started = set(threading.enumerate()) - before
    assert started
    del watch
    until(lambda: started.isdisjoint(threading.enumerate()))


def test_a_callback_is_called_in_a_thread_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    called = threading.Event()
    seen: list[tuple[hal.Change, str]] = []

    def note(change: hal.Change) -> None:
        seen.append((change, threading.current_thread().name))
        called.set()
        raise RuntimeError("a fault of the callback")

    with hal.watch("class=memory", network=False) as watch:
        end = watch.subscribe(note)
        assert called.wait(10)
        end()
    assert {record.device_class for record in seen[0][0].records} == {"memory"}
    assert seen[0][1] == "hal-watch-callback"
    assert "a fault of the callback" in caplog.text


def test_a_callback_may_close_the_watch() -> None:
    watch = hal.watch(network=False)
    watch.subscribe(lambda _: watch.close())
    until(lambda: watch.next(0.05) is None and watch._bell.closed)


def test_a_forked_child_is_told(capfd: pytest.CaptureFixture[str]) -> None:
    program = """
import os, hal
watch = hal.watch(network=False)
watch.next()
child = os.fork()
if not child:
    for use in (lambda: watch.next(0), watch.fileno, lambda: watch.records):
        try:
            use()
        except hal.Forked as error:
            print(error, flush=True)
    watch.close()
    with hal.watch(network=False) as own:
        print(len(own.next(60).records) > 0, flush=True)
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
print(len(watch.records) > 0)
watch.close()
"""
    subprocess.run([sys.executable, "-W", "ignore", "-c", program], check=True, timeout=60)
    lines = capfd.readouterr().out.splitlines()
    assert sum("of the parent process" in line for line in lines) == 3
    assert lines[-2:] == ["True", "True"]


def test_a_process_may_end_with_a_watch_open() -> None:
    program = "import hal; watch = hal.watch(network=False); watch.next(); watch.subscribe(id)"
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=30,
        check=True,
    )  # fmt: skip
    assert run.stderr == ""


def test_a_wrong_query_makes_no_watch() -> None:
    before = set(threading.enumerate())
    with pytest.raises(hal.InvalidArgument, match="did you mean"):
        hal.watch("clas=pci")
    assert before.issuperset(threading.enumerate())


class Broken:
    source = "static"

    def __init__(self, _hosts: object) -> None:
        pass

    async def run(self, roster: Roster) -> None:
        raise RuntimeError("it broke")


def test_a_source_that_fails_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("hal.discovery.broken")
    module.Broken = Broken  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hal.discovery.broken", module)
    monkeypatch.setitem(SCOUTS, "static", ("broken", "Broken"))
    monkeypatch.setitem(SCOUTS, "dns", ("not_there", "Nothing"))
    with hal.watch(network=False, hosts=["h"], domains=["d"]) as watch:
        texts = ""
        while "it broke" not in texts or "not installed" not in texts:
            change = news(watch)
            texts = " ".join(map(str, change.problems))
        assert change.records


def test_importing_hal_imports_nothing_of_this() -> None:
    program = (
        "import sys, hal; print([m for m in ('asyncio', 'pyudev', 'zeroconf') if m in sys.modules])"
    )
    run = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert run.stdout == "[]\n"


# ---- once ----------------------------------------------------------------------------------------


def test_devices_of_this_machine() -> None:
    found = hal.devices(network=False)
    assert isinstance(found, list)
    assert found == sorted(
        found, key=lambda record: hal.discovery.CLASSES.index(record.device_class)
    )
    assert hal.devices("class=memory", timeout=0) == [
        r for r in found if r.device_class == "memory"
    ]


def test_a_query_that_is_local_does_not_ask_the_network() -> None:
    begun = time.monotonic()
    assert hal.devices("trust=local", timeout=100)
    assert hal.devices(hal.devices("class=memory", network=False)[0].id, timeout=100)
    assert time.monotonic() - begun < 50


class Slow:
    """A source that takes longer to start than the network is given to be quiet."""

    source = "static"

    def __init__(self, _hosts: object) -> None:
        time.sleep(1.2 * QUIET)

    async def run(self, roster: Roster) -> None:
        roster.see(sighting("1"))
        await asyncio.Event().wait()


def test_the_time_of_quiet_begins_when_all_sources_search(monkeypatch: pytest.MonkeyPatch) -> None:
    module = type(sys)("hal.discovery.slow")
    module.Slow = Slow  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "hal.discovery.slow", module)
    monkeypatch.setitem(SCOUTS, "static", ("slow", "Slow"))
    assert [record.name for record in hal.devices("class=remote", network=False, hosts=["h"])] == [
        "dev1"
    ]


# ---- the kernel's events -------------------------------------------------------------------------

LINKS = """
import sys, subprocess, time, hal
def link(*words): subprocess.run(["ip", "link", *words], check=True)
def names(records): return [record.name for record in records]
"""


def test_links_come_and_go() -> None:
    out = hotplug.run_here(
        LINKS
        + """
with hal.watch("class=network", network=False) as watch:
    print(names(watch.next(60).records))
    link("add", "halt0", "type", "veth", "peer", "name", "halt1")
    change = watch.next(60)
    while len(change.records) < 2: change = watch.next(60)
    print(names(change.records))
    link("set", "halt0", "up")
    link("del", "halt0")
    while change.records: change = watch.next(60)
    print(names(change.records))
"""
    )
    assert out.splitlines() == ["[]", "['halt0', 'halt1']", "[]"]


def test_a_storm_costs_a_few_looks() -> None:
    out = hotplug.run_here(
        LINKS
        + """
from hal.discovery import inventory
looks = []
look = inventory.Standing.look
inventory.Standing.look = lambda self, *a, **k: (looks.append(1), look(self, *a, **k))[1]
with hal.watch("class=network", network=False) as watch:
    watch.next(60)
    for number in range(1000):
        with open("/sys/class/net/lo/uevent", "w") as file:
            file.write("change")
    link("add", "halt0", "type", "veth", "peer", "name", "halt1")
    print(names(watch.next(60).records)[:1])
print(len(looks))
"""
    )
    first, looks = out.splitlines()
    assert first == "['halt0']"
    assert int(looks) < 100


@pytest.mark.parametrize("fault", ["overflow", "dead", "silent"])
def test_lost_events_lose_nothing(fault: str) -> None:
    out = hotplug.run_here(
        LINKS
        + """
import os, threading
from hal.discovery import local, uevents
fault = sys.argv[1]
local.PERIOD = 1.0 if fault == "silent" else 1000.0
opened = []
class Monitor(uevents.Uevents):
    def __init__(self, group):
        super().__init__(group, 2304 if fault == "overflow" and len(opened) < 2 else 1 << 20)
        opened.append(self)
    def read(self, most):
        if fault == "silent" and self in opened[:2]:
            self._monitor.poll(timeout=0)
            return []
        return super().read(most)
uevents.Uevents = Monitor
problems = []
with hal.watch("class=network", network=False) as watch:
    watch.next(60)
    watch.subscribe(lambda change: problems.extend(map(str, change.problems)))
    if fault == "overflow":
        begun = threading.Event()
        watch._engine._loop.call_soon_threadsafe(lambda: (begun.set(), time.sleep(0.5)))
        begun.wait()
        for number in range(200):
            with open("/sys/class/net/lo/uevent", "w") as file:
                file.write("change")
    if fault == "dead":
        null = os.open("/dev/null", os.O_RDONLY)
        os.dup2(null, opened[0]._monitor.fileno())
    link("add", "halt0", "type", "veth", "peer", "name", "halt1")
    records = ()
    while not records: records = watch.next(60).records
    print(names(records))
    end = time.monotonic() + 60
    while len(opened) < 4 and time.monotonic() < end: time.sleep(0.01)
    print(len(opened))
    time.sleep(0.3)
    print([p for p in problems if "were lost" in p][:1])
    link("del", "halt0")
    while records: records = watch.next(60).records
    print(names(records), [str(p) for p in watch._engine.now().problems if "lost" in str(p)])
""",
        [fault],
    )
    found, opened, told, end = out.splitlines()
    assert found == "['halt0', 'halt1']"
    assert int(opened) >= 4
    assert ("were lost" in told) == (fault != "silent")
    assert end == "[] []"


def test_without_events_it_looks_now_and_then() -> None:
    out = hotplug.run_here(
        LINKS
        + """
from hal.discovery import local, uevents
local.BLIND_PERIOD = 0.5
def none(group): raise OSError(93, "Protocol not supported")
uevents.Uevents = none
with hal.watch("class=network", network=False) as watch:
    print([str(p) for p in watch.next(60).problems if "events" in str(p)])
    link("add", "halt0", "type", "veth", "peer", "name", "halt1")
    print(names(watch.next(60).records))
"""
    )
    told, found = out.splitlines()
    assert "Protocol not supported" in told
    assert found == "['halt0', 'halt1']"


MACHINE = """
import ctypes, sys, hal
lib = ctypes.CDLL("libumockdev.so.0")
lib.umockdev_testbed_new.restype = bed_t = ctypes.c_void_p
for name, count in (("add_from_file", 2), ("add_from_string", 2), ("uevent", 2),
                    ("remove_device", 1)):
    function = getattr(lib, "umockdev_testbed_" + name)
    function.argtypes = [bed_t, ctypes.c_char_p, ctypes.c_char_p][: count + 1]
bed = lib.umockdev_testbed_new()
assert lib.umockdev_testbed_add_from_file(bed, sys.argv[1].encode(), None)
chip = b"/sys/devices/platform/plug/i2c-9/9-0050"
with hal.watch("class=i2c", network=False) as watch:
    print(len(watch.next(60).records) > 0)
    lib.umockdev_testbed_add_from_string(bed, b"P: /devices/platform/plug/i2c-9\\n"
        b"E: SUBSYSTEM=i2c\\nA: name=plugged\\n\\nP: " + chip[4:] + b"\\n"
        b"E: SUBSYSTEM=i2c\\nA: name=24c32\\n", None)
    for device in (chip[:-7], chip):
        lib.umockdev_testbed_uevent(bed, device, b"add")
    found = {}
    while len(found) < 2:
        found |= {record.name: record for record in watch.next(60).added}
    print(found["9-0050"].uri, found["9-0050"].parent == found["i2c-9"].id)
    lib.umockdev_testbed_uevent(bed, chip, b"remove")
    lib.umockdev_testbed_remove_device(bed, chip)
    print([record.name for record in watch.next(60).removed])
"""


def test_hotplug_on_a_recorded_machine() -> None:
    """Events made by umockdev, which libudev takes for those of the kernel and of udevd."""
    needs("umockdev-wrapper")
    machine = Path(__file__).parent / "machines/laptop.umockdev"
    run = subprocess.run(
        ["umockdev-wrapper", sys.executable, "-c", MACHINE, str(machine)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    assert run.stdout.splitlines() == ["True", "i2c:9/0x50 True", "['9-0050']"]


def test_no_device_is_opened(tmp_path: Path) -> None:
    """All that a look and a watch open, as the kernel is asked for it: nothing below /dev."""
    needs("strace")
    trace = tmp_path / "trace"
    program = """
import hal, threading
hal.devices(network=False)
print("looked", flush=True)
with hal.watch(network=False) as watch:
    watch.next(60)
"""
    run = subprocess.run(
        ["strace", "-f", "-o", str(trace), "-e", "trace=open,openat,openat2,creat",
         sys.executable, "-c", program],
        capture_output=True, text=True, check=False, timeout=120,
    )  # fmt: skip
    if "PTRACE" in run.stderr and not os.environ.get("CI"):
        pytest.skip("processes may not be traced here")
    assert run.returncode == 0, run.stderr
    opened = re.findall(r'open\w*\((?:AT_FDCWD, )?"([^"]*)"', trace.read_text())
    assert any(path.startswith("/sys/") for path in opened)
    assert any("uevent" in path for path in opened)
    ours = [p for p in opened if p.startswith("/dev/") and p not in ("/dev/null", "/dev/urandom")]
    assert ours == []
