/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any header and claims as an agent's token, which the remote driver judges: refused with a
 * message, or bound to the certificate that the agent has proved. Signatures are taken for good:
 * none could be made here. Input: header, a line break, claims; or, without one, the whole text.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>
#include <openssl/x509.h>

#include <hal/hal.h>

#include "must.h"
#include "remote.h"

#define UUID "11111111-1111-4111-8111-111111111111"
#define OWN "22222222-2222-4222-8222-222222222222"

static struct {
    const uint8_t *data;
    size_t size;
    X509 *certificate; /* of the agent, and of the authority */
    STACK_OF(X509) * chain;
} given;

/* ---- what the driver asks TLS and the credentials ---- */

X509 *SSL_get0_peer_certificate(const SSL *ssl)
{
    (void)ssl;
    return given.certificate;
}

STACK_OF(X509) * SSL_get0_verified_chain(const SSL *ssl)
{
    (void)ssl;
    return given.chain;
}

EVP_PKEY *remote_tokens_key(const struct credentials *credentials)
{
    (void)credentials;
    return X509_get0_pubkey(given.certificate);
}

const char *remote_own(const struct credentials *credentials)
{
    (void)credentials;
    return OWN;
}

const char *remote_openssl_reason(const SSL *ssl)
{
    (void)ssl;
    return "no reason given";
}

bool remote_knows(struct credentials *credentials, const uint8_t digest[SHA256_DIGEST_LENGTH])
{
    (void)credentials;
    (void)digest;
    return false; /* each is judged */
}

void remote_remember(struct credentials *credentials, const uint8_t digest[SHA256_DIGEST_LENGTH],
                     int64_t begin, int64_t end)
{
    (void)credentials;
    (void)digest;
    MUST(begin <= end + 10); /* each may be 5 s off */
}

int EVP_DigestVerify(EVP_MD_CTX *context, const unsigned char *signature, size_t length,
                     const unsigned char *text, size_t text_length)
{
    (void)context;
    (void)signature;
    (void)length;
    (void)text;
    (void)text_length;
    return 1;
}

static void make_certificate(void)
{
    EVP_PKEY *key = EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");

    given.certificate = X509_new();
    given.chain = sk_X509_new_null();
    MUST(key && given.certificate && given.chain);
    MUST(X509_set_pubkey(given.certificate, key) == 1);
    MUST(X509_sign(given.certificate, key, NULL) > 0);
    MUST(sk_X509_push(given.chain, given.certificate) == 1);
    EVP_PKEY_free(key);
}

/* ---- tokens ---- */

static size_t encode(const uint8_t *data, size_t size, char *out)
{
    size_t length = (size_t)EVP_EncodeBlock((uint8_t *)out, data, (int)size);

    while (length && out[length - 1] == '=')
        length--;
    for (size_t i = 0; i < length; i++)
        out[i] = (char)(out[i] == '+' ? '-' : out[i] == '/' ? '_' : out[i]);
    return length;
}

/* A token in room for it, just as long. */
static char *made(const uint8_t *data, size_t size, size_t *length)
{
    static const uint8_t signature[64];
    const uint8_t *line = memchr(data, '\n', size);
    char *text = malloc(2 * size + 200), *exact;
    size_t at;

    MUST(text != NULL);
    if (line) {
        size_t head = (size_t)(line - data);

        at = encode(data, head, text);
        text[at++] = '.';
        at += encode(line + 1, size - head - 1, text + at);
        text[at++] = '.';
        at += encode(signature, sizeof(signature), text + at);
    } else {
        memcpy(text, data, size);
        at = size;
    }
    exact = malloc(at ? at : 1);
    MUST(exact != NULL);
    memcpy(exact, text, at);
    free(text);
    *length = at;
    return exact;
}

/* Judging needs a device to word its failures with: it is done while one is opened. */
static int judge(struct hal_device *dev)
{
    struct remote *remote = calloc(1, sizeof(*remote));
    size_t length;
    char *text = made(given.data, given.size, &length);
    int err;

    MUST(remote != NULL);
    snprintf(remote->name, sizeof(remote->name), UUID ".hal.internal");
    err = remote_judge(dev, remote, text, length, 1764000000000);
    free(text);
    free(remote);
    return err;
}

static ssize_t no_read(struct hal_device *dev, void *buf, size_t len, hal_deadline until)
{
    (void)dev;
    (void)buf;
    (void)len;
    (void)until;
    return 0;
}

static ssize_t no_write(struct hal_device *dev, const void *buf, size_t len, hal_deadline until)
{
    (void)dev;
    (void)buf;
    (void)until;
    return (ssize_t)len;
}

static const struct driver_ops ops = {.init = judge, .read = no_read, .write = no_write};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hal_handle dev;

    if (!given.certificate) {
        make_certificate();
        MUST(!hal_register_driver("judge", &ops));
    }
    given.data = data;
    given.size = size;
    dev = hal_open("judge:", HAL_NOWAIT);
    MUST(dev != 0);
    if (dev < 0) {
        MUST(dev == -EACCES && strstr(hal_last_error(), "token is refused"));
    } else {
        MUST(hal_close(dev) == 0);
        MUST(memmem(data, size, UUID, strlen(UUID)) != NULL);
    }
    return 0;
}
