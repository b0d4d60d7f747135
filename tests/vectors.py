# SPDX-License-Identifier: Apache-2.0
"""The test vectors of docs/protocol.md, taken apart; as seeds for fuzzing, written to files.

python -m tests.vectors FOLDER    # one file a frame
"""

from __future__ import annotations

import re
import sys
from dataclasses import dataclass, field
from pathlib import Path

PAGE = Path(__file__).parent.parent / "docs/protocol.md"


@dataclass(frozen=True)
class Field:
    """A line of a vector.

    Attributes:
        data: Its bytes.
        kind: "header", "u8" ... "u64", "i32", "i64", "f64", "str" or "bytes".
        value: As the page writes it.
    """

    data: bytes
    kind: str
    value: str


@dataclass
class Vector:
    """A frame; the first field is its header."""

    title: str
    fields: list[Field] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(f.data for f in self.fields)


def vectors() -> list[Vector]:
    """All that the page has, in its order."""
    text = PAGE.read_text().partition("## Test vectors")[2].partition("```text\n")[2]
    found: list[Vector] = []
    begun = ""
    for line in text.partition("```")[0].splitlines():
        if line and not line.startswith(" "):
            found.append(Vector(line))
        elif line:
            digits, *rest = re.split(r" {2,}", line.strip())
            begun += digits
            if rest or not re.fullmatch(r"[0-9a-f]{40}", digits):
                kind, value = [*rest, ""][:2]
                found[-1].fields.append(Field(bytes.fromhex(begun), kind, value))
                begun = ""
    return found


def main() -> None:
    """Write each to a file of its own."""
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for vector in vectors():
        name = re.sub(r"\W+", "-", vector.title)
        (folder / name).write_bytes(vector.data)


if __name__ == "__main__":
    main()
