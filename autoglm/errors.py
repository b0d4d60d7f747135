# SPDX-License-Identifier: Apache-2.0
"""What went wrong: one class a kind of failure, each with the exit status of the commands.

``str(error)`` is one sentence: what was tried, on what, why it failed, what to do. The numbers are
those of ``autoglm-compile`` and ``autoglm-runtime``; scripts may rely on them.
"""

from __future__ import annotations

from typing import ClassVar

__all__ = [
    "AccuracyError",
    "AlteredArtifact",
    "ArtifactError",
    "CompileError",
    "DeviceError",
    "Error",
    "InputError",
    "ModelError",
    "NewerArtifact",
    "NotAnArtifact",
    "Overloaded",
    "TargetError",
    "TargetUnavailable",
    "TruncatedArtifact",
    "WrongTarget",
]


class Error(Exception):
    """Anything that failed in autoglm.

    Attributes:
        exit_status: What a command that ends by it exits with.
    """

    exit_status: ClassVar[int] = 1


class ModelError(Error):
    """The source model cannot be read, or is not what it says."""

    exit_status = 3


class TargetError(Error):
    """There is no such target, or its name is ill-formed."""

    exit_status = 4


class TargetUnavailable(Error):
    """The target is known, but what compiling for it, or running on it, needs is not here."""

    exit_status = 5


class CompileError(Error):
    """Every engine that serves the target failed; the sentence has each one's reason."""

    exit_status = 6


class AccuracyError(Error):
    """What was compiled computes something else than the source model: nothing was written."""

    exit_status = 7


class ArtifactError(Error):
    """An artifact cannot be used."""

    exit_status = 8


class NotAnArtifact(ArtifactError):
    """The file is something else."""

    exit_status = 9


class TruncatedArtifact(ArtifactError):
    """The file is shorter, or longer, than it was when it was written."""

    exit_status = 10


class AlteredArtifact(ArtifactError):
    """A checksum does not hold: the file was changed since it was written."""

    exit_status = 11


class NewerArtifact(ArtifactError):
    """The file is of a format that a later release made."""

    exit_status = 12


class WrongTarget(ArtifactError):
    """The artifact holds nothing for the device, or needs what its processor lacks."""

    exit_status = 13


class DeviceError(Error):
    """A device could not be opened, failed, or was lost."""

    exit_status = 14


class InputError(Error):
    """The inputs of a call do not fit the model."""

    exit_status = 15


class Overloaded(Error):
    """More is asked for than is let wait; ask again later (HTTP 429)."""

    exit_status = 16
