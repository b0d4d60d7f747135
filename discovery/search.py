# SPDX-License-Identifier: Apache-2.0
"""The devices there are, asked once."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from .inventory import local_inventory
from .query import Query
from .record import Problem, Record

if TYPE_CHECKING:
    from .change import Change
    from .watch import Watch

QUIET = 1.0
"""Seconds without news after which the network has answered: SSDP devices take up to 1 s."""


class Devices(list[Record]):
    """Records by class and name, and what could not be seen.

    Attributes:
        problems: What failed, and why.
    """

    def __init__(self, records: Iterable[Record] = (), problems: Iterable[Problem] = ()) -> None:
        super().__init__(records)
        self.problems = tuple(problems)


def devices(
    query: str = "",
    *,
    network: bool = True,
    hosts: Sequence[str] = (),
    domains: Sequence[str] = (),
    interfaces: Sequence[str] | None = None,
    timeout: float = 3.0,
) -> Devices:
    """The devices that a query asks for.

    Those of this machine take some 20 to 50 ms. The network is given time: until nothing new has
    come for `QUIET` seconds, or `timeout` has passed, or there is what one URI, name or id asks
    for. A query that only local devices can fit (``trust=local``) does not ask the network.

    Args:
        query: See `Query`; "" for all.
        network: Search the network too.
        hosts: Machines to ask by name or address where multicast does not reach.
        domains: Domains to search by unicast DNS.
        interfaces: Names of the network interfaces to search on; None for all.
        timeout: Seconds for the network at most; 0 as ``network=False``.

    Returns:
        A list of records, by class and name; `Devices.problems` says what could not be seen.

    Raises:
        InvalidArgument: The query is ill-formed.
    """
    wanted = Query.parse(query)
    remote = (network or hosts or domains) and timeout > 0
    if wanted.local or not remote or wanted.exact:
        inventory = local_inventory()
        found = Devices(wanted.of(inventory), inventory.problems)
        if wanted.local or not remote or found:
            return found
    return _searched(query, network, hosts, domains, interfaces, timeout)


def until_quiet(watch: Watch, timeout: float) -> Iterator[Change]:
    """The changes of a new watch until the answer is complete, as `devices` describes it."""
    end = time.monotonic() + timeout
    change = watch.next()
    news = time.monotonic()
    while change is not None:
        yield change
        found = bool(change.records)
        if watch.query.exact and found:
            return
        change = None
        while change is None and (left := end - time.monotonic()) > 0:
            quiet = min(time.monotonic() - news, watch.searching())
            patience = left if watch.query.exact else min(QUIET - quiet, left)
            if patience <= 0:
                return
            change = watch.next(patience)
            news = news if change is None else time.monotonic()


def _searched(
    query: str,
    network: bool,
    hosts: Sequence[str],
    domains: Sequence[str],
    interfaces: Sequence[str] | None,
    timeout: float,
) -> Devices:
    from .watch import Watch

    found = Devices()
    with Watch(
        query, network=network, hosts=hosts, domains=domains, interfaces=interfaces
    ) as watch:
        for change in until_quiet(watch, timeout):
            found = Devices(change.records, change.problems)
    return found
