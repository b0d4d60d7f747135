# SPDX-License-Identifier: Apache-2.0
"""How a loaded model is called: whose arrays are whose, by which threads, until when."""

from __future__ import annotations

import gc
import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from hal.conformance.outcome import Broken, NotApplicable

from ..errors import InputError
from ..reference import difference
from ..tensor import Array, check_inputs
from .check import check
from .models import MODELS, PASSING, Model
from .session import SEED, Session

_ROUNDS = 12
_GROWTH = 64 << 20  # bytes that may stay after loading a small model _ROUNDS times


@check
def described(session: Session) -> str:
    """`inputs` and `outputs` are the model's: names, types, shapes, in its order.

    Why: Requests are checked by them before they come to the back end.

    See: autoglm.backend.Executable
    """
    session.compiled(session.basis)
    return f"{sum(_described(session, model) for model in MODELS)} models"


def _described(session: Session, model: Model) -> bool:
    try:
        with session.loaded(model) as executable:
            signature = session.signature(model)
            if executable.inputs != signature.inputs:
                raise Broken(f"it takes {executable.inputs}, the model {signature.inputs}")
            if executable.outputs != signature.outputs:
                raise Broken(f"it gives {executable.outputs}, the model {signature.outputs}")
    except NotApplicable:
        return False
    return True


@check
def wrong_inputs(session: Session) -> str:
    """What it says of its inputs is enough to refuse wrong ones: type, shape, missing, unknown.

    Why: The runtime checks by that, and gives what passes to the engine unchecked.

    See: autoglm.backend.Executable, inputs; autoglm.tensor.check_inputs
    """
    right = session.inputs(session.basis)
    (name, array), *_ = right.items()
    wrong = {
        "of another type": {name: array.astype(np.int64)},
        "of another shape": {name: np.concatenate([array, array], axis=-1)},
        "with an axis more": {name: array[None]},
        "missing": {},
        "unknown": {**right, "nobody": array},
    }
    with session.loaded() as executable:
        check_inputs(executable.inputs, right)
        for what, inputs in wrong.items():
            try:
                check_inputs(executable.inputs, inputs)
            except InputError:
                continue
            raise Broken(f"an input that is {what} fits what it says it takes")
    return f"{len(wrong)} refused"


@check
def inputs_kept(session: Session) -> str:
    """Inputs may be read-only, in any layout; they are not changed.

    Why: They are the caller's: views of a request, a slice of a camera's picture.

    See: autoglm.backend.Executable, run
    """
    basis = session.basis
    plain = session.inputs(basis)
    right = session.right(basis, plain)
    layouts: dict[str, Callable[[Array], Array]] = {
        "read-only": np.copy,
        "in columns": np.asfortranarray,
        "every second": lambda array: np.repeat(array, 2, axis=-1)[..., ::2],
        "backwards": lambda array: array[::-1].copy()[::-1],
    }
    with session.loaded() as executable:
        for what, laid in layouts.items():
            inputs = {name: laid(array) for name, array in plain.items()}
            for array in inputs.values():
                array.setflags(write=False)
            apart = difference(executable.run(inputs), right, basis.rtol, basis.atol)
            if apart.complaint:
                raise Broken(f"an input that is {what}: {apart.complaint}")
            for name, array in inputs.items():
                if not np.array_equal(array, plain[name]):
                    raise Broken(f"it changed an input that is {what}")
    return ", ".join(layouts)


@check
def inputs_let_go(session: Session) -> str:
    """No input is kept after the call.

    Why: The caller fills the same memory with the next picture, or gives it back.

    See: autoglm.backend.Executable, run
    """
    with session.loaded() as executable:
        inputs = session.inputs(session.basis)
        array = next(iter(inputs.values()))
        gc.collect()
        before = sys.getrefcount(array)
        outputs = executable.run(inputs)
        kept = {name: result.copy() for name, result in outputs.items()}
        array += 1
        gc.collect()
        if sys.getrefcount(array) > before:
            raise Broken("something refers to an input after the call")
    for name, result in outputs.items():
        if not np.array_equal(result, kept[name]):
            raise Broken(f"output {name!r} changes when an input does")
    return "let go"


@check
def outputs_own(session: Session) -> str:
    """Outputs are the caller's own: it may write to them; they outlast the next call and `close`.

    Why: They are kept, changed in place, and sent, long after.

    See: autoglm.backend.Executable, run
    """
    model = PASSING
    try:
        session.compiled(model)
    except NotApplicable:
        model = session.basis
    inputs = session.inputs(model)
    before = {name: array.copy() for name, array in inputs.items()}
    right = session.right(model, inputs)
    with session.loaded(model) as executable:
        outputs = executable.run(inputs)
        for name, result in outputs.items():
            others = {other: each.copy() for other, each in outputs.items() if other != name}
            try:
                result[...] = result + 1
            except ValueError:
                raise Broken(f"output {name!r} cannot be written to") from None
            for other, copy in others.items():
                if not np.array_equal(outputs[other], copy):
                    raise Broken(f"writing to output {name!r} changes output {other!r}")
        for name, array in inputs.items():
            if not np.array_equal(array, before[name]):
                raise Broken(f"writing to an output changes input {name!r}")
        written = {name: result.copy() for name, result in outputs.items()}
        apart = difference(executable.run(inputs), right, model.rtol, model.atol)
        if apart.complaint:
            raise Broken(f"after outputs were written to: {apart.complaint}")
        last = executable.run(inputs)
    gc.collect()
    for name, result in outputs.items():
        if not np.array_equal(result, written[name]):
            raise Broken(f"the next call changed output {name!r} of the one before")
    apart = difference(last, right, model.rtol, model.atol)
    if apart.complaint:
        raise Broken(f"after close(): {apart.complaint}")
    return f"as tried with {model.what}"


@check
def other_thread(session: Session) -> str:
    """Any thread may call, one at a time; and two loaded models are called at once.

    Why: Requests are served by a pool of threads.

    See: autoglm.backend.Executable
    """
    basis = session.basis
    inputs = session.inputs(basis)
    right = session.right(basis, inputs)
    complaints = []

    def call(executable: object) -> None:
        for _ in range(_ROUNDS):
            got = executable.run(inputs)  # type: ignore[attr-defined]
            complaints.append(difference(got, right, basis.rtol, basis.atol).complaint)

    with session.loaded() as one, session.loaded() as other, ThreadPoolExecutor(2) as pool:
        pool.submit(call, one).result()
        for call_of in [pool.submit(call, one), pool.submit(call, other)]:
            call_of.result()
    for complaint in complaints:
        if complaint:
            raise Broken(complaint)
    return f"{len(complaints)} calls"


@check
def concurrent(session: Session) -> str:
    """Where it says `concurrent`, several threads call one model at once, each with its own inputs.

    Why: The runtime does so, where it is told that it may.

    See: autoglm.backend.Executable, concurrent
    """
    basis = session.basis
    many = [session.inputs(basis, seed=SEED + number) for number in range(4)]
    right = [session.right(basis, inputs) for inputs in many]
    start = threading.Barrier(len(many))
    complaints: list[str] = []
    with session.loaded() as executable:
        if not executable.concurrent:
            raise NotApplicable("it takes one call at a time")

        def call(number: int) -> None:
            start.wait(10)
            for _ in range(_ROUNDS * 4):
                got = executable.run(many[number])
                apart = difference(got, right[number], basis.rtol, basis.atol)
                complaints.append(apart.complaint)

        with ThreadPoolExecutor(len(many)) as pool:
            for done in [pool.submit(call, number) for number in range(len(many))]:
                done.result()
    for complaint in complaints:
        if complaint:
            raise Broken(f"one thread got: {complaint}")
    return f"{len(complaints)} calls of {len(many)} threads"


@check
def one_thread(session: Session) -> str:
    """With ``threads=1`` it is right as well.

    Why: A server gives each of its models a part of the processors.

    See: autoglm.backend.Backend, load
    """
    basis = session.basis
    inputs = session.inputs(basis)
    right = session.right(basis, inputs)
    with session.loaded(threads=1) as executable:
        apart = difference(executable.run(inputs), right, basis.rtol, basis.atol)
    if apart.complaint:
        raise Broken(apart.complaint)
    return "right"


@check
def gives_back(session: Session) -> str:
    """Loading and closing again and again leaves no descriptor, no thread, no memory.

    Why: A server loads models for months.

    See: autoglm.backend.Executable, close
    """
    inputs = session.inputs(session.basis)

    def once() -> None:
        with session.loaded() as executable:
            executable.run(inputs)

    for _ in range(3):  # what an engine makes once for all
        once()
    before = _held()
    for _ in range(_ROUNDS):
        once()
    gc.collect()
    after = _held()
    for what, had, has in zip(("descriptors", "threads"), before, after, strict=False):
        if has - had >= _ROUNDS // 2:  # other threads may have closed some of theirs
            raise Broken(f"{_ROUNDS} times leave {has - had} {what}")
    if after[2] - before[2] > _GROWTH:
        raise Broken(f"{_ROUNDS} times leave {(after[2] - before[2]) >> 20} MiB")
    return f"{_ROUNDS} times: {max(0, after[2] - before[2]) >> 10} KiB more"


def _held() -> tuple[int, int, int]:
    """Descriptors, threads, and bytes resident of this process."""
    with open("/proc/self/statm", encoding="ascii") as file:
        resident = int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    return len(os.listdir("/proc/self/fd")), len(os.listdir("/proc/self/task")), resident
