# SPDX-License-Identifier: Apache-2.0
"""The command hal-conformance."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

import click

import hal
from hal.probe.outcome import Exit, Failure, exit_code

from .check import checks
from .report import as_json, as_table
from .run import run
from .subject import Subject

EPILOG = """\b
Examples:
  hal-conformance loopback:
  hal-conformance uart:pty
  hal-conformance ./thermo.so --uri thermo:sim
  hal-conformance i2c:1/0x50 --writes
  hal-conformance 'rec:/tmp/{n}.halrec,sim:uart' --json

Exit codes: 0 every check passes or does not apply, 1 one fails, 2 wrong use, 3 not found,
4 no permission, 5 busy.
"""


def _list(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    for check in checks():
        click.echo(f"{check.name}\n  {check.contract}\n  Why: {check.why}\n  See: {check.where}\n")
    context.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.argument("device")
@click.option("--uri", help="What to open, when DEVICE is a plug-in's file.")
@click.option("--writes", is_flag=True, help="Write to the device, and change its attributes.")
@click.option("--check", "only", multiple=True, metavar="NAME", help="Only this; may be repeated.")
@click.option("--json", "json", is_flag=True, help="Print JSON.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list,
    help="List the checks: contract, reason, where to read.",
)  # fmt: skip
@click.version_option(hal.__version__, prog_name="hal-conformance")
def cli(device: str, uri: str | None, writes: bool, only: tuple[str, ...], json: bool) -> int:
    """Does a driver keep the contract of <hal/driver.h> and <hal/device.h>?

    DEVICE is the URI of a device, or the file of a plug-in (with --uri). `DRIVER:pty` is a
    pseudo-terminal made for the test, with an echo behind it; `{n}` in a URI is another text at
    each opening.

    Nothing is written to a device without --writes, but for loopback, sim and pseudo-terminals. It
    is opened, read, polled, and its attributes are read.
    """
    unknown = set(only) - {check.name for check in checks()}
    if unknown:
        raise click.UsageError(f"no check {', '.join(sorted(unknown))} (--list shows them)")
    results = list(run(Subject.of(_uri(device, uri), writes=writes), frozenset(only)))
    code = Exit.FAILED if any(result.outcome == "fail" for result in results) else Exit.OK
    if json:
        as_json(uri or device, results, code)
    else:
        as_table(uri or device, results)
    return code


def _uri(device: str, uri: str | None) -> str:
    """The URI to open; a plug-in is loaded for it."""
    if not device.endswith(".so"):
        if uri is not None:
            raise click.UsageError("--uri goes with a plug-in's file, PATH/DRIVER.so")
        return device
    if uri is None:
        name = Path(device).stem
        raise click.UsageError(f"{device}: which device of it? --uri '{name}:ADDRESS'")
    hal.load_driver(Path(device).resolve())
    return uri


def _guarded(arguments: Sequence[str]) -> int:
    try:
        with cli.make_context("hal-conformance", list(arguments)) as context:
            return int(cli.invoke(context) or Exit.OK)
    except click.exceptions.Exit as end:  # --help, --version, --list
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except hal.Error as error:
        if "--json" in arguments:
            from hal.probe.output import emit

            emit("error", {"error": Failure.of(error).as_dict()})
        else:
            click.echo(f"hal-conformance: {error}", err=True)
        return exit_code(error)
    except (click.Abort, KeyboardInterrupt):
        return 130  # as a shell says of a program that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run hal-conformance and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    sys.exit(_guarded(sys.argv[1:] if arguments is None else arguments))
