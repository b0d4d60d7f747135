# SPDX-License-Identifier: Apache-2.0
"""A decoder on the processor: from tokens to logits, with keys and values of earlier tokens kept.

The cache is one buffer for each layer and kind, [slots, kv_heads, capacity, head]. A sequence lives
in a slot. ONNX Runtime reads and writes the buffers in place, so one step over several sequences
takes those in slots 0 to n - 1, and a prompt is read into any one slot. Memory that no token was
written to is never touched, and costs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from ..errors import ArtifactError, DeviceError, TargetUnavailable
from ..tensor import Array
from .config import DecoderConfig
from .weights import views

if TYPE_CHECKING:
    from onnxruntime import InferenceSession, IOBinding, OrtValue, SessionOptions


class Engine:
    """One decoder, ready. One thread at a time calls it.

    Args:
        graph: The ONNX of `graph.cached`.
        weights: What its weights file holds; used as long as the engine is.
        config: The architecture.
        slots: How many sequences at once.
        capacity: The most tokens of one sequence.
        threads: For one call; 0 for every processor.

    Raises:
        TargetUnavailable: ONNX Runtime is not installed.
        ArtifactError: The graph or the weights are not what `config` says.
    """

    def __init__(
        self,
        graph: bytes | memoryview,
        weights: memoryview,
        config: DecoderConfig,
        *,
        slots: int,
        capacity: int,
        threads: int = 0,
    ) -> None:
        self.config = config
        self.slots = slots
        self.capacity = min(capacity, config.context)
        self._weights = views(weights, config)
        self._session = session(graph, self._weights, threads)
        shape = (slots, config.kv_heads, self.capacity, config.head)
        self._caches = [np.zeros(shape, np.float32) for _ in config.cache_names()]
        self._steps: dict[int, _Step] = {}

    @property
    def bytes_per_token(self) -> int:
        """Of the cache."""
        return 4 * len(self._caches) * self.config.kv_heads * self.config.head

    def read(self, slot: int, tokens: Sequence[int], start: int) -> Array:
        """Read tokens into a slot, after those that it holds.

        Args:
            slot: Which.
            tokens: One or more; below `config.vocabulary`.
            start: How many tokens the slot holds already.

        Returns:
            The logits after the last of them: float32[vocabulary].

        Raises:
            DeviceError: ONNX Runtime failed.
        """
        step = self._step(slot, slot + 1, len(tokens))
        step.tokens[0] = tokens
        step.last[0] = start + len(tokens) - 1
        logits: Array = step.run()[0]
        return logits

    def step(self, tokens: Sequence[int], lengths: Sequence[int]) -> Array:
        """One more token in each of the slots 0 to n - 1.

        Args:
            tokens: One for each slot.
            lengths: How many tokens each slot holds already.

        Returns:
            The logits after each: float32[n, vocabulary], good until the next call.

        Raises:
            DeviceError: ONNX Runtime failed.
        """
        count = len(tokens)
        step = self._steps.get(count)
        if step is None:
            step = self._steps[count] = self._step(0, count, 1)
        step.tokens[:, 0] = tokens
        step.last[:] = lengths
        return step.run()

    def move(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of a slot into another."""
        for cache in self._caches:
            cache[target, :, :length] = cache[source, :, :length]

    def _step(self, first: int, end: int, sequence: int) -> _Step:
        return _Step(
            self._session,
            {
                name: cache[first:end]
                for name, cache in zip(self.config.cache_names(), self._caches, strict=True)
            },
            (end - first, sequence),
            self.config.vocabulary,
        )


class _Step:
    """A call of the session, bound to arrays that are filled before each run."""

    def __init__(
        self,
        session: InferenceSession,
        caches: Mapping[tuple[str, str], Array],
        shape: tuple[int, int],
        vocabulary: int,
    ) -> None:
        self.tokens = np.zeros(shape, np.int64)
        self.last = np.zeros(shape[0], np.int32)
        self._total = np.zeros((), np.int32)
        self._logits = np.empty((shape[0], vocabulary), np.float32)
        self._session = session
        self._binding: IOBinding = session.io_binding()
        for name, array in (
            ("input_ids", self.tokens),
            ("seqlens_k", self.last),
            ("total_sequence_length", self._total),
        ):
            self._binding.bind_ortvalue_input(name, _shared(array))
        self._binding.bind_ortvalue_output("logits", _shared(self._logits))
        for (past, present), cache in caches.items():
            value = _shared(cache)
            self._binding.bind_ortvalue_input(past, value)
            self._binding.bind_ortvalue_output(present, value)
        self._caches = caches  # which the binding does not hold

    def run(self) -> Array:
        self._total[...] = self.last.max() + 1
        try:
            self._session.run_with_iobinding(self._binding)
        except Exception as error:
            raise DeviceError(f"run the decoder: ONNX Runtime failed: {error}") from error
        return self._logits


def session(
    graph: bytes | memoryview,
    weights: Mapping[str, Array],
    threads: int = 0,
    *,
    plain: bool = False,
) -> InferenceSession:
    """ONNX Runtime on a graph whose weights are views.

    Args:
        graph: ONNX.
        weights: By name; used as long as the session is.
        threads: For one call; 0 for every processor.
        plain: Each operator as it stands, without fusion: for the reference.

    Raises:
        TargetUnavailable: ONNX Runtime is not installed.
        ArtifactError: It does not take the graph.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise TargetUnavailable(
            f"language models run by ONNX Runtime: {error}; pip install 'open-autoglm[decoder]'"
        ) from error
    options: SessionOptions = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    if plain:
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_external_initializers(list(weights), [_shared(each) for each in weights.values()])
    try:
        return onnxruntime.InferenceSession(
            bytes(graph), options, providers=["CPUExecutionProvider"]
        )
    except Exception as error:
        raise ArtifactError(f"load the decoder: ONNX Runtime refuses it: {error}") from error


def _shared(array: Array) -> OrtValue:
    """The same memory as ONNX Runtime has it; the array must outlive it."""
    from onnxruntime import OrtValue

    return OrtValue.ortvalue_from_numpy(array)
