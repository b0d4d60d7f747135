/* SPDX-License-Identifier: Apache-2.0 */
#include "operation.h"

#include <cerrno>
#include <vector>

#include <hal/dmabuf.h>

#include "wire_value.h"

namespace hal_link
{

namespace
{

constexpr uint32_t ARGUMENT_MAX = 65536;
constexpr size_t SEGMENT = 40;
constexpr unsigned BATCH_MAX = 256;

struct Reader : wire_reader {
    Reader(const uint8_t *body, size_t length) : wire_reader{body, length, false}
    {
    }
    uint64_t number(unsigned width)
    {
        return wire_number(this, width);
    }
    /* Everything was there, and nothing is left. */
    void end() const
    {
        if (failed)
            throw Broken("a body is too short, or ill-formed");
        if (left)
            throw Broken("a body is too long");
    }
    void more() const
    {
        if (failed)
            throw Broken("a body is too short, or ill-formed");
    }
};

void check(bool good, const char *what)
{
    if (!good)
        throw Broken(what);
}

Bytes number_answer(const wire_header &request, uint64_t number, unsigned width)
{
    uint8_t bytes[8];

    wire_put(bytes, number, width);
    return answer_of(request, bytes, width);
}

/* An answer whose body was put straight into the frame. */
Bytes sealed(Bytes frame, const wire_header &request, size_t length)
{
    seal(frame, {0, request.type, request.lane, WIRE_ANSWER, request.id, 0}, length);
    return frame;
}

/* ---- bytes ---------------------------------------------------------------------------------- */

Bytes do_read(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    size_t most = body.number(4);

    body.end();
    check(most > 0 && most <= WIRE_BODY_MAX, "READ of 0 bytes, or of more than a frame holds");
    Bytes frame = frame_of(most);
    ssize_t got = hal_read(device.handle, body_of(frame), most, until);

    return got < 0 ? failure(request, got) : sealed(std::move(frame), request, size_t(got));
}

Bytes do_write(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    check(body.left > 0, "WRITE without bytes");
    ssize_t count = hal_write(device.handle, body.at, body.left, until);

    return count < 0 ? failure(request, count) : number_answer(request, uint64_t(count), 4);
}

Bytes do_read_at(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    uint64_t offset = body.number(8);
    size_t length = body.number(4);

    body.end();
    check(length > 0 && length <= WIRE_BODY_MAX, "READ_AT of 0 bytes, or more than a frame holds");
    Bytes frame = frame_of(length);
    ssize_t got = hal_read_at(device.handle, body_of(frame), length, offset, until);

    return got < 0 ? failure(request, got) : sealed(std::move(frame), request, size_t(got));
}

Bytes do_write_at(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    uint64_t offset = body.number(8);

    body.more();
    check(body.left > 0, "WRITE_AT without bytes");
    ssize_t count = hal_write_at(device.handle, body.at, body.left, offset, until);

    return count < 0 ? failure(request, count) : number_answer(request, uint64_t(count), 4);
}

/* ---- registers ------------------------------------------------------------------------------ */

Bytes do_load(const Device &device, const wire_header &request, Reader body, hal_deadline)
{
    uint64_t offset = body.number(8), value = 0;
    unsigned width = unsigned(body.number(4));

    body.end();
    int err = hal_load(device.handle, offset, width, &value);

    return err ? failure(request, err) : number_answer(request, value, 8);
}

Bytes do_store(const Device &device, const wire_header &request, Reader body, hal_deadline)
{
    uint64_t offset = body.number(8);
    unsigned width = unsigned(body.number(4));

    body.number(4);
    uint64_t value = body.number(8);
    body.end();
    int err = hal_store(device.handle, offset, width, value);

    return err ? failure(request, err) : answer_of(request, nullptr, 0);
}

/* ---- transfers and requests ----------------------------------------------------------------- */

struct Segments {
    std::vector<hal_segment> list;
    Bytes answer; /* its body: i64, and what is received */
    size_t received = 0;
};

hal_segment take_segment(Reader &body, unsigned &moves)
{
    hal_segment segment = {};

    segment.flags = uint32_t(body.number(4));
    moves = unsigned(body.number(1));
    segment.bits = uint8_t(body.number(1));
    segment.lanes_tx = uint8_t(body.number(1));
    segment.lanes_rx = uint8_t(body.number(1));
    segment.len = size_t(body.number(8));
    segment.address = uint32_t(body.number(4));
    segment.speed_hz = uint32_t(body.number(4));
    segment.delay_us = uint16_t(body.number(2));
    segment.word_delay_us = uint16_t(body.number(2));
    body.number(4);
    body.number(8);
    check(segment.len <= WIRE_BODY_MAX, "a segment that is longer than a frame");
    return segment;
}

Segments take_segments(Reader &body)
{
    unsigned count = unsigned(body.number(2));
    std::vector<unsigned> moves;
    Segments all;

    body.number(2);
    check(count && count <= HAL_SEGMENTS_MAX && body.left >= count * SEGMENT,
          "TRANSFER of no segments, or of more than there are");
    all.list.reserve(count);
    moves.resize(count);
    for (unsigned i = 0; i < count; i++) {
        all.list.push_back(take_segment(body, moves[i]));
        all.received += moves[i] & 2 ? all.list[i].len : 0;
        check(all.received <= WIRE_BODY_MAX - 8, "TRANSFER that receives more than a frame holds");
    }
    all.answer = frame_of(8 + all.received);
    uint8_t *into = body_of(all.answer) + 8;
    memset(into, 0, all.received); /* a device that gives less shows nothing of ours */
    for (unsigned i = 0; i < count; i++) {
        if (moves[i] & 1)
            all.list[i].tx = wire_take(&body, all.list[i].len);
        if (moves[i] & 2) {
            all.list[i].rx = into;
            into += all.list[i].len;
        }
    }
    body.end();
    return all;
}

Bytes do_transfer(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    Segments all = take_segments(body);
    ssize_t moved = hal_transfer(device.handle, all.list.data(), all.list.size(), until);

    if (moved < 0)
        return failure(request, moved);
    wire_put(body_of(all.answer), uint64_t(moved), 8);
    return sealed(std::move(all.answer), request, 8 + all.received);
}

Bytes do_control(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    uint32_t number = uint32_t(body.number(4)), size = uint32_t(body.number(4));

    check(size <= ARGUMENT_MAX, "CONTROL with an argument above 65536 bytes");
    const uint8_t *argument = wire_take(&body, size);
    body.end();
    if (number == HAL_DMABUF_FD)
        return error_of(request, EOPNOTSUPP,
                        "control: a descriptor does not travel to another machine");
    Bytes frame = frame_of(8 + size);
    if (size)
        memcpy(body_of(frame) + 8, argument, size);
    long result =
        hal_control(device.handle, number, size ? body_of(frame) + 8 : nullptr, size, until);

    if (result < 0)
        return failure(request, result);
    wire_put(body_of(frame), uint64_t(result), 8);
    return sealed(std::move(frame), request, 8 + size);
}

/* ---- attributes ----------------------------------------------------------------------------- */

const hal_attribute *attribute(const Device &device, Reader &body)
{
    size_t index = body.number(2);
    const hal_attribute *row = nullptr;

    check(!body.failed && index < device.attributes &&
              !hal_attribute_at(device.handle, index, &row),
          "there is no such attribute");
    return row;
}

Bytes do_get(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    const hal_attribute *row = attribute(device, body);
    hal_value value;
    uint8_t bytes[16 + HAL_TEXT_MAX];
    wire_writer writer = {bytes, sizeof(bytes), false};

    body.end();
    int err = hal_get(device.handle, row->name, &value, until);

    if (err)
        return failure(request, err);
    wire_add_value(&writer, &value);
    return answer_of(request, bytes, size_t(writer.at - bytes));
}

Bytes do_set(const Device &device, const wire_header &request, Reader body, hal_deadline until)
{
    const hal_attribute *row = attribute(device, body);
    hal_value value;

    wire_take_value(&body, &value);
    body.end();
    int err = hal_set(device.handle, row->name, &value, until);

    return err ? failure(request, err) : answer_of(request, nullptr, 0);
}

/* ---- batches -------------------------------------------------------------------------------- */

struct Item {
    wire_header request;
    const uint8_t *body;
};

bool may_be_batched(unsigned type)
{
    return type >= WIRE_TRANSFER && type <= WIRE_STORE;
}

Item take_item(Reader &body, const wire_header &batch)
{
    Item item = {batch, nullptr};

    item.request.type = uint8_t(body.number(1));
    body.number(1);
    body.number(2);
    item.request.length = uint32_t(body.number(4));
    item.body = wire_take(&body, item.request.length);
    body.more();
    check(may_be_batched(item.request.type), "a batch of what cannot be batched");
    return item;
}

std::vector<Item> take_items(const wire_header &request, const uint8_t *bytes)
{
    Reader body(bytes, request.length);
    unsigned count = unsigned(body.number(2));
    std::vector<Item> items;

    body.number(2);
    check(count && count <= BATCH_MAX, "BATCH of no operations, or of more than 256");
    for (unsigned i = 0; i < count; i++)
        items.push_back(take_item(body, request));
    body.end();
    return items;
}

/* An item's answer in the batch's: errno, length, body. */
bool add_item(std::vector<uint8_t> &out, const Bytes &answer)
{
    wire_header header;
    uint8_t head[8];

    wire_get_header(answer.data(), &header);
    const uint8_t *body = body_of(answer);
    size_t length = header.length;
    bool failed = header.flags & WIRE_ERROR;

    wire_put(head, failed ? wire_get(body, 4) : 0, 4);
    if (failed) { /* the number is in front: the sentence is the body */
        body += 4;
        length -= 4;
    }
    wire_put(head + 4, length, 4);
    out.insert(out.end(), head, head + sizeof(head));
    out.insert(out.end(), body, body + length);
    return !failed;
}

Bytes do_batch(const Device &device, const wire_header &request, const uint8_t *body,
               hal_deadline until)
{
    std::vector<Item> items = take_items(request, body);
    std::vector<uint8_t> out(4);
    unsigned done = 0;
    bool good = true;

    for (const Item &item : items) {
        if (!good)
            break;
        good = add_item(out, perform(device, item.request, item.body, until));
        done++;
        if (out.size() > WIRE_BODY_MAX)
            return error_of(request, EMSGSIZE,
                            "batch: the answers of the first " + std::to_string(done) +
                                " operations, which are done, do not fit a frame");
    }
    wire_put(out.data(), done, 2);
    return answer_of(request, out.data(), out.size());
}

} // namespace

/* ---- what a request needs ------------------------------------------------------------------- */

unsigned access_of(const wire_header &request, const uint8_t *body)
{
    unsigned all = 0;

    switch (request.type) {
    case WIRE_READ:
    case WIRE_GET:
    case WIRE_LOAD:
    case WIRE_READ_AT:
    case WIRE_CREDIT:
        return READS;
    case WIRE_WRITE:
    case WIRE_SET:
    case WIRE_STORE:
    case WIRE_WRITE_AT:
        return WRITES;
    case WIRE_TRANSFER:
    case WIRE_CONTROL:
        return READS | WRITES;
    case WIRE_BATCH:
        for (const Item &item : take_items(request, body))
            all |= access_of(item.request, item.body);
        return all;
    default:
        return 0;
    }
}

wire_lane lane_of(unsigned type)
{
    switch (type) {
    case WIRE_READ:
    case WIRE_READ_AT:
    case WIRE_CREDIT:
        return WIRE_LANE_READ;
    case WIRE_WRITE:
    case WIRE_WRITE_AT:
        return WIRE_LANE_WRITE;
    default:
        return WIRE_LANE_CONTROL;
    }
}

bool at_once(const Device &device, const wire_header &request, const uint8_t *body)
{
    switch (request.type) {
    case WIRE_LOAD:
    case WIRE_STORE:
    case WIRE_READ_AT:
    case WIRE_WRITE_AT:
        return device.memory;
    case WIRE_BATCH:
        for (const Item &item : take_items(request, body)) {
            if (!at_once(device, item.request, item.body))
                return false;
        }
        return true;
    default:
        return false;
    }
}

Bytes failure(const wire_header &request, long result)
{
    if (result == -EAGAIN) /* the library words no polling */
        return error_of(request, EAGAIN, "not possible at once (no time to wait was given)");
    return error_of(request, int(-result), hal_last_error());
}

Bytes perform(const Device &device, const wire_header &request, const uint8_t *bytes,
              hal_deadline until)
{
    Reader body(bytes, request.length);

    switch (request.type) {
    case WIRE_READ:
        return do_read(device, request, body, until);
    case WIRE_WRITE:
        return do_write(device, request, body, until);
    case WIRE_READ_AT:
        return do_read_at(device, request, body, until);
    case WIRE_WRITE_AT:
        return do_write_at(device, request, body, until);
    case WIRE_LOAD:
        return do_load(device, request, body, until);
    case WIRE_STORE:
        return do_store(device, request, body, until);
    case WIRE_TRANSFER:
        return do_transfer(device, request, body, until);
    case WIRE_CONTROL:
        return do_control(device, request, body, until);
    case WIRE_GET:
        return do_get(device, request, body, until);
    case WIRE_SET:
        return do_set(device, request, body, until);
    case WIRE_BATCH:
        return do_batch(device, request, bytes, until);
    default:
        throw Broken("there is no frame of type " + std::to_string(request.type));
    }
}

} // namespace hal_link
