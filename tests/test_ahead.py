# SPDX-License-Identifier: Apache-2.0
"""Work done ahead of the tests is done once, whoever asks for it and when."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from tests import ahead


def test_who_asks_meanwhile_waits() -> None:
    begun, go_on = threading.Event(), threading.Event()
    done: list[int] = []

    def work() -> int:
        begun.set()
        assert go_on.wait(60)
        done.append(1)
        return len(done)

    with ThreadPoolExecutor(2) as askers:
        first = askers.submit(ahead.result, "test_ahead: asked twice", work)
        assert begun.wait(60)
        second = askers.submit(ahead.result, "test_ahead: asked twice", work)
        assert not second.done()
        go_on.set()
        assert (first.result(60), second.result(60)) == (1, 1)
