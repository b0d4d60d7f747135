# SPDX-License-Identifier: Apache-2.0
"""A forked child of the test's process: it has one thread, and what the parent has loaded."""

from __future__ import annotations

import os
import signal
import traceback
from collections.abc import Callable

IS_THREADED = "ignore:This process .* is multi-threaded"
"""Python 3.12 warns of forks where builds run in threads beside the tests."""

PATIENCE = 60
"""Seconds until a child is ended."""


def in_child(call: Callable[[], None]) -> str:
    """Run ``call`` in a forked child; what it raised, "" when nothing."""
    inside, outside = os.pipe()
    pid = os.fork()
    if pid == 0:
        signal.alarm(PATIENCE)
        try:
            call()
        except BaseException:  # noqa: BLE001 - told to the parent
            os.write(outside, traceback.format_exc().encode())
        os._exit(0)
    os.close(outside)
    with os.fdopen(inside, "rb") as pipe:
        text = pipe.read().decode()
    _, status = os.waitpid(pid, 0)
    assert status == 0, f"the child died: {status}"
    return text
