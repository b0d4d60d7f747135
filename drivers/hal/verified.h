/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates that were verified, known again: for both ends of a link.
 *
 * The same certificate, authority and list of revocations give the same answer each time, at the
 * price of two signatures. So whoever was found good is known until the time of one of the three is
 * over. Whoever was not is verified again each time, which tells why. A context is never given
 * another list: a file that changes makes a new context, which knows nobody.
 */
#ifndef VERIFIED_H
#define VERIFIED_H

#include <pthread.h>
#include <stdbool.h>
#include <string.h>

#include <openssl/sha.h>
#include <openssl/ssl.h>
#include <openssl/x509_vfy.h>

#define VERIFIED_MAX 64 /* the longest known one has to go */
#define VERIFIED_NAME 64

struct verified_one {
    unsigned char digest[SHA256_DIGEST_LENGTH]; /* of the certificate */
    char name[VERIFIED_NAME];                   /* that it was asked to be for; "": any */
    STACK_OF(X509) * chain;                     /* NULL: there is none here */
    STACK_OF(X509_CRL) * lists;
};

struct verified {
    pthread_mutex_t lock;
    struct verified_one all[VERIFIED_MAX];
    unsigned next;
};

static inline bool verified_now(const ASN1_TIME *begin, const ASN1_TIME *end)
{
    return begin && end && X509_cmp_current_time(begin) < 0 && X509_cmp_current_time(end) > 0;
}

/* All that it rests upon is good now. */
static inline bool verified_holds(const struct verified_one *one)
{
    for (int i = 0; i < sk_X509_num(one->chain); i++) {
        const X509 *certificate = sk_X509_value(one->chain, i);

        if (!verified_now(X509_get0_notBefore(certificate), X509_get0_notAfter(certificate)))
            return false;
    }
    for (int i = 0; i < sk_X509_CRL_num(one->lists); i++) {
        const X509_CRL *list = sk_X509_CRL_value(one->lists, i);

        if (!verified_now(X509_CRL_get0_lastUpdate(list), X509_CRL_get0_nextUpdate(list)))
            return false;
    }
    return true;
}

static inline void verified_forget(struct verified_one *one)
{
    sk_X509_pop_free(one->chain, X509_free);
    sk_X509_CRL_pop_free(one->lists, X509_CRL_free);
    memset(one, 0, sizeof(*one));
}

/* Of whom the verifier is asked. False: he is not to be remembered. */
static inline bool verified_asked(X509_STORE_CTX *asked, struct verified_one *one)
{
    const char *name = X509_VERIFY_PARAM_get0_host(X509_STORE_CTX_get0_param(asked), 0);
    X509 *certificate = X509_STORE_CTX_get0_cert(asked);

    memset(one, 0, sizeof(*one));
    if (name && strlen(name) >= sizeof(one->name))
        return false;
    if (name)
        strcpy(one->name, name);
    return certificate && X509_digest(certificate, EVP_sha256(), one->digest, NULL) == 1;
}

/* With the lock held: the chain that was found then, for the caller; NULL: verify it. */
static inline STACK_OF(X509) *
    verified_chain(struct verified *known, const struct verified_one *one)
{
    for (unsigned i = 0; i < VERIFIED_MAX; i++) {
        const struct verified_one *other = &known->all[i];

        if (other->chain && !memcmp(other->digest, one->digest, sizeof(one->digest)) &&
            !strcmp(other->name, one->name) && verified_holds(other))
            return X509_chain_up_ref(other->chain);
    }
    return NULL;
}

static inline void verified_remember(struct verified *known, X509_STORE_CTX *asked,
                                     struct verified_one *one)
{
    const X509_NAME *issuer = X509_get_issuer_name(X509_STORE_CTX_get0_cert(asked));

    one->chain = X509_STORE_CTX_get1_chain(asked);
    one->lists = X509_STORE_CTX_get1_crls(asked, issuer);
    if (!one->chain || sk_X509_CRL_num(one->lists) < 1) {
        verified_forget(one);
        return;
    }
    pthread_mutex_lock(&known->lock);
    verified_forget(&known->all[known->next]);
    known->all[known->next] = *one;
    known->next = (known->next + 1) % VERIFIED_MAX;
    pthread_mutex_unlock(&known->lock);
}

/* In place of X509_verify_cert(3). */
static inline int verified_verify(X509_STORE_CTX *asked, void *arg)
{
    struct verified *known = (struct verified *)arg;
    struct verified_one one;
    STACK_OF(X509) *chain = NULL;
    bool whole = verified_asked(asked, &one);
    int good;

    if (whole) {
        pthread_mutex_lock(&known->lock);
        chain = verified_chain(known, &one);
        pthread_mutex_unlock(&known->lock);
    }
    if (chain) {
        X509_STORE_CTX_set0_verified_chain(asked, chain);
        X509_STORE_CTX_set_error(asked, X509_V_OK);
        return 1;
    }
    good = X509_verify_cert(asked);
    if (whole && good == 1 && X509_STORE_CTX_get_error(asked) == X509_V_OK)
        verified_remember(known, asked, &one);
    return good;
}

/* Let a context, whose authority and lists are loaded, remember. `known` must outlive it. */
static inline void verified_begin(struct verified *known, SSL_CTX *context)
{
    pthread_mutex_init(&known->lock, NULL);
    SSL_CTX_set_cert_verify_callback(context, verified_verify, known);
}

static inline void verified_end(struct verified *known)
{
    for (unsigned i = 0; i < VERIFIED_MAX; i++)
        verified_forget(&known->all[i]);
    pthread_mutex_destroy(&known->lock);
}

#endif
