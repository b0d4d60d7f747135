# SPDX-License-Identifier: Apache-2.0
"""What a compile did, and why: for people, and as plain data."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .candidate import Candidate
    from .compiler import Report


def summary(report: Report) -> str:
    """What was chosen, a line a target."""
    lines = [
        f"{each.target}: {each.program.engine}, {_speed(each)}"
        for each in report.candidates
        if each.chosen
    ]
    if report.source.family != "graph":
        lines += report.clean.notes  # where a language model's weights come from
    return "\n".join([*lines, f"written to {report.output} ({_size(report.bytes)})"])


def as_text(report: Report) -> str:
    """All of it."""
    return "\n".join(
        [
            *_model(report),
            *_machine(report),
            *(line for target in report.reasons for line in _target(report, target)),
            f"written to {report.output} ({_size(report.bytes)})",
        ]
    )


def _model(report: Report) -> list[str]:
    clean = report.clean
    before, after = sum(clean.before.values()), sum(clean.after.values())
    return [
        f"model      {report.source.name}, {clean.parameters:,} parameters,"
        f" sha256 {report.source.sha256[:16]}",
        *(f"  takes    {spec}" for spec in clean.inputs),
        *(f"  gives    {spec}" for spec in clean.outputs),
        f"operators  {before} as read, {after} after clean-up: {_counts(clean.after)}",
        *(f"  note     {note}" for note in clean.notes),
        f"checked    against {report.reference} on the source model",
    ]


def _machine(report: Report) -> list[str]:
    machine = report.machine
    caches = ", ".join(f"{name} {_size(size)}" for name, size in machine.caches.items())
    return [
        f"machine    {machine.model}, {machine.cores} cores, {caches or 'caches not told'},"
        f" {_size(machine.memory)} memory, {_size(machine.free)} free"
    ]


def _target(report: Report, target: str) -> list[str]:
    lines = [f"target     {target}: {report.reasons[target]}"]
    for each in report.candidates:
        if each.target == target:
            lines += _candidate(each)
    return lines


def _candidate(found: Candidate) -> list[str]:
    mark = "*" if found.chosen else " "
    lines = [f"  {mark} {found.program.engine or found.backend}: {found.problem or _speed(found)}"]
    if not found.files:
        return lines
    if found.fused:
        before, after = sum(found.operators.values()), sum(found.fused.values())
        lines.append(f"      operators  {before} before fusion, {after} kernels after it:")
        lines.append(f"                 {_counts(found.fused)}")
    lines.append(
        f"      compiled   in {found.compile_s:.1f} s, {_size(found.compile_memory)} memory;"
        f" files {_size(found.size)}"
    )
    if found.program.options:
        lines.append(f"      options    {' '.join(found.program.options)}")
    if found.checked and not found.wrong:
        lines.append(f"      checked    worst difference {found.checked.worst:.2g}{_runs(found)}")
    for threads, raced in found.raced.items():
        lines.append(
            f"      {_threads(threads):10} median {raced.median_ms:.3f} ms,"
            f" p99 {raced.p99_ms:.3f} ms, {raced.calls} calls"
        )
    return lines


def _runs(found: Candidate) -> str:
    """How soon, and in what memory; emulation does not tell."""
    if found.checked is None or found.emulated:
        return ""
    loads = f"loads in {found.checked.load_ms:.1f} ms"
    return f"; {loads}; runs in {_size(found.memory)} memory"


def _speed(found: Candidate) -> str:
    if found.raced:
        return f"{found.best.median_ms:.3f} ms ({_threads(found.threads)})"
    if found.checked and found.program.unchecked:
        return f"at most {found.checked.worst:.2g} off, {found.program.unchecked}"
    if found.checked:
        return f"about {found.call_ms:.3g} ms: not timed further"
    return f"not checked: {found.program.unchecked}"


def _threads(count: int) -> str:
    return "all threads" if not count else f"{count} thread" + ("s" if count > 1 else "")


def _counts(counts: Mapping[str, int], most: int = 6) -> str:
    ordered = sorted(counts.items(), key=lambda item: -item[1])
    told = ", ".join(f"{count} {name}" for name, count in ordered[:most])
    return told + (", ..." if len(ordered) > most else "")


def _size(size: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.4g} {unit}"
        size /= 1024
    return f"{size:.4g} GiB"


def as_dict(report: Report) -> dict[str, Any]:
    """All of it, ready for JSON."""
    return {
        "output": str(report.output),
        "bytes": report.bytes,
        "model": {
            "name": report.source.name,
            "sha256": report.source.sha256,
            "parameters": report.clean.parameters,
            "inputs": [spec.to_json() for spec in report.clean.inputs],
            "outputs": [spec.to_json() for spec in report.clean.outputs],
            "operators": {"read": dict(report.clean.before), "ready": dict(report.clean.after)},
            "notes": list(report.clean.notes),
        },
        "reference": report.reference,
        "machine": {
            "model": report.machine.model,
            "cores": report.machine.cores,
            "caches": dict(report.machine.caches),
            "memory": report.machine.memory,
            "free": report.machine.free,
            "features": sorted(report.machine.features),
        },
        "reasons": dict(report.reasons),
        "candidates": [_as_dict(each) for each in report.candidates],
    }


def _as_dict(found: Candidate) -> dict[str, Any]:
    checked = found.checked
    return {
        "target": found.target,
        "backend": found.backend,
        "chosen": found.chosen,
        "problem": found.problem,
        "unchecked": found.program.unchecked,
        "engine": found.program.engine,
        "options": list(found.program.options),
        "operators": dict(found.operators),
        "fused": dict(found.fused),
        "size": found.size,
        "compile_s": found.compile_s,
        "compile_memory": found.compile_memory,
        "worst": checked.worst if checked and math.isfinite(checked.worst) else None,
        "load_ms": checked.load_ms if checked and not found.emulated else None,
        "memory": found.memory,
        "threads": found.threads,
        "latency": {
            str(threads): {
                "median_ms": raced.median_ms,
                "p99_ms": raced.p99_ms,
                "calls": raced.calls,
            }
            for threads, raced in found.raced.items()
        },
    }
