/* SPDX-License-Identifier: Apache-2.0 */
/**
 * @file glm.h
 * @brief A model that autoglm-compile made into C, and how it is run on devices.
 *
 * Tensors are arrays in row-major order, elements as the machine has them, without padding. Any
 * thread may call any function; several may run one model at once, unless its weights were just
 * loaded from a file.
 */
#ifndef GLM_H
#define GLM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#define GLM_RANK_MAX 8
#define GLM_TENSORS_MAX 64

/** One input or output. */
struct glm_tensor {
    const char *name;
    const char *type; /**< as numpy calls it: "float32", "int64" ... */
    size_t bytes;     /**< of all of it */
    size_t rank;      /**< 0 .. GLM_RANK_MAX */
    size_t shape[GLM_RANK_MAX];
};

/** A model; everything in it is constant. */
struct glm_model {
    const char *name;
    size_t input_count, output_count; /**< 1 .. GLM_TENSORS_MAX */
    const struct glm_tensor *inputs, *outputs;
    /** One array for each input and output, in their order: 0, or -ENOMEM. */
    int (*run)(const void *const *inputs, void *const *outputs);
    /** Read the weights from a file, once, before the first run; NULL: they are in the program.
     *  False: it cannot be read, or is too short. */
    bool (*load)(const char *path);
};

/** Where one tensor comes from, or goes to. */
struct glm_end {
    const char *tensor; /**< its name; NULL: every input, or output, that is not named by another */
    const char *place;  /**< URI of a HAL device, path of a file, or "-": standard input, output */
};

/** An output that is an input of the next run; that input is zeros in the first. */
struct glm_carry {
    const char *output, *input;
};

/** How glm_stream() runs a model. What is 0 is not given. */
struct glm_stream {
    const struct glm_end *from, *to;
    size_t from_count, to_count;
    const struct glm_carry *carries;
    size_t carry_count;
    uint64_t runs;  /**< how many times; 0: until an input comes to its end */
    double timeout; /**< seconds that one tensor may take to come or go; 0: for ever */
};

/**
 * @brief Run a model again and again: its inputs are read, it is run, its outputs are written.
 * @return How many runs there were; a negative errno, and glm_last_error() says more: -EINVAL (no
 *         such tensor, or one without an end), -ENOMEM, -ENODATA (an input ended amid a tensor),
 *         -ETIMEDOUT, or what the device or the file said.
 *
 * A device of bytes (uart, spi ...) gives and takes the tensor's bytes as they come; a device of
 * memory (memory, mmio ...) has it at its beginning, each run anew.
 */
int64_t glm_stream(const struct glm_model *model, const struct glm_stream *stream);

/** @brief What the last call that failed in this thread says; "" before. */
const char *glm_last_error(void);

#ifdef __cplusplus
}
#endif

#endif
