# SPDX-License-Identifier: Apache-2.0
"""The pipeline, from a model to an artifact whose programs run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

import autoglm
from autoglm.artifact import Artifact
from autoglm.reference import Reference


def test_from_a_file_to_a_result(perceptron: Path, perceptron_glm: Path) -> None:
    with Artifact(perceptron_glm) as read:
        (program,) = read.manifest.programs
        assert [str(spec) for spec in read.manifest.model.inputs] == ["x: float32[batch, 16]"]
        assert program.accuracy
        assert program.accuracy.worst < 1e-5
        assert program.latency
        assert program.unchecked == ""
        assert bytes(read.blob(read.manifest.source)), "the source is kept"
    inputs = {"x": np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)}
    wanted = Reference(perceptron).run(inputs)
    with autoglm.load(perceptron_glm) as model:
        np.testing.assert_allclose(model(inputs)["y"], wanted["y"], rtol=1e-4, atol=1e-5)
