# SPDX-License-Identifier: Apache-2.0
"""Language models: token by token what the transformers library generates, alone and together."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import queue
import re
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import autoglm
from autoglm import errors, recipes
from autoglm.artifact import Artifact
from autoglm.commands.compile import cli as compile_command
from autoglm.commands.runtime import cli as runtime_command
from autoglm.decoder import LanguageModel, Sampling, compiler, load
from autoglm.decoder.asked import Asked
from autoglm.decoder.batching import PIECE
from autoglm.decoder.config import DecoderConfig
from autoglm.decoder.graph import cached
from autoglm.decoder.language_model import Opened
from autoglm.decoder.sampling import Sampler
from autoglm.decoder.text import Stops
from autoglm.decoder.worker import Worker
from tests.native import ROOT

from .languages import Peer, Spoken

PROMPTS = [[5], [7, 7, 7], list(range(3, 40)), [(11 * n) % 390 for n in range(2 * PIECE + 5)]]
COUNT = 40


def answer(
    model: LanguageModel, prompt: str | Sequence[int], sampling: Sampling
) -> tuple[list[int], str]:
    """The tokens of an answer, and why it ended."""
    tokens: list[int] = []
    ended = threading.Event()
    why: list[str] = []

    def sink(event: int | str | errors.Error) -> None:
        if isinstance(event, int):
            tokens.append(event)
        else:
            why.append(str(event))
            ended.set()

    prompt = model.text.encode(prompt) if isinstance(prompt, str) else prompt
    model.answers.submit(prompt, sampling, sink)
    assert ended.wait(60)
    return tokens, why[0]


def until(true: Callable[[], bool]) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end
        time.sleep(0.002)


def past_ends(count: int = COUNT, **options: float) -> Sampling:
    return Sampling(max_tokens=count, ignore_end=True, **options)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def model(qwen: Spoken) -> Iterator[LanguageModel]:
    with load(qwen.artifact, slots=3, capacity=400, threads=1) as loaded:
        yield loaded


# ---- what transformers says ----------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["qwen2", "qwen3"])
def test_greedy_is_transformers_token_by_token(
    kind: str, languages: Callable[[str], Spoken]
) -> None:
    spoken = languages(kind)
    peer = Peer(spoken.folder)
    with load(spoken.artifact, slots=2, threads=1) as model:
        for prompt in PROMPTS:
            found, why = answer(model, prompt, past_ends())
            assert found == peer.greedy(prompt, COUNT)
            assert why == "length"
            assert len(set(found)) > 10  # and no repetition of few


def test_repetition_penalty_is_transformers(qwen: Spoken, model: LanguageModel) -> None:
    found, _ = answer(model, PROMPTS[2], past_ends(repetition_penalty=1.3))
    assert found == Peer(qwen.folder).greedy(PROMPTS[2], COUNT, repetition_penalty=1.3)


def test_text_and_chat_are_transformers(qwen: Spoken, model: LanguageModel) -> None:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(qwen.folder)
    text = "A driver's café: 0x1F, naïve — 日本 <|im_end|>"
    tokens = model.text.encode(text)
    assert tokens == tokenizer(text)["input_ids"]
    assert model.text.decode(tokens) == tokenizer.decode(tokens, skip_special_tokens=True)
    messages = [{"role": "user", "content": " hello "}, {"role": "assistant", "content": "yes"}]
    wanted = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    assert model.text.chat(messages) == tokenizer(wanted)["input_ids"]


@pytest.mark.parametrize(
    "options",
    [
        {"temperature": 0.7},
        {"temperature": 1.3, "top_k": 5},
        {"temperature": 1.0, "top_p": 0.6},
        {"temperature": 0.8, "top_k": 20, "top_p": 0.9, "repetition_penalty": 1.4},
    ],
)
def test_draws_have_the_chances_that_transformers_gives(options: dict[str, float]) -> None:
    import torch
    from transformers import LogitsProcessorList
    from transformers.generation.logits_process import (
        RepetitionPenaltyLogitsProcessor,
        TemperatureLogitsWarper,
        TopKLogitsWarper,
        TopPLogitsWarper,
    )

    logits = np.random.default_rng(3).standard_normal(64).astype(np.float32) * 2
    prompt = [1, 2, 40]
    steps = LogitsProcessorList()
    if "repetition_penalty" in options:
        steps.append(RepetitionPenaltyLogitsProcessor(options["repetition_penalty"]))
    steps.append(TemperatureLogitsWarper(options["temperature"]))
    if "top_k" in options:
        steps.append(TopKLogitsWarper(int(options["top_k"])))
    if "top_p" in options:
        steps.append(TopPLogitsWarper(options["top_p"]))
    tokens: Any = torch.tensor([prompt])
    scores: Any = steps(tokens, torch.tensor(logits)[None])
    wanted = torch.softmax(scores, -1)[0].numpy()
    draws = 4000
    found = np.zeros(64)
    for seed in range(draws):
        found[Sampler(Sampling(seed=seed, **options), prompt).choose(logits)] += 1  # type: ignore[arg-type]
    assert set(np.flatnonzero(found)) <= set(np.flatnonzero(wanted))
    allowed = 5 * np.sqrt(wanted * (1 - wanted) * draws) + 1  # five standard deviations
    assert (np.abs(found - wanted * draws) <= allowed).all()


def test_penalties_of_the_answer() -> None:
    logits = np.array([1.0, 0.9, 0.5], np.float32)
    chosen = Sampler(Sampling(presence_penalty=0.2), [0])
    assert [chosen.choose(logits) for _ in range(3)] == [0, 1, 0]
    often = Sampler(Sampling(frequency_penalty=0.3), [])
    assert [often.choose(logits) for _ in range(6)] == [0, 1, 0, 1, 2, 0]
    with pytest.raises(errors.Error, match="not finite"):
        often.choose(np.array([np.nan, 1, 2], np.float32))


# ---- together ------------------------------------------------------------------------------------


def test_together_is_as_alone(model: LanguageModel) -> None:
    """More requests than slots, of all lengths, with seeds: each has its own answer."""
    asked = [
        (prompt, past_ends(count, seed=seed, temperature=temperature))
        for seed, (prompt, count, temperature) in enumerate(
            itertools.product(PROMPTS, (1, 9, 30), (0.0, 1.0))
        )
    ]
    alone = [answer(model, *each) for each in asked]
    found: dict[int, tuple[list[int], str]] = {}

    def ask(number: int) -> None:
        found[number] = answer(model, *asked[number])

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(asked))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [found[number] for number in range(len(asked))] == alone
    drawn = [tokens for tokens, _ in alone[1::2]]
    assert len({tuple(each) for each in drawn}) > len(drawn) // 2
    assert model.answers.counts == (0, 0)


def test_one_who_leaves_frees_the_slot(qwen: Spoken) -> None:
    with load(qwen.artifact, slots=1, capacity=512, waiting=2, threads=1) as model:
        wanted, _ = answer(model, [5], past_ends(8))
        told: list[int | str | errors.Error] = []
        held = threading.Event()

        def hold(event: int | str | errors.Error) -> None:
            told.append(event)
            held.wait(60)

        first = model.answers.submit([5], past_ends(500), hold)
        until(lambda: bool(told))
        found: queue.SimpleQueue[int | str | errors.Error] = queue.SimpleQueue()
        for _ in range(2):
            model.answers.submit([5], past_ends(8), found.put)
        assert model.answers.counts == (1, 2)
        with pytest.raises(errors.Overloaded, match="2 requests wait"):
            next(model.generate([5], past_ends(8)))
        first.cancel()
        held.set()
        assert [list(iter(found.get, "length")) for _ in range(2)] == [wanted, wanted]
        assert len(told) == 1


def test_async_and_cancelled(model: LanguageModel) -> None:
    async def first_pieces() -> str:
        pieces = model.agenerate("A driver", past_ends(300))
        text = (await anext(pieces)).text
        await pieces.aclose()
        await asyncio.to_thread(until, lambda: model.answers.counts == (0, 0))
        return text

    assert asyncio.run(first_pieces())


def test_its_room_ends_an_answer(qwen: Spoken) -> None:
    with load(qwen.artifact, slots=1, capacity=32, threads=1) as model:
        tokens, why = answer(model, list(range(10)), past_ends(100))
        assert (len(tokens), why) == (32 - 10 + 1, "capacity")  # the last one is not read any more
        assert answer(model, list(range(10)), past_ends(23)) == (tokens, "length")
        for prompt, text in (
            ([], "empty"),
            (list(range(32)), "32 tokens"),
            ([400], "not from 0 to 399"),
        ):
            with pytest.raises(errors.InputError, match=text):
                next(model.generate(prompt))


# ---- stops ---------------------------------------------------------------------------------------


def test_stop_strings(model: LanguageModel) -> None:
    sampling = past_ends(60)
    whole = "".join(piece.text for piece in model.generate("A driver", sampling))
    stop = whole[10:14]
    end = whole.index(stop)
    pieces = list(model.generate("A driver", sampling, ["never in it", stop]))
    assert "".join(piece.text for piece in pieces) == whole[:end]
    assert [piece.finish for piece in pieces[-1:]] == ["stop"]
    assert all(not piece.finish for piece in pieces[:-1])


def test_stop_held_back(model: LanguageModel) -> None:
    stops = Stops(model.text, ["name. Go"])
    said = [stops.add(token) for token in model.text.encode("under a name. Grüße")]
    assert "".join(said) + stops.rest() == "under a name. Grüße"
    assert not any("name" in each for each in said[:-4])
    with pytest.raises(errors.InputError, match="at most 16 strings"):
        Stops(model.text, [""])


def test_the_end_token_ends(qwen: Spoken, model: LanguageModel) -> None:
    """A prompt whose answer has the end token is found by its free run."""
    (end,) = Opened(qwen.artifact).ends
    for seed in range(200):
        free, _ = answer(model, PROMPTS[1], past_ends(60, seed=seed, temperature=2.0))
        if end in free:
            break
    ended, why = answer(model, PROMPTS[1], Sampling(max_tokens=60, seed=seed, temperature=2.0))
    assert (ended, why) == (free[: free.index(end)], "stop")


# ---- a process that dies -------------------------------------------------------------------------


def test_a_killed_process_loses_nothing(qwen: Spoken, model: LanguageModel) -> None:
    asked = [(PROMPTS[2], past_ends(200)), (PROMPTS[1], past_ends(200, temperature=1.0, seed=9))]
    wanted = [answer(model, *each) for each in asked]
    worker = Worker(qwen.artifact, slots=2, capacity=400, threads=1)
    try:
        spoken = LanguageModel(model.info, model.text, worker)
        seen, found = threading.Semaphore(0), {}

        def ask(number: int) -> None:
            tokens: list[int] = []
            ended = threading.Event()

            def sink(event: int | str | errors.Error) -> None:
                tokens.append(event) if isinstance(event, int) else ended.set()
                seen.release()

            spoken.answers.submit(*asked[number], sink)
            assert ended.wait(120)
            found[number] = tokens

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(2)]
        for thread in threads:
            thread.start()
        for killed in (1, 2):
            for _ in range(20):
                seen.acquire()
            os.kill(worker.pid, signal.SIGKILL)
            until(lambda killed=killed: worker.deaths == killed and worker.ready)  # type: ignore[misc]
        for thread in threads:
            thread.join()
        assert [found[number] for number in range(2)] == [tokens for tokens, _ in wanted]
        assert worker.deaths == 2
    finally:
        worker.close()


def test_a_worker_that_cannot_load(tmp_path: Path, qwen: Spoken) -> None:
    data = bytearray(qwen.artifact.read_bytes())
    with Artifact(qwen.artifact) as artifact:
        blob = artifact.manifest.programs[0].files["weights"]
        data[artifact.manifest.blobs[blob].offset] ^= 1
    (tmp_path / "altered.glm").write_bytes(data)
    with pytest.raises(errors.AlteredArtifact):
        Worker(tmp_path / "altered.glm", slots=1, capacity=64)


# ---- compiling -----------------------------------------------------------------------------------


def test_artifact_says_what_it_is(qwen: Spoken) -> None:
    with Artifact(qwen.artifact) as artifact:
        info, (program,) = artifact.manifest.model, artifact.manifest.programs
    assert info.family == "decoder"
    assert info.details["weights"] == str(qwen.folder)
    assert program.accuracy is not None and 0 < program.accuracy.worst < 1e-3
    assert program.latency is not None and program.latency.median_ms > 0


def test_random_weights_only_when_asked(tmp_path: Path) -> None:
    config = tmp_path / "config.json"
    given = dict(recipes.RECIPES["qwen3"]) | {
        "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "head_dim": 16,
        "num_attention_heads": 2, "num_key_value_heads": 1, "max_position_embeddings": 128,
    }  # fmt: skip
    config.write_text(json.dumps(given))
    output = tmp_path / "qwen3.glm"
    with pytest.raises(
        errors.ModelError, match=r"--weights DIR.*--random-weights.*Nothing is down"
    ):
        autoglm.compile("qwen3", output=output)
    with pytest.raises(errors.ModelError, match=r"--weights .* and --random-weights exclude"):
        recipes.read("qwen3", tmp_path, weights=tmp_path, random_weights=True)
    with pytest.raises(errors.ModelError, match=r"--weights .* and --config exclude"):
        recipes.read("qwen3", tmp_path, weights=tmp_path, config=config)
    with pytest.raises(errors.ModelError, match="of a 'qwen3', the recipe of a 'qwen2'"):
        autoglm.compile("qwen", output=output, random_weights=True, config=config)
    assert not output.exists()
    targets = ["cpu", "aarch64"]
    autoglm.compile("qwen3", targets, output=output, random_weights=True, config=config)
    with load(output) as model:
        assert model.info.details["weights"] == "random, seed 0"
        assert model.text.decode(model.text.encode("Grüße")) == "Grüße"
        tokens = model.text.chat([{"role": "user", "content": "hi"}])
        assert answer(model, tokens, past_ends(5))[1] == "length"
    with Artifact(output) as artifact:
        here, elsewhere = artifact.manifest.programs
    assert here.latency and elsewhere.accuracy == here.accuracy is not None
    assert elsewhere.latency is None
    assert elsewhere.unchecked.startswith("not timed: the graph is any processor's")


def test_a_wrong_graph_is_not_written(
    qwen: Spoken, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def other(config: DecoderConfig) -> object:
        return cached(DecoderConfig.from_json(config.to_json() | {"epsilon": 0.05}))

    monkeypatch.setattr(compiler, "cached", other)
    with pytest.raises(errors.AccuracyError, match="logits differ"):
        compiler.make(str(qwen.folder), tmp_path, [autoglm.target.Target("cpu")], Asked())


def _without(name: str) -> Callable[[Path], None]:
    return lambda folder: (folder / name).unlink()


def _with(**changes: object) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


def _cut(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1000])


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (_without("tokenizer.json"), "no tokenizer.json"),
        (_without("config.json"), "No such file"),
        (_without("model.safetensors"), "cannot be read"),
        (_cut, "cannot be read"),
        (_with(model_type="llama"), "'llama'; there are: qwen2, qwen3"),
        (_with(hidden_size=128), "do not fit config.json"),
        (_with(num_hidden_layers=9), "no tensor 'model.layers.3."),
        (_with(vocab_size=10**9), "vocabulary is 1000000000"),
        (_with(use_sliding_window=True), "sliding window"),
        (_with(rope_parameters={"rope_type": "yarn", "rope_theta": 1e4}), "'yarn'"),
        (_with(quantization_config={"quant_method": "gptq"}), "quantised"),
    ],
)
def test_folders_that_are_refused(
    damage: Callable[[Path], None], text: str, qwen: Spoken, tmp_path: Path
) -> None:
    folder, made = tmp_path / "model", tmp_path / "made"
    shutil.copytree(qwen.folder, folder)
    made.mkdir()
    damage(folder)
    with pytest.raises(errors.ModelError, match=text):
        compiler.make(str(folder), made, [autoglm.target.Target("cpu")], Asked())


def test_other_targets(qwen: Spoken, tmp_path: Path) -> None:
    with pytest.raises(errors.TargetUnavailable, match="cpu, aarch64 only"):
        autoglm.compile(qwen.folder, "cuda", output=tmp_path / "x.glm")
    with pytest.raises(errors.ModelError, match="for recipes"):
        autoglm.compile(qwen.folder, output=tmp_path / "x.glm", random_weights=True)


def test_a_chat_template_can_change_nothing(qwen: Spoken) -> None:
    from autoglm.decoder.text import Text

    tokenizer = (qwen.folder / "tokenizer.json").read_bytes()
    for template in (
        "{{ messages.append(1) }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{{ raise_exception('no system message') }}",
    ):
        with pytest.raises(errors.InputError, match="refuses the messages"):
            Text(tokenizer, template).chat([{"role": "user", "content": "x"}])


# ---- commands, and the guide ---------------------------------------------------------------------


def test_prompt(qwen: Spoken, model: LanguageModel) -> None:
    tokens, _ = answer(model, "A driver is", Sampling(max_tokens=20))
    asked = ["--model", str(qwen.artifact), "--device-id", "0", "--prompt", "A driver is"]
    asked += ["--max-tokens", "20", "--threads", "1"]
    done = CliRunner().invoke(runtime_command, asked, standalone_mode=False)
    assert done.exception is None
    assert done.stdout == "".join(map(Stops(model.text).add, tokens)) + "\n"
    assert done.stderr == ""
    asked += ["--json", "--prompt", "A driver is" * 170, "--max-tokens", "100000"]
    cut = CliRunner().invoke(runtime_command, asked, standalone_mode=False)
    assert json.loads(cut.stdout)["finish_reason"] == "capacity"
    assert "cut after 3 of 100000 tokens: prompt and answer together have 512 at" in cut.stderr
    with pytest.raises(errors.DeviceError, match="no device 99"):
        load(qwen.artifact, 99)
    with pytest.raises(errors.Error, match="takes text, not arrays"):
        autoglm.load(qwen.artifact)


GUIDE = (ROOT / "docs/language-models.md").read_text("utf-8")


def test_examples_of_the_guide(
    qwen: Spoken,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    os.link(qwen.artifact, "qwen.glm")
    (example,) = re.findall(r"^```python\n(.*?)^```$", GUIDE, re.MULTILINE | re.DOTALL)
    exec(compile(example.replace('glm")', 'glm", capacity=400, threads=1)'), "guide", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) >= 2


def test_options_of_the_guide() -> None:
    known = {
        option
        for command in (compile_command, runtime_command)
        for parameter in command.params
        for option in parameter.opts
    }
    assert set(re.findall(r"(?<![\w-])--[a-z][a-z-]+", GUIDE)) <= known
    defaults = Sampling()
    for name in Sampling().to_json():
        assert f"`{name}`" in GUIDE
    assert f"| `max_tokens` | {defaults.max_tokens} |" in GUIDE
