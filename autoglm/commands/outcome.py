# SPDX-License-Identifier: Apache-2.0
"""How a command ends: a user's fault is one sentence and an exit status."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

import click

from ..errors import Error


def run(command: click.Command, name: str, arguments: Sequence[str] | None) -> NoReturn:
    """Run a command and end the process.

    Args:
        command: It; it returns its exit status.
        name: What it is called.
        arguments: What stands after its name; None: what the process was given.
    """
    try:
        code = int(command.main(arguments, prog_name=name, standalone_mode=False) or 0)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except Error as error:
        click.echo(f"{name}: {error}", err=True)
        code = error.exit_status
    except OSError as error:
        click.echo(f"{name}: {error}", err=True)
        code = 1
    except (click.Abort, KeyboardInterrupt):
        code = 130  # as a shell says of a program that SIGINT ended
    sys.exit(code)
