# SPDX-License-Identifier: Apache-2.0
"""What commands print: JSON for programs, plain tables for people.

In a pipe there is no colour, and lines are as wide as COLUMNS says, 80 without it. NO_COLOR
(https://no-color.org) is honoured.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console, RenderableType

SCHEMA = 1
"""Version of the JSON output; it grows by one when a member changes its meaning or goes away."""

_STYLES = {
    **dict.fromkeys(("free", "ready", "pass", "ok", "registered", "loadable"), "green"),
    **dict.fromkeys(("denied", "no driver", "fail", "refused"), "red"),
    **dict.fromkeys(("busy", "no node"), "yellow"),
    **dict.fromkeys(("kernel", "present", "skip", "unknown"), "dim"),
}


def emit(command: str, data: Mapping[str, Any]) -> None:
    """Print the result of a command as JSON (docs/hal-probe.schema.json)."""
    print(json.dumps({"schema": SCHEMA, "command": command, **data}, indent=2))


def say(text: str = "", style: str = "", *, indent: int = 0) -> None:
    """Print a paragraph, broken between words."""
    from rich.padding import Padding
    from rich.text import Text

    _print(Padding(Text(text, style), (0, 0, 0, indent)))


def command(text: str, indent: int = 4) -> None:
    """Print a line to copy: never broken."""
    from rich.text import Text

    _print(Text(" " * indent + text, "cyan"), soft_wrap=True)


def facts(pairs: Mapping[str, str]) -> None:
    """Print names and values, one a line; those without a value are left out."""
    table([], [(f"  {name}", value) for name, value in pairs.items() if value])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns. A row of one cell is a heading; the last column takes what room is left."""
    from rich.table import Table
    from rich.text import Text

    lines = [list(row) for row in rows]
    columns = max([len(header), *map(len, lines)], default=0)
    grid = Table(box=None, show_header=bool(header), padding=(0, 2, 0, 0), pad_edge=False)
    for index, width in enumerate(_widths([list(header), *lines], columns)):
        title = header[index] if header else ""
        grid.add_column(title, overflow="fold", width=width, header_style="dim")
    for line in lines:
        style = "bold" if len(line) == 1 and columns > 1 else ""
        grid.add_row(*(Text(cell, _STYLES.get(cell, style)) for cell in line))
    _print(grid)


def _widths(lines: Sequence[Sequence[str]], columns: int) -> list[int | None]:
    """As wide as the longest cell, the widest narrowed until 20 are left for the last column."""
    cells = [[line[i] for line in lines if len(line) > max(i, 1)] for i in range(columns - 1)]
    widths = [max(map(len, column), default=1) for column in cells]
    room = max(_console().width - 20 - 2 * len(widths), 4 * len(widths))
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    return [*widths, None]


def _print(thing: RenderableType, *, soft_wrap: bool = False) -> None:
    console = _console()
    if console.is_terminal:
        console.print(thing, soft_wrap=soft_wrap)
        return
    with console.capture() as capture:
        console.print(thing, soft_wrap=soft_wrap)
    for line in capture.get().splitlines():  # Tables are padded; files need not be.
        print(line.rstrip())


@cache
def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)
