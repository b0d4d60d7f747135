# SPDX-License-Identifier: Apache-2.0
"""What runs inside the lab's aarch64 guest."""
