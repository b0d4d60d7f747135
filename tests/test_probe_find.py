# SPDX-License-Identifier: Apache-2.0
"""hal-probe find and hal-probe list --tree, as a user runs them."""

from __future__ import annotations

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from . import hotplug
from .machine import Machine, workbench

ROOT = Path(__file__).parent.parent
VALIDATOR = Draft202012Validator(
    json.loads((ROOT / "docs/hal-probe.schema.json").read_text()),
    format_checker=Draft202012Validator.FORMAT_CHECKER,
)
FIND = (sys.executable, "-m", "hal.probe", "find", "--no-network")


def find(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*FIND, *arguments], capture_output=True, text=True, check=False, timeout=60
    )


def objects(text: str) -> list[Any]:
    """The objects that were printed, one a line; each fits the schema."""
    found = [json.loads(line) for line in text.splitlines()]
    for data in found:
        VALIDATOR.validate(data)
    return found


def test_find_prints_what_is_here() -> None:
    run = find("class=memory")
    assert run.returncode == 0, run.stderr
    header, *rows = run.stdout.splitlines()
    assert header.split() == ["NAME", "HOST", "URI", "STATE", "TRUST", "WHAT"]
    assert any(row.startswith("node0 ") and "local" in row for row in rows)


def test_find_as_json_is_one_object_a_line() -> None:
    run = find("--class", "memory", "--class", "pci", "--json")
    *found, last = objects(run.stdout)
    assert {data["event"] for data in found} == {"added"}
    assert {data["device"]["device_class"] for data in found} <= {"memory", "pci"}
    assert (last["event"], last["count"]) == ("end", len(found))


@pytest.mark.parametrize("query", [["no-such-device"], ["class=remote"], ["--type", "_iio._tcp"]])
def test_finding_nothing_is_exit_3(query: list[str]) -> None:
    run = find(*query, "--timeout", "0")
    assert run.returncode == 3
    assert run.stdout.startswith("Nothing found")


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("clas=pci", 'unknown key "clas": did you mean "class"?'),
        ("state=redy", 'no state "redy": did you mean "ready"?'),
        ('"x', "no closing quotation"),
    ],
)
def test_a_wrong_query_is_exit_2_and_says_what_was_meant(query: str, message: str) -> None:
    run = find(query) if "=" in query else find(f"name={query}")
    assert run.returncode == 2
    assert message in run.stderr
    assert "Traceback" not in run.stderr


@pytest.fixture
def watching() -> Iterator[subprocess.Popen[str]]:
    """A find that goes on in a network stack of its own; the shell beside it takes commands."""
    hotplug.needs_namespaces()
    shell = '"$@" & while read -r line; do eval "$line"; done; kill $!; wait $!'
    command = (*FIND, "--watch", "--json", "class=memory", "class=network")
    process = hotplug.start("sh", "-c", shell, "sh", *command)
    guard = threading.Timer(60, process.kill)
    guard.start()
    yield process
    guard.cancel()
    process.communicate()


def test_find_watch_tells_what_comes_and_goes(watching: subprocess.Popen[str]) -> None:
    assert watching.stdin and watching.stdout
    (first,) = objects(watching.stdout.readline())
    assert (first["event"], first["device"]["device_class"]) == ("added", "memory")
    watching.stdin.write("ip link add halt0 type veth peer name halt1\n")
    watching.stdin.flush()
    added = objects("".join(watching.stdout.readline() for _ in range(2)))
    assert {(data["event"], data["device"]["name"]) for data in added} == {
        ("added", "halt0"),
        ("added", "halt1"),
    }
    watching.stdin.write("ip link del halt0\n")
    watching.stdin.flush()
    removed = objects("".join(watching.stdout.readline() for _ in range(2)))
    assert [data["event"] for data in removed] == ["removed"] * 2
    assert removed[0]["generation"] > added[0]["generation"]


def test_ctrl_c_ends_it() -> None:
    with subprocess.Popen(
        [*FIND, "--watch", "class=memory"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline().startswith("+ node0")
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=30)
    assert (process.returncode, errors) == (130, "")


def test_a_terminal_gets_a_table_that_is_drawn_again() -> None:
    ours, theirs = pty.openpty()
    with subprocess.Popen([*FIND, "class=memory"], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        with suppress(OSError):  # EIO: the other side has closed it.
            while part := os.read(ours, 4096):
                shown += part
    os.close(ours)
    assert process.returncode == 0
    assert b"node0" in shown and b"WHAT" in shown
    assert b"\x1b[" in shown


# ---- list --tree ---------------------------------------------------------------------------------


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return workbench(tmp_path / "machine")


def test_the_tree_shows_controller_bus_and_device(machine: Machine) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "hal.probe", "list", "--tree", "--root", str(machine.root)],
        capture_output=True, text=True, check=True, env={"COLUMNS": "160"},
    )  # fmt: skip
    header, *rows = run.stdout.splitlines()
    names = [row[: header.index("CLASS")].rstrip() for row in rows]
    start = names.index("0000:00:14.0")
    assert names[start : start + 4] == [
        "0000:00:14.0",
        "`-- usb1",
        "    `-- 1-2",
        "        `-- ttyUSB0",
    ]
