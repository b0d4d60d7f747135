# SPDX-License-Identifier: Apache-2.0
"""One call in a process of its own, with limits of time and memory.

Compilers of models crash, hang and take all memory. In a child they take only the child with them,
and what went wrong is one sentence. The child is a fresh interpreter, not a fork: no thread and no
lock of the caller's is in it, and the caller's main module is not imported.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import pickle
import resource
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeVar

from .errors import Error

T = TypeVar("T")

_GLANCE = 0.05  # seconds between two looks at the child's memory
_TAIL = 2000  # bytes of what a child that died had printed last
_LENGTH = struct.Struct("<Q")
_MAIN = "from autoglm.child import main; main()"
_PR_SET_PDEATHSIG = 1  # <linux/prctl.h>
_libc = ctypes.CDLL(None)


class ChildError(Error):
    """The call ended otherwise than by returning or by an `Error` of its own."""


@dataclass(frozen=True)
class Limits:
    """What a call may use.

    Attributes:
        seconds: Of the clock on the wall.
        memory: Bytes resident, all processes of the child together; 0 for no limit.
    """

    seconds: float = 900.0
    memory: int = 0


@dataclass(frozen=True)
class Ended:
    """A call that returned.

    Attributes:
        value: What it returned.
        seconds: How long it took, the start of the process included.
        memory: The most bytes that were resident.
    """

    value: Any
    seconds: float
    memory: int


def call(
    function: Callable[..., T],
    *arguments: object,
    limits: Limits | None = None,
    progress: Callable[[str], None] | None = None,
) -> Ended:
    """Call a function in a process of its own, and wait for it. Any thread may.

    However it ends, nothing is left of its temporary files: ``TMPDIR`` is a folder of its own.

    Args:
        function: One at the top level of a module.
        arguments: Its arguments. They, and what it returns, can be pickled: the two processes are
            of one program, on one machine.
        limits: What it may use.
        progress: Is told what the call says by `report`.

    Raises:
        Error: As the function raised it.
        ChildError: It took too long or too much memory, crashed, or raised something else.
    """
    limits = limits or Limits()
    asked = (sys.path, function.__module__, function.__qualname__, arguments)
    answer, theirs = os.pipe()
    with (
        open(answer, "rb", buffering=0) as answers,
        tempfile.TemporaryFile() as request,
        tempfile.TemporaryFile() as printed,
        tempfile.TemporaryDirectory(prefix="autoglm-", ignore_cleanup_errors=True) as scratch,
    ):
        paths = os.pathsep.join(filter(None, sys.path))
        try:
            pickle.dump(asked, request)
            request.seek(0)
            process = subprocess.Popen(
                [sys.executable, "-c", _MAIN, str(theirs), str(os.getpid())],
                stdin=request,
                stdout=printed,
                stderr=printed,
                pass_fds=[theirs],
                start_new_session=True,
                env={**os.environ, "PYTHONPATH": paths, "TMPDIR": scratch},
            )
        finally:
            os.close(theirs)
        try:
            return _Call(process, answers, printed, limits, progress).wait()
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # it, and what it has started
            process.wait()


class _Call:
    """The parent's side of one call."""

    def __init__(
        self,
        process: subprocess.Popen[bytes],
        answers: IO[bytes],
        printed: IO[bytes],
        limits: Limits,
        progress: Callable[[str], None] | None,
    ) -> None:
        self.process = process
        self.answers = answers
        self.printed = printed
        self.limits = limits
        self.progress = progress
        self.began = time.monotonic()
        self.memory = 0
        self.received = b""

    def wait(self) -> Ended:
        while True:
            self._watch()
            ready, _, _ = select.select([self.answers], [], [], _GLANCE)
            if ready and not self._receive():
                raise ChildError(self._death())
            while (message := self._message()) is not None:
                kind, value = message
                if kind == "report":
                    if self.progress:
                        self.progress(value)
                    continue
                if kind == "raised":
                    raise value
                return Ended(value, time.monotonic() - self.began, self.memory)

    def _watch(self) -> None:
        """End the call when it is over its limits."""
        self.memory = max(self.memory, _resident(self.process.pid))
        if self.limits.memory and self.memory > self.limits.memory:
            raise ChildError(
                f"it took {self.memory >> 20} MiB of memory, more than the"
                f" {self.limits.memory >> 20} MiB that it may"
            )
        if time.monotonic() - self.began > self.limits.seconds:
            raise ChildError(
                f"it was not done within {self.limits.seconds:g} s{self._last_words()}"
            )

    def _receive(self) -> bool:
        data = os.read(self.answers.fileno(), 1 << 20)
        self.received += data
        return bool(data)

    def _message(self) -> tuple[str, Any] | None:
        if len(self.received) < _LENGTH.size:
            return None
        end = _LENGTH.size + _LENGTH.unpack_from(self.received)[0]
        if len(self.received) < end:
            return None
        message = pickle.loads(self.received[_LENGTH.size : end])  # noqa: S301 - our own process's
        self.received = self.received[end:]
        return message  # type: ignore[no-any-return]

    def _death(self) -> str:
        status = self.process.wait()
        if status < 0:
            how = f"it crashed ({signal.Signals(-status).name})"
        else:
            how = f"its process ended with status {status}"
        return how + self._last_words()

    def _last_words(self) -> str:
        size = self.printed.seek(0, os.SEEK_END)
        self.printed.seek(max(0, size - _TAIL))
        lines = self.printed.read().decode("utf-8", "replace").split("\n")
        said = [line.strip() for line in lines if line.strip()]
        return f"; it printed last: {said[-1][:300]}" if said else ""


def _resident(process: int) -> int:
    """Bytes resident of a process, and of those that it started."""
    try:
        folder = f"/proc/{process}"
        pages = int(Path(folder, "statm").read_text("ascii").split()[1])
        below = [
            child
            for task in os.listdir(f"{folder}/task")
            for child in Path(folder, "task", task, "children").read_text("ascii").split()
        ]
    except OSError:  # it has just ended
        return 0
    return pages * resource.getpagesize() + sum(_resident(int(child)) for child in below)


# ---- the child's side ----------------------------------------------------------------------------

_answers: IO[bytes] | None = None


def report(text: str) -> None:
    """Say how far a call is. Heard when it is one of `call`; else nobody is there to hear it."""
    if _answers:
        _say("report", text)


def _say(kind: str, value: object) -> None:
    data = pickle.dumps((kind, value))
    if _answers is None:
        raise RuntimeError("this process is no child of call()")
    _answers.write(_LENGTH.pack(len(data)) + data)
    _answers.flush()


def end_with_parent() -> None:
    """Let this process be killed when the one that started it dies, however it does (prctl(2))."""
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def main(arguments: Sequence[str] | None = None) -> None:
    """What the child's interpreter runs."""
    global _answers  # noqa: PLW0603 - one process is one call
    answers, parent = map(int, arguments or sys.argv[1:])
    end_with_parent()
    if os.getppid() != parent:  # it died before that, as by a signal while it started this
        os._exit(1)
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000", "ascii")  # when memory ends, it goes
    _answers = open(answers, "wb")  # noqa: SIM115 - till the end
    sys.path[:], module, name, values = pickle.load(sys.stdin.buffer)  # noqa: S301 - our parent's
    try:
        function = importlib.import_module(module)
        for part in name.split("."):
            function = getattr(function, part)
        result = function(*values)  # type: ignore[operator]
    except Error as error:
        _say("raised", error)
    except MemoryError:
        _say("raised", ChildError("memory was not enough for it"))
    except BaseException as error:  # noqa: BLE001 - every fault of an engine is told
        _say("raised", ChildError(_sentence(error)))
    else:
        _say("returned", result)
    _answers.close()
    os._exit(0)  # engines' threads and destructors are not waited for


def _sentence(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:600]}" if text else type(error).__name__
