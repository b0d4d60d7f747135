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
-mtriple=aarch64-linux-gnu"`` is ``aarch64``, ``"llvm -mcpu=skylake"`` is ``cpu:x86-64-v3``, ``"cuda
-arch=sm_86"`` is ``cuda:sm_86``. What is not understood is refused, never left out.
"""

from __future__ import annotations

import difflib
import re
import shlex
from collections.abc import Mapping, Sequence
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

_EXAMPLES = {
    "cpu": "x86-64, x86-64-v2, x86-64-v3 or x86-64-v4",
    "riscv64": "v",
    "cuda": "an architecture such as sm_80 or sm_90a",
    "rocm": "an architecture such as gfx1100 or gfx90a",
}
"""That, for people."""

_MICROARCHITECTURES = {
    "x86-64": "k8 athlon64 opteron nocona core2",
    "x86-64-v2": "nehalem corei7 westmere sandybridge ivybridge silvermont goldmont tremont",
    "x86-64-v3": (
        "haswell core-avx2 broadwell skylake alderlake raptorlake meteorlake znver1 znver2 znver3"
    ),
    "x86-64-v4": (
        "skylake-avx512 cascadelake cooperlake cannonlake icelake-client icelake-server tigerlake"
        " rocketlake sapphirerapids emeraldrapids graniterapids znver4 znver5"
    ),
}
"""LLVM's names of processors, by the highest level that each has."""
_LEVELS = {
    **{name: name for name in X86_64_LEVELS},
    **{name: level for level, names in _MICROARCHITECTURES.items() for name in names.split()},
}
_ARCHITECTURES = {
    "rv64": "riscv64",
    "riscv64": "riscv64",
    "aarch64": "aarch64",
    "arm64": "aarch64",
    "x86_64": "cpu:x86-64",
    "x86-64": "cpu:x86-64",
}
"""What -device= names, and -mtriple= begins with."""
_OPTIONS = {
    "c": ("device", "mtriple", "mcpu"),
    "llvm": ("device", "mtriple", "mcpu"),
    "cuda": ("arch",),
    "rocm": ("mcpu", "arch"),
}
"""TVM's kinds, with the options that are understood."""


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
        kind, colon, variant = _translated(text.strip()).partition(":")
        if kind not in KINDS:
            near = difflib.get_close_matches(kind, KINDS, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise TargetError(
                f"no target {text!r}{hint}; there are: {', '.join(KINDS)}"
                " (autoglm-compile --list-targets)"
            )
        if colon and not re.fullmatch(KINDS[kind] or "(?!)", variant):
            takes = f"takes {_EXAMPLES[kind]}" if KINDS[kind] else "has nothing"
            raise TargetError(f"no target {text!r}: {kind!r} {takes} after its colon")
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
        name, *words = shlex.split(text)
    except ValueError as error:
        raise TargetError(f"no target {text!r}: {error}") from None
    if name not in {*KINDS, *_OPTIONS}:
        return name
    options = _options(text, name, words)
    if name in {"llvm", "c"}:
        return _processor(text, options)
    return ":".join([name, *options.values()])


def _options(text: str, name: str, words: Sequence[str]) -> dict[str, str]:
    """What the words of a text say, all of it."""
    known = _OPTIONS.get(name, ())
    takes = ", ".join(f"-{option}=" for option in known) or "nothing"
    options: dict[str, str] = {}
    for word in words:
        option, _, value = word.partition("=")
        option = option.removeprefix("-").removeprefix("-")
        if not word.startswith("-") or option not in known or not value:
            raise TargetError(
                f"no target {text!r}: {word!r} is not understood; after {name!r} is: {takes}"
            )
        if option in options or (name == "rocm" and options):
            raise TargetError(f"no target {text!r}: {word!r} says something twice")
        options[option] = value
    return options


def _processor(text: str, options: Mapping[str, str]) -> str:
    """The processor that options of ``llvm`` and ``c`` stand for."""
    device, triple = options.get("device", ""), options.get("mtriple", "")
    named = [("mtriple", triple, triple.partition("-")[0]), ("device", device, device)]
    if device == "arm_cpu" and triple:  # what TVM calls Arm, of 32 or 64 bits
        named.pop()
    found = set()
    for option, value, architecture in named:
        if value and architecture not in _ARCHITECTURES:
            raise TargetError(
                f"no target {text!r}: '-{option}={value}' is not understood; of processors there"
                f" are: {', '.join(_ARCHITECTURES)}"
            )
        if value:
            found.add(_ARCHITECTURES[architecture])
    if len(found) > 1:
        raise TargetError(f"no target {text!r}: it names two: {', '.join(sorted(found))}")
    return _with_level(text, found.pop() if found else "cpu", options.get("mcpu", ""))


def _with_level(text: str, processor: str, mcpu: str) -> str:
    """A processor, of the level that ``-mcpu=`` has where it is x86-64."""
    if not mcpu or (mcpu in {"native", "host"} and processor == "cpu"):
        return processor
    if processor.startswith("cpu") and mcpu in _LEVELS:
        return f"cpu:{_LEVELS[mcpu]}"
    if mcpu == "generic" or (mcpu == "generic-rv64" and processor == "riscv64"):
        return "cpu:x86-64" if processor == "cpu" else processor
    takes = ", ".join(_LEVELS) if processor.startswith("cpu") else "generic"
    raise TargetError(f"no target {text!r}: '-mcpu={mcpu}' is not understood; there are: {takes}")
