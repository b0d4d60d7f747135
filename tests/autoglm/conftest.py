# SPDX-License-Identifier: Apache-2.0
"""Artifacts that many tests use, compiled once."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from autoglm import compiler

from . import models

# Children import engines of megabytes of Python: what is compiled of it is kept, whatever is set.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)


@pytest.fixture(scope="session")
def artifacts(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for artifacts of this session."""
    return tmp_path_factory.mktemp("artifacts")


@pytest.fixture(scope="session")
def perceptron(artifacts: Path) -> Path:
    """A small model: float32 x[batch, 16] to y[batch, 4]."""
    return models.perceptron(artifacts / "perceptron.onnx")


@pytest.fixture(scope="session")
def perceptron_glm(artifacts: Path, perceptron: Path) -> Path:
    """It, compiled for this processor by ONNX Runtime."""
    output = artifacts / "perceptron.glm"
    compiler.compile(perceptron, output=output, engines=["onnxruntime"], seconds=0.2)
    return output
