# SPDX-License-Identifier: Apache-2.0
"""Whether what is computed is right."""

from __future__ import annotations

import numpy as np

from hal.conformance.outcome import Broken, NotApplicable

from ..errors import Error
from ..reference import difference
from .check import check, check_of_models
from .models import Model
from .session import SEED, Session


@check_of_models
def values(session: Session, model: Model) -> str:
    """MODEL: types, shapes and values are those of ONNX Runtime, within tolerance.

    Why: A wrong result that is taken for right is the worst that can happen.

    See: autoglm.backend.Executable, run
    """
    worst = 0.0
    with session.loaded(model) as executable:
        for sizes in model.extents:
            inputs = session.inputs(model, sizes)
            right = session.right(model, inputs)
            try:
                got = executable.run(inputs)
            except Error as error:
                raise Broken(f"{sizes or 'it'}: {error}") from None
            if list(got) != [spec.name for spec in executable.outputs]:
                raise Broken(f"it gives {list(got)}, and says {executable.outputs}")
            apart = difference(got, right, model.rtol, model.atol)
            if apart.complaint:
                raise Broken(f"{sizes or ''} {apart.complaint}".strip())
            worst = max(worst, apart.worst)
    return f"within {worst:.2g}"


@check
def again(session: Session) -> str:
    """The same inputs give the same outputs, whatever was run between.

    Why: A model that remembers is wrong from the second call on.

    See: autoglm.backend.Executable, run
    """
    basis = session.basis
    inputs, others = session.inputs(basis), session.inputs(basis, seed=SEED + 1)
    with session.loaded() as executable:
        first = executable.run(inputs)
        between = executable.run(others)
        second = executable.run(inputs)
    if difference(second, first, 1e-5, 1e-6).complaint:
        raise Broken("the same inputs give something else the second time")
    if not difference(between, first, 1e-5, 1e-6).complaint:
        raise Broken("other inputs give the same")
    return "the same"


@check
def large_numbers(session: Session) -> str:
    """Inputs of NaN and infinity are computed with, or fail with an Error; the next call is right.

    Why: Requests come from outside.

    See: autoglm.backend.Executable, run
    """
    basis = session.basis
    inputs = session.inputs(basis)
    right = session.right(basis, inputs)
    with session.loaded() as executable:
        for number in (np.nan, np.inf, -np.inf, 3e38):
            odd = {name: np.full_like(array, number) for name, array in inputs.items()}
            try:
                executable.run(odd)
            except Error as error:
                raise NotApplicable(f"it refuses {number}: {error}") from None
        apart = difference(executable.run(inputs), right, basis.rtol, basis.atol)
    if apart.complaint:
        raise Broken(f"after them {apart.complaint}")
    return "survived"
