# SPDX-License-Identifier: Apache-2.0
"""Boots a guest with all its devices for a command, or for a shell: ``python -m tests.lab``."""

from __future__ import annotations

import argparse
import os
import sys

from .prepare import ARCHITECTURES, LabUnavailable, prepare
from .service import Service
from .vm import Guest, GuestDied

_SHELL = "setsid --wait bash -ic 'stty rows {1} cols {0}; exec bash' <>/dev/hvc0 >&0 2>&1"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tests/lab/run",
        description="Boot a lab guest, run a command in it, give back its output and status.",
        epilog="Without a command you get a shell in the guest; its end ends the guest. "
        "Example: tests/lab/run -- gpioinfo",
    )
    parser.add_argument("--arch", choices=ARCHITECTURES, default="x86_64", help="(default: x86_64)")
    parser.add_argument("--timeout", type=float, default=600, help="seconds for boot and command")
    parser.add_argument("command", nargs="*", help="program and arguments")
    return parser


def main() -> int:
    """Run from the command line."""
    arguments = _parser().parse_args()
    try:
        with Guest(prepare(arguments.arch)) as guest:
            if arguments.command:
                guest.start(arguments.command)
            else:
                shell = _SHELL.format(*os.get_terminal_size())
                guest.start(["bash", "-c", shell], {"TERM": os.environ.get("TERM", "dumb")}, True)
            service = Service(guest) if "request" in guest.machine.chardevs else None
            result = guest.follow(arguments.timeout if arguments.command else None)
            if service:
                service.join()
            return result.status
    except (LabUnavailable, GuestDied) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 125
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
