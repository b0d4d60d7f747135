/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's token, judged: a JSON Web Token (RFC 7519) signed by EdDSA (RFC 8037) with the
 * authority's key and bound to the agent's certificate (RFC 8705). hal/link/token.py has the
 * claims.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#include <jansson.h>
#include <openssl/evp.h>
#include <openssl/sha.h>
#include <openssl/x509.h>

#include "remote.h"

#define TYPE "hal-device+jwt"
#define LARGEST 4096
#define LEEWAY 5 /* seconds that clocks may be apart */
#define LIFETIME_MAX 86400
#define SIGNATURE 64
#define DIGEST_TEXT 43 /* a SHA-256 in base64url */

struct text {
    const char *at;
    size_t length;
};

static int refuse(struct hal_device *dev, const char *why)
{
    return hal_fail_plain(-EACCES, "open", hal_device_uri(dev), "the agent's token is refused: %s",
                          why);
}

/* ---- base64url without padding (RFC 7515, 2) --------------------------------------------------
 */

static int sextet(char c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '-' ? 62 : c == '_' ? 63 : -1;
}

/* The count of bytes, or -1: it is none, or has no room. */
static long decode(struct text text, uint8_t *out, size_t room)
{
    uint32_t bits = 0;
    unsigned have = 0;
    size_t count = 0;

    for (size_t i = 0; i < text.length; i++) {
        int value = sextet(text.at[i]);

        if (value < 0)
            return -1;
        bits = bits << 6 | (uint32_t)value;
        have += 6;
        if (have < 8)
            continue;
        have -= 8;
        if (count == room)
            return -1;
        out[count++] = (uint8_t)(bits >> have);
    }
    return (long)count;
}

static void encode_digest(const uint8_t digest[SHA256_DIGEST_LENGTH], char out[DIGEST_TEXT + 1])
{
    static const char alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
    uint32_t bits = 0;
    unsigned have = 0;
    size_t count = 0;

    for (size_t i = 0; i < SHA256_DIGEST_LENGTH; i++) {
        bits = bits << 8 | digest[i];
        for (have += 8; have >= 6; have -= 6)
            out[count++] = alphabet[bits >> (have - 6) & 63];
    }
    out[count++] = alphabet[bits << (6 - have) & 63];
    out[count] = 0;
}

/* ---- its three parts --------------------------------------------------------------------------
 */

static bool split(struct text token, struct text parts[3])
{
    const char *at = token.at, *end = token.at + token.length;

    for (int i = 0; i < 3; i++) {
        const char *dot = memchr(at, '.', (size_t)(end - at));

        if ((i < 2) != (dot != NULL))
            return false;
        dot = dot ? dot : end;
        parts[i] = (struct text){at, (size_t)(dot - at)};
        at = dot + 1;
    }
    return true;
}

static json_t *object_of(struct text part)
{
    uint8_t bytes[LARGEST];
    long length = decode(part, bytes, sizeof(bytes));
    json_t *value =
        length < 0 ? NULL
                   : json_loadb((const char *)bytes, (size_t)length, JSON_REJECT_DUPLICATES, NULL);

    if (json_is_object(value))
        return value;
    json_decref(value);
    return NULL;
}

static bool is_signed(EVP_PKEY *key, struct text token, struct text signature)
{
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    uint8_t bytes[SIGNATURE];
    bool good = context && decode(signature, bytes, sizeof(bytes)) == SIGNATURE &&
                EVP_DigestVerifyInit(context, NULL, NULL, NULL, key) == 1 &&
                EVP_DigestVerify(context, bytes, sizeof(bytes), (const uint8_t *)token.at,
                                 token.length - signature.length - 1) == 1;

    EVP_MD_CTX_free(context);
    return good;
}

static bool says(const json_t *object, const char *name, const char *wanted)
{
    const char *text = json_string_value(json_object_get(object, name));

    return text && !strcmp(text, wanted);
}

/* ---- its claims -------------------------------------------------------------------------------
 */

static bool hash(const X509 *certificate, uint8_t digest[SHA256_DIGEST_LENGTH])
{
    return X509_digest(certificate, EVP_sha256(), digest, NULL) == 1;
}

static bool is_ours(const json_t *claims, SSL *ssl)
{
    STACK_OF(X509) *chain = SSL_get0_verified_chain(ssl);
    int count = sk_X509_num(chain);
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char text[2 * SHA256_DIGEST_LENGTH + 1];

    if (count < 1 || !hash(sk_X509_value(chain, count - 1), digest))
        return false;
    for (size_t i = 0; i < sizeof(digest); i++)
        snprintf(text + 2 * i, 3, "%02x", digest[i]);
    return says(claims, "iss", text);
}

static bool is_bound(const json_t *claims, SSL *ssl)
{
    uint8_t digest[SHA256_DIGEST_LENGTH];
    char text[DIGEST_TEXT + 1];

    if (!hash(SSL_get0_peer_certificate(ssl), digest))
        return false;
    encode_digest(digest, text);
    return says(json_object_get(claims, "cnf"), "x5t#S256", text);
}

static bool number(const json_t *claims, const char *name, int64_t *out)
{
    const json_t *value = json_object_get(claims, name);

    *out = json_integer_value(value);
    return json_is_integer(value) && *out >= 0 && *out < INT64_MAX / 2;
}

/* Its time. A clock that is wrong is told as that, since the token is not what is to be mended. */
static int judge_times(struct hal_device *dev, int64_t begin, int64_t end, int64_t agent_ms)
{
    int64_t now = (int64_t)time(NULL), apart = now - agent_ms / 1000;
    char why[160];

    if (now >= begin - LEEWAY && now <= end + LEEWAY)
        return 0;
    if (apart > LEEWAY || apart < -LEEWAY)
        snprintf(why, sizeof(why),
                 "the clocks are %lld s apart (this machine's is %s): set them, by NTP for example",
                 (long long)(apart < 0 ? -apart : apart), apart < 0 ? "behind" : "ahead");
    else if (now < begin)
        snprintf(why, sizeof(why), "its time begins in %lld s", (long long)(begin - now));
    else
        snprintf(why, sizeof(why), "it ended %lld s ago: hal-ca renew over there",
                 (long long)(now - end));
    return refuse(dev, why);
}

static int judge_claims(struct hal_device *dev, const struct remote *remote, const json_t *claims,
                        const uint8_t *known, int64_t agent_ms)
{
    char wanted[UUID_LENGTH + 1];
    int64_t begin, end;
    int err;

    snprintf(wanted, sizeof(wanted), "%.*s", UUID_LENGTH, remote->name); /* its first label */
    if (!is_ours(claims, remote->ssl))
        return refuse(dev, "another authority made it");
    if (!says(claims, "sub", wanted))
        return refuse(dev, "it is for another device");
    if (!says(claims, "aud", "*") && !says(claims, "aud", remote_own(remote->credentials)))
        return refuse(dev, "it is meant for another controller");
    if (!is_bound(claims, remote->ssl))
        return refuse(dev, "it is bound to another certificate, or to none");
    if (!number(claims, "nbf", &begin) || !number(claims, "exp", &end) ||
        end - begin > LIFETIME_MAX)
        return refuse(dev, "its times are missing, or it is good for more than 24 h");
    err = judge_times(dev, begin, end, agent_ms);
    if (!err)
        remote_remember(remote->credentials, known, begin, end);
    return err;
}

/* What a judgement rests upon, beside the files: the token, the machine that is wanted, and the
 * certificate that it has proved. */
static bool summary(const struct remote *remote, struct text token,
                    uint8_t digest[SHA256_DIGEST_LENGTH])
{
    uint8_t certificate[SHA256_DIGEST_LENGTH];
    EVP_MD_CTX *context = EVP_MD_CTX_new();
    bool good = context && hash(SSL_get0_peer_certificate(remote->ssl), certificate) &&
                EVP_DigestInit_ex(context, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(context, certificate, sizeof(certificate)) == 1 &&
                EVP_DigestUpdate(context, remote->name, strlen(remote->name) + 1) == 1 &&
                EVP_DigestUpdate(context, token.at, token.length) == 1 &&
                EVP_DigestFinal_ex(context, digest, NULL) == 1;

    EVP_MD_CTX_free(context);
    return good;
}

int remote_judge(struct hal_device *dev, const struct remote *remote, const char *text,
                 size_t length, int64_t agent_ms)
{
    struct text token = {text, length}, parts[3];
    uint8_t known[SHA256_DIGEST_LENGTH];
    json_t *header, *claims;
    int err;

    if (!length)
        return refuse(dev, "none was sent");
    if (length > LARGEST || !split(token, parts))
        return refuse(dev, "it is no token");
    if (!summary(remote, token, known))
        return hal_fail(-ENOMEM, "open", hal_device_uri(dev), "%s", remote_openssl_reason(NULL));
    if (remote_knows(remote->credentials, known))
        return 0;
    header = object_of(parts[0]);
    claims = object_of(parts[1]);
    if (!header || !claims)
        err = refuse(dev, "it is no token");
    else if (!says(header, "typ", TYPE))
        err = refuse(dev, "it is of another kind (its header's \"typ\")");
    else if (!says(header, "alg", "EdDSA") ||
             !is_signed(remote_tokens_key(remote->credentials), token, parts[2]))
        err = refuse(dev, "it is not signed by the authority, by EdDSA");
    else
        err = judge_claims(dev, remote, claims, known, agent_ms);
    json_decref(header);
    json_decref(claims);
    return err;
}
