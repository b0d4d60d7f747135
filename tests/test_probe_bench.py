# SPDX-License-Identifier: Apache-2.0
"""hal-probe bench as a user runs it: tables, JSON, plots, exit codes."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .test_probe import probe, probe_json

QUICK = ("--seconds", "0.3", "--rounds", "2")
MEMFD = "memory:memfd:bench?size=256KiB"


@pytest.fixture
def shared() -> Iterator[tuple[str, Path]]:
    """Shared memory that holds something."""
    path = Path(f"/dev/shm/hal-bench-{os.getpid()}")
    path.write_bytes(b"precious" * 2048)
    yield f"memory:shm:/{path.name}", path
    path.unlink()


def test_tables() -> None:
    run = probe("bench", MEMFD, *QUICK)
    assert run.returncode == 0, run.stderr
    assert re.search(r"^BLOCK +READ GB/s +RANDOM GB/s +LATENCY ns", run.stdout, re.MULTILINE)
    assert re.search(r"^256 KiB +[\d.]+ ±\d+%", run.stdout, re.MULTILINE)
    assert re.search(r"^BLOCK +WRITE GB/s", run.stdout, re.MULTILINE)
    assert re.search(r"^order: [\d.]+ times", run.stdout, re.MULTILINE)
    assert re.search(r"^dependent read: ", run.stdout, re.MULTILINE)
    assert "page-faults" in run.stdout
    assert all(len(line) <= 80 for line in run.stdout.splitlines() if not line.startswith("    "))


def test_json_and_what_is_not_overwritten(shared: tuple[str, Path]) -> None:
    uri, path = shared
    code, data = probe_json("bench", uri, *QUICK, "--max", "4KiB")
    assert code == 0
    assert path.read_bytes() == b"precious" * 2048
    assert not data["target"]["written"]
    assert {p["block"] for p in data["points"]} == {4096}
    assert [m["reason"] for m in data["missing"] if m["what"] == "writing"] == [
        "it would overwrite what is there"
    ]
    code, data = probe_json("bench", uri, *QUICK, "--max", "4KiB", "--write", "--threads", "2")
    assert code == 0
    assert data["target"]["written"]
    assert path.read_bytes()[:4096] != (b"precious" * 512)
    assert path.read_bytes()[4096:] == b"precious" * 1536
    assert {p["threads"] for p in data["points"] if p["pattern"] == "write"} == {2}


def test_a_plot(tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / "bench.svg"
    run = probe("bench", MEMFD, *QUICK, "--plot", str(path))
    assert run.returncode == 0
    assert f"Drawn into {path}." in " ".join(run.stdout.split())
    assert "<svg" in path.read_text()


def test_without_matplotlib_nothing_is_measured(tmp_path: Path) -> None:
    (tmp_path / "matplotlib.py").write_text("raise ImportError('no matplotlib here')\n")
    path = tmp_path / "bench.svg"
    environment = {"PYTHONPATH": str(tmp_path)}
    run = probe("bench", MEMFD, "--plot", str(path), environment=environment)
    assert run.returncode == 1
    assert "no matplotlib here" in run.stderr
    assert "    pip install 'open-autoglm[plot]'" in run.stderr
    assert run.stdout == ""


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        ((MEMFD, "--max", "lots"), 2, 'size "lots"'),
        ((MEMFD, "--max", "32B"), 2, "too small"),
        ((MEMFD, "--plot", "bench.pdf"), 2, ".svg"),
        ((MEMFD, "--seconds", "0"), 2, "--seconds"),
        ((MEMFD, "--threads", "1025"), 2, "--threads"),
        ((MEMFD, *QUICK, "--plot", "/none/bench.svg"), 1, "No such file"),
        (("loopback:",), 1, "map"),
        (("memory:/dev/none",), 3, "/dev/none"),
        (("nothing-like-it",), 3, "no device"),
    ],
)
def test_wrong_use(arguments: tuple[str, ...], code: int, words: str) -> None:
    run = probe("bench", *arguments)
    assert run.returncode == code, run.stderr
    assert words in run.stderr


def processor_seconds(folder: Path) -> float:
    """What a process has had; proc(5): utime and stime."""
    fields = (folder / "stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")


def wait(process: subprocess.Popen[str], condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, while the process runs."""
    while not condition():
        assert process.poll() is None
        time.sleep(0.02)


def test_ctrl_c_gives_what_was_measured() -> None:
    command = [sys.executable, "-m", "hal.probe", "bench", MEMFD, "--seconds", "60"]
    environment = {**os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--rounds", "1000"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment,
    ) as process:
        folder = Path(f"/proc/{process.pid}")
        wait(process, lambda: "memfd:bench" in (folder / "maps").read_text())
        begun = processor_seconds(folder)
        wait(process, lambda: processor_seconds(folder) > begun + 0.5)  # it measures
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert "Traceback" not in err
    assert "cancelled: what follows was measured so far" in " ".join(out.split())
    assert "READ GB/s" in out
