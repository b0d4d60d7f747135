/* SPDX-License-Identifier: Apache-2.0 */
/* What a request does with the device, and its answer. */
#ifndef LINK_OPERATION_H
#define LINK_OPERATION_H

#include <hal/hal.h>

#include "frame.h"

namespace hal_link
{

/* Rights that a request needs, or-ed. */
enum Access : unsigned { READS = 1, WRITES = 2 };

struct Device {
    hal_handle handle;
    bool memory;       /* its registers and bytes are there at once, without a bus */
    size_t attributes; /* of OPEN's answer */
};

constexpr size_t PIECE =
    65536; /* bytes of a frame that carries a part of a block, with its header */

/* What the request needs; 0 for one that is none of the device's. Throws Broken. */
unsigned access_of(const wire_header &request, const uint8_t *body);

/* Where such a request belongs; it is the device's. */
wire_lane lane_of(unsigned type);

/* Whether it is done at once, so that nobody needs to wait for it in a thread of its own. */
bool at_once(const Device &device, const wire_header &request, const uint8_t *body);

/* Do it, and give the whole answer, also when it failed. `until` bounds the wait. Throws Broken
 * when the body is ill-formed; nothing has been done then. */
Bytes perform(const Device &device, const wire_header &request, const uint8_t *body,
              hal_deadline until);

/* The answer when a libhal function failed in this thread. */
Bytes failure(const wire_header &request, long result);

} // namespace hal_link

#endif
