/* SPDX-License-Identifier: Apache-2.0 */
/* What the C tests share. */
#ifndef TEST_HELPERS_H
#define TEST_HELPERS_H

#include <doctest/doctest.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <thread>

#include <sys/wait.h>
#include <unistd.h>

#include <hal/hal.h>

namespace test
{

constexpr int64_t kMillisecond = 1000000;
/* What a wake may take on a machine that does other things too; the contract says 50 ms. */
constexpr int64_t kPromptly = 1000 * kMillisecond;

inline void sleep_ms(int64_t ms)
{
    std::this_thread::sleep_for(std::chrono::milliseconds(ms));
}

/* "" (none), "address" or "thread": the sanitizer that everything was compiled with. */
inline std::string sanitizer()
{
    const char *name = std::getenv("HAL_TEST_SANITIZE");
    return name ? name : "";
}

/* The name of this process, as /proc has it: that of the test, or of the emulator that runs it. */
inline std::string process_name()
{
    std::string name;
    std::ifstream comm("/proc/self/comm");
    std::getline(comm, name);
    return name;
}

inline bool emulated()
{
    return process_name().rfind("qemu-", 0) == 0;
}

inline std::string message()
{
    return hal_last_error();
}

inline bool contains(const std::string &text, const std::string &part)
{
    bool found = text.find(part) != std::string::npos;
    if (!found)
        std::fprintf(stderr, "\"%s\" does not contain \"%s\"\n", text.c_str(), part.c_str());
    return found;
}

/* An open device, closed at the end. */
class Device
{
  public:
    explicit Device(const std::string &uri) : handle_(hal_open(uri.c_str(), hal_after_ms(10000)))
    {
        REQUIRE_MESSAGE(handle_ > 0, hal_last_error());
    }
    ~Device()
    {
        if (!closed_)
            hal_close(handle_);
    }
    Device(const Device &) = delete;
    Device &operator=(const Device &) = delete;
    operator hal_handle() const
    {
        return handle_;
    }
    int close()
    {
        closed_ = true;
        return hal_close(handle_);
    }

  private:
    hal_handle handle_;
    bool closed_ = false;
};

/* A driver, registered until the end. */
class Registered
{
  public:
    Registered(const std::string &name, const struct driver_ops &ops) : name_(name)
    {
        REQUIRE_MESSAGE(hal_register_driver(name_.c_str(), &ops) == 0, hal_last_error());
    }
    ~Registered()
    {
        CHECK_MESSAGE(hal_unregister_driver(name_.c_str()) == 0, hal_last_error());
    }
    Registered(const Registered &) = delete;
    Registered &operator=(const Registered &) = delete;

  private:
    std::string name_;
};

/* A folder of its own, removed at the end. */
class Folder
{
  public:
    Folder()
    {
        char name[] = "/tmp/hal-test-XXXXXX";
        REQUIRE(mkdtemp(name));
        path_ = name;
    }
    ~Folder();
    Folder(const Folder &) = delete;
    Folder &operator=(const Folder &) = delete;
    const std::string &path() const
    {
        return path_;
    }
    std::string operator/(const std::string &name) const
    {
        return path_ + "/" + name;
    }

  private:
    std::string path_;
};

/* How long something takes, nanoseconds. */
template <typename F> int64_t duration_of(F what)
{
    int64_t before = hal_now();
    what();
    return hal_now() - before;
}

/* Wait until something holds; false after ten seconds. */
template <typename F> bool eventually(F holds)
{
    for (hal_deadline until = hal_after_ms(10000); hal_now() < until; sleep_ms(1))
        if (holds())
            return true;
    return false;
}

/* In a child: one check. The child ends with a message when it does not hold. */
#define CHILD_CHECK(condition)                                                                     \
    do {                                                                                           \
        if (!(condition)) {                                                                        \
            std::fprintf(stderr, "%s:%d: in the child: %s [%s]\n", __FILE__, __LINE__, #condition, \
                         hal_last_error());                                                        \
            _exit(1);                                                                              \
        }                                                                                          \
    } while (0)

/* Run something in a forked child; true when all its checks held and it came to an end. */
template <typename F> bool in_child(F what)
{
    pid_t child = fork();
    int status = -1;

    if (child == 0) {
        alarm(60);
        what();
        _exit(0);
    }
    waitpid(child, &status, 0);
    if (WIFSIGNALED(status))
        std::fprintf(stderr, "the child was ended by signal %d\n", WTERMSIG(status));
    return child > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

inline Folder::~Folder()
{
    std::string command = "rm -rf '" + path_ + "'";
    if (std::system(command.c_str()) != 0)
        std::perror(path_.c_str());
}

} // namespace test

#endif
