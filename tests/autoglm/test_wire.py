# SPDX-License-Identifier: Apache-2.0
"""Requests of the Open Inference Protocol as bytes: good ones, and everything else."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoglm.errors import InputError
from autoglm.exchange import Layout, Region
from autoglm.serve import protocol, reply, wire
from autoglm.serve.document import Document, NotPlain, Slot
from autoglm.tensor import Array, TensorSpec
from tests.autoglm import small
from tests.autoglm.serving import HEADER, binary, request

READER = wire.Reader(small.INFO)


def read(content: Any) -> wire.Request:
    return READER.read(json.dumps(content).encode(), None)


def changed(index: int, **changes: Any) -> dict[str, Any]:
    """A good request, one of its inputs changed; a change to None takes the member out."""
    content = request(small.inputs())
    entry = content["inputs"][index] | changes
    content["inputs"][index] = {name: value for name, value in entry.items() if value is not None}
    return content


def test_json() -> None:
    given = small.inputs(3, 7)
    found = read(request(given, id="seven"))
    assert found.id == "seven" and not found.form.outputs and not found.form.binary
    assert all(np.array_equal(found.inputs[name], array) for name, array in given.items())
    nested = changed(0, data=small.inputs()["x"].tolist())
    assert np.array_equal(read(nested).inputs["x"], small.inputs()["x"])


@pytest.mark.parametrize("dtype", protocol.DATATYPES)
def test_every_element_type(dtype: str) -> None:
    """Numbers that it has are read, from a list or nested ones; others are refused, and said."""
    reader = wire.Reader(replace(small.INFO, inputs=(TensorSpec("x", dtype, (2, "n")),)))

    def given(data: str) -> Array:
        entry = f'"name": "x", "datatype": "{protocol.DATATYPES[dtype]}", "shape": [2, 2]'
        return reader.read(f'{{"inputs": [{{{entry}, "data": {data}}}]}}'.encode(), None).inputs[
            "x"
        ]

    one, other, wrong = {
        "b": ("[true, false, true, true]", "[[true, false], [true, true]]", "[1, 0, 1, 1]"),
        "f": ("[1, -0.5, 2e1, 0]", "[[1, -0.5], [2e1, 0]]", "[1e999, 0, 0, 0]"),
        "V": ("[1, -0.5, 2e1, 0]", "[[1, -0.5], [2e1, 0]]", "[1e999, 0, 0, 0]"),
        "i": ("[1, -5, 127, 0]", "[[1, -5], [127, 0]]", "[1, 9223372036854775808, 0, 0]"),
        "u": ("[1, 5, 255, 0]", "[[1, 5], [255, 0]]", "[1, -1, 0, 0]"),
    }[np.dtype(dtype).kind]
    for _ in range(2):
        for text in (one, other):
            found = given(text)
            assert found.dtype == dtype and found.shape == (2, 2)
            assert found.reshape(-1).tolist() == json.loads(one)
        with pytest.raises(InputError, match=r"no JSON|what is no|that no"):
            given(wrong)
        with pytest.raises(InputError, match="3 elements, its shape wants 4"):
            given(one.rpartition(",")[0] + "]")


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs": [{"shape": [2], "data": [1, 2]}]}',
        '{"inputs": [{"data": [1, 2]}, {"shape": [0], "data" : []}], "outputs": []}',
        '{"inputs": [{"data"\n:\t[1, 2], "name": "["}]}',
        '{"inputs": [{"data": [1, 2], "parameters": {"a": [[]]}}, 3]}',
        '{"inputs": [{"data": [1], "parameters": {"data": "[2]"}}]}',
    ],
)
def test_lists_of_numbers_are_apart(text: str) -> None:
    document = Document(text.encode(), 2)
    stated: Any = document.outline()
    for entry in stated["inputs"]:
        if isinstance(entry, dict):
            size = len(json.loads(text)["inputs"][0]["data"]) if entry["data"].index == 0 else 0
            entry["data"] = document.array(entry["data"], np.dtype("int64"), size).tolist()
    assert stated == document.whole() == json.loads(text)


@pytest.mark.parametrize(
    "text",
    [
        '{"inputs": [{"shape": [2], "data": [[1], [2]]}]}',
        '{"inputs": [{"shape": [3], "data": [1, [], [2, 3]]}]}',
        '{"inputs": [{"data": ["a]b"]}]}',
        '{"inputs": [{"data": [1], "data": [2]}]}',  # the last one counts
        '{"inputs": [{"data": [1]}], "inputs": []}',
        '{"inputs": [{"parameters": {"data": [1]}}]}',
        '{"inputs": [{"\\"data": [1], "d\\u0061ta": [2]}]}',
        '{"outputs": [{"data": [1]}], "inputs": [{"d\\u0061ta": [2]}]}',
        '{"data": [1], "inputs": [{"data": 2}]}',
        '{"inputs": {"data": [1]}}',
        '[{"data": [1]}]',
        '"data": [1]',
        '{"inputs": [{"data": [1',
    ],
)
def test_other_lists_are_not(text: str) -> None:
    with pytest.raises(NotPlain):
        Document(text.encode(), 2).outline()


NUMBERS = st.lists(st.integers(-(1 << 63), (1 << 64) - 1) | st.floats(allow_nan=False), max_size=9)
ANY = st.recursive(
    st.none() | st.booleans() | st.text(max_size=5) | NUMBERS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
ENTRIES = st.fixed_dictionaries({"data": NUMBERS | ANY}, optional={"shape": ANY, "name": ANY})


@given(ANY | st.fixed_dictionaries({"inputs": st.lists(ENTRIES | ANY) | ANY}))
def test_json_is_what_it_says(content: Any) -> None:
    finite = json.loads(json.dumps(content).replace("Infinity", "1e308"))
    document = Document(json.dumps(finite).encode(), 9)
    assert document.whole() == finite
    try:
        stated: Any = document.outline()
    except NotPlain:
        return
    if not isinstance(stated, dict) or not isinstance(stated.get("inputs"), list):
        assert stated == finite
        return
    for entry, meant in zip(stated["inputs"], finite["inputs"], strict=True):
        if not isinstance(entry, dict) or not isinstance(entry.get("data"), Slot):
            assert entry == meant
            continue
        for dtype in (np.dtype("float64"), np.dtype("int64"), np.dtype("uint64")):
            try:
                array = document.array(entry["data"], dtype, len(meant["data"]))
            except NotPlain:
                continue
            assert array.tolist() == list(map(_OF_KIND[dtype.kind], meant["data"]))


_OF_KIND = {"i": int, "u": int, "f": float}


PIECES = st.sampled_from(
    (
        *("[13]", "[]", "[1, 2]", "[1.5]", "[true]", "[[13]]", "[[1], [2]", "[", "]", "13", "[]]"),
        *('["]"]', '[13], "id": 7', "[13]}]}", "\xe9", "[13,]", "[nan]", "", "[1e999]", "[1 2]"),
        "[18446744073709551616]",
        "[-0]",
        "[1e0]",
        "[01]",
        "[-]",
        "[+1]",
        "[1.]",
        "[.5]",
    )
)


IDS = st.sampled_from(
    [
        '"b"',
        '""',
        '"\\""',
        '"b\\',
        '"b"}',
        "3",
        "null",
        '"\\u0062"',
        '"b", "id": "c"',
        '"b", "c": "d"',
    ]
)


@given(PIECES, PIECES, st.sampled_from(["n", "\\u006e", "data"]), IDS)
def test_what_was_understood_changes_nothing(x: str, k: str, name: str, identifier: str) -> None:
    """A reader that has read the like answers as one that has not, right and wrong."""

    def text(x: str, k: str, name: str = "n", identifier: str = '"a"') -> bytes:
        first = f'{{"name": "x", "datatype": "FP32", "shape": [0, 64], "data": {x}}}'
        second = f'{{"name":"k","datatype":"INT64","shape":[1],"data":{k}}}'
        rest = f'"outputs": [{{"name": "{name}"}}]'
        return f'{{"id": {identifier}, "inputs": [{first}, {second}], {rest}}}'.encode()

    def outcome(reader: wire.Reader, content: bytes) -> object:
        try:
            found = reader.read(content, None)
        except InputError as error:
            return str(error)
        inputs = {key: value.tolist() for key, value in found.inputs.items()}
        return found.id, inputs, found.form.outputs

    learned = wire.Reader(small.INFO)
    learned.read(text("[]", "[5]"), None)
    assert len(learned._known) == 1
    assert outcome(learned, text("[]", "[13]")) == ("a", {"x": [], "k": [13]}, ["n"])
    for changes in ((x, k), ("[]", k), ("[]", "[6]", name), ("[]", "[7]", "n", identifier)):
        content = text(*changes)
        assert outcome(learned, content) == outcome(wire.Reader(small.INFO), content)


@pytest.mark.parametrize(
    "name", ["a", "", "ä€𝄞", "b" * 5000, "[1]", '"data": [1]', "a\\b", 'a"b', "\n"]
)
def test_any_id(name: str) -> None:
    """It is kept apart, unless it has characters that JSON writes in another way."""
    reader = wire.Reader(small.INFO)
    given = small.inputs()
    for content in ({"id": "first"} | request(given), request(given, id="first")):
        first = reader.read(json.dumps(content).encode(), None)
        text = json.dumps(content | {"id": name}, ensure_ascii=False).encode()
        found = reader.read(text, None)
        assert (first.id, found.id) == ("first", name)
        plain = name.isprintable() and not set(name) & set('"\\')
        assert (found.form is first.form) == plain
        assert np.array_equal(found.inputs["x"], given["x"])
        for model in (first, found):
            assert json.loads(reply.write("small", model, outcome([1.0], 2))[0])["id"] == model.id
    assert len(reader._known) == 2


@pytest.mark.parametrize("name", [b'"\xff"', b'"\t"', b'"a\\"', b'"a" "b"', b'"a', b"1", b'["a"]'])
def test_an_id_that_is_no_text(name: bytes) -> None:
    reader = wire.Reader(small.INFO)
    text = json.dumps(request(small.inputs(), id="first")).encode()
    for content in (text, text):
        reader.read(content, None)
        with pytest.raises(InputError):
            reader.read(content.replace(b'"first"', name), None)
    assert len(reader._known) == 1


def test_an_id_of_something_else() -> None:
    reader = wire.Reader(small.INFO)
    for number in range(3):
        content = changed(0, parameters={"id": str(number)})
        found = reader.read(json.dumps(content).encode(), None)
        assert found.id is None and np.array_equal(found.inputs["x"], small.inputs()["x"])


def test_lists_that_are_no_inputs_are_not_taken_for_them() -> None:
    content = changed(0, parameters={"data": [1, 2, 3]})
    text = json.dumps(content).replace('"data": [1, 2, 3]', '"data": [4, 5]').encode()
    other = wire.Reader(small.INFO)
    for each in (json.dumps(content).encode(), text):
        found = other.read(each, None).inputs
        assert np.array_equal(found["x"], small.inputs()["x"])
    assert not other._known


def test_a_list_beside_binary_data_is_json_too() -> None:
    """Nobody reads its numbers, but the request is one or none."""
    given = small.inputs()
    stated = changed(0, parameters={"binary_data_size": 256}, data="HERE")
    for content, good in (("[1, [2], true]", True), ("[1, 2]", True), ("[junk]", False)):
        text = json.dumps(stated).replace('"HERE"', content).encode()
        reader = wire.Reader(small.INFO)
        for _ in range(2):
            if good:
                found = reader.read(text + given["x"].tobytes(), len(text))
                assert np.array_equal(found.inputs["x"], given["x"])
            else:
                with pytest.raises(InputError, match="no JSON"):
                    reader.read(text + given["x"].tobytes(), len(text))


@pytest.mark.parametrize(("more", "kept"), [(-1, True), (0, True), (1, False)])
def test_how_much_is_kept_of_one(more: int, kept: bool) -> None:
    reader = wire.Reader(small.INFO)
    given = small.inputs(3)
    bare = json.dumps(request(given, parameters={"x": ""}))
    around = len(bare) - sum(
        len(json.dumps(array.reshape(-1).tolist())) for array in given.values()
    )
    text = json.dumps(request(given, parameters={"x": "x" * (wire.LONGEST_KNOWN - around + more)}))
    reader.read(text.encode(), None)
    assert len(reader._known) == kept


def test_how_many_are_kept() -> None:
    reader = wire.Reader(small.INFO)
    for number in range(wire.MOST_KNOWN + 1):
        content = request(small.inputs(), parameters={"x": number})
        reader.read(json.dumps(content).encode(), None)
        assert len(reader._known) == (number % wire.MOST_KNOWN) + 1


def test_binary_without_a_copy() -> None:
    given = small.inputs(3)
    body, headers = binary(given, parameters={"binary_data_output": True})
    found = READER.read(body, int(headers[HEADER]))
    assert found.form.binary == {"y", "n"}
    assert not found.inputs["x"].flags.owndata and not found.inputs["x"].flags.writeable
    assert all(np.array_equal(found.inputs[name], array) for name, array in given.items())


def outcome(y: list[float], n: int) -> Layout:
    """Outputs as a worker gives them."""
    arrays: dict[str, Array] = {"y": np.array([y], np.float32), "n": np.array([n], np.int64)}
    region = Region.make()
    try:
        return region.take(region.put(arrays))
    finally:
        region.close()


def test_answers() -> None:
    outputs = outcome([1.5, np.nan], 3)
    plain, head = reply.write("small", read(request(small.inputs(), id="a")), outputs)
    assert head is None
    assert json.loads(plain) == {
        "model_name": "small",
        "model_version": "1",
        "id": "a",
        "outputs": [
            {"name": "y", "datatype": "FP32", "shape": [1, 2], "data": [1.5, None]},
            {"name": "n", "datatype": "INT64", "shape": [1], "data": [3]},
        ],
    }
    wanted = [{"name": "n"}, {"name": "y", "parameters": {"binary_data": True}}]
    asked = read(request(small.inputs(), outputs=wanted))
    for y, n in (([1.5, np.nan], 3), ([2.5, np.inf], 4), ([0.0, 1.0, 2.0], 5), ([], 6)):
        mixed, head = reply.write("small", asked, outcome(y, n))
        assert head is not None
        stated = json.loads(mixed[:head])["outputs"]
        assert [each["name"] for each in stated] == ["n", "y"] and stated[0]["data"] == [n]
        assert stated[1]["shape"] == [1, len(y)] and "data" not in stated[1]
        assert stated[1]["parameters"] == {"binary_data_size": 4 * len(y)}
        found = np.frombuffer(mixed[head:], np.float32)
        assert np.array_equal(found, np.array(y, np.float32), equal_nan=True)
    assert len(asked.form.answers) == 3


def test_how_many_answers_are_kept() -> None:
    asked = read(request(small.inputs()))
    for length in range(reply.MOST_KNOWN + 1):
        reply.write("small", asked, outcome([0.0] * length, 1))
        assert len(asked.form.answers) == length % reply.MOST_KNOWN + 1


HOSTILE: dict[str, tuple[Any, str]] = {
    "no object": ([], "the request is an object"),
    "no inputs": ({}, "inputs is a list"),
    "inputs of another type": ({"inputs": "x"}, "inputs is a list"),
    "an input of another type": ({"inputs": [3]}, r"inputs\[0\] is an object"),
    "no such input": (changed(0, name="z"), "no input 'z'; there are: x: float32"),
    "a name of another type": (changed(0, name=["x"]), "no input"),
    "the same twice": ({"inputs": request(small.inputs())["inputs"] * 2}, "is there twice"),
    "another datatype": (changed(0, datatype="FP64"), "datatype 'FP64', the model takes 'FP32'"),
    "no datatype": (changed(0, datatype=None), "datatype None"),
    "no shape": (changed(0, shape=None), "shape is a list"),
    "a huge shape": (changed(0, shape=[1 << 40, 64]), "1 elements, its|64 elements, its shape"),
    "an overflowing shape": (changed(0, shape=[1 << 62, 64]), "whole numbers"),
    "a negative extent": (changed(0, shape=[-1, 64]), "whole numbers, 0 or more"),
    "an extent that is no number": (changed(0, shape=[True, 64]), "whole numbers"),
    "too many extents": (changed(0, shape=[1] * 1000), "at most 32"),
    "a shape that does not fit": (changed(0, shape=[1, 63]), r"shape \[1, 63\], the model takes"),
    "no data": (changed(0, data=None), "data is a list"),
    "too little data": (changed(0, data=[1.0]), "1 elements, its shape wants 64"),
    "texts": (changed(0, data=["a"] * 64), "no float32"),
    "nothing": (changed(0, data=[None] * 64), "no float32"),
    "truths": (changed(0, data=[True] * 64), "no float32"),
    "objects": (changed(0, data=[{}] * 64), "no float32"),
    "ragged": (changed(0, data=[[1.0], [1.0, 2.0]]), "no array of one shape"),
    "nested otherwise": (changed(0, data=[[1.0, 2.0]] * 32), r"of shape \[32, 2\]"),
    "too large for the type": (changed(0, data=[1e300] * 64), "numbers that no float32 has"),
    "halves for whole numbers": (changed(1, data=[1.5]), "no int64"),
    "a whole number too large": (changed(1, data=[1 << 63]), "no int64 has|no int64"),
    "an id that is no text": (request(small.inputs(), id=3), "id is a text"),
    "no such output": (request(small.inputs(), outputs=[{"name": "q"}]), "no output 'q'"),
    "an output twice": (request(small.inputs(), outputs=[{"name": "y"}] * 2), "there twice"),
    "a flag that is none": (
        request(small.inputs(), parameters={"binary_data_output": 1}),
        "true or false",
    ),
    "a size that is none": (changed(0, parameters={"binary_data_size": -1}), "number of bytes"),
    "a size beyond": (changed(0, parameters={"binary_data_size": 256}), "0 are left"),
    "parameters of another type": (changed(0, parameters=[]), "parameters is an object"),
}


@pytest.mark.parametrize(("content", "says"), HOSTILE.values(), ids=HOSTILE.keys())
def test_what_does_not_fit(content: Any, says: str) -> None:
    with pytest.raises(InputError, match=says):
        read(content)


@pytest.mark.parametrize(
    "body", [b"", b"{", b"\xff", b'{"inputs":' + b"[" * 100_000, b'{"id": NaN, "inputs": []}'],
)  # fmt: skip
def test_no_json(body: bytes) -> None:
    with pytest.raises(InputError, match="no JSON"):
        READER.read(body, None)


def test_bytes_that_are_not_named() -> None:
    body, headers = binary(small.inputs())
    with pytest.raises(InputError, match="3 bytes follow"):
        READER.read(body + b"abc", int(headers[HEADER]))
    with pytest.raises(InputError, match="by its header, the body has"):
        READER.read(body, len(body) + 1)
    with pytest.raises(InputError, match="are left"):
        READER.read(body[:-1], int(headers[HEADER]))


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from(["name", "shape", "datatype", "data", "parameters", "inputs"])
            | st.text(max_size=4),
            inner,
            max_size=5,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.sampled_from(["name", "shape", "datatype", "data", "parameters"]), _JSON, st.integers(0, 1)
)
def test_any_member_may_be_anything(member: str, value: Any, index: int) -> None:
    content = changed(index, **{member: value})
    try:
        found = read(content)
    except InputError:
        return
    for name, array in found.inputs.items():
        (spec,) = (spec for spec in small.INFO.inputs if spec.name == name)
        assert array.dtype == spec.dtype and array.ndim == len(spec.shape)


@settings(max_examples=50, deadline=None)
@given(st.binary(max_size=200), st.none() | st.integers(0, 300))
def test_any_bytes(body: bytes, length: int | None) -> None:
    with pytest.raises(InputError):
        READER.read(body, length)
