# SPDX-License-Identifier: Apache-2.0
"""Searches: what is asked, where, and how often (UPnP Device Architecture 2.0, section 1.3.2)."""

from __future__ import annotations

import platform
from functools import cache

from .kinds import HAL_TYPE
from .message import DISCOVER, Message

ALL = "ssdp:all"

TARGETS = ((HAL_TYPE, 1), (ALL, 3))
"""What is searched for, and the MX given with it: ours answer within a second, and all the others
within three, so that a full network does not answer at once."""

REPEATS = (0.0, 0.3, 1.2)
"""When a search is sent, in seconds: UDP loses packets, so more than once."""

PERIOD = 1200.0
"""Seconds between searches: often enough that what answers one is not forgotten before the next
(`heard.AGE_MAX` is three times this)."""

NAME = "Open-AutoGLM HAL"


@cache
def product() -> str:
    """For USER-AGENT and SERVER (UDA 1.2.2): "OS/version UPnP/2.0 product/version"."""
    from ... import __version__

    kernel = ".".join(platform.release().split(".")[:2])
    return f"{platform.system()}/{kernel} UPnP/2.0 Open-AutoGLM-HAL/{__version__}"


def search(target: str, mx: int, destination: str) -> Message:
    """A search for all on a link.

    Args:
        target: What for.
        mx: Seconds within which is to be answered, 1 to 5.
        destination: Group and port.
    """
    fields = {
        "HOST": destination,
        "MAN": f'"{DISCOVER}"',
        "MX": str(mx),
        "ST": target,
        "USER-AGENT": product(),
        "CPFN.UPNP.ORG": NAME,
    }
    return Message("M-SEARCH", fields)


def question(target: str, destination: str) -> Message:
    """A unicast search, to be answered at once (it has no MX).

    Args:
        target: What for.
        destination: Host and port.
    """
    fields = {
        "HOST": destination,
        "MAN": f'"{DISCOVER}"',
        "ST": target,
        "USER-AGENT": product(),
    }
    return Message("M-SEARCH", fields)
