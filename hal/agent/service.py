# SPDX-License-Identifier: Apache-2.0
"""Being a service of systemd: readiness, reload and watchdog told, sockets taken.

What is spoken is small and stable, so it is here rather than in a library: datagrams of lines
``KEY=VALUE`` to the socket that NOTIFY_SOCKET names (sd_notify(3)), and descriptors from number 3
on, which LISTEN_FDS counts and LISTEN_PID is meant for (sd_listen_fds(3)). Without systemd all of
it does nothing.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import time
from typing import Final

from hal.errors import InvalidArgument

FIRST: Final = 3
"""The first descriptor that is passed (SD_LISTEN_FDS_START)."""
SOCKETS_MAX: Final = 64


class Notifier:
    """Tells systemd how the service is. Threads may share it.

    Raises:
        InvalidArgument: NOTIFY_SOCKET or WATCHDOG_USEC is set to what they cannot be.
    """

    def __init__(self) -> None:
        self._address = _notify_address(os.environ.get("NOTIFY_SOCKET", ""))
        self.watchdog = _watchdog()
        """Seconds after which systemd takes a silent service for dead; None: it does not."""

    def ready(self) -> None:
        """It is started, or done with reloading."""
        self._tell("READY=1")

    def reloading(self) -> None:
        """It has begun to reload; `ready` ends that."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000
        self._tell("RELOADING=1", f"MONOTONIC_USEC={now}")

    def stopping(self) -> None:
        """It has begun to end."""
        self._tell("STOPPING=1")

    def status(self, text: str) -> None:
        """What ``systemctl status`` shows; one line."""
        self._tell("STATUS=" + text.replace("\n", " "))

    def alive(self) -> None:
        """The watchdog's sign of life."""
        if self.watchdog is not None:
            self._tell("WATCHDOG=1")

    def _tell(self, *lines: str) -> None:
        if self._address is None:
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
            link.settimeout(1)
            with contextlib.suppress(OSError):  # A service goes on when its manager is deaf.
                link.sendto("\n".join(lines).encode(), self._address)


def sockets() -> list[socket.socket]:
    """The listening sockets that systemd has passed; none when it has not.

    They are taken once: the variables that tell of them are removed, so that no child takes them.

    Raises:
        InvalidArgument: What was passed is no listening TCP socket, or the number of them is not
            one; the message says which.
    """
    stated, meant = os.environ.get("LISTEN_FDS"), os.environ.get("LISTEN_PID")
    for name in ("LISTEN_FDS", "LISTEN_PID", "LISTEN_FDNAMES"):
        os.environ.pop(name, None)
    if stated is None or (meant is not None and meant != str(os.getpid())):
        return []
    if not stated.isascii() or not stated.isdigit() or not 0 < int(stated) <= SOCKETS_MAX:
        text = f"take the sockets of systemd: LISTEN_FDS={stated!r} is not of 1 .. {SOCKETS_MAX}"
        raise InvalidArgument(errno.EINVAL, text)
    return [_taken(number) for number in range(FIRST, FIRST + int(stated))]


def _taken(number: int) -> socket.socket:
    what = f"take the sockets of systemd: descriptor {number}"
    try:
        os.set_inheritable(number, False)
        taken = socket.socket(fileno=number)
    except OSError as error:
        raise InvalidArgument(errno.EBADF, f"{what}: {error.strerror}") from error
    listens = taken.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
    inet = taken.family in (socket.AF_INET, socket.AF_INET6)
    if not inet or taken.type != socket.SOCK_STREAM or not listens:
        taken.detach()
        text = f"{what} is no listening TCP socket: name it by ListenStream= in hal-agent.socket"
        raise InvalidArgument(errno.ENOTSOCK, text)
    return taken


def _notify_address(text: str) -> str | None:
    if not text:
        return None
    if not text.startswith(("/", "@")) or len(text) > 107:
        why = "is neither an absolute path nor an abstract name"
        raise InvalidArgument(errno.EINVAL, f"tell systemd: NOTIFY_SOCKET={text!r} {why}")
    return "\0" + text[1:] if text.startswith("@") else text


def _watchdog() -> float | None:
    text, meant = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not text or (meant is not None and meant != str(os.getpid())):
        return None
    if not text.isascii() or not text.isdigit() or int(text) == 0:
        raise InvalidArgument(errno.EINVAL, f"the watchdog: WATCHDOG_USEC={text!r} is no number")
    return int(text) / 1e6
