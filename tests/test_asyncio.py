# SPDX-License-Identifier: Apache-2.0
"""Devices under asyncio."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import selectors
import threading
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import hal
from tests.conftest import Line

T = TypeVar("T")


def run(main: Callable[[], Coroutine[Any, Any, T]]) -> T:
    """asyncio.run() with a limit, in debug mode (slow callbacks and unawaited futures show)."""

    async def limited() -> T:
        return await asyncio.wait_for(main(), 20)

    return asyncio.run(limited(), debug=True)


async def begun(awaitable: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
    """A task that has begun to wait."""
    task = asyncio.create_task(awaitable)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


def test_reads_of_all_kinds(line: Line) -> None:
    async def main() -> None:
        device = line.device
        reads: list[tuple[Callable[[], Coroutine[Any, Any, bytes]], bytes]] = [
            (device.aread, b"what is there"),
            (lambda: device.aread(5), b"12345"),
            (lambda: device.aread_exact(4), b"four"),
            (lambda: device.aread_until(b";;"), b"until;;"),
            (device.areadline, b"line\n"),
        ]
        for read, data in reads:
            task = await begun(read())
            assert not task.done()
            line.send(data)
            assert await task == data
            line.send(data)  # and when it is there already
            await asyncio.sleep(0.01)
            assert await read() == data

    run(main)


def test_writing_more_than_fits(line: Line) -> None:
    async def main() -> None:
        data = os.urandom(300_000)
        task = await begun(line.device.awrite(memoryview(data)))
        assert not task.done()
        received = await asyncio.to_thread(line.receive, len(data))
        assert await task == len(data)
        assert received == data

    run(main)


def test_lines_by_async_iteration(line: Line) -> None:
    async def main() -> None:
        got = []

        async def listen() -> None:
            async for text in line.device:
                got.append(text)  # noqa: PERF401 - what came before the timeout counts

        line.send(b"one\ntwo\nthr")
        line.device.timeout = 0.1
        with pytest.raises(hal.Timeout):
            await listen()
        assert got == [b"one\n", b"two\n"]
        line.send(b"ee\n")
        assert await anext(line.device) == b"three\n"

    run(main)


def test_async_iteration_ends_with_the_device() -> None:
    class Ending(hal.Driver):
        def init(self, device: hal.DriverDevice) -> None:
            inside, outside = os.pipe()
            os.write(outside, b"a\nb\nrest")
            os.close(outside)
            device.set_fd(inside)
            self.inside = inside

        def read(self, n: int, deadline: float) -> bytes:
            return os.read(self.inside, n)

    async def main() -> list[bytes]:
        with hal.open("ending:") as device:
            return [text async for text in device]

    hal.register_driver("ending", Ending)
    try:
        assert run(main) == [b"a\n", b"b\n", b"rest"]
        with hal.open("ending:") as device:
            assert list(device) == [b"a\n", b"b\n", b"rest"]
            assert device.read() == device.readline() == b""
            calls: list[Callable[[], bytes]] = [lambda: device.read_exact(1), device.read_until]
            for call in calls:
                with pytest.raises(hal.Error) as caught:
                    call()
                assert caught.value.errno == 61  # ENODATA
    finally:
        hal.unregister_driver("ending")


def test_cancelling_a_task_loses_no_byte(line: Line) -> None:
    async def main() -> None:
        reads: list[Callable[[], Coroutine[Any, Any, bytes]]] = [
            line.device.areadline,
            lambda: line.device.aread_exact(9),
        ]
        for read in reads:
            task = await begun(read())
            line.send(b"some")
            await asyncio.sleep(0.02)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            line.send(b"thin\n")
            assert await read() == b"somethin\n"

    run(main)


@settings(max_examples=60, deadline=None)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=200), min_size=1, max_size=8),
    delays=st.lists(st.sampled_from([0, 0, 1e-5, 1e-4, 1e-3]), min_size=3, max_size=8),
    exact=st.integers(1, 64),
)
def test_cancelling_anywhere_keeps_the_bytes_in_order(
    chunks: list[bytes], delays: list[float], exact: int
) -> None:
    sent = b"".join(chunks)

    async def main() -> bytes:
        out = b""
        with hal.open("loopback:") as device:
            for number, whole in enumerate(chunks):
                chunk = whole
                for delay in delays:
                    kind = (device.aread, device.areadline)[number % 2]
                    task = asyncio.create_task(
                        device.aread_exact(exact) if delay == 1e-5 else kind()
                    )
                    await asyncio.sleep(delay)
                    if number % 3 == 0:
                        device.write(chunk[: len(chunk) // 2])
                        chunk = chunk[len(chunk) // 2 :]
                    await asyncio.sleep(delay)
                    task.cancel()
                    with contextlib.suppress(asyncio.CancelledError):
                        out += await task
                device.write(chunk)
            return out + await device.aread_exact(len(sent) - len(out), timeout=5)

    assert asyncio.run(main()) == sent


def test_readers_queue_up(line: Line) -> None:
    async def main() -> None:
        tasks = [await begun(line.device.areadline()) for _ in range(5)]
        tasks[2].cancel()
        await asyncio.sleep(0)
        line.send(b"0\n1\n3\n4\n")
        got = await asyncio.gather(*tasks[:2], *tasks[3:])
        assert got == [b"0\n", b"1\n", b"3\n", b"4\n"]

    run(main)


def test_a_turn_ends_at_its_deadline_too(line: Line) -> None:
    async def main() -> None:
        first = await begun(line.device.areadline())
        begin = time.monotonic()
        with pytest.raises(hal.Timeout, match=f'read "uart:{line.path}": timed out'):
            await line.device.areadline(timeout=0.05)
        assert 0.049 < time.monotonic() - begin < 1
        with pytest.raises(hal.WouldBlock):
            await line.device.aread(timeout=0)
        line.send(b"x\n")
        assert await first == b"x\n"

    run(main)


def test_writers_do_not_mix_their_messages(loopback: hal.Device) -> None:
    async def main() -> None:
        messages = [bytes([65 + number]) * 150_000 for number in range(4)]
        writers = [asyncio.create_task(loopback.awrite(message)) for message in messages]
        got = [await loopback.aread_exact(150_000) for _ in messages]
        assert got == messages
        assert await asyncio.gather(*writers) == [150_000] * 4

    run(main)


def test_deadlines(loopback: hal.Device) -> None:
    async def main() -> None:
        begin = time.monotonic()
        with pytest.raises(hal.Timeout, match='read "loopback:": timed out'):
            await loopback.aread(timeout=0.05)
        loopback.timeout = 0.05
        with pytest.raises(hal.Timeout):
            await loopback.areadline()
        assert 0.09 < time.monotonic() - begin < 1
        with pytest.raises(hal.WouldBlock):
            await loopback.aread(timeout=0)
        with pytest.raises(hal.Timeout, match=r"65536 of 100000 bytes were taken"):
            await loopback.awrite(b"x" * 100_000)
        for wrong in (-1, float("nan")):
            with pytest.raises(hal.InvalidArgument, match="0 or more seconds"):
                await loopback.aread(timeout=wrong)

    run(main)


@pytest.mark.parametrize("end", ["cancel", "close"])
@pytest.mark.parametrize("elsewhere", [False, True])
def test_cancel_and_close_end_what_is_awaited(line: Line, end: str, elsewhere: bool) -> None:
    async def main() -> None:
        tasks: list[asyncio.Task[Any]] = [await begun(line.device.areadline()) for _ in range(3)]
        tasks.append(await begun(line.device.awrite(b"x" * 300_000)))
        call = getattr(line.device, end)
        begin = time.monotonic()
        if elsewhere:
            await asyncio.to_thread(call)
        else:
            call()
        results = await asyncio.gather(*tasks, return_exceptions=True)
        assert time.monotonic() - begin < 0.5
        assert [type(result) for result in results] == [hal.Cancelled] * 4
        if end == "close":
            with pytest.raises(hal.Closed):
                await line.device.aread()
        else:
            line.send(b"later\n")
            assert await line.device.areadline() == b"later\n"

    run(main)


def test_a_descriptor_number_used_again_is_not_disturbed() -> None:
    async def main() -> None:
        again = 0
        for _ in range(50):
            first = hal.open("loopback:")
            waiting = await begun(first.aread())
            number = first.fileno()
            closer = threading.Thread(target=first.close)
            closer.start()
            while not waiting.done():  # noqa: ASYNC110 - the device is closed meanwhile
                await asyncio.sleep(0)
            closer.join()
            with hal.open("loopback:") as second:
                again += second.fileno() == number  # unless another thread was faster
                task = await begun(second.aread())
                second.write(b"x")
                assert await task == b"x"
            with pytest.raises(hal.Cancelled):
                await waiting
        assert again > 25

    run(main)


def test_unplugging_ends_what_is_awaited(line: Line) -> None:
    async def main() -> None:
        task = await begun(line.device.aread())
        line.unplug()
        with pytest.raises(hal.Unplugged):
            await task

    run(main)


def test_a_device_without_descriptor_says_why() -> None:
    class Plain(hal.Driver):
        def read(self, n: int, deadline: float) -> None:
            return None

    async def main() -> None:
        why = 'driver "plain" gives no descriptor'
        with hal.open("plain:") as device, pytest.raises(hal.Unsupported, match=why):
            await device.aread()

    hal.register_driver("plain", Plain)
    try:
        run(main)
    finally:
        hal.unregister_driver("plain")


def test_several_devices_and_tasks_at_once() -> None:
    async def echo(number: int) -> int:
        with hal.open("loopback:") as device:
            for turn in range(50):
                await device.awrite(b"%d %d\n" % (number, turn))
                assert await device.areadline(timeout=10) == b"%d %d\n" % (number, turn)
        return number

    async def main() -> list[int]:
        return await asyncio.gather(*(echo(number) for number in range(40)))

    assert run(main) == list(range(40))


def test_one_device_in_one_loop_after_another(loopback: hal.Device) -> None:
    async def main() -> bytes:
        task = await begun(loopback.aread())
        second = await begun(loopback.aread())
        loopback.write(b"x")
        first = await task
        second.cancel()
        return first

    for _ in range(3):
        assert run(main) == b"x"


def test_two_loops_in_two_threads_share_a_device(loopback: hal.Device) -> None:
    got: list[bytes] = []

    async def main() -> None:
        for _ in range(100):
            got.append(await loopback.areadline(timeout=10))  # noqa: PERF401 - two add to it

    threads = [threading.Thread(target=asyncio.run, args=(main(),)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for number in range(200):
        loopback.write(b"%d\n" % number)
    for thread in threads:
        thread.join()
    assert sorted(got, key=int) == [b"%d\n" % number for number in range(200)]


def test_another_selector_will_do(line: Line) -> None:
    async def main() -> bytes:
        task = await begun(line.device.areadline(timeout=5))
        line.send(b"polled\n")
        return await task

    loop = asyncio.SelectorEventLoop(selectors.PollSelector())
    try:
        assert loop.run_until_complete(main()) == b"polled\n"
    finally:
        loop.close()


def test_an_awaited_device_is_freed_at_once() -> None:
    async def main() -> None:
        device = hal.open("loopback:")
        device.write(b"x")
        assert await device.aread() == b"x"
        with contextlib.suppress(hal.Timeout):
            await device.aread(timeout=0.01)
        gc.collect()
        gc.disable()
        try:
            with pytest.warns(ResourceWarning, match="loopback"):
                del device
        finally:
            gc.enable()

    asyncio.run(main())


def test_await_is_all_it_takes(loopback: hal.Device) -> None:
    awaitable: Awaitable[bytes] = loopback.aread()

    async def main() -> bytes:
        loopback.write(b"x")
        return await awaitable

    assert run(main) == b"x"
