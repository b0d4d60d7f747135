# SPDX-License-Identifier: Apache-2.0
"""hal-probe test: open a device, exercise it, time it."""

from __future__ import annotations

import hal
from hal.discovery import local_inventory

from . import exercise, output, serial_line
from .exercise import Exercise
from .outcome import Exit, Failure
from .target import find

TIMEOUT = 5.0
"""Seconds that opening may take."""


def run(device: str, *, loopback: bool, json: bool) -> Exit:
    """Test a device."""
    target = find(device, local_inventory())
    if not target.uri:
        raise Failure(
            f'test "{device}": no HAL driver serves it', Exit.FAILED, hal.Unsupported.kind,
            [f"hal-probe show {device}"],
        )  # fmt: skip
    test = Exercise()
    opened = test.open(target.uri, TIMEOUT)
    if opened is not None:
        with opened:
            _exercise(test, opened, loopback=loopback)
    _report(target.uri, test, json=json)
    return test.code


def run_pty(*, json: bool) -> Exit:
    """Make a pseudo-terminal and test the serial driver on it."""
    test = Exercise()
    far = serial_line.Pty.make()
    uri = f"uart:{far.path}"
    line = test.open(uri, TIMEOUT)
    if isinstance(line, hal.Uart):
        with line:
            exercise.attributes(test, line)
            serial_line.pty(test, far, line)
            exercise.close(test, line)
    else:
        far.close()
    _report(uri, test, json=json)
    return test.code


def _exercise(test: Exercise, device: hal.Device, *, loopback: bool) -> None:
    exercise.attributes(test, device)
    seconds_a_byte = 0.0
    if isinstance(device, hal.Uart):
        serial_line.settings(test, device)
        seconds_a_byte = 10 / device.baud  # start, 8 data and stop bit
    exercise.waits(test, device)
    if loopback or device.driver == "loopback":
        serial_line.loop(test, device, seconds_a_byte)
    else:
        why = "nothing was written: --loopback says that what goes out comes back (TX wired to RX)"
        test.skip("data", why)
    exercise.close(test, device)


def _report(uri: str, test: Exercise, *, json: bool) -> None:
    if json:
        steps = [step.as_dict() for step in test.steps]
        output.emit("test", {"uri": uri, "passed": test.code == Exit.OK, "steps": steps,
                             "exit": int(test.code)})  # fmt: skip
        return
    output.say(uri, "bold")
    output.table((), [(f"  {step.name}", step.result, step.text) for step in test.steps])
    count = {result: sum(step.result == result for step in test.steps)
             for result in ("pass", "fail", "skip")}  # fmt: skip
    output.say()
    output.say(f"{count['pass']} passed, {count['fail']} failed, {count['skip']} skipped")
    if test.code != Exit.OK:
        output.command(f"hal-probe explain {uri}")
