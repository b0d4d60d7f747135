# SPDX-License-Identifier: Apache-2.0
"""The classes of hal.errors: kinds, numbers, texts."""

from __future__ import annotations

import errno
import itertools
import os
import pickle

import pytest

import hal
from hal._abi import ffi, lib
from hal.errors import BY_KIND, Error
from tests.conftest import Line

KINDS: dict[str, tuple[type[hal.Error], list[int]]] = {
    "unplugged": (hal.Unplugged, [errno.ENODEV, errno.ENXIO]),
    "link-lost": (hal.LinkLost, [errno.ENOLINK]),
    "busy": (hal.Busy, [errno.EBUSY]),
    "permission": (hal.PermissionDenied, [errno.EACCES, errno.EPERM]),
    "timeout": (hal.Timeout, [errno.ETIMEDOUT]),
    "cancelled": (hal.Cancelled, [errno.ECANCELED]),
    "would-block": (hal.WouldBlock, [errno.EAGAIN]),
    "interrupted": (hal.Interrupted, [errno.EINTR]),
    "protocol": (
        hal.ProtocolError,
        [errno.EPROTO, errno.EBADMSG, errno.EILSEQ, errno.EREMOTEIO],
    ),
    "unsupported": (hal.Unsupported, [errno.EOPNOTSUPP, errno.ENOTTY, errno.ENOSYS]),
    "not-found": (hal.NotFound, [errno.ENOENT]),
    "closed": (hal.Closed, [errno.EBADF]),
    "forked": (hal.Forked, [errno.ESTALE]),
    "invalid": (
        hal.InvalidArgument,
        [
            errno.EINVAL,
            errno.ERANGE,
            errno.ENAMETOOLONG,
            errno.EFAULT,
            errno.E2BIG,
            errno.EMSGSIZE,
            errno.EDOM,
        ],
    ),
    "other": (hal.Error, [errno.EIO, errno.ENOMEM, errno.ENODATA]),
}


class Failing(hal.Driver):
    """A driver whose read fails by the number in its address."""

    def init(self, device: hal.DriverDevice) -> None:
        super().init(device)
        self.number = int(device.address)

    def read(self, n: int, deadline: float) -> bytes:
        raise OSError(self.number, "as asked")


@pytest.mark.parametrize(
    ("kind", "number"), [(kind, number) for kind, (_, all_) in KINDS.items() for number in all_]
)
def test_every_number_has_its_class(kind: str, number: int) -> None:
    cls = KINDS[kind][0]
    assert ffi.string(lib.hal_error_kind_name(lib.hal_error_kind(-number))) == kind.encode()
    assert BY_KIND[kind] is cls
    if number == errno.EINTR:
        return  # libhal's callers retry it: test_threads.py
    hal.register_driver("failing", Failing)
    try:
        with hal.open(f"failing:{number}") as device, pytest.raises(hal.Error) as caught:
            device.read(timeout=0)
    finally:
        hal.unregister_driver("failing")
    assert type(caught.value) is cls
    assert caught.value.errno == number
    assert caught.value.kind == kind


def library_kinds() -> dict[str, int]:
    """The number of each kind of failure that the library knows, by name."""
    kinds: dict[str, int] = {}
    for kind in itertools.count(lib.HAL_OK + 1):
        name = os.fsdecode(ffi.string(lib.hal_error_kind_name(kind)))
        if name == "unknown":
            break
        kinds[name] = kind
    return kinds


def test_there_is_a_class_for_every_kind_of_the_library() -> None:
    assert library_kinds().keys() == set(BY_KIND) == set(KINDS)


@pytest.mark.parametrize(
    ("cls", "builtin"),
    [
        (hal.PermissionDenied, PermissionError),
        (hal.Timeout, TimeoutError),
        (hal.WouldBlock, BlockingIOError),
        (hal.Interrupted, InterruptedError),
        (hal.NotFound, FileNotFoundError),
        (hal.NoAttribute, KeyError),
        (hal.InvalidArgument, ValueError),
        (hal.Busy, OSError),
    ],
)
def test_errors_are_what_python_programs_expect(
    cls: type[hal.Error], builtin: type[Exception]
) -> None:
    assert issubclass(cls, hal.Error)
    assert issubclass(cls, builtin)


@pytest.mark.parametrize("cls", [*BY_KIND.values(), hal.NoAttribute])
def test_an_error_of_text_alone_has_the_number_of_its_kind(cls: type[Error]) -> None:
    error = cls("the reason")
    assert str(error) == error.strerror == "the reason"
    assert error.errno == KINDS[cls.kind][1][0]
    assert lib.hal_error_kind(-error.errno) == library_kinds()[cls.kind]


@pytest.mark.parametrize("cls", [*BY_KIND.values(), hal.NoAttribute])
def test_errors_survive_pickling(cls: type[Error]) -> None:
    error = pickle.loads(pickle.dumps(cls(errno.EIO, "text")))
    assert (type(error), error.errno, str(error)) == (cls, errno.EIO, "text")


def test_the_text_names_operation_object_and_cause() -> None:
    with pytest.raises(hal.NotFound, match=r'^open "/dev/nosuchtty": No such file or directory'):
        hal.open("uart:/dev/nosuchtty")


def test_a_text_of_any_bytes_is_shown() -> None:
    with pytest.raises(hal.NotFound) as caught:
        hal.open("uart:/dev/\udcff\u20ac")
    assert "\udcff\u20ac" in str(caught.value)


def test_permission_denied_says_whose_rights_are_missing(line: Line) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can take the rights of a node away from itself")
    line.device.close()
    os.chmod(line.path, 0o600)
    inside, outside = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.setgroups([])
        os.setgid(65534)
        os.setuid(65534)
        try:
            hal.open(f"uart:{line.path}")
        except hal.PermissionDenied as error:
            os.write(outside, str(error).encode())
        os._exit(0)
    os.close(outside)
    with os.fdopen(inside, "rb") as pipe:
        text = pipe.read().decode()
    os.waitpid(pid, 0)
    assert text.startswith(f'open "{line.path}": Permission denied (owner root:')
    assert "mode 0600" in text
