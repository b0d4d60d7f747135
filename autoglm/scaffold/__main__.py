# SPDX-License-Identifier: Apache-2.0
"""``python -m autoglm.scaffold`` is autoglm-new-backend."""

from .cli import main

if __name__ == "__main__":
    main()
