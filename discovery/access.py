# SPDX-License-Identifier: Apache-2.0
"""May this user open a device node, who holds it, and what would grant the right.

Nothing here opens a device node: rights are read from its inode, holders from /proc/PID/fd.
"""

from __future__ import annotations

import grp
import os
import pwd
import stat
from collections.abc import Collection
from dataclasses import dataclass

_ACCESS = {"r": os.R_OK, "w": os.W_OK, "rw": os.R_OK | os.W_OK}


@dataclass(frozen=True, slots=True)
class Rights:
    """Who may open a node.

    Attributes:
        node: Its path.
        owner: Name of its owner.
        group: Name of its group.
        mode: Permission bits.
        groups: Names of the groups this process is in.
        granted: May this process open it?
    """

    node: str
    owner: str
    group: str
    mode: int
    groups: tuple[str, ...]
    granted: bool

    def __str__(self) -> str:
        mine = ", ".join(self.groups)
        return f"owner {self.owner}:{self.group}, mode {self.mode:04o}; you are in: {mine}"


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that has a node open.

    Attributes:
        pid: Its number.
        name: Its command's name.
    """

    pid: int
    name: str

    def __str__(self) -> str:
        return f"pid {self.pid} ({self.name})"


_NODE_SUBSYSTEMS = {"i2c": "i2c-dev", "spi": "spidev"}
"""Where the node belongs to another subsystem than the device."""


def rights(node: str, mode: str = "rw") -> Rights:
    """Who may open `node`.

    Args:
        node: Its path.
        mode: How this process would open it: "r", "w" or "rw".

    Raises:
        OSError: It is not there, or a folder above it may not be entered.
    """
    info = os.stat(node)
    return Rights(
        node=node,
        owner=_user(info.st_uid),
        group=_group(info.st_gid),
        mode=stat.S_IMODE(info.st_mode),
        groups=tuple(_group(gid) for gid in sorted({os.getegid(), *os.getgroups()})),
        granted=os.access(node, _ACCESS[mode], effective_ids=True),
    )


def holders(nodes: Collection[str], root: str = "") -> tuple[dict[str, list[Holder]], int]:
    """Who has which device node open.

    Args:
        nodes: Paths of the nodes, links resolved.
        root: Where the machine's root is, without a slash at its end.

    Returns:
        The holders of each node that has any, and the number of processes that could not be looked
        into (those of other users, for an ordinary one).
    """
    wanted = frozenset(nodes)
    found: dict[str, list[Holder]] = {}
    hidden = 0
    for pid in filter(str.isdigit, _listed(f"{root}/proc")):
        try:
            held = wanted.intersection(_open_files(f"{root}/proc/{pid}/fd"))
        except PermissionError:
            hidden += 1
            continue
        except OSError:  # The process has ended.
            continue
        for node in held:
            found.setdefault(node, []).append(Holder(int(pid), _command(root, pid)))
    return found, hidden


def _listed(folder: str) -> list[str]:
    """What a folder holds; a machine that was copied has no processes."""
    return os.listdir(folder) if os.path.isdir(folder) else []


def _open_files(folder: str) -> set[str]:
    """Paths a process has open. The links are only read: following one may hang (NFS)."""
    return {_target(f"{folder}/{name}") for name in os.listdir(folder)}


def _target(link: str) -> str:
    try:
        return os.readlink(link)
    except FileNotFoundError:  # Closed meanwhile.
        return ""


def _command(root: str, pid: str) -> str:
    try:
        with open(f"{root}/proc/{pid}/comm", encoding="utf-8", errors="replace") as file:
            return file.read().strip()
    except OSError:  # It has ended since.
        return "?"


def remedy(rights: Rights, subsystem: str) -> list[str]:
    """The commands, and the udev rule, that give this user a node for good.

    Args:
        rights: What the node has now.
        subsystem: The kernel subsystem of its device, for the rule.
    """
    user = _user(os.geteuid())
    if user in _members(rights.group):
        return [f"newgrp {rights.group}    # you are a member, but since after this login"]
    if rights.group != "root" and rights.mode & 0o060 == 0o060:
        return [
            f"sudo usermod -aG {rights.group} {user}",
            f"newgrp {rights.group}    # or log in again",
        ]
    group = "dialout" if subsystem == "tty" else "hal"
    subsystem = _NODE_SUBSYSTEMS.get(subsystem, subsystem)
    folder, _, name = rights.node.rpartition("/")
    if folder.startswith("/sys/"):  # udev gives rights to nodes; to a file of sysfs by a command.
        changes = (f"/bin/chgrp {group} /sys%p/{name}", f"/bin/chmod g+rw /sys%p/{name}")
        run = ", ".join(f'RUN+="{change}"' for change in changes)
        rule = f'SUBSYSTEM=="{subsystem}", ACTION=="add", {run}'
    else:
        pattern = name.rstrip("0123456789.") + "*"
        rule = f'SUBSYSTEM=="{subsystem}", KERNEL=="{pattern}", GROUP="{group}", MODE="0660"'
    file = f"/etc/udev/rules.d/70-hal-{subsystem}.rules"
    return [
        f"sudo groupadd -f {group}",
        f"echo '{rule}' | sudo tee {file}",
        "sudo udevadm control --reload",
        f"sudo udevadm trigger --action=add --subsystem-match={subsystem}",
        f"sudo usermod -aG {group} {user}",
        f"newgrp {group}    # or log in again",
    ]


def _members(group: str) -> list[str]:
    try:
        return grp.getgrnam(group).gr_mem
    except KeyError:
        return []


def _user(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _group(gid: int) -> str:
    try:
        return grp.getgrgid(gid).gr_name
    except KeyError:
        return str(gid)
