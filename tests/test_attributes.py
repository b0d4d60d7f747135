# SPDX-License-Identifier: Apache-2.0
"""Attributes as a mapping, and what is said about them."""

from __future__ import annotations

from collections.abc import Iterator, MutableMapping
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import hal

RW = hal.Access.READ | hal.Access.WRITE


class Panel(hal.Driver):
    """One attribute of each type; they hold what they are given."""

    attributes = (
        hal.Attribute("on", bool, RW, doc="Whether it is on."),
        hal.Attribute("count", int, RW, unit="B"),
        hal.Attribute("rate", float, RW | hal.Access.OPEN, unit="Hz", range=(0.5, 100)),
        hal.Attribute("label", str, RW),
        hal.Attribute("mode.kind", str, RW, choices=("fast", "slow"), initial="fast"),
        hal.Attribute("serial", str, hal.Access.READ),
        hal.Attribute("key", str, hal.Access.WRITE),
        hal.Attribute("size", int, hal.Access.OPEN, initial="7"),
    )
    on = False
    count = 0
    rate = 1.0
    label = ""
    mode_kind = "fast"
    serial = "S1"
    key = ""


@pytest.fixture
def panel() -> Iterator[hal.Device]:
    """A device with every kind of attribute."""
    hal.register_driver("panel", Panel)
    with hal.open("panel:") as device:
        yield device
    hal.unregister_driver("panel")


def test_it_is_a_mapping(panel: hal.Device) -> None:
    attributes = panel.attributes
    assert isinstance(attributes, MutableMapping)
    assert list(attributes) == [attribute.name for attribute in Panel.attributes]
    assert len(attributes) == 8
    assert "on" in attributes
    assert "off" not in attributes
    assert attributes.get("off", 5) == 5
    assert "on, count" in repr(attributes)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("on", True),
        ("count", -(2**63)),
        ("count", 2**63 - 1),
        ("rate", 0.5),
        ("rate", 100.0),
        ("label", "grün \udcff"),
        ("label", ""),
        ("label", "x" * 255),
        ("mode.kind", "slow"),
    ],
)
def test_a_value_comes_back_as_it_was_set(panel: hal.Device, name: str, value: Any) -> None:
    panel.attributes[name] = value
    assert panel.attributes[name] == value
    assert type(panel.attributes[name]) is type(value)


@pytest.mark.parametrize(
    ("name", "given", "taken"),
    [
        ("rate", 2, 2.0),
        ("rate", "2.5", 2.5),
        ("count", "0x10", 16),
        ("count", np.int16(3), 3),
        ("rate", np.float32(2.5), 2.5),
        ("on", "yes", True),
    ],
)
def test_what_can_be_read_as_the_type_is_taken(
    panel: hal.Device, name: str, given: Any, taken: Any
) -> None:
    panel.attributes[name] = given
    assert panel.attributes[name] == taken


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("rate", 0.49, "outside 0.5 .. 100"),
        ("rate", 100.5, "outside"),
        ("rate", float("nan"), "rate"),
        ("count", 2**63, "64 bits"),
        ("count", "many", "count"),
        ("count", 1.5, "count"),
        ("mode.kind", "medium", "fast, slow"),
        ("label", "x" * 256, "255 at most"),
        ("label", "nul\0", "NUL"),
        ("on", "perhaps", "on"),
    ],
)
def test_what_does_not_fit_is_refused(
    panel: hal.Device, name: str, value: Any, message: str
) -> None:
    before = panel.attributes[name]
    with pytest.raises(hal.InvalidArgument, match=message):
        panel.attributes[name] = value
    assert panel.attributes[name] == before


def test_a_value_of_no_type_is_refused(panel: hal.Device) -> None:
    with pytest.raises(TypeError, match="bool, int, float or str, not 'list'"):
        panel.attributes["on"] = [1]  # type: ignore[assignment]


def test_what_is_not_there_says_what_is(panel: hal.Device) -> None:
    for access in (
        lambda: panel.attributes["colour"],
        lambda: panel.attributes.__setitem__("colour", 1),
        lambda: panel.attributes.describe("colour"),
    ):
        with pytest.raises(hal.NoAttribute, match=r"on, count, rate, label, mode\.kind"):
            access()
    with pytest.raises(KeyError, match='did you mean "count"'):
        _ = panel.attributes["coutn"]


def test_rights(panel: hal.Device) -> None:
    with pytest.raises(hal.PermissionDenied, match="read-only"):
        panel.attributes["serial"] = "S2"
    with pytest.raises(hal.PermissionDenied, match="cannot be read"):
        _ = panel.attributes["key"]
    with pytest.raises(hal.PermissionDenied, match="when opening"):
        panel.attributes["size"] = 1
    with pytest.raises(hal.Unsupported):
        del panel.attributes["on"]


def test_descriptions_are_the_drivers_own(panel: hal.Device) -> None:
    assert tuple(panel.attributes.describe_all()) == Panel.attributes
    assert panel.attributes.describe("rate").range == (0.5, 100)
    listed = next(driver for driver in hal.drivers() if driver.name == "panel")
    assert listed.attributes == Panel.attributes


def test_options_are_checked_as_attributes() -> None:
    hal.register_driver("panel", Panel)
    try:
        with hal.open("panel:", rate=50) as device:
            assert device.attributes["rate"] == 50
        with pytest.raises(hal.InvalidArgument, match="outside"):
            hal.open("panel:", rate=500)
        with pytest.raises(hal.InvalidArgument, match="count"):
            hal.open("panel:", count=5)
    finally:
        hal.unregister_driver("panel")


@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=st.sampled_from([attribute.name for attribute in Panel.attributes]) | st.text(max_size=8),
    value=st.booleans() | st.integers() | st.floats() | st.text(max_size=300),
)
def test_any_value_is_taken_or_an_error(panel: hal.Device, name: str, value: hal.Value) -> None:
    try:
        panel.attributes[name] = value
    except hal.Error as error:
        assert str(error)  # noqa: PT017 - which one is above
        return
    kept = panel.attributes[name] if name != "key" else value
    if not isinstance(value, str):
        assert kept == value
