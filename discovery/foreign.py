# SPDX-License-Identifier: Apache-2.0
"""Devices on the network that are none of ours: what each kind is, and what to reach it with.

A record of one has no `uri`, for HAL cannot open it; its properties named `uri.<tool>` are what the
other tool takes:

    uri.libiio       "ip:HOST"                                libiio, iio_create_context_from_uri()
    uri.soapysdr     "driver=remote,remote=tcp://HOST:PORT"   SoapySDR arguments (SoapyRemote)
    uri.visa         "TCPIP::HOST::hislip0::INSTR"            VISA resource names, IVI VPP-4.3
    uri.visa-vxi11   "TCPIP::HOST::inst0::INSTR"
    uri.visa-socket  "TCPIP::HOST::PORT::SOCKET"
    uri.web          "http://HOST:PORT/"                      its own page, by a browser
    uri.telnet       "telnet://HOST:PORT"                     RFC 4248
    uri.esphome      "esphome://HOST:PORT"                    serialx; aioesphomeapi takes the host
    uri.mqtt         "mqtt://HOST:PORT"                       mosquitto_sub -L, paho
    uri.coap         "coap://HOST:PORT"                       RFC 7252, section 6
    uri.nut          "HOST:PORT"                              Network UPS Tools, upsc ups@HOST:PORT

Identity. The id is the UUID of version 5, in the name space of `identity`, of the first of these
lines that the device gives what it takes for; `told` is what stands in `Record.identity`:

    "uuid <UUID>"                             the service gives a UUID (SoapyRemote, also by SSDP)
    "mac <MAC>"                               it gives its MAC address (ESPHome)
    "product <vendor>, <model>, <serial>"     it gives its serial number (LXI)
    "service <class> <instance>"              else its name, which is its own on one network alone

So an instrument that announces itself by five types is one device.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from .identity import NAMESPACE, is_dummy
from .txt import Txt

Uri = Callable[[str, int], str]
"""Makes what a tool takes of a host (IPv6 without brackets) and a port."""


def bracketed(host: str) -> str:
    """A host as it stands in a URI: IPv6 in brackets, its scope by RFC 6874."""
    return f"[{host.replace('%', '%25')}]" if ":" in host else host


def _url(scheme: str) -> Uri:
    return lambda host, port: f"{scheme}://{bracketed(host)}:{port}"


def _libiio(host: str, port: int) -> str:
    return f"ip:{host}" if port == 30431 else f"ip:{bracketed(host)}:{port}"


def _soapy(host: str, port: int) -> str:
    return f"driver=remote,remote=tcp://{bracketed(host)}:{port}"


def _hislip(host: str, port: int) -> str:
    device = "hislip0" if port == 4880 else f"hislip0,{port}"
    return f"TCPIP::{bracketed(host)}::{device}::INSTR"


def _vxi11(host: str, _port: int) -> str:
    return f"TCPIP::{bracketed(host)}::inst0::INSTR"


def _socket(host: str, port: int) -> str:
    return f"TCPIP::{bracketed(host)}::{port}::SOCKET"


def _web(host: str, port: int) -> str:
    return f"http://{bracketed(host)}/" if port == 80 else f"http://{bracketed(host)}:{port}/"


def _nut(host: str, port: int) -> str:
    return f"{bracketed(host)}:{port}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A type of DNS-SD service that says: there is a device.

    Attributes:
        device_class: Class of its records.
        what: Model, where the service does not say.
        tool: Who takes the URI; "" when nobody does.
        uri: Makes it.
        vendor: Keys of the TXT record that may hold the maker, the likeliest first.
        model: Those that may hold the model.
        serial: Those that may hold the serial number.
        uuid: Those that may hold a UUID.
        mac: Those that may hold the MAC address.
        connect: May its port be connected to, to see whether it lives? Not where an instrument
            serves one connection at a time, nor where there is none (UDP).
    """

    device_class: str
    what: str
    tool: str = ""
    uri: Uri | None = None
    vendor: tuple[str, ...] = ()
    model: tuple[str, ...] = ()
    serial: tuple[str, ...] = ()
    uuid: tuple[str, ...] = ()
    mac: tuple[str, ...] = ()
    connect: bool = True


def _instrument(what: str, tool: str, uri: Uri, *, connect: bool) -> Kind:
    """LXI Device Specification 1.6, section 10: the keys of all its services are the same."""
    return Kind(
        "instrument",
        what,
        tool,
        uri,
        vendor=("manufacturer",),
        model=("model",),
        serial=("serialnumber",),
        connect=connect,
    )


KINDS: Mapping[str, Kind] = {
    "_iio._tcp": Kind("iio", "IIO devices (iiod)", "libiio", _libiio),
    "_soapy._tcp": Kind("radio", "SDR (SoapyRemote)", "soapysdr", _soapy, uuid=("uuid",)),
    "_lxi._tcp": _instrument("LXI instrument", "web", _web, connect=True),
    "_hislip._tcp": _instrument("instrument (HiSLIP)", "visa", _hislip, connect=False),
    "_vxi-11._tcp": _instrument("instrument (VXI-11)", "visa-vxi11", _vxi11, connect=False),
    "_scpi-raw._tcp": _instrument("instrument (SCPI)", "visa-socket", _socket, connect=False),
    "_scpi-telnet._tcp": _instrument("instrument (SCPI)", "telnet", _url("telnet"), connect=False),
    "_esphomelib._tcp": Kind(
        "automation",
        "ESPHome device",
        "esphome",
        _url("esphome"),
        model=("project_name", "board", "platform"),
        mac=("mac",),
        connect=False,
    ),
    "_matter._tcp": Kind("automation", "Matter device", connect=False),
    "_matterc._udp": Kind(
        "automation", "Matter device to commission", model=("dn",), connect=False
    ),
    "_hap._tcp": Kind("automation", "HomeKit accessory", model=("md",), mac=("id",), connect=False),
    "_coap._udp": Kind("automation", "CoAP server", "coap", _url("coap"), connect=False),
    "_coaps._udp": Kind("automation", "CoAP server", "coap", _url("coaps"), connect=False),
    "_mqtt._tcp": Kind("automation", "MQTT broker", "mqtt", _url("mqtt")),
    "_secure-mqtt._tcp": Kind("automation", "MQTT broker (TLS)", "mqtt", _url("mqtts")),
    "_octoprint._tcp": Kind("automation", "3D printer (OctoPrint)", "web", _web, uuid=("uuid",)),
    "_nut._tcp": Kind("automation", "UPS (Network UPS Tools)", "nut", _nut),
}
"""What is looked for besides devices of ours. `uri` makes what `tool` takes."""


@dataclass(frozen=True, slots=True)
class Product:
    """What a foreign device says of itself."""

    vendor: str = ""
    model: str = ""
    serial: str = ""
    uuid: str = ""
    mac: str = ""


def product(kind: Kind, txt: Txt) -> Product:
    """What its TXT record says."""
    return Product(
        vendor=txt.text(*kind.vendor),
        model=txt.text(*kind.model),
        serial=txt.text(*kind.serial),
        uuid=txt.text(*kind.uuid),
        mac=txt.text(*kind.mac),
    )


def identify(said: Product, device_class: str, instance: str) -> tuple[str, str]:
    """The identity of a foreign device; see the top of this file for the rule.

    Args:
        said: What it says of itself.
        device_class: Class of its records.
        instance: Its name.

    Returns:
        The id, and the text it stands on.
    """
    told = _told(said) or f"service {device_class} {instance}"
    return str(uuid.uuid5(NAMESPACE, told)), told


def _told(said: Product) -> str:
    try:
        if said.uuid and len(said.uuid) <= 45 and uuid.UUID(said.uuid).int:
            return f"uuid {uuid.UUID(said.uuid)}"
    except ValueError:  # It calls something else so.
        pass
    digits = re.sub(r"[:.-]", "", said.mac).lower()
    if re.fullmatch(r"[0-9a-f]{12}", digits) and digits.strip("0"):
        return f"mac {bytes.fromhex(digits).hex(':')}"
    if said.serial and not is_dummy(said.serial):
        return f"product {said.vendor}, {said.model}, {said.serial}"
    return ""
