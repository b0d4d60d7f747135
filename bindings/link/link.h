/* SPDX-License-Identifier: Apache-2.0 */
/* One link of an agent: the requests of one controller, until one comes that is not the device's.
 */
#ifndef LINK_LINK_H
#define LINK_LINK_H

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "served.h"

namespace hal_link
{

class Link : public std::enable_shared_from_this<Link>
{
  public:
    /* The socket stays the caller's: this has a descriptor of its own for it, since a thread of the
     * device may have an answer to send when the caller has long closed his. Throws Lost. */
    Link(std::shared_ptr<Context> context, int fd);
    ~Link();
    Link(const Link &) = delete;
    Link &operator=(const Link &) = delete;

    /* ---- by one thread ---------------------------------------------------------------------- */

    /* The controller's certificate, DER; empty: it has gone without a byte. */
    std::vector<uint8_t> handshake(int64_t until);

    /* A frame, for whoever judges; nothing: the link has ended, and why() says why. Throws TooSlow,
     * Broken. */
    std::optional<Frame> read(uint32_t most, int64_t until);

    /* Serve this device from now on. */
    Served::State attach(std::shared_ptr<Served> served);

    /* Serve until a frame comes that somebody else has to judge (of another type, or one that
     * `access` does not cover, or after `until`, ms since 1970); nothing: the link has ended.
     * Throws Broken; the other end was told by then. */
    std::optional<Frame> serve(unsigned access, int64_t until);

    /* ---- by any thread ---------------------------------------------------------------------- */

    /* The frame goes now, or as soon as the link takes it. Throws nothing: who serves sees it. */
    void send(Bytes frame);

    /* What is queued is sent, within a second, then the link ends. The first reason stays. */
    void end(const std::string &why);

    /* The other end has broken the protocol. */
    void violated(const std::string &how);

    std::string why();
    uint64_t received() const
    {
        return input_.received();
    }
    uint64_t sent() const
    {
        return output_.sent();
    }
    uint64_t requests() const
    {
        return requests_.load(std::memory_order_relaxed);
    }
    int64_t heard() const /* nanoseconds of CLOCK_MONOTONIC */
    {
        return heard_.load(std::memory_order_relaxed);
    }

  private:
    /* READ_AT of what is there at once, answered in pieces so that other lanes come in between. */
    struct Block {
        wire_header request;
        uint64_t offset;
        size_t left;
    };

    std::string why_lost(const Lost &error) const;
    bool take_in(Frame &frame, uint32_t most);
    bool handle(Frame &frame, unsigned access, int64_t until);
    void quick(const Frame &frame);
    void grant(const Frame &frame);
    void start_block(const Frame &frame);
    bool push();
    bool push_block();
    bool push_stream();
    bool wants_stream() const;
    bool overfull() const;
    void wait();
    void wake();
    std::optional<Frame> ended(const std::string &why);
    void finish();

    std::shared_ptr<Context> context_;
    Descriptor fd_;
    Descriptor wake_; /* an eventfd(2): an end, or output that is left over */
    Tls tls_;
    Input input_;
    Output output_;
    bool readable_ = true; /* the socket may have something */

    std::shared_ptr<Served> served_;
    std::optional<Block> block_;
    uint32_t credit_ = 0;
    bool paused_ = false; /* the stream has ended or failed: until the next credit */
    int source_ = -1;     /* what becomes readable when the stream goes on */

    std::mutex lock_; /* over what follows */
    std::string why_;
    std::atomic<bool> ending_{false};
    std::atomic<bool> violated_{false};
    std::atomic<uint64_t> requests_{0};
    std::atomic<int64_t> heard_{0};
};

} // namespace hal_link

#endif
