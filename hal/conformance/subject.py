# SPDX-License-Identifier: Apache-2.0
"""What is tried: a URI, what may be done to it, and what was found out about it."""

from __future__ import annotations

import errno
import itertools
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from hal._abi import lib

from .outcome import NotApplicable
from .peer import EchoPeer
from .raw import NOWAIT, RECORD, Raw, after, last_error, name_of

WAIT = 5.0
"""Seconds after which what ought to come at once is held not to come."""
SOON = 1.0
"""Seconds within which a wait must end; the contract says 50 ms, the rest is for busy machines."""
BEGIN = 0.05
"""Seconds a call in another thread is given to begin to wait."""

HARMLESS = frozenset({"loopback", "sim"})
"""Drivers of devices that are not there: writing to them does nothing to anybody."""


@dataclass(frozen=True)
class Subject:
    """A driver's device.

    Attributes:
        uri: Its URI. ``{n}`` in it is another text at each opening, for devices that cannot be
            opened twice by one name. ``DRIVER:pty`` is a pseudo-terminal made for the test.
        writes: May be written to, and its attributes be changed?
    """

    uri: str
    writes: bool

    @property
    def recorded(self) -> bool:
        """Does it answer nothing but what was recorded? Anything else is a difference to it."""
        return self.uri.startswith("replay:")

    @classmethod
    def of(cls, uri: str, *, writes: bool = False) -> Subject:
        """A URI; devices that are not there may be written to in any case."""
        driver, _, address = uri.partition(":")
        if driver == "rec":
            driver = address.partition(",")[2].partition(":")[0]
        return cls(uri, writes or driver in HARMLESS or is_pty(uri))


def is_pty(uri: str) -> bool:
    """Does the URI ask for a pseudo-terminal?"""
    return uri.partition("?")[0].endswith((":pty", ",uart:pty"))


@dataclass(frozen=True)
class Facts:
    """What the device is like, which decides which checks apply. "" means yes, else why not."""

    no_wait: str
    no_echo: str


@dataclass
class Session:
    """The device, for the time of one check; what it opened is closed at the end.

    Attributes:
        subject: What is tried.
        facts: What it is like.
        uri: Its URI, with the name of the pseudo-terminal in it.
    """

    subject: Subject
    facts: Facts
    uri: str
    _peer: EchoPeer | None = None
    _opened: list[Raw] = field(default_factory=list)

    def next_uri(self) -> str:
        """The URI to open next."""
        return self.uri.replace("{n}", f"{os.getpid()}.{next(_numbers)}")

    def open(self) -> Raw:
        """Open it; closed at the end of the check, unless it is closed before."""
        device = Raw(self.next_uri(), after(WAIT))
        self._opened.append(device)
        return device

    def end(self) -> None:
        """Close what is open."""
        for device in self._opened:
            device.close()  # -EBADF where the check has closed it
        if self._peer:
            self._peer.unplug()

    # ---- what a check needs, else it does not apply --------------------------------------------

    def needs_waits(self) -> None:
        """The check needs a device whose reads wait for data."""
        if self.facts.no_wait:
            raise NotApplicable(self.facts.no_wait)

    def needs_writes(self) -> None:
        """The check writes."""
        if not self.subject.writes:
            raise NotApplicable("it writes to the device: --writes allows that")

    def needs_echo(self) -> None:
        """The check needs a device that gives back what it gets."""
        self.needs_waits()
        self.needs_writes()
        if self.facts.no_echo:
            raise NotApplicable(self.facts.no_echo)

    def unplug(self, device: Raw) -> Callable[[], object]:
        """How to unplug the device; does not apply where that cannot be done."""
        if self._peer:
            return self._peer.unplug
        self.needs_writes()
        for row in device.rows():
            if row.name == "unplugged" and row.writable and row.type == lib.HAL_TYPE_BOOL:
                return lambda: device.set_text("unplugged", "true", after(WAIT))
        raise NotApplicable(
            "it cannot be unplugged from here: no pseudo-terminal, no writable bool attribute "
            '"unplugged"'
        )


_numbers = itertools.count()


@contextmanager
def session(subject: Subject, facts: Facts) -> Iterator[Session]:
    """A session for one check."""
    peer = EchoPeer() if is_pty(subject.uri) else None
    uri = subject.uri.replace(":pty", f":{peer.path}", 1) if peer else subject.uri
    run = Session(subject, facts, uri, peer)
    try:
        yield run
    finally:
        run.end()


def survey(subject: Subject) -> Facts:
    """Find out what the device is like."""
    with session(subject, Facts("", "")) as run:
        device = run.open()
        got = device.read(RECORD, NOWAIT)
        for _ in range(64):  # what had come before we did
            if got.result <= 0:
                break
            got = device.read(RECORD, NOWAIT)
        if got.result != -errno.EAGAIN:
            what = (
                f"reads never wait here: one gave {got.result} bytes at once"
                if got.result >= 0
                else f"it cannot be read: {last_error() or name_of(got.result)}"
            )
            return Facts(what, "nothing comes back: " + what)
        if not subject.writes:
            return Facts("", "nothing was written, to see whether it comes back (--writes)")
        probe = b"does this return"
        sent = device.write(probe, after(SOON))
        back = device.read_exact(len(probe), after(SOON))
        if sent == len(probe) and back.data == probe:
            return Facts("", "")
        why = last_error() if sent < 0 else f"{name_of(back.result)} came"
        return Facts("", f"what is written does not come back: {why}")
