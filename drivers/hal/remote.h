/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of the hal driver share: one link, which is one open device. */
#ifndef REMOTE_H
#define REMOTE_H

#include <limits.h>
#include <pthread.h>

#include <openssl/sha.h>
#include <openssl/ssl.h>

#include <hal/driver.h>

#include "wire.h"

#define REMOTE_HOST_MAX 253 /* RFC 1035, 2.3.4 */
#define REMOTE_PORT "7362"
#define REMOTE_PLACES_MAX 8
#define UUID_LENGTH 36

/* A request that waits for its answer. */
struct pending {
    bool waiting;  /* sent, and not answered */
    bool answered; /* what follows is the answer */
    bool given_up; /* whoever asked has gone: the answer is kept for reads, else dropped */
    uint32_t id;
    int64_t sent;  /* hal_now() */
    unsigned link; /* the one it was sent on */
    uint8_t flags; /* of the answer */
    uint8_t *into; /* where its body goes when it fits and is no error; NULL: to `body` */
    size_t room;
    uint8_t *body;        /* malloc(3)ed */
    size_t length;        /* of the body, wherever it is */
    uint64_t interrupted; /* checksum of what a signal ended the wait for; 0: none did */
    int64_t interrupted_at;
    unsigned lease; /* of then */
};

/* Bytes that the agent pushes: what came and is not read, and what may still come. */
struct stream {
    uint8_t *ring; /* NULL until something has to wait in it */
    size_t head, fill;
    uint8_t *direct;   /* where a reader wants the next bytes while the ring is empty, or NULL */
    size_t wanted;     /* how many of them */
    uint32_t credit;   /* granted, and not come */
    size_t owed;       /* read, and not granted again */
    uint64_t position; /* of the next byte that comes */
    bool ended;        /* the device's end was reached, and is not told */
    int failed;        /* reading failed over there, and is not told: a negative errno */
    bool paused;       /* it was told: the next read asks to go on */
    char why[200];     /* it failed */
    bool gap;          /* bytes were lost with a link, and it is not told */
    size_t before;     /* what is in the ring of before the gap */
    uint64_t lost;     /* bytes in all */
    uint64_t gap_size; /* 0: not known */
};

/* Which part of a frame comes in. */
enum phase { PHASE_HEADER, PHASE_BODY, PHASE_POSITION, PHASE_DATA };

/* Where the machine may be. Nobody is believed to be it before the handshake has proved it. */
struct place {
    char host[REMOTE_HOST_MAX + 1];
    char port[6];
};

struct credentials;

/* Members stand by what they are about; there is one of it an open device.
 * NOLINTNEXTLINE(clang-analyzer-optin.performance.Padding) */
struct remote {
    struct place places[REMOTE_PLACES_MAX];
    unsigned place_count;
    char device[HAL_URI_MAX + 1]; /* its name over there */
    char folder[PATH_MAX];        /* of the credentials */
    char name[64];                /* "<uuid>.hal.internal" */

    struct credentials *credentials;
    SSL *ssl;
    int fd;    /* the socket, not blocking */
    int ready; /* an epoll(7) descriptor over the socket and `news`: what the library waits on */
    int news;  /* an eventfd(2): an answer for the read lane was taken in by another lane */

    pthread_mutex_t lock; /* over all that follows, and `ssl` */
    int broken;           /* why the link is no more, a negative errno; 0: it is */
    char why[200];
    enum phase phase;
    uint8_t header[WIRE_HEADER];
    struct wire_header incoming;
    uint8_t lead[8]; /* the position that DATA begins with */
    size_t got;      /* bytes of the part that comes in */
    uint8_t *body;   /* of the frame that comes in; NULL: there is none */
    bool body_owned;
    struct stream stream;
    bool news_told; /* `news` is readable */
    bool sending;   /* somebody is in the middle of a frame */
    unsigned send_waiters;
    size_t taken; /* of the answer to READ, bytes that were handed out */
    uint32_t last_ids[WIRE_LANES];
    int64_t heard;  /* when the last frame came; hal_now() */
    int64_t pinged; /* when it was asked whether anybody is there; 0: a frame has come since */

    unsigned links;        /* how many there have been */
    unsigned keep;         /* seconds for which a lost link is dialled again; 0: it is not */
    int64_t lost_at;       /* hal_now() */
    bool dialling;         /* somebody does; he alone uses the link */
    enum hal_lane dialler; /* his */
    unsigned chance;       /* of rand_r(3) */
    uint8_t *question;     /* the body of OPEN */
    size_t question_size;
    uint64_t lease;
    uint8_t secret[16];
    unsigned lease_anew; /* how often it was lost for good, and taken anew */
    int64_t reconnects;
    _Atomic int64_t look_at; /* hal_now() from which a call looks after token and revocations */
    uint64_t token_sum;      /* of the one that was sent last */
    int64_t token_until;     /* when ours ends, ms since 1970, as the agent has it */
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

/* hal.c: an option that is this driver's, and not the device's over there */
bool remote_takes(const char *option);

/* tls.c */
int remote_connect(struct hal_device *dev, struct remote *remote, hal_deadline until);
void remote_hang_up(struct remote *remote); /* what is left can dial again */
/* For good: waits, a second at most, until the agent has let go of the device. */
void remote_disconnect(struct remote *remote);
const char *remote_openssl_reason(const SSL *ssl);

/* credentials.c: what was made of a folder's files, for one link; give it back */
int remote_credentials(struct hal_device *dev, const char *folder, struct credentials **out);
void remote_credentials_free(struct credentials *credentials);
SSL_CTX *remote_context(const struct credentials *credentials);
EVP_PKEY *remote_tokens_key(const struct credentials *credentials);
const char *remote_own(const struct credentials *credentials); /* this machine's UUID */
bool remote_revoked(const struct credentials *credentials, X509 *certificate);
int remote_token(const char *folder, char *out, size_t size);
/* Whether a token was judged good by these, and its time is not over; `begin` and `end`: seconds
 * since 1970. */
bool remote_knows(struct credentials *credentials, const uint8_t digest[SHA256_DIGEST_LENGTH]);
void remote_remember(struct credentials *credentials, const uint8_t digest[SHA256_DIGEST_LENGTH],
                     int64_t begin, int64_t end);

/* token.c: 0, or why the agent's token is refused; `agent_ms` is its clock, ms since 1970 */
int remote_judge(struct hal_device *dev, const struct remote *remote, const char *text,
                 size_t length, int64_t agent_ms);

/* exchange.c */

/* With the lock held: take in all that is there for this lane (what to wait for next: POLLIN or
 * POLLOUT); end the link (the reason's number); what a call says when it has ended; let those who
 * wait in a lane look again; what was told by `news` is known. */
int remote_pump(struct hal_device *dev, struct remote *remote, enum wire_lane own);
int remote_break(struct hal_device *dev, struct remote *remote, int err, const char *why);
int remote_lost(struct hal_device *dev, struct remote *remote);
void remote_wake(struct hal_device *dev, struct remote *remote, enum wire_lane lane);
void remote_quiet(struct remote *remote);
void remote_wake_all(struct hal_device *dev);
/* Wait with the lock given up. */
int remote_wait(struct hal_device *dev, struct remote *remote, enum wire_lane lane, int fd,
                int events, hal_deadline until);
enum hal_lane remote_lane(const struct remote *remote, enum wire_lane lane);

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

/* Send what has no answer. */
int remote_say(struct hal_device *dev, const struct request *request, hal_deadline until);

int remote_send(struct hal_device *dev, const struct request *request, hal_deadline until);
int remote_exchange(struct hal_device *dev, const struct request *request, struct answer *answer,
                    hal_deadline until);
void remote_answer_free(const struct request *request, struct answer *answer);

/* What an answered READ brought: a count, 0 at the end, -EAGAIN (not answered yet), -ENOENT (nobody
 * has asked), or the failure over there. */
ssize_t remote_take(struct hal_device *dev, void *buf, size_t len);

/* stream.c: with the lock held, DATA as it comes in */
int remote_stream_data(struct hal_device *dev, struct remote *remote);
int remote_stream_position(struct hal_device *dev, struct remote *remote);
uint8_t *remote_stream_room(struct hal_device *dev, struct remote *remote, size_t *room);
void remote_stream_came(struct remote *remote, const uint8_t *to, size_t count);
void remote_stream_failed(struct remote *remote, int err, const char *text, size_t length);

int remote_stream_begin(struct hal_device *dev);
int remote_grant(struct hal_device *dev, size_t bytes);
ssize_t remote_stream_read(struct hal_device *dev, void *buf, size_t len);

void remote_stream_gap(struct remote *remote, uint64_t size, bool unknown);

/* reconnect.c: 0 when the link is there (again) */
int remote_redial(struct hal_device *dev, enum wire_lane lane, hal_deadline until);

/* renew.c: look after token and revocations, if it is time; a checksum */
void remote_look(struct hal_device *dev, enum wire_lane lane);
uint64_t remote_sum(uint64_t sum, const void *bytes, size_t size);
#define REMOTE_SUM 0xcbf29ce484222325u /* of nothing */

/* opening.c */
int remote_resume(struct hal_device *dev, hal_deadline until);
int remote_open_again(struct hal_device *dev, hal_deadline until);
int remote_hello(struct hal_device *dev, hal_deadline until);
int remote_open(struct hal_device *dev, hal_deadline until);

/* operation.c: what goes through the control lane */
ssize_t remote_transfer(struct hal_device *dev, const struct hal_segment *segments, size_t count,
                        hal_deadline until);
long remote_control(struct hal_device *dev, uint32_t number, void *argument, size_t size,
                    hal_deadline until);
int remote_get(struct hal_device *dev, const struct hal_attribute *attribute,
               struct hal_value *out);
int remote_set(struct hal_device *dev, const struct hal_attribute *attribute,
               const struct hal_value *value);
int remote_load(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t *value);
int remote_store(struct hal_device *dev, uint64_t offset, unsigned width, uint64_t value);

/* Add the most bytes that an operation's body and its answer's have. False: no frame holds that. */
bool remote_measure(const struct hal_operation *operation, size_t *asked, size_t *answered);
enum wire_type remote_type(const struct hal_operation *operation);
void remote_put(struct wire_writer *writer, const struct hal_operation *operation);
/* Take in an answer's body: 0, or -EPROTO. */
int remote_take_result(struct hal_device *dev, struct hal_operation *operation,
                       struct wire_reader *body);

/* batch.c */
int remote_batch(struct hal_device *dev, struct hal_operation *operations, size_t count,
                 hal_deadline until);

#endif
