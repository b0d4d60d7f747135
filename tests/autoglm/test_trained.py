# SPDX-License-Identifier: Apache-2.0
"""Trained models compiled: what they compute is what the source model does, and it makes sense."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

import autoglm
from autoglm.artifact import Artifact
from autoglm.tensor import Array

from . import models
from .conftest import Compile
from .pictures import HELLO, line, picture, pixels

RATE = 16000


def _source(path: Path, inputs: dict[str, Array]) -> list[Array]:
    """What the source model says, by ONNX Runtime as it comes."""
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    return [np.asarray(array) for array in session.run(None, inputs)]


def _near(got: dict[str, Array], wanted: list[Array]) -> None:
    assert len(got) == len(wanted)
    for array, want in zip(got.values(), wanted, strict=True):
        np.testing.assert_allclose(array, want, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "name", ["silero_vad", "magika", "ocr_classifier", "ocr_detector", "ocr_recogniser", "minilm"]
)
def test_the_artifact_says_how_right_and_how_fast(trained: Compile, name: str) -> None:
    with Artifact(trained(name)) as read:
        read.verify()
        (program,) = read.manifest.programs
        assert program.accuracy
        assert program.accuracy.reference.startswith("onnxruntime ")
        assert 0 <= program.accuracy.worst < 1e-3
        assert program.latency
        assert 0 < program.latency.median_ms <= program.latency.p99_ms
        assert read.manifest.source


# ---- silero-vad: is there speech? ----------------------------------------------------------------


@pytest.fixture(scope="module")
def speech() -> Array:
    """Half a second of silence, a sentence, a second of silence; 16 kHz."""
    said = subprocess.run(
        ["espeak-ng", "--stdout", "-v", "en", "The temperature of the machine is twenty degrees"],
        check=True,
        capture_output=True,
    ).stdout
    rate = int.from_bytes(said[24:28], "little")  # of a RIFF header of 44 bytes
    samples = np.frombuffer(said[44:], np.int16).astype(np.float32) / 32768
    at = np.arange(len(samples) * RATE // rate) * rate / RATE
    voice = np.interp(at, np.arange(len(samples)), samples)
    quiet = np.zeros(RATE // 2, np.float32)
    return np.concatenate([quiet, voice, quiet, quiet]).astype(np.float32)


def _frames(samples: Array) -> Iterator[Array]:
    """512 samples each, with the 64 before them."""
    for start in range(0, len(samples) - 511, 512):
        before = samples[max(0, start - 64) : start]
        frame = np.concatenate([np.zeros(64 - len(before)), before, samples[start : start + 512]])
        yield frame[np.newaxis].astype(np.float32)


def test_silero_vad_hears_speech_and_keeps_its_state(trained: Compile, speech: Array) -> None:
    session = onnxruntime.InferenceSession(str(models.silero_vad()))
    state = wanted_state = np.zeros((2, 1, 128), np.float32)
    heard = []
    with autoglm.load(trained("silero_vad")) as model:
        for frame in _frames(speech):
            found = model({"input": frame, "state": state})
            wanted, wanted_state = session.run(
                None, {"input": frame, "state": wanted_state, "sr": np.array(RATE)}
            )
            state = found["stateN"]
            np.testing.assert_allclose(found["output"], wanted, atol=1e-3)
            np.testing.assert_allclose(state, wanted_state, atol=1e-3)
            heard.append(float(found["output"][0, 0]))
    spoken = [probability > 0.5 for probability in heard]
    assert not any(spoken[:15]), "half a second of silence"
    assert not any(spoken[-20:]), "and more at the end"
    assert sum(spoken) > 0.7 * (len(spoken) - 45), "most of the sentence"


# ---- PP-OCR: text in pictures --------------------------------------------------------------------


def test_ocr_classifier_knows_what_is_upside_down(trained: Compile) -> None:
    upright = line()
    with autoglm.load(trained("ocr_classifier")) as model:
        for picture, turned in ((upright, 0), (upright.rotate(180), 1)):
            inputs = {"x": pixels(picture)}
            found = model(inputs)
            _near(found, _source(models.ocr_classifier(), inputs))
            assert int(next(iter(found.values())).argmax()) == turned


def test_ocr_detector_finds_the_line(trained: Compile) -> None:
    inputs = {"x": pixels(picture((320, 192), (60, 70), "Hello world"))}
    with autoglm.load(trained("ocr_detector")) as model:
        found = model(inputs)
    _near(found, _source(models.ocr_detector(), inputs))
    rows, columns = np.nonzero(next(iter(found.values()))[0, 0] > 0.5)
    assert 60 <= columns.min() < 80
    assert 220 < columns.max() <= 245
    assert 70 <= rows.min() < rows.max() <= 105


def test_ocr_recogniser_reads(trained: Compile) -> None:
    session = onnxruntime.InferenceSession(str(models.ocr_recogniser()))
    letters = ["", *session.get_modelmeta().custom_metadata_map["character"].split("\n"), " "]
    inputs = {"x": pixels(picture((320, 48), (8, 5), HELLO))}
    with autoglm.load(trained("ocr_recogniser")) as model:
        found = model(inputs)
    _near(found, session.run(None, inputs))
    best = next(iter(found.values()))[0].argmax(-1)
    assert "".join(letters[number] for number, _ in groupby(best)) == HELLO


# ---- magika: what is this file? ------------------------------------------------------------------


def _bytes_of(path: Path) -> Array:
    """The first and last 1024 of 4096 at each end, blanks around them left out; 256 where none."""
    data = path.read_bytes()
    first, last = data[:4096].lstrip()[:1024], data[-4096:].rstrip()[-1024:]
    numbers = [*first, *[256] * (1024 - len(first)), *[256] * (1024 - len(last)), *last]
    return np.array([numbers], np.int32)


def test_magika_knows_files(trained: Compile, tmp_path: Path) -> None:
    root = Path(__file__).parents[2]
    drawn, plain = tmp_path / "picture", tmp_path / "plain"
    picture((64, 64), (4, 4), "x").save(drawn, "PNG")
    plain.write_text(json.dumps({"name": "value", "numbers": list(range(300))}, indent=1))
    known = {
        root / "autoglm" / "artifact.py": "python",
        root / "csrc" / "registry.c": "c",
        root / "tools" / "bootstrap": "shell",
        root / "README.md": "markdown",
        Path("/bin/true"): "elf",
        drawn: "png",
        plain: "json",
        models.magika(): "onnx",
    }
    labels = json.loads(models.magika().with_name("config.min.json").read_text())
    names = labels["target_labels_space"]
    inputs = {"bytes": np.concatenate([_bytes_of(path) for path in known])}
    with autoglm.load(trained("magika")) as model:
        found = model(inputs)
    _near(found, _source(models.magika(), inputs))
    told = [names[number] for number in next(iter(found.values())).argmax(-1)]
    assert told == list(known.values())


# ---- MiniLM: which sentences mean the same? ------------------------------------------------------

VOCABULARY = """
a 1037 man 2158 plays 3248 guitar 2858 someone 2619 music 2189 the 1996 dog 3899 ran 2743
across 2408 on 2006 street 2395 animal 4111 cat 4937 woman 2450 sleeping 5777 price 3976
of 1997 stock 4518 fell 3062 rose 3123 today 2651 market 3006
"""  # of bert-base-uncased
WORDS = {word: int(number) for word, number in re.findall(r"(\w+) (\d+)", VOCABULARY)}
"""What is not a word: 101 begins a text, 102 ends one, 0 fills up."""

PAIRS = [
    ("a man plays guitar", "someone plays music", "the price of stock fell today"),
    ("the dog ran across the street", "the animal ran on the street", "a woman sleeping"),
    ("the price of stock fell today", "the market rose today", "the cat sleeping"),
]


def _tokens(texts: tuple[str, ...]) -> dict[str, Array]:
    rows = [[101, *(WORDS[word] for word in text.split()), 102] for text in texts]
    width = max(map(len, rows))
    ids = np.array([row + [0] * (width - len(row)) for row in rows], np.int64)
    mask = (ids != 0).astype(np.int64)
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}


@pytest.mark.parametrize("texts", PAIRS)
def test_minilm_knows_which_sentences_are_near(trained: Compile, texts: tuple[str, ...]) -> None:
    inputs = _tokens(texts)
    with autoglm.load(trained("minilm")) as model:
        found = model(inputs)
    _near(found, _source(models.minilm(), inputs))
    mask = inputs["attention_mask"][:, :, np.newaxis]
    means = (next(iter(found.values())) * mask).sum(1) / mask.sum(1)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    near, far = float(means[0] @ means[1]), float(means[0] @ means[2])
    assert near > 0.3 > far
