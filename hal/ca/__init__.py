# SPDX-License-Identifier: Apache-2.0
"""The command hal-ca: who may use which device over the secure link."""
