# SPDX-License-Identifier: Apache-2.0
"""The forms in which a model leaves autoglm without Python, and the one that stays within it.

=============== ===============================================================================
``executable``  one static program: model, weights, libhal with its drivers
``library``     a folder: ``libNAME.a`` with all of that, ``NAME.h``, ``glm.h``
shared object   what the back end ``c`` keeps in an artifact, for ``cpu``
=============== ===============================================================================
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from .generate import Generated, header, place_weights, table
from .toolchain import FAST, Toolchain, libhal

HERE = Path(__file__).parent


def executable(
    generated: Generated, chain: Toolchain, output: Path, weights_beside: bool = False
) -> None:
    """Make a static program; weights that are not inside are in ``OUTPUT.weights``.

    Raises:
        CompileError: It, or libhal, does not compile.
    """
    hal = libhal(chain)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        objects = _objects(generated, chain, folder, "glm_program", weights_beside)
        objects += _runtime(chain, folder, hal.include, ("stream.c", "main.c"))
        options = ("-static", "-s", "-Wl,--gc-sections")
        chain.run("gcc", *options, "-o", output, *objects, hal.archive, "-lm", "-lpthread")
    if weights_beside:
        output.with_name(f"{output.name}.weights").write_bytes(generated.weights)


def library(
    generated: Generated, chain: Toolchain, output: Path, weights_beside: bool = False
) -> None:
    """Make a library, a folder; weights that are not inside are in ``NAME.weights`` there.

    Raises:
        CompileError: It, or libhal, does not compile.
    """
    hal = libhal(chain)
    output.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        objects = _objects(generated, chain, folder, f"{generated.name}_model", weights_beside)
        objects += _runtime(chain, folder, hal.include, ("stream.c",))
        archive = output / f"lib{generated.name}.a"
        shutil.copy(hal.archive, archive)
        chain.run("ar", "qs", archive, *objects)
    (output / f"{generated.name}.h").write_text(header(generated), "utf-8")
    shutil.copy(HERE / "glm.h", output / "glm.h")
    if weights_beside:
        (output / f"{generated.name}.weights").write_bytes(generated.weights)


def shared_object(generated: Generated, chain: Toolchain, output: Path) -> None:
    """Make a shared object with ``glm_program``, the model, and without libhal.

    Raises:
        CompileError: It does not compile.
    """
    with tempfile.TemporaryDirectory() as scratch:
        objects = _objects(generated, chain, Path(scratch), "glm_program", False, "-fPIC")
        options = ("-shared", "-s", "-Wl,-z,defs,-Bsymbolic")
        chain.run("gcc", *options, "-o", output, *objects, "-lm")


def _objects(
    generated: Generated,
    chain: Toolchain,
    folder: Path,
    symbol: str,
    beside: bool,
    *more: str,
) -> list[Path]:
    """The model compiled, with its weights unless they stay in a file."""
    code = generated.code
    objects = [folder / "table.o"]
    if not beside:
        (folder / "model.weights").write_bytes(generated.weights)
        code, placed = place_weights(generated, "model.weights")
        (folder / "weights.s").write_text(placed, "ascii")
        objects.append(folder / "weights.o")
        chain.run("gcc", "-c", f"-Wa,-I{folder}", "-o", objects[-1], folder / "weights.s")
    (folder / "model.c").write_text(code, "utf-8")
    (folder / "table.c").write_text(table(generated, symbol, "model.c", beside), "utf-8")
    options = ("-std=c11", "-D_GNU_SOURCE", "-w", "-ffunction-sections", f"-I{HERE}")
    source = folder / "table.c"
    chain.run("gcc", *options, *FAST, *chain.flags, *more, "-c", source, "-o", objects[0])
    return objects


def _runtime(chain: Toolchain, folder: Path, include: Path, files: tuple[str, ...]) -> list[Path]:
    objects = []
    for file in files:
        objects.append((folder / file).with_suffix(".o"))
        options = ("-std=c11", "-D_GNU_SOURCE", "-Os", "-ffunction-sections", f"-I{include}")
        chain.run("gcc", *options, *chain.flags, "-c", HERE / file, "-o", objects[-1])
    return objects
