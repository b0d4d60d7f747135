# SPDX-License-Identifier: Apache-2.0
"""What is right: seeded inputs, and how near outputs come."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from autoglm.cases import arrays, save
from autoglm.errors import ModelError
from autoglm.reference import Reference, difference, extents, index_limits, seeded
from autoglm.tensor import Array, TensorSpec

PICTURE = TensorSpec("x", "float32", ("n", 3, "h", "w"))
TOKENS = TensorSpec("ids", "int64", ("n", "length"))


def test_extents_are_usual_ones_unless_told() -> None:
    assert extents([PICTURE, TOKENS], {}) == {"n": 1, "h": 224, "w": 224, "length": 32}
    assert extents([PICTURE], {"h": 48}, 1) == {"n": 2, "h": 48, "w": 256}


def test_the_same_seed_gives_the_same_inputs() -> None:
    specs = [
        PICTURE,
        TOKENS,
        TensorSpec("attention_mask", "int64", ("n", "length")),
        TensorSpec("flags", "bool", (4,)),
        TensorSpec("bytes", "uint8", (100,)),
    ]
    sizes = extents(specs, {})
    first, again, other = (seeded(specs, sizes, seed, {"ids": 7}) for seed in (1, 1, 2))
    for spec in specs:
        assert first[spec.name].dtype.name == spec.dtype
        np.testing.assert_array_equal(first[spec.name], again[spec.name])
    assert not np.array_equal(first["x"], other["x"])
    assert first["ids"].max() < 7
    assert first["attention_mask"].min() == 1


def _one(array: object, kind: str = "float32") -> dict[str, Array]:
    return {"y": np.asarray(array, kind)}


@pytest.mark.parametrize(
    ("got", "wanted", "says"),
    [
        (_one([1.0, np.nan]), _one([1.00005, np.nan]), ""),
        (_one([np.inf]), _one([np.inf]), ""),
        (_one([]), _one([]), ""),
        (_one([3], "int64"), _one([3], "int64"), ""),
        ({}, _one([1]), "'y' is missing"),
        (_one([1], "float64"), _one([1]), r"float64\[1\], the source model's is float32\[1\]"),
        (_one([[1]]), _one([1]), r"float32\[1, 1\]"),
        (_one([1, 2], "int64"), _one([1, 3], "int64"), "1 of 2 are not equal"),
        (_one([np.nan]), _one([1]), "is nan"),
        (_one([1]), _one([np.nan]), "source model's is nan"),
        (_one([np.inf]), _one([-np.inf]), "is inf"),
        (_one([1, 2.1]), _one([1, 2]), r"'y'\[1\] is 2\.1.*1 of 2 are further apart"),
        (_one([1e6 + 500]), _one([1e6]), ""),
        (_one([2e-4]), _one([0]), "further apart"),
    ],
)
def test_difference(got: dict[str, Array], wanted: dict[str, Array], says: str) -> None:
    found = difference(got, wanted, 1e-3, 1e-4)
    assert re.search(says or "^$", found.complaint), found.complaint
    assert says or np.isfinite(found.worst)


def test_indices_stay_within_their_table(tmp_path: Path) -> None:
    path = tmp_path / "table.onnx"
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["ids"], ["whole"], to=TensorProto.INT64),
            helper.make_node("Gather", ["table", "whole"], ["y"]),
        ],
        "table",
        [helper.make_tensor_value_info("ids", TensorProto.INT32, ["n"])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 2])],
        [numpy_helper.from_array(np.zeros((5, 2), np.float32), "table")],
    )
    opset = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=8), path)
    assert index_limits(path) == {"ids": 5}
    reference = Reference(path)
    assert reference.run({"ids": np.array([4], np.int32)})["y"].shape == (1, 2)
    with pytest.raises(ModelError, match="does not run on its inputs"):
        reference.run({"ids": np.array([5], np.int32)})


def test_arrays_of_any_name(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    named = {"file": np.arange(3), "/model/x:0": np.float32(1.5).reshape(()), "é": np.zeros((0, 2))}
    save(path, named)
    read = arrays(path)
    assert list(read) == list(named)
    for name, array in named.items():
        np.testing.assert_array_equal(read[name], array)
