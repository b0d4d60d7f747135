# SPDX-License-Identifier: Apache-2.0
"""The loops that hal.perf times, and counters (bindings/perf/perf.h), by their C names."""

from typing import Any

from cffi import FFI

ffi: FFI

# Generated from the header at build time; C itself checks the arguments.
lib: Any
