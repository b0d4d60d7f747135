/* SPDX-License-Identifier: Apache-2.0 */
/* A model run on what devices and files give, see glm.h. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <hal/device.h>
#include <hal/driver.h>
#include <hal/error.h>
#include <hal/memory.h>

#include "glm.h"

/* A device or a file, open. Ends at the same device share it. */
struct place {
    const char *name;
    hal_handle device; /* 0: a file */
    int fd;
    bool memory; /* the device has offsets, not a stream */
};

/* Where a tensor's bytes are, and where they come from or go to. */
struct slot {
    const struct glm_tensor *tensor;
    void *bytes;
    struct place *place; /* NULL: carried from the run before, or for nobody */
};

struct run {
    struct place places[2 * GLM_TENSORS_MAX];
    size_t place_count;
    struct slot inputs[GLM_TENSORS_MAX], outputs[GLM_TENSORS_MAX];
    double timeout;
};

const char *glm_last_error(void)
{
    return hal_last_error();
}

/* ---- places ---------------------------------------------------------------------------------- */

static hal_deadline deadline(const struct run *run)
{
    return run->timeout > 0 ? hal_after((int64_t)(run->timeout * 1e9)) : HAL_FOREVER;
}

/* A driver's name and a colon, not a path. */
static bool is_uri(const char *name)
{
    struct hal_uri uri;

    return !strchr("/.-", *name) && strchr(name, ':') && hal_uri_parse(name, &uri) == 0;
}

static int open_place(struct run *run, struct place *place, const char *name, int flags)
{
    *place = (struct place){.name = name, .fd = -1};
    if (is_uri(name)) {
        place->device = hal_open(name, deadline(run));
        return place->device < 0 ? (int)place->device : 0;
    }
    place->fd = strcmp(name, "-") ? open(name, flags | O_CLOEXEC, 0666)
                                  : fcntl(flags & O_WRONLY ? 1 : 0, F_DUPFD_CLOEXEC, 3);
    return place->fd < 0 ? hal_fail(-errno, "open", name, NULL) : 0;
}

static int get_place(struct run *run, const char *name, int flags, struct place **out)
{
    int err;

    for (size_t i = 0; i < run->place_count; i++)
        if (run->places[i].device && !strcmp(run->places[i].name, name)) {
            *out = &run->places[i];
            return 0;
        }
    *out = &run->places[run->place_count];
    err = open_place(run, *out, name, flags);
    if (!err)
        run->place_count++;
    return err;
}

static void close_places(struct run *run)
{
    for (size_t i = 0; i < run->place_count; i++)
        if (run->places[i].device > 0)
            hal_close(run->places[i].device);
        else
            close(run->places[i].fd);
}

/* ---- bytes ----------------------------------------------------------------------------------- */

/* All of the tensor; 0 when the file was at its end. */
static ssize_t read_file(const struct place *place, uint8_t *bytes, size_t len)
{
    size_t have = 0;

    while (have < len) {
        ssize_t n = read(place->fd, bytes + have, len - have);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return hal_fail(-errno, "read", place->name, NULL);
        if (!n && have)
            return hal_fail_plain(-ENODATA, "read", place->name, "it ends after %zu bytes of %zu",
                                  have, len);
        if (!n)
            return 0;
        have += (size_t)n;
    }
    return (ssize_t)have;
}

static ssize_t write_file(const struct place *place, const uint8_t *bytes, size_t len)
{
    size_t done = 0;

    while (done < len) {
        ssize_t n = write(place->fd, bytes + done, len - done);

        if (n < 0 && errno != EINTR)
            return hal_fail(-errno, "write", place->name, NULL);
        done += n > 0 ? (size_t)n : 0;
    }
    return (ssize_t)done;
}

/* The whole of a block at the device's beginning. */
static ssize_t at_offset(const struct place *place, void *bytes, size_t len, bool out,
                         hal_deadline until)
{
    size_t done = 0;

    while (done < len) {
        uint8_t *rest = (uint8_t *)bytes + done;
        ssize_t n = out ? hal_write_at(place->device, rest, len - done, done, until)
                        : hal_read_at(place->device, rest, len - done, done, until);

        if (n < 0)
            return n;
        if (!n)
            return hal_fail_plain(-ERANGE, out ? "write" : "read", place->name,
                                  "it has %zu bytes, the tensor %zu", done, len);
        done += (size_t)n;
    }
    return (ssize_t)done;
}

static ssize_t read_device(struct place *place, void *bytes, size_t len, hal_deadline until)
{
    ssize_t n = place->memory ? -EOPNOTSUPP : hal_read_exact(place->device, bytes, len, until);

    if (n == -EOPNOTSUPP) {
        place->memory = true;
        return at_offset(place, bytes, len, false, until);
    }
    if (n == -ENODATA && !hal_pending(place->device))
        return 0; /* at its end, between two tensors */
    return n;
}

static ssize_t write_device(struct place *place, void *bytes, size_t len, hal_deadline until)
{
    size_t done = 0;

    while (!place->memory && done < len) {
        ssize_t n = hal_write(place->device, (uint8_t *)bytes + done, len - done, until);

        if (n == -EOPNOTSUPP && !done)
            place->memory = true;
        else if (n < 0)
            return n;
        else
            done += (size_t)n;
    }
    return done < len ? at_offset(place, bytes, len, true, until) : (ssize_t)len;
}

static ssize_t fetch(const struct run *run, const struct slot *slot)
{
    struct place *place = slot->place;
    size_t len = slot->tensor->bytes;

    if (place->device)
        return read_device(place, slot->bytes, len, deadline(run));
    return read_file(place, slot->bytes, len);
}

static ssize_t deliver(const struct run *run, const struct slot *slot)
{
    struct place *place = slot->place;
    size_t len = slot->tensor->bytes;

    if (place->device)
        return write_device(place, slot->bytes, len, deadline(run));
    return write_file(place, slot->bytes, len);
}

/* ---- which tensor goes where ----------------------------------------------------------------- */

static struct slot *find(struct slot *slots, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (slots[i].tensor && !strcmp(slots[i].tensor->name, name))
            return &slots[i];
    return NULL;
}

static int make_slots(struct slot *slots, const struct glm_tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        slots[i].tensor = &tensors[i];
        slots[i].bytes = calloc(1, tensors[i].bytes ? tensors[i].bytes : 1);
        if (!slots[i].bytes)
            return hal_fail(-ENOMEM, "allocate", tensors[i].name, "%zu bytes", tensors[i].bytes);
    }
    return 0;
}

static bool is_carried(const struct glm_stream *stream, const struct slot *slot)
{
    for (size_t i = 0; i < stream->carry_count; i++)
        if (!strcmp(stream->carries[i].input, slot->tensor->name))
            return true;
    return false;
}

/* Named ends first, the one without a name takes the rest. */
static int attach(struct run *run, struct slot *slots, size_t count, const struct glm_end *ends,
                  size_t end_count, int flags)
{
    const struct glm_end *rest = NULL;
    int err = 0;

    for (size_t i = 0; i < end_count && !err; i++) {
        struct slot *slot = ends[i].tensor ? find(slots, count, ends[i].tensor) : NULL;

        if (!ends[i].tensor)
            rest = &ends[i];
        else if (!slot)
            err = hal_fail_plain(-EINVAL, "attach", ends[i].place, "the model has no tensor \"%s\"",
                                 ends[i].tensor);
        else
            err = get_place(run, ends[i].place, flags, &slot->place);
    }
    if (err || !rest)
        return err;
    struct place *shared;
    err = get_place(run, rest->place, flags, &shared);
    for (size_t i = 0; i < count && !err; i++)
        if (!slots[i].place)
            slots[i].place = shared;
    return err;
}

static int check(const struct glm_model *model, const struct glm_stream *stream, struct run *run)
{
    for (size_t i = 0; i < stream->carry_count; i++) {
        const struct glm_carry *carry = &stream->carries[i];
        const struct slot *from = find(run->outputs, model->output_count, carry->output);
        struct slot *to = find(run->inputs, model->input_count, carry->input);

        if (!from || !to || from->tensor->bytes != to->tensor->bytes)
            return hal_fail_plain(-EINVAL, "carry", carry->output,
                                  "\"%s\" and \"%s\" are no output and input of one size",
                                  carry->output, carry->input);
        to->place = NULL;
    }
    for (size_t i = 0; i < model->input_count; i++)
        if (!run->inputs[i].place && !is_carried(stream, &run->inputs[i]))
            return hal_fail_plain(-EINVAL, "attach", model->inputs[i].name,
                                  "nothing is said of where this input comes from");
    return 0;
}

/* ---- running --------------------------------------------------------------------------------- */

static void carry(const struct glm_model *model, const struct glm_stream *stream, struct run *run)
{
    for (size_t i = 0; i < stream->carry_count; i++) {
        const struct slot *from =
            find(run->outputs, model->output_count, stream->carries[i].output);
        const struct slot *to = find(run->inputs, model->input_count, stream->carries[i].input);

        memcpy(to->bytes, from->bytes, to->tensor->bytes);
    }
}

/* 1 when all inputs have come, 0 at their end. */
static ssize_t fetch_all(const struct glm_model *model, struct run *run)
{
    bool begun = false;

    for (size_t i = 0; i < model->input_count; i++) {
        const struct slot *slot = &run->inputs[i];
        ssize_t n = slot->place && slot->tensor->bytes ? fetch(run, slot) : 1;

        if (n < 0)
            return n;
        if (!n && begun)
            return hal_fail_plain(-ENODATA, "read", slot->place->name,
                                  "it ended before \"%s\" came", slot->tensor->name);
        if (!n)
            return 0;
        begun = begun || slot->place;
    }
    return 1;
}

static ssize_t deliver_all(const struct glm_model *model, struct run *run)
{
    for (size_t i = 0; i < model->output_count; i++) {
        ssize_t n = run->outputs[i].place ? deliver(run, &run->outputs[i]) : 0;

        if (n < 0)
            return n;
    }
    return 0;
}

static int64_t go(const struct glm_model *model, const struct glm_stream *stream, struct run *run)
{
    const void *inputs[GLM_TENSORS_MAX];
    void *outputs[GLM_TENSORS_MAX];
    uint64_t runs = 0;

    for (size_t i = 0; i < model->input_count; i++)
        inputs[i] = run->inputs[i].bytes;
    for (size_t i = 0; i < model->output_count; i++)
        outputs[i] = run->outputs[i].bytes;
    for (; !stream->runs || runs < stream->runs; runs++) {
        ssize_t n = fetch_all(model, run);

        if (n <= 0)
            return n ? n : (int64_t)runs;
        n = model->run(inputs, outputs);
        if (n)
            return hal_fail((int)n, "run", model->name, NULL);
        n = deliver_all(model, run);
        if (n < 0)
            return n;
        carry(model, stream, run);
    }
    return (int64_t)runs;
}

int64_t glm_stream(const struct glm_model *model, const struct glm_stream *stream)
{
    struct run *run = calloc(1, sizeof(*run));
    int64_t result;

    if (!run)
        return hal_fail(-ENOMEM, "run", model->name, NULL);
    run->timeout = stream->timeout;
    result = make_slots(run->inputs, model->inputs, model->input_count);
    if (!result)
        result = make_slots(run->outputs, model->outputs, model->output_count);
    if (!result)
        result = attach(run, run->inputs, model->input_count, stream->from, stream->from_count,
                        O_RDONLY);
    if (!result)
        result = attach(run, run->outputs, model->output_count, stream->to, stream->to_count,
                        O_WRONLY | O_CREAT | O_TRUNC);
    if (!result)
        result = check(model, stream, run);
    if (!result)
        result = go(model, stream, run);
    close_places(run);
    for (size_t i = 0; i < GLM_TENSORS_MAX; i++) {
        free(run->inputs[i].bytes);
        free(run->outputs[i].bytes);
    }
    free(run);
    return result;
}
