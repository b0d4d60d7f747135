# SPDX-License-Identifier: Apache-2.0
"""Networks of several hosts in one machine, and the tests that need them."""
