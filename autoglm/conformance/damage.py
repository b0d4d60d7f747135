# SPDX-License-Identifier: Apache-2.0
"""What a back end does with files that are not what it made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from hal.conformance.outcome import Broken

from ..backend import Files
from ..errors import AlteredArtifact, ArtifactError, Error
from ..manifest import Program
from .check import check
from .session import Session


class _Altered(Files):
    """Files of which some are others now; None for one whose checksum does not hold."""

    def __init__(self, kept: Files, altered: Mapping[str, bytes | None], folder: Path) -> None:
        self._kept = kept
        self._altered = altered
        self._folder = folder

    def view(self, name: str) -> memoryview:
        if name not in self._altered:
            return self._kept.view(name)
        content = self._altered[name]
        if content is None:
            raise AlteredArtifact(f"the checksum of {name!r} does not hold")
        return memoryview(content)

    def path(self, name: str) -> Path:
        if name not in self._altered:
            return self._kept.path(name)
        path = self._folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(self.view(name))
        return path


def _load(session: Session, program: Program, files: Files) -> str:
    """Load and run; how it was refused, or an empty text.

    Raises:
        Broken: By something that is no Error.
    """
    inputs = session.inputs(session.basis)
    try:
        executable = session.backend.load(program, files, session.device, 0)
    except Error as error:
        return str(error)
    except Exception as error:
        raise Broken(f"it raises {type(error).__name__}: {error}") from error
    try:
        executable.run(inputs)
    except Error as error:
        return str(error)
    except Exception as error:
        raise Broken(f"run() raises {type(error).__name__}: {error}") from error
    finally:
        executable.close()
    return ""


@check
def checksums(session: Session) -> str:
    """A file whose checksum does not hold, or that is missing, ends `load` with that error.

    Why: It is what the artifact's checksums are for.

    See: autoglm.backend.Files; Backend, load
    """
    with session.opened() as (program, files):
        device = session.device
        for name in program.files:
            altered = _Altered(files, {name: None}, session.folder / "altered")
            try:
                executable = session.backend.load(program, altered, device, 0)
            except AlteredArtifact:
                continue
            except Exception as error:
                raise Broken(f"{name!r}: it raises {error!r} instead") from error
            executable.close()
            raise Broken(f"it loads although the checksum of {name!r} does not hold")
        without = replace(program, files={})
        missing = _Altered(files, dict.fromkeys(program.files), session.folder / "altered")
        if not _load(session, without, missing):
            raise Broken("it loads without any file")
    return ", ".join(program.files)


@check
def damaged_files(session: Session) -> str:
    """Files that are empty, cut in half, or noise end `load` or `run` with an Error.

    Why: A crash instead takes the requests of all others with it.

    See: autoglm.backend.Backend, load
    """
    said = []
    with session.opened() as (program, files):
        for name in program.files:
            content = bytes(files.view(name))
            noise = bytes(byte ^ 0x5A for byte in content[: 1 << 16])
            for what, altered in (
                ("empty", b""),
                ("cut in half", content[: len(content) // 2]),
                ("noise", noise),
            ):
                if altered == content:
                    continue
                folder = session.folder / f"altered-{what.replace(' ', '-')}"
                refused = _load(session, program, _Altered(files, {name: altered}, folder))
                if not refused and what != "noise":
                    raise Broken(f"{name!r} is {what}, and it runs")
                said.append(f"{name} {what}: {'refused' if refused else 'not noticed'}")
    return "; ".join(said)


@check
def damaged_notes(session: Session) -> str:
    """Notes that are not what `compile` made end `load` with an Error, or do not matter.

    Why: An artifact of another release, or another's, is told from a fault.

    See: autoglm.manifest.Program, notes
    """
    with session.opened() as (program, files):
        for notes in ({}, dict.fromkeys(program.notes), dict.fromkeys(program.notes, "?")):
            _load(session, replace(program, notes=notes), files)
    return "told" if program.notes else "there are none"


@check
def no_device(session: Session) -> str:
    """`load` on a device that is not there ends with an Error.

    Why: Devices go away between being listed and being used.

    See: autoglm.backend.Backend, load
    """
    device = session.device
    if device.kind == "cpu" or device.emulated:
        return "the processor is always there"
    gone = replace(device, address=f"{device.address}-gone", name="gone")
    with session.opened() as (program, files):
        try:
            session.backend.load(program, files, gone, 0).close()
        except Error as error:
            if isinstance(error, ArtifactError):
                raise Broken(f"it blames the artifact: {error}") from None
            return str(error)[:200]
        except Exception as error:
            raise Broken(f"it raises {type(error).__name__}: {error}") from error
    raise Broken(f"it loads on {gone.address!r}")
