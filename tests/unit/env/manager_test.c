// What environments go through (server/daemon/env: manager, run, reconcile), with the test as envpriv, envvm
// and agent.
#include "helper.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "common/io.h"

#define WEB "acme/web"

struct play {
    struct daemon *d;
    struct helper h;
};

static void publish_image(struct daemon *d);

static int setup(void **state)
{
    struct play *p = calloc(1, sizeof *p);
    assert_non_null(p);
    daemon_setup((void **)&p->d);
    helper_start(&p->h, p->d);
    publish_image(p->d);
    make_tenant(p->d, "acme");
    make_environment(p->d, "acme", "web");
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct play *p = *state;
    void *d = p->d;
    daemon_stop(p->d); // it must end well with machines that run
    helper_stop(&p->h);
    daemon_start(p->d);
    free(p);
    return daemon_teardown(&d);
}

// The file of DIGEST_A, without a look at its digest: here it is only opened.
static void publish_image(struct daemon *d)
{
    char path[160];
    snprintf(path, sizeof path, "%s/images/%s", d->f->dir, DIGEST_A + 7);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
}

static void until_helper(struct play *p)
{
    while (!manager_helper_up(p->d->manager))
        helper_run_ms(&p->h, 5);
}

static void order(struct play *p, const char *what, const char *body)
{
    char path[96];
    snprintf(path, sizeof path, "/v1/tenants/acme/environments/web/%s", what);
    call_ok(p->d, 202, "POST", path, body);
}

// Started, spawned, and said hello.
static struct helper_vm *start(struct play *p)
{
    until_helper(p);
    order(p, "start", NULL);
    helper_until(&p->h, WEB, "booting");
    struct helper_vm *vm = helper_vm(&p->h, WEB);
    vm_hello(vm);
    helper_until(&p->h, WEB, "ready");
    return vm;
}

static void set_spec(struct play *p, const char *spec)
{
    char body[128];
    snprintf(body, sizeof body, "{\"spec\":%s}", spec);
    assert_int_equal(
        call(p->d, "PATCH", "/v1/tenants/acme/environments/web", "If-Match: *\r\n", body)->status, 200);
}

static void assert_status(struct play *p, const char *state, const char *reason)
{
    helper_until(&p->h, WEB, state);
    assert_string_equal(text_at("status.reason.code"), reason);
}

static void restart_daemon(struct play *p)
{
    daemon_stop(p->d);
    helper_drop(&p->h);
    daemon_start(p->d);
}

// Long enough for a look at what waits.
static void set_restart_min(struct play *p, uint32_t ms)
{
    p->d->restart_min_ms = ms;
    restart_daemon(p);
}

static void set_timeout(struct play *p, uint32_t ms)
{
    p->d->timeout_ms = ms;
    restart_daemon(p);
}

// --- starting ---

static void a_start_goes_through_its_states_and_its_operation_is_done(void **state)
{
    struct play *p = *state;
    char path[96];
    until_helper(p);
    order(p, "start", NULL);
    snprintf(path, sizeof path, "/v1/operations/%s?wait=5000", text_at("name"));
    helper_until(&p->h, WEB, "booting");
    assert_int_equal(number_in("status.pid"), 4242);
    vm_hello(helper_vm(&p->h, WEB));
    call_ok(p->d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "done");
    assert_string_equal(text_at("status.environment_state"), "ready");
    helper_until(&p->h, WEB, "ready");
    assert_string_equal(text_at("status.agent.software"), "test agent");
    assert_int_equal(strlen(text_at("status.measurement")), DOC_DIGEST_CAP - 1);
    assert_int_equal(p->h.nets_up, 1);
}

static void a_refused_spawn_fails_the_environment_and_the_operation_with_the_reason(void **state)
{
    struct play *p = *state;
    char path[96];
    p->h.refuse_spawn = true;
    until_helper(p);
    order(p, "start", NULL);
    snprintf(path, sizeof path, "/v1/operations/%s?wait=5000", text_at("name"));
    call_ok(p->d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "failed");
    assert_string_equal(text_at("status.error.code"), "spawn-refused");
    assert_non_null(strstr(text_at("status.error.detail"), "/dev/kvm"));
    assert_true(text_at("status.error.remedy")[0] != '\0');
    assert_status(p, "failed", "spawn-refused");
    assert_true(text_at("status.reason.remedy")[0] != '\0');
    p->h.refuse_spawn = false;
    start(p); // and once it is mended it starts
}

static void a_refused_network_is_the_reason_not_its_consequence(void **state)
{
    struct play *p = *state;
    p->h.refuse_net = p->h.refuse_spawn = true;
    until_helper(p);
    order(p, "start", NULL);
    assert_status(p, "failed", "network-failed");
    assert_non_null(strstr(text_at("status.reason.text"), "no bridge could be made"));
}

static void a_missing_image_file_fails_the_start(void **state)
{
    struct play *p = *state;
    images_remove(p->d->images, DIGEST_A);
    until_helper(p);
    order(p, "start", NULL);
    assert_status(p, "failed", "image-missing");
    assert_int_equal(p->h.n_vms, 0);
}

static void an_agent_that_never_says_hello_is_given_up(void **state)
{
    struct play *p = *state;
    set_timeout(p, 1000);
    until_helper(p);
    order(p, "start", NULL);
    assert_status(p, "failed", "agent-timeout");
    assert_true(helper_vm(&p->h, WEB)->killed);
    assert_true(helper_vm(&p->h, WEB)->forgotten);
}

static void what_is_stopped_before_it_is_spawned_is_ended_when_it_is(void **state)
{
    struct play *p = *state;
    until_helper(p);
    p->h.silent = true; // the request waits in envpriv
    order(p, "start", NULL);
    helper_until(&p->h, WEB, "starting");
    order(p, "stop", NULL);
    helper_until(&p->h, WEB, "stopping");
    helper_drop(&p->h); // and is lost
    p->h.silent = false;
    helper_until(&p->h, WEB, "stopped");
    assert_int_equal(p->h.n_vms, 0);
}

static void a_start_whose_answer_was_lost_is_asked_again(void **state)
{
    struct play *p = *state;
    until_helper(p);
    p->h.silent = true;
    order(p, "start", NULL);
    helper_until(&p->h, WEB, "starting");
    helper_drop(&p->h);
    p->h.silent = false;
    helper_until(&p->h, WEB, "booting");
    assert_int_equal(p->h.n_vms, 1);
}

// --- ending ---

static void a_program_that_ends_leaves_its_exit_status(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 3, "");
    vm_exit(&p->h, vm, 0);
    assert_status(p, "stopped", "");
    assert_int_equal(number_in("status.exit_status"), 3);
    assert_true(vm->forgotten);
}

static void a_failed_guest_leaves_its_cause(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    vm_state(vm, VMCTL_FAILED, VMCTL_CAUSE_TRIPLE_FAULT, 0, "rip 0x1234");
    vm_exit(&p->h, vm, 256);
    assert_status(p, "failed", "triple-fault");
    assert_string_equal(text_at("status.reason.text"), "rip 0x1234");
    assert_int_equal(number_in("status.exit_status"), -1);
}

static void last_words_count_whatever_comes_first(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    // The news of the process's end are read first: they were there before the loop ran.
    vm->exited = true;
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 7, "");
    vm_exit(&p->h, vm, 0);
    assert_status(p, "stopped", "");
    assert_int_equal(number_in("status.exit_status"), 7);
}

static void a_monitor_killed_from_outside_is_told_apart(void **state)
{
    struct play *p = *state;
    vm_exit(&p->h, start(p), 9);
    assert_status(p, "failed", "monitor-killed");
    assert_non_null(strstr(text_at("status.reason.text"), "4242"));
}

static void a_monitor_that_died_or_ended_silently_is_told_apart(void **state)
{
    struct play *p = *state;
    vm_exit(&p->h, start(p), 11);
    assert_status(p, "failed", "monitor-died");
    vm_exit(&p->h, start(p), 1 << 8);
    assert_status(p, "failed", "monitor-exited");
}

static void a_monitor_that_talks_nonsense_is_ended(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    assert_int_equal(write(vm->control, "nonsense", 8), 8);
    assert_status(p, "failed", "monitor-protocol");
    assert_true(vm->killed);
}

static void a_monitor_that_lets_go_of_its_socket_and_stays_is_ended(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    shutdown(vm->control, SHUT_RDWR);
    helper_until(&p->h, WEB, "stopping");
    helper_until(&p->h, WEB, "failed");
    assert_true(vm->killed);
}

static void a_stop_asks_the_agent_then_the_monitor_then_kills(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    vm_order(vm);
    order(p, "stop", "{\"grace_ms\":200}");
    helper_until(&p->h, WEB, "stopping");
    char frame[256];
    helper_run_ms(&p->h, 20);
    assert_true(recv(vm->agent, frame, sizeof frame, MSG_DONTWAIT) > 0); // HELLO_OK and SHUTDOWN
    assert_int_equal(vm_order(vm), 0);
    helper_run_ms(&p->h, 250);
    assert_int_equal(vm_order(vm), VMCTL_QUIT);
    assert_int_equal(p->h.kills, 0);
    helper_until(&p->h, WEB, "stopped");
    assert_true(vm->killed);
    assert_string_equal(text_at("status.reason.code"), "ended");
}

static void a_guest_gains_no_time_by_saying_hello_again(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    vm_order(vm);
    order(p, "stop", "{\"grace_ms\":300}");
    for (int i = 0; i < 5; i++) {
        helper_run_ms(&p->h, 70);
        vm_hello(vm);
    }
    helper_run_ms(&p->h, 50);
    assert_int_equal(vm_order(vm), VMCTL_QUIT);
}

static void a_stop_without_grace_goes_to_the_monitor_at_once(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    vm_order(vm);
    order(p, "stop", "{\"grace_ms\":0}");
    helper_until(&p->h, WEB, "stopping");
    assert_int_equal(vm_order(vm), VMCTL_QUIT);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 0, "stopped by the host");
    vm_exit(&p->h, vm, 0);
    assert_status(p, "stopped", "");
    assert_int_equal(number_in("status.exit_status"), -1); // the program did not end by itself
}

static void a_deletion_ends_the_machine_and_takes_down_the_network(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    char path[96];
    call_ok(p->d, 202, "DELETE", "/v1/tenants/acme/environments/web", NULL);
    snprintf(path, sizeof path, "/v1/operations/%s?wait=5000", text_at("name"));
    helper_run_ms(&p->h, 50);
    assert_int_equal(vm_order(vm), VMCTL_QUIT);
    vm_exit(&p->h, vm, 0);
    call_ok(p->d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "done");
    call_ok(p->d, 404, "GET", "/v1/tenants/acme/environments/web", NULL);
    call_ok(p->d, 204, "DELETE", "/v1/tenants/acme", NULL);
    helper_run_ms(&p->h, 50);
    assert_int_equal(p->h.nets_down, 1);
}

// --- agents ---

static void an_agent_that_comes_back_makes_it_ready_again(void **state)
{
    struct play *p = *state;
    set_timeout(p, 3000);
    struct helper_vm *vm = start(p);
    close(vm->agent);
    vm->agent = -1;
    helper_until(&p->h, WEB, "booting");
    helper_run_ms(&p->h, 3100); // longer than the boot's timeout, which is for the first hello only
    helper_until(&p->h, WEB, "booting");
    vm_hello(vm);
    helper_until(&p->h, WEB, "ready");
}

static void a_guest_that_reconnects_without_end_is_held_back(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    int closed = 0;
    for (int i = 0; i < 40; i++) {
        char c;
        vm_connect(vm);
        helper_run_ms(&p->h, 5);
        closed += recv(vm->agent, &c, 1, MSG_DONTWAIT) == 0;
    }
    assert_true(closed >= 25);
}

// --- restarts ---

static void never_means_never(void **state)
{
    struct play *p = *state;
    vm_exit(&p->h, start(p), 9);
    helper_until(&p->h, WEB, "failed");
    helper_run_ms(&p->h, 500);
    assert_int_equal(p->h.n_vms, 1);
}

static void on_failure_restarts_after_failures_only(void **state)
{
    struct play *p = *state;
    set_restart_min(p, 1500);
    set_spec(p, "{\"restart\":\"on-failure\"}");
    vm_exit(&p->h, start(p), 9);
    helper_until(&p->h, WEB, "failed");
    assert_true(number_in("status.next_start") > 0);
    helper_until(&p->h, WEB, "booting");
    assert_int_equal(number_in("status.restarts"), 1);
    struct helper_vm *vm = helper_vm(&p->h, WEB);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 0, "");
    vm_exit(&p->h, vm, 0);
    helper_until(&p->h, WEB, "stopped");
    helper_run_ms(&p->h, 700);
    assert_int_equal(p->h.n_vms, 2);
}

static void until_vms(struct play *p, size_t n)
{
    for (uint64_t end = io_monotonic_ns() + 30000000000ull; p->h.n_vms < n; helper_run_ms(&p->h, 1))
        assert_true(io_monotonic_ns() < end);
}

static void restarts_come_slower_and_slower(void **state)
{
    struct play *p = *state;
    uint64_t at[4];
    set_spec(p, "{\"restart\":\"always\"}");
    until_helper(p);
    order(p, "start", NULL);
    for (size_t i = 0; i < 4; i++) {
        until_vms(p, i + 1); // states may pass by unseen
        at[i] = io_monotonic_ns();
        struct helper_vm *vm = helper_vm(&p->h, WEB);
        vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 1, "");
        vm_exit(&p->h, vm, 0);
    }
    assert_true(at[1] - at[0] >= 190000000u);
    assert_true(at[2] - at[1] >= 390000000u);
    assert_true(at[3] - at[2] >= 790000000u);
}

static void a_refused_start_counts_once(void **state)
{
    struct play *p = *state;
    set_restart_min(p, 1500);
    set_spec(p, "{\"restart\":\"always\"}");
    p->h.refuse_spawn = true;
    until_helper(p);
    order(p, "start", NULL);
    helper_until(&p->h, WEB, "failed");
    int64_t waits_ms = number_in("status.next_start") - number_in("status.since");
    assert_in_range(waits_ms, 1500, 2500); // twice is 3000
}

static void a_stop_ends_the_waiting_for_a_restart(void **state)
{
    struct play *p = *state;
    set_restart_min(p, 1500);
    set_spec(p, "{\"restart\":\"always\"}");
    vm_exit(&p->h, start(p), 9);
    helper_until(&p->h, WEB, "failed");
    order(p, "stop", NULL);
    helper_run_ms(&p->h, 2000);
    assert_int_equal(p->h.n_vms, 1);
    helper_until(&p->h, WEB, "failed");
    assert_int_equal(number_in("status.next_start"), -1);
}

// --- coming back ---

static void a_new_envd_adopts_what_runs(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    restart_daemon(p);
    helper_until(&p->h, WEB, "booting"); // until the agent has found its way back
    vm_hello(vm);
    helper_until(&p->h, WEB, "ready");
    assert_int_equal(p->h.n_vms, 1);
    assert_int_equal(p->h.kills, 0);
    order(p, "stop", "{\"grace_ms\":0}");
    helper_until(&p->h, WEB, "stopping");
    assert_int_equal(vm_order(vm), VMCTL_QUIT);
}

static void a_new_envd_takes_note_of_what_ended_meanwhile(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    daemon_stop(p->d);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 5, "");
    helper_drop(&p->h);
    vm_exit(&p->h, vm, 0);
    daemon_start(p->d);
    assert_status(p, "stopped", "");
    assert_int_equal(number_in("status.exit_status"), 5);
    assert_true(vm->forgotten);
}

static void machines_of_no_environment_are_ended(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    vm->id.bytes[0] ^= 0xff; // as if another one had been spawned under the name
    restart_daemon(p);
    helper_until(&p->h, WEB, "lost");
    helper_run_ms(&p->h, 50);
    assert_true(vm->killed);
    assert_true(vm->forgotten);
}

static void what_the_host_no_longer_knows_is_lost(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    vm->forgotten = true; // not in the list any more
    helper_drop(&p->h);
    assert_status(p, "lost", "host-restarted");
}

static void a_new_connection_to_envpriv_disturbs_nobody(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    helper_drop(&p->h);
    while (manager_helper_up(p->d->manager))
        helper_run_ms(&p->h, 5);
    until_helper(p);
    helper_until(&p->h, WEB, "ready");
    assert_int_equal(vm->agent >= 0, 1);
    assert_int_equal(p->h.kills, 0);
}

static void on_stopped(void *arg)
{
    *(bool *)arg = true;
}

static void stopping_all_waits_for_all_and_the_next_envd_starts_them_again(void **state)
{
    struct play *p = *state;
    struct helper_vm *vm = start(p);
    bool stopped = false;
    vm_order(vm);
    manager_stop_all(p->d->manager, 5000, on_stopped, &stopped);
    helper_run_ms(&p->h, 50);
    assert_false(stopped);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 0, "");
    vm_exit(&p->h, vm, 0);
    helper_run_ms(&p->h, 50);
    assert_true(stopped);
    restart_daemon(p);
    helper_until(&p->h, WEB, "booting");
    assert_int_equal(p->h.n_vms, 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_start_goes_through_its_states_and_its_operation_is_done),
        TEST(a_refused_spawn_fails_the_environment_and_the_operation_with_the_reason),
        TEST(a_refused_network_is_the_reason_not_its_consequence),
        TEST(a_missing_image_file_fails_the_start),
        TEST(an_agent_that_never_says_hello_is_given_up),
        TEST(what_is_stopped_before_it_is_spawned_is_ended_when_it_is),
        TEST(a_start_whose_answer_was_lost_is_asked_again),
        TEST(a_program_that_ends_leaves_its_exit_status),
        TEST(a_failed_guest_leaves_its_cause),
        TEST(last_words_count_whatever_comes_first),
        TEST(a_monitor_killed_from_outside_is_told_apart),
        TEST(a_monitor_that_died_or_ended_silently_is_told_apart),
        TEST(a_monitor_that_talks_nonsense_is_ended),
        TEST(a_monitor_that_lets_go_of_its_socket_and_stays_is_ended),
        TEST(a_stop_asks_the_agent_then_the_monitor_then_kills),
        TEST(a_guest_gains_no_time_by_saying_hello_again),
        TEST(a_stop_without_grace_goes_to_the_monitor_at_once),
        TEST(a_deletion_ends_the_machine_and_takes_down_the_network),
        TEST(an_agent_that_comes_back_makes_it_ready_again),
        TEST(a_guest_that_reconnects_without_end_is_held_back),
        TEST(never_means_never),
        TEST(on_failure_restarts_after_failures_only),
        TEST(restarts_come_slower_and_slower),
        TEST(a_refused_start_counts_once),
        TEST(a_stop_ends_the_waiting_for_a_restart),
        TEST(a_new_envd_adopts_what_runs),
        TEST(a_new_envd_takes_note_of_what_ended_meanwhile),
        TEST(machines_of_no_environment_are_ended),
        TEST(what_the_host_no_longer_knows_is_lost),
        TEST(a_new_connection_to_envpriv_disturbs_nobody),
        TEST(stopping_all_waits_for_all_and_the_next_envd_starts_them_again),
    };
    return cmocka_run_group_tests_name("env_manager", tests, NULL, NULL);
}
