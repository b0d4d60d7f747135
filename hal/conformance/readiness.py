# SPDX-License-Identifier: Apache-2.0
"""Checks of hal_poll() and of the descriptor for event loops."""

from __future__ import annotations

import errno
import os
import select

from .check import check
from .outcome import Broken, NotApplicable
from .raw import NOWAIT, RECORD, Raw, Stopwatch, after, last_error, name_of
from .subject import SOON, WAIT, Session


@check
def poll_agrees(run: Session) -> str:
    """hal_poll() says POLLIN when a read would do something at once, and only then.

    Why: an event loop that is told so and finds nothing spins; one that is not told stands still.

    See: hal/device.h, hal_poll(); hal/driver.h, poll and hal_device_wake()
    """
    device = run.open()
    says = device.poll(select.POLLIN, NOWAIT)
    if says == -errno.EOPNOTSUPP:
        raise NotApplicable(last_error())
    if run.facts.no_wait:
        raise NotApplicable(run.facts.no_wait)
    _nothing(device, says)
    clock = Stopwatch()
    says = device.poll(select.POLLIN, after(0.02))
    if says != -errno.ETIMEDOUT or not 0.02 <= clock.seconds < SOON:
        raise Broken(f"a poll of 20 ms: {name_of(says)} after {clock.seconds * 1e3:.1f} ms")
    if run.facts.no_echo or not run.subject.writes:
        return "nothing to read: both say so"
    device.send(b"one\ntwo")
    says = device.poll(select.POLLIN, after(WAIT))
    if says < 0 or not says & select.POLLIN:
        raise Broken(f"bytes have come, and a poll for POLLIN says {name_of(says)}")
    device.read_until(64, b"\n", after(WAIT))
    says = device.poll(select.POLLIN, after(WAIT))
    if says < 0 or device.read_exact(3, after(WAIT)).data != b"two":
        raise Broken(f"bytes are buffered, and a poll for POLLIN says {name_of(says)}")
    _nothing(device, device.poll(select.POLLIN, NOWAIT))
    return "with nothing, with bytes on the way, with bytes buffered"


def _nothing(device: Raw, says: int) -> None:
    result = device.read(RECORD, NOWAIT).result
    if says != -errno.EAGAIN and result == -errno.EAGAIN:
        raise Broken(f"a poll for POLLIN says {name_of(says)}, and a read finds nothing")
    if says == -errno.EAGAIN and result != -errno.EAGAIN:
        raise Broken(f"a poll for POLLIN says nothing, and a read gives {name_of(result)}")


@check
def descriptor(run: Session) -> str:
    """The descriptor a device stands on is non-blocking.

    Why: a read(2) on one that blocks waits where no deadline and no cancel can reach it.

    See: hal/driver.h, hal_device_set_fd()
    """
    device = run.open()
    found = {device.fd(select.POLLIN), device.fd(select.POLLOUT)}
    descriptors = sorted(fd for fd in found if fd >= 0)
    if not descriptors:
        raise NotApplicable(last_error())
    for fd in descriptors:
        if os.get_blocking(fd):
            raise Broken(f"descriptor {fd} ({os.readlink(f'/proc/self/fd/{fd}')}) blocks")
    return f"{len(descriptors)} of them"
