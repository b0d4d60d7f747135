# SPDX-License-Identifier: Apache-2.0
"""Run within umockdev-run: prints what discovery sees of the recorded machine, as JSON.

It looks twice: through udev, as on the machine itself, and as a machine copied to a folder, which
is how `--root` looks.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from hal import discovery
from hal.discovery.links import local_links

MACHINE_ID = "0123456789abcdef0123456789abcdef"


def main() -> None:
    """Look, with the match tables of the drivers that are installed."""
    copy = os.environ["UMOCKDEV_DIR"]
    Path(copy, "etc").mkdir()
    Path(copy, "etc/machine-id").write_text(MACHINE_ID)
    for table in sys.argv[1:]:  # umockdev makes no firmware tables.
        place = Path(copy, "sys/firmware/acpi/tables/SSDT1")
        place.parent.mkdir(parents=True)
        place.write_bytes(Path(table).read_bytes())
    found = {
        "udev": [record.as_dict() for record in discovery.local_inventory()],
        "copy": [record.as_dict() for record in discovery.local_inventory(copy)],
        "links": [link.as_dict() for link in local_links(copy)],
        "acpi": [[d.name, d.path, d.hid, d.missing] for d in discovery.acpi_devices(copy)],
        "problems": [str(problem) for problem in discovery.local_inventory(copy).problems],
    }
    json.dump(found, sys.stdout)


if __name__ == "__main__":
    main()
