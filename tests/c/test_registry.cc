/* SPDX-License-Identifier: Apache-2.0 */
/* Registering drivers, and binding logical names. */
#include "drivers.h"
#include "helpers.h"
#include "textbook.h"

#include <atomic>
#include <cerrno>
#include <cstddef>
#include <set>
#include <vector>

using namespace test;

TEST_CASE("the textbook driver, compiled as plain C")
{
    CHECK(textbook_register() == 0);
    CHECK(textbook_use() == 0);
    CHECK(textbook_unregister() == 0);
    CHECK(hal_open("uart0", HAL_FOREVER) == -ENOENT);
    CHECK(textbook_register() == 0); /* and once more */
    CHECK(textbook_use() == 0);
    CHECK(textbook_unregister() == 0);
}

TEST_CASE("the table is copied")
{
    struct driver_ops ops = queue_ops;
    Registered copied("copied", ops);
    std::memset(&ops, 0, sizeof(ops));
    Device dev("copied");
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
}

static int attempt(const char *name, const struct driver_ops &ops = queue_ops)
{
    int err = hal_register_driver(name, &ops);
    if (!err)
        CHECK(hal_unregister_driver(name) == 0);
    return err;
}

TEST_CASE("names: which, and each refusal its own")
{
    for (const char *name : {"a", "0", "uart0", "A-b_c.d", "0123456789012345678901234567890"}) {
        CAPTURE(name);
        CHECK(attempt(name) == 0);
    }
    CHECK(attempt(nullptr) == -EFAULT);
    CHECK(contains(message(), "register driver: "));
    CHECK(attempt("") == -ENOENT);
    CHECK(contains(message(), "empty"));
    CHECK(attempt(std::string(HAL_NAME_MAX - 1, 'n').c_str()) == 0);
    CHECK(attempt(std::string(HAL_NAME_MAX, 'n').c_str()) == 0);
    CHECK(attempt(std::string(HAL_NAME_MAX + 1, 'n').c_str()) == -ENAMETOOLONG);
    CHECK(contains(message(), "31"));
    CHECK(attempt(std::string(100000, 'n').c_str()) == -ENAMETOOLONG);
    for (const char *name :
         {"-a", ".a", "_a", "a b", "a/b", "a:b", "a?b", "a\n", "\xc3\xa4", "a%41"}) {
        CAPTURE(name);
        CHECK(attempt(name) == -EINVAL);
        CHECK(contains(message(), "a name is a letter or digit"));
    }
}

TEST_CASE("a name that is taken")
{
    Registered first("twice", queue_ops);
    CHECK(hal_register_driver("twice", &odd_ops) == -EEXIST);
    CHECK(contains(message(), "register driver \"twice\""));
    Device still("twice");
    CHECK(hal_write(still, "x", 1, HAL_NOWAIT) == 1);
}

TEST_CASE("a table that is not there, or lacks what is needed")
{
    CHECK(hal_register_driver("x", nullptr) == -EFAULT);
    CHECK(contains(message(), "NULL"));
    const struct {
        const char *name;
        size_t offset;
    } needed[] = {{"init", offsetof(struct driver_ops, init)},
                  {"read", offsetof(struct driver_ops, read)},
                  {"write", offsetof(struct driver_ops, write)}};
    for (const auto &member : needed) {
        struct driver_ops ops = queue_ops;
        std::memset(reinterpret_cast<char *>(&ops) + member.offset, 0, sizeof(void *));
        CAPTURE(member.name);
        CHECK(attempt("x", ops) == -ENOSYS);
        CHECK(contains(message(), std::string(member.name) + " is missing"));
    }
}

TEST_CASE("tables of other sizes: an older one works, a newer one if it uses nothing new")
{
    const size_t least = offsetof(struct driver_ops, fini);
    struct {
        struct driver_ops known;
        void *newer[4];
    } grown = {queue_ops, {}};
    auto with_size = [&](size_t size) {
        return hal_register_driver_abi("sized", &grown.known, size, HAL_ABI_VERSION);
    };
    for (size_t size : {size_t{0}, size_t{8}, least - 1})
        CHECK(with_size(size) == -ENOSYS);

    grown.known.attributes = nullptr; /* queue_init would miss its option */
    CHECK(hal_register_driver_abi("sized", &grown.known, offsetof(struct driver_ops, control),
                                  HAL_ABI_VERSION) == 0);
    CHECK(hal_unregister_driver("sized") == 0);
    CHECK(hal_register_driver_abi("sized", &odd_ops, least, HAL_ABI_VERSION) == 0);
    {
        Device dev("sized:end"); /* and what the old table did not have is absent */
        char byte;
        struct hal_segment segment = {};
        segment.tx = "x";
        segment.len = 1;
        CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == 0);
        CHECK(hal_transfer(dev, &segment, 1, HAL_NOWAIT) == -EOPNOTSUPP);
        CHECK(hal_attribute_count(dev) == 0);
    }
    CHECK(hal_unregister_driver("sized") == 0);

    grown.known = queue_ops;
    CHECK(with_size(sizeof(grown)) == 0);
    CHECK(hal_unregister_driver("sized") == 0);
    grown.newer[3] = &grown;
    CHECK(with_size(sizeof(grown)) == -E2BIG);
    CHECK(contains(message(), hal_version_string()));
    CHECK(with_size(sizeof(grown) - sizeof(void *)) == 0);
    CHECK(hal_unregister_driver("sized") == 0);
}

TEST_CASE("another ABI")
{
    CHECK(hal_register_driver_abi("x", &queue_ops, sizeof(queue_ops), 77) == -EPROTONOSUPPORT);
    CHECK(contains(message(), "ABI 77"));
    CHECK(contains(message(), "ABI " + std::to_string(HAL_ABI_VERSION)));
}

static int no_get(struct hal_device *, const struct hal_attribute *, struct hal_value *)
{
    return 0;
}

static int no_set(struct hal_device *, const struct hal_attribute *, const struct hal_value *)
{
    return 0;
}

TEST_CASE("ill-formed attribute tables")
{
    struct hal_attribute good = {};
    good.name = "good";
    good.type = HAL_TYPE_INT;
    good.access = HAL_ATTR_READ | HAL_ATTR_WRITE | HAL_ATTR_OPEN;
    good.get = no_get;
    good.set = no_set;
    auto with = [&](struct hal_attribute second) {
        struct hal_attribute table[2] = {good, second};
        struct driver_ops ops = queue_ops;
        ops.attributes = table;
        ops.attribute_count = 2;
        int err = attempt("attributed", ops);
        if (err)
            CHECK(contains(message(), "attribute 1"));
        return err;
    };
    static const char *const nothing[] = {nullptr}, *const some[] = {"a", "b", nullptr};
    struct hal_attribute row = good;
    row.name = "other";
    CHECK(with(row) == 0);

    SUBCASE("name")
    {
        for (const char *name : {static_cast<const char *>(nullptr), "", "a b", "-a", "good",
                                 "0123456789012345678901234567890x"}) {
            row.name = name;
            CHECK(with(row) == -EINVAL);
        }
        row.name = "dotted.name";
        CHECK(with(row) == 0);
    }
    SUBCASE("type")
    {
        for (int type : {0, 6, 99, -1}) {
            row.type = static_cast<enum hal_type>(type);
            CHECK(with(row) == -EINVAL);
        }
    }
    SUBCASE("access")
    {
        for (uint32_t access : {0u, 8u, 0xffffffffu}) {
            row.access = access;
            CHECK(with(row) == -EINVAL);
        }
        row.access = HAL_ATTR_READ;
        row.get = nullptr;
        CHECK(with(row) == -EINVAL);
        row.access = HAL_ATTR_WRITE;
        row.set = nullptr;
        CHECK(with(row) == -EINVAL);
        row.access = HAL_ATTR_OPEN;
        CHECK(with(row) == 0);
    }
    SUBCASE("choices")
    {
        row.type = HAL_TYPE_CHOICE;
        CHECK(with(row) == -EINVAL);
        row.choices = nothing;
        CHECK(with(row) == -EINVAL);
        row.choices = some;
        CHECK(with(row) == 0);
    }
    SUBCASE("range and initial value")
    {
        row.min = 2;
        row.max = 1;
        CHECK(with(row) == -EINVAL);
        row.max = 2;
        CHECK(with(row) == 0);
        row.initial = "3";
        CHECK(with(row) == -EINVAL);
        row.initial = "two";
        CHECK(with(row) == -EINVAL);
        row.initial = "2";
        CHECK(with(row) == 0);
    }
    SUBCASE("announced, but not there")
    {
        struct driver_ops ops = queue_ops;
        ops.attributes = nullptr;
        CHECK(attempt("attributed", ops) == -EINVAL);
    }
}

TEST_CASE("unregistering: what is refused")
{
    CHECK(hal_unregister_driver(nullptr) == -EFAULT);
    CHECK(hal_unregister_driver("never-registered") == -ENOENT);
    CHECK(hal_unregister_driver("") == -ENOENT);
    Device loopback("loopback");
    CHECK(hal_unregister_driver("loopback") == -EPERM);
    Registered queue("queue", queue_ops);
    Device dev("queue");
    CHECK(hal_unregister_driver("queue") == -EBUSY);
    CHECK(message() == "unregister driver \"queue\": 1 of its devices are open");
}

/* ---- listing -------------------------------------------------------------------------------- */

struct Look {
    const char *name;
    int times;
    uint64_t open;
    int unregistered;
};

static int look(const struct hal_driver_info *info, void *arg)
{
    Look *wanted = static_cast<Look *>(arg);
    if (std::strcmp(info->name, wanted->name))
        return 0;
    wanted->times++;
    wanted->open = info->open;
    wanted->unregistered = hal_unregister_driver(info->name);
    CHECK(info->state == HAL_DRIVER_REGISTERED);
    CHECK(info->path == nullptr);
    CHECK(info->attribute_count == queue_ops.attribute_count);
    CHECK(info->summary == std::string(queue_ops.summary));
    return 0;
}

TEST_CASE("a driver is listed once, with what is open; it stays while it is shown")
{
    Registered queue("queue", queue_ops);
    Device one("queue"), two("queue");
    Look wanted = {"queue", 0, 0, 0};
    CHECK(hal_driver_each(look, &wanted) == 0);
    CHECK(wanted.times == 1);
    CHECK(wanted.open == 2);
    CHECK(wanted.unregistered == -EBUSY);
    one.close();
    two.close();
    wanted = {"queue", 0, 99, 0};
    CHECK(hal_driver_each(look, &wanted) == 0);
    CHECK(wanted.open == 0);
    CHECK(wanted.unregistered == -EBUSY);
    CHECK(contains(message(), "listed"));
}

TEST_CASE("a visitor ends the listing, and may call anything")
{
    Registered queue("queue", queue_ops);
    CHECK(hal_driver_each([](const struct hal_driver_info *, void *) { return 42; }, nullptr) ==
          42);
    CHECK(hal_driver_each(
              [](const struct hal_driver_info *info, void *) {
                  if (info->state != HAL_DRIVER_REGISTERED || info->path)
                      return 0;
                  CHECK(hal_register_driver("from-a-visitor", &odd_ops) == 0);
                  CHECK(hal_close(hal_open("from-a-visitor", HAL_FOREVER)) == 0);
                  CHECK(hal_unregister_driver("from-a-visitor") == 0);
                  CHECK(hal_driver_each([](const struct hal_driver_info *, void *) { return 0; },
                                        nullptr) == 0);
                  return 0;
              },
              nullptr) == 0);
    CHECK(hal_driver_each(nullptr, nullptr) == -EFAULT);
}

/* ---- logical names -------------------------------------------------------------------------- */

static std::string uri_of(hal_handle dev)
{
    struct hal_description about;
    CHECK(hal_describe(dev, &about, sizeof(about)) == 0);
    return about.uri;
}

TEST_CASE("a logical name opens what it is bound to, with its options")
{
    Registered settings("settings", settings_ops);
    REQUIRE(hal_bind("console", "settings:a%20b?count=5&label=x%26y") == 0);
    {
        Device dev("console"), again("console:");
        CHECK(uri_of(dev) == "settings:a%20b?count=5&label=x%26y");
        CHECK(uri_of(again) == "settings:a%20b?count=5&label=x%26y");
    }
    {
        Device dev("console?count=6&on");
        CHECK(uri_of(dev) == "settings:a%20b?label=x%26y&count=6&on=true");
        char text[32];
        CHECK(hal_get_text(dev, "label", text, sizeof(text), HAL_FOREVER) == 3);
        CHECK(text == std::string("x&y"));
        CHECK(hal_get_text(dev, "count", text, sizeof(text), HAL_FOREVER) == 1);
        CHECK(text == std::string("6"));
    }
    CHECK(hal_open("console:address", HAL_FOREVER) == -ENOENT); /* that would be a driver */
    CHECK(hal_unbind("console") == 0);
    CHECK(hal_open("console", HAL_FOREVER) == -ENOENT);
}

TEST_CASE("devices that are open stay open without their name")
{
    REQUIRE(hal_bind("console", "loopback") == 0);
    Device dev("console");
    CHECK(hal_unbind("console") == 0);
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    CHECK(uri_of(dev) == "loopback");
}

TEST_CASE("binding: what is refused")
{
    Registered queue("queue", queue_ops);
    REQUIRE(hal_bind("name", "loopback") == 0);
    CHECK(hal_bind("name", "loopback") == -EEXIST);
    CHECK(contains(message(), "it is bound to loopback"));
    CHECK(hal_bind("queue", "loopback") == -EEXIST);
    CHECK(hal_register_driver("name", &odd_ops) == -EEXIST);
    CHECK(contains(message(), "logical name"));
    CHECK(hal_bind("other", "name") == -EINVAL);
    CHECK(contains(message(), "\"name\" is a logical name itself"));
    CHECK(hal_bind("other", "name?capacity=1") == -EINVAL);
    CHECK(hal_bind(nullptr, "loopback") == -EFAULT);
    CHECK(hal_bind("other", nullptr) == -EFAULT);
    CHECK(hal_bind("", "loopback") == -ENOENT);
    CHECK(hal_bind("other", "") == -ENOENT);
    CHECK(hal_bind("a b", "loopback") == -EINVAL);
    CHECK(hal_bind("other", "a b") == -EINVAL);
    CHECK(hal_bind(std::string(HAL_NAME_MAX, 'n').c_str(), "loopback") == 0);
    CHECK(hal_unbind(std::string(HAL_NAME_MAX, 'n').c_str()) == 0);
    CHECK(hal_bind(std::string(HAL_NAME_MAX + 1, 'n').c_str(), "loopback") == -ENAMETOOLONG);
    CHECK(hal_bind("other", ("d:" + std::string(2000, 'a')).c_str()) == -ENAMETOOLONG);
    CHECK(hal_unbind("name") == 0);
    CHECK(hal_unbind("name") == -ENOENT);
    CHECK(hal_unbind(nullptr) == -EFAULT);
    /* The driver need not exist when the name is bound. */
    CHECK(hal_bind("name", "not-yet:there") == 0);
    CHECK(hal_open("name", HAL_FOREVER) == -ENOENT);
    CHECK(hal_unbind("name") == 0);
}

TEST_CASE("a name whose URI grows too long by the options given")
{
    REQUIRE(hal_bind("long", ("loopback:" + std::string(HAL_URI_MAX - 9, 'a')).c_str()) == 0);
    CHECK(hal_open("long?capacity=4096", HAL_FOREVER) == -ENAMETOOLONG);
    CHECK(hal_unbind("long") == 0);
}

TEST_CASE("listing of names; the visitor may bind and unbind")
{
    std::set<std::string> seen;
    REQUIRE(hal_bind("one", "loopback") == 0);
    REQUIRE(hal_bind("two", "loopback:?capacity=4096") == 0);
    auto collect = [](const char *name, const char *uri, void *arg) {
        static_cast<std::set<std::string> *>(arg)->insert(std::string(name) + "=" + uri);
        CHECK(hal_unbind(name) == 0);
        CHECK(hal_bind(name, uri) == 0);
        return 0;
    };
    CHECK(hal_binding_each(collect, &seen) == 0);
    CHECK(seen == std::set<std::string>{"one=loopback", "two=loopback:?capacity=4096"});
    CHECK(hal_binding_each([](const char *, const char *, void *) { return 7; }, nullptr) == 7);
    CHECK(hal_binding_each(nullptr, nullptr) == -EFAULT);
    CHECK(hal_unbind("one") == 0);
    CHECK(hal_unbind("two") == 0);
}

/* ---- threads -------------------------------------------------------------------------------- */

TEST_CASE("eight threads register, open, list, bind and unregister at once")
{
    const int rounds = sanitizer().empty() ? 500 : 100;
    std::atomic<int> registered{0}, unregistered{0}, opened{0};
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; t++)
        threads.emplace_back([&, t] {
            for (int i = 0; i < rounds; i++) {
                std::string name = "shared" + std::to_string((t + i) % 3);
                int err = hal_register_driver(name.c_str(), t % 2 ? &queue_ops : &odd_ops);
                CHECK((err == 0 || err == -EEXIST));
                registered += err == 0;
                hal_handle dev = hal_open(name.c_str(), HAL_FOREVER);
                CHECK((dev > 0 || dev == -ENOENT));
                if (dev > 0) {
                    opened++;
                    hal_write(dev, "x", 1, HAL_NOWAIT);
                    CHECK(hal_close(dev) == 0);
                }
                if (i % 5 == 0)
                    hal_driver_each([](const struct hal_driver_info *info,
                                       void *) { return info->open > 100 ? 1 : 0; },
                                    nullptr);
                if (i % 3 == 0) {
                    int bound = hal_bind(name.c_str(), "loopback");
                    CHECK((bound == 0 || bound == -EEXIST));
                    if (!bound)
                        CHECK(hal_unbind(name.c_str()) == 0);
                }
                err = hal_unregister_driver(name.c_str());
                CHECK((err == 0 || err == -ENOENT || err == -EBUSY));
                unregistered += err == 0;
            }
        });
    for (auto &thread : threads)
        thread.join();
    for (const char *name : {"shared0", "shared1", "shared2"})
        unregistered += hal_unregister_driver(name) == 0;
    CHECK(registered == unregistered);
    CHECK(opened > 0);
    CHECK(queue_live() == 0);
}
