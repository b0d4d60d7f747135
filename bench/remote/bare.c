/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a remote device is measured against: the same mutual TLS 1.3 over blocking sockets, and
 * nothing on it. A library, so that both ends are called from Python at the same price as libhal.
 *
 * The first byte of a connection says what it is for: 'e' 64 bytes come back; 'm' and 'p' so many
 * bytes are sent as each 8-byte question says, from memory, or from a pipe that a thread fills.
 */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include <hal/hal.h>

#define SIZE 64
#define BLOCK 65536
#define PIPE (1 << 20)

static uint8_t zeros[BLOCK];

/* ---- both ends --------------------------------------------------------------------------------
 */

static SSL_CTX *context_of(const char *folder, const SSL_METHOD *method)
{
    SSL_CTX *context = SSL_CTX_new(method);
    char path[3][4096];
    static const char *const names[] = {"cert.pem", "key.pem", "ca.pem"};

    for (int i = 0; i < 3; i++)
        snprintf(path[i], sizeof(path[i]), "%s/%s", folder, names[i]);
    if (!context || SSL_CTX_use_certificate_chain_file(context, path[0]) != 1 ||
        SSL_CTX_use_PrivateKey_file(context, path[1], SSL_FILETYPE_PEM) != 1 ||
        SSL_CTX_load_verify_locations(context, path[2], NULL) != 1)
        return NULL;
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_num_tickets(context, 0);
    return context;
}

static SSL *on(SSL_CTX *context, int fd)
{
    int one = 1;
    SSL *ssl = SSL_new(context);

    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
    SSL_set_fd(ssl, fd);
    return ssl;
}

static bool take(SSL *ssl, void *to, size_t size)
{
    size_t got;

    for (uint8_t *at = to; size; at += got, size -= got)
        if (SSL_read_ex(ssl, at, size, &got) != 1)
            return false;
    return true;
}

static bool give(SSL *ssl, const void *from, size_t size)
{
    size_t sent;

    return SSL_write_ex(ssl, from, size, &sent) == 1;
}

/* ---- the end that is dialled ------------------------------------------------------------------
 */

/* Fill a pipe for as long as somebody reads it. */
void bare_fill(int fd)
{
    while (write(fd, zeros, BLOCK) > 0) {
    }
    close(fd);
}

static void *fill(void *fd)
{
    bare_fill((int)(intptr_t)fd);
    return NULL;
}

static int filled_pipe(void)
{
    pthread_t thread;
    int ends[2];

    if (pipe2(ends, O_CLOEXEC))
        abort();
    fcntl(ends[1], F_SETPIPE_SZ, PIPE);
    pthread_create(&thread, NULL, fill, (void *)(intptr_t)ends[1]);
    pthread_detach(thread);
    return ends[0];
}

static void echo(SSL *ssl)
{
    uint8_t bytes[SIZE];

    while (take(ssl, bytes, SIZE) && give(ssl, bytes, SIZE)) {
    }
}

/* Bytes from memory, or from a pipe. */
static void copy(SSL *ssl, int from)
{
    static _Thread_local uint8_t block[BLOCK];
    uint64_t left;

    while (take(ssl, &left, sizeof(left))) {
        while (left) {
            size_t part = left < BLOCK ? (size_t)left : BLOCK;
            ssize_t there = from < 0 ? (ssize_t)part : read(from, block, part);

            if (there <= 0 || !give(ssl, from < 0 ? zeros : block, (size_t)there))
                return;
            left -= (uint64_t)there;
        }
    }
}

static void *attend(void *ssl)
{
    int fd = SSL_get_fd(ssl), from = -1;
    uint8_t what = 0;

    if (SSL_accept(ssl) == 1 && take(ssl, &what, 1)) {
        if (what == 'e')
            echo(ssl);
        else
            copy(ssl, what == 'p' ? from = filled_pipe() : -1);
    }
    if (from >= 0)
        close(from);
    SSL_free(ssl);
    close(fd);
    return NULL;
}

/* Serve on a listening socket for ever; -1: not with what is in that folder. */
int bare_serve(const char *folder, int listener)
{
    SSL_CTX *context = context_of(folder, TLS_server_method());

    signal(SIGPIPE, SIG_IGN);
    if (!context)
        return -1;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        pthread_t thread;

        if (fd < 0)
            return -1;
        pthread_create(&thread, NULL, attend, on(context, fd));
        pthread_detach(thread);
    }
}

/* ---- the end that dials -----------------------------------------------------------------------
 */

SSL *bare_connect(const char *folder, int port, char what)
{
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    SSL_CTX *context = context_of(folder, TLS_client_method());
    SSL *ssl;

    if (!context || connect(fd, (struct sockaddr *)&to, sizeof(to)))
        return NULL;
    ssl = on(context, fd);
    return SSL_connect(ssl) == 1 && give(ssl, &what, 1) ? ssl : NULL;
}

int bare_echo(SSL *ssl, uint8_t bytes[SIZE])
{
    return give(ssl, bytes, SIZE) && take(ssl, bytes, SIZE) ? 0 : -1;
}

int bare_copy(SSL *ssl, uint64_t count, uint8_t *to, size_t room)
{
    if (!give(ssl, &count, sizeof(count)))
        return -1;
    while (count) {
        size_t got;

        if (SSL_read_ex(ssl, to, count < room ? (size_t)count : room, &got) != 1)
            return -1;
        count -= got;
    }
    return 0;
}

/* ---- many at once -----------------------------------------------------------------------------
 */

struct one {
    pthread_t thread;
    hal_handle device;
    hal_deadline until;
    uint32_t *times; /* nanoseconds of each read */
    uint32_t most, count;
};

static void *read_on(void *arg)
{
    struct one *one = arg;
    uint8_t bytes[SIZE];

    for (int64_t began = hal_now(); began < one->until && one->count < one->most;) {
        int64_t ended;

        if (hal_read_at(one->device, bytes, SIZE, 0, HAL_FOREVER) != SIZE)
            return (void *)-1;
        ended = hal_now();
        one->times[one->count++] = (uint32_t)(ended - began);
        began = ended;
    }
    return NULL;
}

/* Every device is read by a thread of its own, 64 bytes at a time; `times` has room for `most` of
 * each. How many reads each had goes to `counts`. 0, or -1: one failed. */
int crowd(const hal_handle *devices, unsigned n, double seconds, uint32_t *times, uint32_t most,
          uint32_t *counts)
{
    struct one *all = calloc(n, sizeof(*all));
    hal_deadline until = hal_after((int64_t)(seconds * 1e9));
    int result = 0;
    void *failed;

    for (unsigned i = 0; i < n; i++) {
        all[i] = (struct one){
            .device = devices[i], .until = until, .times = times + (size_t)i * most, .most = most};
        pthread_create(&all[i].thread, NULL, read_on, &all[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        pthread_join(all[i].thread, &failed);
        counts[i] = all[i].count;
        result = failed ? -1 : result;
    }
    free(all);
    return result;
}
