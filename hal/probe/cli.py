# SPDX-License-Identifier: Apache-2.0
"""The command line of hal-probe. What commands need is imported when they run."""

from __future__ import annotations

import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TypeVar

import click

import hal
from hal.discovery.record import CLASSES

from .outcome import Exit, Failure, exit_code

EXITS = "Exit codes: 0 fine, 1 something failed, 2 wrong use, 3 not found, 4 no permission, 5 busy."

F = TypeVar("F", bound=Callable[..., Any])


def _examples(*lines: str) -> str:
    return "\b\n" + "\n".join(["Examples:", *(f"  {line}" for line in lines)]) + f"\n\n{EXITS}"


def _json(function: F) -> F:
    help_text = "Print JSON (docs/hal-probe.schema.json)."
    return click.option("--json", "json", is_flag=True, help=help_text)(function)


def _root(function: F) -> F:
    kind = click.Path(exists=True, file_okay=False, readable=False)
    help_text = "Look at a machine copied or mounted at DIR; nothing is opened then."
    return click.option("--root", type=kind, default="/", metavar="DIR", help=help_text)(function)


def _readable(_context: click.Context, _parameter: click.Parameter, text: str | None) -> str | None:
    """Bytes that are no text are spelt out: such a name fits nothing, and can be printed."""
    return None if text is None else os.fsencode(text).decode("utf-8", "backslashreplace")


def _device(function: F) -> F:
    return click.argument("device", callback=_readable)(function)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=_examples("hal-probe list", "hal-probe explain /dev/ttyUSB0", "hal-probe test --pty"),
)
@click.version_option(hal.__version__, prog_name="hal-probe")
def cli() -> None:
    """What is on this machine, does it work, and if not, why not.

    A DEVICE is named by its URI (uart:/dev/ttyUSB0?baud=9600), a logical name, its kernel name
    (ttyUSB0), its node (/dev/ttyUSB0, links too), its address (a PCI or MAC address) or its id.
    """


@cli.command(
    "list",
    epilog=_examples(
        "hal-probe list",
        "hal-probe list --class serial --class i2c",
        "hal-probe list --tree",
        "hal-probe list --json",
    ),
)
@click.option(
    "--class",
    "-c",
    "classes",
    multiple=True,
    type=click.Choice(CLASSES),
    metavar="CLASS",
    help=f"Only this class; may be repeated. One of: {', '.join(CLASSES)}.",
)
@click.option("--holders", is_flag=True, help="Also find out which process holds what; slower.")
@click.option("--tree", is_flag=True, help="Below each controller its buses, then their devices.")
@_root
@_json
def list_(classes: tuple[str, ...], holders: bool, tree: bool, root: str, json: bool) -> int:
    """List the devices of this machine. None is opened."""
    from .listing import run

    return run(root, classes, holders=holders, json=json, tree=tree)


@cli.command(
    epilog=_examples(
        "hal-probe find",
        "hal-probe find --class remote --watch",
        "hal-probe find 'vendor=FTDI state=ready'",
        "hal-probe find --type _iio._tcp --timeout 10 --json",
        "hal-probe find --host bench-3.example.org --no-network",
    ),
)
@click.argument("query", nargs=-1)
@click.option("--class", "-c", "classes", multiple=True, type=click.Choice(CLASSES),
              metavar="CLASS", help="Only this class; may be repeated.")  # fmt: skip
@click.option("--type", "-t", "types", multiple=True, metavar="TYPE",
              help="Only this DNS-SD type (_iio._tcp) or SSDP urn; may be repeated.")  # fmt: skip
@click.option("--watch", is_flag=True, help="Go on, and tell what comes and goes.")
@click.option("--timeout", type=click.FloatRange(0, 3600), default=3.0, show_default=True,
              metavar="SECONDS", help="For the network; it may end sooner.")  # fmt: skip
@click.option("--no-network", is_flag=True, help="No search by mDNS and SSDP.")
@click.option("--host", "hosts", multiple=True, metavar="HOST",
              help="Ask this machine where multicast does not reach; may be repeated.")  # fmt: skip
@click.option("--domain", "domains", multiple=True, metavar="DOMAIN",
              help="Search this domain by unicast DNS; may be repeated.")  # fmt: skip
@click.option("--interface", "interfaces", multiple=True, metavar="NAME",
              help="Search on this network interface only; may be repeated.")  # fmt: skip
@_json
def find(
    query: tuple[str, ...],
    classes: tuple[str, ...],
    types: tuple[str, ...],
    watch: bool,
    timeout: float,
    no_network: bool,
    hosts: tuple[str, ...],
    domains: tuple[str, ...],
    interfaces: tuple[str, ...],
    json: bool,
) -> int:
    """Find devices, here and on the network, as they appear. None is opened.

    QUERY is key=pattern (class, vendor, model, serial, host, driver, state, trust, name, uri ...)
    or the URI, name or id of one device; docs/discovery.md has all of it. With --json one object a
    line. The exit code is 3 when a query finds nothing.
    """
    from .find import Where, run

    where = Where(not no_network, hosts, domains, interfaces or None)
    return run(query, classes, types, where, timeout=timeout, watch=watch, json=json)


@cli.command(
    epilog=_examples(
        "hal-probe exports hal://7c9e6679-7425-40de-944b-e07fc1f90ae7",
        "hal-probe exports 'hal://bench-pi?id=7c9e6679-7425-40de-944b-e07fc1f90ae7' --json",
    ),
)
@click.argument("machine", callback=_readable)
@click.option("--timeout", type=click.FloatRange(0, 3600), default=5.0, show_default=True,
              metavar="SECONDS", help="For all of it.")  # fmt: skip
@_json
def exports(machine: str, timeout: float, json: bool) -> int:
    """List what MACHINE exports (hal-agent), and who has it. No device is opened.

    MACHINE is hal://UUID, looked for on the network, or hal://HOST[:PORT]?id=UUID. It is asked over
    the secure link, so this machine has to be enrolled (hal-ca enrol); what its token does not let
    it read is not listed.
    """
    from .exports import run

    return run(machine, timeout=timeout, json=json)


@cli.command(
    epilog=_examples(
        "hal-probe show ttyUSB0",
        "hal-probe show 'uart:/dev/ttyUSB0?baud=9600'",
        "hal-probe show 0000:00:03.0 --json",
        "hal-probe show mmio:0000:00:04.0/0 --registers edu.toml",
    ),
)
@_device
@click.option(
    "--registers",
    metavar="FILE[:PART]",
    help="Read and show the registers that a map names: .toml, .svd (PART: the peripheral), .rdl.",
)
@click.option("--no-open", is_flag=True, help="Do not open it: no values of attributes.")
@_root
@_json
def show(device: str, registers: str | None, no_open: bool, root: str, json: bool) -> int:
    """Show all that is known of DEVICE.

    That is its record, its driver, and its attributes with their values. The values take opening
    it, which on a serial line raises DTR and RTS. Reading a register may have effects of its own.
    """
    from .show import run

    return run(device, root, opening=not no_open, json=json, registers=registers)


@cli.command(
    epilog=_examples(
        "hal-probe test --pty",
        "hal-probe test loopback",
        "hal-probe test uart:/dev/ttyUSB0 --loopback",
    ),
)
@click.argument("device", required=False, callback=_readable)
@click.option("--loopback", is_flag=True, help="What is written comes back (TX wired to RX).")
@click.option("--pty", is_flag=True, help="Make a pseudo-terminal and drive it as a serial line.")
@_json
def test(device: str | None, loopback: bool, pty: bool, json: bool) -> int:
    """Open DEVICE, exercise it, time it.

    Each step passes, fails, or is left out with the reason. Bytes are written only to a loopback,
    or with --loopback or --pty.
    """
    from .test import run, run_pty

    if pty == (device is not None):
        raise click.UsageError("give either a DEVICE or --pty")
    return run_pty(json=json) if device is None else run(device, loopback=loopback, json=json)


@cli.command(epilog=_examples("hal-probe drivers", "hal-probe drivers --verbose"))
@click.option(
    "--verbose", "-v", is_flag=True, help="Also which devices each fits, and its attributes."
)
@_json
def drivers(verbose: bool, json: bool) -> int:
    """List the drivers: registered, loadable, refused and why.

    Every plug-in of the search path is loaded to see whether it can be. The exit code is 1 when one
    is refused.
    """
    from .drivers import run

    return run(verbose=verbose, json=json)


@cli.command(epilog=_examples("hal-probe names", "hal-probe names --c"))
@click.option("--c", "as_c", is_flag=True, help="Print calls of hal_bind() for a C program.")
@_json
def names(as_c: bool, json: bool) -> int:
    """List the logical names of the configuration files, and what each stands for now.

    The exit code is 3 when one of them stands for no device that is there.
    """
    from .names import run

    return run(as_c=as_c, json=json)


@cli.command(epilog=_examples("hal-probe cache", "HAL_CACHE=clflush hal-probe cache --json"))
@_json
def cache(json: bool) -> int:
    """Show which cache instructions are in use, why, and what they cost here.

    The alternatives can be tried by the environment variable HAL_CACHE (docs/cache.md).
    """
    from .cache import run

    return run(json=json)


@cli.command(
    epilog=_examples(
        "hal-probe bench 'memory:memfd:bench?size=256MiB'",
        "hal-probe bench memory:/dev/dax0.0 --max 64MiB --plot dax.svg",
        "hal-probe bench mmio:0000:00:05.0/2 --write --json",
    ),
)
@_device
@click.option("--max", "most", metavar="SIZE", default="", help="Largest block (64MiB).")
@click.option(
    "--seconds",
    type=click.FloatRange(0.1, 86400),
    default=10.0,
    show_default=True,
    help="What it may take, about.",
)
@click.option(
    "--rounds", type=click.IntRange(1, 1000), default=5, show_default=True, help="At most."
)
@click.option("--threads", type=click.IntRange(1, 1024), default=1, show_default=True)
@click.option("--write", is_flag=True, help="Overwrite what is there: measures writing, too.")
@click.option(
    "--registers", is_flag=True, help="Read device memory even if reading has effects there."
)
@click.option("--plot", metavar="FILE", default="", help="Draw it, too: FILE.svg or FILE.png.")
@_json
def bench(
    device: str,
    most: str,
    seconds: float,
    rounds: int,
    threads: int,
    write: bool,
    registers: bool,
    plot: str,
    json: bool,
) -> int:
    """Measure how fast a memory device is, and what holds it back.

    By block size: reading in order and at random, latency, copying. Nothing is written to it unless
    you say --write; memory:memfd: is made for it and is written, too. Ctrl-C ends it early, with
    what was measured so far.
    """
    from .bench import run

    return run(
        device,
        most=most,
        seconds=seconds,
        rounds=rounds,
        threads=threads,
        write=write,
        registers=registers,
        plot=plot,
        json=json,
    )


@cli.command(epilog=_examples("hal-probe explain ttyUSB0", "hal-probe explain i2c:1/0x50"))
@_device
@_root
@_json
def explain(device: str, root: str, json: bool) -> int:
    """Say what is in the way of using DEVICE, and what to type next.

    Looks at each stage: its name, the kernel's driver, the node, your rights, who holds it, and our
    driver. Opens nothing. The exit code is that of the first stage that fails, 0 when none does.
    """
    from .explain import run

    return run(device, root, json=json)


@cli.command(epilog=_examples("hal-probe links", "hal-probe links --slower"))
@click.option("--slower", is_flag=True, help="Only those whose device could have a faster one.")
@_root
@_json
def links(slower: bool, root: str, json: bool) -> int:
    """Show the link that each accelerator, memory and bus device sits on.

    How fast it is and could be, what limits it, how near it is to which memory, and what such a
    link suits (docs/hal-probe.md has the rules). None is opened.
    """
    from .links import run

    return run(root, json=json, slower=slower)


@cli.command(
    epilog=_examples(
        "hal-probe announce",
        "hal-probe announce --model 'Board X' --capability i2c --capability gpio",
        "hal-probe announce --interface eth0 --port 0 --timeout 60 --json",
    ),
)
@click.option("--port", type=click.IntRange(0, 65535), default=7362, help="TCP port; 0: any.")
@click.option("--address", default="", metavar="IP", help="Listen on this address alone.")
@click.option("--model", default="", help="What the device is.")
@click.option("--version", default="", help="Of its software.")
@click.option("--capability", "capabilities", multiple=True, metavar="NAME", help="Repeatable.")
@click.option("--interface", "interfaces", multiple=True, metavar="NAME", help="On this link only.")
@click.option(
    "--protocol",
    "protocols",
    multiple=True,
    type=click.Choice(("mdns", "ssdp")),
    default=("mdns", "ssdp"),
    help="By this only.",
)
@click.option(
    "--id", "identity", default="", metavar="UUID", help="Not this machine's own (device.json)."
)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), metavar="S", help="Seconds.")
@_json
def announce(
    port: int,
    address: str,
    model: str,
    version: str,
    capabilities: tuple[str, ...],
    interfaces: tuple[str, ...],
    protocols: tuple[str, ...],
    identity: str,
    timeout: float | None,
    json: bool,
) -> int:
    """Be a device on the network, for tests: announce one by mDNS and SSDP.

    Its port is listened on, so that it is found alive; who connects is let go. Ends with a goodbye
    after --timeout, or by SIGINT or SIGTERM.
    """
    from .announce import Wish, run

    wish = Wish(
        id=identity,
        address=address,
        port=port,
        model=model,
        version=version,
        capabilities=capabilities,
        interfaces=interfaces,
        protocols=protocols,
        seconds=timeout,
    )
    return run(wish, json=json)


def _guarded(arguments: Sequence[str]) -> int:
    """Run a command; whatever a user can do wrong ends in a message and an exit code."""
    wants_json = "--json" in arguments
    try:
        with cli.make_context("hal-probe", list(arguments)) as context:
            return int(cli.invoke(context) or Exit.OK)
    except click.exceptions.Exit as end:  # --help, --version
        return end.exit_code
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except Failure as failure:
        _report(failure, json=wants_json)
        return failure.code
    except hal.Error as error:
        _report(Failure.of(error), json=wants_json)
        return exit_code(error)
    except ImportError as error:
        click.echo(f"hal-probe: this installation is not whole: {error}", err=True)
        return Exit.FAILED
    except (click.Abort, KeyboardInterrupt):
        return 130  # As a shell says of a program that SIGINT ended.


def _report(failure: Failure, *, json: bool) -> None:
    if json:
        from .output import emit

        emit("error", {"error": failure.as_dict()})
        return
    click.echo(f"hal-probe: {failure.message}", err=True)
    for line in failure.next:
        click.echo(f"    {line}", err=True)


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run hal-probe and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # A terminal may not know every letter.
            stream.reconfigure(errors="backslashreplace")
    try:
        code = _guarded(sys.argv[1:] if arguments is None else arguments)
        sys.stdout.flush()
    except BrokenPipeError:  # `hal-probe list | head`: nobody reads on, which is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = Exit.OK
    sys.exit(code)
