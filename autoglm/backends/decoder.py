# SPDX-License-Identifier: Apache-2.0
"""Language models as the dispatcher sees them: what they need of a device, and what runs them.

They are compiled by `autoglm.decoder.compiler` and asked by `autoglm.decoder.load`, since one is no
map from arrays to arrays: it keeps what it has read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..backend import Availability, Backend, Compiled, CompileOptions, Executable, Files
from ..device import Device
from ..errors import CompileError, InputError
from ..manifest import Program
from ..target import Target


class Decoder(Backend):
    """ONNX Runtime, with keys and values in place."""

    name = "decoder"
    extra = "decoder"

    def can_compile(self, target: Target) -> Availability | None:
        """Never: a language model is no single ONNX file."""
        return None

    def compile(
        self, model: Path, target: Target, options: CompileOptions, folder: Path
    ) -> Compiled:
        """Never, see `can_compile`."""
        raise CompileError("language models are compiled from a folder or a recipe, not from ONNX")

    def devices(self) -> Sequence[Device]:
        """None but the processor."""
        return ()

    def can_run(self, program: Program, device: Device) -> Availability:
        """On the processor, with ONNX Runtime and tokenizers."""
        if device.kind != "cpu":
            return Availability(False, "language models run on the processor")
        try:
            import onnxruntime
            import tokenizers  # noqa: F401
        except ImportError as error:
            return Availability(False, str(error), "pip install 'open-autoglm[decoder]'")
        return Availability(True, f"onnxruntime {onnxruntime.__version__}")

    def load(self, program: Program, files: Files, device: Device, threads: int) -> Executable:
        """Not as a map of arrays: see the module.

        Raises:
            InputError: Always.
        """
        raise InputError(
            "it is a language model, which takes a prompt: autoglm.decoder.load(), or"
            " autoglm-runtime --prompt"
        )
