/* SPDX-License-Identifier: Apache-2.0 */
#include "frame.h"

#include <algorithm>
#include <unistd.h>

namespace hal_link
{

namespace
{

constexpr size_t BUFFER = 16384; /* a TLS record: frames up to this are not copied */

} // namespace

void seal(Bytes &frame, wire_header header, size_t body)
{
    header.length = static_cast<uint32_t>(body);
    wire_put_header(frame.data(), &header);
    frame.shorten(WIRE_HEADER + body);
}

Bytes answer_of(const wire_header &request, const void *body, size_t length, unsigned flags)
{
    Bytes frame = frame_of(length);

    if (length)
        memcpy(body_of(frame), body, length);
    seal(frame, {0, request.type, request.lane, uint8_t(WIRE_ANSWER | flags), request.id, 0},
         length);
    return frame;
}

Bytes error_of(const wire_header &request, int number, const std::string &text)
{
    size_t length = std::min<size_t>(text.size(), UINT16_MAX);
    Bytes frame = frame_of(6 + length);

    wire_put(body_of(frame), static_cast<uint32_t>(number), 4);
    wire_put(body_of(frame) + 4, length, 2);
    memcpy(body_of(frame) + 6, text.data(), length);
    seal(frame, {0, request.type, request.lane, WIRE_ANSWER | WIRE_ERROR, request.id, 0},
         6 + length);
    return frame;
}

/* ---- taking in
 * ----------------------------------------------------------------------------------- */

/* Read more behind what is there. */
bool Input::fill()
{
    if (!buffer_)
        buffer_.reset(new uint8_t[BUFFER]);
    if (begin_) {
        memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
        end_ -= begin_;
        begin_ = 0;
    }
    size_t got = tls_.read(buffer_.get() + end_, BUFFER - end_);

    end_ += got;
    received_.fetch_add(got, std::memory_order_relaxed);
    return got;
}

bool Input::rest_of_big(Frame &frame)
{
    while (got_ < header_.length) {
        size_t got = tls_.read(body_.data() + got_, header_.length - got_);

        if (!got)
            return false;
        got_ += got;
        received_.fetch_add(got, std::memory_order_relaxed);
    }
    big_ = false;
    frame.header = header_;
    frame.owned = std::move(body_);
    frame.body = frame.owned.data();
    return true;
}

/* A frame that is whole in the buffer; or the beginning of one that is too big for it. */
bool Input::from_buffer(Frame &frame, uint32_t most)
{
    size_t there = end_ - begin_;

    if (there < WIRE_HEADER)
        return false;
    bool good = wire_get_header(buffer_.get() + begin_, &header_);

    if (header_.length > most)
        throw Broken("a body of " + std::to_string(header_.length) + " bytes: at most " +
                     std::to_string(most));
    if (!good || header_.flags)
        throw Broken("it does not speak hal/1");
    if (there >= WIRE_HEADER + header_.length) {
        frame.header = header_;
        frame.body = buffer_.get() + begin_ + WIRE_HEADER;
        begin_ += WIRE_HEADER + header_.length;
        if (begin_ == end_)
            begin_ = end_ = 0;
        return true;
    }
    if (WIRE_HEADER + header_.length > BUFFER) {
        big_ = true;
        body_ = Bytes(header_.length);
        got_ = there - WIRE_HEADER;
        memcpy(body_.data(), buffer_.get() + begin_ + WIRE_HEADER, got_);
        begin_ = end_ = 0;
    }
    return false;
}

bool Input::next(Frame &frame, uint32_t most)
{
    for (;;) {
        if (big_)
            return rest_of_big(frame);
        if (from_buffer(frame, most))
            return true;
        if (!big_ && !fill())
            return false;
    }
}

/* ---- putting out
 * --------------------------------------------------------------------------------- */

/* True when all of the frame is out; `done` counts on. */
bool Output::put(const Bytes &frame, size_t &done)
{
    while (done < frame.size()) {
        size_t went = tls_.write(frame.data() + done, frame.size() - done);

        if (!went)
            return false;
        done += went;
        sent_.fetch_add(went, std::memory_order_relaxed);
        if (stuck_.load(std::memory_order_relaxed))
            stuck_.store(now(), std::memory_order_relaxed);
    }
    return true;
}

void Output::send(Bytes frame)
{
    std::lock_guard<std::mutex> hold(lock_);
    size_t done = 0;
    uint64_t one = 1;

    if (left_.empty()) {
        if (put(frame, done))
            return;
        done_ = done;
        stuck_.store(now(), std::memory_order_relaxed);
    }
    waiting_.fetch_add(frame.size(), std::memory_order_relaxed);
    left_.push_back(std::move(frame));
    if (::write(wake_, &one, sizeof(one)) < 0) {
        /* Full: it is readable as it is. */
    }
}

bool Output::flush()
{
    std::lock_guard<std::mutex> hold(lock_);

    while (!left_.empty()) {
        if (!put(left_.front(), done_))
            return false;
        waiting_.fetch_sub(left_.front().size(), std::memory_order_relaxed);
        left_.pop_front();
        done_ = 0;
    }
    stuck_.store(0, std::memory_order_relaxed);
    return true;
}

} // namespace hal_link
