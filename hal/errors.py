# SPDX-License-Identifier: Apache-2.0
"""What went wrong: one class a kind of failure, the same kinds as in C and across the network.

Every error is an ``OSError``: ``errno`` is the number the C library returned, ``str(error)`` its
sentence (operation, object, cause), ``kind`` the kind as one word. The table of kinds and numbers
is in ``<hal/error.h>``.

A driver written in Python may raise any of them with a text alone; the number is then the first of
the kind: ``raise hal.Busy("the sensor is calibrating")``.
"""

import errno as _errno
from typing import Any, ClassVar

__all__ = [
    "Busy",
    "Cancelled",
    "Closed",
    "Error",
    "Forked",
    "Interrupted",
    "InvalidArgument",
    "LinkLost",
    "NoAttribute",
    "NotFound",
    "PermissionDenied",
    "ProtocolError",
    "Timeout",
    "Unplugged",
    "Unsupported",
    "WouldBlock",
]


class Error(OSError):
    """Anything that failed in the library, in a driver or in the kernel below them.

    Attributes:
        errno: The positive number.
        strerror: The sentence; also ``str(error)``.
        kind: The kind as one word, as ``hal_error_kind_name()`` in C.
        results: Of a batch, one of whose operations failed: the results of those before it, so that
            their number is its index. None: this is no such failure.
    """

    kind: ClassVar[str] = "other"
    results: list[Any] | None = None
    _number: ClassVar[int] = _errno.EIO

    def __init__(self, *args: object) -> None:
        """Take ``(errno, sentence)``, or the sentence alone."""
        if len(args) == 1:
            args = (self._number, args[0])
        super().__init__(*args)

    def __str__(self) -> str:
        return str(self.strerror)


class Unplugged(Error):
    """The device is gone: open it again once it is back."""

    kind = "unplugged"
    _number = _errno.ENODEV


class LinkLost(Error, ConnectionError):
    """The link to a device of another machine is lost; see ``reconnect`` in docs/remote.md."""

    kind = "link-lost"
    _number = _errno.ENOLINK


class Busy(Error):
    """Somebody else holds the device; the sentence says who, where the system shows it."""

    kind = "busy"
    _number = _errno.EBUSY


class PermissionDenied(Error, PermissionError):
    """The rights are missing; the sentence says which."""

    kind = "permission"
    _number = _errno.EACCES


class Timeout(Error, TimeoutError):
    """The timeout passed. What had been read is kept for the next read."""

    kind = "timeout"
    _number = _errno.ETIMEDOUT


class Cancelled(Error):
    """``cancel()`` or ``close()`` ended the wait from elsewhere."""

    kind = "cancelled"
    _number = _errno.ECANCELED


class WouldBlock(Error, BlockingIOError):
    """Nothing could be done at once, and the timeout was 0."""

    kind = "would-block"
    _number = _errno.EAGAIN


class Interrupted(Error, InterruptedError):
    """A signal handler ran. Python retries by itself (PEP 475), so programs rarely see this."""

    kind = "interrupted"
    _number = _errno.EINTR


class ProtocolError(Error):
    """The other side answered wrongly, or did not acknowledge."""

    kind = "protocol"
    _number = _errno.EPROTO


class Unsupported(Error):
    """This device cannot do that."""

    kind = "unsupported"
    _number = _errno.EOPNOTSUPP


class NotFound(Error, FileNotFoundError):
    """No such device, driver or name."""

    kind = "not-found"
    _number = _errno.ENOENT


class NoAttribute(NotFound, KeyError):
    """The device has no attribute of that name; the sentence lists those it has."""

    __str__ = Error.__str__


class Closed(Error):
    """The device was closed."""

    kind = "closed"
    _number = _errno.EBADF


class Forked(Error):
    """The device was opened before ``fork()``, by the parent: open it anew in the child."""

    kind = "forked"
    _number = _errno.ESTALE


class InvalidArgument(Error, ValueError):
    """A wrong argument: the sentence says which, and what would be right."""

    kind = "invalid"
    _number = _errno.EINVAL


BY_KIND: dict[str, type[Error]] = {
    cls.kind: cls
    for cls in (
        Error,
        Unplugged,
        LinkLost,
        Busy,
        PermissionDenied,
        Timeout,
        Cancelled,
        WouldBlock,
        Interrupted,
        ProtocolError,
        Unsupported,
        NotFound,
        Closed,
        Forked,
        InvalidArgument,
    )
}
