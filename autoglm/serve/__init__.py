# SPDX-License-Identifier: Apache-2.0
"""Models as an HTTP service: the Open Inference Protocol, OpenAI's API, health, metrics.

`application` puts it together; docs/autoglm-runtime.md is the guide. It needs the extra ``serve``.
"""
