# SPDX-License-Identifier: Apache-2.0
"""The driver ``gpio`` on simulated chips, whose far side is in sysfs; gpiod tools are referees."""

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
from hal import Gpio, GpioEvent

from . import devices
from .devices import GpioSim, until
from .user import call_as


def tool(*command: object) -> str:
    """Run one of gpiod's tools and give what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def lines(address: str, chip: str = devices.GPIO, **options: hal.Value) -> Gpio:
    """Open lines of a chip by its label."""
    return Gpio.open(f"gpio:{devices.gpio_chip(chip)}/{address}", timeout=None, **options)


def error(kind: type[hal.Error], number: int, call: Callable[[], object], text: str = "") -> None:
    """The call fails in just this way."""
    with pytest.raises(kind, match=text) as caught:
        call()
    assert caught.value.errno == number, caught.value


# --- opening ----------------------------------------------------------------------------------


def test_lines_have_many_names(gpio_sim: GpioSim) -> None:
    chip = gpio_sim.chip
    number = chip.removeprefix("gpiochip")
    names = [f"{chip}/0,1", f"/dev/{chip}/0,1", f"{number}/BUTTON,LED"]
    for name in (*names, "lab-gpio/0,LED", "BUTTON,LED"):
        with Gpio.open(f"gpio:{name}") as both:
            assert both.offsets == (0, 1)
            assert both.chip_info() == (chip, "lab-gpio", 16)
    for name in (chip, number, f"/dev/{chip}", "lab-gpio"):
        with Gpio.open(f"gpio:{name}") as whole:
            assert len(whole) == 0
            assert whole.offsets == ()
            assert whole.line_info(1).name == "LED"
            error(hal.Unsupported, errno.EOPNOTSUPP, whole.read, "chip alone")


def test_a_wrong_name_says_what_there_is(gpio_sim: GpioSim) -> None:
    chip = gpio_sim.chip
    error(hal.NotFound, errno.ENOENT, lambda: hal.open("gpio:lab-gpi/0"), f"{chip} .lab-gpio.")
    error(hal.NotFound, errno.ENOENT, lambda: hal.open("gpio:gpiochip99/0"), chip)
    error(hal.NotFound, errno.ENOENT, lambda: hal.open("gpio:NOBODY"), "no chip has")
    error(hal.NotFound, errno.ENOENT, lambda: hal.open(f"gpio:{chip}/NOBODY"), "no line called")
    error(hal.InvalidArgument, errno.ERANGE, lambda: hal.open(f"gpio:{chip}/16"), "0 .. 15")
    error(hal.InvalidArgument, errno.EINVAL, lambda: hal.open(f"gpio:{chip}/3,3"), "twice")
    error(hal.InvalidArgument, errno.EINVAL, lambda: hal.open(f"gpio:{chip}/"), "empty")
    error(hal.Error, errno.ENOTTY, lambda: hal.open("gpio:/dev/null/0"), "not a GPIO chip")
    with lines("15"):
        pass


def test_who_holds_a_line_is_named(gpio_sim: GpioSim) -> None:
    error(hal.Busy, errno.EBUSY, lambda: lines("6"), "line 6 RESET is held by .lab-reset.")
    with lines("8", consumer="me"):
        error(hal.Busy, errno.EBUSY, lambda: lines("8,9"), "line 8 is held by .me.")
        assert '"me"' in tool("gpioinfo", gpio_sim.chip)
        with lines("9") as other:
            info = other.line_info(8)
            assert (info.used, info.consumer, info.direction) == (True, "me", "input")
    with lines("8"):
        pass


def test_an_ordinary_user_is_told_what_is_missing(gpio_sim: GpioSim) -> None:
    node = Path(f"/dev/{gpio_sim.chip}")
    mode = node.stat().st_mode & 0o777
    node.chmod(0o600)
    try:
        with pytest.raises(hal.PermissionDenied, match=r"owner root:.*udev"):
            call_as("nobody", lambda: hal.open(f"gpio:{gpio_sim.chip}/0").close())
    finally:
        node.chmod(mode)


# --- levels -----------------------------------------------------------------------------------


def test_levels_are_read(gpio_sim: GpioSim) -> None:
    with lines("0,3,5") as inputs:
        gpio_sim.pull(3, 1)
        assert inputs.values == (0, 1, 0)
        assert inputs.read() == b"\0\1\0"
        assert inputs.read(2) == b"\0\1"
        assert (inputs[1], inputs[-1], inputs.get(1, 0)) == (1, 0, (1, 0))
        assert inputs.attributes["values"] == "010"
        gpio_sim.pull(3, 0)
        assert inputs.values == (0, 0, 0)
        with pytest.raises(IndexError, match="3 line"):
            inputs[3]
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: inputs.write(b"\1\1\1"), "output")
        assert inputs.poll(select.POLLIN, 0) == select.POLLIN


def test_levels_are_written(gpio_sim: GpioSim) -> None:
    with lines("4,2", values="01") as outputs:
        assert (gpio_sim.value(4), gpio_sim.value(2)) == (0, 1)
        outputs.values = (1, 0)
        assert (gpio_sim.value(4), gpio_sim.value(2), outputs.values) == (1, 0, (1, 0))
        outputs[1] = 1
        assert (gpio_sim.value(4), gpio_sim.value(2)) == (1, 1)
        outputs.set({0: 0})
        assert (gpio_sim.value(4), gpio_sim.value(2)) == (0, 1)
        outputs.attributes["values"] = "1"
        assert outputs.values == (1, 1)
        assert outputs.write(b"\0\0\1\0") == 4
        assert outputs.values == (1, 0)
        error(hal.InvalidArgument, errno.EINVAL, lambda: outputs.write(b"\1"), "2 lines")
        error(hal.InvalidArgument, errno.EINVAL, lambda: outputs.write(b"11"), "0x31")
        error(hal.InvalidArgument, errno.EINVAL, lambda: outputs.set({}), "no line")
    with lines("1", direction="output") as led:
        for level in (True, False, True):
            led[0] = level
            assert gpio_sim.value(1) == level


def test_what_we_write_others_read_and_the_reverse(gpio_sim: GpioSim) -> None:
    chip = gpio_sim.chip
    with lines("1", values="1", drive="open-drain", active_low=True, consumer="hal"):
        row = next(text for text in tool("gpioinfo", chip).splitlines() if '"LED"' in text)
        assert {'"hal"', "output", "active-low"} <= set(row.split())
        assert "open-drain" in row
        assert gpio_sim.value(1) == 0
    holder = subprocess.Popen(["gpioset", "--mode=signal", "--bias=pull-up", chip, "1=1"])
    try:
        with lines("15") as other:
            until(lambda: other.line_info(1).used)
            info = other.line_info(1)
            assert info[:5] == (1, "LED", "gpioset", True, "output")
            error(hal.Busy, errno.EBUSY, lambda: hal.open("gpio:LED"), "gpioset")
    finally:
        holder.terminate()
        holder.wait(10)


def test_settings_change_while_the_lines_are_held(gpio_sim: GpioSim) -> None:
    with lines("2", direction="output") as line:
        line[0] = 1
        line.active_low = True
        assert (line[0], gpio_sim.value(2)) == (1, 0)
        line.drive = "open-source"
        info = line.line_info(2)
        assert (info.drive, info.active_low, info.direction) == ("open-source", True, "output")
        line.drive = "push-pull"
        line.active_low = False
        assert (line[0], gpio_sim.value(2)) == (1, 1)
        line.direction = "input"
        line.bias = "pull-up"
        line.debounce = 0.005
        info = line.line_info(2)
        assert (info.direction, info.bias, info.debounce) == ("input", "pull-up", 0.005)
        assert (line.bias, line.debounce, line.direction) == ("pull-up", 0.005, "input")
        number, call = errno.EINVAL, line.attributes.__setitem__
        error(hal.InvalidArgument, number, lambda: call("drive", "open-drain"), "outputs")
        error(hal.InvalidArgument, number, lambda: call("direction", "output"), "debounced")
        error(hal.InvalidArgument, number, lambda: call("bias", "up"), "pull-up")
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: call("edge", "both"), "open the lines")
        assert line.line_info(2).bias == "pull-up"
        line.bias = "as-is"
        line.debounce = 0
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: call("direction", "as-is"), "forgotten")
    both = "direction=output&edge=both"
    error(hal.InvalidArgument, errno.EINVAL, lambda: hal.open(f"gpio:RELAY?{both}"), "inputs only")


# --- edges ------------------------------------------------------------------------------------


def toggle(gpio_sim: GpioSim, line: int, times: int) -> None:
    """Make edges: up, down, up ..."""
    for i in range(times):
        gpio_sim.pull(line, 1 - i % 2)


def test_edges_come_in_order(gpio_sim: GpioSim) -> None:
    gpio_sim.pull(3, 0)
    gpio_sim.pull(5, 0)
    with lines("5,3", edge="both") as keys:
        error(hal.WouldBlock, errno.EAGAIN, lambda: keys.read_events(timeout=0))
        error(hal.Timeout, errno.ETIMEDOUT, lambda: keys.read_events(timeout=0.02))
        error(hal.InvalidArgument, errno.EINVAL, lambda: keys.read(47, 0), "48")
        toggle(gpio_sim, 3, 2)
        toggle(gpio_sim, 5, 1)
        assert select.select([keys.fileno()], [], [], 10)[0]
        events: list[GpioEvent] = []
        for event in keys.events(timeout=10):
            events.append(event)
            if len(events) == 3:
                break
        kinds = [(event.edge, event.offset, event.line, event.line_sequence) for event in events]
        assert kinds == [("rising", 3, 1, 1), ("falling", 3, 1, 2), ("rising", 5, 0, 1)]
        assert [event.sequence for event in events] == [1, 2, 3]
        assert events[0].timestamp_ns < events[1].timestamp_ns < events[2].timestamp_ns
        assert keys.values == (1, 0)
        assert keys.lost == 0
        keys.edge = "falling"
        toggle(gpio_sim, 3, 2)
        assert [event.edge for event in keys.read_events(timeout=10)] == ["falling"]
    gpio_sim.pull(5, 0)


def test_edges_of_active_low_lines_turn_round(gpio_sim: GpioSim) -> None:
    gpio_sim.pull(3, 0)
    with lines("3", edge="rising", active_low=True, event_clock="realtime") as key:
        toggle(gpio_sim, 3, 2)
        (event,) = key.read_events(timeout=10)
        assert event.edge == "rising"
        assert abs(event.timestamp_ns - time.time_ns()) < 60 * 10**9


def test_lost_events_are_counted(gpio_sim: GpioSim) -> None:
    gpio_sim.pull(3, 0)
    with lines("3", edge="both", event_buffer=16) as key:
        toggle(gpio_sim, 3, 40)
        events = key.read_events(timeout=10)
        while len(events) < 16:
            events += key.read_events(timeout=10)
        assert [event.lost for event in events] == [24] + [0] * 15
        assert events[0].line_sequence == 25
        assert key.lost == 24


def test_asyncio(gpio_sim: GpioSim) -> None:
    gpio_sim.pull(3, 0)

    async def main() -> list[str]:
        with lines("3", edge="both") as key:
            asyncio.get_running_loop().call_later(0.1, toggle, gpio_sim, 3, 2)
            seen: list[str] = []
            async for event in key.aevents(timeout=20):
                seen.append(event.edge)
                if len(seen) == 2:
                    return seen
        raise AssertionError

    assert asyncio.run(main()) == ["rising", "falling"]


@pytest.mark.lab_timeout(300)
def test_ten_thousand_edges(gpio_sim: GpioSim) -> None:
    gpio_sim.pull(3, 0)
    count, step = 10_000, 500
    pull = devices.one(f"/sys/devices/platform/gpio-sim.*/{gpio_sim.chip}/sim_gpio3/pull")
    with lines("3", edge="both") as key, pull.open("w") as knob:
        got = 0
        last = 0
        for _ in range(count // step):
            for i in range(step):
                knob.write("pull-down" if i % 2 else "pull-up")
                knob.flush()
            until(lambda: key.poll(select.POLLIN, 5))
            want = got + step
            while got < want:
                for event in key.read_events(1024, timeout=20):
                    assert event.line_sequence == last + 1
                    last, got = event.line_sequence, got + 1
        assert (got, key.lost) == (count, 0)


def test_four_threads_on_four_lines(gpio_sim: GpioSim) -> None:
    failed: list[BaseException] = []

    def work(device: Gpio, index: int) -> None:
        try:
            for i in range(200):
                device[index] = bool(i & 1)
                assert device[index] == i & 1
        except BaseException as problem:  # noqa: BLE001 - shown by the test
            failed.append(problem)

    with lines("8,9,10,11", direction="output") as device:
        threads = [threading.Thread(target=work, args=(device, index)) for index in range(4)]
        for thread in threads:
            thread.start()
        for _ in range(20):
            device.active_low = not device.active_low
        for thread in threads:
            thread.join()
        assert not failed
        assert device.values == (1, 1, 1, 1)


# --- a chip that comes and goes ---------------------------------------------------------------


class Chip:
    """A simulated chip of our own."""

    def __init__(self, name: str, label: str, names: dict[int, str]) -> None:
        """Make it."""
        self.folder = Path("/sys/kernel/config/gpio-sim") / name
        self.bank = self.folder / "bank0"
        self.bank.mkdir(parents=True)
        (self.bank / "num_lines").write_text("4")
        (self.bank / "label").write_text(label)
        self.lines = [self.bank / f"line{number}" for number in names]
        for line, text in zip(self.lines, names.values(), strict=True):
            line.mkdir()
            (line / "name").write_text(text)
        (self.folder / "live").write_text("1")
        self.node = Path("/dev") / (self.bank / "chip_name").read_text().strip()
        until(self.node.exists)

    def remove(self) -> None:
        """Pull it out, if it is there."""
        if self.folder.exists():
            (self.folder / "live").write_text("0")
            for folder in (*self.lines, self.bank, self.folder):
                folder.rmdir()


def test_a_name_that_is_there_twice_is_refused() -> None:
    chips = [Chip("twin", "lab-twin", {0: "LED", 1: "PAIR", 2: "PAIR"})]
    try:
        error(hal.InvalidArgument, errno.EINVAL, lambda: hal.open("gpio:LED"), "2 lines are called")
        error(hal.InvalidArgument, errno.EINVAL, lambda: hal.open("gpio:lab-twin/PAIR"), "/1, .*/2")
        error(hal.InvalidArgument, errno.EINVAL, lambda: hal.open("gpio:RELAY,PAIR"), "2 lines")
        with Gpio.open("gpio:lab-twin/LED") as line:
            assert line.offsets == (0,)
    finally:
        for chip in chips:
            chip.remove()


def test_a_chip_removed_while_open() -> None:
    chip = Chip("gone", "lab-gone", {})
    outcome: list[BaseException] = []

    def wait(device: Gpio) -> None:
        try:
            device.read_events(timeout=60)
        except hal.Error as problem:
            outcome.append(problem)

    with Gpio.open("gpio:lab-gone/0", edge="both") as key, Gpio.open("gpio:lab-gone/1") as level:
        waiter = threading.Thread(target=wait, args=(key,))
        waiter.start()
        try:
            time.sleep(0.5)  # it waits by then
        finally:
            chip.remove()
        waiter.join(5)
        woken = not waiter.is_alive()
        key.cancel()
        waiter.join()
        error(hal.Unplugged, errno.ENODEV, level.read, "removed")
        error(hal.Unplugged, errno.ENODEV, lambda: key.read_events(timeout=1))
        assert woken
        assert isinstance(outcome[0], hal.Unplugged)
