/* SPDX-License-Identifier: Apache-2.0 */
#include "helpers.h"

#include <cerrno>
#include <clocale>
#include <cmath>
#include <limits>
#include <random>

using namespace test;

static const char *const kColours[] = {"red", "green", nullptr};

static struct hal_attribute attribute(enum hal_type type, double min = 0, double max = 0)
{
    struct hal_attribute attr = {};
    attr.name = "thing";
    attr.type = type;
    attr.access = HAL_ATTR_READ;
    attr.min = min;
    attr.max = max;
    attr.choices = kColours;
    return attr;
}

static int parse(const struct hal_attribute &attr, const std::string &text, struct hal_value &out)
{
    return hal_value_parse(&attr, text.c_str(), &out);
}

TEST_CASE("bool: its words")
{
    auto attr = attribute(HAL_TYPE_BOOL);
    struct hal_value value;
    for (const char *text : {"true", "1", "on", "yes", "TRUE", "On"}) {
        CAPTURE(text);
        CHECK(parse(attr, text, value) == 0);
        CHECK(value.type == HAL_TYPE_BOOL);
        CHECK(value.b);
    }
    for (const char *text : {"false", "0", "off", "no", "No"}) {
        CAPTURE(text);
        CHECK(parse(attr, text, value) == 0);
        CHECK(!value.b);
    }
    for (const char *text : {"", "2", "truth", " true", "true ", "y"}) {
        CAPTURE(text);
        CHECK(parse(attr, text, value) == -EINVAL);
    }
    CHECK(message() == "set \"thing\": \"y\" is not true or false");
}

TEST_CASE("int: decimal, hexadecimal, limits")
{
    auto attr = attribute(HAL_TYPE_INT);
    struct hal_value value;
    const struct {
        const char *text;
        int64_t number;
    } good[] = {{"0", 0},
                {"-0", 0},
                {"007", 7},
                {"+5", 5},
                {"-12", -12},
                {"0x1F", 31},
                {"0Xff", 255},
                {"-0x10", -16},
                {"9223372036854775807", INT64_MAX},
                {"-9223372036854775808", INT64_MIN},
                {"0x7fffffffffffffff", INT64_MAX}};
    for (const auto &row : good) {
        CAPTURE(row.text);
        CHECK(parse(attr, row.text, value) == 0);
        CHECK(value.type == HAL_TYPE_INT);
        CHECK(value.i == row.number);
    }
    for (const char *text :
         {"", "x", "-", "1.0", "1e3", " 1", "1 ", "0x", "0xg", "--1", "1_000", "0b1", "\t1"}) {
        CAPTURE(text);
        CHECK(parse(attr, text, value) == -EINVAL);
    }
    CHECK(parse(attr, "9223372036854775808", value) == -ERANGE);
    CHECK(parse(attr, "-9223372036854775809", value) == -ERANGE);
    CHECK(parse(attr, "0x10000000000000000", value) == -ERANGE);
}

TEST_CASE("float: as strtod reads it")
{
    auto attr = attribute(HAL_TYPE_FLOAT);
    struct hal_value value;
    const struct {
        const char *text;
        double number;
    } good[] = {{"0", 0},        {"1.5", 1.5},
                {"-2", -2},      {"1e3", 1000},
                {".5", 0.5},     {"5.", 5},
                {"0x1p4", 16},   {"1e-400", 0},
                {"+1.25", 1.25}, {"1.7976931348623157e308", std::numeric_limits<double>::max()}};
    for (const auto &row : good) {
        CAPTURE(row.text);
        CHECK(parse(attr, row.text, value) == 0);
        CHECK(value.type == HAL_TYPE_FLOAT);
        CHECK(value.f == row.number);
    }
    CHECK(parse(attr, "inf", value) == 0);
    CHECK(std::isinf(value.f));
    for (const char *text : {"", " 1", "\t1", "\n1", "1 ", "1,5", "nan", "x", "1.5W", "1.5 V"}) {
        CAPTURE(text);
        CHECK(parse(attr, text, value) == -EINVAL);
    }
    CHECK(parse(attr, "1e999", value) == -ERANGE);
    CHECK(parse(attr, "-1e999", value) == -ERANGE);
}

TEST_CASE("numbers may carry their unit")
{
    struct hal_value value;
    hal_attribute attr = {};

    attr.name = "n";
    attr.type = HAL_TYPE_FLOAT;
    attr.unit = "s";
    CHECK(hal_value_parse(&attr, "5ms", &value) == 0);
    CHECK(value.f == 5 * 1e-3);
    CHECK(hal_value_parse(&attr, "2s", &value) == 0);
    CHECK(value.f == 2);
    CHECK(hal_value_parse(&attr, "5%", &value) == -EINVAL);
    CHECK(hal_value_parse(&attr, "5msec", &value) == -EINVAL);
    attr.unit = nullptr;
    CHECK(hal_value_parse(&attr, "1%", &value) == 0);
    CHECK(value.f == 0.01);
    CHECK(hal_value_parse(&attr, "1k", &value) == -EINVAL);
    attr.type = HAL_TYPE_INT;
    attr.unit = "Hz";
    CHECK(hal_value_parse(&attr, "10MHz", &value) == 0);
    CHECK(value.i == 10000000);
    CHECK(hal_value_parse(&attr, "1.5kHz", &value) == 0);
    CHECK(value.i == 1500);
    CHECK(hal_value_parse(&attr, "1.5Hz", &value) == -EINVAL);
    CHECK(hal_value_parse(&attr, "99999999999GHz", &value) == -ERANGE);
    attr.unit = "B";
    CHECK(hal_value_parse(&attr, "64KiB", &value) == 0);
    CHECK(value.i == 65536);
    attr.unit = nullptr;
    CHECK(hal_value_parse(&attr, "1%", &value) == -EINVAL);
}

TEST_CASE("float: '.' in any locale")
{
    auto attr = attribute(HAL_TYPE_FLOAT);
    struct hal_value value;
    char text[64];
    const char *set = nullptr;
    for (const char *name : {"de_DE.UTF-8", "de_DE.utf8", "fr_FR.UTF-8", "de_DE"})
        set = set ? set : std::setlocale(LC_ALL, name);
    if (!set)
        MESSAGE("skipped: no locale with a decimal comma is installed");
    CHECK(parse(attr, "1.5", value) == 0);
    CHECK(hal_value_format(&value, text, sizeof(text)) == 3);
    CHECK(text == std::string("1.5"));
    std::setlocale(LC_ALL, "C");
}

TEST_CASE("numbers with their unit")
{
    struct hal_value value;
    auto frequency = attribute(HAL_TYPE_INT);
    frequency.unit = "Hz";
    const struct {
        const char *text;
        int64_t number;
    } whole[] = {{"5Hz", 5},       {"10MHz", 10000000},   {"1.5kHz", 1500}, {"1.005kHz", 1005},
                 {"-2kHz", -2000}, {"0.001GHz", 1000000}, {"1000mHz", 1},   {"1e3Hz", 1000}};
    for (const auto &row : whole) {
        CAPTURE(row.text);
        CHECK(parse(frequency, row.text, value) == 0);
        CHECK(value.i == row.number);
    }
    for (const char *text : {"5 Hz", "5hz", "5H", "5k", "1.5Hz", "1.0001kHzz", "Hz", "5%", "1mHz",
                             "1.0000001kHz", "infHz", "2KiHz"}) {
        CAPTURE(text);
        CHECK(parse(frequency, text, value) < 0);
    }
    CHECK(parse(frequency, "1e10GHz", value) == -ERANGE);
    for (int thousandths = 1; thousandths < 10000; thousandths++) {
        char text[32];
        std::snprintf(text, sizeof(text), "%d.%03dkHz", thousandths / 1000, thousandths % 1000);
        CHECK(parse(frequency, text, value) == 0);
        CHECK(value.i == thousandths);
    }
    auto time = attribute(HAL_TYPE_FLOAT);
    time.unit = "s";
    CHECK(parse(time, "5ms", value) == 0);
    CHECK(value.f == doctest::Approx(0.005));
    CHECK(parse(time, "1e300Gs", value) == -ERANGE);
    CHECK(parse(time, "infs", value) == 0);
    CHECK(parse(attribute(HAL_TYPE_FLOAT), "1%", value) == 0);
    CHECK(value.f == doctest::Approx(0.01));
    CHECK(parse(attribute(HAL_TYPE_FLOAT), "1Hz", value) == -EINVAL);
    auto size = attribute(HAL_TYPE_INT);
    size.unit = "B";
    CHECK(parse(size, "4KiB", value) == 0);
    CHECK(value.i == 4096);
    CHECK(parse(size, "4kB", value) == 0);
    CHECK(value.i == 4000);
    CHECK(parse(size, "2GiB", value) == 0);
    CHECK(value.i == 1ll << 31);
    auto limited = attribute(HAL_TYPE_INT, 0, 1000);
    limited.unit = "Hz";
    CHECK(parse(limited, "1kHz", value) == 0);
    CHECK(parse(limited, "1.001kHz", value) == -ERANGE);
}

TEST_CASE("ranges: at, inside, outside; both zero is none")
{
    struct hal_value value;
    auto whole = attribute(HAL_TYPE_INT, -3, 5);
    CHECK(parse(whole, "-3", value) == 0);
    CHECK(parse(whole, "5", value) == 0);
    CHECK(parse(whole, "-4", value) == -ERANGE);
    whole.unit = "Hz";
    CHECK(parse(whole, "6", value) == -ERANGE);
    CHECK(message() == "set \"thing\": 6 is outside -3 .. 5 Hz");
    auto real = attribute(HAL_TYPE_FLOAT, 0.5, 2);
    CHECK(parse(real, "0.5", value) == 0);
    CHECK(parse(real, "2", value) == 0);
    CHECK(parse(real, "0.4999999", value) == -ERANGE);
    CHECK(parse(real, "inf", value) == -ERANGE);
    auto zero_up = attribute(HAL_TYPE_INT, 0, 5);
    CHECK(parse(zero_up, "-1", value) == -ERANGE);
    CHECK(parse(attribute(HAL_TYPE_INT, 0, 0), "1000000", value) == 0);
}

TEST_CASE("text and choice")
{
    struct hal_value value;
    auto text = attribute(HAL_TYPE_TEXT);
    CHECK(parse(text, "", value) == 0);
    CHECK(value.s == std::string(""));
    std::string longest(HAL_TEXT_MAX - 1, 't');
    CHECK(parse(text, longest, value) == 0);
    CHECK(value.s == longest);
    CHECK(parse(text, longest + "t", value) == -ENAMETOOLONG);
    auto choice = attribute(HAL_TYPE_CHOICE);
    CHECK(parse(choice, "green", value) == 0);
    CHECK(value.type == HAL_TYPE_CHOICE);
    CHECK(value.s == std::string("green"));
    CHECK(parse(choice, "Green", value) == -EINVAL);
    CHECK(message() == "set \"thing\": \"Green\" is not one of: red, green");
    CHECK(parse(choice, longest + "t", value) == -ENAMETOOLONG);
}

TEST_CASE("NULLs, unknown types, room")
{
    auto attr = attribute(HAL_TYPE_INT);
    struct hal_value value = {};
    char out[8];
    CHECK(hal_value_parse(nullptr, "1", &value) == -EFAULT);
    CHECK(hal_value_parse(&attr, nullptr, &value) == -EFAULT);
    CHECK(hal_value_parse(&attr, "1", nullptr) == -EFAULT);
    attr.type = static_cast<enum hal_type>(0);
    CHECK(hal_value_parse(&attr, "1", &value) == -EINVAL);
    attr.type = static_cast<enum hal_type>(99);
    CHECK(hal_value_parse(&attr, "1", &value) == -EINVAL);
    value.type = static_cast<enum hal_type>(99);
    CHECK(hal_value_format(&value, out, sizeof(out)) == -EINVAL);
    value.type = HAL_TYPE_INT;
    value.i = 1234;
    CHECK(hal_value_format(nullptr, out, sizeof(out)) == -EFAULT);
    CHECK(hal_value_format(&value, nullptr, 8) == -EFAULT);
    CHECK(hal_value_format(&value, out, 5) == 4);
    CHECK(hal_value_format(&value, out, 4) == -ENAMETOOLONG);
    CHECK(hal_value_format(&value, out, 0) == -ENAMETOOLONG);
    value.type = HAL_TYPE_TEXT;
    std::memset(value.s, 'x', sizeof(value.s)); /* not ended by NUL */
    char longer[HAL_TEXT_MAX + 8];
    CHECK(hal_value_format(&value, longer, sizeof(longer)) == HAL_TEXT_MAX - 1);
}

TEST_CASE("what is written is read back: 20000 random numbers of each type")
{
    std::mt19937_64 random(7);
    struct hal_value value = {}, back;
    char text[HAL_TEXT_MAX];
    for (int round = 0; round < 20000; round++) {
        value.type = HAL_TYPE_INT;
        value.i = static_cast<int64_t>(random() >> (random() % 64));
        REQUIRE(hal_value_format(&value, text, sizeof(text)) > 0);
        REQUIRE(parse(attribute(HAL_TYPE_INT), text, back) == 0);
        REQUIRE(back.i == value.i);
        value.type = HAL_TYPE_FLOAT;
        uint64_t bits = random();
        std::memcpy(&value.f, &bits, sizeof(bits));
        if (std::isnan(value.f))
            continue;
        REQUIRE(hal_value_format(&value, text, sizeof(text)) > 0);
        REQUIRE(parse(attribute(HAL_TYPE_FLOAT), text, back) == 0);
        REQUIRE(std::memcmp(&back.f, &value.f, sizeof(double)) == 0);
    }
}
