/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the hal driver share: one link, which is one open device. */
#ifndef REMOTE_H
#define REMOTE_H

#include <limits.h>
#include <pthread.h>

#include <openssl/ssl.h>

#include <hal/driver.h>

#include "wire.h"

#define REMOTE_HOST_MAX 253 /* RFC 1035, 2.3.4 */
#define REMOTE_PORT "7362"

/* A request that waits for its answer. */
struct pending {
    bool waiting;  /* sent, and not answered */
    bool answered; /* what follows is the answer */
    bool given_up; /* whoever asked has gone: the answer is kept for reads, else dropped */
    uint32_t id;
    uint8_t flags; /* of the answer */
    uint8_t *into; /* where its body goes when it fits and is no error; NULL: to `body` */
    size_t room;
    uint8_t *body; /* malloc(3)ed */
    size_t length; /* of the body, wherever it is */
};

struct remote {
    char host[REMOTE_HOST_MAX + 1];
    char port[6];
    char device[HAL_URI_MAX + 1]; /* its name over there */
    char folder[PATH_MAX];        /* of the credentials */
    char name[64];                /* "<uuid>.hal.internal" */

    SSL_CTX *context;
    SSL *ssl;
    int fd;    /* the socket, not blocking */
    int ready; /* an epoll(7) descriptor over the socket and `news`: what the library waits on */
    int news;  /* an eventfd(2): an answer for the read lane was taken in by another lane */

    pthread_mutex_t lock; /* over all that follows, and `ssl` */
    int broken;           /* why the link is no more, a negative errno; 0: it is */
    char why[200];
    uint8_t header[WIRE_HEADER];
    size_t header_got;
    struct wire_header incoming;
    uint8_t *body; /* of the frame that comes in; NULL: it is dropped */
    bool body_owned;
    size_t body_got;
    bool sending; /* somebody is in the middle of a frame */
    unsigned send_waiters;
    size_t taken; /* of the answer to READ, bytes that were handed out */
    uint32_t last_ids[WIRE_LANES];
    struct pending pending[WIRE_LANES];

    char driver[HAL_NAME_MAX + 1]; /* the one that serves it over there */
    uint32_t flags;
    struct hal_attribute *attributes;
    size_t attribute_count;
    char *texts; /* what the attributes point into */
    const char **choices;
};

static inline struct remote *remote_of(const struct hal_device *dev)
{
    return hal_device_state(dev);
}

/* address.c */
int remote_address(struct hal_device *dev, struct remote *remote);

/* tls.c */
int remote_connect(struct hal_device *dev, struct remote *remote, hal_deadline until);
void remote_disconnect(struct remote *remote);
int remote_token(struct hal_device *dev, const struct remote *remote, char *out, size_t size);

/* exchange.c */

/* What a request is, and where its answer goes. */
struct request {
    enum wire_type type;
    enum wire_lane lane;
    const void *head; /* fixed part of the body */
    size_t head_size;
    const void *tail; /* the rest of it */
    size_t tail_size;
    void *into; /* room for the answer's body, or NULL */
    size_t room;
};

/* An answer. `body` is `into` of the request, or malloc(3)ed and the caller's to free. */
struct answer {
    uint8_t *body;
    size_t length;
};

int remote_send(struct hal_device *dev, const struct request *request, hal_deadline until);
int remote_answer(struct hal_device *dev, const struct request *request, struct answer *answer,
                  hal_deadline until);
int remote_exchange(struct hal_device *dev, const struct request *request, struct answer *answer,
                    hal_deadline until);
void remote_answer_free(const struct request *request, struct answer *answer);

/* What an answered READ brought: a count, 0 at the end, -EAGAIN (not answered yet), -ENOENT (nobody
 * has asked), or the failure over there. */
ssize_t remote_take(struct hal_device *dev, void *buf, size_t len);

/* Nobody has asked to read, and nothing is left of what came. */
bool remote_idle(struct hal_device *dev);

/* opening.c */
int remote_hello(struct hal_device *dev, hal_deadline until);
int remote_open(struct hal_device *dev, hal_deadline until);

/* values.c */
bool remote_take_value(struct wire_reader *reader, struct hal_value *value);
void remote_add_value(struct wire_writer *writer, const struct hal_value *value);
int remote_get(struct hal_device *dev, const struct hal_attribute *attribute,
               struct hal_value *out);
int remote_set(struct hal_device *dev, const struct hal_attribute *attribute,
               const struct hal_value *value);

#endif
