/* SPDX-License-Identifier: Apache-2.0 */
/* What a driver is told, and what it may ask of its device. */
#include "helpers.h"

#include <cerrno>
#include <fcntl.h>
#include <functional>
#include <poll.h>
#include <vector>

using namespace test;

/* A driver whose functions are those of the test that runs. */
struct Script {
    std::function<int(struct hal_device *)> init = [](struct hal_device *) { return 0; };
    std::function<ssize_t(struct hal_device *, void *, size_t, hal_deadline)> read =
        [](struct hal_device *, void *, size_t, hal_deadline) { return -EAGAIN; };
    std::function<ssize_t(struct hal_device *, const void *, size_t, hal_deadline)> write =
        [](struct hal_device *, const void *, size_t n, hal_deadline) {
            return static_cast<ssize_t>(n);
        };
    std::function<void(struct hal_device *)> fini = [](struct hal_device *) {};
    int finis = 0, reads = 0;
};

static Script *script;

static const char *const kModes[] = {"calm", "wild", nullptr};

static const struct hal_attribute *attributes()
{
    static struct hal_attribute table[3];
    const char *const names[] = {"count", "mode", "bare"};
    for (int i = 0; i < 3; i++) {
        table[i].name = names[i];
        table[i].type = HAL_TYPE_INT;
        table[i].access = HAL_ATTR_OPEN;
    }
    table[0].initial = "12";
    table[1].type = HAL_TYPE_CHOICE;
    table[1].choices = kModes;
    table[1].initial = "calm";
    return table;
}

static struct driver_ops scripted(uint32_t flags = 0)
{
    struct driver_ops ops = {};
    ops.init = [](struct hal_device *dev) { return script->init(dev); };
    ops.read = [](struct hal_device *dev, void *buf, size_t len, hal_deadline until) {
        script->reads++;
        return script->read(dev, buf, len, until);
    };
    ops.write = [](struct hal_device *dev, const void *buf, size_t len, hal_deadline until) {
        return script->write(dev, buf, len, until);
    };
    ops.fini = [](struct hal_device *dev) {
        script->finis++;
        script->fini(dev);
    };
    ops.attributes = attributes();
    ops.attribute_count = 3;
    ops.flags = flags;
    return ops;
}

struct Scripted : Script {
    explicit Scripted(uint32_t flags = 0) : registered("script", scripted(flags))
    {
        script = this;
    }
    Registered registered;
};

TEST_CASE("init is told URI, address, options, deadline")
{
    Scripted driver;
    bool ran = false;
    hal_deadline deadline = hal_after_ms(5000);
    driver.init = [&](struct hal_device *dev) {
        struct hal_value value;
        CHECK(hal_device_uri(dev) == std::string("script:some%20where?count=0x20"));
        CHECK(hal_device_address(dev) == std::string("some where"));
        CHECK(hal_device_open_deadline(dev) == deadline);
        CHECK(hal_device_option(dev, "count", &value) == 1); /* the URI gives it */
        CHECK(value.type == HAL_TYPE_INT);
        CHECK(value.i == 32);
        CHECK(hal_device_option(dev, "mode", &value) == 0); /* its initial value */
        CHECK(value.s == std::string("calm"));
        CHECK(hal_device_option(dev, "bare", &value) == -ENOENT); /* it has none */
        CHECK(hal_device_option(dev, "no-such", &value) == -ENOENT);
        CHECK(hal_device_option_at(dev, 0)->key == std::string("count"));
        CHECK(hal_device_option_at(dev, 0)->value == std::string("0x20"));
        CHECK(hal_device_option_at(dev, 1) == nullptr);
        CHECK(hal_device_option_at(dev, SIZE_MAX) == nullptr);
        CHECK(hal_device_state(dev) == nullptr);
        CHECK(hal_device_fd(dev) == -1);
        CHECK(hal_device_fd_out(dev) == -1);
        hal_device_set_state(dev, &ran);
        ran = true;
        return 0;
    };
    hal_handle dev = hal_open("script:some%20where?count=0x20", deadline);
    REQUIRE(dev > 0);
    CHECK(ran);
    driver.read = [&](struct hal_device *d, void *, size_t, hal_deadline until) -> ssize_t {
        CHECK(hal_device_state(d) == &ran);
        CHECK(hal_device_address(d) == std::string("some where"));
        CHECK(until == deadline);
        return 0;
    };
    char byte;
    CHECK(hal_read(dev, &byte, 1, deadline) == 0);
    CHECK(hal_close(dev) == 0);
    CHECK(driver.finis == 1);
}

TEST_CASE("no address is an empty one; a logical name is resolved")
{
    Scripted driver;
    std::string uri, address = "?";
    driver.init = [&](struct hal_device *dev) {
        uri = hal_device_uri(dev);
        address = hal_device_address(dev);
        return 0;
    };
    {
        Device dev("script");
    }
    CHECK(uri == "script");
    CHECK(address.empty());
    REQUIRE(hal_bind("alias", "script:here?count=1") == 0);
    {
        Device dev("alias?mode=wild");
    }
    CHECK(uri == "script:here?count=1&mode=wild");
    CHECK(hal_unbind("alias") == 0);
}

TEST_CASE("options that the table does not list")
{
    {
        Scripted strict;
        CHECK(hal_open("script:?colour=red", HAL_FOREVER) == -EINVAL);
    }
    Scripted lenient(HAL_DRIVER_ANY_OPTION);
    lenient.init = [](struct hal_device *dev) {
        CHECK(hal_device_option_at(dev, 0)->key == std::string("colour"));
        CHECK(hal_device_option_at(dev, 0)->value == std::string("deep red"));
        return 0;
    };
    Device dev("script:?colour=deep%20red&count=3");
    CHECK(hal_open("script:?colour=red&count=x", HAL_FOREVER) == -EINVAL); /* listed: checked */
}

TEST_CASE("fini is not called for an init that failed")
{
    Scripted driver;
    int ends[2] = {-1, -1};
    driver.init = [&](struct hal_device *dev) {
        REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
        hal_device_set_fds(dev, ends[0], ends[1]);
        CHECK(hal_device_fd(dev) == ends[0]);
        CHECK(hal_device_fd_out(dev) == ends[1]);
        return -EIO;
    };
    CHECK(hal_open("script", HAL_FOREVER) == -EIO);
    CHECK(message() == "open \"script\": Input/output error");
    CHECK(driver.finis == 0);
    CHECK(fcntl(ends[0], F_GETFD) == -1);
    CHECK(fcntl(ends[1], F_GETFD) == -1);
}

TEST_CASE("fini may wait, whatever the last call's deadline was")
{
    Scripted driver;
    struct hal_value value;
    int64_t took = 0;
    driver.fini = [&](struct hal_device *dev) {
        took = duration_of([&] {
            CHECK(hal_device_wait(dev, HAL_LANE_CONTROL, -1, 0, hal_after_ms(20)) == -ETIMEDOUT);
        });
    };
    for (hal_deadline until : {HAL_NOWAIT, hal_now(), HAL_FOREVER}) {
        Device dev("script");
        CHECK(hal_get(dev, "count", &value, until) == -EACCES);
        CHECK(dev.close() == 0);
        CHECK(took >= 20 * kMillisecond);
    }
}

TEST_CASE("a device with one direction")
{
    Scripted driver;
    int ends[2];
    REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
    driver.init = [&](struct hal_device *dev) {
        hal_device_set_fds(dev, ends[0], -1);
        return 0;
    };
    Device dev("script");
    CHECK(hal_fd(dev, POLLIN) == ends[0]);
    CHECK(hal_fd(dev, POLLOUT) == -EOPNOTSUPP);
    CHECK(hal_poll(dev, POLLOUT, HAL_NOWAIT) == -EOPNOTSUPP);
    CHECK(hal_poll(dev, POLLIN, HAL_NOWAIT) == -EAGAIN);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(hal_poll(dev, POLLIN, HAL_FOREVER) == POLLIN);
    close(ends[1]);
}

TEST_CASE("what waiting inside a driver returns")
{
    Scripted driver;
    int ends[2];
    REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
    std::vector<int> results;
    driver.read = [&](struct hal_device *dev, void *, size_t, hal_deadline until) -> ssize_t {
        int woken = hal_device_wait(dev, HAL_LANE_READ, ends[0], POLLIN, until);
        results.push_back(woken);
        return woken < 0 ? woken : 0;
    };
    Device dev("script");
    char byte;
    CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == -EAGAIN);
    CHECK(hal_read(dev, &byte, 1, hal_after_ms(10)) == -ETIMEDOUT);
    CHECK(write(ends[1], "x", 1) == 1);
    CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == 0);
    CHECK(results == std::vector<int>{-EAGAIN, -ETIMEDOUT, POLLIN});
    CHECK(read(ends[0], &byte, 1) == 1);
    close(ends[1]); /* a hang-up is an event, too */
    CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == 0);
    CHECK(results.back() == POLLHUP);
    close(ends[0]);
}

TEST_CASE("an open is bounded by its deadline, even if init would wait for ever")
{
    Scripted driver;
    driver.init = [](struct hal_device *dev) {
        return hal_device_wait(dev, HAL_LANE_CONTROL, -1, 0, HAL_FOREVER);
    };
    int64_t took = duration_of([] { CHECK(hal_open("script", hal_after_ms(20)) == -ETIMEDOUT); });
    CHECK(took >= 20 * kMillisecond);
    CHECK(took < 20 * kMillisecond + kPromptly);
    CHECK(message() == "open \"script\": timed out");
    CHECK(hal_open("script", HAL_NOWAIT) == -EAGAIN);
}

TEST_CASE("a wake before the wait is not lost, one after a wait is not seen twice")
{
    Scripted driver;
    int woken = 0;
    driver.read = [&](struct hal_device *dev, void *, size_t, hal_deadline until) -> ssize_t {
        hal_device_wake(dev, POLLIN);
        CHECK(hal_device_wait(dev, HAL_LANE_READ, -1, 0, until) == 0);
        woken++;
        return hal_device_wait(dev, HAL_LANE_READ, -1, 0, hal_after_ms(10));
    };
    Device dev("script");
    char byte;
    CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == -ETIMEDOUT);
    CHECK(woken == 1);
}

TEST_CASE("-EINTR of a driver goes through")
{
    Scripted driver;
    driver.read = [](struct hal_device *, void *, size_t, hal_deadline) { return -EINTR; };
    Device dev("script");
    char byte;
    CHECK(hal_read(dev, &byte, 1, HAL_FOREVER) == -EINTR);
    CHECK(hal_error_kind(-EINTR) == HAL_INTERRUPTED);
}

TEST_CASE("plain descriptors: the driver is asked only when nothing came of it")
{
    Scripted driver(HAL_DRIVER_PLAIN_IO);
    int ends[2] = {-1, -1};
    driver.init = [&](struct hal_device *dev) {
        REQUIRE(pipe2(ends, O_NONBLOCK | O_CLOEXEC) == 0);
        hal_device_set_fds(dev, ends[0], -1);
        return 0;
    };
    driver.read = [&](struct hal_device *dev, void *buf, size_t len, hal_deadline) -> ssize_t {
        ssize_t n = read(ends[0], buf, len);
        return n > 0          ? n
               : n < 0        ? -errno
               : ends[1] >= 0 ? hal_fail(-EIO, "read", hal_device_uri(dev), "odd")
                              : hal_fail(-ENODEV, "read", hal_device_uri(dev), "it was pulled");
    };
    Device dev("script");
    char buf[8];
    CHECK(write(ends[1], "abc", 3) == 3);
    CHECK(hal_read(dev, buf, 2, HAL_FOREVER) == 2);
    CHECK(driver.reads == 0);
    CHECK(hal_read_until(dev, buf, 8, "d", 1, HAL_NOWAIT) == -EAGAIN); /* "c" is buffered */
    CHECK(hal_read(dev, buf, 8, HAL_NOWAIT) == 1);
    CHECK(buf[0] == 'c');
    CHECK(hal_read(dev, buf, 8, 1) == -ETIMEDOUT);
    CHECK(driver.reads > 0);
    CHECK(hal_read(dev, nullptr, 8, HAL_NOWAIT) == -EFAULT);
    close(ends[1]);
    ends[1] = -1;
    CHECK(hal_read(dev, buf, 8, HAL_FOREVER) == -ENODEV);
    CHECK(message() == "read \"script\": No such device (it was pulled)");
}
