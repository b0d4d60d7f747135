# SPDX-License-Identifier: Apache-2.0
"""How hal-ca and hal-agent run and end: a user's fault is one sentence and an exit code."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

import hal
from hal.probe.outcome import Exit, exit_code


def run(command: click.Command, name: str, arguments: Sequence[str] | None) -> NoReturn:
    """Run a command and end the process.

    Args:
        command: It; it returns its exit code.
        name: What it is called.
        arguments: What stands after its name; None: what the process was given.
    """
    try:
        code = int(command.main(arguments, prog_name=name, standalone_mode=False) or Exit.OK)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except OSError as error:
        click.echo(f"{name}: {error}", err=True)
        code = exit_code(error) if isinstance(error, hal.Error) else Exit.FAILED
    except (click.Abort, KeyboardInterrupt):
        code = 130  # As a shell says of a program that SIGINT ended.
    sys.exit(code)
