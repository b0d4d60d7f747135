/* SPDX-License-Identifier: Apache-2.0 */
/* hal_cancel() and hal_close() against everybody who waits. */
#include "drivers.h"
#include "helpers.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <functional>
#include <poll.h>
#include <unistd.h>
#include <vector>

using namespace test;

struct Wait {
    const char *name;
    std::function<long(hal_handle)> call;
    bool full; /* for a device whose queue is full */
};

static const std::vector<Wait> &waits()
{
    static char page[8192];
    static struct iovec iov[2] = {{page, 4096}, {page, 4096}};
    static const std::vector<Wait> all = {
        {"read",
         [](hal_handle d) {
             char c;
             return hal_read(d, &c, 1, HAL_FOREVER);
         },
         false},
        {"read, with a deadline",
         [](hal_handle d) {
             char c;
             return hal_read(d, &c, 1, hal_after_ms(60000));
         },
         false},
        {"read_exact",
         [](hal_handle d) {
             char b[8];
             return hal_read_exact(d, b, 8, HAL_FOREVER);
         },
         false},
        {"read_until",
         [](hal_handle d) {
             char b[8];
             return hal_read_until(d, b, 8, "\n", 1, HAL_FOREVER);
         },
         false},
        {"readv",
         [](hal_handle d) {
             char b[8];
             struct iovec v = {b, 8};
             return hal_readv(d, &v, 1, HAL_FOREVER);
         },
         false},
        {"write", [](hal_handle d) { return hal_write(d, "x", 1, HAL_FOREVER); }, true},
        {"writev", [](hal_handle d) { return hal_writev(d, iov, 2, HAL_FOREVER); }, true},
        {"poll for input", [](hal_handle d) -> long { return hal_poll(d, POLLIN, HAL_FOREVER); },
         false},
        {"poll for room", [](hal_handle d) -> long { return hal_poll(d, POLLOUT, HAL_FOREVER); },
         true},
    };
    return all;
}

static const Wait &control_wait()
{
    static const Wait wait = {
        "control", [](hal_handle d) { return hal_control(d, QUEUE_WAIT, nullptr, 0, HAL_FOREVER); },
        false};
    return wait;
}

static void fill(hal_handle dev)
{
    char bytes[1024] = {};
    while (hal_write(dev, bytes, sizeof(bytes), HAL_NOWAIT) > 0)
        ;
}

/* Return once another thread of this process has slept for some looks in a row: it is in the call
 * that it was about to make, however long this machine kept it from it. */
static void until_asleep(pid_t thread)
{
    const std::string path = "/proc/self/task/" + std::to_string(thread) + "/stat";
    for (int looks = 0; looks < 5; looks++) {
        std::ifstream file(path);
        std::string line;
        std::getline(file, line);
        if (line.compare(line.rfind(')') + 1, 3, " S ") != 0)
            looks = 0;
        sleep_ms(2);
    }
}

/* How long after `what` three threads that wait come back with -ECANCELED: the slowest. */
static int64_t wake_time(const Wait &wait, const std::string &uri, int (*what)(hal_handle))
{
    hal_handle dev = hal_open(uri.c_str(), HAL_FOREVER);
    REQUIRE(dev > 0);
    if (wait.full)
        fill(dev);
    std::atomic<int64_t> last{0};
    std::array<std::atomic<pid_t>, 3> names{};
    std::vector<std::thread> threads;
    for (auto &name : names) /* one waits for the device, the others for its lane */
        threads.emplace_back([&] {
            name = gettid();
            long result = wait.call(dev);
            int64_t now = hal_now();
            CHECK(result == -ECANCELED);
            CHECK(hal_last_errno() == ECANCELED);
            int64_t before = last;
            while (before < now && !last.compare_exchange_weak(before, now))
                ;
        });
    for (auto &name : names) {
        while (!name)
            sleep_ms(1);
        until_asleep(name);
    }
    int64_t at = hal_now();
    CHECK(what(dev) == 0);
    for (auto &thread : threads)
        thread.join();
    hal_close(dev);
    return last - at;
}

TEST_CASE("cancel and close wake everybody who waits")
{
    Registered queue("queue", queue_ops);
    int64_t slowest = 0;
    for (const char *uri : {"loopback:?capacity=4096", "queue"})
        for (const Wait &wait : waits()) {
            CAPTURE(uri);
            CAPTURE(wait.name);
            slowest = std::max(
                {slowest, wake_time(wait, uri, hal_cancel), wake_time(wait, uri, hal_close)});
        }
    slowest = std::max({slowest, wake_time(control_wait(), "queue", hal_cancel),
                        wake_time(control_wait(), "queue", hal_close)});
    CHECK(slowest < kPromptly);
    MESSAGE("the slowest wake took " << slowest / 1000 << " us");
}

TEST_CASE("calls that begin later are not touched")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : {"loopback", "queue"}) {
        Device dev(uri);
        char byte;
        for (int i = 0; i < 5; i++)
            CHECK(hal_cancel(dev) == 0);
        CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == -EAGAIN);
        CHECK(hal_read(dev, &byte, 1, hal_after_ms(5)) == -ETIMEDOUT);
        CHECK(hal_poll(dev, POLLIN, hal_after_ms(5)) == -ETIMEDOUT);
        CHECK(hal_write(dev, "x", 1, HAL_FOREVER) == 1);
        CHECK(hal_cancel(dev) == 0);
        CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == 1);
    }
}

TEST_CASE("a cancelled read loses nothing")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : {"loopback", "queue"}) {
        Device dev(uri);
        char buf[16];
        CHECK(hal_write(dev, "abc", 3, HAL_NOWAIT) == 3);
        for (int i = 0; i < 3; i++) {
            std::thread canceller([&] {
                sleep_ms(10);
                CHECK(hal_cancel(dev) == 0);
            });
            if (i % 2)
                CHECK(hal_read_exact(dev, buf, 16, HAL_FOREVER) == -ECANCELED);
            else
                CHECK(hal_read_until(dev, buf, 16, "\n", 1, HAL_FOREVER) == -ECANCELED);
            canceller.join();
        }
        CHECK(hal_read(dev, buf, 16, HAL_NOWAIT) == 3);
        CHECK(std::string(buf, 3) == "abc");
    }
}

TEST_CASE("a write that is cancelled half way says how much was taken")
{
    Device dev("loopback:?capacity=4096");
    std::vector<char> big(10000, 'x');
    std::thread canceller([&, writer = gettid()] {
        until_asleep(writer);
        CHECK(hal_cancel(dev) == 0);
    });
    CHECK(hal_write(dev, big.data(), big.size(), HAL_FOREVER) == 4096);
    canceller.join();
}

TEST_CASE("a storm of cancels among readers and writers: every byte arrives once")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : {"loopback:?capacity=4096", "queue"}) {
        CAPTURE(uri);
        Device dev(uri);
        const long total = sanitizer().empty() ? 200000 : 40000;
        std::atomic<long> sent{0}, received{0}, cancelled{0};
        std::atomic<unsigned> sum_sent{0}, sum_received{0};
        std::atomic<bool> over{false};
        std::vector<std::thread> threads;
        auto count = [&](long n) {
            if (n == -ECANCELED)
                cancelled++;
            else if (n < 0 && n != -ETIMEDOUT)
                FAIL_CHECK("a call returned " << n);
            return n > 0 ? n : 0;
        };
        for (int t = 0; t < 2; t++)
            threads.emplace_back([&, t] {
                unsigned char bytes[64];
                while (sent < total || !cancelled) { /* some cancel has to hit */
                    for (unsigned i = 0; i < sizeof(bytes); i++)
                        bytes[i] = static_cast<unsigned char>(i * 7 + t);
                    long n = count(hal_write(dev, bytes, sizeof(bytes), hal_after_ms(20)));
                    for (long i = 0; i < n; i++)
                        sum_sent += bytes[i];
                    sent += n;
                }
            });
        for (int t = 0; t < 3; t++)
            threads.emplace_back([&, t] {
                unsigned char bytes[100];
                while (!over || received < sent) {
                    long n = count(t ? hal_read(dev, bytes, sizeof(bytes), hal_after_ms(20))
                                     : hal_read_exact(dev, bytes, 10, hal_after_ms(20)));
                    for (long i = 0; i < n; i++)
                        sum_received += bytes[i];
                    received += n;
                }
            });
        threads.emplace_back([&] {
            while (!over)
                count(hal_poll(dev, POLLIN | POLLOUT, hal_after_ms(20)));
        });
        std::thread storm([&] {
            while (!over) {
                CHECK(hal_cancel(dev) == 0);
                std::this_thread::sleep_for(std::chrono::microseconds(50));
            }
        });
        threads[0].join();
        threads[1].join();
        over = true;
        for (size_t i = 2; i < threads.size(); i++)
            threads[i].join();
        storm.join();
        CHECK(sent == received);
        CHECK(sum_sent == sum_received);
        CHECK(cancelled > 0);
    }
}

TEST_CASE("closing while others read, write, poll, ask and describe")
{
    Registered queue("queue", queue_ops);
    const int rounds = sanitizer().empty() ? 300 : 60;
    for (int round = 0; round < rounds; round++) {
        hal_handle dev = hal_open(round % 2 ? "queue" : "loopback:?capacity=4096", HAL_FOREVER);
        REQUIRE(dev > 0);
        std::vector<std::thread> threads;
        auto until_closed = [&](auto call) {
            threads.emplace_back([dev, call] {
                long result;
                do
                    result = call(dev);
                while (result >= 0 || result == -EAGAIN);
                CHECK((result == -ECANCELED || result == -EBADF));
            });
        };
        until_closed([](hal_handle d) {
            char b[32];
            return hal_read(d, b, 32, HAL_FOREVER);
        });
        until_closed([](hal_handle d) {
            char b[32];
            return hal_read_until(d, b, 32, "x", 1, HAL_FOREVER);
        });
        until_closed([](hal_handle d) { return hal_write(d, "xyz", 3, HAL_FOREVER); });
        until_closed([](hal_handle d) -> long { return hal_poll(d, POLLIN, HAL_FOREVER); });
        until_closed([](hal_handle d) -> long {
            struct hal_value value;
            return hal_get(d, "capacity", &value, HAL_FOREVER);
        });
        until_closed([](hal_handle d) -> long {
            struct hal_description about;
            return hal_describe(d, &about, sizeof(about));
        });
        until_closed([](hal_handle d) -> long { return hal_pending(d); });
        std::this_thread::sleep_for(std::chrono::microseconds(round % 7 * 100));
        CHECK(hal_close(dev) == 0);
        for (auto &thread : threads)
            thread.join();
    }
    CHECK(queue_live() == 0);
}

TEST_CASE("of many who close, one does")
{
    Registered queue("queue", queue_ops);
    for (int round = 0; round < 100; round++) {
        hal_handle dev = hal_open("queue", HAL_FOREVER);
        REQUIRE(dev > 0);
        std::atomic<int> closed{0}, refused{0};
        std::vector<std::thread> threads;
        for (int i = 0; i < 8; i++)
            threads.emplace_back([&] {
                int result = hal_close(dev);
                closed += result == 0;
                refused += result == -EBADF;
            });
        for (auto &thread : threads)
            thread.join();
        CHECK(closed == 1);
        CHECK(refused == 7);
    }
    CHECK(queue_live() == 0);
}

TEST_CASE("a stale handle hammered while its place is taken again and again")
{
    Registered queue("queue", queue_ops);
    const int rounds = sanitizer().empty() ? 3000 : 600;
    hal_handle stale = hal_open("queue", HAL_FOREVER);
    REQUIRE(stale > 0);
    REQUIRE(hal_close(stale) == 0);
    std::atomic<bool> over{false};
    std::atomic<long> wrong{0};
    std::vector<std::thread> threads;
    auto hammer = [&](auto call) {
        threads.emplace_back([&, call] {
            while (!over)
                if (call() != -EBADF)
                    wrong++;
        });
    };
    hammer([=] {
        char b;
        return hal_read(stale, &b, 1, HAL_FOREVER);
    });
    hammer([=] { return hal_write(stale, "!", 1, HAL_FOREVER); });
    hammer([=] {
        if (hal_cancel(stale) != -EBADF || hal_close(stale) != -EBADF)
            return 0;
        return hal_poll(stale, POLLIN, HAL_FOREVER);
    });
    for (int i = 0; i < rounds; i++) {
        hal_handle dev = hal_open("queue", HAL_FOREVER);
        char byte = 0;
        if (dev <= 0 || hal_write(dev, "a", 1, HAL_FOREVER) != 1 ||
            hal_read(dev, &byte, 1, HAL_FOREVER) != 1 || byte != 'a' ||
            hal_read(dev, &byte, 1, HAL_NOWAIT) != -EAGAIN || hal_close(dev) != 0) {
            FAIL_CHECK("round " << i << ": " << hal_last_error());
            break;
        }
    }
    over = true;
    for (auto &thread : threads)
        thread.join();
    CHECK(wrong == 0);
}
