# SPDX-License-Identifier: Apache-2.0
"""The test vectors of docs/protocol.md, taken apart; and seeds for fuzzing made of them.

python -m tests.vectors    # writes tests/fuzz/corpus/{agent,remote}
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/protocol.md"


@dataclass(frozen=True)
class Field:
    """A line of a vector.

    Attributes:
        data: Its bytes.
        kind: "header", "u8" ... "u64", "i32", "i64", "f64", "str" or "bytes".
        value: As the page writes it.
    """

    data: bytes
    kind: str
    value: str


@dataclass
class Vector:
    """A frame; the first field is its header."""

    title: str
    fields: list[Field] = field(default_factory=list)

    @property
    def data(self) -> bytes:
        """All of it."""
        return b"".join(f.data for f in self.fields)


def vectors() -> list[Vector]:
    """All that the page has, in its order."""
    text = PAGE.read_text().partition("## Test vectors")[2].partition("```text\n")[2]
    found: list[Vector] = []
    begun = ""
    for line in text.partition("```")[0].splitlines():
        if line and not line.startswith(" "):
            found.append(Vector(line))
        elif line:
            digits, *rest = re.split(r" {2,}", line.strip())
            begun += digits
            if rest:
                kind, value = [*rest, ""][:2]
                found[-1].fields.append(Field(bytes.fromhex(begun), kind, value))
                begun = ""
    return found


def session(*kinds: int) -> bytes:
    """What a controller sends after OPEN: requests of these types, numbered as lanes want it."""
    requests = {v.data[4]: v.data for v in reversed(vectors()) if not v.data[6]}
    numbers = [itertools.count(1) for _ in range(4)]
    sent = b""
    for kind in kinds:
        data = requests[kind]
        silent = kind in (14, 16)  # CREDIT, CANCEL: without answer, without number
        number = 0 if silent else next(numbers[data[5]])
        sent += data[:8] + number.to_bytes(4, "little") + data[12:]
    return sent


def answers(*titles: str) -> bytes:
    """What an agent sends: these vectors, numbered as a controller asks."""
    named = {v.title: v.data for v in vectors()}
    numbers = [itertools.count(1) for _ in range(4)]
    sent = b""
    last = 0
    for title in titles:
        data = named[title]
        pushed = not data[6] & 1
        last = 0 if pushed else last if "last piece" in title else next(numbers[data[5]])
        sent += data[:8] + last.to_bytes(4, "little") + data[12:]
    return sent


AGENT = {
    "memory": bytes([0x38, 255, 128]) + session(10, 11, 10, 12, 13, 12, 17, 20, 12),
    "memory-read-only": bytes([0x12, 15, 255]) + session(10, 11, 13, 20),
    "bytes": bytes([0x31, 255, 200]) + session(5, 4, 5, 4, 17, 16, 4, 2),
    "stream": bytes([0x3D, 255, 128]) + session(14, 5, 5, 14, 16, 5),
    "attributes": bytes([0x3A, 63, 128]) + session(8, 9, 8, 7, 6, 20, 8),
    "not-of-the-device": bytes([0x30, 255, 255]) + session(1, 2, 3, 19, 21, 2),
}
"""Seeds of tests/fuzz/fuzz_agent.cc."""


def batch_answer(number: int, *items: tuple[int, bytes]) -> bytes:
    """The answer to a batch: of each operation that was tried its errno, and a body."""
    body = len(items).to_bytes(4, "little")
    for failed, data in items:
        body += failed.to_bytes(4, "little") + len(data).to_bytes(4, "little") + data
    head = len(body).to_bytes(4, "little") + bytes([20, 2, 1, 0]) + number.to_bytes(4, "little")
    return head + bytes(4) + body


STREAM = b"\1\0\0\0\7\0\0\0"  # flags and lease of OPEN's answer
OPENED = ("hello answer", "open answer", "get answer, int", "get answer, choice")  # -2: none to set
BEFORE_BATCH = (
    b"\x7f\xff"
    + answers("hello answer", "open answer").replace(STREAM, b"\2" + STREAM[1:])
    + answers(
        *OPENED[2:],
        "set answer",
        "read_at answer, first piece",
        "read_at answer, last piece",
        "write_at answer",
        "load answer",
        "store answer",
        "transfer answer",
        "control answer",
    )
)
TRIED = (
    (0, bytes(8)),  # LOAD
    (0, bytes(8 + 4)),  # CONTROL
    (0, b"\x0b" + bytes(7 + 10)),  # TRANSFER
    (0, b""),  # STORE
    (0, b"\2" + bytes(7 + 8)),  # GET of an int
)
REMOTE = {
    "refused": b"\x7f\xff" + answers("hello refused"),
    "stream": b"\x3f\xff" + answers(*OPENED, "set answer", "data", "write answer", "data, the end"),
    "notice": b"\x7f\xff" + answers(*OPENED[:3], "notice", "set answer", "data", "ping answer"),
    "bytes": b"\x7f\xff"
    + answers("hello answer", "open answer").replace(STREAM, b"\0" + STREAM[1:])
    + answers(*OPENED[2:], "set answer", "read answer", "write answer"),
    "memory": b"\x0f\xff"
    + answers("hello answer", "open answer").replace(STREAM, b"\2" + STREAM[1:])
    + answers(
        *OPENED[2:], "set answer", "read_at answer, first piece", "read_at answer, last piece"
    ),
    "batch": BEFORE_BATCH + batch_answer(8, *TRIED),
    "batch-failed": BEFORE_BATCH + batch_answer(8, *TRIED[:2], (5, b"\2\0no")),
    "resumed": b"\xff\x80" + 2 * answers("hello answer", "open answer", "get answer, int"),
    "lost": b"\xff\x90" + answers(*OPENED) + answers("hello answer", "resume answer", "data"),
}
"""Seeds of tests/fuzz/fuzz_remote.c."""


def main() -> None:
    """Write the seeds."""
    corpus = ROOT / "tests/fuzz/corpus"
    for target, seeds in {"agent": AGENT, "remote": REMOTE}.items():
        (corpus / target).mkdir(exist_ok=True)
        for name, data in seeds.items():
            (corpus / target / name).write_bytes(data)


if __name__ == "__main__":
    main()
