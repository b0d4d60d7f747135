# SPDX-License-Identifier: Apache-2.0
"""One artifact for many devices: Vulkan and OpenCL run it, those not here are refused, and why."""

from __future__ import annotations

import json
import re
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnxruntime import quantization

import autoglm
import hal.processor
from autoglm import compiler
from autoglm.artifact import Artifact
from autoglm.backend import Availability, CompileOptions, backend
from autoglm.backends.iree import _architecture
from autoglm.backends.kernels import Plan
from autoglm.commands.compile import main
from autoglm.device import Device
from autoglm.devices import this_processor
from autoglm.errors import ArtifactError, CompileError, DeviceError, TargetUnavailable
from autoglm.files import ArtifactFiles
from autoglm.manifest import Program
from autoglm.ready import Pins
from autoglm.reference import Reference
from autoglm.target import Target
from autoglm.trial import Built

from . import models

TARGETS = ("vulkan", "opencl", "cuda:sm_80", "rocm:gfx1100", "c -device=rv64")
RUN_HERE = {"vulkan": "iree", "opencl": "opencl"}
EM_RISCV = 243  # <elf.h>

pytestmark = pytest.mark.timeout(900)  # on a busy machine: it compiles for five targets


@pytest.fixture(scope="module")
def everywhere(perceptron: Path, artifacts: Path) -> Path:
    """The small model, pinned to a batch of 2, for every one of `TARGETS`."""
    output = artifacts / "everywhere.glm"
    compiler.compile(
        perceptron,
        TARGETS,
        output=output,
        pins=Pins(extents={"batch": 2}),
        engines=["iree", "opencl"],
        seconds=0.2,
        keep_source=False,
    )
    return output


@pytest.mark.parametrize("kind", RUN_HERE)
def test_runs(kind: str, everywhere: Path, perceptron: Path) -> None:
    inputs = {"x": np.random.default_rng(2).standard_normal((2, 16)).astype(np.float32)}
    with autoglm.load(everywhere, kind) as model:
        assert model.device.kind == kind
        np.testing.assert_allclose(
            model(inputs)["y"], Reference(perceptron).run(inputs)["y"], rtol=1e-4, atol=1e-5
        )


def test_programs(everywhere: Path) -> None:
    with Artifact(everywhere) as read:
        programs = {each.target: each for each in read.manifest.programs}
    assert set(programs) == {*TARGETS[:4], "riscv64"}
    for kind, engine in RUN_HERE.items():
        assert programs[kind].backend == engine
        accuracy = programs[kind].accuracy
        assert accuracy and accuracy.worst < 1e-5
        assert programs[kind].latency
    for target in set(programs) - set(RUN_HERE):
        assert programs[target].accuracy is None
        told = programs[target].unchecked
        assert "by the same engine, for this processor: at most " in told, "and why not for it"


@pytest.mark.parametrize(
    ("asked", "told"),
    [
        ("cuda", "sm_75"),
        ("cuda:sm_60", "sm_60"),
        ("cuda:sm_88", "sm_87"),
        ("cuda:sm_90a", "sm_89"),
        ("cuda:sm_110f", "sm_89"),
        ("cuda:sm_121", "sm_121"),
        ("rocm", "gfx1100"),
        ("rocm:gfx90a", "gfx90a"),
    ],
)
def test_the_newest_architecture_that_runs_there(asked: str, told: str) -> None:
    target = Target.parse(asked)
    assert _architecture(target) == told
    assert backend("iree").can_compile(target)


@pytest.mark.parametrize(
    "asked",
    ["cuda:sm_999", "cuda:sm_53", "cuda:sm_89a", "cuda:sm_90f", "cuda:sm_122", "rocm:gfx1102"],
)
def test_architectures_that_there_are_not(asked: str, perceptron: Path, tmp_path: Path) -> None:
    target = Target.parse(asked)
    known = "sm_60, .*sm_121" if target.kind == "cuda" else "gfx908, .*gfx1250"
    can = backend("iree").can_compile(target)
    assert can
    assert not can.here
    assert re.search(f"no code for {target.variant}; it has for: {known}", can.reason)
    with pytest.raises(CompileError, match=f"no code for {target.variant}"):
        backend("iree").compile(perceptron, target, CompileOptions(), tmp_path)


def test_code_for_a_newer_device_than_the_compiler_knows(perceptron: Path, tmp_path: Path) -> None:
    target = Target.parse("cuda:sm_90")
    made = backend("iree").compile(perceptron, target, CompileOptions(), tmp_path)
    assert "--iree-cuda-target=sm_89" in made.options
    assert b".target sm_89" in made.files["model.vmfb"].read_bytes()


@pytest.mark.parametrize("kind", ["cuda", "rocm"])
def test_the_reason_without_a_device(kind: str, everywhere: Path) -> None:
    if any(device.kind == kind and not device.problem for device in autoglm.devices()):
        pytest.skip(f"this machine has a {kind} device")
    with pytest.raises(DeviceError, match=f"no device '{kind}'"):
        autoglm.load(everywhere, kind)
    made = backend("iree")
    with Artifact(everywhere) as read:
        (program,) = (each for each in read.manifest.programs if each.target.startswith(kind))
        can = made.can_run(program, Device(1, kind, "a card", f"{kind}:0"))
        assert not can.here
        assert "not available" in can.reason
        assert can.remedy.startswith("install ")
        files = ArtifactFiles(read, program)
        with pytest.raises(DeviceError):
            made.load(program, files, Device(1, kind, "a card", f"{kind}:0"), 0)
        files.close()


def test_riscv_is_compiled_and_not_pretended_to_run(everywhere: Path) -> None:
    with Artifact(everywhere) as read:
        (program,) = (each for each in read.manifest.programs if each.target == "riscv64")
        can = backend(program.backend).can_run(program, autoglm.devices()[0])
    assert not can.here
    assert "does not run on" in can.reason


def test_tvm_links_for_riscv(perceptron: Path, tmp_path: Path) -> None:
    made = backend("tvm").compile(perceptron, Target("riscv64"), CompileOptions(), tmp_path)
    (file,) = made.files.values()
    magic, machine = struct.unpack_from("<4s14xH", file.read_bytes())
    assert (magic, machine) == (b"\x7fELF", EM_RISCV)


def test_fusion_is_counted(perceptron: Path, tmp_path: Path) -> None:
    options = CompileOptions(explain=True)
    made = backend("iree").compile(perceptron, Target("cpu"), options, tmp_path)
    assert made.operators == {"MatMul": 2, "Add": 1, "Relu": 1}
    assert sum(made.fused.values()) == made.notes["dispatches"] == 2
    assert any("matmul" in name for name in made.fused)
    assert not any("tiling" in option for option in made.options)


def test_matrices_beyond_the_second_cache_lie_in_tiles(
    perceptron: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = replace(hal.processor.info(), caches={"L2": 1024})  # its first matrix has 2048 bytes
    monkeypatch.setattr(hal.processor, "info", lambda: small)
    made = backend("iree").compile(perceptron, Target("cpu"), CompileOptions(), tmp_path)
    assert "--iree-llvmcpu-matmul-tile-bytes=1024" in made.options
    program = Program("cpu", "iree", made.engine, dict.fromkeys(made.files, ""), notes=made.notes)
    x = {"x": np.random.default_rng(1).standard_normal((5, 16)).astype(np.float32)}
    (want,) = onnxruntime.InferenceSession(perceptron).run(None, x)
    loaded = backend("iree").load(program, Built(made.files), this_processor(), 1)
    np.testing.assert_allclose(loaded.run(x)["y"], want, 1e-4, 1e-4)
    loaded.close()


def test_dynamic_extents_are_refused_by_opencl(perceptron: Path, tmp_path: Path) -> None:
    with pytest.raises(autoglm.Error, match="batch has no number"):
        backend("opencl").compile(perceptron, Target("opencl"), CompileOptions(), tmp_path)


@pytest.mark.parametrize(
    "text",
    [b"", b"[]", b'{"sizes": [4]}', b'{"sizes": [4], "weights": {}, "inputs": [1], "outputs": [],'
     b' "once": [], "always": []}'],
)  # fmt: skip
def test_a_plan_that_is_none(text: bytes) -> None:
    with pytest.raises(ArtifactError, match="no plan of kernels"):
        Plan.from_json(text)


def test_mlu_says_what_is_missing(
    perceptron: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    output = tmp_path / "x.glm"
    with pytest.raises(SystemExit) as ended:
        main(["--model", str(perceptron), "--target", "mlu", "--output", str(output)])
    assert ended.value.code == TargetUnavailable.exit_status == 5
    said = capsys.readouterr().err
    assert "MagicMind" in said
    assert "ask Cambricon" in said
    assert not output.exists()


def test_mlu_with_its_kit_is_not_pretended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders and modules of the right names make no compiler."""
    (tmp_path / "magicmind.py").write_text("", encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("NEUWARE_HOME", str(tmp_path))
    can = backend("mlu").can_compile(Target("mlu"))
    assert isinstance(can, Availability)
    assert not can.here
    assert "never been tried" in can.reason


def _quantised(folder: Path) -> Path:
    """magika with linear layers of 8 bits, by ONNX Runtime."""
    path = folder / "quantised.onnx"
    quantization.quantize_dynamic(models.magika(), path, op_types_to_quantize=["MatMul"])
    return path


@pytest.mark.parametrize("kind", ["opencl", "fpga"])
def test_a_trained_model_on(kind: str, artifacts: Path, tmp_path: Path) -> None:
    """magika, which says what a file is, asked about its own model and about this test."""
    output = artifacts / f"magika-{kind}.glm"
    compiler.compile(
        _quantised(tmp_path) if kind == "fpga" else models.magika(),
        kind,
        output=output,
        pins=Pins(shapes={"bytes": (1, 2048)}),
        seconds=0.1,
        keep_source=False,
    )
    names = json.loads(models.magika().with_name("config.min.json").read_text())
    with autoglm.load(output) as model:
        assert model.device.kind == kind
        for path, label in ((models.magika(), "onnx"), (Path(__file__), "python")):
            data = path.read_bytes()
            numbers = [*data[:4096].lstrip()[:1024], *data[-4096:].rstrip()[-1024:]]
            (found,) = model({"bytes": np.array([numbers], np.int32)}).values()
            assert names["target_labels_space"][found.argmax()] == label
        assert kind != "fpga" or model.counters["tiles"] > 0


def test_operators_of_an_older_onnx(tmp_path: Path) -> None:
    """IREE has BatchNormalization as it is from opset 14 on; trained models are of 11."""
    about, scale = onnx.helper.make_tensor_value_info, np.ones(3, np.float32)
    graph = onnx.helper.make_graph(
        [onnx.helper.make_node("BatchNormalization", ["x", "s", "s", "s", "s"], ["y"])],
        "older",
        [about("x", onnx.TensorProto.FLOAT, [1, 3, 2, 2])],
        [about("y", onnx.TensorProto.FLOAT, [1, 3, 2, 2])],
        [onnx.numpy_helper.from_array(scale, "s")],
    )
    opsets = [onnx.helper.make_opsetid("", 11)]
    path = tmp_path / "older.onnx"
    onnx.save(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=6), path)
    made = backend("iree").compile(path, Target("cpu"), CompileOptions(), tmp_path)
    assert made.files
