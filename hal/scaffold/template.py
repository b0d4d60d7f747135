# SPDX-License-Identifier: Apache-2.0
"""Templates of a driver's files, and writing them under a driver's name."""

from __future__ import annotations

import errno
import keyword
import os
import re
from importlib import resources
from pathlib import Path

import hal

LANGUAGES = ("c", "python")

FILES = {
    "c": {
        "CMakeLists.txt.in": "CMakeLists.txt",
        "driver.c.in": "@ident@.c",
        "test.py.in": "test_@ident@.py",
        "README.md.in": "README.md",
    },
    "python": {
        "driver.py.in": "@ident@_driver.py",
        "test.py.in": "test_@ident@.py",
        "README.md.in": "README.md",
    },
}
"""Language -> template -> the file that it becomes."""


def check_name(name: str) -> None:
    """Would the library register a driver of this name, here and on any machine?

    Raises:
        InvalidArgument: It is ill-formed: the text says how a name is formed.
        Error: It is empty (ENOENT), too long (ENAMETOOLONG), or one of the library's own (EEXIST).
    """
    if any(driver.name == name for driver in hal.drivers()):
        raise hal.Error(
            errno.EEXIST, f'new driver "{name}": there is a driver of this name; take another'
        )
    if "\0" in name:
        raise hal.InvalidArgument(f"new driver {name!r}: a name has no NUL in it")
    hal.register_driver(name, hal.Driver)  # the library's own rules, and its words
    hal.unregister_driver(name)


def identifier(name: str) -> str:
    """The driver's name as C and Python can use it in names of functions and files.

    "7seg.v2" gives "driver_7seg_v2"; what begins as names of libhal and of POSIX do, too.
    """
    ident = re.sub(r"[.-]", "_", name)
    reserved = keyword.iskeyword(ident) or ident.startswith(("hal", "pthread"))
    return f"driver_{ident}" if reserved or ident[0].isdigit() else ident


def render(text: str, name: str) -> str:
    """A template's text with the driver's names in it."""
    ident = identifier(name)
    words = {
        "@name@": name,
        "@ident@": ident,
        "@class@": "".join(part[:1].upper() + part[1:] for part in ident.split("_")),
    }
    return re.sub("|".join(words), lambda match: words[match[0]], text)


def new_files(name: str, language: str) -> dict[str, str]:
    """The files of a new driver: name -> content."""
    folder = resources.files("hal.scaffold") / "templates" / language
    return {
        render(target, name): render((folder / source).read_text(encoding="utf-8"), name)
        for source, target in FILES[language].items()
    }


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write files into a folder, which is made; none of them may exist.

    Raises:
        Error: EEXIST: one is there. None was written then.
        OSError: It cannot be written.
    """
    for name in files:
        if os.path.lexists(folder / name):
            raise hal.Error(
                errno.EEXIST,
                f'create "{folder / name}": it exists, and nothing is overwritten; nothing was '
                "written (another folder: --dir DIR)",
            )
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        with (folder / name).open("x", encoding="utf-8") as file:
            file.write(content)
