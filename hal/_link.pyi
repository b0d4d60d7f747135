# SPDX-License-Identifier: Apache-2.0
"""What an agent does with a link once somebody has judged who is there (C++, ``bindings/link``).

Python judges: who comes in, to which device, with which rights. `Link.serve` then takes requests
and answers them, without the interpreter and its lock, until one comes that has to be judged. The
protocol is in ``docs/protocol.md``. Built where OpenSSL's headers are; otherwise importing fails.
"""

from typing import Final

_Frame = tuple[int, int, int, int, int, bytes]
"""Type, lane, flags, id, wait (ms), body."""

class Context:
    """Keys and rules of a listener, for any number of links at once.

    TLS 1.3 alone, the protocol hal/1 (ALPN, RFC 7301), a controller's certificate of the same
    authority that the list of revoked ones does not have, and no session tickets. The files are
    read once: when they change, make a new one for the links to come.

    Args:
        folder: Has ``key.pem``, ``cert.pem``, ``ca.pem`` and ``crl.pem``.

    Raises:
        InvalidArgument: A file is missing or damaged; the message names it.
    """

    def __init__(self, folder: str) -> None: ...

class Served:
    """A device as its links see it, one after another; it remembers what was done last.

    Args:
        handle: Of the open device, which stays open until `end`.
        memory: Its registers and bytes are there at once: requests need no thread to wait in.
        stream: What it has is pushed on credit.
        attributes: How many of its attributes the other end was told.
        keep: A link may be lost and another take its place, so answers are remembered.
    """

    def __init__(
        self, handle: int, *, memory: bool, stream: bool, attributes: int, keep: bool
    ) -> None: ...
    def end(self) -> None:
        """Cancel what waits and wait for its threads. Any thread, more than once."""

class Link:
    """One link. It has a descriptor of its own for the socket, which the caller may close.

    Args:
        context: Keys and rules.
        fd: A connected TCP socket; it is made not to block.

    Attributes:
        why: Why it has ended; "" while it has not.
        sent: Bytes that went out, without those of TLS.
        received: Bytes that came in, likewise.
        requests: Requests to the device.
        heard: When the last frame came, as `time.monotonic`.
    """

    why: Final[str]
    sent: Final[int]
    received: Final[int]
    requests: Final[int]
    heard: Final[float]

    def __init__(self, context: Context, fd: int) -> None: ...
    def handshake(self, until: float) -> bytes:
        """Let the other end prove itself.

        Args:
            until: `time.monotonic` by which it must be done.

        Returns:
            Its certificate (DER); empty: it has gone without a byte.

        Raises:
            PermissionDenied: It was not let in; OpenSSL's words for why.
            Timeout: It took too long.
            Unplugged: It went away.
        """

    def read(self, most: int, until: float | None) -> _Frame | None:
        """Take a frame, before anything is served.

        Args:
            most: Bytes of the body.
            until: `time.monotonic`; None: no bound.

        Returns:
            The frame; None when the link has ended.

        Raises:
            Timeout: None came.
            ProtocolError: It is none, or too long; the other end was told.
        """

    def write(self, kind: int, lane: int, flags: int, identifier: int, body: bytes) -> None:
        """Send a frame, now or as soon as the link takes it. Any thread."""

    def attach(self, served: Served) -> tuple[int, int, int, int]:
        """Serve this device from now on; a link that did until now is ended.

        Returns:
            Bytes of its stream that were pushed; ids of the last requests that arrived in the lanes
            for reading, writing and control (0: none).

        Raises:
            Timeout: The link that was lost has not let go within 2 s.
        """

    def serve(self, readable: bool, writable: bool, until: float) -> _Frame | None:
        """Answer requests until one comes that has to be judged.

        That is LIST, OPEN, TOKEN and RESUME, and any that the rights do not cover or that comes
        when they are over; it has not been done then, and is the caller's to answer.

        Args:
            readable: Requests that read are answered.
            writable: Requests that change something are.
            until: `time.time` at which the rights end.

        Returns:
            The frame; None when the link has ended, and `why` says why.

        Raises:
            ProtocolError: The other end broke the protocol; it was told, and the link has ended.
        """

    def end(self, why: str) -> None:
        """Send what is queued, for a second at most, and end.

        Any thread; the first reason stays.
        """
