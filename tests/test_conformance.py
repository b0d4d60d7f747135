# SPDX-License-Identifier: Apache-2.0
"""The conformance kit: our drivers pass, and every broken driver fails the check made for it."""

from __future__ import annotations

import functools
import json
import os
import select
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hal
from hal.conformance.check import checks
from hal.conformance.outcome import Result
from hal.conformance.run import isolated, look, run
from hal.conformance.subject import Subject
from tests import native
from tests.needs import needs

ROOT = Path(__file__).parent.parent
BROKEN = ROOT / "tests" / "conformance" / "broken"
KEPT_BY_LIBRARY = {"double_close", "attribute_refusals", "registration"}
"""Checks no driver can fail: the library itself keeps that part of the contract."""


Judged = subprocess.CompletedProcess[str]


def conformance(*arguments: str | Path) -> Judged:
    """Run hal-conformance."""
    code = "from hal.conformance.cli import main; main()"
    return subprocess.run(
        [sys.executable, "-c", code, *map(str, arguments)],
        capture_output=True, text=True, check=False, env=os.environ | {"COLUMNS": "100"},
    )  # fmt: skip


def outcomes(results: Sequence[Result], outcome: str) -> dict[str, str]:
    return {result.check: result.seen for result in results if result.outcome == outcome}


# ---- our drivers --------------------------------------------------------------------------------

STREAM = {
    *("would_block", "deadline", "past_deadline", "interrupted", "cancel_read", "cancel_write"),
    *("close_waiting", "round_trip", "two_readers", "read_and_write", "fork", "leaks"),
}

BLOCKS = {"register_range", "register_width", "block_range", "block_content"}
MAPPINGS = {"map_range", "map_content", "map_rights", "map_outlives"}


@pytest.mark.parametrize(
    ("uri", "passed"),
    [
        ("loopback:", STREAM | {"poll_agrees", "descriptor", "handles_apart"}),
        ("uart:pty", STREAM | {"poll_agrees", "descriptor", "unplug", "attribute_readback"}),
        ("sim:uart", STREAM | {"poll_agrees", "unplug", "attribute_readback"}),
        ("sim:i2c", {"transfers", "unplug", "short_reads", "attribute_readback"}),
        ("sim:spi", {"transfers", "unplug", "attribute_readback"}),
        ("sim:gpio", {"unplug", "attribute_readback"}),
        ("sim:memory", {"unplug", "attribute_readback"} | BLOCKS),
        ("memory:memfd:conform?size=9000", BLOCKS | MAPPINGS | {"descriptor", "leaks", "fork"}),
        ("memory:{folder}/memory?size=5000&create=true", BLOCKS | MAPPINGS | {"descriptor"}),
        ("mmio:{folder}/registers", BLOCKS | MAPPINGS | {"leaks", "fork", "handles_apart"}),
        ("rec:{folder}/{{n}}.halrec,loopback:", STREAM | {"poll_agrees", "descriptor"}),
        ("rec:{folder}/{{n}}.halrec,sim:uart", STREAM | {"unplug"}),
        ("rec:{folder}/{{n}}.halrec,uart:pty", STREAM | {"unplug", "descriptor"}),
    ],
)
def test_our_drivers_pass(uri: str, passed: set[str], tmp_path: Path) -> None:
    (tmp_path / "registers").write_bytes(bytes(8192))
    results = list(run(Subject.of(uri.format(folder=tmp_path), writes=True)))
    assert outcomes(results, "fail") == {}
    assert passed <= outcomes(results, "pass").keys(), outcomes(results, "n/a")
    assert [result.check for result in results] == [check.name for check in checks()]


def test_replay_passes(tmp_path: Path) -> None:
    path = tmp_path / "session.halrec"
    with hal.open(f"rec:{path},sim:uart") as device:
        device.write(b"hello")
        assert device.read_exact(5) == b"hello"
        assert isinstance(device.attributes["ops"], int)
    results = list(run(Subject.of(f"replay:{path}")))
    assert outcomes(results, "fail") == {}
    waits = {"would_block", "deadline", "cancel_read", "close_waiting", "interrupted"}
    assert waits <= outcomes(results, "pass").keys()
    assert "--writes" in outcomes(results, "n/a")["round_trip"]


class Echo(hal.Driver):
    """What is written can be read back, by wake() alone."""

    attributes = (
        hal.Attribute(
            "limit", int, hal.Access.READ | hal.Access.WRITE, doc="Room.", range=(1, 1 << 20)
        ),
    )
    limit = 65536

    def init(self, device: hal.DriverDevice) -> None:
        super().init(device)
        self.bytes = bytearray()

    def read(self, n: int, deadline: float) -> bytes | None:
        data = bytes(self.bytes[:n])
        del self.bytes[:n]
        if data:
            self.device.wake(select.POLLOUT)
        return data or None

    def write(self, data: memoryview, deadline: float) -> int | None:
        part = bytes(data[: max(self.limit - len(self.bytes), 0)])
        self.bytes += part
        self.device.wake(select.POLLIN)
        return len(part) or None

    def poll(self, events: int) -> int:
        return events & (select.POLLOUT | (select.POLLIN if self.bytes else 0))


class SlowEcho(Echo):
    """Holds up an event loop."""

    def read(self, n: int, deadline: float) -> bytes | None:
        if not self.bytes and deadline == 0:
            time.sleep(0.1)
        return super().read(n, deadline)


@pytest.fixture
def python_driver() -> Iterator[Callable[[type[hal.Driver]], str]]:
    names: list[str] = []

    def enlist(cls: type[hal.Driver]) -> str:
        name = f"conform.{cls.__name__.lower()}"
        hal.register_driver(name, cls)
        names.append(name)
        return name

    yield enlist
    for name in names:
        hal.unregister_driver(name)


def test_a_python_driver_passes(python_driver: Callable[[type[hal.Driver]], str]) -> None:
    results = list(run(Subject(f"{python_driver(Echo)}:", writes=True)))
    assert outcomes(results, "fail") == {}
    assert STREAM | {"registration", "poll_agrees"} <= outcomes(results, "pass").keys()
    assert outcomes(results, "pass")["registration"] == "busy while open; gone; back again"


def test_a_broken_python_driver_fails(python_driver: Callable[[type[hal.Driver]], str]) -> None:
    results = list(run(Subject(f"{python_driver(SlowEcho)}:", writes=True)))
    assert outcomes(results, "fail").keys() == {"would_block"}


# ---- broken drivers -----------------------------------------------------------------------------


@functools.cache
def flags() -> list[str]:
    done = subprocess.run(
        [sys.executable, "-m", "hal", "--cflags", "--libs"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return shlex.split(done.stdout)


def plugin(source: Path, folder: Path) -> Path:
    """Build a driver, as its author would."""
    needs("cc")
    path = folder / f"{source.stem}.so"
    warnings = ["-std=c11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    native.run("cc", "-shared", "-fPIC", *warnings, source, *flags(), "-o", path)
    return path


SOURCES = sorted(BROKEN.glob("*.c"))


def test_each_check_that_a_driver_can_fail_has_a_driver_that_fails_it() -> None:
    names = {check.name for check in checks()}
    broken = {source.stem.partition("-")[0] for source in SOURCES} - {"sound"}
    assert broken | KEPT_BY_LIBRARY == names
    assert not broken & KEPT_BY_LIBRARY


@pytest.fixture(scope="module")
def judged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[Path], Judged]]:
    """What the command says of a broken driver. Mostly it waits: they are judged side by side."""
    folder = tmp_path_factory.mktemp("broken")

    def judge(source: Path) -> Judged:
        path = plugin(source, folder)
        return conformance(path, "--uri", f"{source.stem}:", "--writes", "--json")

    with ThreadPoolExecutor(4) as pool:
        found = {source: pool.submit(judge, source) for source in SOURCES}
        yield lambda source: found[source].result()
        for left in found.values():
            left.cancel()


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.stem)
def test_a_broken_driver_fails_the_check_made_for_it(
    source: Path, judged: Callable[[Path], Judged]
) -> None:
    done = judged(source)
    assert done.stderr == ""
    data = json.loads(done.stdout)
    failed = {row["check"]: row["seen"] for row in data["checks"] if row["outcome"] == "fail"}
    if source.stem.startswith("sound"):
        assert (done.returncode, failed, data["passed"]) == (0, {}, True)
        return
    assert failed.keys() == {source.stem.partition("-")[0]}, failed
    assert (done.returncode, data["exit"], data["passed"]) == (1, 1, False)


# ---- the command --------------------------------------------------------------------------------


def test_a_failure_shows_contract_seen_and_where_to_read(tmp_path: Path) -> None:
    path = plugin(BROKEN / "would_block.c", tmp_path)
    done = conformance(path, "--uri", "would_block:", "--writes", "--check", "would_block")
    assert done.returncode == 1
    text = " ".join(done.stdout.split())
    assert "contract A read with HAL_NOWAIT that finds nothing returns -EAGAIN at once." in text
    assert "seen a read with HAL_NOWAIT took" in text
    assert "read hal/device.h, hal_read();" in text
    assert text.endswith("0 passed, 1 failed, 0 not applicable")


@pytest.mark.parametrize(
    ("arguments", "code", "text"),
    [
        (["uart:/dev/no-such-line"], 3, "/dev/no-such-line"),
        (["nodriver:x"], 3, "nodriver"),
        (["loopback:?capacity=none"], 2, "capacity"),
        ([], 2, "Missing argument"),
        (["./thermo.so"], 2, "--uri 'thermo:ADDRESS'"),
        (["loopback:", "--uri", "loopback:"], 2, "--uri goes with"),
        (["loopback:", "--check", "nonsense"], 2, "no check nonsense"),
        (["/no/such.so", "--uri", "such:"], 3, "/no/such.so"),
    ],
)
def test_exit_codes(arguments: list[str], code: int, text: str) -> None:
    done = conformance(*arguments)
    assert (done.returncode, done.stdout) == (code, "")
    assert text in done.stderr and "Traceback" not in done.stderr


def test_what_cannot_be_opened_is_told_in_json_too() -> None:
    done = conformance("uart:/dev/no-such-line", "--json")
    assert done.returncode == 3
    assert json.loads(done.stdout)["error"]["kind"] == "not-found"


def test_checks_are_listed() -> None:
    done = conformance("--list")
    assert done.returncode == 0
    for check in checks():
        assert f"{check.name}\n  {check.contract}\n  Why: {check.why}" in done.stdout
        assert check.contract and check.why and "hal/" in check.where


def test_nothing_is_written_without_leave() -> None:
    assert not Subject.of("uart:/dev/ttyS0").writes
    assert not Subject.of("i2c:1/0x50").writes
    assert not Subject.of("rec:x,uart:/dev/ttyS0").writes
    assert not Subject.of("replay:x").writes
    assert Subject.of("uart:/dev/ttyS0", writes=True).writes
    for uri in ("loopback:", "sim:i2c", "uart:pty?baud=9600", "rec:x,sim:uart", "rec:x,uart:pty"):
        assert Subject.of(uri).writes, uri


def test_a_line_that_may_not_be_written_to_is_left_alone() -> None:
    """Every byte that would be written to the line is seen at its far end."""
    master, slave = os.openpty()
    path = os.ttyname(slave)  # the slave stays open: a hang-up would drop what is there
    try:
        results = list(run(Subject.of(f"uart:{path}?exclusive=false")))
        assert outcomes(results, "fail") == {}
        assert "--writes" in outcomes(results, "n/a")["cancel_write"]
        os.set_blocking(master, False)
        with pytest.raises(BlockingIOError):
            os.read(master, 1)
    finally:
        os.close(slave)
        os.close(master)


# ---- each check in a process of its own ---------------------------------------------------------


def test_a_crash_and_a_hang_are_failures() -> None:
    crashed = isolated(os.abort)
    assert crashed == {"outcome": "fail", "seen": "the process was ended by SIGABRT (Aborted)"}

    def hang() -> dict[str, str]:
        time.sleep(60)
        return {}

    hung = isolated(hang, limit=0.2)
    assert hung == {"outcome": "fail", "seen": "it did not end within 0.2 s"}


def test_what_cannot_be_opened_is_the_error_that_opening_gives() -> None:
    with pytest.raises(hal.NotFound, match="/dev/no-such-line"):
        look(Subject.of("uart:/dev/no-such-line"))


# ---- in pytest ----------------------------------------------------------------------------------


def pytest_run(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    plugin_option = ["-p", "hal_conformance"] if _installed() else ["-p", PLUGIN]
    return subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *plugin_option,
         *map(str, arguments)],
        capture_output=True, text=True, check=False, cwd=cwd,
    )  # fmt: skip


PLUGIN = "hal.conformance.pytest_plugin"


def _installed() -> bool:
    from importlib.metadata import entry_points

    return any(point.value == PLUGIN for point in entry_points(group="pytest11"))


def test_the_suite_runs_in_pytest(tmp_path: Path) -> None:
    done = pytest_run("-vv", "--pyargs", "hal.conformance.suite", "--hal-uri", "sim:i2c",
                      cwd=tmp_path)  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "test_conformance[leaks] PASSED" in done.stdout
    assert "test_conformance[descriptor] SKIPPED" in done.stdout


def test_the_suite_fails_with_the_contract(tmp_path: Path) -> None:
    path = plugin(BROKEN / "unknown_request.c", tmp_path)
    (tmp_path / "conftest.py").write_text(f"import hal\nhal.load_driver({str(path)!r})\n")
    (tmp_path / "test_mine.py").write_text(
        "def test_contract(hal_conformance):\n"
        "    hal_conformance('unknown_request:', writes=True)\n"
        "def test_but_for_that(hal_conformance):\n"
        "    hal_conformance('unknown_request:', writes=True, skip=('unknown_request',))\n"
    )
    done = pytest_run("test_mine.py", cwd=tmp_path)
    assert done.returncode == 1
    assert "unknown_request: request 0x7eadbee5: -EINVAL" in done.stdout
    assert "contract: hal_control() refuses" in done.stdout
    assert "1 failed, 1 passed" in done.stdout


def test_runs_that_do_not_use_the_kit_do_not_import_it(tmp_path: Path) -> None:
    (tmp_path / "test_none.py").write_text(
        "import sys\n"
        "def test_none():\n"
        "    kit = {n for n in sys.modules if n.startswith(('hal.conformance.', 'hal._abi'))}\n"
        f"    assert kit == {{{PLUGIN!r}}}\n"
    )
    done = pytest_run("test_none.py", cwd=tmp_path)
    assert done.returncode == 0, done.stdout
