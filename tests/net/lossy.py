# SPDX-License-Identifier: Apache-2.0
"""A cable that loses packets: ``python -m tests.net.lossy PORT PORT LOSS``.

The kernel's own way (sch_netem) is not in every kernel; two packet sockets (packet(7)) are. Frames
go from one port of a switch to the other, but for a part of them by chance.
"""

from __future__ import annotations

import ctypes
import fcntl
import random
import select
import socket
import struct
import sys

ETH_P_ALL = 3  # <linux/if_ether.h>
SIOCETHTOOL = 0x8946  # <linux/sockios.h>
OFFLOADS = (0x17, 0x1F, 0x24, 0x2C)  # <linux/ethtool.h>: STXCSUM, STSO, SGSO, SGRO


def plain(device: str) -> None:
    """Let a host do by itself what it leaves to a network card, which is not there."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_:
        for command in OFFLOADS:
            value = ctypes.create_string_buffer(struct.pack("II", command, 0))
            request = struct.pack("16sP16x", device.encode(), ctypes.addressof(value))
            fcntl.ioctl(any_, SIOCETHTOOL, request)


def _port(name: str) -> socket.socket:
    port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
    port.bind((name, ETH_P_ALL))
    return port


def main() -> None:
    """Carry until killed."""
    one, other, loss = _port(sys.argv[1]), _port(sys.argv[2]), float(sys.argv[3])
    to = {one: other, other: one}
    chance = random.Random(7)
    print("carries", flush=True)
    while True:
        for port in select.select(list(to), [], [])[0]:
            frame, where = port.recvfrom(65536)
            if where[2] != socket.PACKET_OUTGOING and chance.random() >= loss:
                to[port].send(frame)


if __name__ == "__main__":
    main()
