// Measures messages through a broker with nothing of envd between, the peer of bench_message:
//     bench_amqp HOST:PORT[,CONSUMERS'-HOST:PORT] USER PASSWORD classic|quorum PAIRS BODY-BYTES WINDOW
//     SECONDS
// Each pair is two rabbitmq-c connections and a durable queue: one publishes persistent messages and keeps
// WINDOW of them unconfirmed, the other consumes and acknowledges. All in one thread, as bench_message's
// load. Prints what samples_print() prints.
#include <amqp.h>
#include <amqp_tcp_socket.h>
#include <poll.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"
#include "samples.h"

#define PAIRS_MAX 100
#define CHANNEL   1
#define PREFETCH  2000
#define ACK_EVERY 64 // acknowledged together, or when nothing more is there
#define BODY_MAX  65536

struct client {
    amqp_connection_state_t connection;
    bool publishes;
    char queue[32];
    unsigned in_flight; // publisher: not confirmed
    uint64_t next_tag;
    uint64_t tag, whole_tag, n_unacked; // consumer: of what comes, and of the last that is there
    uint64_t body_left;
    bool body_begins;
};

static struct samples samples;
static char body[BODY_MAX];
static size_t body_len;
static unsigned window;

static int complain(const char *what)
{
    fprintf(stderr, "bench_amqp: %s\n", what);
    return -1;
}

static bool answered_well(amqp_connection_state_t connection)
{
    return amqp_get_rpc_reply(connection).reply_type == AMQP_RESPONSE_NORMAL;
}

static int open_connection(struct client *c, const char *where, const char *user, const char *password)
{
    char host[128];
    snprintf(host, sizeof host, "%s", where);
    char *colon = strrchr(host, ':');
    if (!colon)
        return complain("HOST:PORT is wanted");
    *colon = '\0';
    c->connection = amqp_new_connection();
    amqp_socket_t *socket = amqp_tcp_socket_new(c->connection);
    if (!socket || amqp_socket_open(socket, host, atoi(colon + 1)) != AMQP_STATUS_OK)
        return complain("cannot connect");
    if (amqp_login(c->connection, "/", 0, AMQP_DEFAULT_FRAME_SIZE, 0, AMQP_SASL_METHOD_PLAIN, user, password)
            .reply_type != AMQP_RESPONSE_NORMAL)
        return complain("cannot log in");
    amqp_channel_open(c->connection, CHANNEL);
    return answered_well(c->connection) ? 0 : complain("no channel");
}

static int declare_queue(struct client *c, const char *type)
{
    amqp_table_entry_t entry = {
        .key = amqp_cstring_bytes("x-queue-type"),
        .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = amqp_cstring_bytes(type)}};
    const amqp_table_t arguments = {1, &entry};
    amqp_queue_declare(c->connection, CHANNEL, amqp_cstring_bytes(c->queue), 0, 1, 0, 0, arguments);
    return answered_well(c->connection) ? 0 : complain("cannot declare a queue");
}

static int begin_to_consume(struct client *c)
{
    amqp_queue_purge(c->connection, CHANNEL, amqp_cstring_bytes(c->queue));
    amqp_basic_qos(c->connection, CHANNEL, 0, PREFETCH, 0);
    amqp_basic_consume(c->connection, CHANNEL, amqp_cstring_bytes(c->queue), amqp_empty_bytes, 0, 0, 0,
                       amqp_empty_table);
    return answered_well(c->connection) ? 0 : complain("cannot consume");
}

static int begin_to_publish(struct client *c)
{
    c->publishes = true;
    c->next_tag = 1;
    amqp_confirm_select(c->connection, CHANNEL);
    return answered_well(c->connection) ? 0 : complain("no confirms");
}

static int publish(struct client *c)
{
    uint64_t now_ns = io_monotonic_ns();
    memcpy(body, &now_ns, sizeof now_ns);
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_DELIVERY_MODE_FLAG, .delivery_mode = 2};
    if (amqp_basic_publish(c->connection, CHANNEL, amqp_empty_bytes, amqp_cstring_bytes(c->queue), 1, 0, &p,
                           (amqp_bytes_t){body_len, body}) != AMQP_STATUS_OK)
        return complain("cannot publish");
    c->next_tag++;
    c->in_flight++;
    return 0;
}

// Of one queue, a broker confirms in order: a confirm covers all before it.
static void on_confirmed(struct client *c, uint64_t tag)
{
    if (tag >= c->next_tag - c->in_flight)
        c->in_flight = (unsigned)(c->next_tag - 1 - tag);
}

static int acknowledge(struct client *c)
{
    c->n_unacked = 0;
    return amqp_basic_ack(c->connection, CHANNEL, c->whole_tag, 1) == AMQP_STATUS_OK
               ? 0
               : complain("cannot acknowledge");
}

static int on_body(struct client *c, const amqp_bytes_t *fragment)
{
    if (c->body_begins && fragment->len >= 8) {
        uint64_t sent_ns;
        memcpy(&sent_ns, fragment->bytes, sizeof sent_ns);
        samples_add(&samples, sent_ns, io_monotonic_ns());
    }
    c->body_begins = false;
    c->body_left -= fragment->len;
    if (c->body_left > 0)
        return 0;
    c->whole_tag = c->tag;
    return ++c->n_unacked == ACK_EVERY ? acknowledge(c) : 0;
}

static int on_frame(struct client *c, const amqp_frame_t *f)
{
    if (f->frame_type == AMQP_FRAME_HEADER) {
        c->body_left = f->payload.properties.body_size;
        c->body_begins = true;
        return 0;
    }
    if (f->frame_type == AMQP_FRAME_BODY)
        return on_body(c, &f->payload.body_fragment);
    if (f->frame_type != AMQP_FRAME_METHOD)
        return 0;
    switch (f->payload.method.id) {
    case AMQP_BASIC_ACK_METHOD:
        on_confirmed(c, ((const amqp_basic_ack_t *)f->payload.method.decoded)->delivery_tag);
        return 0;
    case AMQP_BASIC_DELIVER_METHOD:
        c->tag = ((const amqp_basic_deliver_t *)f->payload.method.decoded)->delivery_tag;
        return 0;
    case AMQP_CHANNEL_CLOSE_METHOD: {
        const amqp_channel_close_t *m = f->payload.method.decoded;
        fprintf(stderr, "bench_amqp: %.*s\n", (int)m->reply_text.len, (char *)m->reply_text.bytes);
        return -1;
    }
    default:
        return complain(amqp_method_name(f->payload.method.id));
    }
}

static int drain(struct client *c)
{
    amqp_frame_t frame;
    const struct timeval now = {0, 0};
    for (;;) {
        amqp_maybe_release_buffers(c->connection);
        int status = amqp_simple_wait_frame_noblock(c->connection, &frame, &now);
        if (status == AMQP_STATUS_TIMEOUT)
            break;
        if (status != AMQP_STATUS_OK || on_frame(c, &frame) < 0)
            return complain("a connection ended");
    }
    if (!c->publishes)
        return c->n_unacked > 0 ? acknowledge(c) : 0;
    while (c->in_flight < window)
        if (publish(c) < 0)
            return -1;
    return 0;
}

static int run(struct client *clients, unsigned n)
{
    struct pollfd fds[2 * PAIRS_MAX];
    for (unsigned i = 0; i < n; i++) {
        fds[i] = (struct pollfd){.fd = amqp_get_sockfd(clients[i].connection), .events = POLLIN};
        if (drain(&clients[i]) < 0)
            return -1;
    }
    while (io_monotonic_ns() < samples.end_ns) {
        poll(fds, n, 100);
        for (unsigned i = 0; i < n; i++)
            if (fds[i].revents != 0 && drain(&clients[i]) < 0)
                return -1;
    }
    return 0;
}

// Without a word: the broker waits for what is unconfirmed before it answers a close, and is the bench's own.
static void end(struct client *clients, unsigned n)
{
    for (unsigned i = 0; i < n; i++)
        amqp_destroy_connection(clients[i].connection);
}

static int begin(struct client *c, char **argv, bool publishes)
{
    return open_connection(c, argv[1], argv[2], argv[3]) < 0 || declare_queue(c, argv[4]) < 0 ? -1
           : publishes ? begin_to_publish(c)
                       : begin_to_consume(c);
}

int main(int argc, char **argv)
{
    static struct client clients[2 * PAIRS_MAX];
    bool known = argc == 9 || argc == 10;
    const char *role = argc == 10 ? argv[9] : "both";
    unsigned n_pairs = known ? (unsigned)strtoul(argv[5], NULL, 10) : 0, n = 0;
    unsigned seconds = known ? (unsigned)strtoul(argv[8], NULL, 10) : 0;
    body_len = known ? strtoul(argv[6], NULL, 10) : 0;
    window = known ? (unsigned)strtoul(argv[7], NULL, 10) : 0;
    if (n_pairs == 0 || n_pairs > PAIRS_MAX || body_len < 8 || body_len > BODY_MAX || window == 0 ||
        seconds == 0) {
        fprintf(stderr, "usage: bench_amqp HOST:PORT USER PASSWORD classic|quorum PAIRS BODY-BYTES WINDOW "
                        "SECONDS [send|receive]\n");
        return 2;
    }
    for (unsigned i = 0; i < 2 * n_pairs; i++) {
        bool publishes = i % 2 == 1;
        if (strcmp(role, publishes ? "receive" : "send") == 0)
            continue;
        snprintf(clients[n].queue, sizeof clients[n].queue, "bench.%s.%zu.%u", argv[4], body_len, i / 2);
        if (begin(&clients[n++], argv, publishes) < 0)
            return 1;
    }
    samples_begin(&samples, seconds);
    if (run(clients, n) < 0)
        return 1;
    samples_print(&samples, stdout);
    end(clients, n);
    return fflush(stdout) == 0 ? 0 : 1;
}
