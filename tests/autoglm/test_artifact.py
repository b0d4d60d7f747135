# SPDX-License-Identifier: Apache-2.0
"""The file: what was written is read, and whatever is done to it is told by an error of its own."""

from __future__ import annotations

import json
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from autoglm import artifact, errors
from autoglm.manifest import Accuracy, Latency, Manifest, ModelInfo, Program
from autoglm.tensor import TensorSpec

MODEL = ModelInfo(
    "echo",
    "00" * 32,
    (TensorSpec("x", "float32", ("batch", 3)),),
    (TensorSpec("y", "int64", ()),),
    details={"weights": "random"},
)
PROGRAM = Program(
    "cpu:x86-64-v3",
    "some",
    "some 1.0",
    {},
    ("avx2",),
    ("-O3",),
    Accuracy("onnxruntime 1", 7, 1e-3, 1e-5, 2e-6),
    "",
    Latency(1.5, 2.5, 100, "a machine", 2),
    {"entry": "main"},
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """An artifact of two programs, which share a file, and the source."""
    weights, code, empty = (tmp_path / name for name in ("weights", "code", "empty"))
    weights.write_bytes(bytes(range(256)) * 64)
    code.write_bytes(b"code")
    empty.touch()
    path = tmp_path / "echo.glm"
    programs = [(PROGRAM, {"w": weights, "c": code}), (PROGRAM, {"w": weights, "e": empty})]
    artifact.write(path, MODEL, programs, source=code, maker="test")
    return path


@pytest.mark.parametrize("typical", [{"batch": -1}, {"batch": True}, {"batch": "9"}, [9], 9])
def test_typical_extents_are_numbers(typical: object) -> None:
    plain = Manifest(MODEL, (), {}).to_json()
    assert Manifest.from_json(plain).model.typical == {}
    plain["model"]["details"] = {"typical": {"batch": 0}}
    assert Manifest.from_json(plain).model.typical == {"batch": 0}
    plain["model"]["details"] = {"typical": typical}
    with pytest.raises((AttributeError, ValueError)):
        Manifest.from_json(plain)


def test_round_trip(written: Path) -> None:
    with artifact.Artifact(written) as read:
        first, second = read.manifest.programs
        assert read.manifest.model == MODEL
        assert (first.accuracy, first.latency) == (PROGRAM.accuracy, PROGRAM.latency)
        assert first.files["w"] == second.files["w"], "the same bytes are kept once"
        assert bytes(read.blob(first.files["w"])) == bytes(range(256)) * 64
        assert bytes(read.blob(second.files["e"])) == b""
        assert bytes(read.blob(read.manifest.source)) == b"code"
        assert all(blob.offset % artifact.ALIGNMENT == 0 for blob in read.manifest.blobs.values())
        read.verify()


def test_views_outlive_the_artifact(written: Path) -> None:
    with artifact.Artifact(written) as read:
        view = read.blob(read.manifest.source)
        with pytest.raises(TypeError):
            view[0] = 0
    assert bytes(view) == b"code"


def test_permissions_are_those_of_any_new_file(written: Path) -> None:
    plain = written.with_name("plain")
    plain.touch()
    assert written.stat().st_mode == plain.stat().st_mode


def test_nothing_is_left_of_what_fails(tmp_path: Path) -> None:
    path = tmp_path / "echo.glm"
    path.write_bytes(b"what was there")
    with pytest.raises(FileNotFoundError):
        artifact.write(path, MODEL, [(PROGRAM, {"w": tmp_path / "missing"})])
    assert path.read_bytes() == b"what was there"
    assert os.listdir(tmp_path) == ["echo.glm"]


def _header(data: bytes) -> bytes:
    """With a checksum that holds again."""
    end = artifact.HEADER_LENGTH - 4
    return data[:end] + struct.pack("<I", zlib.crc32(data[:end])) + data[end + 4 :]


def _other_manifest(data: bytes, text: bytes) -> bytes:
    import hashlib

    offset = struct.unpack_from("<Q", data, 24)[0]
    changed = data[:offset] + text
    head = struct.pack("<QQQ", len(changed), offset, len(text)) + hashlib.sha256(text).digest()
    return _header(changed[:16] + head + changed[16 + len(head) :])


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda data: b"", errors.NotAnArtifact),
        (lambda data: data[:7], errors.NotAnArtifact),
        (lambda data: b"PK" + data[2:], errors.NotAnArtifact),
        (lambda data: data.replace(b"\r\n", b"\n", 1), errors.NotAnArtifact),
        (lambda data: data[:8], errors.TruncatedArtifact),
        (lambda data: data[: artifact.HEADER_LENGTH - 1], errors.TruncatedArtifact),
        (lambda data: data[:-1], errors.TruncatedArtifact),
        (lambda data: data + b"\0", errors.TruncatedArtifact),
        (lambda data: data[:8] + b"\2" + data[9:], errors.NewerArtifact),
        (lambda data: data[:24] + b"\1" + data[25:], errors.AlteredArtifact),
        (lambda data: data[:-1] + b" ", errors.AlteredArtifact),
        (lambda data: _other_manifest(data, b"{}"), errors.ArtifactError),
        (lambda data: _other_manifest(data, b"[" * 100_000), errors.ArtifactError),
        (lambda data: _other_manifest(data, b"\xff"), errors.ArtifactError),
    ],
)
def test_damaged(
    written: Path, change: Callable[[bytes], bytes], error: type[errors.ArtifactError]
) -> None:
    written.write_bytes(change(written.read_bytes()))
    with pytest.raises(errors.ArtifactError, match=r"echo\.glm") as caught:
        artifact.Artifact(written)
    assert type(caught.value) is error


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir])
def test_no_regular_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    """It is told at once: a FIFO is not waited for."""
    make(tmp_path / "other.glm")
    with pytest.raises(errors.NotAnArtifact, match=r'other\.glm": it is no regular file'):
        artifact.Artifact(tmp_path / "other.glm")


def test_a_blob_that_was_changed(written: Path) -> None:
    data = bytearray(written.read_bytes())
    data[artifact.ALIGNMENT] ^= 1
    written.write_bytes(data)
    with artifact.Artifact(written) as read:
        name = read.manifest.programs[0].files["w"]
        with pytest.raises(errors.AlteredArtifact, match="compile it anew"):
            read.blob(name)
        with pytest.raises(errors.AlteredArtifact):
            read.verify()


@pytest.mark.parametrize(("over", "right"), [(-1, True), (0, True), (1, False)])
def test_blobs_end_with_the_file(written: Path, over: int, right: bool) -> None:
    data = written.read_bytes()
    with artifact.Artifact(written) as read:
        said = read.manifest.to_json()
        blob = said["blobs"][read.manifest.source]
    for _ in range(3):  # the length of the text depends on the length of the number
        text = json.dumps(said).encode()
        offset = struct.unpack_from("<Q", data, 24)[0]
        blob["length"] = offset + len(text) - blob["offset"] + over
    written.write_bytes(_other_manifest(data, json.dumps(said).encode()))
    if right:
        artifact.Artifact(written).close()
    else:
        with pytest.raises(errors.ArtifactError, match="beyond its end"):
            artifact.Artifact(written)


@given(st.integers(0, 400), st.integers(1, 255))
def test_any_changed_byte_of_the_header_is_told(
    tmp_path_factory: pytest.TempPathFactory, place: int, change: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.glm"
    artifact.write(path, MODEL, [])
    data = bytearray(path.read_bytes())
    place %= artifact.HEADER_LENGTH
    data[place] ^= change
    path.write_bytes(data)
    with pytest.raises(errors.ArtifactError):
        artifact.Artifact(path)
