# SPDX-License-Identifier: Apache-2.0
"""What hal-probe test does to a device: steps that pass or fail, with numbers.

What goes into a device is written only where it is safe: into a loopback, or when the user says
that the device gives back what it gets.
"""

from __future__ import annotations

import select
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from statistics import median, quantiles

import hal
from hal import Access

from .outcome import Exit, exit_code

WAIT = 2.0
"""Seconds after which a step that waits for bytes has failed."""

ROOM = 4096
"""Bytes that a read has room for: some devices give whole records (events, counts), and no less."""

ALL_BYTES = bytes(range(256))


class Wrong(Exception):
    """A step's finding: the device did something else than it should."""


@dataclass
class Step:
    """One step of a test.

    Attributes:
        name: What is tried.
        result: "pass", "fail" or "skip".
        text: What was found, or why it failed or was left out.
        numbers: What was measured: seconds, bytes, counts (by their names).
        code: The exit code that its failure gives.
    """

    name: str
    result: str = "pass"
    text: str = ""
    numbers: dict[str, float] = field(default_factory=dict)
    code: Exit = Exit.FAILED

    def timed(self, seconds: float) -> None:
        """Note how long it took."""
        self.numbers["seconds"] = seconds
        self.text = f"{seconds * 1e3:.2f} ms"

    def as_dict(self) -> dict[str, object]:
        """The step as plain data."""
        return {
            "step": self.name,
            "result": self.result,
            "text": self.text,
            "numbers": self.numbers,
        }


class Exercise:
    """A test as it runs.

    Attributes:
        steps: What was done so far.
    """

    def __init__(self) -> None:
        self.steps: list[Step] = []

    @property
    def code(self) -> Exit:
        """The exit code: that of the first step that failed."""
        return next((step.code for step in self.steps if step.result == "fail"), Exit.OK)

    @property
    def failed(self) -> bool:
        """Has the last step failed?"""
        return bool(self.steps) and self.steps[-1].result == "fail"

    @contextmanager
    def step(self, name: str) -> Iterator[Step]:
        """Run a step; whatever goes wrong in it is its result, and the test goes on."""
        step = Step(name)
        self.steps.append(step)
        try:
            yield step
        except hal.Unsupported as error:
            step.result, step.text = "skip", str(error)
        except hal.Error as error:
            step.result, step.text, step.code = "fail", str(error), exit_code(error)
        except Wrong as wrong:
            step.result, step.text = "fail", str(wrong)

    def skip(self, name: str, why: str) -> None:
        """Say that something is not tried."""
        self.steps.append(Step(name, "skip", why))

    def open(self, uri: str, timeout: float) -> hal.Device | None:
        """Open the device; None when that fails."""
        device = None
        with self.step("open") as step:
            began = time.perf_counter()
            device = hal.open(uri, timeout=timeout)
            step.timed(time.perf_counter() - began)
            device.timeout = WAIT
            memory = device.describe()["memory"]
            step.numbers["memory"] = memory
            step.text += f", driver {device.driver}, {memory} B held by the library"
        return device


# ---- any device ----------------------------------------------------------------------------------


def attributes(run: Exercise, device: hal.Device) -> None:
    """Read every attribute once, and see that a value lies within what is declared."""
    with run.step("attributes") as step:
        began = time.perf_counter()
        described = [a for a in device.attributes.describe_all() if a.access & Access.READ]
        read = sum(_within(device, attribute) for attribute in described)
        seconds = time.perf_counter() - began
        step.timed(seconds)
        step.numbers |= {"read": read, "unsupported": len(described) - read}
        step.text += f", {read} read, {len(described) - read} this device does not have"


def _within(device: hal.Device, attribute: hal.Attribute) -> bool:
    try:
        value = device.attributes[attribute.name]
    except hal.Unsupported:
        return False
    low, high = attribute.range or (float("-inf"), float("inf"))
    if isinstance(value, (int, float)) and not low <= value <= high:
        raise Wrong(f"{attribute.name} is {value}, outside {low:g} .. {high:g}")
    if attribute.choices and value not in attribute.choices:
        raise Wrong(f"{attribute.name} is {value!r}, not one of {', '.join(attribute.choices)}")
    return True


def waits(run: Exercise, device: hal.Device) -> None:
    """See that waits end in time: by their deadline, and when another thread cancels them."""
    if _readable(device):
        why = "reads do not wait here, or do something to the device"
        run.skip("deadline, cancel", why)
        return
    deadline(run, device)
    cancel(run, device)


def _readable(device: hal.Device) -> bool:
    """Would a read return at once, also when what a line had queued is read away?"""
    for _ in range(64):
        try:
            device.poll(select.POLLIN, timeout=0.01)
        except (hal.Timeout, hal.WouldBlock):
            return False
        except hal.Unsupported:
            return True
        if not isinstance(device, hal.Uart):  # A read from a bus may do something to the device.
            return True
        device.read(65536, timeout=0)
    return True


def deadline(run: Exercise, device: hal.Device, seconds: float = 0.1) -> None:
    """Wait for a byte that does not come: the wait ends when it should."""
    with run.step("deadline") as step:
        began = time.perf_counter()
        try:
            got = device.read(ROOM, timeout=seconds)
        except hal.Timeout:
            took = time.perf_counter() - began
        else:
            step.result, step.text = "skip", f"something came in ({got!r:.60})"
            return
        if not seconds <= took < seconds + 1:
            raise Wrong(f"a wait of {seconds} s ended after {took:.3f} s")
        step.numbers["late_seconds"] = took - seconds
        step.text = f"{(took - seconds) * 1e3:.2f} ms late"


def cancel(run: Exercise, device: hal.Device) -> None:
    """End a wait from another thread."""
    with run.step("cancel") as step:
        ended = in_thread(lambda: device.read(ROOM, timeout=WAIT))
        time.sleep(0.05)  # So that the thread is likely to wait; a cancel beforehand ends nothing.
        began = time.perf_counter()
        device.cancel()
        error = ended()
        if isinstance(error, bytes):
            step.result, step.text = "skip", f"something came in ({error!r:.60})"
            return
        if not isinstance(error, hal.Cancelled):
            raise Wrong(f"a wait that was cancelled ended with {error!r}")
        step.timed(time.perf_counter() - began)


def close(run: Exercise, device: hal.Device) -> None:
    """Close the device; a use after that gives an error."""
    with run.step("close") as step:
        began = time.perf_counter()
        device.close()
        step.timed(time.perf_counter() - began)
        try:
            device.read(1, timeout=0)
        except hal.Closed:
            return
        raise Wrong("a read after close did not fail")


def in_thread(work: Callable[[], object]) -> Callable[[], object]:
    """Start `work` in a thread; what is returned waits for it and gives its result or error."""
    outcome: list[object] = []

    def body() -> None:
        try:
            outcome.append(work())
        except hal.Error as error:
            outcome.append(error)

    thread = threading.Thread(target=body, daemon=True)
    thread.start()

    def wait() -> object:
        thread.join(2 * WAIT)
        return outcome[0] if outcome else "no end at all"

    return wait


# ---- devices that give back what they get --------------------------------------------------------


@dataclass(frozen=True)
class Ends:
    """Two ends of a line.

    Attributes:
        send: Writes all of some bytes.
        receive: Reads that many bytes, or raises.
        direction: Which way, for people.
    """

    send: Callable[[bytes], object]
    receive: Callable[[int], bytes]
    direction: str


def patterns(run: Exercise, ends: Ends) -> None:
    """Every byte value, runs of bytes that hardware trips over, and sizes around a page."""
    with run.step(f"all bytes, {ends.direction}") as step:
        page = ALL_BYTES * 16
        messages = [ALL_BYTES, ALL_BYTES[::-1], b"\0" * 255, b"\xff" * 255, b"\x55\xaa" * 100]
        messages += [b"\x11\x13\x03\x04\x1a\r\n\xff\xff\0" * 20, page[:-1], page]
        for message in messages:
            ends.send(message)
            got = ends.receive(len(message))
            if got != message:
                raise Wrong(_difference(message, got))
        step.numbers["bytes"] = sum(map(len, messages))
        step.text = "256 values, none changed"


def _difference(sent: bytes, got: bytes) -> str:
    if len(sent) != len(got):
        return f"{len(sent)} bytes were sent, {len(got)} came"
    at = next(index for index, (a, b) in enumerate(zip(sent, got, strict=True)) if a != b)
    return f"byte {at} was sent as 0x{sent[at]:02x} and came as 0x{got[at]:02x}"


def throughput(run: Exercise, ends: Ends, total: int) -> None:
    """Move `total` bytes while the other end reads."""
    with run.step(f"throughput, {ends.direction}") as step:
        block = ALL_BYTES * 8
        began = time.perf_counter()
        sender = in_thread(lambda: [ends.send(block) for _ in range(total // len(block))])
        for _ in range(total // len(block)):
            if ends.receive(len(block)) != block:
                raise Wrong("bytes were changed, lost or exchanged")
        seconds = time.perf_counter() - began
        if isinstance(error := sender(), Exception):
            raise Wrong(f"the sender failed: {error}")
        step.numbers = {"bytes": total, "bytes_per_second": total / seconds}
        step.text = f"{total / seconds / 1e6:.1f} MB/s"


def latency(run: Exercise, exchange: Callable[[bytes], bytes], count: int, what: str) -> None:
    """The time of `count` exchanges of 64 bytes."""
    with run.step(f"latency, {what}") as step:
        took = []
        for index in range(count):
            message = ALL_BYTES[index % 192 :][:64]
            began = time.perf_counter()
            answer = exchange(message)
            took.append(time.perf_counter() - began)
            if answer != message:
                raise Wrong(_difference(message, answer))
        p50, p99 = median(took), quantiles(took, n=100)[98]
        step.numbers = {"exchanges": count, "p50_seconds": p50, "p99_seconds": p99}
        step.text = f"64 bytes there and back: p50 {p50 * 1e6:.1f} us, p99 {p99 * 1e6:.1f} us"


def lines(run: Exercise, device: hal.Device, send: Callable[[bytes], object], count: int) -> None:
    """Read lines of 64 bytes, one by one."""
    with run.step("readline") as step:
        sent = [b"%063d\n" % index for index in range(count)]
        took = 0.0
        for start in range(0, count, 32):  # 2 KiB at once: any tty's queue holds that.
            send(b"".join(sent[start : start + 32]))
            began = time.perf_counter()
            got = [device.readline() for _ in sent[start : start + 32]]
            took += time.perf_counter() - began
            if got != sent[start : start + 32]:
                raise Wrong(f"line {start} .. {start + 31}: not what was sent")
        step.numbers = {"lines": count, "lines_per_second": count / took}
        step.text = f"{took / count * 1e6:.1f} us a line of 64 bytes"
