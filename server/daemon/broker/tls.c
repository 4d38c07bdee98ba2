// Owns the OpenSSL context of a broker connection. rabbitmq-c sets neither a minimum version nor does it
// check addresses in certificates, so OpenSSL is told itself. Called by conn.c.
#include "broker/tls.h"

#include <amqp_ssl_socket.h>
#include <arpa/inet.h>
#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>
#include <stdio.h>

// Called for each certificate of the chain. The first objection is the one to report.
static int on_verify(int ok, X509_STORE_CTX *store)
{
    SSL *ssl = X509_STORE_CTX_get_ex_data(store, SSL_get_ex_data_X509_STORE_CTX_idx());
    struct tls_verdict *verdict = SSL_CTX_get_app_data(SSL_get_SSL_CTX(ssl));
    if (!ok && verdict->error == 0)
        verdict->error = X509_STORE_CTX_get_error(store);
    return ok;
}

static bool is_address(const char *host)
{
    struct in6_addr room;
    return inet_pton(AF_INET, host, &room) == 1 || inet_pton(AF_INET6, host, &room) == 1;
}

static bool demand_name(SSL_CTX *ctx, const char *host)
{
    X509_VERIFY_PARAM *param = SSL_CTX_get0_param(ctx);
    X509_VERIFY_PARAM_set_hostflags(param, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    return is_address(host) ? X509_VERIFY_PARAM_set1_ip_asc(param, host) == 1
                            : X509_VERIFY_PARAM_set1_host(param, host, 0) == 1;
}

int tls_prepare(amqp_socket_t *socket, const struct settings *s, struct tls_verdict *verdict, char *why,
                size_t cap)
{
    SSL_CTX *ctx = amqp_ssl_socket_get_context(socket);
    *verdict = (struct tls_verdict){0};
    ERR_clear_error();
    amqp_ssl_socket_set_verify_peer(socket, 1);
    amqp_ssl_socket_set_verify_hostname(socket, 0); // OpenSSL does it, addresses too
    SSL_CTX_clear_options(ctx, SSL_OP_NO_TLSv1_3);
    SSL_CTX_set_app_data(ctx, verdict);
    SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, on_verify);
    if (SSL_CTX_set_min_proto_version(ctx, TLS1_2_VERSION) != 1 ||
        SSL_CTX_set_max_proto_version(ctx, 0) != 1 || !demand_name(ctx, settings_address(s)->host)) {
        snprintf(why, cap, "OpenSSL takes no such demands");
        return -EINVAL;
    }
    if (amqp_ssl_socket_set_cacert(socket, s->ca) != AMQP_STATUS_OK) {
        snprintf(why, cap, "the certificate authority's file %s: %s", s->ca,
                 ERR_reason_error_string(ERR_peek_last_error()));
        return -EINVAL;
    }
    if (s->cert && amqp_ssl_socket_set_key(socket, s->cert, s->key) != AMQP_STATUS_OK) {
        snprintf(why, cap, "our certificate %s with the key %s: %s", s->cert, s->key,
                 ERR_reason_error_string(ERR_peek_last_error()));
        return -EINVAL;
    }
    return 0;
}

bool tls_explain(const struct tls_verdict *verdict, char *why, size_t cap)
{
    unsigned long e = ERR_peek_error();
    if (verdict->error != 0) {
        snprintf(why, cap, "the broker's certificate: %s", X509_verify_cert_error_string(verdict->error));
        return true;
    }
    if (e == 0 || ERR_GET_LIB(e) != ERR_LIB_SSL || ERR_GET_REASON(e) == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return false;
    // An alert is what the broker says, of our certificate as a rule; anything else is what we say of it.
    bool alert = ERR_GET_REASON(e) >= SSL_AD_REASON_OFFSET;
    snprintf(why, cap, "%s: %s", alert ? "the broker refuses us in the TLS handshake" : "TLS handshake",
             ERR_reason_error_string(e));
    return true;
}
