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
        ("llvm -mcpu=skylake", Target("cpu", "x86-64-v3")),
        ("llvm -mcpu=skylake-avx512", Target("cpu", "x86-64-v4")),
        ("llvm -mcpu=native", Target("cpu")),
        ("llvm -mtriple=x86_64-linux-gnu", Target("cpu", "x86-64")),
        ("llvm -mtriple=x86_64-linux-gnu -mcpu=znver3", Target("cpu", "x86-64-v3")),
        ("llvm -mtriple=riscv64-linux-gnu -mcpu=generic-rv64", Target("riscv64")),
        ("llvm -device=arm_cpu -mtriple=aarch64-linux-gnu", Target("aarch64")),
        ("c -device=rv64 -mtriple=riscv64-unknown-elf", Target("riscv64")),
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
        ("vulkan:1", "has nothing after"),
        ("vulkan:", "'vulkan' has nothing after its colon"),
        ("cuda:80", "takes an architecture such as sm_80 or sm_90a after its colon"),
        ("cuda:", "takes an architecture"),
        ("rocm:1100", "such as gfx1100"),
        ("riscv64:b", "takes v after"),
        ("cpu:x86-64-v5", "takes x86-64, x86-64-v2, x86-64-v3 or x86-64-v4 after its colon"),
        ("c -device=rv32", "'-device=rv32' is not understood.*are: rv64, riscv64, aarch64"),
        ("llvm -mtriple=armv7l-linux-gnueabihf", "'-mtriple=armv7l-linux-gnueabihf' is not"),
        ("llvm -device=arm_cpu", "'-device=arm_cpu' is not understood"),
        ("c -device=rv64 -mtriple=aarch64-linux-gnu", "names two: aarch64, riscv64"),
        ("llvm -mcpu=pentium4", "'-mcpu=pentium4' is not understood.*are: x86-64.*skylake"),
        ("llvm -mtriple=aarch64-linux-gnu -mcpu=native", "'-mcpu=native' is not.*are: generic"),
        ("llvm -mattr=+avx2", r"'-mattr=\+avx2' is not understood; after 'llvm' is: -device=, -mt"),
        ("llvm -mcpu", "'-mcpu' is not understood"),
        ("llvm -mcpu=haswell -mcpu=skylake", "'-mcpu=skylake' says something twice"),
        ("cuda sm_86", "'sm_86' is not understood; after 'cuda' is: -arch="),
        ("cuda -arch=86", "takes an architecture"),
        ("rocm -mcpu=gfx1100 -arch=gfx90a", "twice"),
        ("vulkan -foo", "'-foo' is not understood; after 'vulkan' is: nothing"),
        ("opencl -device=mali", "'-device=mali' is not understood; after 'opencl' is: nothing"),
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
