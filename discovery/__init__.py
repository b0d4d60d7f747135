# SPDX-License-Identifier: Apache-2.0
"""What devices there are: records of them, without opening any.

>>> from hal import discovery
>>> for record in discovery.local_devices():
...     print(record.device_class, record.name, record.uri, record.state)
"""

from .inventory import local_devices, local_inventory
from .record import CLASSES, EXCLUSIVE, STATES, Inventory, Problem, Record

__all__ = [
    "CLASSES",
    "EXCLUSIVE",
    "STATES",
    "Inventory",
    "Problem",
    "Record",
    "local_devices",
    "local_inventory",
]
