# SPDX-License-Identifier: Apache-2.0
"""Which devices a model could run on in this machine, numbered.

The HAL's inventory says what is there; the engines of the back ends say what they can use of it.
What is there and no engine can use is listed too, with what to install.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import hal
from hal import processor

from .backend import Backend, backends
from .device import DEVICE_OF_TARGET, Device
from .emulator import REMEDY, emulator
from .errors import DeviceError
from .target import Target

KINDS = ("cpu", "cuda", "rocm", "npu", "mlu", "fpga", "vulkan", "opencl")
"""In the order of numbers."""

_GPU, _ACCELERATOR, _SIGNAL = "03", "12", "11"
"""Base classes: PCI Code and ID Assignment Specification 1.15, sections 1.4, 1.18 and 1.19."""
_BY_VENDOR: Mapping[tuple[str, str], str] = {
    (_GPU, "10de"): "cuda",
    (_GPU, "1002"): "rocm",
    (_GPU, "8086"): "vulkan",
    (_ACCELERATOR, "8086"): "npu",
    (_ACCELERATOR, "1002"): "rocm",
    (_ACCELERATOR, "cabc"): "mlu",
    (_ACCELERATOR, "10ee"): "fpga",
    (_ACCELERATOR, "1172"): "fpga",
    (_SIGNAL, "cabc"): "mlu",
}
"""The kind of device that a PCI function is, by base class and vendor."""
_BY_KIND: Mapping[str, str] = {"gpu": "vulkan", "fpga": "fpga"}
"""The same for an accelerator of the inventory."""

log = logging.getLogger("autoglm")


def devices() -> list[Device]:
    """Every device, the processor first; those that cannot be used say why in `Device.problem`."""
    usable = _once(_of_engines(backends().values()))
    kinds = {device.kind for device in usable}
    waiting = [device for device in _of_inventory() if device.kind not in kinds]
    return _numbered([this_processor(), *usable, *waiting])


def this_processor() -> Device:
    """The processor, which is always device 0."""
    found = processor.info()
    cores = found.cores
    return Device(
        0,
        "cpu",
        found.model,
        "cpu",
        found.features,
        found.memory,
        found.free,
        details={
            "architecture": found.architecture,
            "cores": cores,
            "caches": dict(found.caches),
            "load": round(os.getloadavg()[0] / cores, 2),
        },
    )


def processor_for(target: Target) -> Device:
    """The processor on which a program for a target is tried: this machine's, or an emulated one.

    Args:
        target: One that is a processor's.
    """
    here = this_processor()
    if target.kind in DEVICE_OF_TARGET and target.kind != here.machine:
        return emulated_processor(target.kind)
    return here


def emulated_processor(machine: str) -> Device:
    """Another machine's processor, by user-mode QEMU; `Device.problem` says where that is missing.

    Args:
        machine: ``aarch64`` or ``riscv64``.
    """
    path = emulator(machine)
    return Device(
        0,
        machine,
        "emulated",
        path or f"qemu-{machine}",
        problem="" if path else f"there is no qemu-{machine} to emulate it ({REMEDY})",
        details={"architecture": machine},
    )


def named(name: int | str, among: Iterable[Device]) -> Device:
    """The device of that number, or the first of that kind that can be used.

    Raises:
        DeviceError: There is none; the sentence says which there are.
    """
    among = list(among)
    fits = [device for device in among if str(name) in (str(device.number), device.kind)]
    for device in sorted(fits, key=lambda device: bool(device.problem)):
        return device
    raise DeviceError(f"no device {name!r}; there are: {', '.join(map(str, among))}")


def _of_engines(engines: Iterable[Backend]) -> Iterable[Device]:
    for engine in engines:
        yield from _of_engine(engine)


def _of_engine(engine: Backend) -> Sequence[Device]:
    try:
        return engine.devices()
    except Exception:  # a driver's fault must not hide the devices of others
        log.exception("%s: it cannot say which devices there are", engine.name)
        return ()


def _once(found: Iterable[Device]) -> list[Device]:
    """One device for each kind and address; what one engine can use hides what others cannot."""
    kept: dict[tuple[str, str], Device] = {}
    for device in found:
        key = device.kind, device.address
        if key not in kept or (kept[key].problem and not device.problem):
            kept[key] = device
    return list(kept.values())


def _of_inventory() -> Iterable[Device]:
    """What the HAL sees on PCI, and accelerators that are no PCI function."""
    functions = hal.devices("class=pci", network=False)
    for record in functions:
        vendor = record.properties.get("id", "")[:4]
        kind = _BY_VENDOR.get((record.properties.get("class", "")[:2], vendor))
        if kind:
            yield _waiting(kind, record)
    on_pci = {record.id for record in functions}
    for record in hal.devices("class=accelerator", network=False):
        kind = _BY_KIND.get(record.properties.get("kind", ""))
        if kind and record.parent not in on_pci:
            yield _waiting(kind, record)


def _waiting(kind: str, record: hal.Record) -> Device:
    return Device(
        0,
        kind,
        record.description or record.name,
        record.uri or record.name,
        problem=f"no engine here can use it: pip install 'open-autoglm[{kind}]', and its driver",
        details={"record": record.id},
    )


def _numbered(found: Iterable[Device]) -> list[Device]:
    def place(device: Device) -> tuple[int, str]:
        known = device.kind in KINDS
        return (KINDS.index(device.kind) if known else len(KINDS), device.address)

    return [replace(device, number=n) for n, device in enumerate(sorted(found, key=place))]
