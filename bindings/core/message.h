/* SPDX-License-Identifier: Apache-2.0 */
/* What transfers and requests take from Python. */
#ifndef HAL_BINDINGS_MESSAGE_H
#define HAL_BINDINGS_MESSAGE_H

#include "arguments.h"

#include <vector>

/* The segments of a transfer, and the memory they name, held as long as this lives. */
class Message
{
  public:
    Message() = default;
    Message(const Message &) = delete;
    Message &operator=(const Message &) = delete;
    ~Message()
    {
        Py_XDECREF(received);
        Py_XDECREF(kept);
    }

    /* From a sequence of hal.Segment. False with an exception set. */
    bool take(PyObject *sequence);
    /* What came, one entry for every segment with an rx. Once; the caller's. */
    PyObject *release_received();

    std::vector<hal_segment> segments;

  private:
    bool add(PyObject *tuple, Py_ssize_t index);
    bool add_tx(PyObject *tx, Py_ssize_t index, hal_segment *segment);
    bool add_rx(PyObject *rx, Py_ssize_t index, hal_segment *segment);

    std::vector<Memory> memories; /* of segment i: tx at 2i, rx at 2i + 1 */
    PyObject *kept = nullptr;
    PyObject *received = nullptr;
};

/* The flat argument of a request: a writable buffer itself, of any other a copy. */
class Argument
{
  public:
    /* NULL: there is none. False with an exception set. */
    bool take(const char *operation, PyObject *buffer);

    void *data = nullptr;
    size_t size = 0;

  private:
    Memory memory;
    std::vector<char> copy;
};

/* The number of a request. False with an exception set. */
bool request_number(PyObject *number, uint32_t *out);

#endif
