# SPDX-License-Identifier: Apache-2.0
"""The way in for the machine's own administrator: a Unix socket, whose file mode says who may.

A question is one line of JSON, ``{"do": "leases"}`` or ``{"do": "drop", "device": "uart0"}``; the
answer is one line, with ``error`` (errno, sentence) or what was asked for.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import stat
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from hal.errors import Error, InvalidArgument, NotFound, PermissionDenied
from hal.link.files import home

QUESTION_MAX: Final = 4096
PATIENCE: Final = 2.0
"""Seconds for one question and its answer."""
_MODE: Final = 0o660
_BACKLOG: Final = 8

log = logging.getLogger("hal.agent")

Answer = Callable[[dict[str, Any]], dict[str, Any]]


def default_path() -> Path:
    """Where the socket is: systemd's runtime folder of the service, or the user's own."""
    if given := os.environ.get("RUNTIME_DIRECTORY"):
        return Path(given.partition(":")[0]) / "control"
    if os.geteuid() == 0:
        return Path("/run/hal-agent/control")
    if given := os.environ.get("XDG_RUNTIME_DIR"):
        return Path(given) / "hal-agent" / "control"
    return home("agent") / "control"


class Control:
    """Answers questions, one after another, in a thread of its own.

    Args:
        path: Of the socket. A socket that nobody listens on is replaced.
        answer: Gives the answer to a question; what it raises as `Error` is the answer then.

    Raises:
        InvalidArgument: Another agent listens there, or it cannot be made.
    """

    def __init__(self, path: Path, answer: Answer) -> None:
        self.path = path
        self._answer = answer
        self._socket = _listening(path)
        self._thread = threading.Thread(target=self._serve, name="control", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Answer no more."""
        self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._socket.close()
        with contextlib.suppress(OSError):  # systemd may have removed the folder.
            self.path.unlink()

    def _serve(self) -> None:
        while True:
            try:
                link, _ = self._socket.accept()
            except OSError:  # It was closed.
                return
            with link:
                link.settimeout(PATIENCE)
                try:
                    link.sendall(self._reply(_line(link)))
                except OSError as error:
                    log.warning("control: %s", error)

    def _reply(self, line: bytes) -> bytes:
        try:
            question = json.loads(line)
            if not isinstance(question, dict):
                raise InvalidArgument(errno.EINVAL, "a question is an object")
            reply = self._answer(question)
        except (ValueError, RecursionError) as error:
            reply = {"error": [errno.EINVAL, str(error)]}
        except Error as error:
            reply = {"error": [error.errno, str(error)]}
        return json.dumps(reply).encode() + b"\n"


def ask(path: Path, question: dict[str, Any]) -> dict[str, Any]:
    """Ask the agent of this machine.

    Raises:
        NotFound: No agent runs there.
        PermissionDenied: The socket is not for this user.
        Error: What the agent answered.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as link:
        link.settimeout(PATIENCE + 8)
        try:
            link.connect(str(path))
            link.sendall(json.dumps(question).encode() + b"\n")
            reply: dict[str, Any] = json.loads(_line(link, 1 << 24))
        except (FileNotFoundError, ConnectionRefusedError) as error:
            text = f'ask hal-agent at "{path}": nobody listens: does it run here? (--control)'
            raise NotFound(errno.ENOENT, text) from error
        except PermissionError as error:
            text = f'ask hal-agent at "{path}": permission denied: {_owner(path)}'
            raise PermissionDenied(errno.EACCES, text) from error
        except (OSError, ValueError) as error:
            raise Error(errno.EIO, f'ask hal-agent at "{path}": {error}') from error
    if "error" in reply:
        number, text = reply["error"]
        kind = {errno.ENOENT: NotFound, errno.EINVAL: InvalidArgument}.get(number, Error)
        raise kind(number, text)
    return reply


def _line(link: socket.socket, most: int = QUESTION_MAX) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        piece = link.recv(65536)
        line += piece
        if not piece:
            raise OSError(errno.ECONNRESET, "it ended before the line did")
        if len(line) > most:
            raise OSError(errno.EMSGSIZE, f"a line of more than {most} bytes")
    return bytes(line)


def _listening(path: Path) -> socket.socket:
    what = f'listen on "{path}"'
    listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if path.exists() and stat.S_ISSOCK(path.stat().st_mode):
            with contextlib.suppress(ConnectionRefusedError):
                with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as other:
                    other.connect(str(path))
                raise InvalidArgument(errno.EADDRINUSE, f"{what}: another hal-agent runs here")
            path.unlink()
        listening.bind(str(path))
        path.chmod(_MODE)
        listening.listen(_BACKLOG)
    except OSError as error:
        listening.close()
        if isinstance(error, Error):
            raise
        raise InvalidArgument(error.errno, f"{what}: {error.strerror or error}") from error
    return listening


def _owner(path: Path) -> str:
    try:
        about = path.stat()
    except OSError:
        return "its folder is not for you"
    mode = stat.S_IMODE(about.st_mode)
    return f"it is of user {about.st_uid}, group {about.st_gid}, mode {mode:04o}"
