# SPDX-License-Identifier: Apache-2.0
"""Copies out of mapped memory beside memcpy(3) out of an ordinary mapping of the same file.

Both memcpy rows are called through ctypes, which takes some 0.7 us.
"""

from __future__ import annotations

import ctypes
import mmap
import statistics
from collections.abc import Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray

import hal

from .rounds import Row, medians

SIZES = {"64 KiB": 1 << 16, "1 MiB": 1 << 20, "16 MiB": 1 << 24}
LAYOUTS = 12


def _address(array: NDArray[np.uint8]) -> int:
    return int(array.__array_interface__["data"][0])


def _layout(ours_first: bool) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """One file mapped by us and by mmap(2), in either order."""
    most = max(SIZES.values())
    with hal.Memory.open("memory:memfd:bench", size=most) as device:
        ours = device.array() if ours_first else None
        with mmap.mmap(device.fileno(), most) as mapped:
            plain = np.frombuffer(mapped, "u1")
            if ours is None:
                ours = device.array()
            ours[:] = 1
            yield ours, plain
            del plain


def _times(
    ours: NDArray[np.uint8], plain: NDArray[np.uint8], target: NDArray[np.uint8]
) -> dict[str, float]:
    return medians(
        {
            "memcpy": partial(ctypes.memmove, _address(target), _address(plain), target.nbytes),
            "map": partial(ctypes.memmove, _address(target), _address(ours), target.nbytes),
            "numpy": partial(np.copyto, target, ours),
        },
        rounds=15,
        batch=max(1, (1 << 18) // target.nbytes),
    )


def _rows(size: str, found: list[dict[str, float]]) -> list[Row]:
    middle = {key: statistics.median(times[key] for times in found) for key in found[0]}
    return [
        Row(
            name,
            middle[key],
            {"memcpy": middle["memcpy"]},
            ">= 0.95",
            statistics.median(times["memcpy"] / times[key] for times in found),
        )
        for key, name in (("map", f"memcpy {size} from hal_map"), ("numpy", f"numpy {size}"))
    ]


def rows() -> list[Row]:
    """From a memfd, by the C call and by numpy; the ratio is that of the bandwidths.

    Two mappings of one file by mmap(2) alone differ by up to 5 %, by where they happen to lie: so
    the figures are medians over several pairs of mappings, made in either order.
    """
    target = np.ones(max(SIZES.values()), "u1")
    found: dict[str, list[dict[str, float]]] = {name: [] for name in SIZES}
    for turn in range(LAYOUTS):
        for ours, plain in _layout(ours_first=turn % 2 == 0):
            for name, size in SIZES.items():
                found[name].append(_times(ours[:size], plain[:size], target[:size]))
            del ours, plain
    return [row for name, times in found.items() for row in _rows(name, times)]
