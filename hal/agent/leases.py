# SPDX-License-Identifier: Apache-2.0
"""What an agent exports, and who holds it: leases, which outlive a lost link for a while.

A lease is given (`Leases.lease`), gets the link of its holder (`Lease.attach`), may lose it
(`Lease.lost`), is kept then for as long as was agreed, gets the holder's next link
(`Leases.resume`), and ends: released, taken over by an administrator, or because its time is over
(`Leases.sweep`). Threads may share everything here.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import hmac
import secrets
import struct
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

import hal
from hal.errors import Busy, Error, NotFound
from hal.link import frames

from .peer import Peer

TAKEN, OVER = 2, 6
"""Kinds of NOTICE (docs/protocol.md): an administrator took the lease; its time is over."""
PATIENCE: Final = 5.0
"""Seconds that a resumed lease waits for the link it had to let go of it."""


class Link(Protocol):
    """What a lease needs of a link."""

    def write(self, kind: int, lane: int, flags: int, identifier: int, body: bytes) -> None:
        """Queue a frame."""

    def end(self, why: str) -> None:
        """Send what is queued, then end the link."""


class Served(Protocol):
    """A device as links see it (`hal._link.Served`)."""

    def end(self) -> None:
        """Cancel what waits and let go of the device."""


MakeServed = Callable[[hal.Device, bool], Served]
"""Of an open device; told whether its lease may outlive a link."""


def notice(kind: int, text: str, at: float = 0) -> bytes:
    """The body of a NOTICE.

    Args:
        kind: Which.
        text: For people.
        at: Seconds since 1970; 0: none.
    """
    return struct.pack("<HHQ", kind, 0, int(at * 1000)) + frames.text(text)


@dataclass(slots=True)
class Export:
    """A device that may be used from elsewhere.

    Attributes:
        name: What it is called there.
        uri: What is opened here.
        device: The open device; None while nobody holds it.
        leases: Who holds it.
        options: What it was opened with, besides its URI.
        opening: Held while it is opened or closed.
    """

    name: str
    uri: str
    device: hal.Device | None = None
    leases: list[Lease] = field(default_factory=list)
    options: Mapping[str, str] = field(default_factory=dict)
    opening: threading.Lock = field(default_factory=threading.Lock)

    @property
    def exclusive(self) -> bool:
        """Whether one holder has it for himself."""
        return any(lease.exclusive for lease in self.leases)


class Lease:
    """The use of a device by one controller. Made by `Leases.lease` alone.

    Attributes:
        number: Its number, random, of 64 bits.
        secret: 16 bytes, which the holder must know to resume.
        name: Of the export.
        export: That.
        device: The open device; it stays the agent's.
        served: The device as links see it.
        holder: Who has it.
        exclusive: Whether for himself.
        keep: Seconds that it is kept after its link was lost; as granted.
        since: When it was given, seconds since 1970.
        why: Why it ended; "" while it has not.
    """

    def __init__(
        self,
        leases: Leases,
        export: Export,
        device: hal.Device,
        holder: Peer,
        exclusive: bool,
        keep: int,
        served: Served,
    ) -> None:
        self.number = secrets.randbits(64) or 1
        self.secret = secrets.token_bytes(16)
        self.name = export.name
        self.export = export
        self.device = device
        self.served = served
        self.holder = holder
        self.exclusive = exclusive
        self.keep = keep
        self.since = time.time()
        self.why = ""
        self._leases = leases
        self._begun = time.monotonic()
        self._link: Link | None = None
        self._kept_until: float | None = None

    @property
    def link(self) -> Link | None:
        """The link that uses it; None: it is being given, or kept."""
        return self._link

    @property
    def kept(self) -> bool:
        """Whether its link is lost, and it waits for the next."""
        return self._kept_until is not None

    def attach(self, link: Link) -> None:
        """Say which link uses it.

        Raises:
            Busy: It has ended meanwhile; the message says why.
        """
        with self._leases.changed:
            if self.why:
                raise Busy(errno.EBUSY, f'open "{self.name}": {self.why}')
            self._link, self._kept_until = link, None

    def lost(self, link: Link) -> None:
        """Its link ended without giving it back: keep it for its time; end it if it has none.

        Args:
            link: That link; nothing happens when it is not (any more) this lease's.
        """
        with self._leases.changed:
            if self._link is not link or self.why:
                return
            self._link, self._kept_until = None, time.monotonic() + self.keep
            self._leases.changed.notify_all()
        if not self.keep:
            self._leases.release(self, "its link was lost")

    def over(self, now: float, longest: float | None) -> str:
        """Why it has to end by now; "": it has not."""
        if longest is not None and now - self._begun > longest:
            return f"its time of {longest:g} s is over"
        if self._kept_until is not None and now >= self._kept_until:
            return f"its link was lost more than {self.keep} s ago"
        return ""

    def __str__(self) -> str:
        since = dt.datetime.fromtimestamp(self.since, dt.timezone.utc)
        return f"{self.holder} since {since:%F %T} UTC" + ", whose link is lost" * self.kept


class Leases:
    """The exported devices and their leases.

    Args:
        devices: URI by name.
        keep_max: Most seconds that a lease is kept after its link was lost.
        longest: Seconds after which a lease ends in any case; None: it does not.
        make_served: Makes of an open device what links see of it.

    Attributes:
        changed: Held while leases change; notified when one has lost its link or has ended.
        taken: Told of each lease that was taken from its holder.
    """

    def __init__(
        self,
        devices: Mapping[str, str],
        keep_max: int,
        longest: float | None,
        make_served: MakeServed,
    ) -> None:
        self.changed = threading.Condition(threading.RLock())
        self.taken: Callable[[Lease], None] = lambda _lease: None
        self._make_served = make_served
        self._exports: dict[str, Export] = {}
        self._held: dict[int, Lease] = {}
        self.configure(devices, keep_max, longest)

    def configure(
        self, devices: Mapping[str, str], keep_max: int, longest: float | None
    ) -> list[str]:
        """Export other devices, with other times. Leases that are held go on.

        Returns:
            Names of devices that are held and are not given any more, or are given by another URI
            once they are free.
        """
        with self.changed:
            before, self._exports = self._exports, {}
            self._keep_max, self._longest = keep_max, longest
            for name, uri in devices.items():
                known = before.get(name)
                same = known is not None and known.uri == uri
                self._exports[name] = known if known and same else Export(name, uri)
            gone = [e for e in before.values() if self._exports.get(e.name) is not e]
            return sorted(export.name for export in gone if export.leases)

    # ---- what there is ------------------------------------------------------------------------

    def all(self) -> list[Export]:
        """Every export, by name."""
        with self.changed:
            return sorted(self._exports.values(), key=lambda export: export.name)

    def held(self) -> list[Lease]:
        """Every lease, the oldest first; also of devices that are not exported any more."""
        with self.changed:
            return list(self._held.values())

    def holders(self, name: str) -> list[Lease]:
        """The leases of one device, the oldest first."""
        return [lease for lease in self.held() if lease.name == name]

    # ---- giving -------------------------------------------------------------------------------

    def lease(
        self,
        name: str,
        holder: Peer,
        exclusive: bool,
        options: Mapping[str, str],
        keep: int = 0,
        timeout: float | None = None,
        take_over: bool = False,
    ) -> Lease:
        """Take a device, and open it if nobody has it open. A held device is not waited for.

        Args:
            name: Which.
            holder: Who takes it.
            exclusive: Whether for himself.
            options: Added to its URI; one that is there already must be a setting that can be
                changed. While others hold the device they must be the same.
            keep: Seconds that the lease shall outlive a lost link; it gets `keep_max` at most.
            timeout: Bounds the opening, seconds.
            take_over: End the leases that are in the way. Whoever may do so is the caller's care.

        Returns:
            The lease; give it its link by `Lease.attach`, or `release` it.

        Raises:
            NotFound: No device of that name is exported.
            Busy: Somebody has it for himself, or others have it and it is wanted exclusively, or it
                is open with other options; the message says who holds it since when. What is kept
                for the same controller is not in its way.
            Timeout: Another opening of it took all the time.
            Error: The device could not be opened.
        """
        export = self._export(name)
        with self._opening(export, timeout) as left:
            with self.changed:
                if self._exports.get(name) is not export and not export.leases:
                    raise self._unknown(name)
                in_the_way = self._in_the_way(export, exclusive, options)
                others = [lease for lease in in_the_way if not _left_by(lease, holder)]
                if others and not take_over:
                    raise self._busy(export, others, exclusive)
                for other in in_the_way:
                    anew = other not in others
                    self._drop(other, "opened anew" if anew else f"taken over by {holder}")
            for other in in_the_way:
                _let_go(other, TAKEN)
                if other.export is not export:
                    self._close_if_free(other.export)
            for other in others:
                self.taken(other)
            with self.changed:
                free = not export.leases
            if free:
                _close(export)
            device = export.device or _opened(export.uri, options, left)
            keep = min(keep, self._keep_max)
            try:
                served = self._make_served(device, keep > 0)
            except BaseException:
                if free:
                    device.close()
                raise
            with self.changed:
                export.device, export.options = device, dict(options)
                lease = Lease(self, export, device, holder, exclusive, keep, served)
                export.leases.append(lease)
                self._held[lease.number] = lease
                return lease

    def resume(self, number: int, secret: bytes, peer: uuid.UUID, link: Link) -> Lease:
        """Give a lease whose link was lost the holder's next link.

        A link that it still has, because its loss has not shown yet, is ended before.

        Args:
            number: Of the lease.
            secret: As it was given with it.
            peer: UUID of whoever asks; it must be the holder's.
            link: The next link. It is attached on return.

        Raises:
            NotFound: There is no such lease (any more), or it is another's: which, is not told.
            Busy: The link it has does not end.
        """
        with self.changed:
            lease = self._held.get(number)
            known = lease.secret if lease is not None else bytes(16)
            genuine = hmac.compare_digest(known, secret)
            if lease is None or not genuine or lease.holder.identity.id != peer:
                raise NotFound(errno.ENOENT, "resume: there is no such lease (any more)")
            before = lease.link
        if before is not None:
            before.end("its lease is resumed by another link")
        with self.changed:
            self.changed.wait_for(lambda: lease.kept or lease.why, PATIENCE)
            if lease.why:
                raise NotFound(errno.ENOENT, "resume: there is no such lease (any more)")
            if not lease.kept:
                raise Busy(errno.EBUSY, f'resume "{lease.name}": its link has not ended')
            lease.attach(link)
        return lease

    # ---- ending -------------------------------------------------------------------------------

    def release(self, lease: Lease, why: str = "given back") -> bool:
        """End a lease; the last one of a device closes it.

        Returns:
            Whether it was held until now.
        """
        with self.changed:
            held = self._drop(lease, why)
        if held:
            lease.served.end()
            self._close_if_free(lease.export)
        return held

    def end(self, lease: Lease, kind: int, why: str) -> bool:
        """End a lease, and its link with it.

        Args:
            lease: It.
            kind: Of the NOTICE by which its holder is told.
            why: For him and for the log.

        Returns:
            Whether it was held until now.
        """
        with self.changed:
            held = self._drop(lease, why)
        if held:
            _let_go(lease, kind)
            self._close_if_free(lease.export)
            if kind == TAKEN:
                self.taken(lease)
        return held

    def drop(self, name: str, why: str) -> list[Lease]:
        """End every lease of a device, as taking it over does.

        Returns:
            Those that were ended.
        """
        return [lease for lease in self.holders(name) if self.end(lease, TAKEN, why)]

    def sweep(self, now: float) -> list[Lease]:
        """End the leases whose time is over.

        Args:
            now: `time.monotonic()`.

        Returns:
            Those that were ended; `Lease.why` says why.
        """
        with self.changed:
            longest = self._longest
            over = [(lease, lease.over(now, longest)) for lease in self._held.values()]
        return [lease for lease, why in over if why and self.end(lease, OVER, why)]

    def close(self) -> None:
        """End every lease, as the agent does when it stops; their links are ended before."""
        for lease in self.held():
            self.release(lease, "the agent stops")

    # ---- inside -------------------------------------------------------------------------------

    def _export(self, name: str) -> Export:
        with self.changed:
            export = self._exports.get(name)
            if export is None:
                raise self._unknown(name)
            return export

    def _unknown(self, name: str) -> NotFound:
        names = ", ".join(sorted(self._exports)) or "none"
        text = f'open "{name}": not exported here; exported to you may be: {names}'
        return NotFound(errno.ENOENT, text)

    @contextlib.contextmanager
    def _opening(self, export: Export, timeout: float | None) -> Iterator[float | None]:
        """One at a time opens or closes a device; gives what is left of the timeout."""
        until = None if timeout is None else time.monotonic() + timeout
        if not export.opening.acquire(timeout=-1 if timeout is None else timeout):
            text = f'open "{export.name}": somebody else is opening it, for longer than {timeout} s'
            raise hal.Timeout(errno.ETIMEDOUT, text)
        try:
            yield None if until is None else max(0.0, until - time.monotonic())
        finally:
            export.opening.release()

    def _in_the_way(
        self, export: Export, exclusive: bool, options: Mapping[str, str]
    ) -> list[Lease]:
        """The leases that go with no further one of this kind; `changed` is held."""
        alike = dict(options) == dict(export.options)
        if exclusive or export.exclusive or not alike:
            return self.holders(export.name)
        return [lease for lease in self.holders(export.name) if lease.export is not export]

    @staticmethod
    def _busy(export: Export, leases: list[Lease], exclusive: bool) -> Busy:
        who = ", ".join(str(lease) for lease in leases)
        if exclusive or any(lease.exclusive for lease in leases):
            return Busy(errno.EBUSY, f'open "{export.name}": held by {who}')
        if any(lease.export is not export for lease in leases):
            text = f'open "{export.name}": held by {who}, as it was exported before'
            return Busy(errno.EBUSY, text)
        text = f'open "{export.name}": shared with {who}, who opened it with other options'
        return Busy(errno.EBUSY, text)

    def _drop(self, lease: Lease, why: str) -> bool:
        """Take a lease off the list; `changed` is held."""
        if lease.why:
            return False
        lease.why = why
        del self._held[lease.number]
        lease.export.leases.remove(lease)
        self.changed.notify_all()
        return True

    def _close_if_free(self, export: Export) -> None:
        with self._opening(export, None):
            with self.changed:
                free = not export.leases
            if free:
                _close(export)


def _opened(uri: str, options: Mapping[str, str], timeout: float | None) -> hal.Device:
    """Open an export. What its URI says stays, but for settings: those may be changed anyway."""
    query = uri.partition("?")[2]
    stated = {option.partition("=")[0] for option in query.split("&")}
    more = {key: value for key, value in options.items() if key not in stated}
    device = hal.open(uri, timeout=timeout, **more)
    try:
        for key in options.keys() - more.keys():
            device.attributes[key] = options[key]
    except BaseException:
        device.close()
        raise
    return device


def _left_by(lease: Lease, holder: Peer) -> bool:
    """Whether it is only kept, and for this very controller, which has begun anew instead."""
    return lease.kept and lease.holder.identity.id == holder.identity.id


def _let_go(lease: Lease, kind: int) -> None:
    """Tell the holder, end the link, and take the device from under it."""
    link = lease.link
    if link is not None:
        with contextlib.suppress(Error):  # It has ended by itself.
            link.write(frames.Type.NOTICE, frames.Lane.NONE, 0, 0, notice(kind, lease.why))
        link.end(lease.why)
    lease.served.end()


def _close(export: Export) -> None:
    device, export.device, export.options = export.device, None, {}
    if device is not None:
        device.close()
