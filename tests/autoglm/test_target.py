# SPDX-License-Identifier: Apache-2.0
"""Names of targets, and of TVM's for them."""

from __future__ import annotations

from itertools import pairwise

import pytest

from autoglm.errors import TargetError
from autoglm.target import X86_64_LEVELS, Target


@pytest.mark.parametrize(
    ("text", "target"),
    [
        ("cpu", Target("cpu")),
        ("cpu:x86-64-v3", Target("cpu", "x86-64-v3")),
        ("riscv64:v", Target("riscv64", "v")),
        ("cuda:sm_90a", Target("cuda", "sm_90a")),
        ("rocm:gfx90a", Target("rocm", "gfx90a")),
        ("c -device=rv64", Target("riscv64")),
        ("c --device=rv64", Target("riscv64")),
        ("llvm -mtriple=aarch64-linux-gnu", Target("aarch64")),
        ("llvm -mcpu=x86-64-v3", Target("cpu", "x86-64-v3")),
        ("llvm", Target("cpu")),
        ("cuda -arch=sm_86", Target("cuda", "sm_86")),
        ("rocm -mcpu=gfx1100", Target("rocm", "gfx1100")),
    ],
)
def test_parse(text: str, target: Target) -> None:
    assert Target.parse(text) == target
    assert Target.parse(str(target)) == target


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "there are: cpu"),
        ("cqu", "did you mean 'cpu'"),
        ("vulkan:1", "has no variants"),
        ("cuda:80", "takes 'sm_"),
        ("cpu:x86-64-v5", "takes"),
        ("c 'rv64", "No closing quotation"),
        ("hexagon -x=1", "there are: cpu"),
    ],
)
def test_no_target(text: str, says: str) -> None:
    with pytest.raises(TargetError, match=says):
        Target.parse(text)


def test_levels_add_up() -> None:
    features = [set(Target("cpu", level).features) for level in X86_64_LEVELS]
    assert all(lower < higher for lower, higher in pairwise(features))
    assert "ssse3" in Target("cpu", "x86-64-v3").features
    assert Target("cpu").features == ()
