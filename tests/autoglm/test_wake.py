# SPDX-License-Identifier: Apache-2.0
"""How long processors may take to wake up, as the kernel itself says it."""

from __future__ import annotations

import os
import struct
import time
from pathlib import Path

import pytest
from click.testing import CliRunner

from autoglm.commands.runtime import cli
from autoglm.errors import Error
from autoglm.serve import wake
from autoglm.serve.wake import ANY, DEVICE, WakeLatency
from tests.autoglm import small
from tests.autoglm.serving import commanded, serving
from tests.autoglm.small import good, write
from tests.net.running import until

SOME = 7
"""Microseconds that nobody else asks for."""


def bound() -> int:
    """What holds now, of all that is asked for on this machine."""
    return int(struct.unpack("=i", DEVICE.read_bytes())[0])


@pytest.fixture(autouse=True)
def before() -> int:
    """What holds without us."""
    if not os.access(DEVICE, os.W_OK):
        pytest.skip(f"{DEVICE}: this kernel has none, or there is no right to it")
    holds = bound()
    if holds <= SOME:
        pytest.skip(f"{DEVICE}: somebody asks for {holds} us already, ours would not be seen")
    return holds


@pytest.fixture
def artifact(tmp_path: Path) -> Path:
    return write(tmp_path / "small.glm", [good()])


def test_while_requests_come(artifact: Path, before: int) -> None:
    """It is asked for by the first request, held a second after the last, and no longer."""
    with serving(artifact, wake=WakeLatency(SOME)) as service:
        assert service.ask("/health/ready")[0] == 200  # a probe is nobody who waits
        time.sleep(0.3)
        assert bound() == before
        service.infer("small", small.inputs())
        until(lambda: bound() == SOME)
        begin = time.monotonic()
        until(lambda: bound() == before)
        assert time.monotonic() - begin > wake.HOLD / 2
        service.infer("small", small.inputs())
        until(lambda: bound() == SOME)
    assert bound() == before


def test_as_long_as_somebody_is_busy(monkeypatch: pytest.MonkeyPatch, before: int) -> None:
    monkeypatch.setattr(wake, "HOLD", 0.05)
    asked = WakeLatency(SOME)
    try:
        for busy, held in [(False, before), (True, SOME), (True, SOME), (False, SOME)]:
            asked.look(busy)
            assert bound() == held
        time.sleep(0.06)
        assert bound() == SOME  # until it looks again
        asked.look(False)
        assert bound() == before
    finally:
        asked.close()


def test_it_ends_with_the_service(artifact: Path, before: int) -> None:
    with commanded(artifact, "--wake-latency", str(SOME)) as (process, client):
        client.infer("small", small.inputs())
        until(lambda: bound() == SOME)
        process.kill()
        until(lambda: bound() == before)


@pytest.mark.parametrize(("value", "fits"), [(-1, False), (0, True), (ANY, True), (ANY + 1, False)])
def test_what_may_be_asked_for(value: int, fits: bool, before: int) -> None:
    if fits:
        asked = WakeLatency(value)
        asked.look(True)
        assert bound() == min(value, before)
        asked.close()
        assert bound() == before
    told = CliRunner().invoke(cli, ["--wake-latency", str(value)])
    assert told.exit_code == 2
    assert ("name an artifact" in told.output) is fits


def test_without_the_right(artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wake, "DEVICE", tmp_path / "none")
    with pytest.raises(Error, match=r'"/.*/none": No such file.*udev rule.*CONFIG_CPU_IDLE'):
        WakeLatency(0)
    told = CliRunner().invoke(cli, ["--model", str(artifact), "--wake-latency", "0"])
    assert isinstance(told.exception, Error)
