# SPDX-License-Identifier: Apache-2.0
"""hal.cache on arrays: what is taken, what is refused, what arrives.

Which lines are touched is tested on a recording copy, here and in C (tests/c/test_cache.cc); that
stores arrive in persistent memory, in the lab.
"""

from __future__ import annotations

import json
import mmap
import os
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import hal
from hal import cache
from tests.native import run
from tests.needs import find, needs

RANGES: dict[str, Callable[..., None]] = {
    "writeback": cache.writeback,
    "flush": cache.flush,
    "invalidate": cache.invalidate,
    "persist": cache.persist,
    "sync": cache.sync,
    "prefetch": cache.prefetch,
}
SUPPORTED = [n for n in RANGES if n == "prefetch" or cache.info().choices[n].instruction]
HUGE = os.sysconf("SC_PAGESIZE") * 64


def arrays() -> list[object]:
    """Buffers of every make."""
    grid = np.arange(4096, dtype="u2").reshape(64, 64)
    return [
        grid,
        grid[::2],
        grid[:, 3],
        grid[::-1, ::-3],
        grid.T,
        grid[3:3],
        np.broadcast_to(np.array([7]), (3, 4)),
        np.zeros((), "f8"),
        bytearray(100),
        memoryview(bytearray(100))[10:90:7],
        mmap.mmap(-1, 8192),
        np.zeros(4, [("a", "u1"), ("b", "f8")]),
        np.zeros((1,) * 32, "u1"),
        np.zeros(3, "M8[s]"),
    ]


@pytest.mark.parametrize("name", SUPPORTED)
def test_any_buffer_is_taken_and_stays_as_it_is(name: str) -> None:
    for buffer in arrays():
        before = np.array(buffer, copy=True)
        RANGES[name](buffer)
        assert np.array_equal(np.asarray(buffer), before)


@pytest.mark.parametrize("name", SUPPORTED)
def test_what_is_only_read_can_be_flushed(name: str) -> None:
    array = np.arange(100)
    array.flags.writeable = False
    RANGES[name](array)
    RANGES[name](b"bytes")


@pytest.mark.parametrize("name", RANGES)
def test_what_is_no_buffer_is_named(name: str) -> None:
    for wrong in (None, 1, "text", [1, 2], object()):
        with pytest.raises(TypeError, match=f"a buffer|another buffer.*not {type(wrong).__name__}"):
            RANGES[name](wrong)


def test_writing_is_not_prefetched_for_what_cannot_be_written() -> None:
    cache.prefetch(bytearray(10), write=True)
    with pytest.raises(hal.InvalidArgument, match=r"prefetch-write.* is read-only"):
        cache.prefetch(b"abc", write=True)


def test_fences_stand_alone() -> None:
    """Their instructions are executed; that they order is the processor's part."""
    for fence in (cache.fence_store, cache.fence_load, cache.fence_full):
        fence()
        with pytest.raises(TypeError):
            fence(bytearray(64))  # type: ignore[call-arg]


# ---- copying and filling ------------------------------------------------------------------------


@given(st.integers(0, 3000), st.integers(0, 130), st.integers(0, 130))
def test_a_copy_arrives_and_touches_nothing_else(size: int, to: int, start: int) -> None:
    source = np.frombuffer(os.urandom(size + start), "u1")[start:]
    memory = np.full(size + to + 70, 0xEE, "u1")
    cache.copy_nt(memory[to : to + size], source)
    assert np.array_equal(memory[to : to + size], source)
    assert (memory[:to] == 0xEE).all()
    assert (memory[to + size :] == 0xEE).all()


@given(st.integers(0, 3000), st.integers(0, 130), st.integers(0, 255))
def test_a_fill_arrives_and_touches_nothing_else(size: int, to: int, byte: int) -> None:
    memory = np.full(size + to + 70, byte ^ 0xFF, "u1")
    cache.fill_nt(memory[to : to + size], byte)
    assert (memory[to : to + size] == byte).all()
    assert (memory[:to] == byte ^ 0xFF).all()
    assert (memory[to + size :] == byte ^ 0xFF).all()


def test_copies_between_types() -> None:
    numbers = np.arange(10, dtype="f4")
    copied = np.zeros(10, "f4")
    cache.copy_nt(copied, numbers)
    assert np.array_equal(copied, numbers)
    cache.copy_nt(copied, bytes(40))
    assert not copied.any()
    packed = bytearray(40)
    cache.copy_nt(packed, numbers)
    assert packed == numbers.tobytes()


@pytest.mark.parametrize(
    ("to", "source", "text"),
    [
        (np.zeros(10, "u1"), np.zeros(9, "u1"), "the destination has 10 bytes, the source 9"),
        (np.zeros(10, "u1"), np.zeros(11, "u1"), "the destination has 10 bytes, the source 11"),
        (np.zeros(10, "f4"), np.zeros(10, "i4"), 'elements are "f", the source\'s "i"'),
        (b"0123456789", np.zeros(10, "u1"), "the memory of this bytes is read-only"),
        (np.zeros(20, "u1")[::2], np.zeros(10, "u1"), "not in one piece"),
        (np.zeros(10, "u1"), np.zeros(20, "u1")[::2], "not in one piece"),
        (np.zeros(2, "O"), np.zeros(2, "O"), "Python objects"),
        (np.zeros(2, "M8[s]"), np.zeros(2, "M8[s]"), r"not give out its memory .*as numbers"),
    ],
)
def test_copies_that_are_refused(to: object, source: object, text: str) -> None:
    with pytest.raises(hal.InvalidArgument, match=text):
        cache.copy_nt(to, source)  # type: ignore[arg-type]


def test_a_copy_onto_itself_is_refused() -> None:
    memory = np.zeros(100, "u1")
    with pytest.raises(hal.InvalidArgument):
        cache.copy_nt(memory[:60], memory[40:])


@pytest.mark.parametrize(("byte", "good"), [(-1, False), (0, True), (255, True), (256, False)])
def test_a_byte_is_a_byte(byte: int, good: bool) -> None:
    memory = bytearray(100)
    if good:
        cache.fill_nt(memory, byte)
        assert memory == bytes([byte]) * 100
    else:
        with pytest.raises(hal.InvalidArgument, match=r"0 \.\. 255"):
            cache.fill_nt(memory, byte)


def test_threads_at_once() -> None:
    memory = np.zeros((4, HUGE), "u1")
    source = np.arange(HUGE, dtype="u4").astype("u1")

    def work(row: int) -> None:
        for _ in range(20):
            cache.copy_nt(memory[row], source)
            cache.flush(memory[row, ::64])

    threads = [threading.Thread(target=work, args=(row,)) for row in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (memory == source).all()


# ---- what is in use -----------------------------------------------------------------------------


def test_info_and_costs() -> None:
    info, costs = cache.info(), cache.measure()
    assert info.line in {32, 64, 128, 256}
    assert list(info.choices)[:5] == ["writeback", "flush", "invalidate", "persist", "sync"]
    assert all(choice.reason for choice in info.choices.values())
    assert set(costs.operations) <= set(info.choices)
    for name in SUPPORTED:
        if name != "prefetch":
            assert costs.operations[name].block > costs.read.block


def test_a_processor_without_instructions_says_so() -> None:
    code = (
        "import hal\n"
        "assert hal.cache.info().choices['flush'].instruction is None\n"
        "try:\n    hal.cache.flush(bytearray(100))\n"
        "except hal.Unsupported as error:\n    print(error)\n"
        "memory = bytearray(3)\n"
        "try:\n    hal.cache.copy_nt(memory, b'abc')\n"
        "except hal.Unsupported:\n    pass\n"
        "assert memory == b'abc'\n"
    )
    run = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "HAL_CACHE": "none"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    assert "flush" in run.stdout


def test_query_of_what_every_program_has(tmp_path: Path) -> None:
    facts = cache.query(np.zeros(100))
    assert (facts.kind, facts.flush, facts.shared, facts.io) == (
        "ordinary",
        "not needed",
        False,
        False,
    )
    path = tmp_path / "file"
    with hal.Memory.open(f"memory:{path}", size=20000, create=True) as device:
        array = device.array("u1")[10000:100:-3]
        facts = cache.query(array)
    assert (facts.shared, facts.path) == (True, str(path))
    start = array.__array_interface__["data"][0]
    assert facts.start <= start - (len(array) - 1) * 3
    assert start < facts.end


# ---- hal-probe cache ----------------------------------------------------------------------------


def probe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    program = find("hal-probe")
    assert program
    return subprocess.run(
        [program, "cache", *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def test_probe_prints_the_choice() -> None:
    run = probe()
    assert run.returncode == 0, run.stderr
    for name, choice in cache.info().choices.items():
        row = next(line for line in run.stdout.splitlines() if line.split()[:1] == [name])
        assert (choice.instruction or "-") in row


def test_probe_prints_json() -> None:
    from jsonschema import Draft202012Validator

    schema = Path(__file__).parent.parent / "docs/hal-probe.schema.json"
    validator = Draft202012Validator(json.loads(schema.read_text()))
    for environment in ({}, {"HAL_CACHE": "none"}, {"HAL_CACHE": "nonsense"}):
        run = probe("--json", **environment)
        data = json.loads(run.stdout)
        validator.validate(data)
        assert data["requested"] == environment.get("HAL_CACHE")
        assert (data["refused"] is None) == (environment.get("HAL_CACHE") != "nonsense")
        assert len(data["operations"]) == len(cache.info().choices)


# ---- every line once, fenced after --------------------------------------------------------------


def test_each_line_once_and_fenced_after(tmp_path: Path) -> None:
    """hal.cache with libhal's loops noting, in place of executing, each line and fence."""
    needs("cc")
    fixtures = Path(__file__).parent / "fixtures"
    recorder = tmp_path / "cache_recording.so"
    told = run(sys.executable, "-m", "hal", "--cflags", "--libs")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-shared", "-fPIC"]
    source = str(fixtures / "cache_recording.c")
    run("cc", *flags, source, *shlex.split(told), "-o", recorder)
    script = fixtures / "cache_recording.py"
    done = run(sys.executable, script, recorder, env={"LD_PRELOAD": str(recorder)})
    assert done == "all lines once, all fenced\n"
