# SPDX-License-Identifier: Apache-2.0
"""Which targets can be compiled for here, and what the others lack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from .backend import Availability, backends
from .target import KINDS, Target


@dataclass(frozen=True)
class Listed:
    """One kind of target.

    Attributes:
        name: It.
        backends: What each back end that serves it says.
    """

    name: str
    backends: Mapping[str, Availability]

    @property
    def available(self) -> bool:
        """Whether one can compile for it here."""
        return any(found.here for found in self.backends.values())

    @property
    def says(self) -> str:
        """By what; or what is missing."""
        told = [
            f"{name}: {found}"
            for name, found in self.backends.items()
            if found.here == self.available
        ]
        return "; ".join(told) or "no back end that is installed serves it"

    def as_dict(self) -> dict[str, object]:
        """As plain data."""
        return {
            "target": self.name,
            "available": self.available,
            "backends": {name: vars(found) for name, found in self.backends.items()},
        }


def availability(target: Target) -> dict[str, Availability]:
    """What every back end that serves a target says of it, by name."""
    told = {name: each.can_compile(target) for name, each in backends().items()}
    return {name: found for name, found in told.items() if found is not None}


def list_targets() -> list[Listed]:
    """Every kind of target."""
    return [Listed(kind, availability(Target(kind))) for kind in KINDS]
