# SPDX-License-Identifier: Apache-2.0
"""Which bound holds an access: a rule on measured figures.

The first that applies:

1. device: every access goes to the device.
2. bandwidth: the rate is at least BANDWIDTH of the highest at which this memory was read here, by
   any pattern and any number of threads.
3. tlb: huge pages would take away at least TLB of a load's latency.
4. latency: fewer than IN_FLIGHT lines a thread are on their way at a time.
5. parallelism: some are, but fewer than the peak takes.

Lines on their way at a time are rate x latency / 64 (Little 1961, "A Proof for the Queuing Formula
L = lambda W"), the latency being that of a load that waits for the one before.
"""

from __future__ import annotations

from dataclasses import dataclass

from .report import LINE, Bound

BANDWIDTH = 0.75
TLB = 0.25
IN_FLIGHT = 2.0


@dataclass(frozen=True)
class Evidence:
    """What is known of an access.

    Attributes:
        access: Its name.
        rate: Bytes per second.
        latency: Seconds of a load that waits for the one before.
        peak: The highest rate at which this memory was read, bytes per second.
        translation: Seconds of the latency that huge pages would take away; None: not known, or the
            pages are huge.
        width: Bytes of an access to device memory; 0: memory.
        threads: How many made that rate together.
        peak_threads: How many made the highest rate.
        dram: The highest rate at which DRAM was read here, bytes per second; 0: it was not.
    """

    access: str
    rate: float
    latency: float
    peak: float
    translation: float | None = None
    width: int = 0
    threads: int = 1
    peak_threads: int = 1
    dram: float = 0.0

    @property
    def in_flight(self) -> float:
        """Lines, or accesses to device memory, on their way at a time, of all threads."""
        return self.rate * self.latency / (self.width or LINE)


def judge(evidence: Evidence, helps: str = "") -> Bound:
    """Apply the rule.

    Args:
        evidence: What was measured.
        helps: What was seen to help here; "": the advice is what helps as a rule.
    """
    if evidence.width:
        kind = "device"
    elif evidence.rate >= BANDWIDTH * evidence.peak:
        kind = "bandwidth"
    elif evidence.translation and evidence.translation >= TLB * evidence.latency:
        kind = "tlb"
    elif evidence.in_flight < IN_FLIGHT * evidence.threads:
        kind = "latency"
    else:
        kind = "parallelism"
    statement, advice = _WORDS[kind](evidence)
    return Bound(evidence.access, kind, evidence.in_flight, statement, helps or advice)


def _ns(seconds: float) -> str:
    return f"{seconds * 1e9:.3g} ns" if seconds < 1e-6 else f"{seconds * 1e6:.3g} us"


def _rate(rate: float) -> str:
    return f"{rate / 1e9:.3g} GB/s" if rate >= 1e9 else f"{rate / 1e6:.3g} MB/s"


def _device(e: Evidence) -> tuple[str, str]:
    return (
        f"every access of {e.width} bytes goes to the device: {_ns(e.latency)} when each waits for "
        f"the one before, {_rate(e.rate)}, {e.in_flight:.2g} on their way at a time",
        "fewer and wider accesses; let the device copy (DMA); write-combining for stores",
    )


def _threads(count: int) -> str:
    return "one thread" if count == 1 else f"{count} threads"


def _bandwidth(e: Evidence) -> tuple[str, str]:
    dram = f"; DRAM {_rate(e.dram)}" if e.dram else ""
    return (
        f"bound by bandwidth: {_rate(e.rate)} are {e.rate / e.peak:.0%} of the highest rate at "
        f"which this memory was read ({_rate(e.peak)}, {_threads(e.peak_threads)}{dram})",
        "move fewer bytes: smaller elements, one pass instead of two, blocks that stay in the "
        "cache; stream what is not read again",
    )


def _tlb(e: Evidence) -> tuple[str, str]:
    gain = e.translation or 0.0
    return (
        f"bound by address translation (TLB): {_ns(gain)} of the {_ns(e.latency)} of a load "
        f"({gain / e.latency:.0%}) are gone with huge pages",
        "huge pages (memory:memfd:NAME?huge=2MiB, madvise); keep together what is used together",
    )


def _latency(e: Evidence) -> tuple[str, str]:
    return (
        f"bound by latency: {_ns(e.latency)} a line, {e.in_flight:.2g} lines on their way at a "
        f"time, {_rate(e.rate)} of {_rate(e.peak)}",
        "several lookups at a time instead of one after the other; prefetch; smaller structures",
    )


def _parallelism(e: Evidence) -> tuple[str, str]:
    wanted = e.peak * e.latency / LINE
    return (
        f"too few accesses at once: {e.in_flight:.3g} lines on their way at a time "
        f"({_rate(e.rate)} x {_ns(e.latency)} / {LINE} B); the highest rate here, "
        f"{_rate(e.peak)}, takes {wanted:.3g}",
        "more threads; software prefetch; accesses in order, which the processor fetches ahead",
    )


_WORDS = {
    "device": _device,
    "bandwidth": _bandwidth,
    "tlb": _tlb,
    "latency": _latency,
    "parallelism": _parallelism,
}
