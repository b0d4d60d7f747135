# SPDX-License-Identifier: Apache-2.0
"""The ELF kernel inside an x86 bzImage.

QEMU starts an ELF kernel by PVH at once; a bzImage would first unpack itself under emulation, which
takes longer than all the rest of the boot.  The layout is that of the kernel's
Documentation/x86/boot.rst (setup_sects, payload_offset, payload_length).
"""

from __future__ import annotations

import lzma
import struct
import subprocess
import zlib
from pathlib import Path


def unpack(image: Path) -> bytes:
    """Give the uncompressed kernel of a bzImage.

    Raises:
        ValueError: the file is no bzImage, or is packed in a way not known here.
    """
    data = image.read_bytes()
    if data[0x202:0x206] != b"HdrS":
        raise ValueError(f'unpack "{image}": not a bzImage')
    sectors = data[0x1F1] or 4
    offset, length = struct.unpack_from("<II", data, 0x248)
    start = (sectors + 1) * 512 + offset
    payload = data[start : start + length]
    if payload.startswith(b"\xfd7zXZ\0"):
        return lzma.LZMADecompressor().decompress(payload)
    if payload.startswith(b"\x1f\x8b"):
        return zlib.decompressobj(31).decompress(payload)
    if payload.startswith(b"\x28\xb5\x2f\xfd"):
        size = 4  # of the size behind it, which zstd would take for another frame
        return subprocess.check_output(["zstd", "-dcq"], input=payload[:-size])
    raise ValueError(f'unpack "{image}": packed in an unknown way ({payload[:6].hex()})')
