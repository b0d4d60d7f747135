# SPDX-License-Identifier: Apache-2.0
"""Checks of a device's life: opening, closing, forking, and what is left behind."""

from __future__ import annotations

import errno
import gc
import os
import select
from collections.abc import Callable
from pathlib import Path
from typing import Any

from cffi import FFI

from hal._abi import ffi, lib

from .check import check
from .outcome import Broken, NotApplicable
from .raw import NOWAIT, PAST, RECORD, OpenFailed, Raw, Stopwatch, after, last_error, name_of
from .subject import SOON, WAIT, Session

CYCLES = 200
ROUNDS = 24
"""Of a third of the cycles each: a leak goes on in all of them, a library's caches fill up."""
LEAST = 16
"""Bytes a cycle of opening and closing that are held to be a leak: malloc's smallest piece."""


@check
def opening(run: Session) -> str:
    """A device opens, says what it is, closes, and opens again.

    Why: a program that recovers from a fault does just that.

    See: hal/device.h, hal_open() and hal_describe(); hal/driver.h, init and fini
    """
    clock = Stopwatch()
    device = run.open()
    took = clock.seconds
    about = device.describe()
    driver = os.fsdecode(ffi.string(about.driver))
    if about.memory > 1 << 20:
        raise Broken(f"{about.memory} bytes are held for a device that has done nothing")
    for _ in range(2):
        result = device.close()
        if result:
            raise Broken(f"hal_close: {name_of(result)} ({last_error()})")
        try:
            device = run.open()
        except OpenFailed as error:
            raise Broken(f"opened again after a close: {error}") from None
    _late(run, device)
    return f"{took * 1e3:.2f} ms, driver {driver}"


def _late(run: Session, device: Raw) -> None:
    """An opening whose deadline has passed may succeed or not, but must not wait."""
    device.close()
    clock = Stopwatch()
    try:
        Raw(run.next_uri(), PAST).close()
    except OpenFailed as error:
        if error.result not in (-errno.ETIMEDOUT, -errno.EAGAIN):
            raise
    if clock.seconds > SOON:
        raise Broken(f"an opening whose deadline had passed took {clock.seconds:.2f} s")


@check
def double_close(run: Session) -> str:
    """After hal_close() every call gives -EBADF, also a second hal_close().

    Why: with several threads somebody is always late; they must not meet another device.

    See: hal/device.h, "Handles"
    """
    device = run.open()
    if result := device.close():
        raise Broken(f"hal_close: {name_of(result)}")
    _all_give(device, errno.EBADF)
    return "every call gives -EBADF"


def _all_give(device: Raw, number: int) -> None:
    """Every call gives this errno, with a message."""
    segment = ffi.new("struct hal_segment[1]")
    room = ffi.new("char[8]")
    calls: tuple[tuple[str, Callable[[], int]], ...] = (
        ("hal_read", lambda: device.read(8, NOWAIT).result),
        ("hal_write", lambda: device.write(b"x", NOWAIT)),
        ("hal_transfer", lambda: device.transfer(segment, 1, NOWAIT)),
        ("hal_control", lambda: device.control(1, room, 8, NOWAIT)),
        ("hal_batch", lambda: int(lib.hal_batch(device.handle, ffi.NULL, 0, NOWAIT))),
        ("hal_load", lambda: device.load(0, 4)[0]),
        ("hal_store", lambda: device.store(0, 4, 0)),
        ("hal_read_at", lambda: device.read_at(8, 0, NOWAIT).result),
        ("hal_write_at", lambda: device.write_at(b"x", 0, NOWAIT)),
        ("hal_map", lambda: device.map(0, 0, lib.HAL_MAP_READ)[0]),
        ("hal_poll", lambda: device.poll(select.POLLIN, NOWAIT)),
        ("hal_fd", lambda: device.fd(select.POLLIN)),
        ("hal_pending", lambda: int(lib.hal_pending(device.handle))),
        ("hal_get", lambda: device.get("name", NOWAIT)[0]),
        ("hal_attribute_count", lambda: int(lib.hal_attribute_count(device.handle))),
        ("hal_cancel", device.cancel),
        ("hal_close", device.close),
    )
    for name, call in calls:
        result = call()
        if result != -number:
            raise Broken(f"{name} gave {name_of(result)}, not {name_of(-number)}")
        if not last_error():
            raise Broken(f"{name} gave {name_of(result)} without a message")


@check
def handles_apart(run: Session) -> str:
    """What is opened twice is closed twice: one end leaves the other as it is.

    Why: libraries open devices of their own and close them when they please.

    See: hal/device.h, "Handles"; hal/driver.h, hal_device_set_state()
    """
    kept = run.open()
    try:
        other = run.open()
    except OpenFailed as error:
        if error.result != -errno.EBUSY:
            raise
        raise NotApplicable(f"it can be opened once only: {error}") from None
    before = kept.read(RECORD, NOWAIT).result
    other.close()
    now = kept.read(RECORD, NOWAIT).result
    if now != before and min(before, now) < 0:
        raise Broken(
            f"a read of one gave {name_of(before)}; after the other was closed it gives "
            f"{name_of(now)} ({last_error()})"
        )
    if not run.facts.no_echo and run.subject.writes:
        kept.send(b"still here")
        got = kept.read_exact(10, after(WAIT))
        if got.data != b"still here":
            raise Broken(f"after the other was closed, {name_of(got.result)} ({last_error()})")
    return "two of them"


@check
def fork(run: Session) -> str:
    """In a forked child every call gives -ESTALE, and the parent's device goes on undisturbed.

    Why: programs start others; a child that touches the parent's device eats its bytes.

    See: hal/device.h, "Handles"
    """
    device = run.open()
    echo = not run.facts.no_wait and not run.facts.no_echo and run.subject.writes
    if echo:
        device.send(b"before")
        device.poll(select.POLLIN, after(WAIT))
    before = device.read(RECORD, NOWAIT).result if not echo else 0
    if text := _in_child(lambda: _all_give(device, errno.ESTALE)):
        raise Broken(f"in the child: {text}")
    if not echo:
        now = device.read(RECORD, NOWAIT).result
        if now != before and min(now, before) < 0:
            raise Broken(f"a read gave {name_of(before)} before the fork, {name_of(now)} after it")
        return "the child gets -ESTALE"
    device.send(b" after")
    got = device.read_exact(12, after(WAIT))
    if got.data != b"before after":
        raise Broken(f"in the parent {got.data!r} ({name_of(got.result)}) came of b'before after'")
    return "the child gets -ESTALE; no byte of the parent's is lost"


def _in_child(work: Any) -> str:
    """What breaks the contract in a child process; "" for nothing."""
    out, pipe = os.pipe()
    child = os.fork()
    if child == 0:
        text = "it did not end well"
        try:
            work()
            text = ""
        except Broken as error:
            text = str(error)
        finally:
            os.write(pipe, b"=" + text.encode())
            os._exit(0)
    os.close(pipe)
    with os.fdopen(out, "rb") as answers:
        said = answers.read()
    status = os.waitpid(child, 0)[1]
    if not said:
        return f"it was ended with status {status:#x}"
    return said[1:].decode()


@check
def leaks(run: Session) -> str:
    """What opening takes, closing gives back: descriptors, threads, memory.

    Why: a service that opens a device once a minute runs out of them after weeks.

    See: hal/driver.h, init and fini
    """
    _cycle(run, 20)  # what is made once, for ever
    before = _held()
    each = _growth(run)
    now = _held()
    for what, count in now.items():
        if count > before[what]:
            raise Broken(
                f"{count - before[what]} {what} are left after {CYCLES} openings: "
                f"{before[what]} before, {count} now"
            )
    if each >= LEAST:
        raise Broken(f"{each:.0f} bytes are left after each of {CYCLES} openings")
    memory_text = "memory flat" if _mallinfo else "memory not measured: no mallinfo2(3)"
    return f"{CYCLES} openings: descriptors and threads as before, {memory_text}"


def _growth(run: Session) -> float:
    """Bytes a cycle keeps in the round that kept least: three of them, more if none was flat."""
    count = CYCLES // 3 + 1
    least = float("inf")
    for done in range(ROUNDS):
        if done >= 3 and least < LEAST:
            break
        memory = _allocated()
        _cycle(run, count)
        least = min(least, (_allocated() - memory) / count)
    return least


def _cycle(run: Session, count: int) -> None:
    for _ in range(count):
        Raw(run.next_uri(), after(WAIT)).close()
    gc.collect()


def _held() -> dict[str, int]:
    """Counts from procfs, without the descriptor of the counting itself."""
    return {
        "descriptors": len(list(Path("/proc/self/fd").iterdir())),
        "threads": len(list(Path("/proc/self/task").iterdir())),
    }


def _find_mallinfo() -> Any:
    libc = FFI()
    libc.cdef("""
        struct mallinfo2 { size_t arena, ordblks, smblks, hblks, hblkhd, usmblks, fsmblks, uordblks,
                           fordblks, keepcost; };
        struct mallinfo2 mallinfo2(void);
    """)
    return getattr(libc.dlopen(None), "mallinfo2", None)


_mallinfo: Any = _find_mallinfo()


def _allocated() -> int:
    """Bytes that malloc(3) has given out; 0 where the C library does not tell."""
    if not _mallinfo:
        return 0
    info = _mallinfo()
    return int(info.uordblks + info.hblkhd)


@check
def registration(run: Session) -> str:
    """A driver in use cannot be taken away, and one that is not can be, and come again.

    Why: a program that replaces a driver must not pull it from under an open device.

    See: hal/driver.h, hal_register_driver_abi() and hal_unregister_driver()
    """
    import hal

    device = run.open()
    # Not the description's driver: that may be one far away, to which this one passes calls.
    name = os.fsdecode(ffi.string(device.describe().uri)).partition(":")[0]
    info = next(each for each in hal.drivers() if each.name == name)
    if info.path is not None:
        result = int(lib.hal_unregister_driver(name.encode()))
        if result not in (-errno.EPERM, -errno.EBUSY):
            raise Broken(f"a plug-in's driver was unregistered: {name_of(result)}")
        result = int(lib.hal_load_driver(os.fsencode(info.path)))
        if result:
            raise Broken(f'loading "{info.path}" again: {name_of(result)} ({last_error()})')
        return "a plug-in: it stays, and loading it again changes nothing"
    from hal import driver

    registered = driver._drivers.get(name)
    if registered is None:
        raise NotApplicable("the program registered it in C, and has it to itself")
    result = int(lib.hal_unregister_driver(name.encode()))
    if result != -errno.EBUSY:
        raise Broken(f"unregistered while a device is open: {name_of(result)}")
    device.close()
    hal.unregister_driver(name)
    uri = run.next_uri()
    try:
        Raw(uri, after(WAIT))
    except OpenFailed as error:
        if error.result != -errno.ENOENT:
            raise Broken(f"unregistered, it opens with {name_of(error.result)}") from None
    else:
        raise Broken("unregistered, it still opens")
    hal.register_driver(name, registered.cls)
    Raw(uri, after(WAIT)).close()
    return "busy while open; gone; back again"
