# SPDX-License-Identifier: Apache-2.0
"""Volatile memory of a CXL device, in the guest of the newer kernel."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

import hal

CXL = Path("/sys/bus/cxl/devices")
MARK = b"volatile, yet in the host's file"
OFFSET = 0x123457
"""Where the host looks for the mark afterwards."""


@pytest.fixture
def memory() -> Iterator[hal.Memory]:
    (node,) = Path("/dev").glob("dax*")
    with hal.Memory.open(f"memory:{node}") as device:
        yield device


def test_facts(memory: hal.Memory) -> None:
    (region,) = CXL.glob("region*")
    folder = Path("/sys/bus/dax/devices") / Path(memory.uri).name
    assert (memory.kind, memory.persistent, memory.size) == ("devdax", False, 256 << 20)
    assert (memory.region, memory.decoder) == (region.name, "decoder0.0")
    assert memory.targets == ((region / "target0").read_text().strip(),)
    assert memory.interleave == (1, 256)
    assert memory.target_node == int((folder / "target_node").read_text())
    assert memory.numa_node == int((folder / "numa_node").read_text())


def test_what_a_mapping_needs(memory: hal.Memory) -> None:
    facts = hal.cache.query(memory.array())
    assert (facts.kind, facts.flush, facts.domain) == ("cxl", "unknown", "")
    assert "whether another host shares it" in facts.reason


def test_blocks_registers_and_arrays_are_one_memory(memory: hal.Memory) -> None:
    assert memory.write_at(MARK, OFFSET) == len(MARK)
    array = memory.array("u1", len(MARK), OFFSET)
    assert array.tobytes() == MARK
    memory.sync(array)
    memory.flush(array[::3])
    memory.store(8192, 0x1122334455667788, 8)
    assert memory.read_at(8, 8192) == bytes.fromhex("8877665544332211")
    with pytest.raises(hal.Unsupported, match="devdax is not persistent"):
        memory.persist(array)
    with pytest.raises(hal.Unsupported, match="MAP_SYNC: this memory is not persistent"):
        memory.array("u1", 10, sync=True)
