/* SPDX-License-Identifier: Apache-2.0 */
/* fork(2): handles of the parent are void in the child, and nothing gets stuck. */
#include "drivers.h"
#include "helpers.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <fcntl.h>
#include <poll.h>
#include <vector>

using namespace test;

TEST_CASE("every call on a handle of the parent gives -ESTALE, and says so")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    CHECK(hal_write(dev, "abc", 3, HAL_NOWAIT) == 3);
    CHECK(in_child([&] {
        char buf[8];
        struct iovec iov = {buf, 8};
        struct hal_segment segment = {};
        struct hal_value value = {};
        struct hal_description about;
        const struct hal_attribute *row;
        CHILD_CHECK(hal_read(dev, buf, 8, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(contains(message(), "read \"queue\": the device was opened by the parent"));
        CHILD_CHECK(contains(message(), "open the device again"));
        CHILD_CHECK(hal_error_kind(-ESTALE) == HAL_FORKED);
        CHILD_CHECK(hal_read(dev, buf, 0, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_write(dev, buf, 8, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_read_exact(dev, buf, 8, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_read_until(dev, buf, 8, "\n", 1, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_readv(dev, &iov, 1, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_writev(dev, &iov, 1, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_transfer(dev, &segment, 1, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_batch(dev, nullptr, 0, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_control(dev, 1, nullptr, 0, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_poll(dev, POLLIN, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_fd(dev, POLLIN) == -ESTALE);
        CHILD_CHECK(hal_pending(dev) == -ESTALE);
        CHILD_CHECK(hal_cancel(dev) == -ESTALE);
        CHILD_CHECK(hal_describe(dev, &about, sizeof(about)) == -ESTALE);
        CHILD_CHECK(hal_get(dev, "capacity", &value, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_set(dev, "capacity", &value, HAL_NOWAIT) == -ESTALE);
        CHILD_CHECK(hal_attribute_count(dev) == -ESTALE);
        CHILD_CHECK(hal_attribute_at(dev, 0, &row) == -ESTALE);
        CHILD_CHECK(hal_close(dev) == -ESTALE);
        CHILD_CHECK(hal_close(dev) == -ESTALE);
    }));
    char buf[8];
    CHECK(hal_read(dev, buf, 8, HAL_NOWAIT) == 3); /* the parent goes on */
}

TEST_CASE("a child opens its own devices, and so does its child")
{
    Registered queue("queue", queue_ops);
    Device parents("loopback"), other("queue");
    CHECK(hal_write(parents, "parent", 6, HAL_NOWAIT) == 6);
    CHECK(in_child([&] {
        Device mine("loopback");
        CHILD_CHECK(hal_handle(mine) != hal_handle(parents));
        CHILD_CHECK(hal_write(mine, "child", 5, HAL_NOWAIT) == 5);
        CHILD_CHECK(in_child([&] {
            char buf[8];
            CHILD_CHECK(hal_read(parents, buf, 8, HAL_NOWAIT) == -ESTALE);
            CHILD_CHECK(hal_read(mine, buf, 8, HAL_NOWAIT) == -ESTALE);
            Device own("queue");
            CHILD_CHECK(hal_write(own, "x", 1, HAL_NOWAIT) == 1);
            CHILD_CHECK(hal_read(own, buf, 8, HAL_NOWAIT) == 1);
        }));
        char buf[8];
        CHILD_CHECK(hal_read(mine, buf, 8, HAL_NOWAIT) == 5);
        CHILD_CHECK(hal_read_until(mine, buf, 8, "\n", 1, hal_after_ms(5)) == -ETIMEDOUT);
        CHILD_CHECK(mine.close() == 0);
    }));
    char buf[8];
    CHECK(hal_read(parents, buf, 8, HAL_NOWAIT) == 6);
}

TEST_CASE("a driver is free in the child when it has no device there")
{
    Registered queue("queue", queue_ops);
    Device one("queue"), two("queue");
    CHECK(in_child([&] {
        hal_handle mine = hal_open("queue", HAL_FOREVER);
        CHILD_CHECK(mine > 0);
        CHILD_CHECK(hal_unregister_driver("queue") == -EBUSY);
        CHILD_CHECK(contains(message(), "1 of its devices"));
        CHILD_CHECK(hal_close(mine) == 0);
        CHILD_CHECK(hal_unregister_driver("queue") == 0);
        CHILD_CHECK(hal_register_driver("queue", &odd_ops) == 0);
    }));
    CHECK(hal_unregister_driver("queue") == -EBUSY);
}

TEST_CASE("the child holds no descriptor of the parent's devices")
{
    hal_handle dev = hal_open("loopback", HAL_FOREVER);
    REQUIRE(dev > 0);
    int in = hal_fd(dev, POLLIN), out = hal_fd(dev, POLLOUT), mine = fcntl(in, F_DUPFD, 0);
    char byte;
    CHECK(hal_read(dev, &byte, 1, 1) == -ETIMEDOUT); /* now it has an eventfd, too */
    CHECK(in_child([&] {
        CHILD_CHECK(fcntl(in, F_GETFD) == -1);
        CHILD_CHECK(fcntl(out, F_GETFD) == -1);
    }));

    /* Seen from the other end of the pipe: the last writer is gone when the parent closes, although
     * a child of that time still lives. */
    int hold[2];
    REQUIRE(pipe(hold) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(hold[1]);
        _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1); /* until the parent lets go */
    }
    sleep_ms(50);
    CHECK(hal_close(dev) == 0);
    struct pollfd end = {mine, POLLIN, 0};
    CHECK(poll(&end, 1, 1000) == 1);
    CHECK((end.revents & POLLHUP) != 0);
    close(hold[1]);
    close(hold[0]);
    int status;
    waitpid(child, &status, 0);
    CHECK(status == 0);
    close(mine);
}

/* What a child does to show that nothing is stuck: every lock of the library is taken once. */
static void use_everything()
{
    char byte;
    hal_handle dev = hal_open("loopback", HAL_FOREVER);
    CHILD_CHECK(dev > 0);
    CHILD_CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    CHILD_CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == 1);
    CHILD_CHECK(hal_poll(dev, POLLIN, 1) == -ETIMEDOUT);
    CHILD_CHECK(hal_close(dev) == 0);
    CHILD_CHECK(hal_register_driver("childs", &queue_ops) == 0);
    CHILD_CHECK(hal_unregister_driver("childs") == 0);
    CHILD_CHECK(hal_bind("childs", "loopback") == 0);
    CHILD_CHECK(hal_unbind("childs") == 0);
    CHILD_CHECK(hal_load_driver("/no/such/file.so") == -ENOENT);
    CHILD_CHECK(hal_load_driver("/dev/null") == -ENOEXEC);
    CHILD_CHECK(
        hal_driver_each([](const struct hal_driver_info *, void *) { return 0; }, nullptr) == 0);
}

/* A child that does nothing, or gets stuck in ThreadSanitizer's own locks (those of its allocator
 * are as another thread had them): what that looks at is the parent. */
static void fork_idly()
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    for (hal_deadline until = hal_after_ms(1000); hal_now() < until; sleep_ms(1))
        if (waitpid(child, nullptr, WNOHANG) == child)
            return;
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
}

TEST_CASE("forking while other threads are everywhere inside the library")
{
    /* AddressSanitizer's allocator, and user-mode QEMU's own locks, may be stuck in the child. */
    if (sanitizer() == "address" || emulated()) {
        MESSAGE("skipped: not under " << (emulated() ? "QEMU" : "AddressSanitizer"));
        return;
    }
    Registered queue("queue", queue_ops);
    const bool idly = sanitizer() == "thread";
    const int forks = idly ? 40 : 200;
    Device shared("loopback:?capacity=4096");
    hal_handle stale = hal_open("queue", HAL_FOREVER);
    REQUIRE(hal_close(stale) == 0);
    std::atomic<bool> over{false};
    std::vector<std::thread> threads;
    auto meanwhile = [&](auto what) {
        threads.emplace_back([&, what] {
            while (!over)
                what();
        });
    };
    meanwhile([] { hal_close(hal_open("loopback", HAL_FOREVER)); });
    meanwhile([] { hal_close(hal_open("queue?capacity=9", HAL_FOREVER)); });
    meanwhile([&] {
        char buf[64];
        hal_read(shared, buf, 64, hal_after_ms(5));
        hal_poll(shared, POLLIN, hal_after_ms(1));
    });
    meanwhile([&] { hal_write(shared, "0123456789", 10, hal_after_ms(5)); });
    meanwhile([] {
        hal_register_driver("passing", &odd_ops);
        hal_bind("passing-by", "loopback");
        hal_load_driver("/dev/null");
        hal_driver_each([](const struct hal_driver_info *, void *) { return 0; }, nullptr);
        hal_unbind("passing-by");
        hal_unregister_driver("passing");
    });
    meanwhile([&] {
        char byte;
        hal_read(stale, &byte, 1, HAL_NOWAIT);
        hal_poll(stale, POLLIN, HAL_NOWAIT);
    });
    for (int i = 0; i < forks; i++) {
        if (idly) {
            fork_idly();
        } else if (!in_child(use_everything)) {
            FAIL_CHECK("fork " << i);
            break;
        }
    }
    over = true;
    for (auto &thread : threads)
        thread.join();
}

TEST_CASE("forking from inside a visitor")
{
    Registered queue("queue", queue_ops);
    CHECK(hal_driver_each([](const struct hal_driver_info *info,
                             void *) { return info->path || in_child(use_everything) ? 0 : 1; },
                          nullptr) == 0);
}
