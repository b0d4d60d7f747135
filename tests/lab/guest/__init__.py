# SPDX-License-Identifier: Apache-2.0
"""Tests that run inside the lab's x86-64 guest."""
