# SPDX-License-Identifier: Apache-2.0
"""The files of a program, read from its artifact: as views of the map, or under paths."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from .artifact import Artifact
from .backend import Files
from .errors import ArtifactError
from .manifest import Program


class ArtifactFiles(Files):
    """Gives what `Backend.load` asks for. One thread uses it.

    A path leads to a file in memory (memfd_create(2)) that has no name in any file system: when the
    process ends, however it ends, the kernel takes it back. All paths of a program are in one
    folder, called as the back end called its files, for engines that look beside the one they read.

    Args:
        artifact: Open as long as the files are used.
        program: One of its programs.
    """

    def __init__(self, artifact: Artifact, program: Program) -> None:
        self._artifact = artifact
        self._program = program
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._descriptors: list[int] = []

    def view(self, name: str) -> memoryview:
        """The bytes, mapped read-only, checked, without a copy."""
        blob = self._program.files.get(name)
        if blob is None:
            raise ArtifactError(
                f'read "{self._artifact.path}": the program for {self._program.target} by'
                f" {self._program.engine} has no file {name!r}"
            )
        return self._artifact.blob(blob)

    def path(self, name: str) -> Path:
        """A path with a copy of the bytes; it leads there until `close`."""
        if self._folder is None:
            self._folder = tempfile.TemporaryDirectory(prefix="autoglm-")
            for each in self._program.files:
                self._place(each, Path(self._folder.name))
        self.view(name).release()  # raises where there is none
        return Path(self._folder.name, name)

    def check(self) -> None:
        """See that every file is what was written, before an engine says so in words of its own.

        Raises:
            AlteredArtifact: One is not.
        """
        for name in self._program.files:
            self.view(name).release()

    def _place(self, name: str, folder: Path) -> None:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise ArtifactError(f'read "{self._artifact.path}": no file is called {name!r}')
        descriptor = os.memfd_create(name[:200], os.MFD_CLOEXEC)
        self._descriptors.append(descriptor)
        with self.view(name) as view, open(descriptor, "wb", closefd=False) as file:
            file.write(view)
        place = folder / name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(f"/proc/{os.getpid()}/fd/{descriptor}")

    def close(self) -> None:
        """Take the paths away."""
        for descriptor in self._descriptors:
            os.close(descriptor)
        self._descriptors.clear()
        if self._folder is not None:
            self._folder.cleanup()
            self._folder = None
