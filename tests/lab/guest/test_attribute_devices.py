# SPDX-License-Identifier: Apache-2.0
"""The drivers ``led``, ``pwm`` and ``hwmon`` on kernel devices of the lab."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hal

from . import devices
from .devices import Led, Module, until
from .user import call_as


@pytest.fixture
def lamp(led: Led) -> Iterator[hal.Led]:
    """The lab's LED, opened."""
    until((led.folder / "brightness").exists)
    with hal.Led.open(f"led:{led.folder.name}") as opened:
        yield opened


def test_an_led_is_lit_and_read(lamp: hal.Led, led: Led) -> None:
    lamp.on()
    assert led.brightness() == lamp.max_brightness == lamp.brightness
    lamp.brightness = 7
    assert led.brightness() == 7
    assert lamp.read(16) == b"7\n"
    lamp.write(b"9\n")
    assert led.brightness() == 9
    lamp.off()
    assert led.brightness() == 0


def test_an_led_refuses_what_it_cannot_do(lamp: hal.Led) -> None:
    with pytest.raises(hal.InvalidArgument, match=r"outside 0 \.\. \d+"):
        lamp.brightness = lamp.max_brightness + 1
    with pytest.raises(hal.InvalidArgument, match="refuses"):
        lamp.trigger = "no-such-trigger"
    with pytest.raises(hal.Unsupported, match="timer"):
        lamp.delay_on = 1
    with pytest.raises(hal.InvalidArgument, match="decimal number"):
        lamp.write(b"bright")


def test_an_led_that_is_not_there() -> None:
    with pytest.raises(hal.NotFound, match="no LED of that name"):
        hal.open("led:none")
    with pytest.raises(hal.InvalidArgument):
        hal.open("led:../class")


@pytest.fixture
def pwm(lab_pwm: Module) -> Iterator[hal.Pwm]:
    """Channel 1 of the lab's chip, opened."""
    with hal.Pwm.open(f"pwm:{devices.pwm_chip().name}/1") as opened:
        yield opened


def test_a_pwm_channel_runs(pwm: hal.Pwm, lab_pwm: Module) -> None:
    pwm.period = 1e-3
    pwm.duty = 0.25
    pwm.enabled = True
    assert lab_pwm.log()[-1] == "pwm1 period=1000000 duty=250000 enabled=1 inverted=0"
    pwm.frequency = 2000
    assert lab_pwm.log()[-1] == "pwm1 period=500000 duty=125000 enabled=1 inverted=0"
    assert (pwm.period, pwm.duty_time, pwm.duty) == (5e-4, 125e-6, 0.25)
    assert pwm.read(16) == b"0.25\n"
    pwm.write(b"50%")
    assert lab_pwm.log()[-1] == "pwm1 period=500000 duty=250000 enabled=1 inverted=0"
    pwm.enabled = False
    pwm.polarity = "inversed"
    assert pwm.polarity == "inversed"
    pwm.polarity = "normal"


def test_a_pwm_channel_is_set_up_by_its_uri(lab_pwm: Module) -> None:
    uri = f"pwm:{devices.pwm_chip().name}/0"
    with hal.open(uri, enabled=True, duty="40%", frequency="10kHz"):
        assert lab_pwm.log()[-1] == "pwm0 period=100000 duty=40000 enabled=1 inverted=0"
    assert not (devices.pwm_chip() / "pwm0").exists()  # given back


def test_a_pwm_channel_that_is_not_there(lab_pwm: Module) -> None:
    chip = devices.pwm_chip().name
    with pytest.raises(hal.NotFound, match=f"no channel {devices.PWM_CHANNELS}"):
        hal.open(f"pwm:{chip}/{devices.PWM_CHANNELS}")
    with pytest.raises(hal.InvalidArgument, match="CHIP/CHANNEL"):
        hal.open(f"pwm:{chip}")
    with pytest.raises(hal.NotFound):
        hal.open("pwm:pwmchip77/0")


def _files(chip: Path) -> dict[str, float]:
    return {path.name: float(path.read_text()) for path in chip.glob("*_input")}


def test_monitors_measure_in_si_units(lab_i2c: Module) -> None:
    lm75, power = devices.hwmon("lm75"), devices.hwmon("ltc4215")
    with hal.Hwmon.open(f"hwmon:{lm75.name}") as chip:
        (sensor,) = chip.sensors()
        assert (sensor.name, sensor.unit) == ("temp1", "°C")
        assert sensor.value == pytest.approx(_files(lm75)["temp1_input"] / 1e3)
        assert sensor.limits["max"] == pytest.approx(float((lm75 / "temp1_max").read_text()) / 1e3)
        chip.attributes["temp1.max"] = 61.5
        assert (lm75 / "temp1_max").read_text() == "61500\n"
        assert chip.read(64).startswith(b"temp1 ")
    with hal.Hwmon.open("hwmon:ltc4215") as chip:
        sensors = {sensor.name: sensor for sensor in chip.sensors()}
        assert (sensors["power1"].unit, sensors["in1"].unit) == ("W", "V")
        assert sensors["power1"].value == pytest.approx(_files(power)["power1_input"] / 1e6)
        assert sensors["in1"].value == pytest.approx(_files(power)["in1_input"] / 1e3)
    with hal.Hwmon.open("hwmon:max6650") as chip:
        fan = next(sensor for sensor in chip.sensors() if sensor.name == "fan1")
        assert fan.unit == "1/min"
        assert fan.value is not None
        assert fan.value > 0


def test_a_monitor_refuses_what_it_cannot_do(lab_i2c: Module) -> None:
    with pytest.raises(hal.NotFound, match="no such monitor"):
        hal.open("hwmon:none")
    with hal.open("hwmon:lm75") as chip:
        with pytest.raises(hal.Unsupported, match="takes no bytes"):
            chip.write(b"x")
        with pytest.raises(hal.PermissionDenied, match="read-only"):
            chip.attributes["temp1"] = 3.0


def set_limit_of_lm75() -> str:
    """What is said to somebody who sets a limit."""
    try:
        with hal.open("hwmon:lm75") as chip:
            chip.attributes["temp1.max"] = 50.0
    except hal.PermissionDenied as refused:
        return str(refused)
    return "was allowed"


def test_an_ordinary_user_may_read_only(lab_i2c: Module) -> None:
    assert "read-only" in call_as("nobody", set_limit_of_lm75)


def in_four_threads(work: Callable[[], object]) -> None:
    """Each of four threads does it ten times; what goes wrong in one is raised here."""
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(work) for _ in range(40)]:
            done.result()


def test_four_threads(lamp: hal.Led, pwm: hal.Pwm, lab_i2c: Module) -> None:
    pwm.period = 1e-3
    with hal.Hwmon.open("hwmon:lm75") as chip:

        def work() -> None:
            lamp.brightness = 3
            assert lamp.brightness == 3
            pwm.duty = 0.5
            assert pwm.duty == 0.5
            assert chip.attributes["temp1"] is not None

        in_four_threads(work)


def test_a_monitor_removed_while_open(lab_i2c: Module) -> None:
    with hal.Hwmon.open("hwmon:lm75") as chip:
        lab_i2c.remove()
        try:
            with pytest.raises((hal.NotFound, hal.Unplugged)):
                _ = chip.attributes["temp1"]
            assert chip.sensors()[0].value is None
        finally:
            lab_i2c.insert()


def test_a_pwm_chip_removed_while_open(pwm: hal.Pwm, lab_pwm: Module) -> None:
    lab_pwm.remove()
    try:
        with pytest.raises((hal.NotFound, hal.Unplugged)):
            pwm.duty = 0.5
    finally:
        lab_pwm.insert()


def test_an_led_removed_while_open() -> None:
    gone = Led("lab::gone")
    until((gone.folder / "brightness").exists)
    with hal.Led.open("led:lab::gone") as lamp:
        assert lamp.brightness == 0
        gone.close()
        until(lambda: not gone.folder.exists())
        with pytest.raises((hal.NotFound, hal.Unplugged)):
            lamp.brightness = 1
