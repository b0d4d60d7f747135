# SPDX-License-Identifier: Apache-2.0
"""Copies out of mapped memory beside memcpy(3) out of an ordinary mapping of the same file.

Both memcpy rows are called through ctypes, which takes some 0.7 us.
"""

from __future__ import annotations

import ctypes
import mmap
from functools import partial

import numpy as np
from numpy.typing import NDArray

import hal

from .rounds import Row, medians

SIZES = {"64 KiB": 1 << 16, "1 MiB": 1 << 20, "16 MiB": 1 << 24}


def _address(array: NDArray[np.uint8]) -> int:
    return int(array.__array_interface__["data"][0])


def _rows(
    size: str, ours: NDArray[np.uint8], plain: NDArray[np.uint8], target: NDArray[np.uint8]
) -> list[Row]:
    found = medians(
        {
            "memcpy": partial(ctypes.memmove, _address(target), _address(plain), target.nbytes),
            "map": partial(ctypes.memmove, _address(target), _address(ours), target.nbytes),
            "numpy": partial(np.copyto, target, ours),
        },
        rounds=101,
        batch=max(1, (1 << 18) // target.nbytes),
    )
    return [
        Row(name, found[key], {"memcpy": found["memcpy"]}, ">= 0.95", found["memcpy"] / found[key])
        for key, name in (("map", f"memcpy {size} from hal_map"), ("numpy", f"numpy {size}"))
    ]


def rows() -> list[Row]:
    """From a memfd, by the C call and by numpy; the ratio is that of the bandwidths."""
    most = max(SIZES.values())
    with hal.Memory.open("memory:memfd:bench", size=most) as device:
        ours = device.array()
        ours[:] = 1
        with mmap.mmap(device.fileno(), most) as mapped:
            plain = np.frombuffer(mapped, "u1")
            target = np.ones(most, "u1")
            found = [
                row
                for name, size in SIZES.items()
                for row in _rows(name, ours[:size], plain[:size], target[:size])
            ]
            del plain
    return found
