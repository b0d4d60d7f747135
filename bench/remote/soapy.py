# SPDX-License-Identifier: Apache-2.0
"""SoapyRemote, without encryption: a setting of 64 bytes by its RPC, samples by its TCP stream."""

from __future__ import annotations

import ctypes
import ctypes.util

PORT = 55132
_RX, _TIMED_OUT = 1, -1


class _Arguments(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_size_t),
        ("keys", ctypes.POINTER(ctypes.c_char_p)),
        ("values", ctypes.POINTER(ctypes.c_char_p)),
    ]


class Client:
    """A device of a SoapySDRServer on the loopback (soapy_source.cc is its plug-in).

    Raises:
        OSError: SoapySDR or its module "remote" is not there, or nobody listens.
    """

    def __init__(self) -> None:
        self._soapy = soapy = ctypes.CDLL(ctypes.util.find_library("SoapySDR") or "libSoapySDR.so")
        self._free = ctypes.CDLL(None).free
        for name in ("makeStrArgs", "readSetting", "setupStream"):
            getattr(soapy, f"SoapySDRDevice_{name}").restype = ctypes.c_void_p
        where = f"driver=remote,remote=tcp://127.0.0.1:{PORT},remote:driver=source"
        self._device = ctypes.c_void_p(soapy.SoapySDRDevice_makeStrArgs(where.encode()))
        if not self._device:
            raise OSError("SoapySDRServer does not answer, or the module for it is not installed")
        self._stream: ctypes.c_void_p | None = None
        self._room = ctypes.create_string_buffer(1 << 20)

    def read(self) -> None:
        """64 bytes."""
        text = ctypes.c_void_p(self._soapy.SoapySDRDevice_readSetting(self._device, b"x"))
        self._free(text)

    def start(self) -> None:
        """Begin to stream."""
        keys, values = (ctypes.c_char_p * 1)(b"remote:prot"), (ctypes.c_char_p * 1)(b"tcp")
        how = _Arguments(1, keys, values)
        self._stream = ctypes.c_void_p(
            self._soapy.SoapySDRDevice_setupStream(
                self._device, _RX, b"CS16", None, 0, ctypes.byref(how)
            )
        )
        if not self._stream:
            raise OSError("SoapyRemote sets no stream up")
        self._soapy.SoapySDRDevice_activateStream(
            self._device, self._stream, 0, ctypes.c_longlong(0), ctypes.c_size_t(0)
        )

    def take(self, count: int) -> None:
        """So many bytes of the stream."""
        rooms = (ctypes.c_void_p * 1)(ctypes.addressof(self._room))
        flags, time = ctypes.c_int(), ctypes.c_longlong()
        while count > 0:
            got = self._soapy.SoapySDRDevice_readStream(
                self._device, self._stream, rooms, ctypes.c_size_t(len(self._room) // 4),
                ctypes.byref(flags), ctypes.byref(time), ctypes.c_long(1_000_000),
            )  # fmt: skip
            if got < 0 and got != _TIMED_OUT:
                raise OSError(f"SoapyRemote's stream failed: {got}")
            count -= 4 * max(got, 0)

    def stop(self) -> None:
        """End the stream."""
        if self._stream:
            self._soapy.SoapySDRDevice_deactivateStream(
                self._device, self._stream, 0, ctypes.c_longlong(0)
            )
            self._soapy.SoapySDRDevice_closeStream(self._device, self._stream)
            self._stream = None

    def close(self) -> None:
        """End it."""
        self.stop()
        self._soapy.SoapySDRDevice_unmake(self._device)
