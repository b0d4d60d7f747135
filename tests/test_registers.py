# SPDX-License-Identifier: Apache-2.0
"""Registers and fields by name: the file, the imports, and access on simulated memory."""

from __future__ import annotations

import contextlib
import errno
import json
import sys
from collections.abc import Iterator
from enum import IntEnum
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hal
from hal import _core
from hal.probe.cli import cli

FIXTURES = Path(__file__).parent / "fixtures"
TIMER: dict[str, Any] = {
    "registers": {
        "CTRL": {
            "offset": 0,
            "fields": {
                "ENABLE": {"bits": 0},
                "MODE": {"bits": [2, 1], "enum": {"ONCE": 0, "REPEAT": 2}},
                "value": {"bits": [15, 8]},
            },
        },
        "STATUS": {
            "offset": 4,
            "fields": {
                "BUSY": {"bits": 0, "access": "ro"},
                "DONE": {"bits": 8, "access": "w1c"},
                "PRIORITY": {"bits": [18, 16]},
            },
        },
        "START": {"offset": 8, "width": 1, "access": "wo", "fields": {"GO": {"bits": [3, 2]}}},
        "ID": {"offset": 16, "width": 8, "access": "ro"},
    }
}


@pytest.fixture
def memory() -> Iterator[hal.Device]:
    with hal.open("sim:memory", size=64) as device:
        yield device


@pytest.fixture
def timer(memory: hal.Device) -> hal.Registers:
    return hal.Registers(memory, hal.RegisterMap.from_dict(TIMER, "timer"))


def test_whole_registers(timer: hal.Registers, memory: hal.Device) -> None:
    timer.CTRL.value = 0xAABBCCDD
    assert memory.load(0) == timer.CTRL.value == timer["CTRL"].value == 0xAABBCCDD
    timer.CTRL.value = np.uint32(7)
    assert timer.CTRL.value == 7
    memory.store(16, 2**63, 8)
    assert timer.ID.value == 2**63


def test_a_field_is_changed_alone(timer: hal.Registers, memory: hal.Device) -> None:
    memory.store(0, 0xFFFF0000)
    timer.CTRL.ENABLE = 1
    assert memory.load(0) == 0xFFFF0001
    timer.CTRL.MODE = "REPEAT"
    assert memory.load(0) == 0xFFFF0005
    timer.CTRL.write(ENABLE=0, MODE=3)
    assert memory.load(0) == 0xFFFF0006
    timer.CTRL["value"] = 0xAB  # a name that the view uses itself
    assert memory.load(0) == 0xFFFFAB06


def test_named_values(timer: hal.Registers) -> None:
    timer.CTRL.MODE = 2
    mode = timer.CTRL.MODE
    assert mode == 2 and isinstance(mode, IntEnum) and mode.name == "REPEAT"
    timer.CTRL.MODE = 1
    assert timer.CTRL.MODE == 1 and not isinstance(timer.CTRL.MODE, IntEnum)
    assert timer.CTRL.read() == {"ENABLE": 0, "MODE": 1, "value": 0}


def test_flags_that_a_one_clears_are_left_alone(timer: hal.Registers, memory: hal.Device) -> None:
    memory.store(4, 0x101)  # DONE is set: writing it back would clear it
    timer.STATUS.PRIORITY = 5
    assert memory.load(4) == 0x050001
    timer.STATUS.DONE = 1
    assert memory.load(4) == 0x050101


def test_a_register_that_cannot_be_read(timer: hal.Registers, memory: hal.Device) -> None:
    memory.store(8, 0xFF, 1)
    timer.START.GO = 2
    assert memory.load(8, 1) == 2 << 2
    with pytest.raises(
        hal.Unsupported, match=r'read register "START\.GO": the field is write-only'
    ):
        _ = timer.START.GO
    with pytest.raises(hal.Unsupported, match='read register "START": the register is write-only'):
        _ = timer.START.value


def test_refusals_name_register_and_field(timer: hal.Registers) -> None:
    with pytest.raises(hal.Unsupported, match=r'"STATUS\.BUSY": the field is read-only'):
        timer.STATUS.BUSY = 1
    with pytest.raises(hal.Unsupported, match='"ID": the register is read-only'):
        timer.ID.value = 1
    with pytest.raises(hal.InvalidArgument, match=r'"CTRL\.MODE": 4 is outside 0\.\.3'):
        timer.CTRL.MODE = 4
    with pytest.raises(hal.InvalidArgument, match=r'"CTRL\.MODE": -1 is outside'):
        timer.CTRL.MODE = -1
    with pytest.raises(hal.InvalidArgument, match=r'"CTRL\.MODE": "TWICE" is none of ONCE, REPEAT'):
        timer.CTRL.write(MODE="TWICE")
    with pytest.raises(hal.InvalidArgument, match=r'"CTRL": 4294967296 is outside'):
        timer.CTRL.value = 2**32
    with pytest.raises(hal.NotFound, match=r'"CTRL\.SPEED": CTRL has ENABLE, MODE, value'):
        _ = timer.CTRL.SPEED
    with pytest.raises(hal.NotFound, match='find register "CONTROL": timer has CTRL, STATUS'):
        _ = timer.CONTROL
    with pytest.raises(hal.InvalidArgument, match=r"registers\.CTRL\.value"):
        timer.CTRL = 5


def test_a_register_beyond_the_device(memory: hal.Device) -> None:
    registers = hal.Registers(
        memory, hal.RegisterMap.from_dict({"registers": {"FAR": {"offset": 64}}})
    )
    with pytest.raises(hal.InvalidArgument, match="beyond") as caught:
        _ = registers.FAR.value
    assert caught.value.errno == errno.ERANGE


def test_looks(timer: hal.Registers) -> None:
    assert {"CTRL", "map"} <= set(dir(timer))
    assert {"MODE", "value"} <= set(dir(timer.CTRL))
    assert [view.register.name for view in timer] == list(timer.map) == list(TIMER["registers"])
    assert 'register "CTRL" at 0x0' in repr(timer.CTRL)
    assert not hasattr(timer, "__array__")


@settings(deadline=None, max_examples=50, suppress_health_check=[HealthCheck.too_slow])
@given(
    low=st.integers(0, 31), size=st.integers(1, 32), old=st.integers(0, 2**32 - 1), data=st.data()
)
def test_any_field(low: int, size: int, old: int, data: st.DataObject) -> None:
    high = min(low + size - 1, 31)
    new = data.draw(st.integers(0, (1 << high - low + 1) - 1))
    table = {"registers": {"R": {"offset": 8, "fields": {"F": {"bits": [high, low]}}}}}
    with hal.open("sim:memory", size=64) as device:
        registers = hal.Registers(device, hal.RegisterMap.from_dict(table))
        registers.R.value = old
        registers.R.F = new
        mask = registers.map["R"].fields["F"].mask
        assert registers.R.value == old & ~mask | new << low
        field = registers.R.F
    assert field == new


# --- files ----------------------------------------------------------------------------------


def test_edu() -> None:
    edu = hal.RegisterMap.load(FIXTURES / "edu.toml")
    assert (edu.name, len(edu)) == ("edu", 11)
    assert edu["ID"].decode(0x010000ED) == {"MAGIC": 0xED, "MINOR": 0, "MAJOR": 1}
    assert edu["DMA_COMMAND"].width == 8
    assert edu["STATUS"].fields["COMPUTING"].access == "ro"


@pytest.mark.parametrize(("file", "part"), [("timer.svd", "TIMER"), ("timer.rdl", None)])
def test_imports_agree(file: str, part: str | None) -> None:
    timer = hal.RegisterMap.load(FIXTURES / file, part)
    assert timer.doc == "A timer"
    assert [(r.name, r.offset, r.width) for r in timer.values()] == [
        ("CTRL", 0, 4),
        ("STATUS", 4, 4),
        ("LEVEL0", 16, 2),
        ("LEVEL1", 20, 2),
    ]
    assert timer["CTRL"].fields["MODE"] == hal.Field(
        "MODE", 1, 2, "rw", {"ONCE": 0, "REPEAT": 2}, "What comes after the end"
    )
    assert {name: item.access for name, item in timer["STATUS"].fields.items()} == {
        "BUSY": "ro",
        "DONE": "w1c",
        "PRIORITY": "rw",
    }


def test_which_part() -> None:
    with pytest.raises(hal.NotFound, match="say which peripheral: TIMER, OTHER"):
        hal.RegisterMap.load(FIXTURES / "timer.svd")
    with pytest.raises(hal.NotFound, match="no peripheral UART: TIMER, OTHER"):
        hal.RegisterMap.load(FIXTURES / "timer.svd", "UART")
    with pytest.raises(hal.InvalidArgument, match="clock"):
        hal.RegisterMap.load(FIXTURES / "timer.rdl", "clock")


@pytest.mark.parametrize(("suffix", "text"), [("svd", "no CMSIS-SVD"), ("rdl", "line 1")])
def test_files_that_are_none(tmp_path: Path, suffix: str, text: str) -> None:
    path = tmp_path / f"bad.{suffix}"
    path.write_text("<bad", encoding="utf-8")
    with pytest.raises(hal.InvalidArgument, match=text):
        hal.RegisterMap.load(path)


@pytest.mark.parametrize(
    ("suffix", "module", "package"),
    [("svd", "cmsis_svd.parser", "cmsis-svd"), ("rdl", "systemrdl", "systemrdl-compiler")],
)
def test_a_library_that_is_missing(
    monkeypatch: pytest.MonkeyPatch, suffix: str, module: str, package: str
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(hal.Unsupported, match=f"{package} is not installed .pip install"):
        hal.RegisterMap.load(FIXTURES / f"timer.{suffix}")


def test_files_that_cannot_be(tmp_path: Path) -> None:
    with pytest.raises(hal.NotFound, match="no such file"):
        hal.RegisterMap.load(tmp_path / "none.toml")
    (tmp_path / "map.yaml").touch()
    with pytest.raises(hal.InvalidArgument, match=r'not "\.yaml"'):
        hal.RegisterMap.load(tmp_path / "map.yaml")
    (tmp_path / "map.toml").write_text("[registers\n", encoding="utf-8")
    with pytest.raises(hal.InvalidArgument, match=r"map\.toml.*line 1"):
        hal.RegisterMap.load(tmp_path / "map.toml")


@pytest.mark.parametrize(
    ("register", "text"),
    [
        ({}, "register R: offset must be a number, 0 or more, not None"),
        ({"offset": -4}, "offset must be a number"),
        ({"offset": "0"}, "offset must be a number"),
        ({"offset": 2}, "offset must be a multiple of the width 4, not '0x2'"),
        ({"offset": 0, "width": 3}, "width must be 1, 2, 4 or 8"),
        ({"offset": 0, "access": "r"}, "access must be one of rw, ro, wo, w1c, not 'r'"),
        ({"offset": 0, "doc": 1}, "doc must be text"),
        ({"offset": 0, "size": 4, "reset": 0}, "register R: unknown size, reset"),
        ({"offset": 0, "fields": []}, "fields must be a table"),
        ({"offset": 0, "fields": {"F": 3}}, "field F: a table is needed, not 3"),
        ({"offset": 0, "fields": {"F": {}}}, "field F: bits must be a bit or"),
        ({"offset": 0, "fields": {"F": {"bits": [1]}}}, "bits must be a bit or"),
        ({"offset": 0, "fields": {"F": {"bits": 32}}}, "field F: bit 32 is beyond 32 bits"),
        ({"offset": 0, "width": 1, "fields": {"F": {"bits": 8}}}, "bit 8 is beyond 8 bits"),
        (
            {"offset": 0, "fields": {"F": {"bits": [3, 0]}, "G": {"bits": 3}}},
            "bit 3 is in F and in G",
        ),
        ({"offset": 0, "fields": {"F": {"bits": 0, "enum": {"A": 2}}}}, r"2 is beyond 0\.\.1"),
        ({"offset": 0, "fields": {"F": {"bits": 0, "enum": {"A": "x"}}}}, "enum A must be"),
        ({"offset": 0, "fields": {"F": {"bits": 0, "enum": {"mro": 1}}}}, "field F: .*'mro'"),
        ({"offset": 0, "fields": {"F": {"bits": 0, "enum": {"__new__": 1}}}}, "1 is Python's own"),
    ],
)
def test_maps_that_are_wrong(register: dict[str, Any], text: str) -> None:
    with pytest.raises(hal.InvalidArgument, match=text):
        hal.RegisterMap.from_dict({"registers": {"R": register}})


SCALARS = st.one_of(
    st.integers(-2, 70), st.just(2**70), st.booleans(), st.floats(), st.text(max_size=3)
)
NAMES = st.one_of(st.sampled_from(["A", "mro", "__init__", "_x_", "", "a b"]), st.text(max_size=4))


def tables(keys: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """Tables of a file: each key may lack, or hold something else; one may be unknown."""
    entries = {key: value | SCALARS for key, value in keys.items()}
    strange = st.dictionaries(NAMES, SCALARS, max_size=1)
    return st.builds(lambda a, b: a | b, st.fixed_dictionaries({}, optional=entries), strange)


ACCESS = st.sampled_from(["rw", "ro", "wo", "w1c"])
BITS = st.integers(0, 31) | st.lists(SCALARS, max_size=3) | st.lists(st.integers(0, 31), min_size=2)
FIELD = tables(
    {"bits": BITS, "access": ACCESS, "enum": st.dictionaries(NAMES, st.integers(0, 1), max_size=2)}
)
REGISTER = tables(
    {
        "offset": st.integers(0, 60),
        "width": st.sampled_from([1, 2, 4, 8]),
        "access": ACCESS,
        "fields": st.dictionaries(NAMES, FIELD, max_size=3),
    }
)


@settings(deadline=None, max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(tables({"registers": st.dictionaries(NAMES, REGISTER, max_size=2)}), st.integers(0))
def test_any_table_is_a_map_or_is_refused(table: dict[str, Any], value: int) -> None:
    try:
        registers = hal.RegisterMap.from_dict(table, "here")
    except hal.InvalidArgument as error:
        assert str(error).startswith("here")  # noqa: PT017 - every other error fails the test
        return
    for register in registers.values():
        assert register.offset % register.width == 0
        decoded = register.decode(value % (1 << 8 * register.width))
        assert all(0 <= item < 1 << 8 * register.width for item in decoded.values())


@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(["edu.toml", "timer.svd", "timer.rdl"]), st.data())
def test_a_damaged_file_is_a_map_or_is_refused(
    tmp_path: Path, name: str, data: st.DataObject
) -> None:
    content = bytearray((FIXTURES / name).read_bytes())
    start = data.draw(st.integers(0, len(content) - 1))
    content[start : start + data.draw(st.integers(0, 5))] = data.draw(st.binary(max_size=5))
    path = tmp_path / name
    path.write_bytes(content)
    with contextlib.suppress(hal.InvalidArgument, hal.NotFound):
        assert isinstance(
            hal.RegisterMap.load(path, "TIMER" if name[-3:] == "svd" else None), hal.RegisterMap
        )


# --- the faces ----------------------------------------------------------------------------------


def test_the_face_of_mmio(tmp_path: Path) -> None:
    path = tmp_path / "registers"
    path.write_bytes(bytes(4096))
    with hal.Mmio.open(f"mmio:{path}") as device:
        for bits in (8, 16, 32, 64):
            value = 2**bits - 3
            getattr(device, f"write{bits}")(64, value)
            assert getattr(device, f"read{bits}")(offset=64) == value
            with pytest.raises(hal.InvalidArgument, match=r"does not fit|must be within"):
                getattr(device, f"write{bits}")(64, 2**bits)
        assert (device.size, device.what) == (4096, str(path))
        device.registers(FIXTURES / "edu.toml").LIVENESS.value = 9
        assert device.read32(4) == 9
        array = device.array("u2", 2, 4)
        assert (array.tolist(), device.array("u4").shape) == ([9, 0], (1024,))
        with pytest.raises(hal.InvalidArgument, match="beyond"):
            device.array("u1", 2, 4095)
    array[1] = 0x1234
    assert path.read_bytes()[6:8] == b"\x34\x12"


def test_the_fast_methods_are_the_faces_own() -> None:
    """CPython calls a method written in C the short way only on the class that has it."""

    class Mine(hal.Mmio):
        def read32(self, offset: int) -> int:
            return 7

    for name in ("load", "store", "update", "read32", "write8"):
        assert vars(hal.Mmio)[name].__objclass__ is hal.Mmio
    assert vars(hal.Spi)["transfer"].__objclass__ is hal.Spi
    _core.own_methods(Mine)
    assert vars(Mine)["read8"].__objclass__ is Mine
    assert not hasattr(vars(Mine)["read32"], "__objclass__")
    assert "read32" not in vars(hal.Uart)


def test_probe_shows_registers(tmp_path: Path) -> None:
    path = tmp_path / "registers"
    path.write_bytes(b"\xed\0\0\1" + bytes(4092))
    command = ["show", f"mmio:{path}", "--registers", str(FIXTURES / "edu.toml")]
    done = CliRunner().invoke(cli, command)
    assert done.exit_code == 0
    assert "0x010000ed" in done.output
    assert "COMPUTING=idle" in done.output
    done = CliRunner().invoke(cli, [*command, "--json"])
    found = json.loads(done.output)
    schema = Path(__file__).parent.parent / "docs/hal-probe.schema.json"
    jsonschema.validate(found, json.loads(schema.read_text(encoding="utf-8")))
    first, *_ = found["registers"]
    assert first["fields"] == {"MAGIC": 0xED, "MINOR": 0, "MAJOR": 1}
    last = found["registers"][5]
    assert (last["name"], last["value"], last["error"]) == (
        "IRQ_RAISE",
        None,
        "the register is write-only",
    )
    done = CliRunner().invoke(cli, ["show", f"mmio:{path}", "--registers", f"{path}.none"])
    assert done.exit_code != 0


def test_the_perl_in_a_map_computes_and_reads_nothing(tmp_path: Path) -> None:
    """SystemRDL's preprocessor runs Perl: a map from anywhere must not look around here."""
    path = tmp_path / "map.rdl"
    register = "reg {{ field {{ sw=rw; hw=r; }} f[8]; }} r{} @ {};"
    path.write_text(
        "addrmap top {\n<% for (my $i = 0; $i < 3; $i++) { %>\n"
        + register.format("<%=$i%>", "<%=$i*4%>")
        + "\n<% } %>\n};\n"
    )
    assert list(hal.RegisterMap.load(path)) == ["r0", "r1", "r2"]
    reading = '<% open(my $f, "<", "/etc/hostname"); %>'
    path.write_text(f"addrmap top {{\n{reading}\n{register.format(0, 0)}\n}};\n")
    with pytest.raises(hal.InvalidArgument, match="'open' trapped"):
        hal.RegisterMap.load(path)
