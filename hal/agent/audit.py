# SPDX-License-Identifier: Apache-2.0
r"""The audit log: who came in, who did not and why, who held what; one JSON object a line.

Every line has ``time`` (RFC 3339, UTC, milliseconds) and ``event``; what else is known follows, and
what is not known is left out. Texts are at most `TEXT_MAX` characters and JSON escapes what is not
printable ASCII, so that a name cannot begin a line of its own. Secrets and tokens are never in it,
only a token's id.

A link hands its line to a queue and goes on; one thread writes, at once when it was quiet, else all
that came within `GATHER` seconds together: to wake that thread for each line costs more than the
line does. When the disk stalls for so long that the queue is full, a link waits `PATIENCE` at most,
and a line ``dropped`` later says how many there were. Of refusals of one source and reason no more
than `BURST` are written in `WINDOW` seconds; then one line has ``more``: so many further ones came.
"""

from __future__ import annotations

import datetime as dt
import errno
import functools
import json
import logging
import os
import threading
import time
from collections.abc import Callable
from json.encoder import encode_basestring_ascii as _quoted
from pathlib import Path
from typing import Final

from hal.errors import Error, InvalidArgument, PermissionDenied, ProtocolError, Timeout
from hal.link.token import Refused

EVENTS: Final = {
    "start": "the agent listens",
    "link": "a certificate was proved: the TLS handshake is done",
    "hello": "a token was accepted: requests are answered from now on",
    "refused": "somebody or something was not let in; `reason` says why",
    "looked": "a connection ended without a byte, as discovery looks; counted, never written",
    "open": "a lease was given",
    "busy": "a lease was not given, for somebody has it",
    "taken": "a lease was taken from its holder by an administrator",
    "lost": "a link was lost, and its lease is kept",
    "resumed": "a kept lease got a new link",
    "released": "a lease ended",
    "token": "a new token was accepted on an open link",
    "revoked": "an open link was ended, for its certificate was revoked",
    "ended": "a link ended",
    "reload": "the configuration, certificate or revocations were read anew",
    "dropped": "lines of this log could not be written",
    "stop": "the agent ends",
}
"""Every value of ``event``."""
COUNTED: Final = frozenset({"looked"})
"""Those that have no line: nothing was asked, so nothing was refused."""

REASONS: Final = {
    "no-certificate": "it showed none",
    "expired": "its certificate has ended",
    "not-yet-valid": "its certificate's time has not come",
    "self-signed": "its certificate is not an authority's",
    "other-ca": "its certificate is of another authority",
    "wrong-role": "its certificate is a device's, or is for something else",
    "wrong-name": "its certificate does not have exactly one name of this project",
    "revoked": "its certificate was revoked",
    "no-crl": "this machine has no list of revocations: nobody is let in",
    "old-crl": "this machine's list of revocations is too old: nobody is let in",
    "bad-certificate": "its certificate is refused for another cause; `detail` has OpenSSL's words",
    "old-tls": "it does not speak TLS 1.3",
    "wrong-protocol": "it asked for another protocol than hal/1 (ALPN)",
    "wrong-version": "it speaks other versions of hal/1",
    "not-believed": "it did not believe this agent; `detail` has its alert",
    "garbage": "what it sent is not TLS",
    "http": "it spoke plain HTTP",
    "altered": "its bytes do not decrypt: they are another link's, or were changed on the way",
    "broken-protocol": "it does not keep to hal/1; `detail` says how",
    "too-long": "a frame was longer than is allowed",
    "too-slow": "handshake and HELLO took more than 2 s, or it took nothing in for 10 s",
    "too-many": "there are as many links as are allowed; `detail` says of whom",
    "went-away": "it ended the connection before it was let in",
    "rights": "its token does not allow that",
    "busy": "somebody else has the device",
    "not-found": "there is no such device, or no such lease",
    "token-missing": "it sent no token",
    "token-expired": "its token has ended",
    "token-not-yet-valid": "its token's time has not come: compare the clocks",
    "token-audience": "its token is for another device",
    "token-issuer": "its token is of another authority",
    "token-signature": "its token is not signed by the authority",
    "token-algorithm": "its token is not signed by EdDSA, which alone counts",
    "token-type": "its token is a JWT of another kind",
    "token-binding": "its token is bound to another certificate, or to none",
    "token-subject": "its token is somebody else's",
    "token-malformed": "its token cannot be read, or lacks something",
    "failed": "something else; `detail` says what",
}
"""Every value of ``reason``."""

_OPENSSL: Final = (
    (" alert ", "not-believed"),  # the other end's, about this agent's certificate
    ("certificate has expired", "expired"),
    ("certificate is not yet valid", "not-yet-valid"),
    ("certificate revoked", "revoked"),
    ("unable to get certificate crl", "no-crl"),
    ("crl has expired", "old-crl"),
    ("certificate purpose", "wrong-role"),
    ("self-signed certificate", "self-signed"),
    ("self signed certificate", "self-signed"),
    ("unable to get local issuer", "other-ca"),
    ("unable to get issuer", "other-ca"),
    ("unable to verify the first certificate", "other-ca"),
    ("certificate signature failure", "other-ca"),
    ("did not return a certificate", "no-certificate"),
    ("unsupported protocol", "old-tls"),
    ("no application protocol", "wrong-protocol"),
    ("did not ask for the protocol", "wrong-protocol"),
    ("closed during the handshake", "went-away"),
    ("unexpected eof", "went-away"),
    ("certificate verify failed", "bad-certificate"),
    ("wrong version number", "garbage"),
    ("http request", "http"),
    ("packet length too long", "garbage"),
    ("record layer failure", "garbage"),
    ("unexpected message", "garbage"),
    ("bad record type", "garbage"),
    ("bad record mac", "altered"),
    ("bytes: at most", "too-long"),
)
"""OpenSSL's words (X509_verify_cert_error_string(3), ERR_reason_error_string(3)), and ours."""

_NUMBERS: Final = {
    errno.EPROTONOSUPPORT: "wrong-version",
    errno.EMSGSIZE: "too-long",
    errno.EPROTO: "broken-protocol",
    errno.EBUSY: "busy",
    errno.ENOENT: "not-found",
    errno.ENODEV: "went-away",
    errno.ECONNRESET: "went-away",
    errno.EPIPE: "went-away",
}

TEXT_MAX: Final = 512
QUEUE_MAX: Final = 1024
PATIENCE: Final = 0.1
GATHER: Final = 0.02
BATCH: Final = 64
"""Lines that are written together, at most."""
BURST: Final = 10
WINDOW: Final = 10.0
SOURCES_MAX: Final = 4096
"""Sources and kinds that are counted apart; those beyond count as one."""

_MODE: Final = 0o640

log = logging.getLogger("hal.agent")


def reason_of(error: BaseException) -> str:
    """The word of `REASONS` for what stopped a link."""
    if isinstance(error, Refused):
        return f"token-{error.reason}"
    text = str(error).lower()
    found = next((word for words, word in _OPENSSL if words in text), "")
    if isinstance(error, PermissionDenied):
        return found or "rights"
    if isinstance(error, Timeout):
        return "too-slow"
    if isinstance(error, ValueError) and not isinstance(error, Error):
        return "wrong-name"
    number = error.errno if isinstance(error, OSError) else None
    if isinstance(error, ProtocolError):
        return found or _NUMBERS.get(number or 0, "broken-protocol")
    return _NUMBERS.get(number or 0, "failed")


class Audit:
    """Writes the log. Threads may share it.

    Args:
        path: The file, made 0640 if need be and appended to; None: standard error, which the
            journal takes.
        counted: Told event and reason of every line, also of those that are not written.

    Raises:
        PermissionDenied, InvalidArgument: The file cannot be opened; the message says why.
    """

    def __init__(
        self, path: Path | None, counted: Callable[[str, str], None] = lambda _e, _r: None
    ) -> None:
        self._path = path
        self._counted = counted
        self._descriptor = _open(path)
        self._lock = threading.Lock()
        self._file = threading.Lock()
        self._queue: list[bytes] = []
        self._turn = threading.Condition()  # Over the queue, and the two that follow.
        self._idle = False
        self._closed = threading.Event()
        self._lost = 0
        self._counts: dict[tuple[str, str], _Count] = {}
        self._swept = time.monotonic()
        self._thread = threading.Thread(target=self._write, name="audit", daemon=True)
        self._thread.start()

    def note(
        self,
        event: str,
        reason: str = "",
        *,
        detail: str = "",
        address: str = "",
        uuid: str = "",
        serial: str = "",
        token: str = "",
        device: str = "",
        lease: str = "",
        **more: float,
    ) -> None:
        """Note something.

        Args:
            event: One of `EVENTS`.
            reason: One of `REASONS`; "" where nothing was refused.
            detail: A sentence.
            address: Of the other end.
            uuid: Of the other end, once it has proved it.
            serial: Of its certificate.
            token: Id of its token.
            device: Name of the export.
            lease: Number of the lease; hexadecimal.
            more: Numbers: ``bytes``, ``seconds`` ...
        """
        self._counted(event, reason)
        if event in COUNTED:
            return
        texts = {
            "reason": reason,
            "detail": detail,
            "address": address,
            "uuid": uuid,
            "serial": serial,
            "token": token,
            "device": device,
            "lease": lease,
        }
        said: dict[str, object] = {key: text[:TEXT_MAX] for key, text in texts.items() if text}
        now = time.monotonic()
        with self._lock:
            lines = self._sweep(now)
            if event != "refused" or self._room((address, reason), now):
                lines.append(_line(event, said | more))
        self._put(lines)

    def flush(self, now: float | None = None) -> None:
        """Write the counts of those floods whose time is over; called every second or so."""
        with self._lock:
            lines = self._sweep(time.monotonic() if now is None else now)
            if self._lost and len(self._queue) < QUEUE_MAX:
                lines.append(_line("dropped", {"more": self._lost}))
                self._lost = 0
        self._put(lines)

    def reopen(self) -> None:
        """Go on in a new file of the same name, after the old one was moved (logrotate).

        Raises:
            PermissionDenied, InvalidArgument: It cannot be opened; the old one is written on.
        """
        descriptor = _open(self._path)
        with self._file:
            before, self._descriptor = self._descriptor, descriptor
        _close(before)

    def close(self) -> None:
        """Write what is left, and end."""
        self.flush(float("inf"))
        with self._turn:
            self._closed.set()
            self._turn.notify_all()
        self._thread.join()
        _close(self._descriptor)

    # ---- inside -------------------------------------------------------------------------------

    def _room(self, source: tuple[str, str], now: float) -> bool:
        """Whether this refusal is written, rather than counted; the lock is held."""
        if source not in self._counts and len(self._counts) >= SOURCES_MAX:
            source = ("", source[1])
        count = self._counts.setdefault(source, _Count(now))
        count.seen += 1
        return count.seen <= BURST

    def _sweep(self, now: float) -> list[bytes]:
        """Lines for the floods whose time is over; the lock is held."""
        if now - self._swept < 1:
            return []
        self._swept = min(now, time.monotonic())
        over = {s: c for s, c in self._counts.items() if now - c.begun >= WINDOW}
        lines = []
        for source, count in over.items():
            del self._counts[source]
            address, reason = source
            if count.seen > BURST:
                known = {"address": address} if address else {}
                lines.append(
                    _line("refused", {"reason": reason, **known, "more": count.seen - BURST})
                )
        return lines

    def _put(self, lines: list[bytes]) -> None:
        for done, line in enumerate(lines):
            if not self._queued(line):
                with self._lock:
                    self._lost += len(lines) - done
                return

    def _queued(self, line: bytes) -> bool:
        with self._turn:
            if not self._turn.wait_for(lambda: len(self._queue) < QUEUE_MAX, PATIENCE):
                return False
            self._queue.append(line)
            if self._idle:
                self._turn.notify_all()
            return True

    def _write(self) -> None:
        while lines := self._first():
            self._append(lines)
            if self._done(len(lines)):
                self._closed.wait(GATHER)

    def _first(self) -> list[bytes]:
        """What is to be written next; nothing: this log is closed."""
        with self._turn:
            self._idle = True
            self._turn.wait_for(lambda: self._queue or self._closed.is_set())
            self._idle = False
            return self._queue[:BATCH]

    def _done(self, count: int) -> bool:
        """So many are out. Whether they were all."""
        with self._turn:
            del self._queue[:count]
            self._turn.notify_all()
            return not self._queue

    def _append(self, lines: list[bytes]) -> None:
        whole = b"".join(lines)
        try:
            with self._file:
                done = os.write(self._descriptor, whole)  # In one: those of processes do not mix.
        except OSError as error:
            log.warning("write the audit log: %s", error)
            done = 0
        if done < len(whole):
            with self._lock:
                self._lost += whole.count(b"\n", done)


class _Count:
    """How often one source did one thing of late."""

    __slots__ = ("begun", "seen")

    def __init__(self, begun: float) -> None:
        self.begun = begun
        self.seen = 0


def _line(event: str, fields: dict[str, object]) -> bytes:
    now = time.time()
    said = "".join(f', "{key}": {_json(value)}' for key, value in fields.items())
    head = f'{{"time": "{_second(int(now))}.{int(now % 1 * 1000):03d}Z", "event": "{event}"'
    return f"{head}{said}}}\n".encode()


def _json(value: object) -> str:
    """As json.dumps() does, which takes three times as long for a text."""
    return _quoted(value) if isinstance(value, str) else json.dumps(value)


@functools.lru_cache(1)
def _second(moment: int) -> str:
    return dt.datetime.fromtimestamp(moment, dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%S")


def _open(path: Path | None) -> int:
    if path is None:
        return 2
    flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        return os.open(path, flags, _MODE)
    except PermissionError as error:
        text = f'open the audit log "{path}": {error.strerror}: who runs hal-agent must own it'
        raise PermissionDenied(error.errno, text) from error
    except OSError as error:
        text = f'open the audit log "{path}": {error.strerror}: name a file that can be made'
        raise InvalidArgument(error.errno, text) from error


def _close(descriptor: int) -> None:
    if descriptor != 2:
        os.close(descriptor)
