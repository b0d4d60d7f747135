# SPDX-License-Identifier: Apache-2.0
"""A compiled model in one file, read by memory map. docs/artifact.md has it byte by byte.

Nothing in an artifact is executed by opening it: a header of fixed layout, a JSON manifest, and
blobs that the back ends' engines read. The header and the manifest are checked when the file is
opened, a blob when it is first asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import mmap
import os
import stat
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import IO

from .closing import Closing
from .errors import (
    AlteredArtifact,
    ArtifactError,
    NewerArtifact,
    NotAnArtifact,
    TruncatedArtifact,
)
from .manifest import Blob, Manifest, ModelInfo, Program
from .output import replacement

MAGIC = b"\x89GLM\r\n\x1a\n"
"""As PNG's: a transfer as text, or one that strips the eighth bit, is noticed."""
VERSION = 1
"""Of the format. A reader takes its own and older ones."""
ALIGNMENT = 4096
"""Of blobs, in bytes: engines map them, and want a page's alignment."""
LARGEST_MANIFEST = 16 << 20
"""In bytes; a larger one is refused."""

_HEADER = struct.Struct("<8sIIQQQ32s")
"""Magic, version, 0, length of the file, offset and length of the manifest, its SHA-256."""
_CRC = struct.Struct("<I")
HEADER_LENGTH = _HEADER.size + _CRC.size
_CHUNK = 1 << 20


def is_artifact(path: Path) -> bool:
    """Whether a file can be read, and begins as an artifact does."""
    try:
        with open(path, "rb") as file:
            return file.read(len(MAGIC)) == MAGIC
    except PermissionError:
        return False


class Artifact(Closing):
    """An artifact that is open for reading. Any thread may use it; it is one memory map.

    Attributes:
        path: The file.
        size: Its bytes.
        manifest: What it says of itself.
    """

    path: Path
    size: int
    manifest: Manifest

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Open an artifact, and check its header and manifest.

        Raises:
            OSError: The file cannot be read.
            NotAnArtifact: It is something else.
            NewerArtifact: A later release made it.
            TruncatedArtifact: Its length is not what it was.
            AlteredArtifact: Its header or manifest was changed.
        """
        self.path = Path(path)
        # Not even opened: a FIFO would be waited for, and some devices act on it.
        if not stat.S_ISREG(os.stat(self.path).st_mode):
            raise NotAnArtifact(self._says("it is no regular file"))
        with open(self.path, "rb") as file:
            self.size = length = os.fstat(file.fileno()).st_size
            if length < len(MAGIC):
                raise NotAnArtifact(self._says(f"it has {length} bytes, which is no artifact"))
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        try:
            self.manifest = self._read(length)
        except BaseException:
            self._map.close()
            raise
        self._whole: set[str] = set()

    def blob(self, name: str) -> memoryview:
        """The bytes of a blob, read-only, without a copy; they live as long as they are used.

        Raises:
            ArtifactError: There is none of that name.
            AlteredArtifact: They are not those that were written.
        """
        blob = self.manifest.blobs.get(name)
        if blob is None:
            raise ArtifactError(self._says(f"there is no blob {name!r} in it"))
        view = memoryview(self._map)[blob.offset : blob.offset + blob.length]
        if name not in self._whole:
            if hashlib.sha256(view).hexdigest() != blob.sha256:
                raise AlteredArtifact(
                    self._says(f"the checksum of {name!r} does not hold: compile it anew")
                )
            self._whole.add(name)
        return view

    def verify(self) -> None:
        """Check every blob.

        Raises:
            AlteredArtifact: One is not what was written.
        """
        for name in self.manifest.blobs:
            self.blob(name).release()

    def close(self) -> None:
        """Give the map back, once nobody uses a blob of it any more."""
        with contextlib.suppress(BufferError):  # a view of it is in use, and keeps it
            self._map.close()

    def _says(self, cause: str) -> str:
        return f'read "{self.path}": {cause}'

    def _read(self, length: int) -> Manifest:
        if self._map[: len(MAGIC)] != MAGIC:
            raise NotAnArtifact(self._says("it is no artifact of autoglm-compile"))
        if length < HEADER_LENGTH:
            raise TruncatedArtifact(self._says(f"it ends after {length} bytes, in its header"))
        header = self._map[: _HEADER.size]
        _, version, _, said, offset, size, digest = _HEADER.unpack(header)
        if version > VERSION:
            raise NewerArtifact(
                self._says(
                    f"it is of format {version}, this release reads up to {VERSION}:"
                    " install a newer open-autoglm"
                )
            )
        if _CRC.unpack_from(self._map, _HEADER.size)[0] != zlib.crc32(header):
            raise AlteredArtifact(self._says("the checksum of its header does not hold"))
        if said != length:
            raise TruncatedArtifact(
                self._says(f"it has {length} bytes, {said} were written: copy it anew")
            )
        if size > LARGEST_MANIFEST or offset + size > length:
            raise AlteredArtifact(self._says("its manifest is not where its header says"))
        text = self._map[offset : offset + size]
        if hashlib.sha256(text).digest() != digest:
            raise AlteredArtifact(self._says("the checksum of its manifest does not hold"))
        return self._judge(text, length)

    def _judge(self, text: bytes, length: int) -> Manifest:
        try:
            manifest = Manifest.from_json(json.loads(text))
        except (AttributeError, KeyError, TypeError, ValueError, RecursionError) as error:
            raise ArtifactError(
                self._says(f"its manifest is ill-formed: {type(error).__name__}: {error}")
            ) from None
        for name, blob in manifest.blobs.items():
            if blob.offset + blob.length > length:
                raise ArtifactError(self._says(f"blob {name!r} reaches beyond its end"))
        return manifest


def write(
    path: str | os.PathLike[str],
    model: ModelInfo,
    programs: Iterable[tuple[Program, Mapping[str, Path]]],
    source: Path | None = None,
    maker: str = "",
) -> Manifest:
    """Write an artifact: whole, or not at all.

    Args:
        path: Where to; a regular file that is there, or that a link leads to, is replaced.
        model: The source model.
        programs: Each program, with the files that its back end made, by name; `Program.files` is
            made from them. Files of the same bytes are kept once.
        source: The source ONNX, to be kept as fall-back.
        maker: What writes.

    Raises:
        OutputError: It cannot be written.
        OSError: One of the files cannot be read.
    """
    with replacement(Path(path)) as file:
        return _write(file, model, list(programs), source, maker)


def _write(
    file: IO[bytes],
    model: ModelInfo,
    programs: Sequence[tuple[Program, Mapping[str, Path]]],
    source: Path | None,
    maker: str,
) -> Manifest:
    file.write(bytes(HEADER_LENGTH))
    blobs: dict[str, Blob] = {}
    placed = [
        replace(program, files={name: _add(file, blobs, each) for name, each in files.items()})
        for program, files in programs
    ]
    kept = _add(file, blobs, source) if source else ""
    manifest = Manifest(model, tuple(placed), blobs, kept, maker)
    text = json.dumps(manifest.to_json(), indent=1, allow_nan=False).encode()
    offset = file.tell()
    file.write(text)
    header = _HEADER.pack(
        MAGIC, VERSION, 0, file.tell(), offset, len(text), hashlib.sha256(text).digest()
    )
    file.seek(0)
    file.write(header + _CRC.pack(zlib.crc32(header)))
    return manifest


def _add(file: IO[bytes], blobs: dict[str, Blob], source: Path) -> str:
    """Put the bytes of a file into the artifact, once; the name of their blob."""
    with open(source, "rb") as opened:
        digest = _digest(opened)
        name = digest[:16]
        if name in blobs:
            return name
        offset = -(-file.tell() // ALIGNMENT) * ALIGNMENT
        file.seek(offset)
        opened.seek(0)
        while chunk := opened.read(_CHUNK):
            file.write(chunk)
    blobs[name] = Blob(offset, file.tell() - offset, digest)
    return name


def _digest(file: IO[bytes]) -> str:
    """The SHA-256 of the rest of a file; hashlib.file_digest() is of Python 3.11."""
    sha256 = hashlib.sha256()
    while chunk := file.read(_CHUNK):
        sha256.update(chunk)
    return sha256.hexdigest()
