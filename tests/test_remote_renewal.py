# SPDX-License-Identifier: Apache-2.0
"""What changes while a link is open: the controller's token, and who is revoked."""

from __future__ import annotations

import datetime as dt
import shutil
import time

import pytest

import hal
from hal.link import files, token
from hal.link.authority import Authority
from hal.link.credentials import Credentials
from hal.link.token import Right

from .far import Far, far

__all__ = ["far"]


def new_token(far: Far, seconds: float) -> None:
    """Give the controller a token that ends so soon."""
    authority = Authority.load(far.folder.parent / "ca")
    text = token.issue(
        authority.token_key,
        authority.certificate,
        Credentials(far.folder).certificate,
        [Right("*", "rw")],
        lifetime=dt.timedelta(seconds=seconds),
    )
    files.write(far.folder / "token", text.encode(), files.SECRET)


def test_a_new_token_is_sent_before_the_old_one_ends(far: Far) -> None:
    new_token(far, 3)
    with hal.open(far.uri("memory"), timeout=5) as device:
        new_token(far, 3600)
        device.write_at(b"early", 0, timeout=5)
        time.sleep(3.5)
        assert device.read_at(5, 0, timeout=5) == b"early"


def test_without_a_new_one_the_end_is_told(far: Far) -> None:
    new_token(far, 3)
    with hal.open(far.uri("memory"), timeout=5) as device:
        device.write_at(b"x", 0, timeout=5)
        time.sleep(3.2)
        with pytest.raises(hal.PermissionDenied, match="expired"):
            device.read_at(1, 0, timeout=5)
        new_token(far, 3600)  # Late, and in time.
        time.sleep(1.1)
        assert device.read_at(1, 0, timeout=5) == b"x"


def test_an_agent_that_is_revoked_loses_its_links(far: Far) -> None:
    authority = Authority.load(far.folder.parent / "ca")
    agent = Credentials(far.folder.parent / "device")
    with hal.open(far.uri("memory"), timeout=5) as device:
        authority.revoke(str(agent.identity.id))
        shutil.copy(authority.folder / "crl.pem", far.folder / "crl.pem")
        time.sleep(1.1)
        with pytest.raises(hal.PermissionDenied, match="revoked"):
            device.read_at(1, 0, timeout=5)
