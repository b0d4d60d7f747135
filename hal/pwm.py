# SPDX-License-Identifier: Apache-2.0
"""Pulse width modulation: the face of devices of the driver ``pwm`` (docs/pwm.md)."""

from __future__ import annotations

from .device import Device, face
from .settings import Setting

__all__ = ["Pwm"]


@face("pwm")
class Pwm(Device):
    """A channel of a PWM chip.

    Example::

        with hal.Pwm.open("pwm:pwmchip0/1", frequency="1kHz", duty="25%") as pwm:
            pwm.enabled = True
            pwm.duty = 0.5
    """

    __slots__ = ()

    period = Setting[float]("period", "Seconds a cycle; the duty keeps its part of it.")
    frequency = Setting[float]("frequency", "Cycles a second: the period, written otherwise.")
    duty = Setting[float]("duty", "The active part of a cycle, 0 to 1.")
    duty_time = Setting[float]("duty_time", "The active part of a cycle in seconds.")
    polarity = Setting[str]("polarity", '"normal" or "inversed"; not while enabled.')
    enabled = Setting[bool]("enabled", "Whether the output runs.")
