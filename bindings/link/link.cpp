/* SPDX-License-Identifier: Apache-2.0 */
#include "link.h"

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <fcntl.h>
#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

namespace hal_link
{

namespace
{

constexpr uint32_t CREDIT_MAX = 1u << 24;
constexpr uint32_t CREDIT_LEAST = 4096; /* whole records fit */
constexpr size_t LEFT_MAX = 4u << 20;   /* bytes of answers; all lanes together have fewer */
constexpr int64_t SECOND = 1000000000;
constexpr int64_t PATIENCE = 10 * SECOND; /* with a controller that takes nothing in */
constexpr const char *STOPPED_READING = "the controller took in nothing for 10 s"; /* server.py */
constexpr int64_t FAREWELL = SECOND; /* for what is queued when a link ends */

int64_t since_1970()
{
    timespec time;

    clock_gettime(CLOCK_REALTIME, &time);
    return int64_t(time.tv_sec) * 1000 + time.tv_nsec / 1000000;
}

} // namespace

Link::Link(std::shared_ptr<Context> context, int fd)
    : context_(std::move(context)), fd_(fcntl(fd, F_DUPFD_CLOEXEC, 0)),
      wake_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), tls_(*context_, fd_.get()), input_(tls_),
      output_(tls_, wake_.get())
{
}

Link::~Link()
{
    if (served_)
        served_->detach(this);
}

std::vector<uint8_t> Link::handshake(int64_t until)
{
    if (!tls_.handshake(until))
        return {};
    heard_ = now();
    return tls_.peer();
}

/* ---- by any thread -------------------------------------------------------------------------- */

void Link::wake()
{
    uint64_t one = 1;

    if (::write(wake_.get(), &one, sizeof(one)) < 0) {
        /* Full: it is readable as it is. */
    }
}

void Link::send(Bytes frame)
{
    try {
        output_.send(std::move(frame));
    } catch (const Lost &error) {
        end(why_lost(error));
    }
}

/* The kernel, which waits from the last acknowledgement on, may see before us that nothing is taken
 * in: its buffer goes on growing for a while. */
std::string Link::why_lost(const Lost &error) const
{
    bool untaken = dynamic_cast<const TimedOut *>(&error) && output_.stuck_since();

    return untaken ? STOPPED_READING : error.what();
}

void Link::end(const std::string &why)
{
    std::lock_guard<std::mutex> hold(lock_);

    if (why_.empty())
        why_ = why;
    ending_ = true;
    wake();
}

void Link::violated(const std::string &how)
{
    violated_ = true;
    send(error_of({0, 0, WIRE_LANE_NONE, 0, 0, 0}, EPROTO, how));
    end(how);
}

std::string Link::why()
{
    std::lock_guard<std::mutex> hold(lock_);

    return why_;
}

/* ---- the end -------------------------------------------------------------------------------- */

/* Send what is queued, and say that no more comes. */
void Link::finish()
{
    int64_t until = now() + FAREWELL;

    try {
        while (!output_.flush() && wait_for(fd_.get(), POLLOUT, until)) {
        }
        tls_.close();
    } catch (const Lost &) {
        /* It is gone already. */
    }
}

std::optional<Frame> Link::ended(const std::string &why)
{
    end(why);
    if (served_ && block_)
        served_->pass(block_->request); /* whoever comes next asks for it again */
    block_.reset();
    if (served_)
        served_->detach(this);
    served_.reset();
    return std::nullopt;
}

/* ---- taking in ------------------------------------------------------------------------------ */

/* The next frame, without a look at the socket when nothing can be there. */
bool Link::take_in(Frame &frame, uint32_t most)
{
    if (!readable_ && !input_.holds() && !tls_.pending())
        return false;
    readable_ = input_.next(frame, most);
    if (readable_) {
        heard_ = now();
        readable_ = input_.holds() || tls_.pending();
        return true;
    }
    return false;
}

std::optional<Frame> Link::read(uint32_t most, int64_t until)
{
    Frame frame{};

    try {
        while (!take_in(frame, most)) {
            if (!wait_for(fd_.get(), POLLIN, until))
                throw TooSlow("no whole frame came in time");
            readable_ = true;
        }
    } catch (const Lost &error) {
        return ended(why_lost(error));
    } catch (const Broken &error) {
        violated(error.what());
        finish();
        throw;
    }
    return frame;
}

Served::State Link::attach(std::shared_ptr<Served> served)
{
    Served::State state = served->attach(shared_from_this());

    served_ = std::move(served);
    credit_ = 0;
    paused_ = false;
    source_ = served_->stream ? hal_fd(served_->device.handle, POLLIN) : -1;
    return state;
}

/* ---- requests ------------------------------------------------------------------------------- */

void Link::grant(const Frame &frame)
{
    uint32_t more = frame.header.length == 4 ? uint32_t(wire_get(frame.body, 4)) : UINT32_MAX;

    if (!served_->stream || more > CREDIT_MAX - credit_)
        throw Broken("CREDIT of too much, for what is no stream, or ill-formed");
    credit_ += more;
    paused_ = false;
}

void Link::start_block(const Frame &frame)
{
    uint64_t offset = frame.header.length == 12 ? wire_get(frame.body, 8) : 0;
    size_t length = frame.header.length == 12 ? size_t(wire_get(frame.body + 8, 4)) : 0;

    if (!length || length > WIRE_BODY_MAX)
        throw Broken("READ_AT of 0 bytes, or more than a frame holds");
    block_.emplace(Block{frame.header, offset, length});
}

/* What needs no wait is done here; what may is tried, and then waits in its lane's thread. */
void Link::quick(const Frame &frame)
{
    const wire_header &request = frame.header;
    bool bytes = request.type == WIRE_READ || request.type == WIRE_WRITE;

    if (request.type == WIRE_READ_AT && served_->device.memory) {
        start_block(frame);
    } else if (at_once(served_->device, request, frame.body)) {
        /* The device does not wait; another link that is in it just now is waited for. */
        served_->answer(request, perform(served_->device, request, frame.body, HAL_FOREVER));
    } else if (bytes) {
        Bytes answer = perform(served_->device, request, frame.body, HAL_NOWAIT);
        bool waits = answer.data()[6] & WIRE_ERROR && wire_get(body_of(answer), 4) == EAGAIN;

        if (waits && request.wait)
            served_->start(request, Bytes(frame.body, request.length));
        else
            served_->answer(request, std::move(answer));
    } else {
        served_->start(request, Bytes(frame.body, request.length));
    }
}

/* False: somebody else has to judge it. */
bool Link::handle(Frame &frame, unsigned access, int64_t until)
{
    const wire_header &request = frame.header;
    unsigned needed;

    switch (request.type) {
    case WIRE_PING:
        if (request.length != 8)
            throw Broken("PING carries 8 bytes");
        send(answer_of(request, frame.body, 8));
        return true;
    case WIRE_CANCEL:
        if (served_)
            served_->cancel();
        return true;
    case WIRE_LIST:
    case WIRE_OPEN:
    case WIRE_TOKEN:
    case WIRE_RESUME:
        return false;
    }
    needed = access_of(request, frame.body);
    if (!needed)
        throw Broken("there is no request of type " + std::to_string(request.type));
    if (request.lane != lane_of(request.type))
        throw Broken("a request came in a lane that is another's");
    if (!served_)
        throw Broken("no device is open on this link");
    requests_.fetch_add(1, std::memory_order_relaxed);
    if (request.type == WIRE_CREDIT && !(needed & ~access) && since_1970() <= until) {
        grant(frame);
        return true;
    }
    if (request.type == WIRE_CREDIT)
        return false;
    if (!served_->begin(shared_from_this(), request))
        return true;
    if ((needed & ~access) || since_1970() > until) {
        served_->pass(request);
        return false;
    }
    quick(frame);
    return true;
}

/* ---- pushing: one frame a turn, and only while nothing is left over ------------------------- */

/* Whether more of it is to be pushed. */
bool Link::push_block()
{
    size_t length = std::min(block_->left, PIECE - WIRE_HEADER);
    Bytes frame = frame_of(length);
    wire_header request = block_->request;
    ssize_t got =
        hal_read_at(served_->device.handle, body_of(frame), length, block_->offset, HAL_FOREVER);

    block_->left = got < 0 || size_t(got) < length ? 0 : block_->left - length;
    block_->offset += length;
    bool last = !block_->left;
    if (got < 0)
        frame = failure(request, got);
    else
        seal(frame,
             {0, request.type, request.lane, uint8_t(WIRE_ANSWER | (last ? 0 : WIRE_MORE)),
              request.id, 0},
             size_t(got));
    if (!last) {
        tls_.cork(true);
        send(std::move(frame));
        return true;
    }
    block_.reset();
    served_->answer(request, std::move(frame));
    return false;
}

bool Link::wants_stream() const
{
    return served_ && served_->stream && credit_ >= CREDIT_LEAST && !paused_;
}

bool Link::push_stream()
{
    constexpr size_t HEAD = 8;
    size_t most = std::min<size_t>(credit_, PIECE - WIRE_HEADER - HEAD);
    Bytes frame = frame_of(HEAD + most);
    wire_header data = {0, WIRE_DATA, WIRE_LANE_READ, 0, 0, 0};
    ssize_t got = hal_read(served_->device.handle, body_of(frame) + HEAD, most, HAL_NOWAIT);

    if (got == -EAGAIN)
        return false;
    paused_ = got <= 0;
    if (got < 0) {
        frame = failure(data, got);
    } else {
        wire_put(body_of(frame), served_->position, HEAD);
        seal(frame, data, HEAD + size_t(got));
        served_->position += uint64_t(got);
        credit_ -= uint32_t(got);
    }
    tls_.cork(got == ssize_t(most));
    send(std::move(frame));
    return true;
}

bool Link::push()
{
    if (output_.stuck_since() && !output_.flush())
        return false;
    bool pushed = block_ && push_block();

    pushed = (wants_stream() && push_stream()) || pushed;
    readable_ = readable_ || pushed; /* requests that came meanwhile take their turn */
    return pushed;
}

/* ---- waiting -------------------------------------------------------------------------------- */

/* Who takes in no answers is asked for no more questions. */
bool Link::overfull() const
{
    return output_.left() > LEFT_MAX;
}

void Link::wait()
{
    int64_t stuck = output_.stuck_since();
    int64_t left = stuck ? std::max<int64_t>(0, stuck + PATIENCE - now()) : 0;
    timespec time = {left / SECOND, left % SECOND};
    pollfd all[3] = {{fd_.get(), short((overfull() ? 0 : POLLIN) | (stuck ? POLLOUT : 0)), 0},
                     {wake_.get(), POLLIN, 0},
                     {!stuck && wants_stream() ? source_ : -1, POLLIN, 0}};
    uint64_t drained;

    if (stuck && !left)
        throw Lost(STOPPED_READING);
    tls_.cork(false);
    if (ppoll(all, 3, stuck ? &time : nullptr, nullptr) < 0 && errno != EINTR)
        throw Lost(strerror(errno));
    readable_ = readable_ || all[0].revents & (POLLIN | POLLERR | POLLHUP);
    if (all[1].revents && ::read(wake_.get(), &drained, sizeof(drained)) < 0) {
        /* Somebody else has drained it. */
    }
}

std::optional<Frame> Link::serve(unsigned access, int64_t until)
{
    Frame frame{};

    try {
        while (!ending_) {
            bool came = !overfull() && take_in(frame, WIRE_BODY_MAX);

            if (came && !handle(frame, access, until))
                return frame;
            frame.owned = Bytes();
            if (!push() && !came)
                wait();
        }
        finish();
    } catch (const Lost &error) {
        return ended(why_lost(error));
    } catch (const Broken &error) {
        violated(error.what());
        finish();
    }
    if (violated_) {
        ended("");
        throw Broken(why());
    }
    return ended("");
}

} // namespace hal_link
