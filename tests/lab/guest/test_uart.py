# SPDX-License-Identifier: Apache-2.0
"""The driver ``uart`` on hardware: a 16550A whose registers tell what was set, and a USB adapter.

The far ends of both lines are the host's.  What pseudo-terminals can show is tested in C.
"""

from __future__ import annotations

import fcntl
import os
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import hal

from . import devices
from .devices import until
from .host import Host
from .user import call_as

PORT = 0x2F8
"""I/O port of the 16550A that is ttyS1."""
DIVISOR, LINE_CONTROL, MODEM_CONTROL = 0, 3, 4
BREAK, DIVISOR_ACCESS = 0x40, 0x80
DTR, RTS = 1, 2
TIOCM_LOOP = 0x8000
"""The UART's own loop: outputs appear at its inputs."""

LINE = f"uart:{devices.SERIAL}"
USB = f"uart:{devices.USB_SERIAL}"


def register(offset: int) -> int:
    """Give a register of the UART."""
    with Path("/dev/port").open("rb", buffering=0) as port:
        port.seek(PORT + offset)
        return port.read(1)[0]


def count(line: hal.Uart, name: str) -> int:
    """Give a counter of the line."""
    value = line.attributes[name]
    assert isinstance(value, int)
    return value


def divisor() -> int:
    """Give what the UART divides 115200 baud by."""
    with Path("/dev/port").open("r+b", buffering=0) as port:

        def put(offset: int, value: int) -> None:
            port.seek(PORT + offset)
            port.write(bytes([value]))

        control = register(LINE_CONTROL)
        put(LINE_CONTROL, control | DIVISOR_ACCESS)
        value = register(DIVISOR) | register(DIVISOR + 1) << 8
        put(LINE_CONTROL, control)
        return value


@contextmanager
def waiting(call: threading.Thread) -> Iterator[None]:
    """Let a thread get into its wait, do something, and see it end."""
    call.start()
    time.sleep(0.3)
    yield
    call.join(10)
    assert not call.is_alive()


@pytest.fixture
def line(host: Host) -> Iterator[hal.Uart]:
    """The 16550A with nothing on its way in either direction."""
    with hal.Uart.open(LINE, timeout=10) as line:
        line.flush()
        host.clear("serial")
        yield line


# --- settings -----------------------------------------------------------------------------------


def test_every_frame_reaches_the_uart(line: hal.Uart) -> None:
    parities = {"none": 0x00, "odd": 0x08, "even": 0x18, "mark": 0x28, "space": 0x38}
    for bits in (5, 6, 7, 8):
        for stop in (1.0, 1.5 if bits == 5 else 2.0):
            line.stop = 1
            line.bits = bits
            line.stop = stop
            for parity, flags in parities.items():
                line.parity = parity
                expected = (bits - 5) | (0x04 if stop > 1 else 0) | flags
                meant = 0x3F if parity != "none" else 0x0F  # without parity its kind is moot
                assert register(LINE_CONTROL) & meant == expected, (bits, stop, parity)
                assert (line.bits, line.stop, line.parity) == (bits, stop, parity)


def test_one_and_a_half_stop_bits_need_five_data_bits(line: hal.Uart) -> None:
    with pytest.raises(hal.InvalidArgument, match=r"1\.5 stop bits cannot be had with 8 data bits"):
        line.stop = 1.5
    line.bits = 5
    with pytest.raises(hal.InvalidArgument, match="2 stop bits cannot be had with 5 data bits"):
        line.stop = 2
    line.stop = 1.5
    assert register(LINE_CONTROL) & 0x0F == 0x04


def test_a_frame_given_in_the_uri_is_set_at_once() -> None:
    with hal.Uart.open(LINE, baud=9600, bits=5, parity="even", stop=1.5):
        assert register(LINE_CONTROL) == 0x1C
        assert divisor() == 12


@pytest.mark.parametrize("baud", [50, 300, 9600, 28800, 57600, 115200])
def test_speed_reaches_the_uart(line: hal.Uart, baud: int) -> None:
    line.baud = baud
    assert divisor() == 115200 // baud
    assert line.baud == baud


def test_speed_beyond_the_uart_is_an_error_and_changes_nothing(line: hal.Uart) -> None:
    line.baud = 57600
    with pytest.raises(hal.Unsupported, match="asked for 4000000, the tty stays at"):
        line.baud = 4_000_000
    assert line.baud == 57600
    assert divisor() == 2


def test_closing_restores_the_line() -> None:
    def settings() -> list[object]:
        descriptor = os.open(devices.SERIAL, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            return list(termios.tcgetattr(descriptor))
        finally:
            os.close(descriptor)

    before = settings()
    with hal.Uart.open(LINE, baud=300, bits=7, parity="odd", stop=2, flow="rtscts"):
        assert settings() != before
    assert settings() == before


def test_low_latency_is_set(line: hal.Uart) -> None:
    for on in (True, False):
        line.low_latency = on
        assert line.low_latency is on


def test_a_uart_without_rs485_says_so(line: hal.Uart) -> None:
    assert not line.rs485
    for name in ("rs485.rts_on_send", "rs485"):
        with pytest.raises(hal.Unsupported, match="no RS-485 mode"):
            line.attributes[name] = True


# --- modem lines --------------------------------------------------------------------------------


def test_modem_outputs_reach_the_uart(line: hal.Uart) -> None:
    assert line.dtr
    assert line.rts
    for name, bit in (("dtr", DTR), ("rts", RTS)):
        for on in (False, True):
            line.attributes[name] = on
            assert bool(register(MODEM_CONTROL) & bit) is on
            assert line.attributes[name] is on


def test_modem_inputs_are_read(line: hal.Uart) -> None:
    assert (line.cts, line.dsr, line.dcd, line.ri) == (True, True, True, False)
    loop = TIOCM_LOOP.to_bytes(4, "little")
    fcntl.ioctl(line.fileno(), termios.TIOCMBIS, loop)
    try:
        for on in (False, True, False):
            line.rts = on
            line.dtr = not on
            assert (line.cts, line.dsr) == (on, not on)
    finally:
        fcntl.ioctl(line.fileno(), termios.TIOCMBIC, loop)


def test_lines_can_be_low_from_the_open_on() -> None:
    with hal.Uart.open(LINE, dtr=False, rts=False) as line:
        assert register(MODEM_CONTROL) & (DTR | RTS) == 0
        assert not line.dtr


def test_closing_drops_the_outputs_unless_told_not_to() -> None:
    hal.open(LINE, hangup=False).close()
    assert register(MODEM_CONTROL) & (DTR | RTS) == DTR | RTS
    hal.open(LINE, hangup=True).close()
    assert register(MODEM_CONTROL) & (DTR | RTS) == 0


# --- bytes, counters, errors ----------------------------------------------------------------------


def test_bytes_are_counted(host: Host, line: hal.Uart) -> None:
    everything = bytes(range(256))
    sent, received = count(line, "count.tx"), count(line, "count.rx")
    line.write(everything)
    line.drain(timeout=10)
    assert host.receive("serial", 256) == everything
    host.send("serial", everything)
    assert line.read_exact(256) == everything
    assert count(line, "count.tx") == sent + 256
    assert count(line, "count.rx") == received + 256
    assert count(line, "errors.frame") == count(line, "errors.parity") == 0


def test_a_break_that_comes_in_is_counted_and_reads_as_zero(host: Host, line: hal.Uart) -> None:
    breaks = count(line, "errors.break")
    host.qmp("chardev-send-break", id="serial")
    assert line.read(1) == b"\0"
    assert count(line, "errors.break") == breaks + 1


def test_a_break_goes_out_and_ends(line: hal.Uart) -> None:
    with waiting(threading.Thread(target=line.break_, args=(1.0,))):
        assert register(LINE_CONTROL) & BREAK
    assert not register(LINE_CONTROL) & BREAK


def test_a_cancelled_break_does_not_stay_on_the_line(line: hal.Uart) -> None:
    ends: list[BaseException] = []

    def send() -> None:
        try:
            line.break_(5.0)
        except hal.Cancelled as error:
            ends.append(error)

    with waiting(threading.Thread(target=send)):
        assert register(LINE_CONTROL) & BREAK
        line.cancel()
    assert len(ends) == 1
    assert not register(LINE_CONTROL) & BREAK


def test_flush_reaches_behind_a_full_queue(host: Host, line: hal.Uart) -> None:
    received = count(line, "count.rx")
    host.send("serial", bytes(8192))  # more than the line discipline holds
    until(lambda: count(line, "count.rx") == received + 8192)
    assert 0 < line.input_queue < 8192
    line.flush(output=False)
    assert line.input_queue == 0
    with pytest.raises(hal.Timeout):
        line.read(1, timeout=0.2)
    assert count(line, "errors.buffer") == count(line, "errors.overrun") == 0


# --- a line that the other side holds ------------------------------------------------------------


@pytest.fixture
def held(host: Host) -> Iterator[hal.Uart]:
    """A line with bytes to send that the other side has stopped with XOFF."""
    with hal.Uart.open(LINE, flow="xonxoff", timeout=10) as line:
        line.flush()
        host.clear("serial")
        host.send("serial", b"\x13.")
        assert line.read(1) == b"."  # so the XOFF before it has been acted upon
        line.write(bytes(100))
        yield line
    host.send("serial", b"\x11")


def test_drain_has_a_deadline_and_can_be_cancelled(host: Host, held: hal.Uart) -> None:
    assert held.output_queue == 100
    start = time.monotonic()
    with pytest.raises(hal.Timeout):
        held.drain(timeout=0.2)
    assert time.monotonic() - start >= 0.2

    ends: list[BaseException] = []

    def drain() -> None:
        try:
            held.drain(timeout=30)
        except hal.Cancelled as error:
            ends.append(error)

    with waiting(threading.Thread(target=drain)):
        held.cancel()
    assert len(ends) == 1

    host.send("serial", b"\x11")
    held.drain(timeout=10)
    assert held.output_queue == 0
    assert host.receive("serial", 100) == bytes(100)


def test_a_break_waits_for_what_was_written_but_not_for_ever(held: hal.Uart) -> None:
    with pytest.raises(hal.Timeout):
        held.break_(0.01, timeout=0.2)
    assert not register(LINE_CONTROL) & BREAK


def test_flush_drops_what_was_not_sent(host: Host, held: hal.Uart) -> None:
    held.flush(input=False)
    assert held.output_queue == 0
    held.drain(timeout=1)


def test_closing_does_not_wait_for_the_other_side(host: Host, held: hal.Uart) -> None:
    start = time.monotonic()
    held.close()
    assert time.monotonic() - start < 10  # the kernel alone would wait 30 s


# --- nodes ----------------------------------------------------------------------------------------


def test_a_node_without_a_uart_is_told_from_a_line() -> None:
    with pytest.raises(hal.Unplugged, match="no UART behind it"):
        hal.open("uart:/dev/ttyS3")


def test_an_ordinary_user_is_told_what_to_do() -> None:
    def refused() -> str:
        try:
            hal.open(LINE)
        except hal.PermissionDenied as error:
            return str(error)
        return "opened"

    message = call_as("nobody", refused)
    assert message.startswith(f'open "{devices.SERIAL}": Permission denied (owner root:')
    assert "usermod -aG" in message or "udev rule" in message


# --- USB ------------------------------------------------------------------------------------------


def adapter() -> list[Path]:
    """Give the names that the adapter keeps, once the device manager has made them."""
    return list(Path("/dev/serial").glob("by-id/usb-QEMU_QEMU_USB_SERIAL*"))


def by_id() -> str:
    """Give the name that the adapter keeps."""
    return str(until(adapter)[0])


def test_an_adapter_is_opened_by_its_id(host: Host) -> None:
    host.clear("usb")
    with hal.Uart.open(f"uart:{by_id()}", timeout=10) as line:
        assert line.attributes["node"] == devices.USB_SERIAL
        line.write(b"by id")
        assert host.receive("usb", 5) == b"by id"
        line.low_latency = True
        assert line.low_latency
        line.drain(timeout=10)
        for speed in (9600, 250_000, 3_000_000):
            line.baud = speed
            assert line.baud == pytest.approx(speed, rel=0.03)


def test_an_adapter_pulled_out_in_traffic_is_unplugged_and_comes_back(host: Host) -> None:
    host.clear("usb")
    host.echo("usb")
    moved = 0
    with hal.Uart.open(f"uart:{by_id()}", timeout=10) as line:
        pull = threading.Timer(1.0, host.unplug, args=("usb0",))
        pull.start()
        with pytest.raises(hal.Unplugged, match="hung up"):  # noqa: PT012 - either of the two
            while True:
                line.write(b"x" * 64)
                moved += len(line.read_exact(64))
        pull.join()
        assert moved > 0
        with pytest.raises(hal.Unplugged):
            line.write(b"x")
        with pytest.raises(hal.Unplugged):
            line.read(1)
        with pytest.raises(hal.Unplugged):
            _ = line.baud
    with pytest.raises(hal.NotFound):
        hal.open(USB)

    host.echo("usb", False)
    host.plug("usb0")
    until(Path(devices.USB_SERIAL).exists)
    host.clear("usb")
    with hal.Uart.open(f"uart:{by_id()}", timeout=10) as line:
        line.write(b"again")
        assert host.receive("usb", 5) == b"again"


def test_a_read_that_waits_ends_when_the_adapter_is_pulled_out(host: Host) -> None:
    ends: list[BaseException] = []
    with hal.Uart.open(USB) as line:

        def read() -> None:
            try:
                line.read(1, timeout=60)
            except hal.Error as error:
                ends.append(error)

        with waiting(threading.Thread(target=read)):
            host.unplug("usb0")
    assert [type(error) for error in ends] == [hal.Unplugged]
    host.plug("usb0")
    until(Path(devices.USB_SERIAL).exists)
