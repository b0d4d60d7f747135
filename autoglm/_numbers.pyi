# SPDX-License-Identifier: Apache-2.0
"""Lists of numbers in JSON, as arrays (C++, ``bindings/numbers``)."""

from .tensor import Array

def read(text: bytes, begin: int, out: Array) -> bool:
    """Read a list that holds as many numbers as an array, and nothing else (RFC 8259).

    A number becomes the nearest one that the array can have, the even one of two. The interpreter's
    lock is held: 15 to 30 ns for each number.

    Args:
        text: Has the list.
        begin: Where it begins, in bytes; what follows it is not looked at.
        out: Contiguous and writable, of float32, float64, or whole numbers of 8 to 64 bits.

    Returns:
        False: it is no such list, or holds a number that the array cannot have: for whole numbers a
        fraction, an exponent, or more than 19 digits; for all, one beyond its range, too large or
        too near to 0. The array then holds anything.

    Raises:
        ValueError: The text ends before; the array is not contiguous, or not writable.
        TypeError: The array is of another type.
    """
