# SPDX-License-Identifier: Apache-2.0
"""Multicast DNS (RFC 6762) and DNS-SD (RFC 6763) by python-zeroconf, one link at a time."""

from .announcer import MdnsAnnouncer
from .scout import MdnsScout

__all__ = ["MdnsAnnouncer", "MdnsScout"]
