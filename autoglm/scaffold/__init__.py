# SPDX-License-Identifier: Apache-2.0
"""autoglm-new-backend: the files of a new back end, a package of its own.

What it makes installs, passes the conformance suite and computes as it stands. The guide is
docs/backends.md.
"""
