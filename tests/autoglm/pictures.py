# SPDX-License-Identifier: Apache-2.0
"""Pictures of text, as the models of PP-OCR take them."""

from __future__ import annotations

from pathlib import Path

import matplotlib as mpl
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from autoglm.tensor import Array

HELLO = "Hello world 2026"


def picture(size: tuple[int, int], place: tuple[int, int], text: str) -> Image.Image:
    """A line of text, black on white."""
    path = Path(mpl.get_data_path(), "fonts", "ttf", "DejaVuSans.ttf")
    drawn = Image.new("RGB", size, "white")
    font = ImageFont.truetype(str(path), 32)
    ImageDraw.Draw(drawn).text(place, text, fill="black", font=font)
    return drawn


def line() -> Image.Image:
    """One that the classifier takes, upright."""
    return picture((192, 48), (8, 5), HELLO)


def pixels(drawn: Image.Image) -> Array:
    """As the models want them: -1 to 1, [1, 3, height, width]."""
    array = np.asarray(drawn).astype(np.float32).transpose(2, 0, 1)[np.newaxis]
    return np.asarray(array / 127.5 - 1, np.float32)
