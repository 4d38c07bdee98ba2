// Tests of service registration (agent/core/service.c).
#include "fake.h"

static struct fake *f;

static int setup(void **state)
{
    (void)state;
    f = fake_new();
    fake_link_up(f);
    fake_program(f, 0, 0);
    fake_program(f, 1, 0);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    fake_free(f);
    return 0;
}

static void ask(int client, enum agent_frame_type type, uint32_t tag, const char *service)
{
    fake_say(f, client, &(struct agent_frame){.type = type, .tag = tag, .service = fake_view(service)});
}

static void say_result(uint32_t tag, enum receipt_code code)
{
    fake_say(f, FAKE_HOST,
             &(struct agent_frame){
                 .type = AGENT_RESULT, .tag = tag, .receipt = {.code = code, .detail = fake_view("x")}});
}

static void assert_result(int client, uint32_t tag, enum receipt_code code)
{
    struct agent_frame r = fake_expect(f, client, AGENT_RESULT);
    assert_int_equal(r.tag, tag);
    assert_int_equal(r.receipt.code, code);
}

static void serve(int client, const char *service)
{
    ask(client, AGENT_REGISTER, 5, service);
    say_result(fake_expect(f, FAKE_HOST, AGENT_REGISTER).tag, RECEIPT_ACCEPTED);
    assert_result(client, 5, RECEIPT_ACCEPTED);
}

static void the_hosts_answer_reaches_who_asked(void **state)
{
    (void)state;
    ask(1, AGENT_REGISTER, 9, "db");
    struct agent_frame r = fake_expect(f, FAKE_HOST, AGENT_REGISTER);
    assert_true(wire_view_equals(r.service, "db"));
    say_result(r.tag, RECEIPT_DENIED);
    assert_result(1, 9, RECEIPT_DENIED);
    serve(0, "db"); // a refusal leaves nothing behind
}

static void registering_again_is_accepted_at_once(void **state)
{
    (void)state;
    serve(0, "db");
    ask(0, AGENT_REGISTER, 8, "db");
    assert_result(0, 8, RECEIPT_ACCEPTED);
    fake_expect_nothing(f, FAKE_HOST);
}

static void one_program_serves_a_service(void **state)
{
    (void)state;
    serve(0, "db");
    ask(1, AGENT_REGISTER, 8, "db");
    assert_result(1, 8, RECEIPT_INVALID);
    fake_expect_nothing(f, FAKE_HOST);
}

static void a_second_request_before_the_answer_is_refused(void **state)
{
    (void)state;
    ask(0, AGENT_REGISTER, 1, "db");
    ask(0, AGENT_REGISTER, 2, "db");
    assert_result(0, 2, RECEIPT_INVALID);
    ask(0, AGENT_UNREGISTER, 3, "db");
    assert_result(0, 3, RECEIPT_INVALID);
}

static void the_table_of_services_is_bounded(void **state)
{
    (void)state;
    char name[] = "s00";
    for (int i = 0; i < AGENT_SERVICES_MAX; i++) {
        name[1] = (char)('0' + i / 10);
        name[2] = (char)('0' + i % 10);
        serve(0, name);
    }
    ask(1, AGENT_REGISTER, 8, "one-more");
    assert_result(1, 8, RECEIPT_RATE_LIMITED);
}

static void unregister_is_passed_on_and_answered(void **state)
{
    (void)state;
    serve(0, "db");
    ask(0, AGENT_UNREGISTER, 8, "db");
    say_result(fake_expect(f, FAKE_HOST, AGENT_UNREGISTER).tag, RECEIPT_ACCEPTED);
    assert_result(0, 8, RECEIPT_ACCEPTED);
    serve(1, "db");
}

static void only_the_owner_can_unregister(void **state)
{
    (void)state;
    serve(0, "db");
    ask(1, AGENT_UNREGISTER, 8, "db");
    assert_result(1, 8, RECEIPT_INVALID);
    ask(1, AGENT_UNREGISTER, 8, "other");
    assert_result(1, 8, RECEIPT_INVALID);
    fake_expect_nothing(f, FAKE_HOST);
}

static void a_dead_programs_services_are_given_up_and_can_be_taken_at_once(void **state)
{
    (void)state;
    serve(0, "db");
    fake_hang_up(f, 0);
    uint32_t left = fake_expect(f, FAKE_HOST, AGENT_UNREGISTER).tag;
    ask(1, AGENT_REGISTER, 8, "db"); // before the host has answered
    uint32_t taken = fake_expect(f, FAKE_HOST, AGENT_REGISTER).tag;
    say_result(left, RECEIPT_ACCEPTED);
    say_result(taken, RECEIPT_ACCEPTED);
    assert_result(1, 8, RECEIPT_ACCEPTED);
}

static void a_program_that_dies_before_the_answer_leaves_nothing_registered(void **state)
{
    (void)state;
    ask(0, AGENT_REGISTER, 1, "db");
    uint32_t asked = fake_expect(f, FAKE_HOST, AGENT_REGISTER).tag;
    fake_hang_up(f, 0);
    uint32_t left = fake_expect(f, FAKE_HOST, AGENT_UNREGISTER).tag;
    fake_program(f, 0, 0);
    say_result(asked, RECEIPT_ACCEPTED);
    say_result(left, RECEIPT_ACCEPTED);
    fake_expect_nothing(f, 0);
    serve(1, "db");
}

static void services_are_registered_again_when_the_link_is_back(void **state)
{
    (void)state;
    serve(0, "db");
    fake_hang_up(f, FAKE_HOST);
    fake_pass(f, 1000);
    fake_link_up(f);
    struct agent_frame r = fake_expect(f, FAKE_HOST, AGENT_REGISTER);
    assert_true(wire_view_equals(r.service, "db"));
    say_result(r.tag, RECEIPT_ACCEPTED);
    fake_expect_nothing(f, 0); // it never asked
}

static void a_service_that_the_host_no_longer_grants_costs_the_connection(void **state)
{
    (void)state;
    serve(0, "db");
    fake_hang_up(f, FAKE_HOST);
    fake_pass(f, 1000);
    fake_link_up(f);
    say_result(fake_expect(f, FAKE_HOST, AGENT_REGISTER).tag, RECEIPT_DENIED);
    assert_true(f->clients[0].closed);
    assert_false(f->clients[1].closed);
}

static void requests_without_link_are_answered_when_it_is_back(void **state)
{
    (void)state;
    fake_hang_up(f, FAKE_HOST);
    ask(0, AGENT_REGISTER, 8, "db");
    fake_expect_nothing(f, 0);
    fake_pass(f, 1000);
    fake_link_up(f);
    say_result(fake_expect(f, FAKE_HOST, AGENT_REGISTER).tag, RECEIPT_ACCEPTED);
    assert_result(0, 8, RECEIPT_ACCEPTED);
}

static void a_lost_link_unregisters_by_itself(void **state)
{
    (void)state;
    serve(0, "db");
    serve(0, "log");
    ask(0, AGENT_UNREGISTER, 8, "db"); // on its way when the link breaks
    fake_expect(f, FAKE_HOST, AGENT_UNREGISTER);
    fake_hang_up(f, FAKE_HOST);
    assert_result(0, 8, RECEIPT_ACCEPTED);
    ask(0, AGENT_UNREGISTER, 9, "log");
    assert_result(0, 9, RECEIPT_ACCEPTED);
    fake_pass(f, 1000);
    fake_link_up(f);
    fake_expect_nothing(f, FAKE_HOST);
}

static void results_for_nothing_are_ignored(void **state)
{
    (void)state;
    serve(0, "db");
    say_result(0, RECEIPT_DENIED);
    say_result(0xffffffff, RECEIPT_DENIED);
    assert_false(f->host.closed);
    assert_false(f->clients[0].closed);
    fake_expect_nothing(f, 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(the_hosts_answer_reaches_who_asked),
        T(registering_again_is_accepted_at_once),
        T(one_program_serves_a_service),
        T(a_second_request_before_the_answer_is_refused),
        T(the_table_of_services_is_bounded),
        T(unregister_is_passed_on_and_answered),
        T(only_the_owner_can_unregister),
        T(a_dead_programs_services_are_given_up_and_can_be_taken_at_once),
        T(a_program_that_dies_before_the_answer_leaves_nothing_registered),
        T(services_are_registered_again_when_the_link_is_back),
        T(a_service_that_the_host_no_longer_grants_costs_the_connection),
        T(requests_without_link_are_answered_when_it_is_back),
        T(a_lost_link_unregisters_by_itself),
        T(results_for_nothing_are_ignored),
    };
    return cmocka_run_group_tests_name("core/service", tests, NULL, NULL);
}
