# SPDX-License-Identifier: Apache-2.0
"""Looks at one machine again and again, at no more of it than is needed."""

from __future__ import annotations

from collections.abc import Collection

from .inventory import local_inventory
from .record import Inventory


class Standing:
    """What is known of a machine from the looks before.

    Args:
        root: Where the machine's root is.
    """

    def __init__(self, root: str = "/") -> None:
        self._root = root

    def look(self, subsystems: Collection[str] | None = None) -> Inventory:
        """The devices now.

        Args:
            subsystems: Of which the devices may be other ones than before; None: of any.
        """
        return local_inventory(self._root)
