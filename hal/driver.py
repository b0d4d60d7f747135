# SPDX-License-Identifier: Apache-2.0
"""Drivers written in Python.

A driver is a class with ``init``, ``read`` and ``write``; every open device is one instance of it::

    class Echo(hal.Driver):
        def init(self, device):
            self.device, self.bytes = device, bytearray()

        def read(self, n, deadline):
            if not self.bytes:
                return None                      # nothing now
            data, self.bytes = self.bytes[:n], self.bytes[n:]
            return data

        def write(self, data, deadline):
            self.bytes += data
            self.device.wake(select.POLLIN)      # those who wait look again
            return len(data)

    hal.register_driver("echo", Echo)
    dev = hal.open("echo:")

It is registered in libhal as a driver in C is, through callbacks of cffi into
``struct driver_ops``, so C programs, other drivers and other threads open it too. The rules are
those of ``<hal/driver.h>``: the library keeps the lanes apart, waits, applies deadlines, cancels.
"""

from __future__ import annotations

import atexit
import errno
import logging
import math
import os
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from . import _core
from ._abi import ffi, lib
from .attributes import Access, Attribute, Value
from .device import Segment
from .errors import BY_KIND, Closed, Error, InvalidArgument, NotFound, Unsupported
from .registry import Match

if TYPE_CHECKING:
    from typing_extensions import Buffer

__all__ = ["Driver", "DriverDevice", "register_driver", "unregister_driver"]

R = TypeVar("R")

log = logging.getLogger("hal.driver")


class DriverClass(Protocol):
    """What register_driver() takes: a class that needs no base class, only these three methods.

    Optional methods, absent unless the class has them:
        fini(self): Undo ``init``; called once when the device is closed.
        transfer(self, segments, deadline): As ``Device.transfer``; each segment's ``tx`` is a
            memoryview or None, its ``rx`` a writable one or None. Returns the bytes moved, or None
            for all of them.
        control(self, request, buffer, deadline): As ``Device.control``; ``buffer`` is a writable
            memoryview. Returns 0 or a count; None for 0. Raise Unsupported for unknown requests.
        poll(self, events): Which of POLLIN and POLLOUT are true now. Does not wait. For devices
            without a descriptor; call ``device.wake()`` when it changes.

    Optional class attributes: ``attributes`` (a list of hal.Attribute), ``matches`` (a
    list of hal.Match: which devices it fits), ``summary`` and ``address`` (one line each, for
    lists), ``any_option`` (True: takes URI options beyond its attributes).

    The attribute "errors.frame" is read from, and written to, the instance's ``errors_frame``,
    usually a property. What the URI gives for a writable attribute is set right after ``init``.
    """

    def init(self, device: DriverDevice) -> None:
        """Open the device named by ``device.address``; raise what is wrong."""

    def read(self, n: int, deadline: float) -> Buffer | None:
        """Up to n bytes; b"" at the end; None: nothing at once (the library waits and asks again).

        ``deadline`` is in ``time.monotonic()`` seconds: 0 for do not wait, math.inf for ever.
        """

    def write(self, data: memoryview, deadline: float) -> int | None:
        """How many bytes were taken; None: none at once. ``data`` ends with the call: copy it."""


class Driver:
    """A base class for drivers: it keeps ``device``, and what is not overridden is Unsupported."""

    attributes: Sequence[Attribute] = ()
    matches: Sequence[Match] = ()
    summary: str = ""
    address: str = ""
    any_option: bool = False

    device: DriverDevice

    def init(self, device: DriverDevice) -> None:
        """Open the device; an override calls this, or keeps ``device`` itself."""
        self.device = device

    def read(self, n: int, deadline: float) -> Buffer | None:
        """See DriverClass."""
        raise Unsupported("this device cannot be read")

    def write(self, data: memoryview, deadline: float) -> int | None:
        """See DriverClass."""
        raise Unsupported("this device cannot be written")


class DriverDevice:
    """One open device, as its driver sees it; valid from ``init`` until ``fini`` returns.

    Attributes:
        uri: The URI the device was opened by, logical names resolved.
        address: The address part, decoded.
    """

    def __init__(self, dev: Any) -> None:
        self._dev = dev
        self._lock = threading.Lock()  # between wake() in any thread and the end of the device
        self._opening = True
        self.uri = _text(lib.hal_device_uri(dev))
        self.address = _text(lib.hal_device_address(dev))

    def _in_init(self, what: str) -> Any:
        if self._dev is None or not self._opening:
            raise InvalidArgument(f'{what} "{self.uri}": only init() may ask for this')
        return self._dev

    @property
    def deadline(self) -> float:
        """When the opening that runs gives up. Only inside ``init``."""
        return _seconds(lib.hal_device_open_deadline(self._in_init("deadline")))

    def option(self, name: str) -> Value | None:
        """An option's value: from the URI, else the attribute's ``initial``. Only inside ``init``.

        Returns:
            None when there is neither.
        """
        out = ffi.new("struct hal_value *")
        found = lib.hal_device_option(self._in_init("option"), os.fsencode(name), out)
        return None if found < 0 else _from_value(out)

    @property
    def options(self) -> dict[str, str]:
        """The URI's options as they were written, decoded. Only inside ``init``."""
        dev = self._in_init("options")
        out: dict[str, str] = {}
        while option := lib.hal_device_option_at(dev, len(out)):
            out[_text(option.key)] = _text(option.value)
        return out

    def set_fd(self, fd: int, fd_out: int | None = None) -> None:
        """Name the descriptor the device stands on (or two, to read and to write). In ``init``.

        The library owns it from now on: it makes programs wait on it and closes it after ``fini``.
        Give it ``os.dup(sock.fileno())`` of what closes itself. It is made non-blocking.
        """
        dev = self._in_init("set_fd")
        for each in {fd, fd if fd_out is None else fd_out} - {-1}:
            os.set_blocking(each, False)
        lib.hal_device_set_fds(dev, fd, fd if fd_out is None else fd_out)

    def wait(self, deadline: float, events: int = 0, fd: int = -1) -> int:
        """Wait inside a method of the driver for ``events`` of ``fd``, or for wake() alone.

        Returns:
            The events that came; 0 when woken by wake().

        Raises:
            Timeout, WouldBlock, Cancelled: let them pass, the caller gets them.
        """
        lane = getattr(_calls, "lane", None)
        if self._dev is None or lane is None:
            raise InvalidArgument(f'wait "{self.uri}": only a method that the library called may')
        until = _nanoseconds(deadline)
        while True:
            result: int = lib.hal_device_wait(self._dev, lane, fd, events, until)
            if result >= 0:
                return result
            if result != -errno.EINTR:  # after a signal Python's handlers have run by now
                kind = _text(lib.hal_error_kind_name(lib.hal_error_kind(result)))
                raise BY_KIND[kind](-result, os.strerror(-result))

    def wake(self, events: int = 0) -> None:
        """Tell those who wait to look again: POLLIN readers, POLLOUT writers, 0 the control lane.

        Any thread. After the device was closed it does nothing.
        """
        with self._lock:
            if self._dev is not None:
                lib.hal_device_wake(self._dev, events)

    def drop_input(self) -> None:
        """Drop what the library has buffered for reading: the driver has flushed the device."""
        with self._lock:
            if self._dev is None:
                raise Closed(f'drop_input "{self.uri}": the device is closed')
            lib.hal_device_drop_input(self._dev)

    def _end(self) -> None:
        with self._lock:
            self._dev = None


# ---- registering --------------------------------------------------------------------------------


class Registered:
    """A driver that libhal knows, and the memory its table points to."""

    def __init__(self, name: str, cls: type[Any]) -> None:
        self.cls = cls
        self._kept: list[Any] = []
        members: dict[str, Any] = {
            "init": _function("driver_init"),
            "read": _function("driver_read"),
            "write": _function("driver_write"),
            "fini": _function("driver_fini"),  # the instance ends there, whatever the class has
            "summary": self._string(getattr(cls, "summary", "") or None),
            "address": self._string(getattr(cls, "address", "") or None),
            "flags": lib.HAL_DRIVER_ANY_OPTION if getattr(cls, "any_option", False) else 0,
        }
        for optional in ("transfer", "control", "poll"):
            if hasattr(cls, optional):
                members[optional] = _function(f"driver_{optional}")
        rows = [self._row(attribute) for attribute in getattr(cls, "attributes", ())]
        matches = [
            {
                "fits": self._string(row.fits),
                "address": self._string(row.address),
                "note": self._string(row.note or None),
            }
            for row in getattr(cls, "matches", ())
        ]
        members["matches"] = self._keep(ffi.new("struct hal_match[]", matches))
        members["match_count"] = len(matches)
        members["attributes"] = self._keep(ffi.new("struct hal_attribute[]", rows))
        members["attribute_count"] = len(rows)
        self.ops = ffi.new("struct driver_ops *", members)

    def _keep(self, memory: Any) -> Any:
        self._kept.append(memory)
        return memory

    def _string(self, text: str | None) -> Any:
        return ffi.NULL if text is None else self._keep(ffi.new("char[]", os.fsencode(text)))

    def _row(self, attribute: Attribute) -> dict[str, Any]:
        low, high = attribute.range or (0, 0)
        choices = ffi.NULL
        if attribute.choices:
            texts = [*map(self._string, attribute.choices), ffi.NULL]
            choices = self._keep(ffi.new("char *[]", texts))
        return {
            "name": self._string(attribute.name),
            "unit": self._string(attribute.unit),
            "doc": self._string(attribute.doc),
            "type": lib.HAL_TYPE_CHOICE if choices else _TYPES[attribute.type],
            "access": int(attribute.access),
            "min": low,
            "max": high,
            "choices": choices,
            "initial": self._string(attribute.initial),
            "get": _function("driver_get") if attribute.access & Access.READ else ffi.NULL,
            "set": _function("driver_set") if attribute.access & Access.WRITE else ffi.NULL,
        }


def register_driver(name: str, cls: type[Any]) -> None:
    """Register a class as the driver ``name``: ``hal.open("name:...")`` makes an instance of it.

    Args:
        name: A letter or digit, then letters, digits, ``_``, ``-`` or ``.``; 31 at most.
        cls: See DriverClass. It is called without arguments.

    Raises:
        InvalidArgument: A method is missing, or the name or an attribute is ill-formed.
        Error: The name is taken (EEXIST).
    """
    missing = [method for method in ("init", "read", "write") if not hasattr(cls, method)]
    if missing:
        raise InvalidArgument(
            f'register driver "{name}": class {cls.__name__} has no {", ".join(missing)}'
        )
    driver = Registered(name, cls)
    with _lock:
        _check(
            lib.hal_register_driver_abi(
                os.fsencode(name), driver.ops, ffi.sizeof("struct driver_ops"), lib.HAL_ABI_VERSION
            )
        )
        _drivers[name] = driver


def unregister_driver(name: str) -> None:
    """Take a driver out of the registry.

    Raises:
        NotFound: It is not registered.
        Busy: A device is open; the text says how many.
        PermissionDenied: It belongs to a plug-in, whose code stays loaded.
    """
    with _lock:
        _check(lib.hal_unregister_driver(os.fsencode(name)))
        _drivers.pop(name, None)


# ---- between C and Python -----------------------------------------------------------------------


class Opened:
    """One open device: the driver's instance and the device it was given."""

    __slots__ = ("device", "instance", "self_handle")

    def __init__(self, instance: Any, device: DriverDevice) -> None:
        self.instance = instance
        self.device = device
        self.self_handle = ffi.new_handle(self)  # what C keeps as the device's state


_lock = threading.Lock()
_drivers: dict[str, Registered] = {}
_opened: set[Opened] = set()
_calls = threading.local()  # .lane: the lane of the driver function that runs in this thread

_TYPES = {
    bool: lib.HAL_TYPE_BOOL,
    int: lib.HAL_TYPE_INT,
    float: lib.HAL_TYPE_FLOAT,
    str: lib.HAL_TYPE_TEXT,
}


def _function(name: str) -> Any:
    return ffi.addressof(lib, name)


def _text(chars: Any) -> str:
    return os.fsdecode(ffi.string(chars))


def _seconds(until: int) -> float:
    return math.inf if until == lib.HAL_FOREVER else until / 1e9


def _nanoseconds(deadline: float) -> int:
    return lib.HAL_FOREVER if deadline >= 9e9 else max(0, int(deadline * 1e9))


def _check(result: int) -> None:
    if result < 0:
        kind = _text(lib.hal_error_kind_name(lib.hal_error_kind(result)))
        raise BY_KIND[kind](-result, _text(lib.hal_last_error()))


def _from_value(value: Any) -> Value:
    if value.type == lib.HAL_TYPE_BOOL:
        return bool(value.b)
    if value.type == lib.HAL_TYPE_INT:
        return int(value.i)
    if value.type == lib.HAL_TYPE_FLOAT:
        return float(value.f)
    return _text(value.s)


def _to_value(value: Any, out: Any) -> None:
    if out.type == lib.HAL_TYPE_BOOL:
        out.b = bool(value)
    elif out.type == lib.HAL_TYPE_INT:
        out.i = value
    elif out.type == lib.HAL_TYPE_FLOAT:
        out.f = value
    else:
        text = os.fsencode(value)
        if len(text) >= lib.HAL_TEXT_MAX:
            raise InvalidArgument(f"a text of {len(text)} bytes; {lib.HAL_TEXT_MAX - 1} at most")
        out.s = text


def _field(attribute: Any) -> str:
    """The instance's name for an attribute."""
    return _text(attribute.name).replace(".", "_").replace("-", "_")


def _report(dev: Any, operation: str, error: BaseException) -> int:
    """Make an exception the library's last error, with its text; its negative errno."""
    if isinstance(error, KeyboardInterrupt):
        _core.interrupt(error)  # whoever called from Python gets it, not an error made of it
        return -errno.EINTR
    number = error.errno if isinstance(error, OSError) and error.errno else errno.EIO
    if number == errno.EAGAIN:
        return -number
    text = f"{type(error).__name__}: {error}"
    lib.hal_fail_plain(
        -number,
        operation.encode(),
        lib.hal_device_uri(dev),
        b"%s",
        ffi.new("char[]", os.fsencode(text.replace("\0", "\\0"))),
    )
    _core.blame(error)
    log.debug("%s %s failed", operation, _text(lib.hal_device_uri(dev)), exc_info=error)
    return -number


def _guarded(dev: Any, operation: str, lane: int, call: Callable[[], int]) -> int:
    """Run a driver's method in its lane; no exception leaves it."""
    outer = getattr(_calls, "lane", None)  # a driver may stand on a device of a Python driver
    _calls.lane = lane
    try:
        return call()
    except BaseException as error:  # noqa: BLE001 - every exception becomes the caller's error
        return _report(dev, operation, error)
    finally:
        _calls.lane = outer


def _open(dev: Any) -> Opened:
    opened: Opened = ffi.from_handle(lib.hal_device_state(dev))
    return opened


@contextmanager
def _borrowed(memory: Any, size: int) -> Iterator[memoryview]:
    """Memory of the library as a view that cannot be used after the call."""
    view = memoryview(ffi.buffer(memory, size))
    try:
        yield view
    finally:
        view.release()


@ffi.def_extern(error=-errno.EIO)
def python_init(dev: Any) -> int:
    def init() -> int:
        uri = _text(lib.hal_device_uri(dev))
        with _lock:
            driver = _drivers.get(uri.partition(":")[0].partition("?")[0])
        if driver is None:
            raise NotFound(f'open "{uri}": its driver is being unregistered')
        device = DriverDevice(dev)
        opened = Opened(driver.cls(), device)
        try:
            opened.instance.init(device)
        except BaseException:
            device._end()
            raise
        device._opening = False
        lib.hal_device_set_state(dev, opened.self_handle)
        _opened.add(opened)
        return 0

    return _guarded(dev, "open", lib.HAL_LANE_CONTROL, init)


@ffi.def_extern()
def python_fini(dev: Any) -> None:
    opened = _open(dev)
    _opened.discard(opened)
    _finish(opened)


def _finish(opened: Opened) -> None:
    fini = getattr(opened.instance, "fini", None)
    if fini is not None:
        _guarded(opened.device._dev, "close", lib.HAL_LANE_CONTROL, lambda: fini() or 0)
    opened.device._end()


@ffi.def_extern(error=-errno.EIO)
def python_read(dev: Any, buf: Any, size: int, until: int) -> int:
    def read() -> int:
        data = _open(dev).instance.read(size, _seconds(until))
        if data is None:
            return -errno.EAGAIN
        with memoryview(data) as view, view.cast("B") as flat:
            if len(flat) > size:
                raise Error(f"read() returned {len(flat)} bytes; {size} were asked for")
            ffi.memmove(buf, flat, len(flat))
            return len(flat)

    return _guarded(dev, "read", lib.HAL_LANE_READ, read)


@ffi.def_extern(error=-errno.EIO)
def python_write(dev: Any, buf: Any, size: int, until: int) -> int:
    def write() -> int:
        with _borrowed(buf, size) as view, view.toreadonly() as data:
            taken = _open(dev).instance.write(data, _seconds(until))
        return -errno.EAGAIN if taken is None else _count(taken, "write")

    return _guarded(dev, "write", lib.HAL_LANE_WRITE, write)


def _count(value: Any, method: str) -> int:
    """What a driver's method returned, which must not pass for an error."""
    if not isinstance(value, int) or value < 0:
        raise Error(f"{method}() returned {value!r}, which is no count")
    return value


def _segment(segment: Any) -> Segment:
    def view(memory: Any) -> memoryview | None:
        return None if memory == ffi.NULL else memoryview(ffi.buffer(memory, segment.len))

    tx = view(ffi.cast("char *", segment.tx))
    return Segment(
        None if tx is None else tx.toreadonly(),
        view(ffi.cast("char *", segment.rx)),
        segment.address,
        segment.speed_hz,
        segment.delay_us,
        segment.word_delay_us,
        segment.bits,
        segment.lanes_tx,
        segment.lanes_rx,
        segment.flags,
    )


@ffi.def_extern(error=-errno.EIO)
def python_transfer(dev: Any, segments: Any, count: int, until: int) -> int:
    def transfer() -> int:
        parts = [_segment(segments[i]) for i in range(count)]
        moved = _open(dev).instance.transfer(parts, _seconds(until))
        if moved is None:
            return sum(segments[i].len for i in range(count))
        return _count(moved, "transfer")

    return _guarded(dev, "transfer", lib.HAL_LANE_CONTROL, transfer)


@ffi.def_extern(error=-errno.EIO)
def python_control(dev: Any, request: int, arg: Any, size: int, until: int) -> int:
    def control() -> int:
        with _borrowed(arg if size else ffi.new("char[]", 1), size) as view:
            return _count(
                _open(dev).instance.control(request, view, _seconds(until)) or 0, "control"
            )

    return _guarded(dev, "control", lib.HAL_LANE_CONTROL, control)


@ffi.def_extern(error=-errno.EIO)
def python_poll(dev: Any, events: int) -> int:
    return _guarded(
        dev,
        "poll",
        lib.HAL_LANE_CONTROL,
        lambda: _count(_open(dev).instance.poll(events), "poll"),
    )


@ffi.def_extern(error=-errno.EIO)
def python_get(dev: Any, attribute: Any, out: Any) -> int:
    def get() -> int:
        _to_value(getattr(_open(dev).instance, _field(attribute)), out)
        return 0

    return _guarded(dev, f"get {_text(attribute.name)}", lib.HAL_LANE_CONTROL, get)


@ffi.def_extern(error=-errno.EIO)
def python_set(dev: Any, attribute: Any, value: Any) -> int:
    def put() -> int:
        setattr(_open(dev).instance, _field(attribute), _from_value(value))
        return 0

    return _guarded(dev, f"set {_text(attribute.name)}", lib.HAL_LANE_CONTROL, put)


# ---- the end of the process ---------------------------------------------------------------------


def _stop() -> None:
    """Before the interpreter ends: every device gets its ``fini``, and C no longer calls Python."""
    lib.driver_stop()
    while _opened:
        _finish(_opened.pop())


atexit.register(_stop)
os.register_at_fork(after_in_child=_opened.clear)  # the devices, and their fini, are the parent's
