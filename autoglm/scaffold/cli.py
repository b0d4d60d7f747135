# SPDX-License-Identifier: Apache-2.0
"""The command autoglm-new-backend."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

import hal

from ..errors import Error
from .template import check_name, new_files, write_files

EPILOG = """\b
Examples:
  autoglm-new-backend acme
  autoglm-new-backend acme --dir ~/src/acme

Exit codes: 0 done, 1 the folder cannot be written or has such files, 2 a wrong name or wrong use.
"""


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.argument("name")
@click.option(
    "--dir",
    "folder",
    metavar="DIR",
    type=click.Path(file_okay=False, path_type=Path),
    help="The folder to make it in.  [default: autoglm-NAME]",
)
@click.version_option(hal.__version__, prog_name="autoglm-new-backend")
def cli(name: str, folder: Path | None) -> int:
    """Make a package with a new back end NAME: pyproject.toml, the back end, its test, a README.

    It works as it stands: it installs, passes autoglm-conformance and computes. Nothing is
    overwritten.
    """
    try:
        check_name(name)
    except Error as error:
        raise click.UsageError(str(error)) from None
    target = folder or Path(f"autoglm-{name}")
    files = new_files(name)
    write_files(target, files)
    for file in files:
        click.echo(f"created {target / file}")
    click.echo("\nNow type:\n")
    for line in (
        f"cd {shlex.quote(str(target))}",
        "python -m pip install --editable .",
        f"autoglm-conformance {name}",
        "python -m pytest",
    ):
        click.echo(f"    {line}")
    return 0


def _guarded(arguments: Sequence[str]) -> int:
    try:
        with cli.make_context("autoglm-new-backend", list(arguments)) as context:
            return int(cli.invoke(context) or 0)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Error as error:
        click.echo(f"autoglm-new-backend: {error}", err=True)
        return error.exit_status
    except OSError as error:
        path = os.fsdecode(error.filename or "")
        click.echo(f'autoglm-new-backend: create "{path}": {error.strerror}', err=True)
        return 1
    except (click.Abort, KeyboardInterrupt):
        return 130  # as a shell says of a program that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run autoglm-new-backend and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    sys.exit(_guarded(sys.argv[1:] if arguments is None else arguments))
