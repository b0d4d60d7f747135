# SPDX-License-Identifier: Apache-2.0
"""The command line of hal-agent. What commands need is imported when they run."""

from __future__ import annotations

import json as json_module
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

import hal
from hal.command import run as run_command
from hal.link.files import home
from hal.probe.outcome import Exit

if TYPE_CHECKING:
    from .config import Config

EPILOG = """\b
The configuration names what is exported; nothing is unless it says so:
  [devices]
  uart0 = "uart:/dev/ttyUSB0?baud=115200"
  sensor = "i2c:1/0x48"
  [listen]
  host = "::"

\b
Examples:
  hal-agent check                       is all in order to begin?
  hal-agent                             serve, as /etc/hal/agent.toml says
  hal-agent --config agent.toml --port 0
  hal-agent leases                      who holds what
  hal-agent drop uart0                  take it from whoever holds it

SIGHUP reads configuration and audit file anew; SIGTERM ends. docs/hal-agent.md has it all.

Exit codes: 0 fine, 1 something failed, 2 wrong use, 3 not found, 4 no permission.
"""


class _Commands(click.Group):
    """A group whose command is `run` unless another one is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put `run` before options of its own."""
        own = ("-h", "--help", "--version")
        if not args or (args[0].startswith("-") and args[0] not in own):
            args = ["run", *args]
        return super().parse_args(ctx, args)


_config = click.option(
    "--config",
    type=click.Path(path_type=Path),
    default=Path("/etc/hal/agent.toml"),
    show_default=True,
    help="The configuration.",
)
_own = click.option(
    "--own",
    type=click.Path(path_type=Path),
    help="Folder of this device's credentials; /etc/hal/link for root, ~/.config/hal/link for "
    "others.",
)
_control = click.option(
    "--control",
    type=click.Path(path_type=Path),
    help="Socket by which `leases` and `drop` reach the agent; below /run for a service, "
    "$XDG_RUNTIME_DIR for a user.",
)
_json = click.option("--json", "json", is_flag=True, help="Print JSON.")


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(hal.__version__, prog_name="hal-agent")
def cli() -> None:
    """Serve devices of this machine to other machines, over mutual TLS.

    Without a command it serves until it is interrupted.
    """


@cli.command()
@_config
@_own
@click.option("--host", help="Address to listen on, in place of the configuration's.")
@click.option("--port", type=click.IntRange(0, 65535), help="TCP port, likewise; 0 takes any.")
@_control
@click.option("--no-control", is_flag=True, help="Open no socket for `leases` and `drop`.")
def run(
    config: Path,
    own: Path | None,
    host: str | None,
    port: int | None,
    control: Path | None,
    no_control: bool,
) -> int:
    """Serve, until interrupted. It listens on the loopback alone unless told otherwise."""
    import logging
    import signal

    from .control import default_path
    from .daemon import Daemon

    logging.basicConfig(level=logging.INFO, format="%(levelname)s %(message)s")
    over = {"host": host, "port": port}
    listen = {key: value for key, value in over.items() if value is not None}
    daemon = Daemon(config, own or home("link"), listen, None if no_control else control)
    if control is None and not no_control:
        daemon.try_control(default_path())
    signal.signal(signal.SIGTERM, lambda *_: daemon.stop())
    signal.signal(signal.SIGINT, lambda *_: daemon.stop())
    signal.signal(signal.SIGHUP, lambda *_: daemon.reload())

    def ready() -> None:
        for address, number in daemon.agent.addresses:
            click.echo(
                f"listening on {address} port {number}, {len(daemon.config.devices)} devices"
            )
        sys.stdout.flush()

    daemon.run(ready)
    return Exit.FAILED if daemon.failed else Exit.OK


@cli.command()
@_config
@_own
@_json
def check(config: Path, own: Path | None, json: bool) -> int:
    """Look whether configuration and credentials are in order, and say what would be exported.

    No device is opened. The exit code is 1 when something grave is wrong.
    """
    from hal.link.credentials import Credentials

    from .config import Config

    stated = Config.load(config)
    credentials = Credentials(own or home("link"))
    findings = [(f.grave, f.text) for f in credentials.findings()]
    findings += [(True, text) for text in _not_served(stated)]
    if credentials.identity.role.value != "device":
        findings.append((True, f"the certificate is for a {credentials.identity}: enrol a device"))
    if json:
        _print_json(
            {
                "id": str(credentials.identity.id),
                "listen": {"host": stated.listen.host, "port": stated.listen.port},
                "devices": dict(stated.devices),
                "findings": [{"grave": grave, "text": text} for grave, text in findings],
            }
        )
    else:
        click.echo(f"{credentials.identity}, {stated.listen.host} port {stated.listen.port}")
        for name, uri in stated.devices.items():
            click.echo(f"  {name}  {uri}")
        if not stated.devices:
            click.echo("  no devices: name some in [devices]")
        for grave, text in findings:
            click.echo(f"{'WRONG' if grave else 'note'}: {text}")
        if not findings:
            click.echo("all is well")
    return Exit.FAILED if any(grave for grave, _ in findings) else Exit.OK


@cli.command()
@_control
@_json
def leases(control: Path | None, json: bool) -> int:
    """Say who holds which device of the agent that runs here, since when."""
    held = _ask(control, {"do": "leases"})["leases"]
    if json:
        _print_json(held)
        return Exit.OK
    for lease in held:
        click.echo(_told(lease))
    if not held:
        click.echo("nobody holds a device")
    return Exit.OK


@cli.command()
@click.argument("device")
@_control
@_json
def drop(device: str, control: Path | None, json: bool) -> int:
    """Take a device from whoever holds it. Their links end; they may ask for it again."""
    dropped = _ask(control, {"do": "drop", "device": device})["dropped"]
    if json:
        _print_json(dropped)
        return Exit.OK
    for lease in dropped:
        click.echo(f"dropped {_told(lease)}")
    return Exit.OK


def _ask(control: Path | None, question: dict[str, Any]) -> dict[str, Any]:
    from .control import ask, default_path

    return ask(control or default_path(), question)


def _not_served(config: Config) -> list[str]:
    """What of the devices cannot be served, as far as can be seen without opening them."""
    known = {driver.name for driver in hal.drivers()}
    texts = []
    for name, uri in config.devices.items():
        driver = uri.partition(":")[0].partition("?")[0]
        if driver not in known and ":" in uri:
            texts.append(f'devices.{name}: there is no driver "{driver}": hal-probe drivers')
    return texts


def _told(lease: dict[str, Any]) -> str:
    how = "exclusive" if lease["exclusive"] else "shared"
    lost = ", link lost" if lease["kept"] else ""
    who = f"{lease['holder']} at {lease['address']} since {lease['since']}"
    return f"{lease['device']}  {how}  {who}{lost}"


def _print_json(value: object) -> None:
    click.echo(json_module.dumps(value, indent=2))


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run hal-agent and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    run_command(cli, "hal-agent", arguments)
