/* SPDX-License-Identifier: Apache-2.0 */
/* The serial driver on pseudo-terminals: real ttys of the real kernel, whose other side is this
 * program. What only wires have (modem lines, counters, parity) is tested where there are some. */
#include <doctest/doctest.h>

#include <asm/termbits.h> /* and so not <termios.h> */
#include <dirent.h>
#include <fcntl.h>
#include <linux/serial.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <functional>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include <hal/hal.h>

namespace
{

constexpr int64_t MS = 1000000;

/* ---- the other side ---- */

class Pty
{
  public:
    Pty()
    {
        master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
        REQUIRE(master >= 0);
        REQUIRE(grantpt(master) == 0);
        REQUIRE(unlockpt(master) == 0);
        char name[64];
        REQUIRE(ptsname_r(master, name, sizeof(name)) == 0);
        path = name;
    }
    Pty(const Pty &) = delete;
    Pty &operator=(const Pty &) = delete;
    ~Pty()
    {
        unplug();
    }

    void unplug()
    {
        if (master >= 0)
            close(master);
        master = -1;
    }

    /* The line's settings, as the kernel has them. User-mode emulators know only TCGETS. */
    termios2 line() const
    {
        termios2 now{};
        if (ioctl(master, TCGETS2, &now) != 0)
            REQUIRE(ioctl(master, TCGETS, &now) == 0);
        return now;
    }

    void send(const std::string &bytes) const
    {
        REQUIRE(write(master, bytes.data(), bytes.size()) == static_cast<ssize_t>(bytes.size()));
    }

    std::string receive(size_t length) const
    {
        std::string got;
        char chunk[4096];
        while (got.size() < length) {
            ssize_t n = read(master, chunk, std::min(sizeof(chunk), length - got.size()));
            REQUIRE(n > 0);
            got.append(chunk, static_cast<size_t>(n));
        }
        return got;
    }

    std::string uri(const std::string &options = "") const
    {
        return "uart:" + path + (options.empty() ? "" : "?" + options);
    }

    int master = -1;
    std::string path;
};

class Line
{
  public:
    explicit Line(const std::string &uri) : handle(hal_open(uri.c_str(), hal_after_ms(5000)))
    {
        INFO(std::string(hal_last_error()));
        REQUIRE(handle > 0);
    }
    explicit Line(const Pty &pty, const std::string &options = "") : Line(pty.uri(options))
    {
    }
    Line(const Line &) = delete;
    Line &operator=(const Line &) = delete;
    ~Line()
    {
        shut();
    }
    void shut()
    {
        if (handle > 0)
            CHECK(hal_close(handle) == 0);
        handle = 0;
    }
    int set(const char *name, const char *text) const
    {
        return hal_set_text(handle, name, text, hal_after_ms(5000));
    }
    std::string get(const char *name) const
    {
        char text[HAL_TEXT_MAX];
        long n = hal_get_text(handle, name, text, sizeof(text), hal_after_ms(5000));
        return n < 0 ? std::string("error ") + std::to_string(n) : text;
    }
    ssize_t read(void *buf, size_t len, hal_deadline until) const
    {
        return hal_read(handle, buf, len, until);
    }

    hal_handle handle;
};

/* User-mode emulators translate the older requests of a tty only. */
bool emulated()
{
    Pty pty;
    termios2 now;
    if (ioctl(pty.master, TCGETS2, &now) == 0)
        return false;
    MESSAGE("not tested: this emulator does not know the request");
    return true;
}

std::string last_error()
{
    return hal_last_error();
}

bool contains(const std::string &text, const std::string &part)
{
    return text.find(part) != std::string::npos;
}

size_t open_descriptors()
{
    size_t count = 0;
    DIR *fds = opendir("/proc/self/fd");
    REQUIRE(fds);
    while (readdir(fds))
        count++;
    closedir(fds);
    return count;
}

/* Until a thread of this process sleeps, or has ended. */
void await_sleep(pid_t thread)
{
    std::string path = "/proc/self/task/" + std::to_string(thread) + "/stat";
    for (;;) {
        std::string text;
        std::ifstream file(path);
        std::getline(file, text);
        size_t name_end = text.rfind(')');
        if (name_end == std::string::npos || text[name_end + 2] == 'S')
            return;
        std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
}

/* Run something that waits, do `event` once it does, and say how long it then took, in ns. */
int64_t wakes_after(const std::function<void()> &waits, const std::function<void()> &event)
{
    std::atomic<pid_t> thread{0};
    std::thread waiter([&] {
        thread = gettid();
        waits();
    });
    std::this_thread::sleep_for(std::chrono::milliseconds(30)); /* it may sleep to begin, too */
    while (!thread)
        std::this_thread::yield();
    await_sleep(thread);
    int64_t start = hal_now();
    event();
    waiter.join();
    return hal_now() - start;
}

/* The kernel moves bytes from queue to queue by itself, so "full" is what stays full a while. */
void fill(const Line &line)
{
    std::vector<char> block(4096, 'x');
    ssize_t n;
    do {
        n = hal_write(line.handle, block.data(), block.size(), hal_after_ms(20));
    } while (n > 0);
    CHECK(n == -ETIMEDOUT);
    CHECK(hal_write(line.handle, "x", 1, HAL_NOWAIT) == -EAGAIN);
}

/* ---- settings ---- */

TEST_CASE("a line opens raw, at 115200 8N1, whatever it was before")
{
    Pty pty;
    termios2 before = pty.line();
    CHECK((before.c_lflag & ECHO) != 0);
    Line line(pty);
    termios2 now = pty.line();

    CHECK(now.c_iflag == 0);
    CHECK(now.c_oflag == 0);
    CHECK(now.c_lflag == 0);
    CHECK((now.c_cflag & (CSIZE | PARENB | CSTOPB | CRTSCTS)) == CS8);
    CHECK((now.c_cflag & (CREAD | CLOCAL)) == (CREAD | CLOCAL));
    CHECK((now.c_cflag & CBAUD) == B115200);
    CHECK(now.c_cc[VTIME] == 0);
    CHECK(line.get("baud") == "115200");
    CHECK(line.get("bits") == "8");
    CHECK(line.get("parity") == "none");
    CHECK(line.get("stop") == "1");
    CHECK(line.get("flow") == "none");
    CHECK(line.get("exclusive") == "true");
    CHECK(line.get("restore") == "true");
    CHECK(line.get("node") == pty.path);
}

TEST_CASE("speeds that have a code are set by it")
{
    Pty pty;
    Line line(pty);
    const bool few = emulated(); /* of the codes, too */
    const struct {
        std::string text;
        tcflag_t code;
    } speeds[] = {{"50", B50},          {"300", B300},         {"9600", B9600},
                  {"38400", B38400},    {"57600", B57600},     {"115200", B115200},
                  {"460800", B460800},  {"1000000", B1000000}, {"1500000", B1500000},
                  {"4000000", B4000000}};

    for (const auto &speed : speeds) {
        CAPTURE(speed.text);
        if (few && speed.text.size() > 6)
            continue;
        CHECK(line.set("baud", speed.text.c_str()) == 0);
        CHECK((pty.line().c_cflag & CBAUD) == speed.code);
        CHECK(line.get("baud") == speed.text);
    }
}

TEST_CASE("any other speed is set by number")
{
    if (emulated())
        return;
    Pty pty;
    Line line(pty, "baud=12345");
    CHECK(pty.line().c_ospeed == 12345);

    for (std::string speed : {"1", "250000", "31250", "7372800", "4294967295"}) {
        CAPTURE(speed);
        CHECK(line.set("baud", speed.c_str()) == 0);
        termios2 now = pty.line();
        CHECK((now.c_cflag & CBAUD) == BOTHER);
        CHECK(std::to_string(now.c_ospeed) == speed);
        CHECK(std::to_string(now.c_ispeed) == speed);
        CHECK(line.get("baud") == speed);
    }
}

TEST_CASE("stop bits, flow control and hangup are seen from the other side")
{
    Pty pty;
    Line line(pty, "stop=2&flow=rtscts&hangup=off");
    auto cflag = [&](tcflag_t mask) { return pty.line().c_cflag & mask; };
    auto iflag = [&](tcflag_t mask) { return pty.line().c_iflag & mask; };

    CHECK(cflag(CSTOPB) == CSTOPB);
    CHECK(cflag(CRTSCTS) == static_cast<tcflag_t>(CRTSCTS));
    CHECK(cflag(HUPCL) == 0);
    CHECK(line.get("stop") == "2");
    CHECK(line.get("flow") == "rtscts");
    CHECK(line.get("hangup") == "false");

    CHECK(line.set("stop", "1") == 0);
    CHECK(cflag(CSTOPB) == 0);
    CHECK(line.set("flow", "xonxoff") == 0);
    CHECK(cflag(CRTSCTS) == 0);
    CHECK(iflag(IXON | IXOFF | IXANY) == (IXON | IXOFF));
    CHECK(line.get("flow") == "xonxoff");
    CHECK(pty.line().c_cc[VSTART] == 0x11);
    CHECK(pty.line().c_cc[VSTOP] == 0x13);
    CHECK(line.set("flow", "none") == 0);
    CHECK(iflag(IXON | IXOFF | IXANY) == 0);
    CHECK(line.set("hangup", "on") == 0);
    CHECK(cflag(HUPCL) == HUPCL);
}

TEST_CASE("XOFF from the other side stops the line, XON lets it go on")
{
    Pty pty;
    Line line(pty, "flow=xonxoff");
    char byte;

    pty.send("\x13");
    CHECK(line.read(&byte, 1, hal_after_ms(20)) == -ETIMEDOUT); /* swallowed, and acted upon */
    CHECK(hal_write(line.handle, "x", 1, hal_after_ms(20)) == -ETIMEDOUT);
    pty.send("\x11");
    CHECK(line.read(&byte, 1, hal_after_ms(20)) == -ETIMEDOUT);
    CHECK(hal_write(line.handle, "y", 1, hal_after_ms(5000)) == 1);
    CHECK(pty.receive(1) == "y");
}

/* A pseudo-terminal keeps 8 data bits and no parity whatever it is asked for, without an error. */
TEST_CASE("a setting that the tty ignores is an error, and nothing has changed")
{
    Pty pty;
    Line line(pty, "baud=9600");
    termios2 before = pty.line();
    const struct {
        std::string name, value, got;
    } cases[] = {{"bits", "5", "8"},         {"bits", "6", "8"},        {"bits", "7", "8"},
                 {"parity", "even", "none"}, {"parity", "odd", "none"}, {"parity", "mark", "none"},
                 {"parity", "space", "none"}};

    for (const auto &c : cases) {
        CAPTURE(c.value);
        CHECK(line.set(c.name.c_str(), c.value.c_str()) == -EOPNOTSUPP);
        CHECK(hal_error_kind(-hal_last_errno()) == HAL_UNSUPPORTED);
        CHECK(contains(last_error(), "set " + c.name + " \"" + pty.path + "\""));
        CHECK(contains(last_error(), "asked for " + c.value + ", the tty stays at " + c.got));
        termios2 now = pty.line();
        CHECK(memcmp(&now, &before, sizeof(now)) == 0);
    }
    CHECK(line.set("bits", "8") == 0);
    CHECK(line.set("parity", "none") == 0);
}

TEST_CASE("bad options are refused, each with its error, and leave the line as it was")
{
    Pty pty;
    termios2 before = pty.line();
    const struct {
        std::string options;
        int err;
        const char *message;
    } cases[] = {
        {"baud=0", -ERANGE, "baud"},
        {"baud=4294967296", -ERANGE, "baud"},
        {"baud=fast", -EINVAL, "baud"},
        {"baud=-9600", -ERANGE, "baud"},
        {"bits=4", -ERANGE, "bits"},
        {"bits=9", -ERANGE, "bits"},
        {"bits=7", -EOPNOTSUPP, "asked for 7, the tty stays at 8"},
        {"parity=both", -EINVAL, "none, even, odd, mark, space"},
        {"parity=even", -EOPNOTSUPP, "asked for even, the tty stays at none"},
        {"stop=0.5", -ERANGE, "stop"},
        {"stop=2.5", -ERANGE, "stop"},
        {"stop=1.5", -EINVAL, "1.5 stop bits cannot be had with 8 data bits"},
        {"stop=1.2", -EINVAL, "1.2 stop bits"},
        {"flow=dtrdsr", -EINVAL, "none, rtscts, xonxoff"},
        {"exclusive=maybe", -EINVAL, "exclusive"},
        {"rs485.delay_after=0.2", -ERANGE, "rs485.delay_after"},
        {"rs485", -EOPNOTSUPP, "RS-485"},
        {"dtr=off", -EOPNOTSUPP, "modem lines"},
        {"low_latency", -EOPNOTSUPP, "low-latency"},
        {"cts=on", 0, "cts"},
        {"bauds=9600", 0, "bauds"},
    };

    for (const auto &c : cases) {
        CAPTURE(c.options);
        hal_handle line = hal_open(pty.uri(c.options).c_str(), hal_after_ms(5000));
        CHECK(line < 0);
        if (c.err)
            CHECK(line == c.err);
        CAPTURE(last_error());
        CHECK(contains(last_error(), c.message));
        termios2 now = pty.line();
        CHECK(memcmp(&now, &before, sizeof(now)) == 0);
    }
    Line line(pty); /* and the line can be opened */
}

TEST_CASE("what a pseudo-terminal does not have is unsupported")
{
    Pty pty;
    Line line(pty);
    hal_value value;

    for (std::string name : {"dtr",
                             "rts",
                             "cts",
                             "dsr",
                             "dcd",
                             "ri",
                             "rs485",
                             "rs485.rts_on_send",
                             "rs485.delay_before",
                             "rs485.delay_after",
                             "rs485.rx_during_tx",
                             "rs485.terminate",
                             "low_latency",
                             "errors.frame",
                             "errors.parity",
                             "errors.overrun",
                             "errors.buffer",
                             "errors.break",
                             "count.rx",
                             "count.tx",
                             "count.cts",
                             "count.dsr",
                             "count.dcd",
                             "count.ri"}) {
        CAPTURE(name);
        CHECK(hal_get(line.handle, name.c_str(), &value, HAL_FOREVER) == -EOPNOTSUPP);
        CHECK(contains(last_error(), "get " + name + " \"" + pty.path + "\""));
        CHECK(contains(last_error(), "this tty has no "));
    }
    for (std::string name : {"dtr", "rts", "rs485", "rs485.rts_on_send", "low_latency"}) {
        CAPTURE(name);
        CHECK(line.set(name.c_str(), "on") == -EOPNOTSUPP);
        CHECK(contains(last_error(), "set " + name));
    }
}

TEST_CASE("every attribute is described, and its initial value is one that it takes")
{
    Pty pty;
    Line line(pty);
    std::set<std::string> names;
    long count = hal_attribute_count(line.handle);

    REQUIRE(count > 30);
    for (long i = 0; i < count; i++) {
        const hal_attribute *attr = nullptr;
        hal_value value;
        REQUIRE(hal_attribute_at(line.handle, static_cast<size_t>(i), &attr) == 0);
        CAPTURE(std::string(attr->name));
        CHECK(names.insert(attr->name).second);
        CHECK(attr->doc != nullptr);
        CHECK(static_cast<bool>(attr->get));
        CHECK((attr->set != nullptr) == ((attr->access & HAL_ATTR_WRITE) != 0));
        if (attr->initial)
            CHECK(hal_value_parse(attr, attr->initial, &value) == 0);
    }
}

/* ---- closing ---- */

TEST_CASE("closing puts the line's settings back")
{
    Pty pty;
    termios2 before = pty.line();
    {
        Line line(pty, "baud=300&stop=2&flow=xonxoff");
        CHECK(line.set("baud", "600") == 0);
    }
    termios2 after = pty.line();
    CHECK(memcmp(&before, &after, sizeof(after)) == 0);
}

TEST_CASE("with restore off the settings stay")
{
    Pty pty;
    {
        Line line(pty, "baud=300&restore=off");
    }
    CHECK((pty.line().c_cflag & CBAUD) == B300);
    CHECK((pty.line().c_lflag & ICANON) == 0);
    termios2 before = pty.line();
    {
        Line line(pty, "baud=600");
        CHECK(line.set("restore", "off") == 0);
        CHECK(line.set("restore", "on") == 0);
    }
    termios2 after = pty.line();
    CHECK(memcmp(&before, &after, sizeof(after)) == 0);
}

TEST_CASE("hangup acts at the close, so it is not put back")
{
    Pty pty;
    {
        Line line(pty, "hangup=on");
        CHECK((pty.line().c_cflag & HUPCL) != 0);
    }
    CHECK((pty.line().c_cflag & HUPCL) != 0);
    {
        Line line(pty, "hangup=off");
    }
    CHECK((pty.line().c_cflag & HUPCL) == 0);
    CHECK((pty.line().c_lflag & ECHO) != 0);
}

TEST_CASE("a thousand times open and close leave no descriptor behind")
{
    Pty pty;
    {
        Line line(pty); /* whatever is set up once */
    }
    size_t before = open_descriptors();
    for (int i = 0; i < 1000; i++) {
        hal_handle line = hal_open(pty.uri("baud=9600").c_str(), HAL_FOREVER);
        REQUIRE(line > 0);
        REQUIRE(hal_close(line) == 0);
    }
    for (int i = 0; i < 100; i++)
        REQUIRE(hal_open(pty.uri("bits=7").c_str(), HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(open_descriptors() == before);
}

/* ---- bytes ---- */

TEST_CASE("all byte values go through in both directions")
{
    Pty pty;
    Line line(pty);
    std::string all;
    for (int i = 0; i < 256; i++)
        all.push_back(static_cast<char>(i));
    std::string got(all.size(), '\0');

    CHECK(hal_write(line.handle, all.data(), all.size(), hal_after_ms(5000)) == 256);
    CHECK(pty.receive(all.size()) == all);
    pty.send(all);
    CHECK(hal_read_exact(line.handle, &got[0], got.size(), hal_after_ms(5000)) == 256);
    CHECK(got == all);
    CHECK(line.read(&got[0], 1, HAL_NOWAIT) == -EAGAIN); /* no echo */
}

TEST_CASE("a stream is read and written by two threads at once")
{
    Pty pty;
    Line line(pty);
    const size_t length = 200000;
    std::string sent, got;
    uint32_t seed = 1;
    for (size_t i = 0; i < length; i++)
        sent.push_back(static_cast<char>((seed = seed * 1664525 + 1013904223) >> 24));

    std::thread echo([&] {
        char chunk[1024];
        for (size_t done = 0; done < length;) {
            ssize_t n = read(pty.master, chunk, sizeof(chunk));
            if (n <= 0 || write(pty.master, chunk, static_cast<size_t>(n)) != n)
                break;
            done += static_cast<size_t>(n);
        }
    });
    std::thread writer([&] {
        ssize_t n = hal_write(line.handle, sent.data(), sent.size(), hal_after_ms(60000));
        CHECK(n == static_cast<ssize_t>(length));
    });
    while (got.size() < length) {
        char chunk[777];
        ssize_t n = line.read(chunk, sizeof(chunk), hal_after_ms(30000));
        REQUIRE(n > 0);
        got.append(chunk, static_cast<size_t>(n));
    }
    writer.join();
    echo.join();
    CHECK(got == sent);
}

TEST_CASE("a read gives what is there, and the rest is for the next")
{
    Pty pty;
    Line line(pty);
    char buf[100];

    pty.send("hello");
    CHECK(line.read(buf, 2, hal_after_ms(5000)) == 2);
    CHECK(line.get("queue.input") == "3");
    CHECK(line.read(buf, sizeof(buf), HAL_NOWAIT) == 3);
    CHECK(std::string(buf, 3) == "llo");
    CHECK(line.get("queue.input") == "0");
    CHECK(line.get("queue.output") == "0");
    CHECK(line.read(buf, 0, HAL_NOWAIT) == 0);
}

TEST_CASE("deadlines: not early, and would-block is another thing")
{
    Pty pty;
    Line line(pty);
    char byte;

    CHECK(line.read(&byte, 1, HAL_NOWAIT) == -EAGAIN);
    int64_t until = hal_after(60 * MS);
    CHECK(line.read(&byte, 1, until) == -ETIMEDOUT);
    CHECK(hal_now() >= until);
    CHECK(hal_error_kind(-hal_last_errno()) == HAL_TIMEOUT);

    fill(line);
    until = hal_after(60 * MS);
    CHECK(hal_write(line.handle, "x", 1, until) == -ETIMEDOUT);
    CHECK(hal_now() >= until);

    /* What a deadline cuts short is counted. */
    pty.receive(1000);
    std::vector<char> block(1 << 20, 'y');
    ssize_t n = hal_write(line.handle, block.data(), block.size(), hal_after_ms(50));
    CHECK(n > 0);
    CHECK(n < static_cast<ssize_t>(block.size()));
}

TEST_CASE("cancel ends a read, a write that cannot go on, and a poll")
{
    Pty pty;
    Line line(pty);
    auto cancel = [&] { CHECK(hal_cancel(line.handle) == 0); };

    wakes_after(
        [&] {
            char byte;
            CHECK(line.read(&byte, 1, hal_after_ms(20000)) == -ECANCELED);
        },
        cancel);
    wakes_after([&] { CHECK(hal_poll(line.handle, POLLIN, hal_after_ms(20000)) == -ECANCELED); },
                cancel);
    fill(line);
    wakes_after([&] { CHECK(hal_write(line.handle, "x", 1, hal_after_ms(20000)) == -ECANCELED); },
                cancel);

    pty.send("go on");
    char buf[8];
    CHECK(hal_read_exact(line.handle, buf, 5, hal_after_ms(5000)) == 5);
}

TEST_CASE("the descriptor is for event loops")
{
    Pty pty;
    Line line(pty);
    int fd = hal_fd(line.handle, POLLIN);

    REQUIRE(fd >= 0);
    CHECK(hal_fd(line.handle, POLLOUT) == fd);
    CHECK((fcntl(fd, F_GETFL) & O_NONBLOCK) != 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK(hal_poll(line.handle, POLLIN | POLLOUT, hal_after_ms(5000)) == POLLOUT);
    pty.send("x");
    CHECK(hal_poll(line.handle, POLLIN, hal_after_ms(5000)) == POLLIN);
}

/* ---- unplug ---- */

TEST_CASE("unplugging ends what waits, at once and with its own error")
{
    const struct {
        std::string what;
        std::function<long(hal_handle)> wait;
    } cases[] = {
        {"read",
         [](hal_handle line) {
             char byte;
             return hal_read(line, &byte, 1, hal_after_ms(20000));
         }},
        {"read_until",
         [](hal_handle line) {
             char buf[80];
             return hal_read_until(line, buf, sizeof(buf), "\n", 1, hal_after_ms(20000));
         }},
        {"write",
         [](hal_handle line) {
             std::vector<char> block(4096, 'x');
             long n;
             do {
                 n = hal_write(line, block.data(), block.size(), hal_after_ms(20000));
             } while (n > 0);
             return n;
         }},
        {"break",
         [](hal_handle line) {
             uint32_t ms = 5000;
             return hal_control(line, HAL_UART_BREAK, &ms, sizeof(ms), hal_after_ms(20000));
         }},
    };

    for (const auto &c : cases) {
        CAPTURE(c.what);
        if (c.what == "break" && emulated())
            continue;
        int64_t best = INT64_MAX; /* of a few: this machine may be busy with something else */
        for (int i = 0; i < 5 && best > 50 * MS; i++) {
            Pty pty;
            Line line(pty);
            long result = 0;
            std::string message;
            int64_t took = wakes_after(
                [&] {
                    result = c.wait(line.handle);
                    message = last_error();
                },
                [&] { pty.unplug(); });
            CHECK(result == -ENODEV);
            CHECK(contains(message, "hung up"));
            CHECK(contains(message, pty.path));
            best = std::min(best, took);
        }
        CHECK(best <= 50 * MS);
    }
}

TEST_CASE("an unplugged line says so whatever is asked of it")
{
    Pty pty;
    Line line(pty);
    uint32_t ms = 10, both = HAL_UART_INPUT | HAL_UART_OUTPUT;
    hal_value value;
    char byte;

    pty.unplug();
    CHECK(line.read(&byte, 1, HAL_NOWAIT) == -ENODEV);
    CHECK(hal_error_kind(-hal_last_errno()) == HAL_UNPLUGGED);
    CHECK(line.read(&byte, 1, HAL_FOREVER) == -ENODEV);
    CHECK(hal_write(line.handle, "x", 1, HAL_FOREVER) == -ENODEV);
    CHECK(contains(last_error(), "write \"" + pty.path + "\""));
    CHECK(hal_control(line.handle, HAL_UART_DRAIN, nullptr, 0, HAL_FOREVER) == -ENODEV);
    CHECK(hal_control(line.handle, HAL_UART_BREAK, &ms, sizeof(ms), HAL_FOREVER) == -ENODEV);
    CHECK(hal_control(line.handle, HAL_UART_FLUSH, &both, sizeof(both), HAL_FOREVER) == -ENODEV);
    for (std::string name :
         {"baud", "parity", "cts", "queue.input", "errors.frame", "low_latency", "rs485"}) {
        CAPTURE(name);
        CHECK(hal_get(line.handle, name.c_str(), &value, HAL_FOREVER) == -ENODEV);
    }
    CHECK(line.set("baud", "9600") == -ENODEV);
    CHECK((hal_poll(line.handle, POLLIN, hal_after_ms(5000)) & POLLHUP) != 0);
    line.shut();
    CHECK(hal_open(pty.uri().c_str(), HAL_FOREVER) == -ENOENT);
}

TEST_CASE("a line that somebody else reads or reconfigures is not unplugged")
{
    Pty pty;
    Line line(pty, "exclusive=off");
    int other = open(pty.path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
    REQUIRE(other >= 0);
    char buf[8];

    SUBCASE("bytes that the other took do not come here")
    {
        pty.send("theirs");
        CHECK(read(other, buf, 6) == 6);
        CHECK(line.read(buf, 1, hal_after_ms(30)) == -ETIMEDOUT);
    }
    SUBCASE("with VMIN 0 the kernel says 0 where it said EAGAIN")
    {
        termios2 now = pty.line();
        now.c_cc[VMIN] = 0;
        if (ioctl(other, TCSETS2, &now) != 0)
            REQUIRE(ioctl(other, TCSETS, &now) == 0);
        CHECK(line.read(buf, 1, HAL_NOWAIT) == -EAGAIN);
        CHECK(line.read(buf, 1, hal_after_ms(30)) == -ETIMEDOUT);
        pty.send("a");
        CHECK(line.read(buf, 1, hal_after_ms(5000)) == 1);
    }
    close(other);
}

/* ---- requests ---- */

TEST_CASE("flush drops input in the kernel and in the library")
{
    Pty pty;
    Line line(pty);
    uint32_t queue = HAL_UART_INPUT;
    char buf[80];

    pty.send("one\ntwo");
    CHECK(hal_read_until(line.handle, buf, sizeof(buf), "\n", 1, hal_after_ms(5000)) == 4);
    pty.send("three");
    while (line.get("queue.input") == "0")
        std::this_thread::yield();
    CHECK(hal_pending(line.handle) == 3);
    CHECK(hal_control(line.handle, HAL_UART_FLUSH, &queue, sizeof(queue), HAL_FOREVER) == 0);
    CHECK(hal_pending(line.handle) == 0);
    CHECK(line.get("queue.input") == "0");
    CHECK(line.read(buf, sizeof(buf), HAL_NOWAIT) == -EAGAIN);
    pty.send("new");
    CHECK(hal_read_exact(line.handle, buf, 3, hal_after_ms(5000)) == 3);
    CHECK(std::string(buf, 3) == "new");
}

TEST_CASE("flush of output leaves input alone")
{
    Pty pty;
    Line line(pty);
    uint32_t queue = HAL_UART_OUTPUT;
    char buf[80];

    pty.send("one\ntwo");
    CHECK(hal_read_until(line.handle, buf, sizeof(buf), "\n", 1, hal_after_ms(5000)) == 4);
    CHECK(hal_control(line.handle, HAL_UART_FLUSH, &queue, sizeof(queue), HAL_FOREVER) == 0);
    CHECK(hal_read_exact(line.handle, buf, 3, hal_after_ms(5000)) == 3);
    CHECK(std::string(buf, 3) == "two");
    queue = HAL_UART_INPUT | HAL_UART_OUTPUT;
    CHECK(hal_control(line.handle, HAL_UART_FLUSH, &queue, sizeof(queue), HAL_FOREVER) == 0);
}

TEST_CASE("drain ends when everything is out")
{
    Pty pty;
    Line line(pty);

    CHECK(hal_write(line.handle, "bytes", 5, HAL_FOREVER) == 5);
    CHECK(hal_control(line.handle, HAL_UART_DRAIN, nullptr, 0, hal_after_ms(5000)) == 0);
    CHECK(hal_control(line.handle, HAL_UART_DRAIN, nullptr, 0, HAL_NOWAIT) == 0);
    CHECK(pty.receive(5) == "bytes");
}

TEST_CASE("a break lasts as long as was said")
{
    if (emulated())
        return;
    Pty pty;
    Line line(pty);
    auto send = [&](uint32_t ms, hal_deadline until) {
        return hal_control(line.handle, HAL_UART_BREAK, &ms, sizeof(ms), until);
    };

    for (uint32_t ms : {1u, 40u}) {
        int64_t start = hal_now();
        CHECK(send(ms, HAL_FOREVER) == 0);
        CHECK(hal_now() - start >= ms * MS);
    }
    int64_t until = hal_after_ms(40);
    CHECK(send(5000, until) == -ETIMEDOUT);
    CHECK(hal_now() >= until);
    CHECK(send(10, HAL_NOWAIT) == -EAGAIN);
    CHECK(send(0, HAL_FOREVER) == -ERANGE);
    CHECK(contains(last_error(), "1 .. 5000"));
    CHECK(send(5001, HAL_FOREVER) == -ERANGE);
    wakes_after([&] { CHECK(send(5000, hal_after_ms(20000)) == -ECANCELED); },
                [&] { CHECK(hal_cancel(line.handle) == 0); });
}

TEST_CASE("requests with a wrong argument, and unknown ones")
{
    Pty pty;
    Line line(pty);
    uint64_t big = 1;
    uint32_t value = 0;
    auto request = [&](uint32_t number, void *arg, size_t size) {
        return hal_control(line.handle, number, arg, size, HAL_FOREVER);
    };

    CHECK(request(HAL_UART_BREAK, nullptr, 0) == -EINVAL);
    CHECK(contains(last_error(), "0 bytes where 4 belong"));
    CHECK(request(HAL_UART_BREAK, &big, sizeof(big)) == -EINVAL);
    CHECK(request(HAL_UART_DRAIN, &value, sizeof(value)) == -EINVAL);
    CHECK(request(HAL_UART_FLUSH, &big, 1) == -EINVAL);
    CHECK(request(HAL_UART_FLUSH, &value, sizeof(value)) == -EINVAL);
    CHECK(contains(last_error(), "no such queue: 0"));
    value = 4;
    CHECK(request(HAL_UART_FLUSH, &value, sizeof(value)) == -EINVAL);
    CHECK(request(0x5500, nullptr, 0) == -ENOTTY);
    CHECK(request(0x5504, nullptr, 0) == -ENOTTY);
}

/* ---- who may open ---- */

TEST_CASE("a second opener is told who holds the line")
{
    Pty pty;
    Line line(pty);
    std::string me = "pid " + std::to_string(getpid()) + " (";

    CHECK(hal_open(pty.uri().c_str(), HAL_FOREVER) == -EBUSY);
    CHECK(hal_error_kind(-hal_last_errno()) == HAL_BUSY);
    CHECK(contains(last_error(), "open \"" + pty.path + "\""));
    CHECK(contains(last_error(), "held by " + me));
    CHECK(hal_open(pty.uri("exclusive=off").c_str(), HAL_FOREVER) == -EBUSY);
    CHECK((pty.line().c_lflag & ICANON) == 0); /* the first is not disturbed */
    line.shut();
    Line again(pty);
}

TEST_CASE("the kernel keeps other users out of an exclusive line, and only as long as it is open")
{
    Pty pty;
    auto marked = [&] { /* or kept out ourselves, when we are not root */
                        int mark = 0, fd = open(pty.path.c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC);
                        if (fd < 0)
                            return errno == EBUSY;
                        CHECK(ioctl(fd, TIOCGEXCL, &mark) == 0);
                        close(fd);
                        return mark != 0;
    };
    if (emulated())
        return;
    Line line(pty);

    CHECK(marked());
    CHECK(line.set("exclusive", "off") == 0);
    CHECK(!marked());
    CHECK(line.set("exclusive", "on") == 0);
    CHECK(marked());
    line.shut();
    CHECK(!marked());
    CHECK(hal_open(pty.uri("bits=7").c_str(), HAL_FOREVER) == -EOPNOTSUPP);
    CHECK(!marked());
}

TEST_CASE("with exclusive off a line is shared, and the last to close restores it")
{
    Pty pty;
    termios2 before = pty.line();
    Line first(pty, "exclusive=off");
    Line second(pty, "exclusive=off");

    CHECK(hal_open(pty.uri().c_str(), HAL_FOREVER) == -EBUSY);
    CHECK(second.set("exclusive", "on") == -EBUSY);
    CHECK(contains(last_error(), "held by"));
    CHECK(second.get("exclusive") == "false");
    first.shut();
    CHECK((pty.line().c_lflag & ICANON) == 0);
    CHECK(second.set("exclusive", "on") == 0);
    CHECK(hal_open(pty.uri("exclusive=off").c_str(), HAL_FOREVER) == -EBUSY);
    CHECK(second.set("exclusive", "off") == 0);
    Line third(pty, "exclusive=off");
    third.shut();
    second.shut();
    termios2 after = pty.line();
    CHECK(after.c_lflag == 0); /* as the second found it */
    CHECK(before.c_lflag != 0);
}

TEST_CASE("a program that marked the line as its own keeps it, a crashed one does not")
{
    if (emulated())
        return;
    Pty pty;
    int ready[2];
    REQUIRE(pipe(ready) == 0);
    pid_t child = fork();
    REQUIRE(child >= 0);
    if (child == 0) {
        int fd = open(pty.path.c_str(), O_RDWR | O_NOCTTY);
        char ok = fd >= 0 && ioctl(fd, TIOCEXCL) == 0;
        if (write(ready[1], &ok, 1) == 1)
            pause();
        _exit(0);
    }
    char ok = 0;
    CHECK(read(ready[0], &ok, 1) == 1);
    CHECK(ok == 1);
    CHECK(hal_open(pty.uri().c_str(), HAL_FOREVER) == -EBUSY);
    CHECK(contains(last_error(), "pid " + std::to_string(child) + " ("));

    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    close(ready[0]);
    close(ready[1]);
    if (geteuid() == 0) /* others are kept out by the kernel as long as the master is open */
        Line line(pty);
}

/* ---- addresses ---- */

TEST_CASE("a line is found by path, by name below /dev, and by link")
{
    Pty pty;
    REQUIRE(pty.path.compare(0, 5, "/dev/") == 0);
    {
        Line line("uart:" + pty.path.substr(5));
        CHECK(line.get("node") == pty.path);
    }
    char folder[] = "/tmp/hal-uart-XXXXXX";
    REQUIRE(mkdtemp(folder));
    std::string link = std::string(folder) + "/usb-Adapter_A:1-if00";
    REQUIRE(symlink(pty.path.c_str(), link.c_str()) == 0);
    {
        Line line("uart:" + link);
        CHECK(line.get("node") == pty.path);
        CHECK(line.set("bits", "7") == -EOPNOTSUPP);
        CHECK(contains(last_error(), "\"" + pty.path + "\"")); /* the real one is named */
        CHECK(hal_open(pty.uri().c_str(), HAL_FOREVER) == -EBUSY);
    }
    unlink(link.c_str());
    rmdir(folder);
}

TEST_CASE("what is not a serial line is refused, by its kind")
{
    char file[] = "/tmp/hal-uart-XXXXXX";
    int fd = mkstemp(file);
    REQUIRE(fd >= 0);
    close(fd);
    std::string pipe = std::string(file) + ".pipe";
    REQUIRE(mkfifo(pipe.c_str(), 0600) == 0);
    const struct {
        std::string address;
        int err;
        const char *message;
    } cases[] = {{"/dev/null", -ENOTTY, "not a serial line"},
                 {"null", -ENOTTY, "\"/dev/null\""},
                 {"/dev", -ENOTTY, "a folder is not"},
                 {file, -ENOTTY, "an ordinary file is not"},
                 {pipe, -ENOTTY, "a named pipe is not"},
                 {"/dev/ttyNONE0", -ENOENT, "\"/dev/ttyNONE0\""},
                 {"/nowhere/tty0", -ENOENT, "\"/nowhere/tty0\""},
                 {"", -EINVAL, "uart:/dev/ttyUSB0"}};

    for (const auto &c : cases) {
        CAPTURE(c.address);
        CHECK(hal_open(("uart:" + c.address).c_str(), HAL_FOREVER) == c.err);
        CAPTURE(last_error());
        CHECK(contains(last_error(), c.message));
    }
    CHECK(hal_open("uart", HAL_FOREVER) == -EINVAL);
    unlink(pipe.c_str());
    unlink(file);
}

/* ---- RS-485 ---- */

/* The lab's Arm board has a UART (PL011) that can do it; no other machine's UART is touched. */
TEST_CASE("RS-485 settings are handed over in one piece")
{
    const char *node = "/dev/ttyAMA0";
    if (!getenv("HAL_LAB") || access(node, F_OK)) {
        MESSAGE("not tested: only in the lab is there a UART with RS-485");
        return;
    }
    auto kernel = [&] {
        serial_rs485 now{};
        int fd = open(node, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        REQUIRE(fd >= 0);
        CHECK(ioctl(fd, TIOCGRS485, &now) == 0);
        close(fd);
        return now;
    };
    Line line(std::string("uart:") + node + "?exclusive=off&rs485&rs485.delay_before=0.003");

    CHECK(line.get("rs485") == "true");
    CHECK(kernel().flags == (SER_RS485_ENABLED | SER_RS485_RTS_ON_SEND));
    CHECK(kernel().delay_rts_before_send == 3);
    CHECK(line.set("rs485.delay_after", "0.1") == 0);
    CHECK(kernel().delay_rts_after_send == 100);
    CHECK(std::stod(line.get("rs485.delay_after")) == 0.1);
    CHECK(line.set("rs485.delay_after", "0.1001") == -ERANGE);
    CHECK(line.set("rs485.rts_on_send", "off") == 0);
    CHECK(kernel().flags == (SER_RS485_ENABLED | SER_RS485_RTS_AFTER_SEND));
    CHECK(line.set("rs485.rx_during_tx", "on") == 0);
    CHECK((kernel().flags & SER_RS485_RX_DURING_TX) != 0);

    /* Off, the kernel forgets; on again, all is as it was. */
    CHECK(line.set("rs485", "off") == 0);
    CHECK((kernel().flags & SER_RS485_ENABLED) == 0);
    CHECK(std::stod(line.get("rs485.delay_before")) == 0.003);
    CHECK(line.set("rs485.delay_before", "0.001") == 0);
    CHECK(line.set("rs485", "on") == 0);
    CHECK(kernel().delay_rts_before_send == 1);
    CHECK(kernel().delay_rts_after_send == 100);
    CHECK((kernel().flags & SER_RS485_RX_DURING_TX) != 0);

    /* This board has no switch for the termination. */
    CHECK(line.set("rs485.terminate", "on") == -EOPNOTSUPP);
    CAPTURE(last_error());
    CHECK(contains(last_error(), "set rs485.terminate \"/dev/ttyAMA0\""));
    CHECK(contains(last_error(), "asked for true, the tty stays at false"));
    CHECK(kernel().delay_rts_before_send == 1);
    CHECK(line.set("rs485", "off") == 0);
}

} /* namespace */
