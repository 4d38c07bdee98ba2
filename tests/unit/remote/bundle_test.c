// Tests of what leaves together and arrives together (lane.c, bundle.c, incoming_bundle.c). The broker is
// played by the test: it keeps what is published, and tells outcomes when the test says.
#include "testing.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "remote/bundle.h"
#include "remote/lane.h"
#include "remote/remote_internal.h"

#define PUBLISHED_MAX 256
#define FEW           2 // that leave one by one

static struct {
    struct {
        broker_done_cb *done;
        void *arg;
        char key[64], id[40], expiration[24];
        bool bundle, mandatory;
        uint32_t patience_ms;
        char *body;
        size_t len;
    } published[PUBLISHED_MAX];
    unsigned n, n_told;
    int rc;
} b;

static void copy(char *out, size_t cap, struct broker_text t)
{
    assert_true(t.len < cap);
    memcpy(out, t.len ? t.data : "", t.len);
    out[t.len] = '\0';
}

int broker_publish(struct broker *unused, const struct broker_publication *p, broker_done_cb *done, void *arg)
{
    (void)unused;
    if (b.rc < 0)
        return b.rc;
    assert_true(b.n < PUBLISHED_MAX);
    b.published[b.n].done = done;
    b.published[b.n].arg = arg;
    b.published[b.n].mandatory = p->mandatory;
    b.published[b.n].patience_ms = p->patience_ms;
    b.published[b.n].bundle =
        bundle_is(&(struct broker_delivery){.exchange = p->exchange, .properties = p->properties});
    copy(b.published[b.n].key, sizeof b.published[b.n].key, p->routing_key);
    copy(b.published[b.n].id, sizeof b.published[b.n].id, p->properties.message_id);
    copy(b.published[b.n].expiration, sizeof b.published[b.n].expiration, p->properties.expiration);
    b.published[b.n].body = malloc(p->body.len + 1);
    b.published[b.n].len = p->body.len;
    memcpy(b.published[b.n].body, p->body.len ? p->body.data : "", p->body.len);
    b.n++;
    return 0;
}

// Of the oldest publication that has none.
static void outcome(enum broker_outcome what)
{
    unsigned i = b.n_told++;
    assert_true(i < b.n);
    b.published[i].done(b.published[i].arg, what);
}

static struct remote r;
static struct {
    unsigned n, order[512];
    enum broker_outcome outcomes[512];
    unsigned again; // a sender that sends once more when it hears
} told;

static struct broker_text text(const char *s)
{
    return (struct broker_text){s, strlen(s)};
}

static int setup(void **state)
{
    (void)state;
    memset(&b, 0, sizeof b);
    memset(&told, 0, sizeof told);
    memset(&r, 0, sizeof r);
    r.broker = (struct broker *)(void *)&b;
    strcpy(r.user, "envd.h1");
    r.key = siphash_key_random();
    return table_init(&r.lanes, 16) < 0 || table_init(&r.bundles, 16) < 0 ? -1 : 0;
}

static int teardown(void **state)
{
    (void)state;
    r.stopping = true;
    while (b.n_told < b.n)
        outcome(BROKER_NOT_SENT);
    assert_null(table_any(&r.lanes));
    assert_int_equal(r.waiting_bytes, 0);
    table_done(&r.lanes);
    incoming_bundles_done(&r);
    for (unsigned i = 0; i < b.n; i++)
        free(b.published[i].body);
    return 0;
}

static int send_sized(const char *key, unsigned n, size_t len, uint64_t expires_ms, uint32_t patience_ms);

static void on_told(void *arg, enum broker_outcome what)
{
    told.outcomes[told.n] = what;
    told.order[told.n++] = (unsigned)(uintptr_t)arg;
    if (told.again > 0) {
        told.again--;
        assert_int_equal(send_sized("acme.db", 1000 + told.again, 5, 0, 10000), 0);
    }
}

static int send_sized(const char *key, unsigned n, size_t len, uint64_t expires_ms, uint32_t patience_ms)
{
    char id[40], *body = calloc(1, len);
    snprintf(id, sizeof id, "id-%u", n);
    struct broker_publication p = {.exchange = text("env"),
                                   .routing_key = text(key),
                                   .mandatory = true,
                                   .body = {body, len},
                                   .patience_ms = patience_ms};
    p.properties = (struct broker_properties){
        .message_id = text(id), .type = text("q"), .user_id = text("envd.h1"), .priority = 4, .timestamp = 9};
    p.properties.n_headers = 2;
    p.properties.headers[0] = (struct broker_header){text("env-kind"), text("send")};
    p.properties.headers[1] = (struct broker_header){text("env-h-empty"), text("")};
    int rc = lane_send(&r, &p, expires_ms, on_told, (void *)(uintptr_t)n);
    free(body);
    return rc;
}

static void sends(const char *key, unsigned first, unsigned last)
{
    for (unsigned n = first; n <= last; n++)
        assert_int_equal(send_sized(key, n, 5, 0, 10000), 0);
}

static uint32_t parts_of(unsigned i)
{
    return b.published[i].bundle ? bundle_check((struct broker_text){b.published[i].body, b.published[i].len})
                                 : 1;
}

static void assert_told_in_order(unsigned n)
{
    assert_int_equal(told.n, n);
    for (unsigned i = 0; i < n; i++) {
        assert_int_equal(told.order[i], i + 1);
        assert_int_equal(told.outcomes[i], BROKER_CONFIRMED);
    }
}

// --- out ---

static void a_few_leave_at_once_each_alone(void **state)
{
    (void)state;
    sends("acme.db", 1, FEW);
    assert_int_equal(b.n, FEW);
    for (unsigned i = 0; i < FEW; i++)
        assert_false(b.published[i].bundle);
    assert_string_equal(b.published[1].id, "id-2");
    assert_true(b.published[1].mandatory);
}

static void what_gathers_meanwhile_leaves_together_and_in_order(void **state)
{
    (void)state;
    sends("acme.db", 1, 10);
    assert_int_equal(b.n, FEW);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.n, FEW + 1);
    assert_true(b.published[FEW].bundle);
    assert_true(b.published[FEW].mandatory);
    assert_int_equal(parts_of(FEW), 8);
    assert_string_equal(b.published[FEW].key, "acme.db");
    assert_string_equal(b.published[FEW].id, "id-3");
    while (b.n_told < b.n)
        outcome(BROKER_CONFIRMED);
    assert_told_in_order(10);
}

static void one_that_waited_alone_leaves_as_it_is(void **state)
{
    (void)state;
    sends("acme.db", 1, FEW + 1);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.n, FEW + 1);
    assert_false(b.published[FEW].bundle);
    assert_string_equal(b.published[FEW].id, "id-3");
    assert_int_equal(b.published[FEW].len, 5);
}

static void another_receivers_do_not_wait(void **state)
{
    (void)state;
    sends("acme.db", 1, 10);
    sends("acme.web", 11, 11);
    assert_int_equal(b.n, FEW + 1);
    assert_string_equal(b.published[FEW].key, "acme.web");
}

static void whole_bundles_wait_for_fewer_confirms(void **state)
{
    (void)state;
    sends("acme.db", 1, FEW + BUNDLE_PARTS_MAX - 1);
    assert_int_equal(b.n, FEW);
    sends("acme.db", FEW + BUNDLE_PARTS_MAX, FEW + BUNDLE_PARTS_MAX);
    assert_int_equal(b.n, FEW + 1);
    assert_int_equal(parts_of(FEW), BUNDLE_PARTS_MAX);
    sends("acme.db", 100, 100 + 3 * BUNDLE_PARTS_MAX - 1);
    assert_int_equal(b.n, FEW + 2); // and not more than that
    while (b.n_told < b.n)
        outcome(BROKER_CONFIRMED);
    assert_int_equal(b.n, FEW + 4);
}

static void a_bundle_is_bounded_in_bytes(void **state)
{
    (void)state;
    sends("acme.db", 1, FEW);
    for (unsigned n = 100; n < 104; n++)
        assert_int_equal(send_sized("acme.db", n, BUNDLE_BYTES_MAX / 2, 0, 10000), 0);
    assert_int_equal(send_sized("acme.db", 104, 3 * BUNDLE_BYTES_MAX, 0, 10000), 0);
    sends("acme.db", 105, 107);
    while (b.n_told < b.n)
        outcome(BROKER_CONFIRMED);
    assert_int_equal(told.n, FEW + 8);
    for (unsigned i = 0; i < b.n; i++)
        assert_true(!b.published[i].bundle || b.published[i].len <= BUNDLE_BYTES_MAX);
}

static void one_receivers_mail_leaves_room_for_others(void **state)
{
    (void)state;
    int rc = 0;
    for (unsigned n = 0; n < 200 && rc == 0; n++)
        rc = send_sized("acme.db", n, 1u << 20, 0, 10000);
    assert_int_equal(rc, -ENOBUFS);
    assert_in_range(r.waiting_bytes, 16u << 20, 32u << 20);
    sends("acme.web", 300, 310);
    assert_int_equal(send_sized("acme.web", 311, 1u << 20, 0, 10000), 0);
}

static void each_sender_hears_what_became_of_the_whole(void **state)
{
    (void)state;
    sends("acme.db", 1, 7);
    for (unsigned i = 0; i < FEW; i++)
        outcome(BROKER_CONFIRMED);
    outcome(BROKER_NACKED);
    assert_int_equal(told.n, 7);
    for (unsigned i = FEW; i < 7; i++)
        assert_int_equal(told.outcomes[i], BROKER_NACKED);
}

static void who_sends_again_when_it_hears_comes_last(void **state)
{
    (void)state;
    sends("acme.db", 1, 3);
    told.again = 20;
    while (b.n_told < b.n)
        outcome(BROKER_CONFIRMED);
    assert_int_equal(told.n, 23);
    for (unsigned i = 3; i < 23; i++)
        assert_int_equal(told.order[i], 1000 + 22 - i);
}

static void without_the_brokers_outbox_each_hears_that_it_was_not_sent(void **state)
{
    (void)state;
    sends("acme.db", 1, 8);
    b.rc = -ENOBUFS;
    for (unsigned i = 0; i < FEW; i++)
        outcome(BROKER_CONFIRMED);
    assert_int_equal(told.n, 8);
    for (unsigned i = 0; i < 8; i++)
        assert_int_equal(told.outcomes[i], told.order[i] > FEW ? BROKER_NOT_SENT : BROKER_CONFIRMED);
    assert_int_equal(send_sized("acme.db", 9, 5, 0, 10000), -ENOBUFS);
    assert_null(table_any(&r.lanes));
}

static void whose_patience_ended_while_it_waited_does_not_leave(void **state)
{
    (void)state;
    sends("acme.db", 1, FEW);
    assert_int_equal(send_sized("acme.db", 5, 5, 0, 1), 0);
    sends("acme.db", 6, 6);
    usleep(5000);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(b.n, FEW + 1);
    assert_string_equal(b.published[FEW].id, "id-6");
    assert_int_equal(told.order[0], 5);
    assert_int_equal(told.outcomes[0], BROKER_NOT_SENT);
}

static void a_bundle_expires_only_when_all_of_it_does(void **state)
{
    (void)state;
    uint64_t now_ms = 4102444800000; // 2100
    sends("acme.db", 1, FEW);
    assert_int_equal(send_sized("acme.db", 5, 5, now_ms, 10000), 0);
    assert_int_equal(send_sized("acme.db", 6, 5, 0, 10000), 0);
    outcome(BROKER_CONFIRMED);
    assert_true(b.published[FEW].bundle);
    assert_string_equal(b.published[FEW].expiration, "");
    assert_int_equal(send_sized("acme.db", 7, 5, 1, 10000), 0); // long ago
    assert_int_equal(send_sized("acme.db", 8, 5, 2, 10000), 0);
    outcome(BROKER_CONFIRMED);
    assert_true(b.published[FEW + 1].bundle);
    assert_string_equal(b.published[FEW + 1].expiration, "1");
}

static void when_the_link_ends_all_who_wait_are_told(void **state)
{
    (void)state;
    sends("acme.db", 1, 50);
    unsigned n = b.n;
    r.stopping = true;
    while (b.n_told < b.n)
        outcome(BROKER_NOT_SENT);
    assert_int_equal(b.n, n);
    assert_int_equal(told.n, 50);
}

// --- in ---

static struct {
    unsigned n;
    char ids[64][40];
} got;

static void on_part(struct remote *remote, const struct broker_delivery *part)
{
    (void)remote;
    copy(got.ids[got.n++], sizeof got.ids[0], part->properties.message_id);
    assert_int_equal(part->handle, 7);
    assert_int_equal(part->properties.n_headers, 2);
    assert_int_equal(part->properties.priority, 4);
    assert_memory_equal(part->properties.user_id.data, "envd.h2", 7);
}

static struct broker_delivery arrived(const char *body, size_t len)
{
    return (struct broker_delivery){
        .handle = 7,
        .exchange = text("env"),
        .routing_key = text("acme.db"),
        .properties = {.user_id = text("envd.h2"), .content_type = text(BUNDLE_CONTENT_TYPE)},
        .body = {body, len}};
}

static void bundle_of(unsigned n)
{
    memset(&got, 0, sizeof got);
    sends("acme.db", 1, FEW + n);
    outcome(BROKER_CONFIRMED);
    assert_int_equal(parts_of(FEW), n);
    const struct broker_delivery d = arrived(b.published[FEW].body, b.published[FEW].len);
    assert_true(bundle_is(&d));
    assert_int_equal(incoming_bundle_open(&r, &d, on_part), 0);
    assert_int_equal(got.n, n);
}

static void parts_arrive_in_order_as_they_were(void **state)
{
    (void)state;
    bundle_of(3);
    assert_string_equal(got.ids[0], "id-3");
    assert_string_equal(got.ids[2], "id-5");
}

static void the_whole_is_settled_with_its_last_part_by_the_strongest_wish(void **state)
{
    (void)state;
    enum broker_settlement how = BROKER_ACK;
    bundle_of(3);
    assert_false(incoming_bundle_settled(&r, 7, &how));
    how = BROKER_REQUEUE;
    assert_false(incoming_bundle_settled(&r, 7, &how));
    how = BROKER_DEAD_LETTER;
    assert_true(incoming_bundle_settled(&r, 7, &how));
    assert_int_equal(how, BROKER_REQUEUE);
    how = BROKER_ACK; // a message alone, of another handle
    assert_true(incoming_bundle_settled(&r, 8, &how));
    assert_int_equal(how, BROKER_ACK);
}

static void only_hosts_send_several_in_one(void **state)
{
    (void)state;
    struct broker_delivery d = arrived("", 0);
    d.properties.user_id = text("client.x");
    assert_false(bundle_is(&d));
    d = arrived("", 0);
    d.exchange = text("client.x");
    assert_false(bundle_is(&d));
}

static void what_no_host_makes_is_not_opened_at_any_length(void **state)
{
    (void)state;
    memset(&got, 0, sizeof got);
    sends("acme.db", 1, FEW + 4);
    outcome(BROKER_CONFIRMED);
    for (size_t len = 0; len < b.published[FEW].len; len++) {
        const struct broker_delivery d = arrived(b.published[FEW].body, len);
        uint32_t whole = bundle_check(d.body);
        assert_true(whole < 4); // cut between two parts it is a shorter one
        if (whole == 0)
            assert_int_equal(incoming_bundle_open(&r, &d, on_part), -EINVAL);
    }
    assert_int_equal(got.n, 0);
    size_t one = b.published[FEW].len / 4, n = BUNDLE_PARTS_MAX + 1;
    char *many = malloc(n * one);
    for (size_t i = 0; i < n; i++)
        memcpy(many + i * one, b.published[FEW].body, one);
    assert_int_equal(bundle_check((struct broker_text){many, (n - 1) * one}), BUNDLE_PARTS_MAX);
    assert_int_equal(bundle_check((struct broker_text){many, n * one}), 0);
    free(many);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_few_leave_at_once_each_alone),
        T(what_gathers_meanwhile_leaves_together_and_in_order),
        T(one_that_waited_alone_leaves_as_it_is),
        T(another_receivers_do_not_wait),
        T(whole_bundles_wait_for_fewer_confirms),
        T(a_bundle_is_bounded_in_bytes),
        T(one_receivers_mail_leaves_room_for_others),
        T(each_sender_hears_what_became_of_the_whole),
        T(who_sends_again_when_it_hears_comes_last),
        T(without_the_brokers_outbox_each_hears_that_it_was_not_sent),
        T(whose_patience_ended_while_it_waited_does_not_leave),
        T(a_bundle_expires_only_when_all_of_it_does),
        T(when_the_link_ends_all_who_wait_are_told),
        T(parts_arrive_in_order_as_they_were),
        T(the_whole_is_settled_with_its_last_part_by_the_strongest_wish),
        T(only_hosts_send_several_in_one),
        T(what_no_host_makes_is_not_opened_at_any_length),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
