# SPDX-License-Identifier: Apache-2.0
"""Files of arrays, whole or not at all; and what a check may be asked for."""

from __future__ import annotations

import math
import os
import resource
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from autoglm.cases import Check, arrays, save, usual
from autoglm.errors import Error, InputError
from autoglm.tensor import Array, TensorSpec

LONG = {"x": np.zeros(1 << 18, np.float32)}
SHORT = {"x": np.arange(3, dtype=np.float32)}


def test_a_file_that_cannot_be_written_whole_is_left_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "out.npz"
    save(path, SHORT)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, before[1]))
    try:
        with pytest.raises(Error, match=r'write ".*out\.npz": File too large'):
            save(path, LONG)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    np.testing.assert_array_equal(arrays(path)["x"], SHORT["x"])
    assert os.listdir(tmp_path) == ["out.npz"]


def test_a_link_leads_to_what_is_written(tmp_path: Path) -> None:
    path, link = tmp_path / "out.npz", tmp_path / "link.npz"
    link.symlink_to(path.name)
    save(link, SHORT)
    save(link, LONG)
    assert link.is_symlink() and not path.is_symlink()
    assert arrays(path)["x"].size == LONG["x"].size


def test_what_is_no_file_is_not_written_over(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    for place, says in ((pipe, "a FIFO"), (tmp_path / "no" / "x.npz", "no folder")):
        with pytest.raises(Error, match=says) as caught:
            save(place, SHORT)
        assert str(place) in str(caught.value)
    assert pipe.is_fifo()


def _single(path: Path) -> None:
    with open(path, "wb") as file:  # numpy.save() would put ".npy" behind the name
        np.save(file, np.zeros(3))


def _pickled(path: Path) -> None:
    np.savez(path, x=np.array([{}], object))


def _other_archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "no array")


def _cut(path: Path) -> None:
    save(path, LONG)
    path.write_bytes(path.read_bytes()[:-100])


def _overlong(path: Path) -> None:
    """A header that promises more than any machine has."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (1 << 60,), }"
    header = header.replace(b"1 << 60", str(1 << 58).encode()).ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("x.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda path: None, "No such file"),
        (os.mkdir, "no regular file"),
        (os.mkfifo, "no regular file"),
        (_single, r"a single array.*numpy\.savez"),
        (_pickled, "'x' holds Python objects"),
        (_other_archive, r"'readme\.txt' is no array"),
        (_cut, r"no \.npz file"),
        (lambda path: path.write_text("a,b\n1,2\n"), r"no \.npz file"),
        (_overlong, "'x' cannot be read"),
    ],
)
def test_what_is_no_file_of_arrays(
    tmp_path: Path, make: Callable[[Any], object], says: str
) -> None:
    path = tmp_path / "in.npz"
    make(path)
    with pytest.raises(InputError, match=says) as caught:
        arrays(path)
    assert f'"{path}"' in str(caught.value) and "unsafely" not in str(caught.value)


def test_bytes_are_put_in_this_machines_order(tmp_path: Path) -> None:
    path = tmp_path / "in.npz"
    np.savez(path, x=SHORT["x"].astype(">f4"))
    found = arrays(path)["x"]
    assert found.dtype.isnative
    np.testing.assert_array_equal(found, SHORT["x"])


@pytest.mark.parametrize("bound", ["rtol", "atol"])
def test_tolerances_are_finite_and_not_negative(bound: str) -> None:
    def ask(value: float) -> Check:
        asked: dict[str, Any] = {bound: value}
        return Check(**asked)

    ask(0.0)
    for wrong in (-1.0, -1e-300, math.nan, math.inf):
        with pytest.raises(InputError, match=f"{bound} .*0 or more"):
            ask(wrong)


def test_a_seed_is_not_negative() -> None:
    assert Check(seed=0).seed == 0
    with pytest.raises(InputError, match=r"seed -1: .*0 or more"):
        Check(seed=-1)


def test_usual_extents_are_those_of_the_case_that_is_timed() -> None:
    specs = [TensorSpec("x", "float32", ("batch", "length")), TensorSpec("k", "int64", (1,))]
    assert usual(specs, Check(typical={"length": 576, "none": 3})) == {"batch": 1, "length": 576}
    given: dict[str, Array] = {"x": np.zeros((2, 7), np.float32), "k": np.zeros(1, np.int64)}
    assert usual(specs, Check(inputs=given)) == {"batch": 2, "length": 7}
