# SPDX-License-Identifier: Apache-2.0
"""``python -m hal.probe`` is hal-probe."""

from .cli import main

if __name__ == "__main__":
    main()
