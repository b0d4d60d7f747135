# SPDX-License-Identifier: Apache-2.0
"""``autoglm-compile`` and ``autoglm-runtime``."""
