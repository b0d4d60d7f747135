# SPDX-License-Identifier: Apache-2.0
"""Every device of the lab is really there and answers, seen without our own library.

What these tests rely on is the kernel's interface (files, ioctl, mmap) and the tools of other
projects.  If one of them fails, a driver's failure means nothing.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import mmap
import os
import re
import select
import struct
import subprocess
import termios
import threading
import tty
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import devices
from .devices import GpioSim, Led, Module, until
from .host import Host, HostError
from .user import call_as


def run(*command: object) -> str:
    """Run a tool and give what it prints; it must succeed."""
    words = [str(word) for word in command]
    done = subprocess.run(words, capture_output=True, text=True, timeout=30, check=False)
    assert done.returncode == 0, f"{words}: {done.stdout}{done.stderr}"
    return done.stdout


@contextmanager
def opened(path: str | Path, flags: int = os.O_RDWR) -> Iterator[int]:
    """Open a file as a descriptor."""
    descriptor = os.open(path, flags)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextmanager
def fails(number: int) -> Iterator[None]:
    """Expect an OSError with this errno."""
    with pytest.raises(OSError, match=re.escape(f"[Errno {number}]")):
        yield


@contextmanager
def serial(path: str) -> Iterator[int]:
    """Open a serial line, raw."""
    with opened(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK) as line:
        tty.setraw(line)
        termios.tcflush(line, termios.TCIOFLUSH)
        yield line


def read(descriptor: int, size: int, timeout: float = 10) -> bytes:
    """Read exactly ``size`` bytes, or what came within ``timeout`` seconds of silence."""
    data = b""
    while len(data) < size and select.select([descriptor], [], [], timeout)[0]:
        data += os.read(descriptor, size - len(data))
    return data


# --- serial lines -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "chardev"), [(devices.SERIAL, "serial"), (devices.USB_SERIAL, "usb")]
)
def test_serial_line_reaches_the_host(host: Host, path: str, chardev: str) -> None:
    host.clear(chardev)
    with serial(path) as line:
        os.write(line, b"to the host")
        assert host.receive(chardev, 11) == b"to the host"
        host.send(chardev, bytes(range(256)))
        assert read(line, 256) == bytes(range(256))
        host.echo(chardev)
        os.write(line, b"and back")
        assert read(line, 8) == b"and back"
        host.echo(chardev, False)


def test_usb_serial_is_unplugged_and_replugged(host: Host) -> None:
    with serial(devices.USB_SERIAL) as line:
        host.unplug("usb0")
        assert until(lambda: select.select([line], [], [], 0)[0])
        with fails(errno.EIO):
            os.write(line, b"x")
    assert not Path(devices.USB_SERIAL).exists()
    host.plug("usb0")
    until(Path(devices.USB_SERIAL).exists)
    host.clear("usb")
    with serial(devices.USB_SERIAL) as line:
        os.write(line, b"again")
        assert host.receive("usb", 5) == b"again"


def test_host_says_why_it_cannot(host: Host) -> None:
    with pytest.raises(HostError, match="nothing"):
        host.unplug("nothing")


def test_usb_gadget_is_a_serial_line() -> None:
    with serial(devices.GADGET) as gadget, serial(devices.GADGET_PEER) as peer:
        os.write(gadget, b"from the gadget")
        assert read(peer, 15) == b"from the gadget"
        os.write(peer, b"to it")
        assert read(gadget, 5) == b"to it"


def test_device_manager_knows_the_adapter() -> None:
    run("udevadm", "settle")
    facts = run("udevadm", "info", "--query=property", devices.USB_SERIAL)
    assert "ID_VENDOR_ID=0403\n" in facts
    assert "/dev/serial/by-id/usb-QEMU_QEMU_USB_SERIAL" in facts


def test_ordinary_user_may_not_open_a_serial_line() -> None:
    with pytest.raises(PermissionError):
        call_as("nobody", lambda: os.open(devices.SERIAL, os.O_RDWR))
    assert call_as("nobody", os.getuid) == call_as("nobody", lambda: os.stat("/proc/self").st_uid)


# --- I2C ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [devices.I801, devices.I2C_STUB, devices.LAB_I2C])
def test_i2c_byte_is_kept(name: str) -> None:
    bus = devices.i2c_bus(name)
    run("i2cset", "-y", bus, "0x50", "0x10", "0xab", "b")
    assert run("i2cget", "-y", bus, "0x50", "0x10", "b").strip() == "0xab"


def test_i2c_eeprom_wraps_within_its_page(lab_i2c: Module) -> None:
    bus = devices.i2c_bus()
    run("i2ctransfer", "-y", bus, "w4@0x50", "0x1e", "1", "2", "3")
    assert run("i2ctransfer", "-y", bus, "w1@0x50", "0x18", "r8").split()[0] == "0x03"
    assert lab_i2c.log() == ["0x50:w4", "0x50:w1 0x50:r8"]


def test_i2c_eeprom_is_busy_after_a_write(lab_i2c: Module) -> None:
    bus = devices.i2c_bus()
    lab_i2c["write_cycle_us"] = 10_000_000
    run("i2ctransfer", "-y", bus, "w2@0x50", "0", "7")
    busy = subprocess.run(
        ["i2ctransfer", "-y", str(bus), "w1@0x50", "0"], check=False, capture_output=True
    )
    lab_i2c["write_cycle_us"] = 0
    assert busy.returncode != 0
    assert lab_i2c.log()[-1] == "0x50:w1 = -6"
    lab_i2c.remove()
    lab_i2c.insert()
    assert run("i2ctransfer", "-y", devices.i2c_bus(), "w1@0x50", "0", "r1").strip() == "0xff"


def i2c_transfer(bus: int, address: int, flags: int, data: bytes, size: int) -> bytes:
    """Write, then read with a repeated start (I2C_RDWR)."""
    out, back = (
        ctypes.create_string_buffer(data, len(data)),
        ctypes.create_string_buffer(max(size, 1)),
    )
    messages = ctypes.create_string_buffer(
        struct.pack("HHHxxP", address, flags, len(data), ctypes.addressof(out))
        + struct.pack("HHHxxP", address, flags | 1, size, ctypes.addressof(back))
    )
    request = struct.pack("PI4x", ctypes.addressof(messages), 2 if size else 1)
    with opened(f"/dev/i2c-{bus}") as adapter:
        fcntl.ioctl(adapter, 0x0707, request)
    return back.raw[:size]


@pytest.mark.parametrize(
    "error", [errno.ENXIO, errno.EREMOTEIO, errno.EIO, errno.EAGAIN, errno.ETIMEDOUT]
)
def test_i2c_faults_on_demand(lab_i2c: Module, error: int) -> None:
    bus = devices.i2c_bus()
    lab_i2c.fail(error, skip=1)
    i2c_transfer(bus, devices.EEPROM, 0, b"\0", 1)
    with fails(error):
        i2c_transfer(bus, devices.EEPROM, 0, b"\0", 1)
    i2c_transfer(bus, devices.EEPROM, 0, b"\0", 1)
    assert lab_i2c.log() == ["0x50:w1 0x50:r1", f"0x50:w1 0x50:r1 = -{error}", "0x50:w1 0x50:r1"]


def test_i2c_ten_bit_address(lab_i2c: Module) -> None:
    bus, ten = devices.i2c_bus(), 0x10  # I2C_M_TEN
    i2c_transfer(bus, devices.TEN_BIT, ten, b"\x05abc", 0)
    assert i2c_transfer(bus, devices.TEN_BIT, ten, b"\x05", 3) == b"abc"
    assert lab_i2c.log()[0] == "0x2a5t:w4"
    with fails(errno.ENXIO):
        i2c_transfer(bus, 0x2A6, ten, b"\0", 1)


class Smbus:
    """The kernel's SMBus calls (I2C_SMBUS)."""

    BYTE_DATA, WORD_DATA, PROC_CALL, BLOCK_DATA, BLOCK_PROC_CALL = 2, 3, 4, 5, 7

    def __init__(self, descriptor: int, address: int, pec: bool) -> None:
        self._descriptor = descriptor
        fcntl.ioctl(descriptor, 0x0703, address)
        fcntl.ioctl(descriptor, 0x0708, int(pec))

    def __call__(self, read: bool, command: int, kind: int, data: bytes = b"") -> bytes:
        buffer = ctypes.create_string_buffer(data, 34)
        request = struct.pack("BBIP", read, command, kind, ctypes.addressof(buffer))
        fcntl.ioctl(self._descriptor, 0x0720, request)
        return buffer.raw


@pytest.mark.parametrize(("address", "pec"), [(devices.SMBUS, False), (devices.SMBUS_PEC, True)])
def test_smbus_target_knows_every_call(lab_i2c: Module, address: int, pec: bool) -> None:
    with opened(f"/dev/i2c-{devices.i2c_bus()}") as adapter:
        smbus = Smbus(adapter, address, pec)
        smbus(False, 0x01, Smbus.BYTE_DATA, b"\x5a")
        assert smbus(True, 0x01, Smbus.BYTE_DATA)[:1] == b"\x5a"
        smbus(False, 0x02, Smbus.WORD_DATA, b"\x34\x12")
        assert smbus(True, 0x02, Smbus.WORD_DATA)[:2] == b"\x34\x12"
        smbus(False, 0x40, Smbus.BLOCK_DATA, b"\x05hello")
        assert smbus(True, 0x40, Smbus.BLOCK_DATA)[:6] == b"\x05hello"
        smbus(False, 0x40, Smbus.BLOCK_DATA, b"\x20" + bytes(32))
        assert smbus(True, 0x40, Smbus.BLOCK_DATA)[:33] == b"\x20" + bytes(32)
        assert smbus(False, 0x50, Smbus.PROC_CALL, b"\x0f\xf0")[:2] == b"\xf0\x0f"
        assert smbus(False, 0x60, Smbus.BLOCK_PROC_CALL, b"\x03abc")[:4] == b"\x03cba"


def test_smbus_wrong_checksum_is_refused(lab_i2c: Module) -> None:
    with opened(f"/dev/i2c-{devices.i2c_bus()}") as adapter:
        with fails(errno.EREMOTEIO):
            Smbus(adapter, devices.SMBUS_PEC, pec=False)(False, 1, Smbus.BYTE_DATA, b"\x01")
        lab_i2c["pec_error"] = 1
        with fails(errno.EBADMSG):
            Smbus(adapter, devices.SMBUS_PEC, pec=True)(True, 1, Smbus.BYTE_DATA)


def test_i2c_adapter_removed_while_open(lab_i2c: Module) -> None:
    bus = devices.i2c_bus()
    with opened(f"/dev/i2c-{bus}") as adapter:
        remover = threading.Thread(target=lab_i2c.remove)
        smbus = Smbus(adapter, devices.EEPROM, pec=False)
        remover.start()
        until(lambda: not Path(f"/sys/bus/i2c/devices/i2c-{bus}/name").exists())
        with fails(errno.ENODEV):
            smbus(True, 0, Smbus.BYTE_DATA)
    remover.join(10)
    assert not remover.is_alive()
    lab_i2c.insert()


def test_hwmon_sensors_measure_what_the_chips_say(lab_i2c: Module) -> None:
    lab_i2c["temperature"] = -25  # half degrees
    lm75 = devices.hwmon("lm75")
    try:
        assert until(lambda: (lm75 / "temp1_input").read_text() == "-12500\n")
    finally:
        lab_i2c["temperature"] = 50
    assert int((devices.hwmon("ltc4215") / "power1_input").read_text()) > 0
    assert int((devices.hwmon("max6650") / "fan1_input").read_text()) > 0


# --- SPI ----------------------------------------------------------------------------------------


def test_spi_wire_and_settings(lab_spi: Module) -> None:
    run("spi-config", "-d", devices.SPI_WIRE, "-m", 3, "-s", 500000, "-b", 8)
    with opened(devices.SPI_WIRE) as wire:
        out, back = ctypes.create_string_buffer(b"wire", 4), ctypes.create_string_buffer(4)
        fcntl.ioctl(wire, 0x40016B01, b"\x02")  # SPI_IOC_WR_MODE: CPOL
        transfer = struct.pack(
            "QQIIHBBBBBx",
            *(ctypes.addressof(out), ctypes.addressof(back), 4, 250000),
            *(0, 16, 1, 0, 0, 3),
        )
        fcntl.ioctl(wire, 0x40206B00, transfer)
    assert back.raw == b"wire"
    line = next(line for line in lab_spi.log() if "len=4" in line)
    assert "mode=0x2 bits=16 speed=250000" in line
    assert "word_delay_us=3" in line


def test_spi_eeprom_keeps_bytes(lab_spi: Module) -> None:
    def pipe(data: bytes) -> bytes:
        command = ["spi-pipe", "-d", devices.SPI_EEPROM, "-b", str(len(data)), "-n", "1"]
        return subprocess.run(
            command, input=data, capture_output=True, timeout=30, check=True
        ).stdout

    pipe(b"\x06")
    assert pipe(b"\x05\0")[1] == 0x02
    pipe(b"\x02\x10\xde\xad")
    assert pipe(b"\x03\x10\0\0")[2:] == b"\xde\xad"
    assert pipe(b"\x05\0")[1] == 0


def test_spi_fails_on_demand(lab_spi: Module) -> None:
    lab_spi.fail(errno.ETIMEDOUT)
    with opened(devices.SPI_WIRE) as wire, fails(errno.ETIMEDOUT):
        os.write(wire, b"x")


# --- GPIO ---------------------------------------------------------------------------------------


def test_gpio_levels_both_ways(gpio_sim: GpioSim) -> None:
    for level in (1, 0):
        gpio_sim.pull(0, level)
        assert run("gpioget", gpio_sim.chip, 0).strip() == str(level)
        assert run("gpiofind", "BUTTON").split() == [gpio_sim.chip, "0"]
    holder = subprocess.Popen(["gpioset", "--mode=signal", gpio_sim.chip, "1=1"])
    try:
        until(lambda: gpio_sim.value(1) == 1)
    finally:
        holder.terminate()
        holder.wait(10)


def test_gpio_edges_are_seen(gpio_sim: GpioSim) -> None:
    gpio_sim.pull(3, 0)
    command = ["gpiomon", "--num-events=2", "--format=%e", gpio_sim.chip, "3"]
    monitor = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    until(lambda: '"SENSOR"    "gpiomon"' in run("gpioinfo", gpio_sim.chip))
    gpio_sim.pull(3, 1)
    gpio_sim.pull(3, 0)
    assert monitor.communicate(timeout=20)[0].split() == ["1", "0"]


def test_gpio_lines_have_names_and_holders(gpio_sim: GpioSim) -> None:
    text = run("gpioinfo", gpio_sim.chip)
    for name in devices.GPIO_NAMES.values():
        assert f'"{name}"' in text
    for holder in devices.GPIO_HOGS.values():
        assert f'"{holder}"' in text
    assert gpio_sim.value(6) == 1
    assert run("gpioget", devices.gpio_chip(devices.GPIO_SMALL), 0, 1, 2, 3).split() == ["0"] * 4


# --- IIO, PWM, LED -----------------------------------------------------------------------------


def test_iio_channels_have_values() -> None:
    folder = devices.iio_device()
    assert (folder / "in_voltage0_raw").read_text() == "73\n"
    assert (folder / "in_voltage0_scale").read_text() == "0.001333\n"
    assert "lab-iio" in run("iio_info", "-u", "local:")


def test_iio_event_arrives() -> None:
    folder = devices.iio_device()
    (folder / "events/in_voltage0_thresh_rising_en").write_text("1")
    with opened(f"/dev/{folder.name}", os.O_RDONLY) as device:
        slot = bytearray(4)
        fcntl.ioctl(device, 0x80046990, slot)  # IIO_GET_EVENT_FD_IOCTL
        events = struct.unpack("i", slot)[0]
        Path("/sys/bus/iio/devices/iio_evgen/poke_ev0").write_text("0")
        assert select.select([events], [], [], 10)[0]
        code, stamp = struct.unpack("Qq", os.read(events, 16))
        os.close(events)
    assert code
    assert stamp > 0
    (folder / "events/in_voltage0_thresh_rising_en").write_text("0")


@pytest.mark.parametrize("trigger", devices.IIO_TRIGGERS)
def test_iio_buffer_captures(trigger: str) -> None:
    folder, source = devices.iio_device(), devices.iio_device(trigger)
    (folder / "trigger/current_trigger").write_text(trigger)
    for channel in ("voltage0", "timestamp"):
        (folder / f"scan_elements/in_{channel}_en").write_text("1")
    (folder / "buffer/length").write_text("16")
    (folder / "buffer/enable").write_text("1")
    try:
        with opened(f"/dev/{folder.name}", os.O_RDONLY) as device:
            if trigger == "sysfstrig0":
                for _ in range(2):
                    (source / "trigger_now").write_text("1")
            data = b""
            while len(data) < 32:
                assert select.select([device], [], [], 10)[0]
                data += os.read(device, 32 - len(data))
    finally:
        (folder / "buffer/enable").write_text("0")
        (folder / "trigger/current_trigger").write_text("\n")
    (_, first), (_, second) = struct.iter_unpack("h6xq", data)
    assert second > first


def test_pwm_is_driven(lab_pwm: Module) -> None:
    chip = devices.pwm_chip()
    (chip / "export").write_text("1")
    try:
        for name, value in (("period", "1000000"), ("duty_cycle", "250000"), ("enable", "1")):
            (chip / "pwm1" / name).write_text(value)
        assert lab_pwm.log()[-1] == "pwm1 period=1000000 duty=250000 enabled=1 inverted=0"
        with fails(errno.EINVAL):
            (chip / "pwm1/period").write_text("2000000000")
    finally:
        (chip / "unexport").write_text("1")


def test_led_is_lit(led: Led) -> None:
    until((led.folder / "brightness").exists)
    (led.folder / "brightness").write_text("170")
    assert led.brightness() == 170


# --- PCI registers, interrupts, DMA ------------------------------------------------------------


class Registers:
    """A mapping as 32-bit and 64-bit registers."""

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.word = (ctypes.c_uint32 * (len(memory) // 4)).from_buffer(memory)
        self.long = (ctypes.c_uint64 * (len(memory) // 8)).from_buffer(memory)


def edu_registers(folder: Path) -> Registers:
    (folder / "enable").write_text("1")
    with opened(folder / "resource0", os.O_RDWR | os.O_SYNC) as bar:
        return Registers(mmap.mmap(bar, 1 << 20))


def test_edu_computes() -> None:
    registers = edu_registers(devices.pci(devices.EDU)[0])
    assert registers.word[0] == 0x010000ED
    registers.word[1] = 0x12345678
    assert registers.word[1] == 0xEDCBA987
    registers.word[2] = 10
    until(lambda: not registers.word[8] & 1)
    assert registers.word[2] == 3628800


def test_edu_is_unplugged_and_replugged(host: Host) -> None:
    assert len(devices.pci(devices.EDU)) == 3
    host.unplug("edu2")
    until(lambda: len(devices.pci(devices.EDU)) == 2)
    host.plug("edu2")
    until(lambda: len(devices.pci(devices.EDU)) == 3)
    assert edu_registers(devices.pci(devices.EDU)[2]).word[0] == 0x010000ED


@contextmanager
def bound(device: Path, driver: str) -> Iterator[None]:
    """Give a PCI device to a driver for a while."""
    (device / "driver_override").write_text(driver)
    Path("/sys/bus/pci/drivers_probe").write_text(device.name)
    try:
        yield
    finally:
        (device / "driver/unbind").write_text(device.name)
        (device / "driver_override").write_text("\n")


def test_uio_counts_interrupts() -> None:
    device = devices.pci(devices.EDU)[0]
    registers = edu_registers(device)
    with bound(device, "uio_pci_generic"):
        node = until(lambda: list((device / "uio").glob("uio*")))[0].name
        until(Path(f"/dev/{node}").exists)
        with opened(f"/dev/{node}") as uio, opened(device / "config") as config:
            counts: list[int] = []
            for _ in range(2):
                # uio_pci_generic masks the line at each interrupt: unmask it in the command word
                command = struct.unpack("<H", os.pread(config, 2, 4))[0]
                os.pwrite(config, struct.pack("<H", command & ~0x400 | 6), 4)
                registers.word[0x60 // 4] = 1
                assert select.select([uio], [], [], 10)[0]
                counts += struct.unpack("i", os.read(uio, 4))
                registers.word[0x64 // 4] = 1
    assert counts[1] == counts[0] + 1


VFIO = {"api": 0, "iommu": 2, "container": 4, "device": 6, "region": 8, "irqs": 10, "map": 13}


def vfio(descriptor: int, call: str, argument: int | bytes) -> int:
    """Make a VFIO call (include/uapi/linux/vfio.h) and give what it returns."""
    number = ord(";") << 8 | 100 + VFIO[call]
    if isinstance(argument, bytes):
        return int(fcntl.ioctl(descriptor, number, bytearray(argument)))
    return fcntl.ioctl(descriptor, number, argument)


def vfio_region(function: int, index: int) -> tuple[int, int]:
    """Give a VFIO region's size and offset."""
    answer = bytearray(struct.pack("IIIIQQ", 32, 0, index, 0, 0, 0))
    fcntl.ioctl(function, ord(";") << 8 | 100 + VFIO["region"], answer)
    size, offset = struct.unpack("IIIIQQ", answer)[4:]
    return size, offset


def test_vfio_moves_data_through_the_iommu() -> None:
    device = devices.pci(devices.EDU)[1]
    group = (device / "iommu_group").resolve().name
    text = b"dma-through-edu!"
    with (
        bound(device, "vfio-pci"),
        opened("/dev/vfio/vfio") as container,
        opened(f"/dev/vfio/{group}") as members,
    ):
        vfio(members, "container", struct.pack("i", container))
        vfio(container, "iommu", 3)  # type 1 v2
        function = vfio(members, "device", device.name.encode() + b"\0")
        try:
            # in a function of its own: a mapping left over would keep the device
            assert dma_round_trip(container, function, text) == text
        finally:
            os.close(function)


def dma_round_trip(container: int, function: int, data: bytes) -> bytes:
    """Send data into the edu device and back to another place, with an MSI for each way."""
    buffer, iova = mmap.mmap(-1, 1 << 16), 0x100000
    place = ctypes.addressof(ctypes.c_char.from_buffer(buffer))
    vfio(container, "map", struct.pack("IIQQQ", 32, 3, place, iova, 1 << 16))
    (size, offset), (_, config) = vfio_region(function, 0), vfio_region(function, 7)
    command = struct.unpack("<H", os.pread(function, 2, config + 4))[0]
    os.pwrite(function, struct.pack("<H", command | 6), config + 4)
    event = os.eventfd(0, os.EFD_NONBLOCK)
    vfio(function, "irqs", struct.pack("IIIIIi", 24, 0x24, 1, 0, 1, event))
    registers = Registers(mmap.mmap(function, size, offset=offset))
    buffer[: len(data)] = data
    for source, target, way in ((iova, 0x40000, 0), (0x40000, iova + 4096, 2)):
        for at, value in ((0x80, source), (0x88, target), (0x90, len(data)), (0x98, 5 | way)):
            registers.long[at // 8] = value
        assert select.select([event], [], [], 10)[0]
        os.read(event, 8)
        registers.word[0x64 // 4] = 0x100
    os.close(event)
    return buffer[4096 : 4096 + len(data)]


# --- memory ---------------------------------------------------------------------------------------


def test_ivshmem_is_shared_with_the_host(host: Host) -> None:
    device = devices.pci(devices.IVSHMEM)[0]
    (device / "enable").write_text("1")
    host.write_file("ivshmem", 0, b"from the host")
    with opened(device / "resource2_wc") as bar:
        memory = mmap.mmap(bar, 1 << 20)
    assert memory[:13] == b"from the host"
    memory[4096:4110] = b"from the guest"
    assert host.read_file("ivshmem", 4096, 14) == b"from the guest"


@pytest.mark.parametrize("name", ["nvdimm", "cxl"])
def test_dax_stores_reach_the_host_file(host: Host, name: str) -> None:
    dax = devices.dax(name)
    until(Path(dax.node).exists)
    text = f"{name} keeps this".encode()
    with opened(dax.node) as node:
        memory = mmap.mmap(node, 1 << 21)
    memory[4096 : 4096 + len(text)] = text
    assert host.read_file(name, dax.offset + 4096, len(text)) == text


def test_fsdax_maps_with_sync(pmem_folder: Path) -> None:
    path = pmem_folder / "file"
    path.write_bytes(bytes(4096))
    with opened(path) as file:
        shared_validate_sync = 0x03 | 0x80000
        memory = mmap.mmap(file, 4096, flags=shared_validate_sync)
        memory[:4] = b"pmem"
        memory.close()
    assert path.read_bytes()[:4] == b"pmem"


def test_dma_heap_allocates() -> None:
    with opened("/dev/dma_heap/system", os.O_RDWR) as heap:
        request = bytearray(struct.pack("QIIQ", 8192, 0, os.O_RDWR | os.O_CLOEXEC, 0))
        fcntl.ioctl(heap, 0xC0184800, request)  # DMA_HEAP_IOCTL_ALLOC
        buffer = struct.unpack("QIIQ", request)[1]
    memory = mmap.mmap(buffer, 8192)
    memory[:3] = b"dma"
    assert memory[:3] == b"dma"
    assert memory[8191] == 0
    os.close(buffer)


# --- the rest -------------------------------------------------------------------------------------


def test_virtio_network_is_there() -> None:
    drivers = {path.resolve().name for path in Path("/sys/class/net").glob("*/device/driver")}
    assert "virtio_net" in drivers


def test_firmware_tables_describe_the_machine() -> None:
    tables = Path("/sys/firmware/acpi/tables")
    for name in ("APIC", "CEDT", "DMAR", "NFIT"):
        assert (tables / name).read_bytes()[:4] == name.encode()
