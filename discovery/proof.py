# SPDX-License-Identifier: Apache-2.0
"""Devices of ours are asked to prove who they are, where this machine can judge that.

It can when it has a controller's credentials (docs/hal-ca.md): in the folder that HAL_LINK names,
else where hal-ca puts them. What is asked is in `hal.link.proof`, loaded when the first one is.
"""

from __future__ import annotations

import asyncio
import importlib
import os
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

Ask = Callable[[str, str, int], Awaitable["str | None"]]
"""Asks the device at a host and port to prove its UUID. Gives "" when it has, else why not; None
when that cannot be judged here. Raises `hal.Error`: the credentials are damaged."""


def folder() -> Path | None:
    """Where this machine's credentials are; None where it has none, or HAL_LINK is empty."""
    named = os.environ.get("HAL_LINK")
    if named is not None:
        return Path(named) if named else None
    if os.geteuid() == 0:
        usual = Path("/etc/hal/link")
    else:
        base = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
        usual = Path(base) / "hal/link"
    return usual if (usual / "cert.pem").exists() else None


def standard() -> Ask | None:
    """What asks with this machine's credentials; None where it has none."""
    found = folder()
    return partial(_ask, found) if found else None


async def _ask(own: Path, device: str, host: str, port: int) -> str | None:
    link = await asyncio.to_thread(importlib.import_module, "..link.proof", __package__)
    doubt: str | None = await link.doubt(own, device, host, port)
    return doubt
