/* SPDX-License-Identifier: Apache-2.0 */
/* hal_batch(): what its single calls are, in one hold of the control lane. */
#include "helpers.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <functional>
#include <vector>

using namespace test;

/* ---- a device with everything that a batch may have -------------------------------------------
 */

enum request { COUNT_UP = 1, WAIT, FAIL, CANCEL_SELF };

static struct {
    uint64_t registers[8];
    int64_t level;
    std::string log; /* which functions of the driver ran */
    hal_handle handle;
    std::function<int(struct hal_operation *, size_t)> whole; /* in place of the driver's batch */
} board;

static int get(struct hal_device *, const struct hal_attribute *attr, struct hal_value *out)
{
    board.log += std::string("get ") + attr->name + " ";
    out->i = board.level;
    return 0;
}

static int set(struct hal_device *, const struct hal_attribute *attr, const struct hal_value *value)
{
    board.log += std::string("set ") + attr->name + " ";
    board.level = value->i;
    return 0;
}

static int load(struct hal_device *, uint64_t offset, unsigned, uint64_t *value)
{
    board.log += "load ";
    if (offset >= sizeof(board.registers))
        return hal_fail_plain(-ERANGE, "load", "board", "there are 64 bytes");
    *value = board.registers[offset / 8];
    return 0;
}

static int store(struct hal_device *, uint64_t offset, unsigned, uint64_t value)
{
    board.log += "store ";
    if (offset >= sizeof(board.registers))
        return -ERANGE;
    board.registers[offset / 8] = value;
    return 0;
}

static ssize_t transfer(struct hal_device *, const struct hal_segment *segments, size_t count,
                        hal_deadline)
{
    ssize_t total = 0;
    board.log += "transfer ";
    for (size_t i = 0; i < count; i++) {
        for (size_t n = 0; segments[i].rx && n < segments[i].len; n++)
            static_cast<char *>(segments[i].rx)[n] =
                static_cast<char>(static_cast<const char *>(segments[i].tx)[n] + 1);
        total += static_cast<ssize_t>(segments[i].len);
    }
    return total;
}

static long control(struct hal_device *dev, uint32_t number, void *arg, size_t size,
                    hal_deadline until)
{
    board.log += "control ";
    switch (number) {
    case COUNT_UP:
        ++*static_cast<char *>(arg);
        return static_cast<long>(size);
    case WAIT:
        return hal_device_wait(dev, HAL_LANE_CONTROL, -1, 0, until);
    case FAIL:
        return hal_fail_plain(-EIO, "control", "board", "it is broken");
    case CANCEL_SELF:
        return hal_cancel(board.handle);
    default:
        return -ENOTTY;
    }
}

static int64_t one(struct hal_device *dev, struct hal_operation *op, hal_deadline until)
{
    switch (op->kind) {
    case HAL_OPERATION_TRANSFER:
        return transfer(dev, op->segments, op->count, until);
    case HAL_OPERATION_CONTROL:
        return control(dev, op->request, op->argument, op->size, until);
    case HAL_OPERATION_GET:
        return get(dev, op->attribute, op->value);
    case HAL_OPERATION_SET:
        return set(dev, op->attribute, op->value);
    case HAL_OPERATION_LOAD:
        return load(dev, op->offset, op->width, &op->word);
    default:
        return store(dev, op->offset, op->width, op->word);
    }
}

static int batch(struct hal_device *dev, struct hal_operation *operations, size_t count,
                 hal_deadline until)
{
    board.log += "batch ";
    if (board.whole)
        return board.whole(operations, count);
    for (size_t i = 0; i < count; i++)
        if ((operations[i].result = one(dev, &operations[i], until)) < 0)
            break;
    return 0;
}

static const struct hal_attribute *attributes()
{
    static struct hal_attribute table[2];
    table[0].name = "level";
    table[0].type = HAL_TYPE_INT;
    table[0].access = HAL_ATTR_READ | HAL_ATTR_WRITE;
    table[0].max = 100;
    table[0].get = get;
    table[0].set = set;
    table[1].name = "fixed";
    table[1].type = HAL_TYPE_INT;
    table[1].access = HAL_ATTR_READ;
    table[1].get = get;
    return table;
}

static struct driver_ops board_ops(bool with_batch)
{
    struct driver_ops ops = {};
    ops.init = [](struct hal_device *) { return 0; };
    ops.read = [](struct hal_device *, void *, size_t, hal_deadline) -> ssize_t { return -EAGAIN; };
    ops.write = [](struct hal_device *, const void *, size_t len, hal_deadline) {
        return static_cast<ssize_t>(len);
    };
    ops.transfer = transfer;
    ops.control = control;
    ops.attributes = attributes();
    ops.attribute_count = 2;
    ops.load = load;
    ops.store = store;
    if (with_batch)
        ops.batch = batch;
    return ops;
}

/* One that the library does one by one, and one whose driver takes the whole batch. */
struct Boards {
    Boards() : single("single", board_ops(false)), whole("whole", board_ops(true))
    {
        board = {};
    }
    Registered single, whole;
};

static const char *const kBoards[] = {"single", "whole"};

/* ---- operations ------------------------------------------------------------------------------ */

static struct hal_operation operation(hal_operation_kind kind)
{
    struct hal_operation op = {};
    op.kind = kind;
    op.result = 77;
    return op;
}

static struct hal_operation loads(uint64_t offset, uint32_t width = 8)
{
    struct hal_operation op = operation(HAL_OPERATION_LOAD);
    op.offset = offset;
    op.width = width;
    return op;
}

static struct hal_operation stores(uint64_t offset, uint64_t word, uint32_t width = 8)
{
    struct hal_operation op = loads(offset, width);
    op.kind = HAL_OPERATION_STORE;
    op.word = word;
    return op;
}

static struct hal_operation gets(const char *name, struct hal_value *value)
{
    struct hal_operation op = operation(HAL_OPERATION_GET);
    op.name = name;
    op.value = value;
    return op;
}

static struct hal_operation sets(const char *name, struct hal_value *value)
{
    struct hal_operation op = gets(name, value);
    op.kind = HAL_OPERATION_SET;
    return op;
}

static struct hal_operation controls(uint32_t number, void *arg = nullptr, size_t size = 0)
{
    struct hal_operation op = operation(HAL_OPERATION_CONTROL);
    op.request = number;
    op.argument = arg;
    op.size = size;
    return op;
}

static struct hal_operation transfers(const struct hal_segment *segments, size_t count)
{
    struct hal_operation op = operation(HAL_OPERATION_TRANSFER);
    op.segments = segments;
    op.count = count;
    return op;
}

static struct hal_value integer(int64_t number)
{
    struct hal_value value = {};
    value.type = HAL_TYPE_INT;
    value.i = number;
    return value;
}

/* ---- what it does ---------------------------------------------------------------------------- */

TEST_CASE("each kind is done, in order, and answers where it is wanted")
{
    for (const char *uri : kBoards) {
        CAPTURE(uri);
        Boards boards;
        Device dev(uri);
        char got[3] = {}, argument = 4;
        struct hal_value wanted = integer(42), level = {};
        struct hal_segment segments[1] = {};
        segments[0].tx = "abc";
        segments[0].rx = got;
        segments[0].len = 3;
        struct hal_operation ops[] = {stores(8, 0x1122),
                                      loads(8),
                                      sets("level", &wanted),
                                      gets("level", &level),
                                      controls(COUNT_UP, &argument, 1),
                                      transfers(segments, 1)};
        CHECK(hal_batch(dev, ops, 6, hal_after_ms(1000)) == 6);
        CHECK(ops[1].word == 0x1122);
        CHECK(level.type == HAL_TYPE_INT);
        CHECK(level.i == 42);
        CHECK(argument == 5);
        CHECK(std::string(got, 3) == "bcd");
        const int64_t results[] = {0, 0, 0, 0, 1, 3};
        for (int i = 0; i < 6; i++)
            CHECK(ops[i].result == results[i]);
        CHECK(ops[2].value == &wanted);
        CHECK(contains(board.log, "store load set level get level control transfer "));
    }
}

/* An operation that fails, and the single call that fails likewise. */
struct Failing {
    const char *name;
    struct hal_operation op;
    std::function<long(hal_handle)> single;
    bool seen; /* by the driver */
};

static std::vector<Failing> failing()
{
    static struct hal_value ten = integer(10), many = integer(101), text;
    static struct hal_segment segments[1];
    static uint64_t word;
    text = {};
    text.type = HAL_TYPE_TEXT;
    strcpy(text.s, "much");
    auto by_control = [](uint32_t number, void *arg, size_t size) {
        return [=](hal_handle d) { return hal_control(d, number, arg, size, HAL_FOREVER); };
    };
    auto by_set = [](const char *name, struct hal_value *value) {
        return [=](hal_handle d) -> long { return hal_set(d, name, value, HAL_FOREVER); };
    };
    auto by_get = [](const char *name, struct hal_value *value) {
        return [=](hal_handle d) -> long { return hal_get(d, name, value, HAL_FOREVER); };
    };
    auto by_load = [](uint64_t offset, unsigned width) {
        return [=](hal_handle d) -> long { return hal_load(d, offset, width, &word); };
    };
    auto by_store = [](uint64_t offset, unsigned width) {
        return [=](hal_handle d) -> long { return hal_store(d, offset, width, 1); };
    };
    auto by_transfer = [](const struct hal_segment *all, size_t count) {
        return [=](hal_handle d) -> long { return hal_transfer(d, all, count, HAL_FOREVER); };
    };
    return {
        {"no such attribute", gets("levle", &ten), by_get("levle", &ten), false},
        {"no name", gets(nullptr, &ten), by_get(nullptr, &ten), false},
        {"nowhere to put it", gets("level", nullptr), by_get("level", nullptr), false},
        {"read-only", sets("fixed", &ten), by_set("fixed", &ten), false},
        {"out of range", sets("level", &many), by_set("level", &many), false},
        {"no number", sets("level", &text), by_set("level", &text), false},
        {"no value", sets("level", nullptr), by_set("level", nullptr), false},
        {"width", loads(0, 3), by_load(0, 3), false},
        {"alignment", stores(6, 1, 4), by_store(6, 4), false},
        {"beyond", loads(64), by_load(64, 8), true},
        {"beyond, not worded", stores(64, 1), by_store(64, 8), true},
        {"no argument", controls(COUNT_UP, nullptr, 1), by_control(COUNT_UP, nullptr, 1), false},
        {"failing request", controls(FAIL), by_control(FAIL, nullptr, 0), true},
        {"no segments", transfers(segments, 0), by_transfer(segments, 0), false},
        {"null segments", transfers(nullptr, 1), by_transfer(nullptr, 1), false},
        {"too many", transfers(segments, 1025), by_transfer(segments, 1025), false},
    };
}

TEST_CASE("the first that fails is the last that is tried, and fails as its single call")
{
    for (const char *uri : kBoards)
        for (const Failing &bad : failing())
            for (size_t place = 0; place < 4; place++) {
                CAPTURE(uri);
                CAPTURE(bad.name);
                CAPTURE(place);
                Boards boards;
                Device dev(uri);
                long alone = bad.single(dev);
                std::string sentence = message();
                REQUIRE(alone < 0);
                struct hal_operation ops[4];
                for (size_t i = 0; i < 4; i++)
                    ops[i] = i == place ? bad.op : stores(8 * i, i + 1);
                board.log.clear();
                CHECK(hal_batch(dev, ops, 4, HAL_FOREVER) == static_cast<ssize_t>(place));
                CHECK(message() == sentence);
                CHECK(hal_last_errno() == -alone);
                for (size_t i = 0; i < 4; i++) {
                    CHECK(ops[i].result == (i < place ? 0 : i == place ? alone : -ECANCELED));
                    CHECK(board.registers[i] == (i < place ? i + 1 : 0));
                }
                if (!place && !bad.seen)
                    CHECK(board.log.empty());
            }
}

TEST_CASE("a kind that there is not")
{
    for (const char *uri : kBoards)
        for (uint32_t kind : {0u, 7u, UINT32_MAX}) {
            Boards boards;
            Device dev(uri);
            struct hal_operation ops[] = {stores(0, 1), operation(HAL_OPERATION_LOAD)};
            ops[1].kind = kind;
            CHECK(hal_batch(dev, ops, 2, HAL_FOREVER) == 1);
            CHECK(ops[1].result == -EINVAL);
            CHECK(contains(message(), "no operation of kind " + std::to_string(kind)));
        }
}

TEST_CASE("a request that the driver does not know, one by one")
{
    Boards boards;
    Device dev("single");
    struct hal_operation ops[] = {controls(99)};
    CHECK(hal_control(dev, 99, nullptr, 0, HAL_FOREVER) == -ENOTTY);
    std::string sentence = message();
    CHECK(hal_batch(dev, ops, 1, HAL_FOREVER) == 0);
    CHECK(ops[0].result == -ENOTTY);
    CHECK(message() == sentence);
}

TEST_CASE("what a device has not")
{
    Device dev("loopback");
    uint64_t word;
    for (const auto &op : {loads(0), stores(0, 1), controls(1), transfers(nullptr, 1)}) {
        struct hal_operation ops[] = {op};
        CHECK(hal_batch(dev, ops, 1, HAL_FOREVER) == 0);
        CHECK(ops[0].result == -EOPNOTSUPP);
    }
    struct hal_operation ops[] = {loads(0)};
    CHECK(hal_load(dev, 0, 8, &word) == -EOPNOTSUPP);
    std::string sentence = message();
    CHECK(hal_batch(dev, ops, 1, HAL_FOREVER) == 0);
    CHECK(message() == sentence);
}

TEST_CASE("0, 1, 256 and 257 operations; none; no device")
{
    for (const char *uri : kBoards) {
        CAPTURE(uri);
        Boards boards;
        Device dev(uri);
        std::vector<struct hal_operation> ops(257, loads(0));
        CHECK(hal_batch(dev, ops.data(), 0, HAL_FOREVER) == 0);
        CHECK(hal_batch(dev, nullptr, 0, HAL_FOREVER) == 0);
        CHECK(ops[0].result == 77);
        CHECK(hal_batch(dev, ops.data(), 1, HAL_FOREVER) == 1);
        CHECK(hal_batch(dev, ops.data(), 256, HAL_FOREVER) == 256);
        board.log.clear();
        CHECK(hal_batch(dev, ops.data(), 257, HAL_FOREVER) == -EINVAL);
        CHECK(contains(message(), "257 operations; 0 .. 256 can be done"));
        CHECK(hal_batch(dev, nullptr, 1, HAL_FOREVER) == -EFAULT);
        CHECK(board.log.empty());
        hal_handle gone = dev;
        CHECK(dev.close() == 0);
        CHECK(hal_batch(gone, ops.data(), 1, HAL_FOREVER) == -EBADF);
        CHECK(hal_batch(gone, ops.data(), 0, HAL_FOREVER) == -EBADF);
    }
}

TEST_CASE("the deadline is that of the whole; what need not wait is done all the same")
{
    for (const char *uri : kBoards)
        for (bool polls : {true, false}) {
            CAPTURE(uri);
            Boards boards;
            Device dev(uri);
            struct hal_operation ops[] = {stores(0, 1), controls(WAIT), stores(8, 1)};
            CHECK(hal_batch(dev, ops, 3, polls ? HAL_NOWAIT : hal_after_ms(5)) == 1);
            CHECK(ops[1].result == (polls ? -EAGAIN : -ETIMEDOUT));
            CHECK(ops[2].result == -ECANCELED);
            CHECK(board.registers[0] == 1);
            CHECK(board.registers[1] == 0);
            ops[1] = loads(0);
            CHECK(hal_batch(dev, ops, 3, HAL_NOWAIT) == 3);
        }
}

TEST_CASE("cancel ends one that waits")
{
    for (const char *uri : kBoards) {
        CAPTURE(uri);
        Boards boards;
        Device dev(uri);
        struct hal_operation ops[] = {stores(0, 1), controls(WAIT), stores(8, 1)};
        std::thread other([&] {
            sleep_ms(50);
            CHECK(hal_cancel(dev) == 0);
        });
        CHECK(hal_batch(dev, ops, 3, hal_after_ms(60000)) == 1);
        other.join();
        CHECK(ops[1].result == -ECANCELED);
        CHECK(hal_last_errno() == ECANCELED);
        CHECK(board.registers[1] == 0);
        CHECK(hal_batch(dev, ops, 1, HAL_FOREVER) == 1);
    }
}

TEST_CASE("cancel ends it between two operations")
{
    Boards boards;
    Device dev("single");
    board.handle = dev;
    struct hal_operation ops[] = {controls(CANCEL_SELF), stores(0, 1)};
    CHECK(hal_batch(dev, ops, 2, HAL_FOREVER) == 1);
    CHECK(ops[1].result == -ECANCELED);
    CHECK(contains(message(), "store \"single\": cancelled"));
    CHECK(board.registers[0] == 0);
}

TEST_CASE("nobody comes in between")
{
    for (const char *uri : kBoards) {
        CAPTURE(uri);
        Boards boards;
        Device dev(uri);
        std::atomic<bool> over{false};
        std::thread other([&] {
            while (!over)
                CHECK(hal_store(dev, 0, 8, 1000000) == 0);
        });
        int wrong = 0;
        for (uint64_t i = 0; i < 2000; i++) {
            struct hal_operation ops[] = {stores(0, i), loads(0)};
            REQUIRE(hal_batch(dev, ops, 2, HAL_FOREVER) == 2);
            wrong += ops[1].word != i;
        }
        over = true;
        other.join();
        CHECK(wrong == 0);
    }
}

/* ---- a driver that takes the whole batch ------------------------------------------------------
 */

TEST_CASE("the driver gets what has passed its checks, in the attribute's own type")
{
    Boards boards;
    Device dev("whole");
    struct hal_value text = {}, level = {};
    size_t given = 0;
    text.type = HAL_TYPE_TEXT;
    strcpy(text.s, "0x10");
    struct hal_operation ops[] = {sets("level", &text), gets("level", &level), loads(0, 5),
                                  stores(0, 1)};
    board.whole = [&](struct hal_operation *all, size_t count) {
        given = count;
        REQUIRE(count == 2);
        CHECK(all != ops);
        CHECK(all[0].attribute->name == std::string("level"));
        CHECK(all[0].value->type == HAL_TYPE_INT);
        CHECK(all[0].value->i == 16);
        CHECK(all[1].attribute->name == std::string("level"));
        CHECK(all[1].value == &level);
        CHECK(level.type == HAL_TYPE_INT);
        CHECK(all[0].result == -ECANCELED);
        level.i = 5;
        all[0].result = all[1].result = 0;
        return 0;
    };
    CHECK(hal_batch(dev, ops, 4, HAL_FOREVER) == 2);
    CHECK(given == 2);
    CHECK(text.s == std::string("0x10"));
    CHECK(level.i == 5);
    CHECK(ops[2].result == -EINVAL);
    CHECK(contains(message(), "1, 2, 4 or 8 bytes wide, not 5"));
}

TEST_CASE("a driver that fails as a whole, and one that does what it must not")
{
    Boards boards;
    Device dev("whole");
    char got[2];
    struct hal_segment segments[1] = {};
    segments[0].rx = got;
    segments[0].len = 2;
    struct hal_operation ops[] = {stores(0, 1), transfers(segments, 1)};
    board.whole = [](struct hal_operation *, size_t) {
        return hal_fail_plain(-ENOLINK, "use", "board", "the cable is out");
    };
    CHECK(hal_batch(dev, ops, 2, HAL_FOREVER) == -ENOLINK);
    CHECK(message() == "use \"board\": the cable is out");
    board.whole = [](struct hal_operation *, size_t) { return -EIO; };
    CHECK(hal_batch(dev, ops, 2, HAL_FOREVER) == -EIO);
    CHECK(message() == "batch \"whole\": Input/output error");
    board.whole = [](struct hal_operation *, size_t) { return 2; };
    CHECK(hal_batch(dev, ops, 2, HAL_FOREVER) == -EPROTO);
    CHECK(contains(message(), "the driver returned 2"));
    board.whole = [](struct hal_operation *, size_t) { return 0; }; /* and did nothing */
    CHECK(hal_batch(dev, ops, 2, HAL_FOREVER) == 0);
    CHECK(ops[0].result == -ECANCELED);
    board.whole = [](struct hal_operation *all, size_t) {
        all[0].result = 0;
        all[1].result = 3;
        return 0;
    };
    CHECK(hal_batch(dev, ops, 2, HAL_FOREVER) == 1);
    CHECK(ops[1].result == -EPROTO);
    CHECK(contains(message(), "the driver says 3 bytes, there are 2"));
}

TEST_CASE("a table from before there were batches goes on working")
{
    struct driver_ops ops = board_ops(true);
    size_t size = offsetof(struct driver_ops, batch);
    REQUIRE(hal_register_driver_abi("old", &ops, size, HAL_ABI_VERSION) == 0);
    board = {};
    {
        Device dev("old");
        struct hal_operation all[] = {stores(0, 9), loads(0)};
        CHECK(hal_batch(dev, all, 2, HAL_FOREVER) == 2);
        CHECK(all[1].word == 9);
        CHECK(board.log == "store load ");
    }
    CHECK(hal_unregister_driver("old") == 0);
}
