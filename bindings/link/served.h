/* SPDX-License-Identifier: Apache-2.0 */
/* A device as its links see it, one after another: it remembers what was done last in each lane. */
#ifndef LINK_SERVED_H
#define LINK_SERVED_H

#include <array>
#include <condition_variable>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>

#include "operation.h"

namespace hal_link
{

class Link;

class Served : public std::enable_shared_from_this<Served>
{
  public:
    /* `stream`: it is pushed on credit. `keep`: a link may be lost and another take its place, so
     * answers are remembered. The handle must stay open until end(). */
    Served(const Device &device, bool stream, bool keep);
    ~Served();

    /* Cancel what waits, and wait until its threads have ended. */
    void end();

    const Device device;
    const bool stream;

    /* ---- links ------------------------------------------------------------------------------ */

    struct State {
        uint64_t position; /* bytes that were pushed */
        std::array<uint32_t, 3> last;
    };

    /* This link serves from now on; another that did is ended first. Throws TooSlow. */
    State attach(const std::shared_ptr<Link> &link);
    void detach(const Link *link);

    /* ---- requests: by the link that is attached --------------------------------------------- */

    /* Take a request in hand. False: it has been here before, and its answer goes out (again) by
     * itself. Throws Broken for an id out of order, or a lane that is busy. */
    bool begin(const std::shared_ptr<Link> &link, const wire_header &request);

    /* The request's answer: send and remember it. */
    void answer(const wire_header &request, Bytes frame);

    /* It has no answer to remember: the link sends it by itself. */
    void pass(const wire_header &request);

    /* Do it in the lane's own thread, and answer. */
    void start(const wire_header &request, Bytes body);

    /* What waits is answered with ECANCELED. */
    void cancel();

    uint64_t position = 0; /* of the stream; the attached link's */

  private:
    struct Job {
        wire_header request;
        Bytes body;
        hal_deadline until;
    };
    struct Lane {
        uint32_t last = 0;
        bool busy = false;
        bool cancelled = false;
        Bytes kept; /* the last answer, if it is remembered */
        std::weak_ptr<Link> asker;
        std::thread worker;
        std::optional<Job> job;
    };

    Lane &lane_of(const wire_header &request);
    void work(Lane &lane);
    Bytes run(Lane &lane, const Job &job);
    bool stays_cancelled(Lane &lane);

    const bool keep_;
    std::mutex lock_;
    std::condition_variable changed_;
    std::array<Lane, 3> lanes_;
    std::weak_ptr<Link> link_;
    const Link *attached_ = nullptr;
    bool ended_ = false;
};

} // namespace hal_link

#endif
