// What else a real envagent does for its host and for programs: the link, addresses, figures, messages,
// handlers.
#include "harness.h"

#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

static struct host *h;

static int setup(void **state)
{
    (void)state;
    h = host_start();
    host_greet(h);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_stop(h);
    return 0;
}

static void assert_prints(const char *line, const char *text)
{
    struct outcome o = run_shell(h, line);
    if (!strstr(o.out, text))
        fail_msg("%s: %s%s", line, o.out, o.err);
    outcome_free(&o);
}

// ---- the link ----

static void hello_says_that_it_can_everything(void **state)
{
    (void)state;
    assert_int_equal(h->capabilities,
                     AGENT_CAP_SESSION | AGENT_CAP_CONFIGURE | AGENT_CAP_STATS | AGENT_CAP_CLOCK);
}

static void it_comes_back_when_the_link_breaks(void **state)
{
    (void)state;
    for (int i = 0; i < 3; i++)
        host_greet(h); // closes, and accepts the next
    assert_prints("echo fine", "fine");
}

static void it_comes_back_when_the_host_was_away(void **state)
{
    (void)state;
    char path[128], moved[160];
    snprintf(path, sizeof path, "%s/host.sock", h->folder);
    snprintf(moved, sizeof moved, "%s.away", path);
    assert_int_equal(rename(path, moved), 0);
    close(h->link);
    h->link = -1;
    pause_ms(700);
    assert_int_equal(rename(moved, path), 0);
    host_greet(h);
    assert_prints("echo fine", "fine");
}

static void a_command_outlives_a_broken_link(void **state)
{
    (void)state;
    const char *const argv[] = {"sh", "-c", "sleep 0.5; echo still", NULL};
    struct session_exec e = {0};
    int fd = session_open(h, AGENT_SESSION_EXEC);
    exec_say(fd, &e, argv);
    session_expect(fd, SESSION_STARTED);
    host_greet(h);
    assert_true(wire_view_equals(session_expect(fd, SESSION_STDOUT).data, "still\n"));
    session_expect(fd, SESSION_EXIT);
    close(fd);
}

static void figures_are_this_machines(void **state)
{
    (void)state;
    host_say(h, &(struct agent_frame){.type = AGENT_STATS, .tag = 9});
    struct agent_frame f = host_expect(h, AGENT_STATS_IS);
    assert_int_equal(f.tag, 9);
    assert_int_equal(f.stats.mem_total / 4096, (uint64_t)sysconf(_SC_PHYS_PAGES));
    assert_true(f.stats.mem_available > 0 && f.stats.mem_available <= f.stats.mem_total);
    assert_true(f.stats.disk_free > 0 && f.stats.disk_free < f.stats.disk_total);
    assert_true(f.stats.processes > 0 && f.stats.uptime_ns > 0);
}

static void shutdown_ends_it_where_it_is_no_service(void **state)
{
    (void)state;
    int status;
    host_say(h, &(struct agent_frame){.type = AGENT_SHUTDOWN, .shutdown = {1000, text_view("test")}});
    assert_int_equal(waitpid(h->pid, &status, 0), h->pid);
    assert_int_equal(status, 0);
    h->pid = 0;
}

// ---- addresses ----

static enum receipt_code configure(uint32_t ipv4, uint32_t gateway, const char *name)
{
    struct agent_frame f = {
        .type = AGENT_CONFIGURE,
        .configure = {
            .ipv4 = ipv4, .prefix = 24, .gateway = gateway, .mtu = 1400, .mac = {2, 0, 0, 0, 0x12, 0x34}}};
    f.configure.hostname = text_view(name);
    return host_ask(h, &f);
}

#define ADD_NIC "ip link add nic0 address 02:00:00:00:12:34 type veth peer name nic1"

static void the_nic_with_the_mac_gets_what_the_host_says(void **state)
{
    (void)state;
    host_run_inside(h, "ip link add other type veth peer name other1 && " ADD_NIC);
    for (int i = 0; i < 2; i++) // again changes nothing
        assert_int_equal(configure(0x0a630002, 0x0a630001, "web"), RECEIPT_ACCEPTED);
    assert_prints("ip -o addr show nic0", "inet 10.99.0.2/24 brd 10.99.0.255");
    assert_prints("ip link show nic0", "mtu 1400");
    assert_prints("ip link show nic0", "UP");
    assert_prints("ip route", "default via 10.99.0.1 dev nic0");
    assert_prints("ip -o -4 addr | wc -l", "1");
    assert_prints("hostname", "web");
}

static void another_address_takes_the_place_of_the_first(void **state)
{
    (void)state;
    host_run_inside(h, ADD_NIC " && ip addr add 192.0.2.9/32 dev nic0");
    configure(0x0a630002, 0x0a630001, "web");
    assert_int_equal(configure(0x0a640002, 0x0a640001, "db"), RECEIPT_ACCEPTED);
    assert_prints("ip -o -4 addr show nic0 | grep -o 'inet [^ ]*' | sort | tr '\\n' ' '",
                  "inet 10.100.0.2/24 inet 192.0.2.9/32 ");
    assert_prints("ip route show default | wc -l", "1");
    assert_prints("ip route", "default via 10.100.0.1");
    assert_prints("hostname", "db");
}

static void a_nic_that_comes_later_is_set_up_then(void **state)
{
    (void)state;
    assert_int_equal(configure(0x0a630002, 0x0a630001, "web"), RECEIPT_ACCEPTED);
    host_run_inside(h, ADD_NIC);
    pause_ms(300);
    assert_prints("ip -o addr show nic0", "inet 10.99.0.2/24");
}

static void an_impossible_route_is_refused_with_the_reason(void **state)
{
    (void)state;
    host_run_inside(h, ADD_NIC);
    assert_int_equal(configure(0x0a630002, 0x0b000001, "web"), RECEIPT_INVALID);
}

// ---- programs ----

static pid_t envctl(int *ret_out, const char *const *argv)
{
    int out[2];
    char program[512];
    snprintf(program, sizeof program, "%s/guest/envctl", getenv("ENVD_BUILD") ? getenv("ENVD_BUILD") : ".");
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(out[1], 1);
        setenv("ENV_AGENT_SOCKET", h->socket, 1);
        execv(program, (char *const *)argv);
        _exit(99);
    }
    close(out[1]);
    *ret_out = out[0];
    return pid;
}

static void assert_envctl_prints(pid_t pid, int out, const char *text)
{
    char got[256] = "";
    int status;
    ssize_t n, len = 0;
    while ((n = read(out, got + len, sizeof got - 1 - (size_t)len)) > 0)
        len += n;
    close(out);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_string_equal(got, text);
}

static void programs_of_the_guest_use_the_same_envctl_as_in_a_cell(void **state)
{
    (void)state;
    const char *const whoami[] = {"envctl", "whoami", NULL};
    const char *const call[] = {"envctl", "call", "db", "query", NULL};
    int out;
    struct stat st;
    for (int i = 0; i < 50 && stat(h->socket, &st) < 0; i++)
        pause_ms(20);
    assert_int_equal(st.st_mode & 0777, 0666);
    pid_t pid = envctl(&out, whoami);
    assert_envctl_prints(pid, out, "acme/web\n");
    pid = envctl(&out, call);
    struct agent_frame f = host_expect(h, AGENT_SEND);
    assert_true(wire_view_equals(f.envelope.body, "query"));
    struct id id = f.envelope.id;
    host_say(h, &(struct agent_frame){.type = AGENT_RECEIPT, .tag = f.tag, .receipt = {.id = id}});
    host_say(h, &(struct agent_frame){.type = AGENT_DELIVER,
                                      .envelope = {.kind = MESSAGE_REPLY,
                                                   .id = {{7}},
                                                   .correlation = id,
                                                   .from = text_view("acme/db"),
                                                   .to = text_view("acme/web"),
                                                   .body = text_view("answer")}});
    assert_envctl_prints(pid, out, "answer");
}

// ---- handlers ----

static void write_handler(const char *name, const char *script)
{
    char path[256];
    snprintf(path, sizeof path, "%s/services/%s", h->folder, name);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    fprintf(f, "#!/bin/sh\n%s\n", script);
    fclose(f);
    assert_int_equal(chmod(path, 0755), 0);
}

static void make_folder(const char *name)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", h->folder, name);
    assert_int_equal(mkdir(path, 0755), 0);
}

// SIGHUP makes the agent look at its folder, which was not there when it began.
static void serve(void)
{
    pause_ms(200);
    kill(h->pid, SIGHUP);
    host_expect(h, AGENT_CREDIT);
}

static void deliver(enum message_kind kind, uint8_t id, const char *to, const char *subject, const char *body)
{
    struct agent_frame f = {.type = AGENT_DELIVER, .envelope = {.kind = kind, .id = {{id}}, .n_headers = 1}};
    f.envelope.from = text_view("acme/db");
    f.envelope.to = text_view(to);
    f.envelope.subject = text_view(subject);
    f.envelope.body = text_view(body);
    f.envelope.headers[0].name = text_view("trace-id");
    f.envelope.headers[0].value = text_view("t1");
    host_say(h, &f);
}

static void assert_replies(uint8_t id, const char *body)
{
    struct agent_frame f = host_expect(h, AGENT_SEND);
    assert_int_equal(f.envelope.kind, MESSAGE_REPLY);
    assert_int_equal(f.envelope.correlation.bytes[0], id);
    if (!wire_view_equals(f.envelope.body, body))
        fail_msg("%.*s", (int)f.envelope.body.len, (const char *)f.envelope.body.data);
    host_say(h, &(struct agent_frame){.type = AGENT_RECEIPT, .tag = f.tag, .receipt = {.id = f.envelope.id}});
    assert_int_equal(host_expect(h, AGENT_ACK).id.bytes[0], id);
}

static void a_call_gets_its_handlers_output(void **state)
{
    (void)state;
    make_folder("services");
    write_handler("db.query", "printf '%s ' $ENV_FROM $ENV_SUBJECT $ENV_KIND $ENV_HEADER_TRACE_ID; cat");
    serve();
    deliver(MESSAGE_CALL, 1, "acme/web", "db.query", "select");
    assert_replies(1, "acme/db db.query call t1 select");
}

static void a_message_is_acknowledged_when_its_handler_succeeded(void **state)
{
    (void)state;
    make_folder("services");
    write_handler("work", "test \"$(cat)\" = job");
    serve();
    deliver(MESSAGE_SEND, 2, "acme/web", "work", "job");
    assert_int_equal(host_expect(h, AGENT_ACK).id.bytes[0], 2);
    deliver(MESSAGE_SEND, 3, "acme/web", "work", "other");
    assert_int_equal(host_expect(h, AGENT_RELEASE).id.bytes[0], 3);
}

static void a_handler_may_give_a_message_up(void **state)
{
    (void)state;
    make_folder("services");
    write_handler("work", "exit 100");
    serve();
    deliver(MESSAGE_CALL, 4, "acme/web", "work", "job");
    assert_int_equal(host_expect(h, AGENT_ACK).id.bytes[0], 4);
}

static void a_folder_is_a_service_with_handlers_of_its_own(void **state)
{
    (void)state;
    make_folder("services");
    make_folder("services/logs");
    write_handler("logs/@default", "echo $ENV_SUBJECT to $ENV_TO");
    pause_ms(200);
    kill(h->pid, SIGHUP);
    struct agent_frame f = host_expect(h, AGENT_REGISTER);
    assert_true(wire_view_equals(f.service, "logs"));
    host_say(h, &(struct agent_frame){.type = AGENT_RESULT, .tag = f.tag});
    host_expect(h, AGENT_CREDIT);
    deliver(MESSAGE_CALL, 5, "acme/:logs", "log.write", "x");
    assert_replies(5, "log.write to acme/:logs\n");
    deliver(MESSAGE_CALL, 6, "acme/web", "log.write", "x"); // not to the service: nobody's
    assert_int_equal(host_expect(h, AGENT_RELEASE).id.bytes[0], 6);
}

static void a_handler_that_others_may_change_is_not_run(void **state)
{
    (void)state;
    char path[256];
    make_folder("services");
    write_handler("work", "true");
    snprintf(path, sizeof path, "%s/services/work", h->folder);
    assert_int_equal(chmod(path, 0777), 0);
    serve();
    deliver(MESSAGE_SEND, 7, "acme/web", "work", "job");
    assert_int_equal(host_expect(h, AGENT_RELEASE).id.bytes[0], 7);
}

static void many_calls_are_served_at_once_and_large_ones_whole(void **state)
{
    (void)state;
    static char large[900001];
    make_folder("services");
    write_handler("echo", "cat");
    write_handler("slow", "sleep 0.4; cat");
    serve();
    memset(large, 'x', sizeof large - 1);
    deliver(MESSAGE_CALL, 1, "acme/web", "echo", large);
    assert_replies(1, large);
    for (uint8_t i = 10; i < 18; i++)
        deliver(MESSAGE_CALL, i, "acme/web", "slow", "x");
    deliver(MESSAGE_CALL, 18, "acme/web", "echo", "y"); // waits for a place
    for (int i = 0; i < 9; i++) {
        struct agent_frame f = host_expect(h, AGENT_SEND);
        host_say(
            h, &(struct agent_frame){.type = AGENT_RECEIPT, .tag = f.tag, .receipt = {.id = f.envelope.id}});
        host_expect(h, AGENT_ACK);
    }
}

#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        T(hello_says_that_it_can_everything),
        T(it_comes_back_when_the_link_breaks),
        T(it_comes_back_when_the_host_was_away),
        T(a_command_outlives_a_broken_link),
        T(figures_are_this_machines),
        T(shutdown_ends_it_where_it_is_no_service),
        T(the_nic_with_the_mac_gets_what_the_host_says),
        T(another_address_takes_the_place_of_the_first),
        T(a_nic_that_comes_later_is_set_up_then),
        T(an_impossible_route_is_refused_with_the_reason),
        T(programs_of_the_guest_use_the_same_envctl_as_in_a_cell),
        T(a_call_gets_its_handlers_output),
        T(a_message_is_acknowledged_when_its_handler_succeeded),
        T(a_handler_may_give_a_message_up),
        T(a_folder_is_a_service_with_handlers_of_its_own),
        T(a_handler_that_others_may_change_is_not_run),
        T(many_calls_are_served_at_once_and_large_ones_whole),
    };
    signal(SIGPIPE, SIG_IGN);
    int rc = harness_enter();
    return rc ? rc : cmocka_run_group_tests_name("envagent/guest", tests, NULL, NULL);
}
