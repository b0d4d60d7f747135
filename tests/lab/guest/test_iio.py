# SPDX-License-Identifier: Apache-2.0
"""The driver ``iio`` on the kernel's dummy device; libiio's tools are referees."""

from __future__ import annotations

import asyncio
import errno
import select
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

import hal
from hal import Iio

from . import devices
from .devices import until
from .user import call_as

URI = f"iio:{devices.IIO}"
RISING = "voltage0.rising.en"


def tool(*command: object) -> str:
    """Run one of libiio's tools and give what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def device(**options: hal.Value) -> Iio:
    """Open the dummy."""
    return Iio.open(URI, timeout=None, **options)


def error(kind: type[hal.Error], number: int, call: Callable[[], object], text: str = "") -> None:
    """The call fails in just this way."""
    with pytest.raises(kind, match=text) as caught:
        call()
    assert caught.value.errno == number, caught.value


def settings() -> dict[str, str]:
    """All that a capture may change, as sysfs has it."""
    folder = devices.iio_device()
    files = [*folder.glob("scan_elements/*_en"), *folder.glob("buffer/[lw]*")]
    files += [folder / "trigger/current_trigger", folder / "buffer/enable"]
    files += [devices.iio_device("lab-hrtimer") / "sampling_frequency"]
    return {str(file): file.read_text() for file in files}


# --- opening and single values ------------------------------------------------------------------


def test_a_device_has_many_names() -> None:
    folder = devices.iio_device()
    short = folder.name.removeprefix("iio:")
    for name in (devices.IIO, short, folder.name, folder, f"/dev/{folder.name}"):
        with Iio.open(f"iio:{name}") as dummy:
            assert dummy.name == devices.IIO
            assert dummy.attributes["node"] == f"/dev/{folder.name}"
    error(hal.NotFound, errno.ENOENT, lambda: hal.open("iio:nobody"), "there are: .*lab-iio")
    error(hal.NotFound, errno.ENOENT, lambda: hal.open("iio:device99"), "lab-iio")
    error(hal.InvalidArgument, errno.EINVAL, lambda: hal.open("iio:"), "which device")


def test_channels_have_units() -> None:
    folder = devices.iio_device()
    with device() as dummy:
        channels = dummy.channels
        voltage = channels["voltage0"]
        assert (voltage.unit, voltage.output) == ("V", False)
        assert voltage.scale == pytest.approx(0.001333e-3)
        raw = float((folder / "in_voltage0_raw").read_text())
        offset = float((folder / "in_voltage0_offset").read_text())
        assert voltage.offset == offset
        volts = (raw + offset) * 0.001333 / 1000
        assert dummy.read_channel("voltage0") == pytest.approx(volts)
        assert dummy.attributes["voltage0.raw"] == raw
        assert channels["voltage1-voltage2"].scale == pytest.approx(0.000001344e-3, rel=1e-3)
        assert channels["accel_x"].unit == "m/s^2"
        assert channels["out_voltage0"].output
        theirs = tool("iio_attr", "-u", "local:", "-c", "-i", devices.IIO, "voltage0", "raw")
        assert theirs == str(int(raw))


def test_outputs_and_scales_are_set() -> None:
    with device() as dummy:
        dummy.attributes["out_voltage0.raw"] = 12
        assert (devices.iio_device() / "out_voltage0_raw").read_text() == "12\n"
        dummy.write_channel("out_voltage0", dummy.read_channel("out_voltage0") * 2)
        assert dummy.attributes["out_voltage0.raw"] == 24
        tool("iio_attr", "-u", "local:", "-c", "-o", devices.IIO, "voltage0", "raw", 7)
        assert dummy.attributes["out_voltage0.raw"] == 7
        dummy.attributes["out_voltage0.raw"] = 0
        error(hal.NotFound, errno.ENOENT, lambda: dummy.read_channel("voltage99"))
        error(hal.Unsupported, errno.EOPNOTSUPP, dummy.read, "channels=")
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: dummy.write(b"x"), "out_voltage0")


# --- capture ------------------------------------------------------------------------------------


def test_scans_are_captured() -> None:
    np = pytest.importorskip("numpy")
    before = settings()
    with device(channels="voltage0,accel_x", trigger="lab-hrtimer", frequency=200) as dummy:
        assert dummy.trigger == "lab-hrtimer"
        assert dummy.frequency == 200
        scans = dummy.capture(8, timeout=30)
        assert scans.dtype.names == ("voltage0", "accel_x", "timestamp")
        assert (np.diff(scans["timestamp"]) > 0).all()
        (raw,) = set(dummy.capture(2, raw=True, timeout=30)["voltage0"].tolist())
        layout = dummy.scan.elements[0]
        assert (layout.channel, layout.unit, layout.storage) == ("voltage0", "V", 16)
        assert scans["voltage0"][0] == pytest.approx((raw + layout.offset) * layout.scale)
        assert dummy.scan.size % 8 == 0
        error(hal.InvalidArgument, errno.EINVAL, lambda: dummy.read(4, 0), "a scan has")
        error(hal.Busy, errno.EBUSY, lambda: device(channels="voltage0"), "held by pid")
    assert settings() == before


def test_all_channels_by_a_trigger_of_ours() -> None:
    trigger = devices.iio_device("sysfstrig0")
    options: dict[str, hal.Value] = {"trigger": "sysfstrig0", "buffer": 32, "watermark": 4}
    with device(channels="all", **options) as dummy:
        assert (dummy.buffer, dummy.watermark) == (32, 4)
        names = [element.channel for element in dummy.scan.elements]
        pairs = ["voltage1-voltage2", "voltage3-voltage4"]
        assert names == ["voltage0", *pairs, "accel_x", "timestamp"]
        error(hal.WouldBlock, errno.EAGAIN, lambda: dummy.read(timeout=0))
        (trigger / "trigger_now").write_text("1")
        until(lambda: dummy.available)
        assert not select.select([dummy.fileno()], [], [], 0.1)[0]
        for _ in range(3):
            (trigger / "trigger_now").write_text("1")
        assert select.select([dummy.fileno()], [], [], 20)[0]
        assert len(dummy.capture(4, timeout=20)) == 4
        folder = devices.iio_device()
        size = dummy.scan.size
        assert (folder / "buffer/enable").read_text() == "1\n"
    assert size == 16


def test_a_wrong_capture_changes_nothing() -> None:
    before = settings()
    invalid = hal.InvalidArgument, errno.EINVAL
    error(*invalid, lambda: device(channels="voltage9"), "there are: voltage0")
    error(*invalid, lambda: device(channels="voltage0", buffer=4, watermark=5), "above buffer")
    error(*invalid, lambda: device(channels="voltage0"), "trigger=NAME")
    error(*invalid, lambda: device(channels="voltage0", events=True), "twice")
    error(
        hal.NotFound,
        errno.ENOENT,
        lambda: device(channels="voltage0", trigger="nobody"),
        "lab-hrtimer",
    )
    assert settings() == before


def test_an_ordinary_user_is_told_what_is_missing() -> None:
    node = Path(f"/dev/{devices.iio_device().name}")
    mode = node.stat().st_mode & 0o777
    options: dict[str, hal.Value] = {"channels": "voltage0", "trigger": "lab-hrtimer"}
    try:
        node.chmod(0o600)
        with pytest.raises(hal.PermissionDenied, match=r"owner root:.*udev"):
            call_as("nobody", lambda: device(**options).close())
        node.chmod(0o666)
        with pytest.raises(hal.PermissionDenied, match=r"scan_elements.*mode 0644.*udev rule"):
            call_as("nobody", lambda: device(**options).close())
        assert call_as("nobody", lambda: device().attributes["voltage0.raw"]) == 73
    finally:
        node.chmod(mode)


# --- events -------------------------------------------------------------------------------------


def poke() -> None:
    """Have the dummy report an event."""
    Path("/sys/bus/iio/devices/iio_evgen/poke_ev0").write_text("0")


def test_events_are_read() -> None:
    with device(events=True) as dummy:
        dummy.attributes[RISING] = True
        try:
            error(hal.Timeout, errno.ETIMEDOUT, lambda: dummy.read_events(timeout=0.02))
            poke()
            event = next(dummy.events(timeout=20))
            assert (event.channel, event.kind, event.direction) == ("voltage0", "thresh", "rising")
            assert event.timestamp_ns > 0
            error(hal.Busy, errno.EBUSY, lambda: device(events=True), "events|held")

            async def main() -> str:
                asyncio.get_running_loop().call_later(0.1, poke)
                async for later in dummy.aevents(timeout=20):
                    return later.channel
                raise AssertionError

            assert asyncio.run(main()) == "voltage0"
        finally:
            dummy.attributes[RISING] = False
    assert (devices.iio_device() / "events/in_voltage0_thresh_rising_en").read_text() == "0\n"


# --- threads and removal ------------------------------------------------------------------------


def test_four_threads() -> None:
    failed: list[BaseException] = []

    def work(dummy: Iio, index: int) -> None:
        try:
            for i in range(30):
                if index:
                    assert dummy.attributes["voltage0.raw"] == 73
                else:
                    dummy.attributes["out_voltage0.raw"] = i
        except BaseException as problem:  # noqa: BLE001 - shown by the test
            failed.append(problem)

    with device() as dummy:
        threads = [threading.Thread(target=work, args=(dummy, index)) for index in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        dummy.attributes["out_voltage0.raw"] = 0
    assert not failed


def test_a_device_removed_while_open() -> None:
    place = Path("/sys/kernel/config/iio/devices/dummy/lab-gone")
    place.mkdir()
    outcome: list[tuple[BaseException, float]] = []

    def wait(dummy: Iio) -> None:
        try:
            dummy.read(timeout=60)
        except hal.Error as problem:
            outcome.append((problem, time.monotonic()))

    with Iio.open("iio:lab-gone", channels="voltage0", trigger="sysfstrig0") as dummy:
        waiter = threading.Thread(target=wait, args=(dummy,))
        waiter.start()
        time.sleep(0.5)
        place.rmdir()
        waiter.join(5)
        woken = not waiter.is_alive()
        dummy.cancel()
        waiter.join()
        error(hal.Unplugged, errno.ENODEV, lambda: dummy.attributes["voltage0.raw"], "removed")
        error(hal.Unplugged, errno.ENODEV, lambda: dummy.read(timeout=1))
        assert woken
        assert isinstance(outcome[0][0], hal.Unplugged)
