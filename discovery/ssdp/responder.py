# SPDX-License-Identifier: Apache-2.0
"""Answers to searches: late enough, not too many, and to nobody who is not on the link.

UPnP Device Architecture (UDA) 2.0, section 1.3.3: a search sent to a group says in MX within how
many seconds to answer, and each device waits for a random part of that, so that they do not answer
all at once; one sent to us alone is answered at once. A search without a valid MX is not answered.

An answer is greater than a search, and UDP senders can be forged. So that nobody is flooded by our
answers: senders are on the link (`transport`), are answered `RATE` searches a second, and not below
port 1024, where services listen that might answer the answer; no more than `PENDING_MAX` searches
wait for their answer. TCPPORT.UPNP.ORG is not followed: nothing connects to where a stranger says.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable

from ..rate import Bucket, Gate
from .advertisement import Advertisement, is_search
from .message import Message
from .transport import Sender, Transport

RATE, BURST = 5, 20
"""Searches a second, and at once, of one sender that are answered."""

TOTAL_RATE, TOTAL_BURST = 100, 200
"""The same of all senders together."""

PENDING_MAX = 64
"""Searches that wait for their answer."""

_LOWEST_PORT = 1024


class Responder:
    """Answers for one device.

    Args:
        transport: By which is answered.
        advertisement: Gives what is said now; None: nothing.
    """

    def __init__(
        self, transport: Transport, advertisement: Callable[[], Advertisement | None]
    ) -> None:
        self._transport = transport
        self._advertisement = advertisement
        self._loop = asyncio.get_running_loop()
        self._senders = Gate(RATE, BURST, self._loop.time)
        self._everything = Bucket(TOTAL_RATE, TOTAL_BURST, self._loop.time())
        self._pending: dict[tuple[str, int, str], asyncio.TimerHandle] = {}
        self.refused = 0

    def __len__(self) -> int:
        return len(self._pending)

    def close(self) -> None:
        """Answer nothing that waits."""
        for timer in self._pending.values():
            timer.cancel()
        self._pending.clear()

    def heard(self, message: Message, sender: Sender) -> None:
        """A message came."""
        advertisement = self._advertisement()
        if advertisement is None or not is_search(message):
            return
        delay = 0.0
        if sender.multicast:
            if message.mx is None:
                return
            delay = random.uniform(0, message.mx)  # noqa: S311 - spreads load
        if not advertisement.sought(message.target):
            return
        key = str(sender), sender.port, message.target
        if key in self._pending:
            return  # The same search, repeated.
        if not self._admitted(sender):
            self.refused += 1
            return
        self._pending[key] = self._loop.call_later(delay, self._answer, key, sender)

    def _admitted(self, sender: Sender) -> bool:
        return (
            sender.port >= _LOWEST_PORT
            and len(self._pending) < PENDING_MAX
            and self._senders.admit(str(sender))
            and self._everything.take(self._loop.time())
        )

    def _answer(self, key: tuple[str, int, str], sender: Sender) -> None:
        del self._pending[key]
        advertisement = self._advertisement()
        link = self._transport.route(sender)
        if advertisement is None or link is None or not advertisement.reachable(link):
            return
        for name in advertisement.sought(key[2]):
            message = advertisement.answer(name, link, self._transport.port(link))
            self._transport.answer(bytes(message), sender)
