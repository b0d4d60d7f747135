# SPDX-License-Identifier: Apache-2.0
"""hal-probe find: what is here and on the network, as it appears."""

from __future__ import annotations

import json as json_text
import shlex
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import Any

import click

from hal.discovery import Change, Record, Watch
from hal.discovery.search import until_quiet

from . import output
from .listing import what
from .outcome import Exit

_HEADER = ("NAME", "HOST", "URI", "STATE", "TRUST", "WHAT")

_MARKS = {"added": "+", "changed": "~", "removed": "-"}


@dataclass(frozen=True)
class Where:
    """Where to search besides this machine."""

    network: bool
    hosts: Sequence[str]
    domains: Sequence[str]
    interfaces: Sequence[str] | None


def run(
    words: Sequence[str],
    classes: Sequence[str],
    types: Sequence[str],
    where: Where,
    *,
    timeout: float,
    watch: bool,
    json: bool,
) -> Exit:
    """Search, and print what is found as it is found."""
    query = _query(words, classes, types)
    found: Change | None = None
    with Watch(query, **asdict(where)) as devices, _show(watch=watch, json=json) as show:
        changes = devices if watch else until_quiet(devices, timeout)
        for change in changes:
            found = change
            show(change)
    if found is not None:
        _close(found, query, watch=watch, json=json)
    return Exit.OK if not query or (found and found.records) else Exit.NOT_FOUND


def _query(words: Sequence[str], classes: Sequence[str], types: Sequence[str]) -> str:
    """One query of all that was said. A word of the shell is one of the query, or several."""
    parts = [part if "=" in part else shlex.quote(part) for part in words]
    parts += [f"class={name}" for name in classes]
    parts += [f"type={shlex.quote(name)}" for name in types]
    return " ".join(parts)


@contextmanager
def _show(*, watch: bool, json: bool) -> Iterator[Callable[[Change], None]]:
    """What shows a change: as JSON, in a table that is drawn again, or as lines of text."""
    if json:
        yield _lines_of_json
    elif sys.stdout.isatty():
        from rich.live import Live

        with Live(auto_refresh=False, vertical_overflow="visible") as live:
            yield lambda change: live.update(_table(change), refresh=True)
    else:
        yield _lines if watch else lambda _: None


def _lines_of_json(change: Change) -> None:
    for event, records in _events(change):
        for record in records:
            _emit({"event": event, "generation": change.generation, "device": record.as_dict()})


def _lines(change: Change) -> None:
    for event, records in _events(change):
        for record in records:
            click.echo(" ".join((_MARKS[event], *_row(record))))
    sys.stdout.flush()


def _events(change: Change) -> Iterable[tuple[str, Sequence[Record]]]:
    return zip(_MARKS, (change.added, change.changed, change.removed), strict=True)


def _emit(data: dict[str, Any]) -> None:
    click.echo(json_text.dumps({"schema": output.SCHEMA, "command": "find", **data}))
    sys.stdout.flush()


def _close(change: Change, query: str, *, watch: bool, json: bool) -> None:
    """What is told at the end."""
    if json:
        problems = [{"source": p.source, "cause": p.cause} for p in change.problems]
        count = len(change.records)
        _emit({"event": "end", "generation": change.generation, "count": count,
               "problems": problems})  # fmt: skip
        return
    if change.records and not watch and not sys.stdout.isatty():
        output.table(_HEADER, map(_row, change.records))
    if not change.records:
        output.say(f"Nothing found{f' for {query}' if query else ''}.")
    if change.problems:
        output.say()
    for problem in change.problems:
        output.say(f"Note: {problem}.")


def _row(record: Record) -> tuple[str, ...]:
    uri = record.uri or next(iter(record.addresses), "-")
    return record.name, record.host or "-", uri, record.state, record.trust, what(record)


def _table(change: Change) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(*_HEADER, box=None, pad_edge=False, header_style="dim")
    for record in change.records:
        name, host, uri, state, trust, described = _row(record)
        style = output.style(state)
        table.add_row(name, host, uri, Text(state, style), Text(trust), Text(described))
    return table
