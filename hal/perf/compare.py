# SPDX-License-Identifier: Apache-2.0
"""A naive and an improved access, side by side, and what follows from their figures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .plan import COMBINING, DRAM, HUGE, TARGET
from .report import Comparison, Point, Target, find

GAIN = 1.1
"""So many times faster counts as faster; so many times slower as slower."""


@dataclass(frozen=True)
class Side:
    """One of the two accesses.

    Attributes:
        text: What it is.
        pattern: Which pattern.
        memory: Of which memory.
        threads: How many; 0: those of the report.
        width: Of device memory; -1: any.
    """

    text: str
    pattern: str
    memory: str = TARGET
    threads: int = 0
    width: int = -1


@dataclass(frozen=True)
class Pair:
    """What is compared.

    Attributes:
        name: In one word or two.
        naive: As one writes it first.
        improved: As it can be written.
        advice: What to do when that is faster.
    """

    name: str
    naive: Side
    improved: Side
    advice: str


def pairs(processors: int) -> tuple[Pair, ...]:
    """What is compared, where it was measured."""
    return (
        Pair(
            "alignment",
            Side("random records of 64 bytes, 8 bytes off a line", "read-random-unaligned"),
            Side("the same, each in one line", "read-random"),
            "align records to 64 bytes (numpy: an offset and strides of 64)",
        ),
        Pair(
            "order",
            Side("lines in random order", "read-random"),
            Side("lines in order", "read"),
            "go through memory in order: sort indices, keep together what is used together",
        ),
        Pair(
            "batch",
            Side("random lookups, each waits for the one before", "latency"),
            Side("eight lookups at a time", "read-8-chains"),
            "look up several keys at a time",
        ),
        Pair(
            "prefetch",
            Side("random lines", "read-random"),
            Side("the same, hal_prefetch_read() 16 lines ahead", "read-random-prefetched"),
            "prefetch what is known to be read soon (hal.cache.prefetch, hal_prefetch_read)",
        ),
        Pair(
            "threads",
            Side("reading in order, one thread", "read", threads=1),
            Side(f"{processors} threads", "read", threads=processors),
            f"share the work among {processors} threads",
        ),
        Pair(
            "streaming fill",
            Side("ordinary stores", "write"),
            Side("hal_fill_nt()", "write-nt"),
            "write what is not read soon by hal.cache.fill_nt, hal_fill_nt",
        ),
        Pair(
            "streaming copy",
            Side("ordinary copy into it", "copy-in"),
            Side("hal_copy_nt()", "copy-in-nt"),
            "copy what is not read soon by hal.cache.copy_nt, hal_copy_nt",
        ),
        Pair(
            "flush",
            Side("a write-back and a fence a line", "flush-lines"),
            Side("64 KiB written back, one fence", "flush-range"),
            "give ranges to hal.cache.persist or sync, not lines",
        ),
        Pair(
            "page size",
            Side("DRAM in pages of 4 KiB, dependent loads", "latency", DRAM),
            Side("DRAM in huge pages", "latency", HUGE),
            "huge pages: memory:memfd:NAME?huge=2MiB, madvise(MADV_HUGEPAGE)",
        ),
        Pair(
            "width",
            Side("loads of 4 bytes", "load", width=4),
            Side("loads of 8 bytes", "load", width=8),
            "read by the widest access that the device takes",
        ),
        Pair(
            "width of stores",
            Side("stores of 4 bytes", "store", width=4),
            Side("stores of 8 bytes", "store", width=8),
            "write by the widest access that the device takes",
        ),
        Pair(
            "write-combining",
            Side("stores of 8 bytes, uncached", "store", width=8),
            Side("hal_fill_nt(), write-combining", "write-nt", COMBINING),
            "map it with write_combine=True, write whole lines, then a store fence",
        ),
    )


def compare(
    points: Sequence[Point], target: Target, threads: int, processors: int
) -> tuple[Comparison, ...]:
    """The comparisons of which both sides were measured, on blocks of one size."""
    found = []
    for pair in pairs(processors):
        if pair.naive.threads == pair.improved.threads == 1:  # one processor: nothing to compare
            continue
        naive = _side(points, pair.naive, threads)
        improved = _side(points, pair.improved, threads)
        if naive is not None and improved is not None and naive.block == improved.block:
            found.append(_comparison(pair, naive, improved, target))
    return tuple(found)


_FOR = {
    "sequential read": ("threads", "width"),
    "random read": ("prefetch", "order", "page size"),
    "dependent read": ("batch", "page size"),
}


def helps(access: str, comparisons: Sequence[Comparison], *, huge: bool) -> str:
    """What was seen to make an access faster; "": nothing was.

    Args:
        access: As in Bound.
        comparisons: What was compared.
        huge: Whether its pages are huge already.
    """
    found = [
        f"{pair.advice} ({pair.ratio:.1f} times as fast here)"
        for pair in comparisons
        if pair.name in _FOR[access] and pair.ratio >= GAIN and pair.certain
        if not (huge and pair.name == "page size")
    ]
    return "; ".join(found)


def _side(points: Sequence[Point], side: Side, threads: int) -> Point | None:
    quiet = [point for point in points if not point.disturbed]
    return find(quiet, side.pattern, side.memory, 0, side.threads or threads, side.width)


def _comparison(pair: Pair, naive: Point, improved: Point, target: Target) -> Comparison:
    ratio = improved.rate / naive.rate
    certain = naive.rates[2] < improved.rates[0] or improved.rates[2] < naive.rates[0]
    unit = naive.unit if naive.unit == improved.unit else "B/s"
    values = [p.figure.median if p.unit == unit else p.rate for p in (naive, improved)]
    return Comparison(
        name=pair.name,
        block=naive.block,
        naive=pair.naive.text,
        improved=pair.improved.text,
        unit=unit,
        naive_value=values[0],
        improved_value=values[1],
        ratio=ratio,
        certain=certain,
        advice=advice(pair, ratio, target, certain=certain),
    )


def advice(pair: Pair, ratio: float, target: Target, *, certain: bool) -> str:
    """What follows from how many times faster the improved access is."""
    if pair.name == "flush" and target.flush == "not needed":
        return "this memory needs no flush: a fence is enough (hal.cache.query)"
    if 1 < ratio * GAIN < GAIN * GAIN:
        return "no difference here: leave it as it is"
    if not certain:
        return "not certain: measure again, with more rounds (--rounds, rounds=)"
    return pair.advice if ratio >= GAIN else "slower here: leave it as it is"
