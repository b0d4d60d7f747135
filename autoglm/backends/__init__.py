# SPDX-License-Identifier: Apache-2.0
"""The back ends that come with open-autoglm, one engine a file."""
