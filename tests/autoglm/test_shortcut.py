# SPDX-License-Identifier: Apache-2.0
"""Plain requests to run a model: answers, bounds and refusals are those of the long way.

Each test asks over a socket of its own, byte by byte as it says, and sees which way was taken.
"""

from __future__ import annotations

import asyncio
import json
import os
import select
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from autoglm.serve import server, shortcut
from autoglm.serve.head import LONGEST
from autoglm.serve.limits import Limits
from autoglm.serve.shortcut import Passage
from autoglm.tensor import Array
from hal.link.authority import Authority
from tests.autoglm import small
from tests.autoglm.serving import DTYPES, HEADER, Service, binary, request, serving
from tests.autoglm.small import bad, good, right, write
from tests.autoglm.test_serve_access import CLIENT, DEVICE, OTHER, context
from tests.link_attack import Forge

INFER = "/v2/models/small/infer"
Answer = tuple[int, dict[str, str], bytes]


pytestmark = pytest.mark.usefixtures("faulty")


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The paths of what took the shortcut."""
    found: list[str] = []
    enter = Passage.enter

    def entered(passage: Passage, *rest: Any) -> None:
        found.append(passage._known.target.decode())
        enter(passage, *rest)

    monkeypatch.setattr(Passage, "enter", entered)
    return found


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pieces come late here."""
    monkeypatch.setattr(server, "PATIENCE", 30.0)


class Line:
    """A connection, as bytes."""

    def __init__(self, service: Service) -> None:
        self.link = socket.create_connection(("127.0.0.1", service.port), timeout=60)
        if service.tls is not None:
            self.link = service.tls.wrap_socket(self.link)
        self._rest = b""

    def send(self, *pieces: bytes) -> None:
        """Each as a segment of its own."""
        for piece in pieces:
            self.link.sendall(piece)
            time.sleep(0.05 if len(pieces) > 1 else 0)

    def receive(self) -> Answer:
        """The next answer: status, headers by name in small letters, body."""
        while b"\r\n\r\n" not in self._rest:
            self._more()
        head, _, self._rest = self._rest.partition(b"\r\n\r\n")
        first, *lines = head.decode().split("\r\n")
        fields = {
            name.lower(): value for name, _, value in (line.partition(": ") for line in lines)
        }
        length = int(fields.get("content-length", 0))
        while len(self._rest) < length:
            self._more()
        body, self._rest = self._rest[:length], self._rest[length:]
        return int(first.split()[1]), fields, body

    def ask(self, message: bytes) -> Answer:
        self.send(message)
        return self.receive()

    def close(self) -> None:
        self.link.close()

    def _more(self) -> None:
        data = self.link.recv(1 << 16)
        assert data, "the service has closed the connection"
        self._rest += data


@pytest.fixture
def line(service: Service) -> Iterator[Line]:
    with closing(Line(service)) as made:
        yield made


def stated(body: bytes, *lines: str, version: str = "1.1") -> bytes:
    """A request with further headers."""
    lines = ("Host: localhost", f"Content-Length: {len(body)}", *lines)
    head = "\r\n".join((f"POST {INFER} HTTP/{version}", *lines, "", ""))
    return head.encode() + body


def in_json(given: dict[str, Array], *lines: str, **more: Any) -> bytes:
    """A request; as long as any other of these shapes."""
    text = json.dumps(request(given, **more)).encode()
    return stated(text + b" " * (4000 - len(text)), "Content-Type: application/json", *lines)


def in_binary(given: dict[str, Array], *lines: str) -> bytes:
    body, headers = binary(given, parameters={"binary_data_output": True})
    return stated(body, *(f"{name}: {value}" for name, value in headers.items()), *lines)


def arrays(answer: Answer) -> dict[str, Array]:
    """Of an answer in either form."""
    status, fields, body = answer
    assert status == 200, body
    length = int(fields.get(HEADER.lower(), len(body)))
    rest, found = body[length:], {}
    for each in json.loads(body[:length])["outputs"]:
        if "data" in each:
            array = np.array(each["data"], DTYPES[each["datatype"]])
        else:
            size = each["parameters"]["binary_data_size"]
            array, rest = np.frombuffer(rest[:size], DTYPES[each["datatype"]]), rest[size:]
        found[each["name"]] = array.reshape(each["shape"])
    assert not rest
    return found


# ---- the same answers ---------------------------------------------------------------------------


@pytest.mark.parametrize("form", [in_json, in_binary])
def test_the_same_head_with_other_arrays(
    form: Callable[..., bytes], service: Service, short: list[str]
) -> None:
    lines = [Line(service) for _ in range(3)]
    for seed in range(9):
        sent = small.inputs(2, seed)
        answer = lines[seed % 3].ask(form(sent, "X-Test: the same head"))
        assert right(sent, arrays(answer))
        assert answer[1].keys() >= {"date", "content-type", "content-length"}
    assert short == [INFER] * 9
    for each in lines:
        each.close()


def test_the_same_head_but_for_the_length(line: Line, short: list[str]) -> None:
    """In JSON it changes with the digits."""
    text = json.dumps(request(small.inputs(1, 7))).encode()
    for more in (0, 1, 10, 1000, 10000, 3):
        answer = line.ask(stated(text + b" " * more, "X-Test: the length"))
        assert right(small.inputs(1, 7), arrays(answer))
    for lines in ("X-Test: the length", "X-Content-Length: 5"), ("X-Test: the lengths",):
        assert right(small.inputs(1, 7), arrays(line.ask(stated(text, *lines))))
    assert len(short) == 8


@pytest.mark.parametrize("length", [b"-1", b"+5", b"0x5", b"5 5", b"5, 5", b"", b"9" * 30])
def test_a_length_that_is_none(length: bytes, service: Service, short: list[str]) -> None:
    text = json.dumps(request(small.inputs(1, 7))).encode()
    good = stated(text, f"X-Test: {length.hex()}")
    for message, statuses in (
        (good, {200}),
        (good.replace(b"%d" % len(text), length, 1), {400, 413}),
    ):
        with closing(Line(service)) as line:
            assert line.ask(message)[0] in statuses
    assert len(short) == 1


def test_answers_of_both_ways_are_alike(line: Line, short: list[str]) -> None:
    for form in (in_json, in_binary):
        long = form(small.inputs(1, 7), f"X-Long: {'x' * LONGEST}")
        first, second = line.ask(long), line.ask(form(small.inputs(1, 7)))
        first[1].pop("date"), second[1].pop("date")
        assert first == second
    assert len(short) == 2


@pytest.mark.parametrize("form", [in_json, in_binary])
def test_in_pieces(form: Callable[..., bytes], patient: None, line: Line, short: list[str]) -> None:
    def pieces(seed: int) -> Iterator[bytes]:
        head, _, body = form(small.inputs(1, seed), "X-Test: in pieces").partition(b"\r\n\r\n")
        yield head + b"\r\n\r\n"
        yield body[:7]
        yield body[7:]

    for seed in range(3):
        line.send(*pieces(seed))
        assert right(small.inputs(1, seed), arrays(line.receive()))
    assert len(short) == 3


@pytest.mark.parametrize("wish", ["X-Test: none", "Upgrade: h2c", "Upgrade: websocket"])
def test_a_head_in_pieces(wish: str, patient: None, line: Line, short: list[str]) -> None:
    """It is read as it is in one, and a wish to speak something else ignored."""
    message = in_binary(small.inputs(1, 1), "Connection: Upgrade", wish)
    at = message.index(wish.encode()) + 9
    line.send(message[:2], message[2:at], message[at : at + 30], message[at + 30 :])
    assert right(small.inputs(1, 1), arrays(line.receive()))
    assert len(short) == ("X-" in wish)


def test_one_after_the_other_without_waiting(line: Line, short: list[str]) -> None:
    messages = [in_binary(small.inputs(1, seed), "X-Test: pipeline") for seed in range(8)]
    line.ask(messages[0])
    line.send(*messages[1:4])  # the answers are not read
    line.send(b"".join(messages[4:6]))  # one segment
    line.send(messages[6] + messages[7][:9], messages[7][9:])
    for seed in range(1, 8):
        assert right(small.inputs(1, seed), arrays(line.receive()))
    assert short


GET = b"GET /v2/models/small HTTP/1.1\r\nHost: localhost\r\n\r\n"
KINDS = st.sampled_from(["binary", "json", "chunked", "wrong", "get"])


def message(kind: str, seed: int) -> bytes:
    """A request of a stream; all but one kind have a head that is known after the first."""
    if kind == "get":
        return GET
    if kind == "binary":
        return in_binary(small.inputs(1, seed), "X-Test: stream")
    if kind == "json":
        return in_json(small.inputs(1, seed), "X-Test: stream")
    if kind == "wrong":
        head, end, body = in_json(small.inputs(1, seed), "X-Test: stream").partition(b"\r\n\r\n")
        return head + end + b"{" * len(body)
    text = json.dumps(request(small.inputs(1, seed))).encode()
    lines = f"POST {INFER} HTTP/1.1", "Host: localhost", "Transfer-Encoding: chunked", "", ""
    return "\r\n".join(lines).encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text)


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(st.data())
def test_any_stream_in_any_segments(service: Service, data: st.DataObject) -> None:
    """What comes does not depend on how it came: nothing is lost, doubled or out of order."""
    asked = data.draw(st.lists(st.tuples(KINDS, st.integers(0, 99)), min_size=1, max_size=8))
    stream = b"".join(message(*each) for each in asked)
    cuts = sorted(data.draw(st.sets(st.integers(1, len(stream) - 1), max_size=8)))
    with closing(Line(service)) as line:
        line.link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for begin, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
            line.link.sendall(stream[begin:end])
            time.sleep(data.draw(st.sampled_from([0, 0, 0.002])))
        for kind, seed in asked:
            answer = line.receive()
            if kind in ("get", "wrong"):
                assert answer[0] == {"get": 200, "wrong": 400}[kind]
            else:
                assert right(small.inputs(1, seed), arrays(answer))


def test_before_the_answer(slow: Service, short: list[str]) -> None:
    messages = [in_binary(small.inputs(1, seed), "X-Test: before") for seed in range(4)]
    with closing(Line(slow)) as line:
        line.ask(messages[0])
        line.send(*messages[1:])
        for seed in range(1, 4):
            assert right(small.inputs(1, seed), arrays(line.receive()))
    assert short == [INFER] * 4


def test_it_is_counted(service: Service, line: Line, short: list[str]) -> None:
    message = in_json(small.inputs(1, 3), "X-Test: counted")
    name = 'autoglm_requests_total{model="small",status="200"}'
    before = service.metric(name)
    for _ in range(5):
        line.ask(message)
    assert len(short) == 5
    assert service.metric(name) == before + 5
    assert service.metric("autoglm_requests_now") == 0
    assert service.metric("autoglm_request_bytes_now") == 0


def test_with_certificate_and_token(tmp_path: Path, short: list[str]) -> None:
    forge = Forge(tmp_path, Authority.create(tmp_path / "ca"))
    own = forge.papers("service", DEVICE).folder
    papers, thief = forge.issued("short", CLIENT), forge.issued("thief", OTHER)
    token = (papers.folder / "token").read_text().strip()
    message = in_binary(small.inputs(1, 1), f"Authorization: Bearer {token}")
    with serving(write(tmp_path / "small.glm", [good()]), own=own) as service:
        service.tls = context(thief, forge.authority)
        theirs = Line(service)
        service.tls = context(papers, forge.authority)
        with closing(Line(service)) as line, closing(theirs):
            for _ in range(3):
                assert right(small.inputs(1, 1), arrays(line.ask(message)))
            assert theirs.ask(message)[0] == 401  # the very same head
            forge.authority.revoke(f"{papers.certificate.serial_number:x}")
            (own / "crl.pem").write_bytes((forge.authority.folder / "crl.pem").read_bytes())
            time.sleep(0.6)
            status, _, body = line.ask(message)
            assert status == 401 and b"revoked" in body
    assert len(short) == 3


# ---- the same refusals --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "lines",
    [
        ("Connection: close",),
        ("Connection: close", "Connection: keep-alive"),
        ("X-Twice: 1", "X-Twice: 2"),
        ("X-Long: " + "x" * 4096,),
    ],
)
def test_heads_that_are_not_kept(
    lines: tuple[str, ...], service: Service, short: list[str]
) -> None:
    sent = small.inputs(1, 1)
    for _ in range(3):
        with closing(Line(service)) as line:
            assert right(sent, arrays(line.ask(in_binary(sent, *lines))))
    assert not short


def test_other_framings_are_not_kept(service: Service, short: list[str]) -> None:
    text = json.dumps(request(small.inputs(1, 1))).encode()
    plain = stated(text)
    chunked = plain.replace(b"Content-Length: %d" % len(text), b"Transfer-Encoding: chunked")
    chunked = chunked.replace(text, b"%x\r\n%s\r\n0\r\n\r\n" % (len(text), text))
    expected = stated(text, "Expect: 100-continue")
    old = stated(text, "Connection: keep-alive", version="1.0")
    for message in (chunked, expected, old):
        for _ in range(2):
            with closing(Line(service)) as line:
                line.send(message)
                answer = line.receive()
                if message is expected:
                    assert answer[0] == 100
                    answer = line.receive()
                assert right(small.inputs(1, 1), arrays(answer))
    assert not short


def test_wrong_inputs_are_refused_as_ever(line: Line, short: list[str]) -> None:
    sent = small.inputs(1, 1)
    message = in_json(sent, "X-Test: wrong inputs")
    line.ask(message)
    head = message[: message.index(b"{")]
    for text in (b"{}", b"[" * 1000, b'{"inputs": [{"name": "x"}]}', b"\xff"):
        status, _, body = line.ask(head + text.ljust(4000))
        assert status == 400 and json.loads(body)["error"]
    assert len(short) == 1
    assert right(sent, arrays(line.ask(message)))
    assert len(short) == 2


def test_more_than_may_wait(slow: Service, short: list[str]) -> None:
    message = in_binary(small.inputs(1, 1), "X-Test: more")
    with closing(Line(slow)) as first:
        first.ask(message)
    lines = [Line(slow) for _ in range(5)]
    for line in lines:
        line.send(message)
    found = [line.receive() for line in lines]
    assert sorted(answer[0] for answer in found) == [200, 200, 200, 429, 429]
    assert all(answer[1]["retry-after"] == "1" for answer in found if answer[0] == 429)
    assert len(short) == 4
    for line in lines:
        line.close()


def test_the_deadline(slow: Service, short: list[str]) -> None:
    message = in_binary(small.inputs(1, 1), "Request-Timeout: 0.9")
    with closing(Line(slow)) as first, closing(Line(slow)) as second:
        first.ask(message)
        first.send(message)
        second.send(message)
        assert first.receive()[0] == 200
        status, _, body = second.receive()
        assert status == 504 and "deadline" in json.loads(body)["error"]
        assert second.ask(message)[0] == 200  # the connection goes on
    assert len(short) == 4


def test_a_client_that_leaves_is_not_served(slow: Service, short: list[str]) -> None:
    message = in_binary(small.inputs(1, 1), "X-Test: leaves")
    name = 'autoglm_requests_total{model="small",status="499"}'
    before = slow.metric(name)
    with closing(Line(slow)) as line, closing(Line(slow)) as leaving:
        line.ask(message)
        line.send(message)
        time.sleep(0.05)
        leaving.send(message)
        time.sleep(0.05)
        leaving.close()
        assert line.receive()[0] == 200
    until = time.monotonic() + 5
    while slow.metric(name) != before + 1:
        assert time.monotonic() < until
        time.sleep(0.02)
    assert len(short) == 3
    assert slow.metric("autoglm_worker_waiting") == 0


def test_a_rest_that_does_not_come(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: list[str]
) -> None:
    """It takes the long way after a while, which ends it."""
    monkeypatch.setattr(server, "PATIENCE", 0.2)
    path = write(tmp_path / "small.glm", [good()])
    message = in_binary(small.inputs(1, 1))
    with serving(path, limits=Limits(deadline=1.5)) as service, closing(Line(service)) as line:
        line.ask(message)
        line.send(message[:-5], b"")
        time.sleep(0.4)
        line.send(message[-5:])
        assert line.receive()[0] == 200
        line.send(message[:-5])
        assert line.receive()[0] == 504
    assert len(short) == 1


@pytest.mark.parametrize("cut", [30, -60])
def test_a_rest_that_trickles(
    cut: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: list[str]
) -> None:
    """No byte puts the end of waiting off: the bounds of the long way hold."""
    monkeypatch.setattr(server, "PATIENCE", 0.3)
    path = write(tmp_path / "small.glm", [good()])
    message = in_binary(small.inputs(1, 1))
    limits = Limits(deadline=1.0, head=1.0)
    with serving(path, limits=limits) as service, closing(Line(service)) as line:
        line.send(message[:cut])
        begin, answer = time.monotonic(), b""
        with suppress(ConnectionError):  # it may be closed just when a byte is sent
            for byte in message[cut:]:
                if select.select([line.link], [], [], 0.1)[0]:
                    break
                line.send(bytes([byte]))
            answer = line.link.recv(100)
        assert 1.0 < time.monotonic() - begin < 4.0
        # A head that takes too long is not answered.
        assert answer[:12] == (b"HTTP/1.1 504" if cut < 0 else b"")
    assert not short


def test_a_connection_that_knows_shortcuts_only(service: Service, short: list[str]) -> None:
    """The bound on the time of its first head ends with that head."""
    message = in_binary(small.inputs(1, 1), "X-Test: only")
    with closing(Line(service)) as line:
        for _ in range(3):
            assert line.ask(message)[0] == 200
            time.sleep(0.7)  # in all, longer than a head may take
    assert len(short) == 3


def test_an_idle_connection_is_closed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: list[str]
) -> None:
    """Not before its time, whichever way its last request went."""
    made = server.Protocol.connection_made

    def connection_made(protocol: server.Protocol, transport: asyncio.Transport) -> None:
        made(protocol, transport)
        protocol.timeout_keep_alive = 1

    monkeypatch.setattr(server.Protocol, "connection_made", connection_made)
    message = in_binary(small.inputs(1, 1))
    plain, long = message, in_binary(small.inputs(1, 1), f"X-Long: {'x' * LONGEST}")
    with serving(write(tmp_path / "small.glm", [good()])) as service:
        for asked in ((plain, plain, plain), (plain, long), (long, plain)):
            with closing(Line(service)) as line:
                for each in asked:
                    assert line.ask(each)[0] == 200
                    time.sleep(0.6)
                line.link.settimeout(5)
                assert line.link.recv(1) == b""
    assert len(short) == 5


# ---- bounds -------------------------------------------------------------------------------------


@pytest.mark.parametrize(("more", "plain"), [(-1, True), (0, True), (1, False)])
def test_the_longest_head(more: int, plain: bool, line: Line, short: list[str]) -> None:
    sent = small.inputs(1, 1)
    bare = in_binary(sent, "X-Long: ").partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    message = in_binary(sent, "X-Long: " + "x" * (LONGEST - len(bare) + more))
    for _ in range(2):
        assert line.ask(message)[0] == 200
    assert len(short) == 2 * plain


@pytest.mark.parametrize(("more", "plain"), [(-1, True), (0, True), (1, False)])
def test_the_longest_body(more: int, plain: bool, line: Line, short: list[str]) -> None:
    text = json.dumps(request(small.inputs(1, 1))).encode()
    message = stated(text.ljust(shortcut.LONGEST + more))
    for _ in range(2):
        assert line.ask(message)[0] == 200
    assert len(short) == 2 * plain


def test_a_longer_body_than_the_service_takes(tmp_path: Path, short: list[str]) -> None:
    path = write(tmp_path / "small.glm", [good()])
    text = json.dumps(request(small.inputs(1, 1))).encode()
    with serving(path, limits=Limits(body=len(text))) as service, closing(Line(service)) as line:
        for more, status in ((0, 200), (1, 413), (0, 200)):
            assert line.ask(stated(text + b" " * more))[0] == status
    assert len(short) == 2


def test_how_many_are_kept(line: Line, service: Service, short: list[str]) -> None:
    known = service._server._application.shortcut._known
    known.clear()
    sent = small.inputs(1, 1)
    for number in range(shortcut.MOST + 2):
        line.ask(in_binary(sent, f"X-Number: {number}"))
        assert len(known) == number % shortcut.MOST + 1
    assert len(short) == shortcut.MOST + 2


# ---- faults -------------------------------------------------------------------------------------


def test_a_worker_killed(slow: Service, short: list[str]) -> None:
    message = in_binary(small.inputs(1, 1), "X-Test: killed")
    worker = slow.models[0].worker
    with closing(Line(slow)) as line:
        line.ask(message)
        deaths = worker.deaths
        line.send(message)
        time.sleep(0.1)
        os.kill(worker.pid, signal.SIGKILL)
        assert right(small.inputs(1, 1), arrays(line.receive()))
    assert worker.deaths == deaths + 1 and len(short) == 2


def test_every_device_failed(tmp_path: Path, short: list[str]) -> None:
    path = write(tmp_path / "small.glm", [bad("poison")])
    with serving(path) as service, closing(Line(service)) as line:
        sent = small.inputs(1, 1) | {"k": np.array([2])}
        assert line.ask(in_binary(sent))[0] == 200
        sent["k"] = np.array([13])
        status, _, body = line.ask(in_binary(sent))
        assert status == 503 and "SIGSEGV" in json.loads(body)["error"]
        sent["k"] = np.array([2])
        assert line.ask(in_binary(sent))[0] == 200
    assert len(short) == 3


def test_it_ends_in_order(tmp_path: Path, patient: None, short: list[str]) -> None:
    path = write(tmp_path / "small.glm", [bad("slow", seconds=1.0)])
    message = in_binary(small.inputs(1, 1))
    with serving(path) as service, closing(Line(service)) as line, closing(Line(service)) as part:
        line.ask(message)
        line.send(message, message)  # the second will not be answered
        part.send(message[:-5])
        time.sleep(0.1)
        ending = threading.Thread(target=service.stop)
        ending.start()
        until = time.monotonic() + 10
        while not service._server._application.stopping:
            assert time.monotonic() < until
            time.sleep(0.01)
        time.sleep(0.1)
        part.send(message[-5:])
        for each in (line, part):
            status, fields, _ = each.receive()
            assert (status, fields["connection"]) == (200, "close")
            assert each.link.recv(1) == b""
        ending.join()
    assert len(short) == 2


def test_what_is_not_done_in_time_for_the_end(tmp_path: Path, short: list[str]) -> None:
    path = write(tmp_path / "small.glm", [bad("slow", seconds=2.0)])
    message = in_binary(small.inputs(1, 1))
    with serving(path, limits=Limits(grace=1)) as service, closing(Line(service)) as line:
        line.ask(message)
        line.send(message)
        time.sleep(0.1)
        service.stop()
        status, fields, body = line.receive()
        assert (status, fields["connection"]) == (503, "close")
        assert "stopped" in json.loads(body)["error"]
    assert len(short) == 2
