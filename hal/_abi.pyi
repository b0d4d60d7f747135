# SPDX-License-Identifier: Apache-2.0
"""The raw C ABI (bindings/abi.py): every function and constant of <hal/hal.h>, by its C name."""

from typing import Any

from cffi import FFI

ffi: FFI

# Generated from the headers at build time; C itself checks the arguments.
lib: Any
