# SPDX-License-Identifier: Apache-2.0
"""``python -m bench [GROUP ...]``: measure, print ratios, write them to bench/results/."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import time
from dataclasses import asdict
from pathlib import Path

import hal

from .rounds import Row, Unavailable

GROUPS = (
    "calls",
    "serial_line",
    "buses",
    "registers",
    "cache",
    "memory",
    "remote",
    "discovery_network",
    "footprint",
    "discovery",
    "autoglm",
    "lab",
    "autoglm_serving",
    "language_models",
)
RESULTS = Path(__file__).parent / "results"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith(("model name", "Model", "uarch")):
            return line.partition(":")[2].strip()
    return platform.machine()


def machine() -> dict[str, str | int | None]:
    """What the figures were measured on."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "kernel": platform.release(),
        "python": platform.python_version(),
        "hal": hal.__version__,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }


def _figure(value: float) -> str:
    return f"{value:,.1f}" if value < 1000 else f"{value:,.0f}"


def line(row: Row) -> str:
    """A row as one line of text."""
    peers = ", ".join(f"{name} {_figure(value)}" for name, value in row.theirs.items())
    ratio = "" if row.ratio is None or row.ratio == row.ours else f"{row.ratio:8.3f}"
    verdict = {True: "met", False: "MISSED", None: ""}[row.met]
    ours = f"{_figure(row.ours)} {row.unit}" if row.unit else ""
    text = f"{row.name:38} {ours:>14}  {peers:34} {ratio:>8} {row.goal:>8}  {verdict}"
    return f"{text}\n    {row.note}" if row.note else text


def main() -> None:
    """Measure the named groups, or all."""
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("groups", nargs="*", metavar="GROUP", help=", ".join(GROUPS))
    groups = parser.parse_args().groups or GROUPS
    on = machine()
    print(f"{on['processor']}, {on['cores']} cores, Linux {on['kernel']}, Python {on['python']}\n")
    found: dict[str, list[Row]] = {}
    for group in groups:
        print(group, flush=True)
        found[group] = []
        try:
            for row in importlib.import_module(f"bench.{group}").rows():
                found[group].append(row)
                print("  " + line(row), flush=True)
        except Unavailable as reason:
            print(f"  unavailable: {reason}")
        print(flush=True)
    RESULTS.mkdir(exist_ok=True)
    report = {
        "machine": on,
        "groups": {g: [{**asdict(r), "met": r.met} for r in rows] for g, rows in found.items()},
    }
    target = RESULTS / f"{on['time']}.json"
    target.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print(f"written to {os.path.relpath(target)}")


if __name__ == "__main__":
    main()
