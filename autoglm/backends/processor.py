# SPDX-License-Identifier: Apache-2.0
"""Code for processors: what it needs of the one that runs it."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from hal import processor

from ..backend import Availability
from ..device import DEVICE_OF_TARGET, Device
from ..target import X86_64_LEVELS, Target

_X86_BEYOND_LEVELS = (
    "aes", "amx_bf16", "amx_int8", "amx_tile", "avx512_bf16", "avx512_bitalg", "avx512_fp16",
    "avx512_vbmi2", "avx512_vnni", "avx512_vpopcntdq", "avx512ifma", "avx512vbmi", "avx_vnni",
    "gfni", "pclmulqdq", "sha_ni", "vaes", "vpclmulqdq",
)  # fmt: skip
"""What compilers make use of besides, by the names of /proc/cpuinfo."""


def host_features() -> tuple[str, ...]:
    """What code compiled for this very processor may need of another, sorted."""
    has = processor.info().features
    if platform.machine() != "x86_64":
        return tuple(sorted(has))
    of_levels = (name for level in X86_64_LEVELS.values() for name in level)
    return tuple(sorted(has & {*of_levels, *_X86_BEYOND_LEVELS}))


def runs_here(target: Target, features: Iterable[str], device: Device) -> Availability:
    """Whether code for a target runs on a processor.

    Args:
        target: Of kind ``cpu``, ``aarch64`` or ``riscv64``.
        features: What the code needs besides, by the names of /proc/cpuinfo.
        device: The processor: this machine's, or an emulated one.
    """
    machine = device.machine
    wanted = target.kind if target.kind in DEVICE_OF_TARGET else platform.machine()
    if target.variant in X86_64_LEVELS:
        wanted = "x86_64"
    if wanted != machine:
        return Availability(False, f"a program for {target} does not run on {machine}")
    lacking = sorted({*features, *target.features} - device.features)
    if lacking:
        return Availability(False, f"the processor lacks {', '.join(lacking)}")
    return Availability(True, f"{device.name} has what it needs")


def host_level() -> str:
    """The highest level of the x86-64 psABI that this processor has; empty on others.

    Compilers that take the processor by its name would also use what a hypervisor hides of it.
    """
    has = processor.info().features
    found = ""
    for level, added in X86_64_LEVELS.items() if platform.machine() == "x86_64" else ():
        if not has.issuperset(added):
            break
        found = level
    return found
