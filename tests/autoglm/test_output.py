# SPDX-License-Identifier: Apache-2.0
"""Where results are written: whole or not at all, and over nothing that would be missed.

What cannot be written is told before anything is compiled, so that these tests take no time.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import onnx
import pytest
from click.testing import CliRunner

import autoglm
from autoglm.artifact import Artifact
from autoglm.commands.compile import cli
from autoglm.compiler import default_output
from autoglm.errors import Error, ModelError, TargetError
from autoglm.light.deliver import _put, deliver
from autoglm.output import OutputError, check_folder, needed_folder, replacement
from autoglm.ready import Pins
from tests.needs import needs

Make = Callable[[Path, Path], object]
"""Makes something of a model at an output."""


def _artifact(model: Path, output: Path) -> object:
    return autoglm.compile(model, output=output, engines="onnxruntime", seconds=0.1)


def _executable(model: Path, output: Path, weights_beside: bool = False) -> object:
    return _light("executable", model, output, weights_beside)


def _light(form: str, model: Path, output: Path, weights_beside: bool = False) -> object:
    needs("gcc")
    pins = Pins({"batch": 1})
    return deliver(model, "cpu", form, output, pins=pins, weights_beside=weights_beside)


makes = pytest.mark.parametrize("make", [_artifact, _executable])


@pytest.fixture
def model(perceptron: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(perceptron, tmp_path / "model.onnx"))


@pytest.fixture
def outside(perceptron: Path, tmp_path: Path) -> Path:
    """The model, with weights in ``model.weights``."""
    path = tmp_path / "model.onnx"
    onnx.save_model(
        onnx.load(perceptron),
        path,
        save_as_external_data=True,
        location="model.weights",
        size_threshold=0,
    )
    return path


# ---- what is not written over --------------------------------------------------------------------


@makes
@pytest.mark.parametrize("kind", [stat.S_IFIFO, stat.S_IFSOCK])
def test_what_is_no_regular_file_stays(make: Make, kind: int, model: Path, tmp_path: Path) -> None:
    """Devices are as these are, but only root makes them."""
    output = tmp_path / "special"
    os.mknod(output, kind | 0o600)
    before = output.stat()
    link = tmp_path / "link"
    link.symlink_to(output)
    for place in (output, link):
        with pytest.raises(OutputError, match=f'"{place}": it is a device, a FIFO or a socket'):
            make(model, place)
    assert (output.stat().st_ino, output.stat().st_mode) == (before.st_ino, before.st_mode)


@makes
def test_the_model_stays(make: Make, model: Path, tmp_path: Path) -> None:
    before = model.read_bytes()
    hard, link = tmp_path / "hard", tmp_path / "link"
    hard.hardlink_to(model)
    link.symlink_to(model)
    for place in (model, hard, link):
        with pytest.raises(OutputError, match="it is one of the files that are read") as caught:
            make(model, place)
        assert str(caught.value).startswith(f'write "{place}": ')
    assert model.read_bytes() == before


def test_weights_that_the_model_keeps_outside_stay(outside: Path) -> None:
    weights = outside.with_suffix(".weights")
    before = weights.read_bytes()
    with pytest.raises(
        OutputError, match=f'write "{weights}": it is one of the files that are read'
    ):
        _artifact(outside, weights)
    assert weights.read_bytes() == before


def test_weights_outside_are_not_replaced_by_those_of_a_program(outside: Path) -> None:
    """A program's weights are called after it, as often those of a model are."""
    with pytest.raises(OutputError, match=r'model\.weights": it is one of the files that are read'):
        _executable(outside, outside.with_suffix(""), weights_beside=True)
    assert not outside.with_suffix("").exists()


def test_a_file_of_a_language_model_stays(perceptron_glm: Path, tmp_path: Path) -> None:
    """An artifact beside them is none: it is replaced, were there a model."""
    folder = tmp_path / "qwen"
    folder.mkdir()
    weights = folder / "model.safetensors"
    weights.write_bytes(b"weights")
    for asked in ({"model": folder}, {"model": "qwen", "weights": folder}):
        with pytest.raises(OutputError, match="it is one of the files that are read"):
            autoglm.compile(**asked, output=weights)
        with pytest.raises(OutputError, match="it is a folder: name a file in it"):
            autoglm.compile(**asked, output=folder)
    assert weights.read_bytes() == b"weights"
    with pytest.raises(ModelError):
        autoglm.compile(folder, output=shutil.copy(perceptron_glm, folder))


def test_a_link_leads_to_what_is_written(model: Path, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    there, new = tmp_path / "real" / "there.glm", tmp_path / "real" / "new.glm"
    there.write_bytes(b"what was there")
    for place in (there, new):
        link = tmp_path / place.name
        link.symlink_to(place)
        with replacement(link) as file:
            file.write(b"it")
        assert link.is_symlink()
        assert place.read_bytes() == b"it"
    assert len(os.listdir(tmp_path / "real")) == 2


# ---- told before anything is compiled ------------------------------------------------------------


@makes
def test_where_nothing_can_be_written(make: Make, tmp_path: Path) -> None:
    """There is no model at all: what is wrong with the output is told before it is looked for."""
    (tmp_path / "file").touch()
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "astray").symlink_to(tmp_path / "nowhere" / "x")
    for output, says in (
        (tmp_path / "nodir" / "x", f'there is no folder "{tmp_path / "nodir"}": make it first'),
        (tmp_path / "astray", f'there is no folder "{tmp_path / "nowhere"}": make it first'),
        (tmp_path / "file" / "x", "Not a directory"),
        (tmp_path / "loop", "Too many levels of symbolic links"),
        (tmp_path / ("x" * 256), "File name too long"),
        (tmp_path, "it is a folder: name a file in it"),
        (Path("/proc/x"), "No such file or directory"),
    ):
        with pytest.raises(OutputError) as caught:
            make(tmp_path / "missing.onnx", output)
        assert str(caught.value) == f'write "{output}": {says}'
        assert isinstance(caught.value, Error)
        assert isinstance(caught.value, OSError)
    assert sorted(os.listdir(tmp_path)) == ["astray", "file", "loop"]


def test_the_longest_name(tmp_path: Path) -> None:
    with replacement(tmp_path / ("x" * 255)) as file:
        file.write(b"it")
    assert os.listdir(tmp_path) == ["x" * 255]


def test_a_library_is_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for output, says in (
        (tmp_path / "file", "it is no folder"),
        (tmp_path / "nodir" / "x", "there is no folder"),
        (Path("/proc"), "No such file or directory"),
    ):
        with pytest.raises(OutputError, match=f'write "{output}": {says}'):
            _light("library", tmp_path / "missing.onnx", output)
    check_folder(tmp_path)
    check_folder(tmp_path / "new")
    assert os.listdir(tmp_path) == ["file"]


# ---- nothing is left of what fails ---------------------------------------------------------------


@contextlib.contextmanager
def _short_files() -> Iterator[None]:
    """A file takes 4 KiB, as on a disk that is full then."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def _fill(place: Path, size: int) -> None:
    with _short_files(), needed_folder(place.parent), replacement(place) as file:
        file.write(bytes(size))


def test_no_space(tmp_path: Path) -> None:
    """Of a file one byte too long nothing is left, nor of a folder that was made for it."""
    place = tmp_path / "new" / "x"
    with pytest.raises(OutputError, match=f'write "{place}": File too large'):
        _fill(place, 4097)
    assert os.listdir(tmp_path) == []
    _fill(place, 4096)
    with pytest.raises(OutputError):
        _fill(place, 4097)
    assert os.listdir(place.parent) == ["x"]
    assert place.stat().st_size == 4096


def test_all_files_of_a_program_or_none(tmp_path: Path) -> None:
    """The weights do not fit any more: the program that was there stays."""
    made, output = tmp_path / "made", tmp_path / "prog"
    made.write_bytes(bytes(4096))
    made.chmod(0o755)
    weights = made.with_suffix(".weights")
    output.write_bytes(b"what was there")
    places = {"made": output, "made.weights": output.with_suffix(".weights")}
    weights.write_bytes(bytes(4097))
    with pytest.raises(OutputError, match=r'prog\.weights": File too large'), _short_files():
        _put("executable", tmp_path, output, places)
    assert output.read_bytes() == b"what was there"
    assert sorted(os.listdir(tmp_path)) == ["made", "made.weights", "prog"]
    weights.write_bytes(bytes(4096))
    with _short_files():
        _put("executable", tmp_path, output, places)
    assert sorted(os.listdir(tmp_path)) == ["made", "made.weights", "prog", "prog.weights"]
    assert os.access(output, os.X_OK)
    assert not output.with_suffix(".weights").stat().st_mode & 0o111


def test_a_folder_in_the_place_of_a_library_s_file(model: Path, tmp_path: Path) -> None:
    output = tmp_path / "digits"
    (output / "digits.h").mkdir(parents=True)
    with pytest.raises(OutputError, match=r'digits/digits\.h": it is a folder'):
        _light("library", model, output)
    assert os.listdir(output) == ["digits.h"]


# ---- an output that is not named -----------------------------------------------------------------


def test_the_default(
    model: Path, perceptron_glm: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    Path("model.glm").write_bytes(b"something else")
    with pytest.raises(OutputError, match=r'"model\.glm": it is no artifact; to replace it, name'):
        autoglm.compile(model, "cpu")
    assert Path("model.glm").read_bytes() == b"something else"
    shutil.copy(perceptron_glm, "model.glm")
    before = Path("model.glm").stat().st_ino
    report = autoglm.compile(model, "cpu", engines="onnxruntime", seconds=0.1)
    assert report.output == Path("model.glm")
    assert report.output.stat().st_ino != before
    Artifact("model.glm").close()
    assert os.listdir() == ["model.glm"]


def test_the_default_of_folders_and_recipes(tmp_path: Path) -> None:
    folder = tmp_path / "Qwen2.5-0.5B"
    folder.mkdir()
    assert default_output(folder) == Path("Qwen2.5-0.5B.glm")
    assert default_output("qwen3") == Path("qwen3.glm")
    assert default_output("some/vad.v5.onnx") == Path("vad.v5.glm")


def test_no_target(model: Path, tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="no target is given"):
        autoglm.compile(model, [], output=tmp_path / "x.glm")
    assert not (tmp_path / "x.glm").exists()


# ---- what a user types ---------------------------------------------------------------------------


def test_the_inputs_stay(model: Path, tmp_path: Path) -> None:
    inputs = tmp_path / "in.npz"
    inputs.write_bytes(b"inputs")
    arguments = ["--model", str(model), "--inputs", str(inputs), "--output", str(inputs)]
    done = CliRunner().invoke(cli, arguments)
    assert isinstance(done.exception, OutputError)
    assert str(done.exception) == (
        f'write "{inputs}": it is one of the files that are read, "{inputs}": name another'
    )
    assert inputs.read_bytes() == b"inputs"
