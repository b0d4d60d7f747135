# SPDX-License-Identifier: Apache-2.0
"""The driver ``spi`` on our own controller: a wire on chip select 0, an EEPROM on chip select 1.

The controller's log tells what it was given; spi-tools read what we set, and the reverse.
"""

from __future__ import annotations

import array
import errno
import os
import re
import subprocess
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

import hal
from hal import Segment, Spi

from . import devices
from .devices import Module, until
from .user import call_as

WIRE, EEPROM = (f"spi:{node}" for node in (devices.SPI_WIRE, devices.SPI_EEPROM))
LIMIT = 4096
WREN, WRITE, READ = b"\x06", b"\x02", b"\x03"


def tool(*command: object, data: bytes = b"") -> bytes:
    """Run one of spi-tools and give what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, input=data, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout!r}{done.stderr!r}"
    return done.stdout


def error(
    kind: type[hal.Error], number: int, call: Callable[[], object], text: str | None = None
) -> None:
    """The call fails in just this way."""
    with pytest.raises(kind, match=text) as caught:
        call()
    assert caught.value.errno == number, caught.value


def transfers(lab_spi: Module) -> list[dict[str, int]]:
    """The settings of each transfer that the controller made."""
    lines = [line for line in lab_spi.log() if "len=" in line]
    return [{k: int(v, 0) for k, v in re.findall(r"(\w+)=(\w+)", line)} for line in lines]


def edges(lab_spi: Module) -> list[str]:
    """The controller's log, with only the length of each transfer."""
    return [re.sub(r" tx=.*", "", line.removeprefix("cs0 ")) for line in lab_spi.log()]


# --- bytes ------------------------------------------------------------------------------------


def test_a_wire_gives_back_what_was_sent(lab_spi: Module) -> None:
    data = bytes(range(256))
    with Spi.open(WIRE) as wire:
        assert wire.transfer(data) == data
        assert wire.transfer(bytearray(data)) == data
        into = bytearray(256)
        assert wire.transfer_into(data, into) == 256
        assert into == data
        into = bytearray(data)
        assert wire.transfer_into(into, into) == 256
        assert into == data
        assert wire.transfer(b"") == b""
        assert wire.write(data) == 256
        assert wire.read(4) == bytes(4)
        assert wire.transfer([Segment(b"ab"), Segment(b"cd", 2), Segment(rx=1)]) == [b"cd", b"\0"]
    assert (
        tool("spi-pipe", "-d", devices.SPI_WIRE, "-b", 4, "-n", 2, data=b"a wire!!") == b"a wire!!"
    )


def test_what_we_write_others_read_and_the_reverse(lab_spi: Module) -> None:
    with Spi.open(EEPROM, mode=0) as chip:
        chip.write(WREN)
        chip.write(WRITE + b"\x10ours")
        assert chip.transfer([Segment(READ + b"\x10"), Segment(rx=4)]) == [b"ours"]
        question = READ + b"\x10\0\0\0\0"
        assert (
            tool("spi-pipe", "-d", devices.SPI_EEPROM, "-b", 6, "-n", 1, data=question)[2:]
            == b"ours"
        )
        tool("spi-pipe", "-d", devices.SPI_EEPROM, "-b", 1, "-n", 1, data=WREN)
        tool("spi-pipe", "-d", devices.SPI_EEPROM, "-b", 8, "-n", 1, data=WRITE + b"\x20theirs")
        assert chip.transfer(READ + b"\x20" + bytes(6))[2:] == b"theirs"


def test_a_transfer_holds_the_chip_select(lab_spi: Module) -> None:
    with Spi.open(WIRE) as wire:
        wire.transfer([Segment(b"a"), Segment(b"bc", flags=Spi.CS_CHANGE), Segment(rx=3)])
        assert edges(lab_spi) == ["on", "len=1", "len=2", "off", "on", "len=3", "off"]
        wire.transfer([Segment(b"a", flags=Spi.CS_CHANGE)])  # it is released at the end in any case
        assert edges(lab_spi) == ["on", "len=1", "off"]


def test_segments_say_otherwise_than_the_device(lab_spi: Module) -> None:
    with Spi.open(WIRE, speed=500_000, bits=8) as wire:
        wire.transfer(
            [Segment(b"ab"), Segment(b"ab", speed_hz=2_000_000, bits=16, word_delay_us=7)]
        )
        plain, special = transfers(lab_spi)
        assert (plain["speed"], plain["bits"], plain["word_delay_us"]) == (500_000, 8, 0)
        assert (special["speed"], special["bits"], special["word_delay_us"]) == (2_000_000, 16, 7)
        wire.word_delay, wire.delay = 9e-6, 20e-6
        assert (wire.word_delay, wire.delay) == (9e-6, 20e-6)
        wire.write(b"ab")
        assert transfers(lab_spi)[0]["word_delay_us"] == 9


def test_words_lie_in_machine_order(lab_spi: Module) -> None:
    words = array.array("H", [0x0102, 0x0304])
    with Spi.open(WIRE, bits=16) as wire:
        assert wire.transfer(words) == words.tobytes()
        error(
            hal.InvalidArgument,
            errno.EINVAL,
            lambda: wire.transfer(b"abc"),
            "3 bytes.*16-bit words",
        )
        error(
            hal.InvalidArgument,
            errno.EINVAL,
            lambda: wire.transfer([Segment(b"ab"), Segment(b"ab", bits=32)]),
            "segment 1: 2 bytes.*32-bit words, which take 4",
        )
        wire.bits = 32
        assert wire.transfer(bytes(8)) == bytes(8)


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize("mode", range(4))
def test_clock_modes(lab_spi: Module, mode: int) -> None:
    with Spi.open(WIRE, mode=mode) as wire:
        assert wire.mode == mode
        assert f"mode={mode}" in tool("spi-config", "-d", devices.SPI_WIRE, "-q").decode()
        wire.write(b"x")
    assert transfers(lab_spi)[0]["mode"] == mode


@pytest.mark.parametrize(
    ("name", "bit"),
    [("lsb_first", 0x08), ("cs_high", 0x04), ("three_wire", 0x10), ("loop", 0x20), ("no_cs", 0x40)],
)
def test_mode_bits(lab_spi: Module, name: str, bit: int) -> None:
    with Spi.open(WIRE) as wire:
        assert wire.attributes[name] is False
        wire.attributes[name] = True
        assert wire.attributes[name] is True
        wire.write(b"x")
        assert transfers(lab_spi)[0]["mode"] == bit
        wire.attributes[name] = False
        wire.write(b"x")
        assert transfers(lab_spi)[0]["mode"] == 0


def test_settings_and_tools_agree() -> None:
    with Spi.open(WIRE, restore=False) as wire:
        tool("spi-config", "-d", devices.SPI_WIRE, "-m", 3, "-b", 16, "-s", 123_000, "-l", 1)
        assert (wire.mode, wire.bits, wire.lsb_first) == (3, 16, True)
        wire.mode, wire.bits, wire.lsb_first, wire.speed = 1, 9, False, 77_000
        text = tool("spi-config", "-d", devices.SPI_WIRE, "-q").decode()
        assert re.search(r"mode=1, lsb=0, bits=9, speed=77000", text), text
        wire.mode, wire.bits = 0, 8


def test_closing_puts_the_settings_back() -> None:
    with Spi.open(WIRE) as other:
        before = (other.mode, other.bits, other.lsb_first)
        with Spi.open(WIRE, mode=3, bits=12, lsb_first=True) as wire:
            assert (other.mode, other.bits, other.lsb_first) == (3, 12, True)
            assert wire.attributes["restore"] is True
        assert (other.mode, other.bits, other.lsb_first) == before
    with Spi.open(WIRE, mode=2, restore=False):
        pass
    with Spi.open(WIRE) as other:
        assert other.mode == 2
        other.attributes["restore"] = False
        other.mode = 0


def test_what_the_controller_refuses_is_named(lab_spi: Module) -> None:
    with Spi.open(WIRE, bits=8) as wire:

        def setting(name: str, value: hal.Value) -> Callable[[], None]:
            return lambda: wire.attributes.update({name: value})

        error(hal.Unsupported, errno.EOPNOTSUPP, setting("ready", True), "READY")
        error(hal.Unsupported, errno.EOPNOTSUPP, setting("lanes_tx", 8), "TX_OCTAL")
        error(hal.Unsupported, errno.EOPNOTSUPP, setting("lanes_rx", 8), "RX_OCTAL")
        error(hal.Unsupported, errno.EOPNOTSUPP, setting("bits", 3), "no words of 3 bits")
        for name, value in (("mode", 4), ("bits", 33), ("bits", 0), ("speed", 0), ("delay", 0.1)):
            error(hal.InvalidArgument, errno.ERANGE, setting(name, value))
        error(hal.InvalidArgument, errno.EINVAL, setting("lanes_tx", 3), "1, 2, 4 or 8")
        state = {name: wire.attributes[name] for name in ("ready", "lanes_tx", "lanes_rx", "bits")}
        assert state == {"ready": False, "lanes_tx": 1, "lanes_rx": 1, "bits": 8}
        error(
            hal.InvalidArgument,
            errno.EINVAL,
            lambda: wire.transfer([Segment(b"a", bits=3)]),
            "word",
        )
        slow = [Segment(b"a", speed_hz=10)]
        error(hal.InvalidArgument, errno.EINVAL, lambda: wire.transfer(slow), "below its lowest")
    with pytest.raises(hal.Unsupported, match="READY"):
        Spi.open(WIRE, ready=True)


def test_several_data_lines(lab_spi: Module) -> None:
    with Spi.open(WIRE) as wire:
        with pytest.raises(hal.InvalidArgument, match="4 lanes to receive; set lanes_rx"):
            wire.transfer([Segment(rx=1, lanes_rx=4)])
        wire.lanes_tx, wire.lanes_rx = 2, 4
        assert (wire.lanes_tx, wire.lanes_rx) == (2, 4)
        lab_spi.clear()
        wire.transfer(
            [Segment(b"\x6b", lanes_tx=1), Segment(b"ab"), Segment(rx=2), Segment(b"c", 1)]
        )
        seen = transfers(lab_spi)
        assert [t["tx_nbits"] for t in seen if t["tx"]] == [1, 2, 1]
        assert [t["rx_nbits"] for t in seen if t["rx"]] == [4, 1]
        with pytest.raises(hal.InvalidArgument, match="one way at a time"):
            wire.transfer([Segment(b"a", 1, lanes_rx=4)])
        with pytest.raises(hal.InvalidArgument, match="1, 2, 4 or 8 lanes"):
            wire.transfer([Segment(b"a", lanes_tx=3)])
        wire.lanes_tx = wire.lanes_rx = 1


def test_three_wires_go_one_way(lab_spi: Module) -> None:
    with Spi.open(WIRE, three_wire=True) as wire:
        error(hal.InvalidArgument, errno.EINVAL, lambda: wire.transfer(b"ab"), "three_wire")
        assert wire.write(b"ab") == 2
        assert len(wire.read(3)) == 3


# --- limits -----------------------------------------------------------------------------------


def test_a_message_is_at_most_the_kernels_buffer(lab_spi: Module) -> None:
    with Spi.open(WIRE) as wire:
        assert wire.message_max == LIMIT
        data = os.urandom(LIMIT)
        assert wire.transfer(data) == data
        assert len(wire.read(LIMIT)) == wire.write(data) == LIMIT
        lab_spi.clear()
        calls: list[Callable[[], object]] = [
            lambda: wire.transfer(data + b"!"),
            lambda: wire.write(data + b"!"),
            lambda: wire.read(LIMIT + 1),
            lambda: wire.transfer([Segment(data), Segment(b"!")]),
        ]
        for call in calls:
            error(
                hal.InvalidArgument, errno.EMSGSIZE, call, "4097 bytes.*spidev takes 4096.*bufsiz"
            )
        assert lab_spi.log() == []


def test_more_is_split_where_the_chip_select_is_released(lab_spi: Module) -> None:
    half, half_released = Segment(bytes(2048)), Segment(bytes(2048), flags=Spi.CS_CHANGE)
    with Spi.open(WIRE) as wire:
        wire.transfer([half, half_released, half, half_released, half])
        lengths = ["on", "len=2048", "len=2048", "off"]
        assert edges(lab_spi) == [*lengths, *lengths, "on", "len=2048", "off"]
        data = os.urandom(3 * LIMIT)
        parts = [data[i : i + LIMIT] for i in range(0, len(data), LIMIT)]
        got = wire.transfer([Segment(part, LIMIT, flags=Spi.CS_CHANGE) for part in parts])
        assert got == parts
        lab_spi.clear()
        with pytest.raises(hal.InvalidArgument, match="6144 bytes under one chip select"):
            wire.transfer([half_released, half, half, half])
        assert lab_spi.log() == []  # all or nothing
        wire.no_cs = True
        assert wire.transfer([Segment(part, LIMIT) for part in parts]) == parts
        wire.no_cs = False


def test_number_of_segments(lab_spi: Module) -> None:
    with Spi.open(WIRE) as wire:
        assert wire.transfer([Segment(b"a", 1)] * 511) == [b"a"] * 511
        error(
            hal.InvalidArgument, errno.EMSGSIZE, lambda: wire.transfer([Segment(b"a")] * 512), "511"
        )


def test_wrong_segments(lab_spi: Module) -> None:
    with Spi.open(WIRE) as wire:
        wrong = [
            Segment(b"a", address=0x50),
            Segment(b"a", flags=Spi.NO_START),
            Segment(b"a", flags=Spi.IGNORE_NAK),
            Segment(b"a", flags=0x80),
        ]
        for segment in wrong:
            error(hal.InvalidArgument, errno.EINVAL, partial(wire.transfer, [segment]))
        late = [Segment(b"a", word_delay_us=256)]
        error(hal.InvalidArgument, errno.ERANGE, lambda: wire.transfer(late), "255")
        error(hal.InvalidArgument, errno.EINVAL, lambda: wire.transfer_into(b"ab", bytearray(1)))
        with pytest.raises(hal.InvalidArgument):
            wire.transfer([])
        with pytest.raises(TypeError):
            wire.transfer("text")  # type: ignore[arg-type]
        wire.transfer([Segment(delay_us=5)])  # nothing but a pause
    assert transfers(lab_spi) == []


# --- faults, removal, rights, threads ---------------------------------------------------------


@pytest.mark.parametrize(
    ("fault", "kind"), [(errno.EIO, hal.Error), (errno.ETIMEDOUT, hal.Timeout)]
)
def test_faults_of_the_controller(lab_spi: Module, fault: int, kind: type[hal.Error]) -> None:
    with Spi.open(WIRE) as wire:
        for call in (lambda: wire.transfer(b"a"), lambda: wire.write(b"a"), lambda: wire.read(1)):
            lab_spi.fail(fault)
            error(kind, fault, call)
            call()


def test_a_deadline_that_is_past(lab_spi: Module) -> None:
    with Spi.open(WIRE) as wire:
        assert wire.transfer(b"a", timeout=5) == b"a"
        assert wire.transfer(b"a", timeout=0) == b"a"
        error(hal.Timeout, errno.ETIMEDOUT, lambda: wire.transfer(b"a", timeout=1e-9))


def test_the_controller_is_pulled_out(lab_spi: Module) -> None:
    with Spi.open(WIRE) as wire:
        lab_spi.remove()
        calls: list[Callable[[], object]] = [
            lambda: wire.transfer(b"a"),
            lambda: wire.read(1),
            lambda: wire.write(b"a"),
            lambda: wire.mode,
            lambda: wire.attributes.update(mode=1),
        ]
        for call in calls:
            error(hal.Unplugged, errno.ENODEV, call, "removed")
        error(hal.NotFound, errno.ENOENT, lambda: Spi.open(WIRE))
    lab_spi.insert()
    until(Path(devices.SPI_WIRE).exists)
    with Spi.open(WIRE) as wire:
        assert wire.transfer(b"back") == b"back"


def test_a_chip_that_spidev_does_not_drive() -> None:
    folder = Path("/sys/bus/spi/drivers/spidev")
    (folder / "unbind").write_text("spi0.1")
    try:
        error(hal.NotFound, errno.ENOENT, lambda: Spi.open(EEPROM), "driver_override.*spidev/bind")
    finally:
        (folder / "bind").write_text("spi0.1")
    until(Path(devices.SPI_EEPROM).exists)


def test_names_of_a_chip_select() -> None:
    for name in ("0.0", "spidev0.0", "/dev/spidev0.0"):
        with Spi.open(f"spi:{name}") as wire:
            assert wire.attributes["node"] == devices.SPI_WIRE
    error(hal.NotFound, errno.ENOENT, lambda: Spi.open("spi:0.7"), "spidev0.0, /dev/spidev0.1")
    error(hal.Unsupported, errno.ENOTTY, lambda: Spi.open("spi:/dev/null"), "spidevB.C")


def test_an_ordinary_user_is_told_what_is_missing() -> None:
    node = Path(devices.SPI_WIRE)
    mode = node.stat().st_mode & 0o777
    node.chmod(0o600)
    try:
        with pytest.raises(hal.PermissionDenied, match=r"owner root:.*you are in: nogroup.*udev"):
            call_as("nobody", lambda: Spi.open(WIRE).close())
    finally:
        node.chmod(mode)


def test_four_threads_share_a_chip_select(lab_spi: Module) -> None:
    def work(which: int) -> None:
        for i in range(15):
            data = bytes([which, i]) * 32
            assert wire.transfer(data) == data
            assert wire.transfer([Segment(data, 64), Segment(rx=2)]) == [data, b"\0\0"]
            wire.write(data)
            wire.delay = 1e-6 * which

    with Spi.open(WIRE) as wire, ThreadPoolExecutor(4) as pool:
        list(pool.map(work, range(4)))
