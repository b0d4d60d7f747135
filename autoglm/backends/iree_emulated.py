# SPDX-License-Identifier: Apache-2.0
"""A module of IREE on an emulated processor: by that machine's own iree-run-module, under QEMU.

The package iree-base-runtime of that machine has the program, and a cross compiler's C library is
what it is linked with. Each call is a process; tensors go to it, and come from it, as files.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from ..backend import Availability, Executable
from ..child import end_with_parent
from ..device import Device
from ..errors import DeviceError
from ..manifest import Program
from ..tensor import Array
from .signature import Signature

SECONDS = 3600.0
"""How long one call may take; the caller's own limit is usually shorter."""
PLACE = re.compile(r"(c/)?[\w./]+\.c:\d+: ")
"""The place in IREE's source, at the beginning of what it says."""

_PLATFORMS = {"aarch64": "manylinux_2_28_aarch64"}
"""The machines for which there is a package, and its platform."""
_LIBRARIES = {"aarch64": "libstdc++6-arm64-cross"}
"""What brings the libraries that it is linked with on Debian and its kin."""
_PROGRAM = Path("iree", "_runtime_libs", "iree-run-module")


class EmulatedModule(Executable):
    """A module of IREE on an emulated processor.

    Raises:
        DeviceError: The emulator is not there.
    """

    def __init__(self, program: Program, module: Path, device: Device) -> None:
        if not Path(device.address).exists():
            raise DeviceError(f"{device}: there is no {device.address}")
        signature = Signature.from_notes(program.notes)
        self.inputs, self.outputs = signature.inputs, signature.outputs
        self._command = [
            *(device.address, "-L", str(_libraries(device.machine))),
            *(str(_folder(device.machine) / _PROGRAM), f"--module={module}"),
            "--device=local-sync",
        ]

    def run(self, inputs: Mapping[str, Array]) -> dict[str, Array]:
        """Start it, with the inputs in files, and read what it wrote."""
        with tempfile.TemporaryDirectory(prefix="autoglm-") as folder:
            command = list(self._command)
            for number, spec in enumerate(self.inputs):
                array = np.asarray(inputs[spec.name], order="C")
                np.save(Path(folder, f"input{number}.npy"), array)
                command.append(f"--input=@input{number}.npy")
            made = [Path(folder, f"output{number}.npy") for number in range(len(self.outputs))]
            command += [f"--output=@{path.name}" for path in made]
            _call(command, folder)
            return {
                spec.name: _read(path, spec.dtype)
                for spec, path in zip(self.outputs, made, strict=True)
            }

    def close(self) -> None:
        """Nothing is held between calls."""


def available(program: Program, device: Device) -> Availability:
    """Whether a program of IREE can be run on an emulated processor.

    Args:
        program: For that processor.
        device: The processor.
    """
    machine = device.machine
    if machine not in _PLATFORMS:
        return Availability(False, f"there is no package of IREE's runtime for {machine}")
    if device.problem:
        return Availability(False, device.problem)
    folder, version = _folder(machine), program.engine.rpartition(" ")[2]
    whole = (folder / _PROGRAM).exists()
    if not whole or not (folder / f"iree_base_runtime-{version}.dist-info").exists():
        reason = f"iree-run-module {version} for {machine} is not installed"
        return Availability(False, reason, _remedy(machine, version))
    if not (_libraries(machine) / "lib" / "libstdc++.so.6").exists():
        reason = f"there is no C++ library for {machine} in {_libraries(machine)}"
        return Availability(False, reason, f"apt install {_LIBRARIES[machine]}")
    by = Path(device.address).name
    return Availability(True, f"iree-run-module {version} for {machine}, emulated by {by}")


def _folders(machine: str) -> Sequence[Path]:
    """Where the package may be."""
    home = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    shares = Path(home), Path(sys.prefix, "share")
    return [share / "open-autoglm" / machine for share in shares]


def _folder(machine: str) -> Path:
    """Where it is; where there is none, where it belongs."""
    folders = _folders(machine)
    return next((each for each in folders if each.exists()), folders[0])


def _libraries(machine: str) -> Path:
    """The root below which the machine's own libraries are; QEMU's variable names another."""
    return Path(os.environ.get("QEMU_LD_PREFIX") or f"/usr/{machine}-linux-gnu")


def _remedy(machine: str, version: str) -> str:
    return (
        f"pip install --upgrade --target {_folder(machine)} --platform {_PLATFORMS[machine]}"
        f" --python-version 3.11 --only-binary=:all: --no-deps iree-base-runtime=={version}"
    )


def _call(command: Sequence[str], folder: str) -> None:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            timeout=SECONDS,
            check=False,
            preexec_fn=end_with_parent,  # a call of libc, and nothing that could wait
        )
    except subprocess.TimeoutExpired:
        raise DeviceError(f"iree-run-module, emulated, was not done within {SECONDS:g} s") from None
    except OSError as error:
        raise DeviceError(f"start iree-run-module, emulated: {error}") from error
    if done.returncode:
        said = PLACE.sub("", done.stderr.decode("utf-8", "replace")).strip()[:400]
        how = said or f"it ended with status {done.returncode}"
        raise DeviceError(f"iree-run-module, emulated, failed: {how}")


def _read(path: Path, dtype: str) -> Array:
    try:
        found: Array = np.load(path)
        return found.view(dtype)
    except (OSError, ValueError, EOFError) as error:
        raise DeviceError(f"iree-run-module, emulated, wrote no {dtype}: {error}") from error
