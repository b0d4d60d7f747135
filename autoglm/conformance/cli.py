# SPDX-License-Identifier: Apache-2.0
"""The command autoglm-conformance."""

from __future__ import annotations

import json as encoder
import os
import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import hal
from hal.conformance.outcome import Result

from ..errors import Error, TargetUnavailable
from .check import checks
from .run import count, run, unjudged
from .subject import Subject

EPILOG = """\b
Examples:
  autoglm-conformance onnxruntime
  autoglm-conformance iree --target vulkan
  autoglm-conformance acme_autoglm:AcmeBackend --target cpu --json

Exit codes: 0 every check passes or does not apply, 1 one fails, 2 wrong use, 5 nothing that it
compiles could be judged, for it does not compile for the target here; others as of autoglm-compile.
"""


def _list(context: click.Context, _parameter: click.Parameter, value: bool) -> None:
    if not value:
        return
    for check in checks():
        click.echo(f"{check.name}\n  {check.contract}\n  Why: {check.why}\n  See: {check.where}\n")
    context.exit()


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.argument("backend")
@click.option(
    "--target", default="", help="What to compile for.  [default: first that it can here]"
)
@click.option("--device", default="", help="Address of the device to run on.  [default: first]")
@click.option("--check", "only", multiple=True, metavar="NAME", help="Only this; may be repeated.")
@click.option("--json", is_flag=True, help="Print JSON.")
@click.option(
    "--list", is_flag=True, is_eager=True, expose_value=False, callback=_list,
    help="List the checks: contract, reason, where to read.",
)  # fmt: skip
@click.version_option(hal.__version__, prog_name="autoglm-conformance")
def cli(backend: str, target: str, device: str, only: tuple[str, ...], json: bool) -> int:
    """Does a back end keep the contract of autoglm.backend?

    BACKEND is the name of an entry point of the group autoglm.backends, or MODULE:CLASS, found from
    the current folder.
    """
    unknown = set(only) - {check.name for check in checks()}
    if unknown:
        raise click.UsageError(f"no check {', '.join(sorted(unknown))} (--list shows them)")
    subject = Subject(backend, target, device, (os.getcwd(),)).resolved()
    results = run(subject, only, None if json else _line)
    failed = [result for result in results if result.outcome == "fail"]
    reason = unjudged(subject, results)
    if json:
        _as_json(subject, results, reason)
    else:
        _rest(results, failed, reason)
    if failed:
        return 1
    return TargetUnavailable.exit_status if reason else 0


def _line(result: Result) -> None:
    click.echo(f"  {result.check:20} {result.outcome:5} {result.seen}")


def _rest(results: Sequence[Result], failed: Sequence[Result], reason: str) -> None:
    for result in failed:
        click.echo(f"\n{result.check} fails")
        click.echo(f"  contract  {result.contract}")
        click.echo(f"  seen      {result.seen}")
        click.echo(f"  read      {result.where}")
    totals = count(results)
    click.echo(
        f"\n{totals['pass']} passed, {totals['fail']} failed, {totals['n/a']} not applicable"
    )
    if reason:
        click.echo(f"what it compiles could not be judged: {reason}")


def _as_json(subject: Subject, results: Sequence[Result], reason: str) -> None:
    totals = count(results)
    document = {
        "schema": 1,
        "command": "conformance",
        "backend": subject.backend,
        "target": subject.target,
        "passed": not totals["fail"],
        "unjudged": reason,
        "counts": totals,
        "checks": [vars(result) for result in results],
    }
    click.echo(encoder.dumps(document, indent=1))


def _guarded(arguments: Sequence[str]) -> int:
    try:
        with cli.make_context("autoglm-conformance", list(arguments)) as context:
            return int(cli.invoke(context) or 0)
    except click.exceptions.Exit as end:  # --help, --version, --list
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Error as error:
        click.echo(f"autoglm-conformance: {error}", err=True)
        return error.exit_status
    except (click.Abort, KeyboardInterrupt):
        return 130  # as a shell says of a program that SIGINT ended


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run autoglm-conformance and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    sys.exit(_guarded(sys.argv[1:] if arguments is None else arguments))
