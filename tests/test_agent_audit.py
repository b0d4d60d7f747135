# SPDX-License-Identifier: Apache-2.0
"""The audit log of an agent: what its lines say, that they are bounded, and where they go."""

from __future__ import annotations

import errno
import json
import os
import re
import stat
import time
from pathlib import Path

import pytest

import hal
from hal.agent import audit
from hal.agent.audit import EVENTS, REASONS, Audit, reason_of
from hal.link.token import Refused


def lines(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_a_line(tmp_path: Path) -> None:
    path = tmp_path / "audit.jsonl"
    log = Audit(path)
    log.note("open", address="::1", uuid="1", device="uart0", lease="ff")
    log.note("ended", detail='two\nlines "\u2028\x1b[0m', bytes=12, seconds=0.5)
    log.close()
    first, second = lines(path)
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", str(first.pop("time")))
    assert first == {
        "event": "open", "address": "::1", "uuid": "1", "device": "uart0", "lease": "ff"
    }  # fmt: skip
    assert second["detail"] == 'two\nlines "\u2028\x1b[0m'
    assert (second["bytes"], second["seconds"]) == (12, 0.5)
    assert path.read_bytes().isascii() and path.read_bytes().count(b"\n") == 2
    assert stat.S_IMODE(path.stat().st_mode) == 0o640 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_texts_are_cut(tmp_path: Path) -> None:
    log = Audit(tmp_path / "log")
    for length in (audit.TEXT_MAX, audit.TEXT_MAX + 1):
        log.note("refused", "failed", detail="x" * length)
    log.close()
    assert [len(str(line["detail"])) for line in lines(tmp_path / "log")] == [audit.TEXT_MAX] * 2


def test_a_flood_becomes_a_count(tmp_path: Path) -> None:
    log = Audit(tmp_path / "log")
    for _ in range(audit.BURST + 5):
        log.note("refused", "garbage", address="10.0.0.1")
    log.note("refused", "garbage", address="10.0.0.2")
    log.note("refused", "expired", address="10.0.0.1")
    for _ in range(audit.BURST + 5):
        log.note("open", address="10.0.0.1")
    log.flush(time.monotonic() + audit.WINDOW + 1)
    log.note("refused", "garbage", address="10.0.0.1")  # A new window.
    log.close()
    found = lines(tmp_path / "log")
    assert sum(line["event"] == "open" for line in found) == audit.BURST + 5
    flood = [x for x in found if x.get("reason") == "garbage" and x["address"] == "10.0.0.1"]
    assert len(flood) == audit.BURST + 2
    assert [line.get("more") for line in flood[-2:]] == [5, None]
    assert sum(line.get("address") == "10.0.0.2" for line in found) == 1


def test_sources_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "SOURCES_MAX", 50)
    log = Audit(tmp_path / "log")
    for number in range(200):
        log.note("refused", "garbage", address=f"fe80::{number:x}")
    log.close()
    found = lines(tmp_path / "log")
    assert len(found) == 50 + audit.BURST + 1
    assert found[-1] == found[-1] | {"event": "refused", "more": 150 - audit.BURST}
    assert "address" not in found[-1]


def test_reopened_after_logrotate(tmp_path: Path) -> None:
    path = tmp_path / "log"
    log = Audit(path)
    log.note("start")
    log.flush()
    while not path.stat().st_size:
        time.sleep(0.01)
    path.rename(tmp_path / "log.1")
    log.reopen()
    log.note("stop")
    log.close()
    assert [line["event"] for line in lines(tmp_path / "log.1")] == ["start"]
    assert [line["event"] for line in lines(path)] == ["stop"]


def test_a_link_does_not_wait_for_a_stalled_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A FIFO that nobody reads takes 64 KiB and then blocks, as a disk that hangs."""
    monkeypatch.setattr(audit, "PATIENCE", 0.01)
    path = tmp_path / "fifo"
    os.mkfifo(path)
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    log = Audit(path)
    count = audit.QUEUE_MAX + 65536 // 450 + 20
    begun = time.monotonic()
    for _ in range(count):
        log.note("open", detail="x" * 400)
    assert time.monotonic() - begun < 60
    with os.fdopen(reader, "rb") as file:
        os.set_blocking(reader, True)
        received: list[dict[str, object]] = []
        while len(received) < audit.QUEUE_MAX:
            received.append(json.loads(file.readline()))
        log.flush()
        while received[-1]["event"] != "dropped":
            received.append(json.loads(file.readline()))
        written = sum(line["event"] == "open" for line in received)
        assert written + int(str(received[-1]["more"])) == count
        log.close()


def test_what_is_counted_is_everything(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    log = Audit(tmp_path / "log", lambda event, reason: told.append((event, reason)))
    for _ in range(audit.BURST * 2):
        log.note("refused", "garbage", address="10.0.0.1")
    log.close()
    assert told == [("refused", "garbage")] * audit.BURST * 2


def test_a_look_is_counted_and_not_written(tmp_path: Path) -> None:
    told: list[tuple[str, str]] = []
    log = Audit(tmp_path / "log", lambda event, reason: told.append((event, reason)))
    log.note("looked", address="10.0.0.1")
    log.close()
    assert told == [("looked", "")]
    assert lines(tmp_path / "log") == []


def test_a_file_that_cannot_be_opened(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/etc/passwd")
    for path in (tmp_path / "no" / "log", tmp_path, tmp_path / "link"):
        with pytest.raises(hal.InvalidArgument, match="open the audit log"):
            Audit(path)


def test_reasons() -> None:
    denied, refused = hal.PermissionDenied, Refused
    cases = {
        "expired": denied("handshake: certificate has expired"),
        "not-yet-valid": denied("handshake: certificate is not yet valid"),
        "revoked": denied("handshake: certificate revoked"),
        "no-crl": denied("handshake: unable to get certificate CRL"),
        "old-crl": denied("handshake: CRL has expired"),
        "wrong-role": denied("handshake: unsuitable certificate purpose"),
        "self-signed": denied("handshake: self-signed certificate"),
        "other-ca": denied("handshake: unable to get local issuer certificate"),
        "no-certificate": denied("handshake: peer did not return a certificate"),
        "old-tls": denied("handshake: unsupported protocol"),
        "wrong-protocol": denied("handshake: no application protocol"),
        "bad-certificate": denied("handshake: certificate verify failed: path length exceeded"),
        "garbage": denied("handshake: wrong version number"),
        "rights": denied(errno.EACCES, 'open "uart0": the token does not allow it'),
        "too-slow": hal.Timeout("handshake: too slow"),
        "too-long": hal.ProtocolError(errno.EMSGSIZE, "a frame of 1073741824 bytes"),
        "wrong-version": hal.ProtocolError(errno.EPROTONOSUPPORT, "version 7"),
        "went-away": hal.Unplugged("the other end went away"),
        "busy": hal.Busy("held"),
        "not-found": hal.NotFound("nothing"),
        "wrong-name": ValueError("exactly one name is wanted"),
        "token-expired": refused("expired", "renew it"),
        "token-binding": refused("binding", "another certificate"),
        "failed": hal.Error(errno.EIO, "broken"),
    }
    assert {reason: reason_of(error) for reason, error in cases.items()} == {r: r for r in cases}
    assert set(cases) <= set(REASONS)
    judged = ("expired", "not-yet-valid", "audience", "issuer", "signature", "type", "binding")
    for word in (*judged, "subject", "malformed", "missing"):
        assert f"token-{word}" in REASONS
    assert all(EVENTS.values()) and all(REASONS.values())
