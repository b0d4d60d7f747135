# SPDX-License-Identifier: Apache-2.0
"""A guest: boots a machine, runs one command in it, and gives back its status and output.

The guest's root is the machine's own (or, for a foreign architecture, an unpacked Debian), shared
over 9p and read-only; what the guest writes goes to its RAM and is gone afterwards, except in
/run/lab, the exchange folder.  So the checkout, the virtual environment and every tool are in the
guest at the same paths as outside.

Emulation is always QEMU's own (TCG), even where /dev/kvm exists: it gives every machine the same
devices and processor features, and works inside a virtual machine.
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from . import machine as machines
from .machine import Machine, program
from .prepare import Kit
from .qmp import Qmp

ROOT = Path(__file__).resolve().parent.parent.parent
"""The checkout, which a guest with a root of its own sees at the same path."""

_START = """\
mount -t debugfs debugfs /sys/kernel/debug
echo lab >/proc/sys/kernel/hostname
ip link set lo up
{checkout}
export {environment}
cd {folder} 2>/dev/null || cd /
exec </dev/null >/run/lab/output 2>&1
{setup} && {{ {command}; }}
echo $? >/run/lab/status
sync
# The fastest way out: QEMU's exit device; else the kernel's own.
[ -c /dev/port ] && printf '\\0' | dd of=/dev/port bs=1 seek=244 status=none
echo o >/proc/sysrq-trigger
sleep 60
"""

_KERNEL = (
    "loglevel=6 panic=-1 oops=panic mitigations=off nokaslr audit=0 random.trust_cpu=on "
    "rcupdate.rcu_expedited=1 "
)


class GuestDied(Exception):
    """The guest ended without a result: it panicked, hung or never came up."""


class EmulatorDied(GuestDied):
    """QEMU was killed by a signal: a fault of its own, whatever the guest does."""


@dataclass(frozen=True)
class Result:
    """What a command in the guest gave."""

    status: int
    output: str


class Guest:
    """One guest; a context manager that boots nothing before ``start`` or ``run``.

    Its methods are for one thread, except ``stop``, which any thread may call.
    """

    def __init__(self, kit: Kit, make: machines.Maker | None = None) -> None:
        """Describe the guest.

        Args:
            kit: what it boots from (``prepare.prepare``).
            make: makes its machine; by default the one for the kit's architecture.
        """
        self._kit = kit
        self._make = make or getattr(machines, kit.architecture)
        self._folder = Path(tempfile.mkdtemp(prefix="hal-lab-"))
        self.exchange = self._folder / "exchange"
        self.exchange.mkdir()
        self.machine: Machine = self._make(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._stopped = False

    def __enter__(self) -> Guest:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder)

    def run(
        self,
        command: Sequence[str],
        timeout: float = 120,
        environment: Mapping[str, str] | None = None,
    ) -> Result:
        """Boot, run a command, and give its status and output when the guest has ended.

        Args:
            command: program and arguments, run in the current folder's place in the guest.
            timeout: how long boot and command may take together, in seconds.
            environment: variables besides ``PATH`` and ``HAL_LAB=1``.

        Raises:
            GuestDied: with the console's tail.
        """
        self.start(command, environment)
        return self.wait(timeout)

    def start(
        self,
        command: Sequence[str],
        environment: Mapping[str, str] | None = None,
        terminal: bool = False,
    ) -> None:
        """Boot; the command runs as soon as the guest is up.

        Args:
            command: as for ``run``.
            environment: as for ``run``.
            terminal: whether this process's terminal becomes the guest's /dev/hvc0.
        """
        for name in ("status", "output", "console"):
            (self.exchange / name).unlink(missing_ok=True)
        (self.exchange / "start").write_text(self._script(command, environment or {}))
        # If this process dies, so does QEMU: never a stray guest.
        qemu = ["setpriv", "--pdeathsig", "KILL", *self._qemu(terminal)]
        with self._lock:
            if self._stopped:
                raise GuestDied("the guest was stopped before it started")
            with (self._folder / "qemu.log").open("wb") as log:
                streams = None if terminal else subprocess.DEVNULL
                self._process = subprocess.Popen(
                    qemu,
                    env=dict(os.environ),  # read by execve(2) while tests change theirs
                    stdin=streams,
                    stdout=streams,
                    stderr=log,
                    start_new_session=not terminal,
                )

    def _script(self, command: Sequence[str], environment: Mapping[str, str]) -> str:
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        if self._kit.root == Path("/"):
            # The interpreter itself comes first: a version manager's shim costs seconds here.
            path = f"{Path(sys.executable).parent}:{path}"
        variables = {"HOME": "/tmp", "PATH": path, "HAL_LAB": "1", "PYTHONDONTWRITEBYTECODE": "1"}
        variables |= environment
        setup = self.machine.setup
        if setup and self._kit.root != Path("/"):
            shutil.copy(setup, self.exchange / "setup")
            setup = Path("/run/lab/setup")
        mount = "mount -t 9p -o ro,trans=virtio,version=9p2000.L,msize=512000,cache=loose"
        checkout = f"mkdir -p {ROOT} && {mount} checkout {ROOT}"
        return _START.format(
            checkout="" if self._kit.root == Path("/") else checkout,
            environment=" ".join(f"{key}={shlex.quote(value)}" for key, value in variables.items()),
            folder=shlex.quote(str(Path.cwd())),
            setup=f"bash {shlex.quote(str(setup))}" if setup else "true",
            command=shlex.join(command),
        )

    def _qemu(self, terminal: bool) -> list[str]:
        kit, folder = self._kit, self._folder
        arguments = [
            *(program(kit.qemu[0]), *kit.qemu[1:]),
            *("-accel", "tcg", "-smp", "1", "-nodefaults", "-display", "none", "-no-reboot"),
            *("-kernel", str(kit.kernel), "-initrd", str(kit.initrd)),
            *("-append", _KERNEL + self.machine.kernel),
            *("-serial", f"file:{self.exchange / 'console'}"),
            *("-qmp", f"unix:{folder / 'qmp.sock'},server=on,wait=off"),
        ]
        shares = {"root": kit.root, "modules": kit.modules, "exchange": self.exchange}
        if kit.root != Path("/"):
            shares["checkout"] = ROOT
        for tag, path in shares.items():
            option = f"local,id={tag},path={path},security_model=none,multidevs=remap"
            arguments += ["-fsdev", option + ("" if tag == "exchange" else ",readonly=on")]
            arguments += ["-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag},bus=pcie.0"]
        if terminal:
            arguments += ["-chardev", "stdio,id=terminal,signal=off"]
            arguments += ["-device", "virtio-serial-pci,id=console,bus=pcie.0"]
            arguments += ["-device", "virtconsole,bus=console.0,chardev=terminal"]
        return arguments + self.machine.arguments

    def qmp(self) -> Qmp:
        """Give a new connection to QEMU itself."""
        return Qmp(self._folder / "qmp.sock")

    def running(self) -> bool:
        """Say whether QEMU runs."""
        return self._process is not None and self._process.poll() is None

    def wait(self, timeout: float) -> Result:
        """Wait for the guest's end and give the command's status and output.

        Raises:
            EmulatorDied: QEMU crashed.
            GuestDied: it left no status, or did not end within ``timeout`` seconds.
        """
        assert self._process, "wait() needs start() first"
        try:
            self._process.wait(timeout)
            how = f"ended without a result (QEMU's status {self._process.returncode})"
        except subprocess.TimeoutExpired:
            self.stop()
            how = f"did not end within {timeout:.0f} s"
        status = self.exchange / "status"
        if not status.exists() or not status.read_text().strip():
            by_signal = not self._stopped and (self._process.returncode or 0) < 0
            died = EmulatorDied if by_signal else GuestDied
            raise died(f"the guest {how}\n{self.tail()}")
        return Result(int(status.read_text()), self.output())

    def output(self) -> str:
        """Give what the command has printed so far."""
        return _text(self.exchange / "output")

    def tail(self, lines: int = 60) -> str:
        """Give the end of the console, of the command's output, and QEMU's own complaints."""
        parts = {
            "console": _text(self.exchange / "console"),
            "output": self.output(),
            "QEMU": _text(self._folder / "qemu.log"),
        }
        shown = {name: text.splitlines()[-lines:] for name, text in parts.items() if text.strip()}
        return "\n".join(f"--- {name} ---\n" + "\n".join(text) for name, text in shown.items())

    def stop(self) -> None:
        """End the guest at once, if it runs."""
        with self._lock:
            self._stopped = True
            process = self._process
        if process and process.poll() is None:
            process.send_signal(signal.SIGKILL)
            process.wait()

    def follow(self, timeout: float | None) -> Result:
        """Like ``wait``, and pass the command's output on to stdout as it comes."""
        end, shown = time.monotonic() + (timeout or float("inf")), 0
        while self.running() and time.monotonic() < end:
            shown += _pass_on(self.exchange / "output", shown)
            time.sleep(0.1)
        result = self.wait(0)
        _pass_on(self.exchange / "output", shown)
        return result


def _pass_on(path: Path, offset: int) -> int:
    """Write what a file has beyond an offset to stdout; give how much that was."""
    if not path.exists():
        return 0
    with path.open("rb") as file:
        file.seek(offset)
        data = file.read()
    sys.stdout.buffer.write(data)
    sys.stdout.flush()
    return len(data)


def _text(path: Path) -> str:
    return path.read_text(errors="replace").replace("\r", "") if path.exists() else ""
