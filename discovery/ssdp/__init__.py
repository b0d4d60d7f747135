# SPDX-License-Identifier: Apache-2.0
"""SSDP, the discovery of UPnP Device Architecture 2.0, without the rest of UPnP."""

from .announcer import SsdpAnnouncer
from .scout import SsdpScout

__all__ = ["SsdpAnnouncer", "SsdpScout"]
