/* SPDX-License-Identifier: Apache-2.0 */
/* The loops of hal.perf: that they touch what they say, all of it, and nothing else. */
#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <set>
#include <vector>

#include <sys/wait.h>
#include <unistd.h>

#include <doctest/doctest.h>

#include <hal/cache.h>

extern "C" {
#include "perf.h"
}

namespace
{

constexpr size_t LINE = 64;
constexpr unsigned char FILL = 0xA5;

/* A block between two guards, and a second buffer; all of known bytes. */
struct Block {
    explicit Block(size_t size) : memory(size + 2 * LINE), other(size), size(size)
    {
        for (size_t i = 0; i < memory.size(); i++)
            memory[i] = (unsigned char)(i % 251);
        std::fill(other.begin(), other.end(), (unsigned char)7);
        before = memory;
    }

    unsigned char *begin()
    {
        return memory.data() + LINE;
    }

    bool guards_whole() const
    {
        return std::equal(memory.begin(), memory.begin() + LINE, before.begin()) &&
               std::equal(memory.end() - LINE, memory.end(), before.end() - LINE);
    }

    bool inside_is(unsigned char byte) const
    {
        return std::all_of(memory.begin() + LINE, memory.end() - LINE,
                           [byte](unsigned char b) { return b == byte; });
    }

    std::vector<unsigned char> memory, other, before;
    size_t size;
};

perf_task task_of(Block &block, int pattern)
{
    perf_task task = {};

    task.pattern = pattern;
    task.threads = 1;
    task.block = block.begin();
    task.size = block.size;
    if (pattern >= PERF_COPY_OUT && pattern <= PERF_COPY_IN_NT) {
        task.other = block.other.data();
        task.other_size = block.size;
    }
    task.budget = 1000000000;
    task.limit = block.size / LINE;
    return task;
}

/* QEMU before 8.1 reports DCPOP to AArch64 programs and then traps DC CVAP. */
bool streams_trap()
{
    const pid_t child = fork();

    if (child == 0) {
        char line[2 * LINE];
        hal_fill_nt(line, 0, sizeof(line));
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFSIGNALED(status) && WTERMSIG(status) == SIGILL;
}

bool streams(int pattern)
{
    return pattern == PERF_WRITE_NT || pattern == PERF_COPY_IN_NT;
}

bool writes(int pattern)
{
    return (pattern >= PERF_WRITE && pattern <= PERF_WRITE_NT) || pattern == PERF_FLUSH_LINES ||
           pattern == PERF_FLUSH_RANGE;
}

} // namespace

TEST_CASE("the random order goes once through all lines, and begins again")
{
    for (uint64_t lines : {1, 2, 4, 64, 4096, 65536}) {
        uint64_t position = lines / 3;
        const uint64_t start = position;
        std::vector<uint64_t> order(lines);

        perf_order(lines, &position, lines, order.data());
        CHECK(position == start);
        CHECK(std::set<uint64_t>(order.begin(), order.end()).size() == lines);
        CHECK(*std::max_element(order.begin(), order.end()) == lines - 1);
        if (lines >= 64) {
            size_t neighbours = 0;
            for (size_t i = 1; i < lines; i++)
                neighbours += order[i] == order[i - 1] + 1;
            CHECK(neighbours * 8 < lines);
        }
    }
}

TEST_CASE("patterns on memory")
{
    const bool trapped = streams_trap();

    for (int pattern = 0; pattern < PERF_LOAD; pattern++)
        for (size_t size : {LINE, 4096UL, 1UL << 18}) {
            if (trapped && streams(pattern))
                continue;
            CAPTURE(pattern);
            CAPTURE(size);
            Block block(size);
            perf_task task = task_of(block, pattern);
            perf_result result = {};
            const int err = perf_run(&task, &result);

            if (err == -EOPNOTSUPP) /* no such cache instruction here */
                continue;
            REQUIRE(err == 0);
            CHECK(result.lines == size / LINE);
            CHECK(result.nanoseconds > 0);
            CHECK(result.rate > 0);
            CHECK(block.guards_whole());
            if (writes(pattern))
                CHECK(block.inside_is(FILL));
            else if (pattern == PERF_COPY_IN || pattern == PERF_COPY_IN_NT)
                CHECK(block.inside_is(7));
            else
                CHECK(block.memory == block.before);
            if (pattern == PERF_COPY_OUT)
                CHECK(memcmp(block.other.data(), block.begin(), size) == 0);
        }
}

TEST_CASE("patterns on device memory, by 4 and 8 bytes")
{
    const bool trapped = streams_trap();

    for (unsigned width : {4U, 8U})
        for (int pattern = 0; pattern < PERF_PATTERNS; pattern++) {
            if (trapped && streams(pattern))
                continue;
            CAPTURE(pattern);
            Block block(4096);
            perf_task task = task_of(block, pattern);
            perf_result result = {};

            task.width = width;
            const int err = perf_run(&task, &result);
            const bool stores = pattern == PERF_STORE || pattern == PERF_WRITE_NT;
            const bool loads =
                pattern == PERF_LOAD || pattern == PERF_CHASE || pattern == PERF_TOUCH;

            if (!stores && !loads) {
                CHECK(err == -EINVAL);
                continue;
            }
            if (err == -EOPNOTSUPP)
                continue;
            CHECK(err == 0);
            CHECK(block.guards_whole());
            CHECK((stores ? block.inside_is(FILL) : block.memory == block.before));
        }
}

TEST_CASE("threads have a part of the block each")
{
    for (unsigned threads : {2U, 3U, 4U}) {
        Block block(1 << 16);
        perf_task task = task_of(block, PERF_WRITE);
        perf_result result = {};

        task.threads = threads;
        task.warm = 1;
        task.limit = 0;
        task.budget = 3000000;
        REQUIRE(perf_run(&task, &result) == 0);
        const size_t part = threads == 2 ? block.size / 2 : block.size / 4;
        for (unsigned i = 0; i < threads; i++)
            CHECK(block.begin()[i * part] == FILL);
        CHECK(block.guards_whole());
        if (threads == 3) /* parts are powers of two: a quarter is left */
            CHECK(block.begin()[3 * part] != FILL);
        CHECK(result.nanoseconds >= task.budget);
    }
}

TEST_CASE("a loop goes on where it ended")
{
    Block block(4096);
    perf_task task = task_of(block, PERF_WRITE);
    perf_result result = {};

    task.limit = 10;
    REQUIRE(perf_run(&task, &result) == 0);
    CHECK(task.position == 10);
    CHECK(block.begin()[10 * LINE - 1] == FILL);
    CHECK(block.begin()[10 * LINE] != FILL);
    task.limit = 60;
    REQUIRE(perf_run(&task, &result) == 0);
    CHECK(task.position == 6);
    CHECK(block.inside_is(FILL));
}

TEST_CASE("what is no task is refused")
{
    Block block(4096);
    perf_result result = {};
    const perf_task good = task_of(block, PERF_COPY_IN);
    std::vector<perf_task> tasks(12, good);

    tasks[0].pattern = -1;
    tasks[1].pattern = PERF_PATTERNS;
    tasks[2].threads = 0;
    tasks[3].threads = 1025;
    tasks[4].threads = 65; /* and 64 lines */
    tasks[5].size = 4095;
    tasks[6].size = 32;
    tasks[7].block = block.begin() + 4;
    tasks[8].other = nullptr;
    tasks[9].other_size = 8192;
    tasks[10].other_size = 0;
    tasks[11].width = 2;
    for (perf_task &task : tasks) {
        CAPTURE(&task - tasks.data());
        CHECK(perf_run(&task, &result) == -EINVAL);
    }
    CHECK(block.memory == block.before);
    tasks[4].threads = 64;
    CHECK(perf_run(&tasks[4], &result) == 0);
}
