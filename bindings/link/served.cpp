/* SPDX-License-Identifier: Apache-2.0 */
#include "served.h"

#include <cerrno>
#include <chrono>

#include "link.h"

namespace hal_link
{

namespace
{

constexpr auto HANDOVER = std::chrono::seconds(2); /* for a link to let go of the device */

uint32_t after(uint32_t id)
{
    return id == UINT32_MAX ? 1 : id + 1;
}

/* How long the caller waits. */
hal_deadline deadline_of(const wire_header &request)
{
    if (request.wait == WIRE_WAIT_FOREVER)
        return HAL_FOREVER;
    return request.wait ? hal_after_ms(request.wait) : HAL_NOWAIT;
}

bool is_remembered(unsigned type)
{
    return type !=
           WIRE_READ_AT; /* it is asked again: blocks are large, and reading them is harmless */
}

} // namespace

Served::Served(const Device &the_device, bool is_stream, bool keep)
    : device(the_device), stream(is_stream), keep_(keep)
{
}

Served::~Served()
{
    end();
}

void Served::end()
{
    {
        std::lock_guard<std::mutex> hold(lock_);
        ended_ = true;
        changed_.notify_all();
    }
    for (Lane &lane : lanes_) {
        while (lane.worker.joinable()) {
            hal_cancel(device.handle);
            std::unique_lock<std::mutex> hold(lock_);
            /* It may have been on its way into a wait that this cancel did not reach. */
            if (changed_.wait_for(hold, std::chrono::milliseconds(20),
                                  [&] { return !lane.busy; })) {
                hold.unlock();
                lane.worker.join();
            }
        }
    }
}

/* ---- links ---------------------------------------------------------------------------------- */

Served::State Served::attach(const std::shared_ptr<Link> &link)
{
    std::unique_lock<std::mutex> hold(lock_);

    if (auto other = link_.lock(); other && attached_ && other != link)
        other->end("its device is served on another link");
    if (!changed_.wait_for(hold, HANDOVER, [&] { return !attached_; }))
        throw TooSlow("the link that was lost has not let go of the device");
    link_ = link;
    attached_ = link.get();
    return {position, {lanes_[0].last, lanes_[1].last, lanes_[2].last}};
}

void Served::detach(const Link *link)
{
    std::lock_guard<std::mutex> hold(lock_);

    if (attached_ != link)
        return;
    attached_ = nullptr;
    link_.reset();
    changed_.notify_all();
}

/* ---- requests ------------------------------------------------------------------------------- */

Served::Lane &Served::lane_of(const wire_header &request)
{
    if (request.lane >= lanes_.size())
        throw Broken("a request of that type belongs to a lane of the device");
    return lanes_[request.lane];
}

bool Served::begin(const std::shared_ptr<Link> &link, const wire_header &request)
{
    std::lock_guard<std::mutex> hold(lock_);
    Lane &lane = lane_of(request);
    bool again = keep_ && lane.last && request.id == lane.last;

    if (!again && request.id != after(lane.last))
        throw Broken("request " + std::to_string(request.id) + " of a lane came after " +
                     std::to_string(lane.last));
    if (!again && lane.busy)
        throw Broken("a request came while its lane was busy");
    lane.asker = link;
    if (again && lane.busy)
        return false;
    if (again && lane.kept.size()) {
        link->send(Bytes(lane.kept.data(), lane.kept.size()));
        return false;
    }
    lane.last = request.id;
    lane.busy = true;
    lane.cancelled = false;
    lane.kept = Bytes();
    return true;
}

void Served::answer(const wire_header &request, Bytes frame)
{
    std::shared_ptr<Link> asker;
    {
        std::lock_guard<std::mutex> hold(lock_);
        Lane &lane = lane_of(request);

        lane.busy = false;
        if (keep_ && is_remembered(request.type))
            lane.kept = Bytes(frame.data(), frame.size());
        asker = lane.asker.lock();
        if (ended_)
            changed_.notify_all();
    }
    if (asker)
        asker->send(std::move(frame));
}

void Served::pass(const wire_header &request)
{
    std::lock_guard<std::mutex> hold(lock_);

    lane_of(request).busy = false;
}

void Served::start(const wire_header &request, Bytes body)
{
    std::lock_guard<std::mutex> hold(lock_);
    Lane &lane = lane_of(request);

    lane.job.emplace(Job{request, std::move(body), deadline_of(request)});
    if (!lane.worker.joinable())
        lane.worker = std::thread([this, &lane] { work(lane); });
    changed_.notify_all();
}

void Served::cancel()
{
    {
        std::lock_guard<std::mutex> hold(lock_);
        for (Lane &lane : lanes_)
            lane.cancelled = lane.busy;
    }
    hal_cancel(device.handle);
}

/* Several links may share a device, and a cancel of the library ends the waits of all: whose wait
 * was not meant waits again. */
bool Served::stays_cancelled(Lane &lane)
{
    std::lock_guard<std::mutex> hold(lock_);

    return ended_ || lane.cancelled;
}

Bytes Served::run(Lane &lane, const Job &job)
{
    for (;;) {
        Bytes frame = perform(device, job.request, job.body.data(), job.until);
        bool failed = frame.data()[6] & WIRE_ERROR;
        bool waits = job.request.type == WIRE_READ || job.request.type == WIRE_WRITE;

        if (!failed || !waits || wire_get(body_of(frame), 4) != ECANCELED || stays_cancelled(lane))
            return frame;
    }
}

void Served::work(Lane &lane)
{
    std::unique_lock<std::mutex> hold(lock_);

    for (;;) {
        changed_.wait(hold, [&] { return ended_ || lane.job; });
        if (!lane.job)
            return;
        Job job = std::move(*lane.job);
        lane.job.reset();
        hold.unlock();
        try {
            answer(job.request, run(lane, job));
        } catch (const Broken &error) {
            hold.lock();
            auto asker = lane.asker.lock();
            hold.unlock();
            pass(job.request);
            if (asker)
                asker->violated(error.what());
        } catch (const Lost &) {
            /* The link is gone; the answer is remembered if it may be asked for again. */
        }
        hold.lock();
    }
}

} // namespace hal_link
