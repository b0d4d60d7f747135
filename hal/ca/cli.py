# SPDX-License-Identifier: Apache-2.0
"""The command line of hal-ca. What commands need is imported when they run."""

from __future__ import annotations

import datetime as dt
import errno
import io
import json as json_module
import sys
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import click

import hal
from hal.command import run
from hal.errors import InvalidArgument
from hal.link.files import home
from hal.link.listener import LOOPBACK
from hal.probe.outcome import Exit

if TYPE_CHECKING:
    from hal.link.credentials import Credentials, Finding
    from hal.link.members import Member
    from hal.link.token import Token

EPILOG = """\b
On the machine that is the authority:
  hal-ca init
  hal-ca pair --role device --note bench-pi
  hal-ca pair --role controller --right 'uart*=rw' --note desk
  hal-ca serve --host ::
On a machine that joins:
  hal-ca enrol CODE --at HOST
  hal-ca status

Exit codes: 0 fine, 1 something failed, 2 wrong use, 3 not found, 4 no permission.
"""


_folder = click.option(
    "--folder",
    type=click.Path(path_type=Path),
    default=None,
    help="The authority's folder; /etc/hal/ca for root, ~/.config/hal/ca for others.",
)
_own = click.option(
    "--own",
    type=click.Path(path_type=Path),
    default=None,
    help="This machine's folder; /etc/hal/link for root, ~/.config/hal/link for others.",
)
_json = click.option("--json", "json", is_flag=True, help="Print JSON.")
_at = click.option("--at", "host", required=True, metavar="HOST[:PORT]", help="The authority.")


class _Uuid(click.ParamType[uuid.UUID]):
    name = "uuid"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> uuid.UUID:
        """A UUID from text."""
        try:
            return uuid.UUID(str(value))
        except ValueError:
            self.fail(f"{value!r} is no UUID", param, ctx)


@click.group(context_settings={"help_option_names": ["-h", "--help"]}, epilog=EPILOG)
@click.version_option(hal.__version__, prog_name="hal-ca")
def cli() -> None:
    """Keep a private authority, and a machine's membership in one.

    Two machines talk over the secure link when both hold a certificate of the same authority, and
    the one that asks holds a token that allows what it asks for.
    """


@cli.command()
@_folder
@click.option("--name", default="HAL private CA", show_default=True, help="Of the CA certificate.")
def init(folder: Path | None, name: str) -> int:
    """Make the authority: keys, CA certificate, empty list of revocations."""
    from hal.link.authority import Authority

    authority = Authority.create(folder or home("ca"), name)
    until = authority.certificate.not_valid_after_utc
    click.echo(f"authority made in {authority.folder}, good until {until:%F}")
    click.echo("keep ca.key and tokens.key to yourself; back the folder up")
    return Exit.OK


@cli.command()
@click.argument("identifier", metavar="[UUID]", type=_Uuid(), required=False)
@click.option("--role", type=click.Choice(("device", "controller")), required=True)
@click.option(
    "--right", "rights", multiple=True, metavar="GLOB[=ACCESS]",
    help="What a controller may use, and how: r, w, rw (the default) or admin; may be repeated.",
)  # fmt: skip
@click.option("--note", default="", help="What people call the machine.")
@click.option("--minutes", type=float, default=10, show_default=True, help="How long it is good.")
@click.option("--qr", is_flag=True, help="Show the code as a QR code, too.")
@_folder
def pair(
    identifier: uuid.UUID | None,
    role: str,
    rights: tuple[str, ...],
    note: str,
    minutes: float,
    qr: bool,
    folder: Path | None,
) -> int:
    """Print a code by which one machine joins, once. Without UUID the machine gets a new one."""
    from hal.link.authority import Authority
    from hal.link.identity import Identity, Role
    from hal.link.members import Member, Members
    from hal.link.pairing import Pairings
    from hal.link.token import Right

    authority = Authority.load(folder or home("ca"))
    who = Identity(identifier or uuid.uuid4(), Role(role))
    if who.role is Role.CONTROLLER and not rights:
        raise click.UsageError("a controller without --right may do nothing: --right '*' for all")
    Members(authority.folder).put(Member(who, tuple(map(Right.parse, rights)), note))
    code = Pairings(authority.folder).mint(who, authority.certificate, minutes * 60)
    click.echo(code)
    if qr:
        click.echo(_qr(str(code)), nl=False)
    click.echo(f"for {who}, good once, for {minutes:g} minutes", err=True)
    return Exit.OK


@cli.command()
@_folder
@click.option(
    "--host", default=LOOPBACK, show_default=True, help="Address to listen on; '::' is every one."
)
@click.option("--port", type=click.IntRange(0, 65535), default=7363, show_default=True)
@click.option("--days", type=int, default=30, show_default=True, help="A certificate is good for.")
def serve(folder: Path | None, host: str, port: int, days: int) -> int:
    """Answer machines that join, and members that renew, until interrupted."""
    import logging
    import signal

    from hal.link.authority import Authority
    from hal.link.enrol import Registrar

    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    registrar = Registrar(Authority.load(folder or home("ca")), (host, port), days)
    signal.signal(signal.SIGTERM, lambda *_: registrar.stop())
    signal.signal(signal.SIGINT, lambda *_: registrar.stop())
    click.echo(f"listening on {host} port {registrar.port}")
    sys.stdout.flush()
    registrar.serve()
    return Exit.OK


@cli.command()
@click.argument("code")
@_at
@_own
def enrol(code: str, host: str, own: Path | None) -> int:
    """Join: make a key, and have it certified by means of a pairing code."""
    from hal.link.enrol import enrol as join
    from hal.link.pairing import Code

    credentials = join(Code.parse(code), _address(host), own or home("link"))
    until = credentials.certificate.not_valid_after_utc
    click.echo(f"{credentials.identity} enrolled in {credentials.folder}, good until {until:%F}")
    return Exit.OK


@cli.command()
@_at
@_own
def renew(host: str, own: Path | None) -> int:
    """Fetch a new token and the revocations, and the next certificate when it is time."""
    from hal.link.credentials import Credentials
    from hal.link.enrol import renew as refresh

    credentials = refresh(Credentials(own or home("link")), _address(host))
    until = credentials.certificate.not_valid_after_utc
    click.echo(f"{credentials.identity} renewed, good until {until:%F}")
    return Exit.OK


@cli.command()
@click.argument("what", metavar="UUID|SERIAL")
@click.option("--reason", default="unspecified", show_default=True)
@_folder
def revoke(what: str, reason: str, folder: Path | None) -> int:
    """Revoke a certificate by its serial number, or all of a member's by its UUID."""
    from hal.link.authority import Authority

    authority = Authority.load(folder or home("ca"))
    ended = authority.revoke(what, reason)
    for entry in ended:
        click.echo(f"revoked {entry.serial} of {entry.role} {entry.id}")
    if not ended:
        click.echo("it was revoked already")
    click.echo(f"the list is {authority.folder / 'crl.pem'}; members get it when they renew")
    return Exit.OK


@cli.command()
@_folder
@_json
def members(folder: Path | None, json: bool) -> int:
    """List who belongs to the authority, and what each may do."""
    from hal.link.members import Members

    listed = Members(folder or home("ca")).all()
    if json:
        click.echo(json_module.dumps([_plain(member) for member in listed], indent=2))
        return Exit.OK
    for member in listed:
        rights = ", ".join(f"{right.device}={right.access}" for right in member.rights)
        click.echo(f"{member.who}  {member.note or '-'}  {rights or '-'}")
    return Exit.OK


@cli.command()
@_own
@_json
def status(own: Path | None, json: bool) -> int:
    """Say what this machine holds, whom it trusts, until when, and what is wrong.

    The exit code is 1 when something grave is wrong.
    """
    from hal.link.credentials import Credentials

    credentials = Credentials(own or home("link"))
    findings = credentials.findings()
    if json:
        click.echo(json_module.dumps(_status(credentials, findings), indent=2))
    else:
        click.echo("\n".join(_status_text(credentials)))
        for finding in findings:
            click.echo(f"{'WRONG' if finding.grave else 'note'}: {finding.text}")
        if not findings:
            click.echo("all is well")
    return Exit.FAILED if any(finding.grave for finding in findings) else Exit.OK


def _status(credentials: Credentials, findings: Sequence[Finding]) -> dict[str, object]:
    token, revocations = _token(credentials), credentials.revocations_until()
    return {
        "id": str(credentials.identity.id),
        "role": credentials.identity.role.value,
        "folder": str(credentials.folder),
        "authority": credentials.ca.subject.rfc4514_string(),
        "authority_until": credentials.ca.not_valid_after_utc.isoformat(),
        "serial": f"{credentials.certificate.serial_number:x}",
        "until": credentials.certificate.not_valid_after_utc.isoformat(),
        "revocations_until": revocations and revocations.isoformat(),
        "token": token and {
            "id": token.id,
            "until": _moment(token.until).isoformat(),
            "rights": [{"device": right.device, "access": right.access} for right in token.rights],
        },
        "findings": [{"grave": f.grave, "text": f.text} for f in findings],
    }  # fmt: skip


def _status_text(credentials: Credentials) -> Iterator[str]:
    until, ca = credentials.certificate.not_valid_after_utc, credentials.ca
    token, revocations = _token(credentials), credentials.revocations_until()
    yield f"{credentials.identity}, in {credentials.folder}"
    yield f"trusts      {ca.subject.rfc4514_string()} alone, until {_time(ca.not_valid_after_utc)}"
    yield f"certificate until {_time(until)}, serial {credentials.certificate.serial_number:x}"
    if revocations:
        yield f"revocations until {_time(revocations)}"
    if token:
        rights = ", ".join(f"{right.device}={right.access}" for right in token.rights)
        yield f"token       until {_time(_moment(token.until))}" + f", for {rights}" * bool(rights)


def _token(credentials: Credentials) -> Token | None:
    """What its token says; None: a finding says why there is none."""
    from hal.link.token import Refused

    try:
        return credentials.own_token()
    except Refused:
        return None


def _moment(seconds: float) -> dt.datetime:
    return dt.datetime.fromtimestamp(seconds, dt.timezone.utc)


def _time(moment: dt.datetime) -> str:
    return f"{moment:%F %T} UTC"


def _qr(text: str) -> str:
    """A QR code for a terminal."""
    try:
        import segno
    except ImportError as error:
        hint = "pip install 'open-autoglm[qr]'"
        raise InvalidArgument(
            errno.ENOPKG, f"--qr: the library segno is not there: {hint}"
        ) from error
    drawn = io.StringIO()
    segno.make_qr(text, error="m").terminal(drawn, compact=True)
    return drawn.getvalue()


def _address(text: str) -> tuple[str, int]:
    """Host and port from HOST, HOST:PORT, [IPV6] or [IPV6]:PORT."""
    from hal.link.enrol import PORT

    host, _, port = text.rpartition(":")
    if text.startswith("["):
        host, _, port = text[1:].partition("]")
        port = port.removeprefix(":")
    elif not host or ":" in host:
        host, port = text, ""
    if port and not (port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise click.UsageError(f"{text!r}: the port is a number from 1 to 65535")
    return host, int(port or PORT)


def _plain(member: Member) -> dict[str, object]:
    return {
        "id": str(member.who.id),
        "role": member.who.role.value,
        "note": member.note,
        "rights": [{"device": right.device, "access": right.access} for right in member.rights],
    }


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run hal-ca and end the process.

    Args:
        arguments: What stands after the command's name; None: what the process was given.
    """
    run(cli, "hal-ca", arguments)
