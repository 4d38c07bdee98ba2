// A link whose broker the test plays, and a router with acme/web, whose mail comes by the inbox, and acme/db,
// whose mail comes by a queue. Called by the tests of remote.
#include "linked.h"

struct played_broker b;

__attribute__((format(printf, 1, 2))) static int note(const char *format, ...)
{
    va_list ap;
    size_t len = strlen(b.wanted);
    va_start(ap, format);
    vsnprintf(b.wanted + len, sizeof b.wanted - len, format, ap);
    va_end(ap);
    return 0;
}

int broker_new(struct event_base *base, const struct broker_config *config, const struct broker_cb *cb,
               void *arg, struct broker **ret, struct err *err)
{
    (void)base;
    (void)config;
    (void)err;
    b.cb = *cb;
    b.arg = arg;
    *ret = (struct broker *)(void *)&b;
    return 0;
}

void outcome(enum broker_outcome what)
{
    b.n_owed--;
    b.owed[b.n_owed].done(b.owed[b.n_owed].arg, what);
}

void broker_free(struct broker *unused)
{
    (void)unused;
    while (b.n_owed > 0)
        outcome(BROKER_NOT_SENT);
}

const char *broker_state_name(enum broker_state state)
{
    return state == BROKER_READY ? "ready" : "unreachable";
}

void broker_get_stats(struct broker *unused, struct broker_stats *ret)
{
    (void)unused;
    *ret = (struct broker_stats){.state = BROKER_READY};
}

static struct broker_text keep(struct broker_text t)
{
    char *at = b.copy.text + b.copy.used;
    if (t.len > 0)
        memcpy(at, t.data, t.len);
    b.copy.used += t.len;
    return (struct broker_text){at, t.len};
}

int broker_publish(struct broker *unused, const struct broker_publication *p, broker_done_cb *done, void *arg)
{
    (void)unused;
    if (b.publish_rc < 0)
        return b.publish_rc;
    b.n_published++;
    b.last = *p;
    b.copy.used = 0;
    b.last.exchange = keep(p->exchange);
    b.last.routing_key = keep(p->routing_key);
    b.last.properties.user_id = keep(p->properties.user_id);
    b.last.properties.message_id = keep(p->properties.message_id);
    b.last.body = keep(p->body);
    for (size_t i = 0; i < p->properties.n_headers; i++)
        b.last.properties.headers[i] =
            (struct broker_header){keep(p->properties.headers[i].name), keep(p->properties.headers[i].value)};
    assert_true(b.n_owed < sizeof b.owed / sizeof b.owed[0]);
    b.owed[b.n_owed].done = done;
    b.owed[b.n_owed++].arg = arg;
    return 0;
}

int broker_want_exchange(struct broker *unused, const char *name, const char *type)
{
    (void)unused;
    return note("exchange:%s:%s ", name, type);
}

int broker_want_queue(struct broker *unused, const struct broker_queue *q)
{
    (void)unused;
    note("queue:%s", q->name);
    for (size_t i = 0; i < q->n_bindings; i++)
        note("<%s:%s", q->bindings[i].exchange, q->bindings[i].key);
    return note("%s ", q->exclusive_host ? "!" : "");
}

int broker_want_binding(struct broker *unused, const char *queue, const char *exchange,
                        const char *routing_key)
{
    (void)unused;
    return note("bind:%s<%s:%s ", queue, exchange, routing_key);
}

int broker_unwant_binding(struct broker *unused, const char *queue, const char *exchange,
                          const char *routing_key)
{
    (void)unused;
    return note("unbind:%s<%s:%s ", queue, exchange, routing_key);
}

int broker_unwant_queue(struct broker *unused, const char *name, bool delete_it)
{
    (void)unused;
    return note("%s:%s ", delete_it ? "delete" : "forget", name);
}

int broker_want_consumer(struct broker *unused, const char *queue, uint16_t prefetch, uint64_t consumer)
{
    (void)unused;
    (void)prefetch;
    b.n_consumers++;
    *(strncmp(queue, "inbox", 5) == 0     ? &b.inbox_consumer
      : strncmp(queue, "service", 7) == 0 ? &b.service_consumer
      : strncmp(queue, "host", 4) == 0    ? &b.talk_consumer
                                          : &b.mailbox_consumer) = consumer;
    return note("consume:%s ", queue);
}

int broker_unwant_consumer(struct broker *unused, uint64_t consumer)
{
    (void)unused;
    b.n_consumers--;
    return note("leave:%s ", consumer == b.mailbox_consumer ? "mailbox"
                             : consumer == b.inbox_consumer ? "inbox"
                                                            : "service");
}

void broker_settle(struct broker *unused, uint64_t handle, enum broker_settlement how)
{
    (void)unused;
    assert_true(handle < SETTLED_MAX);
    assert_int_equal(b.settled[handle], 0);
    b.settled[handle] = 1 + (int)how;
}

int broker_count(struct broker *unused, const char *queue, broker_count_cb *cb, void *arg, uint64_t tag)
{
    (void)unused;
    cb(arg, tag, 42, NULL);
    return note("count:%s ", queue);
}

struct played_get get;

int broker_get(struct broker *unused, const char *queue, uint32_t n, broker_get_cb *cb, void *arg)
{
    (void)unused;
    get.cb = cb;
    get.arg = arg;
    get.n = n;
    return note("get:%s ", queue);
}

struct fixture f;
struct remote *remote;
struct endpoint *db;

static void ignore_mail(void *arg)
{
    (void)arg;
}

const struct endpoint_cb callbacks = {.on_mail = ignore_mail, .on_removed = ignore_mail};

static void make_link(void)
{
    static const struct broker_config broker = {.host = "mq"};
    struct err err;
    memset(&b, 0, sizeof b);
    const struct remote_config remote_config = {.broker = &broker, .host = "h1", .epoch = 7};
    assert_int_equal(remote_new(f.base, &remote_config, f.router, f.mediator, &remote, &err), 0);
}

void announce(void)
{
    assert_int_equal(router_environment_mailbox(f.router, "acme", "web", ROUTER_MAILBOX_HOST), 0);
    if (router_environment_mailbox(f.router, "acme", "db", ROUTER_MAILBOX_QUEUE) == 0)
        assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
}

static void start(uint32_t mailbox_messages)
{
    struct router_config config;
    router_config_default(&config);
    if (mailbox_messages)
        config.mailbox_messages_max = mailbox_messages;
    fixture_init(&f, &config);
    make_link();
    announce();
}

void restart_with(bool with_db)
{
    static const struct router_ops ops = {.describe = fixture_describe,
                                          .realtime_ms = fixture_realtime_ms,
                                          .monotonic_ns = fixture_monotonic_ns};
    const struct journal_config journal = {.folder = f.folder, .segment_bytes = 2u << 20};
    struct router_config config;
    struct err err;
    router_config_default(&config);
    endpoint_detach(db);
    db = NULL;
    remote_stop(remote);
    router_free(f.router);
    remote_free(remote);
    f.router = router_new(f.base, &config, &ops, &f, f.mediator);
    assert_int_equal(router_open_journal(f.router, &journal, &err), 0);
    make_link();
    assert_int_equal(router_environment_added(f.router, "acme", "web"), 0);
    if (with_db)
        assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    announce();
    router_settle(f.router);
}

void restart(void)
{
    restart_with(true);
}

int setup(void **state)
{
    (void)state;
    start(0);
    return 0;
}

int setup_small(void **state)
{
    (void)state;
    start(1);
    return 0;
}

int teardown(void **state)
{
    (void)state;
    endpoint_detach(db);
    remote_stop(remote);
    fixture_done(&f);
    remote_free(remote);
    return 0;
}

struct broker_text text(const char *s)
{
    return (struct broker_text){s, strlen(s)};
}

const char *from_host = "h2";
const char *epoch = "3";
const char *to = "acme/db";
const char *key = "acme.db";
const char *sent_kind = "send";

struct broker_properties properties_of(unsigned n)
{
    static char id[ID_TEXT_CAP], user[80];
    const struct id number = numbered_id(n);
    id_format(&number, id);
    snprintf(user, sizeof user, "envd.%s", from_host);
    const char *headers[][2] = {{"env-version", "1"},     {"env-kind", sent_kind}, {"env-to", to},
                                {"env-from", "acme/far"}, {"env-epoch", epoch},    {"env-host", from_host}};
    struct broker_properties p = {
        .message_id = text(id), .user_id = text(user), .type = text("q"), .n_headers = 6};
    for (size_t i = 0; i < 6; i++)
        p.headers[i] = (struct broker_header){text(headers[i][0]), text(headers[i][1])};
    return p;
}

void arrives_at(uint64_t consumer, uint64_t handle, unsigned n, bool redelivered)
{
    struct broker_delivery d = {.handle = handle,
                                .consumer = consumer,
                                .redelivered = redelivered,
                                .exchange = text("env"),
                                .routing_key = text(key),
                                .properties = properties_of(n),
                                .body = text("hello")};
    b.cb.on_delivery(b.arg, &d);
    router_flush(f.router);
}

void arrives(uint64_t handle, unsigned n)
{
    arrives_at(b.mailbox_consumer, handle, n, false);
}

void process_one(void)
{
    struct message *m = endpoint_next(db, false);
    assert_non_null(m);
    endpoint_ack(db, &m->id);
    message_unref(m);
}

bool header_is(const char *name, const char *value)
{
    const struct broker_properties *p = &b.last.properties;
    for (size_t i = 0; i < p->n_headers; i++)
        if (p->headers[i].name.len == strlen(name) &&
            memcmp(p->headers[i].name.data, name, strlen(name)) == 0)
            return p->headers[i].value.len == strlen(value) &&
                   memcmp(p->headers[i].value.data, value, strlen(value)) == 0;
    return false;
}

void assert_wanted(const char *what)
{
    if (!strstr(b.wanted, what))
        fail_msg("no \"%s\" in: %s", what, b.wanted);
}
