# SPDX-License-Identifier: Apache-2.0
"""Lists of numbers in JSON as arrays, held against exact arithmetic."""

from __future__ import annotations

import json
from decimal import Decimal, localcontext
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from autoglm import _numbers
from autoglm.tensor import Array

WHOLE = [f"{sign}int{bits}" for sign in ("", "u") for bits in (8, 16, 32, 64)]


def read(text: str, dtype: str, count: int = 1) -> Array | None:
    out: Array = np.empty(count, dtype)
    return out if _numbers.read(text.encode(), 0, out) else None


def nearest(text: str, dtype: Any) -> Any:
    """The number of a type that is nearest to what is written, the even one of two."""
    exact = Fraction(text)
    about = dtype(float(exact))
    with np.errstate(over="ignore"):
        near = [np.nextafter(about, dtype(-np.inf)), about, np.nextafter(about, dtype(np.inf))]
    size = {np.float32: np.uint32, np.float64: np.uint64}[dtype]
    finite = [each for each in near if np.isfinite(each)]
    return min(finite, key=lambda each: (abs(Fraction(float(each)) - exact), each.view(size) & 1))


DIGITS = st.integers(0, (1 << 70) - 1)
WRITTEN = st.builds(
    lambda sign, whole, part, power: (
        f"{sign}{whole}" + (f".{part}" if part else "") + (f"e{power}" if power else "")
    ),
    st.sampled_from(["", "-"]),
    DIGITS | st.integers(0, 999),
    st.just("") | st.from_regex(r"[0-9]{1,25}", fullmatch=True),
    st.none() | st.integers(-30, 15),
)


@given(WRITTEN | st.floats(allow_nan=False, allow_infinity=False).map(repr))
@example("9007199254740993")
@example("9007199254740993e22")
@example("0.30000001192092896")
@example("1e23")
@example("16777217")
@example("16777219e0")
@example("1.00000017881393432617187500")
@example("-0.0")
def test_the_nearest_number(text: str) -> None:
    for dtype in (np.float32, np.float64):
        found = read(f"[{text}]", dtype.__name__)
        if found is None:  # beyond the range, or below it
            size = abs(Fraction(text))
            info = np.finfo(dtype)
            assert size > Fraction(float(info.max)) or size < Fraction(float(info.tiny))
        else:
            assert found[0] == nearest(text, dtype)
            assert np.signbit(found[0]) == text.startswith("-")


@given(
    st.floats(width=32, allow_nan=False, allow_infinity=False) | st.integers(1 << 23, 1 << 25),
    st.integers(-2, 2),
    st.sampled_from([16, 17, 18, 30]),
)
def test_halfway_between_two(below: float, more: int, digits: int) -> None:
    """Where rounding twice goes wrong: halfway, exactly, and some of the last digits beside it."""
    low = np.float32(below)
    high = np.nextafter(low, np.float32(np.inf))
    half = (Fraction(float(low)) + Fraction(float(high if np.isfinite(high) else low))) / 2
    with localcontext() as context:
        context.prec = 60
        exact = Decimal(half.numerator) / Decimal(half.denominator)
        beside = exact + more * Decimal(10) ** (exact.adjusted() - digits)
        text = f"{beside:.{digits}e}"
    found = read(f"[{text}]", "float32")
    assert found is not None or abs(half) < 2 * Fraction(float(np.finfo(np.float32).tiny))
    assert found is None or found[0] == nearest(text, np.float32)


@pytest.mark.parametrize("dtype", WHOLE)
def test_whole_numbers(dtype: str) -> None:
    bounds = np.iinfo(dtype)
    for number in (bounds.min, bounds.min + 1, 0, 1, 99, bounds.max - 1, bounds.max):
        found = read(f"[{number}]", dtype)
        if len(str(abs(number))) > 19:
            assert found is None  # more digits than are read
        else:
            assert found is not None and int(found[0]) == number
    for text in (str(bounds.min - 1), str(bounds.max + 1), "1.0", "1e0", "1.5", "1" * 40):
        assert read(f"[{text}]", dtype) is None
    zero = read("[-0]", dtype)
    assert zero is not None and zero[0] == 0


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_ends_of_the_range(dtype: str) -> None:
    info = np.finfo(dtype)
    for number in (info.max, info.tiny, -info.max):
        found = read(f"[{float(number)!r}]", dtype)
        assert found is not None and found[0] == number
    for text in ("1e999", "-1e999", "1e400", "1e99999999999", "1" * 400, f"{float(info.max)}9e9"):
        assert read(f"[{text}]", dtype) is None


@pytest.mark.parametrize(
    "text",
    [
        *("", "[", "]", "1", "[]", "[1", "[1,", "[1,]", "[,1]", "[1 2]", "[1;2]", "{1}", "[[1]]"),
        *("[true]", "[null]", '["1"]', "[nan]", "[NaN]", "[inf]", "[Infinity]", "[0x1]", "[1_0]"),
        *("[01]", "[00]", "[-01]", "[-]", "[+1]", "[.5]", "[1.]", "[1.e1]", "[1e]"),
        *("[--1]", "[1-]", "[1.5.5]", "[1e5e5]", "[1e1.5]", "[1, 2]", "[\xa01]", "[1\0]"),
        *("[1e+]", "[1E-]", "[12345678", "[123456789", "[1234567.", "[-12345678e", "[1/**/]"),
    ],
)  # fmt: skip
def test_what_is_no_list_of_one_number(text: str) -> None:
    for dtype in ("float32", "float64", "int8", "uint64"):
        assert read(text, dtype) is None


@given(
    st.lists(st.integers(-100, 100) | st.floats(-1e6, 1e6), max_size=20),
    st.sampled_from(["", " ", "\n", "\r\n\t "]),
    st.integers(-1, 1),
)
def test_lists_of_any_length(numbers: list[float], space: str, more: int) -> None:
    inner = f"{space},{space}".join(map(json.dumps, numbers))
    text = f"{space}[{space}{inner}{space}]{space}"
    found = read(text, "float64", max(0, len(numbers) + more))
    if len(numbers) + more == len(numbers):
        assert found is not None and found.tolist() == numbers
    else:
        assert found is None or not numbers


def test_where_it_begins() -> None:
    out = np.empty((2, 2), np.float32)
    assert _numbers.read(b'{"data": [1, 2.5, -3, 4e1], "x"', 9, out)
    assert out.tolist() == [[1, 2.5], [-3, 40]]
    assert not _numbers.read(b"[1,2,3,4]", 1, out)
    assert not _numbers.read(b"[1,2,3,4]", 9, out)
    with pytest.raises(ValueError, match="ends before"):
        _numbers.read(b"[1,2,3,4]", 10, out)


def test_arrays_that_cannot_be_filled() -> None:
    frozen = np.zeros(1, np.float32)
    frozen.flags.writeable = False
    for array in (frozen, np.zeros((2, 2), np.float32)[:, :1]):
        with pytest.raises(ValueError, match="contiguous and writable"):
            _numbers.read(b"[1]", 0, array)
    for dtype in ("float16", "bool", "complex64", "O", ">f4", ">i8", "S4"):
        with pytest.raises(TypeError, match="float32, float64 or whole numbers"):
            _numbers.read(b"[1]", 0, np.zeros(1, dtype))
