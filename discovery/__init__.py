# SPDX-License-Identifier: Apache-2.0
"""What devices there are: records of them, without opening any.

>>> from hal import discovery
>>> for record in discovery.local_devices():
...     print(record.device_class, record.name, record.uri, record.state)
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from .inventory import local_devices, local_inventory
from .record import CLASSES, EXCLUSIVE, STATES, Inventory, Problem, Record

if TYPE_CHECKING:
    from .acpi import acpi_console, acpi_devices, acpi_tables
    from .devicetree import DeviceTree, TreeNode, device_tree

__all__ = [
    "CLASSES",
    "EXCLUSIVE",
    "STATES",
    "DeviceTree",
    "Inventory",
    "Problem",
    "Record",
    "TreeNode",
    "acpi_console",
    "acpi_devices",
    "acpi_tables",
    "device_tree",
    "local_devices",
    "local_inventory",
]

_WHERE = {
    "DeviceTree": "devicetree",
    "TreeNode": "devicetree",
    "acpi_console": "acpi",
    "acpi_devices": "acpi",
    "acpi_tables": "acpi",
    "device_tree": "devicetree",
}
"""What is imported when it is first asked for (PEP 562): most programs need none of it."""


def __getattr__(name: str) -> object:
    if name not in _WHERE:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_WHERE[name]}"), name)
