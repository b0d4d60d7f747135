# SPDX-License-Identifier: Apache-2.0
"""Tests for an inner pytest, as text."""

OUTCOMES = """
import os, pathlib, pytest

def test_fails():
    print("said before")
    assert 6 * 7 == 41

def test_is_skipped():
    pytest.skip("for this reason")

@pytest.mark.parametrize("word", ["a b", "c::d"])
def test_selected(word):
    pass
"""
