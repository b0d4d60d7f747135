/* SPDX-License-Identifier: Apache-2.0 */
#include "tls.h"

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/x509v3.h>

#include <hal/deadline.h>

namespace hal_link
{

namespace
{

constexpr unsigned char PROTOCOL[] = {5, 'h', 'a', 'l', '/', '1'};
constexpr long CERTIFICATES_MAX = 16384; /* bytes of the chain that is looked at */
constexpr int PROBE_AFTER = 10, PROBE_EVERY = 2, PROBES = 3; /* seconds, and how many */
/* ms that what was sent may stay unacknowledged: longer than Link::wait() is patient with whoever
 * acknowledges and takes nothing in, so that it is told which of the two it was. */
constexpr int UNTAKEN_MAX = 15000;

/* What went wrong last in this thread's OpenSSL calls, and its queue emptied. */
std::string reason(const char *otherwise)
{
    unsigned long code = ERR_peek_last_error();
    const char *text = code ? ERR_reason_error_string(code) : nullptr;
    std::string words = text ? text : otherwise;

    ERR_clear_error();
    return words;
}

int choose_protocol(SSL *, const unsigned char **out, unsigned char *length,
                    const unsigned char *offered, unsigned offered_length, void *)
{
    unsigned char *chosen;

    if (SSL_select_next_proto(&chosen, length, PROTOCOL, sizeof(PROTOCOL), offered,
                              offered_length) != OPENSSL_NPN_NEGOTIATED)
        return SSL_TLSEXT_ERR_ALERT_FATAL;
    *out = chosen;
    return SSL_TLSEXT_ERR_OK;
}

void require(bool good, const std::string &path)
{
    if (!good)
        throw BadFile("use \"" + path + "\": " + reason("no reason given"));
}

void load(SSL_CTX *context, const std::string &folder)
{
    std::string path = folder + "/cert.pem";
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());

    require(SSL_CTX_use_certificate_chain_file(context, path.c_str()) == 1, path);
    path = folder + "/key.pem";
    require(SSL_CTX_use_PrivateKey_file(context, path.c_str(), SSL_FILETYPE_PEM) == 1, path);
    path = folder + "/ca.pem";
    require(SSL_CTX_load_verify_locations(context, path.c_str(), nullptr) == 1, path);
    path = folder + "/crl.pem";
    require(lookup && X509_load_crl_file(lookup, path.c_str(), X509_FILETYPE_PEM) > 0, path);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_X509_STRICT);
}

void set_option(int fd, int level, int name, int value)
{
    setsockopt(fd, level, name, &value, sizeof(value)); /* a socket of another family has none */
}

/* Small frames go at once, and a machine that is gone is found. */
void tune(int fd)
{
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, PROBE_AFTER);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, PROBE_EVERY);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, PROBES);
    set_option(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, UNTAKEN_MAX);
    fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

} // namespace

int64_t now()
{
    return hal_now();
}

int wait_for(int fd, short events, int64_t until)
{
    for (;;) {
        int64_t left = std::max<int64_t>(0, until - now());
        timespec time = {left / 1000000000, left % 1000000000};
        pollfd one = {fd, events, 0};
        int got = ppoll(&one, 1, until == HAL_FOREVER ? nullptr : &time, nullptr);

        if (got >= 0)
            return got ? one.revents : 0;
        if (errno != EINTR)
            throw Lost(strerror(errno));
    }
}

Descriptor::Descriptor(int fd) : fd_(fd)
{
    if (fd < 0)
        throw Lost(strerror(errno));
}

Descriptor::~Descriptor()
{
    ::close(fd_);
}

Context::Context(const std::string &folder)
    : context_(SSL_CTX_new(TLS_server_method()), SSL_CTX_free)
{
    SSL_CTX *context = context_.get();

    if (!context)
        throw std::bad_alloc();
    SSL_CTX_set_min_proto_version(context, TLS1_3_VERSION);
    SSL_CTX_set_verify(context, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, nullptr);
    SSL_CTX_set_verify_depth(context, 1);
    SSL_CTX_set_max_cert_list(context, CERTIFICATES_MAX);
    SSL_CTX_set_session_cache_mode(context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_num_tickets(context, 0);
    SSL_CTX_set_read_ahead(context, 1); /* a record by one read(2), not two */
    SSL_CTX_set_alpn_select_cb(context, choose_protocol, nullptr);
    /* The other end has the authority's certificate: it is not looked for and sent each time. */
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                  SSL_MODE_NO_AUTO_CHAIN);
    ERR_clear_error();
    load(context, folder);
    verified_begin(&verified_, context);
}

Context::~Context()
{
    verified_end(&verified_);
}

Tls::Tls(const Context &context, int fd) : ssl_(SSL_new(context.get()), SSL_free), fd_(fd)
{
    if (!ssl_ || SSL_set_fd(ssl_.get(), fd) != 1)
        throw std::bad_alloc();
    tune(fd);
}

bool Tls::handshake(int64_t until)
{
    int result;
    const unsigned char *chosen;
    unsigned length;

    ERR_clear_error();
    while ((result = SSL_accept(ssl_.get())) != 1) {
        int error = SSL_get_error(ssl_.get(), result), saved = errno;
        long verdict = SSL_get_verify_result(ssl_.get());

        if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE) {
            if (!wait_for(fd_, error == SSL_ERROR_WANT_READ ? POLLIN : POLLOUT, until))
                throw TooSlow("the handshake was not done in time");
            continue;
        }
        if (!BIO_number_read(SSL_get_rbio(ssl_.get()))) {
            ERR_clear_error();
            return false;
        }
        if (verdict != X509_V_OK) {
            ERR_clear_error();
            throw Refused(X509_verify_cert_error_string(verdict));
        }
        if (error == SSL_ERROR_SYSCALL && !ERR_peek_last_error())
            throw Lost(saved ? strerror(saved) : "it was closed during the handshake");
        throw Refused(reason("it was closed during the handshake"));
    }
    SSL_get0_alpn_selected(ssl_.get(), &chosen, &length);
    if (length != sizeof(PROTOCOL) - 1)
        throw Refused("it did not ask for the protocol hal/1");
    return true;
}

std::vector<uint8_t> Tls::peer() const
{
    std::unique_ptr<X509, void (*)(X509 *)> certificate(SSL_get1_peer_certificate(ssl_.get()),
                                                        X509_free);
    int length = certificate ? i2d_X509(certificate.get(), nullptr) : 0;
    std::vector<uint8_t> der(static_cast<size_t>(std::max(length, 0)));
    unsigned char *at = der.data();

    if (length > 0)
        i2d_X509(certificate.get(), &at);
    return der;
}

/* What an SSL_read() or SSL_write() gave. */
size_t Tls::moved(int result)
{
    if (result > 0)
        return static_cast<size_t>(result);
    int error = SSL_get_error(ssl_.get(), result), saved = errno;

    if (error == SSL_ERROR_WANT_READ || error == SSL_ERROR_WANT_WRITE)
        return 0;
    if (error == SSL_ERROR_ZERO_RETURN)
        throw Lost("the controller has closed it");
    if (error == SSL_ERROR_SYSCALL && saved == ETIMEDOUT)
        throw TimedOut(strerror(saved));
    if (error == SSL_ERROR_SYSCALL && saved)
        throw Lost(strerror(saved));
    throw Lost(reason("it ended in the middle"));
}

size_t Tls::read(void *to, size_t room)
{
    std::lock_guard<std::mutex> hold(lock_);

    ERR_clear_error();
    return moved(SSL_read(ssl_.get(), to, static_cast<int>(std::min<size_t>(room, 1 << 30))));
}

size_t Tls::write(const void *from, size_t length)
{
    std::lock_guard<std::mutex> hold(lock_);

    ERR_clear_error();
    return moved(SSL_write(ssl_.get(), from, static_cast<int>(std::min<size_t>(length, 1 << 30))));
}

bool Tls::pending()
{
    std::lock_guard<std::mutex> hold(lock_);

    return SSL_has_pending(ssl_.get());
}

void Tls::cork(bool more)
{
    if (more != corked_)
        set_option(fd_, IPPROTO_TCP, TCP_CORK, more);
    corked_ = more;
}

void Tls::close()
{
    std::lock_guard<std::mutex> hold(lock_);

    SSL_shutdown(ssl_.get());
    ERR_clear_error();
}

} // namespace hal_link
