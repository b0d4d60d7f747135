# SPDX-License-Identifier: Apache-2.0
"""What a stranger does with the package, in each way of installing it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.native import NOTHING, ROOT, run

from .environments import Environment

pytestmark = pytest.mark.timeout(600)

ROUND_TRIP = """
import hal
with hal.open("loopback:", timeout=5) as dev:
    dev.write(b"hello")
    print(hal.__file__, dev.read(5).decode())
"""

MAPPED = """
import hal, hal._core, hal._abi
hal.open("loopback:").close()
maps = {line.split()[-1] for line in open("/proc/self/maps") if "libhal" in line}
print("\\n".join(maps))
"""

# Both packages are imported, ours used, and then ours imported again under its own name.
SHADOWED = """
import drivers, discovery
import hal, hal.discovery
with hal.open("loopback:", timeout=5) as dev:
    dev.write(b"x")
    assert dev.read(1) == b"x"
assert drivers.WHOSE == discovery.WHOSE == "the application's"
assert drivers.__file__.startswith({folder!r}), drivers.__file__
assert discovery.__file__.startswith({folder!r}), discovery.__file__
assert not hasattr(hal.discovery, "WHOSE")
print(hal.discovery.__file__)
"""

NOTHING_ELSE = """
import importlib.util
for name in ("drivers", "discovery", "csrc", "bindings", "bench", "tests"):
    assert importlib.util.find_spec(name) is None, name
"""


@pytest.fixture
def application(tmp_path: Path) -> Path:
    """The folder of an application with a drivers/ and a discovery/ of its own."""
    for name in ("drivers", "discovery"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text('WHOSE = "the application\'s"\n')
    return tmp_path


def test_round_trip(environment: Environment, tmp_path: Path) -> None:
    """The package opens a plug-in driver, and it is the installed one that does."""
    where, what = environment.python(ROUND_TRIP, cwd=tmp_path).split()
    assert what == "hello"
    assert Path(where).is_relative_to(environment.path.parent)


def test_one_library(environment: Environment, tmp_path: Path) -> None:
    """Both bindings and the plug-in share one libhal: there is one registry in the process."""
    (path,) = environment.python(MAPPED, cwd=tmp_path).splitlines()
    assert Path(path).name == "libhal.so.1"


def test_application_keeps_its_names(environment: Environment, application: Path) -> None:
    """An application's own drivers and discovery are imported as its own, ours as ours."""
    code = SHADOWED.format(folder=str(application))
    where = environment.python(code, cwd=application)
    assert not Path(where).is_relative_to(application)
    (application / "app.py").write_text(code)
    assert environment.run("python", "app.py", cwd=application).strip() == where
    assert environment.run("python", "-m", "app", cwd=application).strip() == where


def test_nothing_else_is_importable(environment: Environment, tmp_path: Path) -> None:
    """The package adds one name to the interpreter: hal."""
    environment.python(NOTHING_ELSE, cwd=tmp_path)


def test_metadata(environment: Environment, tmp_path: Path) -> None:
    """The version is one and the same everywhere."""
    code = "import hal, importlib.metadata as m; print(hal.__version__, m.version('open-autoglm'))"
    package, metadata = environment.python(code, cwd=tmp_path).split()
    assert package == metadata == "0.1.0"


def test_command(environment: Environment, tmp_path: Path) -> None:
    """hal-probe is on the path and runs."""
    drivers = json.loads(environment.run("hal-probe", "drivers", "--json", cwd=tmp_path))
    assert "loopback" in json.dumps(drivers)


def test_flags(environment: Environment, consumer: Path) -> None:
    """A C program is compiled with what `python -m hal` prints, and runs with nothing set."""
    flags = environment.run("python", "-m", "hal", "--cflags", "--libs", cwd=consumer).split()
    warnings = ("-std=c11", "-Wall", "-Wextra", "-Wpedantic", "-Werror")
    run("cc", *warnings, "app.c", *flags, "-o", "app", cwd=consumer)
    check_app(environment, consumer / "app")


def test_pkg_config(environment: Environment, consumer: Path) -> None:
    """The same by pkg-config; it is told where, and the program is told where at run time."""
    folder = environment.run("python", "-m", "hal", "--pkgconfigdir", cwd=consumer).strip()
    env = {"PKG_CONFIG_PATH": folder}
    words = ("pkg-config", "--cflags", "--libs", "hal")
    flags = run(*words, cwd=consumer, env=env).split()
    assert run("pkg-config", "--modversion", "hal", env=env).strip() == "0.1.0"
    run("cc", "app.c", *flags, "-o", "app", cwd=consumer)
    check_app(environment, consumer / "app", {"LD_LIBRARY_PATH": str(Path(folder).parent)})


def test_cmake(
    environment: Environment, consumer: Path, cmake_consumer: Callable[[Path, Path], Path]
) -> None:
    """find_package(hal), and an out-of-tree driver that C and Python then open."""
    package = environment.run("python", "-m", "hal", "--cmakedir", cwd=consumer).strip()
    tree = cmake_consumer(consumer, Path(package))
    check_app(environment, tree / "app")
    answer = run(tree / "app", "thermo", cwd=consumer, env={"HAL_DRIVER_PATH": str(tree)})
    assert answer.splitlines()[1] == "21.5"
    code = "import hal; print(hal.open('thermo').read(4).decode())"
    assert environment.python(code, cwd=consumer, env={"HAL_DRIVER_PATH": str(tree)}) == "21.5"


def test_driver_dir(
    environment: Environment, consumer: Path, cmake_consumer: Callable[[Path, Path], Path]
) -> None:
    """A driver put into the driver folder is found with nothing set."""
    folder = Path(environment.run("python", "-m", "hal", "--driver-dir", cwd=consumer).strip())
    assert environment.python("import hal; print(hal.driver_dir())", cwd=consumer) == str(folder)
    package = environment.run("python", "-m", "hal", "--cmakedir", cwd=consumer).strip()
    tree = cmake_consumer(consumer, Path(package))
    plugin = folder / "thermo.so"
    shutil.copy2(tree / "thermo.so", plugin)
    try:
        code = "import hal; print(hal.open('thermo').read(4).decode())"
        assert environment.python(code, cwd=consumer) == "21.5"
    finally:
        plugin.unlink()


def check_app(environment: Environment, app: Path, env: Mapping[str, str] = NOTHING) -> None:
    """The consumer's program runs, with the library and the drivers of this environment."""
    folder = environment.run("python", "-m", "hal", "--driver-dir", cwd=app.parent).strip()
    answer = run(app, "loopback:", "hello", cwd=app.parent, env={"HAL_DRIVER_PATH": "", **env})
    assert answer.splitlines() == [folder, "hello"]


def test_tree_is_ignored_by_git() -> None:
    """What building in place leaves in the checkout is ignored: a wheel never has it by mistake."""
    for name in ("hal/_native/lib/libhal.so.1", "hal/_core.cpython-311-x86_64-linux-gnu.so"):
        assert run("git", "check-ignore", name, cwd=ROOT).strip() == name
