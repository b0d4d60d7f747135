# SPDX-License-Identifier: Apache-2.0
"""hal-ca, run as its users run it."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import zxingcpp

COMMAND = [sys.executable, "-c", "from hal.ca.cli import main; main()"]


def run(*words: str, home: Path, code: int = 0) -> str:
    """Run it to its end, with folders below `home`; what it printed, errors last."""
    folders = {"ca": home / "ca", "link": home / "link"}
    option = {"--folder": "ca", "--own": "link"}
    named = next((flag for flag in option if words[0] in _TAKES[flag]), None)
    more = [named, str(folders[option[named]])] if named else []
    done = subprocess.run(
        [*COMMAND, *words, *more], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


_TAKES = {
    "--folder": ("init", "pair", "serve", "revoke", "members"),
    "--own": ("enrol", "renew", "status"),
}


@pytest.fixture
def served(tmp_path: Path) -> Iterator[str]:
    """An authority that is made and serves; where it listens."""
    run("init", home=tmp_path)
    command = [*COMMAND, "serve", "--host", "127.0.0.1", "--port", "0"]
    with subprocess.Popen(
        [*command, "--folder", str(tmp_path / "ca")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        found = re.search(r"port (\d+)", process.stdout.readline())
        assert found
        yield f"127.0.0.1:{found[1]}"
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


def test_the_way_of_a_machine(served: str, tmp_path: Path) -> None:
    """Made a member, enrolled, looked at, renewed, revoked."""
    printed = run(
        "pair", "--role", "controller", "--right", "uart*=r", "--note", "desk", home=tmp_path
    )
    code = printed.splitlines()[0]
    assert "enrolled" in run("enrol", code, "--at", served, home=tmp_path)
    assert "all is well" in run("status", home=tmp_path)
    status = json.loads(run("status", "--json", home=tmp_path))
    assert status["role"] == "controller"
    assert status["token"]["rights"] == [{"device": "uart*", "access": "r"}]
    assert status["revocations_until"] and status["authority_until"]
    said = run("status", home=tmp_path)
    assert "for uart*=r" in said and "alone, until" in said and "revocations until" in said
    assert status["findings"] == []
    (member,) = json.loads(run("members", "--json", home=tmp_path))
    assert member == {
        "id": status["id"],
        "role": "controller",
        "note": "desk",
        "rights": [{"device": "uart*", "access": "r"}],
    }
    assert "renewed" in run("renew", "--at", served, home=tmp_path)
    assert "was used" in run("enrol", code, "--at", served, home=tmp_path, code=4)
    assert "revoked" in run("revoke", status["id"], home=tmp_path)
    assert "already" in run("revoke", status["id"], home=tmp_path)
    os.replace(tmp_path / "ca" / "crl.pem", tmp_path / "link" / "crl.pem")
    assert "WRONG: this certificate is revoked" in run("status", home=tmp_path, code=1)


def test_a_code_as_a_qr_code(tmp_path: Path) -> None:
    """Drawn for a terminal, and read by a library of other people."""
    run("init", home=tmp_path)
    code, *drawing = run("pair", "--role", "device", "--qr", home=tmp_path).splitlines()
    pixels = qr_pixels(drawing[:-1])
    (seen,) = zxingcpp.read_barcodes(pixels)
    assert seen.format == zxingcpp.BarcodeFormat.QRCode
    assert seen.text == code


def qr_pixels(drawing: list[str]) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    """What a terminal shows, where blocks are light, at 4 pixels a module."""
    halves = {" ": (0, 0), "\u2580": (255, 0), "\u2584": (0, 255), "\u2588": (255, 255)}
    rows = [[halves[cell] for cell in re.sub(r"\x1b\[[0-9;]*m", "", line)] for line in drawing]
    columns = np.array(rows, np.uint8)
    image = columns.transpose(0, 2, 1).reshape(-1, columns.shape[1])
    return np.kron(image, np.ones((4, 4), np.uint8)).astype(np.uint8)


@pytest.mark.parametrize(
    ("words", "code", "says"),
    [
        (("pair", "--role", "controller"), 2, "may do nothing"),
        (("pair", "--role", "device", "x"), 2, "is no UUID"),
        (("pair", "--role", "device", "--minutes", "0"), 2, "not more than 0"),
        (("pair", "--role", "controller", "--right", "*=x"), 2, "choose of r, w, rw, admin"),
        (("enrol", "rubbish", "--at", "127.0.0.1"), 2, "is it whole"),
        (("enrol", "rubbish"), 2, "--at"),
        (("status",), 3, "enrol this machine"),
        (("revoke", "12"), 3, "no certificate of that"),
        (("init",), 2, "there is one already"),
    ],
)
def test_wrong_use(tmp_path: Path, words: tuple[str, ...], code: int, says: str) -> None:
    run("init", home=tmp_path)
    assert says in run(*words, home=tmp_path, code=code)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("ca.example", ("ca.example", 7363)),
        ("10.0.0.1:99", ("10.0.0.1", 99)),
        ("fd77::1", ("fd77::1", 7363)),
        ("[fd77::1]", ("fd77::1", 7363)),
        ("[fd77::1]:99", ("fd77::1", 99)),
    ],
)
def test_addresses(text: str, address: tuple[str, int]) -> None:
    from hal.ca.cli import _address

    assert _address(text) == address


@pytest.mark.parametrize("text", ["h:0", "h:65536", "h:x", "[::1]:²"])
def test_bad_ports(text: str) -> None:
    import click

    from hal.ca.cli import _address

    with pytest.raises(click.UsageError, match="1 to 65535"):
        _address(text)
