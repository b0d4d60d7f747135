# SPDX-License-Identifier: Apache-2.0
"""A small model whose answers numpy knows, artifacts of it, and a back end whose devices fail.

The back end is installed as a vendor's would be, as a distribution with an entry point, so that the
processes of workers find it too.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from autoglm import artifact, backend
from autoglm.manifest import Latency, ModelInfo, Program
from autoglm.tensor import Array, TensorSpec

WIDTH, CLASSES = 64, 10
_WEIGHTS = np.random.default_rng(3).standard_normal((WIDTH, CLASSES)).astype(np.float32)
INFO = ModelInfo(
    "small",
    "",
    (TensorSpec("x", "float32", ("n", WIDTH)), TensorSpec("k", "int64", (1,))),
    (TensorSpec("y", "float32", ("n", CLASSES)), TensorSpec("n", "int64", (1,))),
)


def inputs(rows: int = 1, seed: int = 0) -> dict[str, Array]:
    """Inputs of it."""
    x = np.random.default_rng(seed).standard_normal((rows, WIDTH)).astype(np.float32)
    return {"x": x, "k": np.array([seed], np.int64)}


def right(given: Mapping[str, Array], found: Mapping[str, Array]) -> bool:
    """Whether outputs are what they should be."""
    return np.allclose(found["y"], given["x"] @ _WEIGHTS, atol=1e-4) and bool(
        (found["n"] == given["k"] + 1).all()
    )


def model(folder: Path) -> Path:
    """It, as ONNX: y = x W, n = k + 1."""
    path = folder / "small.onnx"
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["y"]),
            helper.make_node("Add", ["k", "one"], ["n"]),
        ],
        "small",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", WIDTH]),
            helper.make_tensor_value_info("k", TensorProto.INT64, [1]),
        ],
        [
            helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", CLASSES]),
            helper.make_tensor_value_info("n", TensorProto.INT64, [1]),
        ],
        [
            numpy_helper.from_array(_WEIGHTS, "w"),
            numpy_helper.from_array(np.array([1], np.int64), "one"),
        ],
    )
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), str(path))
    return path


def good(milliseconds: float = 5.0) -> Program:
    """A program that works, on the processor."""
    latency = Latency(milliseconds, milliseconds, 1, "here")
    return Program("cpu", "onnxruntime", "onnxruntime", {}, latency=latency)


def bad(how: str, milliseconds: float = 1.0, **notes: Any) -> Program:
    """A program of the failing back end: see faulty.py for the ways."""
    latency = Latency(milliseconds, milliseconds, 1, "here")
    return Program(
        "vulkan", "faulty", f"faulty {how}", {}, latency=latency, notes={how: True, **notes}
    )


def write(
    path: Path, programs: Sequence[Program], source: bool = False, info: ModelInfo = INFO
) -> Path:
    """An artifact with these programs of the small model."""
    onnx_file = model(path.parent)
    digest = hashlib.sha256(onnx_file.read_bytes()).hexdigest()
    info = replace(info, name=path.stem, sha256=digest)
    files = {"model.onnx": onnx_file}
    kept = onnx_file if source else None
    artifact.write(path, info, [(each, files) for each in programs], kept, "tests")
    return path


@contextmanager
def faulty(folder: Path) -> Iterator[None]:
    """Have the failing back end installed, here and in processes that are started."""
    (folder / "faulty.py").write_bytes(Path(__file__).with_name("faulty.py").read_bytes())
    described = folder / "faulty-1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: faulty\nVersion: 1.0\n")
    (described / "entry_points.txt").write_text("[autoglm.backends]\nfaulty = faulty:Faulty\n")
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join([str(folder), *([before] if before else [])])
    import sys

    sys.path.insert(0, str(folder))
    backend._installed.cache_clear()
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        backend._installed.cache_clear()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
