# SPDX-License-Identifier: Apache-2.0
"""The secure link: who may use which device of another machine, and the way to it."""
