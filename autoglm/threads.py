# SPDX-License-Identifier: Apache-2.0
"""How many threads a call may be told to have."""

from __future__ import annotations

from .errors import Error

MOST = 1024
"""Each has a stack and looks for work for a while: tens of thousands stop a machine."""


def check_threads(threads: int) -> None:
    """See that a number of threads can be had; 0 leaves it to whoever runs the model.

    Raises:
        Error: It is negative, or more than `MOST`.
    """
    if not 0 <= threads <= MOST:
        raise Error(f"{threads} threads for one call: give 0, for as many as are best, to {MOST}")
