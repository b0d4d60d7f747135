# SPDX-License-Identifier: Apache-2.0
"""Builder of hal._abi: the whole C ABI as cffi sees it, and the way back for Python drivers.

The declarations are the public headers themselves, put through the C preprocessor with HAL_CDEF
set and empty files in place of the system's headers, so that there is one source of truth: a
function that a header gains is in ``lib`` after the next build, and one that does not fit the
compiled library fails that build.
"""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import tempfile
from pathlib import Path

from cffi import FFI

INCLUDE = Path(__file__).resolve().parent.parent / "include"
SYSTEM_HEADERS = ("stdbool.h", "stddef.h", "stdint.h", "sys/types.h", "sys/uio.h")

# What the headers take from the system's, beyond the types that cffi knows by itself.
SYSTEM_TYPES = "struct iovec { void *iov_base; size_t iov_len; ...; };\n"

# A driver written in Python: the library calls the functions of PYTHON_DRIVER_SOURCE, these call
# Python. They stand between so that a call that comes after the interpreter has ended, from a
# thread of C or from a program that embeds Python, gets an error instead of a crash.
CALLBACKS = """
int python_init(struct hal_device *dev);
ssize_t python_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until);
ssize_t python_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until);
void python_fini(struct hal_device *dev);
ssize_t python_transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                        hal_deadline until);
long python_control(struct hal_device *dev, uint32_t request, void *arg, size_t size,
                    hal_deadline until);
int python_poll(struct hal_device *dev, int events);
int python_get(struct hal_device *dev, const struct hal_attribute *attr, struct hal_value *out);
int python_set(struct hal_device *dev, const struct hal_attribute *attr,
               const struct hal_value *value);
"""

PYTHON_DRIVER_DECLARATIONS = (
    f'extern "Python" {{ {CALLBACKS} }}\n{CALLBACKS.replace("python_", "driver_")}'
    "void driver_stop(void);\n"
)


def guard(declaration: str) -> str:
    """The C function ``driver_x``, which calls ``python_x`` while there is an interpreter."""
    found = re.fullmatch(r"(.*?)python_(\w+)\((.*)\)", declaration.strip(), re.DOTALL)
    if found is None:
        raise ValueError(f"not a function: {declaration}")
    result, name, parameters = (part.strip() for part in found.groups())
    operation = "open" if name == "init" else name
    names = ", ".join(re.findall(r"(\w+)(?:,|$)", parameters))
    if result == "void":
        refusal = "return"
    else:
        refusal = (
            f'return hal_fail_plain(-ENODEV, "{operation}", hal_device_uri(dev), '
            '"its driver was written in Python, and the interpreter has ended")'
        )
    call = f"python_{name}({names});"
    return (
        f"static {result} driver_{name}({parameters})\n{{\n"
        f"    if (!atomic_load(&python_runs))\n        {refusal};\n"
        f"    {'' if result == 'void' else 'return '}{call}\n}}\n"
    )


def source() -> str:
    """The C source of the module, beside what cffi writes."""
    functions = [text for text in CALLBACKS.split(";") if text.strip()]
    static = "\n".join(f"static {text.strip()};" for text in functions)
    return f"""
#include <errno.h>
#include <stdatomic.h>
#include <sys/uio.h>
#include <hal/hal.h>

static atomic_int python_runs = 1;

static void driver_stop(void)
{{
    atomic_store(&python_runs, 0);
}}

{static}

{"".join(guard(text) for text in functions)}
"""


def preprocess(*flags: str) -> str:
    """``<hal/hal.h>`` after the C preprocessor."""
    compiler = shlex.split(os.environ.get("CC", "cc"))
    with tempfile.TemporaryDirectory() as empty:
        for name in SYSTEM_HEADERS:
            path = Path(empty, name)
            path.parent.mkdir(exist_ok=True)
            path.touch()
        return subprocess.run(
            [
                *compiler,
                *("-E", "-P", "-nostdinc", "-undef", "-DHAL_CDEF", *flags),
                *("-isystem", empty, "-I", str(INCLUDE), str(INCLUDE / "hal" / "hal.h")),
            ],
            check=True,
            capture_output=True,
            text=True,
        ).stdout


def constants() -> str:
    """Every macro of the headers that stands for a number; the compiler fills in which."""
    defined = re.findall(r"^#define (HAL_\w+) (.+)$", preprocess("-dM"), re.MULTILINE)
    numbers = (name for name, value in defined if name != "HAL_CDEF" and value[0] != '"')
    return "".join(f"#define {name} ...\n" for name in sorted(numbers))


def builder() -> FFI:
    """The builder that setuptools runs."""
    ffi = FFI()
    ffi.cdef(SYSTEM_TYPES + preprocess() + constants())
    ffi.cdef(PYTHON_DRIVER_DECLARATIONS)
    ffi.set_source("hal._abi", source(), libraries=["hal"])
    return ffi


ffibuilder = builder()
