# SPDX-License-Identifier: Apache-2.0
"""A device of another machine, by hal://, over a real link on the loopback interface."""

from __future__ import annotations

import asyncio
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import hal
from hal.agent.leases import Lease
from hal.agent.server import Agent

from .far import CONTROLLER, DEVICE, EXPORTS, Far, far
from .native import run

__all__ = ["far"]


def test_bytes_there_and_back(far: Far) -> None:
    with hal.open(far.uri("echo"), timeout=5) as device:
        assert device.driver == "loopback"
        for message in (b"x", b"hello" * 100, bytes(60000)):
            device.write(message, timeout=5)
            assert device.read_exact(len(message), timeout=5) == message


def test_a_read_that_times_out_loses_nothing(far: Far) -> None:
    with hal.open(far.uri("echo"), timeout=5) as device:
        with pytest.raises(hal.Timeout):
            device.read(10, timeout=0.05)
        device.write(b"late", timeout=5)
        assert device.read(10, timeout=5) == b"late"


def test_attributes(far: Far) -> None:
    with hal.open(far.uri("sim"), timeout=5) as there, hal.open("sim:uart") as here:
        for name in here.attributes:
            facts = here.attributes.describe(name)
            if facts.access & hal.Access.READ:
                assert there.attributes[name] == here.attributes[name], name
            assert there.attributes.describe(name).doc == facts.doc


def test_memory(far: Far) -> None:
    with hal.open(far.uri("memory"), timeout=5) as device:
        assert type(device) is hal.Memory
        device.write_at(b"0123456789", 100, timeout=5)
        assert device.read_at(10, 100, timeout=5) == b"0123456789"
        device.store(8, 0x11223344, 4)
        assert device.load(8, 4) == 0x11223344


def test_far_registers_do_not_hold_the_interpreter(far: Far, tmp_path: Path) -> None:
    """The agent is in this process, and needs the interpreter before it answers the first read."""
    (tmp_path / "bar").write_bytes(bytes(range(64)))
    far.leases.configure({"bar": f"mmio:{tmp_path / 'bar'}"}, 60, None)
    for _ in range(5):
        with hal.Mmio.open(far.uri("bar"), timeout=5) as bar:
            assert bar.read32(4) == bar.load(4) == 0x07060504
            bar.write16(0, 0xABCD)
            assert bar.update(0, 0xFF, 0x12, width=2) == 0xABCD


def test_far_errors_are_near_errors(far: Far) -> None:
    with pytest.raises(hal.NotFound, match="not exported here"):
        hal.open(far.uri("nothing"), timeout=5)
    with (
        hal.open(far.uri("memory"), timeout=5) as device,
        pytest.raises(hal.Error, match="remote"),
    ):
        device.load(65536, 4)


def test_two_share_and_one_has_for_himself(far: Far) -> None:
    alone = far.uri("echo") + "&lease=exclusive"
    held = pytest.raises(hal.Busy, match="held by controller")
    with hal.open(far.uri("echo"), timeout=5), hal.open(far.uri("echo"), timeout=5), held:
        hal.open(alone, timeout=5)
    held = pytest.raises(hal.Busy, match="held by controller")
    with hal.open(alone, timeout=5), held:
        hal.open(far.uri("echo"), timeout=5)
    hal.open(far.uri("echo"), timeout=5).close()


def release_later(far: Far, patch: pytest.MonkeyPatch, wait: Callable[[], object]) -> None:
    """Let the agent take its time for letting go of a device."""
    release = far.leases.release

    def later(lease: Lease, why: str = "given back") -> bool:
        wait()
        return release(lease, why)

    patch.setattr(far.leases, "release", later)


def test_whoever_has_closed_a_device_may_open_it_again_at_once(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    release_later(far, monkeypatch, lambda: time.sleep(0.01))  # Longer than a handshake takes.
    alone = far.uri("echo") + "&lease=exclusive"
    for _ in range(200):
        hal.open(alone, timeout=5).close()


def test_closing_returns_once_the_agent_has_let_go(
    far: Far, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then anybody may have it: a device of this machine is free after closing, too."""
    release_later(far, monkeypatch, lambda: time.sleep(0.7))
    for options in ("", "&lease=exclusive", "&reconnect=60"):
        hal.open(far.uri("echo") + options, timeout=5).close()
        assert far.leases.held() == []
        assert [export.device for export in far.leases.all()] == [None] * len(EXPORTS)


def test_closing_waits_a_second_at_most(far: Far, monkeypatch: pytest.MonkeyPatch) -> None:
    free = threading.Event()
    release_later(far, monkeypatch, lambda: free.wait(10))
    alone = far.uri("echo") + "&lease=exclusive"
    device = hal.open(alone, timeout=5)
    begun = time.monotonic()
    device.close()
    assert 1 <= time.monotonic() - begun < 3
    with pytest.raises(hal.Busy, match=f"held by controller {CONTROLLER}"):
        hal.open(alone, timeout=5)
    free.set()


def test_a_link_that_is_closed_with_bytes_on_their_way_is_no_lost_one(far: Far) -> None:
    """Nobody comes back for the lease: it is not kept."""
    for _ in range(20):
        with hal.open(far.uri("echo") + "&reconnect=60", timeout=5) as device:
            for _ in range(4):
                device.write(bytes(60000), timeout=5)
        assert far.leases.held() == []


def test_cancel_ends_a_read_at_once(far: Far) -> None:
    with hal.open(far.uri("echo"), timeout=5) as device:
        timer = threading.Timer(0.1, device.cancel)
        timer.start()
        with pytest.raises(hal.Cancelled):
            device.read(10, timeout=5)
        timer.join()
        device.write(b"x", timeout=5)
        assert device.read(10, timeout=5) == b"x"


def test_lanes_run_beside_each_other(far: Far) -> None:
    with hal.open(far.uri("echo"), timeout=5) as device:
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(device.read_exact(200_000, timeout=20)))
        reader.start()
        for _ in range(20):
            device.write(bytes(10_000), timeout=5)
            list(device.attributes)
        reader.join()
        assert len(got[0]) == 200_000


def test_links_that_share_a_device_are_not_in_each_others_way(far: Far) -> None:
    def read(device: hal.Device) -> None:
        for _ in range(200):
            assert len(device.read_at(32768, 0, timeout=20)) == 32768
            device.write_at(bytes(32768), 32768, timeout=20)

    devices = [hal.open(far.uri("memory"), timeout=5) for _ in range(4)]
    try:
        with ThreadPoolExecutor(len(devices)) as pool:
            list(pool.map(read, devices))
    finally:
        for device in devices:
            device.close()


@pytest.mark.parametrize("device", ["echo", "sim"])
def test_what_may_not_wait_is_done_once(far: Far, device: str) -> None:
    with hal.open(far.uri(device), timeout=5) as there:
        with pytest.raises(hal.WouldBlock):
            there.read(1, timeout=0)
        for number in range(20):
            assert there.write(b"%02d" % number, timeout=0) == 2
        everything = b"".join(b"%02d" % number for number in range(20))
        assert there.read_exact(40, timeout=5) == everything
        with pytest.raises(hal.WouldBlock):
            there.read(1, timeout=0)


def test_asyncio(far: Far) -> None:
    async def talk() -> bytes:
        with hal.open(far.uri("echo"), timeout=5) as device:
            waiting = asyncio.create_task(device.aread(10, timeout=5))
            await asyncio.sleep(0.1)
            assert await device.awrite(b"hello", timeout=5) == 5
            return await waiting

    assert asyncio.run(talk()) == b"hello"


@pytest.mark.parametrize(
    ("uri", "error", "message"),
    [
        ("hal:x", hal.InvalidArgument, "hal://host"),
        ("hal://127.0.0.1", hal.InvalidArgument, "no device"),
        ("hal://127.0.0.1/x", hal.InvalidArgument, "an address proves nothing"),
        ("hal://127.0.0.1/x?id=1", hal.InvalidArgument, "an address proves nothing"),
        (f"hal://{DEVICE}/x?at=:1", hal.InvalidArgument, "no host"),
        (f"hal://{DEVICE}/x?at=" + "a," * 8 + "a", hal.InvalidArgument, "more than 8 places"),
        (f"hal://127.0.0.1:99999999/x?id={DEVICE}", hal.InvalidArgument, "1 to 65535"),
        (f"hal://[::1/x?id={DEVICE}", hal.InvalidArgument, "IPv6"),
        (f"hal://127.0.0.1:1/x?id={DEVICE}&credentials=/nowhere", hal.NotFound, "hal-ca enrol"),
    ],
)
def test_bad_addresses(uri: str, error: type[hal.Error], message: str) -> None:
    with pytest.raises(error, match=message):
        hal.open(uri, timeout=5)


def test_nobody_listens(far: Far) -> None:
    uri = f"hal://127.0.0.1:1/echo?id={DEVICE}&credentials={far.folder}"
    with pytest.raises(hal.Error, match="does hal-agent run there"):
        hal.open(uri, timeout=5)


def test_another_machine_answers(far: Far) -> None:
    with pytest.raises(hal.PermissionDenied, match=r"not proved to be 22222222.*(mismatch|match)"):
        hal.open(far.uri("echo").replace(str(DEVICE), str(CONTROLLER)), timeout=5)


def test_the_agent_stops(far: Far) -> None:
    with hal.open(far.uri("echo"), timeout=5) as device:
        far.stop()
        with pytest.raises(hal.LinkLost, match="the link is lost"):
            device.read(1, timeout=5)
        with pytest.raises(hal.LinkLost, match="the link is lost"):
            device.write(b"x", timeout=5)


def test_the_command(far: Far, tmp_path: Path) -> None:
    """hal-agent as its users run it, with a device behind it."""
    config = tmp_path / "agent.toml"
    config.write_text('[devices]\necho = "loopback:"\n')
    command = [sys.executable, "-c", "from hal.agent.cli import main; main()"]
    command += ["--config", str(config), "--own", str(tmp_path / "device")]
    with subprocess.Popen(
        [*command, "--host", "127.0.0.1", "--port", "0"], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"port (\d+), 1 devices", process.stdout.readline())
        assert found
        uri = far.uri("echo").replace(f":{far.port}/", f":{found[1]}/")
        with hal.open(uri, timeout=5) as device:
            device.write(b"x", timeout=5)
            assert device.read(1, timeout=5) == b"x"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


PROGRAM = r"""
#include <hal/hal.h>
#include <stdio.h>
#include <string.h>

int main(int argc, char **argv)
{
    hal_deadline until = hal_after_ms(20000);
    hal_handle dev = argc == 2 ? hal_open(argv[1], until) : -1;
    char line[16] = "";
    ssize_t n;

    if (dev < 0)
        return printf("%s\n", hal_last_error()), 1;
    hal_write(dev, "hello\n", 6, until);
    n = hal_read_until(dev, line, sizeof(line), "\n", 1, until);
    printf("%.*s", n > 0 ? (int)n : 0, line);
    return hal_close(dev);
}
"""


def test_from_c_without_python(far: Far, tmp_path: Path) -> None:
    """A program in C has the same devices, and the same words for what goes wrong."""
    program = tmp_path / "program"
    flags = run(sys.executable, "-m", "hal", "--cflags", "--libs").split()
    (tmp_path / "program.c").write_text(PROGRAM)
    run("cc", "-Wall", "-Wextra", "-Werror", tmp_path / "program.c", "-o", program, *flags)
    assert run(program, far.uri("echo")) == "hello\n"
    wrong = far.uri("echo").replace(str(DEVICE), str(CONTROLLER))
    said = subprocess.run([program, wrong], capture_output=True, text=True, check=False)
    assert said.returncode == 1 and "has not proved to be 22222222" in said.stdout


@pytest.mark.parametrize("device", ["echo", "memory", "i2c", "gpio"])
def test_the_contract_of_drivers_holds_over_the_link(far: Far, device: str) -> None:
    command = [sys.executable, "-c", "from hal.conformance.cli import main; main()"]
    done = subprocess.run(
        [*command, far.uri(device), "--writes"],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.search(r"\d\d passed, (0 failed|\d+ not applicable)", done.stdout), done.stdout


def test_nothing_listens_beyond_the_loopback_unless_told() -> None:
    """Nor does the authority's service (the default of both commands, and of both classes)."""
    from inspect import signature

    from hal.agent.config import Config
    from hal.ca.cli import serve
    from hal.link.enrol import Registrar

    assert next(p for p in serve.params if p.name == "host").default == "127.0.0.1"
    assert Config().listen.host == "127.0.0.1"
    for service in (Agent, Registrar):
        assert signature(service).parameters["address"].default[0] == "127.0.0.1"
