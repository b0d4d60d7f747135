# SPDX-License-Identifier: Apache-2.0
"""Where results are written: whole or not at all, and over nothing that would be missed.

Any thread may call what is here. Two that write one file at one time leave one of both whole.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

from .errors import Error


class OutputError(Error, OSError):
    """A result cannot be written where it was asked for, or must not be."""


def check_file(output: Path) -> None:
    """See that a file can be written, before hours go into what it will hold.

    Raises:
        OutputError: It cannot.
    """
    _try_folder(output, _place(output).parent)


def check_folder(output: Path) -> None:
    """See that a folder is there or can be made, and that files can be written into it.

    Raises:
        OutputError: It is something else, or they cannot.
    """
    if output.is_dir():
        _try_folder(output, output)
    elif os.path.lexists(output):
        raise _refusal(output, "it is no folder")
    else:
        check_file(output)  # what is asked of a new file's folder is asked of a new folder's


def refuse_sources(output: Path, sources: Iterable[Path]) -> None:
    """See that a file to be written is none of those that the result is made from.

    Args:
        output: It.
        sources: Files, and folders for the files in them.

    Raises:
        OutputError: It is one of them.
    """
    if not output.exists():
        return
    for source in sources:
        for file in source.iterdir() if source.is_dir() else (source,):
            if file.exists() and file.samefile(output):
                raise _refusal(
                    output, f'it is one of the files that are read, "{file}": name another'
                )


@contextlib.contextmanager
def replacement(output: Path, mode: int = 0o666) -> Iterator[IO[bytes]]:
    """A new file that takes its place when the block ends well; nothing is left of it otherwise.

    Args:
        output: A regular file, a link that leads to one, or to be made; its folder is there.
        mode: Permissions, before the process's file mode creation mask.

    Raises:
        OutputError: It cannot be written.
    """
    place = _place(output)
    try:
        descriptor, made = tempfile.mkstemp(prefix=".autoglm-", dir=place.parent)
    except OSError as error:
        raise _refusal(output, error) from error
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(descriptor)
            os.fchmod(descriptor, mode & ~_umask())
        os.replace(made, place)
    except BaseException as error:
        os.unlink(made)
        if isinstance(error, OSError) and error.filename in (None, made):  # else: one that is read
            raise _refusal(output, error) from error
        raise


@contextlib.contextmanager
def needed_folder(output: Path) -> Iterator[None]:
    """A folder: made when it is not there, and taken away when nothing came into it then.

    Raises:
        OutputError: It cannot be made.
    """
    if output.is_dir():
        yield
        return
    try:
        output.mkdir()
    except OSError as error:
        raise _refusal(output, error) from error
    try:
        yield
    finally:
        with contextlib.suppress(OSError):  # it is not empty
            output.rmdir()


def _place(output: Path) -> Path:
    """The file that it is, or will be: what it leads to, where it is a symbolic link."""
    place = Path(os.path.realpath(output))
    try:
        mode = place.stat().st_mode
    except FileNotFoundError:
        mode = stat.S_IFREG
    except OSError as error:
        raise _refusal(output, error) from error
    if stat.S_ISDIR(mode):
        raise _refusal(output, "it is a folder: name a file in it")
    if not stat.S_ISREG(mode):
        raise _refusal(output, "it is a device, a FIFO or a socket: name a regular file")
    if not place.parent.is_dir():
        parent = place.parent if output.is_symlink() else output.parent
        raise _refusal(output, f'there is no folder "{parent}": make it first')
    return place


def _try_folder(output: Path, folder: Path) -> None:
    """Make a file in it that never has a name, where the file system can: permissions mislead."""
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise _refusal(output, error) from error


def _refusal(output: Path, why: str | OSError) -> OutputError:
    told = (why.strerror or str(why)) if isinstance(why, OSError) else why
    return OutputError(f'write "{output}": {told}')


def _umask() -> int:
    """The process's file mode creation mask, which Linux tells without setting it."""
    for line in Path("/proc/self/status").read_text("ascii", "replace").splitlines():
        if line.startswith("Umask:"):
            return int(line.split()[1], 8)
    return 0o022
