# SPDX-License-Identifier: Apache-2.0
"""Inputs held against what a model takes."""

from __future__ import annotations

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
    ],
)
def test_wrong_inputs(changed: dict[str, Array], says: str) -> None:
    with pytest.raises(InputError, match=says):
        check_inputs(SPECS, _inputs(**changed))


def test_missing_input() -> None:
    with pytest.raises(InputError, match="'mask' is missing"):
        check_inputs(SPECS, {"ids": np.zeros((2, 4), np.int64)})


@pytest.mark.parametrize("shape", [[-1], [True], [1.5], [None]])
def test_no_shape(shape: list[object]) -> None:
    with pytest.raises((TypeError, ValueError)):
        TensorSpec.from_json({"name": "x", "dtype": "float32", "shape": shape})
