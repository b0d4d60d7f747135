# SPDX-License-Identifier: Apache-2.0
"""Recordings: what rec writes replay answers, the first difference is told, broken files are."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hal

from .conftest import Line


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    """Where a recording goes."""
    return tmp_path / "session.halrec"


def record_talk(recording: Path) -> None:
    """Two lines there and back, and an attribute."""
    with hal.open(f"rec:{recording},loopback:", capacity=4096) as device:
        device.write(b"one\ntwo\n")
        assert device.readline(timeout=1) == b"one\n"
        assert device.attributes["capacity"] == 4096
        assert device.readline(timeout=1) == b"two\n"


def test_what_was_recorded_is_answered(recording: Path) -> None:
    record_talk(recording)
    with hal.open(f"replay:{recording}") as device:
        assert device.attributes["replay.left"] == 3
        device.write(b"one\n")
        device.write(b"two\n")  # cut otherwise: streams are compared
        assert device.read_exact(3, timeout=1) == b"one"
        assert device.readline(timeout=1) == b"\n"
        assert device.attributes["capacity"] == 4096
        assert device.readline(timeout=1) == b"two\n"
        assert device.attributes["replay.left"] == 0
        assert device.attributes["replay.difference"] == ""


def test_a_read_waits_for_the_write_before_it(recording: Path) -> None:
    record_talk(recording)
    with hal.open(f"replay:{recording}") as device:
        with pytest.raises(hal.WouldBlock):
            device.read(1, timeout=0)
        threading.Timer(0.05, lambda: device.write(b"one\ntwo\n")).start()
        assert device.readline(timeout=10) == b"one\n"


def test_the_first_difference_is_told_and_stays(recording: Path) -> None:
    record_talk(recording)
    with hal.open(f"replay:{recording}") as device:
        for _ in range(2):
            with pytest.raises(
                hal.ProtocolError, match=r"line \d+: recorded write, byte 0 is 0x6f"
            ):
                device.write(b"Oops")
        with pytest.raises(hal.ProtocolError, match="byte 0 is 0x6f; written is 0x4f"):
            device.read(1, timeout=1)
        assert "byte 0" in str(device.attributes["replay.difference"])


def test_more_than_was_recorded_is_a_difference(recording: Path) -> None:
    record_talk(recording)
    with hal.open(f"replay:{recording}") as device:
        device.write(b"one\ntwo\n")
        with pytest.raises(hal.ProtocolError, match="the recording has ended, 1 bytes are written"):
            device.write(b"!")


def test_transfers_are_recorded_segment_by_segment(recording: Path) -> None:
    def talk(device: hal.Device) -> bytes:
        reply = bytearray(3)
        device.transfer([hal.Segment(b"\x20abc")])
        device.transfer([hal.Segment(b"\x20"), hal.Segment(rx=reply)])
        return bytes(reply)

    with hal.open(f"rec:{recording},sim:i2c") as device:
        assert talk(device) == b"abc"
    with hal.open(f"replay:{recording}") as device:
        assert talk(device) == b"abc"
    with (
        hal.open(f"replay:{recording}") as device,
        pytest.raises(hal.ProtocolError, match="segment 0"),
    ):
        device.transfer([hal.Segment(b"\x20abd")])


def test_failures_are_recorded_too(recording: Path) -> None:
    with hal.open(f"rec:{recording},sim:i2c", error=1, error_code="EREMOTEIO") as device:
        with pytest.raises(hal.ProtocolError):
            device.write(b"\0")
        device.attributes["error"] = 0
        device.write(b"\0a")
    with hal.open(f"replay:{recording}") as device:
        with pytest.raises(hal.ProtocolError, match="as recorded in line"):
            device.write(b"\0")
        device.attributes["error"] = 0
        device.write(b"\0a")


def test_a_serial_line_is_recorded_with_its_settings(line: Line, recording: Path) -> None:
    line.device.close()
    with hal.open(f"rec:{recording},uart:{line.path}", baud=19200) as device:
        device.attributes["baud"] = 38400
        line.send(b"hello\n")
        assert device.readline(timeout=2) == b"hello\n"
        assert device.attributes.describe("baud").unit == "baud"
    with hal.open(f"replay:{recording}") as device:
        device.attributes["baud"] = 38400
        assert device.readline(timeout=2) == b"hello\n"
        with pytest.raises(hal.ProtocolError):
            device.attributes["baud"] = 9600


def test_a_recording_waits_and_is_cancelled_like_its_device(recording: Path) -> None:
    for uri in ("loopback:", "sim:uart"):  # with a descriptor, and without
        with hal.open(f"rec:{recording},{uri}") as device:
            with pytest.raises(hal.Timeout):
                device.read(1, timeout=0.02)
            threading.Timer(0.05, device.cancel).start()
            with pytest.raises(hal.Cancelled):
                device.read(1, timeout=30)
        recording.unlink()


def test_a_recording_is_never_overwritten(recording: Path) -> None:
    record_talk(recording)
    with pytest.raises(hal.Error, match="a recording is never overwritten"):
        hal.open(f"rec:{recording},loopback:")


def test_an_address_without_a_device_is_refused() -> None:
    with pytest.raises(hal.InvalidArgument, match="FILE,URI"):
        hal.open("rec:session.halrec")


def test_the_recorded_device_words_its_own_errors(recording: Path) -> None:
    with pytest.raises(hal.NotFound, match="/dev/ttyNOT0"):
        hal.open(f"rec:{recording},uart:/dev/ttyNOT0")
    assert not recording.exists()


def test_timing_is_kept_when_asked(recording: Path) -> None:
    with hal.open(f"rec:{recording},loopback:") as device:
        device.write(b"x")
        time.sleep(0.1)
        device.read(1, timeout=1)
    with hal.open(f"replay:{recording}?timing=true") as device:
        device.write(b"x")
        start = time.monotonic()
        with pytest.raises(hal.Timeout):
            device.read(1, timeout=0.01)
        assert device.read(1, timeout=5) == b"x"
        assert time.monotonic() - start > 0.05


BROKEN = {
    "empty": "",
    "another format": "halrec 2\n",
    "no such operation": "halrec 1\n1 jump 2\n",
    "a word is missing": "halrec 1\n1 read 4\n",
    "odd hexadecimal": "halrec 1\n1 read 4 1 616\n",
    "not hexadecimal": "halrec 1\n1 read 4 1 6g\n",
    "not a number": "halrec 1\nx read 4 1 61\n",
    "too many segments": "halrec 1\n1 transfer 99999999 1\n",
    "a cut attribute": "halrec 1\nattribute baud 2 3\n",
    "no such type": "halrec 1\nattribute baud 9 3 0 0 - -\n",
}


@pytest.mark.parametrize("text", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused(recording: Path, text: str) -> None:
    recording.write_text(text, encoding="ascii")
    with pytest.raises(hal.ProtocolError, match=r"does not begin with|line 2 is not that"):
        hal.open(f"replay:{recording}")


def test_a_truncated_recording_is_refused_or_shorter(recording: Path) -> None:
    record_talk(recording)
    whole = recording.read_bytes()
    for end in range(len(whole)):
        recording.write_bytes(whole[:end])
        with suppress(hal.ProtocolError):
            hal.open(f"replay:{recording}").close()


@settings(
    max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(st.lists(st.text(alphabet="0123456789abcdef- \nrewditgsanfoculb", max_size=60), max_size=6))
def test_no_text_crashes_the_parser(recording: Path, lines: list[str]) -> None:
    recording.write_text("halrec 1\n" + "\n".join(lines), encoding="ascii")
    with suppress(hal.ProtocolError):
        hal.open(f"replay:{recording}").close()
