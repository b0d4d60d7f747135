# SPDX-License-Identifier: Apache-2.0
"""The raw C ABI (bindings/abi.py): every function and constant of <hal/hal.h>, by its C name."""

from collections.abc import Callable
from typing import Any, TypeVar

from cffi import FFI

_F = TypeVar("_F", bound=Callable[..., Any])

class _FFI(FFI):
    def def_extern(self, *, error: int = 0) -> Callable[[_F], _F]: ...  # type: ignore[override]

ffi: _FFI

# Generated from the headers at build time; C itself checks the arguments.
lib: Any
