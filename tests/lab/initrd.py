# SPDX-License-Identifier: Apache-2.0
"""The initial RAM disk of a guest: a static busybox, the modules that reach the root, one script.

The script mounts the root folder over 9p, read-only, lays a RAM disk over it for whatever the guest
writes, mounts the exchange folder at /run/lab and the kernel's modules, and starts /run/lab/start.
"""

from __future__ import annotations

import lzma
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path

MODULES = ("virtio_pci", "9pnet_virtio", "9p", "overlay")
"""What mounting the root needs; the modules these need in turn are found in modules.dep."""

_INIT = """\
#!/bin/busybox sh
bb=/bin/busybox
$bb mount -t proc proc /proc
$bb mount -t sysfs sysfs /sys
$bb mount -t devtmpfs devtmpfs /dev
for module in $($bb cat /order); do $bb insmod /mod/$module; done
share() { $bb mount -t 9p -o trans=virtio,version=9p2000.L,msize=512000,$1 $2 $3; }
share ro,cache=loose root /lower
$bb mount -t tmpfs tmpfs /upper
$bb mkdir /upper/files /upper/work
$bb mount -t overlay -o lowerdir=/lower,upperdir=/upper/files,workdir=/upper/work overlay /newroot
for folder in proc sys dev; do $bb mount --move /$folder /newroot/$folder; done
$bb mount -t tmpfs tmpfs /newroot/run
$bb mkdir -p /newroot/run/lab /newroot/dev/pts /newroot/dev/shm /newroot/lib/modules
$bb mount -t devpts devpts /newroot/dev/pts
$bb mount -t tmpfs tmpfs /newroot/dev/shm
$bb mount -t tmpfs tmpfs /newroot/lib/modules
$bb mkdir /newroot/lib/modules/$($bb uname -r)
share ro,cache=loose modules /newroot/lib/modules/$($bb uname -r)
share rw exchange /newroot/run/lab
exec $bb switch_root /newroot /bin/bash /run/lab/start
"""

Entry = tuple[str, int, bytes]
"""Name, mode and contents of one file in the archive."""


def _modules(tree: Path, wanted: Iterable[str]) -> list[Path]:
    """Give the files of the wanted modules, each after those it depends on."""
    needs: dict[str, list[str]] = {}
    for line in (tree / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    paths = {Path(path).name.split(".")[0].replace("-", "_"): path for path in needs}
    order: dict[str, None] = {}
    for name in wanted:
        if name in paths:  # if not, it is built in
            order |= dict.fromkeys([*reversed(needs[paths[name]]), paths[name]])
    return [tree / path for path in order]


def _cpio(entries: Iterable[Entry]) -> Iterator[bytes]:
    """Give an archive in the "newc" format (the kernel's buffer-format.rst), piece by piece."""

    def padded(data: bytes) -> bytes:
        return data + b"\0" * (-len(data) % 4)

    for inode, (name, mode, data) in enumerate([*entries, ("TRAILER!!!", 0, b"")], 1):
        fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08X" % field for field in fields)
        yield padded(head + name.encode() + b"\0")
        yield padded(data)


def build(modules: Path, busybox: Path) -> bytes:
    """Give the archive.

    Args:
        modules: a kernel's module tree (``/lib/modules/RELEASE``) with its ``modules.dep``.
        busybox: a statically linked busybox for the guest's architecture.
    """
    file, program, folder = (stat.S_IFREG | 0o644, stat.S_IFREG | 0o755, stat.S_IFDIR | 0o755)
    names = ("bin", "dev", "proc", "sys", "mod", "lower", "upper", "newroot")
    entries: list[Entry] = [(name, folder, b"") for name in names]
    loaded = []
    for path in _modules(modules, MODULES):
        data, name = path.read_bytes(), path.name
        if name.endswith(".xz"):
            data, name = lzma.decompress(data), name[:-3]
        loaded.append(name)
        entries.append((f"mod/{name}", file, data))
    entries.append(("order", file, "\n".join(loaded).encode()))
    entries.append(("bin/busybox", program, busybox.read_bytes()))
    entries.append(("init", program, _INIT.encode()))
    return b"".join(_cpio(entries))
