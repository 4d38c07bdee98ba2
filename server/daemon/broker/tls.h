// TLS for rabbitmq-c's sockets: what is demanded of the broker's certificate, ours, and the words for what
// goes wrong. Called by conn.c.
#pragma once

#include <amqp.h>

#include "broker/settings.h"

// What OpenSSL found wrong with the broker's certificate; it is written while the handshake runs.
struct tls_verdict {
    int error; // X509_V_…; 0: nothing
};

// Prepares a socket of amqp_ssl_socket_new(): 1.2 or later, the certificate must be good, of the authority,
// and name the host. verdict outlives the handshake. -EINVAL: a file is missing or wrong, why says which.
int tls_prepare(amqp_socket_t *socket, const struct settings *s, struct tls_verdict *verdict, char *why,
                size_t cap);
// Puts what went wrong into why; false when TLS had nothing to do with it (the peer just closed).
bool tls_explain(const struct tls_verdict *verdict, char *why, size_t cap);
