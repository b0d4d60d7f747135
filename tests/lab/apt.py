# SPDX-License-Identifier: Apache-2.0
"""A private apt: packages are downloaded and unpacked into a folder, nothing is installed.

It uses the machine's package sources and keys but has its own lists, cache and package database, so
it needs no root, works for a foreign architecture, and leaves the machine's settings as they are.
On a machine that is not Debian, ``HAL_LAB_SOURCES`` may name a file with Debian's sources.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path


class AptError(Exception):
    """apt or dpkg failed; the text says what was tried and what they answered."""


def _run(command: list[str], cwd: Path | None = None) -> str:
    """Run a program and give its output."""
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise AptError(f'run "{command[0]}": no such program (not a Debian system?)') from None
    if done.returncode:
        shown = [word for word in command if not re.match(r"-o$|[\w:]+=", word)]
        lines = [line for line in done.stderr.splitlines() if line.startswith("E:")]
        raise AptError(f'run "{" ".join(shown)}": {" ".join(lines) or done.stderr.strip()}')
    return done.stdout


def write_backports(folder: Path) -> Path:
    """Write a file with the package sources of the machine's Debian backports; give its path.

    Raises:
        AptError: the machine has no Debian sources to tell the archive and the release by.
    """
    listing = _run(["apt-get", "indextargets", "--format", "$(LABEL) $(SITE) $(CODENAME)"])
    found = re.search(r"^Debian (\S+) (\w+)$", listing, re.MULTILINE)
    if not found:
        raise AptError("look for backports: apt knows no Debian archive, which may have them")
    path = folder / "backports.list"
    keys = "/usr/share/keyrings/debian-archive-keyring.gpg"
    path.write_text(f"deb [signed-by={keys}] {found[1]} {found[2]}-backports main\n")
    return path


class Apt:
    """apt for one architecture, with all its state in one folder."""

    def __init__(self, state: Path, architecture: str, sources: Path | None = None) -> None:
        """Prepare the state folder.

        Args:
            state: folder for lists, cache and the (empty) package database; made if missing.
            architecture: Debian's name for it, e.g. ``amd64``.
            sources: a file with package sources to use in place of the machine's.
        """
        self._state = state
        self._lists = state / "lists"
        self._archives = state / "cache/archives"
        for folder in (self._lists, self._archives):
            (folder / "partial").mkdir(parents=True, exist_ok=True)
        (state / "status").touch()
        settings = {
            "APT::Architecture": architecture,
            "APT::Architectures": architecture,
            "APT::Sandbox::User": "",
            "Dir::State": state,
            "Dir::State::lists": self._lists,
            "Dir::State::status": state / "status",
            "Dir::Cache": state / "cache",
        }
        if chosen := sources or os.environ.get("HAL_LAB_SOURCES"):
            settings |= {"Dir::Etc::sourcelist": chosen, "Dir::Etc::sourceparts": "/dev/null"}
        self._options = [
            word for key, value in settings.items() for word in ("-o", f"{key}={value}")
        ]

    def update(self) -> None:
        """Fetch the package lists again."""
        with self._alone():
            _run(["apt-get", "-qq", *self._options, "update"])

    def dependency(self, package: str, pattern: str) -> str:
        """Give the first dependency of a package that matches a pattern.

        Raises:
            AptError: the package is unknown here, or has no such dependency.
        """
        with self._alone():
            out = _run(["apt-cache", *self._options, "depends", package])
        match = re.search(rf"Depends: ({pattern})$", out, re.MULTILINE)
        if not match:
            raise AptError(f'look up "{package}": no package that it needs matches {pattern}')
        return match[1]

    def unpack(self, packages: Iterable[str], into: Path) -> None:
        """Download packages and unpack them under a folder, without what they depend on."""
        with self._alone(), tempfile.TemporaryDirectory(dir=self._archives.parent) as folder:
            _run(["apt-get", "-qq", *self._options, "download", *packages], cwd=Path(folder))
            self._extract(Path(folder), into)

    def unpack_all(self, packages: Iterable[str], into: Path) -> None:
        """Download packages with all they depend on and unpack them under a folder."""
        install = ["install", "-y", "--no-install-recommends", "--download-only"]
        with self._alone():
            _run(["apt-get", "-qq", *self._options, *install, *packages])
            self._extract(self._archives, into)
            shutil.rmtree(self._archives)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Wait for who else works in the folder: apt would give up at once."""
        with (self._state / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def _extract(debs: Path, into: Path) -> None:
        for deb in sorted(debs.glob("*.deb")):
            _run(["dpkg", "-x", str(deb), str(into)])
