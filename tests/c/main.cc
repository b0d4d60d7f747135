/* SPDX-License-Identifier: Apache-2.0 */
/* main() of every C test program, compiled once: a test file only includes <doctest/doctest.h>. */
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>
