# SPDX-License-Identifier: Apache-2.0
"""What commands print: JSON for programs, plain tables for people.

In a pipe there is no colour, and lines are as wide as COLUMNS says, 80 without it. On a terminal
rich adds the colour (it is not even imported otherwise: that takes a third of the time of a list).
NO_COLOR (https://no-color.org) is honoured.
"""

from __future__ import annotations

import json
import shutil
import sys
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from itertools import zip_longest
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console

SCHEMA = 1
"""Version of the JSON output; it grows by one when a member changes its meaning or goes away."""

_LAST = 20
"""Least width of the last column of a table."""

_STYLES = {
    **dict.fromkeys(
        ("free", "ready", "reachable", "pass", "ok", "registered", "loadable"), "green"
    ),
    **dict.fromkeys(("denied", "no driver", "fail", "refused", "cloned"), "red"),
    **dict.fromkeys(("busy", "no node", "silent"), "yellow"),
    **dict.fromkeys(("kernel", "present", "skip", "announced"), "dim"),
}


def style(word: str) -> str:
    """The colour of a state or a result, "" for none."""
    return _STYLES.get(word, "")


def emit(command: str, data: Mapping[str, Any]) -> None:
    """Print the result of a command as JSON (docs/hal-probe.schema.json)."""
    print(json.dumps({"schema": SCHEMA, "command": command, **data}, indent=2))


def say(text: str = "", style: str = "") -> None:
    """Print a paragraph, broken between words."""
    for line in textwrap.wrap(text, _width(), break_on_hyphens=False) or [""]:
        _line((line, style))


def command(text: str, indent: int = 4) -> None:
    """Print a line to copy: never broken."""
    _line((" " * indent + text, "cyan"))


def facts(pairs: Mapping[str, str]) -> None:
    """Print names and values, one a line; those without a value are left out."""
    table([], [(f"  {name}", value) for name, value in pairs.items() if value])


def table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print columns. A row of one cell is a heading; the last column takes what room is left."""
    lines = [row for row in (header, *rows) if row]
    widths = _widths(lines)
    for line in lines:
        style = "dim" if line is header else "bold" if len(line) == 1 < len(widths) else ""
        _row(line, widths, style)


def _widths(lines: Sequence[Sequence[str]]) -> list[int]:
    """As wide as the longest cell, the widest narrowed until the last column has room."""
    columns = max(map(len, lines), default=1)
    cells = [[line[i] for line in lines if len(line) > max(i, 1)] for i in range(columns - 1)]
    widths = [max(map(len, column), default=1) for column in cells]
    room = max(_width() - _LAST - 2 * len(widths), 4 * len(widths))
    while sum(widths) > room:
        widths[widths.index(max(widths))] -= 1
    return [*widths, max(_width() - sum(widths) - 2 * len(widths), 4)]


def _row(cells: Sequence[str], widths: Sequence[int], style: str) -> None:
    """Print a row, each cell folded within its column."""
    if len(cells) == 1:
        widths = [_width()]
    styles = [_STYLES.get(cell, style) for cell in cells]
    columns = list(zip(cells, widths, strict=False))
    folded = [textwrap.wrap(cell, width, break_on_hyphens=False) for cell, width in columns]
    for parts in zip_longest(*folded, fillvalue=""):
        padded = [f"{part:{width}}  " for part, width in zip(parts[:-1], widths, strict=False)]
        _line(*zip([*padded, parts[-1]], styles, strict=True))


def _line(*pieces: tuple[str, str]) -> None:
    """Print a line made of texts and their styles."""
    if not sys.stdout.isatty():
        print("".join(text for text, _ in pieces).rstrip())
        return
    from rich.text import Text

    _console().print(Text.assemble(*pieces), soft_wrap=True)


def _width() -> int:
    return shutil.get_terminal_size().columns


@cache
def _console() -> Console:
    from rich.console import Console

    return Console(highlight=False, markup=False, emoji=False)
