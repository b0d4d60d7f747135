# SPDX-License-Identifier: Apache-2.0
"""A model as OpenCL kernels: which, in what order, on which buffers.

tinygrad (https://github.com/tinygrad/tinygrad) fuses the operators and writes OpenCL C; what is
taken from it is text and numbers, so that running them needs an OpenCL driver and nothing else.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..errors import ArtifactError, CompileError
from ..tensor import TensorSpec
from .signature import Signature

if TYPE_CHECKING:
    from tinygrad.tensor import Tensor
    from tinygrad.uop.ops import UOp

SOURCE, PLAN, WEIGHTS = "kernels.cl", "plan.json", "weights.bin"
_ALIGNMENT = 64  # bytes; of weights in their file


@dataclass(frozen=True)
class Launch:
    """One kernel started once.

    Attributes:
        kernel: Its name in the source.
        size: Work items along each of three axes.
        group: How many of them are a work group.
        buffers: Its arguments, by number.
    """

    kernel: str
    size: tuple[int, ...]
    group: tuple[int, ...] | None
    buffers: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """What to do with the kernels.

    Attributes:
        sizes: Bytes of each buffer.
        weights: Where in the file of weights what is in a buffer from the beginning stands.
        inputs: The buffer of each input.
        outputs: The buffer of each output.
        once: What is started when the model is loaded: it works on weights alone.
        always: What is started at every call, in this order.
    """

    sizes: tuple[int, ...]
    weights: Mapping[int, int]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    once: tuple[Launch, ...]
    always: tuple[Launch, ...]

    def to_json(self) -> str:
        """As the artifact has it."""
        weights = {str(number): offset for number, offset in self.weights.items()}
        once, always = [vars(each) for each in self.once], [vars(each) for each in self.always]
        return json.dumps({**vars(self), "weights": weights, "once": once, "always": always})

    @classmethod
    def from_json(cls, text: bytes | memoryview) -> Plan:
        """From an artifact.

        Raises:
            ArtifactError: It is no plan, or names buffers that it does not have.
        """
        try:
            value = json.loads(bytes(text))
            plan = cls(
                tuple(map(int, value["sizes"])),
                {int(number): int(offset) for number, offset in value["weights"].items()},
                tuple(map(int, value["inputs"])),
                tuple(map(int, value["outputs"])),
                tuple(map(_launch, value["once"])),
                tuple(map(_launch, value["always"])),
            )
            plan._check()
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ArtifactError(f"{PLAN} is no plan of kernels: {error!r}") from None
        return plan

    def _check(self) -> None:
        named = [*self.weights, *self.inputs, *self.outputs]
        for launch in self.once + self.always:
            named += launch.buffers
        if any(not 0 <= number < len(self.sizes) for number in named):
            raise ValueError("a buffer that is not there is named")
        if any(size <= 0 for size in self.sizes) or any(at < 0 for at in self.weights.values()):
            raise ValueError("a buffer has no bytes")


@dataclass(frozen=True)
class Kernels:
    """What came of a model.

    Attributes:
        source: OpenCL C.
        plan: What to do with it.
        weights: What the buffers hold from the beginning, at `Plan.weights`.
        extensions: Which extensions of OpenCL the source needs.
        group: Work items of its largest work group.
        launched: How often each kernel is started in one call, by the name that tinygrad gave it.
    """

    source: str
    plan: Plan
    weights: bytes
    extensions: tuple[str, ...]
    group: int
    launched: Mapping[str, int]


def lower(model: Path, signature: Signature) -> Kernels:
    """Have tinygrad write the kernels of an ONNX model whose extents are all known.

    Raises:
        CompileError: It cannot.
    """
    from tinygrad.helpers import Context

    with Context(DEV="CL"):
        inputs, outputs = _graph(model, signature)
        return _Lowering(signature).of(inputs, outputs)


def _graph(model: Path, signature: Signature) -> tuple[list[Tensor], list[Tensor]]:
    from tinygrad.nn.onnx import OnnxRunner
    from tinygrad.tensor import Tensor

    runner = OnnxRunner(model)
    runner.to("CL")
    weights = [value for value in runner.graph_values.values() if isinstance(value, Tensor)]
    if weights:
        Tensor.realize(*weights)
    inputs = [
        Tensor.empty(*spec.shape, dtype=runner.graph_inputs[spec.name].dtype).contiguous().realize()
        for spec in signature.inputs
    ]
    by_name = dict(zip((spec.name for spec in signature.inputs), inputs, strict=True))
    found = runner(by_name)
    return inputs, [found[spec.name].contiguous() for spec in signature.outputs]


class _Lowering:
    """The kernels of one model, as they are gathered."""

    def __init__(self, signature: Signature) -> None:
        self.signature = signature
        self.names: dict[str, str] = {}  # of kernels, by their source
        self.buffers: dict[UOp, int] = {}
        self.sizes: list[int] = []
        self.weights: dict[int, int] = {}
        self.bytes = bytearray()

    def of(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> Kernels:
        from tinygrad.engine.realize import lower_and_compile
        from tinygrad.tensor import Tensor
        from tinygrad.uop.ops import Ops

        given = tuple(self._whole(each, spec) for each, spec in self._paired(inputs, "inputs"))
        linear, variables = Tensor.linear_with_vars(*outputs)
        if variables:
            raise CompileError(f"tinygrad left extents open: {', '.join(variables)}")
        launches: list[tuple[Launch, str, frozenset[int]]] = []
        for call in lower_and_compile(linear).src:
            program = call.src[0]
            if program.op is Ops.COPY:
                self._constant(call.src[1], call.src[2])
            elif program.op is Ops.PROGRAM:
                launches.append(self._launch(program, call.src[1:]))
            else:
                raise CompileError(f"tinygrad asks for {program.op}, which is no kernel")
        made = tuple(self._whole(each, spec) for each, spec in self._paired(outputs, "outputs"))
        for each, number in zip(outputs, made, strict=True):
            if number not in given:  # it may be a constant
                self._weights_of(each.uop.base)
        once, always = _apart(launches, given)
        keep = {*given, *made, *self.weights, *(n for each in once for n in each[0].buffers)}
        always, sizes = _packed(always, self.sizes, keep)
        plan = Plan(
            tuple(sizes), self.weights, given, made,
            tuple(each[0] for each in once), tuple(each[0] for each in always),
        )  # fmt: skip
        source = "\n".join(self.names)
        groups = [_product(each[0].group or ()) for each in launches]
        return Kernels(
            source,
            plan,
            bytes(self.bytes),
            tuple(name for word, name in _EXTENSIONS.items() if re.search(word, source)),
            max(groups, default=1),
            dict(Counter(each[1] for each in always)),
        )

    def _paired(self, tensors: Iterable[Tensor], which: str) -> Iterable[tuple[Tensor, TensorSpec]]:
        return zip(tensors, getattr(self.signature, which), strict=True)

    def _whole(self, tensor: Tensor, spec: TensorSpec) -> int:
        """The buffer of an input or output, which it fills."""
        number = self._number(tensor.uop.base)
        if self.sizes[number] != tensor.nbytes():
            raise CompileError(f"tinygrad has {spec} as a part of something else")
        return number

    def _number(self, buffer: UOp) -> int:
        from tinygrad.uop.ops import Ops

        if buffer.op is not Ops.BUFFER:
            raise CompileError(f"tinygrad hands a kernel {buffer.op}, which is no whole buffer")
        if buffer not in self.buffers:
            self.buffers[buffer] = len(self.sizes)
            self.sizes.append(buffer.buffer.nbytes)
        return self.buffers[buffer]

    def _constant(self, target: UOp, source: UOp) -> None:
        """Bytes of the host's, which are copied when the model is loaded, like weights."""
        self._keep(self._number(target), source.buffer.ensure_allocated().as_memoryview())

    def _keep(self, number: int, data: memoryview) -> None:
        self.bytes += bytes(-len(self.bytes) % _ALIGNMENT)
        self.weights[number] = len(self.bytes)
        self.bytes += data

    def _launch(self, program: UOp, arguments: Sequence[UOp]) -> tuple[Launch, str, frozenset[int]]:
        """A launch, the kernel's name for people, and the buffers that it writes."""
        from tinygrad.helpers import ansistrip
        from tinygrad.uop.ops import Ops

        about = program.arg
        text = next(each.arg for each in program.src if each.op is Ops.SOURCE)
        bound = [arguments[place] for place in about.globals]
        numbers = tuple(self._number(each) for each in bound)
        for place in about.ins:
            self._weights_of(arguments[place])
        group = None if about.local_size is None else tuple(map(int, about.local_size))
        size = tuple(int(each) for each in about.global_size)
        if group:
            size = tuple(count * each for count, each in zip(size, group, strict=True))
        written = frozenset(self._number(arguments[place]) for place in about.outs)
        return Launch(self._named(text), size, group, numbers), ansistrip(about.name), written

    def _weights_of(self, buffer: UOp) -> None:
        number = self._number(buffer)
        if number not in self.weights and buffer.buffer.is_allocated():
            self._keep(number, buffer.buffer.as_memoryview())

    def _named(self, text: str) -> str:
        """A name of our own for a kernel: tinygrad gives different ones the same."""
        found = re.search(r"__kernel void (?:__attribute__\(\(.*?\)\)\s*)?(\w+)\(", text)
        if not found:
            raise CompileError(f"tinygrad wrote no kernel of OpenCL: {text[:80]!r}")
        name = f"k{len(self.names)}"
        ours = text[: found.start(1)] + name + text[found.end(1) :]
        for known, its in zip(self.names, self.names.values(), strict=True):
            if known.replace(its, name, 1) == ours:
                return its
        self.names[ours] = name
        return name


_EXTENSIONS = {r"\bdouble\d*\b": "cl_khr_fp64", r"\bhalf\d*\b": "cl_khr_fp16"}
"""What stands in the source when an extension is needed."""

_Step = tuple[Launch, str, frozenset[int]]


def _apart(launches: Sequence[_Step], given: Iterable[int]) -> tuple[list[_Step], list[_Step]]:
    """What works on weights alone, and what depends on the inputs."""
    once, always = [], []
    depends = set(given)
    for each in launches:
        launch, _, written = each
        if depends.isdisjoint(launch.buffers):
            once.append(each)
        else:
            depends |= written
            always.append(each)
    return once, always


def _packed(
    steps: Sequence[_Step], sizes: Sequence[int], keep: Iterable[int]
) -> tuple[list[_Step], list[int]]:
    """The same with fewer buffers: one that nobody reads any more is taken again.

    Launches run one after another, so a buffer is free after the last one that names it.
    """
    kept = set(keep)
    last = {number: at for at, step in enumerate(steps) for number in step[0].buffers}
    place: dict[int, int] = {number: number for number in kept}
    sizes, free, packed = list(sizes), list[int](), []
    for at, (launch, name, written) in enumerate(steps):
        for number in launch.buffers:
            if number not in place:
                place[number] = _taken(free, sizes, number)
        ours = tuple(place[number] for number in launch.buffers)
        packed.append((Launch(launch.kernel, launch.size, launch.group, ours), name, written))
        free += {place[n] for n in launch.buffers if last[n] == at and n not in kept}
    return packed, sizes


def _taken(free: list[int], sizes: list[int], number: int) -> int:
    """A free buffer that is large enough, the smallest; else its own."""
    fits = [each for each in free if sizes[each] >= sizes[number]]
    if not fits:
        return number
    best = min(fits, key=lambda each: sizes[each])
    free.remove(best)
    return best


def _product(numbers: Iterable[int]) -> int:
    product = 1
    for number in numbers:
        product *= number
    return product


def _launch(value: Mapping[str, Any]) -> Launch:
    numbers: Callable[[Any], tuple[int, ...]] = lambda given: tuple(map(int, given))  # noqa: E731
    group = None if value["group"] is None else numbers(value["group"])
    return Launch(str(value["kernel"]), numbers(value["size"]), group, numbers(value["buffers"]))
