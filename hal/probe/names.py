# SPDX-License-Identifier: Apache-2.0
"""hal-probe names: the logical names of the configuration files, and what they stand for now."""

from __future__ import annotations

import json as jsons
from dataclasses import dataclass

import hal
from hal.discovery import Inventory, config, local_inventory

from . import output
from .outcome import Exit


@dataclass(frozen=True)
class Meaning:
    """What a name stands for.

    Attributes:
        name: The name.
        text: What was written.
        uri: What it opens now; "" when that is nothing.
        error: Why not.
        place: File and key.
    """

    name: str
    text: str
    uri: str
    error: str
    place: str

    def as_dict(self) -> dict[str, object]:
        """The meaning as plain data."""
        return {
            "name": self.name,
            "for": self.text,
            "uri": self.uri,
            "error": self.error,
            "place": self.place,
        }


def run(*, as_c: bool, json: bool) -> Exit:
    """Print every name."""
    known = hal.names.known()
    inventory = local_inventory()
    meanings = [_meaning(name, entry, inventory) for name, entry in sorted(known.items())]
    if json:
        found = {"files": list(config.load().files), "names": [m.as_dict() for m in meanings]}
        output.emit("names", found)
    elif as_c:
        _print_c(meanings)
    else:
        _print(meanings)
    return Exit.NOT_FOUND if any(meaning.error for meaning in meanings) else Exit.OK


def _meaning(name: str, entry: config.Name, inventory: Inventory) -> Meaning:
    try:
        uri, error = hal.names.resolve(name, inventory), ""
    except hal.Error as failure:
        uri, error = "", str(failure)
    return Meaning(name, str(entry), uri, error, entry.place)


def _print_c(meanings: list[Meaning]) -> None:
    for meaning in meanings:
        if meaning.error:
            output.command(f"/* {meaning.error.replace('*/', '* /')} */", 0)
        else:
            uri = jsons.dumps(meaning.uri, ensure_ascii=False)
            output.command(f'hal_bind("{meaning.name}", {uri});', 0)


def _print(meanings: list[Meaning]) -> None:
    if not meanings:
        output.say("There are no logical names. They are looked for in:")
        for path in config.files():
            output.command(path)
        return
    rows = [(m.name, m.uri or "-", m.error or m.text) for m in meanings]
    output.table(("NAME", "URI", "WHAT"), rows)
