# SPDX-License-Identifier: Apache-2.0
"""hal-probe as a user runs it: output, JSON, exit codes, what it says when things are wrong."""

from __future__ import annotations

import json
import os
import pty
import re
import select
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import hal
from hal.probe import exercise, output
from hal.probe.exercise import Exercise

from .machine import UNPRIVILEGED, Machine, workbench

ROOT = Path(__file__).parent.parent
COMMANDS = ("list", "show", "test", "drivers", "cache", "bench", "explain", "find")

SCHEMA = json.loads((ROOT / "docs/hal-probe.schema.json").read_text())


def strict(schema: Any) -> Any:
    """The schema without room to grow, so that a member that is not described fails a test."""
    defs = {
        name: rule | ({"additionalProperties": False} if "properties" in rule else {})
        for name, rule in schema["$defs"].items()
        if name not in ("attribute", "reading")
    }
    return schema | {"$defs": schema["$defs"] | defs}


VALIDATOR = Draft202012Validator(strict(SCHEMA), format_checker=Draft202012Validator.FORMAT_CHECKER)

Run = subprocess.CompletedProcess[str]


def probe(
    *arguments: str, prefix: tuple[str, ...] = (), environment: dict[str, str] | None = None
) -> Run:
    """Run hal-probe; whatever happens, it shows no traceback."""
    run = subprocess.run(
        [*prefix, sys.executable, "-m", "hal.probe", *arguments],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
        env={**os.environ, "COLUMNS": "80", **(environment or {})},
    )
    assert "Traceback" not in run.stderr, run.stderr
    return run


def probe_json(*arguments: str, environment: dict[str, str] | None = None) -> tuple[int, Any]:
    """Run hal-probe --json; what it prints fits the schema."""
    run = probe(*arguments, "--json", environment=environment)
    data = json.loads(run.stdout)
    VALIDATOR.validate(data)
    return run.returncode, data


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return workbench(tmp_path / "machine")


class Line:
    """A serial line: a pseudo-terminal whose other side the test has."""

    def __init__(self) -> None:
        self.master, slave = os.openpty()
        self.path = os.ttyname(slave)
        self.uri = f"uart:{self.path}"
        self._slave = slave  # Kept open, so that the line stays up between two openings.
        self._thread: threading.Thread | None = None
        self._ended = threading.Event()

    def answer(self, change: Callable[[bytes], bytes | None]) -> None:
        """Send back what comes in, changed; None pulls the plug."""
        self._thread = threading.Thread(target=self._answer, args=(change,))
        self._thread.start()

    def _answer(self, change: Callable[[bytes], bytes | None]) -> None:
        os.set_blocking(self.master, False)
        queue: bytes | None = b""
        while queue is not None and not self._ended.is_set():
            ends = [self.master]
            if queue:
                if select.select([], ends, [], 0.05)[1]:
                    queue = queue[os.write(self.master, queue) :]
            elif select.select(ends, [], [], 0.05)[0]:
                queue = change(os.read(self.master, 4096))
        if queue is None:
            os.close(self.master)
            self.master = -1

    def hang_up(self) -> None:
        if self._slave >= 0:
            os.close(self._slave)
            self._slave = -1

    def close(self) -> None:
        self._ended.set()
        if self._thread:
            self._thread.join()
        self.hang_up()
        if self.master >= 0:
            os.close(self.master)


@pytest.fixture
def line() -> Iterator[Line]:
    made = Line()
    yield made
    made.close()


# ---- the command line ---------------------------------------------------------------------------


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example_and_the_exit_codes(command: str) -> None:
    run = probe(command, "--help")
    assert run.returncode == 0
    assert f"hal-probe {command}" in run.stdout.partition("Examples:")[2]
    text = " ".join(run.stdout.split())
    assert "0 fine, 1 something failed, 2 wrong use, 3 not found, 4 no permission, 5 busy" in text
    assert "--json" in text


def test_the_main_help_names_every_command() -> None:
    run = probe("--help")
    assert all(re.search(rf"^  {command} ", run.stdout, re.MULTILINE) for command in COMMANDS)
    assert probe("--version").stdout.strip().endswith(hal.__version__)


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["list", "--nonsense"],
        ["list", "--class", "nonsense"],
        ["list", "--root", "/nonexistent"],
        ["show"],
        ["test"],
        ["test", "loopback", "--pty"],
        ["explain", "a", "b"],
    ],
)
def test_wrong_use_is_exit_2(arguments: list[str]) -> None:
    run = probe(*arguments)
    assert run.returncode == 2
    assert "Error: " in run.stderr
    assert run.stdout == ""


def test_a_reader_that_goes_away_is_no_failure() -> None:
    script = f"set -o pipefail; {sys.executable} -m hal.probe list | true"
    run = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (run.returncode, run.stderr) == (0, "")


# ---- list ---------------------------------------------------------------------------------------


def test_list_shows_this_machine() -> None:
    code, data = probe_json("list")
    assert code == 0
    names = {device["name"] for device in data["devices"]}
    assert names.issuperset(os.listdir("/sys/bus/pci/devices"))
    text = probe("list").stdout
    assert all(name in text for name in names)


def test_list_shows_every_column_of_a_made_up_machine(machine: Machine) -> None:
    run = probe("list", "--root", str(machine.root))
    assert run.returncode == 0
    assert re.search(r"^serial$", run.stdout, re.MULTILINE)
    row = r"^  ttyUSB0 +uart +uart:/dev/ttyUSB0 +(ready|denied) +FTDI FT232R"
    assert re.search(row, run.stdout, re.MULTILINE)
    assert re.search(
        r"^  dax0.0 +memory +memory:/dev/dax0.0 .*device DAX, 1", run.stdout, re.MULTILINE
    )
    assert re.search(r"^  enp0s25 +- +- +present .*1000", run.stdout, re.MULTILINE)


def test_list_says_what_it_did_not_see(machine: Machine) -> None:
    shutil.rmtree(machine.root / "sys/bus/i2c")
    shutil.rmtree(machine.root / "sys/class/video4linux")
    text = " ".join(probe("list", "--root", str(machine.root)).stdout.split())
    assert "No i2c, video: the kernel has no such subsystem" in text


def test_a_driver_that_is_absent_or_refused_shows_in_the_state(
    machine: Machine, tmp_path: Path
) -> None:
    (tmp_path / "gpio.so").write_text("not a plug-in")
    environment = {"HAL_DRIVER_PATH": str(tmp_path)}
    _, data = probe_json("list", "--root", str(machine.root), environment=environment)
    devices = {device["name"]: device for device in data["devices"]}
    assert devices["ttyS0"]["state"] == "ready"
    assert devices["gpiochip0"]["state"] == "no driver"
    assert "gpio.so" in devices["gpiochip0"]["detail"]


def test_list_filters_by_class(machine: Machine) -> None:
    _, data = probe_json("list", "--root", str(machine.root), "-c", "gpio", "--class", "iio")
    assert {device["device_class"] for device in data["devices"]} == {"gpio", "iio"}


def test_output_in_a_pipe_is_plain_and_fits_80_columns(machine: Machine) -> None:
    for arguments in (["list"], ["show", "ttyUSB0"], ["explain", "ttyS0"], ["explain", "spi0.0"]):
        text = probe(*arguments, "--root", str(machine.root)).stdout
        lines = text.splitlines()
        assert "\x1b" not in text
        assert all(line == line.rstrip() for line in lines)
        wide = [line for line in lines if len(line) > 80]
        assert not [line for line in wide if not line.startswith("    ")]  # commands to copy


def test_a_terminal_gets_colour_unless_it_is_not_wanted(machine: Machine) -> None:
    def shown(**environment: str) -> bytes:
        master, slave = pty.openpty()
        with subprocess.Popen(
            [sys.executable, "-m", "hal.probe", "list", "--root", str(machine.root)],
            stdin=slave,
            stdout=slave,
            env={**os.environ, "TERM": "xterm-256color", **environment},
        ) as process:
            os.close(slave)
            text = b""
            with suppress(OSError):  # EIO is the end of a pty.
                while data := os.read(master, 65536):
                    text += data
            os.close(master)
        assert process.returncode == 0
        return text

    assert b"\x1b[32m" in shown()
    assert b"\x1b[32m" not in shown(NO_COLOR="1")


def test_names_that_the_terminal_cannot_show_are_spelt_out(machine: Machine) -> None:
    machine.write("/sys/devices/platform/camera/video4linux/video0/name", "Kamera \u00fc \u65e5\n")
    environment = {"PYTHONIOENCODING": "ascii"}
    text = probe("list", "--root", str(machine.root), environment=environment).stdout
    assert "\\xfc" in text
    _, data = probe_json("show", "video0", "--root", str(machine.root), environment=environment)
    assert data["record"]["model"] == "Kamera \u00fc \u65e5"


# ---- show ---------------------------------------------------------------------------------------


def test_show_opens_a_line_and_reads_its_attributes(line: Line) -> None:
    code, data = probe_json("show", f"{line.uri}?baud=9600")
    assert code == 0
    attributes = {attribute["name"]: attribute for attribute in data["attributes"]}
    baud = attributes["baud"]
    assert (baud["value"], baud["unit"], baud["type"]) == (9600, "baud", "int")
    assert baud["access"] == "rwo"
    assert baud["range"][0] == 1
    assert attributes["parity"]["choices"] == ["none", "even", "odd", "mark", "space"]
    assert attributes["cts"]["value"] is None
    assert "no modem lines" in attributes["cts"]["error"]
    assert data["driver"]["name"] == "uart"


def test_show_prints_values_meanings_and_what_is_missing(line: Line) -> None:
    text = probe("show", line.uri).stdout
    assert re.search(r"^baud +115200 baud +int +rwo", text, re.MULTILINE)
    assert re.search(r"^parity +Parity bit\.", text, re.MULTILINE)
    assert re.search(r"^No value of .*", text, re.MULTILINE)


@pytest.mark.parametrize(
    "name",
    ["ttyUSB0", "/dev/ttyUSB0", "uart:/dev/ttyUSB0", "uart:ttyUSB0", "uart:/dev/ttyUSB0?baud=1"],
)
def test_a_device_may_be_named_in_many_ways(machine: Machine, name: str) -> None:
    code, data = probe_json("show", name, "--root", str(machine.root))
    assert code == 0
    assert data["record"]["serial"] == "A50285BI"
    again = probe_json("show", data["record"]["id"], "--root", str(machine.root))[1]
    assert again["record"] == data["record"]


def test_an_address_of_a_bus_names_a_device_too(machine: Machine) -> None:
    for name in ("0000:01:00.0", "00:1b:21:3a:4f:10", "mmio:0000:01:00.0/1"):
        _, data = probe_json("show", name, "--root", str(machine.root))
        assert data["uri"] == data["record"]["uri"]
    for name in ("0000:01:00.7", "00:1b:21:3a:4f:99"):
        run = probe("explain", name, "--root", str(machine.root))
        assert run.returncode == 3
        assert "did you mean" in run.stdout


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("i2c:1/0x51", "i2c-1"),
        ("i2c:1/0x50", "1-0050"),
        ("gpio:gpiochip0/4,5", "gpiochip0"),
        ("mmio:0000:01:00.0/3", "0000:01:00.0"),
    ],
)
def test_a_part_of_a_device_leads_to_the_device(machine: Machine, uri: str, name: str) -> None:
    _, data = probe_json("explain", uri, "--root", str(machine.root))
    assert data["record"]["name"] == name
    assert data["uri"] == uri


def test_show_without_opening_gives_what_the_driver_declares(line: Line) -> None:
    with hal.open(line.uri):
        code, data = probe_json("show", line.uri, "--no-open")
    assert code == 0
    assert {attribute["value"] for attribute in data["attributes"]} == {None}
    assert any(attribute["name"] == "baud" for attribute in data["attributes"])


def test_an_unknown_device_is_exit_3_with_near_names(machine: Machine) -> None:
    run = probe("show", "ttyUBS0", "--root", str(machine.root))
    assert run.returncode == 3
    assert 'find "ttyUBS0"' in run.stderr
    assert "did you mean uart:/dev/ttyUSB0?" in run.stderr
    assert run.stdout == ""


def test_errors_are_json_too_when_asked(machine: Machine) -> None:
    code, data = probe_json("show", "ttyUBS0", "--root", str(machine.root))
    assert code == data["error"]["exit"] == 3
    assert data["error"]["kind"] == "not-found"
    assert "hal-probe list" in data["error"]["next"]


def test_a_name_that_is_no_text_is_not_found() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "hal.probe", "show", b"\xff\xfe"],
        capture_output=True,
        check=False,
    )
    assert run.returncode == 3
    assert rb'find "\xff\xfe"' in run.stderr


@pytest.mark.parametrize("command", ["show", "test", "explain"])
def test_a_bad_uri_is_exit_2_with_the_librarys_message(command: str) -> None:
    run = probe(command, "loopback:?capacity=1&capacity=2")
    with pytest.raises(hal.InvalidArgument) as caught:
        hal.open("loopback:?capacity=1&capacity=2")
    assert run.returncode == 2
    assert " ".join(str(caught.value).split()) in " ".join((run.stdout + run.stderr).split())


def test_an_option_out_of_range_is_exit_2(line: Line) -> None:
    run = probe("show", f"{line.uri}?bits=9")
    assert run.returncode == 2
    assert "bits" in run.stderr


# ---- test ---------------------------------------------------------------------------------------


def test_test_pty_drives_a_real_line_through_the_driver() -> None:
    code, data = probe_json("test", "--pty")
    assert code == 0, data
    assert data["passed"]
    steps = {step["step"]: step for step in data["steps"]}
    assert all(step["result"] == "pass" for step in steps.values()), steps
    assert steps["all bytes, line to program"]["numbers"]["bytes"] > 8192
    assert steps["latency, echo"]["numbers"]["p50_seconds"] > 0
    assert steps["throughput, program to line"]["numbers"]["bytes_per_second"] > 0
    assert {"deadline", "cancel", "unplug", "close", "readline"} <= steps.keys()


def test_test_pty_prints_a_table() -> None:
    run = probe("test", "--pty")
    assert run.returncode == 0
    assert re.search(r"^  unplug +pass +\d+\.\d\d ms", run.stdout, re.MULTILINE)
    assert re.search(r"^\d+ passed, 0 failed, 0 skipped$", run.stdout, re.MULTILINE)


def test_test_of_the_loopback_driver() -> None:
    code, data = probe_json("test", "loopback")
    assert code == 0, data
    steps = {step["step"]: step["result"] for step in data["steps"]}
    assert steps["all bytes, out and back"] == "pass"


def test_nothing_is_written_to_a_line_unless_asked(line: Line) -> None:
    code, data = probe_json("test", line.uri)
    assert code == 0
    steps = {step["step"]: step for step in data["steps"]}
    assert steps["data"]["result"] == "skip"
    assert "--loopback" in steps["data"]["text"]
    assert steps["settings read back"]["result"] == "pass"
    os.set_blocking(line.master, False)
    with pytest.raises(BlockingIOError):
        os.read(line.master, 1)


def test_a_looped_line_passes(line: Line) -> None:
    line.answer(lambda data: data)
    code, data = probe_json("test", f"{line.uri}?baud=921600", "--loopback")
    assert code == 0, data
    steps = {step["step"]: step for step in data["steps"]}
    assert steps["all bytes, out and back"]["result"] == "pass"
    assert steps["throughput, out and back"]["numbers"]["bytes"] > 4096


def test_a_line_that_changes_a_byte_fails(line: Line) -> None:
    line.answer(lambda data: data.replace(b"\x80", b"\x81"))
    code, data = probe_json("test", f"{line.uri}?baud=921600", "--loopback")
    assert code == 1
    assert not data["passed"]
    steps = {step["step"]: step for step in data["steps"]}
    assert "was sent as 0x80 and came as 0x81" in steps["all bytes, out and back"]["text"]


def test_a_line_without_a_loop_fails(line: Line) -> None:
    code, data = probe_json("test", f"{line.uri}?baud=921600", "--loopback")
    assert code == 1
    steps = {step["step"]: step for step in data["steps"]}
    assert steps["all bytes, out and back"]["result"] == "fail"
    assert steps["close"]["result"] == "pass"


def test_a_line_that_is_unplugged_is_exit_3(line: Line) -> None:
    line.answer(lambda data: None if len(data) > 1 else data)
    run = probe("test", f"{line.uri}?baud=921600", "--loopback")
    assert run.returncode == 3
    assert "unplugged" in run.stdout


class Register:
    """A driver whose every read does something, as on a bus."""

    reads = 0

    def init(self, device: object) -> None: ...

    def read(self, n: int, deadline: float) -> bytes:
        type(self).reads += 1
        return b"\xff" * n

    def write(self, data: bytes, deadline: float) -> int:
        raise AssertionError("nothing is to be written")

    def poll(self, events: int) -> int:
        return events & select.POLLIN


def test_nothing_is_read_from_a_bus_device() -> None:
    hal.register_driver("register", Register)
    try:
        run = Exercise()
        with hal.open("register:") as device:
            exercise.waits(run, device)
    finally:
        hal.unregister_driver("register")
    assert Register.reads == 0
    assert [step.result for step in run.steps] == ["skip"]


def test_testing_what_no_driver_serves_says_so(machine: Machine) -> None:
    name = next(name for name in os.listdir("/sys/class/net") if name != "lo")
    run = probe("test", name)
    assert run.returncode == 1
    assert "no HAL driver serves it" in run.stderr


# ---- drivers ------------------------------------------------------------------------------------


def test_drivers_lists_those_of_the_library() -> None:
    code, data = probe_json("drivers")
    assert code == 0
    found = {driver["name"]: driver for driver in data["drivers"]}
    assert {"uart", "loopback"} <= found.keys()
    assert found["uart"]["state"] == "loadable"
    assert found["uart"]["path"].endswith("/uart.so")
    assert any(attribute["name"] == "baud" for attribute in found["uart"]["attributes"])
    assert data["library"]["version"] == hal.__version__
    assert data["search_path"][-1] == hal.driver_dir()


def test_drivers_verbose_shows_attributes() -> None:
    text = probe("drivers", "--verbose").stdout
    assert re.search(r"^  baud +int +baud +rwo +115200 ", text, re.MULTILINE)


def test_a_refused_plugin_is_listed_with_path_and_reason(tmp_path: Path) -> None:
    (tmp_path / "broken.so").write_text("not a plug-in")
    code, data = probe_json("drivers", environment={"HAL_DRIVER_PATH": str(tmp_path)})
    assert code == 1
    found = {driver["name"]: driver for driver in data["drivers"]}
    assert found["broken"]["state"] == "refused"
    assert found["broken"]["path"] == str(tmp_path / "broken.so")
    assert "broken.so" in found["broken"]["reason"]
    assert found["uart"]["state"] == "loadable"
    text = probe("drivers", environment={"HAL_DRIVER_PATH": str(tmp_path)}).stdout
    assert re.search(r"^broken refused: ", text, re.MULTILINE)


FOREIGN = """
#include <hal/driver.h>
const struct hal_plugin hal_plugin __attribute__((visibility("default"))) = {
    HAL_PLUGIN_MAGIC, HAL_ABI_VERSION + 41, sizeof(struct driver_ops), "foreign", 0, "9.9"};
"""


@pytest.fixture
def foreign(tmp_path: Path) -> str:
    """A folder with a plug-in that was built for another ABI."""
    (tmp_path / "foreign.c").write_text(FOREIGN)
    flags = subprocess.run(
        [sys.executable, "-m", "hal", "--cflags"], capture_output=True, text=True, check=True
    ).stdout.split()
    command = ["cc", "-shared", "-fPIC", *flags, "foreign.c", "-o", "foreign.so"]
    subprocess.run(command, cwd=tmp_path, check=True)
    return str(tmp_path)


def test_a_plugin_of_another_abi_is_refused_with_both_versions(foreign: str) -> None:
    code, data = probe_json("drivers", environment={"HAL_DRIVER_PATH": foreign})
    assert code == 1
    found = {driver["name"]: driver for driver in data["drivers"]}
    abi = data["library"]["abi"]
    assert str(abi + 41) in found["foreign"]["reason"]
    assert re.search(rf"\b{abi}\b", found["foreign"]["reason"])


# ---- explain ------------------------------------------------------------------------------------


def stages(data: Any) -> dict[str, Any]:
    return {stage["stage"]: stage for stage in data["stages"]}


def test_nothing_is_in_the_way_of_a_free_line(line: Line) -> None:
    line.hang_up()
    code, data = probe_json("explain", line.uri)
    assert code == 0
    assert data["failed"] is None
    assert list(stages(data)) == ["name", "node", "rights", "holder", "driver"]


def test_a_busy_line_names_its_holder_and_is_exit_5(line: Line) -> None:
    program = f"import os, sys; os.open({line.path!r}, os.O_RDWR | os.O_NOCTTY); input()"
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, text=True
    ) as holder:
        line.hang_up()
        code, data = 0, None
        for _ in range(100):  # Until it has opened the line.
            code, data = probe_json("explain", line.path)
            if code:
                break
        holder.communicate("\n")
    assert code == 5
    stage = stages(data)["holder"]
    assert re.search(rf"held by pid {holder.pid} \(python[\d.]*\)", stage["text"])
    assert f"kill {holder.pid}" in stage["next"][0]


def test_opening_a_busy_line_is_exit_5(line: Line) -> None:
    with hal.open(line.uri):
        for command in ("show", "test"):
            run = probe(command, line.uri)
            assert run.returncode == 5
            assert f"pid {os.getpid()}" in " ".join((run.stdout + run.stderr).split())


def denied(path: Path) -> tuple[str, ...]:
    """Take the rights of a node away; the prefix of a command that then has none."""
    if os.geteuid():
        path.chmod(0)
        return ()
    os.chown(path, 0, 20)
    path.chmod(0o660)
    return tuple(UNPRIVILEGED)


def test_missing_rights_are_exit_4_with_the_line_to_type(machine: Machine) -> None:
    prefix = denied(machine.root / "dev/ttyUSB0")
    run = probe("explain", "ttyUSB0", "--root", str(machine.root), prefix=prefix)
    assert run.returncode == 4
    assert "Permission denied (owner " in run.stdout
    if prefix:
        assert "    sudo usermod -aG dialout nobody\n" in run.stdout


def test_a_node_of_root_alone_gets_the_udev_rule(machine: Machine) -> None:
    prefix = denied(machine.root / "dev/spidev0.0")
    if prefix:
        os.chown(machine.root / "dev/spidev0.0", 0, 0)
    run = probe("explain", "spi0.0", "--root", str(machine.root), prefix=prefix)
    assert run.returncode == 4
    assert 'SUBSYSTEM=="spidev", KERNEL=="spidev*", GROUP="hal", MODE="0660"' in run.stdout


def test_opening_without_rights_is_exit_4(line: Line) -> None:
    prefix = denied(Path(line.path))
    run = probe("show", line.uri, prefix=prefix)
    assert run.returncode == 4
    assert "Permission denied (owner" in run.stderr


def test_a_device_that_the_kernel_uses_is_exit_5(machine: Machine) -> None:
    code, data = probe_json("explain", "1-0050", "--root", str(machine.root))
    assert (code, data["failed"]) == (5, "kernel")
    assert "kernel driver at24" in stages(data)["kernel"]["text"]
    assert "/sys/bus/i2c/drivers/at24/unbind" in stages(data)["kernel"]["next"][1]


def test_a_device_without_a_node_says_how_to_get_one(machine: Machine) -> None:
    code, data = probe_json("explain", "i2c-2", "--root", str(machine.root))
    assert (code, data["failed"]) == (3, "node")
    assert stages(data)["node"]["next"] == ["sudo modprobe i2c-dev"]


def test_a_name_for_a_uart_that_is_not_there(machine: Machine) -> None:
    code, data = probe_json("explain", "uart:/dev/ttyS1", "--root", str(machine.root))
    assert (code, data["failed"]) == (3, "kernel")
    assert "found none" in stages(data)["kernel"]["text"]


def test_a_missing_adapter_names_usb_devices_without_a_driver(machine: Machine) -> None:
    machine.device(
        "/devices/platform/usb/usb2/2-1",
        "bus/usb",
        driver="usb",
        uevent={"DEVTYPE": "usb_device"},
        attrs={"idVendor": "1a86", "idProduct": "7523", "product": "USB Serial"},
    )
    machine.device("/devices/platform/usb/usb2/2-1/2-1:1.0", "bus/usb")
    code, data = probe_json("explain", "/dev/ttyUSB5", "--root", str(machine.root))
    assert (code, data["failed"]) == (3, "name")
    assert any("1a86:7523" in line for line in stages(data)["name"]["next"])
    assert any("dmesg" in line for line in stages(data)["name"]["next"])


def test_a_missing_node_lists_its_neighbours(line: Line) -> None:
    code, data = probe_json("explain", "uart:/dev/pts/999999")
    assert (code, data["failed"]) == (3, "node")
    assert "No such file" in stages(data)["node"]["text"]


def test_an_absent_driver_is_told_with_where_it_was_looked_for() -> None:
    code, data = probe_json("explain", "nonesuch:1")
    assert (code, data["failed"]) == (3, "driver")
    assert hal.driver_dir() in stages(data)["driver"]["text"]


def test_a_refused_driver_is_told_with_the_reason(foreign: str) -> None:
    code, data = probe_json("explain", "foreign:1", environment={"HAL_DRIVER_PATH": foreign})
    assert (code, data["failed"]) == (1, "driver")
    assert "refused" in stages(data)["driver"]["text"]


def test_a_driver_that_needs_an_address() -> None:
    code, data = probe_json("explain", "uart")
    assert (code, data["failed"]) == (2, "driver")
    assert "uart:/dev/ttyX" in stages(data)["driver"]["text"]


def test_what_is_only_listed_is_explained_as_that(machine: Machine) -> None:
    run = probe("explain", "node0", "--root", str(machine.root))
    assert run.returncode == 0
    assert "No HAL driver opens it." in run.stdout


# ---- the schema ---------------------------------------------------------------------------------


def test_the_schema_is_one_and_refuses_what_it_should() -> None:
    Draft202012Validator.check_schema(SCHEMA)
    assert not VALIDATOR.is_valid({"schema": 2, "command": "list"})
    _, data = probe_json("list")
    data["devices"][0]["state"] = "fine"
    assert not VALIDATOR.is_valid(data)


def test_the_schema_knows_every_class_and_state() -> None:
    from hal.discovery import CLASSES, STATES

    record = SCHEMA["$defs"]["record"]["properties"]
    assert tuple(record["device_class"]["enum"]) == CLASSES
    assert set(record["state"]["enum"]) == set(STATES)


@pytest.mark.parametrize("columns", ["60", "80", "132"])
def test_tables_lose_no_letter(
    columns: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    rows = [("name" * 5, "state" * 4, "x" * 40, "What it is, in some words " * 4), ("heading",)]
    output.table(("A", "B", "C", "D"), rows)
    text = capsys.readouterr().out
    assert all(len(line) <= int(columns) for line in text.splitlines())
    expected = "ABCD" + "".join(cell for row in rows for cell in row)
    assert sorted(text.replace("\n", "").replace(" ", "")) == sorted(expected.replace(" ", ""))
