# SPDX-License-Identifier: Apache-2.0
"""The command hal-new-driver."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

import hal
from hal.probe.outcome import Exit, exit_code

from .template import check_name, identifier, new_files, write_files

EPILOG = """\b
Examples:
  hal-new-driver thermo
  hal-new-driver thermo --python --dir ~/src/thermo

Exit codes: 0 done, 1 the folder cannot be written or has such files, 2 a wrong name or wrong use,
4 no permission.
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.argument("name")
@click.option("--python", is_flag=True, help="A driver in Python, not in C.")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to make it in.  [default: NAME]",
)
@click.version_option(hal.__version__, prog_name="hal-new-driver")
def cli(name: str, python: bool, folder: Path | None) -> int:
    """Make the files of a new driver NAME: source, test, README, and CMakeLists.txt for one in C.

    It works as it stands: it builds, passes hal-conformance and opens. Nothing is overwritten.
    """
    try:
        check_name(name)
    except hal.Error as error:
        raise click.UsageError(str(error)) from None
    target = folder or Path(name)
    files = new_files(name, "python" if python else "c")
    write_files(target, files)
    for file in files:
        click.echo(f"created {target / file}")
    click.echo("\nNow type:\n")
    for line in next_steps(name, target, python=python):
        click.echo(f"    {line}")
    return Exit.OK


def next_steps(name: str, folder: Path, *, python: bool) -> list[str]:
    """What to type to build, open and test it."""
    enter = f"cd {shlex.quote(str(folder))}"
    if python:
        module = f"{identifier(name)}_driver"
        opening = f"import hal, {module}; print(hal.open('{name}:'))"
        return [enter, f'python -c "{opening}"', "python -m pytest"]
    return [
        enter,
        'cmake -S . -B build -DCMAKE_PREFIX_PATH="$(python -m hal --cmakedir)"',
        "cmake --build build",
        'export HAL_DRIVER_PATH="$PWD/build"',
        f"hal-probe show {name}:",
        f"hal-conformance {name}: --writes",
        "python -m pytest",
    ]


def _guarded(arguments: Sequence[str]) -> int:
    try:
        with cli.make_context("hal-new-driver", list(arguments)) as context:
            return int(cli.invoke(context) or Exit.OK)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except hal.Error as error:
        click.echo(f"hal-new-driver: {error}", err=True)
        return exit_code(error)
    except OSError as error:
        path = os.fsdecode(error.filename or "")
        click.echo(f'hal-new-driver: create "{path}": {error.strerror}', err=True)
        return Exit.PERMISSION if isinstance(error, PermissionError) else Exit.FAILED
    except (click.Abort, KeyboardInterrupt):
        return 130  # as a shell says of a program that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run hal-new-driver and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    sys.exit(_guarded(sys.argv[1:] if arguments is None else arguments))
