# SPDX-License-Identifier: Apache-2.0
"""A guest of the distribution's backports: VFIO by /dev/iommu, volatile memory of a CXL device.

Both are younger than the kernel of the lab's other guests. Those tests of theirs that touch the
kernel's interface run here again, on the newer one. Preparation and run take minutes, so this runs
only when it is named (``make lab``; conftest.py).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from .machine import x86_64_newer
from .newer import volatile_cxl
from .newer.prepare import prepare_newer
from .prepare import LabUnavailable
from .vm import Guest

HERE = Path(__file__).resolve().parent
VFIO = (
    "test_facts",
    "test_registers",
    "test_configuration_space",
    "test_messages_are_counted",
    "test_vectors_of_one_function",
    "test_dma_both_ways",
    "test_what_is_not_mapped_is_not_touched",
    "test_closing_the_device_unmaps",
    "test_iova_of_choice_and_its_limits",
    "test_what_cannot_be_mapped",
    "test_threads_open_and_close",
    "test_an_ordinary_user",
    "test_a_child_holds_nothing",
    "test_a_group_in_use",
)
"""Of guest/test_vfio.py, where test_facts looks for the backend."""
CXL = tuple(name for name in vars(volatile_cxl) if name.startswith("test_"))

PLUGINS = ("cacheprovider", "pastebin", "doctest", "stepwise", "unittest", "legacypath")
"""What pytest in the guest does without: each takes seconds to load there."""

pytestmark = pytest.mark.timeout(900)  # the first test waits for preparation and boot


@pytest.fixture(scope="module")
def results() -> dict[str, str]:
    """How each test went in one boot: "" where all was well."""
    try:
        kit = prepare_newer()
    except LabUnavailable as error:
        if os.environ.get("CI"):
            pytest.fail(f"no lab: {error}")
        pytest.skip(f"no lab: {error}")
    wanted = [f"{HERE}/newer/volatile_cxl.py"]
    wanted += [f"{HERE}/guest/test_vfio.py::{name}" for name in VFIO]
    report = "/run/lab/results.xml"
    with Guest(kit, x86_64_newer) as guest:
        done = guest.run(
            [
                *(sys.executable, "-m", "pytest", "-c", f"{HERE}/guest/guest.ini"),
                *(f"--rootdir={HERE.parent.parent}", "--assert=plain"),
                *(word for name in PLUGINS for word in ("-p", f"no:{name}")),
                *(f"--junitxml={report}", *wanted),
            ],
            timeout=600,
            environment={
                "PYTHONPATH": str(HERE.parent.parent),
                "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            },
        )
        path = guest.exchange / "results.xml"
        assert path.exists(), f"{done.output}\n{guest.tail()}"
        with guest.machine.files["cxl"].open("rb") as memory:
            memory.seek(volatile_cxl.OFFSET)
            mark = memory.read(len(volatile_cxl.MARK))
        cases = list(ElementTree.parse(path).iter("testcase"))
    found = {f"{case.get('classname')}.{case.get('name')}": _failure(case) for case in cases}
    return {**found, "mark": "" if mark == volatile_cxl.MARK else f"the host's file has {mark!r}"}


def _failure(case: ElementTree.Element) -> str:
    bad = [part for kind in ("failure", "error", "skipped") for part in case.iter(kind)]
    return "\n".join(f"{part.get('message')}\n{part.text}" for part in bad)


def _check(results: dict[str, str], name: str) -> None:
    if results[name]:
        pytest.fail(results[name], pytrace=False)


@pytest.mark.parametrize("name", CXL)
def test_volatile_cxl(results: dict[str, str], name: str) -> None:
    _check(results, f"tests.lab.newer.volatile_cxl.{name}")


def test_what_was_stored_is_in_the_hosts_file(results: dict[str, str]) -> None:
    _check(results, "mark")


@pytest.mark.parametrize("name", VFIO)
def test_vfio_by_iommufd(results: dict[str, str], name: str) -> None:
    _check(results, f"tests.lab.guest.test_vfio.{name}")
