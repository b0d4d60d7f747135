/* SPDX-License-Identifier: Apache-2.0 */
/* Devices of the lab's guests, for cases that drive some: they are skipped elsewhere, where a line
 * or a chip may be anything. */
#ifndef TEST_LAB_H
#define TEST_LAB_H

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <glob.h>
#include <string>

namespace test
{

/* The one path that matches a pattern in the lab; "" with the reason printed if there is none. */
inline std::string lab_path(const std::string &pattern)
{
    std::string found;
    glob_t paths;

    if (!std::getenv("HAL_LAB")) {
        std::printf("skipped: this is no guest of the lab (tests/lab)\n");
        return found;
    }
    if (glob(pattern.c_str(), 0, nullptr, &paths) == 0) {
        if (paths.gl_pathc == 1)
            found = paths.gl_pathv[0];
        globfree(&paths);
    }
    if (found.empty())
        std::printf("skipped: not one %s in this guest\n", pattern.c_str());
    return found;
}

inline std::string basename_of(const std::string &path)
{
    return path.substr(path.rfind('/') + 1);
}

inline bool put(const std::string &path, const std::string &text)
{
    std::ofstream file(path);

    file << text << std::flush;
    return file.good();
}

} // namespace test

#endif
