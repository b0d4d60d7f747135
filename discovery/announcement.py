# SPDX-License-Identifier: Apache-2.0
"""What a device of ours says of itself on the network."""

from __future__ import annotations

import secrets
from dataclasses import dataclass, field

from .txt import PROTOCOL, DeviceText, canonical


@dataclass(frozen=True, slots=True)
class Announcement:
    """A device as it announces itself, by whichever protocol.

    Attributes:
        id: Its UUID (`device_id.load`).
        port: The TCP port it listens on.
        model: What it is.
        version: Of its software.
        capabilities: What it has: "i2c", "gpio" ...; each 1 to 32 of a-z 0-9 . _ -
        protocol: What it speaks on that port.
        addresses: The addresses it listens on; empty: all of each link.
        boot: 8 hexadecimal digits, made anew by each start of the device.

    Raises:
        ValueError: Something is ill-formed or too long; the text says what.
    """

    id: str
    port: int
    model: str = ""
    version: str = ""
    capabilities: tuple[str, ...] = ()
    protocol: str = PROTOCOL
    addresses: tuple[str, ...] = ()
    boot: str = field(default_factory=lambda: secrets.token_hex(4))

    def __post_init__(self) -> None:
        if not 0 < self.port < 65536:
            raise ValueError(f"port {self.port}: not of 1 .. 65535")
        object.__setattr__(self, "id", canonical(self.id))
        self.text()

    def text(self) -> bytes:
        """Its TXT record (see `txt`), of at most `txt.ANNOUNCED_MAX` bytes."""
        said = DeviceText(
            id=self.id,
            version=self.version,
            protocol=self.protocol,
            model=self.model,
            capabilities=self.capabilities,
            boot=self.boot,
        )
        return said.encode()
