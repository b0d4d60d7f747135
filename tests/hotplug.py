# SPDX-License-Identifier: Apache-2.0
"""A network stack of one's own, in which devices really come and go: the kernel tells of them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence

import pytest

PREFIX = (
    *("unshare", "--net", "--mount", "--kill-child", "sh", "-c"),
    'mount -t sysfs sysfs /sys && ip link set lo up && exec "$@"',
    "sh",
)
"""Runs a command in it. Everything is gone when the command ends."""


def needs_namespaces() -> None:
    """Skip the test where namespaces are not to be had; with CI set, fail it."""
    reason = ""
    if shutil.which("unshare") is None or shutil.which("ip") is None:
        reason = "unshare and ip are not installed (tools/packages-test.txt)"
    elif subprocess.run([*PREFIX, "true"], capture_output=True, check=False).returncode:
        reason = "network namespaces take root"
    if reason and os.environ.get("CI"):
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def start(*command: str) -> subprocess.Popen[str]:
    """Start a command in a network stack of its own; its input and output are pipes."""
    return subprocess.Popen(
        [*PREFIX, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "80"},
    )


def run_here(program: str, arguments: Sequence[str] = ()) -> str:
    """Run a Python program in a network stack of its own; give its output."""
    needs_namespaces()
    run = subprocess.run(
        [*PREFIX, sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert run.returncode == 0, run.stderr
    return run.stdout
