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
constexpr size_t VALUE_MAX = 8 + 2 + HAL_TEXT_MAX;

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

/* ---- the control lane: a batch, or one of what it may have ---------------------------------- */

/* One operation, and what it names. */
struct Operation {
    unsigned type;
    hal_operation operation = {}; /* all but `value`, which moves with this */
    hal_value value = {};
    std::vector<hal_segment> segments = {};
    size_t received = 0; /* bytes of the answer, at most */
    Bytes answer = {};   /* its body: room for what TRANSFER and CONTROL receive */
    bool descriptor = false;
};

void take_load(Operation &made, Reader &body)
{
    made.operation.kind = HAL_OPERATION_LOAD;
    made.operation.offset = body.number(8);
    made.operation.width = uint32_t(body.number(4));
    made.received = 8;
}

void take_store(Operation &made, Reader &body)
{
    made.operation.kind = HAL_OPERATION_STORE;
    made.operation.offset = body.number(8);
    made.operation.width = uint32_t(body.number(4));
    body.number(4);
    made.operation.word = body.number(8);
}

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

void take_transfer(Operation &made, Reader &body)
{
    unsigned count = unsigned(body.number(2));
    std::vector<unsigned> moves(count);
    size_t received = 0;

    body.number(2);
    check(count && count <= HAL_SEGMENTS_MAX && body.left >= count * SEGMENT,
          "TRANSFER of no segments, or of more than there are");
    made.segments.reserve(count);
    for (unsigned i = 0; i < count; i++) {
        made.segments.push_back(take_segment(body, moves[i]));
        received += moves[i] & 2 ? made.segments[i].len : 0;
        check(received <= WIRE_BODY_MAX - 8, "TRANSFER that receives more than a frame holds");
    }
    made.answer = Bytes(received);
    uint8_t *into = made.answer.data();
    if (received)
        memset(into, 0, received); /* a device that gives less shows nothing of ours */
    for (unsigned i = 0; i < count; i++) {
        if (moves[i] & 1)
            made.segments[i].tx = wire_take(&body, made.segments[i].len);
        if (moves[i] & 2) {
            made.segments[i].rx = into;
            into += made.segments[i].len;
        }
    }
    made.operation.kind = HAL_OPERATION_TRANSFER;
    made.operation.segments = made.segments.data();
    made.operation.count = count;
    made.received = 8 + received;
}

void take_control(Operation &made, Reader &body)
{
    made.operation.kind = HAL_OPERATION_CONTROL;
    made.operation.request = uint32_t(body.number(4));
    made.operation.size = size_t(body.number(4));
    check(made.operation.size <= ARGUMENT_MAX, "CONTROL with an argument above 65536 bytes");
    const uint8_t *argument = wire_take(&body, made.operation.size);
    body.more();
    made.answer = Bytes(argument, made.operation.size);
    made.operation.argument = made.operation.size ? made.answer.data() : nullptr;
    made.received = 8 + made.operation.size;
    made.descriptor = made.operation.request == HAL_DMABUF_FD;
}

void take_attribute(Operation &made, Reader &body, const Device &device)
{
    size_t index = body.number(2);
    const hal_attribute *row = nullptr;

    check(!body.failed && index < device.attributes &&
              !hal_attribute_at(device.handle, index, &row),
          "there is no such attribute");
    made.operation.name = row->name;
}

void take_get(Operation &made, Reader &body, const Device &device)
{
    made.operation.kind = HAL_OPERATION_GET;
    take_attribute(made, body, device);
    made.received = VALUE_MAX;
}

void take_set(Operation &made, Reader &body, const Device &device)
{
    made.operation.kind = HAL_OPERATION_SET;
    take_attribute(made, body, device);
    wire_take_value(&body, &made.value);
}

bool may_be_batched(unsigned type)
{
    return type >= WIRE_TRANSFER && type <= WIRE_STORE;
}

/* What the body asks for. Throws Broken. */
Operation take_operation(const Device &device, const wire_header &request, const uint8_t *bytes)
{
    Reader body(bytes, request.length);
    Operation made = {request.type};

    switch (request.type) {
    case WIRE_TRANSFER:
        take_transfer(made, body);
        break;
    case WIRE_CONTROL:
        take_control(made, body);
        break;
    case WIRE_GET:
        take_get(made, body, device);
        break;
    case WIRE_SET:
        take_set(made, body, device);
        break;
    case WIRE_LOAD:
        take_load(made, body);
        break;
    default:
        take_store(made, body);
        break;
    }
    body.end();
    return made;
}

/* The body of the answer of one that was done. */
void put_result(std::vector<uint8_t> &out, const Operation &made)
{
    uint8_t bytes[VALUE_MAX];
    wire_writer writer = {bytes, sizeof(bytes), false};

    if (made.type == WIRE_TRANSFER || made.type == WIRE_CONTROL)
        wire_add_number(&writer, uint64_t(made.operation.result), 8);
    else if (made.type == WIRE_GET)
        wire_add_value(&writer, &made.value);
    else if (made.type == WIRE_LOAD)
        wire_add_number(&writer, made.operation.word, 8);
    out.insert(out.end(), bytes, writer.at);
    out.insert(out.end(), made.answer.data(), made.answer.data() + made.answer.size());
}

/* Why one failed: its errno, and its sentence. */
struct Failure {
    int number;
    std::string text;
};

Failure failure_of(long result)
{
    if (result == -EAGAIN) /* the library words no polling */
        return {EAGAIN, "not possible at once (no time to wait was given)"};
    return {int(-result), hal_last_error()};
}

/* Do them in one turn of the device's lane, up to the first that fails, and say why it did. How
 * many were done, or a negative errno. */
long run(const Device &device, std::vector<Operation> &all, hal_deadline until, Failure &why)
{
    std::vector<hal_operation> operations;
    long done = 0;

    operations.reserve(all.size());
    for (size_t i = 0; i < all.size() && !all[i].descriptor; i++) {
        operations.push_back(all[i].operation);
        operations[i].value = &all[i].value;
    }
    if (!operations.empty())
        done = hal_batch(device.handle, operations.data(), operations.size(), until);
    for (size_t i = 0; i < operations.size(); i++)
        all[i].operation = operations[i];
    if (done < 0)
        why = failure_of(done);
    else if (size_t(done) < operations.size())
        why = failure_of(operations[size_t(done)].result);
    else if (operations.size() < all.size())
        why = {EOPNOTSUPP, "control: a descriptor does not travel to another machine"};
    return done;
}

Bytes do_single(const Device &device, const wire_header &request, const uint8_t *body,
                hal_deadline until)
{
    std::vector<Operation> all;
    std::vector<uint8_t> out;
    Failure why;

    all.push_back(take_operation(device, request, body));
    if (run(device, all, until, why) != 1)
        return error_of(request, why.number, why.text);
    put_result(out, all[0]);
    return answer_of(request, out.data(), out.size());
}

/* ---- batches -------------------------------------------------------------------------------- */

struct Item {
    wire_header request;
    const uint8_t *body;
};

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
    check(count && count <= HAL_BATCH_MAX, "BATCH of no operations, or of more than 256");
    for (unsigned i = 0; i < count; i++)
        items.push_back(take_item(body, request));
    body.end();
    return items;
}

void put_item(std::vector<uint8_t> &out, const Operation &made)
{
    size_t head = out.size();

    out.resize(head + 8);
    put_result(out, made);
    wire_put(&out[head + 4], out.size() - head - 8, 4);
}

void put_failure(std::vector<uint8_t> &out, const Failure &why)
{
    uint8_t bytes[8 + 2];

    wire_put(bytes, uint64_t(why.number), 4);
    wire_put(bytes + 4, 2 + why.text.size(), 4);
    wire_put(bytes + 8, why.text.size(), 2);
    out.insert(out.end(), bytes, bytes + sizeof(bytes));
    out.insert(out.end(), why.text.begin(), why.text.end());
}

Bytes do_batch(const Device &device, const wire_header &request, const uint8_t *body,
               hal_deadline until)
{
    size_t answered = 4 + 2 + HAL_MESSAGE_MAX; /* one may fail */
    std::vector<Operation> all;
    std::vector<uint8_t> out(4);
    Failure why;

    for (const Item &item : take_items(request, body)) {
        all.push_back(take_operation(device, item.request, item.body));
        answered += 8 + all.back().received;
        if (answered > WIRE_BODY_MAX)
            return error_of(request, EMSGSIZE,
                            "batch: the answers do not fit a frame; nothing was done");
    }
    long done = run(device, all, until, why);
    if (done < 0)
        return error_of(request, why.number, why.text);
    for (size_t i = 0; i < size_t(done); i++)
        put_item(out, all[i]);
    if (size_t(done) < all.size())
        put_failure(out, why);
    wire_put(out.data(), size_t(done) + (size_t(done) < all.size()), 2);
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
    Failure why = failure_of(result);

    return error_of(request, why.number, why.text);
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
    case WIRE_TRANSFER:
    case WIRE_CONTROL:
    case WIRE_GET:
    case WIRE_SET:
    case WIRE_LOAD:
    case WIRE_STORE:
        return do_single(device, request, bytes, until);
    case WIRE_BATCH:
        return do_batch(device, request, bytes, until);
    default:
        throw Broken("there is no frame of type " + std::to_string(request.type));
    }
}

} // namespace hal_link
