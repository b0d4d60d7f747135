/* SPDX-License-Identifier: Apache-2.0 */
/* hal_open_node() and hal_node_holders(): errors that say what to do. */
#include "helpers.h"

#include <cerrno>
#include <fcntl.h>
#include <fstream>
#include <grp.h>
#include <pwd.h>
#include <vector>

#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

using namespace test;

static const std::string kName = " (" + process_name() + ")";

static void touch(const std::string &path)
{
    std::ofstream out(path);
    REQUIRE(out.good());
}

TEST_CASE("a node that opens")
{
    int fd = hal_open_node("/dev/null", O_RDWR);
    REQUIRE(fd >= 0);
    CHECK((fcntl(fd, F_GETFD) & FD_CLOEXEC) != 0);
    CHECK((fcntl(fd, F_GETFL) & O_ACCMODE) == O_RDWR);
    close(fd);
    CHECK(hal_open_node(nullptr, O_RDWR) == -EFAULT);
}

TEST_CASE("not there: what looks like it and does exist")
{
    Folder folder;
    for (const char *name : {"ttyUSB1", "ttyUSB10", "ttyUSB2", "ttyACM0"})
        touch(folder / name);
    std::string wanted = folder / "ttyUSB0";
    CHECK(hal_open_node(wanted.c_str(), O_RDWR) == -ENOENT);
    CHECK(message() == "open \"" + wanted +
                           "\": No such file or directory (there are: " + (folder / "ttyUSB1, ") +
                           (folder / "ttyUSB2, ") + (folder / "ttyUSB10)"));
    CHECK(hal_open_node((folder / "spidev0.0").c_str(), O_RDWR) == -ENOENT);
    CHECK(message() == "open \"" + (folder / "spidev0.0") + "\": No such file or directory");
    CHECK(hal_open_node("/no/such/folder/x0", O_RDWR) == -ENOENT);
    CHECK(contains(message(), "there is no such folder"));
    CHECK(hal_open_node("", O_RDWR) == -ENOENT);
}

TEST_CASE("not there, in a folder full of neighbours: the message is cut, not broken")
{
    Folder folder;
    for (int i = 1; i < 200; i++)
        touch(folder / ("ttyUSB" + std::to_string(i)));
    CHECK(hal_open_node((folder / "ttyUSB0").c_str(), O_RDWR) == -ENOENT);
    CHECK(contains(message(), folder / "ttyUSB1, "));
    CHECK(message().size() < HAL_MESSAGE_MAX);
}

TEST_CASE("other failures are told as they are")
{
    Folder folder;
    touch(folder / "file");
    CHECK(hal_open_node((folder / "file/x").c_str(), O_RDWR) == -ENOTDIR);
    CHECK(hal_open_node(folder.path().c_str(), O_RDWR) == -EISDIR);
    CHECK(message() == "open \"" + folder.path() + "\": Is a directory");
    REQUIRE(mkfifo((folder / "fifo").c_str(), 0600) == 0);
    CHECK(hal_open_node((folder / "fifo").c_str(), O_WRONLY | O_NONBLOCK) == -ENXIO);
    CHECK(contains(message(), "its hardware or driver is not"));
    CHECK(hal_error_kind(-ENXIO) == HAL_UNPLUGGED);
}

/* Run as the user nobody, in the group of that name and one more. */
template <typename F> static bool as_nobody(F what)
{
    struct passwd *nobody = getpwnam("nobody");
    struct group *extra = getgrnam("games");
    if (geteuid() != 0 || !nobody || !extra) {
        MESSAGE("skipped: not root, or no user nobody");
        return true;
    }
    gid_t groups[] = {nobody->pw_gid, extra->gr_gid};
    return in_child([&] {
        CHILD_CHECK(setgroups(2, groups) == 0);
        CHILD_CHECK(setgid(nobody->pw_gid) == 0);
        CHILD_CHECK(setuid(nobody->pw_uid) == 0);
        what();
    });
}

TEST_CASE("no permission: owner, mode, own groups, and what grants access")
{
    Folder folder;
    REQUIRE(chmod(folder.path().c_str(), 0755) == 0);
    std::string node = folder / "ttyUSB0", closed = folder / "closed";
    struct group *dialout = getgrnam("dialout");
    touch(node);
    if (geteuid() == 0 && dialout)
        REQUIRE(chown(node.c_str(), 0, dialout->gr_gid) == 0);
    REQUIRE(chmod(node.c_str(), 0660) == 0);
    REQUIRE(mkdir(closed.c_str(), 0700) == 0);
    touch(closed + "/inside");
    CHECK(as_nobody([&] {
        CHILD_CHECK(hal_open_node(node.c_str(), O_RDWR) == -EACCES);
        CHILD_CHECK(hal_error_kind(-EACCES) == HAL_PERMISSION);
        CHILD_CHECK(contains(message(), "open \"" + node + "\": Permission denied (owner root:"));
        CHILD_CHECK(contains(message(), "mode 0660; you are in: "));
        CHILD_CHECK(contains(message(), "games"));
        if (dialout)
            CHILD_CHECK(contains(message(), "sudo usermod -aG dialout nobody"));
        CHILD_CHECK(hal_open_node((closed + "/inside").c_str(), O_RDWR) == -EACCES);
        CHILD_CHECK(contains(message(), "a folder on the way"));
    }));
    REQUIRE(chmod(node.c_str(), 0600) == 0); /* being in the group would not help */
    CHECK(as_nobody([&] {
        CHILD_CHECK(hal_open_node(node.c_str(), O_RDWR) == -EACCES);
        CHILD_CHECK(contains(message(), "a udev rule KERNEL==\"ttyUSB0\""));
    }));
}

TEST_CASE("who holds a node: others and oneself, several, nobody")
{
    Folder folder;
    std::string node = folder / "node";
    char text[256];
    touch(node);
    CHECK(hal_node_holders(node.c_str(), text, sizeof(text)) == 0);
    CHECK(text == std::string(""));
    int mine = open(node.c_str(), O_RDONLY | O_CLOEXEC);
    std::string self = "pid " + std::to_string(getpid()) + kName;
    CHECK(hal_node_holders(node.c_str(), text, sizeof(text)) == static_cast<long>(self.size()));
    CHECK(text == self);

    int ready[2], hold[2];
    REQUIRE(pipe(ready) == 0);
    REQUIRE(pipe(hold) == 0);
    pid_t child = fork();
    if (child == 0) {
        close(hold[1]);
        int fd = open(node.c_str(), O_RDONLY);
        char byte = 'r';
        if (fd >= 0 && write(ready[1], &byte, 1) == 1 && read(hold[0], &byte, 1) == 0)
            _exit(0);
        _exit(1);
    }
    char byte;
    REQUIRE(read(ready[0], &byte, 1) == 1);
    close(mine);
    std::string other = "pid " + std::to_string(child) + kName;
    CHECK(hal_node_holders(node.c_str(), text, sizeof(text)) > 0);
    CHECK(contains(text, other));
    close(hold[1]);
    waitpid(child, nullptr, 0);
    for (int fd : {ready[0], ready[1], hold[0]})
        close(fd);
    CHECK(hal_node_holders(node.c_str(), text, sizeof(text)) == 0);
}

TEST_CASE("holders: what is refused, and what does not fit")
{
    char text[256];
    CHECK(hal_node_holders(nullptr, text, sizeof(text)) == -EFAULT);
    CHECK(hal_node_holders("/dev/null", nullptr, 8) == -EFAULT);
    CHECK(hal_node_holders("/dev/null", text, 0) == -EFAULT);
    CHECK(hal_node_holders("/no/such/node", text, sizeof(text)) == 0);
    Folder folder;
    touch(folder / "node");
    int fd = open((folder / "node").c_str(), O_RDONLY);
    long length = hal_node_holders((folder / "node").c_str(), text, sizeof(text));
    REQUIRE(length > 0);
    size_t size = static_cast<size_t>(length);
    CHECK(hal_node_holders((folder / "node").c_str(), text, size + 1) == length);
    CHECK(hal_node_holders((folder / "node").c_str(), text, size) == -ENAMETOOLONG);
    CHECK(std::strlen(text) == size - 1);
    close(fd);
}

TEST_CASE("more holders than the library remembers: cut, and said so")
{
    Folder folder;
    std::string node = folder / "node";
    touch(node);
    int hold[2];
    REQUIRE(pipe(hold) == 0);
    int fd = open(node.c_str(), O_RDONLY);
    std::vector<pid_t> children;
    for (int i = 0; i < 60; i++) {
        pid_t child = fork();
        if (child == 0) {
            char byte;
            close(hold[1]);
            _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
        }
        children.push_back(child);
    }
    std::vector<char> text(8192);
    long length = hal_node_holders(node.c_str(), text.data(), text.size());
    CHECK((length == -ENAMETOOLONG || length > 60 * 15));
    CHECK(contains(text.data(), kName));
    close(hold[1]);
    for (pid_t child : children)
        waitpid(child, nullptr, 0);
    close(hold[0]);
    close(fd);
}

/* A pty that a process has to itself (TIOCEXCL): the only node that is busy without hardware. It is
 * root's privilege to open it all the same, so this is nobody's test. */
TEST_CASE("busy: who holds it, by pid and name")
{
    int master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC);
    char name[64];
    REQUIRE(master >= 0);
    REQUIRE(grantpt(master) == 0);
    REQUIRE(unlockpt(master) == 0);
    REQUIRE(ptsname_r(master, name, sizeof(name)) == 0);
    REQUIRE(chmod(name, 0666) == 0);
    CHECK(as_nobody([&] {
        int first = hal_open_node(name, O_RDWR | O_NOCTTY);
        CHILD_CHECK(first >= 0);
        CHILD_CHECK(ioctl(first, TIOCEXCL) == 0);
        CHILD_CHECK(hal_open_node(name, O_RDWR | O_NOCTTY) == -EBUSY);
        CHILD_CHECK(hal_error_kind(-EBUSY) == HAL_BUSY);
        CHILD_CHECK(contains(message(), "Device or resource busy (held by pid " +
                                            std::to_string(getpid()) + kName));
    }));
    close(master);
}
