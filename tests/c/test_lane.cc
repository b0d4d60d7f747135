/* SPDX-License-Identifier: Apache-2.0 */
/* Many calls on one device: they take turns, none is forgotten, lanes do not get in each other's
 * way. */
#include "drivers.h"
#include "helpers.h"

#include <atomic>
#include <cerrno>
#include <csignal>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <vector>

using namespace test;

/* Six readers and six writers on one device, each of them for a lane that is mostly taken. */
static long crowd(hal_handle dev, int rounds)
{
    std::atomic<long> sent{0}, received{0}, failed{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 6; t++) {
        threads.emplace_back([&] {
            for (int i = 0; i < rounds; i++)
                if (hal_write(dev, "x", 1, hal_after_ms(60000)) == 1)
                    sent++;
                else
                    failed++;
        });
        threads.emplace_back([&] {
            char byte;
            for (int i = 0; i < rounds; i++)
                if (hal_read(dev, &byte, 1, hal_after_ms(60000)) == 1)
                    received++;
                else
                    failed++;
        });
    }
    for (auto &thread : threads)
        thread.join();
    return failed ? -failed : sent == received ? sent.load() : -1;
}

TEST_CASE("a crowd takes turns, and nobody is forgotten")
{
    Registered queue("queue", queue_ops);
    CHECK(crowd(Device("loopback"), 5000) == 30000);
    CHECK(crowd(Device("queue:?capacity=3"), 3000) == 18000);
}

TEST_CASE("the same without membarrier(2)")
{
    static struct sock_filter program[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_membarrier, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    static struct sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
    static bool filtered = true;

    if (sanitizer() == "thread")
        return; /* its run-time library starts no threads in a child */
    CHECK(in_child([] {
        prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter)) {
            std::fprintf(stderr, "skipped: no seccomp here\n");
            return;
        }
        hal_handle dev = hal_open("loopback", HAL_FOREVER);
        CHILD_CHECK(dev > 0);
        CHILD_CHECK(crowd(dev, 1000) == 6000);
        CHILD_CHECK(hal_close(dev) == 0);
    }));
    CHECK(filtered);
}

TEST_CASE("reading, writing and control run beside each other")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    char byte = 0;
    std::thread reader([&] { CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == 1); });
    std::thread waiter([&] { CHECK(hal_control(dev, QUEUE_WAIT, nullptr, 0, HAL_FOREVER) == 1); });
    sleep_ms(20);
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1); /* wakes both */
    reader.join();
    waiter.join();
    CHECK(byte == 'x');
}

TEST_CASE("control calls take turns")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    std::thread waiter([&] { CHECK(hal_control(dev, QUEUE_WAIT, nullptr, 0, HAL_FOREVER) == 1); });
    sleep_ms(20);
    struct hal_value value;
    CHECK(hal_get(dev, "capacity", &value, HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_get(dev, "capacity", &value, hal_after_ms(5)) == -ETIMEDOUT);
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    CHECK(hal_get(dev, "capacity", &value, hal_after_ms(10000)) == 0);
    waiter.join();
}

/* ---- signals -------------------------------------------------------------------------------- */

static std::atomic<int> handled;

static void on_signal(int)
{
    handled++;
}

static void install(int flags)
{
    struct sigaction action = {};
    action.sa_handler = on_signal;
    action.sa_flags = flags;
    sigaction(SIGUSR1, &action, nullptr);
}

/* Run a call in a thread, send signals until it ends, return what it returned. */
template <typename F> static long interrupted(F call)
{
    std::atomic<bool> done{false};
    long result = 0;
    std::thread thread([&] {
        result = call();
        done = true;
    });
    sleep_ms(20);
    for (int i = 0; i < 500 && !done; i++) {
        pthread_kill(thread.native_handle(), SIGUSR1);
        sleep_ms(10);
    }
    thread.join();
    return result;
}

TEST_CASE("a signal handler ends a wait with -EINTR, and nothing is lost")
{
    Registered queue("queue", queue_ops);
    for (int flags : {0, SA_RESTART}) {
        CAPTURE(flags);
        install(flags);
        handled = 0;
        for (const char *uri : {"loopback:?capacity=4096", "queue"}) {
            CAPTURE(uri);
            Device dev(uri);
            char buf[8];
            for (hal_deadline until : {HAL_FOREVER, hal_after_ms(20000)}) {
                CHECK(interrupted([&] { return hal_read(dev, buf, 8, until); }) == -EINTR);
                CHECK(interrupted([&]() -> long { return hal_poll(dev, POLLIN, until); }) ==
                      -EINTR);
            }
            CHECK(hal_last_errno() != EINTR); /* it happened in other threads */
            CHECK(hal_write(dev, "abc", 3, HAL_NOWAIT) == 3);
            CHECK(interrupted([&] { return hal_read_exact(dev, buf, 8, HAL_FOREVER); }) == -EINTR);
            CHECK(interrupted([&] { return hal_read_until(dev, buf, 8, "\n", 1, HAL_FOREVER); }) ==
                  -EINTR);
            CHECK(hal_pending(dev) == 3);
            CHECK(hal_read(dev, buf, 8, HAL_NOWAIT) == 3);
            CHECK(std::string(buf, 3) == "abc");
            while (hal_write(dev, "0123456789abcdef", 16, HAL_NOWAIT) > 0)
                ;
            CHECK(interrupted([&] { return hal_write(dev, "x", 1, HAL_FOREVER); }) == -EINTR);
        }
        Device dev("queue");
        CHECK(interrupted([&]() -> long {
                  return hal_control(dev, QUEUE_WAIT, nullptr, 0, HAL_FOREVER);
              }) == -EINTR);
        CHECK(handled > 0);
    }
}

TEST_CASE("so it does with the wait for a lane")
{
    for (int flags : {0, SA_RESTART}) {
        CAPTURE(flags);
        install(flags);
        Device dev("loopback");
        std::thread holder([&] {
            char byte;
            CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == 1);
        });
        sleep_ms(20);
        char byte;
        for (hal_deadline until : {HAL_FOREVER, hal_after_ms(20000)})
            CHECK(interrupted([&] { return hal_read(dev, &byte, 1, until); }) == -EINTR);
        CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
        holder.join();
    }
}
