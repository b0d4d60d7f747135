# SPDX-License-Identifier: Apache-2.0
"""The lab's guest of a newer kernel and QEMU: what it boots from, and what runs inside it."""
