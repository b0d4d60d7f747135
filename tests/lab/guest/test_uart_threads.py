# SPDX-License-Identifier: Apache-2.0
"""Four threads on one serial line: the kernel's USB gadget and its host controller's end."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import hal

from . import devices

LINES, SIZE = 20, 32


def test_four_threads_share_a_line() -> None:
    """Two write whole lines, two read them: none is lost, torn or doubled."""
    near, far = f"uart:{devices.GADGET}?baud=9600", f"uart:{devices.GADGET_PEER}"
    sent = [(b"%d-%02d" % (w, n)).ljust(SIZE - 1, b".") for w in range(2) for n in range(LINES)]
    with hal.Uart.open(near) as gadget, hal.Uart.open(far) as peer:

        def write(lines: list[bytes]) -> None:
            for line in lines:
                gadget.write(line + b"\n", timeout=20)

        def read() -> list[bytes]:
            return [peer.readline(timeout=20).strip() for _ in range(LINES)]

        with ThreadPoolExecutor(4) as pool:
            readers = [pool.submit(read) for _ in range(2)]
            writers = [pool.submit(write, sent[w * LINES : (w + 1) * LINES]) for w in range(2)]
            for writer in writers:
                writer.result()
            got = [line for reader in readers for line in reader.result()]
    assert sorted(got) == sorted(line.strip() for line in sent)
