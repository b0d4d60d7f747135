# SPDX-License-Identifier: Apache-2.0
"""LEDs: the face of devices of the driver ``led`` (docs/led.md)."""

from __future__ import annotations

from .device import Device, face
from .settings import Setting, State

__all__ = ["Led"]


@face("led")
class Led(Device):
    """An LED of the kernel's LED class.

    Example::

        with hal.Led.open("led:mmc0::") as led:
            led.trigger = "none"
            led.on()
    """

    __slots__ = ()

    brightness = Setting[int]("brightness", "0 (off) to ``max_brightness``.")
    max_brightness = State[int]("max_brightness", "The brightest this LED can be.")
    trigger = Setting[str]("trigger", '"none", "timer", "heartbeat", ... as the kernel offers.')
    delay_on = Setting[float]("delay_on", 'Seconds on, with the trigger "timer".')
    delay_off = Setting[float]("delay_off", 'Seconds off, with the trigger "timer".')

    def on(self) -> None:
        """As bright as it can be."""
        self.brightness = self.max_brightness

    def off(self) -> None:
        """Dark; this also ends a trigger (the kernel's rule)."""
        self.brightness = 0

    def blink(self, on: float = 0.5, off: float = 0.5) -> None:
        """Blink, done by the kernel: seconds on and off, to the millisecond."""
        self.trigger = "timer"
        self.delay_on = on
        self.delay_off = off
