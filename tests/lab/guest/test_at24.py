# SPDX-License-Identifier: Apache-2.0
"""The example driver of docs/drivers.md, built here, on the 24C02 of our I2C adapter.

i2c-tools read what it wrote, and the reverse; our adapter's log shows the pages.
"""

from __future__ import annotations

import errno
import os
import select
import shlex
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import hal
from hal._abi import ffi, lib
from hal.conformance.run import run
from hal.conformance.subject import Subject

from . import devices
from .devices import EEPROM, Module
from .user import call_as

DOCS = Path(__file__).parents[3] / "docs"
SOURCE = DOCS / "examples/at24/at24.c"


@pytest.fixture(scope="module", autouse=True)
def plugin(tmp_path_factory: pytest.TempPathFactory) -> None:
    """Compile the driver as the page says, and load it."""
    flags = subprocess.check_output(
        [sys.executable, "-m", "hal", "--cflags", "--libs"], text=True, timeout=60
    )
    built = tmp_path_factory.mktemp("at24") / "at24.so"
    options = ["-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror", "-shared", "-fPIC"]
    command = ["cc", *options, str(SOURCE), "-o", str(built), *shlex.split(flags)]
    subprocess.run(command, check=True, timeout=60)
    hal.load_driver(built)


def eeprom(**options: hal.Value) -> hal.Device:
    """Open the chip."""
    device = hal.open(f"at24:{devices.i2c_bus()}/{EEPROM:#04x}", timeout=None, **options)
    device.timeout = 10
    return device


@pytest.fixture
def chip() -> Iterator[hal.Device]:
    with eeprom() as device:
        yield device


def tool(*command: object) -> str:
    """Run one of i2c-tools and give what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def dump(offset: int, size: int) -> bytes:
    """What i2ctransfer reads from the chip."""
    words = tool("i2ctransfer", "-y", devices.i2c_bus(), f"w1@{EEPROM:#x}", offset, f"r{size}")
    return bytes(int(word, 16) for word in words.split())


def write_at(device: hal.Device, data: bytes, offset: int, deadline: int = 2**63 - 1) -> int:
    """hal_write_at(): the count or negative errno."""
    return int(lib.hal_write_at(device.handle, data, len(data), offset, deadline))


def read_at(device: hal.Device, size: int, offset: int) -> bytes | int:
    """hal_read_at(): the bytes, or a negative errno."""
    room = ffi.new("char[]", size)
    n = lib.hal_read_at(device.handle, room, size, offset, 2**63 - 1)
    return bytes(ffi.buffer(room, n)) if n >= 0 else n


def raises(number: int, call: Callable[[], object], text: str) -> None:
    """The call fails in just this way."""
    with pytest.raises(hal.Error, match=text) as caught:
        call()
    assert caught.value.errno == number, caught.value


def test_what_we_write_others_read_and_the_reverse(chip: hal.Device, lab_i2c: Module) -> None:
    data = os.urandom(20)
    assert write_at(chip, data, 0x25) == 20
    pages = [line for line in lab_i2c.log() if not line.startswith("0x50:w1")]
    assert pages == ["0x50:w4", "0x50:w9", "0x50:w9", "0x50:w2"]  # 3, 8, 8 and 1 bytes
    assert dump(0x25, 20) == data
    tool("i2cset", "-y", devices.i2c_bus(), EEPROM, 0x26, 0x5A)
    assert read_at(chip, 20, 0x25) == data[:1] + b"\x5a" + data[2:]
    assert lab_i2c.log()[-1] == "0x50:w1 0x50:r20"


def test_a_stream_goes_on_from_its_position(chip: hal.Device) -> None:
    lines = b"serial=0042\nboard=rev C\n"
    assert chip.attributes["position"] == 0
    assert chip.write(lines) == len(lines)
    assert chip.attributes["position"] == len(lines)
    chip.attributes["position"] = 0
    assert chip.readline() == b"serial=0042\n"
    assert chip.readline() == b"board=rev C\n"
    chip.attributes["position"] = 7
    assert chip.read(4) == b"0042"
    with eeprom(position=12) as other:
        assert other.read_exact(6) == b"board="
    assert chip.poll(select.POLLIN | select.POLLOUT) == select.POLLIN | select.POLLOUT


def test_the_whole_chip_and_its_end(chip: hal.Device) -> None:
    image = os.urandom(256)
    assert chip.write(image) == 256
    assert dump(0, 256) == image
    raises(errno.ENOSPC, lambda: chip.write(b"x"), "256 is the chip's end")
    assert chip.read(1) == b""
    chip.attributes["position"] = 250
    assert chip.read(100) == image[250:]
    assert write_at(chip, b"123456789", 252) == 4
    assert dump(250, 6) == image[250:252] + b"1234"
    assert read_at(chip, 5, 256) == b""
    assert read_at(chip, 5, 257) == write_at(chip, b"x", 257) == -errno.ERANGE
    raises(errno.ERANGE, lambda: chip.attributes.update(position=257), "beyond the 256 bytes")


def test_a_write_waits_until_each_page_is_stored(chip: hal.Device, lab_i2c: Module) -> None:
    lab_i2c.fail(errno.ENXIO, count=3, skip=1)  # the chip is silent three times after a page
    data = os.urandom(16)
    assert write_at(chip, data, 0x40) == 16
    silent = ["0x50:w1 = -6"] * 3
    assert lab_i2c.log() == ["0x50:w9", *silent, "0x50:w1", "0x50:w9", "0x50:w1"]
    assert dump(0x40, 16) == data


def test_a_chip_that_takes_its_time(chip: hal.Device, lab_i2c: Module) -> None:
    data = os.urandom(40)
    lab_i2c["write_cycle_us"] = 20_000
    try:
        assert write_at(chip, data, 0x40) == 40
        assert dump(0x40, 40) == data
    finally:
        lab_i2c["write_cycle_us"] = 0


def test_a_read_waits_while_the_chip_stores(chip: hal.Device, lab_i2c: Module) -> None:
    lab_i2c.fail(errno.ENXIO, count=2)
    assert isinstance(read_at(chip, 4, 0x48), bytes)
    assert lab_i2c.log() == ["0x50:w1 0x50:r4 = -6"] * 2 + ["0x50:w1 0x50:r4"]


def test_at_its_deadline_a_write_tells_what_the_chip_has(chip: hal.Device, lab_i2c: Module) -> None:
    data = os.urandom(24)
    lab_i2c.fail(errno.ENXIO, count=-1, skip=1)
    assert write_at(chip, data, 0x60, lib.hal_after_ms(60)) == 8
    assert write_at(chip, data, 0x68, lib.hal_after_ms(60)) == -errno.ETIMEDOUT
    assert write_at(chip, data, 0x68, lib.HAL_NOWAIT) == -errno.EAGAIN
    lab_i2c.reset()
    assert read_at(chip, 8, 0x60) == data[:8]
    assert chip.write(data, timeout=0) == 24


def test_cancel_ends_the_polling(chip: hal.Device, lab_i2c: Module) -> None:
    outcomes: list[int] = []
    lab_i2c.fail(errno.ENXIO, count=-1, skip=1)
    writer = threading.Thread(target=lambda: outcomes.append(write_at(chip, bytes(24), 0x80)))
    writer.start()
    while writer.is_alive():
        chip.cancel()
        writer.join(0.005)
    assert outcomes in ([8], [-errno.ECANCELED])


def test_faults_are_those_of_the_bus(chip: hal.Device, lab_i2c: Module) -> None:
    lab_i2c.fail(errno.EIO)
    raises(errno.EIO, lambda: chip.read(1), "i2c:")
    lab_i2c.fail(errno.ENXIO, count=-1)
    raises(errno.EREMOTEIO, lambda: chip.read(1), "nothing acknowledged address 0x50")
    lab_i2c.fail(errno.EIO, skip=2)  # the second page
    assert write_at(chip, bytes(24), 0) == 8


def test_what_is_wrong_is_said(lab_i2c: Module) -> None:
    bus = devices.i2c_bus()
    raises(errno.EREMOTEIO, lambda: hal.open(f"at24:{bus}/0x33"), "0x33")
    raises(errno.EINVAL, lambda: hal.open(f"at24:{bus}"), "at24:BUS/0xADDR")
    raises(errno.EINVAL, lambda: eeprom(size=300), "powers of two")
    raises(errno.EINVAL, lambda: eeprom(size=128, page=256), "no larger than the chip")
    raises(errno.ERANGE, lambda: eeprom(page=512), "1 .. 256")
    raises(errno.EBUSY, lambda: hal.open(f"at24:{bus}/{devices.LM75:#x}"), "lm75")


def test_an_ordinary_user_reads_what_i2c_says() -> None:
    bus = devices.i2c_bus()
    node = Path(f"/dev/i2c-{bus}")
    mode = node.stat().st_mode & 0o777
    node.chmod(0o600)
    try:
        with pytest.raises(hal.PermissionDenied, match=r"owner root:.*you are in: nogroup"):
            call_as("nobody", lambda: hal.open(f"at24:{bus}/{EEPROM:#x}").close())
    finally:
        node.chmod(mode)


def test_the_example_of_the_guide_runs(capsys: pytest.CaptureFixture[str]) -> None:
    guide = (DOCS / "drivers.md").read_text(encoding="utf-8")
    program = guide.partition("### Use it\n\n```python\n")[2].partition("```")[0]
    exec(program.replace("at24:1/", f"at24:{devices.i2c_bus()}/"), {})
    assert capsys.readouterr().out == "b'serial=0042\\n'\nb'rev C'\n"
    assert dump(0x80, 5) == b"rev C"


@pytest.mark.lab_timeout(300)
def test_the_contract_of_drivers() -> None:
    subject = Subject.of(f"at24:{devices.i2c_bus()}/{EEPROM:#x}", writes=True)
    results = list(run(subject))
    assert [(result.check, result.seen) for result in results if result.outcome == "fail"] == []
    assert sum(result.outcome == "pass" for result in results) >= 10


def test_offsets_beyond_one_byte_are_in_the_address(lab_i2c: Module) -> None:
    with eeprom(size=1024, page=16) as chip:
        lab_i2c.log()
        assert read_at(chip, 16, 0x1F8) == -errno.EREMOTEIO  # 0x51: our chip is smaller
    assert lab_i2c.log()[0].startswith("0x51:w1 0x51:r8 = -6")
    with eeprom(size=4096, page=32) as chip:
        lab_i2c.log()
        read_at(chip, 4, 0x123)
    assert lab_i2c.log() == ["0x50:w2 0x50:r4"]


def test_four_threads(chip: hal.Device, lab_i2c: Module) -> None:
    problems: list[object] = []

    def work(number: int) -> None:
        for turn in range(8):
            data = bytes([number * 16 + turn] * 24)
            if write_at(chip, data, number * 64 + 4) != 24:
                problems.append((number, turn, "write"))
            if read_at(chip, 24, number * 64 + 4) != data:
                problems.append((number, turn, "read"))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert problems == []
