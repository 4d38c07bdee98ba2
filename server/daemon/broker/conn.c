// Owns a connection of rabbitmq-c and the words for its failures. Called by link.c.
//
// Its pitfalls that are seen to here: sends have no time-out (the socket is asked before each), a zero
// time-out for frames is the one call that also sends heartbeats and sees what OpenSSL has buffered, blocked
// and cancel notices come only when asked for, and after damaged data only destroying helps.
#include "broker/conn.h"

#include <amqp_ssl_socket.h>
#include <amqp_tcp_socket.h>
#include <openssl/err.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>

#define SEND_BUDGET  32768u
#define SEND_BUFFER  (1 << 20) // fixed, so that "writable" means room for SEND_BUDGET at the least
#define CODE_REFUSED 403
#define CODE_VHOST   530

void failure_set(struct failure *f, enum broker_state state, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    f->state = state;
    vsnprintf(f->why, sizeof f->why, format, args);
    va_end(args);
}

static struct timeval timeval_of(uint32_t ms)
{
    return (struct timeval){.tv_sec = ms / 1000, .tv_usec = (ms % 1000) * 1000L};
}

// TLS timed out: is it TCP that has no answer, or who answers?
static bool tcp_answers(const struct settings *s)
{
    const struct address *to = settings_address(s);
    struct timeval patience = timeval_of(s->connect_timeout_ms);
    amqp_connection_state_t probe = amqp_new_connection();
    amqp_socket_t *socket = probe ? amqp_tcp_socket_new(probe) : NULL;
    bool answers =
        socket && amqp_socket_open_noblock(socket, to->host, to->port, &patience) == AMQP_STATUS_OK;
    (void)amqp_destroy_connection(probe);
    return answers;
}

static int explain_open(struct conn *c, const struct settings *s, int status, struct failure *ret)
{
    const struct address *to = settings_address(s);
    char why[BROKER_WHY_CAP];
    if (s->tls && status != AMQP_STATUS_TIMEOUT && tls_explain(&c->verdict, why, sizeof why))
        failure_set(ret, BROKER_UNTRUSTED, "%s", why);
    else if (status == AMQP_STATUS_HOSTNAME_RESOLUTION_FAILED)
        failure_set(ret, BROKER_UNREACHABLE, "the name %s cannot be resolved", to->host);
    else if (status == AMQP_STATUS_TIMEOUT && s->tls && tcp_answers(s))
        failure_set(ret, BROKER_SILENT, "%s:%u accepts connections and does not answer in TLS", to->host,
                    to->port);
    else if (status == AMQP_STATUS_TIMEOUT)
        failure_set(ret, BROKER_UNREACHABLE, "%s:%u does not answer", to->host, to->port);
    else
        failure_set(ret, BROKER_UNREACHABLE, "cannot connect to %s:%u: %s", to->host, to->port,
                    amqp_error_string2(status));
    return -1;
}

static int open_socket(struct conn *c, const struct settings *s, struct failure *ret)
{
    const struct address *to = settings_address(s);
    char why[BROKER_WHY_CAP];
    struct timeval patience = timeval_of(s->connect_timeout_ms);
    amqp_socket_t *socket = s->tls ? amqp_ssl_socket_new(c->amqp) : amqp_tcp_socket_new(c->amqp);
    if (!socket) {
        failure_set(ret, BROKER_UNREACHABLE, "no memory for a socket");
        return -1;
    }
    if (s->tls && tls_prepare(socket, s, &c->verdict, why, sizeof why) < 0) {
        failure_set(ret, BROKER_UNTRUSTED, "%s", why);
        return -1;
    }
    ERR_clear_error();
    int status = amqp_socket_open_noblock(socket, to->host, to->port, &patience);
    if (status != AMQP_STATUS_OK)
        return explain_open(c, s, status, ret);
    c->fd = amqp_get_sockfd(c->amqp);
    (void)setsockopt(c->fd, SOL_SOCKET, SO_SNDBUF, &(int){SEND_BUFFER}, sizeof(int));
    return 0;
}

void failure_of_close(struct failure *ret, const amqp_connection_close_t *close)
{
    bool refused = close->reply_code == CODE_REFUSED || close->reply_code == CODE_VHOST;
    failure_set(ret, refused ? BROKER_REFUSED : BROKER_UNREACHABLE, "%.*s", (int)close->reply_text.len,
                (const char *)close->reply_text.bytes);
}

static int explain_login(struct conn *c, const struct settings *s, amqp_rpc_reply_t reply,
                         struct failure *ret)
{
    const struct address *to = settings_address(s);
    char why[BROKER_WHY_CAP];
    if (reply.reply_type == AMQP_RESPONSE_SERVER_EXCEPTION &&
        reply.reply.id == AMQP_CONNECTION_CLOSE_METHOD) {
        failure_of_close(ret, reply.reply.decoded);
        return -1;
    }
    int status =
        reply.reply_type == AMQP_RESPONSE_LIBRARY_EXCEPTION ? reply.library_error : AMQP_STATUS_WRONG_METHOD;
    if (status == AMQP_STATUS_TIMEOUT || status == AMQP_STATUS_HEARTBEAT_TIMEOUT)
        failure_set(ret, BROKER_SILENT, "%s:%u accepts connections and says nothing", to->host, to->port);
    else if (status == AMQP_STATUS_BROKER_UNSUPPORTED_SASL_METHOD)
        failure_set(ret, BROKER_REFUSED, "the broker does not offer SASL %s",
                    settings_external(s) ? "EXTERNAL" : "PLAIN");
    else if (s->tls && status == AMQP_STATUS_SSL_ERROR && tls_explain(&c->verdict, why, sizeof why))
        failure_set(ret, BROKER_UNTRUSTED, "%s", why);
    else
        failure_set(ret, BROKER_UNREACHABLE, "%s:%u broke off the login: %s", to->host, to->port,
                    amqp_error_string2(status));
    return -1;
}

#define ENTRY(name, kind_, member, value_)                                                                   \
    {                                                                                                        \
        .key = amqp_cstring_bytes(name), .value = {.kind = (kind_), .value.member = (value_) }               \
    }

// "publisher_confirms" and the like: what we can take. Without them the broker does not say it.
static int log_in(struct conn *c, const struct settings *s, const char *purpose, struct failure *ret)
{
    char name[128];
    amqp_table_entry_t can[] = {
        ENTRY("authentication_failure_close", AMQP_FIELD_KIND_BOOLEAN, boolean, 1),
        ENTRY("basic.nack", AMQP_FIELD_KIND_BOOLEAN, boolean, 1),
        ENTRY("connection.blocked", AMQP_FIELD_KIND_BOOLEAN, boolean, 1),
        ENTRY("consumer_cancel_notify", AMQP_FIELD_KIND_BOOLEAN, boolean, 1),
        ENTRY("publisher_confirms", AMQP_FIELD_KIND_BOOLEAN, boolean, 1),
    };
    snprintf(name, sizeof name, "%s (%s)", s->name, purpose);
    amqp_bytes_t name_bytes = {strlen(name), name};
    amqp_table_t capabilities = {sizeof can / sizeof can[0], can};
    amqp_table_entry_t entries[] = {
        ENTRY("capabilities", AMQP_FIELD_KIND_TABLE, table, capabilities),
        ENTRY("connection_name", AMQP_FIELD_KIND_UTF8, bytes, name_bytes),
    };
    amqp_table_t properties = {sizeof entries / sizeof entries[0], entries};
    amqp_rpc_reply_t reply;
    if (settings_external(
            s)) // the identity is not looked at, but rabbitmq-c takes an empty one for lack of memory
        reply = amqp_login_with_properties(c->amqp, s->vhost, 16, CONN_FRAME_MAX, (int)s->heartbeat_s,
                                           &properties, AMQP_SASL_METHOD_EXTERNAL, s->user ? s->user : "-");
    else
        reply = amqp_login_with_properties(c->amqp, s->vhost, 16, CONN_FRAME_MAX, (int)s->heartbeat_s,
                                           &properties, AMQP_SASL_METHOD_PLAIN, s->user ? s->user : "",
                                           s->password ? s->password : "");
    return reply.reply_type == AMQP_RESPONSE_NORMAL ? 0 : explain_login(c, s, reply, ret);
}

static amqp_bytes_t text_entry(const amqp_table_t *t, const char *key)
{
    for (int i = 0; i < t->num_entries; i++) {
        const amqp_table_entry_t *e = &t->entries[i];
        if (e->key.len == strlen(key) && memcmp(e->key.bytes, key, e->key.len) == 0 &&
            e->value.kind == AMQP_FIELD_KIND_UTF8)
            return e->value.value.bytes;
    }
    return amqp_empty_bytes;
}

static void note_product(struct conn *c)
{
    const amqp_table_t *t = amqp_get_server_properties(c->amqp);
    amqp_bytes_t product = text_entry(t, "product"), version = text_entry(t, "version");
    snprintf(c->product, sizeof c->product, "%.*s %.*s", (int)product.len, (const char *)product.bytes,
             (int)version.len, (const char *)version.bytes);
}

int conn_open(struct conn *c, const struct settings *s, const char *purpose, struct failure *ret)
{
    struct timeval patience = timeval_of(s->rpc_timeout_ms);
    *c = (struct conn){.fd = -1, .amqp = amqp_new_connection()};
    if (!c->amqp) {
        failure_set(ret, BROKER_UNREACHABLE, "no memory for a connection");
        return -1;
    }
    amqp_set_handshake_timeout(c->amqp, &patience);
    amqp_set_rpc_timeout(c->amqp, &patience);
    if (open_socket(c, s, ret) < 0 || log_in(c, s, purpose, ret) < 0) {
        conn_close(c, false, 0);
        return -1;
    }
    note_product(c);
    conn_release(c);
    return 0;
}

void conn_close(struct conn *c, bool orderly, uint32_t timeout_ms)
{
    struct timeval patience = timeval_of(timeout_ms);
    if (!c->amqp)
        return;
    if (orderly && conn_may_send(c, 64)) {
        amqp_set_rpc_timeout(c->amqp, &patience);
        (void)amqp_connection_close(c->amqp, AMQP_REPLY_SUCCESS);
    }
    (void)amqp_destroy_connection(c->amqp);
    c->amqp = NULL;
    c->fd = -1;
}

int conn_check(struct conn *c, int status, struct failure *ret)
{
    char why[BROKER_WHY_CAP];
    if (status == AMQP_STATUS_OK)
        return 0;
    if (status == AMQP_STATUS_HEARTBEAT_TIMEOUT)
        failure_set(ret, BROKER_SILENT, "the broker sent no heartbeat for %d s",
                    2 * amqp_get_heartbeat(c->amqp));
    else if (status == AMQP_STATUS_SSL_ERROR && tls_explain(&c->verdict, why, sizeof why))
        failure_set(ret, BROKER_UNTRUSTED, "%s", why);
    else
        failure_set(ret, BROKER_UNREACHABLE, "the connection was lost: %s", amqp_error_string2(status));
    return -1;
}

int conn_read(struct conn *c, amqp_frame_t *frame, struct failure *ret)
{
    struct timeval now = {0, 0};
    int status = amqp_simple_wait_frame_noblock(c->amqp, frame, &now);
    if (status == AMQP_STATUS_TIMEOUT)
        return 0;
    return status == AMQP_STATUS_OK ? 1 : conn_check(c, status, ret);
}

void conn_release(struct conn *c)
{
    amqp_maybe_release_buffers(c->amqp);
}

bool conn_has_input(const struct conn *c)
{
    return amqp_frames_enqueued(c->amqp) || amqp_data_in_buffer(c->amqp);
}

bool conn_may_send(struct conn *c, size_t len)
{
    if (c->budget < len) {
        struct pollfd p = {.fd = c->fd, .events = POLLOUT};
        c->want_write = poll(&p, 1, 0) == 0;
        if (c->want_write)
            return false;
        c->budget = SEND_BUDGET; // broken ones too: the send says what is wrong
    }
    c->budget -= len < c->budget ? len : c->budget;
    return true;
}

int conn_send(struct conn *c, amqp_channel_t channel, amqp_method_number_t method, void *decoded,
              struct failure *ret)
{
    return conn_check(c, amqp_send_method(c->amqp, channel, method, decoded), ret);
}
