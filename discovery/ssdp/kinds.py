# SPDX-License-Identifier: Apache-2.0
"""What the type names of SSDP stand for: one row a type.

A type is "urn:DOMAIN:device:TYPE:VERSION" or "urn:DOMAIN:service:TYPE:VERSION" (UPnP Device
Architecture 2.0, section 1.2.2, NT); DOMAIN is the vendor's, with hyphens for periods, or
"schemas-upnp-org". Devices without a row are listed as automation.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

HAL_TYPE = "urn:hal-internal:device:HalDevice:1"
"""Of our devices. The names in their certificates end in hal.internal too: ".internal" is reserved
for private use, so no vendor can own that domain."""


@dataclass(frozen=True, slots=True)
class Kind:
    """What a type stands for.

    Attributes:
        type: The type without its version.
        device_class: Class of the record.
        what: Model, where the device does not say.
        service: The DNS-SD type (`discovery.foreign`) of the same service, whose rules hold then.
    """

    type: str
    device_class: str
    what: str
    service: str = ""


KINDS = (
    Kind("urn:schemas-pothosware-com:service:soapyRemote", "radio", "SoapyRemote", "_soapy._tcp"),
    Kind("urn:schemas-upnp-org:device:InternetGatewayDevice", "network", "Internet gateway"),
    Kind("urn:schemas-upnp-org:device:WLANAccessPointDevice", "network", "wireless access point"),
    Kind("urn:schemas-wifialliance-org:device:WFADevice", "network", "Wi-Fi set-up"),
    Kind("urn:schemas-upnp-org:device:MediaServer", "automation", "media server"),
    Kind("urn:schemas-upnp-org:device:MediaRenderer", "automation", "media renderer"),
    Kind("urn:schemas-upnp-org:device:Printer", "automation", "printer"),
    Kind("urn:schemas-upnp-org:device:DigitalSecurityCamera", "automation", "camera"),
    Kind("urn:schemas-upnp-org:device:SensorManagement", "automation", "sensors"),
    Kind("urn:schemas-upnp-org:device:HVAC_System", "automation", "heating and cooling"),
    Kind("urn:schemas-upnp-org:device:BinaryLight", "automation", "light"),
    Kind("urn:schemas-upnp-org:device:DimmableLight", "automation", "light"),
    Kind("urn:schemas-upnp-org:device:SolarProtectionBlind", "automation", "blind"),
    Kind("urn:dial-multiscreen-org:service:dial", "automation", "television"),
    Kind("roku:ecp", "automation", "television"),
)

OTHER = Kind("", "automation", "UPnP device")


def kind_of(types: Iterable[str]) -> Kind:
    """The row for a device of these types: the first that fits one of them."""
    names = {name.rpartition(":")[0] if name.startswith("urn:") else name for name in types}
    return next((kind for kind in KINDS if kind.type in names), OTHER)
