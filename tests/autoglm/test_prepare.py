# SPDX-License-Identifier: Apache-2.0
"""A model read and made ready: weights that are kept outside, and what pins it takes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.external_data_helper import convert_model_to_external_data

from autoglm import cleanup, importers
from autoglm.cleanup import clean
from autoglm.errors import ModelError
from autoglm.ready import Clean, Pins
from autoglm.reference import Reference

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
