# SPDX-License-Identifier: Apache-2.0
"""A folder as Hugging Face's libraries save one: a language model like Qwen2 or Qwen3.

Read are ``config.json``, ``model.safetensors`` (or its parts, by ``model.safetensors.index.json``),
``tokenizer.json``, and where they are there ``generation_config.json``, ``tokenizer_config.json``
and ``chat_template.jinja``. Nothing is downloaded, and no code of the folder is run.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..decoder.config import DecoderConfig
from ..decoder.language_model import FAMILY, TEMPLATE, TOKENIZER, WEIGHTS
from ..decoder.weights import TABLES, layout, positions
from ..decoder.weights import write as write_weights
from ..errors import ModelError, TargetUnavailable
from ..tensor import Array
from .source import Source

_FLOATS = {"F32", "F16", "BF16"}
_LARGEST_JSON = 64 << 20
"""In bytes; a tokenizer.json of 150000 words has 7 MiB."""
_WORDS = ("bos_token", "eos_token", "pad_token", "unk_token")


def read(path: Path, folder: Path) -> Source:
    """Read a model's folder.

    Args:
        path: The folder.
        folder: Empty, for the ONNX file and its weights.

    Raises:
        ModelError: A file is missing or damaged, or it is another architecture.
        TargetUnavailable: A library is not installed.
    """
    given = read_config(path / "config.json")
    config = DecoderConfig.from_huggingface(given)
    with _Checkpoint(path) as checkpoint:
        write_model(folder, config, _tensors(config, checkpoint.get))
    details = {
        "weights": str(path),
        "ends": _ends(path, given),
        "words": _words(_optional(path / "tokenizer_config.json")),
    }
    return finish(folder, path.resolve().name, config, details, _texts(path, folder))


def read_config(path: Path) -> Mapping[str, Any]:
    """A ``config.json``, as `DecoderConfig.from_huggingface` takes it.

    Raises:
        ModelError: It is missing, damaged, or says that the weights are quantised.
    """
    given = _json(path)
    if given.get("quantization_config"):
        raise ModelError(f'"{path}": the weights are quantised; give those that are not')
    return given


def write_model(folder: Path, config: DecoderConfig, tensors: Iterator[tuple[str, Array]]) -> None:
    """Write the source model: ``model.onnx``, and its weights beside it.

    Args:
        folder: Where.
        config: The architecture.
        tensors: Name and values, but for the tables of positions, as `weights.layout` has them.

    Raises:
        ModelError: They do not fit the architecture.
    """
    from ..decoder.graph import plain

    (folder / "model.onnx").write_bytes(plain(config).SerializeToString())
    with open(folder / WEIGHTS, "wb") as file:
        try:
            write_weights(file, config, _with_positions(config, tensors))
        except ValueError as error:
            raise ModelError(f"the weights do not fit config.json: {error}") from None


def finish(
    folder: Path,
    name: str,
    config: DecoderConfig,
    details: Mapping[str, Any],
    files: Mapping[str, Path],
) -> Source:
    """What was written, as a source."""
    sha256 = hashlib.sha256()
    for each in ("model.onnx", WEIGHTS):
        with open(folder / each, "rb") as file:
            while chunk := file.read(1 << 20):
                sha256.update(chunk)
    return Source(
        folder / "model.onnx",
        name,
        sha256.hexdigest(),
        FAMILY,
        {"config": config.to_json(), **details},
        files,
        {"batch": 1, "sequence": min(32, config.context)},
    )


def _with_positions(
    config: DecoderConfig, tensors: Iterator[tuple[str, Array]]
) -> Iterator[tuple[str, Array]]:
    yield from positions(config).items()
    yield from tensors


# ---- weights -------------------------------------------------------------------------------------


class _Checkpoint:
    """The tensors of a folder's safetensors files, each read when it is asked for."""

    def __init__(self, path: Path) -> None:
        try:
            import ml_dtypes  # noqa: F401 - teaches numpy the name bfloat16
            import safetensors
        except ImportError as error:
            raise TargetUnavailable(
                f"weights are read by safetensors: {error}; pip install 'open-autoglm[decoder]'"
            ) from error
        self._open = safetensors.safe_open
        self._error = safetensors.SafetensorError
        self._path = path
        self._files: dict[str, Any] = {}
        index = path / "model.safetensors.index.json"
        if index.is_file():
            self._places = self._indexed(index)
        else:
            self._places = dict.fromkeys(
                self._file("model.safetensors").keys(), "model.safetensors"
            )

    def __enter__(self) -> _Checkpoint:
        return self

    def __exit__(self, *_: object) -> None:
        self._files.clear()

    def get(self, name: str) -> Array:
        """One tensor, as float32."""
        if name not in self._places:
            raise ModelError(f'"{self._path}": there is no tensor {name!r} in its weights')
        file = self._file(self._places[name])
        try:
            kind = file.get_slice(name).get_dtype()
            if kind not in _FLOATS:
                raise ModelError(f'"{self._path}": tensor {name!r} is of {kind}, floats are read')
            return np.asarray(file.get_tensor(name)).astype(np.float32)
        except self._error as error:
            raise ModelError(f'"{self._path}": tensor {name!r}: {error}') from None

    def _indexed(self, index: Path) -> dict[str, str]:
        places = _json(index).get("weight_map")
        if not isinstance(places, dict) or not all(
            isinstance(each, str) and Path(each).name == each for each in places.values()
        ):
            raise ModelError(f'"{index}": weight_map does not name files beside it')
        return places

    def _file(self, name: str) -> Any:  # safetensors says no types
        if name not in self._files:
            path = self._path / name
            try:
                self._files[name] = self._open(str(path), "np")
            except (OSError, self._error) as error:
                raise ModelError(f'"{path}": the weights cannot be read: {error}') from None
        return self._files[name]


def _tensors(config: DecoderConfig, get: Callable[[str], Array]) -> Iterator[tuple[str, Array]]:
    """Each tensor of `weights.layout` but the tables of positions, made of the folder's."""
    for name in layout(config):
        if name not in TABLES:
            yield name, _tensor(name, get)


_WHOLE = {"embed": "embed_tokens.weight", "norm": "norm.weight"}
_OF_LAYER: Mapping[str, tuple[str, ...]] = {
    "attention.norm": ("input_layernorm.weight",),
    "attention.qkv": tuple(f"self_attn.{each}_proj.weight" for each in "qkv"),
    "attention.qkv_bias": tuple(f"self_attn.{each}_proj.bias" for each in "qkv"),
    "attention.query_norm": ("self_attn.q_norm.weight",),
    "attention.key_norm": ("self_attn.k_norm.weight",),
    "attention.output": ("self_attn.o_proj.weight",),
    "mlp.norm": ("post_attention_layernorm.weight",),
    "mlp.gate_up": ("mlp.gate_proj.weight", "mlp.up_proj.weight"),
    "mlp.down": ("mlp.down_proj.weight",),
}


def _tensor(name: str, get: Callable[[str], Array]) -> Array:
    if name == "head":
        return get("lm_head.weight")
    if name in _WHOLE:
        return get(f"model.{_WHOLE[name]}")
    layer, _, kind = name.partition(".")
    parts = [get(f"model.layers.{layer}.{each}") for each in _OF_LAYER[kind]]
    # torch keeps matrices as (outputs, inputs)
    return np.concatenate(parts).T if parts[0].ndim == 2 else np.concatenate(parts)


# ---- text ----------------------------------------------------------------------------------------


def _texts(path: Path, folder: Path) -> dict[str, Path]:
    """The tokenizer, and the chat template where there is one."""
    tokenizer = path / "tokenizer.json"
    if not tokenizer.is_file():
        raise ModelError(
            f'"{path}": there is no tokenizer.json in it; AutoTokenizer.from_pretrained(...)'
            ".save_pretrained(...) of the transformers library makes one"
        )
    files = {TOKENIZER: tokenizer}
    template = _template(path)
    if template:
        files[TEMPLATE] = folder / TEMPLATE
        files[TEMPLATE].write_text(template, "utf-8")
    return files


def _template(path: Path) -> str:
    own = path / "chat_template.jinja"
    if own.is_file():
        return own.read_text("utf-8")
    given = _optional(path / "tokenizer_config.json").get("chat_template") or ""
    if isinstance(given, list):  # several, by name
        given = next((each["template"] for each in given if each.get("name") == "default"), "")
    return str(given)


def _ends(path: Path, config: Mapping[str, Any]) -> list[int]:
    """The tokens that end an answer."""
    for given in (_optional(path / "generation_config.json"), config):
        found = given.get("eos_token_id")
        if found is not None:
            return [int(each) for each in (found if isinstance(found, list) else [found])]
    return []


def _words(given: Mapping[str, Any]) -> dict[str, str]:
    """What a chat template calls by name; a token is a text, or an object with one."""
    found = {}
    for name in _WORDS:
        word = given.get(name)
        if isinstance(word, dict):
            word = word.get("content")
        if isinstance(word, str):
            found[name] = word
    return found


def _optional(path: Path) -> Mapping[str, Any]:
    return _json(path) if path.is_file() else {}


def _json(path: Path) -> Mapping[str, Any]:
    try:
        if path.stat().st_size > _LARGEST_JSON:
            raise ModelError(f'"{path}" has more than {_LARGEST_JSON} bytes')
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise ModelError(f'"{path}": {error.strerror}') from None
    except (ValueError, RecursionError) as error:
        raise ModelError(f'"{path}" is no JSON: {error}') from None
    if not isinstance(value, dict):
        raise ModelError(f'"{path}" is no JSON object')
    return value


def check_tokenizer(files: Mapping[str, Path], config: DecoderConfig, ends: Iterable[int]) -> None:
    """See that tokenizer and model fit one another.

    Raises:
        ModelError: Tokenizer or chat template is damaged, or there are more tokens than the model
            has.
    """
    from ..decoder.text import Text

    template = files[TEMPLATE].read_text("utf-8") if TEMPLATE in files else ""
    size = Text(files[TOKENIZER].read_bytes(), template).tokenizer.get_vocab_size()
    if size > config.vocabulary or any(not 0 <= each < config.vocabulary for each in ends):
        raise ModelError(
            f"tokenizer.json has {size} tokens, ends of answers are {sorted(ends)};"
            f" the model has {config.vocabulary} tokens: they are not of one model"
        )
