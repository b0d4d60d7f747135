# SPDX-License-Identifier: Apache-2.0
"""Models on the int8 GEMM unit: `layer` is a linear layer on it, `partition` cuts a model at them.

The back end is autoglm/backends/fpga.py, the guide docs/fpga.md.
"""
