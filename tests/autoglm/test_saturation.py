# SPDX-License-Identifier: Apache-2.0
"""Products of 8-bit integers are exact, whatever the processor; numpy's whole numbers judge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from numpy.lib.stride_tricks import sliding_window_view
from onnx import TensorProto, helper, numpy_helper

import hal.processor
from autoglm import saturation
from autoglm.backend import CompileOptions
from autoglm.backends.onnxruntime import OnnxRuntime
from autoglm.devices import processor_for
from autoglm.dispatch import SOURCE
from autoglm.manifest import Program
from autoglm.reference import Reference
from autoglm.target import Target
from autoglm.tensor import Array
from autoglm.trial import Built

SATURATES = saturation.saturates(hal.processor.info())
TYPES = {"u": np.dtype(np.uint8), "s": np.dtype(np.int8)}
HALF = np.array(128, np.uint8)
MICROSOFT = {"MatMulIntegerToFloat", "QGemm"}
LINEAR = {"QLinearMatMul", "QLinearConv", "QGemm"}
OPERATORS = [
    (operator, pair)
    for operator in (
        "MatMulInteger", "ConvInteger", "MatMulIntegerToFloat", "QLinearMatMul", "QLinearConv",
        "QGemm", "MatMul", "Conv",
    )
    for pair in ("uu", "us", "su", "ss")
    if pair != "su" or operator not in {*LINEAR, *MICROSOFT}  # there is no such layer
]  # fmt: skip


def full(shape: tuple[int, ...], kind: str, seed: int, bits: int = 8) -> Array:
    """Numbers as large as their type holds, or as so many bits do."""
    half = 1 << (bits - 1)
    low = 0 if kind == "u" else -half
    return np.random.default_rng(seed).integers(low, low + 2 * half, shape).astype(TYPES[kind])


def save(
    path: Path,
    nodes: list[onnx.NodeProto],
    x: Array,
    constants: Mapping[str, Array],
    to: int,
    *,
    outside: bool = False,
) -> Path:
    about = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "products",
        [about("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [about("y", to, None)],
        [numpy_helper.from_array(np.asarray(array), name) for name, array in constants.items()],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=10)
    onnx.save(
        model, path, save_as_external_data=outside, location="model.weights", size_threshold=0
    )
    return path


def product(
    path: Path, operator: str, pair: str, seed: int = 0, *, bits: int = 8, outside: bool = False
) -> tuple[Path, dict[str, Array], Array]:
    """A model of one layer, its input, and what is right."""
    mine, other = pair[0], pair[1]
    conv = "Conv" in operator
    x = full((1, 8, 9, 9) if conv else (5, 64), mine, seed)
    w = full((6, 8, 3, 3) if conv else (64, 24), other, seed + 100, bits)
    x_zero, w_zero = (np.array(128 if kind == "u" else -3, TYPES[kind]) for kind in (mine, other))
    left, right = (v.astype(np.int64) - int(z) for v, z in ((x, x_zero), (w, w_zero)))
    if conv:
        windows = sliding_window_view(left, (3, 3), axis=(2, 3))
        want = np.einsum("nchwij,ocij->nohw", windows, right)
    else:
        want = left @ right
    one, y_scale = np.float32(1), np.float32(2 ** np.ceil(np.log2(np.abs(want).max() / 100)))
    constants = {
        "w": w, "x_zero": x_zero, "w_zero": w_zero, "one": one,
        "y_scale": y_scale, "y_zero": np.array(5, TYPES[mine]),
    }  # fmt: skip
    zeros, ends = ["x_zero", "w_zero"], ["y_scale", "y_zero"]
    names = {
        "MatMulIntegerToFloat": ["x", "w", "one", "one", *zeros],
        "MatMulInteger": ["x", "w", *zeros],
        "ConvInteger": ["x", "w", *zeros],
        "MatMul": ["real", "weights"],
        "Conv": ["real", "weights"],
    }.get(operator, ["x", "one", "x_zero", "w", "one", "w_zero", *ends])
    if operator == "QGemm":
        names.insert(6, "")
    quantised = operator in LINEAR or operator in {"MatMul", "Conv"}
    domain = "com.microsoft" if operator in MICROSOFT else ""
    layer = helper.make_node(operator, names, ["y"], domain=domain)
    nodes = [layer]
    if operator in {"MatMul", "Conv"}:
        layer.output[0] = "sums"
        nodes = [
            helper.make_node("DequantizeLinear", ["x", "one", "x_zero"], ["real"]),
            helper.make_node("DequantizeLinear", ["w", "one", "w_zero"], ["weights"]),
            layer,
            helper.make_node("QuantizeLinear", ["sums", *ends], ["y"]),
        ]
    to = TensorProto.FLOAT if operator == "MatMulIntegerToFloat" else TensorProto.INT32
    if quantised:
        to = helper.np_dtype_to_tensor_dtype(TYPES[mine])
        limits = np.iinfo(TYPES[mine])
        want = np.clip(np.rint(want / np.float64(y_scale)) + 5, limits.min, limits.max)
    return save(path, nodes, x, constants, to, outside=outside), {"x": x}, want


def compiled(model: Path, target: str) -> Program:
    """What the back end makes of it, beside it."""
    folder = model.with_suffix(f".{target.replace(':', '-')}")
    folder.mkdir()
    made = OnnxRuntime().compile(model, Target.parse(target), CompileOptions(), folder)
    return Program(
        target, "onnxruntime", made.engine, dict.fromkeys(made.files, ""),
        options=tuple(made.options), notes={**made.notes, "files": made.files},
    )  # fmt: skip


def ran(program: Program, inputs: Mapping[str, Array]) -> Array:
    device = processor_for(Target("cpu"))
    loaded = OnnxRuntime().load(program, Built(program.notes["files"]), device, 1)
    try:
        return loaded.run(inputs)["y"]
    finally:
        loaded.close()


@pytest.mark.parametrize(("operator", "pair"), OPERATORS)
def test_exact(operator: str, pair: str, tmp_path: Path) -> None:
    """The reference, and what is compiled for this processor and for others: each is right."""
    for seed in range(3):
        model, inputs, want = product(tmp_path / f"{seed}.onnx", operator, pair, seed)
        np.testing.assert_array_equal(Reference(model).run(inputs)["y"], want)
    for target in ("cpu", "cpu:x86-64-v3", "aarch64"):
        np.testing.assert_array_equal(ran(compiled(model, target), inputs), want, target)


def test_by_itself_the_engine_saturates(tmp_path: Path) -> None:
    """What all this is for; where it no longer does, all this can go."""
    if not SATURATES:
        pytest.skip("this processor adds products in 32 bits")
    model, inputs, want = product(tmp_path / "m.onnx", "MatMulInteger", "us")
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    assert np.abs(session.run(None, inputs)[0] - want).max() > 1000


def test_attention(tmp_path: Path) -> None:
    """One head over one row is the values themselves: the third part of the product."""
    x, w = full((1, 1, 64), "u", 1), full((64, 192), "s", 2)
    nodes = [
        helper.make_node(
            "QAttention", ["x", "w", "bias", "one", "one", "", "zero"], ["y"], num_heads=1,
            domain="com.microsoft",
        )
    ]  # fmt: skip
    constants = {"w": w, "bias": np.zeros(192, np.float32), "one": np.float32(1), "zero": HALF}
    model = save(tmp_path / "m.onnx", nodes, x, constants, TensorProto.FLOAT)
    want = ((x.astype(np.int32) - 128) @ w.astype(np.int32))[..., 128:]
    np.testing.assert_array_equal(Reference(model).run({"x": x})["y"], want)
    np.testing.assert_array_equal(ran(compiled(model, "cpu:x86-64-v3"), {"x": x}), want)


def test_real_numbers_that_the_operator_quantises(tmp_path: Path) -> None:
    """Whole numbers from 0 to 255 are quantised to themselves; scales are of columns."""
    x = full((5, 64), "u", 1)
    x[:, :2] = 0, 255
    w, scales = full((64, 24), "s", 2), np.exp2(np.arange(24) % 3).astype(np.float32)
    nodes = [
        helper.make_node(
            "DynamicQuantizeMatMul", ["x", "w", "scales"], ["y"], domain="com.microsoft"
        )
    ]
    real = x.astype(np.float32)
    model = save(tmp_path / "m.onnx", nodes, real, {"w": w, "scales": scales}, TensorProto.FLOAT)
    want = (x.astype(np.int32) @ w.astype(np.int32)) * scales
    np.testing.assert_array_equal(Reference(model).run({"x": real})["y"], want)
    np.testing.assert_array_equal(ran(compiled(model, "cpu:x86-64-v3"), {"x": real}), want)


@pytest.mark.parametrize("operator", ["MatMulInteger", "QLinearConv", "MatMul"])
def test_weights_outside_of_the_file(operator: str, tmp_path: Path) -> None:
    """They stay there, and what becomes of them is computed by the engine."""
    model, inputs, want = product(tmp_path / "m.onnx", operator, "us", outside=True)
    changed = saturation.exact(model)
    assert changed
    assert {each.name for each in changed.graph.initializer if each.external_data} >= {"w"}
    np.testing.assert_array_equal(Reference(model).run(inputs)["y"], want)
    np.testing.assert_array_equal(ran(compiled(model, "cpu"), inputs), want)


def test_only_where_it_is_needed(tmp_path: Path) -> None:
    """Of 7 bits, of one type, or real: such models stay as they are, as fast as before."""
    for number, (operator, pair, bits) in enumerate(
        [("MatMulInteger", "us", 7), ("QLinearConv", "us", 7), ("QLinearMatMul", "ss", 8),
         ("MatMulInteger", "su", 8), ("MatMul", "us", 7), ("MatMul", "su", 8)]
    ):  # fmt: skip
        model, inputs, want = product(tmp_path / f"{number}.onnx", operator, pair, bits=bits)
        assert saturation.exact(model) is None, operator
        program = compiled(model, "cpu")
        assert program.notes["saturates"] is False
        assert saturation.OPTION not in program.options
        np.testing.assert_array_equal(ran(program, inputs), want)


@pytest.mark.parametrize(
    ("largest", "needed"), [(64, False), (65, True), (-64, False), (-65, True)]
)
def test_the_largest_weight_that_is_safe(largest: int, needed: bool, tmp_path: Path) -> None:
    x, w = np.full((1, 64), 255, np.uint8), np.full((64, 24), largest, np.int8)
    nodes = [helper.make_node("MatMulInteger", ["x", "w"], ["y"])]
    model = save(tmp_path / "m.onnx", nodes, x, {"w": w}, TensorProto.INT32)
    assert (saturation.exact(model) is not None) is needed
    np.testing.assert_array_equal(
        Reference(model).run({"x": x})["y"], x.astype(np.int32) @ w.astype(np.int32)
    )


def test_the_program_says_it(tmp_path: Path) -> None:
    """For this processor the weights are changed ahead, for others when they are loaded."""
    model, _, _ = product(tmp_path / "m.onnx", "QLinearMatMul", "us")
    here, portable = compiled(model, "cpu"), compiled(model, "cpu:x86-64-v3")
    assert (saturation.OPTION in here.options) is SATURATES
    assert here.notes["saturates"] is not SATURATES
    assert saturation.OPTION not in portable.options
    assert portable.notes["saturates"] is True


def test_programs_that_do_not_say_it(tmp_path: Path) -> None:
    """The source model that an artifact falls back on, and what was compiled without this."""
    model, inputs, want = product(tmp_path / "m.onnx", "QLinearMatMul", "us")
    source = replace(SOURCE, files={"model.onnx": ""}, notes={"files": {"model.onnx": model}})
    np.testing.assert_array_equal(ran(source, inputs), want)


def test_which_processors() -> None:
    this = hal.processor.info()
    for architecture, names, wrong in (
        ("x86_64", {"avx2"}, True), ("x86_64", {"avx2", "avx512f"}, True), ("x86_64", set(), True),
        ("x86_64", {"avx_vnni"}, False), ("x86_64", {"avx512_vnni"}, False),
        ("aarch64", {"asimd"}, False),
    ):  # fmt: skip
        other = replace(this, architecture=architecture, features=frozenset(names))
        assert saturation.saturates(other) is wrong


def test_computed_operands_and_inner_graphs(tmp_path: Path) -> None:
    """Both operands are computed, in a branch, and have no zero points."""
    about = helper.make_tensor_value_info
    then = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "s"], ["inner"])], "then", [],
        [about("inner", TensorProto.INT32, None)],
    )  # fmt: skip
    other = helper.make_graph(
        [helper.make_node("Cast", ["x"], ["cast"], to=TensorProto.INT32)], "else", [],
        [about("cast", TensorProto.INT32, None)],
    )  # fmt: skip
    nodes = [
        helper.make_node("Transpose", ["x"], ["t"]),
        helper.make_node("Sub", ["t", "half"], ["d"]),
        helper.make_node("Cast", ["d"], ["s"], to=TensorProto.INT8),
        helper.make_node("MatMulInteger", ["x", "s"], ["outer"]),
        helper.make_node("If", ["yes"], ["chosen"], then_branch=then, else_branch=other),
        helper.make_node("Add", ["outer", "chosen"], ["y"]),
    ]
    x = full((6, 64), "u", 3)
    constants = {"half": HALF, "yes": np.array(True)}
    model = save(tmp_path / "m.onnx", nodes, x, constants, TensorProto.INT32)
    signed = (x.T - np.uint8(128)).astype(np.int8)
    want = 2 * (x.astype(np.int32) @ signed.astype(np.int32))
    np.testing.assert_array_equal(Reference(model).run({"x": x})["y"], want)
