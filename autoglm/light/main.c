/* SPDX-License-Identifier: Apache-2.0 */
/* The program around a model: its options, and what it says of itself. */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "glm.h"

/* Of the generated code. */
extern const struct glm_model glm_program;

static const char usage[] =
    "Usage: %s [OPTION]...\n"
    "Run the model \"%s\": read its inputs, write its outputs, until the inputs end.\n"
    "\n"
    "  -i, --input [NAME=]PLACE    where an input comes from; without NAME: all others\n"
    "  -o, --output [NAME=]PLACE   where an output goes to; without NAME: all others\n"
    "  -c, --carry OUTPUT=INPUT    an output that is an input of the next run, zeros at first\n"
    "  -n, --runs N                how many runs; otherwise until an input ends\n"
    "  -t, --timeout SECONDS       how long one tensor may take to come or go\n"
    "  -w, --weights FILE          the weights, where they are not in this program\n"
    "  -l, --list                  show inputs and outputs\n"
    "\n"
    "PLACE is a HAL device (uart:/dev/ttyS0?baud=115200), a file, or \"-\": standard input and\n"
    "output, which is also the default. Tensors are raw, in row-major order.\n";

static const struct option options[] = {
    {"input", required_argument, NULL, 'i'},
    {"output", required_argument, NULL, 'o'},
    {"carry", required_argument, NULL, 'c'},
    {"runs", required_argument, NULL, 'n'},
    {"timeout", required_argument, NULL, 't'},
    {"weights", required_argument, NULL, 'w'},
    {"list", no_argument, NULL, 'l'},
    {"help", no_argument, NULL, 'h'},
    {NULL, 0, NULL, 0},
};

/* Standard input and output come last: a later end without a name replaces an earlier one. */
struct settings {
    struct glm_end from[GLM_TENSORS_MAX + 1], to[GLM_TENSORS_MAX + 1];
    struct glm_carry carries[GLM_TENSORS_MAX];
    struct glm_stream stream;
    const char *weights;
};

static void show(const char *kind, const struct glm_tensor *tensors, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        printf("%s\t%s\t%s[", kind, tensors[i].name, tensors[i].type);
        for (size_t axis = 0; axis < tensors[i].rank; axis++)
            printf("%s%zu", axis ? ", " : "", tensors[i].shape[axis]);
        printf("]\t%zu bytes\n", tensors[i].bytes);
    }
}

static bool is_tensor(const struct glm_tensor *tensors, size_t count, const char *name, size_t len)
{
    for (size_t i = 0; i < count; i++)
        if (strlen(tensors[i].name) == len && !strncmp(tensors[i].name, name, len))
            return true;
    return false;
}

/* "NAME=PLACE", or "PLACE", which may have a '=' of its own. */
static bool add_end(struct glm_end *ends, size_t *count, char *text,
                    const struct glm_tensor *tensors, size_t tensor_count)
{
    char *equals = strchr(text, '=');

    if (*count > GLM_TENSORS_MAX)
        return false;
    if (equals && is_tensor(tensors, tensor_count, text, (size_t)(equals - text))) {
        *equals = '\0';
        ends[(*count)++] = (struct glm_end){text, equals + 1};
    } else {
        ends[(*count)++] = (struct glm_end){NULL, text};
    }
    return true;
}

static bool add_carry(struct settings *settings, char *text)
{
    char *equals = strchr(text, '=');

    if (!equals || settings->stream.carry_count == GLM_TENSORS_MAX)
        return false;
    *equals = '\0';
    settings->carries[settings->stream.carry_count++] = (struct glm_carry){text, equals + 1};
    return true;
}

static bool take_runs(uint64_t *out, const char *text)
{
    char *end;

    errno = 0;
    *out = strtoull(text, &end, 10);
    return *text >= '0' && *text <= '9' && !*end && !errno && *out;
}

static bool take_seconds(double *out, const char *text)
{
    char *end;

    *out = strtod(text, &end);
    return end != text && !*end && *out > 0 && *out < 1e9;
}

static bool take(struct settings *settings, int option, char *text)
{
    struct glm_stream *stream = &settings->stream;

    switch (option) {
    case 'i':
        return add_end(settings->from, &stream->from_count, text, glm_program.inputs,
                       glm_program.input_count);
    case 'o':
        return add_end(settings->to, &stream->to_count, text, glm_program.outputs,
                       glm_program.output_count);
    case 'c':
        return add_carry(settings, text);
    case 'n':
        return take_runs(&stream->runs, text);
    case 't':
        return take_seconds(&stream->timeout, text);
    case 'w':
        settings->weights = text;
        return true;
    default:
        return false;
    }
}

/* The weights lie beside the program unless told otherwise. */
static int load_weights(const char *given)
{
    char path[4096];
    ssize_t len = readlink("/proc/self/exe", path, sizeof(path) - sizeof(".weights"));

    if (!glm_program.load)
        return 0;
    if (!given && len > 0) {
        strcpy(path + len, ".weights");
        given = path;
    }
    if (given && glm_program.load(given))
        return 0;
    fprintf(stderr, "%s: no weights of this model in \"%s\"; name them by --weights FILE\n",
            glm_program.name, given ? given : "");
    return 1;
}

static int run(struct settings *settings)
{
    static const struct glm_end standard = {NULL, "-"};
    struct glm_stream *stream = &settings->stream;
    int64_t runs;

    if (!stream->from_count)
        settings->from[stream->from_count++] = standard;
    if (!stream->to_count)
        settings->to[stream->to_count++] = standard;
    stream->from = settings->from;
    stream->to = settings->to;
    stream->carries = settings->carries;
    if (load_weights(settings->weights))
        return 1;
    runs = glm_stream(&glm_program, stream);
    if (runs < 0)
        fprintf(stderr, "%s: %s\n", glm_program.name, glm_last_error());
    return runs < 0;
}

int main(int argc, char **argv)
{
    static struct settings settings;
    int option;

    while ((option = getopt_long(argc, argv, "i:o:c:n:t:w:lh", options, NULL)) != -1) {
        if (option == 'l') {
            show("input", glm_program.inputs, glm_program.input_count);
            show("output", glm_program.outputs, glm_program.output_count);
            return 0;
        }
        if (option == 'h') {
            printf(usage, argv[0], glm_program.name);
            return 0;
        }
        if (!take(&settings, option, optarg)) {
            if (option != '?')
                fprintf(stderr, "%s: -%c does not take \"%s\"\n", argv[0], option, optarg);
            fprintf(stderr, "Try '%s --help'.\n", argv[0]);
            return 2;
        }
    }
    if (optind < argc) {
        fprintf(stderr, "%s: \"%s\" belongs to no option\nTry '%s --help'.\n", argv[0],
                argv[optind], argv[0]);
        return 2;
    }
    return run(&settings);
}
