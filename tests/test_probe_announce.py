# SPDX-License-Identifier: Apache-2.0
"""hal-probe announce, on the loopback alone."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from tests.test_probe import VALIDATOR

ID = "6f0c1f9e-8f5a-4b8b-9a86-5b1f1d8c1a11"


def announce(state: Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "hal.probe", "announce", "--interface", "lo"]
    return subprocess.Popen(
        [*command, "--protocol", "mdns", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "HAL_STATE_DIR": str(state), "COLUMNS": "80"},
    )


def test_announced_until_told_to_stop(tmp_path: Path) -> None:
    process = announce(
        tmp_path, "--port", "0", "--model", "Board X", "--capability", "i2c", "--json"
    )
    assert process.stdout
    lines: list[str] = []
    while not lines or lines[-1] != "}\n":
        lines.append(process.stdout.readline())
    said = json.loads("".join(lines))
    VALIDATOR.validate(said)
    assert said["links"] == {"mdns": ["lo"]} and said["problems"] == []
    assert said["id"] == json.loads((tmp_path / "device.json").read_text())["id"]
    with socket.create_connection(("127.0.0.1", said["port"]), 5) as probe:
        assert probe.recv(1) == b""  # Somebody is there, and lets go.
    process.send_signal(signal.SIGTERM)
    output, errors = process.communicate(timeout=20)
    assert (process.returncode, output, errors) == (0, "", "")


def test_wrong_use(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = str(busy.getsockname()[1])
        for arguments, code, said in (
            (("--id", "abc"), 2, "no UUID"),
            (("--address", "nonsense"), 2, "nonsense"),
            (("--model", "x" * 300), 2, "at most 255"),
            (("--address", "127.0.0.1", "--port", port), 5, "--port 0"),
        ):
            process = announce(tmp_path, *arguments)
            _, errors = process.communicate(timeout=20)
            assert process.returncode == code and said in errors
            assert "Traceback" not in errors
    (tmp_path / "device.json").write_text("nonsense")
    process = announce(tmp_path)
    _, errors = process.communicate(timeout=20)
    assert process.returncode == 1 and "remove it" in errors
