# SPDX-License-Identifier: Apache-2.0
"""autoglm-conformance: does a back end keep the contract of ``autoglm.backend``?

It is asked what it can do, made to compile small models, loaded, run, closed, and given what is
damaged, by one check for each thing that the compiler and the runtime rely on. The guide is
docs/backends.md.
"""
