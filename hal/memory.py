# SPDX-License-Identifier: Apache-2.0
"""Memory with a name, and buffers of devices: the faces of ``memory`` and ``dmabuf``."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from . import cache
from .device import face
from .errors import NoAttribute, Unsupported
from .mappable import Mappable
from .settings import State

if TYPE_CHECKING:
    from ._core import AnyBuffer

__all__ = ["Dmabuf", "Memory"]

# <hal/dmabuf.h>
_FD, _BEGIN, _END = 0x4401, 0x4402, 0x4403
_READ, _WRITE = 1, 2


@face("memory")
class Memory(Mappable):
    """Persistent memory, memory of a CXL region, shared memory (docs/memory.md).

    ``read_at()`` and ``write_at()`` copy and raise where a page is bad; ``load()`` and ``store()``
    are one access each; ``array()`` is the memory itself::

        with hal.Memory.open("memory:/dev/dax0.0") as device:
            log = device.array("u8", 1000, offset=4096)
            log[0] = 1
            device.persist(log[:1])

    Traps: an access through an array to a bad page, or behind the end of a file that has shrunk, is
    the signal SIGBUS, which ends the program. ``read_at()`` raises instead (errno EIO).
    """

    __slots__ = ()

    alignment = State[int]("alignment", "What mappings begin and end at, bytes.")
    kind = State[str]("kind", '"devdax", "fsdax", "file", "shm", "memfd", "block" or "bar".')
    persistent = State[bool]("persistent", "Whether it can outlive a loss of power.")
    numa_node = State[int]("numa_node", "The NUMA node it is on; -1: none, or not known.")

    def _fact(self, name: str) -> Any:
        try:
            return self.attributes[name]
        except NoAttribute:
            return None

    @property
    def target_node(self) -> int | None:
        """The NUMA node a dax device would become; None: it is none."""
        return self._as_int("target_node")

    @property
    def region(self) -> str | None:
        """The CXL region behind it; None: none. PermissionDenied where only root may know."""
        value = self._fact("region")
        return None if value is None else str(value)

    @property
    def decoder(self) -> str | None:
        """The root decoder of the CXL region; None: none."""
        value = self._fact("decoder")
        return None if value is None else str(value)

    @property
    def targets(self) -> tuple[str, ...]:
        """The endpoint decoders of the CXL region, in order of interleaving."""
        return tuple(str(self._fact("targets") or "").split())

    @property
    def interleave(self) -> tuple[int, int] | None:
        """Devices in the CXL region, and bytes from one before the next; None: no region."""
        ways, size = self._as_int("interleave_ways"), self._as_int("interleave_granularity")
        return None if ways is None or size is None else (ways, size)

    def _as_int(self, name: str) -> int | None:
        value = self._fact(name)
        return None if value is None else int(value)

    def persist(self, array: AnyBuffer) -> None:
        """Make what was stored into an array of this device last.

        By the cache (``hal.cache.persist``) where that is enough: a dax device, an array of a DAX
        file that was mapped with ``sync=True``. Else by fdatasync(2), of the whole file.

        Raises:
            Unsupported: This memory does not outlive a loss of power.
        """
        if not self.persistent:
            raise Unsupported(
                errno.EOPNOTSUPP, f'persist "{self.uri}": {self.kind} is not persistent'
            )
        if self.kind == "devdax":
            cache.persist(array)
            return
        facts = cache.query(array)
        if facts.synchronous:
            cache.persist(array)
        else:
            os.fdatasync(self.fileno())

    def flush(self, array: AnyBuffer) -> None:
        """``hal.cache.flush``: write back and drop its lines."""
        cache.flush(array)

    def sync(self, array: AnyBuffer) -> None:
        """``hal.cache.sync``: hand over to, or take over from, another host."""
        cache.sync(array)


@face("dmabuf")
class Dmabuf(Mappable):
    """A buffer shared with cameras, encoders, GPUs, accelerators (docs/dmabuf.md).

    Accesses to an array stand in ``access()``; ``read_at()`` and ``write_at()`` do that by
    themselves::

        with hal.Dmabuf.open("dmabuf:system", size=1 << 20) as buffer:
            frame = buffer.array("u1", (720, 1280))
            with buffer.access(write=True):
                frame[:] = 0
    """

    __slots__ = ()

    exporter = State[str]("exporter", "Who made it: a heap, a driver.")

    def begin(self, *, read: bool = True, write: bool = False) -> None:
        """Say that the processor is going to access it; waits until devices have written."""
        self._edge(_BEGIN, read=read, write=write)

    def end(self, *, read: bool = True, write: bool = False) -> None:
        """Say that the processor has done so, with what ``begin()`` was given."""
        self._edge(_END, read=read, write=write)

    @contextmanager
    def access(self, *, read: bool = True, write: bool = False) -> Iterator[None]:
        """``begin()`` and ``end()`` around accesses of the processor."""
        self.begin(read=read, write=write)
        try:
            yield
        finally:
            self.end(read=read, write=write)

    def export(self) -> int:
        """A new descriptor of the buffer, the caller's to send (socket.send_fds) and to close."""
        return self.control(_FD)

    def _edge(self, request: int, *, read: bool, write: bool) -> None:
        flags = (_READ if read else 0) | (_WRITE if write else 0)
        self.control(request, struct.pack("I", flags))
