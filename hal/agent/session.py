# SPDX-License-Identifier: Apache-2.0
"""One link of an agent: who is there, what he may do, and which device he gets.

What he does with the device then is answered by `hal._link` (C++); what comes back from there has
to be judged, and is judged here.
"""

from __future__ import annotations

import errno
import struct
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

import hal
from hal.errors import Busy, Error, InvalidArgument, PermissionDenied, ProtocolError
from hal.link import frames
from hal.link.frames import ANSWER, ERROR, HELLO_MAX, Frame, Lane, Reader, Type
from hal.link.token import Judge, Refused, Token

from . import opened
from .audit import Audit, reason_of
from .leases import Lease, Leases, notice
from .peer import Peer

if TYPE_CHECKING:
    from hal._link import Link, Served

VERSION: Final = 1
NOTICE_TOKEN_ENDS: Final = 1
NOTICE_TAKEN: Final = 2
NOTICE_STOPS: Final = 3
NOTICE_GONE: Final = 4
NOTICE_REVOKED: Final = 5
NOTICE_LEASE_ENDS: Final = 6
SHARED: Final = 1
EXCLUSIVE: Final = 2
TAKE_OVER: Final = 1
GRACE: Final = 10.0
"""Seconds after its token's end for which a link may still bring a new one."""
_NEEDS: Final = {
    Type.READ: "r",
    Type.GET: "r",
    Type.LOAD: "r",
    Type.READ_AT: "r",
    Type.CREDIT: "r",
    Type.WRITE: "w",
    Type.SET: "w",
    Type.STORE: "w",
    Type.WRITE_AT: "w",
}
"""What a request needs a right for; every other one needs "rw"."""


class Session:
    """One link, after its handshake. `run` is called once.

    Args:
        link: It.
        peer: Who is there.
        leases: The devices.
        judge: What judges his token.
        own_token: This agent's.
        audit: What is let in and what refused is written there.
    """

    def __init__(
        self,
        link: Link,
        peer: Peer,
        leases: Leases,
        judge: Judge,
        own_token: str,
        audit: Audit,
    ) -> None:
        self.link = link
        self.peer = peer
        self.lease: Lease | None = None
        self._leases = leases
        self._judge = judge
        self._own_token = own_token
        self._audit = audit
        self._token: Token | None = None
        self._warned = False

    @property
    def until(self) -> float:
        """When the token ends, seconds since 1970; 0 before there is one."""
        return self._token.until if self._token else 0.0

    def run(self, until: float) -> None:
        """Answer until the link ends.

        Args:
            until: `time.monotonic` by which HELLO must be done.

        Raises:
            Error: He was not let in, or broke the protocol; he was told.
        """
        try:
            self._hello(until)
            while (frame := self._serve()) is not None:
                self._guarded(frame)
        finally:
            self._leave()

    def notice(self, kind: int, text: str, at: float = 0.0) -> None:
        """Tell him something. Any thread.

        Args:
            kind: One of ``NOTICE_...``.
            text: For people.
            at: Seconds since 1970.
        """
        self.link.write(Type.NOTICE, Lane.NONE, 0, 0, notice(kind, text, at))

    def dismiss(self, kind: int, text: str) -> None:
        """Tell him why, and end the link. Any thread."""
        self.notice(kind, text)
        self.link.end(text)

    def remind(self, now: float, ahead: float) -> None:
        """Look at his token's end; once a second or so, from any thread.

        Args:
            now: Seconds since 1970.
            ahead: Seconds before the end from which he is told.
        """
        if self._token is None:
            return
        if now > self.until + GRACE:
            self.link.end("its token has ended")
        elif now > self.until - ahead and not self._warned:
            self._warned = True
            self.notice(NOTICE_TOKEN_ENDS, "the token ends", self.until)

    # ---- the beginning and the end ------------------------------------------------------------

    def _hello(self, until: float) -> None:
        taken = self.link.read(HELLO_MAX, until)
        if taken is None:
            raise hal.Unplugged(errno.ENODEV, self.link.why)
        frame = _frame(taken)
        if frame.type != Type.HELLO:
            self._refuse(frame, ProtocolError(errno.EPROTO, "the first frame is not HELLO"))
        try:
            self._answer(frame, self._judged(frame))
            self._note("hello")
        except Error as refusal:
            self._refuse(frame, refusal)

    def _judged(self, frame: Frame) -> bytes:
        body = Reader(frame.body)
        lowest, highest = body.take(_U16U16)
        token, _program = body.text(), body.text()
        body.end()
        if not lowest <= VERSION <= highest:
            text = f"this agent speaks version {VERSION}, you {lowest} to {highest}"
            raise Error(errno.EPROTONOSUPPORT, text)
        self._token = self._judge.judge(token, self.peer.certificate)
        head = struct.pack("<HHQQ", VERSION, 0, int(time.time() * 1000), int(self.until * 1000))
        own = frames.text(self._own_token) + frames.text(f"hal-agent {hal.__version__}")
        return head + own

    def _refuse(self, frame: Frame, refusal: Error) -> None:
        self._fail(frame, refusal)
        self.link.end(str(refusal))
        self.link.serve(False, False, 0)  # what he is told goes out
        raise refusal

    def _leave(self) -> None:
        """Give back the lease, or keep it.

        Before the socket is closed: to a controller that has closed the link, the end of this side
        says that the device is free (docs/protocol.md, "Leases").
        """
        lease = self.lease
        if lease is None:
            return
        if self.link.why in _ORDERLY and lease.link is self.link:
            self._leases.release(lease)
        else:
            lease.lost(self.link)
        self._note("released" if lease.why else "lost", detail=lease.why or self.link.why)

    # ---- what has to be judged ----------------------------------------------------------------

    def _serve(self) -> Frame | None:
        taken = self.link.serve(self._may("r"), self._may("w"), self.until)
        return None if taken is None else _frame(taken)

    def _may(self, access: str) -> bool:
        lease, token = self.lease, self._token
        return lease is not None and token is not None and token.allows(lease.name, access)

    def _guarded(self, frame: Frame) -> None:
        try:
            question = _QUESTIONS.get(frame.type)
            if question is None:
                raise self._not_allowed(frame)
            self._answer(frame, question(self, Reader(frame.body), frame))
        except ProtocolError as error:
            self._refuse(frame, error)
        except Error as error:
            event = "busy" if isinstance(error, Busy) else "refused"
            self._note(event, reason_of(error), detail=str(error))
            self._fail(frame, error)

    def _not_allowed(self, frame: Frame) -> PermissionDenied:
        if time.time() > self.until:
            return Refused("expired", "send a new one on this link")
        access = _NEEDS.get(Type(frame.type), "rw")
        name = self.lease.name if self.lease else ""
        return PermissionDenied(errno.EACCES, f'"{name}": the token does not allow "{access}"')

    def _answer(self, frame: Frame, body: bytes) -> None:
        self.link.write(frame.type, frame.lane, ANSWER, frame.id, body)

    def _fail(self, frame: Frame, error: Error) -> None:
        kind = Type.DATA if frame.type == Type.CREDIT else frame.type
        body = struct.pack("<i", error.errno or errno.EIO) + frames.text(str(error))
        self.link.write(kind, frame.lane, ANSWER | ERROR, frame.id, body)

    def _note(self, event: str, reason: str = "", *, detail: str = "", **more: float) -> None:
        lease, token = self.lease, self._token
        self._audit.note(
            event,
            reason,
            detail=detail,
            address=self.peer.address,
            uuid=str(self.peer.identity.id),
            serial=self.peer.serial,
            token=token.id if token else "",
            device=lease.name if lease else "",
            lease=f"{lease.number:x}" if lease else "",
            **more,
        )

    # ---- questions ----------------------------------------------------------------------------

    def _list(self, body: Reader, _frame: Frame) -> bytes:
        body.end()
        token = self._token
        shown = [e for e in self._leases.all() if token and token.allows(e.name, "r")]
        parts = [struct.pack("<H", len(shown))]
        for export in shown:
            kind = EXCLUSIVE if export.exclusive else SHARED if export.leases else 0
            driver = export.uri.partition(":")[0]
            parts += [*map(frames.text, (export.name, driver, export.uri)), bytes([kind])]
            parts.append(frames.text(", ".join(map(str, export.leases))))
        return b"".join(parts)

    def _open(self, body: Reader, frame: Frame) -> bytes:
        self._need_free()
        name = body.text()
        kind, flags, keep, count = body.take(_OPEN)
        options = {body.text(): body.text() for _ in range(count)}
        body.end()
        if kind not in (SHARED, EXCLUSIVE) or flags & ~TAKE_OVER:
            raise InvalidArgument(errno.EINVAL, f'open "{name}": no lease of kind {kind}, {flags}')
        self._need_right(name, take_over=bool(flags & TAKE_OVER), options=bool(options))
        lease = self._leases.lease(
            name,
            self.peer,
            exclusive=kind == EXCLUSIVE,
            options=options,
            keep=keep,
            timeout=frame.timeout,
            take_over=bool(flags & TAKE_OVER),
        )
        try:
            lease.attach(self.link)
            self.link.attach(cast("Served", lease.served))
        except Error:
            self._leases.release(lease, "it was not taken")
            raise
        self.lease = lease
        self._note("open")
        return opened.answer(lease.device, lease.number, lease.secret, lease.keep)

    def _resume(self, body: Reader, _frame: Frame) -> bytes:
        self._need_free()
        number, secret, _position = _RESUME.unpack(body.bytes(_RESUME.size))
        body.end()
        lease = self._leases.resume(number, secret, self.peer.identity.id, self.link)
        self.lease = lease
        self._need_right(lease.name)
        state = self.link.attach(cast("Served", lease.served))
        self._note("resumed")
        return struct.pack("<QIII", *state)

    def _renew(self, body: Reader, _frame: Frame) -> bytes:
        text = body.text()
        body.end()
        self._token = self._judge.judge(text, self.peer.certificate)
        self._warned = False
        self._note("token")
        return struct.pack("<Q", int(self.until * 1000))

    def _need_free(self) -> None:
        if self.lease is not None:
            raise ProtocolError(errno.EPROTO, "a device is open on this link already")

    def _need_right(self, name: str, *, take_over: bool = False, options: bool = False) -> None:
        token = self._token
        if token and take_over and not token.allows(name, "admin"):
            text = f'take over "{name}": the token does not allow "admin"'
        elif token and options and token.allows(name, "r") and not token.allows(name, "w"):
            text = f'open "{name}" with options: the token does not allow "w", to change settings'
        elif token and (token.allows(name, "r") or token.allows(name, "w")):
            return
        else:
            text = f'open "{name}": the token does not allow it'
        raise PermissionDenied(errno.EACCES, text)


_QUESTIONS: Final[dict[int, Callable[[Session, Reader, Frame], bytes]]] = {
    Type.LIST: Session._list,
    Type.OPEN: Session._open,
    Type.RESUME: Session._resume,
    Type.TOKEN: Session._renew,
}
_ORDERLY: Final = frozenset({"the controller has closed it"})
"""Ends of links after which nobody comes back for the lease."""
_U16U16 = struct.Struct("<HH")
_OPEN = struct.Struct("<BBHH")
_RESUME = struct.Struct("<Q16sQ")


def _frame(taken: tuple[int, int, int, int, int, bytes]) -> Frame:
    return Frame(*taken[:5], memoryview(taken[5]))
