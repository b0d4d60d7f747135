# SPDX-License-Identifier: Apache-2.0
"""A model read and made ready: weights that are kept outside, and what pins it takes."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from autoglm import cleanup, importers
from autoglm.cases import Check
from autoglm.cleanup import clean
from autoglm.errors import ModelError
from autoglm.pinning import pin
from autoglm.prepare import prepare
from autoglm.ready import Clean, Pins
from autoglm.reference import Reference
from autoglm.tensor import Array

from . import models

Entries = dict[str, str]
"""What a tensor that is kept outside says of its place."""

X = np.linspace(-1, 1, 48, dtype=np.float32).reshape(3, 16)


def _save(model: onnx.ModelProto, path: Path) -> Path:
    """Save a model, every constant of it in a file beside."""
    convert_model_to_external_data(
        model, location=path.with_suffix(".bin").name, size_threshold=0, convert_attribute=True
    )
    onnx.save(model, path)
    return path


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """The perceptron, its weights in a file beside."""
    folder = tmp_path / "given"
    folder.mkdir()
    return _save(onnx.load(models.perceptron(folder / "made.onnx")), folder / "outside.onnx")


def _cleaned(path: Path, pins: Pins | None = None) -> Clean:
    """It, imported and made ready."""
    ready = path.parent / "ready"
    ready.mkdir(exist_ok=True)
    return clean(importers.read(path, ready).path, ready, pins or Pins())


def _remove(path: Path) -> None:
    """Remove a model's file, and that of its weights."""
    path.unlink()
    path.with_suffix(".bin").unlink()


# ---- weights outside of the file -----------------------------------------------------------------


def test_what_is_made_ready_needs_nothing_of_the_source_folder(outside: Path) -> None:
    wanted = Reference(outside).run({"x": X})
    found = _cleaned(outside)
    _remove(outside)
    assert not found.outside
    assert found.parameters == 16 * 32 + 32 + 32 * 4
    np.testing.assert_array_equal(Reference(found.path).run({"x": X})["y"], wanted["y"])


@pytest.mark.parametrize("over", [0, 1])
def test_many_weights_are_beside_what_is_made_ready(
    outside: Path, monkeypatch: pytest.MonkeyPatch, over: int
) -> None:
    wanted = Reference(outside).run({"x": X})
    weights = outside.with_suffix(".bin").stat().st_size
    monkeypatch.setattr(cleanup, "_OUTSIDE", weights - over)
    found = _cleaned(outside)
    _remove(outside)
    assert found.outside is bool(over)
    assert found.path.with_name("model.weights").exists() is bool(over)
    np.testing.assert_array_equal(Reference(found.path).run({"x": X})["y"], wanted["y"])


def _branches() -> onnx.ModelProto:
    """y = x v or x w: inner graphs, one with an initializer, one with a constant of a node."""
    v, w = (np.full((16, 4), number, np.float32) for number in (2, 3))
    y, given = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["n", width])
        for name, width in (("y", 4), ("x", 16))
    )
    one = helper.make_graph(
        [helper.make_node("MatMul", ["x", "v"], ["y1"])],
        "one",
        [],
        [helper.make_tensor_value_info("y1", TensorProto.FLOAT, ["n", 4])],
        [numpy_helper.from_array(v, "v")],
    )
    other = helper.make_graph(
        [
            helper.make_node("Constant", [], ["w"], value=numpy_helper.from_array(w, "w")),
            helper.make_node("MatMul", ["x", "w"], ["y2"]),
        ],
        "other",
        [],
        [helper.make_tensor_value_info("y2", TensorProto.FLOAT, ["n", 4])],
    )
    chosen = helper.make_tensor_value_info("chosen", TensorProto.BOOL, [])
    node = helper.make_node("If", ["chosen"], ["y"], then_branch=one, else_branch=other)
    graph = helper.make_graph([node], "branches", [given, chosen], [y])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


@pytest.mark.parametrize("folded", [True, False])
def test_constants_of_nodes_and_of_inner_graphs_may_be_outside(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folded: bool
) -> None:
    path = _save(_branches(), tmp_path / "branches.onnx")
    read = importers.read(path, tmp_path).sha256
    if not folded:  # as where the optimiser fails
        monkeypatch.setattr(cleanup, "_fold", lambda _: ())
    found = _cleaned(path)
    weights = path.with_suffix(".bin")
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    assert importers.read(path, tmp_path).sha256 != read
    _remove(path)
    for chosen, number in ((True, 2), (False, 3)):
        inputs = {"x": np.ones((2, 16), np.float32), "chosen": np.array(chosen)}
        assert (Reference(found.path).run(inputs)["y"] == 16 * number).all()


def _elsewhere(said: Entries, folder: Path) -> None:
    del folder
    said["location"] = "../secret.bin"


def _absolute(said: Entries, folder: Path) -> None:
    said["location"] = str(folder.parent / "secret.bin")


def _linked(said: Entries, folder: Path) -> None:
    (folder / "link.bin").symlink_to("../secret.bin")
    said["location"] = "link.bin"


def _missing(said: Entries, folder: Path) -> None:
    (folder / said["location"]).unlink()


def _nowhere(said: Entries, folder: Path) -> None:
    del folder, said["location"]


def _short(said: Entries, folder: Path) -> None:
    path = folder / said["location"]
    path.write_bytes(path.read_bytes()[:-1])


def _behind(said: Entries, folder: Path) -> None:
    said["offset"] = str((folder / said["location"]).stat().st_size)


def _word(said: Entries, folder: Path) -> None:
    del folder
    said["offset"] = "-4"


def _shorter(said: Entries, folder: Path) -> None:
    del folder
    said["length"] = "4"


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (_elsewhere, r'"\.\./secret\.bin" is not in the model\'s folder, and is not read'),
        (_absolute, r'"/.*/secret\.bin" is not in the model\'s folder, and is not read'),
        (_linked, r"link\.bin, but it is a symbolic link"),
        (_missing, r'there is no file ".*/outside\.bin"; copy it to where the model is'),
        (_nowhere, "it is not said in which file"),
        (_short, r'takes 512 bytes from 2176 on, but ".*/outside\.bin" has 2687; copy it anew'),
        (_behind, r'takes 512 bytes from 2688 on, but ".*/outside\.bin" has 2688'),
        (_word, "its offset is '-4', not a whole number from 0 on"),
        (_shorter, r"it takes 512 bytes, but 4 are said to be in"),
    ],
)
def test_weights_that_are_not_where_a_model_says(
    outside: Path, damage: Callable[[Entries, Path], None], says: str
) -> None:
    weights = outside.with_suffix(".bin")
    outside.parent.with_name("secret.bin").write_bytes(weights.read_bytes())
    model = onnx.load(outside, load_external_data=False)
    (tensor,) = (each for each in model.graph.initializer if each.name == "w2")
    said = {entry.key: entry.value for entry in tensor.external_data}
    damage(said, outside.parent)
    del tensor.external_data[:]
    for key, value in said.items():
        tensor.external_data.add(key=key, value=value)
    outside.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=says):
        importers.read(outside, outside.parent)


# ---- pins ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("pins", "says"),
    [
        (Pins(extents={"length": 3}), r"no extent is called 'length'.*\[batch, ?16\]"),
        (Pins(shapes={"x": (1, 2, 3)}), "'x' is .* cannot be pinned"),
        (Pins(shapes={"x": (1, 17)}), "cannot be pinned"),
        (Pins(shapes={"z": (1, 16)}), "no input 'z'; the model takes: x"),
        (Pins(values={"x": 1}), "'x' cannot be made a constant"),
        (
            Pins(extents={"batch": 1}, shapes={"x": (2, 16)}),
            "'batch' is pinned to 1 by its name, and to 2 by the shape of 'x'",
        ),
    ],
)
def test_pins_that_fit_nothing(perceptron: Path, tmp_path: Path, pins: Pins, says: str) -> None:
    with pytest.raises(ModelError, match=says):
        clean(perceptron, tmp_path, pins)


def _sum(path: Path, kind: int, *shapes: Sequence[int | str | None]) -> Path:
    """A model that gives the sum of its inputs, a, b ..., or what there is of one."""
    names = "abc"[: len(shapes)]
    given = [
        helper.make_tensor_value_info(name, kind, shape)
        for name, shape in zip(names, shapes, strict=True)
    ]
    nodes = [helper.make_node("Identity", ["a"], ["y"])]
    if len(names) > 1:
        nodes = [helper.make_node("Sum", list(names), ["y"])]
    out = helper.make_tensor_value_info("y", kind, [None] * len(shapes[0]))
    graph = helper.make_graph(nodes, "sum", given, [out])
    opsets = [helper.make_opsetid("", 21)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)
    return path


def _shapes(found: Clean) -> list[tuple[int | str, ...]]:
    return [spec.shape for spec in found.inputs]


def test_pins_that_say_the_same_of_an_extent(tmp_path: Path) -> None:
    path = _sum(tmp_path / "sum.onnx", TensorProto.FLOAT, ["n", None], ["n", "n"])
    found = clean(path, tmp_path, Pins(extents={"n": 2}, shapes={"a": (2, 3), "b": (2, 2)}))
    assert _shapes(found) == [(2, 3), (2, 2)]
    found = clean(path, tmp_path, Pins(shapes={"b": (2, 2)}))
    assert _shapes(found) == [(2, "a_1"), (2, 2)]
    found = clean(path, tmp_path, Pins(extents={"a_1": 7}))
    assert _shapes(found) == [("n", 7), ("n", "n")], "what has no name is called by its place"
    with pytest.raises(ModelError, match=r"pinned to 2 by the shape of 'a', and to 4 by .* 'b'"):
        clean(path, tmp_path, Pins(shapes={"a": (2, 3), "b": (4, 4)}))
    with pytest.raises(ModelError, match=r"pinned to 4 by the shape of 'b', and to 5 by .* 'b'"):
        clean(path, tmp_path, Pins(shapes={"b": (4, 5)}))


def test_what_is_empty_is_refused(tmp_path: Path) -> None:
    path = _sum(tmp_path / "sum.onnx", TensorProto.FLOAT, [0, 4])
    for pins in (Pins(), Pins(shapes={"a": (1, 4)})):
        with pytest.raises(ModelError, match=r"'a' is \[0, ?4\]: an extent of 0 is not supported"):
            clean(path, tmp_path, pins)
    with pytest.raises(ModelError, match="'n' is pinned to 0: an extent is 1 or more"):
        Pins(extents={"n": 0})
    with pytest.raises(ModelError, match="'x' is pinned to -1: an extent is 1 or more"):
        Pins(shapes={"x": (3, -1)})


@pytest.mark.parametrize(
    ("typical", "pins", "says"),
    [
        (
            {"q": 3},
            Pins(),
            r"no dynamic extent is called 'q', there are: batch; it takes x: float32",
        ),
        ({"batch": 3}, Pins(extents={"batch": 2}), r"called 'batch', there is none; .*\[2, 16\]"),
        ({"batch": 0}, Pins(), "'batch' is typically 0: an extent is 1 or more"),
    ],
)
def test_typical_extents_that_there_are_not(
    perceptron: Path, tmp_path: Path, typical: dict[str, int], pins: Pins, says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        prepare(str(perceptron), tmp_path, pins, Check(typical=typical))


@pytest.mark.parametrize(
    ("kind", "number"),
    [
        *((TensorProto.INT64, number) for number in (2**63 - 1, -(2**63), 16000.0, True)),
        *((TensorProto.UINT8, number) for number in (0, 255)),
        *((TensorProto.INT4, number) for number in (-8, 7)),
        *((TensorProto.BOOL, number) for number in (0, 1, True, False, 1.0)),
        *((TensorProto.FLOAT16, number) for number in (65504, 0.1, math.inf, -math.inf)),
        (TensorProto.FLOAT, 3.4028234e38),
        (TensorProto.BFLOAT16, 3e38),
    ],
)
def test_constants_of_each_type(tmp_path: Path, kind: int, number: float) -> None:
    path = _sum(tmp_path / "sum.onnx", kind, [2])
    array = _constant(path, number)
    assert array.dtype == helper.tensor_dtype_to_np_dtype(kind)
    assert (array == np.array(number).astype(array.dtype)).all()


def test_a_constant_may_be_nan(tmp_path: Path) -> None:
    path = _sum(tmp_path / "sum.onnx", TensorProto.FLOAT, [2])
    assert np.isnan(_constant(path, math.nan)).all()


def _constant(path: Path, number: float) -> Array:
    """Input a of a model, made a constant."""
    model = ir.load(path)
    (value,) = model.graph.inputs
    pin(model, Pins(values={"a": number}))
    assert not model.graph.inputs
    assert value.const_value is not None
    array: Array = value.const_value.numpy()
    return array


@pytest.mark.parametrize(
    ("kind", "number", "says"),
    [
        (
            TensorProto.INT64,
            16000.7,
            r"the constant 16000\.7: it takes whole numbers from -9223372",
        ),
        (TensorProto.INT64, 1e30, r"the constant 1e\+30: it takes whole numbers from -9223372"),
        (TensorProto.INT64, 2.0**63, "takes whole numbers from .* to 9223372036854775807"),
        (TensorProto.INT64, -(2**63) - 1, "takes whole numbers from -9223372036854775808"),
        (TensorProto.INT64, math.nan, "the constant nan: it takes whole numbers"),
        (TensorProto.INT64, math.inf, "the constant inf: it takes whole numbers"),
        (TensorProto.UINT8, -1, "takes whole numbers from 0 to 255"),
        (TensorProto.UINT8, 256, "takes whole numbers from 0 to 255"),
        (TensorProto.INT4, 8, "takes whole numbers from -8 to 7"),
        (TensorProto.BOOL, 0.5, r"the constant 0\.5: it takes 0 or 1"),
        (TensorProto.BOOL, 2, "takes 0 or 1"),
        (TensorProto.BOOL, math.nan, "takes 0 or 1"),
        (TensorProto.FLOAT16, 65536, "takes float16, which has no such number"),
        (TensorProto.FLOAT, -1e39, "takes float32, which has no such number"),
        (TensorProto.DOUBLE, 10**400, "takes float64, which has no such number"),
        (TensorProto.STRING, 1, "it takes string, and a constant is a number"),
    ],
)
def test_constants_that_an_input_does_not_take(
    tmp_path: Path, kind: int, number: float, says: str
) -> None:
    path = _sum(tmp_path / "sum.onnx", kind, [2])
    with pytest.raises(ModelError, match=f"input 'a' cannot be made .*{says}"):
        clean(path, tmp_path, Pins(values={"a": number}))


@pytest.mark.parametrize("kind", ["INT4", "BFLOAT16", "FLOAT8E5M2", "STRING"])
def test_inputs_that_cannot_be_passed(tmp_path: Path, kind: str) -> None:
    path = _sum(tmp_path / "sum.onnx", TensorProto.DataType.Value(kind), [2])
    says = f"input 'a' is of {kind.lower()}, which cannot be passed.*by a Cast"
    with pytest.raises(ModelError, match=says):
        clean(path, tmp_path, Pins())


def _changed(path: Path, change: Callable[[onnx.GraphProto], None]) -> Path:
    """A sum of which something is changed."""
    model = onnx.load(_sum(path, TensorProto.FLOAT, ["n", 3]))
    change(model.graph)
    onnx.save(model, path)
    return path


def test_outputs_that_cannot_be_passed(tmp_path: Path) -> None:
    def halve(graph: onnx.GraphProto) -> None:
        graph.node[0].CopyFrom(helper.make_node("Cast", ["a"], ["y"], to=TensorProto.BFLOAT16))
        graph.output[0].type.tensor_type.elem_type = TensorProto.BFLOAT16

    path = _changed(tmp_path / "model.onnx", halve)
    with pytest.raises(ModelError, match="output 'y' is of bfloat16, which cannot be passed"):
        clean(path, tmp_path, Pins())


def test_the_shape_of_an_output_need_not_be_told(tmp_path: Path) -> None:
    def forget(graph: onnx.GraphProto) -> None:
        graph.output[0].type.tensor_type.ClearField("shape")

    path = _changed(tmp_path / "model.onnx", forget)
    (output,) = clean(path, tmp_path, Pins(extents={"n": 2})).outputs
    assert output.shape == (2, 3)
