// Messages from frames, and settling them (server/daemon/broker/frames.c, consume.c).
#include "testing.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "broker/consume.h"
#include "broker/frames.h"

static struct assembly a;
static struct arrival *got;

static int teardown(void **state)
{
    (void)state;
    assembly_reset(&a);
    free(got);
    got = NULL;
    return 0;
}

static amqp_frame_t method(amqp_method_number_t id, void *decoded)
{
    amqp_frame_t f = {.frame_type = AMQP_FRAME_METHOD, .channel = 1};
    f.payload.method.id = id;
    f.payload.method.decoded = decoded;
    return f;
}

static amqp_frame_t header(amqp_basic_properties_t *p, uint64_t len)
{
    amqp_frame_t f = {.frame_type = AMQP_FRAME_HEADER, .channel = 1};
    f.payload.properties.class_id = AMQP_BASIC_CLASS;
    f.payload.properties.body_size = len;
    f.payload.properties.decoded = p;
    return f;
}

static amqp_frame_t body(const char *s)
{
    amqp_frame_t f = {.frame_type = AMQP_FRAME_BODY, .channel = 1};
    f.payload.body_fragment = bytes_of(s);
    return f;
}

static int feed(amqp_frame_t f)
{
    assert_true(assembly_wants(&f));
    return assembly_feed(&a, &f, &got);
}

static int begin(void)
{
    amqp_basic_deliver_t d = {.consumer_tag = bytes_of("envd-7"),
                              .delivery_tag = 3,
                              .redelivered = 1,
                              .exchange = bytes_of("env"),
                              .routing_key = bytes_of("acme.web")};
    return feed(method(AMQP_BASIC_DELIVER_METHOD, &d));
}

static void assert_text(struct broker_text t, const char *s)
{
    assert_int_equal(t.len, strlen(s));
    assert_memory_equal(t.data, s, t.len);
}

static void a_delivery_in_pieces_becomes_one_message(void **state)
{
    (void)state;
    amqp_table_entry_t e[] = {
        {.key = bytes_of("text"), .value = {.kind = AMQP_FIELD_KIND_UTF8, .value.bytes = bytes_of("v")}},
        {.key = bytes_of("number"), .value = {.kind = AMQP_FIELD_KIND_I64, .value.i64 = -5}},
        {.key = bytes_of("table"), .value = {.kind = AMQP_FIELD_KIND_TABLE}},
        {.key = bytes_of("flag"), .value = {.kind = AMQP_FIELD_KIND_BOOLEAN, .value.boolean = 1}},
    };
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG | AMQP_BASIC_MESSAGE_ID_FLAG |
                                           AMQP_BASIC_PRIORITY_FLAG,
                                 .message_id = bytes_of("id"),
                                 .user_id = bytes_of("not flagged"),
                                 .priority = 4,
                                 .headers = {4, e}};
    assert_int_equal(begin(), 0);
    assert_int_equal(feed(header(&p, 5)), 0);
    assert_int_equal(feed(body("he")), 0);
    assert_null(got);
    assert_int_equal(feed(body("llo")), 0);
    assert_non_null(got);
    assert_memory_equal(got->body, "hello", 5);
    assert_int_equal(got->consumer, 7);
    assert_int_equal(got->tag, 3);
    assert_true(got->redelivered);
    assert_int_equal(got->priority, 4);
    assert_text(got->exchange, "env");
    assert_text(got->routing_key, "acme.web");
    assert_text(got->texts[0], "id");
    assert_text(got->texts[3], "");
    assert_int_equal(got->n_headers, 3);
    assert_text(got->headers[0].value, "v");
    assert_text(got->headers[1].value, "-5");
    assert_text(got->headers[2].name, "flag");
    assert_text(got->headers[2].value, "1");
}

static void a_message_without_a_body_ends_with_its_header(void **state)
{
    (void)state;
    amqp_basic_properties_t p = {0};
    assert_int_equal(begin(), 0);
    assert_int_equal(feed(header(&p, 0)), 0);
    assert_non_null(got);
    assert_int_equal(got->body_len, 0);
}

static void a_body_longer_than_it_said_is_an_error(void **state)
{
    (void)state;
    amqp_basic_properties_t p = {0};
    assert_int_equal(begin(), 0);
    assert_int_equal(feed(header(&p, 3)), 0);
    assert_int_equal(feed(body("four")), -EPROTO);
}

static void frames_out_of_order_are_an_error(void **state)
{
    (void)state;
    amqp_basic_properties_t p = {0};
    assert_int_equal(feed(header(&p, 3)), -EPROTO);
    assert_int_equal(feed(body("x")), -EPROTO);
    assert_int_equal(begin(), 0);
    assert_int_equal(feed(body("x")), -EPROTO);
    assert_int_equal(begin(), -EPROTO);
}

static void an_oversized_body_is_counted_and_not_kept(void **state)
{
    static char piece[CONN_FRAME_MAX];
    (void)state;
    amqp_basic_properties_t p = {0};
    amqp_frame_t f = {.frame_type = AMQP_FRAME_BODY, .channel = 1};
    f.payload.body_fragment = (amqp_bytes_t){sizeof piece, piece};
    uint64_t len = BROKER_BODY_MAX + (uint64_t)sizeof piece;
    assert_int_equal(begin(), 0);
    assert_int_equal(feed(header(&p, len)), 0);
    for (uint64_t n = 0; n < len; n += sizeof piece)
        assert_int_equal(feed(f), 0);
    assert_non_null(got);
    assert_true(got->oversized);
}

static void a_length_beyond_memory_is_an_error(void **state)
{
    (void)state;
    amqp_basic_properties_t p = {0};
    assert_int_equal(begin(), 0);
    assert_int_equal(feed(header(&p, UINT64_MAX)), -EPROTO);
}

static void headers_beyond_the_most_are_dropped_and_told(void **state)
{
    (void)state;
    amqp_table_entry_t e[BROKER_HEADERS_MAX + 1];
    for (int i = 0; i <= BROKER_HEADERS_MAX; i++)
        e[i] = (amqp_table_entry_t){.key = bytes_of("n"),
                                    .value = {.kind = AMQP_FIELD_KIND_U16, .value.u16 = 65535}};
    amqp_basic_properties_t p = {._flags = AMQP_BASIC_HEADERS_FLAG, .headers = {BROKER_HEADERS_MAX + 1, e}};
    assert_int_equal(begin(), 0);
    assert_int_equal(feed(header(&p, 0)), 0);
    assert_int_equal(got->n_headers, BROKER_HEADERS_MAX);
    assert_true(got->truncated);
    assert_text(got->headers[BROKER_HEADERS_MAX - 1].value, "65535");
}

static void foreign_consumer_tags_are_nobodys(void **state)
{
    (void)state;
    char tag[CONSUMER_TAG_CAP];
    consumer_tag_make(tag, UINT64_MAX);
    assert_true(consumer_tag_parse(bytes_of(tag)) == UINT64_MAX);
    assert_int_equal(consumer_tag_parse(bytes_of("envd-")), 0);
    assert_int_equal(consumer_tag_parse(bytes_of("envd-7x")), 0);
    assert_int_equal(consumer_tag_parse(bytes_of("amq.ctag-7")), 0);
    assert_int_equal(consumer_tag_parse(bytes_of("envd-99999999999999999999999999999999")), 0);
    assert_int_equal(consumer_tag_parse(amqp_empty_bytes), 0);
}

// --- settling ---

static struct broker_stats stats;
static struct deliveries d;

static int setup_deliveries(void **state)
{
    (void)state;
    stats = (struct broker_stats){0};
    return deliveries_init(&d, 1, &stats);
}

static int teardown_deliveries(void **state)
{
    (void)state;
    deliveries_done(&d);
    return 0;
}

static void assert_settles(uint64_t tag, bool multiple, enum broker_settlement how)
{
    uint64_t got_tag;
    bool got_multiple;
    enum broker_settlement got_how;
    assert_true(deliveries_next(&d, &got_tag, &got_multiple, &got_how));
    assert_int_equal(got_tag, tag);
    assert_int_equal(got_multiple, multiple);
    assert_int_equal(got_how, how);
}

static void assert_nothing_to_settle(void)
{
    uint64_t tag;
    bool multiple;
    enum broker_settlement how;
    assert_false(deliveries_next(&d, &tag, &multiple, &how));
}

static void acks_from_the_oldest_on_become_one(void **state)
{
    uint64_t h[5];
    (void)state;
    for (uint64_t i = 0; i < 5; i++)
        h[i] = deliveries_add(&d, i + 1, 1);
    assert_true(deliveries_settle(&d, h[2], BROKER_ACK));
    assert_true(deliveries_settle(&d, h[0], BROKER_ACK));
    assert_true(deliveries_settle(&d, h[1], BROKER_ACK));
    assert_true(deliveries_settle(&d, h[4], BROKER_ACK));
    assert_settles(3, true, BROKER_ACK);
    assert_settles(5, false, BROKER_ACK); // 4 is open
    assert_nothing_to_settle();
    assert_int_equal(stats.unsettled, 1);
    assert_int_equal(stats.acked, 4);
}

static void what_goes_back_is_never_part_of_an_ack(void **state)
{
    (void)state;
    uint64_t h1 = deliveries_add(&d, 1, 1), h2 = deliveries_add(&d, 2, 1), h3 = deliveries_add(&d, 3, 1);
    deliveries_settle(&d, h3, BROKER_ACK);
    deliveries_settle(&d, h2, BROKER_DEAD_LETTER);
    deliveries_settle(&d, h1, BROKER_REQUEUE);
    assert_settles(3, false, BROKER_ACK);
    assert_settles(2, false, BROKER_DEAD_LETTER);
    assert_settles(1, false, BROKER_REQUEUE);
    assert_nothing_to_settle();
    assert_int_equal(stats.unsettled, 0);
}

static void handles_of_an_earlier_channel_mean_nothing(void **state)
{
    (void)state;
    uint64_t before = deliveries_add(&d, 1, 1);
    deliveries_reset(&d, 9);
    uint64_t after = deliveries_add(&d, 1, 1);
    assert_int_not_equal(before, after);
    assert_false(deliveries_settle(&d, before, BROKER_ACK));
    assert_nothing_to_settle();
    assert_true(deliveries_settle(&d, after, BROKER_ACK));
    assert_true(deliveries_settle(&d, after, BROKER_REQUEUE)); // the first word counts
    assert_settles(1, false, BROKER_ACK);
    assert_false(deliveries_settle(&d, after, BROKER_ACK));
}

#define T(name) cmocka_unit_test_teardown(name, teardown)
#define D(name) cmocka_unit_test_setup_teardown(name, setup_deliveries, teardown_deliveries)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(a_delivery_in_pieces_becomes_one_message),     T(a_message_without_a_body_ends_with_its_header),
        T(a_body_longer_than_it_said_is_an_error),       T(frames_out_of_order_are_an_error),
        T(an_oversized_body_is_counted_and_not_kept),    T(a_length_beyond_memory_is_an_error),
        T(headers_beyond_the_most_are_dropped_and_told), cmocka_unit_test(foreign_consumer_tags_are_nobodys),
        D(acks_from_the_oldest_on_become_one),           D(what_goes_back_is_never_part_of_an_ack),
        D(handles_of_an_earlier_channel_mean_nothing),
    };
    return cmocka_run_group_tests_name("broker/frames", tests, NULL, NULL);
}
