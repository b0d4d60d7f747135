# SPDX-License-Identifier: Apache-2.0
"""agent.toml: what it may say, and what is said of what it may not."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

import hal
from hal.agent.audit import EVENTS, REASONS
from hal.agent.config import SIZE_MAX, Config, is_loopback


def load(folder: Path, text: str) -> Config:
    path = folder / "agent.toml"
    path.write_text(text)
    return Config.load(path)


def test_nothing_is_exported_and_only_the_loopback_listens_unless_told(tmp_path: Path) -> None:
    config = load(tmp_path, "")
    assert dict(config.devices) == {}
    assert is_loopback(config.listen.host)
    assert config.metrics.port == 0


def test_everything_can_be_said(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        [devices]
        uart0 = "uart:/dev/ttyUSB0?baud=115200"
        [listen]
        host = "::"
        port = 0
        [limits]
        links = 10
        per_identity = 2
        half_open = 20
        per_address = 5
        [leases]
        keep = 0
        longest = 3600
        [audit]
        file = "/var/log/hal-agent/audit.jsonl"
        [metrics]
        port = 9362
        [announce]
        enabled = false
        protocols = ["mdns"]
        interfaces = ["eth0"]
        model = "Bench Pi"
        """,
    )
    assert config.devices["uart0"] == "uart:/dev/ttyUSB0?baud=115200"
    assert (config.listen.host, config.listen.port) == ("::", 0)
    assert (config.limits.links, config.limits.per_identity) == (10, 2)
    assert (config.limits.half_open, config.limits.per_address) == (20, 5)
    assert (config.leases.keep, config.leases.longest) == (0, 3600)
    assert config.audit.file == "/var/log/hal-agent/audit.jsonl"
    assert config.metrics.port == 9362
    assert config.announce.protocols == ("mdns",) and config.announce.interfaces == ("eth0",)
    assert not config.announce.enabled and config.announce.model == "Bench Pi"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[device]\n", "device: unknown; known here: devices, listen, limits"),
        ("devices = 1", r"devices: must be a table: \[devices\]"),
        ("listen = 1", r"listen: must be a table: \[listen\]"),
        ('[listen]\nhosts = "::"', "listen.hosts: unknown; known here: host, port"),
        ("[listen]\nhost = 1", "listen.host: must be a text"),
        ('[listen]\nhost = ""', "listen.host: must be an address"),
        ('[listen]\nport = "1"', "listen.port: must be a whole number"),
        ("[listen]\nport = true", "listen.port: must be a whole number"),
        ("[listen]\nport = 1.0", "listen.port: must be a whole number"),
        ("[listen]\nport = -1", r"listen.port: -1 is not of 0 \.\. 65535"),
        ("[listen]\nport = 65536", r"listen.port: 65536 is not of 0 \.\. 65535"),
        ("[limits]\nlinks = 0", r"limits.links: 0 is not of 1 \.\. 10000"),
        ("[limits]\nlinks = 10001", r"limits.links: 10001 is not of 1 \.\. 10000"),
        ("[limits]\nlinks = 63", "limits.per_identity: more than links"),
        ("[limits]\nhalf_open = 63", "limits.per_address: more than half_open"),
        ("[leases]\nkeep = 3601", r"leases.keep: 3601 is not of 0 \.\. 3600"),
        ("[leases]\nlongest = -1", "leases.longest: -1 is not of 0"),
        ("[announce]\nenabled = 1", "announce.enabled: must be true or false"),
        ('[announce]\nprotocols = ["dns"]', 'announce.protocols: no "dns"; there are'),
        ("[announce]\ninterfaces = [1]", "announce.interfaces: must be a list of texts"),
        ('[devices]\n"a b" = "loopback:"', "devices.a b: a name is a letter or digit"),
        ('[devices]\n"\\u0000" = "loopback:"', "a name is a letter or digit"),
        ("[devices]\na = 1", "devices.a: must be a URI"),
        ('[devices]\na = "/dev/x"', "devices.a: must be a URI"),
        ('[devices]\na = "hal://b/c"', "devices.a: a device of another machine is exported by"),
        ("[devices", "it is no TOML"),
        ("[devices]\na = 'x:'\na = 'y:'", "it is no TOML"),
        ("x = " + "[" * 5000, "it is no TOML"),
        ("#" * (SIZE_MAX + 1), "more than 1048576 bytes"),
    ],
)
def test_what_is_wrong_is_said(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(hal.InvalidArgument, match=says) as caught:
        load(tmp_path, text)
    assert str(tmp_path / "agent.toml") in str(caught.value)


@pytest.mark.parametrize(
    "text",
    [
        "[listen]\nport = 65535",
        "[limits]\nlinks = 10000",
        "[limits]\nlinks = 64",
        "[limits]\nhalf_open = 64",
        "[leases]\nkeep = 3600",
        f'[devices]\n{"a" * 127} = "loopback:"',
        "#" * SIZE_MAX,
    ],
)
def test_at_the_limits(tmp_path: Path, text: str) -> None:
    load(tmp_path, text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(hal.NotFound, match="name another by --config"):
        Config.load(tmp_path / "none.toml")
    with pytest.raises(hal.InvalidArgument, match="it is a folder"):
        Config.load(tmp_path)
    (tmp_path / "latin.toml").write_bytes(b'[devices]\n"\xe9" = "x:"')
    with pytest.raises(hal.InvalidArgument, match="it is no TOML"):
        Config.load(tmp_path / "latin.toml")
    if os.geteuid() != 0:
        (tmp_path / "agent.toml").touch(0o000)
        with pytest.raises(hal.PermissionDenied, match="must be able to read it"):
            Config.load(tmp_path / "agent.toml")


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True),
     ("::", False), ("0.0.0.0", False), ("10.0.0.1", False), ("bench", False)],
)  # fmt: skip
def test_loopback(host: str, is_it: bool) -> None:
    assert is_loopback(host) is is_it


def test_the_page_has_every_key_event_and_reason() -> None:
    """docs/hal-agent.md is where people look; it must not fall behind."""
    page = (Path(__file__).parent.parent / "docs" / "hal-agent.md").read_text()
    for section in dataclasses.fields(Config):
        assert f"| `[{section.name}]` |" in page
        if section.name != "devices":
            for key in dataclasses.fields(getattr(Config(), section.name)):
                assert f"| `{key.name}` |" in page
    for words in (EVENTS, REASONS):
        for word, meaning in words.items():
            assert f"| `{word}` | {meaning} |" in page
