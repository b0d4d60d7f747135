# SPDX-License-Identifier: Apache-2.0
"""The UUID of this machine as a HAL device: made once, kept in a file.

The file is `device.json` in the state folder: $HAL_STATE_DIR, else /var/lib/hal for root, else
$XDG_STATE_HOME/hal, else ~/.local/state/hal. Beside the id it says which machine it was made on, so
that a copied disk image is noticed: each copy must get an id of its own.
"""

from __future__ import annotations

import json
import os
import tempfile
import uuid
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from . import netlink
from .identity import NAMESPACE
from .txt import canonical

FILE = "device.json"
SIZE_MAX = 65536


class DeviceIdError(Exception):
    """The id cannot be had; the text says which file, why, and what to do."""


@dataclass(frozen=True, slots=True)
class DeviceId:
    """Who this machine is.

    Attributes:
        id: Its UUID.
        path: The file that keeps it.
        made: It was made just now.
        hint: Why it may be that of another machine, and what to do; "" when nothing says so.
    """

    id: str
    path: Path
    made: bool = False
    hint: str = ""


def folder() -> Path:
    """The state folder; see the top of this file for the rule."""
    if own := os.environ.get("HAL_STATE_DIR"):
        return Path(own)
    if os.geteuid() == 0:
        return Path("/var/lib/hal")
    state = os.environ.get("XDG_STATE_HOME", "")
    return (Path(state) if os.path.isabs(state) else Path.home() / ".local/state") / "hal"


def load(path: Path | None = None) -> DeviceId:
    """The id of this machine; where there is none yet, one is made and kept.

    Processes that do so at once get the same one.

    Args:
        path: The file; None: the usual one.

    Raises:
        DeviceIdError: The file cannot be read or made, or holds something else.
    """
    path = path or folder() / FILE
    try:
        made = not path.exists() and _make(path)
        with path.open("rb") as file:
            return _read(file.read(SIZE_MAX), path, made=made)
    except OSError as error:
        raise DeviceIdError(
            f'device id "{path}": {error.strerror}; HAL_STATE_DIR names another folder'
        ) from error


def _read(content: bytes, path: Path, *, made: bool) -> DeviceId:
    advice = "remove it to have a new id made; others will then take this for another device"
    try:
        kept = json.loads(content)
        own = canonical(kept["id"] if isinstance(kept["id"], str) else "")
        machine, macs = str(kept.get("machine", "")), list(kept.get("macs", []))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise DeviceIdError(
            f'device id "{path}": not to be understood ({error}); {advice}'
        ) from error
    hint = ""
    here = _machine()
    if (machine and here and machine != here) or (macs and _macs() and not {*macs} & {*_macs()}):
        hint = (
            f"the id {own} was made on another machine: if this disk is a copy, remove "
            f'"{path}" to have an id of its own made'
        )
    return DeviceId(own, path, made, hint)


def _make(path: Path) -> bool:
    """Write a new id, whole or not at all. False: another process was quicker."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = {"id": str(uuid.uuid4()), "machine": _machine(), "macs": _macs()}
    descriptor, name = tempfile.mkstemp(prefix=f".{FILE}.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "w") as file:
            json.dump(new, file, indent=1)
            file.write("\n")
            os.fchmod(file.fileno(), 0o644)
            file.flush()
            os.fsync(file.fileno())
        return _place(name, path)
    finally:
        with suppress(FileNotFoundError):
            os.unlink(name)


def _place(name: str, path: Path) -> bool:
    try:
        os.link(name, path)
    except FileExistsError:
        return False
    except OSError:  # A file system without links (vfat).
        os.replace(name, path)
    return True


def _machine() -> str:
    """What stands for /etc/machine-id, which is not to be told to others (machine-id(5))."""
    with suppress(OSError):
        text = Path("/etc/machine-id").read_text(encoding="ascii", errors="replace").strip()
        return str(uuid.uuid5(NAMESPACE, f"machine {text}")) if text else ""
    return ""


def _macs() -> list[str]:
    """The globally unique MAC addresses here (IEEE 802, clause 8)."""
    with suppress(OSError):
        macs = [interface.mac for interface in netlink.interfaces() if interface.mac]
        return sorted({mac for mac in macs if not int(mac[:2], 16) & 2})
    return []
