# SPDX-License-Identifier: Apache-2.0
"""Devices, the dispatcher, models that are called, and devices that fail meanwhile."""

from __future__ import annotations

import asyncio
import logging
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import autoglm
from autoglm import decoder, dispatch, threads
from autoglm.artifact import Artifact
from autoglm.errors import (
    AlteredArtifact,
    DeviceError,
    InputError,
    TargetUnavailable,
    WrongTarget,
)
from autoglm.files import ArtifactFiles
from autoglm.manifest import DECODER, Program
from tests.autoglm import small
from tests.autoglm.small import bad, good, right, write

pytestmark = pytest.mark.usefixtures("faulty")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "small.glm"


def test_devices_are_numbered_and_the_processor_is_first() -> None:
    found = autoglm.devices()
    assert [device.number for device in found] == list(range(len(found)))
    assert found[0].kind == "cpu" and found[0].features and found[0].memory and found[0].free
    assert "a device that fails" in [device.name for device in found]


def test_a_call(path: Path) -> None:
    write(path, [good()])
    with autoglm.load(path) as model:
        assert model.device.number == 0
        for rows in (1, 7):
            given = small.inputs(rows)
            assert right(given, model(given))
            assert right(given, asyncio.run(model.acall(given)))


def test_inputs_are_held_against_the_model(path: Path) -> None:
    write(path, [good()])
    with autoglm.load(path) as model:
        given = small.inputs()
        with pytest.raises(InputError, match="'x' is missing"):
            model({"k": given["k"]})
        with pytest.raises(InputError, match="float64"):
            model({**given, "x": given["x"].astype(np.float64)})


def test_it_says_what_it_chose_and_why(path: Path) -> None:
    write(path, [good(5), bad("slow", 1, seconds=0), replace(good(2), features=("no_such",))])
    with Artifact(path) as artifact:
        choice = dispatch.choose(artifact)
    assert [each.program.backend for each in choice.candidates] == ["faulty", "onnxruntime"]
    text = choice.explain()
    assert "chosen: faulty slow" in text and "1 ms measured on here" in text
    assert "the processor lacks no_such" in text


def test_one_device_and_no_other(path: Path) -> None:
    write(path, [good(5), bad("always", 1)])
    with autoglm.load(path, 0) as model:
        assert model.device.kind == "cpu"
    with autoglm.load(path, "vulkan") as model, pytest.raises(DeviceError, match="was lost"):
        model(small.inputs())
    with pytest.raises(DeviceError, match="no device 99; there are: device 0"):
        autoglm.load(path, 99)


def test_nothing_for_the_device(path: Path) -> None:
    write(path, [bad("slow", seconds=0)])
    with pytest.raises(WrongTarget, match="nothing in it can be run on device 0"):
        autoglm.load(path, 0)
    write(path, [Program("cuda:sm_90", "iree", "iree 3", {})])
    with pytest.raises(TargetUnavailable, match="iree 3 for cuda:sm_90: no such device"):
        autoglm.load(path)
    write(path, [good()])
    with pytest.raises(WrongTarget, match="onnxruntime for cpu: it was compiled for another kind"):
        autoglm.load(path, "vulkan")


def test_the_source_model_is_the_last_resort(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, [Program("cuda", "iree", "iree 3", {}), bad("load")], source=True)
    with autoglm.load(path) as model:
        assert model.candidate.program.engine == "source model"
        given = small.inputs()
        assert right(given, model(given))
    caplog.clear()
    write(path, [Program("cuda", "iree", "iree 3", {})], source=True)
    with Artifact(path) as artifact:
        dispatch.choose(artifact, 0)
        assert not caplog.text, "that device was asked for"
        dispatch.choose(artifact)
    assert "the source model runs" in caplog.text
    assert "iree 3 for cuda: no such device" in caplog.text


def test_a_device_that_cannot_be_had(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write(path, [bad("load"), good()])
    with caplog.at_level(logging.WARNING, "autoglm"), autoglm.load(path) as model:
        assert model.device.kind == "cpu"
    assert "it cannot be had" in caplog.text


def test_a_device_lost_in_mid_call_loses_no_call(
    path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(path, [bad("lost"), good()])
    answers: list[bool] = []

    def work(number: int) -> None:
        for turn in range(10):
            given = small.inputs(2, number * 100 + turn)
            answers.append(right(given, model(given)))

    with caplog.at_level(logging.WARNING, "autoglm"), autoglm.load(path) as model:
        callers = [threading.Thread(target=work, args=(number,)) for number in range(8)]
        for thread in callers:
            thread.start()
        for thread in callers:
            thread.join()
        assert model.device.kind == "cpu"
    assert answers == [True] * 80
    assert caplog.text.count("it was lost") == 1


def test_when_all_fail_each_one_is_named(path: Path) -> None:
    write(path, [bad("always"), bad("load", 2)])
    with autoglm.load(path) as model:
        with pytest.raises(DeviceError, match=r"was lost.*cannot be had.*load it anew"):
            model(small.inputs())
        with pytest.raises(DeviceError, match="no device is left"):
            model(small.inputs())


def test_a_closed_model_says_so(path: Path) -> None:
    write(path, [good()])
    model = autoglm.load(path)
    model.close()
    with pytest.raises(DeviceError, match="it was closed"):
        model(small.inputs())


def test_threads_have_a_bound(path: Path) -> None:
    """The numbers are only looked at: no thread is started by them."""
    for fine in (0, 1, threads.MOST):
        threads.check_threads(fine)
    for wrong in (-1, threads.MOST + 1):
        with pytest.raises(autoglm.Error, match="0, for as many as are best, to 1024"):
            autoglm.load(path, threads=wrong)  # before the file, which is not there, is read
        with pytest.raises(autoglm.Error, match="0, for as many as are best, to 1024"):
            decoder.load(path, threads=wrong)


def test_a_language_model_is_told_apart(path: Path) -> None:
    language = replace(small.INFO, family=DECODER)
    write(path, [replace(good(), backend="decoder")], info=language)
    with pytest.raises(InputError, match=r"language model.*autoglm\.decoder\.load\(\).*--prompt"):
        autoglm.load(path)


def test_a_damaged_blob(path: Path) -> None:
    write(path, [good()])
    with Artifact(path) as artifact:
        (blob,) = artifact.manifest.blobs.values()
    data = bytearray(path.read_bytes())
    data[blob.offset + 10] ^= 1
    path.write_bytes(data)
    with pytest.raises(AlteredArtifact, match="compile it anew"):
        autoglm.load(path)


def test_paths_lead_to_the_files_and_nowhere_else(path: Path) -> None:
    write(path, [good()])
    with Artifact(path) as artifact:
        program = artifact.manifest.programs[0]
        files = ArtifactFiles(artifact, program)
        place = files.path("model.onnx")
        assert place.name == "model.onnx"
        assert place.read_bytes() == bytes(files.view("model.onnx"))
        files.close()
        assert not place.exists() and not place.parent.exists()
        (blob,) = program.files.values()
        outside = ArtifactFiles(artifact, replace(program, files={"../outside": blob}))
        with pytest.raises(autoglm.Error, match=r"no file is called '\.\./outside'"):
            outside.path("../outside")
        outside.close()
