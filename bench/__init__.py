# SPDX-License-Identifier: Apache-2.0
"""Measurements beside the peers: ``python -m bench``, or ``make bench``."""
