/* SPDX-License-Identifier: Apache-2.0 */
/* The first two questions: who are you, and give me this device. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "remote.h"

#define TOKEN_MAX 4096
#define OPEN_MAX 8192
#define ATTRIBUTES_MAX 512

/* ---- HELLO ------------------------------------------------------------------------------------
 */

static int take_hello(struct hal_device *dev, struct remote *remote, const struct answer *answer)
{
    struct wire_reader body = {.at = answer->body, .left = answer->length};
    unsigned version = (unsigned)wire_number(&body, 2);
    int64_t agent_ms;
    const char *token;
    size_t length;

    (void)wire_number(&body, 2);
    agent_ms = (int64_t)wire_number(&body, 8);
    remote->token_until = (int64_t)wire_number(&body, 8);
    token = wire_text(&body, &length);
    if (body.failed || version != 1)
        return hal_fail_plain(-EPROTO, "open", hal_device_uri(dev), "the answer is damaged");
    return remote_judge(dev, remote, token, length, agent_ms);
}

int remote_hello(struct hal_device *dev, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    char token[TOKEN_MAX + 1];
    uint8_t body[TOKEN_MAX + 64];
    struct wire_writer writer = {.at = body, .left = sizeof(body)};
    struct request request = {.type = WIRE_HELLO, .lane = WIRE_LANE_NONE};
    struct answer answer;
    int err = remote_token(remote->folder, token, sizeof(token));

    if (err)
        return err;
    remote->token_sum = remote_sum(REMOTE_SUM, token, strlen(token));
    wire_add_number(&writer, 1, 2);
    wire_add_number(&writer, 1, 2);
    wire_add_text(&writer, token);
    wire_add_text(&writer, hal_version_string());
    /* `head` goes into one record with the header; a token is too long for that. */
    request.tail = body;
    request.tail_size = (size_t)(writer.at - body);
    err = remote_exchange(dev, &request, &answer, until);
    if (err)
        return err;
    err = take_hello(dev, remote, &answer);
    remote_answer_free(&request, &answer);
    return err;
}

/* ---- OPEN -------------------------------------------------------------------------------------
 */

static int add_options(struct hal_device *dev, struct wire_writer *writer)
{
    const struct hal_option *option;
    size_t count = 0;
    uint8_t *at = writer->at;

    wire_add_number(writer, 0, 2);
    for (size_t i = 0; (option = hal_device_option_at(dev, i)); i++) {
        if (remote_takes(option->key))
            continue;
        wire_add_text(writer, option->key);
        wire_add_text(writer, option->value);
        count++;
    }
    if (writer->failed)
        return hal_fail_plain(-E2BIG, "open", hal_device_uri(dev), "the options are too long");
    wire_put(at, count, 2);
    return 0;
}

/* Keep a str as C text: `texts` has room for all of them. */
static const char *keep(struct wire_reader *reader, char **texts)
{
    size_t length;
    const char *text = wire_text(reader, &length);
    char *kept = *texts;

    if (reader->failed)
        return "";
    memcpy(kept, text, length);
    kept[length] = 0;
    *texts += length + 1;
    return kept;
}

static void take_attribute(struct wire_reader *body, struct hal_attribute *attribute, char **texts,
                           const char ***choices, const char *const *choices_end)
{
    unsigned count;

    attribute->name = keep(body, texts);
    attribute->unit = keep(body, texts);
    attribute->doc = keep(body, texts);
    attribute->initial = keep(body, texts);
    attribute->unit = *attribute->unit ? attribute->unit : NULL;
    attribute->initial = *attribute->initial ? attribute->initial : NULL;
    attribute->type = (enum hal_type)wire_number(body, 1);
    attribute->access = (uint32_t)wire_number(body, 1);
    /* Options were set over there when it was opened: not once more from here. */
    if (attribute->access & (HAL_ATTR_READ | HAL_ATTR_WRITE))
        attribute->access &= ~(uint32_t)HAL_ATTR_OPEN;
    count = (unsigned)wire_number(body, 2);
    attribute->min = wire_double(body);
    attribute->max = wire_double(body);
    if (attribute->type < HAL_TYPE_BOOL || attribute->type > HAL_TYPE_CHOICE ||
        count >= (size_t)(choices_end - *choices))
        body->failed = true;
    if (body->failed)
        return;
    if (attribute->type == HAL_TYPE_CHOICE)
        attribute->choices = *choices;
    for (unsigned i = 0; i < count; i++)
        *(*choices)++ = keep(body, texts);
    *(*choices)++ = NULL;
    attribute->get = attribute->access & HAL_ATTR_READ ? remote_get : NULL;
    attribute->set = attribute->access & HAL_ATTR_WRITE ? remote_set : NULL;
}

/* What comes first: the far driver's name, and the lease. */
static void take_lease(struct remote *remote, struct wire_reader *body,
                       char driver[HAL_NAME_MAX + 1])
{
    size_t length;
    const char *text = wire_text(body, &length);
    const uint8_t *secret;

    snprintf(driver, HAL_NAME_MAX + 1, "%.*s", (int)length, text);
    remote->flags = (uint32_t)wire_number(body, 4);
    remote->lease = wire_number(body, 8);
    secret = wire_take(body, sizeof(remote->secret));
    if (secret)
        memcpy(remote->secret, secret, sizeof(remote->secret));
    remote->keep = (unsigned)wire_number(body, 2);
    (void)wire_number(body, 2);
}

/* Every text of the answer has two bytes of length, so with its NUL it needs no more room than
 * there; and no more choices than there are such pairs of bytes. */
static int take_device(struct hal_device *dev, struct remote *remote, struct answer *answer)
{
    struct wire_reader body = {.at = answer->body, .left = answer->length};
    size_t room = answer->length / 2 + ATTRIBUTES_MAX + 1;
    const char **choices;
    char *texts;

    remote->texts = texts = malloc(answer->length + 1);
    remote->choices = choices = calloc(room, sizeof(*choices));
    if (!texts || !choices)
        return -ENOMEM;
    take_lease(remote, &body, remote->driver);
    remote->attribute_count = (size_t)wire_number(&body, 2);
    if (remote->attribute_count > ATTRIBUTES_MAX)
        body.failed = true;
    if (!body.failed && remote->attribute_count) {
        remote->attributes = calloc(remote->attribute_count, sizeof(*remote->attributes));
        if (!remote->attributes)
            return -ENOMEM;
    }
    for (size_t i = 0; i < remote->attribute_count && !body.failed; i++) {
        take_attribute(&body, &remote->attributes[i], &texts, &choices, remote->choices + room);
        remote->attributes[i].tag = (int64_t)i;
    }
    if (body.failed)
        return hal_fail_plain(-EPROTO, "open", hal_device_uri(dev), "the answer is damaged");
    return 0;
}

/* OPEN's body. It is kept, for the options of a device are there only while it is being opened. */
static int make_question(struct hal_device *dev, struct remote *remote)
{
    uint8_t body[OPEN_MAX];
    struct wire_writer writer = {.at = body, .left = sizeof(body)};
    struct hal_value lease, reconnect;
    int err = hal_device_option(dev, "lease", &lease);

    if (err >= 0)
        err = hal_device_option(dev, "reconnect", &reconnect);
    if (err < 0)
        return err;
    wire_add_text(&writer, remote->device);
    wire_add_number(&writer, !strcmp(lease.s, "shared") ? 1 : 2, 1);
    wire_add_number(&writer, !strcmp(lease.s, "takeover"), 1);
    wire_add_number(&writer, (uint64_t)reconnect.i, 2);
    err = add_options(dev, &writer);
    if (err)
        return err;
    remote->question_size = (size_t)(writer.at - body);
    /* Never 0: three numbers at least. NOLINTNEXTLINE(clang-analyzer-optin.portability.UnixAPI) */
    remote->question = malloc(remote->question_size);
    if (!remote->question)
        return -ENOMEM;
    memcpy(remote->question, body, remote->question_size);
    return 0;
}

static int ask_to_open(struct hal_device *dev, struct remote *remote, struct answer *answer,
                       hal_deadline until)
{
    struct request request = {.type = WIRE_OPEN,
                              .lane = WIRE_LANE_NONE,
                              .tail = remote->question,
                              .tail_size = remote->question_size};

    return remote_exchange(dev, &request, answer, until);
}

int remote_open(struct hal_device *dev, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    struct answer answer;
    int err = make_question(dev, remote);

    if (!err)
        err = ask_to_open(dev, remote, &answer, until);
    if (err)
        return err;
    err = take_device(dev, remote, &answer);
    free(answer.body);
    if (!err)
        hal_device_set_attributes(dev, remote->attributes, remote->attribute_count);
    return err;
}

int remote_open_again(struct hal_device *dev, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    char driver[HAL_NAME_MAX + 1];
    struct wire_reader body;
    struct answer answer;
    int err = ask_to_open(dev, remote, &answer, until);

    if (err)
        return err;
    body = (struct wire_reader){.at = answer.body, .left = answer.length};
    take_lease(remote, &body, driver);
    if (strcmp(driver, remote->driver) || wire_number(&body, 2) != remote->attribute_count ||
        body.failed)
        err = hal_fail_plain(-EPROTO, "use", hal_device_uri(dev),
                             "the link was lost, and the device over there is another one now");
    free(answer.body);
    return err;
}

int remote_resume(struct hal_device *dev, hal_deadline until)
{
    struct remote *remote = remote_of(dev);
    uint8_t head[8 + sizeof(remote->secret) + 8];
    struct request request = {
        .type = WIRE_RESUME, .lane = WIRE_LANE_NONE, .head = head, .head_size = sizeof(head)};
    struct answer answer;
    struct wire_reader body;
    uint64_t position;
    int err;

    wire_put(head, remote->lease, 8);
    memcpy(head + 8, remote->secret, sizeof(remote->secret));
    wire_put(head + 8 + sizeof(remote->secret), remote->stream.position, 8);
    err = remote_exchange(dev, &request, &answer, until);
    if (err)
        return err;
    body = (struct wire_reader){.at = answer.body, .left = answer.length};
    position = wire_number(&body, 8);
    for (int lane = WIRE_LANE_READ; lane < WIRE_LANE_NONE; lane++)
        remote->last_ids[lane] = (uint32_t)wire_number(&body, 4);
    if (body.failed || position < remote->stream.position)
        err = hal_fail_plain(-EPROTO, "use", hal_device_uri(dev), "the answer is damaged");
    else if (position > remote->stream.position)
        remote_stream_gap(remote, position - remote->stream.position, false);
    free(answer.body);
    return err;
}
