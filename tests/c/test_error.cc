/* SPDX-License-Identifier: Apache-2.0 */
#include "drivers.h"
#include "helpers.h"

#include <cerrno>
#include <climits>

using namespace test;

TEST_CASE("kinds: the whole table")
{
    const struct {
        long code;
        enum hal_error_kind kind;
    } table[] = {
        {ENODEV, HAL_UNPLUGGED},
        {ENXIO, HAL_UNPLUGGED},
        {EBUSY, HAL_BUSY},
        {EACCES, HAL_PERMISSION},
        {EPERM, HAL_PERMISSION},
        {ETIMEDOUT, HAL_TIMEOUT},
        {ECANCELED, HAL_CANCELLED},
        {EAGAIN, HAL_WOULD_BLOCK},
        {EWOULDBLOCK, HAL_WOULD_BLOCK},
        {EINTR, HAL_INTERRUPTED},
        {EPROTO, HAL_PROTOCOL},
        {EBADMSG, HAL_PROTOCOL},
        {EILSEQ, HAL_PROTOCOL},
        {EREMOTEIO, HAL_PROTOCOL},
        {EOPNOTSUPP, HAL_UNSUPPORTED},
        {ENOTTY, HAL_UNSUPPORTED},
        {ENOSYS, HAL_UNSUPPORTED},
        {ENOENT, HAL_NOT_FOUND},
        {EBADF, HAL_CLOSED},
        {ESTALE, HAL_FORKED},
        {EINVAL, HAL_INVALID},
        {ERANGE, HAL_INVALID},
        {ENAMETOOLONG, HAL_INVALID},
        {EFAULT, HAL_INVALID},
        {E2BIG, HAL_INVALID},
        {EMSGSIZE, HAL_INVALID},
        {EDOM, HAL_INVALID},
        {ENOLINK, HAL_LINK_LOST},
        {EIO, HAL_OTHER},
        {ENOMEM, HAL_OTHER},
        {ENOSPC, HAL_OTHER},
    };
    for (const auto &row : table) {
        CAPTURE(row.code);
        CHECK(hal_error_kind(-row.code) == row.kind);
        CHECK(hal_error_kind(row.code) == HAL_OK);
    }
    CHECK(hal_error_kind(0) == HAL_OK);
    CHECK(hal_error_kind(LONG_MAX) == HAL_OK);
    CHECK(hal_error_kind(LONG_MIN) == HAL_OTHER);
}

TEST_CASE("kinds have different names")
{
    std::string all = " ";
    for (int kind = HAL_OK; kind <= HAL_LINK_LOST; kind++) {
        std::string name = hal_error_kind_name(static_cast<enum hal_error_kind>(kind));
        CHECK(!name.empty());
        CHECK(name != "unknown");
        CHECK(all.find(" " + name + " ") == std::string::npos);
        all += name + " ";
    }
    CHECK(hal_error_kind_name(HAL_UNPLUGGED) == std::string("unplugged"));
    CHECK(hal_error_kind_name(HAL_BUSY) == std::string("busy"));
    CHECK(hal_error_kind_name(static_cast<enum hal_error_kind>(99)) == std::string("unknown"));
}

TEST_CASE("a thread that has not failed has no message")
{
    std::thread([] {
        CHECK(message() == "");
        CHECK(hal_last_errno() == 0);
    }).join();
}

TEST_CASE("operation, object, cause, detail")
{
    CHECK(hal_fail(-EIO, "read", "uart:/dev/x", "line %d", 7) == -EIO);
    CHECK(message() == "read \"uart:/dev/x\": Input/output error (line 7)");
    CHECK(hal_last_errno() == EIO);
    hal_fail(-EIO, "read", "uart:/dev/x", nullptr);
    CHECK(message() == "read \"uart:/dev/x\": Input/output error");
    hal_fail(-EIO, "list", nullptr, nullptr);
    CHECK(message() == "list: Input/output error");
    CHECK(hal_fail_plain(-EPROTO, "set", "baud", "%s, not %d", "no", 3) == -EPROTO);
    CHECK(message() == "set \"baud\": no, not 3");
    hal_fail_plain(-EPROTO, "set", nullptr, "no");
    CHECK(message() == "set: no");
}

TEST_CASE("a long message is cut and says so")
{
    std::string fits(HAL_MESSAGE_MAX - 1 - std::strlen("do: "), 'x');
    hal_fail_plain(-EIO, "do", nullptr, "%s", fits.c_str());
    CHECK(message() == "do: " + fits);
    hal_fail_plain(-EIO, "do", nullptr, "%s", (fits + "x").c_str());
    CHECK(message().size() == HAL_MESSAGE_MAX - 1);
    CHECK(message().substr(0, 8) == "do: xxxx");
    CHECK(message().substr(HAL_MESSAGE_MAX - 5) == "x...");
    std::string huge(5000, 'y');
    hal_fail(-EIO, huge.c_str(), huge.c_str(), "%s", huge.c_str());
    CHECK(message().size() == HAL_MESSAGE_MAX - 1);
    CHECK(message().substr(HAL_MESSAGE_MAX - 5) == "y...");
}

TEST_CASE("a message may be made of the one before")
{
    hal_fail_plain(-EIO, "read", "lower", "the wire is cut");
    hal_fail_plain(-EIO, "read", "upper", "%s", hal_last_error());
    CHECK(message() == "read \"upper\": read \"lower\": the wire is cut");
    hal_fail(-EIO, "read", hal_last_error(), "again");
    CHECK(contains(message(), "read \"read \"upper\": read \"lower\": the wire is cut\": Input"));
}

TEST_CASE("messages belong to their thread")
{
    hal_fail_plain(-EIO, "mine", nullptr, "kept");
    std::thread([] {
        CHECK(message() == "");
        CHECK(hal_close(12345) == -EBADF);
        CHECK(contains(message(), "close"));
    }).join();
    CHECK(message() == "mine: kept");
    CHECK(hal_last_errno() == EIO);
}

TEST_CASE("success and would-block leave the message alone")
{
    Device dev("loopback");
    char byte;
    hal_fail_plain(-EIO, "mine", nullptr, "kept");
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == 1);
    CHECK(message() == "mine: kept");
    CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == -EAGAIN);
    CHECK(message() == "mine: kept");
    CHECK(hal_last_errno() == EIO);
    CHECK(hal_read(dev, &byte, 1, 1) == -ETIMEDOUT);
    CHECK(message() == "read \"loopback\": timed out");
}

TEST_CASE("every failure names operation and object")
{
    Device dev("loopback");
    char byte;
    CHECK(hal_read(dev, nullptr, 1, HAL_NOWAIT) == -EFAULT);
    CHECK(message() == "read \"loopback\": Bad address");
    CHECK(hal_control(dev, 1, nullptr, 0, HAL_NOWAIT) == -EOPNOTSUPP);
    CHECK(message() ==
          "control \"loopback\": Operation not supported (driver \"loopback\" has no requests)");
    CHECK(hal_read(99, &byte, 1, HAL_NOWAIT) == -EBADF);
    CHECK(message() == "read: the device is closed (handle 99)");
    CHECK(hal_read(-5, &byte, 1, HAL_NOWAIT) == -EBADF);
    CHECK(message() == "read: -5 is no handle");
}

TEST_CASE("who waits in vain for a lane is told the device, too")
{
    Device dev("loopback");
    char byte;
    std::thread holder([&] {
        char taken;
        CHECK(hal_read(dev, &taken, 1, HAL_FOREVER) == 1);
    });
    sleep_ms(20);
    CHECK(hal_read(dev, &byte, 1, hal_after_ms(5)) == -ETIMEDOUT);
    CHECK(contains(message(), "read \"loopback\": timed out"));
    CHECK(hal_write(dev, "x", 1, HAL_NOWAIT) == 1);
    holder.join();
}

TEST_CASE("a driver that stands on another device forwards its failure")
{
    Registered queue("queue", queue_ops), stacked("stacked", stacked_ops);
    char byte;
    {
        Device dev("stacked:queue");
        CHECK(hal_read(dev, &byte, 1, 1) == -ETIMEDOUT);
        CHECK(message() == "read \"queue\": timed out");
    }
    {
        Device dev("stacked:queue?plain");
        CHECK(hal_read(dev, &byte, 1, 1) == -ETIMEDOUT);
        CHECK(message() == "read \"stacked:queue?plain\": timed out");
    }
    CHECK(hal_open("stacked:no-such-driver", HAL_FOREVER) == -ENOENT);
    CHECK(contains(message(), "open \"no-such-driver\": no driver"));
    CHECK(hal_open("stacked:no-such-driver?plain", HAL_FOREVER) == -ENOENT);
    CHECK(message() == "open \"stacked:no-such-driver?plain\": No such file or directory");
}

TEST_CASE("calls that succeed do not take a driver's message away")
{
    Registered queue("queue", queue_ops), stacked("stacked", stacked_ops);
    Device dev("stacked:queue?tidy");
    char byte;
    CHECK(hal_read(dev, &byte, 1, 1) == -ETIMEDOUT);
    CHECK(message() == "read \"queue\": timed out");
}

TEST_CASE("an old message is never used for a new failure")
{
    Registered odd("odd", odd_ops);
    char byte;
    SUBCASE("of an init that went another way in the end")
    {
        Device dev("odd:quiet");
        CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == -EIO);
        CHECK(message() == "read \"odd:quiet\": Input/output error");
    }
    SUBCASE("of a read that went another way in the end")
    {
        Device dev("odd:alternating");
        for (int i = 0; i < 3; i++) {
            CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == 1);
            CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == -EIO);
            CHECK(message() == "read \"odd:alternating\": Input/output error");
        }
    }
    SUBCASE("of the program's own making")
    {
        Device dev("odd:quiet");
        hal_fail(-EIO, "open", "something else", nullptr);
        CHECK(hal_read(dev, &byte, 1, HAL_NOWAIT) == -EIO);
        CHECK(message() == "read \"odd:quiet\": Input/output error");
        hal_fail(-ETIMEDOUT, "open", "something else", nullptr);
        CHECK(hal_read_exact(Device("loopback"), &byte, 1, 1) == -ETIMEDOUT);
        CHECK(message() == "read \"loopback\": timed out");
        hal_fail(-EFAULT, "open", "something else", nullptr);
        CHECK(hal_read(Device("loopback"), nullptr, 1, 1) == -EFAULT);
        CHECK(message() == "read \"loopback\": Bad address");
        hal_fail(-EFAULT, "open", "something else", nullptr);
        CHECK(hal_driver_each(nullptr, nullptr) == -EFAULT);
        CHECK(message() == "list drivers: Bad address");
        hal_fail(-ENOENT, "open", "something else", nullptr);
        CHECK(hal_load_driver("/no/such/file.so") == -ENOENT);
        CHECK(message() == "load driver \"/no/such/file.so\": No such file or directory");
    }
}

TEST_CASE("a driver that words its own refusal is heard")
{
    Registered odd("odd", odd_ops);
    Device dev("odd");
    CHECK(hal_control(dev, 9, nullptr, 0, HAL_NOWAIT) == -ENOTTY);
    CHECK(contains(message(), "request 9 on a Sunday"));
}
