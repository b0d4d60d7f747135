# SPDX-License-Identifier: Apache-2.0
"""Models without Python: a static executable, or a C library, linked with libhal.

`generate` turns ONNX into C, `toolchain` knows the compilers and makes libhal for a target, `emit`
puts both together with `stream.c` and `main.c`, `deliver` does all of it and checks what came out.
The guide is docs/light.md.
"""
