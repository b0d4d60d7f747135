# SPDX-License-Identifier: Apache-2.0
"""Who belongs to an authority, and what each may do: the file ``members.json`` of its folder."""

from __future__ import annotations

import errno
import json
import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from hal.errors import InvalidArgument, NotFound

from . import files
from .identity import SERVICE, Identity, Role
from .token import RIGHTS_MAX, Right


@dataclass(frozen=True, slots=True)
class Member:
    """One machine.

    Attributes:
        who: Its UUID and role.
        rights: What its tokens allow; a device needs none.
        note: What people call it.
    """

    who: Identity
    rights: tuple[Right, ...] = ()
    note: str = ""


class Members:
    """The members of an authority.

    Args:
        folder: The authority's folder.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "members.json"

    def all(self) -> list[Member]:
        """Every member, by note and UUID.

        Raises:
            InvalidArgument: The file is damaged; the message says so.
        """
        if not self._path.exists():
            return []
        try:
            stated = json.loads(files.read(self._path, "the members", ""))
            members = [_member(entry) for entry in stated]
        except (ValueError, TypeError, KeyError) as error:
            text = f'read the members "{self._path}": damaged ({error}): restore a copy'
            raise InvalidArgument(errno.EINVAL, text) from error
        return sorted(members, key=lambda member: (member.note, str(member.who.id)))

    def get(self, identifier: uuid.UUID) -> Member:
        """One member.

        Raises:
            NotFound: There is none of that UUID.
        """
        for member in self.all():
            if member.who.id == identifier:
                return member
        text = f"member {identifier}: there is none: hal-ca pair {identifier} makes one"
        raise NotFound(errno.ENOENT, text)

    def put(self, member: Member) -> None:
        """Add a member, or change one. Its role stays what it was.

        Raises:
            InvalidArgument: The role would change, the UUID is `SERVICE`, or there are more than
                `RIGHTS_MAX` rights.
        """
        if len(member.rights) > RIGHTS_MAX:
            text = f"member {member.who.id}: {len(member.rights)} rights are more than {RIGHTS_MAX}"
            raise InvalidArgument(errno.E2BIG, text)
        if member.who.id == SERVICE:
            text = f"member {SERVICE}: this UUID is the authority's own: choose another"
            raise InvalidArgument(errno.EINVAL, text)
        others = []
        for known in self.all():
            if known.who.id != member.who.id:
                others.append(known)
            elif known.who.role is not member.who.role:
                text = f"member {known.who.id}: it is a {known.who.role.value} and stays one"
                raise InvalidArgument(errno.EINVAL, text)
        self._write([*others, member])

    def remove(self, identifier: uuid.UUID) -> None:
        """Take a member out; its certificates are revoked by `Authority.revoke`."""
        self.get(identifier)
        self._write([member for member in self.all() if member.who.id != identifier])

    def _write(self, members: Iterable[Member]) -> None:
        text = json.dumps([_stated(member) for member in members], indent=1)
        files.write(self._path, text.encode(), files.SECRET)


def _member(entry: dict[str, object]) -> Member:
    rights = entry["rights"]
    if not isinstance(rights, list):
        raise TypeError("rights are no list")
    who = Identity(uuid.UUID(str(entry["id"])), Role(entry["role"]))
    return Member(who, tuple(Right.parse(str(right)) for right in rights), str(entry["note"]))


def _stated(member: Member) -> dict[str, object]:
    return {
        "id": str(member.who.id),
        "role": member.who.role.value,
        "note": member.note,
        "rights": [f"{right.device}={right.access}" for right in member.rights],
    }
