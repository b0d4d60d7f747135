# SPDX-License-Identifier: Apache-2.0
"""Record the ABI that must be kept: `make abi`, after a change that keeps old binaries working.

Files are written here for what libhal.so and libhal-discover.so export, and for what a plug-in does
(the entry symbol and, through it, struct driver_ops). A change that breaks old binaries needs a new
HAL_ABI_VERSION.
"""

from __future__ import annotations

from pathlib import Path

from tests.native import ROOT, built, run

FOLDER = Path(__file__).parent
HEADERS = ROOT / "include" / "hal"
# Recorded file -> the binary it describes, below a build folder.
BINARIES = {
    FOLDER / "libhal-x86_64.abi": "lib/libhal.so.1",
    FOLDER / "libhal-discover-x86_64.abi": "lib/libhal-discover.so.1",
    FOLDER / "plugin-x86_64.abi": "lib/hal/drivers/loopback.so",
}


def describe(binary: Path, file: Path, headers: Path = HEADERS) -> None:
    """Write what the public headers let others see of a binary with debugging information."""
    run(
        *("abidw", "--headers-dir", headers, "--drop-private-types", "--no-corpus-path"),
        *("--no-comp-dir-path", "--no-show-locs", "--out-file", file, binary),
    )
    file.write_text(file.read_text().replace(f"'{ROOT}/", "'"))  # of no machine in particular


def compare(old: Path, new: Path) -> None:
    """Fail when a program or plug-in built for ``old`` may not work with ``new``.

    New functions, and growth of what may grow, are no change that matters; all else is.
    """
    run("abidiff", "--no-added-syms", "--suppressions", FOLDER / "growth.abignore", old, new)


if __name__ == "__main__":
    tree = built("plain")
    for file, binary in BINARIES.items():
        describe(tree / binary, file)
