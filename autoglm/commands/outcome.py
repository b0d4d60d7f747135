# SPDX-License-Identifier: Apache-2.0
"""How a command ends: a user's fault is one sentence and an exit status."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import FrameType
from typing import NoReturn

import click

from ..errors import Error

ENDING = (signal.SIGTERM, signal.SIGHUP)
"""Signals by which a command is told to end; SIGINT is Python's KeyboardInterrupt already."""


def run(command: click.Command, name: str, arguments: Sequence[str] | None) -> NoReturn:
    """Run a command and end the process; told to end by a signal, it leaves nothing behind.

    Args:
        command: It; it returns its exit status.
        name: What it is called.
        arguments: What stands after its name; None: what the process was given.
    """
    try:
        with _ended_in_order():
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


@contextlib.contextmanager
def _ended_in_order() -> Iterator[None]:
    """Let signals end what runs as an error does: folders are removed, children ended.

    One that is ignored, as SIGHUP under nohup(1), stays so.
    """
    if threading.current_thread() is not threading.main_thread():  # only that one has handlers
        yield
        return
    ours = [number for number in ENDING if signal.getsignal(number) == signal.SIG_DFL]
    for number in ours:
        signal.signal(number, _end)
    try:
        yield
    finally:
        for number in ours:
            signal.signal(number, signal.SIG_DFL)


def _end(number: int, frame: FrameType | None) -> NoReturn:
    """End with the status of a program that the signal ended, as a shell says it."""
    del frame
    for each in ENDING:  # a terminal that is closed, or a service that is stopped, sends several
        signal.signal(each, signal.SIG_IGN)
    sys.exit(128 + number)
