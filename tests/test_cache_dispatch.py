# SPDX-License-Identifier: Apache-2.0
"""libhal's choice of cache instructions, made and executed for real on processors that lack some.

A small program is linked with libhal's cache sources for each architecture and run under user-mode
QEMU, which takes features away one by one. A wrong choice dies of SIGILL: the last tests show that
it would. Debian 12's QEMU traps DC CVAP and knows no Zicbom, so a newer one is used for these: the
machine's own, or one unpacked from the distribution's backports into the cache folder.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from tests.lab.apt import Apt, AptError, write_backports
from tests.lab.prepare import cache
from tests.needs import find, needs

ROOT = Path(__file__).resolve().parent.parent
MACHINES = ("x86_64", "aarch64", "riscv64")
NEWER = (9, 0)  # DC CVAP since 8.1, cache-block operations of RISC-V since 8.0, hwprobe since 8.2


# ---- QEMU ----------------------------------------------------------------------------------------


def version(qemu: str) -> tuple[int, int]:
    """The version that a QEMU says it has."""
    text = subprocess.run([qemu, "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"version (\d+)\.(\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


def installed(machine: str) -> str | None:
    """The machine's own user-mode QEMU."""
    return find(f"qemu-{machine}-static") or find(f"qemu-{machine}")


def unpack_backport(folder: Path) -> None:
    """Put the distribution's backported user-mode QEMUs into a folder; nothing is installed.

    Raises:
        AptError: there is none to be had here; the text says why.
    """
    debian = ["dpkg", "--print-architecture"]
    with tempfile.TemporaryDirectory(dir=folder) as name:
        scratch = Path(name)
        sources = write_backports(scratch)
        architecture = subprocess.run(debian, capture_output=True, text=True, check=True).stdout
        apt = Apt(scratch / "apt", architecture.strip(), sources)
        apt.update()
        apt.unpack(["qemu-user"], scratch)
        for machine in MACHINES:
            (scratch / f"usr/bin/qemu-{machine}").rename(folder / f"qemu-{machine}")


@pytest.fixture(scope="session")
def newer_qemu() -> dict[str, str]:
    """User-mode QEMUs that know DC CVAP and the cache-block operations, by machine."""
    own = {machine: installed(machine) for machine in MACHINES}
    if all(path and version(path) >= NEWER for path in own.values()):
        return {machine: str(path) for machine, path in own.items()}
    folder = cache() / "qemu-user"
    paths = {machine: folder / f"qemu-{machine}" for machine in MACHINES}
    if not all(path.exists() for path in paths.values()):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            unpack_backport(folder)
        except AptError as error:
            pytest.skip(str(error))
    if version(str(paths["aarch64"])) < NEWER:
        pytest.skip(f"the backported QEMU is {version(str(paths['aarch64']))}, too old as well")
    return {machine: str(path) for machine, path in paths.items()}


@pytest.fixture(scope="session")
def qemu() -> dict[str, str]:
    """The machine's own user-mode QEMUs, whatever their version."""
    paths = {machine: installed(machine) for machine in MACHINES}
    for machine, path in paths.items():
        if not path:
            needs(f"qemu-{machine}-static")
    return {machine: str(path) for machine, path in paths.items()}


# ---- the program ---------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """tests/fixtures/cache_dispatch.c with libhal's cache sources, for each architecture."""
    folder = tmp_path_factory.mktemp("dispatch")
    cache_sources = set((ROOT / "csrc").glob("cache*.c")) - {ROOT / "csrc/cache_measure.c"}
    sources = [ROOT / "tests/fixtures/cache_dispatch.c", ROOT / "csrc/error.c", *cache_sources]
    flags = ["-std=c11", "-D_GNU_SOURCE", "-O2", "-static", f"-I{ROOT / 'include'}"]
    built = {}
    for machine in MACHINES:
        cross = f"{machine.replace('_', '-')}-linux-gnu-gcc"
        compiler = "gcc" if machine == os.uname().machine else cross
        needs(compiler)
        built[machine] = str(folder / machine)
        command = [compiler, *flags, *map(str, sources), "-o", built[machine]]
        subprocess.run(command, check=True)
    return built


def start(command: Sequence[str], hal_cache: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the program, however it ends."""
    environment = {**os.environ, "HAL_CACHE": hal_cache or ""}
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=120, check=False
    )


def run(command: Sequence[str], hal_cache: str | None = None) -> dict[str, Any]:
    """Run the program to its end: what was chosen, by operation, and what came of it."""
    done = start(command, hal_cache)
    assert done.returncode == 0, f"{command}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def chosen(report: dict[str, Any], *operations: str) -> list[str]:
    """The instructions of some operations."""
    return [report[operation][0] for operation in operations]


def died_of_sigill(done: subprocess.CompletedProcess[str]) -> bool:
    """User-mode QEMU dies of the guest's signal itself."""
    return done.returncode == -signal.SIGILL


# ---- x86-64 --------------------------------------------------------------------------------------

X86 = [
    ("max", "clwb", "clflushopt", "avx"),
    ("max,-clwb", "clflushopt", "clflushopt", "avx"),
    ("max,-clflushopt", "clwb", "clflush", "avx"),
    ("max,-clwb,-clflushopt", "clflush", "clflush", "avx"),
    ("max,-clwb,-clflushopt,-clflush", "none", "none", "avx"),
    ("max,-avx", "clwb", "clflushopt", "movnti"),
    ("max,-xsave", "clwb", "clflushopt", "movnti"),
    ("qemu64", "clflush", "clflush", "movnti"),
]


@pytest.mark.parametrize(("cpu", "writeback", "flush", "copy"), X86)
def test_x86(
    cpu: str,
    writeback: str,
    flush: str,
    copy: str,
    qemu: dict[str, str],
    programs: dict[str, str],
) -> None:
    """Each processor gets the best that it has, and executes it."""
    report = run([qemu["x86_64"], "-cpu", cpu, programs["x86_64"]])
    assert chosen(report, "writeback", "persist") == [writeback, writeback]
    assert chosen(report, "flush", "invalidate", "sync") == [flush] * 3
    assert chosen(report, "copy", "fill") == [copy, copy]
    assert (report["persisted"] == 0) == (writeback != "none")


@pytest.mark.parametrize(
    ("cpu", "prefetch"), [("max", "prefetchw"), ("max,-3dnowprefetch", "prefetcht0")]
)
def test_x86_prefetch(
    cpu: str, prefetch: str, newer_qemu: dict[str, str], programs: dict[str, str]
) -> None:
    """PREFETCHW by its feature bit alone."""
    report = run([newer_qemu["x86_64"], "-cpu", cpu, programs["x86_64"]])
    assert chosen(report, "prefetch-read", "prefetch-write") == ["prefetcht0", prefetch]


@pytest.mark.parametrize("name", ["clwb", "clflushopt", "clflush", "avx", "movnti", "prefetcht0"])
def test_x86_override(name: str, qemu: dict[str, str], programs: dict[str, str]) -> None:
    """HAL_CACHE gets what the processor has."""
    report = run([qemu["x86_64"], "-cpu", "max", programs["x86_64"]], name)
    assert report["refused"] == ""
    assert any(choice[0] == name for choice in report.values() if isinstance(choice, list))


@pytest.mark.parametrize(
    ("cpu", "name"),
    [
        ("max,-clwb", "clwb"),
        ("max,-clflushopt", "clflushopt"),
        ("max,-avx", "avx"),
        ("max,-avx512f", "avx512"),
        ("max,-movdir64b", "movdir64b"),
        ("max,-clwb", "clflush,clwb"),
    ],
)
def test_x86_refusal(cpu: str, name: str, qemu: dict[str, str], programs: dict[str, str]) -> None:
    """What HAL_CACHE asks for and the processor lacks is named, and not executed."""
    report = run([qemu["x86_64"], "-cpu", cpu, programs["x86_64"]], name)
    wanted = name.rsplit(",", maxsplit=1)[-1]
    assert report["refused"].startswith(f"{wanted}: this processor or kernel does not have it")
    assert all(choice[0] != wanted for choice in report.values() if isinstance(choice, list))


def test_this_machine(programs: dict[str, str]) -> None:
    """Without an emulator, with everything this processor has, one alternative after the other."""
    program = programs.get(os.uname().machine)
    if not program:
        pytest.skip(f"no program for {os.uname().machine}")
    report = run([program])
    names = {
        name
        for choice in report.values()
        if isinstance(choice, list)
        for name in [choice[0], *choice[1].split()]
        if " " not in name and name != "none" and "fence" not in name
    }
    for name in sorted(names):
        assert run([program], name)["refused"] == ""


# ---- AArch64 -------------------------------------------------------------------------------------


@pytest.mark.parametrize("cpu", ["cortex-a53", "cortex-a72"])
def test_aarch64_without_point_of_persistence(
    cpu: str, qemu: dict[str, str], programs: dict[str, str]
) -> None:
    """No DCPOP: cleaned to the point of coherency, and persisting says that this is less."""
    report = run([qemu["aarch64"], "-cpu", cpu, programs["aarch64"]])
    assert chosen(report, "writeback", "flush", "persist") == ["cvac", "civac", "cvac"]
    assert report["line"] == 64
    assert report["persisted"] < 0
    assert "HWCAP_DCPOP" in report["message"]


def test_aarch64_refusal(qemu: dict[str, str], programs: dict[str, str]) -> None:
    """CVAP is never executed on a processor without."""
    report = run([qemu["aarch64"], "-cpu", "cortex-a72", programs["aarch64"]], "cvap,cvadp")
    assert "cvap: this processor" in report["refused"]
    assert "cvadp: this processor" in report["refused"]
    assert chosen(report, "persist") == ["cvac"]


@pytest.mark.parametrize(
    ("cpu", "wanted", "persist", "refused"),
    [
        ("neoverse-n1", None, "cvap", ""),
        ("neoverse-n1", "cvac", "cvac", ""),
        ("neoverse-n1", "cvadp", "cvap", "cvadp"),
        ("max", None, "cvap", ""),
        ("max", "cvadp", "cvadp", ""),
    ],
)
def test_aarch64_persistence(
    cpu: str,
    wanted: str | None,
    persist: str,
    refused: str,
    newer_qemu: dict[str, str],
    programs: dict[str, str],
) -> None:
    """DCPOP: CVAP, and CVADP by choice where the processor has it."""
    report = run([newer_qemu["aarch64"], "-cpu", cpu, programs["aarch64"]], wanted)
    assert chosen(report, "writeback", "persist") == ["cvac", persist]
    assert report["refused"].split(":")[0] == refused
    assert (report["persisted"] == 0) == (persist != "cvac")


# ---- RISC-V --------------------------------------------------------------------------------------

ZICBOM, ZICBOZ = "1", "2"  # the feature bits of csrc/cache_riscv.c


def test_riscv_without_hwprobe(qemu: dict[str, str], programs: dict[str, str]) -> None:
    """A kernel that tells nothing: fences, plain stores, and every operation says so."""
    if version(qemu["riscv64"]) >= (8, 2):
        pytest.skip("this QEMU answers riscv_hwprobe")
    report = run([qemu["riscv64"], programs["riscv64"]])
    assert chosen(report, "writeback", "flush", "persist", "sync") == ["none"] * 4
    assert chosen(report, "copy", "fill") == ["memcpy", "memset"]
    assert report["persisted"] < 0
    assert "Zicbom" in report["message"]


@pytest.mark.parametrize(("cpu", "fill"), [("rv64", "cbo.zero"), ("rv64,zicboz=false", "memset")])
def test_riscv_zicboz(
    cpu: str, fill: str, newer_qemu: dict[str, str], programs: dict[str, str]
) -> None:
    """riscv_hwprobe decides on cbo.zero."""
    report = run([newer_qemu["riscv64"], "-cpu", cpu, programs["riscv64"]])
    assert chosen(report, "fill") == [fill]


@pytest.mark.parametrize("block", [16, 64, 256])
def test_riscv_zicbom(block: int, newer_qemu: dict[str, str], programs: dict[str, str]) -> None:
    """cbo.clean and cbo.flush are executed; QEMU has them and, up to 10.0, does not report them."""
    cpu = f"rv64,zicbom=true,cbom_blocksize={block},zicboz=true,cboz_blocksize={block}"
    features = str(int(ZICBOM) | int(ZICBOZ))
    command = [newer_qemu["riscv64"], "-cpu", cpu, programs["riscv64"]]
    report = run([*command, features, str(block), str(block)])
    assert chosen(report, "writeback", "flush", "sync") == ["cbo.clean", "cbo.flush", "cbo.flush"]
    assert chosen(report, "persist", "fill") == ["cbo.clean", "cbo.zero"]
    assert report["line"] == block
    assert report["persisted"] == 0


# ---- a wrong choice would be seen ----------------------------------------------------------------


def test_sigill_x86(qemu: dict[str, str], programs: dict[str, str]) -> None:
    """Told that CLWB is there where it is not, the program dies."""
    clflush_and_clwb = "5"  # the feature bits of csrc/cache_x86.c
    command = [programs["x86_64"], clflush_and_clwb, "64", "64"]
    assert died_of_sigill(start([qemu["x86_64"], "-cpu", "max,-clwb", *command]))
    assert start([qemu["x86_64"], "-cpu", "max", *command]).returncode == 0


def test_sigill_aarch64(newer_qemu: dict[str, str], programs: dict[str, str]) -> None:
    """Told that CVAP is there where it is not, the program dies."""
    command = [programs["aarch64"], "1", "64", "64"]
    assert died_of_sigill(start([newer_qemu["aarch64"], "-cpu", "cortex-a72", *command]))
    assert start([newer_qemu["aarch64"], "-cpu", "max", *command]).returncode == 0


@pytest.mark.parametrize("feature", [ZICBOM, ZICBOZ])
def test_sigill_riscv(feature: str, newer_qemu: dict[str, str], programs: dict[str, str]) -> None:
    """Told that an extension is there where it is not, the program dies."""
    command = [programs["riscv64"], feature, "64", "64"]
    cpu = "rv64,zicbom=false,zicboz=false"
    assert died_of_sigill(start([newer_qemu["riscv64"], "-cpu", cpu, *command]))
    assert start([newer_qemu["riscv64"], "-cpu", "rv64", *command]).returncode == 0
