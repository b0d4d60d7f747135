# SPDX-License-Identifier: Apache-2.0
"""One link of an agent: the questions of one controller, answered one device's lanes at a time."""

from __future__ import annotations

import contextlib
import datetime as dt
import errno
import queue
import select
import ssl
import struct
import threading
import time
from collections.abc import Callable
from typing import Final

import hal
from hal.errors import Error, PermissionDenied, ProtocolError, Unsupported
from hal.link import frames
from hal.link.frames import ANSWER, BODY_MAX, ERROR, HEADER, HELLO_MAX, Frame, Lane, Reader, Type
from hal.link.token import Judge, Token

from .exports import Export, Exports

VERSION: Final = 1
CONTROL_ARGUMENT_MAX: Final = 65536
SEND_PATIENCE: Final = 10
"""Seconds after which a controller that takes nothing in loses its link."""
_NO_DESCRIPTORS: Final = {0x4401}  # HAL_DMABUF_FD hands out a descriptor, which does not travel.
_STREAM: Final = 1
_MEMORY: Final = 2
_STREAMS: Final = {"uart", "gpio", "iio", "loopback", "sim", "replay", "rec"}

_ACCESS: dict[int, str] = {
    Type.READ: "r",
    Type.WRITE: "w",
    Type.TRANSFER: "rw",
    Type.CONTROL: "rw",
    Type.GET: "r",
    Type.SET: "w",
    Type.LOAD: "r",
    Type.STORE: "w",
    Type.READ_AT: "r",
    Type.WRITE_AT: "w",
}
"""What a question needs a right for."""


class Ended(Exception):
    """The link is over."""


class Session:
    """One link, from the first frame to the last. `run` is called once, in a thread of its own.

    Args:
        link: The TLS connection, whose handshake is done.
        exports: The devices.
        judge: What judges the controller's token.
        own_token: This agent's token.
        peer: Name of the controller, for people.
    """

    def __init__(
        self, link: ssl.SSLSocket, exports: Exports, judge: Judge, own_token: str, peer: str
    ) -> None:
        self._link = link
        self._exports = exports
        self._judge = judge
        self._own_token = own_token
        self._peer = peer
        self._ssl_lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._certificate = link.getpeercert(binary_form=True) or b""
        self._token: Token | None = None
        self._export: Export | None = None
        self._lease = 0
        self._device: hal.Device | None = None
        self._attributes: list[hal.Attribute] = []
        self._reading: Frame | None = None
        self._last_write: tuple[int, bytes] = (0, b"")
        self._workers: dict[int, queue.SimpleQueue[Callable[[], None] | None]] = {}
        self._got = bytearray()

    def run(self, until: float) -> None:
        """Answer until the link ends.

        Args:
            until: `time.monotonic()` by which HELLO must be done.
        """
        self._link.setblocking(False)
        try:
            self._hello(until)
            while True:
                self._handle(self._next())
        except Ended:
            pass
        except ProtocolError as error:
            self._send(0, Lane.NONE, ANSWER | ERROR, 0, _failure(error))
            raise
        finally:
            self._close()

    def _close(self) -> None:
        if self._device is not None and self._export is not None:
            if self._workers:
                self._device.cancel()
            self._exports.release(self._export.name, self._lease)
        for worker in self._workers.values():
            worker.put(None)

    # ---- frames -------------------------------------------------------------------------------

    def _next(self) -> Frame:
        """The next frame; meanwhile, a READ that waits is answered."""
        while True:
            frame = self._whole(BODY_MAX)
            if frame is not None:
                return frame
            if not self._receive():
                self._wait(None)

    def _whole(self, most: int) -> Frame | None:
        if len(self._got) < HEADER.size:
            return None
        length, kind, lane, flags, identifier, wait = HEADER.unpack_from(self._got)
        if length > most or lane > Lane.NONE or flags:
            raise ProtocolError(errno.EPROTO, "it does not speak hal/1")
        end = HEADER.size + length
        if len(self._got) < end:
            return None
        body = memoryview(bytes(self._got[HEADER.size : end]))
        del self._got[:end]
        return Frame(kind, lane, flags, identifier, wait, body)

    def _receive(self) -> bool:
        """Take in what is there; False: nothing."""
        try:
            with self._ssl_lock:
                data = self._link.recv(65536)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return False
        except OSError as error:
            raise Ended from error
        if not data:
            raise Ended
        self._got += data
        return True

    def _wait(self, until: float | None) -> None:
        """Until the link has something, or the device has what a READ waits for."""
        poll = select.poll()
        poll.register(self._link, select.POLLIN)
        device = self._device if self._reading else None
        if device is not None:
            poll.register(device.fileno(), select.POLLIN)
        left = None if until is None else max(0.0, until - time.monotonic())
        ready = dict(poll.poll(None if left is None else left * 1000))
        if until is not None and not ready:
            raise Ended
        if device is not None and device.fileno() in ready:
            self._read_again()

    def _send(self, kind: int, lane: int, flags: int, identifier: int, *parts: bytes) -> None:
        data = memoryview(frames.pack(kind, lane, flags, identifier, *parts))
        with self._send_lock:
            while data:
                sent = self._send_some(data)
                data = data[sent:]
                if not sent:
                    poll = select.poll()
                    poll.register(self._link, select.POLLOUT)
                    if not poll.poll(SEND_PATIENCE * 1000):
                        raise Ended

    def _send_some(self, data: memoryview) -> int:
        """How many bytes the link took: 0 when it takes none at present."""
        try:
            with self._ssl_lock:
                return self._link.send(data)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            return 0
        except OSError as error:
            raise Ended from error

    def _answer(self, frame: Frame, *parts: bytes) -> None:
        self._send(frame.type, frame.lane, ANSWER, frame.id, *parts)

    # ---- HELLO --------------------------------------------------------------------------------

    def _hello(self, until: float) -> None:
        while (frame := self._whole(HELLO_MAX)) is None:
            if not self._receive():
                self._wait(until)
        if frame.type != Type.HELLO:
            raise ProtocolError(errno.EPROTO, "the first frame is not HELLO")
        body = Reader(frame.body)
        lowest, highest = body.take(_HELLO)
        token, _program = body.text(), body.text()
        body.end()
        if not lowest <= VERSION <= highest:
            text = f"this agent speaks version {VERSION}, you {lowest} to {highest}"
            self._refuse(frame, Error(errno.EPROTONOSUPPORT, text))
        try:
            self._token = self._judge.judge(token, self._certificate)
        except PermissionDenied as refusal:
            self._refuse(frame, refusal)
            raise
        now = int(dt.datetime.now(dt.timezone.utc).timestamp() * 1000)
        head = struct.pack("<HHQQ", VERSION, 0, now, int(self._token.until * 1000))
        own = frames.text(self._own_token) + frames.text(f"hal-agent {hal.__version__}")
        self._answer(frame, head, own)

    def _refuse(self, frame: Frame, error: Error) -> None:
        self._send(frame.type, frame.lane, ANSWER | ERROR, frame.id, _failure(error))

    # ---- questions ----------------------------------------------------------------------------

    def _handle(self, frame: Frame) -> None:
        if frame.type == Type.CANCEL:
            self._cancel()
        elif frame.type == Type.PING:
            self._answer(frame, bytes(frame.body))
        elif frame.type == Type.READ:
            self._guarded(frame, self._read)
        elif frame.type == Type.WRITE:
            self._guarded(frame, self._write)
        elif frame.type in (Type.TRANSFER, Type.CONTROL, Type.READ_AT, Type.WRITE_AT):
            self._elsewhere(frame)
        elif frame.type in _QUESTIONS:
            self._guarded(frame, lambda f: _QUESTIONS[f.type](self, f))
        else:
            raise ProtocolError(errno.EPROTO, f"there is no frame of type {frame.type}")

    def _guarded(self, frame: Frame, question: Callable[[Frame], None]) -> None:
        """Answer a question, with its failure if it fails."""
        try:
            self._permit(frame)
            question(frame)
        except ProtocolError:
            raise
        except OSError as error:
            self._refuse(frame, error if isinstance(error, Error) else Error(*error.args[:2]))

    def _permit(self, frame: Frame) -> None:
        access = _ACCESS.get(frame.type)
        token = self._token
        if token is None or time.time() > token.until + 10:
            raise PermissionDenied(errno.EACCES, "the token has ended: send a new one")
        if access is None:
            return
        if self._export is None:
            raise ProtocolError(errno.EPROTO, "no device is open on this link")
        if not token.allows(self._export.name, access):
            text = f'"{self._export.name}": the token does not allow "{access}"'
            raise PermissionDenied(errno.EACCES, text)

    def _elsewhere(self, frame: Frame) -> None:
        """Answer in the thread of the lane, for it may take a while."""
        jobs = self._workers.get(frame.lane)
        if jobs is None:
            jobs = self._workers[frame.lane] = queue.SimpleQueue()
            threading.Thread(target=_work, args=(jobs,), daemon=True).start()
        jobs.put(lambda: self._guarded(frame, lambda f: _QUESTIONS[f.type](self, f)))

    def _opened(self) -> hal.Device:
        if self._device is None:
            raise ProtocolError(errno.EPROTO, "no device is open on this link")
        return self._device

    def _list(self, frame: Frame) -> None:
        token = self._token
        shown = [e for e in self._exports.all() if token and token.allows(e.name, "r")]
        parts = [struct.pack("<H", len(shown))]
        for export in shown:
            kind = 2 if export.exclusive else 1 if export.holders else 0
            driver = export.uri.partition(":")[0]
            texts = (export.name, driver, export.uri)
            parts += [*map(frames.text, texts), bytes([kind])]
            parts.append(frames.text(", ".join(export.holders.values())))
        self._answer(frame, *parts)

    def _open(self, frame: Frame) -> None:
        if self._device is not None:
            raise ProtocolError(errno.EPROTO, "a device is open on this link already")
        body = Reader(frame.body)
        name = body.text()
        kind, _, count = body.take(_OPEN)
        options = {body.text(): body.text() for _ in range(count)}
        body.end()
        token = self._token
        if token is None or not (token.allows(name, "r") or token.allows(name, "w")):
            text = f'open "{name}": the token does not allow it'
            raise PermissionDenied(errno.EACCES, text)
        lease, device = self._exports.lease(name, kind, self._peer, options, frame.timeout)
        self._export = next(e for e in self._exports.all() if e.name == name)
        self._lease, self._device = lease, device
        self._attributes = [device.attributes.describe(a) for a in device.attributes]
        flags = _STREAM * _is_stream(device) | _MEMORY * _is_memory(device)
        head = struct.pack("<IQH", flags, lease, len(self._attributes))
        parts = [frames.text(device.driver), head]
        parts += [_attribute(attribute) for attribute in self._attributes]
        self._answer(frame, *parts)

    def _cancel(self) -> None:
        if self._reading is not None:
            frame, self._reading = self._reading, None
            self._refuse(frame, hal.Cancelled(errno.ECANCELED, "read: cancelled"))
        if self._workers and self._device is not None:
            self._device.cancel()

    # ---- bytes --------------------------------------------------------------------------------

    def _read(self, frame: Frame) -> None:
        (most,) = Reader(frame.body).take(_U32)
        device = self._opened()
        try:
            data = device.read(min(most, BODY_MAX), 0)
        except hal.WouldBlock:
            if _has_descriptor(device):
                self._reading = frame
            else:
                self._wait_elsewhere(frame, lambda: device.read(min(most, BODY_MAX), frame.timeout))
            return
        self._answer(frame, data)

    def _read_again(self) -> None:
        frame, self._reading = self._reading, None
        if frame is not None:
            self._guarded(frame, self._read)

    def _wait_elsewhere(self, frame: Frame, call: Callable[[], bytes]) -> None:
        jobs = self._workers.get(frame.lane)
        if jobs is None:
            jobs = self._workers[frame.lane] = queue.SimpleQueue()
            threading.Thread(target=_work, args=(jobs,), daemon=True).start()
        jobs.put(lambda: self._guarded(frame, lambda f: self._answer(f, call())))

    def _write(self, frame: Frame) -> None:
        body = Reader(frame.body)
        (identifier,) = body.take(_U64)
        data = body.rest()
        last, answer = self._last_write
        if identifier == last:
            self._answer(frame, answer)
            return
        device = self._opened()

        def written(count: int) -> bytes:
            self._last_write = (identifier, struct.pack("<I", count))
            return self._last_write[1]

        try:
            count = device.write(data, 0)
        except hal.WouldBlock:
            self._wait_elsewhere(frame, lambda: written(device.write(data, frame.timeout)))
            return
        self._answer(frame, written(count))

    # ---- the control lane ---------------------------------------------------------------------

    def _transfer(self, frame: Frame) -> None:
        body = Reader(frame.body)
        count, _ = body.take(_U16U16)
        heads = [body.take(_SEGMENT) for _ in range(count)]
        segments = []
        for flags, moves, bits, tx_lanes, rx_lanes, length, address, speed, delay, word in heads:
            tx = bytes(body.bytes(length)) if moves & 1 else None
            segments.append(
                hal.Segment(
                    tx=tx,
                    rx=length if moves & 2 else None,
                    address=address,
                    speed_hz=speed,
                    delay_us=delay,
                    word_delay_us=word,
                    bits=bits,
                    lanes_tx=tx_lanes,
                    lanes_rx=rx_lanes,
                    flags=flags,
                )
            )
        body.end()
        received = self._opened().transfer(segments, frame.timeout)
        total = sum(head[5] for head in heads)
        self._answer(frame, struct.pack("<q", total), *[r for r in received if r is not None])

    def _control(self, frame: Frame) -> None:
        body = Reader(frame.body)
        request, size = body.take(_U32U32)
        if size > CONTROL_ARGUMENT_MAX or request in _NO_DESCRIPTORS:
            raise Unsupported(errno.EOPNOTSUPP, f"control: request {request:#x} does not travel")
        argument = bytearray(body.bytes(size))
        body.end()
        device = self._opened()
        result = (
            device.control(request, argument, frame.timeout)
            if size
            else device.control(request, timeout=frame.timeout)
        )
        self._answer(frame, struct.pack("<q", result), bytes(argument))

    def _get(self, frame: Frame) -> None:
        attribute = self._attribute(Reader(frame.body))
        self._answer(frame, _value(attribute, self._opened().attributes[attribute.name]))

    def _set(self, frame: Frame) -> None:
        body = Reader(frame.body)
        attribute = self._attribute(body)
        (kind,) = body.take(_U64)
        value: hal.Value
        if kind in (4, 5):
            value = body.text()
        else:
            raw = bytes(body.bytes(8))
            (value,) = struct.unpack({1: "<Q", 2: "<q", 3: "<d"}.get(kind & 0xFF, "<Q"), raw)
            value = bool(value) if kind == 1 else value
        body.end()
        self._opened().attributes[attribute.name] = value
        self._answer(frame)

    def _attribute(self, body: Reader) -> hal.Attribute:
        (index,) = body.take(_U16)
        if index >= len(self._attributes):
            raise ProtocolError(errno.EPROTO, f"there is no attribute {index}")
        return self._attributes[index]

    # ---- memory -------------------------------------------------------------------------------

    def _load(self, frame: Frame) -> None:
        offset, width = Reader(frame.body).take(_LOAD)
        self._answer(frame, struct.pack("<Q", self._opened().load(offset, width)))

    def _store(self, frame: Frame) -> None:
        offset, width, _, value = Reader(frame.body).take(_STORE)
        self._opened().store(offset, value & ((1 << 8 * width) - 1), width)
        self._answer(frame)

    def _read_at(self, frame: Frame) -> None:
        offset, length = Reader(frame.body).take(_LOAD)
        self._answer(frame, self._opened().read_at(min(length, BODY_MAX), offset, frame.timeout))

    def _write_at(self, frame: Frame) -> None:
        body = Reader(frame.body)
        _, offset = body.take(_U64U64)
        count = self._opened().write_at(body.rest(), offset, frame.timeout)
        self._answer(frame, struct.pack("<I", count))


_QUESTIONS: dict[int, Callable[[Session, Frame], None]] = {
    Type.LIST: Session._list,
    Type.OPEN: Session._open,
    Type.TRANSFER: Session._transfer,
    Type.CONTROL: Session._control,
    Type.GET: Session._get,
    Type.SET: Session._set,
    Type.LOAD: Session._load,
    Type.STORE: Session._store,
    Type.READ_AT: Session._read_at,
    Type.WRITE_AT: Session._write_at,
}

_U16 = struct.Struct("<H")
_U32 = struct.Struct("<I")
_U64 = struct.Struct("<Q")
_U16U16 = struct.Struct("<HH")
_U32U32 = struct.Struct("<II")
_U64U64 = struct.Struct("<QQ")
_HELLO = struct.Struct("<HH")
_OPEN = struct.Struct("<BBH")
_LOAD = struct.Struct("<QI")
_STORE = struct.Struct("<QIIQ")
_SEGMENT = struct.Struct("<IBBBBQIIHH12x")


def _work(jobs: queue.SimpleQueue[Callable[[], None] | None]) -> None:
    with contextlib.suppress(Ended, ProtocolError):
        while (job := jobs.get()) is not None:
            job()


def _failure(error: Error) -> bytes:
    return struct.pack("<i", error.errno or errno.EIO) + frames.text(str(error))


def _is_stream(device: hal.Device) -> bool:
    return device.driver in _STREAMS and _has_descriptor(device)


def _is_memory(device: hal.Device) -> bool:
    return isinstance(device, (hal.Memory, hal.Dmabuf, hal.Mmio))


def _has_descriptor(device: hal.Device) -> bool:
    try:
        return device.fileno() >= 0
    except OSError:
        return False


def _attribute(attribute: hal.Attribute) -> bytes:
    kind = 5 if attribute.choices else {bool: 1, int: 2, float: 3, str: 4}[attribute.type]
    least, most = attribute.range or (0.0, 0.0)
    texts = (attribute.name, attribute.unit or "", attribute.doc, attribute.initial or "")
    head = struct.pack("<BBHdd", kind, attribute.access, len(attribute.choices), least, most)
    return b"".join((*map(frames.text, texts), head, *map(frames.text, attribute.choices)))


def _value(attribute: hal.Attribute, value: hal.Value) -> bytes:
    if isinstance(value, str):
        return struct.pack("<Q", 5 if attribute.choices else 4) + frames.text(value)
    if isinstance(value, bool):
        return struct.pack("<QQ", 1, value)
    if isinstance(value, int):
        return struct.pack("<Qq", 2, value)
    return struct.pack("<Qd", 3, value)
