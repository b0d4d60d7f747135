/* SPDX-License-Identifier: Apache-2.0 */
/* The devices of a machine from C: this one, one made of files, and one that changes. */
#include "drivers.h"
#include "helpers.h"

#include <atomic>
#include <cerrno>
#include <filesystem>
#include <map>
#include <poll.h>
#include <sched.h>
#include <string>
#include <sys/mount.h>
#include <sys/socket.h>
#include <vector>

#include <hal/discover.h>

using namespace test;
namespace fs = std::filesystem;

/* ---- a machine made of files ---------------------------------------------------------------- */

class Machine
{
  public:
    Machine()
    {
        write("/etc/machine-id", "0123456789abcdef0123456789abcdef\n");
    }
    const char *root() const
    {
        return folder_.path().c_str();
    }
    void write(const std::string &path, const std::string &text)
    {
        fs::path file = folder_.path() + path;
        fs::create_directories(file.parent_path());
        std::ofstream(file) << text;
    }
    /* A device folder; `where` lists it: "class/tty". */
    void device(const std::string &devpath, const std::string &where,
                const std::string &uevent = "")
    {
        std::string base = devpath.substr(devpath.rfind('/') + 1);
        std::string listing = where.rfind("bus/", 0) == 0 ? where + "/devices" : where;
        write("/sys" + devpath + "/uevent", uevent);
        fs::create_directories(folder_.path() + "/sys/" + listing);
        fs::create_symlink(folder_.path() + "/sys/" + where,
                           folder_.path() + "/sys" + devpath + "/subsystem");
        fs::create_symlink(folder_.path() + "/sys" + devpath,
                           folder_.path() + "/sys/" + listing + "/" + base);
    }
    void line(const std::string &devpath)
    {
        std::string base = devpath.substr(devpath.rfind('/') + 1);
        device(devpath, "class/tty", "DEVNAME=" + base + "\n");
        write("/dev/" + base, "");
    }

  private:
    Folder folder_;
};

/* A copy of what a visitor was shown. */
struct Seen {
    std::string id, device_class, name, driver, uri, node, state, serial, why;
    int score;
    enum hal_discover_change change;
};

using List = std::vector<Seen>;

static int keep(const struct hal_discovered *d, void *arg)
{
    for (const char *text : {d->id, d->device_class, d->name, d->vendor, d->model, d->serial,
                             d->driver, d->uri, d->why, d->node, d->state, d->subsystem, d->path})
        REQUIRE(text);
    static_cast<List *>(arg)->push_back({d->id, d->device_class, d->name, d->driver, d->uri,
                                         d->node, d->state, d->serial, d->why, d->score,
                                         d->change});
    return 0;
}

static List list(const Machine &machine, const char *query = nullptr)
{
    List found;
    REQUIRE(hal_discover_each_at(machine.root(), query, keep, &found) == 0);
    return found;
}

static std::string names(const List &list)
{
    std::string text;
    for (const Seen &seen : list)
        text += (text.empty() ? "" : " ") + seen.name;
    return text;
}

static const char kUsb[] = "/devices/pci0000:00/0000:00:14.0/usb1/1-2";

static void usb_line(Machine &machine, const std::string &usb, const std::string &serial,
                     const std::string &tty)
{
    std::string base = usb.substr(usb.rfind('/') + 1);
    machine.device(usb, "bus/usb", "DEVTYPE=usb_device\n");
    machine.write("/sys" + usb + "/idVendor", "0403\n");
    machine.write("/sys" + usb + "/idProduct", "6001\n");
    machine.write("/sys" + usb + "/serial", serial + "\n");
    machine.device(usb + "/" + base + ":1.0", "bus/usb", "DEVTYPE=usb_interface\n");
    machine.line(usb + "/" + base + ":1.0/tty/" + tty);
}

TEST_CASE("a machine without devices, and one that is not there")
{
    Machine machine;
    List found;
    CHECK(list(machine).empty());
    CHECK(hal_discover_each_at("/nowhere", nullptr, keep, &found) == -ENOENT);
    CHECK(contains(message(), "list devices \"/nowhere\": No such file or directory"));
    CHECK(hal_discover_each_at(nullptr, nullptr, keep, &found) == -EFAULT);
    CHECK(hal_discover_each(nullptr, nullptr, nullptr) == -EFAULT);
}

TEST_CASE("what is found, and the ids of Python")
{
    Machine machine;
    usb_line(machine, kUsb, "A50285BI", "ttyUSB0");
    machine.line("/devices/pnp0/00:05/tty/ttyS0");
    List found = list(machine);
    CHECK(names(found) == "ttyUSB0 ttyS0 1-2");
    /* hal.discovery.local_devices() gives these */
    CHECK(found[0].id == "c36cea0d-c3f3-5400-a1cf-b4a95969113e");
    CHECK(found[1].id == "a13fece3-2554-5ffe-89dd-c39081190687");
    CHECK(found[2].id == "a79fb752-760b-5f8b-835b-8d9931d8bb05");
    CHECK(found[0].device_class == "serial");
    CHECK(found[0].driver == "uart");
    CHECK(found[0].uri == "uart:/dev/ttyUSB0");
    CHECK(found[0].why == "subsystem:tty");
    CHECK(found[0].score == 10);
    CHECK(found[0].serial == "A50285BI");
    CHECK(found[0].change == HAL_DISCOVER_ADDED);
    CHECK(found[0].state == "ready");
    CHECK(found[2].device_class == "usb");
    CHECK(found[2].state == "present");
}

TEST_CASE("cloned serial numbers: each gets the id of its place")
{
    Machine one, both;
    usb_line(one, kUsb, "A50285BI", "ttyUSB0");
    usb_line(both, kUsb, "A50285BI", "ttyUSB0");
    usb_line(both, "/devices/pci0000:00/0000:00:14.0/usb1/1-3", "A50285BI", "ttyUSB1");
    List alone = list(one, "class=serial"), clones = list(both, "class=serial");
    REQUIRE(alone.size() == 1);
    REQUIRE(clones.size() == 2);
    CHECK(clones[0].id != clones[1].id);
    CHECK(clones[0].id != alone[0].id);
    CHECK(clones[1].id != alone[0].id);
}

TEST_CASE("kernel names in natural order, 300 of them")
{
    Machine machine;
    for (int i = 299; i >= 0; i--)
        machine.line("/devices/platform/many/tty/ttyX" + std::to_string(i));
    List found = list(machine);
    REQUIRE(found.size() == 300);
    std::map<std::string, int> ids;
    for (int i = 0; i < 300; i++) {
        CHECK(found[static_cast<size_t>(i)].name == "ttyX" + std::to_string(i));
        ids[found[static_cast<size_t>(i)].id]++;
    }
    CHECK(ids.size() == 300);
}

TEST_CASE("text from devices: any bytes, any length")
{
    Machine machine;
    usb_line(machine, kUsb, std::string("\x1b[31m\x07\n") + std::string(3000, 'x'), "ttyUSB0");
    List found = list(machine, "class=serial");
    REQUIRE(found.size() == 1);
    CHECK(found[0].serial.rfind("\\x1b[31m\\x07 xxx", 0) == 0);
    machine.write("/sys/class/tty/ttyUSB0/uevent", std::string(5000, '='));
    CHECK(list(machine, "class=serial")[0].state == "present");
}

static int fails_init(struct hal_device *)
{
    return -EIO;
}

TEST_CASE("the best row wins, and an address is made of what the device has")
{
    static const struct hal_match rows[] = {
        {"subsystem:tty usb:v0403p6001*", "{node}?speed=fast", nullptr},
        {"subsystem:tty", "{bus}", nullptr},    /* a tty has no {bus} */
        {"subsystem:usb", "{number}", nullptr}, /* "1-2" */
    };
    struct driver_ops ops = queue_ops;
    ops.init = fails_init;
    ops.matches = rows;
    ops.match_count = 3;
    Registered special("special", ops);
    Machine machine;
    usb_line(machine, kUsb, "A50285BI", "ttyUSB0");
    machine.line("/devices/pnp0/00:05/tty/ttyS0");
    List found = list(machine);
    CHECK(found[0].uri == "special:/dev/ttyUSB0?speed=fast");
    CHECK(found[0].score == 61);
    CHECK(found[1].driver == "uart");
    CHECK(found[2].uri == "special:2");
}

/* ---- queries -------------------------------------------------------------------------------- */

TEST_CASE("queries")
{
    Machine machine;
    usb_line(machine, kUsb, "A50285BI", "ttyUSB0");
    machine.line("/devices/pnp0/00:05/tty/ttyS0");
    std::string id = list(machine, "name=ttyS0").at(0).id;
    const std::pair<const char *, const char *> queries[] = {
        {"", "ttyUSB0 ttyS0 1-2"},
        {"  class=serial  ", "ttyUSB0 ttyS0"},
        {"class=SERIAL name=ttyS*", "ttyS0"},
        {"class=serial class=usb", "ttyUSB0 ttyS0 1-2"},
        {"name=ttys0", ""},
        {"name=tty?0", "ttyS0"},
        {"serial=a50285bi class=usb", "1-2"},
        {"driver=uart state=ready", "ttyUSB0 ttyS0"},
        {"ttyS0", "ttyS0"},
        {"uart:/dev/ttyUSB0", "ttyUSB0"},
        {"node=/dev/tty*", "ttyUSB0 ttyS0"},
        {"path=*/1-2/*", "ttyUSB0"},
        {"vendor='vendor 0403' class=usb", "1-2"},
        {"vendor=\"vendor 0*\" subsystem=tty", "ttyUSB0"},
        {"class=usb ttyS0", ""},
        {"*", "ttyUSB0 ttyS0 1-2"},
    };
    for (const auto &[query, expected] : queries) {
        CAPTURE(query);
        CHECK(names(list(machine, query)) == expected);
    }
    CHECK(names(list(machine, id.c_str())) == "ttyS0");
}

TEST_CASE("queries that are ill-formed")
{
    List found;
    CHECK(hal_discover_each("clas=serial", keep, &found) == -EINVAL);
    CHECK(contains(message(), "query \"clas=serial\": unknown key \"clas\" (known are class,"));
    CHECK(hal_discover_each("vendor='x", keep, &found) == -EINVAL);
    CHECK(contains(message(), "a quotation does not end"));
    std::string words, letters(600, 'x');
    for (int i = 0; i < 33; i++)
        words += "x ";
    CHECK(hal_discover_each(words.c_str(), keep, &found) == -EINVAL);
    CHECK(contains(message(), "more than 32 words"));
    CHECK(hal_discover_each(words.substr(2).c_str(), keep, &found) == 0);
    CHECK(hal_discover_each(letters.c_str(), keep, &found) == -EINVAL);
    CHECK(contains(message(), "600 letters, 510 at most"));
    CHECK(hal_discover_each(letters.substr(90).c_str(), keep, &found) == 0);
    CHECK(found.empty());
    struct hal_discovery *watch = nullptr;
    CHECK(hal_discover_open("clas=serial", &watch) == -EINVAL);
    CHECK(watch == nullptr);
}

static int stop(const struct hal_discovered *, void *arg)
{
    return ++*static_cast<int *>(arg) == 2 ? 7 : 0;
}

TEST_CASE("a visitor ends the listing")
{
    Machine machine;
    for (const char *name : {"ttyX0", "ttyX1", "ttyX2"})
        machine.line(std::string("/devices/platform/x/tty/") + name);
    int count = 0;
    CHECK(hal_discover_each_at(machine.root(), nullptr, stop, &count) == 7);
    CHECK(count == 2);
}

/* ---- a watch -------------------------------------------------------------------------------- */

/* Network interfaces of this process alone, so that some can be made and taken away. */
static bool own_network()
{
    static int owned = -1;
    if (owned < 0)
        owned = !emulated() && unshare(CLONE_NEWNET | CLONE_NEWNS) == 0 &&
                mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                mount("sysfs", "/sys", "sysfs", 0, nullptr) == 0 &&
                std::system("ip link add hal0 type veth peer name hal1") == 0 &&
                std::system("ip link del hal0") == 0;
    if (!owned)
        std::printf("skipped: it takes root, iproute2 and a kernel with veth\n");
    return owned;
}

class Watch
{
  public:
    explicit Watch(const char *query)
    {
        REQUIRE_MESSAGE(hal_discover_open(query, &watch_) == 0, hal_last_error());
    }
    ~Watch()
    {
        hal_discover_close(watch_);
    }
    Watch(const Watch &) = delete;
    Watch &operator=(const Watch &) = delete;
    int next(hal_deadline until)
    {
        shown.clear();
        return hal_discover_next(watch_, &generation, keep, &shown, until);
    }
    int fd() const
    {
        return hal_discover_fd(watch_);
    }

    List shown;
    uint64_t generation = 0;

  private:
    struct hal_discovery *watch_ = nullptr;
};

TEST_CASE("the first set comes at once, then nothing until something changes")
{
    Watch watch("class=serial class=memory");
    CHECK(watch.next(HAL_NOWAIT) == 0);
    CHECK(watch.generation == 1);
    for (const Seen &seen : watch.shown)
        CHECK(seen.change == HAL_DISCOVER_ADDED);
    List once;
    CHECK(hal_discover_each("class=serial class=memory", keep, &once) == 0);
    CHECK(names(watch.shown) == names(once));
    CHECK(watch.next(HAL_NOWAIT) == -EAGAIN);
    CHECK(watch.next(hal_after_ms(20)) == -ETIMEDOUT);
    CHECK(contains(message(), "watch devices: "));
    CHECK(watch.next(hal_now() - 1) == -ETIMEDOUT);
    CHECK(hal_discover_next(nullptr, nullptr, nullptr, nullptr, HAL_NOWAIT) == -EFAULT);
    CHECK(hal_discover_fd(nullptr) == -EFAULT);
    CHECK(hal_discover_open(nullptr, nullptr) == -EFAULT);
    hal_discover_close(nullptr);
}

TEST_CASE("what comes and goes")
{
    if (!own_network())
        return;
    Watch watch("class=network name=hal*");
    CHECK(watch.next(HAL_NOWAIT) == 0);
    CHECK(watch.shown.empty());
    REQUIRE(std::system("ip link add hal0 type veth peer name hal1") == 0);
    struct pollfd news = {watch.fd(), POLLIN, 0};
    CHECK(poll(&news, 1, 10000) == 1);
    REQUIRE(eventually([&] { /* the pair comes one after the other */
                             int err = watch.next(hal_after_ms(1000));
                             return err == 0 && watch.shown.size() == 2;
    }));
    CHECK(names(watch.shown) == "hal0 hal1");
    uint64_t before = watch.generation;
    CHECK(before > 1);
    CHECK(watch.next(hal_after_ms(50)) == -ETIMEDOUT);
    REQUIRE(std::system("ip link del hal0") == 0);
    List gone;
    REQUIRE(eventually([&] {
        if (watch.next(hal_after_ms(1000)) == 0)
            gone.insert(gone.end(), watch.shown.begin(), watch.shown.end());
        return gone.size() >= 2 && watch.shown.size() < 3 &&
               gone.back().change == HAL_DISCOVER_GONE;
    }));
    CHECK(gone.back().device_class == "network");
    CHECK(watch.generation > before);
    watch.next(hal_after_ms(200)); /* the other of the pair, if it went apart */
    watch.next(HAL_NOWAIT);
    CHECK(watch.shown.empty());
}

TEST_CASE("lost events lose nothing")
{
    if (!own_network())
        return;
    Watch watch("class=network name=hal*");
    int least = 1;
    CHECK(watch.next(HAL_NOWAIT) == 0);
    REQUIRE(setsockopt(watch.fd(), SOL_SOCKET, SO_RCVBUF, &least, sizeof(least)) == 0);
    REQUIRE(std::system("ip link add hal0 type veth peer name hal1") == 0);
    for (int i = 0; i < 50; i++) { /* more than the queue holds */
        std::ofstream("/sys/class/net/hal0/uevent") << "change" << std::flush;
    }
    char byte;
    CHECK(recv(watch.fd(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) == -1);
    CHECK(errno == ENOBUFS); /* which this call has taken away ... */
    for (int i = 0; i < 50; i++)
        std::ofstream("/sys/class/net/hal0/uevent") << "change" << std::flush;
    CHECK(watch.next(hal_after_ms(5000)) == 0); /* ... and which comes again */
    CHECK(names(watch.shown) == "hal0 hal1");
    REQUIRE(std::system("ip link del hal0") == 0);
}

TEST_CASE("watches and looks in several threads")
{
    Machine machine;
    for (int i = 0; i < 20; i++)
        machine.line("/devices/platform/x/tty/ttyX" + std::to_string(i));
    std::atomic<int> wrong{0};
    auto look = [&] {
        for (int i = 0; i < 5; i++) {
            List found;
            int err = hal_discover_each_at(machine.root(), "class=serial", keep, &found);
            wrong += err != 0 || found.size() != 20;
        }
    };
    auto watch = [&] {
        struct hal_discovery *own = nullptr;
        uint64_t generation = 0;
        wrong += hal_discover_open("class=serial", &own) != 0;
        wrong += hal_discover_next(own, &generation, nullptr, nullptr, HAL_NOWAIT) != 0;
        wrong += generation != 1;
        hal_discover_close(own);
    };
    std::thread threads[] = {std::thread(look), std::thread(watch), std::thread(look),
                             std::thread(watch)};
    for (std::thread &thread : threads)
        thread.join();
    CHECK(wrong == 0);
}
