/* SPDX-License-Identifier: Apache-2.0 */
/* The GEMM unit, simulated: its registers, its interrupt, and the driver that multiplies on it. The
 * model is that of the build in place, where Verilator is (tools/packages-test.txt). */
#include "helpers.h"

#include <atomic>
#include <cerrno>
#include <random>
#include <vector>

#include <poll.h>

using test::contains;
using test::Device;
using test::message;

namespace
{

/* Model and emulator are of different machines where a cross compiler made the test. */
bool simulated()
{
    if (test::emulated())
        return false;
    hal_handle dev = hal_open("verilated:gemm", HAL_FOREVER);
    INFO(message());
    REQUIRE(dev > 0);
    hal_close(dev);
    return true;
}

uint64_t load(hal_handle dev, uint64_t offset)
{
    uint64_t value = 0;
    CHECK(hal_load(dev, offset, 4, &value) == 0);
    return value;
}

using Matrix = std::vector<int8_t>;

Matrix random_matrix(size_t size, unsigned seed)
{
    std::mt19937 engine(seed);
    std::uniform_int_distribution<int> numbers(-128, 127);
    Matrix matrix(size);
    for (auto &each : matrix)
        each = static_cast<int8_t>(numbers(engine));
    return matrix;
}

std::vector<int32_t> product(const Matrix &a, const Matrix &b, size_t m, size_t k, size_t n)
{
    std::vector<int32_t> c(m * n);
    for (size_t i = 0; i < m; i++)
        for (size_t j = 0; j < n; j++)
            for (size_t l = 0; l < k; l++)
                c[i * n + j] += a[i * k + l] * b[l * n + j];
    return c;
}

ssize_t multiply(hal_handle dev, const Matrix &a, const Matrix &b, std::vector<int32_t> &c,
                 hal_deadline until = HAL_FOREVER)
{
    hal_segment segments[3] = {};
    segments[0].tx = a.data();
    segments[0].len = a.size();
    segments[1].tx = b.data();
    segments[1].len = b.size();
    segments[2].rx = c.data();
    segments[2].len = c.size() * sizeof(c[0]);
    return hal_transfer(dev, segments, 3, until);
}

} // namespace

TEST_CASE("registers of a simulated design")
{
    if (!simulated())
        return;
    Device sim("verilated:gemm");
    CHECK(load(sim, 0x000) == 0x4d4d4547);
    CHECK(load(sim, 0x004) == 0x01000808);
    CHECK(hal_store(sim, 0x014, 4, 256) == 0);
    CHECK(load(sim, 0x014) == 256);

    uint64_t value;
    CHECK(hal_load(sim, 0x020, 4, &value) == -EIO);
    CHECK(contains(message(), "0x20: gemm answered SLVERR"));
    CHECK(hal_store(sim, 0x000, 4, 1) == -EIO);
    CHECK(hal_store(sim, 0x014, 4, 257) == -EIO);
    CHECK(hal_store(sim, 0x014, 4, 0) == -EIO);
    CHECK(load(sim, 0x014) == 256);
    CHECK(hal_load(sim, 0x000, 2, &value) == -EINVAL);
    CHECK(hal_load(sim, 0x000, 8, &value) == -EINVAL);
    CHECK(hal_load(sim, 0x4000, 4, &value) == -ERANGE);
    uint32_t words[4] = {1, 2, 3, 4};
    CHECK(hal_write_at(sim, words, sizeof(words), 0x400, HAL_FOREVER) == sizeof(words));
    CHECK(hal_write_at(sim, words, 3, 0x400, HAL_FOREVER) == -EINVAL);
    CHECK(hal_write_at(sim, words, sizeof(words), 0xbf8, HAL_FOREVER) == -EIO);
    CHECK(contains(message(), "0xc00"));
    CHECK(hal_write_at(sim, words, sizeof(words), 0x3ff8, HAL_FOREVER) == -ERANGE);
    CHECK(hal_read_at(sim, words, sizeof(words), 0x2000, HAL_FOREVER) == sizeof(words));
    CHECK(words[0] == 0);
}

TEST_CASE("a run, its interrupt, and its cycles")
{
    if (!simulated())
        return;
    Device sim("verilated:gemm");
    const std::vector<int8_t> ones(8 * 100, 1);
    int32_t count = 0;

    CHECK(hal_write_at(sim, ones.data(), ones.size(), 0x400, HAL_FOREVER) == 800);
    CHECK(hal_write_at(sim, ones.data(), ones.size(), 0x1000, HAL_FOREVER) == 800);
    CHECK(hal_store(sim, 0x014, 4, 100) == 0);
    CHECK(hal_store(sim, 0x010, 4, 1) == 0);
    CHECK(hal_read(sim, &count, sizeof(count), HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_read(sim, &count, sizeof(count), hal_after_ms(20)) == -ETIMEDOUT);
    for (int32_t run = 1; run <= 3; run++) {
        CHECK(hal_store(sim, 0x008, 4, run == 1 ? 3 : 1) == 0); // CLEAR and START, then START
        CHECK(hal_read(sim, &count, sizeof(count), hal_after_ms(10000)) == 4);
        CHECK(count == run);
        CHECK(load(sim, 0x00c) == 2); // DONE
        CHECK(load(sim, 0x018) == 100);
        CHECK(load(sim, 0x2000) == static_cast<uint64_t>(100 * run));
        CHECK(hal_store(sim, 0x00c, 4, 2) == 0);
        CHECK(load(sim, 0x00c) == 0);
    }
    CHECK(hal_read(sim, &count, 2, HAL_NOWAIT) == -EINVAL);
    CHECK(hal_write(sim, &count, 4, HAL_NOWAIT) == -EOPNOTSUPP);
}

TEST_CASE("nothing changes while it runs")
{
    if (!simulated())
        return;
    Device sim("verilated:gemm?run=0"); // the clock stands still but for accesses
    CHECK(hal_store(sim, 0x014, 4, 256) == 0);
    CHECK(hal_store(sim, 0x008, 4, 3) == 0);
    CHECK(load(sim, 0x00c) == 1);
    CHECK(hal_store(sim, 0x008, 4, 1) == -EIO);
    CHECK(hal_store(sim, 0x400, 4, 1) == -EIO);
    CHECK(hal_store(sim, 0x014, 4, 1) == -EIO);
    while (load(sim, 0x00c) == 1)
        ;
    CHECK(load(sim, 0x018) == 256);
}

TEST_CASE("products of every shape are exact")
{
    if (!simulated())
        return;
    static const size_t shapes[][3] = {{1, 1, 1},   {8, 256, 8},   {8, 257, 8}, {9, 1, 17},
                                       {3, 600, 5}, {16, 512, 24}, {7, 255, 9}};
    Device unit("gemm:");
    unsigned seed = 1;

    for (const auto &[m, k, n] : shapes) {
        CAPTURE(m);
        CAPTURE(k);
        CAPTURE(n);
        const Matrix a = random_matrix(m * k, seed++), b = random_matrix(k * n, seed++);
        std::vector<int32_t> c(m * n);
        CHECK(multiply(unit, a, b, c) == static_cast<ssize_t>(a.size() + b.size() + 4 * c.size()));
        CHECK(c == product(a, b, m, k, n));
    }
    const Matrix lowest(8 * 256, -128);
    std::vector<int32_t> c(64);
    CHECK(multiply(unit, lowest, lowest, c) > 0);
    CHECK(c == std::vector<int32_t>(64, 256 * 128 * 128));
}

TEST_CASE("tiles and cycles are counted")
{
    if (!simulated())
        return;
    for (const char *uri : {"gemm:verilated:gemm", "gemm:verilated:gemm?irq=false"}) {
        CAPTURE(std::string(uri));
        Device unit(uri);
        const Matrix a = random_matrix(9 * 300, 1), b = random_matrix(300 * 9, 2);
        std::vector<int32_t> c(81);
        hal_value tiles, cycles;

        CHECK(multiply(unit, a, b, c) > 0);
        CHECK(hal_get(unit, "tiles", &tiles, HAL_FOREVER) == 0);
        CHECK(hal_get(unit, "cycles", &cycles, HAL_FOREVER) == 0);
        CHECK(tiles.i == 2 * 2 * 2); // rows, columns, depths of 256 and 44
        CHECK(cycles.i == 2 * 2 * 300);
        CHECK(c == product(a, b, 9, 300, 9));
        CHECK(hal_get(unit, "interrupt", &tiles, HAL_FOREVER) == 0);
        CHECK(tiles.b == !contains(uri, "irq=false"));
    }
}

TEST_CASE("a product that is given up leaves the unit usable")
{
    if (!simulated())
        return;
    Device unit("gemm:");
    const size_t m = 64, k = 256, n = 64;
    const Matrix a = random_matrix(m * k, 1), b = random_matrix(k * n, 2);
    std::vector<int32_t> c(m * n);

    CHECK(multiply(unit, a, b, c, hal_after_ms(1)) == -ETIMEDOUT);
    CHECK(multiply(unit, a, b, c) > 0);
    CHECK(c == product(a, b, m, k, n));

    std::thread canceller([&] {
        test::sleep_ms(2);
        hal_cancel(unit);
    });
    ssize_t result = multiply(unit, a, b, c);
    canceller.join();
    CHECK((result == -ECANCELED || result > 0));
    CHECK(multiply(unit, a, b, c) > 0);
    CHECK(c == product(a, b, m, k, n));
}

TEST_CASE("threads take turns")
{
    if (!simulated())
        return;
    Device unit("gemm:");
    const Matrix a = random_matrix(5 * 70, 1), b = random_matrix(70 * 11, 2);
    const auto want = product(a, b, 5, 70, 11);
    std::vector<std::thread> threads;
    std::atomic<int> right{0};

    for (int i = 0; i < 3; i++)
        threads.emplace_back([&] {
            for (int round = 0; round < 5; round++) {
                std::vector<int32_t> c(5 * 11);
                right += multiply(unit, a, b, c) > 0 && c == want;
            }
        });
    for (auto &thread : threads)
        thread.join();
    CHECK(right == 15);
}

TEST_CASE("what is no product is refused")
{
    if (!simulated())
        return;
    Device unit("gemm:");
    Matrix a(6), b(6);
    std::vector<int32_t> c(4);

    CHECK(multiply(unit, a, b, c) > 0); // 2 x 3 times 3 x 2
    c.resize(5);
    CHECK(multiply(unit, a, b, c) == -EINVAL);
    CHECK(contains(message(), "belong to no product"));
    b.clear();
    CHECK(multiply(unit, a, b, c) == -EINVAL);
    hal_segment one = {};
    one.rx = c.data();
    one.len = 4;
    CHECK(hal_transfer(unit, &one, 1, HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(hal_read(unit, c.data(), 4, HAL_NOWAIT) == -EOPNOTSUPP);
    CHECK(hal_write(unit, c.data(), 4, HAL_NOWAIT) == -EOPNOTSUPP);
}

TEST_CASE("what is no unit, and no model")
{
    static const struct {
        const char *uri;
        int error;
        const char *part;
    } cases[] = {
        {"gemm:sim:memory?size=16384", -ENODEV, "is no gemm unit: its ID is 0x0"},
        {"gemm:uio:uio4321", -ENOENT, "/dev/uio4321"},
        {"gemm:loopback:", -EOPNOTSUPP, "loopback"},
        {"verilated:", -EINVAL, "which design? verilated:gemm"},
        {"verilated:nothing", -ENOENT, "no such model"},
        {"verilated:/dev/null", -ENOEXEC, "/dev/null"},
        {"verilated:gemm?run=-1", -ERANGE, "run"},
    };

    for (const auto &c : cases) {
        CAPTURE(std::string(c.uri));
        CHECK(hal_open(c.uri, HAL_FOREVER) == c.error);
        INFO(message());
        CHECK(contains(message(), c.part));
    }
}
