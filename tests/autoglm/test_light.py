# SPDX-License-Identifier: Apache-2.0
"""Models without Python: programs and libraries, also of other machines, run and held against ONNX
Runtime.
"""

from __future__ import annotations

import os
import platform
import subprocess
import termios
import threading
import tty
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import hal
from autoglm.backend import CompileOptions, Files
from autoglm.backends.c import CBackend
from autoglm.device import Device
from autoglm.errors import ArtifactError, CompileError, TargetUnavailable
from autoglm.light import generate as generating
from autoglm.light.emit import HERE, emit, executable
from autoglm.light.generate import Generated, generate, identifier, nbytes
from autoglm.light.toolchain import toolchain
from autoglm.manifest import Program
from autoglm.target import Target
from autoglm.tensor import Array
from tests.native import ROOT, run
from tests.needs import needs

pytestmark = pytest.mark.timeout(600)
NAMES = ("mlp", "vad", "cls")
RTOL, ATOL = 1e-4, 1e-5


# ---- models --------------------------------------------------------------------------------------


def write_mlp(path: Path, features: int | str = 64) -> None:
    """Two layers and a softmax, of seeded weights."""
    random = np.random.default_rng(7)

    def weight(name: str, *shape: int) -> onnx.TensorProto:
        return numpy_helper.from_array(random.standard_normal(shape).astype(np.float32) / 4, name)

    width = features if isinstance(features, int) else 64
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w1", "b1"], ["h"]),
            helper.make_node("Relu", ["h"], ["r"]),
            helper.make_node("Gemm", ["r", "w2", "b2"], ["z"]),
            helper.make_node("Softmax", ["z"], ["y"], axis=1),
        ],
        "mlp",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, features])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        [weight("w1", width, 32), weight("b1", 32), weight("w2", 32, 10), weight("b2", 10)],
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path
    )


def packaged(package: str, file: str) -> onnx.ModelProto:
    """A trained model out of its package (tools/models.txt)."""
    spec = find_spec(package)
    assert spec and spec.origin, f"{package} is not installed (tools/models.txt; make venv does it)"
    return onnx.load(Path(spec.origin).parent / file)


def pin(model: onnx.ModelProto, **shapes: tuple[int, ...]) -> None:
    """Fix the extents of inputs; what was said of outputs is forgotten."""
    for value in model.graph.input:
        if value.name in shapes:
            for extent, number in zip(
                value.type.tensor_type.shape.dim, shapes[value.name], strict=True
            ):
                extent.dim_value = number
    for value in model.graph.output:
        value.type.tensor_type.ClearField("shape")


def write_vad(path: Path) -> None:
    """silero-vad: is there speech in 512 samples; with a state that is carried on."""
    model = packaged("silero_vad", "data/silero_vad_16k_op15.onnx")
    pin(model, input=(1, 576), state=(2, 1, 128))
    rate = next(value for value in model.graph.input if value.name == "sr")
    model.graph.input.remove(rate)
    model.graph.initializer.append(numpy_helper.from_array(np.array(16000, np.int64), "sr"))
    onnx.save(model, path)


def write_cls(path: Path) -> None:
    """PP-OCR's classifier: is a line of text upside down."""
    model = packaged("rapidocr", "models/ch_ppocr_mobile_v2.0_cls_mobile.onnx")
    pin(model, x=(1, 3, 48, 192))
    onnx.save(model, path)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("light")
    write_mlp(folder / "mlp.onnx")
    write_vad(folder / "vad.onnx")
    write_cls(folder / "cls.onnx")
    return folder


@pytest.fixture(scope="module")
def code(folder: Path) -> Mapping[str, Generated]:
    """Every model as C: the same for every machine."""
    return {name: generate(folder / f"{name}.onnx") for name in NAMES}


@pytest.fixture(autouse=True)
def _cache(monkeypatch: pytest.MonkeyPatch) -> None:
    """libhal.a of other machines is kept in the build tree, as everything that is built."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(ROOT / "build" / "cache"))


def inputs_of(model: Path, seed: int = 1) -> dict[str, Array]:
    random = np.random.default_rng(seed)
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return {
        each.name: random.standard_normal(each.shape).astype(np.float32)
        for each in session.get_inputs()
    }


def wanted(model: Path, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """What ONNX Runtime says."""
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    names = [each.name for each in session.get_outputs()]
    return dict(zip(names, map(np.asarray, session.run(names, dict(inputs))), strict=True))


def joined(generated: Generated, inputs: Mapping[str, Array]) -> bytes:
    return b"".join(inputs[spec.name].tobytes() for spec in generated.inputs)


def parted(generated: Generated, data: bytes) -> dict[str, Array]:
    """The outputs of one run."""
    found: dict[str, Array] = {}
    for spec in generated.outputs:
        part, data = data[: nbytes(spec)], data[nbytes(spec) :]
        shape = [int(extent) for extent in spec.shape]
        found[spec.name] = np.frombuffer(part, spec.dtype).reshape(shape)
    assert not data
    return found


def assert_near(got: Mapping[str, Array], want: Mapping[str, Array]) -> None:
    assert list(got) == list(want)
    for name, array in want.items():
        np.testing.assert_allclose(got[name], array, RTOL, ATOL, err_msg=name)


def started(words: list[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, input=data, capture_output=True, timeout=300, check=False)


# ---- programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "name"),
    [("aarch64", "vad"), ("aarch64", "cls"), ("riscv64", "vad"), ("riscv64", "mlp")],
)
def test_program_of_another_machine(
    machine: str, name: str, folder: Path, code: Mapping[str, Generated], tmp_path: Path
) -> None:
    """It is static, needs nothing beside, and computes what ONNX Runtime computes."""
    needs(f"{machine}-linux-gnu-gcc", f"qemu-{machine}-static")
    chain = toolchain(Target(machine))
    assert chain
    executable(code[name], chain, tmp_path / name)
    elf = run("readelf", "--file-header", "--program-headers", tmp_path / name)
    assert "INTERP" not in elf
    assert {"aarch64": "AArch64", "riscv64": "RISC-V"}[machine] in elf
    model = folder / f"{name}.onnx"
    runs = [inputs_of(model, seed) for seed in (1, 2)]
    done = started(
        [*chain.emulator, str(tmp_path / name)], b"".join(joined(code[name], x) for x in runs)
    )
    assert (done.returncode, done.stderr) == (0, b"")
    half = len(done.stdout) // 2
    for data, inputs in zip((done.stdout[:half], done.stdout[half:]), runs, strict=True):
        assert_near(parted(code[name], data), wanted(model, inputs))


@pytest.fixture(scope="module")
def mlp(folder: Path, code: Mapping[str, Generated]) -> Path:
    """The MLP as a program of this machine."""
    needs("gcc")
    chain = toolchain(Target("cpu"))
    assert chain
    executable(code["mlp"], chain, folder / "mlp")
    return folder / "mlp"


def test_state_is_carried(folder: Path, code: Mapping[str, Generated], tmp_path: Path) -> None:
    """Speech detection block by block: the state goes from one run to the next."""
    needs("gcc")
    chain = toolchain(Target("cpu"))
    assert chain
    executable(code["vad"], chain, tmp_path / "vad")
    sound = np.random.default_rng(3).standard_normal((5, 1, 576)).astype(np.float32)
    state = np.zeros((2, 1, 128), np.float32)
    want = []
    for block in sound:
        found = wanted(folder / "vad.onnx", {"input": block, "state": state})
        state = found["stateN"]
        want.append(found["output"])
    (tmp_path / "sound").write_bytes(sound.tobytes())
    words = [str(tmp_path / "vad"), "-i", str(tmp_path / "sound"), "--carry", "stateN=state"]
    done = started([*words, "-o", "output=-"])
    assert (done.returncode, done.stderr) == (0, b"")
    np.testing.assert_allclose(np.frombuffer(done.stdout, np.float32), np.ravel(want), 1e-3, 1e-5)


def test_a_serial_line_on_both_sides(mlp: Path, folder: Path) -> None:
    """Input from a HAL device, output to one: here the same."""
    theirs, ours = os.openpty()
    tty.setraw(theirs, termios.TCSANOW)
    inputs = inputs_of(folder / "mlp.onnx")
    received = bytearray()

    def talk() -> None:
        for data in [inputs["x"].tobytes()] * 3:
            rest = memoryview(data)
            while rest:
                rest = rest[os.write(theirs, rest) :]
        while len(received) < 3 * 40:
            received.extend(os.read(theirs, 4096))

    uri = f"uart:{os.ttyname(ours)}?baud=115200"
    talker = threading.Thread(target=talk)
    talker.start()
    done = started([str(mlp), "-i", uri, "-o", uri, "--runs", "3", "--timeout", "60"])
    talker.join()
    os.close(ours)
    os.close(theirs)
    assert (done.returncode, done.stderr) == (0, b"")
    want = wanted(folder / "mlp.onnx", inputs)["y"]
    got = np.frombuffer(bytes(received), np.float32).reshape(3, 1, 10)
    np.testing.assert_allclose(got, np.stack([want] * 3), RTOL, ATOL)


@pytest.mark.parametrize("machine", ["cpu", "riscv64"])
def test_memory_on_both_sides(
    machine: str, code: Mapping[str, Generated], folder: Path, tmp_path: Path
) -> None:
    """Devices with offsets: the tensor is at their beginning."""
    chain = toolchain(Target(machine))
    assert chain
    needs(chain.compiler, *(["qemu-riscv64-static"] if chain.prefix else []))
    executable(code["mlp"], chain, tmp_path / "mlp")
    inputs = inputs_of(folder / "mlp.onnx")
    (tmp_path / "in").write_bytes(inputs["x"].tobytes() + bytes(4096 - 256))
    (tmp_path / "out").write_bytes(bytes(4096))
    ends = ["-i", f"mmio:{tmp_path}/in", "-o", f"mmio:{tmp_path}/out", "-n", "2"]
    done = started([*chain.emulator, str(tmp_path / "mlp"), *ends])
    assert (done.returncode, done.stderr) == (0, b"")
    got = np.frombuffer((tmp_path / "out").read_bytes()[:40], np.float32)
    np.testing.assert_allclose(got, wanted(folder / "mlp.onnx", inputs)["y"][0], RTOL, ATOL)


@pytest.mark.parametrize(
    ("words", "data", "status", "says"),
    [
        ([], bytes(100), 1, 'read "-": it ends after 100 bytes of 256'),
        (["-i", "/nowhere"], b"", 1, 'open "/nowhere": No such file'),
        (["-i", "uarz:/dev/ttyS0"], b"", 1, 'did you mean "uart"'),
        (["-o", "loopback:?no=1"], b"", 1, "no"),
        (["-i", "loopback:", "-t", "0.05"], b"", 1, "timed out"),
        (["-c", "y=x"], b"", 1, 'carry "y": "y" and "x" are no output and input of one size'),
        (["-i", "mmio:{short}"], b"", 1, "mmio:"),
        (["-n", "0"], b"", 2, '-n does not take "0"'),
        (["-t", "soon"], b"", 2, '-t does not take "soon"'),
        (["-c", "y"], b"", 2, '-c does not take "y"'),
        (["--nonsense"], b"", 2, "nonsense"),
        (["x"], b"", 2, '"x" belongs to no option'),
    ],
)
@pytest.mark.parametrize("kind", ["static", "sanitized"])
def test_what_goes_wrong_is_said(
    kind: str,
    words: list[str],
    data: bytes,
    status: int,
    says: str,
    mlp: Path,
    sanitized: Path,
    tmp_path: Path,
) -> None:
    (tmp_path / "short").write_bytes(bytes(100))
    program = sanitized if kind == "sanitized" else mlp
    done = started([str(program), *(w.format(short=tmp_path / "short") for w in words)], data)
    assert done.returncode == status, done.stderr
    assert says in done.stderr.decode()


@pytest.fixture(scope="module")
def sanitized(folder: Path, code: Mapping[str, Generated]) -> Path:
    """The same program under AddressSanitizer and UBSan, and without optimisation."""
    needs("gcc")
    native = Path(hal.driver_dir()).parents[2]
    (folder / "model.c").write_text(code["mlp"].code, "utf-8")
    text = generating.table(code["mlp"], "glm_program", "model.c", loads=True)
    (folder / "table.c").write_text(text, "utf-8")
    options = ("-std=c11", "-D_GNU_SOURCE", "-O0", "-g", "-fsanitize=address,undefined")
    options += ("-fno-sanitize-recover=all", f"-I{native}/include", f"-I{HERE}")
    strict = ("-Wall", "-Wextra", "-Wpedantic", "-Wmissing-prototypes", "-Wvla", "-Werror")
    objects = [folder / "main.o", folder / "stream.o", folder / "table.o"]
    for source, made in zip((HERE / "main.c", HERE / "stream.c"), objects, strict=False):
        run("gcc", *options, *strict, "-c", source, "-o", made)
    run("gcc", *options, "-w", "-c", folder / "table.c", "-o", objects[2])
    libraries = (f"-L{native}/lib", f"-Wl,-rpath,{native}/lib", "-lhal", "-lm")
    run("gcc", *options, *objects, "-o", folder / "sanitized", *libraries)
    (folder / "sanitized.weights").write_bytes(code["mlp"].weights)
    return folder / "sanitized"


def test_sanitized_program_computes(
    sanitized: Path, folder: Path, code: Mapping[str, Generated]
) -> None:
    """No fault where nothing goes wrong, either; its weights lie beside it."""
    inputs = inputs_of(folder / "mlp.onnx")
    done = started([str(sanitized)], inputs["x"].tobytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert_near(parted(code["mlp"], done.stdout), wanted(folder / "mlp.onnx", inputs))


def test_list(mlp: Path) -> None:
    assert started([str(mlp), "--list"]).stdout.decode().splitlines() == [
        "input\tx\tfloat32[1, 64]\t256 bytes",
        "output\ty\tfloat32[1, 10]\t40 bytes",
    ]


# ---- libraries, weights --------------------------------------------------------------------------

APPLICATION = """
#include <stdio.h>
#include "digits.h"

int main(void)
{
    const struct glm_end from = {NULL, "-"}, to = {"y", "-"};
    const struct glm_stream stream = {.from = &from, .from_count = 1, .to = &to, .to_count = 1};
    int64_t runs;

    if (digits_model.load && !digits_model.load("digits/digits.weights"))
        return 3;
    runs = glm_stream(&digits_model, &stream);
    fprintf(stderr, "%s %d", digits_model.inputs[0].name, (int)runs);
    return runs < 0;
}
"""


@pytest.mark.parametrize(("machine", "beside"), [("riscv64", False), ("cpu", True)])
def test_library(machine: str, beside: bool, folder: Path, tmp_path: Path) -> None:
    """A C program is linked with nothing but the library, and runs the model."""
    chain = toolchain(Target(machine))
    assert chain
    needs(chain.compiler, *(["qemu-riscv64-static"] if chain.prefix else []))
    place = tmp_path / "digits"
    emit(folder / "mlp.onnx", Target(machine), "library", place, weights_beside=beside)
    made = {"digits.h", "glm.h", "libdigits.a"} | ({"digits.weights"} if beside else set())
    assert {path.name for path in place.iterdir()} == made
    (tmp_path / "app.c").write_text(APPLICATION, "utf-8")
    strict = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    words = (f"-I{place}", tmp_path / "app.c", f"-L{place}", "-ldigits", "-lm", "-lpthread")
    run(chain.compiler, *strict, "-static", "-o", tmp_path / "app", *words)
    inputs = inputs_of(folder / "mlp.onnx")
    done = subprocess.run(
        [*chain.emulator, tmp_path / "app"],
        input=inputs["x"].tobytes(),
        capture_output=True,
        cwd=tmp_path,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, b"x 1")
    got = np.frombuffer(done.stdout, np.float32)
    np.testing.assert_allclose(got, wanted(folder / "mlp.onnx", inputs)["y"][0], RTOL, ATOL)


def test_weights_beside(folder: Path, code: Mapping[str, Generated], tmp_path: Path) -> None:
    """They are found beside the program, or where it is told; without them it says so."""
    needs("gcc")
    chain = toolchain(Target("cpu"))
    assert chain
    executable(code["mlp"], chain, tmp_path / "mlp", weights_beside=True)
    inputs = inputs_of(folder / "mlp.onnx")
    want = wanted(folder / "mlp.onnx", inputs)
    done = started([str(tmp_path / "mlp")], inputs["x"].tobytes())
    assert_near(parted(code["mlp"], done.stdout), want)
    (tmp_path / "mlp.weights").rename(tmp_path / "elsewhere")
    done = started([str(tmp_path / "mlp")], inputs["x"].tobytes())
    assert done.returncode == 1
    assert b"name them by --weights FILE" in done.stderr
    done = started(
        [str(tmp_path / "mlp"), "-w", str(tmp_path / "elsewhere")], inputs["x"].tobytes()
    )
    assert_near(parted(code["mlp"], done.stdout), want)


# ---- the back end --------------------------------------------------------------------------------


class Folder(Files):
    """The files of a program, as an artifact would give them."""

    def __init__(self, files: Mapping[str, Path]) -> None:
        self.files = files

    def view(self, name: str) -> memoryview:
        return memoryview(self.path(name).read_bytes())

    def path(self, name: str) -> Path:
        if name not in self.files:
            raise ArtifactError(f"no file {name!r}")
        return self.files[name]


PROCESSOR = Device(0, "cpu", "this machine's", "")


@pytest.mark.parametrize("target", ["cpu", "riscv64"])
def test_back_end(target: str, folder: Path, tmp_path: Path) -> None:
    """It compiles, runs what it compiled, again and again, and closes."""
    back_end = CBackend()
    available = back_end.can_compile(Target(target))
    assert available and available.here, available
    compiled = back_end.compile(folder / "mlp.onnx", Target(target), CompileOptions(), tmp_path)
    program = Program(
        target, "c", compiled.engine, {name: name for name in compiled.files}, notes=compiled.notes
    )
    assert back_end.can_run(program, PROCESSOR).here
    gpu = Device(1, "cuda", "a GPU", "")
    assert not back_end.can_run(program, gpu).here
    loaded = back_end.load(program, Folder(compiled.files), PROCESSOR, 1)
    for seed in range(3):
        inputs = inputs_of(folder / "mlp.onnx", seed)
        assert_near(loaded.run(inputs), wanted(folder / "mlp.onnx", inputs))
    loaded.close()


def test_program_that_is_none(folder: Path, tmp_path: Path) -> None:
    """A shared object or a program that is something else gives an error, not a crash."""
    del folder
    (tmp_path / "model.so").write_bytes(b"nothing")
    (tmp_path / "model").write_text("#!/bin/sh\necho >&2 broken; exit 3\n", "utf-8")
    (tmp_path / "model").chmod(0o755)
    spec = {"name": "x", "dtype": "float32", "shape": [1]}
    notes: dict[str, Any] = {"machine": platform.machine(), "inputs": [spec], "outputs": [spec]}
    shared = Program("cpu", "c", "", {"model.so": "model.so"}, notes=notes)
    files = Folder({"model.so": tmp_path / "model.so", "model": tmp_path / "model"})
    with pytest.raises(ArtifactError, match="load the compiled model"):
        CBackend().load(shared, files, PROCESSOR, 1)
    with pytest.raises(ArtifactError, match="what its inputs are"):
        CBackend().load(Program("cpu", "c", "", {"model.so": "x"}), files, PROCESSOR, 1)


def test_compiler_that_is_missing(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    """It is said which, and what to type."""
    monkeypatch.setenv("PATH", "/nowhere")
    available = CBackend().can_compile(Target("riscv64"))
    assert available is not None
    assert not available.here
    assert str(available) == (
        "no riscv64-linux-gnu-gcc in PATH"
        " (apt install gcc-riscv64-linux-gnu libc6-dev-riscv64-cross)"
    )
    with pytest.raises(TargetUnavailable, match="gcc-riscv64-linux-gnu"):
        emit(folder / "mlp.onnx", Target("riscv64"), "executable", folder / "none")
    assert CBackend().can_compile(Target("cuda")) is None


def test_models_that_cannot_be_c(tmp_path: Path) -> None:
    write_mlp(tmp_path / "dynamic.onnx", "n")
    with pytest.raises(CompileError, match=r"'x' is \[1, n\]; .* pin it"):
        generate(tmp_path / "dynamic.onnx")
    (tmp_path / "none.onnx").write_bytes(b"nothing")
    with pytest.raises(CompileError, match="cannot read the model"):
        generate(tmp_path / "none.onnx")


def test_names() -> None:
    assert [identifier(text) for text in ("PP-OCR v2", "3d", "", "Ärger")] == [
        "pp_ocr_v2",
        "model_3d",
        "model_",
        "rger",
    ]
