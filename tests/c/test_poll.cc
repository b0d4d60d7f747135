/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers.h"
#include "helpers.h"

#include <atomic>
#include <cerrno>
#include <poll.h>
#include <vector>

using namespace test;

static const char *const kBoth[] = {"loopback:?capacity=8192", "queue"};

static void fill(hal_handle dev)
{
    char bytes[64] = {};
    while (hal_write(dev, bytes, sizeof(bytes), HAL_NOWAIT) > 0)
        ;
}

TEST_CASE("what is true now")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : kBoth) {
        CAPTURE(uri);
        Device dev(uri);
        CHECK(hal_poll(dev, POLLIN, HAL_NOWAIT) == -EAGAIN);
        CHECK(hal_poll(dev, POLLOUT, HAL_NOWAIT) == POLLOUT);
        CHECK(hal_poll(dev, POLLIN | POLLOUT, HAL_FOREVER) == POLLOUT);
        CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
        CHECK(hal_poll(dev, POLLIN, HAL_FOREVER) == POLLIN);
        CHECK(hal_poll(dev, POLLIN | POLLOUT, HAL_FOREVER) == (POLLIN | POLLOUT));
        fill(dev);
        CHECK(hal_poll(dev, POLLOUT, HAL_NOWAIT) == -EAGAIN);
        CHECK(hal_poll(dev, POLLIN | POLLOUT, HAL_NOWAIT) == POLLIN);
    }
}

TEST_CASE("what is refused")
{
    Registered odd("odd", odd_ops);
    Device dev("loopback"), bare("odd");
    for (int events : {0, POLLHUP, POLLIN | POLLHUP, POLLPRI, -1})
        CHECK(hal_poll(dev, events, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_poll(bare, POLLIN, HAL_NOWAIT) == -EOPNOTSUPP);
    CHECK(hal_poll(bare, POLLOUT, HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(contains(message(), "neither a descriptor nor readiness"));
}

TEST_CASE("buffered bytes count")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : kBoth) {
        CAPTURE(uri);
        Device dev(uri);
        char line[8];
        CHECK(hal_write(dev, "a\nb", 3, HAL_NOWAIT) == 3);
        CHECK(hal_read_until(dev, line, sizeof(line), "\n", 1, HAL_NOWAIT) == 2);
        CHECK(hal_pending(dev) == 1);
        CHECK(hal_poll(dev, POLLIN, HAL_FOREVER) == POLLIN);
        CHECK(hal_poll(dev, POLLIN | POLLOUT, HAL_FOREVER) == (POLLIN | POLLOUT));
        CHECK(hal_read(dev, line, 8, HAL_NOWAIT) == 1);
        CHECK(hal_poll(dev, POLLIN, HAL_NOWAIT) == -EAGAIN);
    }
}

TEST_CASE("many wait at once, beside readers and writers, and all are woken")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : kBoth) {
        CAPTURE(uri);
        Device dev(uri);
        std::vector<std::thread> threads;
        std::atomic<int> woken{0};
        for (int i = 0; i < 8; i++)
            threads.emplace_back([&] { woken += hal_poll(dev, POLLIN, HAL_FOREVER) == POLLIN; });
        sleep_ms(20);
        CHECK(woken == 0);
        CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
        for (auto &thread : threads)
            thread.join();
        CHECK(woken == 8);
    }
}

TEST_CASE("a hang-up is told")
{
    Registered queue("queue", queue_ops), odd("odd", odd_ops);
    Device dev("queue");
    std::thread poller([&] { CHECK((hal_poll(dev, POLLIN, HAL_FOREVER) & POLLHUP) != 0); });
    sleep_ms(20);
    CHECK(hal_control(dev, QUEUE_UNPLUG, nullptr, 0, HAL_NOWAIT) == 0);
    poller.join();
    CHECK(hal_poll(Device("odd:hung-up"), POLLIN, HAL_FOREVER) == POLLHUP);
}

TEST_CASE("no wake is lost: a reader that always polls first")
{
    Registered queue("queue", queue_ops);
    Device dev("queue:?capacity=1");
    const int items = 20000;
    std::thread producer([&] {
        for (int i = 0; i < items; i++)
            if (hal_poll(dev, POLLOUT, hal_after_ms(10000)) != POLLOUT ||
                hal_write(dev, "x", 1, HAL_NOWAIT) != 1) {
                FAIL_CHECK("item " << i << ": " << hal_last_error());
                return;
            }
    });
    for (int i = 0; i < items; i++) {
        char item;
        if (hal_poll(dev, POLLIN, hal_after_ms(10000)) != POLLIN ||
            hal_read(dev, &item, 1, HAL_NOWAIT) != 1) {
            FAIL_CHECK("item " << i << ": " << hal_last_error());
            break;
        }
    }
    producer.join();
}

TEST_CASE("closing and polling race: whoever polls comes back")
{
    const int rounds = sanitizer().empty() ? 3000 : 500;
    for (int i = 0; i < rounds; i++) {
        hal_handle dev = hal_open("loopback", HAL_FOREVER);
        REQUIRE(dev > 0);
        std::atomic<int> ready{0};
        std::thread pollers[2];
        for (auto &poller : pollers)
            poller = std::thread([&] {
                ready++;
                int got = hal_poll(dev, POLLIN, HAL_FOREVER);
                CHECK((got == -ECANCELED || got == -EBADF));
            });
        while (ready < 2)
            std::this_thread::yield();
        for (int spin = i % 100 * 20; spin > 0; spin--)
            asm volatile("" ::: "memory");
        CHECK(hal_close(dev) == 0);
        for (auto &poller : pollers)
            poller.join();
    }
}
