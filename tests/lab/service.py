# SPDX-License-Identifier: Apache-2.0
"""What a guest may ask of its host: the other side of ``guest/host.py``.

Requests come over a virtio-serial port, one JSON object a line::

    {"call": "unplug", "arguments": {"device": "usb0"}}

and each is answered by one line, ``{"result": ...}`` or ``{"error": "why"}``.  Bytes travel in
base64.
"""

from __future__ import annotations

import base64
import json
import threading
from typing import Any

from .chardev import Chardev
from .qmp import Qmp, QmpError, connect
from .vm import Guest


class Service:
    """Answers one guest's requests in a thread of its own until the guest ends."""

    def __init__(self, guest: Guest) -> None:
        """Serve a guest that has been started."""
        self._guest = guest
        self._chardevs: dict[str, Chardev] = {}
        self._qmp: Qmp | None = None
        self._thread = threading.Thread(target=self._serve, name="lab service", daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until all is closed, after the guest's end."""
        self._thread.join()

    def _serve(self) -> None:
        machine = self._guest.machine
        try:
            peer = connect(machine.chardevs["request"], timeout=20)
            with peer, peer.makefile("rw") as port:
                for line in port:
                    port.write(json.dumps(self._answer(line)) + "\n")
                    port.flush()
        except OSError:
            pass  # the guest has ended; whoever waits for it will say how
        finally:
            for chardev in self._chardevs.values():
                chardev.close()
            if self._qmp:
                self._qmp.close()

    def _answer(self, line: str) -> dict[str, Any]:
        """Run one request; whatever goes wrong is the guest's to know."""
        try:
            request = json.loads(line)
            call = getattr(self, "call_" + request["call"])
            return {"result": call(**request["arguments"])}
        except (QmpError, OSError, LookupError, ValueError, TypeError, AttributeError) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _chardev(self, name: str) -> Chardev:
        if name not in self._chardevs:
            self._chardevs[name] = Chardev(self._guest.machine.chardevs[name])
        return self._chardevs[name]

    def _monitor(self) -> Qmp:
        if self._qmp is None:
            self._qmp = self._guest.qmp()
        return self._qmp

    def call_unplug(self, device: str) -> None:
        """Pull a device out."""
        self._monitor().unplug(device)

    def call_plug(self, device: str, properties: dict[str, str]) -> None:
        """Put a device in; without properties, one of the machine's own back."""
        self._monitor().plug(device, **(properties or self._guest.machine.pluggable[device]))

    def call_qmp(self, command: str, arguments: dict[str, Any]) -> Any:
        """Run a command of QEMU's own."""
        return self._monitor()(command, **arguments)

    def call_send(self, chardev: str, data: str) -> None:
        """Send bytes into a serial line."""
        self._chardev(chardev).send(base64.b64decode(data))

    def call_receive(self, chardev: str, size: int, timeout: float) -> str:
        """Give bytes that came out of a serial line."""
        return base64.b64encode(self._chardev(chardev).receive(size, timeout)).decode()

    def call_echo(self, chardev: str, on: bool) -> None:
        """Make a serial line's end send everything back, or not."""
        self._chardev(chardev).echo(on)

    def call_clear(self, chardev: str) -> None:
        """Forget what came out of a serial line."""
        self._chardev(chardev).clear()

    def call_read_file(self, name: str, offset: int, size: int) -> str:
        """Give bytes of the file behind a memory device."""
        with self._guest.machine.files[name].open("rb") as file:
            file.seek(offset)
            return base64.b64encode(file.read(size)).decode()

    def call_write_file(self, name: str, offset: int, data: str) -> None:
        """Change bytes of the file behind a memory device."""
        with self._guest.machine.files[name].open("r+b") as file:
            file.seek(offset)
            file.write(base64.b64decode(data))
