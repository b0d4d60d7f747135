# SPDX-License-Identifier: Apache-2.0
"""Products of int8 matrices on an FPGA: the face of the driver ``gemm`` (docs/fpga.md)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from . import _core
from .device import Device, Seconds, Segment, face
from .errors import InvalidArgument
from .settings import State

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from .registers import RegisterMap, Registers

__all__ = ["Gemm"]


@face("gemm")
class Gemm(Device, _core.RegisterHandle):
    """The unit, simulated or on a board.

    Example::

        with hal.Gemm.open("gemm:") as unit:
            c = unit.multiply(a, b)  # int8 (m, k) times int8 (k, n) is int32 (m, n)
            print(unit.tiles, unit.cycles)
    """

    __slots__ = ()

    tiles = State[int]("tiles", "Runs of the unit since it was opened.")
    cycles = State[int]("cycles", "Clocks that the unit took for them.")
    interrupt = State[bool]("interrupt", "It tells by an interrupt that it is done.")

    def multiply(self, a: NDArray[Any], b: NDArray[Any], *, timeout: Seconds = ...) -> NDArray[Any]:
        """The product of two matrices, exact as long as no sum leaves 32 bits; then it wraps.

        Args:
            a: int8, shape (m, k), none of them 0.
            b: int8, shape (k, n).
            timeout: Seconds for all of it.

        Returns:
            int32, shape (m, n).

        Raises:
            InvalidArgument: They are no such matrices.
            Timeout: The unit was not done in time; the next call begins anew.
        """
        import numpy as np

        if a.dtype != np.int8 or b.dtype != np.int8 or a.ndim != 2 or b.ndim != 2:
            raise InvalidArgument(
                f"multiply: {a.dtype}{list(a.shape)} and {b.dtype}{list(b.shape)} are not two int8"
                " matrices"
            )
        if a.shape[1] != b.shape[0] or 0 in (*a.shape, *b.shape):
            raise InvalidArgument(f"multiply: {list(a.shape)} and {list(b.shape)} have no product")
        c = np.empty((a.shape[0], b.shape[1]), np.int32)
        sent = Segment(tx=np.ascontiguousarray(a)), Segment(tx=np.ascontiguousarray(b))
        self.transfer([*sent, Segment(rx=c)], timeout)
        return c

    def registers(self, registers: RegisterMap | str | Path) -> Registers:
        """The registers by name, of a map or the file it is in (drivers/gemm/gemm.toml)."""
        from .registers import Registers

        return Registers(self, registers)
