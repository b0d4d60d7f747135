/* SPDX-License-Identifier: Apache-2.0 */
#include "helpers.h"

#include <cerrno>
#include <memory>
#include <random>

using namespace test;

static int parse(const std::string &text, struct hal_uri &out)
{
    return hal_uri_parse(text.c_str(), &out);
}

static int refusal(const std::string &text)
{
    auto uri = std::make_unique<struct hal_uri>();
    return parse(text, *uri);
}

TEST_CASE("driver, address, options")
{
    struct hal_uri uri;
    REQUIRE(parse("uart:/dev/ttyUSB0?baud=115200&parity=even&exclusive", uri) == 0);
    CHECK(uri.driver == std::string("uart"));
    CHECK(uri.address == std::string("/dev/ttyUSB0"));
    REQUIRE(uri.option_count == 3);
    CHECK(uri.options[0].key == std::string("baud"));
    CHECK(uri.options[0].value == std::string("115200"));
    CHECK(uri.options[1].value == std::string("even"));
    CHECK(uri.options[2].key == std::string("exclusive"));
    CHECK(uri.options[2].value == std::string("true"));
}

TEST_CASE("forms from the documentation")
{
    struct hal_uri uri;
    const struct {
        const char *text, *driver, *address;
        size_t options;
    } table[] = {
        {"loopback", "loopback", "", 0},
        {"loopback:", "loopback", "", 0},
        {"loopback?a=1", "loopback", "", 1},
        {"loopback:?a=1", "loopback", "", 1},
        {"i2c:1/0x50", "i2c", "1/0x50", 0},
        {"gpio:gpiochip0/4,5", "gpio", "gpiochip0/4,5", 0},
        {"mmio:0000:00:04.0/0", "mmio", "0000:00:04.0/0", 0},
        {"sim:uart?drop=1%", "sim", "uart", 1},
        {"hal://host/uart0", "hal", "//host/uart0", 0},
        {"d:a=b&c", "d", "a=b&c", 0},
        {"d:a?k=v?w", "d", "a", 1},
        {"d:a?k=v=w", "d", "a", 1},
        {"d:a?k=", "d", "a", 1},
        {"d:a?", "d", "a", 0},
    };
    for (const auto &row : table) {
        CAPTURE(row.text);
        REQUIRE(parse(row.text, uri) == 0);
        CHECK(uri.driver == std::string(row.driver));
        CHECK(uri.address == std::string(row.address));
        CHECK(uri.option_count == row.options);
    }
    REQUIRE(parse("sim:uart?drop=1%", uri) == 0);
    CHECK(uri.options[0].value == std::string("1%"));
    REQUIRE(parse("d:a?k=v=w", uri) == 0);
    CHECK(uri.options[0].value == std::string("v=w"));
    REQUIRE(parse("d:a?k=", uri) == 0);
    CHECK(uri.options[0].value == std::string(""));
}

TEST_CASE("%XX in address and values")
{
    struct hal_uri uri;
    REQUIRE(parse("d:a%3Fb%26?k=%41%3d%c3%A4&l=%", uri) == 0);
    CHECK(uri.address == std::string("a?b&"));
    CHECK(uri.options[0].value == std::string("A=\xc3\xa4"));
    CHECK(uri.options[1].value == std::string("%"));
    REQUIRE(parse("d:%4?k=%zz%4g", uri) == 0);
    CHECK(uri.address == std::string("%4"));
    CHECK(uri.options[0].value == std::string("%zz%4g"));
    REQUIRE(parse("d:%%41", uri) == 0);
    CHECK(uri.address == std::string("%A"));
    CHECK(parse("d:\xff\xfe", uri) == 0);
}

TEST_CASE("names are not decoded")
{
    CHECK(refusal("lo%6fpback") == -EINVAL);
    CHECK(refusal("d:?%61=1") == -EINVAL);
}

TEST_CASE("control characters are refused, plain and as %XX")
{
    for (int c = 1; c <= 0x7f; c++) {
        if (c >= 0x20 && c != 0x7f)
            continue;
        CAPTURE(c);
        char hex[8];
        std::snprintf(hex, sizeof(hex), "%%%02x", c);
        CHECK(refusal(std::string("d:a") + static_cast<char>(c)) == -EINVAL);
        CHECK(refusal(std::string("d:a") + hex) == -EINVAL);
        CHECK(refusal(std::string("d:a?k=") + static_cast<char>(c)) == -EINVAL);
        CHECK(refusal(std::string("d:a?k=") + hex) == -EINVAL);
    }
    CHECK(refusal("d:a%00b") == -EINVAL);
    CHECK(contains(message(), "control character"));
    CHECK(refusal("d:a?k=%00") == -EINVAL);
    CHECK(contains(message(), "\"k\""));
}

TEST_CASE("ill-formed: which, and what is said")
{
    CHECK(hal_uri_parse(nullptr, nullptr) == -EFAULT);
    struct hal_uri uri;
    CHECK(hal_uri_parse(nullptr, &uri) == -EFAULT);
    CHECK(hal_uri_parse("d", nullptr) == -EFAULT);
    CHECK(refusal("") == -ENOENT);
    for (const char *text : {"-d", ".d", "_d:x", "a b", "a/b:c", "\xc3\xa4:x", "d:?=1", "d:?&a",
                             "d:?a&&b", "d:?a b=1", "d:?-a", "d:?a=1&a=2", "d:?a&a"}) {
        CAPTURE(text);
        CHECK(refusal(text) == -EINVAL);
        CHECK(contains(message(), "parse URI"));
    }
    CHECK(refusal("d:?a=1&b=2&a=3") == -EINVAL);
    CHECK(contains(message(), "option \"a\" is given twice"));
    CHECK(refusal("a/b:c") == -EINVAL);
    CHECK(contains(message(), "parse URI \"a/b:c\""));
}

TEST_CASE("limits: at, below, above")
{
    std::string n30(30, 'n'), n31(31, 'n'), n32(32, 'n');
    CHECK(refusal(n30) == 0);
    CHECK(refusal(n31) == 0);
    CHECK(refusal(n32) == -ENAMETOOLONG);
    CHECK(refusal("d:?" + n31 + "=1") == 0);
    CHECK(refusal("d:?" + n32 + "=1") == -ENAMETOOLONG);

    CHECK(refusal("d:" + std::string(HAL_URI_MAX - 3, 'a')) == 0);
    CHECK(refusal("d:" + std::string(HAL_URI_MAX - 2, 'a')) == 0);
    CHECK(refusal("d:" + std::string(HAL_URI_MAX - 1, 'a')) == -ENAMETOOLONG);
    CHECK(contains(message(), std::to_string(HAL_URI_MAX)));
    CHECK(refusal(std::string(100000, 'a')) == -ENAMETOOLONG);

    std::string many = "d:?k0";
    for (int i = 1; i < HAL_OPTIONS_MAX - 1; i++)
        many += "&k" + std::to_string(i);
    CHECK(refusal(many) == 0);
    CHECK(refusal(many + "&last") == 0);
    CHECK(refusal(many + "&last&more") == -E2BIG);
    CHECK(contains(message(), std::to_string(HAL_OPTIONS_MAX)));
}

TEST_CASE("the longest URI with the most options fits into the parsed one")
{
    std::string text = "d?";
    for (int i = 0; i < HAL_OPTIONS_MAX; i++)
        text += (i ? "&k" : "k") + std::to_string(i) + "=" + std::string(24, 'v');
    REQUIRE(text.size() <= HAL_URI_MAX);
    text += std::string(HAL_URI_MAX - text.size(), 'w');
    struct hal_uri uri;
    REQUIRE(parse(text, uri) == 0);
    CHECK(uri.option_count == HAL_OPTIONS_MAX);
    CHECK(std::string(uri.options[0].value) == std::string(24, 'v'));
    CHECK(uri.options[HAL_OPTIONS_MAX - 1].value[24] == 'w');
}

TEST_CASE("quote: what is escaped, what is refused")
{
    char out[64];
    CHECK(hal_uri_quote("/dev/tty:S0,x;y", out, sizeof(out)) == 15);
    CHECK(out == std::string("/dev/tty:S0,x;y"));
    CHECK(hal_uri_quote("%?&=#+ \xc3\xa4", out, sizeof(out)) == 27);
    CHECK(out == std::string("%25%3F%26%3D%23%2B%20%C3%A4"));
    CHECK(hal_uri_quote("", out, sizeof(out)) == 0);
    CHECK(out == std::string(""));
    for (int c = 1; c < 0x80; c++) {
        char text[2] = {static_cast<char>(c), 0};
        bool control = c < 0x20 || c == 0x7f;
        CAPTURE(c);
        CHECK((hal_uri_quote(text, out, sizeof(out)) == -EINVAL) == control);
    }
    CHECK(hal_uri_quote(nullptr, out, sizeof(out)) == -EFAULT);
    CHECK(hal_uri_quote("x", nullptr, 5) == -EFAULT);
    CHECK(hal_uri_quote("x", out, 0) == -ENAMETOOLONG);
    CHECK(hal_uri_quote("x", out, 1) == -ENAMETOOLONG);
    CHECK(hal_uri_quote("x", out, 2) == 1);
    CHECK(hal_uri_quote(" ", out, 3) == -ENAMETOOLONG);
    CHECK(hal_uri_quote(" ", out, 4) == 3);
    CHECK(hal_uri_quote("", out, 0) == -ENAMETOOLONG);
}

static std::string quoted(const std::string &text)
{
    char out[HAL_URI_MAX + 1];
    REQUIRE(hal_uri_quote(text.c_str(), out, sizeof(out)) >= 0);
    return out;
}

/* Any text without control characters. */
static std::string random_text(std::mt19937 &random, size_t most)
{
    std::string text;
    for (size_t n = random() % (most + 1); text.size() < n;) {
        unsigned c = random() % 256;
        if (c >= 0x20 && c != 0x7f)
            text += static_cast<char>(c);
    }
    return text;
}

TEST_CASE("what was quoted is parsed back: 20000 random URIs")
{
    std::mt19937 random(20240601);
    struct hal_uri uri;
    for (int round = 0; round < 20000; round++) {
        std::string address = random_text(random, 40);
        std::string values[4];
        std::string text = "drv:" + quoted(address);
        for (int i = 0; i < 4; i++) {
            values[i] = random_text(random, 20);
            text += std::string(i ? "&" : "?") + "k" + std::to_string(i) + "=" + quoted(values[i]);
        }
        REQUIRE(parse(text, uri) == 0);
        REQUIRE(uri.address == address);
        REQUIRE(uri.option_count == 4);
        for (int i = 0; i < 4; i++)
            REQUIRE(uri.options[i].value == values[i]);
    }
}
