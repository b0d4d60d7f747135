# SPDX-License-Identifier: Apache-2.0
"""``python -m hal.scaffold`` is hal-new-driver."""

from .cli import main

if __name__ == "__main__":
    main()
