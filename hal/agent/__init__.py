# SPDX-License-Identifier: Apache-2.0
"""The command hal-agent: devices of this machine for other machines, over the secure link."""
