# SPDX-License-Identifier: Apache-2.0
"""Checks of errors: a number that means what it says, and a sentence that helps."""

from __future__ import annotations

import errno
import re

from hal._abi import ffi, lib

from .check import check
from .outcome import Broken, NotApplicable
from .raw import NOWAIT, UNKNOWN, OpenFailed, Raw, after, last_error, name_of
from .subject import WAIT, Session

SENTENCE = re.compile(r'\S[^"]* ".+?": \S.*', re.DOTALL)


@check
def error_messages(run: Session) -> str:
    """An error is a sentence: operation "object": cause; a wrong option is named in it.

    Why: it is all that the person has who reads the log.

    See: hal/error.h; hal/driver.h, hal_fail()
    """
    _refused(run.next_uri(), "no-such-option=1", "no-such-option")
    device = run.open()
    result = device.get("no-such-attribute", after(WAIT))[0]
    _sentence(result, "no-such-attribute", "hal_get of an unknown attribute")
    nowhere = f"{run.uri.partition(':')[0]}:/no/such/address"
    try:
        Raw(nowhere, after(WAIT)).close()
        heard = "any address opens"
    except OpenFailed as error:
        _sentence(error.result, "/no/such", f'opening "{nowhere}"')
        heard = f"a wrong address gives {name_of(error.result)}"
    return f"unknown option, unknown attribute; {heard}"


def _refused(uri: str, option: str, name: str) -> None:
    wrong = f"{uri}{'&' if '?' in uri else '?'}{option}"
    try:
        Raw(wrong, after(WAIT)).close()
    except OpenFailed as error:
        _sentence(error.result, name, f'opening "{wrong}"')
        return
    raise Broken(f'"{wrong}" opened: an unknown option was swallowed')


def _sentence(result: int, word: str, what: str) -> None:
    text = last_error()
    if result >= 0:
        raise Broken(f"{what} gave {result}")
    if lib.hal_last_errno() != -result:
        raise Broken(f"{what}: {name_of(result)}, but hal_last_errno() is {lib.hal_last_errno()}")
    if not SENTENCE.fullmatch(text):
        raise Broken(f'{what}: "{text}" is not operation "object": cause')
    if word not in text:
        raise Broken(f'{what}: "{text}" does not name {word}')


@check
def unknown_request(run: Session) -> str:
    """hal_control() refuses a request that is not known: -ENOTTY, or -EOPNOTSUPP for none at all.

    Why: a program tries a request and falls back to another way when there is none.

    See: hal/device.h, hal_control(); hal/driver.h, control
    """
    if run.subject.recorded:
        raise NotApplicable("a request that was not recorded is a difference, not an unknown one")
    device = run.open()
    argument = ffi.new("char[16]")
    result = device.control(UNKNOWN, argument, 16, after(WAIT))
    if result not in (-errno.ENOTTY, -errno.EOPNOTSUPP):
        message = last_error() if result < 0 else ""
        raise Broken(f"request {UNKNOWN:#x}: {name_of(result)} {message}".rstrip())
    _sentence(result, "", "an unknown request")
    if device.control(UNKNOWN, ffi.NULL, 8, NOWAIT) >= 0:
        raise Broken("a request with a size and no argument was taken")
    return name_of(result)
