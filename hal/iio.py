# SPDX-License-Identifier: Apache-2.0
"""Industrial I/O: the face of devices of the driver ``iio`` (docs/iio.md)."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from .attributes import Access
from .device import Device, Seconds, face
from .settings import Setting, State

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Iio", "IioChannel", "IioElement", "IioEvent", "IioScan"]

_SCAN = 0x4F01  # HAL_IIO_SCAN, <hal/iio.h>
_HEAD = struct.Struct("=II")  # struct hal_iio_scan, before its elements
_ELEMENT = struct.Struct("=32s16sddI6B6x")  # struct hal_iio_element, padded to 80 bytes
_ELEMENT_SIZE = 80
_ELEMENTS_MAX = 64
_EVENT = struct.Struct("=Qq")  # struct hal_iio_event

# enum iio_chan_type, iio_event_type, iio_event_direction and iio_modifier, <linux/iio/types.h>
_CHANNELS = tuple(
    """
    voltage current power accel anglvel magn illuminance intensity proximity temp incli rot angl
    timestamp capacitance altvoltage cct pressure humidityrelative activity steps energy distance
    velocity concentration resistance ph uvindex electricalconductivity count index gravity
    positionrelative phase massconcentration deltaangl deltavelocity colortemp chromaticity
    attention altcurrent
    """.split()  # noqa: SIM905 - a list of words is easier to hold against the header
)
_KINDS = (
    *("thresh", "mag", "roc", "thresh_adaptive", "mag_adaptive", "change", "mag_referenced"),
    *("gesture", "fault"),
)
_DIRECTIONS = ("either", "rising", "falling", "none", "singletap", "doubletap", "openwire")
_MODIFIERS = tuple(
    """
    - x y z x&y x&z y&z x&y&z x|y x|z y|z x|y|z both ir sqrt(x^2+y^2) x^2+y^2+z^2 clear red green
    blue quaternion ambient object from_north_magnetic from_north_true
    from_north_magnetic_tilt_comp from_north_true_tilt_comp running jogging walking still
    sqrt(x^2+y^2+z^2) i q co2 voc uv duv pm1 pm2p5 pm4 pm10 ethanol h2 o2 linear_x linear_y
    linear_z pitch yaw roll
    """.split()  # noqa: SIM905
)


class IioChannel(NamedTuple):
    """A channel that can be read, or written, one value at a time.

    Attributes:
        name: As of the attribute: "voltage0", "accel_x"; an output begins with "out_".
        unit: SI symbol of its value; None: a plain number.
        output: Whether it can be set.
        scale: Units for each step of the raw number; None: the device gives values.
        offset: Added to the raw number before scaling.
    """

    name: str
    unit: str | None
    output: bool
    scale: float | None
    offset: float


class IioElement(NamedTuple):
    """How one channel lies in a captured scan; ``struct hal_iio_element`` in C."""

    channel: str
    unit: str
    scale: float
    offset: float
    position: int
    bits: int
    storage: int
    shift: int
    signed: bool
    big_endian: bool
    repeat: int


class IioScan(NamedTuple):
    """Layout of a captured scan: its bytes, and the channels in it."""

    size: int
    elements: tuple[IioElement, ...]

    @property
    def dtype(self) -> np.dtype[Any]:
        """A scan as it comes from ``read()``: a record of one field a channel."""
        import numpy as np

        return np.dtype(
            {
                "names": [element.channel for element in self.elements],
                "formats": [_format(element) for element in self.elements],
                "offsets": [element.position for element in self.elements],
                "itemsize": self.size,
            }
        )


class IioEvent(NamedTuple):
    """A threshold or other event.

    Attributes:
        timestamp_ns: Of the device's clock.
        channel: "voltage0", "accel_x", "voltage1-voltage2".
        kind: "thresh", "mag", "roc", "change" ...
        direction: "rising", "falling", "either", "none" ...
        id: The kernel's code, which the other fields are taken from.
    """

    timestamp_ns: int
    channel: str
    kind: str
    direction: str
    id: int


@face("iio")
class Iio(Device):
    """A converter or sensor (``iio:device0``, or by its name).

    Every channel is an attribute in SI units. Opened with ``channels`` it captures scans into the
    kernel's buffer; opened with ``events`` it reads events::

        with hal.Iio.open("iio:ad7124") as adc:
            volts = adc.read_channel("voltage0")

        with hal.Iio.open("iio:ad7124", channels="voltage0,voltage1", frequency=1000) as adc:
            scans = adc.capture(1000)
            print(scans["voltage0"].mean(), scans["timestamp"][0])

    What a capture changed in the device (channels, trigger, buffer, rate) is put back at the close.

    Raises:
        Busy: Somebody else captures, or takes the events.
        Unplugged: The device was removed.
    """

    __slots__ = ("_scan",)

    _scan: IioScan

    name = State[str]("name", "The device's name.")
    trigger = State[str]("trigger", "What makes the device take a scan.")
    frequency = Setting[float]("frequency", "Scans a second, of the trigger or the device.")
    buffer = State[int]("buffer", "Scans that the kernel holds.")
    watermark = State[int]("watermark", "Scans that wake a read that waits.")
    available = State[int]("available", "Scans that wait to be read.")
    clock = Setting[str]("clock", "Clock of timestamps: realtime, monotonic ...")

    @property
    def channels(self) -> dict[str, IioChannel]:
        """The channels that can be read or written one value at a time, by name."""
        rows = {row.name: row for row in self.attributes.describe_all()}
        values = [name for name, row in rows.items() if row.doc in _VALUES]
        return {
            name: IioChannel(
                name,
                rows[name].unit,
                Access.WRITE in rows[name].access,
                self._float(f"{name}.scale") if f"{name}.scale" in rows else None,
                self._float(f"{name}.offset") if f"{name}.offset" in rows else 0.0,
            )
            for name in values
        }

    def read_channel(self, name: str) -> float:
        """Measure one channel now, in its unit.

        Raises:
            NoAttribute: There is no such channel.
        """
        return self._float(name)

    def write_channel(self, name: str, value: float) -> None:
        """Set an output, in its unit; rounded to the nearest step."""
        self.attributes[name] = value

    def _float(self, name: str) -> float:
        return float(self.attributes[name])

    @property
    def scan(self) -> IioScan:
        """Layout of the scans that ``read()`` gives.

        Raises:
            Unsupported: The device was opened without ``channels``.
        """
        try:
            return self._scan
        except AttributeError:
            record = bytearray(_HEAD.size + _ELEMENTS_MAX * _ELEMENT_SIZE)
            self.control(_SCAN, record)
            size, count = _HEAD.unpack_from(record)
            self._scan = IioScan(
                size,
                tuple(_element(record, _HEAD.size + i * _ELEMENT_SIZE) for i in range(count)),
            )
            return self._scan

    def capture(self, n: int, *, raw: bool = False, timeout: Seconds = ...) -> npt.NDArray[np.void]:
        """Capture n scans.

        Args:
            n: How many.
            raw: Give the bytes as they came, without a copy; ``scan`` says what they mean.
            timeout: For all of them.

        Returns:
            A structured array of n records, a field a channel: float64 in the channel's unit, and
            "timestamp" in nanoseconds, int64. With ``raw`` the kernel's own layout.

        Raises:
            Timeout: Not all came in time. Those that did come first in the next capture.
        """
        import numpy as np

        scan = self.scan
        data = np.frombuffer(self.read_exact(n * scan.size, timeout), scan.dtype)
        if raw:
            return data
        out = np.empty(n, [(element.channel, *_value(element)) for element in scan.elements])
        for element in scan.elements:
            numbers = _numbers(data[element.channel], element)
            if element.channel == "timestamp":
                out[element.channel] = numbers
            else:
                out[element.channel] = (numbers + element.offset) * element.scale
        return out

    def read_events(self, most: int = 16, timeout: Seconds = ...) -> list[IioEvent]:
        """Events that are there, at least one.

        Raises:
            Timeout: None came in time.
        """
        return _events(self.read(most * _EVENT.size, timeout))

    def events(self, timeout: Seconds = ...) -> Iterator[IioEvent]:
        """Events, one after the other, for ever. ``timeout`` bounds the wait for each.

        Raises:
            Timeout: The next one did not come in time.
        """
        while True:
            yield from self.read_events(timeout=timeout)

    async def aevents(self, timeout: Seconds = ...) -> AsyncIterator[IioEvent]:
        """events() for asyncio."""
        while True:
            for event in _events(await self.aread(16 * _EVENT.size, timeout)):
                yield event


# The driver's words for the attribute that is a channel's value.
_VALUES = ("What it measures now.", "What the channel gives out.")


def _element(record: bytearray, position: int) -> IioElement:
    channel, unit, scale, offset, at, *layout = _ELEMENT.unpack_from(record, position)
    bits, storage, shift, signed, big_endian, repeat = layout
    return IioElement(
        channel.split(b"\0", 1)[0].decode(),
        unit.split(b"\0", 1)[0].decode(),
        scale,
        offset,
        at,
        bits,
        storage,
        shift,
        bool(signed),
        bool(big_endian),
        repeat,
    )


def _format(element: IioElement) -> Any:
    """Numpy's type of the stored value: an integer, or bytes where numpy has none of that size."""
    size = element.storage // 8
    if size not in {1, 2, 4, 8}:
        return ("u1", (element.repeat, size) if element.repeat > 1 else (size,))
    kind = f"{'>' if element.big_endian else '<'}{'i' if element.signed else 'u'}{size}"
    return (kind, (element.repeat,)) if element.repeat > 1 else kind


def _value(element: IioElement) -> tuple[Any, ...]:
    kind = "i8" if element.channel == "timestamp" else "f8"
    return (kind, (element.repeat,)) if element.repeat > 1 else (kind,)


def _numbers(stored: npt.NDArray[Any], element: IioElement) -> npt.NDArray[Any]:
    """The valid bits of stored values, as 64-bit integers."""
    import numpy as np

    size = element.storage // 8
    numbers: npt.NDArray[Any]
    if size in {1, 2, 4, 8}:
        numbers = stored.astype(np.uint64 if size == 8 and not element.signed else np.int64)
    else:
        weights = [
            1 << 8 * (size - 1 - i if element.big_endian else i) for i in range(min(size, 8))
        ]
        numbers = (stored[..., : len(weights)].astype(np.int64) * weights).sum(axis=-1)
    numbers = numbers >> element.shift
    if element.bits < 64:
        numbers = numbers.astype(np.int64) & ((1 << element.bits) - 1)
        if element.signed:
            numbers = numbers - ((numbers >> (element.bits - 1) & 1) << element.bits)
    return numbers


def _events(data: bytes) -> list[IioEvent]:
    return [_event(code, stamp) for code, stamp in _EVENT.iter_unpack(data)]


def _event(code: int, stamp: int) -> IioEvent:
    """Take an event's code apart, as <linux/iio/events.h> does."""
    kind, direction = code >> 56 & 0xFF, code >> 48 & 0x7F
    differential, modifier = code >> 55 & 1, code >> 40 & 0xFF
    channel = _word(_CHANNELS, code >> 32 & 0xFF)
    first, second = code & 0xFFFF, code >> 16 & 0xFFFF
    if differential:
        name = f"{channel}{first}-{channel}{second}"
    elif modifier:
        name = f"{channel}_{_word(_MODIFIERS, modifier)}"
    else:
        name = channel if first == 0xFFFF else f"{channel}{first}"
    return IioEvent(stamp, name, _word(_KINDS, kind), _word(_DIRECTIONS, direction), code)


def _word(words: tuple[str, ...], number: int) -> str:
    return words[number] if number < len(words) else str(number)
