# SPDX-License-Identifier: Apache-2.0
"""Whether a device proves who it is (hal.link.proof): asked of a running agent, and of others."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import uuid
from pathlib import Path

import pytest

import hal
from hal.link import files, proof
from hal.link.authority import Authority
from hal.link.identity import Identity, Role
from hal.link.token import Right

from .far import CONTROLLER, DEVICE, Far, equip, far

__all__ = ["far"]

RIGHTS = [Right("*", "rw")]


def doubt(folder: Path, port: int, device: uuid.UUID = DEVICE) -> str | None:
    """What there is to be said against a device on the loopback."""
    return asyncio.run(proof.doubt(folder, str(device), "127.0.0.1", port))


def test_an_agent_proves_itself(far: Far) -> None:
    assert doubt(far.folder, far.port) == ""


def test_another_device_is_none(far: Far) -> None:
    told = doubt(far.folder, far.port, uuid.uuid4())
    assert told and "mismatch" in told


def test_one_of_another_authority_is_none(far: Far, tmp_path: Path) -> None:
    other = Authority.create(tmp_path / "other")
    mine = equip(other, tmp_path / "mine", Identity(CONTROLLER, Role.CONTROLLER), RIGHTS)
    told = doubt(mine.folder, far.port)
    assert told and ("issuer" in told or "certificate" in told)


def test_a_revoked_one_is_none(far: Far) -> None:
    authority = Authority.load(far.folder.parent / "ca")
    device = far.agent.credentials.certificate
    authority.revoke(f"{device.serial_number:x}")
    crl = (authority.folder / "crl.pem").read_bytes()
    files.write(far.folder / "crl.pem", crl, files.PUBLIC)
    assert doubt(far.folder, far.port) == "certificate revoked"


def test_a_device_dials_nobody(far: Far) -> None:
    assert doubt(far.folder.parent / "device", far.port) is None


def test_damaged_credentials_are_told(far: Far) -> None:
    (far.folder / "cert.pem").write_text("nonsense")
    with pytest.raises(hal.InvalidArgument, match=r"cert\.pem"):
        doubt(far.folder, far.port)


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "no secure link there (wrong version number)"),
        (b"", "no secure link there"),
        (None, "no answer to the handshake"),
    ],
)
def test_who_speaks_no_tls(
    far: Far,
    monkeypatch: pytest.MonkeyPatch,
    answer: bytes | None,
    told: str,
) -> None:
    """A web server, one that closes, one that is silent."""
    monkeypatch.setattr(proof, "PATIENCE", 5.0 if answer is not None else 0.2)

    async def main() -> str | None:
        left = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if answer is None:
                await reader.read()
            writer.write(answer or b"")
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()
            left.set()

        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            port = server.sockets[0].getsockname()[1]
            found = await proof.doubt(far.folder, str(DEVICE), "127.0.0.1", port)
            await left.wait()
        return found

    assert str(asyncio.run(main())).startswith(told)


def test_nobody_there(far: Far) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        told = doubt(far.folder, unused.getsockname()[1])
    assert told == "no secure link there (Connection refused)"
