# SPDX-License-Identifier: Apache-2.0
"""The command line of hal-agent."""

from __future__ import annotations

import logging
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

import click

import hal
from hal.ca.cli import home
from hal.command import run
from hal.errors import InvalidArgument, NotFound
from hal.link.listener import LOOPBACK
from hal.probe.outcome import Exit

from . import opened
from .leases import Leases
from .server import PORT, Agent

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

EPILOG = """\b
The configuration names what is exported; nothing is unless it says so:
  [devices]
  uart0 = "uart:/dev/ttyUSB0?baud=115200"
  sensor = "i2c:1/0x48"

\b
Examples:
  hal-agent --config /etc/hal/agent.toml --host ::
  hal-agent --config agent.toml --port 0

Exit codes: 0 fine, 1 something failed, 2 wrong use, 3 not found, 4 no permission.
"""


def devices_of(path: Path) -> Mapping[str, str]:
    """The exports that a configuration names: URI by name.

    Raises:
        NotFound, InvalidArgument: The message says what is wrong where, and what to do.
    """
    try:
        with path.open("rb") as file:
            stated = tomllib.load(file)
    except FileNotFoundError as error:
        raise NotFound(error.errno, f'read the configuration "{path}": no such file') from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidArgument(f'read the configuration "{path}": {error}') from error
    devices = stated.pop("devices", {})
    if stated:
        names = ", ".join(stated)
        raise InvalidArgument(f'read the configuration "{path}": unknown: {names}; known: devices')
    if not isinstance(devices, dict) or not all(isinstance(u, str) for u in devices.values()):
        text = f'read the configuration "{path}": [devices] holds NAME = "URI" and nothing else'
        raise InvalidArgument(text)
    return devices


@click.command(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.option("--config", type=click.Path(path_type=Path), default=Path("/etc/hal/agent.toml"))
@click.option("--own", type=click.Path(path_type=Path), help="Folder of this device's credentials.")
@click.option(
    "--host", default=LOOPBACK, show_default=True, help="Address to listen on; '::' is every one."
)
@click.option("--port", type=click.IntRange(0, 65535), default=PORT, show_default=True)
@click.version_option(hal.__version__, prog_name="hal-agent")
def cli(config: Path, own: Path | None, host: str, port: int) -> int:
    """Serve devices of this machine to other machines, over mutual TLS, until interrupted."""
    from hal.link.credentials import Credentials

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    devices = devices_of(config)
    agent = Agent(
        Credentials(own or home("link")), Leases(devices, 60, None, opened.serve), (host, port)
    )
    signal.signal(signal.SIGTERM, lambda *_: agent.stop())
    signal.signal(signal.SIGINT, lambda *_: agent.stop())
    click.echo(f"listening on {host} port {agent.port}, {len(devices)} devices")
    sys.stdout.flush()
    agent.serve()
    return Exit.OK


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run hal-agent and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    run(cli, "hal-agent", arguments)
