// Owns the private broker and the loop of a story. Called by the stories.
#include "harness.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "common/io.h"

static struct event_base *base;
static char folder[64];
static char *password_h1;
static const char *borrowed; // the folder of a broker that runs already
static struct peer *latest;  // whose figures a failure tells

// --- the broker ---

static const char *source(void)
{
    const char *s = getenv("ENVD_SOURCE");
    return s ? s : ".";
}

static void run_script(const char *verb, const char *args)
{
    char line[1024];
    snprintf(line, sizeof line, "%s/deploy/broker %s %s %s", source(), verb, folder, args);
    int status = system(line);
    if (status != 0)
        fail_msg("%s: ended with %d", line, WEXITSTATUS(status));
}

int rig_start(const char *options)
{
    if (access("/usr/lib/rabbitmq/bin/rabbitmq-server", X_OK) < 0) {
        fprintf(stderr, "SKIPPED: rabbitmq-server is not installed (deploy/packages test)\n");
        return HARNESS_SKIP;
    }
    base = event_base_new();
    borrowed = getenv("ENVD_TEST_BROKER");
    if (borrowed) {
        snprintf(folder, sizeof folder, "%s", borrowed);
        password_h1 = rig_password("envd.h1");
        return 0;
    }
    snprintf(folder, sizeof folder, "/tmp/envd-broker.XXXXXX");
    if (!mkdtemp(folder)) {
        perror("mkdtemp");
        return EXIT_FAILURE;
    }
    char line[1024];
    snprintf(line, sizeof line, "%s/deploy/broker start %s --host h1 --client c1 %s", source(), folder,
             options);
    if (system(line) != 0) {
        rig_stop();
        return EXIT_FAILURE;
    }
    password_h1 = rig_password("envd.h1");
    return 0;
}

void rig_stop(void)
{
    char line[256];
    snprintf(line, sizeof line, "%s/deploy/broker stop %s; rm -rf %s", source(), folder, folder);
    if (!borrowed && system(line) != 0)
        fprintf(stderr, "%s: failed\n", line);
    free(password_h1);
    password_h1 = NULL;
    if (base)
        event_base_free(base);
    base = NULL;
}

const char *rig_folder(void)
{
    return folder;
}

struct event_base *rig_base(void)
{
    return base;
}

uint16_t rig_port(int node, bool tls)
{
    char path[128], text_[16] = "";
    snprintf(path, sizeof path, "%s/node%d/%s", folder, node, tls ? "tls-port" : "port");
    assert_true(io_read_file(path, text_, sizeof text_ - 1) > 0);
    return (uint16_t)atoi(text_);
}

char *rig_password(const char *user)
{
    char path[160];
    char *password = calloc(1, 128);
    snprintf(path, sizeof path, "%s/users/%s.password", folder, user);
    if (io_read_file(path, password, 127) <= 0)
        fprintf(stderr, "%s: there is none\n", path);
    return password;
}

void rig_broker(const char *verb, const char *args)
{
    run_script(verb, args);
}

static bool has_ended(void *arg)
{
    pid_t *pid = arg;
    int status;
    if (waitpid(*pid, &status, WNOHANG) != *pid)
        return false;
    assert_int_equal(status, 0);
    return true;
}

void rig_broker_meanwhile(const char *verb, const char *args)
{
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        char line[1024];
        snprintf(line, sizeof line, "exec %s/deploy/broker %s %s %s", source(), verb, folder, args);
        execl("/bin/sh", "sh", "-c", line, NULL);
        _exit(127);
    }
    run_until_true(has_ended, &pid, 120, verb);
}

// --- peers ---

static void copy(char *out, size_t cap, struct broker_text t)
{
    snprintf(out, cap, "%.*s", (int)(t.len < cap ? t.len : cap - 1), t.data ? t.data : "");
}

static void on_state(void *arg, enum broker_state state, const char *why)
{
    struct peer *p = arg;
    p->state = state;
    p->n_states++;
    snprintf(p->why, sizeof p->why, "%s", why);
}

static void on_delivery(void *arg, const struct broker_delivery *d)
{
    struct peer *p = arg;
    if (p->n_received < RECORDED_MAX) {
        struct received *r = &p->received[p->n_received];
        r->handle = d->handle;
        r->consumer = d->consumer;
        r->redelivered = d->redelivered;
        r->len = d->body.len;
        copy(r->id, sizeof r->id, d->properties.message_id);
        copy(r->exchange, sizeof r->exchange, d->exchange);
        copy(r->key, sizeof r->key, d->routing_key);
        copy(r->user, sizeof r->user, d->properties.user_id);
        copy(r->body, sizeof r->body, d->body);
        if (d->properties.n_headers > 0)
            copy(r->header, sizeof r->header, d->properties.headers[0].value);
    }
    p->n_received++;
    if (p->ack)
        broker_settle(p->broker, d->handle, BROKER_ACK);
}

static void on_queue_ready(void *arg, const char *queue)
{
    struct peer *p = arg;
    p->n_ready_queues++;
    snprintf(p->ready_queue, sizeof p->ready_queue, "%s", queue);
}

static void on_queue_deleted(void *arg, const char *queue)
{
    struct peer *p = arg;
    p->n_deleted_queues++;
    snprintf(p->deleted_queue, sizeof p->deleted_queue, "%s", queue);
}

static void on_done(void *arg, enum broker_outcome outcome)
{
    struct peer *p = arg;
    p->n_done++;
    p->n_by_outcome[outcome]++;
    p->last_outcome = outcome;
}

struct broker_config peer_config(void)
{
    return (struct broker_config){.host = "127.0.0.1",
                                  .port = rig_port(1, false),
                                  .user = "envd.h1",
                                  .password = password_h1,
                                  .heartbeat_s = 10,
                                  .connect_timeout_ms = 10000,
                                  .rpc_timeout_ms = 10000,
                                  .backoff_max_ms = 1000};
}

void peer_start(struct peer *p, const struct broker_config *config)
{
    static const struct broker_cb cb = {on_state, on_delivery, on_queue_ready, on_queue_deleted};
    struct err err = {"?"};
    *p = (struct peer){.received = calloc(RECORDED_MAX, sizeof(struct received))};
    if (broker_new(base, config, &cb, p, &p->broker, &err) < 0)
        fail_msg("%s", err.text);
    latest = p;
}

void peer_start_ready(struct peer *p)
{
    struct broker_config config = peer_config();
    peer_start(p, &config);
    broker_want_exchange(p->broker, "env", "direct");
    broker_want_exchange(p->broker, "env.dead", "fanout");
    run_until_state(p, BROKER_READY, 30);
}

void peer_stop(struct peer *p)
{
    if (latest == p)
        latest = NULL;
    broker_free(p->broker);
    free(p->received);
    *p = (struct peer){0};
}

struct broker_text text(const char *s)
{
    return (struct broker_text){s, s ? strlen(s) : 0};
}

struct broker_publication publication(const char *exchange, const char *key, const char *id, const char *body)
{
    return (struct broker_publication){.exchange = text(exchange),
                                       .routing_key = text(key),
                                       .mandatory = id != NULL,
                                       .properties.message_id = text(id),
                                       .body = text(body),
                                       .patience_ms = 20000};
}

int peer_try_publish(struct peer *p, const struct broker_publication *pub)
{
    return broker_publish(p->broker, pub, on_done, p);
}

void peer_publish(struct peer *p, const char *exchange, const char *key, const char *id, const char *body)
{
    struct broker_publication pub = publication(exchange, key, id, body);
    assert_int_equal(peer_try_publish(p, &pub), 0);
}

struct broker_stats peer_stats(struct peer *p)
{
    struct broker_stats s;
    broker_get_stats(p->broker, &s);
    return s;
}

// --- the loop ---

static void on_tick(evutil_socket_t fd, short what, void *arg)
{
    (void)fd, (void)what, (void)arg;
}

static bool run_once(uint64_t deadline_ns)
{
    struct timeval tick = {0, 20000};
    struct event *timer = evtimer_new(base, on_tick, NULL);
    event_add(timer, &tick);
    event_base_loop(base, EVLOOP_ONCE);
    event_free(timer);
    return io_monotonic_ns() < deadline_ns;
}

static void tell_latest(void)
{
    if (!latest)
        return;
    struct broker_stats s = peer_stats(latest);
    print_message(
        "%s (%s): waiting %llu, unconfirmed %llu, published %llu, deliveries %llu, unsettled %llu, "
        "missing %llu of %llu, reconnects %llu\n",
        broker_state_name(s.state), s.why, (unsigned long long)s.waiting, (unsigned long long)s.unconfirmed,
        (unsigned long long)s.published, (unsigned long long)s.deliveries, (unsigned long long)s.unsettled,
        (unsigned long long)s.wanted_missing, (unsigned long long)s.wanted, (unsigned long long)s.reconnects);
}

static uint64_t after_ms(uint64_t ms)
{
    return io_monotonic_ns() + ms * 1000000u;
}

void run_for(unsigned ms)
{
    uint64_t deadline = after_ms(ms);
    while (run_once(deadline))
        ;
}

void run_until_true(bool (*is)(void *arg), void *arg, unsigned seconds, const char *what)
{
    uint64_t deadline = after_ms(seconds * 1000ull);
    while (!is(arg))
        if (!run_once(deadline)) {
            tell_latest();
            fail_msg("%s: not within %u s", what, seconds);
        }
}

void run_until_state(struct peer *p, enum broker_state state, unsigned seconds)
{
    uint64_t deadline = after_ms(seconds * 1000ull);
    while (p->state != state || p->n_states == 0)
        if (!run_once(deadline)) {
            tell_latest();
            fail_msg("it is %s (%s), not %s", broker_state_name(p->state), p->why, broker_state_name(state));
        }
}

void run_until_at_least(const size_t *counter, size_t n, unsigned seconds)
{
    uint64_t deadline = after_ms(seconds * 1000ull);
    while (*counter < n)
        if (!run_once(deadline)) {
            tell_latest();
            fail_msg("%zu of %zu within %u s", *counter, n, seconds);
        }
}

void peer_want_queue(struct peer *p, const struct broker_queue *q)
{
    size_t before = p->n_ready_queues;
    assert_int_equal(broker_want_queue(p->broker, q), 0);
    run_until_at_least(&p->n_ready_queues, before + 1, 30);
    assert_string_equal(p->ready_queue, q->name);
}

void peer_want_plain_queue(struct peer *p, const char *name)
{
    struct broker_queue q = {.name = name};
    peer_want_queue(p, &q);
}
