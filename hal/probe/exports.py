# SPDX-License-Identifier: Apache-2.0
"""hal-probe exports: what another machine serves, and who has it."""

from __future__ import annotations

from dataclasses import asdict

import hal
from hal.discovery.sysfs import printable

from . import output
from .outcome import Exit


def run(machine: str, *, timeout: float, json: bool) -> Exit:
    """Print the devices that a machine exports to this one.

    Args:
        machine: ``hal://UUID`` or ``hal://HOST?id=UUID``.
        timeout: Seconds for all of it.
        json: As JSON.

    Raises:
        Error: As `hal.exports`.
    """
    exports = hal.exports(machine, timeout=timeout)
    if json:
        output.emit("exports", {"exports": [asdict(export) for export in exports]})
    elif not exports:
        output.say("It exports nothing that this machine's token lets it read.")
    else:
        rows = (
            [*map(printable, (e.name, e.driver, e.what, e.lease or "free", e.holder))]
            for e in exports
        )
        output.table(("NAME", "DRIVER", "WHAT", "LEASE", "HELD BY"), rows)
        output.say()
        output.say("To open the first of them:")
        output.command(exports[0].uri)
    return Exit.OK
