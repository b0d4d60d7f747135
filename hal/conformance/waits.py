# SPDX-License-Identifier: Apache-2.0
"""Checks of everything that waits: deadlines, signals, cancel, unplug, close."""

from __future__ import annotations

import errno
import select
import signal
import threading
import time
from collections.abc import Callable

from .check import check
from .outcome import Broken, NotApplicable
from .raw import NOWAIT, PAST, RECORD, Raw, Stopwatch, after, last_error, name_of
from .subject import BEGIN, SOON, WAIT, Session
from .task import Task

AT_ONCE = 0.02
"""Seconds that a call which does not wait may take, at its best of five tries."""
SHORT = 0.02
FULL = 8 << 20
"""Bytes (or two seconds) after which a device that goes on taking them is held to be bottomless."""


def expect(result: int, number: int, what: str) -> None:
    """The result is this errno."""
    if result != -number:
        message = f" ({last_error()})" if result < 0 else ""
        raise Broken(f"{what} returned {name_of(result)}{message}, not {name_of(-number)}")


@check
def would_block(run: Session) -> str:
    """A read with HAL_NOWAIT that finds nothing returns -EAGAIN at once.

    Why: an event loop calls it for every device in turn; one that waits holds up all.

    See: hal/device.h, hal_read(); hal/deadline.h, HAL_NOWAIT; hal/driver.h, read
    """
    run.needs_waits()
    device = run.open()
    times = []
    for _ in range(5):
        clock = Stopwatch()
        expect(device.read(RECORD, NOWAIT).result, errno.EAGAIN, "a read with HAL_NOWAIT")
        times.append(clock.seconds)
    if min(times) > AT_ONCE:
        raise Broken(f"a read with HAL_NOWAIT took {min(times) * 1e3:.0f} ms at best")
    return f"-EAGAIN after {min(times) * 1e6:.0f} us"


@check
def deadline(run: Session) -> str:
    """A wait ends with -ETIMEDOUT at its deadline: not before, and not much later.

    Why: timeouts of protocols are built on it, and a wait that never ends hangs the program.

    See: hal/deadline.h; hal/device.h, "Time"; hal/driver.h, hal_device_wait()
    """
    run.needs_waits()
    device = run.open()
    clock = Stopwatch()
    expect(device.read(RECORD, after(SHORT)).result, errno.ETIMEDOUT, "a read of 20 ms")
    took = clock.seconds
    if took < SHORT:
        raise Broken(f"a read of 20 ms gave up after {took * 1e3:.2f} ms")
    if took > SOON:
        raise Broken(f"a read of 20 ms took {took * 1e3:.0f} ms")
    return f"{(took - SHORT) * 1e3:.2f} ms late"


@check
def past_deadline(run: Session) -> str:
    """A call whose deadline has passed does not wait, and does what can be done at once.

    Why: one deadline bounds several calls; the last of them often comes too late.

    See: hal/deadline.h, hal_deadline
    """
    run.needs_waits()
    device = run.open()
    clock = Stopwatch()
    expect(device.read(RECORD, PAST).result, errno.ETIMEDOUT, "a read with a deadline in the past")
    if clock.seconds > SOON:
        raise Broken(f"a read with a deadline in the past took {clock.seconds:.2f} s")
    took = clock.seconds
    if not run.facts.no_echo and run.subject.writes:
        device.send(b"x")
        _wait_for_input(device)
        got = device.read(RECORD, PAST)
        if got.data != b"x":
            raise Broken(
                f"a byte is there, and a read with a deadline in the past gave "
                f"{name_of(got.result)} ({last_error()})"
            )
    return f"{took * 1e6:.0f} us"


def _wait_for_input(device: Raw) -> None:
    if device.poll(select.POLLIN, after(WAIT)) == -errno.EOPNOTSUPP:
        time.sleep(BEGIN)  # it has come back by then


@check
def interrupted(run: Session) -> str:
    """A signal handler that runs during a wait ends it with -EINTR, and nothing is lost.

    Why: Ctrl-C must work in a program that waits; a timer's signal must not cost it a byte.

    See: hal/device.h, "Time"; hal/driver.h, "Errors"
    """
    run.needs_waits()
    device = run.open()
    echo = not run.facts.no_echo and run.subject.writes
    if echo:
        device.send(b"abc")
    clock = Stopwatch()
    with _signal_after(BEGIN):
        result = device.read_exact(8, after(WAIT)).result if echo else _read(device)
    expect(result, errno.EINTR, "a read during which a signal handler ran")
    if clock.seconds > BEGIN + SOON:
        raise Broken(f"the read ended {clock.seconds - BEGIN:.2f} s after the signal")
    if echo:
        device.send(b"defgh")
        got = device.read_exact(8, after(WAIT))
        if got.data != b"abcdefgh":
            raise Broken(f"after it, {got.data!r} ({name_of(got.result)}) came of b'abcdefgh'")
    return f"{(clock.seconds - BEGIN) * 1e3:.1f} ms after the signal" if not echo else "none lost"


def _read(device: Raw) -> int:
    return device.read(RECORD, after(WAIT)).result


class _signal_after:  # noqa: N801 - used as a function
    """Send this thread a signal, with a handler, so many seconds later."""

    def __init__(self, seconds: float) -> None:
        main = threading.get_ident()
        self._timer = threading.Timer(seconds, signal.pthread_kill, (main, signal.SIGUSR1))

    def __enter__(self) -> None:
        signal.signal(signal.SIGUSR1, lambda _number, _frame: None)
        self._timer.start()

    def __exit__(self, *_: object) -> None:
        self._timer.join()


def _in_background(call: Callable[[], int], what: str) -> Task[int]:
    task = Task(call)
    time.sleep(BEGIN)
    if not task.waits:
        raise NotApplicable(f"{what} does not wait here: {name_of(task.result(what))}")
    return task


def _ends(task: Task[int], began: float, what: str) -> tuple[int, str]:
    """The call's result, soon enough."""
    result = task.result(what)
    late = task.ended - began
    if late > SOON:
        raise Broken(f"{what} ended {late:.2f} s later, with {name_of(result)}")
    return result, f"{late * 1e3:.2f} ms"


@check
def cancel_read(run: Session) -> str:
    """A read that waits ends with -ECANCELED within 50 ms of hal_cancel(); later reads wait again.

    Why: a program that ends, or a user who presses "stop", must not wait for the device.

    See: hal/device.h, hal_cancel(); hal/driver.h, hal_device_wait()
    """
    run.needs_waits()
    device = run.open()
    task = _in_background(lambda: _read(device), "a read")
    began = time.monotonic()
    device.cancel()
    result, took = _ends(task, began, "a cancelled read")
    expect(result, errno.ECANCELED, "a cancelled read")
    expect(device.read(RECORD, after(SHORT)).result, errno.ETIMEDOUT, "a read after the cancel")
    return took


@check
def cancel_write(run: Session) -> str:
    """A write that waits ends within 50 ms of hal_cancel(), with -ECANCELED or the part taken.

    Why: a line that is held up by flow control would hold up the program for ever.

    See: hal/device.h, hal_cancel() and hal_write()
    """
    run.needs_writes()
    device = run.open()
    _fill(device)
    task = _in_background(lambda: device.write(bytes(FULL), after(WAIT)), "a write")
    began = time.monotonic()
    device.cancel()
    result, took = _ends(task, began, "a cancelled write")
    if result < 0:
        expect(result, errno.ECANCELED, "a cancelled write")
    return took


def _fill(device: Raw) -> None:
    taken = 0
    clock = Stopwatch()
    while taken < FULL and clock.seconds < 2 * SOON:
        result = device.write(bytes(65536), after(BEGIN))
        if result in (-errno.EAGAIN, -errno.ETIMEDOUT):
            return
        if result < 0:
            raise NotApplicable(f"it cannot be filled: {last_error()}")
        taken += result
    raise NotApplicable(f"writes do not wait here: {taken} bytes were taken")


@check
def unplug(run: Session) -> str:
    """A wait ends with -ENODEV within 50 ms of the unplugging, and so does every later read.

    Why: a program can only look for the device anew when it is told that this one is gone.

    See: hal/device.h, "Time"; hal/driver.h, "Errors"
    """
    device = run.open()
    if run.facts.no_wait and device.read(1, NOWAIT).result < 0:
        raise NotApplicable(run.facts.no_wait)
    pull = run.unplug(device)
    took = "reads do not wait"
    if not run.facts.no_wait:
        task = _in_background(lambda: _read(device), "a read")
        began = time.monotonic()
        pull()
        result, took = _ends(task, began, "a read of what is unplugged")
        _gone(result, "a read of what is unplugged")
    else:
        pull()
    _gone(device.read(RECORD, after(SOON)).result, "the next read")
    if run.subject.writes:
        _gone(device.write(b"x", after(SOON)), "a write after that")
    return took


def _gone(result: int, what: str) -> None:
    if result not in (-errno.ENODEV, -errno.ENXIO):
        expect(result, errno.ENODEV, what)


@check
def close_waiting(run: Session) -> str:
    """hal_close() ends a read that waits with -ECANCELED, and returns once it has left.

    Why: the thread that closes and the one that reads are different ones in most programs.

    See: hal/device.h, hal_close(); hal/driver.h, fini
    """
    run.needs_waits()
    device = run.open()
    task = _in_background(lambda: _read(device), "a read")
    clock = Stopwatch()
    began = time.monotonic()
    closed = device.close()
    took = clock.seconds
    if closed:
        raise Broken(f"hal_close returned {name_of(closed)}")
    if took > SOON:
        raise Broken(f"hal_close took {took:.2f} s while a read waited")
    result, late = _ends(task, began, "a read of what was closed")
    expect(result, errno.ECANCELED, "a read of what was closed")
    return late
