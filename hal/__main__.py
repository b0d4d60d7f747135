# SPDX-License-Identifier: Apache-2.0
"""Where the C side of this installation lies, for compilers, pkg-config and CMake.

Examples:
    cc app.c $(python -m hal --cflags --libs) -o app
    PKG_CONFIG_PATH=$(python -m hal --pkgconfigdir) pkg-config --libs hal
    cmake -Dhal_DIR=$(python -m hal --cmakedir) -S . -B build
    cp thermo.so $(python -m hal --driver-dir)
"""

from __future__ import annotations

import argparse
import shlex
import sys
from pathlib import Path

NATIVE = Path(__file__).parent.resolve() / "_native"
LIB = NATIVE / "lib"


def answers() -> dict[str, tuple[str, list[str]]]:
    """Option -> (what it is for, the words it prints)."""
    return {
        "cflags": ("flags to compile with libhal", [f"-I{NATIVE / 'include'}"]),
        "libs": ("flags to link with it", [f"-L{LIB}", f"-Wl,-rpath,{LIB}", "-lhal"]),
        "cmakedir": ("the folder for -Dhal_DIR=", [str(LIB / "cmake" / "hal")]),
        "pkgconfigdir": ("the folder for PKG_CONFIG_PATH", [str(LIB / "pkgconfig")]),
        "driver-dir": ("the folder of the driver plug-ins", [str(LIB / "hal" / "drivers")]),
    }


def main() -> int:
    """Print what was asked for on one line, in the order above; 0, 1 (no libhal) or 2 (usage)."""
    parser = argparse.ArgumentParser(
        prog="python -m hal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    table = answers()
    for option, (purpose, _) in table.items():
        parser.add_argument(f"--{option}", dest=option, action="store_true", help=purpose)
    wanted = vars(parser.parse_args())
    if not any(wanted.values()):
        parser.error("say what you want to know, for example --cflags --libs")
    if not (LIB / "libhal.so.1").is_file():
        print(f'find "{LIB / "libhal.so.1"}": not built (make build)', file=sys.stderr)
        return 1
    words = [word for option, (_, words) in table.items() if wanted[option] for word in words]
    print(shlex.join(words))
    return 0


if __name__ == "__main__":
    sys.exit(main())
