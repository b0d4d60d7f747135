# SPDX-License-Identifier: Apache-2.0
"""``autoglm-runtime``: what it prints, writes, and ends with. Serving is in test_serve.py."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm.artifact import Artifact
from autoglm.commands.runtime import main
from autoglm.manifest import DECODER, Program
from tests.autoglm import small
from tests.autoglm.small import bad, good, right, write

pytestmark = pytest.mark.usefixtures("faulty")


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Any:
    def call(*arguments: object) -> tuple[int, str, str]:
        with pytest.raises(SystemExit) as ended:
            main([str(argument) for argument in arguments])
        said = capsys.readouterr()
        return int(ended.value.code or 0), said.out, said.err

    return call


def test_devices(run: Any) -> None:
    status, out, _ = run("--list-devices")
    assert status == 0
    assert out.splitlines()[0].split() == ["ID", "KIND", "NAME", "MEMORY", "STATE"]
    assert out.splitlines()[1].startswith("0   cpu")
    found = json.loads(run("--list-devices", "--json")[1])
    assert [each["number"] for each in found] == list(range(len(found)))


def test_once(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "small.glm", [bad("lost"), good()])
    given = small.inputs(3, 4)
    np.savez(tmp_path / "in.npz", **given)  # type: ignore[arg-type]
    arguments = ("--model", path, "--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    assert run(*arguments, "--device-id", 0)[0] == 0
    with np.load(tmp_path / "out.npz") as found:
        assert right(given, found)


def test_explain(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "small.glm", [bad("slow"), good()], source=True)
    _, out, _ = run("--model", path, "--explain")
    words = [line.split()[0] for line in out.splitlines()]
    assert words[:3] == ["chosen:", "next:", "next:"]
    assert set(words[3:]) <= {"not:"}, "devices of this machine for which nothing is in it"
    found = json.loads(run("--model", path, "--explain", "--json", "--device-id", "cpu")[1])
    assert [each["name"] for each in found["candidates"]] == [
        "0/cpu/onnxruntime",
        "0/cpu/source model",
    ]


def test_benchmark(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "small.glm", [bad("load"), good()], source=True)
    plot = tmp_path / "figures.svg"
    arguments = ("--model", path, "--benchmark", "--seconds", 0.05)
    status, out, _ = run(*arguments, "--plot", plot)
    assert status == 0 and "ENGINE" in out and "onnxruntime" in out
    assert "inferences/s" in plot.read_text()
    found = json.loads(run(*arguments, "--json")[1])
    by_device = {each["device"]: each for each in found["devices"]}
    figures = next(each for name, each in by_device.items() if name.startswith("device 0"))
    assert figures["p99_ms"] >= figures["p50_ms"] > 0 and figures["throughput"] > 0
    assert figures["calls"] >= 10
    assert figures["power_w"] is None or figures["power_w"] > 0
    assert figures["power_source"]
    reasons = [each.get("reason", "") for each in found["devices"]]
    assert any("it cannot be had" in reason for reason in reasons)


def test_benchmark_with_inputs(run: Any, tmp_path: Path) -> None:
    path = write(tmp_path / "small.glm", [good()])
    arguments = ("--model", path, "--benchmark", "--seconds", 0.01, "--device-id", 0, "--json")
    given = small.inputs(7)
    np.savez(tmp_path / "in.npz", **given)  # type: ignore[arg-type]
    status, out, _ = run(*arguments, "--input", tmp_path / "in.npz")
    assert status == 0 and json.loads(out)["devices"][0]["calls"] >= 10
    np.savez(tmp_path / "in.npz", **given | {"x": given["x"][:, :5]})  # type: ignore[arg-type]
    status, _, err = run(*arguments, "--input", tmp_path / "in.npz")
    assert status == 15 and "shape (7, 5)" in err


def test_a_model_is_measured_at_the_extents_it_was_compiled_with(
    run: Any, trained: Callable[[str], Path]
) -> None:
    """silero-vad takes no shorter sequences than 65 samples; usual ones are of 32."""
    path = trained("silero_vad")
    with Artifact(path) as artifact:
        assert artifact.manifest.model.typical == {"batch": 1, "sequence": 576}
    arguments = ("--model", path, "--benchmark", "--seconds", 0.01, "--device-id", 0, "--json")
    status, out, err = run(*arguments)
    assert status == 0 and json.loads(out)["devices"][0]["p50_ms"] > 0, err


@pytest.mark.parametrize(
    ("arguments", "status", "says"),
    [
        ((), 2, "name an artifact"),
        (("--model", "{path}", "--input", "x", "--prompt", "y"), 2, "--input, --prompt are"),
        (("--model", "{path}", "--explain", "--input", "x"), 2, "--input, --explain are"),
        (("--model", "{path}", "--prompt", ""), 15, "no language model"),
        (("--model", "{path}", "--input", ""), 2, "--output FILE.npz"),
        (("--model", "{path}", "--output", "x"), 2, "--output changes nothing for a service"),
        (("--model", "{path}", "--plot", "x.svg"), 2, "--plot changes nothing for a service"),
        (("--model", "{path}", "--seconds", "3"), 2, "--seconds changes nothing"),
        (("--model", "{path}", "--json"), 2, "--json changes nothing for a service"),
        (("--model", "{path}", "--input", "x", "--json"), 2, "nothing with --input"),
        (("--model", "{path}", "--benchmark", "--output", "x"), 2, "nothing with --benchmark"),
        (("--model", "{path}", "--explain", "--memory-limit", "9"), 2, "nothing with --explain"),
        (("--list-devices", "--model", "{path}"), 2, "--model changes nothing"),
        (("--model", "{path}", "--model", "{path}", "--explain"), 2, "takes one --model"),
        (("--model", "{path}", "--model", "{folder}/./small.glm"), 2, "served as 'small'"),
        (("--model", "{pipe}"), 9, "no regular file"),
        (("--model", "{path}", "--threads", "1025", "--explain"), 2, "0<=x<=1024"),
        (("--model", "{path}", "--threads", "-1", "--explain"), 2, "0<=x<=1024"),
        (("--model", "{path}", "--threads", "1024", "--explain"), 2, "--threads changes nothing"),
        (("--model", "{path}", "--input", "{npz}"), 2, "--output FILE.npz"),
        (("--model", "missing.glm", "--explain"), 1, "No such file"),
        (("--model", "{npz}", "--explain"), 9, "no artifact"),
        (("--model", "{path}", "--explain", "--device-id", "7"), 14, "no device '7'"),
        (("--model", "{path}", "--explain", "--device-id", "vulkan"), 13, "nothing in it"),
        (("--model", "{cuda}", "--explain"), 5, "no such device"),
        (("--model", "{path}", "--prompt", "x"), 15, "no language model"),
        (("--model", "{path}", "--input", "{npz}", "--output", "{out}"), 15, "no input 'q'"),
        (("--model", "{path}", "--benchmark", "--plot", "x.txt"), 15, "ends in neither"),
        (("--model", "{language}", "--benchmark", "--input", "{npz}"), 15, "without --input"),
        (("--model", "{language}", "--input", "{npz}", "--output", "{out}"), 15, "takes text"),
        (("--model", "{path}", "--benchmark", "--plot", "{folder}/no/x.svg"), 1, "no folder"),
        (("--model", "{path}", "--input", "{npz}", "--output", "{pipe}"), 1, "a FIFO"),
        (("--model", "{path}", "--host", "0.0.0.0"), 1, "--own FOLDER"),
        (("--model", "{path}", "--own", "{out}"), 1, "enrol this machine"),
    ],
)
def test_how_it_ends(
    run: Any, tmp_path: Path, arguments: tuple[str, ...], status: int, says: str
) -> None:
    names = {
        "path": write(tmp_path / "small.glm", [good()]),
        "cuda": write(tmp_path / "cuda.glm", [Program("cuda", "iree", "iree 3", {})]),
        "language": write(
            tmp_path / "language.glm", [good()], info=replace(small.INFO, family=DECODER)
        ),
        "npz": tmp_path / "in.npz",
        "out": tmp_path / "out",
        "pipe": tmp_path / "pipe.glm",
        "folder": tmp_path,
    }
    os.mkfifo(names["pipe"])
    np.savez(names["npz"], q=np.zeros(1))
    found, _, err = run(*(each.format(**names) for each in arguments))
    assert (found, says in err) == (status, True), err


@pytest.mark.parametrize(
    ("name", "status"), [("header", 11), ("blob", 11), ("short", 10), ("manifest", 11)]
)
def test_a_corrupt_artifact(run: Any, tmp_path: Path, name: str, status: int) -> None:
    path = write(tmp_path / "small.glm", [good()])
    with Artifact(path) as artifact:
        (blob,) = artifact.manifest.blobs.values()
    data = bytearray(path.read_bytes())
    if name == "short":
        del data[-10:]
    else:
        data[{"header": 20, "blob": blob.offset, "manifest": len(data) - 5}[name]] ^= 1
    path.write_bytes(data)
    np.savez(tmp_path / "in.npz", **small.inputs())  # type: ignore[arg-type]
    once = ("--input", tmp_path / "in.npz", "--output", tmp_path / "out.npz")
    found, _, err = run("--model", path, *once)
    assert found == status and str(path) in err
    assert run("--model", path, "--port", 0)[0] == status  # nor is it served
