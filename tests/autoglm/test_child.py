# SPDX-License-Identifier: Apache-2.0
"""A call in a process of its own: what it returns, and each way in which it can end badly."""

from __future__ import annotations

import contextlib
import ctypes
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest

from autoglm import child
from autoglm.backends.tool import run_tool
from autoglm.child import ChildError, Limits
from autoglm.errors import ModelError
from tests.native import ROOT


def _answer(text: str) -> tuple[str, int]:
    child.report(f"about to say {text}")
    print("printed, and of no consequence")
    return text, os.getpid()


def _crash() -> None:
    print("an invariant does not hold", file=sys.stderr, flush=True)
    ctypes.string_at(0)


def _raise(kind: type[Exception]) -> None:
    raise kind("the reason")


def _hang(pids: str) -> None:
    tempfile.mkdtemp()
    started = subprocess.Popen(["sleep", "600"])
    Path(pids).write_text(f"{os.getpid()} {started.pid}")
    time.sleep(600)


def _run_a_tool(folder: str) -> None:
    run_tool(["sh", "-c", "echo $$ > pid; exec sleep 600"], Path(folder))


def _swell() -> None:
    kept = []
    for _ in range(4000):
        kept.append(bytearray(os.urandom(1) * (1 << 20)))
        time.sleep(0.001)


def ends(pid: str) -> None:
    """See that a process ends soon, or has ended and init has not looked yet."""
    until = time.monotonic() + 10
    with contextlib.suppress(OSError):
        while Path("/proc", pid, "stat").read_text().rpartition(")")[2].split()[0] != "Z":
            assert time.monotonic() < until, "it still runs"
            time.sleep(0.02)


def test_returns() -> None:
    told: list[str] = []
    ended = child.call(_answer, "yes", progress=told.append)
    assert ended.value[0] == "yes"
    assert ended.value[1] != os.getpid()
    assert told == ["about to say yes"]
    assert ended.memory > 1 << 20


def test_an_error_of_ours_is_raised_as_it_is() -> None:
    with pytest.raises(ModelError, match=r"^the reason$"):
        child.call(_raise, ModelError)


def test_other_exceptions_are_told() -> None:
    with pytest.raises(ChildError, match="KeyError: 'the reason'"):
        child.call(_raise, KeyError)


def test_a_crash_is_told_with_its_last_words() -> None:
    with pytest.raises(ChildError, match=r"SIGSEGV.*an invariant does not hold"):
        child.call(_crash)


def test_an_exit_is_told() -> None:
    with pytest.raises(ChildError, match="status 3"):
        child.call(os._exit, 3)


def test_a_hang_ends_with_all_it_started_and_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pids, temporary = tmp_path / "pids", tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setenv("TMPDIR", str(temporary))
    for seconds in (1, 5, 25, 125):  # on a busy machine it has not begun to hang after a few
        pids.write_text("")
        with pytest.raises(ChildError, match=f"not done within {seconds} s"):
            child.call(_hang, str(pids), limits=Limits(seconds=seconds))
        if hung := pids.read_text().split():
            break
    assert len(hung) == 2
    for pid in hung:
        ends(pid)
    assert os.listdir(temporary) == []


def test_a_tool_ends_with_who_asked_for_it(tmp_path: Path) -> None:
    """Killed, the caller can end nobody: the kernel does, from the one to the next."""
    here = "from autoglm import child; from tests.autoglm import test_child"
    code = f"{here}; child.call(test_child._run_a_tool, {str(tmp_path)!r})"
    pid = tmp_path / "pid"
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT) as caller:
        while not (pid.exists() and pid.read_text()):
            assert caller.poll() is None
            time.sleep(0.02)
        caller.kill()
    ends(pid.read_text().strip())


def test_memory_is_limited() -> None:
    with pytest.raises(ChildError, match=r"MiB of memory, more than the 200 MiB"):
        child.call(_swell, limits=Limits(memory=200 << 20))
