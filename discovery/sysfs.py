# SPDX-License-Identifier: Apache-2.0
"""The kernel's devices, read from sysfs (kernel documentation: admin-guide/sysfs-rules.rst).

Only files below /sys are read, never a device node, so looking disturbs nothing.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from functools import cached_property

ATTRIBUTE_MAX = 4096
"""Most bytes read of one attribute: sysfs gives one page."""


def printable(text: str) -> str:
    """`text` with control characters spelt out: names come from devices and may hold anything."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)


def natural(text: str) -> list[str | int]:
    """Sort key that puts "tty2" before "tty10"."""
    parts = re.split(r"(\d+)", text)
    return [int(part) if index % 2 else part for index, part in enumerate(parts)]


class Node:
    """One device folder of sysfs.

    Attributes:
        tree: The sysfs it belongs to.
        path: Its folder, links resolved.
    """

    def __init__(self, tree: Sysfs, path: str) -> None:
        self.tree = tree
        self.path = path

    def __repr__(self) -> str:
        return f"<Node {self.devpath}>"

    @property
    def name(self) -> str:
        """The kernel's name, which may hold a '/' (written as '!' in the folder's name)."""
        return os.path.basename(self.path).replace("!", "/")

    @property
    def devpath(self) -> str:
        """The folder below /sys: "/devices/pci0000:00/..."."""
        return self.path[len(self.tree.sys) :]

    @cached_property
    def subsystem(self) -> str:
        """Bus or class, "" for a folder that only groups others."""
        return self.link("subsystem")

    @property
    def driver(self) -> str:
        """The kernel driver that is bound, "" when none is."""
        return self.link("driver")

    @cached_property
    def properties(self) -> dict[str, str]:
        """What the kernel's uevent says, and udev's database where there is one."""
        return self.tree.properties(self.path)

    @property
    def devnode(self) -> str:
        """The device node, "/dev/ttyS0"; "" when there is none."""
        name = self.properties.get("DEVNAME", "")
        return name if not name or name.startswith("/") else f"/dev/{name}"

    def link(self, name: str) -> str:
        """Last part of where a link points, "" when there is no such link."""
        try:
            return os.path.basename(os.readlink(f"{self.path}/{name}"))
        except OSError:
            return ""

    def target(self, name: str) -> str:
        """The folder that a link leads to, "" when there is no such link."""
        path = f"{self.path}/{name}"
        return os.path.realpath(path) if os.path.islink(path) else ""

    def attr(self, name: str) -> str:
        """An attribute's text, "" when the kernel has none or does not tell."""
        return self.tree.read(f"{self.path}/{name}")

    def raw(self, name: str) -> bytes:
        """An attribute that is no text, b"" when there is none."""
        try:
            with open(f"{self.path}/{name}", "rb", buffering=0) as file:
                return file.read(ATTRIBUTE_MAX)
        except OSError:
            return b""

    def integer(self, name: str) -> int | None:
        """An attribute that is a number (decimal or 0x...), None when it is not one."""
        try:
            return int(self.attr(name), 0)
        except ValueError:
            return None

    def names(self, folder: str = ".") -> list[str]:
        """What a folder of the device holds, in natural order; empty when it is not there."""
        try:
            return sorted(os.listdir(f"{self.path}/{folder}"), key=natural)
        except OSError:
            return []

    @cached_property
    def parent(self) -> Node | None:
        """The device above."""
        folder = os.path.dirname(self.path)
        while len(folder) > len(self.tree.sys) + len("/devices"):
            if os.path.exists(f"{folder}/uevent"):
                return self.tree.node(folder)
            folder = os.path.dirname(folder)
        return None

    def line(self) -> Iterator[Node]:
        """The device, the one above it, and so on up to the root."""
        node: Node | None = self
        while node is not None:
            yield node
            node = node.parent


class Sysfs:
    """All devices of a machine, from sysfs alone.

    Args:
        root: Where the machine's root is; another than "/" reads a copied or made-up machine.
    """

    def __init__(self, root: str = "/") -> None:
        self.root = os.path.realpath(root).rstrip("/")
        self.sys = f"{self.root}/sys"
        self._nodes: dict[str, Node] = {}

    def node(self, path: str) -> Node:
        """The device whose folder is `path`, the same object each time."""
        return self._nodes.setdefault(path, Node(self, path))

    def folders(self, subsystem: str) -> list[str]:
        """Where the kernel lists the devices of a bus or class; empty: it has no such one."""
        places = (f"{self.sys}/bus/{subsystem}/devices", f"{self.sys}/class/{subsystem}")
        return [place for place in places if os.path.isdir(place)]

    def nodes(self, subsystem: str) -> Iterable[Node]:
        """The devices of a bus or class."""
        for folder in self.folders(subsystem):
            for name in sorted(os.listdir(folder), key=natural):
                path = os.path.realpath(f"{folder}/{name}")
                if os.path.exists(f"{path}/uevent"):
                    yield self.node(path)

    def properties(self, path: str) -> dict[str, str]:
        """The KEY=value lines of a device's uevent file."""
        lines = self.read(f"{path}/uevent", keep_lines=True).splitlines()
        return dict(line.split("=", 1) for line in lines if "=" in line)

    def read(self, path: str, *, keep_lines: bool = False) -> str:
        """A small file's text, "" when it is not there or the kernel does not tell."""
        try:
            with open(path, "rb", buffering=0) as file:
                text = file.read(ATTRIBUTE_MAX).decode("utf-8", "replace").strip("\0\n ")
        except OSError:
            return ""
        if keep_lines:
            return "\n".join(printable(line) for line in text.split("\n"))
        return printable(text.replace("\n", " "))
