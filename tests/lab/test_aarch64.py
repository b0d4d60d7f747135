# SPDX-License-Identifier: Apache-2.0
"""The aarch64 guest: its device-tree devices, and C tests on a kernel of that architecture."""

from __future__ import annotations

import os

import pytest

from .aarch64 import checks
from .aarch64.boot import SUITES, results
from .prepare import LabUnavailable

CHECKS = [name for name in vars(checks) if name.startswith("check_")]

pytestmark = pytest.mark.timeout(1200)  # the first item waits for compiler, preparation and boot


@pytest.fixture(scope="module")
def found() -> dict[str, str]:
    """How each check and each C test went."""
    try:
        return results()
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"no lab: {error}")
        pytest.skip(f"no lab: {error}")


@pytest.mark.parametrize("name", [*CHECKS, *SUITES])
def test_in_guest(found: dict[str, str], name: str) -> None:
    if found[name]:
        pytest.fail(found[name], pytrace=False)
