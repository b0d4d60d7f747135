# SPDX-License-Identifier: Apache-2.0
"""ONNX turned into C, by emx-onnx-cgen: one function from arrays to arrays, without a runtime.

What it computes is plain loops; convolutions are slower than an engine's, small models are not.
"""

from __future__ import annotations

import math
import re
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..errors import CompileError
from ..tensor import TensorSpec

if TYPE_CHECKING:
    import onnx

PACKAGE = "emx-onnx-cgen"
ELEMENT_SIZES = {"float": 4, "double": 8, "_Bool": 1, "bool": 1, "_Float16": 2} | {
    f"{sign}int{bits}_t": bits // 8 for sign in ("", "u") for bits in (8, 16, 32, 64)
}
"""Bytes of an element, by its type in C."""

_WEIGHT = re.compile(r"^(?P<type>\w+) (?P<name>\w+)(?P<extents>(?:\[\d+\])+);\n", re.MULTILINE)
"""An array that the generated code has room for, and reads from a file."""
_RANK_MAX = 8  # GLM_RANK_MAX and GLM_TENSORS_MAX of glm.h
_TENSORS_MAX = 64


@dataclass(frozen=True)
class Generated:
    """A model as C.

    Attributes:
        name: An identifier.
        code: The C source, with ``void model(inputs..., outputs...)`` and room for the weights.
        weights: What ``model_load()`` reads: the arrays one behind the other; may be empty.
        inputs: What it takes.
        outputs: What it gives.
        operators: How many operators there were, by type.
    """

    name: str
    code: str
    weights: bytes
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    operators: Mapping[str, int]


def engine() -> str:
    """The generator with its version; empty when it is not installed."""
    try:
        return f"{PACKAGE} {version(PACKAGE)}"
    except PackageNotFoundError:
        return ""


def identifier(text: str) -> str:
    """A name for C: letters, digits and underscores, not a digit at first."""
    name = re.sub(r"\W+", "_", text, flags=re.ASCII).strip("_").lower()
    return f"model_{name}" if not name or name[0].isdigit() else name


def generate(model: Path, name: str = "") -> Generated:
    """Turn a model into C.

    Args:
        model: An ONNX file whose extents are all fixed.
        name: What to call it; the file's stem without.

    Raises:
        CompileError: An extent is dynamic, or the generator does not know an operator.
    """
    loaded = _folded(model)
    inputs, outputs = _specs(loaded)
    from emx_onnx_cgen.compiler import Compiler, CompilerOptions
    from emx_onnx_cgen.errors import CompilerError

    try:
        code, weights = Compiler(
            CompilerOptions(model_name="model", large_weight_threshold=1)
        ).compile_with_weight_data(loaded)
    except CompilerError as error:
        raise CompileError(f"{PACKAGE}: {error}") from error
    counted = Counter(node.op_type for node in loaded.graph.node)
    return Generated(
        identifier(name or model.stem), code, weights or b"", inputs, outputs, dict(counted)
    )


def _folded(model: Path) -> onnx.ModelProto:
    """With what is constant computed, and branches that are never taken left out.

    The generator does neither. ONNX Runtime's basic level does both, and stays within ONNX.
    """
    import onnx
    import onnxruntime

    with tempfile.TemporaryDirectory() as folder:
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
        options.optimized_model_filepath = str(Path(folder, "folded.onnx"))
        options.log_severity_level = 3
        try:
            onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise CompileError(f"ONNX Runtime cannot read the model: {error}") from error
        return onnx.load(options.optimized_model_filepath)


def _specs(model: onnx.ModelProto) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    import onnx

    graph = onnx.shape_inference.infer_shapes(model).graph
    weights = {each.name for each in graph.initializer}
    inputs = tuple(_spec(each) for each in graph.input if each.name not in weights)
    outputs = tuple(_spec(each) for each in graph.output)
    for specs, kind in ((inputs, "inputs"), (outputs, "outputs")):
        if not 1 <= len(specs) <= _TENSORS_MAX:
            raise CompileError(f"{len(specs)} {kind}; a program has 1 to {_TENSORS_MAX}")
    return inputs, outputs


def _spec(value: onnx.ValueInfoProto) -> TensorSpec:
    import onnx

    tensor = value.type.tensor_type
    extents = [each.dim_value if each.HasField("dim_value") else 0 for each in tensor.shape.dim]
    if not tensor.HasField("shape") or any(extent <= 0 for extent in extents):
        known = [str(each.dim_value or each.dim_param or "?") for each in tensor.shape.dim]
        raise CompileError(
            f"{value.name!r} is [{', '.join(known)}]; code in C needs every extent fixed: pin it"
        )
    dtype = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)
    if dtype.kind not in "fiub" or len(extents) > _RANK_MAX:
        raise CompileError(f"{value.name!r} is {dtype}{extents}: no such array can be passed in C")
    return TensorSpec(value.name, np.dtype(dtype).name, tuple(extents))


# ---- what stands around the generated code -------------------------------------------------------


def place_weights(generated: Generated, file: str) -> tuple[str, str]:
    """Let the weights lie in the program as they are in the file: nothing is read, nothing copied.

    Returns:
        The C source without room for them, and an assembler source that includes the file.

    Raises:
        CompileError: The generator lays them out otherwise than this release knows.
    """
    offset = 0
    placed = ["/* The weights, as the generated code names them. */", ".section .rodata"]
    for match in _WEIGHT.finditer(generated.code):
        extents = [int(extent) for extent in re.findall(r"\d+", match["extents"])]
        size = ELEMENT_SIZES.get(match["type"], 0) * math.prod(extents)
        placed += [
            *(".balign 64", f".global {match['name']}", f".hidden {match['name']}"),
            f'{match["name"]}: .incbin "{file}", {offset}, {size}',
        ]
        offset += size
    if offset != len(generated.weights):
        raise CompileError(
            f"{engine()} has {len(generated.weights)} bytes of weights, but room for {offset}"
        )
    placed.append('.section .note.GNU-stack, "", %progbits\n')
    return _WEIGHT.sub("", generated.code), "\n".join(placed)


def table(generated: Generated, symbol: str, code: str, loads: bool) -> str:
    """C source of the model as glm.h has it, around the generated code, whose file it includes.

    Args:
        generated: The model.
        symbol: What to call the ``struct glm_model``.
        code: Name of the file with the generated code.
        loads: The weights are read at run time.
    """
    arguments = [f"(void *)inputs[{i}]" for i in range(len(generated.inputs))]
    arguments += [f"outputs[{i}]" for i in range(len(generated.outputs))]
    return f"""/* Made by autoglm-compile. */
#include <errno.h>
#include <stdlib.h>

#include "glm.h"

static _Thread_local bool out_of_memory;

static void *allocate(size_t size)
{{
    void *block = malloc(size);

    out_of_memory |= !block;
    return block;
}}

#define malloc allocate /* whose failure the generated code keeps to itself */
#include "{code}"
#undef malloc

static const struct glm_tensor inputs_of_model[] = {{
{_tensors(generated.inputs)}
}};

static const struct glm_tensor outputs_of_model[] = {{
{_tensors(generated.outputs)}
}};

static int run_model(const void *const *inputs, void *const *outputs)
{{
    out_of_memory = false;
    model({", ".join(arguments)});
    return out_of_memory ? -ENOMEM : 0;
}}

const struct glm_model {symbol} = {{
    .name = "{generated.name}",
    .input_count = {len(generated.inputs)},
    .output_count = {len(generated.outputs)},
    .inputs = inputs_of_model,
    .outputs = outputs_of_model,
    .run = run_model,{" .load = model_load," if loads else ""}
}};
"""


def _tensors(specs: Sequence[TensorSpec]) -> str:
    return "\n".join(
        f"    {{{_quoted(spec.name)}, {_quoted(spec.dtype)}, {nbytes(spec)}, {len(spec.shape)},"
        f" {{{', '.join(map(str, spec.shape)) or '0'}}}}},"
        for spec in specs
    )


def nbytes(spec: TensorSpec) -> int:
    """How many bytes a tensor has, whose extents are fixed."""
    return np.dtype(spec.dtype).itemsize * math.prod(int(extent) for extent in spec.shape)


def _quoted(text: str) -> str:
    """As a string of C."""
    plain = set(range(32, 127)) - set(b'"\\?')
    return '"' + "".join(chr(c) if c in plain else f"\\{c:03o}" for c in text.encode()) + '"'


def header(generated: Generated) -> str:
    """What a user of the library includes."""
    upper = generated.name.upper()
    shapes = "\n".join(
        f" *   {kind:6}  {spec}"
        for kind, specs in (("input", generated.inputs), ("output", generated.outputs))
        for spec in specs
    )
    return f"""/* Made by autoglm-compile. */
#ifndef {upper}_H
#define {upper}_H

#include "glm.h"

#ifdef __cplusplus
extern "C" {{
#endif

/**
 * The model; {generated.name}_model.run(inputs, outputs) runs it, glm_stream() does so on devices.
 *
{shapes}
 */
extern const struct glm_model {generated.name}_model;

#ifdef __cplusplus
}}
#endif

#endif
"""
