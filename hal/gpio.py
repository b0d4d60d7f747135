# SPDX-License-Identifier: Apache-2.0
"""GPIO lines: the face of devices of the driver ``gpio`` (docs/gpio.md)."""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

from .device import Device, Seconds, face
from .errors import InvalidArgument
from .settings import Setting, State

if TYPE_CHECKING:
    Level = bool | Literal[0, 1]

__all__ = ["Gpio", "GpioChip", "GpioEvent", "GpioLine"]

# enum hal_gpio_request, <hal/gpio.h>
_GET, _SET, _LINE, _CHIP = 0x4701, 0x4702, 0x4703, 0x4704
_VALUES = struct.Struct("=QQ")  # struct hal_gpio_values
_EVENT = struct.Struct("=QIIIIII16x")  # struct hal_gpio_event
_INFO = struct.Struct("=IIII32s32s")  # struct hal_gpio_line
_ABOUT = struct.Struct("=II32s32s")  # struct hal_gpio_chip
_EDGES: dict[int, Literal["rising", "falling"]] = {1: "rising", 2: "falling"}


class GpioEvent(NamedTuple):
    """An edge.

    Attributes:
        timestamp_ns: When the kernel saw it, of the clock that ``event_clock`` chose.
        edge: "rising" or "falling".
        offset: The line's number on its chip.
        line: Its place in the address.
        sequence: Its number among the edges of all lines of the device, from 1.
        line_sequence: Its number among the edges of this line, from 1.
        lost: Edges of this line just before it that the kernel dropped.
    """

    timestamp_ns: int
    edge: Literal["rising", "falling"]
    offset: int
    line: int
    sequence: int
    line_sequence: int
    lost: int


class GpioLine(NamedTuple):
    """What the kernel says about one line of the chip.

    Attributes:
        offset: Its number on the chip.
        name: "" when it has none.
        consumer: Who holds it, by the name given then; "" when nobody, or nobody with a name.
        used: Whether somebody, a kernel driver included, holds it.
        direction: "input" or "output".
        active_low: Whether level 1 is the low voltage.
        bias: "as-is", "off", "pull-up" or "pull-down".
        drive: "push-pull", "open-drain" or "open-source".
        edge: "none", "rising", "falling" or "both".
        debounce: Seconds; 0: none.
    """

    offset: int
    name: str
    consumer: str
    used: bool
    direction: Literal["input", "output"]
    active_low: bool
    bias: Literal["as-is", "off", "pull-up", "pull-down"]
    drive: Literal["push-pull", "open-drain", "open-source"]
    edge: Literal["none", "rising", "falling", "both"]
    debounce: float


class GpioChip(NamedTuple):
    """What the kernel says about the chip: its name, its label, how many lines it has."""

    name: str
    label: str
    lines: int


@face("gpio")
class Gpio(Device):
    """Lines of a GPIO chip (``gpio:gpiochip0/4,5``, ``gpio:LED``), or the chip alone.

    Levels are logical: with ``active_low``, 1 is the low voltage. All lines of a device are read,
    or written, in one system call::

        with hal.Gpio.open("gpio:LED", direction="output") as led:
            led[0] = 1

        with hal.Gpio.open("gpio:gpiochip0/4,5", edge="both", bias="pull-up") as keys:
            for event in keys.events():
                print(event.line, event.edge, event.timestamp_ns)

    Opened with ``edge``, ``read()`` gives events as bytes, and ``fileno()`` becomes readable when
    there are some; ``values`` and ``[]`` give the levels all the same.

    Raises:
        Busy: A line is held already; the text says by whom.
        Unsupported: A line that is no output was written, or the chip cannot do what was asked.
        Unplugged: The chip was removed.
    """

    __slots__ = ("_count", "_plain", "_sets")

    # Learned when first needed: how many lines there are, the same where reading gives levels (else
    # 0), and the argument of HAL_GPIO_SET for each line alone, which all threads may share.
    _count: int
    _plain: int
    _sets: tuple[dict[int, bytearray], ...]

    direction = Setting[str]("direction", '"as-is", "input" or "output".')
    active_low = Setting[bool]("active_low", "Whether level 1 is the low voltage.")
    bias = Setting[str]("bias", '"as-is", "off", "pull-up" or "pull-down".')
    drive = Setting[str]("drive", '"push-pull", "open-drain" or "open-source".')
    debounce = Setting[float]("debounce", "Seconds a level must last to count; 0: none.")
    edge = Setting[str]("edge", '"none", "rising", "falling" or "both".')
    event_clock = Setting[str]("event_clock", '"monotonic", "realtime" or "hardware".')
    lost = State[int]("lost", "Events that the kernel dropped because nobody read in time.")
    consumer = State[str]("consumer", "Name under which the lines are held.")

    def __len__(self) -> int:
        """How many lines the device has; 0: it is the chip alone."""
        try:
            return self._count
        except AttributeError:
            self._prepare()
            return self._count

    def _prepare(self) -> None:
        count = int(self.attributes["lines"])
        self._sets = tuple(
            {level: bytearray(_VALUES.pack(1 << i, level << i)) for level in (0, 1)}
            for i in range(count)
        )
        self._plain = count if count and self.edge == "none" else 0
        self._count = count

    def __bool__(self) -> bool:
        """True, also of a chip alone."""
        return True

    @property
    def offsets(self) -> tuple[int, ...]:
        """The lines' numbers on the chip, in the order of the address."""
        text = str(self.attributes["offsets"])
        return tuple(map(int, text.split(","))) if text else ()

    @property
    def values(self) -> tuple[int, ...]:
        """Levels of all lines, 0 or 1, in the order of the address; they may be assigned."""
        try:
            if self._plain:
                return tuple(self.read(self._plain))
        except AttributeError:
            self._prepare()
        return self.get(*range(len(self)))

    @values.setter
    def values(self, levels: Sequence[Level]) -> None:
        self.write(bytes(levels))

    def __getitem__(self, index: int) -> int:
        """The level of one line, by its place in the address."""
        try:
            if self._plain:
                return self.read(self._plain)[index]
        except (AttributeError, IndexError):
            self._bit(index)
        return self.get(index)[0]

    def __setitem__(self, index: int, level: Level) -> None:
        """Drive one line; the others keep their level."""
        try:
            self.control(_SET, self._sets[index][level])
        except (AttributeError, LookupError):
            self.set({index: level})

    def __iter__(self) -> Iterator[bytes]:
        """Refused: levels are in ``values``, edges come from ``events()``."""
        raise TypeError("a Gpio is not iterated: take .values, or .events()")

    def get(self, *indices: int) -> tuple[int, ...]:
        """Levels of some lines, by their places in the address, read at once."""
        mask = 0
        for index in indices:
            mask |= self._bit(index)
        bits = self._get(mask)
        return tuple([int(bool(bits & self._bit(index))) for index in indices])

    def set(self, levels: dict[int, Level]) -> None:
        """Drive some lines at once: places in the address and levels. Others keep theirs."""
        mask = bits = 0
        for index, level in levels.items():
            bit = self._bit(index)
            if level not in (0, 1):
                raise InvalidArgument(f'set "{self.uri}": a level is 0 or 1; got {level!r}')
            mask |= bit
            if level:
                bits |= bit
        self.control(_SET, bytearray(_VALUES.pack(mask, bits)))

    def _bit(self, index: int) -> int:
        count = len(self)
        if not -count <= index < count:
            raise IndexError(f"{self.uri} has {count} line(s); there is no index {index}")
        return 1 << index % count

    def _get(self, mask: int) -> int:
        values = bytearray(_VALUES.pack(mask, 0))
        self.control(_GET, values)
        return int.from_bytes(values[8:], "little")

    def read_events(self, most: int = 64, timeout: Seconds = ...) -> list[GpioEvent]:
        """Events that are there, at least one, in one system call.

        Raises:
            Timeout: None came in time.
        """
        return _events(self.read(most * _EVENT.size, timeout))

    def events(self, timeout: Seconds = ...) -> Iterator[GpioEvent]:
        """Events, one after the other, for ever. ``timeout`` bounds the wait for each.

        Raises:
            Timeout: The next one did not come in time.
        """
        while True:
            yield from self.read_events(timeout=timeout)

    async def aevents(self, timeout: Seconds = ...) -> AsyncIterator[GpioEvent]:
        """events() for asyncio."""
        while True:
            for event in _events(await self.aread(64 * _EVENT.size, timeout)):
                yield event

    def line_info(self, offset: int) -> GpioLine:
        """What the kernel says about a line of the chip, whoever holds it.

        Args:
            offset: The line's number on the chip.
        """
        record = bytearray(_INFO.size)
        struct.pack_into("=I", record, 0, offset)
        self.control(_LINE, record)
        _, flags, debounce, _, name, consumer = _INFO.unpack(record)
        return GpioLine(
            offset,
            _text(name),
            _text(consumer),
            bool(flags & 1),
            "output" if flags & 2 else "input",
            bool(flags & 4),
            "pull-up" if flags & 32 else "pull-down" if flags & 64 else _off(flags & 128),
            "open-drain" if flags & 8 else "open-source" if flags & 16 else "push-pull",
            _edge(flags >> 8 & 3),
            debounce / 1e6,
        )

    def chip_info(self) -> GpioChip:
        """What the kernel says about the chip."""
        record = bytearray(_ABOUT.size)
        self.control(_CHIP, record)
        lines, _, name, label = _ABOUT.unpack(record)
        return GpioChip(_text(name), _text(label), lines)


def _events(data: bytes) -> list[GpioEvent]:
    return [
        GpioEvent(stamp, _EDGES[edge], offset, line, sequence, line_sequence, lost)
        for stamp, edge, offset, line, sequence, line_sequence, lost in _EVENT.iter_unpack(data)
    ]


def _text(field: bytes) -> str:
    return field.split(b"\0", 1)[0].decode(errors="replace")


def _off(flag: int) -> Literal["off", "as-is"]:
    return "off" if flag else "as-is"


def _edge(flags: int) -> Literal["none", "rising", "falling", "both"]:
    names: tuple[Literal["none", "rising", "falling", "both"], ...]
    names = ("none", "rising", "falling", "both")
    return names[flags]
