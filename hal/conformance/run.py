# SPDX-License-Identifier: Apache-2.0
"""Run checks, each in a process of its own: a driver that crashes or hangs fails one check."""

from __future__ import annotations

import faulthandler
import json
import os
import resource
import select
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NoReturn

import hal
from hal._abi import ffi, lib
from hal.errors import BY_KIND

from .check import Check, checks
from .outcome import Broken, NotApplicable, Result
from .raw import OpenFailed
from .subject import Facts, Subject, session, survey

LIMIT = 120.0
"""Seconds after which a check is ended."""

Answer = dict[str, str]


def _child(work: Callable[[], Answer], pipe: int) -> NoReturn:
    faulthandler.disable()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        try:
            answer = work()
        except Broken as error:
            answer = {"outcome": "fail", "seen": str(error)}
        except NotApplicable as error:
            answer = {"outcome": "n/a", "seen": str(error)}
        except OpenFailed as error:
            answer = {"outcome": "fail", "seen": str(error), "errno": str(-error.result)}
        except BaseException as error:  # noqa: BLE001 - the kit's own fault must be seen, too
            import traceback

            traceback.print_exc()
            answer = {"outcome": "fail", "seen": f"the check itself failed: {error!r}"}
        os.write(pipe, json.dumps(answer).encode())
    finally:
        sys.stderr.flush()
        os._exit(0)


def isolated(work: Callable[[], Answer], limit: float = LIMIT) -> Answer:
    """What ``work`` gives in a child process; its crash, or that it does not end, is a failure."""
    out, pipe = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(out)
        _child(work, pipe)
    os.close(pipe)
    answer = b""
    try:
        end = time.monotonic() + limit
        while ready := select.select([out], [], [], max(end - time.monotonic(), 0))[0]:
            part = os.read(ready[0], 65536)
            if not part:
                break
            answer += part
        else:
            os.kill(child, signal.SIGKILL)
    except BaseException:
        os.kill(child, signal.SIGKILL)
        raise
    finally:
        os.close(out)
        status = os.waitpid(child, 0)[1]
    if answer:
        found: Answer = json.loads(answer)
        return found
    if time.monotonic() >= end:
        return {"outcome": "fail", "seen": f"it did not end within {limit:g} s"}
    return {"outcome": "fail", "seen": f"the process was ended by {_death(status)}"}


def _death(status: int) -> str:
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"{signal.Signals(number).name} ({signal.strsignal(number)})"
    return f"exit status {os.waitstatus_to_exitcode(status)}"


def look(subject: Subject) -> Facts:
    """Open the device for the first time and see what it is like.

    Raises:
        hal.Error: It cannot be opened.
        Broken: Not even this can be done with it.
    """

    def work() -> Answer:
        return {"outcome": "pass", **vars(survey(subject))}

    answer = isolated(work)
    if "errno" in answer:
        number = int(answer["errno"])
        kind = os.fsdecode(ffi.string(lib.hal_error_kind_name(lib.hal_error_kind(-number))))
        raise BY_KIND.get(kind, hal.Error)(number, answer["seen"])
    if answer["outcome"] != "pass":
        raise Broken(answer["seen"])
    return Facts(answer["no_wait"], answer["no_echo"])


def run_check(check: Check, subject: Subject, facts: Facts) -> Result:
    """Run one check."""

    def work() -> Answer:
        with session(subject, facts) as run:
            seen = check.function(run)
        return {"outcome": "pass", "seen": seen or ""}

    began = time.monotonic()
    answer = isolated(work)
    return Result(
        check.name,
        answer["outcome"],
        answer["seen"],
        check.contract,
        check.where,
        round(time.monotonic() - began, 4),
    )


def run(subject: Subject, only: frozenset[str] = frozenset()) -> Iterator[Result]:
    """Run every check, or those named, in order.

    Raises:
        hal.Error: The device cannot be opened.
    """
    try:
        facts = look(subject)
    except Broken as error:
        contract = "A device is opened, and read and written without waiting."
        yield Result("survey", "fail", str(error), contract, "hal/device.h, hal_open()")
        return
    for check in checks():
        if not only or check.name in only:
            yield run_check(check, subject, facts)


def count(results: Sequence[Result]) -> Mapping[str, int]:
    """How many of each outcome."""
    return {
        outcome: sum(result.outcome == outcome for result in results)
        for outcome in ("pass", "fail", "n/a")
    }
