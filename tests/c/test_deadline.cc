/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlines: the arithmetic, and that every call that can wait keeps them. */
#include "drivers.h"
#include "helpers.h"

#include <cerrno>
#include <functional>
#include <poll.h>
#include <vector>

using namespace test;

TEST_CASE("now is CLOCK_MONOTONIC")
{
    struct timespec ts;
    int64_t before = hal_now();
    clock_gettime(CLOCK_MONOTONIC, &ts);
    int64_t at = static_cast<int64_t>(ts.tv_sec) * 1000000000 + ts.tv_nsec;
    CHECK(before <= at);
    CHECK(at <= hal_now());
}

TEST_CASE("hal_after: zero and less do not wait, too much is for ever")
{
    CHECK(hal_after(0) == HAL_NOWAIT);
    CHECK(hal_after(-1) == HAL_NOWAIT);
    CHECK(hal_after(INT64_MIN) == HAL_NOWAIT);
    CHECK(hal_after(INT64_MAX) == HAL_FOREVER);
    CHECK(hal_after(INT64_MAX - 1) == HAL_FOREVER);
    int64_t before = hal_now();
    hal_deadline at = hal_after(1000);
    CHECK(at >= before + 1000);
    CHECK(at <= hal_now() + 1000);
    CHECK(hal_after(1) > before);
}

TEST_CASE("hal_after_ms: the same rules, in milliseconds")
{
    CHECK(hal_after_ms(0) == HAL_NOWAIT);
    CHECK(hal_after_ms(-1) == HAL_NOWAIT);
    CHECK(hal_after_ms(INT64_MIN) == HAL_NOWAIT);
    CHECK(hal_after_ms(INT64_MAX) == HAL_FOREVER);
    CHECK(hal_after_ms(INT64_MAX / 1000000) == HAL_FOREVER);
    CHECK(hal_after_ms(INT64_MAX / 1000000 + 1) == HAL_FOREVER);
    int64_t before = hal_now();
    hal_deadline at = hal_after_ms(3);
    CHECK(at >= before + 3 * kMillisecond);
    CHECK(at <= hal_now() + 3 * kMillisecond);
}

/* A call that can only wait: nothing is there to read, no room is left to write. */
struct Wait {
    const char *name;
    std::function<long(hal_handle, hal_deadline)> call;
};

static const std::vector<Wait> &reads()
{
    static char buf[64];
    static struct iovec iov[2] = {{buf, 4}, {buf + 4, 4}};
    static const std::vector<Wait> waits = {
        {"read", [](hal_handle d, hal_deadline u) { return hal_read(d, buf, 8, u); }},
        {"read_exact", [](hal_handle d, hal_deadline u) { return hal_read_exact(d, buf, 8, u); }},
        {"read_until",
         [](hal_handle d, hal_deadline u) { return hal_read_until(d, buf, 8, "\n", 1, u); }},
        {"readv", [](hal_handle d, hal_deadline u) { return hal_readv(d, iov, 2, u); }},
        {"poll", [](hal_handle d, hal_deadline u) -> long { return hal_poll(d, POLLIN, u); }},
    };
    return waits;
}

static const std::vector<Wait> &writes()
{
    static char big[8192];
    static struct iovec small[2] = {{big, 4}, {big + 4, 4}}, large[2] = {{big, 4096}, {big, 4096}};
    static const std::vector<Wait> waits = {
        {"write", [](hal_handle d, hal_deadline u) { return hal_write(d, "x", 1, u); }},
        {"writev, joined", [](hal_handle d, hal_deadline u) { return hal_writev(d, small, 2, u); }},
        {"writev", [](hal_handle d, hal_deadline u) { return hal_writev(d, large, 2, u); }},
        {"poll", [](hal_handle d, hal_deadline u) -> long { return hal_poll(d, POLLOUT, u); }},
    };
    return waits;
}

static void fill(hal_handle dev)
{
    char bytes[1024] = {};
    while (hal_write(dev, bytes, sizeof(bytes), HAL_NOWAIT) > 0)
        ;
}

static void check_wait(const Wait &wait, hal_handle dev)
{
    CAPTURE(wait.name);
    CHECK(wait.call(dev, HAL_NOWAIT) == -EAGAIN);
    CHECK(wait.call(dev, -5) == -EAGAIN);
    long result = 0;
    CHECK(duration_of([&] { result = wait.call(dev, hal_now() - 1000); }) < kPromptly);
    CHECK(result == -ETIMEDOUT);
    CHECK(wait.call(dev, 1) == -ETIMEDOUT);
    int64_t took = duration_of([&] { result = wait.call(dev, hal_after_ms(20)); });
    CHECK(result == -ETIMEDOUT);
    CHECK(hal_last_errno() == ETIMEDOUT);
    CHECK(took >= 20 * kMillisecond);
    CHECK(took < 20 * kMillisecond + kPromptly);
}

TEST_CASE("every call that waits: not at all, in the past, 20 ms")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : {"queue", "loopback:?capacity=4096"}) {
        CAPTURE(uri);
        Device empty(uri), full(uri);
        fill(full);
        for (const Wait &wait : reads())
            check_wait(wait, empty);
        for (const Wait &wait : writes())
            check_wait(wait, full);
    }
}

TEST_CASE("a control call waits within its deadline")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    check_wait(
        {"control",
         [](hal_handle d, hal_deadline u) { return hal_control(d, QUEUE_WAIT, nullptr, 0, u); }},
        dev);
}

TEST_CASE("a call for a lane that is taken waits within its deadline")
{
    Device dev("loopback");
    std::thread holder([&] {
        char byte;
        CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == 1);
    });
    sleep_ms(20);
    for (const Wait &wait : reads())
        check_wait(wait, dev);
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    holder.join();
}

TEST_CASE("what is there is taken also when the deadline has passed")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : {"queue", "loopback"}) {
        CAPTURE(uri);
        Device dev(uri);
        char byte = 0;
        for (hal_deadline until : {HAL_NOWAIT, static_cast<hal_deadline>(1), hal_now() - 1}) {
            CHECK(hal_write(dev, "z", 1, until) == 1);
            CHECK(hal_poll(dev, POLLIN | POLLOUT, until) == (POLLIN | POLLOUT));
            CHECK(hal_read(dev, &byte, 1, until) == 1);
            CHECK(byte == 'z');
        }
    }
}

TEST_CASE("one deadline bounds a sequence of calls")
{
    Device dev("loopback");
    char bytes[8];
    hal_deadline until = hal_after_ms(60);
    int64_t took = duration_of([&] {
        for (int i = 0; i < 10; i++)
            CHECK(hal_read(dev, bytes, sizeof(bytes), until) == -ETIMEDOUT);
    });
    CHECK(took < 60 * kMillisecond + kPromptly);
    CHECK(hal_now() >= until);
}

TEST_CASE("far deadlines are no trouble")
{
    Device dev("loopback");
    char byte = 0;
    for (hal_deadline until : {HAL_FOREVER, HAL_FOREVER - 1, hal_after_ms(1000000000000)}) {
        std::thread writer([&] {
            sleep_ms(10);
            CHECK(hal_write(dev, "y", 1, HAL_NOWAIT) == 1);
        });
        CHECK(hal_read(dev, &byte, 1, until) == 1);
        writer.join();
    }
}
