# SPDX-License-Identifier: Apache-2.0
"""The lab: virtual machines full of real kernel devices, in which tests run (see README.md)."""
