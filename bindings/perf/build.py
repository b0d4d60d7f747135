# SPDX-License-Identifier: Apache-2.0
"""Builder of hal._perf: the loops that hal.perf times (bindings/perf/perf.h)."""

from __future__ import annotations

from pathlib import Path

from cffi import FFI

FOLDER = "bindings/perf"  # from where setup.py runs


def builder() -> FFI:
    """The builder that setuptools runs."""
    header = Path(__file__).with_name("perf.h").read_text(encoding="utf-8")
    ffi = FFI()
    ffi.cdef("\n".join(line for line in header.splitlines() if not line.startswith("#")))
    ffi.set_source(
        "hal._perf",
        '#include "perf.h"',
        sources=[f"{FOLDER}/{name}.c" for name in ("counter", "kernel", "run")],
        include_dirs=[FOLDER],
        libraries=["hal"],
        define_macros=[("_GNU_SOURCE", None)],
        extra_compile_args=["-std=c11", "-O2", "-pthread", "-Wall", "-Wextra"],
        extra_link_args=["-pthread"],
    )
    return ffi


ffibuilder = builder()
