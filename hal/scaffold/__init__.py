# SPDX-License-Identifier: Apache-2.0
"""hal-new-driver: the files of a new driver, out of tree, in C or in Python.

What it makes builds, passes the conformance kit and opens as it stands. The guide is
docs/drivers.md.
"""
