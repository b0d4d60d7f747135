/* SPDX-License-Identifier: Apache-2.0 */
/* The frames of docs/protocol.md, as the remote driver's codec (drivers/hal/wire.h) has them. */
#include "helpers.h"

#include <cctype>
#include <cstdlib>
#include <fstream>
#include <sstream>
#include <vector>

#include "../../drivers/hal/wire.h"

namespace
{

struct Field {
    std::vector<uint8_t> bytes;
    std::string kind, value;
};

struct Vector {
    std::string title;
    std::vector<Field> fields; /* the first is the header */
};

std::vector<uint8_t> bytes_of(const std::string &digits)
{
    std::vector<uint8_t> bytes;
    std::string pair;

    for (char c : digits) {
        if (c != ' ')
            pair += c;
        if (pair.size() == 2) {
            bytes.push_back((uint8_t)std::stoul(pair, nullptr, 16));
            pair.clear();
        }
    }
    REQUIRE(pair.empty());
    return bytes;
}

/* A line in its columns: two spaces or more are between them. */
std::vector<std::string> columns_of(const std::string &line)
{
    std::vector<std::string> columns;
    size_t at = line.find_first_not_of(' ');

    while (at != std::string::npos) {
        size_t end = line.find("  ", at);
        columns.push_back(line.substr(at, end - at));
        at = end == std::string::npos ? end : line.find_first_not_of(' ', end);
    }
    return columns;
}

std::vector<Vector> vectors()
{
    const char *path = std::getenv("HAL_TEST_VECTORS");
    REQUIRE(path);
    std::ifstream page(path);
    std::vector<Vector> found;
    std::string line, begun;

    while (std::getline(page, line) && line != "## Test vectors")
        continue;
    while (std::getline(page, line) && line != "```text")
        continue;
    while (std::getline(page, line) && line != "```") {
        if (line.empty())
            continue;
        if (line[0] != ' ') {
            found.push_back({line, {}});
            continue;
        }
        auto columns = columns_of(line);
        begun += columns[0];
        if (columns.size() > 1) {
            columns.resize(3);
            found.back().fields.push_back({bytes_of(begun), columns[1], columns[2]});
            begun.clear();
        }
    }
    return found;
}

void check_header(const Field &field)
{
    std::istringstream numbers(field.value);
    unsigned length, type, lane, flags, id, wait;
    struct wire_header header;
    uint8_t again[WIRE_HEADER];

    numbers >> length >> type >> lane >> flags >> id >> wait;
    REQUIRE(numbers);
    REQUIRE(field.bytes.size() == WIRE_HEADER);
    REQUIRE(wire_get_header(field.bytes.data(), &header));
    CHECK(header.length == length);
    CHECK(header.type == type);
    CHECK(header.lane == lane);
    CHECK(header.flags == flags);
    CHECK(header.id == id);
    CHECK(header.wait == wait);
    wire_put_header(again, &header);
    CHECK(!memcmp(again, field.bytes.data(), WIRE_HEADER));
}

void check_field(const Field &field, struct wire_reader *reader, struct wire_writer *writer)
{
    const std::string &kind = field.kind;

    if (kind == "str") {
        size_t length;
        const char *text = wire_text(reader, &length);
        CHECK('"' + std::string(text, length) + '"' == field.value);
        wire_add_text(writer, std::string(text, length).c_str());
    } else if (kind == "bytes") {
        const uint8_t *at = wire_take(reader, field.bytes.size());
        REQUIRE(at);
        wire_add(writer, at, field.bytes.size());
    } else if (kind == "f64") {
        double number = wire_double(reader);
        uint64_t bits;
        CHECK(number == std::stod(field.value));
        memcpy(&bits, &number, sizeof(bits));
        wire_add_number(writer, bits, 8);
    } else {
        unsigned width = (unsigned)std::stoul(kind.substr(1)) / 8;
        uint64_t number = wire_number(reader, width);
        uint64_t stated =
            kind[0] == 'i' ? (uint64_t)std::stoll(field.value) : std::stoull(field.value);
        CHECK(number == (width == 8 ? stated : stated & ((1ull << 8 * width) - 1)));
        wire_add_number(writer, number, width);
    }
}

} // namespace

TEST_CASE("test vectors")
{
    auto all = vectors();
    REQUIRE(all.size() > 40);
    for (const auto &vector : all) {
        CAPTURE(vector.title);
        std::vector<uint8_t> body;
        check_header(vector.fields[0]);
        for (size_t i = 1; i < vector.fields.size(); i++) {
            const auto &bytes = vector.fields[i].bytes;
            body.insert(body.end(), bytes.begin(), bytes.end());
        }
        CHECK(body.size() == wire_get(vector.fields[0].bytes.data(), 4));

        std::vector<uint8_t> again(body.size());
        struct wire_reader reader = {body.data(), body.size(), false};
        struct wire_writer writer = {again.data(), again.size(), false};
        for (size_t i = 1; i < vector.fields.size(); i++)
            check_field(vector.fields[i], &reader, &writer);
        CHECK(!reader.failed);
        CHECK(reader.left == 0);
        CHECK(!writer.failed);
        CHECK(writer.left == 0);
        CHECK(again == body);
    }
}

TEST_CASE("a reader does not leave the body")
{
    const uint8_t body[] = {3, 0, 'a', 'b'};
    struct wire_reader reader = {body, sizeof(body), false};
    size_t length;

    CHECK(wire_text(&reader, &length) == std::string(""));
    CHECK(length == 0);
    CHECK(reader.failed);
    CHECK(wire_number(&reader, 1) == 0); /* failed it stays */
    CHECK(wire_take(&reader, 0) == nullptr);
}

TEST_CASE("a text with NUL is none")
{
    const uint8_t body[] = {2, 0, 'a', 0};
    struct wire_reader reader = {body, sizeof(body), false};
    size_t length;

    wire_text(&reader, &length);
    CHECK(reader.failed);
}

TEST_CASE("a writer does not leave its room")
{
    uint8_t room[5] = {9, 9, 9, 9, 9};
    struct wire_writer writer = {room, 4, false};

    wire_add_text(&writer, "ab");
    CHECK(!writer.failed);
    wire_add_number(&writer, 0, 1);
    CHECK(writer.failed);
    CHECK(room[4] == 9);
}

TEST_CASE("headers that are none")
{
    uint8_t bytes[WIRE_HEADER] = {0, 0, 0x10, 0}; /* 1 MiB: the most */
    struct wire_header header;

    CHECK(wire_get_header(bytes, &header));
    bytes[0] = 1;
    CHECK_FALSE(wire_get_header(bytes, &header));
    bytes[0] = 0;
    bytes[5] = WIRE_LANES;
    CHECK_FALSE(wire_get_header(bytes, &header));
    bytes[5] = 0;
    bytes[7] = 1;
    CHECK_FALSE(wire_get_header(bytes, &header));
}
