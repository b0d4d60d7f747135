# SPDX-License-Identifier: Apache-2.0
"""Models in processes of their own: they are killed, hang, run out of memory; no call is lost."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm.crowd import Crowd
from autoglm.errors import DeviceError, InputError, TargetUnavailable
from autoglm.exchange import KEPT, Region
from autoglm.loaded import Loaded, load
from autoglm.manifest import Program
from autoglm.tensor import Array
from autoglm.worker import TRIES, Worker
from tests.autoglm import small
from tests.autoglm.small import bad, good, right, write

pytestmark = pytest.mark.usefixtures("faulty")


@asynccontextmanager
async def working(path: Path, *programs: Program, **settings: Any) -> AsyncIterator[Worker]:
    """A worker on an artifact with these programs."""
    worker = Worker(write(path / "small.glm", programs), **settings)
    await worker.start()
    try:
        yield worker
    finally:
        await worker.stop()


async def all_right(worker: Worker, count: int) -> bool:
    """So many calls at once, each answered, each with its own answer."""
    given = [small.inputs(1 + number % 5, number + 100) for number in range(count)]
    answers = await asyncio.gather(*map(worker.call, given))
    return all(map(right, given, answers))


def test_calls(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, good()) as worker:
            assert worker.ready and worker.pid and worker.candidate == "0/cpu/onnxruntime"
            assert await all_right(worker, 20)
            with pytest.raises(InputError, match="'x' is missing"):
                await worker.call({})
        with pytest.raises(DeviceError, match="was stopped"):
            await worker.call(small.inputs())

    asyncio.run(main())


def test_what_cannot_be_loaded_says_why(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, Program("cuda", "iree", "iree 3", {})):
            pass

    with pytest.raises(TargetUnavailable, match="no such device"):
        asyncio.run(main())


@pytest.mark.parametrize("memory", [1, 100])
def test_too_little_memory_to_load_says_so(tmp_path: Path, memory: int) -> None:
    """Python itself has not enough, then an engine."""

    async def main() -> None:
        async with working(tmp_path, good(), memory=memory << 20):
            pass

    with pytest.raises(DeviceError, match=rf"load small: .*{memory} MiB .*\(--memory-limit\)"):
        asyncio.run(main())


def test_killed_in_mid_call(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("slow", seconds=0.02)) as worker:
            calls = asyncio.ensure_future(all_right(worker, 10))
            await asyncio.sleep(0.1)
            os.kill(worker.pid, signal.SIGKILL)
            assert await calls
            assert worker.deaths == 1

    asyncio.run(main())


def test_a_device_under_which_it_dies_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("crash"), good()) as worker:
            assert worker.candidate.endswith("/vulkan/faulty crash")
            assert await all_right(worker, 5)
            assert worker.candidate == "0/cpu/onnxruntime" and worker.deaths == TRIES - 1

    asyncio.run(main())


def test_a_device_that_is_lost_is_left(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("lost"), good()) as worker:
            assert await all_right(worker, 8)
            assert worker.candidate == "0/cpu/onnxruntime" and worker.deaths == 0

    asyncio.run(main())


def test_a_call_that_kills_every_process(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("poison")) as worker:
            before = asyncio.ensure_future(all_right(worker, 3))
            poison = asyncio.ensure_future(worker.call(small.inputs(1, 13)))
            after = asyncio.ensure_future(all_right(worker, 3))
            with pytest.raises(DeviceError, match=f"died in each of {TRIES} attempts.*SIGSEGV"):
                await poison
            assert await before and await after
            assert worker.deaths == TRIES

    asyncio.run(main())


def test_a_process_that_hangs(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("hang"), good(), stall=0.3) as worker:
            given = small.inputs()
            assert right(given, await worker.call(given))
            assert worker.candidate == "0/cpu/onnxruntime"

    asyncio.run(main())


def test_a_call_that_wants_too_much_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("hungry"), memory=2 << 30) as worker:
            with pytest.raises(DeviceError, match="Unable to allocate"):
                await worker.call(small.inputs(1, 13))
            assert await all_right(worker, 3)

    asyncio.run(main())


def test_who_has_gone_is_not_served(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, bad("slow", seconds=0.8)) as worker:
            first = asyncio.ensure_future(worker.call(small.inputs()))
            second = asyncio.ensure_future(worker.call(small.inputs()))
            third = asyncio.ensure_future(worker.call(small.inputs(1, 3)))
            await asyncio.sleep(0.1)
            second.cancel()
            begin = asyncio.get_running_loop().time()
            await first
            assert right(small.inputs(1, 3), await third)
            assert asyncio.get_running_loop().time() - begin < 2.2  # two calls, not three
            assert second.cancelled() and worker.waiting == 0

    asyncio.run(main())


def test_no_process_is_left_behind(tmp_path: Path) -> None:
    async def main() -> int:
        async with working(tmp_path, bad("slow", seconds=60)) as worker:
            call = asyncio.ensure_future(worker.call(small.inputs()))
            await asyncio.sleep(0.1)
            pid = worker.pid
        with pytest.raises(DeviceError, match="was stopped"):
            await call
        return pid

    with pytest.raises(ProcessLookupError):
        os.kill(asyncio.run(main()), 0)


def test_a_large_call_leaves_no_large_memory(tmp_path: Path) -> None:
    async def main() -> None:
        async with working(tmp_path, good()) as worker:
            given = small.inputs(300_000)
            assert given["x"].nbytes > KEPT
            assert right(given, await worker.call(given))
            assert os.fstat(worker._lanes[0].region.descriptor).st_size <= KEPT
            assert right(given, await worker.call(given))

    asyncio.run(main())


def _turns(crowd: Crowd) -> list[int]:
    """With how many threads a call is made: alone, beside another, and alone again."""
    models = [crowd.enter(), crowd.enter()]
    for _ in models:
        crowd.leave()
    models.append(crowd.enter())
    crowd.leave()
    return [model.threads for model in models]


def test_calls_at_once_have_fewer_threads_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(tmp_path / "small.glm", [good()])

    def again(threads: int) -> Loaded:
        return load(path, threads=threads)

    def fails(threads: int) -> Loaded:
        raise DeviceError(f"no memory for {threads}")

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1, 2, 3})
    with again(4) as model, again(1) as narrow:
        crowd = Crowd.of(model, 2, again)
        assert _turns(crowd) == [4, 2, 4]
        crowd.among.close()
        assert _turns(Crowd.of(model, 1, again)) == [4, 4, 4], "one call has them all"
        assert _turns(Crowd.of(narrow, 2, again)) == [1, 1, 1], "and one is not divided"
        assert _turns(Crowd.of(model, 2, fails)) == [4, 4, 4]
        monkeypatch.setattr("autoglm.crowd.SMALL", path.stat().st_size)
        crowd = Crowd.of(model, 2, again)
        assert crowd.among is not model
        crowd.among.close()
        monkeypatch.setattr("autoglm.crowd.SMALL", path.stat().st_size - 1)
        assert Crowd.of(model, 2, again).among is model


def test_a_region_takes_any_plain_array() -> None:
    region = Region.make()
    given: dict[str, Array] = {
        "empty": np.empty((0, 3), np.float32),
        "scalar": np.array(3, np.uint8),
        "strided": np.arange(24, dtype=np.int16).reshape(4, 6)[::2, ::3],
        "flags": np.array([True, False]),
    }
    layout = region.take(region.put(given))
    found, end = layout.views, layout.end
    assert all(np.array_equal(given[name], found[name]) for name in given)
    assert [found[name].dtype for name in given] == [each.dtype for each in given.values()]
    region.put({"more": np.ones(1 << 20)}, end)
    assert np.array_equal(found["strided"], given["strided"])  # the old map is kept by its views
    again = region.put({name: array + array for name, array in given.items()})
    assert np.array_equal(region.take(again).views["strided"], given["strided"] * 2)
    assert np.array_equal(found["strided"], given["strided"] * 2)
    with pytest.raises(InputError, match="Python objects"):
        region.put({"objects": np.array([object()])})
    del found
    region.close()


def test_arrays_like_the_last_ones_and_others() -> None:
    region, rows = Region.make(), np.random.default_rng(1)
    for shape, dtype in (
        ((2, 3), "f4"),
        ((2, 3), "f4"),
        ((3, 2), "f4"),
        ((2, 3), ">f4"),
        ((0,), "i8"),
    ):
        for names in ("ab", "ab", "ba", "a", "abc"):
            given = {name: rows.integers(0, 9, shape).astype(dtype) for name in names}
            layout = region.take(region.put(given))
            assert layout.views.keys() == given.keys()
            for name, view in layout.views.items():
                assert np.array_equal(view, given[name]) and view.dtype == given[name].dtype
    region.close()


@pytest.mark.parametrize(("more", "fits"), [(-1, False), (0, True), (1, True)])
def test_how_large_outputs_may_be(more: int, fits: bool) -> None:
    region = Region.make()
    given: dict[str, Array] = {"y": np.ones(5, np.float32), "n": np.ones(3, np.int8)}
    for _ in range(2):
        if fits:
            assert region.put(given, most=23 + more)
        else:
            with pytest.raises(InputError, match="outputs are larger than 22 bytes"):
                region.put(given, most=23 + more)
    region.close()
