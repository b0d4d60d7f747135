# SPDX-License-Identifier: Apache-2.0
"""How long a test in the guest may take."""

from __future__ import annotations

import pytest

LIMIT = 120.0
"""Seconds; another limit is set with ``@pytest.mark.lab_timeout(seconds)``."""


def limit_of(item: pytest.Item) -> float:
    """Give a test's limit in seconds."""
    marker = item.get_closest_marker("lab_timeout")
    return float(marker.args[0]) if marker else LIMIT
