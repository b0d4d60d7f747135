# SPDX-License-Identifier: Apache-2.0
"""Open a device, move bytes, wait, cancel, close.

The methods that move bytes are in hal._core; what is here is built of them.
"""

from __future__ import annotations

import select
import time
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from types import EllipsisType, TracebackType
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, TypeVar

from . import _core
from .attributes import Attributes, Value
from .batch import run as run_batch
from .errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from typing_extensions import Buffer, Self

    from ._core import AnyBuffer
    from .aio import Waits
    from .batch import Operation

__all__ = ["Device", "Seconds", "Segment", "face", "uri_with_options"]

Seconds = float | None | EllipsisType
"""Seconds; None: wait for ever; ``...``: as the device's ``timeout`` says; 0: do not wait."""

D = TypeVar("D", bound="Device")


class Segment(NamedTuple):
    """One part of a transfer; 0 means "as the device is set".

    Attributes:
        tx: Bytes to send; None: none (SPI then sends zeros).
        rx: How many bytes to receive, or a writable buffer for them; None: what comes is dropped.
        address: I2C: another target than the device's.
        speed_hz: SPI clock, Hz.
        delay_us: Pause after the segment, microseconds.
        word_delay_us: SPI: pause between words, microseconds.
        bits: SPI: bits a word.
        lanes_tx: SPI: 1, 2, 4 or 8 data lines for sending.
        lanes_rx: The same for receiving.
        flags: ``CS_CHANGE``, ``NO_START``, ``IGNORE_NAK``, or-ed.
    """

    tx: AnyBuffer | None = None
    rx: int | AnyBuffer | None = None
    address: int = 0
    speed_hz: int = 0
    delay_us: int = 0
    word_delay_us: int = 0
    bits: int = 0
    lanes_tx: int = 0
    lanes_rx: int = 0
    flags: int = 0


class Device(_core.Handle):
    """An open device. ``hal.open()`` makes it; ``with`` closes it.

    Calls that wait give up after their ``timeout`` in seconds, by default the device's ``timeout``,
    which is None (wait for ever) at first; 0 never waits and raises WouldBlock. Whatever had come
    when a call gave up is kept for the next one.

    Threads: any method from any thread. Reading, writing and control (attributes, ``transfer``,
    ``control``) run beside each other; two readers take turns. ``cancel()`` and ``close()`` wake
    whoever waits. No call holds the GIL while it is in the library.

    Fork: in the child the device raises Forked; open it anew there.

    Iteration, plain and ``async``, gives lines until the device comes to its end; a timeout, an
    unplug or a cancel raises.

    Devices that are memory have registers (``load``, ``store``, ``update``: one access of exactly
    ``width`` bytes), blocks (``read_at``, ``write_at``) and mappings (``map``); offsets count bytes
    from the device's start. Others raise Unsupported.
    """

    __slots__ = ("__weakref__", "_waits")

    CS_CHANGE: ClassVar[int] = 1
    NO_START: ClassVar[int] = 2
    IGNORE_NAK: ClassVar[int] = 4

    _waits: Waits | None

    @classmethod
    def open(cls, uri: str, *, timeout: float | None = None, **options: Value) -> Self:
        """``hal.open()`` for a device that must be of this class, for programs that check types.

        Raises:
            InvalidArgument: The device is of another class. It is closed again.
        """
        if not isinstance(uri, str):
            raise TypeError(f"open: a URI is a str, not {type(uri).__name__}")
        whole = uri_with_options(uri, options)
        until = None if timeout is None else time.monotonic() + timeout
        try:
            device = _core.open(whole, timeout, _faces, Device)
        except NotFound:
            instead = _substitute(whole, timeout)
            if instead is None:
                raise
            left = None if until is None else max(until - time.monotonic(), 0.0)
            device = _core.open(instead, left, _faces, Device)
        device._waits = None
        if isinstance(device, cls):
            return device
        device.close()
        raise InvalidArgument(
            f'open "{uri}": driver "{device.driver}" makes a {type(device).__name__}, '
            f"not a {cls.__name__}"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        state = "closed" if self.closed else "open"
        return f'<hal.{type(self).__name__} "{self.uri}" {state}>'

    @property
    def attributes(self) -> Attributes:
        """The device's attributes: a mapping from name to value."""
        return Attributes(self)

    def readv(self, buffers: Sequence[AnyBuffer], timeout: Seconds = ...) -> int:
        """read() into several writable buffers, filled in order; how many bytes came."""
        return _core.readv(self, buffers, timeout)

    def writev(self, buffers: Sequence[AnyBuffer], timeout: Seconds = ...) -> int:
        """write() from several buffers, as if they were one."""
        return _core.writev(self, buffers, timeout)

    def batch(self, operations: Iterable[Operation], timeout: Seconds = ...) -> list[Any]:
        """Do several operations in order, with nothing in between; over a link, in one round trip.

        Args:
            operations: ``Transfer``, ``Control``, ``Get``, ``Set``, ``Load``, ``Store`` of
                hal.batch, 256 at most.
            timeout: For all of them together.

        Returns:
            The result of each, as its own method gives it.

        Raises:
            Error: What the first that failed raises. ``results`` are those of the ones before it,
                which stay done; those behind it were not tried. ``results`` is None when the batch
                was refused as a whole and nothing was done, or when the link was lost.
        """
        return run_batch(self, operations, timeout)

    def describe(self) -> Mapping[str, int]:
        """``fd_in`` and ``fd_out`` (-1: none) and ``memory``, the bytes the library holds."""
        return _core.describe(self)

    def cancel(self) -> None:
        """End every call that waits in this device now, awaited ones too: it raises Cancelled."""
        super().cancel()
        if self._waits:
            self._waits.end("cancelled")

    def close(self) -> None:
        """Close the device; calls that wait, awaited ones too, raise Cancelled.

        Closing twice does nothing, nor does closing in a forked child: there it is closed already.
        """
        if self._waits:
            self._waits.end("cancelled (the device was closed)")
        super().close()

    def _awaited(self) -> Waits:
        if self._waits is None:
            from .aio import Waits  # asyncio is for those who use it

            self._waits = Waits()
        return self._waits

    async def aread(self, n: int = 65536, timeout: Seconds = ...) -> bytes:
        """read() for asyncio."""
        return await self._awaited().run(self, select.POLLIN, timeout, lambda: self.read(n, 0))

    async def aread_exact(self, n: int, timeout: Seconds = ...) -> bytes:
        """read_exact() for asyncio."""
        return await self._awaited().run(
            self, select.POLLIN, timeout, lambda: self.read_exact(n, 0)
        )

    async def aread_until(
        self, delimiter: Buffer = b"\n", size: int = 65536, timeout: Seconds = ...
    ) -> bytes:
        """read_until() for asyncio."""
        return await self._awaited().run(
            self, select.POLLIN, timeout, lambda: self.read_until(delimiter, size, 0)
        )

    async def areadline(self, size: int = 65536, timeout: Seconds = ...) -> bytes:
        """readline() for asyncio."""
        return await self._awaited().run(
            self, select.POLLIN, timeout, lambda: self.readline(size, 0)
        )

    async def awrite(self, buffer: AnyBuffer, timeout: Seconds = ...) -> int:
        """write() for asyncio: all of the buffer, whose length it returns.

        Raises:
            Timeout, CancelledError: A part may have been written.
        """
        return await self._awaited().write(self, buffer, timeout)

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        line = await self.areadline()
        if not line:
            raise StopAsyncIteration
        return line


def _substitute(uri: str, timeout: float | None) -> str | None:
    """What to open in place of a URI that libhal found nothing for; None: there is nothing."""
    if uri.startswith("hal:"):
        from . import remote  # a machine may be found on the network

        return remote.substitute(uri, timeout)
    from . import names  # of the configuration file: read when nothing else has this one

    return names.substitute(uri)


_faces: dict[str, type[Device]] = {}


def face(driver: str) -> Any:
    """Class decorator: ``hal.open()`` gives this class for devices of ``driver``."""

    def enlist(cls: type[D]) -> type[D]:
        _core.own_methods(cls)
        _faces[driver] = cls
        return cls

    return enlist


def uri_with_options(uri: str, options: Mapping[str, Value]) -> str:
    """``uri`` with the options added, quoted as ``hal_uri_quote()`` does it."""
    pairs = [
        f"{key}={_core.quote(str(value).lower() if isinstance(value, bool) else str(value))}"
        for key, value in options.items()
    ]
    return f"{uri}{'&' if '?' in uri else '?'}{'&'.join(pairs)}" if pairs else uri
