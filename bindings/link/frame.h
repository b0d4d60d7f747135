/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of hal/1 (docs/protocol.md) taken out of a link, and put into it. */
#ifndef LINK_FRAME_H
#define LINK_FRAME_H

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

#include "tls.h"
#include "wire.h"

namespace hal_link
{

/* The other end does not keep to the protocol. */
struct Broken : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* Bytes that are nobody else's, not set to anything. */
class Bytes
{
  public:
    Bytes() = default;
    explicit Bytes(size_t size) : bytes_(new uint8_t[size]), size_(size)
    {
    }
    Bytes(const uint8_t *from, size_t size) : Bytes(size)
    {
        if (size)
            memcpy(bytes_.get(), from, size);
    }
    uint8_t *data() const
    {
        return bytes_.get();
    }
    size_t size() const
    {
        return size_;
    }
    void shorten(size_t size)
    {
        size_ = size;
    }

  private:
    std::unique_ptr<uint8_t[]> bytes_;
    size_t size_ = 0;
};

struct Frame {
    wire_header header;
    const uint8_t *body; /* in `owned`, or in the input's buffer: then until its next() */
    Bytes owned;
};

/* ---- frames that go out: bytes with room for the header in front ---------------------------- */

inline Bytes frame_of(size_t body)
{
    return Bytes(WIRE_HEADER + body);
}

inline uint8_t *body_of(const Bytes &frame)
{
    return frame.data() + WIRE_HEADER;
}

/* Set the header, for a body of that length. */
void seal(Bytes &frame, wire_header header, size_t body);

/* The answer to a request; `flags` beside WIRE_ANSWER. */
Bytes answer_of(const wire_header &request, const void *body, size_t length, unsigned flags = 0);

/* A number (positive errno) and a sentence. */
Bytes error_of(const wire_header &request, int number, const std::string &text);

/* ---- taking in
 * ----------------------------------------------------------------------------------- */

/* Takes frames out of a link, however the bytes come. One thread. */
class Input
{
  public:
    explicit Input(Tls &tls) : tls_(tls)
    {
    }

    /* The next frame, if it is whole; takes in what the link has. False: nothing more at once.
     * Throws Broken for a header that is none or a body above `most`, Lost. */
    bool next(Frame &frame, uint32_t most);

    /* Bytes came that are not handed out: next() may have a frame without the socket. */
    bool holds() const
    {
        return end_ > begin_;
    }
    uint64_t received() const
    {
        return received_.load(std::memory_order_relaxed);
    }

  private:
    bool from_buffer(Frame &frame, uint32_t most);
    bool rest_of_big(Frame &frame);
    bool fill();

    Tls &tls_;
    std::unique_ptr<uint8_t[]> buffer_;
    size_t begin_ = 0, end_ = 0;
    bool big_ = false; /* a frame that does not fit the buffer is coming in */
    wire_header header_{};
    Bytes body_;
    size_t got_ = 0;
    std::atomic<uint64_t> received_{0};
};

/* ---- putting out
 * --------------------------------------------------------------------------------- */

/* Sends whole frames, in the order in which they are given. Any thread. Throws Lost. */
class Output
{
  public:
    /* `wake` is written to when something is left over for flush(). */
    Output(Tls &tls, int wake) : tls_(tls), wake_(wake)
    {
    }
    void send(Bytes frame);

    /* Send what is left over: true when nothing is. */
    bool flush();

    /* Since when the link has taken nothing of what is left over; 0: nothing is left over. */
    int64_t stuck_since() const
    {
        return stuck_.load(std::memory_order_relaxed);
    }
    /* Bytes of the frames that are left over. */
    size_t left() const
    {
        return waiting_.load(std::memory_order_relaxed);
    }
    uint64_t sent() const
    {
        return sent_.load(std::memory_order_relaxed);
    }

  private:
    bool put(const Bytes &frame, size_t &done);

    Tls &tls_;
    int wake_;
    std::mutex lock_;
    std::deque<Bytes> left_;
    size_t done_ = 0; /* bytes of the first of them that are out */
    std::atomic<size_t> waiting_{0};
    std::atomic<int64_t> stuck_{0};
    std::atomic<uint64_t> sent_{0};
};

} // namespace hal_link

#endif
