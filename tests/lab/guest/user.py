# SPDX-License-Identifier: Apache-2.0
"""Calls a function as an ordinary user, to see what such a user would."""

from __future__ import annotations

import os
import pickle
import pwd
from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def call_as(user: str, function: Callable[[], T]) -> T:
    """Call a function in a child process that has a user's identity and no other groups.

    What it returns, or the exception it raises, is handed back; both have to be picklable.
    """
    entry = pwd.getpwnam(user)
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        os.close(reader)
        os.setgroups([])
        os.setgid(entry.pw_gid)
        os.setuid(entry.pw_uid)
        try:
            outcome: tuple[bool, object] = (True, function())
        except Exception as error:  # noqa: BLE001 - handed to the caller, whatever it is
            outcome = (False, error)
        with os.fdopen(writer, "wb") as pipe:
            pickle.dump(outcome, pipe)
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as pipe:
        data = pipe.read()
    os.waitpid(child, 0)
    good, value = pickle.loads(data)
    if not good:
        raise value
    return value  # type: ignore[no-any-return]
