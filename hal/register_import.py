# SPDX-License-Identifier: Apache-2.0
"""Register maps from CMSIS-SVD and SystemRDL.

They are read by the libraries cmsis-svd and systemrdl-compiler, imported when they are needed
(``pip install open-autoglm[registers]``).
"""

from __future__ import annotations

import importlib
import operator
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

from .errors import InvalidArgument, NotFound, Unsupported
from .registers import Field, Register, RegisterMap, check_register

__all__ = ["svd", "systemrdl"]


def _library(module: str, package: str, path: Path) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise Unsupported(
            f'read register map "{path}": the library {package} is not installed '
            "(pip install open-autoglm[registers])"
        ) from error


def _access(read: bool, write: bool, clears: bool) -> str:
    if clears:
        return "w1c"
    return "rw" if read and write else "wo" if write else "ro"


def _add(found: dict[str, Register], register: Register, where: str) -> None:
    if register.name in found:
        raise InvalidArgument(f"{where}: two registers are called {register.name}")
    found[register.name] = check_register(register, f"{where}: register {register.name}")


# --- CMSIS-SVD -----------------------------------------------------------------------------------


def svd(path: Path, part: str | None) -> RegisterMap:
    """The registers of one peripheral of a CMSIS-SVD file."""
    parser = _library("cmsis_svd.parser", "cmsis-svd", path)
    try:
        device = parser.SVDParser.for_xml_file(str(path)).get_device()
    except Exception as error:
        raise InvalidArgument(f'read register map "{path}": no CMSIS-SVD: {error}') from error
    peripherals = {item.name: item for item in device.get_peripherals()}
    if part is None and len(peripherals) == 1:
        part = next(iter(peripherals))
    if part not in peripherals:
        which = "say which peripheral" if part is None else f"no peripheral {part}"
        raise NotFound(f'read register map "{path}": {which}: {", ".join(peripherals)}')
    peripheral = peripherals[str(part)]
    found: dict[str, Register] = {}
    for item in peripheral.get_registers():
        bits = item.size or peripheral.size or device.size or 32
        try:
            register = _svd_register(item, bits)
        except TypeError as error:  # a number that is not there
            raise InvalidArgument(
                f"{path}: {part}: register {item.name}: an offset or a width is missing ({error})"
            ) from error
        _add(found, register, f"{path}: {part}")
    return RegisterMap(found, str(part), _line(peripheral.description))


def _svd_register(item: Any, bits: int) -> Register:
    access = _svd_access(item, "rw")
    fields = {
        entry.name: Field(
            entry.name,
            entry.bit_offset,
            entry.bit_offset + entry.bit_width - 1,
            _svd_access(entry, access),
            dict(_svd_values(entry)),
            _line(entry.description),
        )
        for entry in item.get_fields()
        if not entry.is_reserved
    }
    width = max(bits // 8, 1)
    offset = operator.index(item.address_offset)
    return Register(item.name, offset, width, access, fields, _line(item.description))


def _svd_access(item: Any, default: str) -> str:
    if item.modified_write_values and item.modified_write_values.value == "oneToClear":
        return "w1c"
    if item.access is None:
        return default
    name = item.access.value
    return _access("read" in name, name != "read-only", False)


def _svd_values(item: Any) -> Iterator[tuple[str, int]]:
    for group in item.enumerated_values or []:
        for entry in group.enumerated_values:
            if entry.value is not None and not entry.is_default:
                yield entry.name, int(entry.value)


# --- SystemRDL -----------------------------------------------------------------------------------


_PERL = [":base_core", ":base_mem", ":base_loop", ":base_orig", ":base_math", "sort"]
"""What the Perl in a SystemRDL file (of its preprocessor) may do: compute and print.

Unlike the compiler's own choice it reads no files and loads nothing: a map may come from anywhere.
"""


def systemrdl(path: Path, part: str | None) -> RegisterMap:
    """The registers of one address map of a SystemRDL 2.0 file."""
    library = _library("systemrdl", "systemrdl-compiler", path)
    messages: list[str] = []

    class Printer(library.messages.MessagePrinter):  # type: ignore[name-defined,misc]
        def print_message(self, severity: Any, text: str, source: Any) -> None:
            line = getattr(source, "line", None)
            messages.append(f"line {line}: {text}" if line else text)

    compiler = library.RDLCompiler(message_printer=Printer(), perl_safe_opcodes=_PERL)
    try:
        compiler.compile_file(str(path))
        top = compiler.elaborate(top_def_name=part).top
    except Exception as error:  # the compiler's own, and what it does not catch
        cause = next(iter(messages), str(error))
        raise InvalidArgument(f'read register map "{path}": {cause}') from error
    found: dict[str, Register] = {}
    for node in top.descendants(unroll=True):
        if isinstance(node, library.node.RegNode):
            _add(found, _rdl_register(node, top), str(path))
    return RegisterMap(found, top.inst_name, _line(top.get_property("desc")))


def _rdl_register(node: Any, top: Any) -> Register:
    fields = {item.inst_name: _rdl_field(item) for item in node.fields()}
    access = _access(node.has_sw_readable, node.has_sw_writable, False)
    name = node.get_rel_path(top).replace(".", "_").replace("[", "").replace("]", "")
    width = node.get_property("regwidth") // 8
    offset = node.absolute_address - top.absolute_address
    return Register(name, offset, width, access, fields, _line(node.get_property("desc")))


def _rdl_field(node: Any) -> Field:
    onwrite = node.get_property("onwrite")
    access = _access(
        node.is_sw_readable, node.is_sw_writable, onwrite is not None and onwrite.name == "woclr"
    )
    encode = node.get_property("encode")
    values = {item.name: int(item.value) for item in encode} if encode else {}
    return Field(
        node.inst_name, node.low, node.high, access, values, _line(node.get_property("desc"))
    )


def _line(text: str | None) -> str:
    return " ".join((text or "").split())
