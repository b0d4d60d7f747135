# SPDX-License-Identifier: Apache-2.0
"""hal-probe: what is on this machine, does it work, and if not, why not (docs/hal-probe.md)."""
