// Tests of envelopes as AMQP messages and back (amqp_write.c, amqp_read.c).
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "remote/amqp_map.h"

#define NOW_MS 1700000000000
#define IMAGE  "sha256:00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

static const struct amqp_self self = {"envd.h1", "h1", 7};
static const struct mediate_label labels[] = {{"role", "web"}, {"tier", "1"}};
static const struct mediate_party source = {"acme", "web", labels, 2};

static struct amqp_outgoing out;
static struct amqp_incoming in;
static const char *what;

static struct broker_text text(const char *s)
{
    return (struct broker_text){s, strlen(s)};
}

static struct wire_view view(const char *s)
{
    return (struct wire_view){(const uint8_t *)s, strlen(s)};
}

static bool view_is(struct wire_view v, const char *s)
{
    return wire_view_equals(v, s);
}

static bool text_is(struct broker_text t, const char *s)
{
    return t.len == strlen(s) && memcmp(t.data, s, t.len) == 0;
}

static struct envelope sample(void)
{
    return (struct envelope){
        .kind = MESSAGE_CALL,
        .priority = 3,
        .id = {{1, 2, 3}},
        .expires_ms = NOW_MS + 5000,
        .from = view("acme/web"),
        .to = view("acme/db"),
        .subject = view("db.query"),
        .content_type = view("text/plain"),
        .n_headers = 1,
        .headers = {{view("trace"), view("42")}},
        .body = {(const uint8_t *)"a\0b", 3},
    };
}

static const struct address to_db = {"acme", "db", false}, to_service = {"acme", "db", true};

static int write_way(const struct envelope *e, enum remote_way way, const struct address *to)
{
    const struct remote_message m = {.way = way,
                                     .envelope = e,
                                     .to = to,
                                     .source = &source,
                                     .image = IMAGE,
                                     .host = "h2",
                                     .reply_to = "client.ops.answers",
                                     .correlation = "mine"};
    return amqp_write(&m, &self, NOW_MS, &out);
}

// What was written, as the broker delivers it.
static struct broker_delivery delivered(void)
{
    const struct broker_publication *p = &out.publication;
    return (struct broker_delivery){.handle = 1,
                                    .exchange = p->exchange,
                                    .routing_key = p->routing_key,
                                    .properties = p->properties,
                                    .body = p->body};
}

static struct broker_delivery a_delivery(void)
{
    struct envelope e = sample();
    assert_int_equal(write_way(&e, REMOTE_TO_RECEIVER, &to_db), 0);
    return delivered();
}

static enum amqp_fault read_it(const struct broker_delivery *d)
{
    return amqp_read(d, NOW_MS, &in, &what);
}

static struct broker_header *header(struct broker_delivery *d, const char *name)
{
    for (size_t i = 0; i < d->properties.n_headers; i++)
        if (text_is(d->properties.headers[i].name, name))
            return &d->properties.headers[i];
    fail_msg("no header %s", name);
    return NULL;
}

static void drop_header(struct broker_delivery *d, const char *name)
{
    *header(d, name) = d->properties.headers[--d->properties.n_headers];
}

static void add(struct broker_delivery *d, const char *name, const char *value)
{
    d->properties.headers[d->properties.n_headers++] = (struct broker_header){text(name), text(value)};
}

static struct broker_delivery from_client(void)
{
    struct broker_delivery d = {.handle = 1,
                                .exchange = text("client.ops"),
                                .routing_key = text("acme.db"),
                                .properties = {.type = text("db.query")},
                                .body = text("hello")};
    return d;
}

static void an_envelope_comes_back_as_it_was(void **state)
{
    (void)state;
    struct broker_delivery d = a_delivery();
    assert_int_equal(read_it(&d), AMQP_GOOD);
    const struct envelope *e = &in.envelope;
    const struct id id = {{1, 2, 3}};
    assert_int_equal(e->kind, MESSAGE_CALL);
    assert_int_equal(e->priority, 3);
    assert_true(id_equals(&e->id, &id));
    assert_int_equal(e->expires_ms, NOW_MS + 5000);
    assert_true(view_is(e->from, "acme/web"));
    assert_true(view_is(e->to, "acme/db"));
    assert_true(view_is(e->subject, "db.query"));
    assert_true(view_is(e->content_type, "text/plain"));
    assert_int_equal(e->n_headers, 1);
    assert_true(view_is(e->headers[0].name, "trace"));
    assert_true(view_is(e->headers[0].value, "42"));
    assert_int_equal(e->body.len, 3);
    assert_memory_equal(e->body.data, "a\0b", 3);
}

static void its_sender_comes_with_host_epoch_image_and_labels(void **state)
{
    (void)state;
    struct broker_delivery d = a_delivery();
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_false(in.outside);
    assert_string_equal(in.host, "h1");
    assert_int_equal(in.epoch, 7);
    assert_string_equal(in.image, IMAGE);
    assert_int_equal(in.n_labels, 2);
    assert_string_equal(in.labels[1].key, "tier");
    assert_string_equal(in.labels[1].value, "1");
}

static void messages_are_mandatory_expire_and_name_their_user(void **state)
{
    (void)state;
    struct broker_delivery d = a_delivery();
    assert_true(out.publication.mandatory);
    assert_true(text_is(d.properties.expiration, "5000"));
    assert_true(text_is(d.properties.user_id, "envd.h1"));
    assert_true(text_is(d.exchange, "env"));
    assert_true(text_is(d.routing_key, "acme.db"));
}

static void services_events_and_replies_have_their_own_keys(void **state)
{
    (void)state;
    struct envelope e = sample();
    e.to = view("acme/:db");
    assert_int_equal(write_way(&e, REMOTE_TO_RECEIVER, &to_service), 0);
    assert_true(text_is(out.publication.routing_key, "acme.:db"));
    e.kind = MESSAGE_EVENT;
    assert_int_equal(write_way(&e, REMOTE_TO_SERVERS, &to_service), 0);
    assert_true(text_is(out.publication.exchange, "env.event"));
    struct broker_delivery event = delivered();
    assert_int_equal(read_it(&event), AMQP_GOOD);
    assert_true(in.to.is_service);
    e.kind = MESSAGE_REPLY;
    e.to = view("acme/db");
    e.correlation = e.id;
    assert_int_equal(write_way(&e, REMOTE_TO_HOST, &to_db), 0);
    assert_true(text_is(out.publication.routing_key, "host.h2"));
    struct broker_delivery reply = delivered();
    assert_int_equal(read_it(&reply), AMQP_GOOD);
    assert_int_equal(in.n_labels, 0);
}

static void an_answer_to_an_outside_client_goes_to_its_queue_with_its_mark(void **state)
{
    (void)state;
    struct envelope e = sample();
    e.kind = MESSAGE_REPLY;
    assert_int_equal(write_way(&e, REMOTE_TO_CLIENT, &to_db), 0);
    struct broker_delivery d = delivered();
    assert_int_equal(d.exchange.len, 0);
    assert_true(text_is(d.routing_key, "client.ops.answers"));
    assert_true(text_is(d.properties.correlation_id, "mine"));
    assert_true(text_is(header(&d, "trace")->value, "42"));
    for (size_t i = 0; i < d.properties.n_headers; i++)
        assert_false(text_is(d.properties.headers[i].name, "env-label-role"));
}

static void the_fullest_envelope_with_the_most_labels_fits(void **state)
{
    (void)state;
    static char name[ENVELOPE_HEADER_NAME_MAX], value[ENVELOPE_HEADER_VALUE_MAX];
    static char keys[MEDIATE_LABELS_MAX][MEDIATE_LABEL_KEY_MAX + 1];
    static char label_value[MEDIATE_LABEL_VALUE_MAX + 1];
    struct mediate_label full[MEDIATE_LABELS_MAX];
    struct envelope e = sample();
    memset(name, 'n', sizeof name);
    memset(value, 'v', sizeof value);
    memset(label_value, 'x', sizeof label_value - 1);
    for (e.n_headers = 0; e.n_headers < ENVELOPE_HEADERS_MAX; e.n_headers++)
        e.headers[e.n_headers] = (struct envelope_header){{(const uint8_t *)name, sizeof name},
                                                          {(const uint8_t *)value, sizeof value}};
    for (size_t i = 0; i < MEDIATE_LABELS_MAX; i++) {
        memset(keys[i], 'a', MEDIATE_LABEL_KEY_MAX);
        full[i] = (struct mediate_label){keys[i], label_value};
    }
    const struct mediate_party party = {"acme", "web", full, MEDIATE_LABELS_MAX};
    const struct remote_message m = {.envelope = &e, .to = &to_db, .source = &party, .image = IMAGE};
    assert_int_equal(amqp_write(&m, &self, NOW_MS, &out), 0);
    struct broker_delivery d = delivered();
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_int_equal(in.n_labels, MEDIATE_LABELS_MAX);
    assert_int_equal(in.envelope.n_headers, ENVELOPE_HEADERS_MAX);
}

static void what_is_over_its_time_still_gets_a_valid_expiration(void **state)
{
    (void)state;
    struct envelope e = sample();
    e.expires_ms = NOW_MS - 1;
    assert_int_equal(write_way(&e, REMOTE_TO_RECEIVER, &to_db), 0);
    assert_true(text_is(out.publication.properties.expiration, "1"));
}

static void each_missing_field_is_missed(void **state)
{
    (void)state;
    static const char *const needed[] = {"env-version", "env-kind", "env-from",
                                         "env-to",      "env-host", "env-epoch"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        struct broker_delivery d = a_delivery();
        drop_header(&d, needed[i]);
        assert_int_equal(read_it(&d), AMQP_MISSING);
    }
    struct broker_delivery d = a_delivery();
    d.properties.message_id = text("");
    assert_int_equal(read_it(&d), AMQP_MISSING);
    d = a_delivery();
    d.properties.type = text("");
    assert_int_equal(read_it(&d), AMQP_MISSING);
}

static void a_value_that_cannot_be_is_refused(void **state)
{
    (void)state;
    static const struct {
        const char *header, *value;
    } cases[] = {
        {"env-kind", "shout"},
        {"env-from", "acme/web/x"},
        {"env-from", "web"},
        {"env-to", ""},
        {"env-epoch", "-1"},
        {"env-epoch", ""},
        {"env-epoch", "18446744073709551616"},
        {"env-expires", "tomorrow"},
        {"env-image", "sha256:12"},
        {"env-label-role", "two words"},
        {"env-to", "acme/other"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct broker_delivery d = a_delivery();
        header(&d, cases[i].header)->value = text(cases[i].value);
        assert_int_equal(read_it(&d), AMQP_FIELD);
    }
    struct broker_delivery d = a_delivery();
    d.properties.priority = 10;
    assert_int_equal(read_it(&d), AMQP_FIELD);
    d = a_delivery();
    d.properties.message_id = text("one");
    assert_int_equal(read_it(&d), AMQP_FIELD);
    d = a_delivery();
    d.properties.type = text("no subject");
    assert_int_equal(read_it(&d), AMQP_FIELD);
}

static void another_version_is_refused_as_such(void **state)
{
    (void)state;
    struct broker_delivery d = a_delivery();
    header(&d, "env-version")->value = text("2");
    assert_int_equal(read_it(&d), AMQP_VERSION);
}

static void invalid_utf8_is_refused_as_such(void **state)
{
    (void)state;
    static const char bad[] = "\xc3\x28";
    struct broker_delivery d = a_delivery();
    d.properties.content_type = text(bad);
    assert_int_equal(read_it(&d), AMQP_NOT_UTF8);
    d = a_delivery();
    d.properties.type = text(bad);
    assert_int_equal(read_it(&d), AMQP_NOT_UTF8);
    d = a_delivery();
    header(&d, "env-h-trace")->value = text(bad);
    assert_int_equal(read_it(&d), AMQP_NOT_UTF8);
    d = a_delivery();
    header(&d, "env-label-role")->value = text(bad);
    assert_int_equal(read_it(&d), AMQP_NOT_UTF8);
    d = a_delivery();
    header(&d, "env-from")->value = text(bad);
    assert_int_equal(read_it(&d), AMQP_NOT_UTF8);
}

static void oversized_headers_are_refused_as_such(void **state)
{
    (void)state;
    static char value[ENVELOPE_HEADER_VALUE_MAX + 1];
    memset(value, 'v', sizeof value);
    struct broker_delivery d = a_delivery();
    header(&d, "env-h-trace")->value = (struct broker_text){value, sizeof value};
    assert_int_equal(read_it(&d), AMQP_HEADERS);
    d = a_delivery();
    d.properties.content_type = (struct broker_text){value, ENVELOPE_CONTENT_TYPE_MAX + 1};
    assert_int_equal(read_it(&d), AMQP_HEADERS);
    d = a_delivery();
    d.properties.headers_truncated = true;
    assert_int_equal(read_it(&d), AMQP_HEADERS);
    d = a_delivery();
    for (size_t i = 0; i < ENVELOPE_HEADERS_MAX; i++)
        add(&d, "env-h-more", "x");
    assert_int_equal(read_it(&d), AMQP_HEADERS);
    d = a_delivery();
    add(&d, "env-h-", "nameless");
    assert_int_equal(read_it(&d), AMQP_HEADERS);
}

static void a_host_that_is_not_its_user_id_lies(void **state)
{
    (void)state;
    struct broker_delivery d = a_delivery();
    header(&d, "env-host")->value = text("h2");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = a_delivery();
    d.properties.user_id = text("client.ops");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = a_delivery();
    d.properties.user_id = text("");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = a_delivery();
    d.properties.user_id = text("envd.");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = a_delivery();
    header(&d, "env-from")->value = text("amqp/ops");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = a_delivery();
    header(&d, "env-from")->value = text("acme/:web");
    assert_int_equal(read_it(&d), AMQP_SENDER);
}

static struct envelope a_refusal(void)
{
    struct envelope e = {.kind = MESSAGE_REPLY,
                         .id = {{1}},
                         .correlation = {{2}},
                         .from = view("acme/:db"),
                         .to = view("acme/web"),
                         .subject = view("refused"),
                         .n_headers = 1,
                         .headers = {{view(ENVELOPE_REFUSED), view("mailbox-full")}}};
    return e;
}

static void a_refusal_comes_back_as_one_from_what_was_called(void **state)
{
    (void)state;
    struct envelope e = a_refusal();
    assert_int_equal(write_way(&e, REMOTE_TO_HOST, &to_db), 0);
    struct broker_delivery d = delivered();
    assert_true(text_is(header(&d, ENVELOPE_REFUSED)->value, "mailbox-full"));
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_int_equal(envelope_refusal(&in.envelope), RECEIPT_MAILBOX_FULL);
    assert_true(in.from.is_service);
}

static void outside_clients_see_the_code_of_a_refusal(void **state)
{
    (void)state;
    struct envelope e = a_refusal();
    assert_int_equal(write_way(&e, REMOTE_TO_CLIENT, &to_db), 0);
    struct broker_delivery d = delivered();
    assert_true(text_is(header(&d, ENVELOPE_REFUSED)->value, "mailbox-full"));
    assert_true(text_is(d.properties.type, "refused"));
}

static void a_refusal_without_a_known_code_or_by_an_environment_is_none(void **state)
{
    (void)state;
    struct envelope e = a_refusal();
    write_way(&e, REMOTE_TO_HOST, &to_db);
    struct broker_delivery d = delivered();
    header(&d, ENVELOPE_REFUSED)->value = text("accepted");
    assert_int_equal(read_it(&d), AMQP_FIELD);
    header(&d, ENVELOPE_REFUSED)->value = text("whatever");
    assert_int_equal(read_it(&d), AMQP_FIELD);
    e.from = view("acme/db");
    write_way(&e, REMOTE_TO_HOST, &to_db);
    d = delivered();
    header(&d, ENVELOPE_REFUSED)->name = text("env-h-" ENVELOPE_REFUSED);
    assert_int_equal(read_it(&d), AMQP_FIELD);
}

static void an_unreadable_call_is_answered_only_at_its_own_queue(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    d.routing_key = text("nobody");
    assert_false(amqp_read_way_back(&d, &in)); // no call
    d.properties.reply_to = text("client.ops.answers");
    d.properties.correlation_id = text("mine");
    assert_true(amqp_read_way_back(&d, &in));
    assert_string_equal(in.from.name, "ops");
    assert_string_equal(in.reply_to, "client.ops.answers");
    assert_string_equal(in.correlation, "mine");
    d.properties.user_id = text("client.eve"); // a lie, but the exchange says who it is
    assert_true(amqp_read_way_back(&d, &in));
    d.properties.reply_to = text("client.eve.answers");
    assert_false(amqp_read_way_back(&d, &in));
    d = a_delivery();
    d.properties.reply_to = text("client.ops.answers");
    assert_false(amqp_read_way_back(&d, &in)); // a host's
}

static void an_exchange_that_proves_nothing_is_not_believed(void **state)
{
    (void)state;
    static const char *const exchanges[] = {"",        "env.dead",  "amq.fanout",
                                            "client.", "client.No", "client.a.b"};
    for (size_t i = 0; i < sizeof exchanges / sizeof exchanges[0]; i++) {
        struct broker_delivery d = a_delivery();
        d.exchange = text(exchanges[i]);
        assert_int_equal(read_it(&d), AMQP_SENDER);
    }
}

static void an_outside_client_is_who_its_exchange_says(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_true(in.outside);
    assert_int_equal(in.envelope.kind, MESSAGE_SEND);
    assert_true(view_is(in.envelope.from, "amqp/ops"));
    assert_true(view_is(in.envelope.to, "acme/db"));
    assert_true(view_is(in.envelope.subject, "db.query"));
    assert_true(id_is_zero(&in.envelope.id));
}

static void an_outside_client_that_says_otherwise_lies(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    d.properties.user_id = text("envd.h1");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = from_client();
    d.properties.user_id = text("client.other");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = from_client();
    add(&d, "env-from", "acme/web");
    assert_int_equal(read_it(&d), AMQP_SENDER);
    d = from_client();
    d.properties.user_id = text("client.ops");
    add(&d, "env-from", "amqp/ops");
    assert_int_equal(read_it(&d), AMQP_GOOD);
}

static void labels_and_image_of_an_outside_client_are_not_believed(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    add(&d, "env-label-role", "web");
    add(&d, "env-image", IMAGE);
    add(&d, "colour", "blue");
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_int_equal(in.n_labels, 0);
    assert_null(in.image);
    assert_int_equal(in.envelope.n_headers, 1);
}

static void an_outside_call_is_answered_only_where_its_sender_reads(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    d.properties.reply_to = text("client.ops.answers");
    d.properties.correlation_id = text("mine");
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_int_equal(in.envelope.kind, MESSAGE_CALL);
    assert_string_equal(in.reply_to, "client.ops.answers");
    assert_string_equal(in.correlation, "mine");
    d.properties.reply_to = text("amq.rabbitmq.reply-to.g1");
    assert_int_equal(read_it(&d), AMQP_GOOD);
    static const char *const foreign[] = {"client.other.answers", "client.ops", "mailbox.acme.db", "dead",
                                          "amq.gen-1"};
    for (size_t i = 0; i < sizeof foreign / sizeof foreign[0]; i++) {
        d.properties.reply_to = text(foreign[i]);
        assert_int_equal(read_it(&d), AMQP_REPLY_TO);
    }
}

static void an_outside_key_is_an_address(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    d.routing_key = text("acme.:work");
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_true(in.to.is_service);
    static const char *const bad[] = {"", "acme", ".db", "acme.", "acme.:", "acme.a.b", "Acme.db"};
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        d.routing_key = text(bad[i]);
        assert_int_equal(read_it(&d), AMQP_FIELD);
    }
}

static void an_outside_subject_may_be_a_header(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    d.properties.type = text("");
    assert_int_equal(read_it(&d), AMQP_MISSING);
    add(&d, "subject", "db.query");
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_true(view_is(in.envelope.subject, "db.query"));
    assert_int_equal(in.envelope.n_headers, 0);
}

static void an_outside_expiration_counts_from_when_it_was_sent(void **state)
{
    (void)state;
    struct broker_delivery d = from_client();
    d.properties.expiration = text("3000");
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_int_equal(in.envelope.expires_ms, NOW_MS + 3000);
    d.properties.timestamp = NOW_MS / 1000 - 10;
    assert_int_equal(read_it(&d), AMQP_GOOD);
    assert_int_equal(in.envelope.expires_ms, NOW_MS - 7000);
    d.properties.expiration = text("soon");
    assert_int_equal(read_it(&d), AMQP_FIELD);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_envelope_comes_back_as_it_was),
        cmocka_unit_test(its_sender_comes_with_host_epoch_image_and_labels),
        cmocka_unit_test(messages_are_mandatory_expire_and_name_their_user),
        cmocka_unit_test(services_events_and_replies_have_their_own_keys),
        cmocka_unit_test(an_answer_to_an_outside_client_goes_to_its_queue_with_its_mark),
        cmocka_unit_test(the_fullest_envelope_with_the_most_labels_fits),
        cmocka_unit_test(what_is_over_its_time_still_gets_a_valid_expiration),
        cmocka_unit_test(each_missing_field_is_missed),
        cmocka_unit_test(a_value_that_cannot_be_is_refused),
        cmocka_unit_test(another_version_is_refused_as_such),
        cmocka_unit_test(invalid_utf8_is_refused_as_such),
        cmocka_unit_test(oversized_headers_are_refused_as_such),
        cmocka_unit_test(a_host_that_is_not_its_user_id_lies),
        cmocka_unit_test(a_refusal_comes_back_as_one_from_what_was_called),
        cmocka_unit_test(outside_clients_see_the_code_of_a_refusal),
        cmocka_unit_test(a_refusal_without_a_known_code_or_by_an_environment_is_none),
        cmocka_unit_test(an_unreadable_call_is_answered_only_at_its_own_queue),
        cmocka_unit_test(an_exchange_that_proves_nothing_is_not_believed),
        cmocka_unit_test(an_outside_client_is_who_its_exchange_says),
        cmocka_unit_test(an_outside_client_that_says_otherwise_lies),
        cmocka_unit_test(labels_and_image_of_an_outside_client_are_not_believed),
        cmocka_unit_test(an_outside_call_is_answered_only_where_its_sender_reads),
        cmocka_unit_test(an_outside_key_is_an_address),
        cmocka_unit_test(an_outside_subject_may_be_a_header),
        cmocka_unit_test(an_outside_expiration_counts_from_when_it_was_sent),
    };
    return cmocka_run_group_tests_name("amqp_map", tests, NULL, NULL);
}
