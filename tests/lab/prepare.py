# SPDX-License-Identifier: Apache-2.0
"""Fetch and build what the lab's guests boot from, once; run it as ``python -m tests.lab.prepare``.

Everything is kept outside the tree, in ``${XDG_CACHE_HOME:-~/.cache}/open-autoglm-hal/lab``:

* ``ARCH/linux-VERSION/``: the distribution's kernel, headers and the sources of the modules it
  leaves out, unpacked and not installed;
* ``ARCH/kit-VERSION-DIGEST/``: the module tree with the lab's own modules, and the initrd.  The
  digest is over everything these are made from, so a change makes a new one;
* ``ARCH/root-DIGEST/``: the root file system of a guest that cannot use the machine's own.

Each is made in a scratch folder and renamed when complete, under a lock: an interrupted run leaves
nothing behind that the next could take for complete, and two runs at once do the work once.
The kernel version stays what it was until ``--refresh``.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import initrd, vmlinux
from .apt import Apt, AptError

HERE = Path(__file__).resolve().parent

SOURCES = (
    "kernel/irq/irq_sim.c",
    "drivers/dma-buf/dma-heap.c",
    "drivers/dma-buf/heaps/system_heap.c",
    "drivers/gpio/gpio-sim.c",
    "drivers/gpio/gpiolib.h",
    "drivers/iio/dummy",
    "drivers/iio/industrialio-configfs.c",
    "drivers/iio/industrialio-sw-device.c",
    "drivers/iio/industrialio-sw-trigger.c",
    "drivers/iio/trigger/iio-trig-hrtimer.c",
    "drivers/iio/trigger/iio-trig-sysfs.c",
    "drivers/leds/uleds.c",
)
"""What the distribution's kernel leaves out and the lab builds from the kernel's own source."""

ARM64_PACKAGES = (
    *("bash", "busybox-static", "coreutils", "grep", "iproute2", "kmod", "mount", "util-linux"),
    *("gpiod", "i2c-tools", "libstdc++6", "pciutils", "python3", "spi-tools", "udev"),
)
"""The userland of the aarch64 guest."""


class LabUnavailable(Exception):
    """The lab cannot be had on this machine; the text is the one reason."""


@dataclass(frozen=True)
class Architecture:
    """What differs between the guests' architectures."""

    name: str  # as uname says
    debian: str  # as Debian says
    linux: str  # as the kernel's build says
    cross: str  # prefix of its compiler
    image: str  # package that depends on the newest kernel
    own_root: bool  # whether the guest has a root file system of its own


ARCHITECTURES = {
    "x86_64": Architecture("x86_64", "amd64", "x86", "", "linux-image-amd64", False),
    "aarch64": Architecture(
        "aarch64", "arm64", "arm64", "aarch64-linux-gnu-", "linux-image-arm64", True
    ),
}


@dataclass(frozen=True)
class Kit:
    """All that a guest boots from."""

    architecture: str
    release: str  # the kernel's, as uname -r says
    kernel: Path
    initrd: Path
    modules: Path  # becomes /lib/modules/RELEASE
    root: Path  # becomes the guest's root, read-only
    qemu: tuple[str, ...]  # the emulator, with what it needs to find its own files


def cache() -> Path:
    """Give the folder that holds everything."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "open-autoglm-hal/lab"


def _say(text: str) -> None:
    print(f"lab: {text}", file=sys.stderr, flush=True)


@contextmanager
def _complete(path: Path) -> Iterator[Path]:
    """Give a scratch folder that becomes ``path`` if the block succeeds."""
    scratch = path.with_name(path.name + ".partial")
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir(parents=True)
    start = time.monotonic()
    yield scratch
    scratch.rename(path)
    _say(f"{path.parent.name}/{path.name} made in {time.monotonic() - start:.0f} s")


def _run(command: list[str], log: Path) -> None:
    """Run a program; its output is kept in a file and its end is shown when it fails."""
    with log.open("ab") as out:
        status = subprocess.run(command, stdout=out, stderr=out, check=False).returncode
    if status:
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-15:])
        raise LabUnavailable(f'run "{" ".join(command)}": status {status}\n{tail}')


def _digest(*parts: Path | str) -> str:
    """Give a short hash over texts and files (those of a folder by name)."""
    total = hashlib.sha256()
    for part in parts:
        if isinstance(part, str):
            total.update(part.encode() + b"\n")
            continue
        for path in sorted(part.iterdir()) if part.is_dir() else [part]:
            data = path.read_bytes()
            total.update(b"%s %d\n" % (path.name.encode(), len(data)) + data)
    return total.hexdigest()[:12]


class Preparation:
    """The steps for one architecture."""

    sources: tuple[str, ...] = SOURCES
    """Files and folders of the kernel's source that its modules are built from."""
    modules = HERE / "modules"
    """What they are built by, and our own."""

    def __init__(self, architecture: str, name: str | None = None) -> None:
        """Choose the architecture; nothing is done yet.

        Args:
            architecture: ``x86_64`` or ``aarch64``.
            name: of its folder in the cache; None: the architecture.
        """
        self._arch = ARCHITECTURES[architecture]
        self.top = cache() / (name or architecture)
        self.top.mkdir(parents=True, exist_ok=True)

    def kit(self, refresh: bool = False) -> Kit:
        """Make whatever is missing and give the kit.

        Args:
            refresh: look for a newer kernel first.

        Raises:
            LabUnavailable: something cannot be had or built.
        """
        with (self.top / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            linux = self._linux(refresh)
            release = linux.name.removeprefix("linux-")
            kit = self._modules(linux, release)
            root = self._root() if self._arch.own_root else Path("/")
            qemu = self.qemu()
        kernel = linux / ("vmlinux" if self._arch.linux == "x86" else f"boot/vmlinuz-{release}")
        modules = kit / "lib/modules" / release
        return Kit(self._arch.name, release, kernel, kit / "initrd", modules, root, qemu)

    def qemu(self) -> tuple[str, ...]:
        """Give the emulator: the machine's own."""
        return (f"qemu-system-{self._arch.name}",)

    def lay_out(self, source: Path, build: Path) -> None:
        """Put the kernel's own sources where the modules are built: all in one folder."""
        for path in source.rglob("*.[ch]"):
            shutil.copy(path, build)

    def apt(self, architecture: str) -> Apt:
        """Give an apt for an architecture: one that knows what the machine's does."""
        return Apt(cache() / "apt" / architecture, architecture)

    def _linux(self, refresh: bool) -> Path:
        """Fetch the kernel, what modules are built with, and the sources of those it leaves out."""
        have = sorted(self.top.glob(f"linux-*-{self._arch.debian}"))
        if have and not refresh and (have[-1] / f"source-{_digest(*self.sources)}").exists():
            return have[-1]
        apt, machine = self.apt(self._arch.debian), self.apt(_machine())
        for one in (apt, machine):
            one.update()
        pattern = r"linux-image-(\d+\.\d+)\S+"
        release = apt.dependency(self._arch.image, pattern).removeprefix("linux-image-")
        path = self.top / f"linux-{release}"
        if path in have and (path / f"source-{_digest(*self.sources)}").exists():
            return path
        series = release[: release.index(".", release.index(".") + 1)]
        headers = f"linux-headers-{release}"
        with _complete(path) as scratch:
            apt.unpack([f"linux-image-{release}", headers], scratch)
            common = re.sub(r"-[^-]*$", "-common", headers)
            kbuild = apt.dependency(headers, r"linux-kbuild-\S+")
            machine.unpack([common, kbuild], scratch)
            self._unpack_source(machine, series, scratch)
            # Debian's headers name their other half by its place once installed.
            makefile = scratch / "usr/src" / headers / "Makefile"
            makefile.write_text(makefile.read_text().replace("/usr/src/", "$(dir $(CURDIR))/"))
            if self._arch.linux == "x86":
                elf = vmlinux.unpack(scratch / f"boot/vmlinuz-{release}")
                (scratch / "vmlinux").write_bytes(elf)
            for old in [*have, *self.top.glob("kit-*")] if have else []:
                shutil.rmtree(old)
        return path

    def _unpack_source(self, apt: Apt, series: str, scratch: Path) -> None:
        """Unpack those files of the kernel's source that the lab's modules are made of."""
        top = f"linux-source-{series}"
        apt.unpack([top], scratch)
        tar = scratch / f"usr/src/{top}.tar.xz"
        folder = scratch / f"source-{_digest(*self.sources)}"
        folder.mkdir()
        names = [f"{top}/{name}" for name in self.sources]
        _run(["tar", "-C", str(folder), "-xJf", str(tar), *names], scratch / "tar.log")
        tar.unlink()

    def _modules(self, linux: Path, release: str) -> Path:
        """Build the lab's modules, put them into the module tree, and make the initrd."""
        own = (self.modules, HERE / "initrd.py", HERE / "prepare.py")
        path = self.top / f"kit-{release}-{_digest(*own)}"
        if path.exists():
            return _used(path)
        with _complete(path) as scratch:
            build = scratch / "build"
            shutil.copytree(self.modules, build)
            self.lay_out(linux / f"source-{_digest(*self.sources)}", build)
            command = ["make", "-j2", "-C", str(build), f"ARCH={self._arch.linux}"]
            command.append(f"KDIR={linux}/usr/src/linux-headers-{release}")
            if self._arch.debian != _machine():
                command.append(f"CROSS_COMPILE={self._arch.cross}")
            _run(command, scratch / "build.log")
            tree = scratch / "lib/modules" / release
            shutil.copytree(
                linux / "lib/modules" / release, tree, copy_function=os.link, symlinks=True
            )
            (tree / "updates").mkdir()
            for module in build.rglob("*.ko"):
                shutil.copy(module, tree / "updates")
            depmod = shutil.which("depmod", path=_system_path()) or "depmod"
            _run([depmod, "-b", str(scratch), release], scratch / "build.log")
            busybox = (self._root() if self._arch.own_root else Path("/")) / "bin/busybox"
            (scratch / "initrd").write_bytes(initrd.build(tree, busybox))
        return path

    def _root(self) -> Path:
        """Unpack a small userland for a guest that cannot use the machine's own."""
        path = self.top / f"root-{_digest(*ARM64_PACKAGES)}"
        if path.exists():
            return _used(path)
        apt = self.apt(self._arch.debian)
        with _complete(path) as scratch:
            apt.unpack_all(ARM64_PACKAGES, scratch)
            for name in ("proc", "sys", "dev", "run", "tmp", "root", "lib/modules"):
                (scratch / name).mkdir(exist_ok=True, parents=True)
            if not (scratch / "bin/sh").exists():
                (scratch / "bin/sh").symlink_to("bash")
            _accounts(scratch / "etc")
        return path


def _used(path: Path) -> Path:
    """Note that a folder is in use; remove those beside it that nobody has used for a week."""
    os.utime(path)
    kind = path.name.split("-")[0]
    for other in path.parent.glob(f"{kind}-*"):
        if other.stat().st_mtime < time.time() - 7 * 86400:
            shutil.rmtree(other)
    return path


def _accounts(etc: Path) -> None:
    """Write the two accounts that tests use; no maintainer script ran that would have done so."""
    etc.mkdir(exist_ok=True)
    (etc / "passwd").write_text(
        "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65534:nobody:/:/bin/false\n"
    )
    (etc / "group").write_text("root:x:0:\ndialout:x:20:\nnogroup:x:65534:\n")


def _machine() -> str:
    """Give Debian's name for this machine's architecture."""
    for architecture in ARCHITECTURES.values():
        if architecture.name == platform.machine():
            return architecture.debian
    raise LabUnavailable(f"no lab on {platform.machine()} machines")


def _system_path() -> str:
    """Give PATH with the folders that an ordinary user's lacks."""
    return os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def _missing(architecture: str) -> str | None:
    """Say which program is missing, or nothing."""
    programs = [f"qemu-system-{architecture}", "make", "gcc", "depmod", "apt-get", "dpkg", "tar"]
    if architecture != platform.machine():
        programs += ["dtc", ARCHITECTURES[architecture].cross + "gcc-12"]
    gone = [name for name in programs if not shutil.which(name, path=_system_path())]
    if not gone:
        return None
    return f"not installed: {', '.join(gone)} (the packages are listed in tests/lab/packages.txt)"


def prepare(architecture: str = "x86_64", refresh: bool = False) -> Kit:
    """Make everything a guest boots from, if it is not there yet.

    Args:
        architecture: ``x86_64`` or ``aarch64``.
        refresh: look for a newer kernel first.

    Raises:
        LabUnavailable: with the one reason.
    """
    if architecture == "x86_64" != platform.machine():
        raise LabUnavailable(
            f"the x86-64 guest shares this machine's root, and this machine is {platform.machine()}"
        )
    if reason := _missing(architecture):
        raise LabUnavailable(reason)
    try:
        return Preparation(architecture).kit(refresh)
    except (AptError, OSError, ValueError) as error:
        raise LabUnavailable(f"kernel or modules for {architecture}: {error}") from error


def main() -> int:
    """Prepare from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.lab.prepare", description="Fetch and build what the lab boots from."
    )
    parser.add_argument("architecture", nargs="*", help="x86_64, aarch64 (default: both)")
    parser.add_argument("--refresh", action="store_true", help="look for a newer kernel")
    arguments = parser.parse_args()
    for architecture in arguments.architecture or ARCHITECTURES:
        try:
            kit = prepare(architecture, arguments.refresh)
        except LabUnavailable as error:
            _say(str(error))
            return 1
        print(f"{architecture}: Linux {kit.release}, {kit.initrd.parent}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
