# SPDX-License-Identifier: Apache-2.0
"""What devices there are: records of them, without opening any.

>>> import hal
>>> for record in hal.devices(network=False):
...     print(record.device_class, record.name, record.uri, record.state)

The guide is docs/discovery.md.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .inventory import local_devices, local_inventory
from .record import CLASSES, EXCLUSIVE, STATES, Inventory, Problem, Record

if TYPE_CHECKING:
    from .acpi import acpi_console, acpi_devices, acpi_tables
    from .change import Change
    from .devicetree import DeviceTree, TreeNode, device_tree
    from .links import Link, local_links
    from .query import Query
    from .roster import Limits, Roster, Sighting, Snapshot
    from .search import Devices, devices
    from .watch import Changes, Watch

__all__ = [
    "CLASSES",
    "EXCLUSIVE",
    "STATES",
    "Change",
    "Changes",
    "DeviceTree",
    "Devices",
    "Inventory",
    "Limits",
    "Link",
    "Problem",
    "Query",
    "Record",
    "Roster",
    "Sighting",
    "Snapshot",
    "TreeNode",
    "Watch",
    "acpi_console",
    "acpi_devices",
    "acpi_tables",
    "device_tree",
    "devices",
    "local_devices",
    "local_inventory",
    "local_links",
]

_WHERE = {
    "Change": "change",
    "Changes": "watch",
    "DeviceTree": "devicetree",
    "Devices": "search",
    "Limits": "roster",
    "Link": "links",
    "Query": "query",
    "Roster": "roster",
    "Sighting": "sighting",
    "Snapshot": "roster",
    "TreeNode": "devicetree",
    "Watch": "watch",
    "acpi_console": "acpi",
    "acpi_devices": "acpi",
    "acpi_tables": "acpi",
    "device_tree": "devicetree",
    "local_links": "links",
    "devices": "search",
}
"""What is imported when it is first asked for (PEP 562): most programs need none of it."""


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
