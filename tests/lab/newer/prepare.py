# SPDX-License-Identifier: Apache-2.0
"""A kernel and a QEMU of the distribution's backports, for what its own are too old for.

The kernel is given /dev/iommu and VFIO's device nodes, which no Debian kernel is built with: its
own iommufd and VFIO, from its source, with the two options turned on.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from tests.lab.apt import Apt, AptError, write_backports
from tests.lab.prepare import Kit, LabUnavailable, Preparation, cache, prepare

FOLDERS = {"drivers/iommu/iommufd": "iommufd", "drivers/vfio": "vfio"}
"""Folders of the kernel's source, and where modules_newer/Makefile looks for them."""
FILES = ("drivers/iommu/iommu-priv.h", "lib/interval_tree.c")

QEMU = ("qemu-system-x86", "qemu-system-data", "qemu-system-common", "seabios")


class NewerPreparation(Preparation):
    """The steps for the guest of backports."""

    sources = (*FOLDERS, *FILES)
    modules = Path(__file__).resolve().parent.parent / "modules_newer"

    def __init__(self) -> None:
        """Choose the folder; nothing is done yet."""
        super().__init__("x86_64", "x86_64-newer")

    def apt(self, architecture: str) -> Apt:
        """Give an apt that knows backports alone."""
        return Apt(self.top / "apt", architecture, write_backports(self.top))

    def lay_out(self, source: Path, build: Path) -> None:
        """Keep the folders, whose own makefiles build them."""
        for found in source.iterdir():  # linux-source-VERSION
            for folder, name in FOLDERS.items():
                shutil.copytree(found / folder, build / name)
            for file in FILES:
                shutil.copy(found / file, build)

    def qemu(self) -> tuple[str, ...]:
        """Unpack the emulator, once."""
        path = self.top / "qemu"
        if not path.exists():
            scratch = self.top / "qemu.partial"
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            self.apt("amd64").unpack(QEMU, scratch)
            scratch.rename(path)
        data = [word for name in ("qemu", "seabios") for word in ("-L", f"{path}/usr/share/{name}")]
        return (f"{path}/usr/bin/qemu-system-x86_64", *data)


def prepare_newer() -> Kit:
    """Make everything that the guest boots from, if it is not there yet.

    Raises:
        LabUnavailable: with the one reason.
    """
    prepare("x86_64")  # what is missing for that is missing here
    try:
        return NewerPreparation().kit()
    except (AptError, OSError, ValueError) as error:
        raise LabUnavailable(f"a newer kernel and QEMU: {error}") from error


if __name__ == "__main__":
    print(f"{prepare_newer()} in {cache()}", file=sys.stderr)
