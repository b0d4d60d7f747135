# SPDX-License-Identifier: Apache-2.0
"""A device of another machine, by hal://, beside bare mutual TLS and the device servers there are.

Everything is on one machine, each server a process of its own. What the bare TLS and ours do is
called from Python in the same way (ctypes), so that Python's share is the same.
"""

from __future__ import annotations

import ctypes
import random
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import hal
from hal.batch import Load

from ..rounds import Row
from .parties import Parties, parties, s_server, s_time

SIZE = 64
TURNS, CALLS = 150, 40
"""Of the small reads: how often each takes its turn, and calls a turn."""
REGISTERS = 16
"""Loads in a batch."""
BULK, BLOCK = 64 << 20, 1 << 20
BULK_TURNS = 25
LINK_TURNS, LINK_SECONDS = 3, 2
CROWD, CROWD_SECONDS, CROWD_MOST = 100, 4.0, 20_000


def rows() -> list[Row]:
    """All rows of this module."""
    with tempfile.TemporaryDirectory() as folder, parties(Path(folder)) as all_:
        return all_.place.call(
            lambda: [
                *_small(all_),
                _batch(all_),
                *_bulk(all_),
                _links(all_),
                *_many(all_),
                *_missing(all_),
            ]
        )


def _missing(all_: Parties) -> list[Row]:
    return [
        Row(f"{name}: not measured", 0, {}, unit="", note=why) for name, why in all_.missing.items()
    ]


# ---- calls by ctypes -----------------------------------------------------------------------------


class Native:
    """libhal and the bare TLS, called alike."""

    def __init__(self, all_: Parties) -> None:
        self.hal = ctypes.CDLL(_libhal())
        self.bare = ctypes.CDLL(str(all_.library))
        self.bare.bare_connect.restype = ctypes.c_void_p
        self.hal.hal_read_at.restype = self.hal.hal_read.restype = ctypes.c_ssize_t
        self._folder, self._port = str(all_.folder).encode(), all_.bare
        self.room = ctypes.create_string_buffer(BLOCK)

    def connect(self, what: bytes) -> ctypes.c_void_p:
        """A bare connection."""
        link = ctypes.c_void_p(
            self.bare.bare_connect(self._folder, self._port, ctypes.c_char(what))
        )
        assert link, "the bare server is not reached"
        return link

    def reader(self, device: hal.Device, size: int) -> Callable[[], object]:
        """Reads a far memory at its beginning; arguments are made before, as those of the echo."""
        handle, length = ctypes.c_int64(device.handle), ctypes.c_size_t(size)
        offset, until = ctypes.c_uint64(0), ctypes.c_int64(_FOREVER)
        read_at, room = self.hal.hal_read_at, self.room
        assert read_at(handle, room, length, offset, until) == size
        return lambda: read_at(handle, room, length, offset, until)

    def echoer(self, link: ctypes.c_void_p) -> Callable[[], object]:
        """Has 64 bytes come back over a bare connection."""
        echo, room = self.bare.bare_echo, self.room
        assert not echo(link, room)
        return lambda: echo(link, room)

    def read(self, device: hal.Device) -> int:
        """What has come of a far stream."""
        got = self.hal.hal_read(
            ctypes.c_int64(device.handle), self.room, ctypes.c_size_t(BLOCK),
            ctypes.c_int64(_FOREVER),
        )  # fmt: skip
        assert got > 0, got
        return int(got)

    def copy(self, link: ctypes.c_void_p, count: int) -> None:
        """So many bytes by bare TLS."""
        room = ctypes.c_size_t(BLOCK)
        assert not self.bare.bare_copy(link, ctypes.c_uint64(count), self.room, room)


_FOREVER = (1 << 63) - 1


def _libhal() -> str:
    from hal.__main__ import LIB

    return str(LIB / "libhal.so.1")


# ---- small reads ---------------------------------------------------------------------------------


def _small(all_: Parties) -> list[Row]:
    native = Native(all_)
    echo = native.connect(b"e")
    with hal.open(all_.uri("memory"), timeout=5) as device:
        calls: dict[str, Callable[[], object]] = {
            "hal": native.reader(device, SIZE),
            "bare mTLS": native.echoer(echo),
        }
        closing = _peers(all_, calls)
        try:
            found = _latencies(calls)
        finally:
            for close in closing:
                close()
    median = {name: statistics.median(times) / 1e3 for name, times in found.items()}
    worst = {name: statistics.quantiles(times, n=100)[98] / 1e3 for name, times in found.items()}
    goals = {
        "bare mTLS": "<= 1.30", "iiod": "<= 1.00", "SoapyRemote": "<= 1.50", "gRPC mTLS": ">= 10.0",
    }  # fmt: skip
    made = []
    for peer, goal in goals.items():
        if peer in median:
            ratio = median["hal"] / median[peer]
            ratio = 1 / ratio if goal.startswith(">=") else ratio
            made.append(
                Row(
                    f"remote read, 64 B, p50 ({peer})", median["hal"], {peer: median[peer]}, goal,
                    ratio, "us",
                )
            )  # fmt: skip
    ours = worst.pop("hal")
    return [*made, Row("remote read, 64 B, p99", ours, worst, unit="us")]


def _peers(all_: Parties, calls: dict[str, Callable[[], object]]) -> list[Callable[[], None]]:
    """Add the peers that are there; what ends them."""
    from . import grpc_peer, iio, soapy

    rpc = grpc_peer.Client(all_.folder, all_.name, all_.grpc)
    calls["gRPC mTLS"] = rpc.read
    closing: list[Callable[[], None]] = [rpc.close]
    for name, kind in (("iiod", iio.Client), ("SoapyRemote", soapy.Client)):
        if name in all_.missing:
            continue
        try:
            client = kind()
        except OSError as error:
            all_.missing[name] = str(error)
            continue
        calls[name] = client.read
        closing.append(client.close)
    return closing


def _latencies(calls: Mapping[str, Callable[[], object]]) -> dict[str, list[int]]:
    """Nanoseconds of each call; contestants take turns."""
    times: dict[str, list[int]] = {name: [] for name in calls}
    order = list(calls)
    shuffle = random.Random(7).shuffle
    clock = time.perf_counter_ns
    for turn in range(-5, TURNS):
        shuffle(order)
        for name in order:
            call, taken = calls[name], []
            for _ in range(CALLS):
                start = clock()
                call()
                taken.append(clock() - start)
            if turn >= 0:
                times[name] += taken
    return times


# ---- many registers ------------------------------------------------------------------------------


def _batch(all_: Parties) -> Row:
    """Registers of a far memory, by one batch and by as many calls."""
    with hal.open(all_.uri("memory"), timeout=5) as device:
        loads = [Load(4 * index) for index in range(REGISTERS)]

        def one_by_one() -> None:
            for index in range(REGISTERS):
                device.load(4 * index)

        found = _latencies({"batch": lambda: device.batch(loads), "single": one_by_one})
    batch, single = (statistics.median(found[name]) / 1e3 for name in ("batch", "single"))
    name = f"remote registers, {REGISTERS} loads"
    return Row(name, batch, {"one by one": single}, "", single / batch, "us")


# ---- many bytes ----------------------------------------------------------------------------------


def _bulk(all_: Parties) -> list[Row]:
    from . import grpc_peer, soapy

    native = Native(all_)
    memory, piped = native.connect(b"m"), native.connect(b"p")
    rpc = grpc_peer.Client(all_.folder, all_.name, all_.grpc)
    with (
        hal.open(all_.uri("memory"), timeout=5) as blocks,
        hal.open(all_.uri("stream"), timeout=5) as stream,
    ):
        read_block = native.reader(blocks, BLOCK)

        def by_blocks() -> None:
            for _ in range(BULK // BLOCK):
                assert read_block() == BLOCK

        def by_stream() -> None:
            left = BULK
            while left > 0:
                left -= native.read(stream)

        calls: dict[str, Callable[[], object]] = {
            "blocks": by_blocks,
            "stream": by_stream,
            "bare mTLS": lambda: native.copy(memory, BULK),
            "bare mTLS of a pipe": lambda: native.copy(piped, BULK),
            "gRPC mTLS": lambda: rpc.take(BULK),
        }
        sdr = None
        if "SoapyRemote" not in all_.missing:
            sdr = soapy.Client()
            sdr.start()
            calls["SoapyRemote TCP"] = partial(sdr.take, BULK)
        try:
            speed = _speeds(calls)
        finally:
            rpc.close()
            if sdr:
                sdr.close()
    peers = [name for name in ("SoapyRemote TCP", "gRPC mTLS") if name in speed]
    made = []
    for what, bare in (("blocks", "bare mTLS"), ("stream", "bare mTLS of a pipe")):
        made += [
            Row(
                f"remote {what}, MB/s ({peer})", speed[what], {peer: speed[peer]},
                ">= 0.90" if peer == bare else ">= 1.00", speed[what] / speed[peer], "MB/s",
            )
            for peer in (bare, *peers)
        ]  # fmt: skip
    return made


def _speeds(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """MB/s, the median; contestants take turns."""
    speeds: dict[str, list[float]] = {name: [] for name in calls}
    order = list(calls)
    shuffle = random.Random(7).shuffle
    for turn in range(-1, BULK_TURNS):
        shuffle(order)
        for name in order:
            start = time.perf_counter()
            calls[name]()
            if turn >= 0:
                speeds[name].append(BULK / 1e6 / (time.perf_counter() - start))
    return {name: statistics.median(found) for name, found in speeds.items()}


# ---- new links -----------------------------------------------------------------------------------


def _links(all_: Parties) -> Row:
    ours, theirs = [], []
    server, port = s_server(all_)
    try:
        with hal.open(all_.uri("memory"), timeout=5):  # The device itself stays open over there.
            for _ in range(LINK_TURNS):
                start = time.perf_counter()
                count, said = s_time(all_, port, LINK_SECONDS)
                assert count, said
                theirs.append(count / (time.perf_counter() - start))
                ours.append(_links_a_second(all_))
    finally:
        server.close()
    mine, peer = statistics.median(ours), statistics.median(theirs)
    note = "ours with tokens judged by both ends, a lease, and the device's attributes told"
    name = "new secure links a second"
    return Row(name, mine, {"openssl s_time": peer}, ">= 0.80", mine / peer, "/s", note)


def _links_a_second(all_: Parties) -> float:
    count, start = 0, time.perf_counter()
    while time.perf_counter() - start < LINK_SECONDS:
        hal.open(all_.uri("memory"), timeout=5).close()
        count += 1
    return count / (time.perf_counter() - start)


# ---- many clients --------------------------------------------------------------------------------


def _many(all_: Parties) -> list[Row]:
    """100 links at once, each read by a thread of its own as fast as it can."""
    native = Native(all_)
    before = all_.resident()
    devices = [hal.open(all_.uri("memory"), timeout=10) for _ in range(CROWD)]
    times = (ctypes.c_uint32 * (CROWD * CROWD_MOST))()
    counts = (ctypes.c_uint32 * CROWD)()
    try:
        handles = (ctypes.c_int64 * CROWD)(*(device.handle for device in devices))
        failed = native.bare.crowd(
            handles, CROWD, ctypes.c_double(CROWD_SECONDS), times, CROWD_MOST, counts
        )
        assert not failed, "a read failed"
        each = (all_.resident() - before) / CROWD / 1024
    finally:
        for device in devices:
            device.close()
    taken = sorted(times[who * CROWD_MOST + i] for who in range(CROWD) for i in range(counts[who]))
    mean, least = statistics.mean(counts), min(counts)
    p50, p99 = (taken[int(len(taken) * part)] / 1e3 for part in (0.5, 0.99))
    total = sum(counts) / CROWD_SECONDS
    return [
        Row(
            f"{CROWD} links at once, p99", p99, {"p50": p50}, unit="us",
            note=f"{total:,.0f} reads/s in all",
        ),
        Row(
            f"{CROWD} links at once, fairness", least / mean, {"most": max(counts) / mean},
            unit="of the mean", note="reads of the least served link, and of the most served",
        ),
        Row(f"agent's memory a link, of {CROWD}", each, {}, "<= 256", each, "KiB"),
    ]  # fmt: skip
