# SPDX-License-Identifier: Apache-2.0
"""What a model can run on in this machine: records, numbered, as the HAL's inventory has them.

Where a target is another machine, what was compiled is tried on that machine's processor as an
emulator has it. Such a device is in no list, and nothing is run on it but a check.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass, field
from typing import Any

DEVICE_OF_TARGET = {"aarch64": "cpu", "riscv64": "cpu"}
"""The kind of device that runs a target, where it is not called as the target is."""


@dataclass(frozen=True)
class Device:
    """One device.

    Attributes:
        number: By which ``--device-id`` names it; 0 is the processor. The same as long as the
            machine has the same devices.
        kind: ``cpu``, ``cuda``, ``rocm``, ``vulkan``, ``opencl``, ``npu``, ``fpga`` or ``mlu``; of
            an emulated processor its machine: ``aarch64`` or ``riscv64``.
        name: For people.
        address: By which the engine, or the HAL, opens it: a URI of the HAL, or the engine's word;
            of an emulated processor the path of the emulator.
        features: Of a processor, by the names of /proc/cpuinfo; of others what its engine tells.
        memory: Bytes that it has; 0 where nothing tells.
        free: Bytes that were free when it was looked at; 0 where nothing tells.
        problem: Why it cannot be used, and what to do; empty when it can.
        details: What else is known, for people.
    """

    number: int
    kind: str
    name: str
    address: str
    features: frozenset[str] = frozenset()
    memory: int = 0
    free: int = 0
    problem: str = ""
    details: dict[str, Any] = field(default_factory=dict)

    @property
    def emulated(self) -> bool:
        """It is the processor of another machine, emulated: how long it takes says nothing."""
        return self.kind in DEVICE_OF_TARGET

    @property
    def machine(self) -> str:
        """Of a processor: which machine's it is, as ``uname -m`` has it."""
        if self.emulated:
            return self.kind
        return str(self.details.get("architecture", platform.machine()))

    def __str__(self) -> str:
        if self.emulated:
            return f"an emulated {self.kind}"
        return f"device {self.number} ({self.kind}: {self.name})"
