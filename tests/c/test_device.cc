/* SPDX-License-Identifier: Apache-2.0 */
/* Open, close, and what each function does with arguments that are wrong. */
#include "drivers.h"
#include "helpers.h"

#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <poll.h>
#include <vector>

#include <sys/mman.h>

using namespace test;

/* Every function that takes a handle. */
struct Call {
    const char *name;
    std::function<long(hal_handle)> run;
};

static const std::vector<Call> &calls()
{
    static char buf[64];
    static struct iovec iov = {buf, sizeof(buf)};
    static struct hal_segment segment = {};
    static struct hal_value value = {};
    static struct hal_description description;
    static const struct hal_attribute *row;
    static const std::vector<Call> all = {
        {"read", [](hal_handle d) { return hal_read(d, buf, 8, HAL_NOWAIT); }},
        {"read 0", [](hal_handle d) { return hal_read(d, buf, 0, HAL_NOWAIT); }},
        {"write", [](hal_handle d) { return hal_write(d, buf, 8, HAL_NOWAIT); }},
        {"write 0", [](hal_handle d) { return hal_write(d, buf, 0, HAL_NOWAIT); }},
        {"read_exact", [](hal_handle d) { return hal_read_exact(d, buf, 8, HAL_NOWAIT); }},
        {"read_until", [](hal_handle d) { return hal_read_until(d, buf, 8, "\n", 1, HAL_NOWAIT); }},
        {"readv", [](hal_handle d) { return hal_readv(d, &iov, 1, HAL_NOWAIT); }},
        {"writev", [](hal_handle d) { return hal_writev(d, &iov, 1, HAL_NOWAIT); }},
        {"transfer", [](hal_handle d) { return hal_transfer(d, &segment, 1, HAL_NOWAIT); }},
        {"batch", [](hal_handle d) { return hal_batch(d, nullptr, 0, HAL_NOWAIT); }},
        {"control", [](hal_handle d) { return hal_control(d, 1, nullptr, 0, HAL_NOWAIT); }},
        {"poll", [](hal_handle d) -> long { return hal_poll(d, POLLIN, HAL_NOWAIT); }},
        {"fd", [](hal_handle d) -> long { return hal_fd(d, POLLIN); }},
        {"pending", [](hal_handle d) -> long { return hal_pending(d); }},
        {"cancel", [](hal_handle d) -> long { return hal_cancel(d); }},
        {"describe",
         [](hal_handle d) -> long { return hal_describe(d, &description, sizeof(description)); }},
        {"get", [](hal_handle d) -> long { return hal_get(d, "x", &value, HAL_NOWAIT); }},
        {"set", [](hal_handle d) -> long { return hal_set(d, "x", &value, HAL_NOWAIT); }},
        {"attribute_count", [](hal_handle d) { return hal_attribute_count(d); }},
        {"attribute_at", [](hal_handle d) -> long { return hal_attribute_at(d, 0, &row); }},
        {"close", [](hal_handle d) -> long { return hal_close(d); }},
    };
    return all;
}

TEST_CASE("what is no handle gives -EBADF, everywhere")
{
    const hal_handle wrong[] = {
        0, -1, INT64_MIN, 1, 65535, 65536, INT64_MAX, int64_t{1} << 40 | 77, -EBADF, 99999999};
    for (const Call &call : calls())
        for (hal_handle handle : wrong) {
            CAPTURE(call.name);
            CAPTURE(handle);
            CHECK(call.run(handle) == -EBADF);
            CHECK(hal_last_errno() == EBADF);
        }
}

TEST_CASE("a handle that was closed gives -EBADF, also when its place is taken again")
{
    hal_handle old = hal_open("loopback", HAL_FOREVER);
    REQUIRE(old > 0);
    CHECK(hal_close(old) == 0);
    for (const Call &call : calls()) {
        CAPTURE(call.name);
        CHECK(call.run(old) == -EBADF);
    }
    Device next("loopback");
    CHECK(hal_handle(next) != old);
    CHECK((hal_handle(next) & 0xffff) == (old & 0xffff)); /* the same place, or this tests little */
    for (const Call &call : calls()) {
        CAPTURE(call.name);
        CHECK(call.run(old) == -EBADF);
    }
    CHECK(hal_write(next, "x", 1, HAL_NOWAIT) == 1);
}

TEST_CASE("handles are positive and never the same again")
{
    hal_handle last = 0;
    for (int i = 0; i < 200; i++) {
        hal_handle handle = hal_open("loopback", HAL_FOREVER);
        REQUIRE(handle > 0);
        CHECK(handle != last);
        last = handle;
        REQUIRE(hal_close(handle) == 0);
    }
}

TEST_CASE("open: what is refused")
{
    CHECK(hal_open(nullptr, HAL_FOREVER) == -EFAULT);
    CHECK(message() == "open: Bad address (the URI is NULL)");
    CHECK(hal_open("", HAL_FOREVER) == -ENOENT);
    CHECK(hal_open("no-such-driver:x", HAL_FOREVER) == -ENOENT);
    CHECK(contains(message(), "open \"no-such-driver:x\": no driver or logical name"));
    CHECK(contains(message(), "loopback"));
    CHECK(hal_open("lopback", HAL_FOREVER) == -ENOENT);
    CHECK(contains(message(), "did you mean \"loopback\"?"));
    CHECK(hal_open("loopback:?bogus=1", HAL_FOREVER) == -EINVAL);
    CHECK(hal_open("loopback:?capacity=0", HAL_FOREVER) == -ERANGE);
    CHECK(hal_open("a b", HAL_FOREVER) == -EINVAL);
    CHECK(hal_open(std::string(2000, 'a').c_str(), HAL_FOREVER) == -ENAMETOOLONG);
}

TEST_CASE("lengths and pointers")
{
    Device dev("loopback");
    char buf[16];
    struct iovec nothing = {nullptr, 4}, none = {nullptr, 0}, one = {buf, 4};

    CHECK(hal_read(dev, nullptr, 4, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_read(dev, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(hal_write(dev, nullptr, 4, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_write(dev, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(hal_read_exact(dev, nullptr, 4, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_read_exact(dev, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(hal_read_exact(dev, buf, HAL_LENGTH_MAX + 1, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_read_until(dev, nullptr, 4, "\n", 1, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_read_until(dev, buf, 4, nullptr, 1, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_read_until(dev, buf, 0, "\n", 1, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_read_until(dev, buf, 4, "\n", 0, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_read_until(dev, buf, 4, "0123456789abcdef", 16, HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_read_until(dev, buf, 4, "0123456789abcdefg", 17, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_read_until(dev, buf, SIZE_MAX, "\n", 1, HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_readv(dev, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(hal_readv(dev, nullptr, 1, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_readv(dev, &nothing, 1, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_readv(dev, &none, 1, HAL_NOWAIT) == 0);
    CHECK(hal_readv(dev, &one, HAL_SEGMENTS_MAX + 1, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_writev(dev, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(hal_writev(dev, nullptr, 1, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_writev(dev, &nothing, 1, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_writev(dev, &none, 1, HAL_NOWAIT) == 0);
    CHECK(hal_writev(dev, &one, HAL_SEGMENTS_MAX + 1, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_describe(dev, nullptr, 8) == -EFAULT);
}

TEST_CASE("a read or write of 0 bytes only checks the handle, also while others wait")
{
    Device dev("loopback:?capacity=4096");
    std::vector<char> page(4096);
    CHECK(hal_write(dev, page.data(), page.size(), HAL_NOWAIT) == 4096);
    std::thread writer([&] { CHECK(hal_write(dev, "x", 1, HAL_FOREVER) == -ECANCELED); });
    sleep_ms(20);
    CHECK(hal_write(dev, page.data(), 0, HAL_FOREVER) == 0);
    CHECK(hal_cancel(dev) == 0);
    writer.join();
    CHECK(hal_read_exact(dev, page.data(), page.size(), HAL_NOWAIT) == 4096);
    std::thread reader([&] { CHECK(hal_read(dev, page.data(), 1, HAL_FOREVER) == -ECANCELED); });
    sleep_ms(20);
    CHECK(hal_read(dev, page.data(), 0, HAL_FOREVER) == 0);
    CHECK(hal_cancel(dev) == 0);
    reader.join();
}

TEST_CASE("requests longer than HAL_LENGTH_MAX are served up to it")
{
    Device dev("loopback:?capacity=4096");
    const size_t length = HAL_LENGTH_MAX + 65536; /* address space; hardly any of it is touched */
    char *room = static_cast<char *>(mmap(nullptr, length, PROT_READ | PROT_WRITE,
                                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
    if (room == MAP_FAILED) {
        MESSAGE("skipped: no 2 GiB of address space");
        return;
    }
    CHECK(hal_write(dev, "abcdefgh", 8, HAL_NOWAIT) == 8);
    CHECK(hal_read(dev, room, length, HAL_NOWAIT) == 8);
    CHECK(hal_write(dev, "abcdefgh", 8, HAL_NOWAIT) == 8);
    struct iovec iov[3] = {{room, 2}, {room + 2, HAL_LENGTH_MAX}, {room + 2, SIZE_MAX}};
    CHECK(hal_readv(dev, iov, 3, HAL_NOWAIT) == 8);
    CHECK(std::string(room, 8) == "abcdefgh");
    CHECK(hal_write(dev, room, length, HAL_NOWAIT) == 4096);
    CHECK(hal_read(dev, room, length, HAL_NOWAIT) == 4096);
    struct iovec out[2] = {{room, 65536}, {room, SIZE_MAX}};
    CHECK(hal_writev(dev, out, 2, HAL_NOWAIT) == 4096);
    munmap(room, length);
}

TEST_CASE("vectored forms keep the order, and small writes are one")
{
    Device dev("loopback");
    char a[3] = {}, b[5] = {}, c[8] = {};
    struct iovec out[] = {
        {const_cast<char *>("ab"), 2}, {nullptr, 0}, {const_cast<char *>("cdefg"), 5}};
    CHECK(hal_writev(dev, out, 3, HAL_NOWAIT) == 7);
    struct iovec in[] = {{a, 2}, {nullptr, 0}, {b, 4}, {c, 8}};
    CHECK(hal_readv(dev, in, 4, HAL_NOWAIT) == 7);
    CHECK(std::string(a) == "ab");
    CHECK(std::string(b) == "cdef");
    CHECK(std::string(c) == "g");
    std::vector<struct iovec> most(HAL_SEGMENTS_MAX, iovec{const_cast<char *>("z"), 1});
    CHECK(hal_writev(dev, most.data(), most.size(), HAL_NOWAIT) == HAL_SEGMENTS_MAX);
    std::vector<char> back(HAL_SEGMENTS_MAX);
    CHECK(hal_read_exact(dev, back.data(), back.size(), HAL_NOWAIT) == HAL_SEGMENTS_MAX);
}

TEST_CASE("control and transfer: what is refused")
{
    Registered queue("queue", queue_ops), odd("odd", odd_ops);
    Device plain("loopback"), requests("queue"), transfers("odd");
    char buf[8];
    CHECK(hal_control(plain, 1, nullptr, 0, HAL_NOWAIT) == -EOPNOTSUPP);
    CHECK(hal_control(requests, 4711, nullptr, 0, HAL_NOWAIT) == -ENOTTY);
    CHECK(contains(message(), "0x1267"));
    CHECK(hal_control(requests, QUEUE_END, nullptr, 4, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_control(requests, QUEUE_END, buf, 4, HAL_NOWAIT) == -EINVAL);
    struct hal_segment one = {};
    one.tx = buf;
    one.len = 4;
    CHECK(hal_transfer(plain, &one, 1, HAL_NOWAIT) == -EOPNOTSUPP);
    CHECK(contains(message(), "driver \"loopback\" has no transfers"));
    CHECK(hal_transfer(transfers, nullptr, 1, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_transfer(transfers, &one, 0, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_transfer(transfers, &one, HAL_SEGMENTS_MAX + 1, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_transfer(transfers, &one, 1, HAL_NOWAIT) == 4);
    std::vector<struct hal_segment> many(HAL_SEGMENTS_MAX, one);
    CHECK(hal_transfer(transfers, many.data(), many.size(), HAL_NOWAIT) == 4 * HAL_SEGMENTS_MAX);
    struct hal_segment long_ones[2] = {one, one};
    long_ones[0].len = HAL_LENGTH_MAX;
    CHECK(hal_transfer(transfers, long_ones, 2, HAL_NOWAIT) == -EMSGSIZE);
    CHECK(contains(message(), "segment 1"));
    long_ones[1].len = SIZE_MAX;
    CHECK(hal_transfer(transfers, long_ones, 2, HAL_NOWAIT) == -EMSGSIZE);
}

TEST_CASE("describe")
{
    Registered queue("queue", queue_ops);
    struct hal_description about;
    Device with("loopback:?capacity=4096"), without("queue");
    REQUIRE(hal_describe(with, &about, sizeof(about)) == 0);
    CHECK(about.uri == std::string("loopback:?capacity=4096"));
    CHECK(about.driver == std::string("loopback"));
    CHECK(about.fd_in == hal_fd(with, POLLIN));
    CHECK(about.fd_out == hal_fd(with, POLLOUT));
    CHECK(about.fd_in != about.fd_out);
    CHECK(about.memory > 0);
    REQUIRE(hal_describe(without, &about, sizeof(about)) == 0);
    CHECK(about.fd_in == -1);
    CHECK(about.fd_out == -1);
    CHECK(hal_describe(with, &about, 0) == -EINVAL);

    /* An older program gets what it knows, a newer one zeros behind what the library knows. */
    struct {
        struct hal_description known;
        char more[32];
    } grown;
    std::memset(&grown, 0xee, sizeof(grown));
    REQUIRE(hal_describe(with, &grown.known, sizeof(grown)) == 0);
    CHECK(grown.known.fd_in == hal_fd(with, POLLIN));
    for (char c : grown.more)
        CHECK(c == 0);
    std::memset(&about, 0xee, sizeof(about));
    REQUIRE(hal_describe(with, &about, 8) == 0);
    CHECK(std::string(about.uri, 8) == "loopback");
    CHECK(about.uri[8] == static_cast<char>(0xee));
}

TEST_CASE("fd: which, and when there is none")
{
    Registered queue("queue", queue_ops);
    Device with("loopback"), without("queue");
    CHECK(hal_fd(with, POLLIN) >= 0);
    CHECK((fcntl(hal_fd(with, POLLIN), F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(hal_fd(with, POLLIN | POLLOUT) == -EINVAL);
    CHECK(hal_fd(with, 0) == -EINVAL);
    CHECK(hal_fd(with, POLLHUP) == -EINVAL);
    CHECK(hal_fd(without, POLLIN) == -EOPNOTSUPP);
    CHECK(hal_fd(without, POLLOUT) == -EOPNOTSUPP);
    int fd = hal_fd(with, POLLIN);
    CHECK(with.close() == 0);
    CHECK(fcntl(fd, F_GETFD) == -1);
}

TEST_CASE("close runs fini once, and the driver is free again")
{
    CHECK(hal_register_driver("queue", &queue_ops) == 0);
    int before = queue_live();
    hal_handle a = hal_open("queue", HAL_FOREVER), b = hal_open("queue", HAL_FOREVER);
    CHECK(queue_live() == before + 2);
    CHECK(hal_unregister_driver("queue") == -EBUSY);
    CHECK(contains(message(), "2"));
    CHECK(hal_close(a) == 0);
    CHECK(hal_close(a) == -EBADF);
    CHECK(queue_live() == before + 1);
    CHECK(hal_unregister_driver("queue") == -EBUSY);
    CHECK(hal_close(b) == 0);
    CHECK(queue_live() == before);
    CHECK(hal_unregister_driver("queue") == 0);
}

TEST_CASE("an open that fails leaves nothing behind")
{
    Registered odd("odd", odd_ops), settings("settings", settings_ops), queue("queue", queue_ops);
    CHECK(hal_open("odd:init-fails", HAL_FOREVER) == -ENXIO);
    int fd = -1;
    REQUIRE(std::sscanf(std::strstr(hal_last_error(), "descriptor"), "descriptor %d", &fd) == 1);
    CHECK(fcntl(fd, F_GETFD) == -1);
    CHECK(hal_error_kind(-ENXIO) == HAL_UNPLUGGED);
    CHECK(hal_open("settings:?stubborn=1", HAL_FOREVER) == -EIO); /* fini ran, says ASan */
    CHECK(hal_open("queue:?capacity=0", HAL_FOREVER) == -ERANGE);
    CHECK(queue_live() == 0);
}

TEST_CASE("a driver that breaks its contract does not break the library")
{
    Registered odd("odd", odd_ops);
    char buf[16];
    SUBCASE("positive from init")
    {
        CHECK(hal_open("odd:init-positive", HAL_FOREVER) == -EPROTO);
        CHECK(contains(message(), "7"));
    }
    SUBCASE("more than asked for from read")
    {
        Device dev("odd:read-more");
        CHECK(hal_read(dev, buf, 4, HAL_NOWAIT) == -EPROTO);
        CHECK(hal_read_exact(dev, buf, 4, HAL_NOWAIT) == -EPROTO);
        CHECK(hal_read_until(dev, buf, 4, "\n", 1, HAL_NOWAIT) == -EPROTO);
        CHECK(hal_pending(dev) == 0);
    }
    SUBCASE("nothing, or too much, taken by write")
    {
        CHECK(hal_write(Device("odd:write-zero"), buf, 4, HAL_FOREVER) == -EPROTO);
        CHECK(hal_write(Device("odd:write-more"), buf, 4, HAL_FOREVER) == -EPROTO);
    }
    SUBCASE("too much moved by transfer")
    {
        struct hal_segment segment = {};
        segment.tx = buf;
        segment.len = 4;
        CHECK(hal_transfer(Device("odd:transfer-more"), &segment, 1, HAL_NOWAIT) == -EPROTO);
    }
    SUBCASE("would-block for ever on a descriptor that has hung up")
    {
        for (const char *uri : {"odd:hung-up", "odd:hung-up-with-data"}) {
            CAPTURE(uri);
            Device dev(uri);
            CHECK(hal_read(dev, buf, 4, HAL_FOREVER) == -ENODEV);
            CHECK(contains(message(), "hang-up"));
            CHECK(odd_calls() < 100);
        }
    }
}

TEST_CASE("a write that breaks off says how much was taken, then why")
{
    Registered odd("odd", odd_ops);
    Device dev("odd:breaks");
    CHECK(hal_write(dev, "abcdef", 6, HAL_FOREVER) == 3);
    CHECK(hal_write(dev, "def", 3, HAL_FOREVER) == -EIO);
}

TEST_CASE("the end of a device")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    char buf[16];
    CHECK(hal_write(dev, "abc", 3, HAL_NOWAIT) == 3);
    CHECK(hal_control(dev, QUEUE_END, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(hal_read(dev, buf, sizeof(buf), HAL_FOREVER) == 3);
    CHECK(hal_read(dev, buf, sizeof(buf), HAL_FOREVER) == 0);
    CHECK(hal_read_exact(dev, buf, 1, HAL_FOREVER) == -ENODATA);
    CHECK(hal_read_until(dev, buf, 1, "\n", 1, HAL_FOREVER) == -ENODATA);
}

TEST_CASE("unplugging wakes who waits, and is told from a timeout")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    int64_t woken = 0;
    std::thread reader([&] {
        char byte;
        CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == -ENODEV);
        woken = hal_now();
        CHECK(hal_error_kind(-hal_last_errno()) == HAL_UNPLUGGED);
        CHECK(message() == "read \"queue\": No such device");
    });
    sleep_ms(20);
    int64_t at = hal_now();
    CHECK(hal_control(dev, QUEUE_UNPLUG, nullptr, 0, HAL_NOWAIT) == 0);
    reader.join();
    CHECK(woken - at < kPromptly);
}

TEST_CASE("no wake of a driver is lost: 100000 items, one at a time")
{
    Registered queue("queue", queue_ops);
    Device dev("queue:?capacity=1");
    const int items = 100000;
    std::thread producer([&] {
        for (int i = 0; i < items; i++) {
            char item = static_cast<char>(i);
            if (hal_write(dev, &item, 1, hal_after_ms(10000)) != 1) {
                FAIL_CHECK("item " << i << ": " << hal_last_error());
                return;
            }
        }
    });
    for (int i = 0; i < items; i++) {
        char item;
        if (hal_read(dev, &item, 1, hal_after_ms(10000)) != 1 || item != static_cast<char>(i)) {
            FAIL_CHECK("item " << i << ": " << hal_last_error());
            break;
        }
    }
    producer.join();
}
