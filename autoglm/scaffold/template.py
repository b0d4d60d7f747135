# SPDX-License-Identifier: Apache-2.0
"""Templates of a back end's package, and writing them under its name."""

from __future__ import annotations

import os
import re
from importlib import resources
from pathlib import Path

from ..backend import backends, broken
from ..errors import Error

FILES = {
    "pyproject.toml.in": "pyproject.toml",
    "backend.py.in": "autoglm_@ident@/__init__.py",
    "test.py.in": "test_@ident@.py",
    "README.md.in": "README.md",
}
"""Template -> the file that it becomes."""


def check_name(name: str) -> None:
    """Can a back end be called so, here?

    Raises:
        Error: It is ill-formed, or there is one.
    """
    if not re.fullmatch(r"[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        raise Error(
            f"new back end {name!r}: a name has small letters and digits, and single dashes between"
        )
    if name in {*backends(), *broken()}:
        raise Error(f"new back end {name!r}: there is one of this name; take another")


def new_files(name: str) -> dict[str, str]:
    """The files of a new back end: name -> content."""
    folder = resources.files("autoglm.scaffold") / "templates"
    return {
        _render(target, name): _render((folder / source).read_text(encoding="utf-8"), name)
        for source, target in FILES.items()
    }


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder, which is made; none of them may exist.

    Raises:
        Error: One is there. None was written then.
        OSError: It cannot be written.
    """
    for name in files:
        if os.path.lexists(folder / name):
            raise Error(
                f'create "{folder / name}": it exists, and nothing is overwritten; nothing was'
                " written (another folder: --dir DIR)"
            )
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(content)


def _render(text: str, name: str) -> str:
    ident = name.replace("-", "_")
    words = {
        "@name@": name,
        "@ident@": ident,
        "@class@": "".join(part[:1].upper() + part[1:] for part in ident.split("_")),
    }
    return re.sub("|".join(words), lambda match: words[match[0]], text)
