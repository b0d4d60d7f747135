/* SPDX-License-Identifier: Apache-2.0 */
/* TLS 1.3 of the end that is dialled, over a socket that never blocks. */
#ifndef LINK_TLS_H
#define LINK_TLS_H

#include <cstddef>
#include <cstdint>
#include <memory>
#include <mutex>
#include <stdexcept>
#include <string>
#include <vector>

#include <openssl/ssl.h>

#include "verified.h"

namespace hal_link
{

/* The link is over, and why. */
struct Lost : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* The same: for as long as the kernel waits, nothing of what was sent was taken in. */
struct TimedOut : Lost {
    using Lost::Lost;
};

/* The other end was not let in; OpenSSL's words for it. */
struct Refused : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* It took too long. */
struct TooSlow : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* A file of the credentials is missing or damaged. */
struct BadFile : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/* A file descriptor of one's own. Throws Lost when it is none. */
class Descriptor
{
  public:
    explicit Descriptor(int fd);
    ~Descriptor();
    Descriptor(const Descriptor &) = delete;
    Descriptor &operator=(const Descriptor &) = delete;
    int get() const
    {
        return fd_;
    }

  private:
    int fd_;
};

/* Keys and rules of a listener: TLS 1.3 alone, the protocol hal/1 (ALPN), a controller's
 * certificate of the same authority that the list of revoked ones does not have, and no session
 * tickets. It serves any number of links at once. */
class Context
{
  public:
    /* The folder has key.pem, cert.pem, ca.pem and crl.pem. Throws BadFile. */
    explicit Context(const std::string &folder);
    ~Context();
    Context(const Context &) = delete;
    Context &operator=(const Context &) = delete;
    SSL_CTX *get() const
    {
        return context_.get();
    }

  private:
    std::unique_ptr<SSL_CTX, void (*)(SSL_CTX *)> context_;
    verified verified_{};
};

/* One connection. read() and write() may be called by any thread; OpenSSL's own state may not be
 * used by two at once, so they take turns, and neither waits. */
class Tls
{
  public:
    /* The socket stays the caller's; it is made not to block. */
    Tls(const Context &context, int fd);

    /* False: the other end has gone without a byte. Throws Refused, TooSlow, Lost. `until`:
     * nanoseconds of CLOCK_MONOTONIC. */
    bool handshake(int64_t until);

    /* The other end's certificate, DER. */
    std::vector<uint8_t> peer() const;

    /* Bytes moved; 0: none at once. Throws Lost. */
    size_t read(void *to, size_t room);
    size_t write(const void *from, size_t length);

    /* Bytes were taken in already: read() may give some without the socket. */
    bool pending();

    /* While more is known to follow, the kernel keeps back what fills no segment: a segment of
     * several records wakes the other end once. By one thread. */
    void cork(bool more);

    /* Say that no more comes, if that goes at once. */
    void close();

  private:
    size_t moved(int result);

    std::mutex lock_;
    std::unique_ptr<SSL, void (*)(SSL *)> ssl_;
    int fd_;
    bool corked_ = false;
};

/* Wait for a descriptor: the events that came, 0 when `until` has passed. Throws Lost. */
int wait_for(int fd, short events, int64_t until);

/* Nanoseconds of CLOCK_MONOTONIC. */
int64_t now();

} // namespace hal_link

#endif
