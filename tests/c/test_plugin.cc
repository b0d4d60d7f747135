/* SPDX-License-Identifier: Apache-2.0 */
/* Plug-ins: good ones, and every way to be none. Each test that loads something does so in a child,
 * since what is loaded stays loaded. */
#include "drivers.h"
#include "helpers.h"

#include <cerrno>
#include <fstream>
#include <map>
#include <vector>

#include <sys/stat.h>

using namespace test;

static std::string built(const std::string &name)
{
    const char *folder = std::getenv("HAL_TEST_PLUGINS");
    if (!folder)
        std::fprintf(stderr, "HAL_TEST_PLUGINS is not set\n"), std::exit(2);
    return std::string(folder) + "/" + name + ".so";
}

static void copy(const std::string &from, const std::string &to)
{
    std::ifstream in(from, std::ios::binary);
    std::ofstream(to, std::ios::binary | std::ios::trunc) << in.rdbuf();
}

static void write_file(const std::string &path, const std::string &text)
{
    std::ofstream(path, std::ios::trunc) << text;
}

struct Seen {
    enum hal_driver_state state;
    std::string path, version, summary, reason;
    int times;
};

/* All drivers by name; those of the project itself are left out. */
static std::map<std::string, Seen> list()
{
    std::map<std::string, Seen> all;
    auto visit = [](const struct hal_driver_info *info, void *arg) {
        auto text = [](const char *s) { return std::string(s ? s : ""); };
        Seen &seen = (*static_cast<std::map<std::string, Seen> *>(arg))[info->name];
        seen = {info->state,         text(info->path),   text(info->version),
                text(info->summary), text(info->reason), seen.times + 1};
        return 0;
    };
    if (hal_driver_each(visit, &all))
        all.clear();
    return all;
}

static void search(const std::string &path)
{
    setenv("HAL_DRIVER_PATH", path.c_str(), 1);
}

#define ON_DEMAND(name) hal_open(name, HAL_FOREVER)

TEST_CASE("a good one is loaded when its scheme is met first, and stays")
{
    Folder folder;
    copy(built("good"), folder / "good.so");
    CHECK(in_child([&] {
        search(folder.path());
        auto before = list();
        CHILD_CHECK(before["good"].state == HAL_DRIVER_LOADABLE);
        CHILD_CHECK(before["good"].path == folder / "good.so");
        CHILD_CHECK(before["good"].reason.empty());
        hal_handle dev = hal_open("good", HAL_FOREVER);
        CHILD_CHECK(dev > 0);
        auto after = list();
        CHILD_CHECK(after["good"].state == HAL_DRIVER_REGISTERED);
        CHILD_CHECK(after["good"].times == 1);
        CHILD_CHECK(after["good"].path == folder / "good.so");
        CHILD_CHECK(after["good"].version == "1.2.3");
        CHILD_CHECK(after["good"].summary == "Takes everything, has nothing");
        CHILD_CHECK(hal_close(dev) == 0);
        CHILD_CHECK(hal_unregister_driver("good") == -EPERM);
        CHILD_CHECK(contains(message(), folder / "good.so"));
        CHILD_CHECK(hal_load_driver((folder / "good.so").c_str()) == 0);
        CHILD_CHECK(
            hal_load_driver((folder.path() + "/../" +
                             folder.path().substr(folder.path().rfind('/') + 1) + "/good.so")
                                .c_str()) == 0);
    }));
}

TEST_CASE("every way to be none: errno and reason")
{
    Folder folder;
    const struct {
        const char *name;
        int code;
        std::vector<std::string> reason;
    } table[] = {
        {"noentry", ENOEXEC, {"hal_plugin"}},
        {"nomagic", ENOEXEC, {"hal_plugin"}},
        {"otherabi", EPROTONOSUPPORT, {"ABI 4711", "ABI 1"}},
        {"misnamed", ENOEXEC, {"somebody-else"}},
        {"nameless", ENOEXEC, {"NULL"}},
        {"noread", ENOSYS, {"read is missing"}},
        {"notable", EFAULT, {"NULL"}},
        {"unresolved", ENOEXEC, {"undefined symbol", "function_that_is_nowhere"}},
        {"garbage", ENOEXEC, {"invalid ELF header"}},
        {"short", ENOEXEC, {"too short"}},
        {"empty", ENOEXEC, {"too short"}},
    };
    for (const auto &row : table)
        if (std::ifstream(built(row.name)))
            copy(built(row.name), folder / (std::string(row.name) + ".so"));
    write_file(folder / "garbage.so", std::string(4096, 'x'));
    write_file(folder / "short.so", "\177ELF");
    write_file(folder / "empty.so", "");
    search(folder.path());
    for (const auto &row : table) {
        CAPTURE(row.name);
        std::string path = folder / (std::string(row.name) + ".so");
        CHECK(ON_DEMAND(row.name) == -row.code);
        CHECK(contains(message(), path));
        CHECK(hal_load_driver(path.c_str()) == -row.code);
        CHECK(contains(message(), "load driver \"" + path + "\""));
        auto all = list();
        REQUIRE(all.count(row.name) == 1);
        CHECK(all[row.name].times == 1);
        CHECK(all[row.name].state == HAL_DRIVER_REFUSED);
        CHECK(all[row.name].path == path);
        for (const std::string &part : row.reason) {
            CHECK(contains(message(), part));
            CHECK(contains(all[row.name].reason, part));
        }
    }
}

TEST_CASE("loading all: how many are refused, and which")
{
    Folder folder;
    copy(built("good"), folder / "good.so");
    copy(built("otherabi"), folder / "otherabi.so");
    write_file(folder / "garbage.so", "nothing of the kind");
    write_file(folder / "not a name.so", "");
    write_file(folder / "README", "no plug-in");
    write_file(folder / ".hidden.so", "");
    CHECK(in_child([&] {
        search(folder.path());
        auto before = list();
        CHILD_CHECK(before["garbage"].state == HAL_DRIVER_LOADABLE); /* nobody has asked yet */
        CHILD_CHECK(before["not a name.so"].state == HAL_DRIVER_REFUSED);
        CHILD_CHECK(contains(before["not a name.so"].reason, "must be called NAME.so"));
        CHILD_CHECK(before.count("README") == 0 && before.count(".hidden.so") == 0);
        CHILD_CHECK(hal_load_drivers() == 3);
        CHILD_CHECK(hal_load_drivers() == 3);
        auto after = list();
        CHILD_CHECK(after["good"].state == HAL_DRIVER_REGISTERED);
        CHILD_CHECK(after["garbage"].state == HAL_DRIVER_REFUSED);
        CHILD_CHECK(after["otherabi"].state == HAL_DRIVER_REFUSED);
        for (auto &one : after)
            CHILD_CHECK(one.second.times == 1);
    }));
}

TEST_CASE("the project's own drivers all load")
{
    CHECK(in_child([] {
        CHILD_CHECK(hal_load_drivers() == 0);
        CHILD_CHECK(list()["loopback"].state == HAL_DRIVER_REGISTERED);
    }));
}

TEST_CASE("the first folder counts; what it shadows says by what")
{
    Folder first, second;
    copy(built("good"), first / "good.so");
    copy(built("good"), second / "good.so");
    copy(built("maker"), second / "maker.so");
    CHECK(in_child([&] {
        search(first.path() + ":" + second.path());
        hal_handle dev = hal_open("good", HAL_FOREVER);
        CHILD_CHECK(dev > 0);
        std::vector<std::string> seen;
        hal_driver_each(
            [](const struct hal_driver_info *info, void *arg) {
                if (std::string(info->name) == "good")
                    static_cast<std::vector<std::string> *>(arg)->push_back(
                        std::string(info->path) + " " + (info->reason ? info->reason : "ok"));
                return 0;
            },
            &seen);
        CHILD_CHECK(seen.size() == 2);
        CHILD_CHECK(seen[0] == first / "good.so ok");
        CHILD_CHECK(seen[1] == second / "good.so shadowed by " + first / "good.so");
        CHILD_CHECK(list()["maker"].state == HAL_DRIVER_LOADABLE);
    }));
    CHECK(in_child([&] {
        search(second.path() + ":" + first.path());
        CHILD_CHECK(hal_open("good", HAL_FOREVER) > 0);
        bool found = hal_driver_each(
            [](const struct hal_driver_info *info, void *arg) {
                return std::string(info->name) == "good" && info->state == HAL_DRIVER_REGISTERED &&
                               info->path == *static_cast<std::string *>(arg)
                           ? 1
                           : 0;
            },
            new std::string(second / "good.so"));
        CHILD_CHECK(found);
    }));
}

TEST_CASE("odd search paths: empty parts, a folder twice, by another name, one that is not there")
{
    Folder folder, links;
    copy(built("good"), folder / "good.so");
    REQUIRE(symlink(folder.path().c_str(), (links / "again").c_str()) == 0);
    search("::/no/such/folder:" + folder.path() + "::" + folder.path() + "/:" + (links / "again") +
           ":" + folder.path() + "/../" + folder.path().substr(5) + ":");
    auto all = list();
    CHECK(all["good"].times == 1);
    CHECK(all["good"].state == HAL_DRIVER_LOADABLE);
    CHECK(all["loopback"].times == 1); /* the library's own folder is searched, too */
    search(hal_driver_dir());
    CHECK(list()["loopback"].times == 1);
    search("");
    CHECK(list()["loopback"].times == 1);
}

TEST_CASE("a relative search path, and a plug-in behind a link")
{
    Folder folder;
    copy(built("good"), folder / "good-1.2.so");
    REQUIRE(symlink("good-1.2.so", (folder / "good.so").c_str()) == 0);
    CHECK(in_child([&] {
        CHILD_CHECK(chdir(folder.path().c_str()) == 0);
        search(".");
        CHILD_CHECK(hal_load_driver("good.so") == 0);
        CHILD_CHECK(list()["good"].path == folder / "good.so");
        CHILD_CHECK(list()["good"].times == 1);
        CHILD_CHECK(chdir("/") == 0);
        CHILD_CHECK(hal_load_driver((folder / "good.so").c_str()) == 0);
    }));
}

TEST_CASE("a file that was refused is tried again when it has been mended")
{
    Folder folder;
    copy(built("otherabi"), folder / "good.so");
    CHECK(in_child([&] {
        search(folder.path());
        CHILD_CHECK(ON_DEMAND("good") == -EPROTONOSUPPORT);
        CHILD_CHECK(list()["good"].state == HAL_DRIVER_REFUSED);
        unlink((folder / "good.so").c_str());
        CHILD_CHECK(ON_DEMAND("good") == -ENOENT);
        copy(built("good"), folder / "good.so");
        CHILD_CHECK(ON_DEMAND("good") > 0);
        auto seen = list()["good"];
        CHILD_CHECK(seen.state == HAL_DRIVER_REGISTERED && seen.times == 1 && seen.reason.empty());
    }));
}

TEST_CASE("one that is refused elsewhere than in the search path is listed, too")
{
    Folder folder;
    write_file(folder / "stray.so", "nothing");
    CHECK(hal_load_driver((folder / "stray.so").c_str()) == -ENOEXEC);
    CHECK(list()["stray"].state == HAL_DRIVER_REFUSED);
    CHECK(list()["stray"].path == folder / "stray.so");
}

TEST_CASE("loading by path: what is refused")
{
    CHECK(hal_load_driver(nullptr) == -EFAULT);
    CHECK(hal_load_driver("") == -ENOENT);
    CHECK(hal_load_driver("/no/such/folder/x.so") == -ENOENT);
    CHECK(hal_load_driver("/tmp/no-such-file.so") == -ENOENT);
    CHECK(hal_load_driver("/tmp") == -ENOEXEC);
    CHECK(hal_load_driver(std::string(5000, 'x').c_str()) == -ENAMETOOLONG);
    CHECK(contains(hal_driver_dir(), "/lib/hal/drivers"));
}

TEST_CASE("a name that is taken: by the program, by a logical name")
{
    Folder folder;
    copy(built("good"), folder / "good.so");
    copy(built("maker"), folder / "maker.so");
    CHECK(in_child([&] {
        search(folder.path());
        CHILD_CHECK(hal_register_driver("good", &queue_ops) == 0);
        CHILD_CHECK(hal_bind("maker", "loopback:") == 0);
        CHILD_CHECK(hal_load_driver((folder / "good.so").c_str()) == -EEXIST);
        CHILD_CHECK(hal_load_driver((folder / "maker.so").c_str()) == -EEXIST);
        CHILD_CHECK(contains(message(), "logical name"));
        CHILD_CHECK(hal_unregister_driver("good") == 0);
        CHILD_CHECK(hal_load_driver((folder / "good.so").c_str()) == 0);
    }));
}

TEST_CASE("constructors that register drivers, that open devices, that do without HAL_PLUGIN")
{
    Folder folder;
    for (const char *name : {"good", "maker", "orphan", "opener"})
        copy(built(name), folder / (std::string(name) + ".so"));
    CHECK(in_child([&] {
        search(folder.path());
        CHILD_CHECK(ON_DEMAND("maker") > 0);
        CHILD_CHECK(ON_DEMAND("made-one") > 0);
        CHILD_CHECK(ON_DEMAND("made-two") > 0);
        CHILD_CHECK(list()["made-one"].state == HAL_DRIVER_REGISTERED);
        CHILD_CHECK(ON_DEMAND("opener") > 0);
        CHILD_CHECK(list()["good"].state == HAL_DRIVER_REGISTERED);
    }));
    CHECK(in_child([&] {
        search(folder.path());
        hal_handle dev = ON_DEMAND("orphan"); /* its code must still be there */
        CHILD_CHECK(dev > 0);
        CHILD_CHECK(hal_write(dev, "abc", 3, HAL_NOWAIT) == 3);
        CHILD_CHECK(hal_close(dev) == 0);
        for (int i = 0; i < 3; i++)
            CHILD_CHECK(hal_load_driver((folder / "orphan.so").c_str()) == -ENOEXEC);
        CHILD_CHECK(ON_DEMAND("orphan") > 0);
    }));
}

TEST_CASE("eight threads meet a scheme first, at once")
{
    Folder folder;
    for (const char *name : {"good", "maker", "otherabi"})
        copy(built(name), folder / (std::string(name) + ".so"));
    search(folder.path());
    std::vector<std::thread> threads;
    for (int t = 0; t < 8; t++)
        threads.emplace_back([] {
            for (const char *name : {"good", "maker", "loopback"}) {
                hal_handle dev = ON_DEMAND(name);
                CHECK(dev > 0);
                CHECK(hal_close(dev) == 0);
            }
            CHECK(ON_DEMAND("otherabi") == -EPROTONOSUPPORT);
            CHECK(hal_load_drivers() == 1);
            CHECK(list()["good"].times == 1);
        });
    for (auto &thread : threads)
        thread.join();
}
