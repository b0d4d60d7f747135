# SPDX-License-Identifier: Apache-2.0
"""What a model is compiled for, by name.

=================== ===============================================================
``cpu``             this machine's processor, every feature it has
``cpu:x86-64-v3``   any x86-64 processor of that level (x86-64 psABI, 3.1.1)
``aarch64``         Armv8-A with Advanced SIMD
``riscv64``         RV64GC; ``riscv64:v`` with vectors of RVV 1.0
``cuda``            NVIDIA, ``cuda:sm_80`` for that architecture
``rocm``            AMD, ``rocm:gfx1100`` for that architecture
``vulkan``          any device with Vulkan 1.1 or newer
``opencl``          any device with OpenCL 1.2 or newer
``npu``             Intel NPU, by OpenVINO
``fpga``            the int8 GEMM unit, see docs/fpga.md
``mlu``             Cambricon
=================== ===============================================================

TVM's classic texts are translated: ``"c -device=rv64"`` is ``riscv64``, ``"llvm
-mtriple=aarch64-linux-gnu"`` is ``aarch64``, ``"cuda -arch=sm_86"`` is ``cuda:sm_86``.
"""

from __future__ import annotations

import difflib
import re
import shlex
from dataclasses import dataclass

from .errors import TargetError

X86_64_LEVELS: dict[str, tuple[str, ...]] = {
    "x86-64": (),
    "x86-64-v2": ("cx16", "lahf_lm", "popcnt", "sse4_1", "sse4_2", "ssse3"),
    "x86-64-v3": ("avx", "avx2", "bmi1", "bmi2", "f16c", "fma", "abm", "movbe", "xsave"),
    "x86-64-v4": ("avx512f", "avx512bw", "avx512cd", "avx512dq", "avx512vl"),
}
"""What a level adds to the one before it, by the names of /proc/cpuinfo."""

KINDS: dict[str, str] = {
    "cpu": r"x86-64(-v[234])?",
    "aarch64": "",
    "riscv64": "v",
    "cuda": r"sm_\d{2,3}[a-z]?",
    "rocm": r"gfx[0-9a-f]{3,5}",
    "vulkan": "",
    "opencl": "",
    "npu": "",
    "fpga": "",
    "mlu": "",
}
"""Every kind of target, with the pattern of what may follow its colon (nothing, when empty)."""


@dataclass(frozen=True)
class Target:
    """A kind of target, and which one of that kind.

    Attributes:
        kind: A key of `KINDS`.
        variant: What follows the colon; empty for the kind's default.
    """

    kind: str
    variant: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.variant}" if self.variant else self.kind

    @classmethod
    def parse(cls, text: str) -> Target:
        """The target that a name, or one of TVM's texts, stands for.

        Raises:
            TargetError: There is no such target.
        """
        kind, _, variant = _translated(text.strip()).partition(":")
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TargetError(
                f"no target {text!r}{hint}; there are: {', '.join(KINDS)}"
                " (autoglm-compile --list-targets)"
            )
        if variant and not re.fullmatch(KINDS[kind] or "(?!)", variant):
            takes = f"takes {KINDS[kind]!r} after its colon" if KINDS[kind] else "has no variants"
            raise TargetError(f"no target {text!r}: {kind!r} {takes}")
        return cls(kind, variant)

    @property
    def features(self) -> tuple[str, ...]:
        """What a processor must have, by the names of /proc/cpuinfo; empty where none is named."""
        found: list[str] = []
        if self.variant in X86_64_LEVELS:
            for level, added in X86_64_LEVELS.items():
                found += added
                if level == self.variant:
                    break
        return tuple(found)


def _translated(text: str) -> str:
    """One of TVM's texts as a name of ours; any other text as it is."""
    if " " not in text and text not in {"llvm", "c"}:
        return text
    try:
        words = shlex.split(text)
    except ValueError as error:
        raise TargetError(f"no target {text!r}: {error}") from None
    options = dict(word.lstrip("-").partition("=")[::2] for word in words[1:])
    if words[0] in {"cuda", "rocm"}:
        arch = options.get("arch") or options.get("mcpu", "")
        return f"{words[0]}:{arch}" if arch else words[0]
    if words[0] in {"llvm", "c"}:
        return _processor(options)
    return words[0] if words else text


def _processor(options: dict[str, str]) -> str:
    said = options.get("device", "") + options.get("mtriple", "")
    if re.search("rv64|riscv64", said):
        return "riscv64"
    if re.search("aarch64|arm64", said):
        return "aarch64"
    mcpu = options.get("mcpu", "")
    return f"cpu:{mcpu}" if mcpu in X86_64_LEVELS else "cpu"
