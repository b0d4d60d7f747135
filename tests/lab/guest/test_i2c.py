# SPDX-License-Identifier: Apache-2.0
"""The driver ``i2c`` on three adapters: our own, which can do all, and two that have SMBus only.

What was on the bus is read from our adapter's log; i2c-tools read what we wrote, and the reverse.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import hal
from hal import I2c, Segment

from . import devices
from .devices import EEPROM, LM75, SMBUS, SMBUS_PEC, TEN_BIT, Module, until
from .user import call_as

SMBUS_ONLY = [devices.I801, devices.I2C_STUB]
ABSENT = 0x33


def tool(*command: object) -> str:
    """Run one of i2c-tools and give what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout.strip()


def target(address: int, name: str = devices.LAB_I2C, **options: hal.Value) -> I2c:
    """Open a target of the adapter with this name."""
    return I2c.open(f"i2c:{devices.i2c_bus(name)}/{address:#04x}", timeout=None, **options)


def whole_bus(name: str = devices.LAB_I2C) -> I2c:
    """Open a bus alone."""
    return I2c.open(f"i2c:{devices.i2c_bus(name)}")


def error(
    kind: type[hal.Error], number: int, call: Callable[[], object], text: str | None = None
) -> None:
    """The call fails in just this way."""
    with pytest.raises(kind, match=text) as caught:
        call()
    assert caught.value.errno == number, caught.value


# --- opening ----------------------------------------------------------------------------------


def test_an_adapter_has_many_names() -> None:
    number = devices.i2c_bus()
    node, sysfs = f"/dev/i2c-{number}", f"/sys/class/i2c-dev/i2c-{number}"
    for name in (
        number,
        f"i2c-{number}",
        node,
        sysfs,
        "lab i2c",
        "/sys/bus/platform/devices/lab-i2c",
    ):
        with I2c.open(f"i2c:{name}/0x50") as chip:
            assert (chip.bus, chip.address, chip.adapter) == (number, 0x50, "lab i2c")
            assert chip.attributes["node"] == node
        with I2c.open(f"i2c:{name}") as bus:
            assert (bus.bus, bus.address) == (number, -1)
    assert {"i2c", "ten_bit", "pec", "read_block", "no_start"} <= bus_functions()


def bus_functions(name: str = devices.LAB_I2C) -> frozenset[str]:
    with whole_bus(name) as bus:
        return bus.functions


def test_a_wrong_name_says_what_there_is() -> None:
    error(hal.NotFound, errno.ENOENT, lambda: hal.open("i2c:lab i2/0x50"), "there are: .*lab i2c")
    error(hal.NotFound, errno.ENOENT, lambda: hal.open("i2c:99/0x50"), "there are: .*lab i2c")
    error(hal.Unsupported, errno.ENOTTY, lambda: hal.open("i2c:/dev/null/0x50"), "not an I2C")


def test_a_bus_alone_needs_addresses(lab_i2c: Module) -> None:
    with whole_bus() as bus:
        calls: list[Callable[[], object]] = [
            lambda: bus.read(1),
            lambda: bus.write(b"\0"),
            bus.smbus_receive_byte,
            lambda: bus.transfer([Segment(b"\0")]),
        ]
        for call in calls:
            error(hal.InvalidArgument, errno.EINVAL, call, "i2c:.*/0x50|no address")
        assert lab_i2c.log() == []
        with pytest.raises(hal.InvalidArgument, match="reserved"):
            bus.transfer([Segment(b"\0", address=0x78)])
        bus.transfer([Segment(b"\0", address=EEPROM), Segment(rx=1, address=SMBUS)])
    assert lab_i2c.log() == ["0x50:w1 0x20:r1"]


def test_an_ordinary_user_is_told_what_is_missing() -> None:
    uri = f"i2c:{devices.i2c_bus()}/0x50"
    node = Path(f"/dev/i2c-{devices.i2c_bus()}")
    mode = node.stat().st_mode & 0o777
    node.chmod(0o600)
    try:
        with pytest.raises(hal.PermissionDenied, match=r"owner root:.*you are in: nogroup.*udev"):
            call_as("nobody", lambda: hal.open(uri).close())
    finally:
        node.chmod(mode)


# --- messages ---------------------------------------------------------------------------------


def test_what_we_write_others_read_and_the_reverse(lab_i2c: Module) -> None:
    bus = devices.i2c_bus()
    with target(EEPROM) as chip:
        chip.write(b"\x10ABCD")
        assert tool("i2ctransfer", "-y", bus, "w1@0x50", "0x10", "r4") == "0x41 0x42 0x43 0x44"
        tool("i2ctransfer", "-y", bus, "w3@0x50", "0x12", "0x61", "0x62")
        chip.write(b"\x10")
        assert chip.read(4) == b"ABab"
    assert lab_i2c.log()[-3:] == ["0x50:w3", "0x50:w1", "0x50:r4"]


def test_a_transfer_is_one_transaction(lab_i2c: Module) -> None:
    with target(EEPROM) as chip:
        into = bytearray(2)
        segments = [Segment(b"\x20xyz"), Segment(b"\x20"), Segment(rx=1), Segment(rx=into)]
        assert chip.transfer(segments) == [b"x", into]
        assert into == b"yz"
    assert lab_i2c.log() == ["0x50:w4 0x50:w1 0x50:r1 0x50:r2"]


def test_registers(lab_i2c: Module) -> None:
    with target(EEPROM) as chip:
        chip.write_register(0x30, 0xA5)
        chip.write_register(0x31, b"\x01\x02")
        assert chip.read_register(0x30) == 0xA5
        assert chip.read_registers(0x30, 3) == b"\xa5\x01\x02"
        lab_i2c.log()
        chip.read_registers(0x30, 1, register_size=2)
        chip.write_register(0x12345678, b"", register_size=4)
        assert lab_i2c.log() == ["0x50:w2 0x50:r1", "0x50:w4"]
        chip.write_register(0, bytes(256))
        error(
            hal.InvalidArgument, errno.EMSGSIZE, lambda: chip.write_register(0, bytes(257)), "256"
        )
        error(hal.InvalidArgument, errno.ERANGE, lambda: chip.read_register(0x100), "0x100.*1 byte")
        error(hal.InvalidArgument, errno.EINVAL, lambda: chip.read_register(0, 5), "1 .. 4")
        error(hal.InvalidArgument, errno.EINVAL, lambda: chip.read_registers(0, 0), "0 bytes")
        error(hal.InvalidArgument, errno.EINVAL, lambda: chip.write_register(0, 256), "0..255")


def test_limits_of_the_kernel(lab_i2c: Module) -> None:
    with target(SMBUS) as chip:
        assert chip.transfer([Segment(rx=1)] * 42) == [b"\0"] * 42
        error(
            hal.InvalidArgument, errno.EMSGSIZE, lambda: chip.transfer([Segment(rx=1)] * 43), "42"
        )
        assert len(chip.read(8192)) == chip.write(bytes(8192)) == 8192
        assert len(chip.transfer([Segment(rx=8192)])[0]) == 8192
        lab_i2c.clear()
        calls: list[Callable[[], object]] = [
            lambda: chip.read(8193),
            lambda: chip.write(bytes(8193)),
            lambda: chip.transfer([Segment(rx=8193)]),
        ]
        for call in calls:
            error(hal.InvalidArgument, errno.EMSGSIZE, call, "8193 bytes; a message has 8192")
        assert lab_i2c.log() == []


def test_messages_without_start_and_without_acknowledge(lab_i2c: Module) -> None:
    with target(EEPROM) as chip:
        chip.transfer([Segment(b"\x40"), Segment(b"joined", flags=I2c.NO_START)])
        assert chip.read_registers(0x40, 6) == b"joined"
        assert lab_i2c.log()[0] == "0x50:w1 0x50:w6n"
        chip.transfer([Segment(b"\0", address=ABSENT, flags=I2c.IGNORE_NAK), Segment(b"\0")])
        assert lab_i2c.log() == ["0x33:w1i 0x50:w1"]
        with pytest.raises(hal.InvalidArgument, match="begins with a start"):
            chip.transfer([Segment(b"\0", flags=I2c.NO_START)])
    with target(EEPROM, devices.I2C_STUB) as chip:
        with pytest.raises(hal.Unsupported, match="repeated start"):
            chip.transfer([Segment(b"\0"), Segment(b"\0", flags=I2c.NO_START)])
        with pytest.raises(hal.Unsupported, match="missing acknowledge"):
            chip.transfer([Segment(b"\0", flags=I2c.IGNORE_NAK)])


def test_what_is_of_spi_is_refused(lab_i2c: Module) -> None:
    with target(EEPROM) as chip:
        wrong = [
            Segment(b"\0", speed_hz=1),
            Segment(b"\0", bits=8),
            Segment(b"\0", lanes_tx=2),
            Segment(b"\0", word_delay_us=1),
            Segment(b"\0", flags=I2c.CS_CHANGE),
        ]
        for segment in wrong:
            error(hal.InvalidArgument, errno.EINVAL, partial(chip.transfer, [segment]), "SPI")
        error(
            hal.Unsupported, errno.EOPNOTSUPP, lambda: chip.transfer([Segment(b"\0", delay_us=1)])
        )
        for segment in (Segment(b"\0", 1), Segment()):
            error(hal.InvalidArgument, errno.EINVAL, partial(chip.transfer, [segment]), "exactly")
        with pytest.raises(hal.InvalidArgument, match="segment 1: unknown flags"):
            chip.transfer([Segment(b"\0"), Segment(b"\0", flags=0x80)])
    assert lab_i2c.log() == []


def test_ten_bit_addresses(lab_i2c: Module) -> None:
    with target(TEN_BIT) as chip:
        assert chip.ten_bit
        chip.write(b"\x05abc")
        assert chip.read_registers(5, 3) == b"abc"
        assert chip.smbus_read_byte(6) == ord("b")
    assert lab_i2c.log() == ["0x2a5t:w4", "0x2a5t:w1 0x2a5t:r3", "0x2a5t:w1 0x2a5t:r1"]
    with whole_bus() as bus:
        bus.transfer([Segment(b"\0", address=TEN_BIT), Segment(b"\0", address=EEPROM)])
        assert lab_i2c.log() == ["0x2a5t:w1 0x50:w1"]
        with pytest.raises(hal.InvalidArgument, match="0x3ff"):
            bus.transfer([Segment(b"\0", address=0x400)])
    with target(0x50, ten_bit=True) as chip:
        error(hal.ProtocolError, errno.EREMOTEIO, lambda: chip.read(1), "0x50")
    assert lab_i2c.log() == ["0x50t:r1 = -6"]
    with pytest.raises(hal.Unsupported, match="10-bit"):
        target(TEN_BIT, devices.I2C_STUB)


# --- SMBus ------------------------------------------------------------------------------------


@pytest.mark.parametrize(("address", "pec"), [(SMBUS, False), (SMBUS_PEC, True)])
def test_every_smbus_protocol(lab_i2c: Module, address: int, pec: bool) -> None:
    with target(address, pec=pec) as chip:
        assert chip.pec is pec
        chip.smbus_quick()
        chip.smbus_write_byte(3, 0x5A)
        assert chip.smbus_read_byte(3) == 0x5A
        chip.smbus_send_byte(3)
        assert chip.smbus_receive_byte() == 0x5A
        chip.smbus_write_word(4, 0x1234)
        assert chip.smbus_read_word(4) == 0x1234
        assert chip.smbus_process_call(0x50, 0x00FF) == 0xFF00
        chip.smbus_write_block(0x40, bytes(range(1, 33)))
        assert chip.smbus_read_block(0x40) == bytes(range(1, 33))
        assert chip.smbus_block_process_call(0x60, b"abc") == b"cba"
        if not pec:
            chip.smbus_write_i2c_block(8, b"block")
            assert chip.smbus_read_i2c_block(8, 5) == b"block"
    mode = "wp" if pec else "w"
    assert tool("i2cget", "-y", devices.i2c_bus(), address, 4, mode) == "0x1234"


def test_smbus_and_tools_agree() -> None:
    bus = devices.i2c_bus()
    with target(SMBUS) as chip:
        tool("i2cset", "-y", bus, SMBUS, 0x05, 0xBEEF, "w")
        assert chip.smbus_read_word(5) == 0xBEEF
        chip.smbus_write_byte(6, 0x77)
        assert tool("i2cget", "-y", bus, SMBUS, 6, "b") == "0x77"
        tool("i2cset", "-y", bus, SMBUS, 0x41, 1, 2, 3, "s")
        assert chip.smbus_read_block(0x41) == b"\1\2\3"


def test_a_wrong_packet_error_code_is_no_data(lab_i2c: Module) -> None:
    with target(SMBUS_PEC, pec=True) as chip:
        chip.smbus_write_byte(3, 1)
        lab_i2c["pec_error"] = 1
        error(hal.ProtocolError, errno.EBADMSG, lambda: chip.smbus_read_byte(3), "error code")
        assert chip.smbus_read_byte(3) == 1
        chip.pec = False
        error(hal.ProtocolError, errno.EREMOTEIO, lambda: chip.smbus_write_byte(3, 2))


def test_wrong_smbus_requests(lab_i2c: Module) -> None:
    with target(SMBUS) as chip:
        calls: list[Callable[[], object]] = [
            lambda: chip.smbus_write_block(0x40, b""),
            lambda: chip.smbus_write_block(0x40, bytes(33)),
            lambda: chip.smbus_read_i2c_block(0, 0),
            lambda: chip.smbus_read_i2c_block(0, 33),
            lambda: chip.smbus_read_byte(256),
            lambda: chip.smbus_write_word(0, 65536),
            lambda: chip.control(0x4901, bytearray([6] + [0] * 35)),
            lambda: chip.control(0x4901, bytearray(35)),
            lambda: chip.control(0x4902, bytearray(47)),
        ]
        for call in calls:
            error(hal.InvalidArgument, errno.EINVAL, call)
        error(hal.Unsupported, errno.ENOTTY, lambda: chip.control(0x4903, b""))
        assert lab_i2c.log() == []
        chip.smbus_write_byte(0x4F, 0)  # the block's count becomes 0, which SMBus does not have
        error(
            hal.ProtocolError, errno.EPROTO, lambda: chip.smbus_read_block(0x4F), "SMBus protocol"
        )
        chip.smbus_write_block(0x40, b"x")


@pytest.mark.parametrize("name", SMBUS_ONLY)
def test_plain_transfers_by_smbus(name: str) -> None:
    bus = devices.i2c_bus(name)
    with target(EEPROM, name) as chip:
        assert "i2c" not in chip.functions
        chip.write_register(0x10, 0x11)
        assert tool("i2cget", "-y", bus, EEPROM, 0x10) == "0x11"
        chip.write_register(0x11, b"\x22\x33")
        assert tool("i2cget", "-y", bus, EEPROM, 0x11, "w") == "0x3322"
        assert chip.read_register(0x11) == 0x22
        assert chip.read_registers(0x11, 2) == b"\x22\x33"
        chip.write(b"\x10")
        assert chip.read(1) == b"\x11"
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: chip.read(2), "SMBus only")
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: chip.write(bytes(34)), "SMBus only")
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: chip.read_registers(0, 33), "SMBus only")
        error(hal.Unsupported, errno.EOPNOTSUPP, lambda: chip.transfer([Segment(rx=1)] * 2))


# QEMU's PC controller hangs the guest with blocks of 32 bytes, and reads the last byte of a block
# wrongly, whoever asks for them.
@pytest.mark.parametrize(("name", "size"), [(devices.I801, 8), (devices.I2C_STUB, 32)])
def test_blocks_by_smbus(name: str, size: int) -> None:
    data = bytes(range(0x40, 0x40 + size))
    with target(EEPROM + 1, name) as chip:
        chip.write_register(0x20, data)
        assert tool("i2cget", "-y", devices.i2c_bus(name), EEPROM + 1, 0x22) == "0x42"
        got = chip.read_registers(0x20, size)
        assert got[:-1] == data[:-1]
        assert len(got) == size


def test_foreign_targets_by_smbus() -> None:
    with target(EEPROM, devices.I2C_STUB) as chip:
        chip.write_register(0x70, 1)
        foreign = EEPROM + 1
        chip.transfer([Segment(b"\x70\x02", address=foreign)])
        read = [Segment(b"\x70", address=foreign), Segment(rx=1, address=foreign)]
        assert chip.transfer(read) == [b"\x02"]
        assert chip.read_register(0x70) == 1
        with pytest.raises(hal.Unsupported, match="one target"):
            chip.transfer([Segment(b"\x70", address=foreign), Segment(rx=1)])


def test_what_an_adapter_lacks_is_named() -> None:
    with target(EEPROM, devices.I2C_STUB) as chip:
        with pytest.raises(hal.Unsupported, match='"process_call"'):
            chip.smbus_process_call(0, 0)
        with pytest.raises(hal.Unsupported, match="packet error codes"):
            chip.pec = True
        assert not chip.pec


# --- kernel drivers and scans -----------------------------------------------------------------


def test_a_target_of_a_kernel_driver_is_busy(lab_i2c: Module) -> None:
    entry = f"{devices.i2c_bus()}-{LM75:04x}"
    error(hal.Busy, errno.EBUSY, lambda: target(LM75), f'"lm75" uses {entry}.*lm75/unbind.*force')
    with target(EEPROM) as chip:
        lab_i2c.log()
        with pytest.raises(hal.Busy, match=f'"lm75" uses {entry}'):
            chip.transfer([Segment(b"\0", address=LM75), Segment(rx=2, address=LM75)])
        assert lab_i2c.log() == []
    lab_i2c["temperature"] = 43
    with target(LM75, force=True) as chip:
        assert int.from_bytes(chip.read_registers(0, 2), "big", signed=True) / 256 == 21.5
    lab_i2c["temperature"] = 50


def detected(bus: int) -> dict[int, str]:
    """What i2cdetect finds."""
    rows = re.findall(r"^([0-7])0: (.*)$", tool("i2cdetect", "-y", bus), re.MULTILINE)
    cells = {
        int(row, 16) * 16 + i: line[3 * i : 3 * i + 2] for row, line in rows for i in range(16)
    }
    return {address: cell for address, cell in cells.items() if 0x08 <= address <= 0x77}


@pytest.mark.parametrize("name", [devices.LAB_I2C, *SMBUS_ONLY])
def test_a_scan_finds_what_i2cdetect_finds(name: str) -> None:
    states = {"--": None, "UU": "in use", "  ": "skipped"}
    expected = {
        address: states.get(cell, "present")
        for address, cell in detected(devices.i2c_bus(name)).items()
    }
    with whole_bus(name) as bus:
        found = dict(bus.scan())
    assert found == {address: state for address, state in expected.items() if state}
    assert found[EEPROM] == "present"


def test_a_scan_leaves_kernel_drivers_alone(lab_i2c: Module) -> None:
    with target(LM75, force=True) as chip:
        states = dict(chip.scan())
    assert states[LM75] == "in use"
    assert states[EEPROM] == states[SMBUS] == "present"
    assert SMBUS + 2 not in states
    # The log holds the scan's beginning only: enough to see how each kind of address is asked.
    lines = lab_i2c.log()
    assert lines[0] == "0x08:w0 = -6"
    assert "0x20:w0" in lines
    assert "0x30:r1 = -6" in lines
    assert not any(line.startswith(f"{LM75:#04x}") for line in lines)


def test_a_scan_of_a_stuck_bus_ends(lab_i2c: Module) -> None:
    lab_i2c.fail(errno.ETIMEDOUT, count=-1)
    with whole_bus() as bus:
        error(hal.Timeout, errno.ETIMEDOUT, bus.scan, "stuck")
    assert len(lab_i2c.log()) == 3
    lab_i2c.reset()
    lab_i2c["delay_us"] = 5000
    with whole_bus() as bus:
        error(hal.Timeout, errno.ETIMEDOUT, lambda: bus.scan(timeout=0.1))
        error(hal.WouldBlock, errno.EAGAIN, lambda: bus.scan(timeout=0))


# --- faults, time -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind", "number"),
    [
        (errno.ENXIO, hal.ProtocolError, errno.EREMOTEIO),
        (errno.EREMOTEIO, hal.ProtocolError, errno.EREMOTEIO),
        (errno.EIO, hal.Error, errno.EIO),
        (errno.EAGAIN, hal.Busy, errno.EBUSY),
        (errno.EBUSY, hal.Busy, errno.EBUSY),
        (errno.ETIMEDOUT, hal.Timeout, errno.ETIMEDOUT),
        (errno.EPROTO, hal.ProtocolError, errno.EPROTO),
        (errno.EOPNOTSUPP, hal.Unsupported, errno.EOPNOTSUPP),
        (errno.ENODEV, hal.Unplugged, errno.ENODEV),
    ],
)
def test_each_fault_has_its_error(
    lab_i2c: Module, fault: int, kind: type[hal.Error], number: int
) -> None:
    with target(SMBUS) as chip:
        calls: list[Callable[[], object]] = [
            lambda: chip.read(1),
            lambda: chip.write(b"\0"),
            lambda: chip.read_register(0),
            lambda: chip.smbus_read_byte(0),
        ]
        for call in calls:
            lab_i2c.fail(fault)
            error(kind, number, call)
            call()


def test_an_absent_target_and_a_busy_one(lab_i2c: Module) -> None:
    with target(ABSENT) as chip:
        error(hal.ProtocolError, errno.EREMOTEIO, lambda: chip.read(1), "0x33")
    with target(ABSENT, devices.I2C_STUB) as chip:  # which has its own way to say so
        error(hal.Unplugged, errno.ENODEV, lambda: chip.read(1), "absent, or")
    lab_i2c["write_cycle_us"] = 20_000
    try:
        with target(EEPROM) as chip:
            chip.write(b"\x50!")
            # acknowledge polling, as the data sheet has it
            assert until(lambda: _register_or_none(chip, 0x50)) == ord("!")
    finally:
        lab_i2c["write_cycle_us"] = 0
    assert "0x50:w1 0x50:r1 = -6" in lab_i2c.log()


def _register_or_none(chip: I2c, register: int) -> int | None:
    try:
        return chip.read_register(register)
    except hal.ProtocolError:
        return None


def test_retries_are_the_adapters(lab_i2c: Module) -> None:
    with target(EEPROM) as chip:
        with pytest.raises(hal.Unsupported, match="does not tell"):
            chip.attributes["retries"]
        chip.retries = 2
        assert chip.retries == lab_i2c["retries"] == 2
        lab_i2c.fail(errno.EAGAIN, count=2)
        chip.read(1)
        lab_i2c.fail(errno.EAGAIN, count=3)
        error(hal.Busy, errno.EBUSY, lambda: chip.read(1), "retries")
        chip.retries = 0
    with target(EEPROM, retries=1) as chip:
        assert chip.retries == lab_i2c["retries"] == 1
        chip.retries = 0
        error(hal.InvalidArgument, errno.ERANGE, lambda: chip.attributes.update(retries=101))


def test_a_deadline_bounds_the_kernels_patience(lab_i2c: Module) -> None:
    assert lab_i2c["timeout_ms"] == 1000
    with target(EEPROM) as chip:
        chip.read(1, timeout=10)
        assert lab_i2c["timeout_ms"] == 1000
        chip.read(1, timeout=0.055)
        assert 10 <= lab_i2c["timeout_ms"] < 70
        chip.read(1)
        assert lab_i2c["timeout_ms"] == 1000
        chip.bus_timeout = 0.205
        assert chip.bus_timeout == 0.21
        assert lab_i2c["timeout_ms"] // 10 == 21  # in whole jiffies
        chip.read(1, timeout=0.1)
        assert lab_i2c["timeout_ms"] < 110
    assert lab_i2c["timeout_ms"] // 10 == 21  # as set, beyond the close: it is the adapter's
    with target(EEPROM, bus_timeout=1) as chip:
        chip.transfer([Segment(rx=1)], timeout=0.05)
        assert lab_i2c["timeout_ms"] < 60
    assert lab_i2c["timeout_ms"] == 1000


def test_cancel_ends_the_wait_for_the_bus(lab_i2c: Module) -> None:
    lab_i2c["delay_us"] = 400_000
    outcomes: dict[str, object] = {}

    def exchange(name: str) -> None:
        try:
            outcomes[name] = chip.transfer([Segment(rx=1)])
        except hal.Error as problem:
            outcomes[name] = problem.kind

    with target(SMBUS) as chip:
        first = threading.Thread(target=exchange, args=("first",))
        first.start()
        until(lambda: lab_i2c.log() == [])
        time.sleep(0.1)
        second = threading.Thread(target=exchange, args=("second",))
        second.start()
        time.sleep(0.1)
        chip.cancel()
        second.join()
        assert first.is_alive()  # what is on the wire is not torn
        first.join()
    assert outcomes == {"first": [b"\0"], "second": "cancelled"}


# --- removal, threads -------------------------------------------------------------------------


def test_the_adapter_is_pulled_out(lab_i2c: Module) -> None:
    uri = f"i2c:{devices.i2c_bus()}/0x50"
    with target(EEPROM) as chip:
        remover = threading.Thread(target=lab_i2c.remove)
        remover.start()
        gone = Path(f"/sys/bus/i2c/devices/i2c-{chip.bus}")
        until(lambda: not gone.exists())
        calls: list[Callable[[], object]] = [
            lambda: chip.read(1),
            lambda: chip.write(b"\0"),
            lambda: chip.read_register(0),
            lambda: chip.smbus_read_byte(0),
            chip.scan,
            lambda: chip.adapter,
        ]
        for call in calls[:4]:
            error(hal.Unplugged, errno.ENODEV, call, "removed")
        error(hal.NotFound, errno.ENOENT, calls[4])
        error(hal.Unplugged, errno.ENODEV, calls[5])
        error(hal.NotFound, errno.ENOENT, lambda: hal.open(uri))
    remover.join()
    lab_i2c.insert()
    with target(EEPROM) as chip:
        assert chip.read_register(0) == 0xFF


def test_four_threads_share_a_target(lab_i2c: Module) -> None:
    def work(which: int) -> None:
        for i in range(15):
            register, value = which * 64 + i, bytes([which * 16 + i])
            chip.transfer([Segment(bytes([register]) + value)])
            assert chip.read_registers(register, 1) == value
            assert chip.address == EEPROM

    with target(EEPROM) as chip:
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(work, range(4)))
        assert chip.read_registers(64, 15) == bytes(range(16, 31))


def test_a_child_process_opens_anew() -> None:
    with target(EEPROM) as chip:
        child = os.fork()
        if child == 0:
            try:
                chip.read(1)
            except hal.Forked:
                os._exit(0)
            os._exit(1)
        assert os.waitpid(child, 0)[1] == 0
        chip.read(1)
