/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers.h"
#include "helpers.h"

#include <cerrno>

using namespace test;

static std::string text_of(hal_handle dev, const char *name)
{
    char out[HAL_TEXT_MAX];
    long n = hal_get_text(dev, name, out, sizeof(out), HAL_FOREVER);
    return n < 0 ? "error: " + message() : std::string(out, static_cast<size_t>(n));
}

TEST_CASE("listing")
{
    Registered settings("settings", settings_ops);
    Device dev("settings");
    const struct hal_attribute *row = nullptr;
    long count = hal_attribute_count(dev);
    REQUIRE(count == static_cast<long>(settings_ops.attribute_count));
    for (long i = 0; i < count; i++) {
        REQUIRE(hal_attribute_at(dev, static_cast<size_t>(i), &row) == 0);
        CHECK(row->name == settings_ops.attributes[i].name);
    }
    CHECK(hal_attribute_at(dev, static_cast<size_t>(count), &row) == -ERANGE);
    CHECK(hal_attribute_at(dev, SIZE_MAX, &row) == -ERANGE);
    CHECK(hal_attribute_at(dev, 0, nullptr) == -EFAULT);
    CHECK(hal_attribute_count(-1) == -EBADF);
    CHECK(hal_attribute_at(-1, 0, &row) == -EBADF);
}

TEST_CASE("set and get: every type")
{
    Registered settings("settings", settings_ops);
    Device dev("settings");
    int64_t number = 0;
    CHECK(hal_set_text(dev, "on", "yes", HAL_FOREVER) == 0);
    CHECK(text_of(dev, "on") == "true");
    CHECK(hal_get_int(dev, "on", &number, HAL_FOREVER) == 0);
    CHECK(number == 1);
    CHECK(hal_set_int(dev, "count", 42, HAL_FOREVER) == 0);
    CHECK(hal_get_int(dev, "count", &number, HAL_FOREVER) == 0);
    CHECK(number == 42);
    CHECK(hal_set_text(dev, "count", "0x10", HAL_FOREVER) == 0);
    CHECK(text_of(dev, "count") == "16");
    CHECK(hal_set_int(dev, "ratio", 1, HAL_FOREVER) == 0); /* an INT is taken for a FLOAT */
    CHECK(text_of(dev, "ratio") == "1");
    CHECK(hal_set_text(dev, "label", "a b", HAL_FOREVER) == 0);
    CHECK(text_of(dev, "label") == "a b");
    CHECK(hal_set_text(dev, "mode", "turbo", HAL_FOREVER) == 0);
    CHECK(text_of(dev, "mode") == "turbo");
    struct hal_value value = {};
    value.type = HAL_TYPE_FLOAT;
    value.f = 1.25;
    CHECK(hal_set(dev, "ratio", &value, HAL_FOREVER) == 0);
    struct hal_value got;
    CHECK(hal_get(dev, "ratio", &got, HAL_FOREVER) == 0);
    CHECK(got.type == HAL_TYPE_FLOAT);
    CHECK(got.f == 1.25);
}

TEST_CASE("refusals of get")
{
    Registered settings("settings", settings_ops);
    Device dev("settings");
    struct hal_value value;
    int64_t number;
    char out[4];
    CHECK(hal_get(dev, "no-such", &value, HAL_FOREVER) == -ENOENT);
    for (size_t i = 0; i < settings_ops.attribute_count; i++)
        CHECK(contains(message(), settings_ops.attributes[i].name));
    CHECK(hal_get(dev, "cuont", &value, HAL_FOREVER) == -ENOENT);
    CHECK(contains(message(), "did you mean \"count\"?"));
    CHECK(hal_get(dev, "hidden", &value, HAL_FOREVER) == -EACCES);
    CHECK(hal_get(dev, nullptr, &value, HAL_FOREVER) == -EFAULT);
    CHECK(hal_get(dev, "count", nullptr, HAL_FOREVER) == -EFAULT);
    CHECK(hal_get_int(dev, "count", nullptr, HAL_FOREVER) == -EFAULT);
    for (const char *name : {"ratio", "label", "mode"})
        CHECK(hal_get_int(dev, name, &number, HAL_FOREVER) == -EINVAL);
    CHECK(hal_get_int(dev, "no-such", &number, HAL_FOREVER) == -ENOENT);
    CHECK(hal_get_text(dev, "mode", out, sizeof(out), HAL_FOREVER) == -ENAMETOOLONG);
    CHECK(hal_get_text(dev, "mode", nullptr, 4, HAL_FOREVER) == -EFAULT);
    CHECK(hal_get_text(dev, "no-such", out, sizeof(out), HAL_FOREVER) == -ENOENT);
    CHECK(hal_get(-1, "count", &value, HAL_FOREVER) == -EBADF);
    CHECK(hal_get_text(-1, "count", out, sizeof(out), HAL_FOREVER) == -EBADF);
}

TEST_CASE("refusals of set")
{
    Registered settings("settings", settings_ops);
    Device dev("settings");
    struct hal_value value = {};
    CHECK(hal_set_int(dev, "no-such", 1, HAL_FOREVER) == -ENOENT);
    CHECK(hal_set_int(dev, "log", 1, HAL_FOREVER) == -EACCES);
    CHECK(contains(message(), "read-only"));
    CHECK(hal_set_int(dev, "fixed", 1, HAL_FOREVER) == -EACCES);
    CHECK(contains(message(), "when opening"));
    CHECK(hal_set_int(dev, "count", 101, HAL_FOREVER) == -ERANGE);
    CHECK(hal_set_int(dev, "count", -11, HAL_FOREVER) == -ERANGE);
    CHECK(hal_set_int(dev, "ratio", 3, HAL_FOREVER) == -ERANGE);
    CHECK(hal_set_int(dev, "on", 1, HAL_FOREVER) == -EINVAL);
    CHECK(hal_set_int(dev, "label", 1, HAL_FOREVER) == -EINVAL);
    CHECK(hal_set_text(dev, "mode", "warp", HAL_FOREVER) == -EINVAL);
    CHECK(contains(message(), "slow, fast, turbo"));
    CHECK(hal_set_text(dev, "count", "many", HAL_FOREVER) == -EINVAL);
    CHECK(hal_set_text(dev, "count", nullptr, HAL_FOREVER) == -EFAULT);
    CHECK(hal_set_text(dev, nullptr, "1", HAL_FOREVER) == -EFAULT);
    CHECK(hal_set(dev, "count", nullptr, HAL_FOREVER) == -EFAULT);
    CHECK(hal_set(dev, nullptr, &value, HAL_FOREVER) == -EFAULT);
    CHECK(hal_set(dev, "count", &value, HAL_FOREVER) == -EINVAL); /* no type at all */
    value.type = HAL_TYPE_FLOAT;
    value.f = 1;
    CHECK(hal_set(dev, "count", &value, HAL_FOREVER) == -EINVAL);
    value.type = HAL_TYPE_TEXT;
    std::memset(value.s, 'x', sizeof(value.s));
    CHECK(hal_set(dev, "label", &value, HAL_FOREVER) == -EINVAL);
    CHECK(contains(message(), "NUL"));
    std::string longest(HAL_TEXT_MAX - 1, 'x');
    CHECK(hal_set_text(dev, "label", longest.c_str(), HAL_FOREVER) == 0);
    CHECK(hal_set_text(dev, "label", (longest + "x").c_str(), HAL_FOREVER) == -ENAMETOOLONG);
    CHECK(hal_set_int(dev, "stubborn", 1, HAL_FOREVER) == -EIO);
    CHECK(message() == "set \"settings\": Input/output error");
    CHECK(hal_set_int(-1, "count", 1, HAL_FOREVER) == -EBADF);
    CHECK(text_of(dev, "count") == "7"); /* nothing of this did anything */
}

TEST_CASE("options of the URI: applied in the table's order, initial values given to init")
{
    Registered settings("settings", settings_ops);
    Device plain("settings");
    CHECK(text_of(plain, "count") == "7");
    CHECK(text_of(plain, "mode") == "slow");
    CHECK(text_of(plain, "fixed") == "3");
    CHECK(text_of(plain, "log") == "");
    Device given("settings:?mode=fast&label=x%20y&count=9&on&fixed=4");
    CHECK(text_of(given, "log") == "on count label mode ");
    CHECK(text_of(given, "label") == "x y");
    CHECK(text_of(given, "on") == "true");
    CHECK(text_of(given, "count") == "9");
    CHECK(text_of(given, "fixed") == "4");
}

TEST_CASE("options that are refused fail the open")
{
    Registered settings("settings", settings_ops);
    CHECK(hal_open("settings:?no-such=1", HAL_FOREVER) == -EINVAL);
    CHECK(contains(message(), "no option \"no-such\"; there are: "));
    CHECK(hal_open("settings:?cuont=1", HAL_FOREVER) == -EINVAL);
    CHECK(contains(message(), "did you mean \"count\"?"));
    CHECK(hal_open("settings:?log=1", HAL_FOREVER) == -EINVAL);
    CHECK(hal_open("settings:?hidden=1", HAL_FOREVER) == -EINVAL);
    CHECK(hal_open("settings:?count=many", HAL_FOREVER) == -EINVAL);
    CHECK(hal_open("settings:?count=101", HAL_FOREVER) == -ERANGE);
    CHECK(hal_open("settings:?mode=warp", HAL_FOREVER) == -EINVAL);
    CHECK(hal_open("settings:?stubborn=1", HAL_FOREVER) == -EIO);
    CHECK(hal_last_errno() == EIO);
}

TEST_CASE("a device's own attributes come before the driver's")
{
    Registered settings("settings", settings_ops);
    Device dev("settings:own");
    CHECK(hal_attribute_count(dev) == static_cast<long>(settings_ops.attribute_count) + 2);
    CHECK(hal_set_int(dev, "count", 500000, HAL_FOREVER) == 0); /* its range is wider */
    CHECK(text_of(dev, "extra") == "500000");
    CHECK(hal_set_int(dev, "count", -1, HAL_FOREVER) == -ERANGE);
}

TEST_CASE("an ill-formed table of a device fails the open")
{
    Registered odd("odd", odd_ops);
    CHECK(hal_open("odd:own-table", HAL_FOREVER) == -EINVAL);
    CHECK(contains(message(), "attribute 0"));
}

TEST_CASE("attribute functions that return more than 0")
{
    Registered odd("odd", odd_ops);
    struct hal_value value;
    CHECK(hal_open("odd:?knob=1", HAL_FOREVER) == -EPROTO);
    Device dev("odd");
    CHECK(hal_get(dev, "knob", &value, HAL_FOREVER) == -EPROTO);
    CHECK(contains(message(), "knob"));
    CHECK(hal_set_int(dev, "knob", 1, HAL_FOREVER) == -EPROTO);
}

TEST_CASE("the deadline bounds an attribute that answers late")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    struct hal_value value;
    int64_t took = duration_of(
        [&] { CHECK(hal_get(dev, "written", &value, hal_after_ms(20)) == -ETIMEDOUT); });
    CHECK(took >= 20 * kMillisecond);
    CHECK(took < 20 * kMillisecond + kPromptly);
    CHECK(hal_get(dev, "written", &value, HAL_NOWAIT) == -EAGAIN);
    std::thread writer([&] {
        sleep_ms(10);
        CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    });
    CHECK(hal_get(dev, "written", &value, hal_after_ms(10000)) == 0);
    writer.join();
}

TEST_CASE("the deadline bounds a driver that would wait for ever")
{
    Registered queue("queue", queue_ops);
    Device dev("queue");
    int64_t took = duration_of([&] {
        CHECK(hal_control(dev, QUEUE_WAIT_LONG, nullptr, 0, hal_after_ms(20)) == -ETIMEDOUT);
    });
    CHECK(took >= 20 * kMillisecond);
    CHECK(took < 20 * kMillisecond + kPromptly);
}
