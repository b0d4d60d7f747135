# SPDX-License-Identifier: Apache-2.0
"""Names of vendors and products, from the pci.ids and usb.ids files of the system.

The format is that of https://pci-ids.ucw.cz: a vendor's line begins with its four hexadecimal
digits, its products follow, each after one tab.
"""

from __future__ import annotations

import re

_VENDOR = re.compile(rb"\n[^\t#\n]")
FOLDERS = ("usr/share/misc", "usr/share/hwdata", "var/lib/usbutils", "usr/share")


class Names:
    """One id file.

    Args:
        root: Where the machine's root is.
        file: "pci.ids" or "usb.ids". Where there is none, every name is "".
    """

    def __init__(self, root: str, file: str) -> None:
        self._paths = [f"{root}/{folder}/{file}" for folder in FOLDERS]
        self._text: bytes | None = None
        self._known: dict[tuple[int, int], tuple[str, str]] = {}

    @property
    def missing(self) -> bool:
        """Has a name been asked for, and there is no file?"""
        return self._text == b""

    def lookup(self, vendor: int, product: int) -> tuple[str, str]:
        """Names of vendor and product, "" for one that is not listed."""
        known = self._known.get((vendor, product))
        if known is None:
            known = self._known[vendor, product] = self._find(vendor, product)
        return known

    def _find(self, vendor: int, product: int) -> tuple[str, str]:
        text = self._load()
        head = text.find(b"\n%04x  " % vendor)
        if head < 0:
            return "", ""
        first = text.find(b"\n", head + 1)
        following = _VENDOR.search(text, first)
        end = following.start() if following else len(text)
        key = b"\n\t%04x  " % product
        found = text.find(key, first, end)
        model = text[found + len(key) : text.find(b"\n", found + 1)] if found >= 0 else b""
        name = text[head + len(b"\nvvvv  ") : first]
        return name.decode("utf-8", "replace"), model.decode("utf-8", "replace")

    def _load(self) -> bytes:
        if self._text is None:
            self._text = next(filter(None, map(_content, self._paths)), b"")
        return self._text


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return b"\n" + file.read() + b"\n"
    except OSError:  # Not installed here.
        return b""
