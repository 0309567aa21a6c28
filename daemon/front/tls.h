#ifndef CHANCERY_FRONT_TLS_H
#define CHANCERY_FRONT_TLS_H

/* The server's side of TLS with OpenSSL 3. */

#include <stdbool.h>
#include <stddef.h>

#include <openssl/ssl.h>

#include "daemon/core/attr.h"
#include "daemon/core/error.h"

#define TLS_PEER_CHAIN_MAX (32 * 1024) /* octets of certificates a client may send */

/*
 * A context for TLS 1.2 and 1.3 with the certificate chain and key of these PEM
 * files. A client is asked for a certificate and need not have one. Which issuer
 * signed it does not matter: the client proves its key in the handshake, and who
 * that key is was registered beforehand, so no verification of the chain could
 * add or take anything. Sessions are not resumed: each connection proves anew.
 */
SSL_CTX *tls_context_new(const char *certificate, const char *key, struct error *err) MUST_CHECK;

/* "tls:" and the lower-case hex SHA-256 of the SubjectPublicKeyInfo that the
 * client proved to own, or "" when it showed no certificate. False: the
 * certificate cannot be read; end the connection. */
bool tls_peer_identity(SSL *ssl, char *out, size_t out_size) MUST_CHECK;

#endif
