/* SPDX-License-Identifier: Apache-2.0 */
/* Reads that keep what they cannot hand out yet. */
#include "drivers.h"
#include "helpers.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <random>
#include <vector>

using namespace test;

static std::string line(hal_handle dev, const std::string &delimiter = "\n", size_t size = 65536,
                        hal_deadline until = HAL_NOWAIT)
{
    std::string out(size, '\0');
    ssize_t n = hal_read_until(dev, out.data(), size, delimiter.data(), delimiter.size(), until);
    if (n < 0)
        return "error " + std::to_string(-n);
    out.resize(static_cast<size_t>(n));
    return out;
}

static void put(hal_handle dev, const std::string &text)
{
    REQUIRE(hal_write(dev, text.data(), text.size(), HAL_NOWAIT) ==
            static_cast<ssize_t>(text.size()));
}

static std::string rest(hal_handle dev)
{
    char bytes[4096];
    ssize_t n = hal_read(dev, bytes, sizeof(bytes), HAL_NOWAIT);
    return n < 0 ? "" : std::string(bytes, static_cast<size_t>(n)) + rest(dev);
}

static const std::string kAgain = "error " + std::to_string(EAGAIN);
static const std::string kTooLong = "error " + std::to_string(EMSGSIZE);

TEST_CASE("lines, and what is behind them")
{
    Device dev("loopback");
    put(dev, "one\ntwo\n\nthree");
    CHECK(line(dev) == "one\n");
    CHECK(hal_pending(dev) == 10);
    CHECK(line(dev) == "two\n");
    CHECK(line(dev) == "\n");
    CHECK(line(dev) == kAgain);
    CHECK(hal_pending(dev) == 5);
    put(dev, "!\nfour");
    CHECK(line(dev) == "three!\n");
    CHECK(rest(dev) == "four");
    CHECK(hal_pending(dev) == 0);
}

TEST_CASE("delimiters of 1 to 16 bytes, split at every point")
{
    for (size_t length = 1; length <= HAL_DELIMITER_MAX; length++) {
        std::string delimiter = std::string("0123456789abcdef").substr(0, length);
        for (size_t split = 0; split <= length; split++) {
            Device dev("loopback");
            put(dev, "text" + delimiter.substr(0, split));
            if (split < length)
                CHECK(line(dev, delimiter) == kAgain);
            put(dev, delimiter.substr(split) + "next");
            CHECK(line(dev, delimiter) == "text" + delimiter);
            CHECK(rest(dev) == "next");
        }
    }
}

TEST_CASE("a delimiter that begins again within itself")
{
    Device dev("loopback");
    for (const char *part : {"a", "a", "a", "b"})
        put(dev, part), (void)line(dev, "aab");
    CHECK(hal_pending(dev) == 0);
    put(dev, "xaaa");
    CHECK(line(dev, "aab") == kAgain);
    put(dev, "b.");
    CHECK(line(dev, "aab") == "xaaab");
    CHECK(rest(dev) == ".");
}

TEST_CASE("a NUL is a byte like others")
{
    Device dev("loopback");
    put(dev, std::string("a\0b\0\0c", 6));
    CHECK(line(dev, std::string("\0", 1)) == std::string("a\0", 2));
    CHECK(line(dev, std::string("\0\0", 2)) == std::string("b\0\0", 3));
    CHECK(rest(dev) == "c");
}

TEST_CASE("a line across many chunks")
{
    Device dev("loopback");
    std::string big(20000, 'x');
    put(dev, big + "\nmore");
    CHECK(line(dev) == big + "\n");
    CHECK(rest(dev) == "more");
}

TEST_CASE("longer than the caller takes: nothing is lost")
{
    Device dev("loopback");
    put(dev, "12345678\n");
    CHECK(line(dev, "\n", 8) == kTooLong);
    CHECK(contains(message(), "no delimiter within 8 bytes"));
    CHECK(line(dev, "\n", 8) == kTooLong);
    CHECK(line(dev, "\n", 1) == kTooLong);
    CHECK(line(dev, "\n", 9) == "12345678\n");
    put(dev, "12345678");
    CHECK(line(dev, "\n", 9) == kAgain);
    put(dev, "9");
    CHECK(line(dev, "\n", 9) == kTooLong);
    CHECK(rest(dev) == "123456789");
    put(dev, "ab\r\n");
    CHECK(line(dev, "\r\n", 3) == kTooLong); /* the delimiter does not fit */
    CHECK(line(dev, "\r\n", 4) == "ab\r\n");
}

TEST_CASE("exactly so many, or nothing is lost")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : {"loopback", "queue"}) {
        CAPTURE(uri);
        Device dev(uri);
        char buf[16];
        put(dev, "abc");
        CHECK(hal_read_exact(dev, buf, 5, hal_after_ms(20)) == -ETIMEDOUT);
        CHECK(hal_pending(dev) == 3);
        CHECK(hal_read_exact(dev, buf, 5, HAL_NOWAIT) == -EAGAIN);
        put(dev, "defg");
        CHECK(hal_read_exact(dev, buf, 5, HAL_NOWAIT) == 5);
        CHECK(std::string(buf, 5) == "abcde");
        CHECK(rest(dev) == "fg");
    }
}

TEST_CASE("a deadline in the middle of a line")
{
    Device dev("loopback");
    put(dev, "half");
    CHECK(line(dev, "\n", 100, hal_after_ms(20)) == "error " + std::to_string(ETIMEDOUT));
    CHECK(hal_pending(dev) == 4);
    std::thread writer([&] {
        sleep_ms(20);
        put(dev, " whole\nrest");
    });
    CHECK(line(dev, "\n", 100, HAL_FOREVER) == "half whole\n");
    writer.join();
    CHECK(rest(dev) == "rest");
}

TEST_CASE("at the end of the device what came stays")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    char buf[8];
    put(dev, "abc");
    CHECK(hal_control(dev, QUEUE_END, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(line(dev, "\n", 8, HAL_FOREVER) == "error " + std::to_string(ENODATA));
    CHECK(hal_read_exact(dev, buf, 8, HAL_FOREVER) == -ENODATA);
    CHECK(contains(message(), "after 3 of 8 bytes"));
    CHECK(hal_read(dev, buf, 8, HAL_FOREVER) == 3);
    CHECK(hal_read(dev, buf, 8, HAL_FOREVER) == 0);
}

TEST_CASE("a driver drops what is buffered")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    char buf[8];
    put(dev, "old\nolder");
    CHECK(line(dev) == "old\n");
    CHECK(hal_pending(dev) == 5);
    CHECK(hal_control(dev, QUEUE_DROP, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(hal_pending(dev) == 0);
    CHECK(hal_read(dev, buf, 8, HAL_NOWAIT) == -EAGAIN);
    put(dev, "new");
    CHECK(rest(dev) == "new");
    CHECK(hal_control(dev, QUEUE_DROP, nullptr, 0, HAL_NOWAIT) == 0);
    put(dev, "kept\n"); /* after the drop: not dropped by it */
    CHECK(line(dev) == "kept\n");
}

TEST_CASE("who waits for the rest forgets what was dropped")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    std::thread waiting([&] { CHECK(line(dev, "\n", 64, HAL_FOREVER) == "new\n"); });
    put(dev, "old ");
    CHECK(eventually([&] { return hal_pending(dev) == 4; }));
    CHECK(hal_control(dev, QUEUE_DROP, nullptr, 0, HAL_NOWAIT) == 0);
    put(dev, "new\n");
    waiting.join();

    std::thread exact([&] {
        char buf[3];
        CHECK(hal_read_exact(dev, buf, 3, HAL_FOREVER) == 3);
        CHECK(std::string(buf, 3) == "new");
    });
    put(dev, "ol");
    sleep_ms(50);
    CHECK(hal_control(dev, QUEUE_DROP, nullptr, 0, HAL_NOWAIT) == 0);
    put(dev, "new");
    exact.join();
}

TEST_CASE("memory: none before buffered reading, a chunk after, given back on close")
{
    Device dev("loopback");
    struct hal_description about;
    char buf[8];
    auto memory = [&] {
        REQUIRE(hal_describe(dev, &about, sizeof(about)) == 0);
        return about.memory;
    };
    uint64_t bare = memory();
    CHECK(bare <= 4096);
    put(dev, "abc");
    CHECK(hal_read(dev, buf, 3, HAL_NOWAIT) == 3);
    CHECK(hal_read_exact(dev, buf, 3, HAL_NOWAIT) == -EAGAIN);
    CHECK(memory() == bare);
    CHECK(line(dev) == kAgain);
    CHECK(memory() == bare + 4096);
    for (int i = 0; i < 1000; i++) {
        put(dev, "some line of text, and the beginning of the next\nbeg");
        CHECK(contains(line(dev), "some line"));
    }
    CHECK(memory() <= bare + 2 * 4096);
}

TEST_CASE("describing a device while its buffer grows")
{
    Registered queue("queue", queue_ops);
    Device dev("queue:?capacity=100000");
    std::atomic<bool> over{false};
    std::thread describer([&] {
        struct hal_description about;
        while (!over) {
            CHECK(hal_describe(dev, &about, sizeof(about)) == 0);
            CHECK(hal_pending(dev) >= 0);
        }
    });
    for (size_t length = 1; length < 60000; length *= 3) {
        std::string text(length, 'x');
        put(dev, text + "\n");
        CHECK(line(dev) == text + "\n");
    }
    over = true;
    describer.join();
}

/* ---- any mixture of reads gives the stream -------------------------------------------------- */

/* Few different bytes, so that delimiters of several bytes occur. */
static std::string random_stream(unsigned seed, size_t length)
{
    std::mt19937 random(seed);
    std::string stream(length, '\0');
    for (char &c : stream)
        c = "abcd"[random() % 4];
    return stream;
}

static void write_all(hal_handle dev, const std::string &stream, unsigned seed)
{
    std::mt19937 random(seed);
    for (size_t at = 0; at < stream.size();) {
        size_t n = std::min<size_t>(1 + random() % 300, stream.size() - at);
        ssize_t wrote = hal_write(dev, stream.data() + at, n, hal_after_ms(20000));
        REQUIRE(wrote == static_cast<ssize_t>(n));
        at += n;
        if (random() % 8 == 0)
            std::this_thread::sleep_for(std::chrono::microseconds(random() % 300));
    }
}

static ssize_t random_read(hal_handle dev, std::mt19937 &random, std::vector<char> &buf)
{
    hal_deadline until = random() % 3 ? hal_after(static_cast<int64_t>(random() % 200000)) : 0;
    size_t n = 1 + random() % 700;
    std::string delimiter = random_stream(random(), 1 + random() % 6);
    struct iovec iov[3] = {
        {buf.data(), n}, {buf.data() + n, random() % 5}, {nullptr, 100 + random() % 50}};
    iov[2].iov_base = buf.data() + n + iov[1].iov_len;
    switch (random() % 5) {
    case 0:
        return hal_read(dev, buf.data(), n, until);
    case 1:
        return hal_read_exact(dev, buf.data(), n, until);
    case 2:
        return hal_readv(dev, iov, 3, until);
    default:
        ssize_t got = hal_read_until(dev, buf.data(), n, delimiter.data(), delimiter.size(), until);
        if (got > 0) { /* it ends with the delimiter, which is nowhere before */
            std::string text(buf.data(), static_cast<size_t>(got));
            REQUIRE(text.find(delimiter) == text.size() - delimiter.size());
        }
        return got;
    }
}

TEST_CASE("any mixture of reads, with any deadlines, gives the stream")
{
    Registered queue("queue", queue_ops);
    for (const char *uri : {"loopback:?capacity=4096", "queue:?capacity=1000"})
        for (unsigned seed = 1; seed <= 6; seed++) {
            CAPTURE(uri);
            CAPTURE(seed);
            Device dev(uri);
            std::string stream = random_stream(seed, 60000), got;
            std::thread writer([&] { write_all(dev, stream, seed); });
            std::mt19937 random(seed);
            std::vector<char> buf(2000);
            for (long turn = 0; got.size() < stream.size() && turn < 3000000; turn++) {
                ssize_t n = random_read(dev, random, buf);
                if (n > 0)
                    got.append(buf.data(), static_cast<size_t>(n));
                else if (n != -EAGAIN && n != -ETIMEDOUT && n != -EMSGSIZE)
                    FAIL("a read returned " << n << ": " << hal_last_error());
                /* The end may be shorter than what read_exact and read_until want. */
                if (got.size() + static_cast<size_t>(hal_pending(dev)) == stream.size())
                    got += rest(dev);
            }
            writer.join();
            CHECK(got.size() == stream.size());
            CHECK((got == stream));
        }
}
