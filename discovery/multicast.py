# SPDX-License-Identifier: Apache-2.0
"""The links of this machine that multicast works on, followed as they come and go."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing

from . import netlink
from .netlink import Interface
from .within import end

Trouble = Callable[[str, str], None]
"""Takes what is wrong, "" when nothing is any more; and the name of the link, "" for all."""

RETRY_MIN, RETRY_MAX = 1.0, 30.0
"""Seconds until work that failed on a link is tried again; doubled from the one to the other."""

SETTLE = 0.05
"""Seconds in which changes that come together are taken for one."""

_OTHERWISE = "devices can still be found by name (static hosts) and by unicast DNS-SD"


def usable(names: Sequence[str] | None = None) -> tuple[list[Interface], dict[str, str]]:
    """The links to multicast on.

    Args:
        names: Names of interfaces. None: all that are up, have an address and can multicast, but
            no loopback.

    Returns:
        The links; and what is wrong, by the name of the link, "" for all of them.

    Raises:
        OSError: The kernel refuses to tell.
    """
    there = {interface.name: interface for interface in netlink.interfaces()}
    reasons = {name: _reason(interface) for name, interface in there.items()}
    if names is None:
        links = [
            interface
            for name, interface in there.items()
            if not reasons[name] and not interface.loopback
        ]
        if links:
            return links, {}
        why = ", ".join(f"{name}: {reasons[name] or 'loopback'}" for name in there)
        cause = f"no network interface can multicast ({why or 'there is none'}); {_OTHERWISE}"
        return [], {"": cause}
    troubles = {name: reasons.get(name, "there is no such interface") for name in names}
    links = [there[name] for name, reason in troubles.items() if not reason]
    return links, {name: f"{why}; {_OTHERWISE}" for name, why in troubles.items() if why}


def _reason(interface: Interface) -> str:
    """Why it cannot be used, "" when it can."""
    if not interface.up:
        return "down"
    if not interface.addresses:
        return "has no address"
    if not interface.multicast and not interface.loopback:  # The loopback does without the flag.
        return "cannot multicast (no MULTICAST flag)"
    return ""


async def each_link(
    names: Sequence[str] | None,
    work: Callable[[Interface], Awaitable[None]],
    trouble: Trouble,
    gone: Callable[[str], None] | None = None,
) -> None:
    """Keep `work` running on each usable link, until cancelled.

    It is cancelled when the link goes, and started anew when its addresses change. When it fails,
    that is told, and it is tried again; the others go on.

    Args:
        names: As for `usable`.
        work: What to do on a link; it runs until cancelled.
        trouble: Told what is wrong.
        gone: Told the name of a link that went.
    """
    while True:
        cause = await _follow(names, work, trouble, gone)
        trouble(f"the kernel does not tell of its network interfaces: {cause}; {_OTHERWISE}", "")
        await asyncio.sleep(RETRY_MAX)


async def _follow(
    names: Sequence[str] | None,
    work: Callable[[Interface], Awaitable[None]],
    trouble: Trouble,
    gone: Callable[[str], None] | None,
) -> str:
    """Do so, until the kernel refuses to tell, as in a sandbox without netlink. Returns why."""
    tasks: dict[Interface, asyncio.Task[None]] = {}
    told: set[str] = {""}
    try:
        with closing(netlink.Changes()) as changes:
            while True:
                links, troubles = usable(names)
                for about in told - troubles.keys():
                    trouble("", about)
                for about, cause in troubles.items():
                    trouble(cause, about)
                told = set(troubles)
                left = [link for link in tasks if link not in links]
                await end([tasks.pop(link) for link in left])
                for name in {link.name for link in left} - {link.name for link in links}:
                    if name not in told:
                        trouble("", name)
                    if gone:
                        gone(name)
                for link in links:
                    if link not in tasks:
                        tasks[link] = asyncio.ensure_future(_keep(work, link, trouble))
                await changes.wait()
                await asyncio.sleep(SETTLE)
    except OSError as error:
        return str(error)
    finally:
        await end(tasks.values())


async def _keep(
    work: Callable[[Interface], Awaitable[None]], link: Interface, trouble: Trouble
) -> None:
    """Work on a link; try again when that fails."""
    delay = RETRY_MIN
    while True:
        began = asyncio.get_running_loop().time()
        try:
            await work(link)
        except Exception as error:  # noqa: BLE001 - whatever it is, the other links go on
            if asyncio.get_running_loop().time() - began > RETRY_MAX:
                delay = RETRY_MIN
            trouble(f"{type(error).__name__}: {error}; tried again in {delay:.0f} s", link.name)
        await asyncio.sleep(delay)
        delay = min(2 * delay, RETRY_MAX)
