# SPDX-License-Identifier: Apache-2.0
"""What the compile of a language model is asked for."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Asked:
    """What a compile was asked for besides model and targets.

    Attributes:
        weights: Of a recipe: the folder that they come from.
        random_weights: Of a recipe: make them up.
        config: Of a recipe with weights that are made up: a ``config.json``.
        seed: Of the check's prompts.
        rtol: Relative tolerance of logits.
        atol: Absolute tolerance of logits; of the largest one, where that is above 1.
        threads: For one call; 0 for every processor.
    """

    weights: Path | None = None
    random_weights: bool = False
    config: Path | None = None
    seed: int = 0
    rtol: float = 1e-3
    atol: float = 1e-4
    threads: int = 0


def is_language(model: str | os.PathLike[str]) -> bool:
    """Whether a model's name is a recipe's, or a folder's."""
    from ..recipes import RECIPES

    return str(model) in RECIPES or Path(model).is_dir()
