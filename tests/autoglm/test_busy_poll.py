# SPDX-License-Identifier: Apache-2.0
"""Who expects a message soon looks for it, for a bounded time; everybody else sleeps."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoglm import busy_poll
from autoglm.busy_poll import BusyPoll, receive
from autoglm.commands.runtime import cli
from hal import processor
from tests.autoglm import small
from tests.autoglm.serving import commanded
from tests.autoglm.small import bad, good, right, write
from tests.autoglm.test_worker import working

LONG = 1_000_000
"""Microseconds that no wait here takes."""

several = pytest.mark.skipif(processor.info().cores < 2, reason="this machine has one processor")


pytestmark = pytest.mark.usefixtures("faulty")


class Wait:
    """Waits for messages, and sees how often it was looked for them."""

    def __init__(self, poll: BusyPoll) -> None:
        self._poll = poll
        self.near, self.far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.looks = 0

    def receive(self, seconds: float, alone: bool = True) -> bytes:
        """A message that comes in so many seconds."""
        self.looks = 0
        sender = threading.Timer(seconds, self.far.send, (b"message",))
        sender.start()
        try:
            return receive(self.near, 100, self._poll, self._alone(alone))
        finally:
            sender.join()

    def expects(self) -> bool:
        return self._poll.soon

    def _alone(self, alone: bool) -> Callable[[], bool]:
        def look() -> bool:
            self.looks += 1
            return alone

        return look

    def close(self) -> None:
        self.near.close()
        self.far.close()


@pytest.fixture
def make() -> Iterator[Callable[[int], Wait]]:
    made: list[Wait] = []

    def waiting(microseconds: int) -> Wait:
        made.append(Wait(BusyPoll(microseconds)))
        return made[-1]

    yield waiting
    for each in made:
        each.close()


@several
@pytest.mark.parametrize(("seconds", "soon"), [(0.000_999, True), (0.001, False), (0.0011, False)])
def test_which_wait_was_short(seconds: float, soon: bool) -> None:
    poll = BusyPoll(1000)
    before = poll.soon
    poll.waited(seconds)
    assert (before, poll.soon) == (False, soon)


@several
def test_after_a_short_wait_it_is_looked_for(make: Callable[[int], Wait]) -> None:
    wait = make(LONG)
    assert wait.receive(0.01) == b"message" and wait.looks == 0
    assert wait.receive(0.01) == b"message" and wait.looks > 1


@several
def test_only_for_the_bound(make: Callable[[int], Wait]) -> None:
    wait = make(20_000)
    while not wait.expects():  # a busy machine may take longer
        wait.receive(0)
    assert wait.receive(0.5) == b"message"
    assert wait.looks and not wait.expects()
    assert wait.receive(0) == b"message" and wait.looks == 0


@several
def test_not_while_others_have_work(make: Callable[[int], Wait]) -> None:
    wait = make(LONG)
    wait.receive(0)
    assert wait.receive(0.01, alone=False) == b"message" and wait.looks == 1


def test_never(make: Callable[[int], Wait]) -> None:
    wait = make(0)
    for _ in range(3):
        assert wait.receive(0) == b"message" and wait.looks == 0


def test_the_end(make: Callable[[int], Wait]) -> None:
    wait = make(LONG)
    wait.receive(0)
    wait.far.close()
    assert receive(wait.near, 100, wait._poll, lambda: True) == b""


def test_not_on_one_processor() -> None:
    text = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))});"
    text += "from autoglm.busy_poll import BusyPoll; print(BusyPoll(1000).seconds)"
    done = subprocess.run([sys.executable, "-c", text], check=True, stdout=subprocess.PIPE)
    assert float(done.stdout) == 0


@pytest.mark.parametrize("microseconds", [0, busy_poll.DEFAULT, LONG])
def test_calls(microseconds: int, tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, good(), threads=1, busy_poll=microseconds) as worker:
            for seed in range(50):
                given = small.inputs(1, seed)
                assert right(given, await worker.call(given))
            many = [small.inputs(1, seed) for seed in range(50)]
            assert all(map(right, many, await asyncio.gather(*map(worker.call, many))))

    asyncio.run(main())


@several
@pytest.mark.parametrize("threads", [1, os.cpu_count()])
@pytest.mark.parametrize(("microseconds", "awake"), [(0, False), (LONG, True)])
def test_the_command(microseconds: int, awake: bool, threads: int, tmp_path: Path) -> None:
    """With the longest bound, the worker of a client that asks every 10 ms never sleeps.

    Also where a call takes every processor: between calls it takes none.
    """
    artifact = write(tmp_path / "small.glm", [good()])
    options = ("--threads", str(threads), "--busy-poll", str(microseconds))
    with commanded(artifact, *options) as (process, client):
        client.infer("small", small.inputs())
        (worker,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        clock = ~int(worker) << 3 | 2  # of its time on processors: clock_getcpuclockid(3)
        begin, asked = time.clock_gettime(clock), 0
        while asked < 50 or (awake and time.clock_gettime(clock) - begin < 1):
            client.infer("small", small.inputs())
            time.sleep(0.01)
            asked += 1
            assert asked < 3000
        assert awake or time.clock_gettime(clock) - begin < 0.25


@pytest.mark.parametrize(
    ("value", "fits"), [(-1, False), (0, True), (1_000_000, True), (1_000_001, False)]
)
def test_what_may_be_asked_for(value: int, fits: bool) -> None:
    told = CliRunner().invoke(cli, ["--busy-poll", str(value)])
    assert told.exit_code == 2
    assert ("name an artifact" in told.output) is fits


@several
def test_the_loop_goes_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While it looks for the answer of a call of 0.3 s, it does other work."""

    async def main() -> None:
        looks, turns = 0, 0
        async with working(tmp_path, bad("slow", seconds=0.3), busy_poll=LONG) as worker:
            look = worker._look

            def counted(*arguments: object) -> None:
                nonlocal looks
                looks += 1
                look(*arguments)  # type: ignore[arg-type]

            monkeypatch.setattr(worker, "_look", counted)
            await worker.call(small.inputs())
            assert looks == 0  # nothing was known of how long a call takes
            calling = asyncio.ensure_future(worker.call(small.inputs()))
            while not calling.done():
                await asyncio.sleep(0.01)
                turns += 1
            assert right(small.inputs(), calling.result())
        assert looks > 1 and turns > 3

    asyncio.run(main())


@several
def test_killed_while_it_is_looked_for(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("slow", seconds=0.3), busy_poll=LONG) as worker:
            await worker.call(small.inputs())
            calling = asyncio.ensure_future(worker.call(small.inputs()))
            await asyncio.sleep(0.1)
            os.kill(worker.pid, signal.SIGKILL)
            assert right(small.inputs(), await calling)
            assert worker.deaths == 1

    asyncio.run(main())
