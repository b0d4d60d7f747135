# SPDX-License-Identifier: Apache-2.0
"""hal-agent as a process: what its configuration asks for, put together, kept and reloaded."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import errno
import logging
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import hal
from hal.errors import Error, InvalidArgument, NotFound
from hal.link.credentials import Credentials

from . import opened, service
from .audit import Audit
from .config import Announce, Config, is_loopback
from .control import Control
from .leases import Lease, Leases
from .server import Agent

if TYPE_CHECKING:
    from hal.discovery.announce import Announcer
    from hal.discovery.announcement import Announcement

    from .metrics import Metrics

TURN: Final = 0.5
"""Seconds from one look at files, tokens and leases to the next."""
HANGS: Final = 10.0
"""Seconds without a sign of the accepting thread after which the watchdog is not fed any more."""
DAY: Final = 86400.0

log = logging.getLogger("hal.agent")


class Daemon:
    """An agent with all that belongs to it.

    Args:
        path: Of the configuration.
        own: Folder of this device's credentials.
        listen: What the command line says of ``[listen]``: host, port.
        control: Path of the administrator's socket.

    Raises:
        Error: The configuration or the credentials are not in order; the message says what to do.
    """

    def __init__(
        self, path: Path, own: Path, listen: Mapping[str, Any], control: Path | None
    ) -> None:
        self._path = path
        self._over = dict(listen)
        self.config = self._load()
        self._notifier = service.Notifier()
        self._wake = threading.Event()
        self._stopped = self._reload_wanted = False
        self.failed = False
        """Whether it ended because something inside is broken."""
        self._warned = 0.0
        self._voice: _Voice | None = None
        with contextlib.ExitStack() as undo:
            self._metrics = _metrics(self.config)
            if self._metrics is not None:
                undo.callback(self._metrics.close)
            counted = self._metrics.count if self._metrics else _uncounted
            file = self.config.audit.file
            self.audit = undo.enter_context(
                contextlib.closing(Audit(Path(file) if file else None, counted))
            )
            times = self.config.leases
            self.leases = Leases(
                self.config.devices, times.keep, times.longest or None, opened.serve
            )
            self.agent = Agent(
                Credentials(own),
                self.leases,
                (self.config.listen.host, self.config.listen.port),
                sockets=service.sockets(),
                limits=self.config.limits,
                audit=self.audit,
                metrics=self._metrics,
            )
            if self._metrics is not None:
                self._metrics.watch(self.agent)
            if control is not None:
                undo.enter_context(contextlib.closing(Control(control, self._answer)))
            self._undo = undo.pop_all()

    def try_control(self, path: Path) -> None:
        """Let the administrator in by this socket, unless it cannot be had: then it is logged."""
        try:
            self._undo.enter_context(contextlib.closing(Control(path, self._answer)))
        except Error as error:
            log.warning("no way in for `hal-agent leases` and `drop`: %s", error)

    def run(self, ready: Callable[[], None] = lambda: None) -> None:
        """Serve until `stop`. Called once.

        Args:
            ready: Called when it listens.
        """
        steward = threading.Thread(target=self._keep, name="steward")
        voice = self._voice = _Voice(self._announced())
        with self._undo:
            self.audit.note("start", detail=", ".join(self._places()))
            steward.start()
            voice.start()
            self._notifier.ready()
            self._notifier.status(self._status())
            ready()
            try:
                self.agent.serve()
            finally:
                self._stopped = True
                self._wake.set()
                steward.join()
                voice.stop()
                self.audit.note("stop")

    def stop(self) -> None:
        """End `run`; from any thread or signal handler."""
        self._notifier.stopping()
        self.agent.stop()

    def reload(self) -> None:
        """Read the configuration anew, soon; from any thread or signal handler."""
        self._reload_wanted = True
        self._wake.set()

    # ---- meanwhile ----------------------------------------------------------------------------

    def _keep(self) -> None:
        """Tend; without that nothing is served, for revocations would not count any more."""
        try:
            self._tend()
        finally:
            if not self._stopped:
                log.critical("what looks after the links has failed: the agent ends")
                self.failed = True
                self.agent.stop()

    def _tend(self) -> None:
        fed = 0.0
        while not self._stopped:
            if self._reload_wanted:
                self._reload_wanted = False
                self._notifier.reloading()
                self._reload()
                self._notifier.ready()
            try:
                self.agent.tend()
                self.audit.flush()
            except OSError:  # It must go on: leases and revocations depend on it.
                log.exception("tend")
            self._warn()
            now = time.monotonic()
            if now - fed >= min(1.0, (self._notifier.watchdog or 60) / 3):
                fed = now
                if self.agent.responsive(HANGS):
                    self._notifier.alive()
                self._notifier.status(self._status())
            self._wake.wait(TURN)
            self._wake.clear()

    def _reload(self) -> None:
        try:
            self.audit.reopen()
            config = self._load()
        except Error as error:
            log.error("not reloaded, all stays as it was: %s", error)  # noqa: TRY400
            self.audit.note("reload", "failed", detail=str(error))
            return
        times = config.leases
        held = self.leases.configure(config.devices, times.keep, times.longest or None)
        self.agent.limit(config.limits)
        for name in held:
            log.warning("%s is not exported so any more; who holds it goes on", name)
        for section in ("listen", "audit", "metrics", "announce"):
            if getattr(config, section) != getattr(self.config, section):
                log.warning("[%s] has changed: that needs a restart", section)
        self.config = config
        if self._voice is not None:
            self._voice.update(capabilities(config.devices))
        detail = f"{len(config.devices)} devices" + "; held on: " * bool(held) + ", ".join(held)
        self.audit.note("reload", detail=detail)
        log.info("reloaded %s: %s", self._path, detail)

    def _load(self) -> Config:
        config = Config.load(self._path)
        return replace(config, listen=replace(config.listen, **self._over))

    def _warn(self) -> None:
        """Say once a day that the certificate ends soon, or what else is wrong."""
        if time.monotonic() - self._warned < DAY and self._warned:
            return
        self._warned = time.monotonic()
        for finding in _findings(self.agent.credentials):
            log.warning("%s", finding)

    def _status(self) -> str:
        until = self.agent.credentials.certificate.not_valid_after_utc
        links, leases = self.agent.gate.links, len(self.leases.held())
        return (
            f"{', '.join(self._places())}; {links} links, {leases} leases of "
            f"{len(self.config.devices)} devices; certificate until {until:%F}"
        )

    def _places(self) -> list[str]:
        return [f"{host} port {port}" for host, port in self.agent.addresses]

    # ---- announcing ---------------------------------------------------------------------------

    def _announced(self) -> tuple[Announce, Announcement] | None:
        """What is said on the network; nothing when nobody there could come."""
        from hal.discovery.announcement import Announcement

        wanted = self.config.announce
        open_ = [(host, port) for host, port in self.agent.addresses if not is_loopback(host)]
        if not wanted.enabled or not open_:
            return None
        hosts = tuple(host for host, _ in open_)
        every = "::" in hosts or "0.0.0.0" in hosts  # noqa: S104
        said = Announcement(
            str(self.agent.credentials.identity.id),
            port=open_[0][1],
            model=wanted.model,
            version=hal.__version__,
            capabilities=capabilities(self.config.devices),
            addresses=() if every else hosts,
        )
        return wanted, said

    # ---- the administrator --------------------------------------------------------------------

    def _answer(self, question: dict[str, Any]) -> dict[str, Any]:
        if question.get("do") == "leases":
            return {"leases": [plain(lease) for lease in self.leases.held()]}
        if question.get("do") == "drop":
            name = question.get("device")
            if not isinstance(name, str):
                raise InvalidArgument(errno.EINVAL, "drop: which device?")
            dropped = self.leases.drop(name, "taken by the administrator of the machine")
            if not dropped:
                raise NotFound(errno.ENOENT, f'drop "{name}": nobody holds it')
            return {"dropped": [plain(lease) for lease in dropped]}
        raise InvalidArgument(errno.EINVAL, 'there are "leases" and "drop"')


def plain(lease: Lease) -> dict[str, Any]:
    """A lease as plain data."""
    return {
        "device": lease.name,
        "lease": f"{lease.number:x}",
        "holder": str(lease.holder.identity.id),
        "address": lease.holder.address,
        "exclusive": lease.exclusive,
        "since": dt.datetime.fromtimestamp(lease.since, dt.timezone.utc).isoformat(
            timespec="seconds"
        ),
        "kept": lease.kept,
        "keep": lease.keep,
    }


def capabilities(devices: Mapping[str, str]) -> tuple[str, ...]:
    """The kinds of devices that are exported, for announcements: their drivers."""
    return tuple(sorted({uri.partition(":")[0].lower()[:32] for uri in devices.values()}))


def _findings(credentials: Credentials) -> list[str]:
    try:
        return [finding.text for finding in credentials.findings()]
    except Error as error:
        return [str(error)]


def _metrics(config: Config) -> Metrics | None:
    if not config.metrics.port:
        return None
    from .metrics import Metrics

    return Metrics(config.metrics.port)


def _uncounted(_event: str, _reason: str) -> None:
    return


class _Voice:
    """Announces in a thread of its own, or nothing."""

    def __init__(self, what: tuple[Announce, Announcement] | None) -> None:
        self._what = what
        self._loop = asyncio.new_event_loop() if what else None
        self._end = asyncio.Event()
        self._announcer: Announcer | None = None
        self._troubles: dict[tuple[str, str], str] = {}
        self._thread = threading.Thread(target=self._run, name="announce", daemon=True)

    def start(self) -> None:
        """Begin; it takes some seconds."""
        if self._what is not None:
            self._thread.start()

    def update(self, has: tuple[str, ...]) -> None:
        """Say what the device has now."""
        if self._loop is not None and self._announcer is not None and self._what is not None:
            said = replace(self._what[1], capabilities=has)
            asyncio.run_coroutine_threadsafe(self._announcer.update(said), self._loop)

    def stop(self) -> None:
        """Say goodbye."""
        if self._loop is not None:
            self._loop.call_soon_threadsafe(self._end.set)
            self._thread.join(5)

    def _run(self) -> None:
        if self._loop is not None:
            try:
                self._loop.run_until_complete(self._announce())
            except (OSError, ValueError) as error:
                log.warning("announce: %s", error)
            finally:
                self._loop.close()

    def _told(self, by: str, cause: str, where: str) -> None:
        """Log what is wrong with announcing, once for as long as it is."""
        if self._troubles.get((by, where), "") != cause:
            self._troubles[by, where] = cause
            log.info("announce by %s on %s: %s", by, where, cause or "in order again")

    async def _announce(self) -> None:
        from hal.discovery.announce import Announcer

        if self._what is None:
            return
        how, what = self._what
        announcer = Announcer(
            what, how.interfaces or None, protocols=how.protocols, told=self._told
        )
        self._announcer = announcer
        await announcer.start()
        await self._end.wait()
        await announcer.stop()
