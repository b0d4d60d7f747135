# SPDX-License-Identifier: Apache-2.0
"""Compile a model for a target, run it on the best device.

    import autoglm

    autoglm.compile("model.onnx", "cpu", output="model.glm")
    with autoglm.load("model.glm") as model:
        outputs = model({"input": array})           # numpy arrays in, numpy arrays out
        outputs = await model.acall({"input": array})

The guide is docs/autoglm.md. autoglm uses nothing of ``hal`` but what is public.
"""

from __future__ import annotations

from hal import __version__

from .compiler import compile  # noqa: A004 - autoglm.compile() is called so
from .devices import devices
from .errors import Error
from .loaded import Loaded, load

__all__ = ["Error", "Loaded", "__version__", "compile", "devices", "load"]
