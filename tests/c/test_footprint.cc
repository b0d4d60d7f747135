/* SPDX-License-Identifier: Apache-2.0 */
/* What devices take, and that all of it comes back: descriptors, memory, places in the table. */
#include "drivers.h"
#include "helpers.h"

#include <cerrno>
#include <dirent.h>
#include <fstream>
#include <malloc.h>
#include <poll.h>
#include <set>
#include <vector>

#include <sys/resource.h>

using namespace test;

static size_t descriptors()
{
    size_t count = 0;
    DIR *folder = opendir("/proc/self/fd");
    REQUIRE(folder);
    while (readdir(folder))
        count++;
    closedir(folder);
    return count;
}

static void use(const char *uri)
{
    hal_handle dev = hal_open(uri, HAL_FOREVER);
    char line[64];
    REQUIRE(dev > 0);
    CHECK(hal_write(dev, "line\nrest", 9, HAL_NOWAIT) == 9);
    CHECK(hal_read_until(dev, line, sizeof(line), "\n", 1, HAL_NOWAIT) == 5);
    CHECK(hal_read_exact(dev, line, 9, 1) == -ETIMEDOUT); /* this takes an eventfd */
    CHECK(hal_poll(dev, POLLOUT, HAL_NOWAIT) == POLLOUT);
    CHECK(hal_close(dev) == 0);
}

TEST_CASE("1000 times open, use, close: no descriptor, no memory, no place is lost")
{
    Registered queue("queue", queue_ops);
    for (int i = 0; i < 50; i++) /* until allocator and table have what they need */
        use(i % 2 ? "queue" : "loopback");
    size_t before = descriptors();
    struct mallinfo2 memory = mallinfo2();
    std::set<hal_handle> places;
    for (int i = 0; i < 1000; i++) {
        use(i % 2 ? "queue" : "loopback");
        Device dev("loopback");
        places.insert(hal_handle(dev) & 0xffff);
    }
    CHECK(descriptors() == before);
    CHECK(places.size() < 10);
    if (sanitizer().empty()) {
        long grown = static_cast<long>(mallinfo2().uordblks) - static_cast<long>(memory.uordblks);
        CHECK(grown < 16384); /* the set above is in there */
    }
}

TEST_CASE("1000 failed opens leave nothing, either")
{
    Registered odd("odd", odd_ops), settings("settings", settings_ops);
    size_t before = 0;
    for (int i = 0; i < 1000; i++) {
        if (i == 10)
            before = descriptors();
        CHECK(hal_open("odd:init-fails", HAL_FOREVER) == -ENXIO);
        CHECK(hal_open("settings:?stubborn=1", HAL_FOREVER) == -EIO);
        CHECK(hal_open("no-such-driver", HAL_FOREVER) == -ENOENT);
        CHECK(hal_open("loopback:?capacity=no", HAL_FOREVER) == -EINVAL);
    }
    CHECK(descriptors() == before);
}

TEST_CASE("thousands of devices at once; the end of descriptors is told, and is no end")
{
    struct rlimit old, limit;
    REQUIRE(getrlimit(RLIMIT_NOFILE, &old) == 0);
    limit = old;
    limit.rlim_cur = old.rlim_max < 4096 ? old.rlim_max : 4096;
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    std::vector<hal_handle> open;
    hal_handle dev;
    while ((dev = hal_open("loopback:?capacity=4096", HAL_FOREVER)) > 0)
        open.push_back(dev);
    CHECK(dev == -EMFILE);
    CHECK(contains(message(), "open \"loopback:?capacity=4096\": Too many open files"));
    CHECK(open.size() > limit.rlim_cur / 2 - 100); /* two descriptors each */
    /* A device that is open works; a wait, which takes a descriptor, says what is missing. */
    char byte;
    CHECK(hal_write(open[0], "x", 1, HAL_NOWAIT) == 1);
    CHECK(hal_read(open[0], &byte, 1, HAL_NOWAIT) == 1);
    int spare = dup(0);
    long waited = hal_read(open[0], &byte, 1, hal_after_ms(5));
    CHECK((waited == -EMFILE || waited == -ETIMEDOUT));
    ::close(spare);
    CHECK(std::set<hal_handle>(open.begin(), open.end()).size() == open.size());
    for (hal_handle one : open)
        CHECK(hal_close(one) == 0);
    dev = hal_open("loopback", HAL_FOREVER);
    CHECK(dev > 0);
    CHECK(hal_close(dev) == 0);
    setrlimit(RLIMIT_NOFILE, &old);
}

TEST_CASE("the table is full at 65536 devices, and says so")
{
    if (!sanitizer().empty())
        return;                     /* it would take the shadow of all of them */
    Registered odd("odd", odd_ops); /* takes no descriptor */
    std::vector<hal_handle> open;
    hal_handle dev;
    while ((dev = hal_open("odd", HAL_FOREVER)) > 0)
        open.push_back(dev);
    CHECK(dev == -EMFILE);
    CHECK(open.size() == 65536);
    CHECK(contains(message(), "65536 devices are open"));
    CHECK(hal_close(open.back()) == 0);
    open.pop_back();
    dev = hal_open("odd", HAL_FOREVER);
    CHECK(dev > 0);
    open.push_back(dev);
    for (hal_handle one : open)
        CHECK(hal_close(one) == 0);
}

TEST_CASE("memory of an open device: at most 4 KiB before buffered reading starts")
{
    if (!sanitizer().empty())
        return; /* sanitizers have their own allocator */
    const int count = 400;
    std::vector<hal_handle> open;
    Registered odd("odd", odd_ops);
    open.reserve(count);
    size_t before = mallinfo2().uordblks;
    for (int i = 0; i < count; i++)
        open.push_back(hal_open("odd", HAL_FOREVER));
    size_t each = (mallinfo2().uordblks - before) / count;
    CHECK(each <= 4096);
    MESSAGE("an open device takes " << each << " bytes");
    for (hal_handle one : open)
        CHECK(hal_close(one) == 0);
}
