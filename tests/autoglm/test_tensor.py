# SPDX-License-Identifier: Apache-2.0
"""Inputs held against what a model takes."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from autoglm.errors import InputError
from autoglm.tensor import Array, TensorSpec, check_inputs

SPECS = (
    TensorSpec("ids", "int64", ("batch", 4)),
    TensorSpec("mask", "float32", ("batch",)),
)


def _inputs(**changed: Array) -> dict[str, Array]:
    return {"ids": np.zeros((2, 4), np.int64), "mask": np.zeros(2, np.float32), **changed}


def test_right_inputs() -> None:
    check_inputs(SPECS, _inputs())
    check_inputs(SPECS, _inputs(ids=np.zeros((0, 4), np.int64), mask=np.zeros(0, np.float32)))


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        ({"extra": np.zeros(1)}, "no input 'extra'"),
        ({"mask": np.zeros(2)}, r"float64.*astype\('float32'\)"),
        ({"ids": np.zeros(4, np.int64)}, r"shape \(4,\)"),
        ({"ids": np.zeros((2, 5), np.int64)}, r"int64\[batch, 4\]"),
        ({"mask": np.zeros(3, np.float32)}, "batch = 2"),
        ({"mask": np.zeros(2, ">f4")}, r"other byte order.*astype\('float32'\)"),
        ({"mask": [0.0, 0.0]}, r"'mask' is a list.*numpy\.asarray\(.*'float32'\)"),
        ({"mask": 1.5}, "'mask' is a float"),
    ],
)
def test_wrong_inputs(changed: dict[str, Any], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_inputs(SPECS, _inputs(**changed))


def test_missing_input() -> None:
    with pytest.raises(InputError, match="'mask' is missing"):
        check_inputs(SPECS, {"ids": np.zeros((2, 4), np.int64)})


@pytest.mark.parametrize(
    "inputs", [None, np.zeros((2, 4)), np.zeros(2), [np.zeros((2, 4))], ["ids", "mask"], 5]
)
def test_no_mapping(inputs: Any) -> None:
    with pytest.raises(InputError, match=r"arrays by name.*ids: int64\[batch, 4\]"):
        check_inputs(SPECS, inputs)


def test_arrays_of_another_library() -> None:
    class Foreign:
        dtype, ndim, shape = object(), 1, (2,)

    with pytest.raises(InputError, match="'mask' is a Foreign"):
        check_inputs(SPECS, _inputs(mask=Foreign()))  # type: ignore[arg-type]


@pytest.mark.parametrize("shape", [[-1], [True], [1.5], [None]])
def test_no_shape(shape: list[object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        TensorSpec.from_json({"name": "x", "dtype": "float32", "shape": shape})
