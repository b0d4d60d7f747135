# SPDX-License-Identifier: Apache-2.0
"""hal-conformance: does a driver keep the contract of <hal/driver.h> and <hal/device.h>?

A driver, written in C or in Python, is driven through the raw C ABI, by one check for each thing
that programs rely on. The guide is docs/conformance.md.
"""
