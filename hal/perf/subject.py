# SPDX-License-Identifier: Apache-2.0
"""What is to be measured: a device's mapping or a buffer, and what may be done to it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hal import cache
from hal.device import Device
from hal.errors import InvalidArgument, NoAttribute, NotFound, PermissionDenied, Unsupported
from hal.memory import Dmabuf

from .kernels import Memory
from .report import Missing, Target

if TYPE_CHECKING:
    from hal._core import AnyBuffer, Mapping

OVERWRITE = Missing("writing", "it would overwrite what is there", "--write (write=True)")
REGISTERS = "registers: reading may have effects (counters that clear, queues that move on)"


@dataclass(frozen=True)
class Subject:
    """What is measured.

    Attributes:
        target: What it is.
        memory: Its bytes.
        narrow: The same by accesses of 4 bytes, where those of 8 may be done; None: they may not.
        combining: The same mapped for write-combining; None: it cannot be.
        writable: Whether it may be written to.
        anonymous: Private memory without a file, whose pages may not have been made yet.
        missing: What may not be done, and why.
    """

    target: Target
    memory: Memory
    narrow: Memory | None
    combining: Memory | None
    writable: bool
    anonymous: bool
    missing: tuple[Missing, ...]


@contextmanager
def subject(
    target: Device | AnyBuffer, *, write: bool = False, registers: bool = False
) -> Iterator[Subject]:
    """Map a device, or take a buffer, for as long as it is measured.

    Raises:
        Unsupported: The device cannot be mapped; or it has registers, which is not allowed for.
        InvalidArgument: The buffer is not in one piece, too small, or not to be written.
    """
    if not isinstance(target, Device):
        yield _of_buffer(target, write=write)
    elif isinstance(target, Dmabuf):
        with target.access(read=True, write=write):
            yield _of_device(target, write=write, registers=registers)
    else:
        yield _of_device(target, write=write, registers=registers)


def _of_buffer(buffer: AnyBuffer, *, write: bool) -> Subject:
    view = memoryview(buffer)  # type: ignore[arg-type] # numpy's stub names no Buffer before 3.12
    if view.format and "O" in view.format:
        raise InvalidArgument("measure: an array of objects is not plain memory")
    if write and view.readonly:
        raise InvalidArgument(
            "measure: the buffer cannot be written to, and write=True asks for it"
        )
    facts = cache.query(buffer)
    device_memory = facts.io or facts.kind in {"uncached", "write-combining"}
    if device_memory:
        raise InvalidArgument(
            "measure: an array of device memory does not tell how it may be accessed: give the "
            "device itself"
        )
    memory = Memory(buffer)
    return Subject(
        _target(f"{type(buffer).__name__} of {view.nbytes} bytes", view.nbytes, facts,
                device_memory=False, written=write),
        memory,
        narrow=None,
        combining=None,
        writable=write,
        anonymous=not facts.shared and facts.path in {"", "[heap]"} and not view.readonly,
        missing=() if write else (OVERWRITE,),
    )  # fmt: skip


def _of_device(device: Device, *, write: bool, registers: bool) -> Subject:
    ours = _is_ours(device)
    may_write = write or ours
    mapping = _map(device, write=may_write)
    facts = cache.query(mapping)
    if not _is_device_memory(device, facts):
        memory = Memory(mapping)
        return Subject(
            _target(device.uri, len(mapping), facts, device_memory=False,
                    written=may_write),
            memory, None, None, may_write, anonymous=False,
            missing=() if may_write else (OVERWRITE,),
        )  # fmt: skip
    return _of_device_memory(device, mapping, facts, write=write, registers=registers)


def _of_device_memory(
    device: Device, mapping: Mapping, facts: cache.Facts, *, write: bool, registers: bool
) -> Subject:
    """Memory that can be prefetched is read by 8 bytes; registers by 4, and never written."""
    prefetchable = facts.kind == "write-combining" or _flag(device, "prefetchable")
    if not prefetchable and not registers:
        raise Unsupported(f'measure "{device.uri}": {REGISTERS}; --registers (registers=True) '
                          "says that it does no harm here")  # fmt: skip
    memory = Memory(mapping, 8 if prefetchable else 4)
    missing: list[Missing] = []
    combining = None
    if not prefetchable:
        missing.append(Missing("writing", "registers are never written by a measurement"))
        missing.append(Missing("accesses of 8 bytes", "registers are read by 4 bytes alone"))
    elif not write:
        missing.append(OVERWRITE)
    else:
        try:
            combining = Memory(device.map(write=True, write_combine=True), 8)
        except (Unsupported, NotFound, PermissionDenied) as error:
            missing.append(Missing("write-combining", str(error)))
    written = write and prefetchable
    return Subject(
        _target(device.uri, len(mapping), facts, device_memory=True, written=written),
        memory,
        Memory(mapping, 4) if prefetchable else None,
        combining,
        written,
        anonymous=False,
        missing=tuple(missing),
    )


def _map(device: Device, *, write: bool) -> Mapping:
    try:
        return device.map(write=write)
    except PermissionDenied as error:
        if not write:
            raise
        raise PermissionDenied(
            error.errno, f"{error} (it was to be written; leave --write, write=True out)"
        ) from None


def _target(
    name: str, size: int, facts: cache.Facts, *, device_memory: bool, written: bool
) -> Target:
    return Target(
        name=name,
        size=size,
        kind=facts.kind,
        flush=facts.flush,
        page=0,
        device_memory=device_memory,
        written=written,
        reason=facts.reason,
    )


def _is_ours(device: Device) -> bool:
    """Whether opening it has made it: then it holds nothing of anybody."""
    return device.driver == "memory" and device.uri.partition(":")[2].startswith("memfd:")


def _is_device_memory(device: Device, facts: cache.Facts) -> bool:
    """A dma-buf has ordinary memory behind it, though the kernel maps it as it maps devices."""
    if facts.kind in {"uncached", "write-combining"}:
        return True
    return facts.io and facts.kind == "unknown" and not isinstance(device, Dmabuf)


def _flag(device: Device, attribute: str) -> bool:
    try:
        return bool(device.attributes[attribute])
    except NoAttribute:
        return False
