# SPDX-License-Identifier: Apache-2.0
"""Files of keys and certificates: written whole or not at all, secrets for their owner alone."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from pathlib import Path

from hal.errors import NotFound, PermissionDenied

SECRET, PUBLIC = 0o600, 0o644
LARGEST = 4 << 20
"""Bytes that are read of any of these files; a larger one is not what it should be."""


def home(name: str) -> Path:
    """Where things are kept: of the system for root, of the user for others."""
    if os.geteuid() == 0:
        return Path("/etc/hal") / name
    base = os.environ.get("XDG_CONFIG_HOME") or "~/.config"
    return Path(base).expanduser() / "hal" / name


def write(path: Path, data: bytes, mode: int) -> None:
    """Put a file in place in one step, also when the machine stops meanwhile.

    Args:
        path: Where; its folder is there.
        data: All of it.
        mode: `SECRET` or `PUBLIC`.
    """
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(descriptor, mode)
            os.fsync(descriptor)
        os.replace(name, path)
    except BaseException:
        os.unlink(name)
        raise
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def folder(path: Path) -> None:
    """Make a folder for secrets, 0700, and those above it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o700, exist_ok=True)


def read(path: Path, what: str, hint: str) -> bytes:
    """Content of a file.

    Args:
        path: The file.
        what: What it is, for messages: "the certificate".
        hint: What to do when it is not there.

    Raises:
        NotFound, PermissionDenied: The message says what, where and what to do.
    """
    try:
        with path.open("rb") as file:
            return file.read(LARGEST)
    except FileNotFoundError as error:
        text = f'read {what} "{path}": no such file: {hint}'
        raise NotFound(errno.ENOENT, text) from error
    except PermissionError as error:
        owner = path.stat().st_uid if os.access(path.parent, os.X_OK) else "another user"
        text = f'read {what} "{path}": permission denied: it belongs to {owner}'
        raise PermissionDenied(errno.EACCES, text) from error


def read_secret(path: Path, what: str, hint: str) -> bytes:
    """Content of a file that only its owner may read.

    Raises:
        PermissionDenied: Others may read it as well, so that it is no secret any more.
    """
    data = read(path, what, hint)
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & 0o077:
        text = f'read {what} "{path}": others may read it (mode {mode:04o}): chmod 600 {path}'
        raise PermissionDenied(errno.EACCES, text)
    return data
