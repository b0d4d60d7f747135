/* SPDX-License-Identifier: Apache-2.0 */
/*
 * This machine's key, certificate and token (hal-ca), and whom it trusts. What is made of the files
 * is kept for the next link, and made anew when one of them was changed.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include "remote.h"
#include "verified.h"

#define TOKENS_KNOWN 16

static const char *const files[] = {"key.pem", "cert.pem", "ca.pem", "crl.pem", "tokens.pub"};

enum file { KEY, CERTIFICATE, AUTHORITY, REVOKED, TOKENS, FILES };

struct stamp {
    ino_t inode;
    off_t size;
    struct timespec changed;
};

/* An agent's token that was judged good, and when it is. */
struct token {
    uint8_t digest[SHA256_DIGEST_LENGTH];
    int64_t begin, end;
};

struct credentials {
    unsigned users;
    char folder[PATH_MAX];
    struct stamp stamps[FILES];
    SSL_CTX *context;
    struct verified verified;
    struct token known[TOKENS_KNOWN]; /* the longest known one has to go */
    unsigned next;
    EVP_PKEY *tokens;
    char own[UUID_LENGTH + 1];
};

/* Over `kept`, the counts of users, and the tokens that are known. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct credentials *kept; /* what was used last */

/* ---- files ------------------------------------------------------------------------------------
 */

static const char *path_of(const char *folder, enum file file, char path[PATH_MAX + 16])
{
    snprintf(path, PATH_MAX + 16, "%s/%s", folder, files[file]);
    return path;
}

static int file_failed(struct hal_device *dev, const char *path)
{
    if (access(path, R_OK))
        return hal_fail(-errno, "open", path, "enrol this machine: hal-ca enrol CODE --at HOST");
    return hal_fail_plain(-EINVAL, "open", hal_device_uri(dev), "%s: %s", path,
                          remote_openssl_reason(NULL));
}

static int check_secret(const char *path)
{
    struct stat info;

    if (stat(path, &info))
        return hal_fail(-errno, "open", path, "enrol this machine: hal-ca enrol CODE --at HOST");
    if (info.st_mode & 077)
        return hal_fail(-EACCES, "open", path, "others may read it (mode %04o): chmod 600 %s",
                        info.st_mode & 07777, path);
    return 0;
}

/* How a file is now; all zero when it is not there. */
static struct stamp stamp_of(const char *folder, enum file file)
{
    char path[PATH_MAX + 16];
    struct stat info = {0};

    if (stat(path_of(folder, file, path), &info))
        return (struct stamp){0};
    return (struct stamp){info.st_ino, info.st_size, info.st_mtim};
}

static bool same(const struct stamp *a, const struct stamp *b)
{
    return a->inode == b->inode && a->size == b->size && a->changed.tv_sec == b->changed.tv_sec &&
           a->changed.tv_nsec == b->changed.tv_nsec;
}

/* ---- loading ----------------------------------------------------------------------------------
 */

/* The UUID in this machine's certificate. */
static bool own_uuid(SSL_CTX *context, char own[UUID_LENGTH + 1])
{
    X509 *certificate = SSL_CTX_get0_certificate(context);
    GENERAL_NAMES *names = X509_get_ext_d2i(certificate, NID_subject_alt_name, NULL, NULL);
    bool found = false;

    for (int i = 0; i < sk_GENERAL_NAME_num(names) && !found; i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);

        if (name->type != GEN_DNS || ASN1_STRING_length(name->d.dNSName) < UUID_LENGTH)
            continue;
        memcpy(own, ASN1_STRING_get0_data(name->d.dNSName), UUID_LENGTH);
        own[UUID_LENGTH] = 0;
        found = true;
    }
    GENERAL_NAMES_free(names);
    return found;
}

static EVP_PKEY *load_tokens_key(const char *path)
{
    FILE *file = fopen(path, "re");
    EVP_PKEY *key = file ? PEM_read_PUBKEY(file, NULL, NULL, NULL) : NULL;

    if (file)
        fclose(file);
    if (key && EVP_PKEY_get_base_id(key) == EVP_PKEY_ED25519)
        return key;
    EVP_PKEY_free(key);
    return NULL;
}

static int load(struct hal_device *dev, struct credentials *credentials)
{
    const char *folder = credentials->folder;
    SSL_CTX *context = credentials->context;
    X509_STORE *store = SSL_CTX_get_cert_store(context);
    X509_LOOKUP *lookup = X509_STORE_add_lookup(store, X509_LOOKUP_file());
    char path[PATH_MAX + 16];
    int err = check_secret(path_of(folder, KEY, path));

    if (err)
        return err;
    if (SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) != 1)
        return file_failed(dev, path);
    path_of(folder, CERTIFICATE, path);
    if (SSL_CTX_use_certificate_chain_file(context, path) != 1 ||
        !own_uuid(context, credentials->own))
        return file_failed(dev, path);
    path_of(folder, AUTHORITY, path);
    if (SSL_CTX_load_verify_locations(context, path, NULL) != 1)
        return file_failed(dev, path);
    path_of(folder, REVOKED, path);
    if (!lookup || X509_load_crl_file(lookup, path, X509_FILETYPE_PEM) < 1)
        return file_failed(dev, path);
    path_of(folder, TOKENS, path);
    credentials->tokens = load_tokens_key(path);
    if (!credentials->tokens)
        return file_failed(dev, path);
    X509_STORE_set_flags(store, X509_V_FLAG_CRL_CHECK | X509_V_FLAG_X509_STRICT);
    return 0;
}

static void destroy(struct credentials *credentials)
{
    SSL_CTX_free(credentials->context);
    verified_end(&credentials->verified);
    EVP_PKEY_free(credentials->tokens);
    free(credentials);
}

static int make(struct hal_device *dev, const char *folder, struct credentials **out)
{
    struct credentials *made = calloc(1, sizeof(*made));
    int err;

    if (!made)
        return -ENOMEM;
    made->context = SSL_CTX_new(TLS_client_method());
    if (!made->context) {
        free(made);
        return hal_fail(-ENOMEM, "open", hal_device_uri(dev), "%s", remote_openssl_reason(NULL));
    }
    snprintf(made->folder, sizeof(made->folder), "%s", folder);
    for (enum file file = 0; file < FILES;
         file++) /* before they are read: a change is not missed */
        made->stamps[file] = stamp_of(folder, file);
    SSL_CTX_set_min_proto_version(made->context, TLS1_3_VERSION);
    SSL_CTX_set_verify(made->context, SSL_VERIFY_PEER, NULL);
    SSL_CTX_set_session_cache_mode(made->context, SSL_SESS_CACHE_OFF);
    SSL_CTX_set_read_ahead(made->context, 1); /* a record by one read(2), not two */
    /* The agent has the authority's certificate: it is neither looked for nor sent each time. */
    SSL_CTX_set_mode(made->context, SSL_MODE_ENABLE_PARTIAL_WRITE |
                                        SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER |
                                        SSL_MODE_NO_AUTO_CHAIN);
    ERR_clear_error();
    verified_begin(&made->verified, made->context);
    err = load(dev, made);
    if (err)
        destroy(made);
    else
        *out = made;
    return err;
}

/* ---- what the links use -----------------------------------------------------------------------
 */

static bool is_fresh(const struct credentials *credentials, const char *folder)
{
    if (strcmp(credentials->folder, folder))
        return false;
    for (enum file file = 0; file < FILES; file++) {
        struct stamp now = stamp_of(folder, file);

        if (!same(&now, &credentials->stamps[file]))
            return false;
    }
    return true;
}

static void let_go(struct credentials *credentials)
{
    if (credentials && !--credentials->users)
        destroy(credentials);
}

/* Those in the folder as it is now, kept for the next link too; NULL, with the reason in `err`. */
static struct credentials *current(struct hal_device *dev, const char *folder, int *err)
{
    struct credentials *made = NULL;

    if (kept && is_fresh(kept, folder))
        return kept;
    *err = make(dev, folder, &made);
    if (!made)
        return NULL;
    let_go(kept);
    made->users = 1; /* our own */
    kept = made;
    return made;
}

int remote_credentials(struct hal_device *dev, const char *folder, struct credentials **out)
{
    int err = 0;

    pthread_mutex_lock(&lock);
    *out = current(dev, folder, &err);
    if (*out)
        (*out)->users++;
    pthread_mutex_unlock(&lock);
    return err;
}

void remote_credentials_free(struct credentials *credentials)
{
    pthread_mutex_lock(&lock);
    let_go(credentials);
    pthread_mutex_unlock(&lock);
}

SSL_CTX *remote_context(const struct credentials *credentials)
{
    return credentials->context;
}

EVP_PKEY *remote_tokens_key(const struct credentials *credentials)
{
    return credentials->tokens;
}

const char *remote_own(const struct credentials *credentials)
{
    return credentials->own;
}

bool remote_knows(struct credentials *credentials, const uint8_t digest[SHA256_DIGEST_LENGTH])
{
    int64_t now = (int64_t)time(NULL);
    bool found = false;

    pthread_mutex_lock(&lock);
    for (unsigned i = 0; i < TOKENS_KNOWN && !found; i++) {
        const struct token *known = &credentials->known[i];

        found = now >= known->begin && now < known->end &&
                !memcmp(known->digest, digest, sizeof(known->digest));
    }
    pthread_mutex_unlock(&lock);
    return found;
}

void remote_remember(struct credentials *credentials, const uint8_t digest[SHA256_DIGEST_LENGTH],
                     int64_t begin, int64_t end)
{
    struct token *known;

    pthread_mutex_lock(&lock);
    known = &credentials->known[credentials->next];
    credentials->next = (credentials->next + 1) % TOKENS_KNOWN;
    memcpy(known->digest, digest, sizeof(known->digest));
    known->begin = begin;
    known->end = end;
    pthread_mutex_unlock(&lock);
}

int remote_token(const char *folder, char *out, size_t size)
{
    char path[PATH_MAX + 16];
    long length;
    int err;

    snprintf(path, sizeof(path), "%s/token", folder);
    err = check_secret(path);
    if (err)
        return err;
    length = hal_node_read_text(path, out, size);
    return length < 0 ? (int)length : 0;
}

/* Read the list anew and look for the certificate. */
static bool is_listed(const char *path, X509 *certificate)
{
    FILE *file = fopen(path, "re");
    X509_CRL *list = file ? PEM_read_X509_CRL(file, NULL, NULL, NULL) : NULL;
    X509_REVOKED *entry = NULL;
    bool found = list && X509_CRL_get0_by_cert(list, &entry, certificate) == 1;

    X509_CRL_free(list);
    if (file)
        fclose(file);
    ERR_clear_error();
    return found;
}

bool remote_revoked(const struct credentials *credentials, X509 *certificate)
{
    struct stamp now = stamp_of(credentials->folder, REVOKED);
    char path[PATH_MAX + 16];

    if (same(&now, &credentials->stamps[REVOKED]))
        return false;
    return is_listed(path_of(credentials->folder, REVOKED, path), certificate);
}
