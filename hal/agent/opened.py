# SPDX-License-Identifier: Apache-2.0
"""What an agent tells of a device that it opened for a controller: OPEN's answer."""

from __future__ import annotations

import struct
import weakref
from typing import Final

import hal
from hal._link import Served
from hal.link import frames

_STREAM: Final = 1
_MEMORY: Final = 2
_STREAMS: Final = frozenset({"uart", "gpio", "iio", "loopback", "sim", "replay", "rec"})
"""Drivers whose bytes come by themselves, so that they are pushed rather than asked for."""


def serve(device: hal.Device, keep: bool) -> Served:
    """Make a device ready for links.

    Args:
        device: It stays open until the `Served` has ended.
        keep: A link may be lost and another take its place.
    """
    return Served(
        device.handle,
        memory=_is_memory(device),
        stream=_is_stream(device),
        attributes=_described(device)[0],
        keep=keep,
    )


def answer(device: hal.Device, lease: int, secret: bytes, keep: int) -> bytes:
    """The body of OPEN's answer (docs/protocol.md)."""
    flags = _STREAM * _is_stream(device) | _MEMORY * _is_memory(device)
    count, attributes = _described(device)
    head = struct.pack("<IQ16sHHH", flags, lease, secret, keep, 0, count)
    return b"".join((frames.text(device.driver), head, attributes))


_known: Final[weakref.WeakKeyDictionary[hal.Device, tuple[int, bytes]]] = (
    weakref.WeakKeyDictionary()
)


def _described(device: hal.Device) -> tuple[int, bytes]:
    """How many attributes it has, and what is told of them: the same while it is open."""
    known = _known.get(device)
    if known is None:
        attributes = device.attributes.describe_all()
        known = _known[device] = len(attributes), b"".join(map(_attribute, attributes))
    return known


def _is_stream(device: hal.Device) -> bool:
    return device.driver in _STREAMS and _has_descriptor(device)


def _is_memory(device: hal.Device) -> bool:
    return isinstance(device, (hal.Memory, hal.Dmabuf, hal.Mmio))


def _has_descriptor(device: hal.Device) -> bool:
    try:
        return device.fileno() >= 0
    except OSError:
        return False


def _attribute(attribute: hal.Attribute) -> bytes:
    kind = 5 if attribute.choices else {bool: 1, int: 2, float: 3, str: 4}[attribute.type]
    least, most = attribute.range or (0.0, 0.0)
    texts = (attribute.name, attribute.unit or "", attribute.doc, attribute.initial or "")
    head = struct.pack("<BBHdd", kind, attribute.access, len(attribute.choices), least, most)
    return b"".join((*map(frames.text, texts), head, *map(frames.text, attribute.choices)))
