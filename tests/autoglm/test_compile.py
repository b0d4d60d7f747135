# SPDX-License-Identifier: Apache-2.0
"""The pipeline, from a model to an artifact whose programs run."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from autoglm.artifact import Artifact
from autoglm.backend import backend
from autoglm.device import Device
from autoglm.reference import Reference
from autoglm.trial import Built


def test_from_a_file_to_a_result(perceptron: Path, perceptron_glm: Path, tmp_path: Path) -> None:
    with Artifact(perceptron_glm) as read:
        (program,) = read.manifest.programs
        assert [str(spec) for spec in read.manifest.model.inputs] == ["x: float32[batch, 16]"]
        assert program.accuracy
        assert program.accuracy.worst < 1e-5
        assert program.latency
        assert program.unchecked == ""
        files = {}
        for name, blob in program.files.items():
            files[name] = tmp_path / name
            files[name].write_bytes(read.blob(blob))
        assert bytes(read.blob(read.manifest.source)), "the source is kept"
    made = backend(program.backend)
    device = Device(0, "cpu", "this one", "", frozenset(program.features))
    loaded = made.load(program, Built(files), device, 1)
    inputs = {"x": np.random.default_rng(1).standard_normal((3, 16)).astype(np.float32)}
    wanted = Reference(perceptron).run(inputs)
    np.testing.assert_allclose(loaded.run(inputs)["y"], wanted["y"], rtol=1e-4, atol=1e-5)
    loaded.close()
