# SPDX-License-Identifier: Apache-2.0
"""The configuration file: logical names, overrides, and what is said when it is wrong."""

from __future__ import annotations

import os
import pty
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hal
from hal.discovery import config, local_inventory
from tests.machine import FTDI, Machine, workbench

Write = Callable[[str], Path]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Write:
    """Write the configuration file that HAL_CONFIG names."""
    path = tmp_path / "hal.toml"
    monkeypatch.setenv("HAL_CONFIG", str(path))

    def write(text: str) -> Path:
        path.write_text(text)
        return path

    return write


def test_all_that_can_be_said(write: Write) -> None:
    path = write(
        '[names]\nline = "uart:/dev/ttyS0?baud=9600"\n'
        'gps = {serial = "A5", class = "serial", options = {baud = 115200, exclusive = true}}\n'
        '[match]\n"usb:v0403p6001*" = "uart"\n"of:acme,eeprom" = "at24:{bus}/{address}?size=8"\n'
    )
    found = config.load()
    assert found.names["line"].uri == "uart:/dev/ttyS0?baud=9600"
    assert found.names["gps"].wanted == {"serial": "A5", "class": "serial"}
    assert found.names["gps"].options == {"baud": "115200", "exclusive": "true"}
    assert found.names["gps"].place == f"{path}, names.gps"
    first, second = found.overrides
    assert (first.fits, first.driver, first.address) == ("usb:v0403p6001*", "uart", "")
    assert (second.driver, second.address) == ("at24", "{bus}/{address}?size=8")
    assert found.files == (str(path),)


def test_the_users_file_comes_before_the_systems(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HAL_CONFIG", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(config, "SYSTEM", str(tmp_path / "hal.toml"))
    assert config.load() == config.Config()
    (tmp_path / "home/hal").mkdir(parents=True)
    (tmp_path / "hal.toml").write_text(
        '[names]\na = "uart:1"\nb = "uart:1"\n[match]\n"of:a" = "uart"\n'
    )
    (tmp_path / "home/hal/hal.toml").write_text(
        '[names]\na = "uart:2"\n[match]\n"of:a" = "other"\n'
    )
    found = config.load()
    assert {name: entry.uri for name, entry in found.names.items()} == {
        "a": "uart:2",
        "b": "uart:1",
    }
    assert [override.driver for override in found.overrides] == ["other", "uart"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[names\n", "it is no TOML: "),
        ("\udcff", "it is no TOML: "),
        ("[nmes]\n", "nmes: no such table; there are [names] and [match]"),
        ("names = 1\n", "names: must be a table: [names]"),
        ('[names]\n"a b" = "uart:1"\n', "names.a b: a letter or digit, then"),
        ("[names]\na = 1\n", "names.a: must be a URI, or a table"),
        ("[names]\na = {}\n", "names.a: must be a URI, or a table"),
        ('[names]\na = "/dev/ttyS0"\n', 'names.a: "/dev/ttyS0" is no URI'),
        (
            "[names]\na = {serail = '1'}\n",
            "names.a.serail: no such key; there are uri, options, id",
        ),
        ("[names]\na = {serial = 1}\n", "names.a.serial: must be a text that is not empty"),
        ("[names]\na = {class = 'seriall'}\n", "names.a.class: must be one of serial, i2c"),
        ("[names]\na = {uri = 'uart:1', serial = '1'}\n", "names.a: give either a uri, or what"),
        ("[names]\na = {options = {baud = 1}}\n", "names.a: give either a uri, or what"),
        ("[names]\na = {uri = 'uart:1', options = 1}\n", "names.a.options: must be a table"),
        (
            "[names]\na = {uri = 'uart:1', options = {a = []}}\n",
            "names.a.options.a: must be a text",
        ),
        ('[match]\n"tty" = "uart"\n', 'match."tty": must be words KIND:GLOB'),
        ('[match]\n"of:x" = "a b"\n', 'match."of:x": must be a driver'),
        ('[match]\n"of:x" = 1\n', 'match."of:x": must be a driver'),
    ],
)
def test_what_is_wrong_is_said_with_file_and_key(write: Write, text: str, said: str) -> None:
    path = write("")
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(config.ConfigError) as raised:
        config.load()
    assert str(raised.value).startswith(f'read "{path}": {said}')
    with pytest.raises(hal.InvalidArgument) as refused:
        hal.open("no-such-name")
    assert said in str(refused.value)
    inventory = local_inventory(classes=["sound"])  # devices are listed all the same
    assert any(said in problem.cause for problem in inventory.problems)


def test_a_line_is_named(write: Write) -> None:
    write("[names]\nok = 'uart:1'\nbroken = \n")
    with pytest.raises(config.ConfigError, match="line 3"):
        config.load()


def test_a_file_that_is_not_there(write: Write, tmp_path: Path) -> None:
    with pytest.raises(config.ConfigError, match="No such file or directory; HAL_CONFIG names it"):
        config.load()
    path = write("x" * (config.MAX_SIZE + 1))
    with pytest.raises(config.ConfigError, match="1048576 at most"):
        config.load()
    path.unlink()
    path.mkdir()
    with pytest.raises(config.ConfigError, match="Is a directory"):
        config.load()


def test_a_change_is_seen(write: Write) -> None:
    write('[names]\na = "uart:1"\n')
    assert set(config.load().names) == {"a"}
    write('[names]\nbb = "uart:1"\n')
    assert set(config.load().names) == {"bb"}


@given(st.text())
def test_any_text_is_taken_or_refused(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.toml"
    path.write_bytes(text.encode("utf-8", "surrogatepass"))
    try:
        config._parsed.__wrapped__(str(path), 0, 0, 0)
    except config.ConfigError as error:
        assert str(path) in str(error)  # noqa: PT017 - only some texts are wrong


# ---- opening by name -----------------------------------------------------------------------------


def test_open_by_name(write: Write) -> None:
    write('[names]\nback = "loopback:?capacity=4096"\nloopback = "uart:/nowhere"\n')
    with hal.open("back") as device:
        assert device.uri == "loopback:?capacity=4096"
    with hal.open("back?capacity=8192") as device:
        assert device.uri == "loopback:?capacity=8192"
    with hal.open("back", capacity=8192) as device:
        assert device.attributes["capacity"] == 8192
    with hal.open("loopback") as device:  # a driver comes before a name of the file
        assert device.driver == "loopback"
    hal.bind("back", "loopback:?capacity=16384")
    try:  # and so does what the program has bound
        with hal.open("back") as device:
            assert device.attributes["capacity"] == 16384
    finally:
        hal.unbind("back")


def test_a_name_that_nothing_has(write: Write) -> None:
    write('[names]\nback = "loopback:"\n')
    with pytest.raises(hal.NotFound, match='no driver or logical name "bacc"'):
        hal.open("bacc")
    write('[names]\ngone = "uart:/nowhere"\n')
    with pytest.raises(hal.NotFound, match="/nowhere"):
        hal.open("gone")


def test_a_device_that_is_not_there(write: Write) -> None:
    path = write('[names]\ngps = {serial = "no such number", class = "serial"}\n')
    with pytest.raises(hal.NotFound) as raised:
        hal.open("gps")
    text = str(raised.value)
    assert text.startswith('open "gps": no device has serial no such number, class serial')
    assert f"{path}, names.gps" in text


def test_by_identity_on_a_machine(write: Write, tmp_path: Path) -> None:
    bench = workbench(tmp_path / "bench")
    bench.write(
        "/etc/hal/hal.toml",
        f'[names]\ngps = {{serial = "A50285BI", class = "serial"}}\n'
        f'port = {{path = "{FTDI}", class = "serial"}}\n'
        'node = {path = "/dev/ttyS0"}\nboot = "uart:/dev/ttyAMA0?baud=9600"\n',
    )
    found = {r.name: r.names for r in local_inventory(str(bench.root)) if r.names}
    assert found == {"ttyUSB0": ("gps", "port"), "ttyS0": ("node",), "ttyAMA0": ("boot",)}


def test_resolve(write: Write, tmp_path: Path) -> None:
    bench = Machine(tmp_path / "bench")
    for name in ("ttyGS0", "ttyGS1"):
        bench.device(f"/devices/virtual/tty/{name}", "class/tty", node=name)
    inventory = local_inventory(str(bench.root))
    first = next(record for record in inventory if record.name == "ttyGS0")
    write(
        f'[names]\none = {{id = "{first.id}", options = {{baud = 9600}}}}\n'
        'two = {class = "serial"}\nthree = {name = "ttyGS9"}\n'
    )
    assert hal.names.resolve("one", inventory) == "uart:/dev/ttyGS0?baud=9600"
    with pytest.raises(
        hal.InvalidArgument, match=r"2 devices have class serial: ttyGS0 .*, ttyGS1 "
    ):
        hal.names.resolve("two", inventory)
    with pytest.raises(hal.NotFound, match="no device has name ttyGS9"):
        hal.names.resolve("three", inventory)
    with pytest.raises(hal.NotFound, match='"four": no such name'):
        hal.names.resolve("four", inventory)


def test_a_real_line_by_its_name(write: Write) -> None:
    ours, theirs = pty.openpty()
    try:
        write(
            f'[names]\nconsole = {{uri = "uart:{os.ttyname(theirs)}", options = {{baud = 9600}}}}'
        )
        with hal.open("console") as line:
            line.write(b"hello")
            assert os.read(ours, 16) == b"hello"
            assert line.attributes["baud"] == 9600
    finally:
        os.close(ours)
        os.close(theirs)
