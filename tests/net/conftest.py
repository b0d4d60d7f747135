# SPDX-License-Identifier: Apache-2.0
"""Networks for tests; see namespaces.py."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from .namespaces import Net, lacking


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


@pytest.fixture(scope="session")
def shared_net(_rights: None) -> Iterator[Net]:
    """A network that tests share which leave it as it was."""
    with Net() as network:
        yield network
