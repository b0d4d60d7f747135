# SPDX-License-Identifier: Apache-2.0
"""Networks for tests; see namespaces.py."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.needs import needs

from .namespaces import Host, Net, lacking


@pytest.fixture(scope="session")
def _rights() -> None:
    reason = lacking()
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


@pytest.fixture
def net(_rights: None) -> Iterator[Net]:
    """An empty network of the test's own."""
    with Net() as network:
        yield network


@dataclass(frozen=True)
class Lan:
    """A network that tests share.

    Attributes:
        a: A host with avahi-daemon.
        b: Another one.
        c: A host without.
        d: Another one.
    """

    a: Host
    b: Host
    c: Host
    d: Host


@pytest.fixture
def lan(_lan: Lan) -> Iterator[Lan]:
    """Four hosts; tests leave them as they were, and what they have started is ended."""
    yield _lan
    for host in (_lan.a, _lan.b, _lan.c, _lan.d):
        host.tidy()


@pytest.fixture(scope="session")
def _lan(_rights: None) -> Iterator[Lan]:
    with Net() as network:
        needs("avahi-daemon", "avahi-browse", "dbus-daemon")
        yield Lan(
            network.host("a", avahi=True),
            network.host("b", avahi=True),
            network.host("c"),
            network.host("d"),
        )
