# SPDX-License-Identifier: Apache-2.0
"""Queries: what they ask for, and what they say to those who write them wrongly."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hal
from hal.discovery import CLASSES, Query, Record
from hal.discovery.engine import Filter
from hal.discovery.query import KEYS, LENGTH_MAX

ADAPTER = Record(
    id="5f0c1c0e-0000-5000-8000-000000000001",
    identity="usb 0403:6001 A50285BI",
    name="ttyUSB0",
    device_class="serial",
    vendor="FTDI",
    model="FT232R USB UART",
    serial="A50285BI",
    driver="uart",
    kernel_driver="ftdi_sio",
    uri="uart:/dev/ttyUSB0",
    node="/dev/ttyUSB0",
    addresses=("/dev/ttyUSB0", "/dev/serial/by-id/usb-FTDI-if00-port0"),
    state="ready",
    properties={"speed": "12000000"},
)
REMOTE = Record(
    id="5f0c1c0e-0000-5000-8000-000000000002",
    identity="announced",
    name="iiod on bench-3",
    device_class="instrument",
    uri="ip:10.0.0.3",
    host="bench-3.local",
    addresses=("10.0.0.3", "fd00::3"),
    state="announced",
    trust="unverified",
    sources=("mdns", "ssdp"),
    properties={"service._iio._tcp": "30431", "upnp.types": "urn:a:device:x:1,urn:b"},
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "class=serial",
        "CLASS=Serial",
        "class=serial class=i2c",
        "class=s*",
        "vendor=ftdi model='FT232R *'",
        'model="ft232r usb uart"',
        "serial=A502????",
        "driver=uart kernel_driver=ftdi_sio state=ready trust=local source=local",
        "name=ttyUSB?",
        "property:speed=12000000",
        "host=",
        "uri=uart:/dev/ttyUSB0",
        "uri=uart:/dev/ttyUSB*",
        "uart:/dev/ttyUSB0",
        "uart:/dev/ttyUSB0?baud=9600",
        "/dev/ttyUSB0",
        "/dev/serial/by-id/usb-FTDI-*",
        "ttyUSB0",
        "ttyUSB*",
        "5F0C1C0E-0000-5000-8000-000000000001",
        "ttyUSB0 state=ready",
        "address=/dev/serial/*",
        "node=/dev/ttyUSB0",
    ],
)
def test_a_query_finds_the_adapter(text: str) -> None:
    query = Query.parse(text)
    assert query(ADAPTER)
    assert query(REMOTE) == (text == "")


@pytest.mark.parametrize(
    "text",
    [
        "class=instrument",
        "host=bench-3.local",
        "host=*",
        "type=_iio._tcp",
        "type=_IIO*",
        "type=urn:a:device:x:1",
        "source=ssdp",
        "trust=unverified",
        "fd00::3",
        "10.0.0.3",
        "ip:10.0.0.3",
        "name='iiod on bench-3'",
    ],
)
def test_a_query_finds_the_remote_one(text: str) -> None:
    query = Query.parse(text)
    assert query(REMOTE)
    assert query(ADAPTER) == (text == "host=*")


@pytest.mark.parametrize(
    "text",
    [
        "name=TTYUSB0",
        "uri=uart:/dev/TTYUSB0",
        "/dev/ttyusb0",
        "ttyUSB0 class=i2c",
        "tty",
    ],
)
def test_a_query_does_not_find(text: str) -> None:
    assert not Query.parse(text)(ADAPTER)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("clas=i2c", 'query "clas=i2c": unknown key "clas": did you mean "class"?'),
        ("zzz=1", 'unknown key "zzz" .known are class, '),
        ("class=i2x", 'no class "i2x": did you mean "i2c"? .there are serial, i2c'),
        ("state=redy", 'no state "redy": did you mean "ready"'),
        ("trust=maybe", 'no trust "maybe"'),
        ("name='x", "no closing quotation"),
        ("a" * (LENGTH_MAX + 1), f"{LENGTH_MAX + 1} letters, at most {LENGTH_MAX}"),
    ],
)
def test_a_wrong_query_says_what_is_wrong(text: str, message: str) -> None:
    with pytest.raises(hal.InvalidArgument, match=message.replace("?", r"\?")) as caught:
        Query.parse(text)
    assert isinstance(caught.value, ValueError)


def test_the_longest_query_is_read() -> None:
    assert not Query.parse("a" * LENGTH_MAX)(ADAPTER)


@pytest.mark.parametrize(
    ("text", "exact", "local"),
    [
        ("", False, False),
        ("class=serial", False, False),
        ("ttyUSB0", True, False),
        ("ttyUSB?", False, False),
        ("uart:/dev/ttyUSB0?baud=9600", True, False),
        ("id=5f0c1c0e-0000-5000-8000-000000000001", True, False),
        ("id=5f0c*", False, False),
        ("trust=local", False, True),
        ("host= class=serial", False, True),
        ("trust=local trust=verified", False, False),
        ("source=local", False, True),
        ("host=*", False, False),
    ],
)
def test_what_a_query_needs_to_see(text: str, exact: bool, local: bool) -> None:
    query = Query.parse(text)
    assert (query.exact, query.local) == (exact, local)


@given(st.text(max_size=60))
def test_any_text_is_a_query_or_refused(text: str) -> None:
    try:
        query = Query.parse(text)
    except hal.InvalidArgument:
        return
    query.of([ADAPTER, REMOTE])


@given(st.sampled_from(sorted(KEYS)), st.text("ab*?", max_size=8), st.text("ab", max_size=8))
def test_patterns_are_those_of_the_shell(key: str, pattern: str, text: str) -> None:
    from fnmatch import fnmatchcase

    if key in ("class", "state", "trust", "uri", "source", "type", "address"):
        key = "vendor"
    member = "name" if key == "name" else key
    record = Record(**{"id": "x", "identity": "x", "name": "x", "device_class": "pci",
                       member: text})  # type: ignore[arg-type]  # fmt: skip
    assert Query.parse(f"{key}={pattern}")(record) == fnmatchcase(text, pattern)


def test_every_class_can_be_asked_for() -> None:
    for name in CLASSES:
        Query.parse(f"class={name}")


def test_a_filter_asks_each_record_once(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def ask(query: Query, record: Record) -> bool:
        asked.append(record)
        return record.device_class == "serial"

    monkeypatch.setattr(Query, "__call__", ask)
    keep = Filter(Query.parse("class=serial"))
    assert keep((ADAPTER, REMOTE)) == keep((ADAPTER, REMOTE)) == (ADAPTER,)
    assert asked == [ADAPTER, REMOTE]
    assert keep((REMOTE,)) == ()
