# SPDX-License-Identifier: Apache-2.0
"""Linear layers of quantised models on the simulated GEMM unit, bit by bit what numpy computes."""

from __future__ import annotations

import json
import logging
import platform
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnxruntime import quantization

import autoglm
import hal
from autoglm import compiler
from autoglm.backend import CompileOptions
from autoglm.backends.fpga import PLAN, SIMULATED, Fpga, Partitioned
from autoglm.benchmark import as_rows, measure
from autoglm.device import Device
from autoglm.errors import ArtifactError, CompileError, DeviceError
from autoglm.fpga.layer import Finder, Layer
from autoglm.fpga.partition import Segment, partition
from autoglm.manifest import Program
from autoglm.reference import Reference
from autoglm.target import Target
from autoglm.tensor import Array
from autoglm.trial import Built
from tests.native import ROOT
from tests.needs import needs

from . import models
from .serving import serving
from .test_saturation import full, product

UNIT = Device(0, "fpga", "simulated", SIMULATED)


@pytest.fixture(autouse=True)
def _verilator() -> None:
    needs("verilator")


@pytest.fixture(scope="module")
def unit() -> Iterator[hal.Gemm]:
    with hal.Gemm.open(SIMULATED) as unit:
        yield unit


def exact(a: Array, b: Array) -> Array:
    """The reference: numpy, in 64 bits, then as 32 bits wrap."""
    return (a.astype(np.int64) @ b.astype(np.int64)).astype(np.int32)


def random(shape: tuple[int, ...], dtype: type, seed: int = 1) -> Array:
    limits = np.iinfo(dtype)
    return np.random.default_rng(seed).integers(limits.min, limits.max + 1, shape).astype(dtype)


# ---- the unit from Python ------------------------------------------------------------------------


def test_products(unit: hal.Gemm) -> None:
    for m, k, n in ((1, 1, 1), (8, 256, 8), (5, 300, 17)):
        a, b = random((m, k), np.int8), random((k, n), np.int8, 2)
        assert np.array_equal(unit.multiply(a, b), exact(a, b))
    column = random((30, 12), np.int8).T  # not contiguous
    assert np.array_equal(unit.multiply(column, column.T.copy()), exact(column, column.T))


def test_tiles_and_cycles(unit: hal.Gemm) -> None:
    """As many clocks as the tiles are deep: what the unit's own register says."""
    tiles, cycles = unit.tiles, unit.cycles
    unit.multiply(random((17, 300), np.int8), random((300, 9), np.int8))
    assert unit.tiles - tiles == 3 * 2 * 2
    assert unit.cycles - cycles == 3 * 2 * 300


@pytest.mark.parametrize(
    ("a", "b"),
    [
        (np.zeros((2, 3), np.uint8), np.zeros((3, 2), np.int8)),
        (np.zeros((2, 3), np.int8), np.zeros(3, np.int8)),
        (np.zeros((2, 3), np.int8), np.zeros((2, 3), np.int8)),
        (np.zeros((0, 3), np.int8), np.zeros((3, 2), np.int8)),
    ],
)
def test_what_is_no_product(a: Array, b: Array, unit: hal.Gemm) -> None:
    with pytest.raises(hal.InvalidArgument, match="multiply"):
        unit.multiply(a, b)


def test_registers_by_name(unit: hal.Gemm) -> None:
    """The map describes the unit."""
    registers = unit.registers(ROOT / "drivers" / "gemm" / "gemm.toml")
    assert registers.ID.value == 0x4D4D4547
    assert registers.SHAPE.read() == {"ROWS": 8, "COLUMNS": 8, "DEPTH_MAX": 256}
    unit.multiply(random((1, 77), np.int8), random((77, 1), np.int8))
    assert registers.CYCLES.value == 77
    assert registers.STATUS.read() == {"BUSY": 0, "DONE": 0}


def test_conformance(hal_conformance_of: Callable[[str], list[Any]]) -> None:
    for uri in (SIMULATED, "verilated:gemm"):
        results = hal_conformance_of(uri)
        assert [result for result in results if result.outcome == "fail"] == []


@pytest.fixture
def hal_conformance_of() -> Callable[[str], list[Any]]:
    from hal.conformance.run import run
    from hal.conformance.subject import Subject

    return lambda uri: list(run(Subject.of(uri, writes=True)))


# ---- layers --------------------------------------------------------------------------------------


def one_node(
    kind: str, inputs: list[str], constants: Mapping[str, Array], result: int, **more: Any
) -> onnx.ModelProto:
    """A model of one node that multiplies the input ``a``."""
    graph = helper.make_graph(
        [helper.make_node(kind, inputs, ["y"], **more)],
        "one",
        [helper.make_tensor_value_info("a", more.pop("takes", TensorProto.UINT8), None)],
        [helper.make_tensor_value_info("y", result, None)],
        [numpy_helper.from_array(array, name) for name, array in constants.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("a_type", [np.uint8, np.int8])
@pytest.mark.parametrize("b_type", [np.uint8, np.int8])
@pytest.mark.parametrize("columns", [False, True])
def test_integer_layer(a_type: type, b_type: type, columns: bool, unit: hal.Gemm) -> None:
    """MatMulInteger with zero points of every kind."""
    a, b = random((2, 5, 40), a_type), random((40, 11), b_type, 2)
    a_zero = np.array(random((1,), a_type, 3)[0])
    b_zero = random((11,) if columns else (), b_type, 4)
    model = one_node(
        "MatMulInteger",
        ["a", "b", "az", "bz"],
        {"b": b, "az": a_zero, "bz": b_zero},
        TensorProto.INT32,
    )
    layer = Finder(model.graph).layer(model.graph.node[0])
    assert layer
    got = layer.run({"a": a}, unit.multiply)
    want = exact(
        a.astype(np.int64) - a_zero.astype(np.int64), b.astype(np.int64) - b_zero.astype(np.int64)
    )
    assert got.dtype == np.int32
    assert np.array_equal(got, want)


@pytest.mark.parametrize("to_type", [np.uint8, np.int8])
def test_quantised_layer(to_type: type, unit: hal.Gemm) -> None:
    """QLinearMatMul: the sums quantised again, as numpy does it and as ONNX Runtime does."""
    a, b = random((7, 90), np.uint8), random((90, 13), np.int8, 2)
    constants = {
        "as": np.float32(0.02), "az": np.uint8(120), "b": b, "bs": np.float32(0.01),
        "bz": np.int8(-3), "ys": np.float32(0.9), "yz": np.array(5, to_type),
    }  # fmt: skip
    model = one_node(
        "QLinearMatMul",
        ["a", "as", "az", "b", "bs", "bz", "ys", "yz"],
        {name: np.asarray(array) for name, array in constants.items()},
        helper.np_dtype_to_tensor_dtype(np.dtype(to_type)),
    )
    layer = Finder(model.graph).layer(model.graph.node[0])
    assert layer
    got = layer.run({"a": a}, unit.multiply)
    sums = exact(a.astype(np.int64) - 120, b.astype(np.int64) + 3)
    scale = np.float32(0.02) * np.float32(0.01) / np.float32(0.9)
    limits = np.iinfo(to_type)
    want = np.clip(np.rint(sums.astype(np.float32) * scale) + 5, limits.min, limits.max)
    assert np.array_equal(got, want.astype(to_type))


def test_nodes_that_stay_on_the_processor() -> None:
    """Weights that are computed, of three axes, or of 16 bits."""
    for shape, dtype in (((2, 40, 11), np.int8), ((40,), np.int8), ((40, 11), np.int16)):
        model = one_node(
            "MatMulInteger", ["a", "b"], {"b": random(shape, dtype)}, TensorProto.INT32
        )
        assert Finder(model.graph).layer(model.graph.node[0]) is None
    model = one_node("MatMulInteger", ["a", "a"], {}, TensorProto.INT32)
    assert Finder(model.graph).layer(model.graph.node[0]) is None


# ---- models --------------------------------------------------------------------------------------


class Calibration(quantization.CalibrationDataReader):  # type: ignore[misc] # it has no types
    """Some inputs, for the ranges of what is between the layers."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self._left = [random.standard_normal((1, 16)).astype(np.float32) for _ in range(20)]

    def get_next(self) -> dict[str, Array] | None:
        return {"x": self._left.pop()} if self._left else None


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A perceptron, quantised by ONNX Runtime in the ways that it has."""
    folder = tmp_path_factory.mktemp("fpga")
    source = models.perceptron(folder / "perceptron.onnx")
    quantization.quantize_dynamic(source, folder / "dynamic.onnx")
    formats = {
        "qdq": quantization.QuantFormat.QDQ,
        "operators": quantization.QuantFormat.QOperator,
    }
    for name, form in formats.items():
        quantization.quantize_static(
            source, folder / f"{name}.onnx", Calibration(), quant_format=form
        )
    return folder


def compiled(model: Path, folder: Path) -> tuple[Program, Built]:
    made = Fpga().compile(model, Target("fpga"), CompileOptions(), folder)
    json.dumps(made.notes)
    program = Program("fpga", "fpga", made.engine, dict.fromkeys(made.files, ""), notes=made.notes)
    return program, Built(made.files)


@pytest.mark.parametrize("name", ["dynamic", "qdq", "operators"])
def test_quantised_model(name: str, folder: Path, tmp_path: Path) -> None:
    """Both layers run on the unit; what comes out is what ONNX Runtime computes."""
    program, files = compiled(folder / f"{name}.onnx", tmp_path)
    assert program.notes["layers"] == 2
    loaded = Fpga().load(program, files, UNIT, 1)
    assert isinstance(loaded, Partitioned)
    x = np.random.default_rng(2).standard_normal((10, 16)).astype(np.float32)
    want = Reference(folder / f"{name}.onnx").run({"x": x})["y"]
    before = loaded.counters
    np.testing.assert_allclose(loaded.run({"x": x})["y"], want, 1e-5, 1e-5)
    # 10 rows: 2 tiles; 32 columns of depth 16: 4; 4 columns of depth 32: 1
    assert loaded.counters["tiles"] - before["tiles"] == 2 * 4 + 2 * 1
    assert loaded.counters["cycles"] - before["cycles"] == 2 * 4 * 16 + 2 * 1 * 32
    loaded.close()


def test_weights_of_all_eight_bits(tmp_path: Path) -> None:
    """What the processor does between the layers is exact, as what the unit does is."""
    path, inputs, pixels = product(tmp_path / "large.onnx", "QLinearConv", "us")
    model = onnx.load(path)
    weights = full((pixels.size, 8), "s", 3)
    model.graph.initializer.append(numpy_helper.from_array(weights, "last"))
    model.graph.node[0].output[0] = "pixels"
    model.graph.node.append(helper.make_node("Flatten", ["pixels"], ["flat"]))
    model.graph.node.append(helper.make_node("MatMulInteger", ["flat", "last"], ["y"]))
    model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT32
    onnx.save(model, path)
    want = exact(pixels.reshape(1, -1), weights)
    assert np.array_equal(Reference(path).run(inputs)["y"], want)
    program, files = compiled(path, tmp_path)
    assert program.notes["layers"] == 1
    loaded = Fpga().load(program, files, UNIT, 1)
    assert np.array_equal(loaded.run(inputs)["y"], want)
    loaded.close()


def test_bit_by_bit(folder: Path, tmp_path: Path) -> None:
    """A model whose layers numpy computes gives exactly what it gives with the unit."""
    program, files = compiled(folder / "qdq.onnx", tmp_path)
    loaded = Fpga().load(program, files, UNIT, 1)
    assert isinstance(loaded, Partitioned)
    x = {"x": np.random.default_rng(3).standard_normal((3, 16)).astype(np.float32)}
    values: dict[str, Array] = dict(x)
    for step in loaded._steps:
        if isinstance(step, Layer):
            values[step.name] = step.run(values, exact)
        else:
            values.update(step.run(values))
    assert np.array_equal(loaded.run(x)["y"], values["y"])
    loaded.close()


def test_what_is_logged(folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line when it is loaded; those of each call only for whoever debugs."""
    program, files = compiled(folder / "dynamic.onnx", tmp_path)
    x = {"x": np.zeros((1, 16), np.float32)}
    with caplog.at_level(logging.INFO, "autoglm.backends.fpga"):
        loaded = Fpga().load(program, files, UNIT, 1)
        loaded.run(x)
    (line,) = caplog.messages
    assert "2 layers on the unit (tiles of 8 x 256 x 8), 3 parts on the processor" in line
    with caplog.at_level(logging.DEBUG, "autoglm.backends.fpga"):
        loaded.run(x)
    assert "5 tiles in 96 cycles" in caplog.text
    loaded.close()


def test_model_without_such_layers(tmp_path: Path) -> None:
    with pytest.raises(CompileError, match="no linear layer is quantised"):
        compiled(models.perceptron(tmp_path / "real.onnx"), tmp_path)


def test_the_cut_of_a_graph_with_branches(folder: Path) -> None:
    """Two layers of one input run one after the other; a segment has what both need."""
    model = onnx.load(folder / "dynamic.onnx")
    parts = partition(model)
    assert [type(part) for part in parts[:2]] == [Segment, Layer]
    produced = {"x"}
    for part in parts:
        assert set(part.inputs) <= produced
        produced |= set(part.outputs) if isinstance(part, Segment) else {part.name}
    assert "y" in produced


# ---- devices, failures ---------------------------------------------------------------------------


def test_devices() -> None:
    hal.bind("fpga-board", "gemm:uio:uio4321")
    try:
        board, simulated = Fpga().devices()
    finally:
        hal.unbind("fpga-board")
    assert (simulated.kind, simulated.address, simulated.problem) == ("fpga", SIMULATED, "")
    assert "/dev/uio4321" in board.problem
    program = Program("fpga", "fpga", "", {}, notes={"layers": 2})
    assert Fpga().can_run(program, simulated).here
    assert not Fpga().can_run(program, board).here
    assert not Fpga().can_run(program, Device(0, "cpu", platform.machine(), "")).here


def test_programs_that_are_none(folder: Path, tmp_path: Path) -> None:
    program, files = compiled(folder / "dynamic.onnx", tmp_path)
    with pytest.raises(DeviceError, match="uio4321"):
        Fpga().load(program, files, Device(0, "fpga", "", "gemm:uio:uio4321"), 1)
    (tmp_path / PLAN).write_text("[{}]", "ascii")
    with pytest.raises(ArtifactError, match="plan of the program"):
        Fpga().load(program, files, UNIT, 1)


def test_artifact(folder: Path, tmp_path: Path) -> None:
    """Compiled, checked, written, opened and run on the unit, which is in the list of devices."""
    output = tmp_path / "dynamic.glm"
    report = compiler.compile(folder / "dynamic.onnx", "fpga", output=output, seconds=0.1)
    (candidate,) = report.candidates
    assert candidate.fused == {"unit: integer": 2, "processor": 3}
    assert candidate.program.accuracy is not None
    x = {"x": np.random.default_rng(4).standard_normal((2, 16)).astype(np.float32)}
    want = Reference(folder / "dynamic.onnx").run(x)["y"]
    with autoglm.load(output, device="fpga") as model:
        assert model.device.address == SIMULATED
        np.testing.assert_allclose(model(x)["y"], want, 1e-5, 1e-5)
        figures = measure(model, x, 0.01)
    assert figures.counted == {"tiles": 4 + 1, "cycles": 4 * 16 + 32}
    assert "5 tiles a call, 96 cycles a call" in as_rows([figures])[1][0][4]
    with serving(output, device="fpga") as service:
        for _ in range(2):
            service.infer("dynamic", x)
        counted = 'autoglm_device_counted_total{counter="cycles",model="dynamic"}'
        assert service.metric(counted) == 2 * figures.counted["cycles"]
