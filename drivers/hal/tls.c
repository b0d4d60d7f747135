/* SPDX-License-Identifier: Apache-2.0 */
/* The TCP connection and TLS 1.3 on it, certificates on both sides. */
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/sslerr.h>
#include <openssl/x509v3.h>

#include "remote.h"

#define FAREWELL 1000000000LL /* ns for which the agent is waited for to let go of the device */

static const unsigned char protocols[] = {5, 'h', 'a', 'l', '/', '1'};

/* OpenSSL's own words for what went wrong last, and its queue emptied. */
const char *remote_openssl_reason(const SSL *ssl)
{
    long verdict = ssl ? SSL_get_verify_result(ssl) : X509_V_OK;
    unsigned long code = ERR_peek_last_error();
    const char *reason = code ? ERR_reason_error_string(code) : NULL;

    if (verdict != X509_V_OK)
        reason = X509_verify_cert_error_string(verdict);
    ERR_clear_error();
    return reason ? reason : "no reason given";
}

/* ---- connecting -------------------------------------------------------------------------------
 */

static int wait_for(struct hal_device *dev, int fd, int events, hal_deadline until)
{
    int got = hal_device_wait(dev, remote_of(dev)->dialler, fd, events, until);

    return got < 0 ? got : 0;
}

static void set(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof(value)); /* what it cannot do it does without */
}

/* Small frames go at once, and a machine that is gone is found. */
static void tune(int fd)
{
    set(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set(fd, IPPROTO_TCP, TCP_KEEPIDLE, 10);
    set(fd, IPPROTO_TCP, TCP_KEEPINTVL, 2);
    set(fd, IPPROTO_TCP, TCP_KEEPCNT, 3);
    set(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, 10000);
}

static int connect_one(struct hal_device *dev, struct remote *remote, const struct addrinfo *to,
                       hal_deadline until)
{
    int failure = 0, err;
    socklen_t size = sizeof(failure);

    remote->fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (remote->fd < 0)
        return -errno;
    tune(remote->fd);
    if (connect(remote->fd, to->ai_addr, to->ai_addrlen) && errno != EINPROGRESS)
        return -errno;
    err = wait_for(dev, remote->fd, POLLOUT, until);
    if (err)
        return err;
    getsockopt(remote->fd, SOL_SOCKET, SO_ERROR, &failure, &size);
    return -failure;
}

static int connect_any(struct hal_device *dev, struct remote *remote, const struct place *place,
                       hal_deadline until)
{
    struct addrinfo wanted = {.ai_socktype = SOCK_STREAM}, *found, *to;
    int err = getaddrinfo(place->host, place->port, &wanted, &found);

    if (err)
        return hal_fail_plain(-ENOENT, "open", hal_device_uri(dev), "host %s: %s", place->host,
                              gai_strerror(err));
    err = -ENOENT;
    for (to = found; to; to = to->ai_next) {
        err = connect_one(dev, remote, to, until);
        if (!err || err == -ECANCELED)
            break;
        if (remote->fd >= 0)
            close(remote->fd);
        remote->fd = -1;
    }
    freeaddrinfo(found);
    if (!err || err == -ECANCELED)
        return err;
    return hal_fail(err, "open", hal_device_uri(dev), "%s port %s: does hal-agent run there?",
                    place->host, place->port);
}

/* A server that knows no protocols by name lets any client in. */
static int check_protocol(struct hal_device *dev, struct remote *remote)
{
    const unsigned char *chosen;
    unsigned length;

    SSL_get0_alpn_selected(remote->ssl, &chosen, &length);
    if (length == sizeof(protocols) - 1 && !memcmp(chosen, protocols + 1, length))
        return 0;
    return hal_fail_plain(-EPROTO, "open", hal_device_uri(dev),
                          "what answers there does not speak hal/1");
}

/* It hung up, or one of the two has not proved what it should. */
static int handshake_failed(struct hal_device *dev, struct remote *remote,
                            const struct place *place, int result)
{
    unsigned long code = ERR_peek_last_error();
    bool ended = SSL_get_error(remote->ssl, result) == SSL_ERROR_SYSCALL ||
                 ERR_GET_REASON(code) == SSL_R_UNEXPECTED_EOF_WHILE_READING;

    if (ended && SSL_get_verify_result(remote->ssl) == X509_V_OK) {
        ERR_clear_error();
        return hal_fail_plain(-ECONNRESET, "open", hal_device_uri(dev),
                              "%s port %s closed the connection during the handshake: it has too "
                              "many already, or is no hal-agent",
                              place->host, place->port);
    }
    return hal_fail_plain(-EACCES, "open", hal_device_uri(dev),
                          "the other end has not proved to be %.36s: %s", remote->name,
                          remote_openssl_reason(remote->ssl));
}

static int handshake(struct hal_device *dev, struct remote *remote, const struct place *place,
                     hal_deadline until)
{
    X509_VERIFY_PARAM *verify;
    int result, err = 0;

    remote->ssl = SSL_new(remote_context(remote->credentials));
    if (!remote->ssl || SSL_set_fd(remote->ssl, remote->fd) != 1 ||
        SSL_set_alpn_protos(remote->ssl, protocols, sizeof(protocols)))
        return hal_fail(-ENOMEM, "open", hal_device_uri(dev), "%s", remote_openssl_reason(NULL));
    verify = SSL_get0_param(remote->ssl);
    X509_VERIFY_PARAM_set_hostflags(verify, X509_CHECK_FLAG_NEVER_CHECK_SUBJECT);
    if (X509_VERIFY_PARAM_set1_host(verify, remote->name, 0) != 1 ||
        SSL_set_tlsext_host_name(remote->ssl, remote->name) != 1)
        return hal_fail(-EINVAL, "open", hal_device_uri(dev), "%s", remote_openssl_reason(NULL));
    while ((result = SSL_connect(remote->ssl)) != 1 && !err) {
        switch (SSL_get_error(remote->ssl, result)) {
        case SSL_ERROR_WANT_READ:
            err = wait_for(dev, remote->fd, POLLIN, until);
            break;
        case SSL_ERROR_WANT_WRITE:
            err = wait_for(dev, remote->fd, POLLOUT, until);
            break;
        default:
            return handshake_failed(dev, remote, place, result);
        }
    }
    return err ? err : check_protocol(dev, remote);
}

/* What the library waits on: readable when the socket is, or an answer was taken in already. */
static int make_ready(struct hal_device *dev, struct remote *remote)
{
    struct epoll_event event = {.events = EPOLLIN};

    if (remote->ready < 0) { /* it stays the same over all links */
        remote->ready = epoll_create1(EPOLL_CLOEXEC);
        remote->news = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
        if (remote->ready < 0 || remote->news < 0 ||
            epoll_ctl(remote->ready, EPOLL_CTL_ADD, remote->news, &event) ||
            fcntl(remote->ready, F_SETFL, O_NONBLOCK))
            return hal_fail(-errno, "open", hal_device_uri(dev), "epoll");
    }
    if (epoll_ctl(remote->ready, EPOLL_CTL_ADD, remote->fd, &event))
        return hal_fail(-errno, "open", hal_device_uri(dev), "epoll");
    return 0;
}

/* A link to whoever is at one place, if he proves to be the machine. */
static int connect_to(struct hal_device *dev, struct remote *remote, const struct place *place,
                      hal_deadline until)
{
    int err = connect_any(dev, remote, place, until);

    if (!err)
        err = handshake(dev, remote, place, until);
    if (err)
        remote_hang_up(remote);
    return err;
}

/* Of the time that is left, the part for one of `places` that are. */
static hal_deadline share_of(hal_deadline until, unsigned places)
{
    int64_t now = hal_now();

    return until == HAL_FOREVER || until <= now ? until : now + (until - now) / places;
}

int remote_connect(struct hal_device *dev, struct remote *remote, hal_deadline until)
{
    struct credentials *credentials;
    int err = remote_credentials(dev, remote->folder, &credentials);

    if (err)
        return err;
    remote_credentials_free(remote->credentials); /* of the link before */
    remote->credentials = credentials;
    err = -ENOENT;
    for (unsigned i = 0; i < remote->place_count && err && err != -ECANCELED; i++)
        err = connect_to(dev, remote, &remote->places[i], share_of(until, remote->place_count - i));
    return err ? err : make_ready(dev, remote);
}

void remote_hang_up(struct remote *remote)
{
    SSL_free(remote->ssl);
    remote->ssl = NULL;
    ERR_clear_error();
    if (remote->fd >= 0) {
        shutdown(remote->fd, SHUT_RDWR); /* a forked child may have the socket as well */
        close(remote->fd);
    }
    remote->fd = -1;
    if (remote->body_owned)
        free(remote->body);
    remote->body = NULL;
    remote->body_owned = false;
    remote->phase = PHASE_HEADER;
    remote->got = 0;
}

/* Until the agent ends the link, which it does once it has let go of the device: then anybody may
 * open it, as when one of this machine is closed. What still comes is thrown away; were it left
 * here, the kernel would reset the connection, and the agent take the link for a lost one. */
static void await_end(int fd)
{
    hal_deadline until = hal_after(FAREWELL);
    struct pollfd one = {.fd = fd, .events = POLLIN};
    uint8_t rest[16384];
    int64_t left;

    while ((left = until - hal_now()) > 0) {
        ssize_t got = recv(fd, rest, sizeof(rest), 0);

        if (!got || (got < 0 && errno != EAGAIN && errno != EINTR))
            return;
        if (got < 0)
            (void)poll(&one, 1, (int)(left / 1000000) + 1);
    }
}

void remote_disconnect(struct remote *remote)
{
    /* close_notify, if it can go at once; a link without a lease holds nothing over there */
    if (remote->ssl && !remote->broken && SSL_shutdown(remote->ssl) >= 0 && remote->lease)
        await_end(remote->fd);
    remote_hang_up(remote);
    if (remote->news >= 0)
        close(remote->news);
}
