# SPDX-License-Identifier: Apache-2.0
"""JSON from outside takes a bounded memory."""

from __future__ import annotations

import json
import tracemalloc

import orjson
import pytest

from autoglm.errors import InputError
from autoglm.serve import bounded_json, wire
from autoglm.serve.bounded_json import loads
from tests.autoglm import small
from tests.autoglm.serving import request

MOST = 100_000


@pytest.fixture(autouse=True)
def _smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bounded_json, "LARGEST", MOST)


@pytest.mark.parametrize(
    ("one", "cost"),
    [("1", 0), ("1.5e9", 0), ('"ab"', 0), ("[]", 64), ("{}", 256), ('{"a":1}', 256)],
)
def test_the_bound(one: str, cost: int) -> None:
    most = MOST // (64 + cost)  # commas between them, and the bracket around them
    for count in (most - 1, most):
        assert len(loads(f"[{','.join([one] * count)}]".encode(), "it")) == count
    with pytest.raises(InputError, match=r"it has too many values.*flat lists of numbers"):
        loads(f"[{','.join([one] * (most + 1))}]".encode(), "it")


@pytest.mark.parametrize("one", ["1.5", "12345", '"ab"', "[]", "[1.5]", '{"a":1.5}', '{"a":{}}'])
def test_what_is_within_takes_no_more(one: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The costs are no less than what objects take here."""
    text = f"[{','.join([one] * 50_000)}]".encode()
    monkeypatch.setattr(bounded_json, "LARGEST", len(text))
    costs = bounded_json._cost(text)
    tracemalloc.start()
    found = orjson.loads(text)
    taken = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    assert len(found) == 50_000 and taken < costs


def test_a_short_one_is_not_counted() -> None:
    text = b"[" + b"," * (MOST // 256 - 1)
    with pytest.raises(InputError, match="no JSON"):
        loads(text, "it")


@pytest.mark.parametrize("text", [b"", b"[", b"\xff", b"[" * 100])
def test_no_json(text: bytes) -> None:
    with pytest.raises(InputError, match="it is no JSON: "):
        loads(text, "it")


def test_flat_lists_of_numbers_do_not_count() -> None:
    inputs = small.inputs(rows=MOST // 64 // small.WIDTH + 1)
    reader = wire.Reader(small.INFO)
    stated = request(inputs)
    assert reader.read(json.dumps(stated).encode(), None).inputs["x"].size > MOST // 64
    stated["inputs"][0]["data"] = inputs["x"].tolist()
    with pytest.raises(InputError, match="the request has too many values"):
        reader.read(json.dumps(stated).encode(), None)
