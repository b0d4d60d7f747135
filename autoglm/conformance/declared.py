# SPDX-License-Identifier: Apache-2.0
"""What a back end says of itself: its name, its targets, its devices."""

from __future__ import annotations

import re
from dataclasses import replace

from hal.conformance.outcome import Broken, NotApplicable

from ..backend import Availability
from ..device import Device
from ..target import KINDS, Target
from .check import check
from .session import Session


@check
def named(session: Session) -> str:
    """`name` and `extra` are words of small letters, digits and dashes; it is made anew each time.

    Why: Artifacts name their back end by it, for years.

    See: autoglm.backend.Backend
    """
    backend = session.backend
    for word in (backend.name, backend.extra):
        if not isinstance(word, str) or not re.fullmatch(r"[a-z][a-z0-9-]*", word):
            raise Broken(f"{word!r} is no such word")
    if ":" not in session.subject.backend and session.subject.backend != backend.name:
        raise Broken(f"the entry point is called {session.subject.backend!r}, it {backend.name!r}")
    type(backend)()
    return backend.name


@check
def targets(session: Session) -> str:
    """`can_compile` answers for every target, always the same: None, or yes or no with the reason.

    Why: The command lists every target with it, and says what to install.

    See: autoglm.backend.Backend, can_compile
    """
    yes: list[str] = []
    no: list[str] = []
    for kind in KINDS:
        target = Target(kind)
        can, again = session.backend.can_compile(target), session.backend.can_compile(target)
        if can is not None and not isinstance(can, Availability):
            raise Broken(f"for {target} it answers {can!r}")
        if can != again:
            raise Broken(f"for {target} it answers {can}, and then {again}")
        if can is not None:
            if not can.reason:
                raise Broken(f"for {target} it says {'yes' if can.here else 'no'} without a reason")
            (yes if can.here else no).append(kind)
    if not yes and not no:
        raise Broken("it never compiles for anything")
    return f"here: {', '.join(yes) or 'none'}; not here: {', '.join(no) or 'none'}"


@check
def devices(session: Session) -> str:
    """`devices` gives devices, not the processor: numbered 0, of known kinds, each address once.

    Why: The runtime numbers them, and opens them by their addresses.

    See: autoglm.backend.Backend, devices; autoglm.device.Device
    """
    found = list(session.backend.devices())
    addresses = set()
    for device in found:
        if not isinstance(device, Device) or device.number != 0:
            raise Broken(f"{device!r} is no device with the number 0")
        if device.kind not in KINDS or device.kind == "cpu":
            raise Broken(f"{device.name!r} is of kind {device.kind!r}")
        if not device.name or not device.address:
            raise Broken(f"a device has no {'name' if not device.name else 'address'}: {device!r}")
        addresses.add((device.kind, device.address))
    if len(addresses) < len(found):
        raise Broken("two devices have one address")
    again = {(device.kind, device.address) for device in session.backend.devices()}
    if again != addresses:
        raise Broken(f"asked twice, it gives {sorted(addresses)}, then {sorted(again)}")
    return ", ".join(f"{device.kind} {device.address}" for device in found) or "none"


@check
def devices_work(session: Session) -> str:
    """A device that is given without a `problem` can be used by what was compiled for its kind.

    Why: The dispatcher sends requests there.

    See: autoglm.backend.Backend, devices
    """
    usable = [device for device in session.backend.devices() if not device.problem]
    ours = [device for device in usable if device.kind == session.target.kind]
    if not ours:
        raise NotApplicable(f"it gives no device of kind {session.target.kind!r}")
    inputs = session.inputs(session.basis)
    with session.opened() as (program, files):
        for device in ours:
            can = session.backend.can_run(program, device)
            if not can.here:
                raise Broken(f"it gives {device}, and then says: {can}")
            executable = session.backend.load(program, files, device, 0)
            executable.run(inputs)
            executable.close()
    return f"{len(ours)} used"


@check
def elsewhere(session: Session) -> str:
    """`can_run` says no, with the reason, of devices of other kinds, and of those not there.

    Why: The dispatcher asks it for every pair, and goes on to the next.

    See: autoglm.backend.Backend, can_run
    """
    with session.opened() as (program, _):
        refused = []
        for kind in KINDS:
            here = "cpu" if session.target.kind in {"aarch64", "riscv64"} else session.target.kind
            if kind in {session.target.kind, here}:
                continue
            can = session.backend.can_run(program, Device(0, kind, "made up", f"{kind}:nowhere"))
            if can.here or not can.reason:
                raise Broken(f"a program for {session.target} could run on a {kind} device: {can}")
            refused.append(kind)
        if session.target.kind not in {"cpu", "aarch64", "riscv64"}:
            kind = session.target.kind
            can = session.backend.can_run(program, Device(0, kind, "made up", f"{kind}:nowhere"))
            if can.here or not can.reason:
                raise Broken(f"it could run on a {kind} device that is not there: {can}")
    return f"refused: {', '.join(refused)}"


@check
def features(session: Session) -> str:
    """`can_run` says no of a processor that lacks what the program needs.

    Why: The program would end by an illegal instruction, and the runtime with it.

    See: autoglm.backend.Compiled, features; Backend, can_run
    """
    device = session.device
    if device.kind != "cpu":
        raise NotApplicable(f"it is tried on a {device.kind} device")
    with session.opened() as (program, _):
        needs = {*program.features, *session.target.features}
        if not needs:
            raise NotApplicable("the program needs nothing that a processor might lack")
        can = session.backend.can_run(program, replace(device, features=frozenset()))
    if can.here:
        raise Broken(f"it needs {', '.join(sorted(needs))}, and could run without: {can}")
    return can.reason
