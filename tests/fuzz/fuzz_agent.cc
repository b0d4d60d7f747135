/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a controller sends after HELLO, as the agent serves it (bindings/link): any bytes, in pieces
 * of any length, against real devices; then, over a second link, what is left of them, as when one
 * is lost and resumed. Only TLS is left out: Tls below gives the input and takes the answers.
 *
 * Input: how the device is served, length of the pieces, share of the first link; then frames.
 * Whatever comes, only whole frames go out, and memory changes by nobody who may not write.
 */
#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <string>

#include <sys/eventfd.h>
#include <unistd.h>

#include "link.h"

extern "C" {
#include "must.h"
}

using namespace hal_link;

namespace
{

constexpr size_t MEMORY = 4096;

struct Traffic {
    const uint8_t *at;
    size_t left;
    size_t piece;

    std::mutex lock; /* over what follows: threads of lanes write, the lost link's as well */
    unsigned turn;
    std::map<int, std::string> out; /* by descriptor: a link has one of its own */
} traffic;

void check_frames(const std::string &out);

} // namespace

/* ---- a link without TLS -------------------------------------------------------------------- */

namespace hal_link
{

Descriptor::Descriptor(int fd) : fd_(fd)
{
    MUST(fd >= 0);
}

Descriptor::~Descriptor()
{
    ::close(fd_);
}

Context::Context(const std::string &) : context_(nullptr, [](SSL_CTX *) {})
{
}

Context::~Context() = default;

Tls::Tls(const Context &, int fd) : ssl_(nullptr, [](SSL *) {}), fd_(fd)
{
    std::lock_guard<std::mutex> hold(traffic.lock);

    check_frames(traffic.out[fd]);
    traffic.out[fd].clear();
}

bool Tls::handshake(int64_t)
{
    return true;
}

std::vector<uint8_t> Tls::peer() const
{
    return {};
}

size_t Tls::read(void *to, size_t room)
{
    size_t length = std::min({room, traffic.left, traffic.piece});

    if (!length)
        throw Lost("it ended");
    memcpy(to, traffic.at, length);
    traffic.at += length;
    traffic.left -= length;
    return length;
}

size_t Tls::write(const void *from, size_t length)
{
    std::lock_guard<std::mutex> hold(traffic.lock);

    if (++traffic.turn % 8 == 0)
        return 0;
    length = std::min(length, traffic.piece * 64);
    traffic.out[fd_].append(static_cast<const char *>(from), length);
    return length;
}

bool Tls::pending()
{
    return true;
}

void Tls::cork(bool)
{
}

void Tls::close()
{
}

int wait_for(int, short events, int64_t)
{
    return events;
}

int64_t now()
{
    return hal_now();
}

} // namespace hal_link

/* ---- what must hold ------------------------------------------------------------------------ */

namespace
{

/* The answers: frames, whole ones but for the last. */
void check_frames(const std::string &out)
{
    size_t at = 0;
    wire_header header;

    while (out.size() - at >= WIRE_HEADER) {
        const auto *bytes = reinterpret_cast<const uint8_t *>(out.data()) + at;

        MUST(wire_get_header(bytes, &header));
        MUST(!header.wait);
        MUST(header.flags & WIRE_ANSWER || header.type == WIRE_DATA || header.type == WIRE_NOTICE);
        at += WIRE_HEADER + header.length;
        if (at > out.size())
            return;
        if (header.flags & WIRE_ERROR) {
            wire_reader body = {bytes + WIRE_HEADER, header.length, false};
            size_t length;

            MUST(int32_t(wire_number(&body, 4)) > 0);
            wire_text(&body, &length);
            MUST(!body.failed && !body.left && length);
        }
    }
}

/* A device of one of three kinds; a simulated one can be told to fail, so it is a new one each. */
struct Open {
    hal_handle handle;
    bool memory;
    size_t attributes = 0;

    explicit Open(unsigned kind) : memory(kind == 0)
    {
        static const char *const uris[] = {"memory:memfd:fuzz?size=4096", "loopback:", "sim:uart"};
        const hal_attribute *row;

        handle = hal_open(uris[kind], HAL_NOWAIT);
        MUST(handle > 0);
        while (!hal_attribute_at(handle, attributes, &row))
            attributes++;
    }
    ~Open()
    {
        MUST(hal_close(handle) == 0);
    }
};

bool untouched(const Open &device)
{
    static const uint8_t zeros[MEMORY] = {};
    uint8_t room[MEMORY];

    MUST(hal_read_at(device.handle, room, MEMORY, 0, HAL_NOWAIT) == MEMORY);
    return !memcmp(room, zeros, MEMORY);
}

/* One link, from its first frame after OPEN to its end. */
void serve(const std::shared_ptr<Served> &served, unsigned access, const uint8_t *at, size_t left)
{
    static const int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    static const auto context = std::make_shared<Context>("");
    auto link = std::make_shared<Link>(context, fd);

    traffic.at = at;
    traffic.left = left;
    try {
        link->attach(served);
        while (link->serve(access, INT64_MAX)) { /* somebody else judges, and goes on */
        }
    } catch (const Broken &) {
        MUST(!link->why().empty());
    }
}

} // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 3)
        return 0;
    const Open device(data[0] % 3);
    bool stream = data[0] & 4, keep = data[0] & 8;
    unsigned access = data[0] >> 4 & (READS | WRITES);
    size_t first = (size - 3) * data[2] / 255;

    traffic.piece = data[1] + 1u;
    traffic.turn = 0;
    auto served = std::make_shared<Served>(Device{device.handle, device.memory, device.attributes},
                                           stream && !device.memory, keep);
    serve(served, access, data + 3, first);
    serve(served, access, data + 3 + first, size - 3 - first);
    served->end();
    for (const auto &one : traffic.out)
        check_frames(one.second);
    traffic.out.clear();
    MUST(!device.memory || access & WRITES || untouched(device));
    return 0;
}
