# SPDX-License-Identifier: Apache-2.0
"""Whether the device at an address is who it is said to be: a link is opened, and let go.

The certificate proves it, within the handshake (RFC 8446, 4.4.3). Whoever cannot prove it gets
neither this machine's certificate nor its token: both are sent after that.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import ssl
import struct
import uuid
from pathlib import Path
from typing import Final

import hal
from hal.discovery.within import within

from . import frames
from .credentials import Credentials
from .identity import Role
from .tls import dialler_context, server_name

PATIENCE: Final = 3.0
"""Seconds for the handshake, and again for the answer to HELLO."""
_PARTING: Final = 0.5
"""Seconds for the other end to close."""

_Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


async def doubt(folder: Path, device: str, host: str, port: int) -> str | None:
    """Ask a device to prove itself.

    Args:
        folder: This machine's credentials; they are read each time.
        device: The UUID that is to be proved.
        host: The address to ask at; a link-local one with its scope.
        port: The port there.

    Returns:
        "" when it is proved, else why not, in a few words; None when this machine may dial nobody:
        its own certificate is a device's.

    Raises:
        Error: The credentials are damaged; the text says what to do.
    """
    credentials = Credentials(folder)
    if credentials.identity.role is not Role.CONTROLLER:
        return None
    context = dialler_context(credentials)
    name = server_name(uuid.UUID(device))
    opening = asyncio.open_connection(host, port, ssl=context, server_hostname=name)
    try:
        connection = await within(PATIENCE, opening)
    except ssl.SSLCertVerificationError as error:
        return error.verify_message
    except asyncio.TimeoutError:
        return "no answer to the handshake"
    except OSError as error:
        return f"no secure link there ({_worded(error)})"
    await _leave(connection, credentials.token)
    return ""


async def _leave(connection: _Connection, token: str) -> None:
    """Say HELLO, so that the other end knows who it was, and go. Its answer proves nothing more."""
    reader, writer = connection
    try:
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.TimeoutError):
            writer.write(_hello(token))
            await within(PATIENCE, reader.readexactly(frames.HEADER.size))
        writer.close()
        with contextlib.suppress(OSError, asyncio.TimeoutError):
            await within(_PARTING, writer.wait_closed())
    finally:
        writer.transport.abort()


def _worded(error: OSError) -> str:
    """Why there is no link, without what Python says of its own source."""
    if isinstance(error, ssl.SSLError):  # WRONG_VERSION_NUMBER
        return (error.reason or "broken off").replace("_", " ").lower()
    return os.strerror(error.errno) if error.errno else "broken off"


def _hello(token: str) -> bytes:
    program = frames.text(f"hal {hal.__version__}")
    body = struct.pack("<HH", 1, 1), frames.text(token), program
    return frames.pack(frames.Type.HELLO, frames.Lane.NONE, 0, 1, *body)
