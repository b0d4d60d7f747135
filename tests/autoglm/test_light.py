# SPDX-License-Identifier: Apache-2.0
"""Models without Python: programs and libraries, also of other machines, run and held against ONNX
Runtime.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import termios
import threading
import tty
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pytest

import hal
from autoglm.backend import CompileOptions
from autoglm.backends.c import CBackend
from autoglm.cleanup import clean
from autoglm.device import Device
from autoglm.devices import processor_for
from autoglm.emulator import emulator
from autoglm.errors import ArtifactError, CompileError, TargetUnavailable
from autoglm.light import generate as generating
from autoglm.light.deliver import deliver
from autoglm.light.emit import HERE, executable
from autoglm.light.generate import Generated, generate, identifier, nbytes
from autoglm.light.toolchain import Toolchain, toolchain
from autoglm.manifest import Program
from autoglm.ready import Pins
from autoglm.target import Target
from autoglm.tensor import Array
from autoglm.trial import Built
from tests.native import ROOT, run
from tests.needs import needs

from . import models

pytestmark = pytest.mark.timeout(600)
NAMES = ("mlp", "vad", "cls")
RTOL, ATOL = 1e-4, 1e-5


# ---- models --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Models that are ready: every extent is fixed."""
    folder = tmp_path_factory.mktemp("light")
    sources = {
        "mlp": (models.perceptron(folder / "source.onnx"), Pins({"batch": 1})),
        "vad": (
            models.silero_vad(),
            Pins(shapes={"input": (1, 576), "state": (2, 1, 128)}, values={"sr": 16000}),
        ),
        "cls": (models.ocr_classifier(), Pins(shapes={"x": (1, 3, 48, 192)})),
    }
    for name, (source, pins) in sources.items():
        (folder / "clean").mkdir(exist_ok=True)
        clean(source, folder / "clean", pins).path.rename(folder / f"{name}.onnx")
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


def emulated(chain: Toolchain) -> list[str]:
    """The words before a program's name that run it here."""
    return [emulator(chain.machine)] if chain.prefix else []


def started(words: list[str], data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    return subprocess.run(words, input=data, capture_output=True, timeout=300, check=False)


# ---- programs ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("machine", "name"),
    [("aarch64", "vad"), ("aarch64", "cls"), ("riscv64", "mlp")],
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
        [*emulated(chain), str(tmp_path / name)], b"".join(joined(code[name], x) for x in runs)
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
        while len(received) < 3 * 16:
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
    got = np.frombuffer(bytes(received), np.float32).reshape(3, 1, 4)
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
    (tmp_path / "in").write_bytes(inputs["x"].tobytes() + bytes(4096 - 64))
    (tmp_path / "out").write_bytes(bytes(4096))
    ends = ["-i", f"mmio:{tmp_path}/in", "-o", f"mmio:{tmp_path}/out", "-n", "2"]
    done = started([*emulated(chain), str(tmp_path / "mlp"), *ends])
    assert (done.returncode, done.stderr) == (0, b"")
    got = np.frombuffer((tmp_path / "out").read_bytes()[:16], np.float32)
    np.testing.assert_allclose(got, wanted(folder / "mlp.onnx", inputs)["y"][0], RTOL, ATOL)


@pytest.mark.parametrize(
    ("words", "data", "status", "says"),
    [
        ([], bytes(100), 1, 'read "-": it ends after 36 bytes of 64'),
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
    (tmp_path / "short").write_bytes(bytes(36))
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
    options = ["-std=c11", "-D_GNU_SOURCE", "-O0", "-g", "-fsanitize=address,undefined"]
    options += ["-fno-sanitize-recover=all", f"-I{native}/include", f"-I{HERE}"]
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
        "input\tx\tfloat32[1, 16]\t64 bytes",
        "output\ty\tfloat32[1, 4]\t16 bytes",
    ]


# ---- what a user types ---------------------------------------------------------------------------


def command(*words: str | Path) -> dict[str, Any]:
    """autoglm-compile, which must succeed; what it says as JSON."""
    code = "from autoglm.commands.compile import main; main()"
    return json.loads(run(sys.executable, "-c", code, "--quiet", *words))  # type: ignore[no-any-return]


def test_program_of_a_trained_model(tmp_path: Path) -> None:
    """silero-vad for riscv64: read, pinned, turned into C, compiled, linked, checked."""
    needs("riscv64-linux-gnu-gcc", "qemu-riscv64-static")
    made = command(
        *("--model", models.silero_vad(), "--set", "sr=16000", "--shape", "input=1,576"),
        *("--shape", "state=2,1,128", "--target", "c -device=rv64"),
        *("--emit", "executable", "--output", tmp_path / "vad", "--json"),
    )
    assert made["size"] == (tmp_path / "vad").stat().st_size
    assert made["worst"] < 1e-4
    elf = run("readelf", "--file-header", "--program-headers", tmp_path / "vad")
    assert "RISC-V" in elf
    assert "INTERP" not in elf


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
    made = command(
        *("--model", folder / "source.onnx", "--dim", "batch=1", "--target", machine),
        *("--emit", "library", "--output", place, "--json"),
        *(["--weights-beside"] if beside else []),
    )
    assert made["worst"] < 1e-5
    assert (made["name"], made["unchecked"]) == ("digits", "")
    files = {"digits.h", "glm.h", "libdigits.a"} | ({"digits.weights"} if beside else set())
    assert {path.name for path in place.iterdir()} == files
    (tmp_path / "app.c").write_text(APPLICATION, "utf-8")
    strict = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    words = (f"-I{place}", tmp_path / "app.c", f"-L{place}", "-ldigits", "-lm", "-lpthread")
    run(chain.compiler, *strict, "-static", "-o", tmp_path / "app", *words)
    inputs = inputs_of(folder / "mlp.onnx")
    done = subprocess.run(
        [*emulated(chain), tmp_path / "app"],
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
    processor = processor_for(Target(target))
    assert back_end.can_run(program, processor).here
    assert back_end.can_run(program, PROCESSOR).here == (not processor.emulated)
    gpu = Device(1, "cuda", "a GPU", "")
    assert not back_end.can_run(program, gpu).here
    loaded = back_end.load(program, Built(compiled.files), processor, 1)
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
    files = Built({"model.so": tmp_path / "model.so", "model": tmp_path / "model"})
    with pytest.raises(ArtifactError, match=r"model\.so is no ELF file of 64 bits"):
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
        deliver(folder / "mlp.onnx", "riscv64", "executable", folder / "none")
    with pytest.raises(TargetUnavailable, match="cuda cannot run C"):
        deliver(folder / "mlp.onnx", "cuda", "executable", folder / "none")
    assert not (folder / "none").exists()
    assert CBackend().can_compile(Target("cuda")) is None


def test_models_that_cannot_be_c(folder: Path, tmp_path: Path) -> None:
    models.perceptron(tmp_path / "dynamic.onnx")
    with pytest.raises(CompileError, match=r"'x' is \[batch, 16\]; .* pin it"):
        generate(tmp_path / "dynamic.onnx")
    with pytest.raises(CompileError, match="convolutions over pictures"):
        CBackend().compile(folder / "cls.onnx", Target("cpu"), CompileOptions(), tmp_path)
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
