# SPDX-License-Identifier: Apache-2.0
"""Language models: a cache of keys and values, sampling, many answers at once.

    from autoglm.decoder import Sampling, load

    with load("qwen.glm") as model:
        for piece in model.generate("Once upon a time", Sampling(max_tokens=64)):
            print(piece.text, end="", flush=True)

The guide is docs/language-models.md. They need the extra ``decoder``.
"""

from __future__ import annotations

from .language_model import LanguageModel, Piece, load
from .sampling import Sampling

__all__ = ["LanguageModel", "Piece", "Sampling", "load"]
