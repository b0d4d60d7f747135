# SPDX-License-Identifier: Apache-2.0
"""The device tree: what the firmware told the kernel, or what a compiled file (.dtb) would tell it.

The running machine's tree is a folder of files, /proc/device-tree (Documentation/ABI/testing/
sysfs-firmware-ofw), and is read without any library. Compiled trees and overlays (.dtb, .dtbo) are
read, and merged, by libfdt through its Python binding (pip install "open-autoglm[devicetree]").

Meanings are those of the Devicetree Specification 0.4: "status" 2.3.4, "reg" 2.3.6, aliases 3.3.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import ModuleType
from typing import Any

from .sysfs import printable

SIZE_MAX = 16 << 20
"""Most bytes read of a .dtb file; those of boards have some 100 KiB."""
NODES_MAX = 100_000
DEPTH_MAX = 64
"""Deepest nesting of nodes that is followed."""

_PLACES = ("proc/device-tree", "sys/firmware/devicetree/base")
_CONFIGFS = "sys/kernel/config/device-tree/overlays"


@dataclass(frozen=True)
class TreeNode:
    """A node of the tree.

    Attributes:
        path: "/soc/i2c@7e804000".
        properties: Values as they are in the tree: cells are big-endian, texts end with a zero.
        parent: The node above; None for the root.
    """

    path: str
    properties: Mapping[str, bytes] = field(repr=False)
    parent: TreeNode | None = field(default=None, repr=False, compare=False)

    @property
    def name(self) -> str:
        """The last part of the path, "i2c@7e804000"; "/" for the root."""
        return self.path.rpartition("/")[2] or "/"

    @property
    def compatible(self) -> tuple[str, ...]:
        """What the device is, the most exact first."""
        return self.strings("compatible")

    @property
    def status(self) -> str:
        """The node's own "status"; a node without one is "okay"."""
        return self.text("status") or "okay"

    @property
    def okay(self) -> bool:
        """Is the node itself in use? "ok" is an old spelling that the kernel takes too."""
        return self.status in ("okay", "ok")

    @property
    def phandle(self) -> int:
        """The number by which other nodes refer to it; 0 when none does."""
        return next(iter(self.cells("phandle") or self.cells("linux,phandle")), 0)

    @cached_property
    def reg(self) -> tuple[tuple[int, int], ...]:
        """Addresses on the bus above, each with its size (0 where addresses have none)."""
        above = self.parent.properties if self.parent else {}
        width = _cell(above.get("#address-cells"), 2)
        length = _cell(above.get("#size-cells"), 1)
        cells = self.cells("reg")
        step = width + length
        if width > 4 or length > 4 or not step or len(cells) % step:
            return ()
        starts = range(0, len(cells), step)
        return tuple(
            (_number(cells[i : i + width]), _number(cells[i + width : i + step])) for i in starts
        )

    def text(self, name: str) -> str:
        """A property that is one text; "" when there is none."""
        return next(iter(self.strings(name)), "")

    def strings(self, name: str) -> tuple[str, ...]:
        """A property that is a list of texts."""
        value = self.properties.get(name, b"")
        return tuple(printable(part.decode("utf-8", "replace")) for part in _split(value))

    def cells(self, name: str) -> tuple[int, ...]:
        """A property that is a list of 32-bit numbers; empty when it is none."""
        value = self.properties.get(name, b"")
        return struct.unpack(f">{len(value) // 4}I", value) if len(value) % 4 == 0 else ()


class DeviceTree:
    """A whole tree.

    Attributes:
        source: Where it was read from.
        nodes: All nodes by path, parents before children.
        overlays: What was merged into it, as far as that can be told: files, or the kernel's list.
    """

    def __init__(
        self, source: str, nodes: Mapping[str, TreeNode], overlays: Sequence[str] = ()
    ) -> None:
        self.source = source
        self.nodes = nodes
        self.overlays = tuple(overlays)

    def __repr__(self) -> str:
        return f"<DeviceTree {self.source}: {self.model}, {len(self.nodes)} nodes>"

    def __iter__(self) -> Iterator[TreeNode]:
        return iter(self.nodes.values())

    @property
    def root(self) -> TreeNode:
        """The root node."""
        return self.nodes["/"]

    @property
    def model(self) -> str:
        """The board's name."""
        return self.root.text("model")

    @cached_property
    def aliases(self) -> Mapping[str, str]:
        """Short names and the paths they stand for: "serial0"."""
        return self._names("/aliases")

    @cached_property
    def symbols(self) -> Mapping[str, str]:
        """Labels of the source, where the compiler kept them (dtc -@), and their paths."""
        return self._names("/__symbols__")

    def find(self, name: str) -> TreeNode:
        """A node by its path, alias or label ("/soc/i2c@7e804000", "i2c1", "&i2c1").

        Raises:
            KeyError: None is called so.
        """
        plain = name.removeprefix("&")
        path = self.aliases.get(plain) or self.symbols.get(plain) or plain
        try:
            return self.nodes[path]
        except KeyError:
            raise KeyError(f'find "{name}" in {self.source}: no node, alias or label') from None

    def by_phandle(self, number: int) -> TreeNode | None:
        """The node that others refer to by a number."""
        return self._phandles.get(number)

    def compatible(self, name: str) -> list[TreeNode]:
        """The nodes that say they are compatible with something."""
        return [node for node in self if name in node.compatible]

    def names(self, node: TreeNode) -> list[str]:
        """The aliases and labels of a node."""
        every = [*self.aliases.items(), *self.symbols.items()]
        return list(dict.fromkeys(name for name, path in every if path == node.path))

    def disabled(self) -> list[TreeNode]:
        """Devices that are described and not in use, the topmost of each branch."""
        return [
            node
            for node in self
            if not node.okay and node.compatible and not self._blocked(node.parent)
        ]

    def _blocked(self, node: TreeNode | None) -> bool:
        while node is not None:
            if not node.okay:
                return True
            node = node.parent
        return False

    def explain(self, node: TreeNode) -> tuple[str, list[str]]:
        """Why the kernel does not have a node's device, and what to do.

        Returns:
            The reason, "" when the tree does not stand in the way; and steps for people.
        """
        above: TreeNode | None = node
        while above is not None and above.okay:
            above = above.parent
        if above is None:
            return "", []
        text = f'{above.name} is {_meaning(above.status)} in the device tree: status = "'
        return f'{text}{above.status}"', self._remedy(above)

    def _remedy(self, node: TreeNode) -> list[str]:
        place = "in /boot/firmware/config.txt, then reboot"
        steps = [f"dtparam={name}=on    # {place}" for name in self._parameters(node)]
        if not steps and self.root.text("compatible").startswith("nvidia,"):
            steps.append("sudo /opt/nvidia/jetson-io/jetson-io.py    # then reboot")
        label = next(iter(n for n in self.names(node) if n in self.symbols), "")
        target = f"&{label}" if label else f"&{{{node.path}}}"
        return [*steps, f'an overlay with: {target} {{ status = "okay"; }};']

    def _parameters(self, node: TreeNode) -> list[str]:
        """Boot parameters that switch a node on.

        The Raspberry Pi's firmware has them in /__overrides__: a phandle, then the property.
        """
        overrides = self.nodes.get("/__overrides__")
        if overrides is None or not node.phandle:
            return []
        start = struct.pack(">I", node.phandle) + b"status\0"
        return sorted(name for name, value in overrides.properties.items() if start in value)

    def _names(self, path: str) -> Mapping[str, str]:
        node = self.nodes.get(path)
        if node is None:
            return {}
        return {name: node.text(name) for name in node.properties if node.text(name)[:1] == "/"}

    @cached_property
    def _phandles(self) -> Mapping[int, TreeNode]:
        return {node.phandle: node for node in self if node.phandle}


def device_tree(
    path: str | None = None, overlays: Sequence[str] = (), *, root: str = "/"
) -> DeviceTree | None:
    """Read a device tree.

    Args:
        path: A folder like /proc/device-tree, or a compiled file; None: that of the machine.
        overlays: Compiled overlays (.dtbo) to merge into a compiled file, in this order.
        root: Where the machine's root is, when no path is given.

    Returns:
        The tree; None when no path is given and the machine has none (a PC).

    Raises:
        ImportError: A compiled file is to be read and libfdt is not installed; says what to type.
        OSError: It cannot be read.
        ValueError: It is no device tree, or an overlay does not fit it; says why.
    """
    if path is None:
        places = [os.path.join(root, place) for place in _PLACES]
        path = next(filter(os.path.isdir, places), None)
        if path is None:
            return None
    if os.path.isdir(path):
        if overlays:
            raise ValueError(f'merge into "{path}": overlays go into a compiled tree (.dtb)')
        return DeviceTree(path, _from_folder(path), _applied(root))
    return _compiled(path, overlays)


def disabled_names(root: str = "/") -> list[str]:
    """Names of the machine's nodes that are described and not in use, without reading the rest.

    Args:
        root: Where the machine's root is.
    """
    places = [os.path.join(root, place) for place in _PLACES]
    base = next(filter(os.path.isdir, places), None)
    return list(_disabled_below(base)) if base else []


def _disabled_below(folder: str) -> Iterator[str]:
    try:
        entries = list(os.scandir(folder))
    except OSError:  # An overlay was taken back meanwhile.
        return
    files = {entry.name for entry in entries if not entry.is_dir(follow_symlinks=False)}
    if "status" in files and _content(f"{folder}/status") not in (b"okay\0", b"ok\0"):
        if "compatible" in files:
            yield os.path.basename(folder)
        return
    for entry in sorted(entries, key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            yield from _disabled_below(entry.path)


# ---- a folder of files -------------------------------------------------------------------------


def _from_folder(base: str) -> dict[str, TreeNode]:
    nodes: dict[str, TreeNode] = {}
    _read_folder(base, "/", None, nodes)
    return nodes


def _read_folder(base: str, path: str, parent: TreeNode | None, nodes: dict[str, TreeNode]) -> None:
    folder, properties = base + path, {}
    below = []
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir(follow_symlinks=False):
            below.append(entry.name)
        else:
            properties[entry.name] = _content(entry.path)
    node = nodes[path] = TreeNode(path, properties, parent)
    for name in below:
        _read_folder(base, f"{path.rstrip('/')}/{name}", node, nodes)


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read(SIZE_MAX)
    except PermissionError:  # Some are for root alone, as the serial number of some boards.
        return b""


def _applied(root: str) -> list[str]:
    """Overlays that the kernel has been given at run time, where it offers that (configfs)."""
    folder = os.path.join(root, _CONFIGFS)
    try:
        return sorted(name for name in os.listdir(folder) if _is_applied(f"{folder}/{name}"))
    except OSError:  # Most kernels do not.
        return []


def _is_applied(folder: str) -> bool:
    try:
        with open(f"{folder}/status", encoding="ascii", errors="replace") as file:
            return file.read().strip() == "applied"
    except OSError:
        return False


# ---- compiled trees ----------------------------------------------------------------------------


def _compiled(path: str, overlays: Sequence[str]) -> DeviceTree:
    fdt = _libfdt()
    blob = _blob(fdt, path)
    for overlay in overlays:
        blob = _merged(fdt, path, blob, overlay)
    return DeviceTree(path, _walk(fdt, path, blob), overlays)


def _libfdt() -> ModuleType:
    try:
        import libfdt
    except ImportError as error:
        raise ImportError(
            "compiled device trees are read by libfdt, which is not installed: "
            'pip install "open-autoglm[devicetree]"'
        ) from error
    module: ModuleType = libfdt
    return module


def _blob(fdt: ModuleType, path: str) -> bytearray:
    """A compiled tree that libfdt has found to be sound in every part."""
    size = os.stat(path).st_size
    if size > SIZE_MAX:
        raise ValueError(f'read "{path}": {size} bytes, a device tree has {SIZE_MAX} at most')
    with open(path, "rb") as file:
        blob = bytearray(file.read(SIZE_MAX))
    _sound(fdt, path, blob)
    return blob


def _sound(fdt: ModuleType, path: str, blob: bytearray) -> None:
    error = fdt.fdt_check_full(blob, len(blob)) if len(blob) >= 40 else -fdt.TRUNCATED
    if error < 0:
        raise ValueError(f'read "{path}": no device tree ({fdt.fdt_strerror(error)})')


def _merged(fdt: ModuleType, path: str, blob: bytearray, overlay: str) -> bytearray:
    """The tree with an overlay merged into it. What is given stays as it is."""
    addition = _blob(fdt, overlay)
    tree = fdt.Fdt(blob)
    tree.resize(len(blob) + 2 * len(addition) + 1024)
    merged = tree.as_bytearray()
    error = fdt.fdt_overlay_apply(merged, addition)
    if error < 0:
        lacking = _lacking(fdt, path, blob, overlay)
        why = lacking or fdt.fdt_strerror(error)
        raise ValueError(f'merge "{overlay}" into "{path}": {why}')
    return bytearray(merged)


def _lacking(fdt: ModuleType, path: str, blob: bytearray, overlay: str) -> str:
    """The labels that an overlay refers to and the tree has not; "" when it has them all."""
    labels = DeviceTree(path, _walk(fdt, path, blob)).symbols
    fixups = _walk(fdt, overlay, _blob(fdt, overlay)).get("/__fixups__")
    missing = [name for name in fixups.properties if name not in labels] if fixups else []
    if not missing:
        return ""
    hint = "" if labels else "; it was compiled without labels (dtc -@)"
    return f"it has no label {', '.join(missing)}{hint}"


def _walk(fdt: ModuleType, path: str, blob: bytearray) -> dict[str, TreeNode]:
    tree = fdt.FdtRo(blob)
    nodes: dict[str, TreeNode] = {}
    line: list[TreeNode] = []
    offset, depth = 0, 0
    while offset >= 0 and depth >= 0:
        name = printable(tree.get_name(offset)) if depth else ""
        if depth >= DEPTH_MAX or len(nodes) >= NODES_MAX:
            limits = f"nested deeper than {DEPTH_MAX}, or over {NODES_MAX} nodes"
            raise ValueError(f'read "{path}": {limits}')
        del line[depth:]
        above = line[-1] if line else None
        where = f"{above.path.rstrip('/')}/{name}" if above else "/"
        line.append(TreeNode(where, _properties(tree, fdt, path, offset), above))
        nodes[where] = line[-1]
        offset, depth = tree.next_node(offset, depth, [fdt.NOTFOUND])
    return nodes


def _properties(tree: Any, fdt: ModuleType, path: str, node: int) -> dict[str, bytes]:
    found = {}
    offset = tree.first_property_offset(node, [fdt.NOTFOUND])
    while offset >= 0:
        try:
            one = tree.get_property_by_offset(offset)
        except SystemError:  # what libfdt's binding makes of a name that it cannot decode
            raise ValueError(f'read "{path}": a property whose name is not ASCII') from None
        found[printable(one.name)] = bytes(one)
        offset = tree.next_property_offset(offset, [fdt.NOTFOUND])
    return found


# ---- values ------------------------------------------------------------------------------------


def _meaning(status: str) -> str:
    if status in ("disabled", "reserved"):
        return status
    return "said to have failed" if status.startswith("fail") else "not in use"


def _split(value: bytes) -> list[bytes]:
    return value.removesuffix(b"\0").split(b"\0") if value else []


def _cell(value: bytes | None, default: int) -> int:
    return int.from_bytes(value, "big") if value and len(value) == 4 else default


def _number(cells: Sequence[int]) -> int:
    number = 0
    for cell in cells:
        number = number << 32 | cell
    return number
