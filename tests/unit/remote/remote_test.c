// Tests of the link between router and broker: what is wanted, when deliveries are settled and how, and what
// leaves (topology.c, intake.c, incoming.c, outgoing.c, epoch.c). The broker is played by the test.
#include "route/fixture.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "remote/bundle.h"
#include "remote/dead.h"
#include "remote/remote_internal.h"
#include "remote/trace_map.h"

#define SETTLED_MAX 2048

// --- the broker ---

static struct {
    struct broker_cb cb;
    void *arg;
    char wanted[4096];        // in order, one word each
    int settled[SETTLED_MAX]; // by handle: 1 + enum broker_settlement
    unsigned n_consumers;
    uint64_t mailbox_consumer, inbox_consumer, service_consumer, talk_consumer; // the last of each
    unsigned n_published;
    struct amqp_outgoing copy; // texts of the last publication
    struct broker_publication last;
    struct {
        broker_done_cb *done;
        void *arg;
    } owed[64]; // outcomes
    unsigned n_owed;
    int publish_rc;
} b;

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

// Of the last publication.
static void outcome(enum broker_outcome what)
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

int broker_want_binding(struct broker *unused, const char *queue, const char *exchange, const char *key)
{
    (void)unused;
    return note("bind:%s<%s:%s ", queue, exchange, key);
}

int broker_unwant_binding(struct broker *unused, const char *queue, const char *exchange, const char *key)
{
    (void)unused;
    return note("unbind:%s<%s:%s ", queue, exchange, key);
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

static struct {
    broker_get_cb *cb;
    void *arg;
    uint32_t n;
} get;

int broker_get(struct broker *unused, const char *queue, uint32_t n, broker_get_cb *cb, void *arg)
{
    (void)unused;
    get.cb = cb;
    get.arg = arg;
    get.n = n;
    return note("get:%s ", queue);
}

#define NOT_YET     0
#define ACK         (1 + BROKER_ACK)
#define REQUEUE     (1 + BROKER_REQUEUE)
#define DEAD_LETTER (1 + BROKER_DEAD_LETTER)

// --- the rest ---

static struct fixture f;
static struct remote *remote;
static struct endpoint *db; // acme/db, whose mail comes by a queue; acme/web's comes by the inbox

static void ignore_mail(void *arg)
{
    (void)arg;
}

static const struct endpoint_cb callbacks = {.on_mail = ignore_mail, .on_removed = ignore_mail};

static void make_link(void)
{
    static const struct broker_config broker = {.host = "mq"};
    struct err err;
    memset(&b, 0, sizeof b);
    const struct remote_config remote_config = {.broker = &broker, .host = "h1", .epoch = 7};
    assert_int_equal(remote_new(f.base, &remote_config, f.router, f.mediator, &remote, &err), 0);
}

static void announce(void)
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

// As envd does; with_db: acme/db is still defined.
static void restart_with(bool with_db)
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

static void restart(void)
{
    restart_with(true);
}

static int setup(void **state)
{
    (void)state;
    start(0);
    return 0;
}

static int setup_small(void **state)
{
    (void)state;
    start(1);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    endpoint_detach(db);
    remote_stop(remote);
    fixture_done(&f);
    remote_free(remote);
    return 0;
}

static struct broker_text text(const char *s)
{
    return (struct broker_text){s, strlen(s)};
}

static const char *from_host = "h2", *epoch = "3", *to = "acme/db", *key = "acme.db", *sent_kind = "send";

// Of message n of host h2, from acme/far.
static struct broker_properties properties_of(unsigned n)
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

static void arrives_at(uint64_t consumer, uint64_t handle, unsigned n, bool redelivered)
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

static void arrives(uint64_t handle, unsigned n)
{
    arrives_at(b.mailbox_consumer, handle, n, false);
}

// Messages first to last, in one.
static void come_together(uint64_t consumer, uint64_t handle, unsigned first, unsigned last, bool again)
{
    static uint8_t bytes[BUNDLE_BYTES_MAX];
    struct wire_writer w;
    wire_writer_init(&w, bytes, sizeof bytes);
    for (unsigned n = first; n <= last; n++)
        bundle_part_write(
            &w, &(struct broker_publication){.properties = properties_of(n), .body = text("hello")});
    struct broker_delivery d = {.handle = handle,
                                .consumer = consumer,
                                .redelivered = again,
                                .exchange = text("env"),
                                .routing_key = text(key),
                                .properties = properties_of(first),
                                .body = {(const char *)bytes, w.pos}};
    d.properties.content_type = text(BUNDLE_CONTENT_TYPE);
    d.properties.n_headers = 0;
    b.cb.on_delivery(b.arg, &d);
    router_flush(f.router);
}

static void arrive_together(uint64_t consumer, uint64_t handle, unsigned first, unsigned last)
{
    come_together(consumer, handle, first, last, false);
}

static void process_one(void)
{
    struct message *m = endpoint_next(db, false);
    assert_non_null(m);
    endpoint_ack(db, &m->id);
    message_unref(m);
}

static bool header_is(const char *name, const char *value)
{
    const struct broker_properties *p = &b.last.properties;
    for (size_t i = 0; i < p->n_headers; i++)
        if (p->headers[i].name.len == strlen(name) &&
            memcmp(p->headers[i].name.data, name, strlen(name)) == 0)
            return p->headers[i].value.len == strlen(value) &&
                   memcmp(p->headers[i].value.data, value, strlen(value)) == 0;
    return false;
}

static void assert_wanted(const char *what)
{
    if (!strstr(b.wanted, what))
        fail_msg("no \"%s\" in: %s", what, b.wanted);
}

static void queues_and_bindings_follow_the_class(void **state)
{
    (void)state;
    assert_wanted("exchange:env:direct ");
    assert_wanted("exchange:env.event:direct ");
    assert_wanted("exchange:env.dead:fanout ");
    assert_wanted("queue:inbox.h1<env:host.h1! consume:inbox.h1 ");
    assert_wanted("bind:inbox.h1<env:acme.web ");
    assert_wanted("queue:mailbox.acme.db<env:acme.db ");
}

static void a_queue_is_consumed_while_its_environment_runs(void **state)
{
    (void)state;
    assert_wanted("consume:mailbox.acme.db ");
    assert_int_equal(b.n_consumers, 3);
    endpoint_detach(db);
    db = NULL;
    assert_wanted("leave:mailbox ");
    assert_int_equal(b.n_consumers, 2);
    arrives(1, 1); // was on its way
    assert_int_equal(b.settled[1], REQUEUE);
}

static void a_deleted_environments_queue_is_deleted(void **state)
{
    (void)state;
    endpoint_detach(db);
    db = NULL;
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_removed(f.router, "acme", "web"), 0);
    assert_wanted("delete:mailbox.acme.db ");
    assert_wanted("unbind:inbox.h1<env:acme.web ");
}

static void delete_db(void)
{
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    db = NULL;
}

static void a_queue_whose_end_the_broker_did_not_hear_of_is_deleted_after_a_restart(void **state)
{
    (void)state;
    delete_db();
    restart_with(false);
    assert_non_null(strstr(b.wanted, "delete:mailbox.acme.db "));
    restart_with(false); // the broker did not answer
    assert_non_null(strstr(b.wanted, "delete:mailbox.acme.db "));
    b.cb.on_queue_deleted(b.arg, "mailbox.acme.db");
    restart_with(false);
    assert_null(strstr(b.wanted, "delete:"));
}

static void the_queue_of_an_environment_that_was_made_again_is_not_deleted(void **state)
{
    (void)state;
    delete_db();
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    announce();
    b.cb.on_queue_deleted(b.arg, "mailbox.acme.db"); // of the one before
    restart();
    assert_null(strstr(b.wanted, "delete:"));
    restart_with(false); // its end is remembered, too
    assert_non_null(strstr(b.wanted, "delete:mailbox.acme.db "));
}

static void the_queue_of_an_environment_whose_mail_now_comes_by_its_host_is_deleted(void **state)
{
    (void)state;
    delete_db();
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "db", ROUTER_MAILBOX_HOST), 0);
    b.cb.on_queue_deleted(b.arg, "mailbox.acme.db");
    restart_with(false);
    assert_null(strstr(b.wanted, "delete:"));
}

static void a_service_is_consumed_while_it_is_served_and_its_queue_stays(void **state)
{
    (void)state;
    endpoint_register(db, "s");
    assert_wanted("queue:service.acme.s<env:acme.:s bind:inbox.h1<env.event:acme.:s consume:service.acme.s ");
    endpoint_unregister(db, "s");
    assert_wanted("leave:service forget:service.acme.s unbind:inbox.h1<env.event:acme.:s ");
}

static void what_was_stored_is_acknowledged_and_so_is_what_came_before(void **state)
{
    (void)state;
    arrives(1, 1);
    assert_int_equal(b.settled[1], ACK);
    arrives_at(b.mailbox_consumer, 2, 1, true);
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 1);
}

static void several_that_came_in_one_are_acknowledged_together(void **state)
{
    (void)state;
    arrives(1, 2);
    arrive_together(b.mailbox_consumer, 2, 1, 4); // 2 is known
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 4);
}

static void one_of_several_that_is_refused_is_buried_alone(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * allow rate=1/s burst=3");
    arrive_together(b.mailbox_consumer, 1, 1, 4);
    assert_int_equal(router_depth(f.router, "acme", "db"), 3);
    assert_int_equal(b.n_published, 1);
    assert_true(header_is("env-refused", "rate-limited"));
    assert_int_equal(b.settled[1], NOT_YET);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
}

static void one_of_several_that_is_buried_is_not_buried_again_when_all_come_again(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    arrive_together(b.mailbox_consumer, 1, 1, 2);
    assert_int_equal(b.n_published, 2);
    outcome(BROKER_CONFIRMED); // of 2
    outcome(BROKER_NOT_SENT);  // of 1
    assert_int_equal(b.settled[1], REQUEUE);
    come_together(b.mailbox_consumer, 2, 1, 2, true);
    assert_int_equal(b.n_published, 3);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[2], ACK);
    arrives_at(b.mailbox_consumer, 3, 2, true); // alone, it is another copy: a replayed one
    assert_int_equal(b.n_published, 4);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[3], ACK);
}

static void several_for_a_full_mailbox_come_again_whole(void **state)
{
    (void)state;
    uint64_t consumer = b.mailbox_consumer;
    arrive_together(consumer, 1, 1, 3); // there is room for one
    assert_int_equal(b.settled[1], REQUEUE);
    assert_wanted("leave:mailbox ");
    assert_int_equal(router_depth(f.router, "acme", "db"), 1);
    process_one();
    intake_tick(remote, UINT64_MAX);
    arrive_together(b.mailbox_consumer, 2, 1, 2);
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 1);
}

static void several_in_one_from_who_is_no_host_are_no_message(void **state)
{
    (void)state;
    from_host = "h2/";
    arrive_together(b.mailbox_consumer, 1, 1, 2);
    from_host = "h2";
    assert_true(header_is("env-refused", "lying-sender"));
    assert_int_equal(router_depth(f.router, "acme", "db"), 0);
}

static void what_is_denied_lies_among_the_dead_letters_with_its_reason(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    arrives(1, 1);
    assert_int_equal(b.n_published, 1);
    assert_memory_equal(b.last.exchange.data, "env.dead", 8);
    assert_memory_equal(b.last.properties.user_id.data, "envd.h1", 7);
    assert_true(header_is("env-refused", "denied"));
    assert_true(header_is("env-refused-by", "h1"));
    assert_true(header_is("env-refused-user", "envd.h2"));
    assert_true(header_is("env-from", "acme/far"));
    assert_int_equal(b.settled[1], NOT_YET);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
}

static void without_that_copy_the_original_is_dead_lettered(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    arrives(1, 1);
    outcome(BROKER_NACKED);
    assert_int_equal(b.settled[1], DEAD_LETTER);
    b.publish_rc = -EINVAL; // with its reason it is too long
    arrives(2, 2);
    assert_int_equal(b.settled[2], DEAD_LETTER);
}

static void while_no_copy_can_be_made_it_comes_again(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    sent_kind = "call";
    arrives(1, 1);
    outcome(BROKER_UNKNOWN);
    assert_int_equal(b.settled[1], REQUEUE);
    arrives(2, 2);
    outcome(BROKER_NOT_SENT);
    assert_int_equal(b.settled[2], REQUEUE);
    assert_int_equal(b.n_published, 2); // nobody was told
    b.publish_rc = -ENOBUFS;
    arrives(3, 3);
    sent_kind = "send";
    assert_int_equal(b.settled[3], REQUEUE);
    assert_wanted("leave:mailbox "); // until there is room
}

static void a_caller_is_told_when_its_call_cannot_be_delivered_any_more(void **state)
{
    (void)state;
    fixture_policy(&f, "* * * deny");
    sent_kind = "call";
    arrives(1, 1);
    sent_kind = "send";
    assert_int_equal(b.n_published, 1);
    assert_memory_equal(b.last.exchange.data, "env.dead", 8);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
    assert_int_equal(b.n_published, 2);
    assert_int_equal(b.last.exchange.len, 3);
    assert_memory_equal(b.last.routing_key.data, "host.h2", 7);
    assert_true(header_is("env-kind", "reply"));
    assert_true(header_is("env-refused", "denied"));
    assert_true(header_is("env-from", "acme/db"));
    assert_true(header_is("env-to", "acme/far"));
    outcome(BROKER_UNKNOWN); // nobody waits for it
}

static void a_clients_call_that_cannot_be_read_is_answered_with_what_is_wrong(void **state)
{
    (void)state;
    struct broker_delivery d = {
        .handle = 1,
        .consumer = b.mailbox_consumer,
        .exchange = text("client.ops"),
        .routing_key = text("acme.db"),
        .properties = {.type = text("q\xff"), .reply_to = text("client.ops.answers")}};
    b.cb.on_delivery(b.arg, &d);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.n_published, 2);
    assert_int_equal(b.last.exchange.len, 0);
    assert_memory_equal(b.last.routing_key.data, "client.ops.answers", 18);
    assert_true(header_is("env-refused", "invalid"));
    outcome(BROKER_CONFIRMED);
    d.handle = 2;
    d.properties.reply_to = text("client.eve.answers"); // somebody else's
    b.cb.on_delivery(b.arg, &d);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(b.n_published, 3);
}

static void what_has_expired_is_a_dead_letter_but_a_late_reply_is_not(void **state)
{
    (void)state;
    struct remote_stats stats;
    struct id id = numbered_id(8);
    char call[ID_TEXT_CAP];
    id_format(&id, call);
    const struct broker_header headers[] = {{text("env-version"), text("1")},
                                            {text("env-kind"), text("reply")},
                                            {text("env-from"), text("acme/far")},
                                            {text("env-to"), text("acme/web")},
                                            {text("env-epoch"), text("3")},
                                            {text("env-host"), text("h2")},
                                            {text("env-expires"), text("1600000000000")}};
    struct broker_delivery d = {.handle = 1,
                                .consumer = b.inbox_consumer,
                                .exchange = text("env"),
                                .routing_key = text("host.h1"),
                                .properties = {.user_id = text("envd.h2"),
                                               .message_id = text(call),
                                               .correlation_id = text(call),
                                               .type = text("q"),
                                               .n_headers = 7}};
    memcpy(d.properties.headers, headers, sizeof headers);
    b.cb.on_delivery(b.arg, &d);
    assert_int_equal(b.settled[1], ACK);
    assert_int_equal(b.n_published, 0);
    d.handle = 2;
    d.routing_key = text("acme.web");
    d.properties.headers[1].value = text("send");
    b.cb.on_delivery(b.arg, &d);
    assert_true(header_is("env-refused", "expired"));
    remote_get_stats(remote, &stats);
    assert_int_equal(stats.late, 1);
    assert_int_equal(stats.refused[RECEIPT_EXPIRED], 1);
}

static void who_lies_is_refused_counted_and_recorded(void **state)
{
    (void)state;
    struct remote_stats stats;
    struct broker_delivery d = {.handle = 1,
                                .consumer = b.mailbox_consumer,
                                .exchange = text("client.ops"),
                                .routing_key = text("acme.db"),
                                .properties = {.user_id = text("envd.h2"), .type = text("q")}};
    const struct id id = numbered_id(9);
    char id_text[ID_TEXT_CAP];
    id_format(&id, id_text);
    d.properties.message_id = text(id_text);
    b.cb.on_delivery(b.arg, &d);
    assert_true(header_is("env-refused", "lying-sender"));
    remote_get_stats(remote, &stats);
    assert_int_equal(stats.malformed[AMQP_SENDER], 1);
    const struct mediate_record *r = mediator_find(f.mediator, &id, 0);
    assert_non_null(r);
    assert_int_equal(r->decision.reason, MEDIATE_REASON_SENDER);
    assert_string_equal(r->question.source.name, "ops");
}

static void an_earlier_life_of_a_host_is_refused_unless_the_broker_repeats_it(void **state)
{
    (void)state;
    epoch = "4";
    arrives(1, 1);
    epoch = "3";
    arrives(2, 2);
    assert_true(header_is("env-refused", "stale"));
    arrives_at(b.mailbox_consumer, 3, 3, true);
    assert_int_equal(b.settled[3], ACK);
    from_host = "h3"; // another host's count is its own
    arrives(4, 4);
    assert_int_equal(b.settled[4], ACK);
    from_host = "h2";
}

static void an_earlier_life_of_a_host_is_refused_after_a_restart_too(void **state)
{
    (void)state;
    epoch = "4";
    arrives(1, 1);
    assert_int_equal(b.settled[1], ACK);
    restart();
    epoch = "3";
    arrives(2, 2);
    assert_int_equal(b.settled[2], NOT_YET);
    assert_true(header_is("env-refused", "stale"));
    epoch = "5";
    arrives(3, 3);
    assert_int_equal(b.settled[3], ACK);
    restart();
    epoch = "4";
    arrives(4, 4);
    epoch = "3";
    assert_int_equal(b.settled[4], NOT_YET);
    assert_true(header_is("env-refused", "stale"));
}

static void a_new_queue_of_an_old_name_knows_of_no_lives(void **state)
{
    (void)state;
    epoch = "4";
    arrives(1, 1);
    epoch = "3";
    endpoint_detach(db);
    assert_int_equal(router_environment_removed(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_added(f.router, "acme", "db"), 0);
    assert_int_equal(router_environment_mailbox(f.router, "acme", "db", ROUTER_MAILBOX_QUEUE), 0);
    assert_int_equal(endpoint_attach(f.router, "acme", "db", &callbacks, NULL, &db), 0);
    arrives(2, 2);
    assert_int_equal(b.settled[2], ACK);
}

static void above_the_window_acknowledgements_wait_for_room_in_order(void **state)
{
    (void)state;
    struct remote_stats stats;
    for (unsigned i = 1; i <= 300; i++)
        arrives(i, i);
    assert_int_equal(b.settled[255], ACK);
    assert_int_equal(b.settled[256], NOT_YET);
    assert_int_equal(b.settled[300], NOT_YET);
    remote_get_stats(remote, &stats);
    assert_int_equal(stats.held, 45);
    for (unsigned i = 0; i < 45; i++)
        process_one();
    assert_int_equal(b.settled[256], ACK);
    assert_int_equal(b.settled[257], NOT_YET);
    for (unsigned i = 0; i < 100; i++)
        process_one();
    assert_int_equal(b.settled[300], ACK);
}

static void what_is_held_too_long_is_acknowledged_and_the_queue_left_alone(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 300; i++)
        arrives(i, i);
    uint64_t later_ms = 1000ull * 3600 * 24 * 365 * 100; // whatever the clock says
    intake_tick(remote, later_ms);
    assert_int_equal(b.settled[300], ACK);
    assert_wanted("leave:mailbox ");
    for (unsigned i = 0; i < 60; i++)
        process_one();
    intake_tick(remote, later_ms);
    assert_int_equal(b.n_consumers, 3);
}

static void handles_of_a_lost_connection_are_forgotten(void **state)
{
    (void)state;
    for (unsigned i = 1; i <= 300; i++)
        arrives(i, i);
    b.cb.on_state(b.arg, BROKER_UNREACHABLE, "gone");
    for (unsigned i = 0; i < 300; i++)
        process_one();
    assert_int_equal(b.settled[300], NOT_YET);
}

static void a_full_mailbox_puts_back_what_follows_until_there_is_room(void **state)
{
    (void)state;
    arrives(1, 1);
    uint64_t consumer = b.mailbox_consumer;
    arrives_at(consumer, 2, 2, false);
    assert_int_equal(b.settled[2], REQUEUE);
    arrives_at(consumer, 3, 3, false); // was on its way: order holds
    assert_int_equal(b.settled[3], REQUEUE);
    assert_wanted("leave:mailbox ");
    process_one();
    intake_tick(remote, UINT64_MAX);
    assert_int_equal(b.n_consumers, 3);
    arrives(4, 2);
    assert_int_equal(b.settled[4], ACK);
}

static void a_full_mailbox_without_a_queue_is_nobody_elses_problem(void **state)
{
    (void)state;
    to = "acme/web";
    key = "acme.web";
    arrives_at(b.inbox_consumer, 1, 1, false);
    arrives_at(b.inbox_consumer, 2, 2, false);
    to = "acme/db";
    key = "acme.db";
    assert_int_equal(b.settled[1], ACK);
    assert_true(header_is("env-refused", "mailbox-full"));
    assert_int_equal(b.n_consumers, 3);
}

static void note_receipt(void *arg, const struct router_receipt *receipt)
{
    *(enum receipt_code *)arg = receipt->code;
}

static void what_leaves_says_who_and_since_when(void **state)
{
    (void)state;
    enum receipt_code code = RECEIPT_INVALID;
    struct envelope e = {.id = numbered_id(1), .to = text_view("far"), .subject = text_view("q")};
    assert_int_equal(endpoint_submit(db, &e, note_receipt, &code), 0);
    assert_memory_equal(b.last.routing_key.data, "acme.far", 8);
    assert_memory_equal(b.last.properties.user_id.data, "envd.h1", 7);
    assert_true(header_is("env-host", "h1"));
    assert_true(header_is("env-epoch", "7"));
    assert_true(b.last.mandatory);
    outcome(BROKER_FORBIDDEN);
    assert_int_equal(code, RECEIPT_HOST_UNREACHABLE);
}

static void each_start_has_a_later_epoch(void **state)
{
    (void)state;
    char folder[] = "/tmp/envd-epoch-XXXXXX", path[64];
    struct err err;
    uint64_t first = 0, second = 0, lost = 0;
    assert_non_null(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/epoch", folder);
    assert_int_equal(remote_epoch(folder, 1000, &first, &err), 0);
    assert_int_equal(remote_epoch(folder, 500, &second, &err), 0);
    assert_int_equal(first, 1000);
    assert_int_equal(second, 1001);
    unlink(path);
    assert_int_equal(remote_epoch(folder, 5000, &lost, &err), 0);
    assert_int_equal(lost, 5000);
    unlink(path);
    rmdir(folder);
    assert_true(remote_epoch(folder, 1, &lost, &err) < 0);
}

static void on_count(void *arg, uint64_t tag, uint32_t messages, const char *why)
{
    assert_int_equal(tag, 3);
    assert_null(why);
    *(uint32_t *)arg = messages;
}

static void what_waits_at_the_broker_is_counted_in_the_environments_own_queue(void **state)
{
    (void)state;
    uint32_t n = 0;
    assert_int_equal(remote_queue_count(remote, "acme", "db", on_count, &n, 3), 0);
    assert_wanted("count:mailbox.acme.db ");
    assert_int_equal(n, 42);
}

// --- dead letters ---

static struct remote_dead_end dead_end;
static unsigned n_looked, n_ended;
static char looked_at[REMOTE_DEAD_NAME_CAP];

static void on_dead(void *arg, uint64_t tag, const struct remote_dead *d, const struct remote_dead_end *end)
{
    (void)arg;
    assert_int_equal(tag, 9);
    if (d) {
        n_looked++;
        memcpy(looked_at, d->letter, sizeof looked_at);
        return;
    }
    n_ended++;
    dead_end = *end;
}

static void walk(enum remote_dead_what what, const char *letter, uint32_t position, uint32_t limit)
{
    const struct remote_dead_ask ask = {what, letter, position, limit};
    n_looked = n_ended = 0;
    assert_int_equal(remote_dead_walk(remote, &ask, on_dead, NULL, 9), 0);
}

// Letter n as h1 buried it: a message of acme/far by h2, or of the client ops.
static void dead_letter(uint64_t handle, unsigned n, const char *writer, const char *user,
                        const char *exchange, const char *kind)
{
    char id[ID_TEXT_CAP];
    const struct id number = numbered_id(n);
    id_format(&number, id);
    struct broker_delivery d = {.handle = handle,
                                .exchange = text("env.dead"),
                                .routing_key = text("acme.db"),
                                .body = text("hello")};
    const char *headers[][2] = {
        {"env-version", "1"},      {"env-kind", kind},       {"env-to", "acme/db"},
        {"env-from", "acme/far"},  {"env-epoch", "3"},       {"env-host", "h2"},
        {"env-refused", "denied"}, {"env-refused-by", "h1"}, {"env-refused-exchange", exchange},
        {"env-refused-user", user}};
    bool client = strncmp(user, "client", 6) == 0;
    d.properties =
        (struct broker_properties){.message_id = text(id), .user_id = text(writer), .type = text("q")};
    for (size_t i = client ? 6 : 0; i < 10; i++)
        d.properties.headers[d.properties.n_headers++] =
            (struct broker_header){text(headers[i][0]), text(headers[i][1])};
    get.cb(get.arg, &d, NULL);
}

static void end_of_letters(void)
{
    get.cb(get.arg, NULL, NULL);
}

static void a_page_of_letters_is_looked_at_and_all_are_put_back(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_LOOK, NULL, 1, 2);
    assert_int_equal(get.n, 4);
    for (unsigned i = 1; i <= 4; i++)
        dead_letter(i, i, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    assert_int_equal(n_looked, 2);
    assert_true(dead_end.more);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(b.settled[i], REQUEUE);
}

static void one_letter_is_thrown_away_by_its_name_or_its_id(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_LOOK, NULL, 0, 1);
    dead_letter(1, 7, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    walk(REMOTE_DEAD_PURGE, looked_at, 0, 1);
    dead_letter(2, 6, "envd.h1", "envd.h2", "env", "send");
    dead_letter(3, 7, "envd.h1", "envd.h2", "env", "send");
    dead_letter(4, 7, "envd.h1", "envd.h2", "env", "send"); // the same again
    end_of_letters();
    assert_int_equal(b.settled[2], REQUEUE);
    assert_int_equal(b.settled[3], ACK);
    assert_int_equal(b.settled[4], REQUEUE);
    assert_int_equal(dead_end.done, 1);
    assert_false(dead_end.more);
}

static void a_replayed_letter_goes_once_the_broker_has_it(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    assert_int_equal(n_ended, 0);
    assert_memory_equal(b.last.exchange.data, "env", b.last.exchange.len);
    assert_memory_equal(b.last.properties.user_id.data, "envd.h1", 7);
    assert_true(header_is("env-replayed-by", "h1"));
    assert_true(header_is("env-replayed-exchange", "env"));
    assert_true(header_is("env-host", "h2"));
    assert_false(header_is("env-refused", "denied"));
    assert_int_equal(b.settled[1], NOT_YET);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.settled[1], ACK);
    assert_int_equal(dead_end.done, 1);
}

static void a_letter_whose_receiver_is_gone_stays(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "envd.h1", "client.ops", "client.ops", "send");
    assert_true(header_is("env-replayed-exchange", "client.ops"));
    end_of_letters();
    outcome(BROKER_RETURNED);
    assert_int_equal(b.settled[1], REQUEUE);
    assert_int_equal(dead_end.kept, 1);
    assert_string_equal(dead_end.code, "no-such-environment");
}

static void what_is_not_proven_or_lies_or_is_over_is_not_replayed(void **state)
{
    (void)state;
    unsigned before = b.n_published;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "", "envd.h2", "env", "send");        // whoever wrote that, it was no host
    dead_letter(2, 2, "envd.h1", "envd.h3", "env", "send"); // h3 said that it was h2
    dead_letter(3, 3, "envd.h1", "envd.h2", "elsewhere", "send");
    dead_letter(4, 4, "envd.h1", "envd.h2", "env", "reply");
    end_of_letters();
    assert_int_equal(b.n_published, before);
    assert_int_equal(dead_end.kept, 4);
    assert_int_equal(dead_end.done, 0);
    for (unsigned i = 1; i <= 4; i++)
        assert_int_equal(b.settled[i], REQUEUE);
}

static void a_walk_ends_with_the_link_whatever_is_under_way(void **state)
{
    (void)state;
    walk(REMOTE_DEAD_REPLAY, NULL, 0, 10);
    dead_letter(1, 1, "envd.h1", "envd.h2", "env", "send");
    end_of_letters();
    const struct remote_dead_ask again = {REMOTE_DEAD_LOOK, NULL, 0, 1};
    assert_int_equal(remote_dead_walk(remote, &again, on_dead, NULL, 9), -EBUSY);
    remote_stop(remote);
    assert_int_equal(n_ended, 0);
    assert_int_equal(b.settled[1], NOT_YET);
    assert_int_equal(remote_dead_walk(remote, &again, on_dead, NULL, 9), -ENOTCONN);
}

// A replayed delivery of h2's message, published by `by`.
static void replayed_arrives(uint64_t handle, unsigned n, const char *by, const char *user)
{
    char id[ID_TEXT_CAP];
    const struct id number = numbered_id(n);
    id_format(&number, id);
    const char *headers[][2] = {{"env-version", "1"},    {"env-kind", "send"},
                                {"env-to", "acme/db"},   {"env-from", "acme/far"},
                                {"env-epoch", "1"},      {"env-host", "h2"},
                                {"env-replayed-by", by}, {"env-replayed-exchange", "env"}};
    struct broker_delivery d = {.handle = handle,
                                .consumer = b.mailbox_consumer,
                                .exchange = text("env"),
                                .routing_key = text("acme.db"),
                                .body = text("hello")};
    d.properties = (struct broker_properties){
        .message_id = text(id), .user_id = text(user), .type = text("q"), .n_headers = 8};
    for (size_t i = 0; i < 8; i++)
        d.properties.headers[i] = (struct broker_header){text(headers[i][0]), text(headers[i][1])};
    b.cb.on_delivery(b.arg, &d);
    router_flush(f.router);
}

static void a_replayed_message_is_decided_on_again_whoever_replays_it(void **state)
{
    (void)state;
    arrives(1, 1);                           // epoch 3
    replayed_arrives(2, 2, "h1", "envd.h1"); // of an earlier life, by this host itself
    assert_int_equal(b.settled[2], ACK);
    assert_int_equal(router_depth(f.router, "acme", "db"), 2);
    replayed_arrives(3, 3, "h3", "envd.h2"); // says that another replays it
    assert_true(header_is("env-refused", "lying-sender"));
    fixture_policy(&f, "* * * deny");
    replayed_arrives(4, 4, "h1", "envd.h1");
    assert_true(header_is("env-refused", "denied"));
}

// --- traces ---

static char told[512]; // "h1 here 0, h2 late 0"
static size_t n_told;

static void on_trace(void *arg, uint64_t tag, const struct remote_trace *t)
{
    (void)arg;
    size_t len = 0;
    assert_int_equal(tag, 5);
    n_told++;
    for (size_t i = 0; i < t->n_hosts; i++)
        len += (size_t)snprintf(told + len, sizeof told - len, "%s%s %s %zu", i ? ", " : "", t->hosts[i].name,
                                remote_trace_state_name(t->hosts[i].state), t->hosts[i].n_stages);
}

// A word of host to host.
static void hears(const char *user, const char *word_key, const char *what, const char *round, unsigned n,
                  struct broker_text body)
{
    static uint64_t handle = 1000;
    static char id[ID_TEXT_CAP];
    const struct id number = numbered_id(n);
    id_format(&number, id);
    const struct broker_delivery d = {
        .handle = handle++,
        .consumer = b.inbox_consumer,
        .exchange = text("env.event"),
        .routing_key = text(word_key),
        .body = body,
        .properties = {.message_id = text(id),
                       .user_id = text(user),
                       .n_headers = 2,
                       .headers = {{text("env-trace"), text(what)}, {text("env-trace-round"), text(round)}}}};
    b.cb.on_delivery(b.arg, &d);
    assert_int_equal(b.settled[d.handle], ACK);
}

// Asks what is known of message n; the question's number.
static const char *ask(unsigned n)
{
    static char round[24];
    const struct id id = numbered_id(n);
    n_told = 0;
    assert_int_equal(remote_trace(remote, &id, on_trace, NULL, 5), 0);
    assert_true(header_is("env-trace", "asks"));
    struct broker_text number = b.last.properties.headers[1].value;
    snprintf(round, sizeof round, "%.*s", (int)number.len, number.data);
    return round;
}

static void present(const char *host)
{
    struct peer *p = calloc(1, sizeof *p);
    assert_non_null(p);
    snprintf(p->host, sizeof p->host, "%s", host);
    p->heard_ms = UINT64_MAX / 2;
    LIST_INSERT_HEAD(&remote->peers, p, link);
    remote->started_ms = 0; // long ago
}

static void a_question_ends_when_all_who_are_there_have_answered(void **state)
{
    (void)state;
    uint8_t body[TRACE_ANSWER_CAP];
    struct remote_trace_stage stage = {.stage = TRACE_ARRIVED};
    const struct remote_trace_host h2 = {.now_us = 1000, .n_stages = 1, .stages = &stage};
    const struct broker_text answer = {(const char *)body, trace_write(&h2, body)};
    present("h2");
    arrives(1, 1);
    const char *round = ask(1);
    hears("envd.h2", "host.trace.h1", "tells", "99999", 1, answer); // another question's
    hears("envd.h2", "host.trace.h1", "tells", round, 2, answer);   // of another message
    hears("client.h2", "host.trace.h1", "tells", round, 1, answer); // no host
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_int_equal(n_told, 0);
    hears("envd.h2", "host.trace.h1", "tells", round, 1, answer);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_int_equal(n_told, 1);
    assert_string_equal(told, "h1 here 4, h2 answered 1");
    hears("envd.h2", "host.trace.h1", "tells", round, 1, answer); // again: nobody waits
}

static void who_does_not_answer_is_named_and_so_is_who_answers_nonsense(void **state)
{
    (void)state;
    present("h2");
    present("h3");
    const char *round = ask(1);
    hears("envd.h3", "host.trace.h1", "tells", round, 1, text("nonsense"));
    while (n_told == 0)
        event_base_loop(f.base, EVLOOP_ONCE);
    assert_string_equal(told, "h1 here 0, h3 unreadable 0, h2 late 0");
}

static void who_was_silent_is_named_and_not_waited_for(void **state)
{
    (void)state;
    present("h2");
    LIST_FIRST(&remote->peers)->silent = true;
    ask(1);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_string_equal(told, "h1 here 0, h2 silent 0");
}

static void a_question_is_answered_to_who_asked(void **state)
{
    (void)state;
    struct remote_trace_host back = {0};
    arrives(1, 7);
    hears("envd.h2", "host.trace", "asks", "17", 7, text(""));
    assert_memory_equal(b.last.routing_key.data, "host.trace.h2", b.last.routing_key.len);
    assert_true(header_is("env-trace", "tells"));
    assert_true(header_is("env-trace-round", "17"));
    assert_true(trace_read(b.last.body.data, b.last.body.len, &back));
    assert_int_equal(back.n_stages, 4);
    assert_string_equal(back.stages[2].name, "db");
    free(back.stages);
}

static void only_hosts_are_answered_and_not_too_many_times_a_second(void **state)
{
    (void)state;
    unsigned before = b.n_published;
    hears("client.ops", "host.trace", "asks", "1", 7, text(""));
    hears("envd.h2", "host.trace", "asks", "x", 7, text(""));
    hears("envd.h1", "host.trace", "asks", "1", 7, text("")); // its own
    assert_int_equal(b.n_published, before);
    for (unsigned i = 0; i < 500; i++) {
        hears("envd.h2", "host.trace", "asks", "1", 7, text(""));
        b.n_owed = 0; // nobody waits for these
    }
    assert_true(b.n_published - before <= 400);
}

static void questions_under_way_end_with_the_link(void **state)
{
    (void)state;
    present("h2");
    ask(1);
    remote_stop(remote);
    event_base_loop(f.base, EVLOOP_NONBLOCK);
    assert_int_equal(n_told, 0);
}

#define TEST(name)       cmocka_unit_test_setup_teardown(name, setup, teardown)
#define TEST_SMALL(name) cmocka_unit_test_setup_teardown(name, setup_small, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(queues_and_bindings_follow_the_class),
        TEST(a_queue_is_consumed_while_its_environment_runs),
        TEST(a_deleted_environments_queue_is_deleted),
        TEST(a_queue_whose_end_the_broker_did_not_hear_of_is_deleted_after_a_restart),
        TEST(the_queue_of_an_environment_that_was_made_again_is_not_deleted),
        TEST(the_queue_of_an_environment_whose_mail_now_comes_by_its_host_is_deleted),
        TEST(a_service_is_consumed_while_it_is_served_and_its_queue_stays),
        TEST(what_was_stored_is_acknowledged_and_so_is_what_came_before),
        TEST(several_that_came_in_one_are_acknowledged_together),
        TEST(one_of_several_that_is_refused_is_buried_alone),
        TEST(one_of_several_that_is_buried_is_not_buried_again_when_all_come_again),
        TEST_SMALL(several_for_a_full_mailbox_come_again_whole),
        TEST(several_in_one_from_who_is_no_host_are_no_message),
        TEST(what_is_denied_lies_among_the_dead_letters_with_its_reason),
        TEST(without_that_copy_the_original_is_dead_lettered),
        TEST(while_no_copy_can_be_made_it_comes_again),
        TEST(a_caller_is_told_when_its_call_cannot_be_delivered_any_more),
        TEST(a_clients_call_that_cannot_be_read_is_answered_with_what_is_wrong),
        TEST(what_has_expired_is_a_dead_letter_but_a_late_reply_is_not),
        TEST(who_lies_is_refused_counted_and_recorded),
        TEST(an_earlier_life_of_a_host_is_refused_unless_the_broker_repeats_it),
        TEST(an_earlier_life_of_a_host_is_refused_after_a_restart_too),
        TEST(a_new_queue_of_an_old_name_knows_of_no_lives),
        TEST(above_the_window_acknowledgements_wait_for_room_in_order),
        TEST(what_is_held_too_long_is_acknowledged_and_the_queue_left_alone),
        TEST(handles_of_a_lost_connection_are_forgotten),
        TEST_SMALL(a_full_mailbox_puts_back_what_follows_until_there_is_room),
        TEST_SMALL(a_full_mailbox_without_a_queue_is_nobody_elses_problem),
        TEST(what_leaves_says_who_and_since_when),
        TEST(what_waits_at_the_broker_is_counted_in_the_environments_own_queue),
        TEST(a_page_of_letters_is_looked_at_and_all_are_put_back),
        TEST(one_letter_is_thrown_away_by_its_name_or_its_id),
        TEST(a_replayed_letter_goes_once_the_broker_has_it),
        TEST(a_letter_whose_receiver_is_gone_stays),
        TEST(what_is_not_proven_or_lies_or_is_over_is_not_replayed),
        TEST(a_walk_ends_with_the_link_whatever_is_under_way),
        TEST(a_replayed_message_is_decided_on_again_whoever_replays_it),
        TEST(a_question_ends_when_all_who_are_there_have_answered),
        TEST(who_does_not_answer_is_named_and_so_is_who_answers_nonsense),
        TEST(who_was_silent_is_named_and_not_waited_for),
        TEST(a_question_is_answered_to_who_asked),
        TEST(only_hosts_are_answered_and_not_too_many_times_a_second),
        TEST(questions_under_way_end_with_the_link),
        cmocka_unit_test(each_start_has_a_later_epoch),
    };
    return cmocka_run_group_tests_name("remote", tests, NULL, NULL);
}
