# SPDX-License-Identifier: Apache-2.0
"""Answers to requests to run a model, as bytes: the Open Inference Protocol (`protocol`).

What is said around the arrays is the same for requests of one form, and made once.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import numpy as np
import orjson

from ..exchange import Layout
from ..tensor import Array
from . import protocol
from .wire import Form, Request

MOST_KNOWN: Final = 16
"""How many are kept for one form of request: outputs of other shapes are another."""


def write(model: str, request: Request, outputs: Layout) -> tuple[bytes, int | None]:
    """The answer to a request.

    Args:
        model: Name of the one that ran.
        request: What was asked for.
        outputs: What the model gave.

    Returns:
        The body, and how many bytes of it are JSON when arrays follow, else None. JSON has no
        number for what is infinite or none (NaN): it is null there; in binary it is as it is.
    """
    form = request.form
    words = form.answers.get(outputs.description)
    if words is None:
        if len(form.answers) >= MOST_KNOWN:
            form.answers.clear()
        words = form.answers[outputs.description] = Words(model, form, outputs.views)
    return words.around(outputs.views, request.id)


def headers(content: bytes, head: int | None) -> list[tuple[bytes, bytes]]:
    """Those of an answer.

    Args:
        content: Its body.
        head: As `write` gave it.
    """
    found = [(b"content-length", b"%d" % len(content))]
    if head is None:
        found.append((b"content-type", protocol.JSON))
    else:
        found += [(b"content-type", protocol.BINARY), (protocol.FIELD, b"%d" % head)]
    return found


class Words:
    """What an answer says around its arrays.

    Args:
        model: Name of the one that ran.
        form: Of the request.
        outputs: Arrays of the names, types and shapes of all that it is for.
    """

    def __init__(self, model: str, form: Form, outputs: Mapping[str, Array]) -> None:
        self._lists: list[tuple[bytes, str]] = []
        self._arrays: list[str] = []
        said = orjson.dumps({"model_name": model, "model_version": protocol.VERSION})
        said = said[:-1] + b',"outputs":['
        for name in form.outputs or outputs:
            binary = name in form.binary
            entry = orjson.dumps(_entry(name, outputs[name], binary=binary))
            if binary:
                self._arrays.append(name)
                said += entry + b","
            else:
                self._lists.append((said + entry[:-1] + b',"data":', name))
                said = b"},"
        self._last = said.removesuffix(b",")

    def around(self, outputs: Mapping[str, Array], of: str | None) -> tuple[bytes, int | None]:
        """The answer with these outputs, as of `write`, to a request of that ``id``."""
        pieces: list[bytes] = []
        for said, name in self._lists:
            pieces += (said, _numbers(outputs[name]))
        end = b"]}" if of is None else b'],"id":' + orjson.dumps(of) + b"}"
        pieces += (self._last, end)
        if not self._arrays:
            return b"".join(pieces), None
        head = sum(map(len, pieces))
        pieces += [outputs[name].tobytes() for name in self._arrays]
        return b"".join(pieces), head


def _entry(name: str, array: Array, *, binary: bool) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "shape": array.shape, "datatype": _datatype(array.dtype)}
    if binary:
        entry["parameters"] = {"binary_data_size": array.nbytes}
    return entry


def _numbers(array: Array) -> bytes:
    """As a list; the JSON writer knows numpy's own types."""
    flat = array.reshape(-1)
    plain = flat.astype(np.float32) if array.dtype.kind == "V" else flat
    return orjson.dumps(plain, option=orjson.OPT_SERIALIZE_NUMPY)


@cache
def _datatype(dtype: np.dtype[Any]) -> str:
    return protocol.DATATYPES[dtype.name]
