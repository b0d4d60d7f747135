# SPDX-License-Identifier: Apache-2.0
"""A C programmer's installation: staged with DESTDIR, moved elsewhere, used by every build tool."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from tests.native import NOTHING, ROOT, run
from tests.needs import find

from .environments import CACHED

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module", params=["lib", "lib/x86_64-linux-gnu"])
def prefix(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, source: Path
) -> Path:
    """libhal installed below /usr in a staging folder, which was then moved."""
    work = tmp_path_factory.mktemp("system")
    # Where setup.py would build it: ccache then knows the objects.
    tree, stage = source / "build" / work.name, work / "stage"
    ninja = f"-DCMAKE_MAKE_PROGRAM={find('ninja')}"
    run(
        *("cmake", "-G", "Ninja", ninja, "-S", source, "-B", tree),
        *("-DCMAKE_INSTALL_PREFIX=/usr", f"-DCMAKE_INSTALL_LIBDIR={request.param}"),
    )
    run("cmake", "--build", tree, env=CACHED)
    run("cmake", "--install", tree, env={"DESTDIR": str(stage)})
    shutil.rmtree(tree)
    shutil.move(stage / "usr", work / "moved here")
    return work / "moved here"


@pytest.fixture
def libdir(prefix: Path) -> Path:
    """The folder of libhal.so.1."""
    (path,) = prefix.rglob("libhal.so.1")
    return path.parent


def test_layout(prefix: Path, libdir: Path) -> None:
    """Links, headers, plug-ins, hal.pc and CMake package, each in its place."""
    assert (libdir / "libhal.so").readlink() == Path("libhal.so.1")
    assert (libdir / "hal/drivers/loopback.so").is_file()
    assert (libdir / "libhal-discover.so").readlink() == Path("libhal-discover.so.1")
    assert (libdir / "pkgconfig/hal.pc").is_file()
    assert (libdir / "pkgconfig/hal-discover.pc").is_file()
    assert (libdir / "cmake/hal/halConfig.cmake").is_file()
    headers = {path.name for path in (prefix / "include/hal").iterdir()}
    assert headers == {path.name for path in ROOT.glob("include/hal/*.h")}


def test_pkg_config(consumer: Path, libdir: Path) -> None:
    """hal.pc finds its prefix from where it lies now, a blank in the path included."""
    env = {"PKG_CONFIG_PATH": str(libdir / "pkgconfig")}
    line = run("pkg-config", "--cflags", "--libs", "hal", env=env).strip()
    run("sh", "-c", f"cc app.c {line} -o app", cwd=consumer)
    check_app(consumer / "app", libdir, {"LD_LIBRARY_PATH": str(libdir)})
    folder = run("pkg-config", "--variable=driverdir", "hal", env=env).strip()
    assert Path(folder.replace("\\ ", " ")).resolve() == libdir / "hal/drivers"


def test_cmake(consumer: Path, libdir: Path, cmake_consumer: Callable[[Path, Path], Path]) -> None:
    """find_package(hal), an out-of-tree driver, and its installation beside ours."""
    tree = cmake_consumer(consumer, libdir / "cmake/hal")
    check_app(tree / "app", libdir)
    thermo = run(tree / "app", "thermo", cwd=consumer, env={"HAL_DRIVER_PATH": str(tree)})
    assert thermo.splitlines()[1] == "21.5"
    home = consumer / "home"
    run("cmake", "--install", tree, "--prefix", home)
    (plugin,) = home.rglob("thermo.so")
    assert str(plugin.parent).endswith("hal/drivers")
    thermo = run(tree / "app", "thermo", cwd=consumer, env={"HAL_DRIVER_PATH": str(plugin.parent)})
    assert thermo.splitlines()[1] == "21.5"


def test_discover(tmp_path: Path, libdir: Path) -> None:
    """hal-discover.pc, and hal::discover after find_package(hal); both bring libhal along."""
    (tmp_path / "list.c").write_text(LIST)
    (tmp_path / "CMakeLists.txt").write_text(
        "cmake_minimum_required(VERSION 3.22)\nproject(list C)\nfind_package(hal REQUIRED)\n"
        "add_executable(list list.c)\ntarget_link_libraries(list PRIVATE hal::discover)\n"
    )
    env = {"PKG_CONFIG_PATH": str(libdir / "pkgconfig"), "LD_LIBRARY_PATH": str(libdir)}
    line = run("pkg-config", "--cflags", "--libs", "hal-discover", env=env).strip()
    run("sh", "-c", f"cc list.c {line} -o here", cwd=tmp_path)
    assert run(tmp_path / "here", env=env) == "0.1.0 0\n"
    ninja = f"-DCMAKE_MAKE_PROGRAM={find('ninja')}"
    folder = f"-Dhal_DIR={libdir / 'cmake/hal'}"
    run("cmake", "-G", "Ninja", ninja, folder, "-S", tmp_path, "-B", tmp_path / "build")
    run("cmake", "--build", tmp_path / "build")
    assert run(tmp_path / "build/list") == "0.1.0 0\n"


LIST = """
#include <stdio.h>
#include <hal/discover.h>
#include <hal/version.h>
static int show(const struct hal_discovered *device, void *arg) { (void)arg; return !*device->id; }
int main(void)
{
    printf("%s %d\\n", hal_version_string(), hal_discover_each("class=memory", show, NULL));
    return 0;
}
"""


def test_wrong_version_is_refused(consumer: Path, libdir: Path) -> None:
    """A project that asks for a later major version is told which one there is."""
    lists = consumer / "CMakeLists.txt"
    lists.write_text(lists.read_text().replace("hal 0.1 REQUIRED", "hal 7.0 REQUIRED"))
    ninja = f"-DCMAKE_MAKE_PROGRAM={find('ninja')}"
    command = ("cmake", "-G", "Ninja", ninja, f"-Dhal_DIR={libdir / 'cmake/hal'}")
    with pytest.raises(pytest.fail.Exception, match=r"version: 0\.1\.0"):
        run(*command, "-S", consumer, "-B", consumer / "build")


def check_app(app: Path, libdir: Path, env: Mapping[str, str] = NOTHING) -> None:
    """The program finds the library's own drivers where they lie now."""
    answer = run(app, "loopback:", "hello", cwd=app.parent, env={"HAL_DRIVER_PATH": "", **env})
    assert answer.splitlines() == [str(libdir / "hal/drivers"), "hello"]
