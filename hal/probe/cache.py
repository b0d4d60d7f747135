# SPDX-License-Identifier: Apache-2.0
"""hal-probe cache: which cache instructions are in use, why, what they cost, what else there is."""

from __future__ import annotations

from hal import cache

from . import output
from .outcome import Exit


def run(*, json: bool) -> Exit:
    """Report libhal's choice, and measure it."""
    info, costs = cache.info(), cache.measure()
    if json:
        output.emit("cache", _data(info, costs))
    else:
        _print(info, costs)
    return Exit.OK


def _data(info: cache.Info, costs: cache.Costs) -> dict[str, object]:
    return {
        "architecture": info.architecture,
        "line": info.line,
        "requested": info.requested,
        "refused": info.refused,
        "operations": [
            {
                "operation": name,
                "instruction": choice.instruction,
                "reason": choice.reason,
                "alternatives": list(choice.alternatives),
                "line_ns": cost.line if (cost := costs.operations.get(name)) else None,
                "block_ns": cost.block if cost and cost.block else None,
            }
            for name, choice in info.choices.items()
        ],
        "read_line_ns": costs.read.line,
        "read_block_ns": costs.read.block,
    }


def _print(info: cache.Info, costs: cache.Costs) -> None:
    output.say(f"{info.architecture}, cache lines of {info.line} bytes")
    if info.requested is not None:
        output.say(f"HAL_CACHE asks for: {info.requested}")
    if info.refused is not None:
        output.say(f"refused: {info.refused}")
    output.say()
    rows = []
    for name, choice in info.choices.items():
        cost = costs.operations.get(name)
        rows.append(
            (
                name,
                choice.instruction or "-",
                f"{cost.line:.0f}" if cost else "-",
                f"{cost.block:.0f}" if cost and cost.block else "-",
                " ".join(choice.alternatives) or "-",
            )
        )
    output.table(("OPERATION", "BY", "LINE ns", "64 KiB ns", "ALSO HERE"), rows)
    output.say()
    output.say(
        "Medians. All but a fence's include reading the range again; the reading alone takes "
        f"{costs.read.line:.0f} ns a line, {costs.read.block:.0f} ns for 64 KiB in the cache."
    )
    output.say()
    for reason, names in _reasons(info).items():
        output.say(f"{', '.join(names)}: {reason}")


def _reasons(info: cache.Info) -> dict[str, list[str]]:
    """Each reason, with the operations that it is given for."""
    reasons: dict[str, list[str]] = {}
    for name, choice in info.choices.items():
        reasons.setdefault(choice.reason, []).append(name)
    return reasons
