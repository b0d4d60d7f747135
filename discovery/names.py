# SPDX-License-Identifier: Apache-2.0
"""Names of vendors and products, from the pci.ids and usb.ids files of the system.

The format is that of https://pci-ids.ucw.cz: a vendor's line begins with its four hexadecimal
digits, its products follow, each after one tab.
"""

from __future__ import annotations

from functools import lru_cache

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

    @lru_cache(maxsize=1024)  # noqa: B019 - an object of this class lives as long as one inventory
    def lookup(self, vendor: int, product: int) -> tuple[str, str]:
        """Names of vendor and product, "" for one that is not listed."""
        text = self._load()
        key = b"\n%04x  " % vendor
        start = text.find(key)
        if start < 0:
            return "", ""
        name, rest = start + len(key), text.find(b"\n", start + 1)
        end = rest  # The vendor's part ends at the next line that begins with neither tab nor '#'.
        while end >= 0 and text[end + 1 : end + 2] in (b"\t", b"#"):
            end = text.find(b"\n", end + 1)
        part = text[rest:end] if end >= 0 else text[rest:]
        key = b"\n\t%04x  " % product
        start = part.find(key)
        model = part[start + len(key) :].split(b"\n", 1)[0] if start >= 0 else b""
        return text[name:rest].decode("utf-8", "replace"), model.decode("utf-8", "replace")

    def _load(self) -> bytes:
        if self._text is None:
            self._text = next(filter(None, map(_content, self._paths)), b"")
        return self._text


def _content(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return b"\n" + file.read()
    except OSError:  # Not installed here.
        return b""
