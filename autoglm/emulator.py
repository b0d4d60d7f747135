# SPDX-License-Identifier: Apache-2.0
"""User-mode QEMU: it runs programs of another machine here, slowly, and computes as that does.

Source: "QEMU User space emulator", https://www.qemu.org/docs/master/user/main.html.
"""

from __future__ import annotations

import shutil

REMEDY = "apt install qemu-user-static"
"""What brings it on Debian and its kin."""


def emulator(machine: str) -> str:
    """The program that runs those of a machine, as ``uname -m`` has it; empty where there is none.

    Args:
        machine: ``aarch64`` or ``riscv64``.
    """
    name = f"qemu-{machine}"
    return shutil.which(f"{name}-static") or shutil.which(name) or ""
