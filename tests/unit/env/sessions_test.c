// Exec, copy and console from a client's request to the guest's stream (server/daemon/api/sessions.c,
// env/streams.c, relay/), with the test as client, envpriv, envvm and agent.
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/io.h"
#include "proto/agent.h"
#include "proto/session.h"

#define WEB     "acme/web"
#define E       "/v1/tenants/acme/environments/web"
#define UPGRADE "Connection: Upgrade\r\nUpgrade: envd-session\r\n"
#define WAIT_NS 30000000000ull
#define LS      "{\"argv\":[\"ls\",\"-l\"],\"env\":{\"A\":\"b\"},\"user\":\"www\",\"stdin\":true}"

struct play {
    struct daemon *d;
    struct helper h;
    struct helper_vm *vm;
    int client, stream;
    uint8_t in[1 << 16];
};

static int setup(void **state)
{
    struct play *p = calloc(1, sizeof *p);
    char path[160];
    assert_non_null(p);
    p->client = p->stream = -1;
    daemon_setup((void **)&p->d);
    helper_start(&p->h, p->d);
    snprintf(path, sizeof path, "%s/images/%s", p->d->f->dir, DIGEST_A + 7);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fclose(f);
    make_tenant(p->d, "acme");
    make_environment(p->d, "acme", "web");
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct play *p = *state;
    void *d = p->d;
    daemon_stop(p->d); // it must end well with sessions open
    helper_stop(&p->h);
    daemon_start(p->d);
    if (p->client >= 0)
        close(p->client);
    if (p->stream >= 0)
        close(p->stream);
    free(p);
    return daemon_teardown(&d);
}

// --- the parts that the test plays ---

static void boot(struct play *p)
{
    while (!manager_helper_up(p->d->manager))
        helper_run_ms(&p->h, 5);
    call_ok(p->d, 202, "POST", E "/start", NULL);
    helper_until(&p->h, WEB, "booting");
    p->vm = helper_vm(&p->h, WEB);
}

static void run(struct play *p, uint32_t capabilities)
{
    boot(p);
    vm_hello_with(p->vm, capabilities);
    helper_until(&p->h, WEB, "ready");
}

static int ask(struct play *p, const char *what, const char *body)
{
    char request[1024];
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    memcpy(sa.sun_path, p->d->socket, sizeof p->d->socket);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&sa, sizeof sa), 0);
    int n = snprintf(request, sizeof request,
                     "POST " E "/%s HTTP/1.1\r\nHost: envd\r\n" UPGRADE "Content-Length: %zu\r\n\r\n%s", what,
                     strlen(body), body);
    assert_int_equal(write(fd, request, (size_t)n), n);
    return fd;
}

static void turn(struct play *p)
{
    event_base_loop(p->d->f->base, EVLOOP_NONBLOCK);
}

// Reads exactly len bytes; fails the test after some seconds.
static void read_exactly(struct play *p, int fd, void *out, size_t len)
{
    size_t have = 0;
    for (uint64_t end = io_monotonic_ns() + WAIT_NS; have < len;) {
        turn(p);
        ssize_t n = recv(fd, (char *)out + have, len - have, MSG_DONTWAIT);
        if (n > 0)
            have += (size_t)n;
        else if (n == 0 || io_monotonic_ns() > end)
            fail_msg("%zu bytes were expected, %zu came%s", len, have, n == 0 ? ", then the end" : "");
        else
            usleep(100);
    }
}

static bool ends(struct play *p, int fd)
{
    for (uint64_t end = io_monotonic_ns() + WAIT_NS; io_monotonic_ns() < end;) {
        ssize_t n = recv(fd, p->in, sizeof p->in, MSG_DONTWAIT);
        if (n == 0 || (n < 0 && errno != EAGAIN))
            return true;
        turn(p);
        usleep(100);
    }
    return false;
}

static struct agent_frame agent_reads(struct play *p, enum agent_frame_type wanted)
{
    struct agent_header h;
    struct agent_frame f;
    struct wire_error error;
    do {
        read_exactly(p, p->vm->agent, p->in, AGENT_HEADER_LEN);
        assert_null(agent_header_read(p->in, &h));
        read_exactly(p, p->vm->agent, p->in, h.len_bytes);
        assert_true(agent_frame_read(&h, p->in, &f, &error));
    } while (f.type != wanted);
    return f;
}

static void agent_writes(int fd, const struct agent_frame *f)
{
    uint8_t data[1024];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    agent_frame_write(&w, f);
    assert_int_equal(write(fd, data, w.pos), w.pos);
}

static struct session_frame reads(struct play *p, int fd)
{
    struct session_header h;
    struct session_frame f;
    struct wire_error error;
    read_exactly(p, fd, p->in, SESSION_HEADER_LEN);
    assert_null(session_header_read(p->in, &h));
    read_exactly(p, fd, p->in, h.len_bytes);
    assert_true(session_frame_read(&h, p->in, &f, &error));
    return f;
}

static void writes(int fd, const struct session_frame *f)
{
    uint8_t data[1024];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    session_frame_write(&w, f);
    assert_false(w.overflow);
    assert_int_equal(send(fd, data, w.pos, MSG_NOSIGNAL), w.pos);
}

static void expect_head(struct play *p, int status)
{
    char head[1024] = "", expected[32];
    for (size_t n = 0; !strstr(head, "\r\n\r\n"); n++) {
        assert_true(n < sizeof head - 1);
        read_exactly(p, p->client, head + n, 1);
    }
    snprintf(expected, sizeof expected, "HTTP/1.1 %d ", status);
    assert_memory_equal(head, expected, strlen(expected));
}

static void refused(struct play *p, const char *what, const char *body, int status, const char *code)
{
    const struct reply *r =
        call(p->d, "POST", what, "Upgrade: envd-session\r\nConnection: upgrade\r\n", body);
    assert_string_equal(text_at("code"), code);
    assert_int_equal(r->status, status);
}

static struct id open_token(struct play *p)
{
    struct agent_frame open = agent_reads(p, AGENT_OPEN);
    agent_writes(p->vm->agent, &(struct agent_frame){.type = AGENT_RESULT, .tag = open.tag});
    return open.session.token;
}

static int attach(struct play *p, const struct id *token)
{
    int fd = vm_stream(p->vm);
    agent_writes(fd, &(struct agent_frame){.type = AGENT_ATTACH, .session = {.token = *token}});
    return fd;
}

// A session whose both ends are open.
static void open_exec(struct play *p)
{
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    struct id token = open_token(p);
    p->stream = attach(p, &token);
    expect_head(p, 101);
    assert_int_equal(reads(p, p->stream).type, SESSION_EXEC);
}

#define BYTES(s) ((struct wire_view){(const uint8_t *)(s), sizeof(s) - 1})

// --- exec and copy ---

static void an_exec_reaches_the_agent_checked_and_whole(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    struct agent_frame open = agent_reads(p, AGENT_OPEN);
    assert_int_equal(open.session.kind, AGENT_SESSION_EXEC);
    p->stream = attach(p, &open.session.token);
    expect_head(p, 101);
    struct session_frame f = reads(p, p->stream);
    assert_int_equal(f.type, SESSION_EXEC);
    assert_int_equal(f.exec.n_args, 2);
    assert_true(wire_view_equals(f.exec.args[1], "-l"));
    assert_true(wire_view_equals(f.exec.env[0], "A=b"));
    assert_true(wire_view_equals(f.exec.user, "www"));
    assert_int_equal(f.exec.flags, SESSION_EXEC_STDIN);
}

static void a_copy_says_what_is_to_be_done(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "copy", "{\"op\":\"put\",\"path\":\"/tmp/x\",\"mode\":384,\"size\":5000000000}");
    struct agent_frame open = agent_reads(p, AGENT_OPEN);
    assert_int_equal(open.session.kind, AGENT_SESSION_COPY);
    p->stream = attach(p, &open.session.token);
    struct session_frame f = reads(p, p->stream);
    assert_int_equal(f.copy.op, SESSION_COPY_PUT);
    assert_int_equal(f.copy.mode, 0600);
    assert_int_equal(f.copy.uid, SESSION_OWNER_DEFAULT);
    assert_true(f.copy.size == 5000000000);
    assert_true(wire_view_equals(f.copy.path, "/tmp/x"));
}

static void frames_pass_both_ways_and_the_guests_end_is_the_clients(void **state)
{
    struct play *p = *state;
    open_exec(p);
    writes(p->client, &(struct session_frame){.type = SESSION_STDIN, .data = BYTES("in\0put")});
    struct session_frame f = reads(p, p->stream);
    assert_int_equal(f.type, SESSION_STDIN);
    assert_memory_equal(f.data.data, "in\0put", 6);
    writes(p->stream, &(struct session_frame){.type = SESSION_STARTED, .pid = 7});
    writes(p->stream, &(struct session_frame){.type = SESSION_STDERR, .data = BYTES("oops")});
    writes(p->stream, &(struct session_frame){.type = SESSION_EXIT, .exit = {SESSION_EXITED, 3}});
    close(p->stream);
    p->stream = -1;
    assert_int_equal(reads(p, p->client).pid, 7);
    assert_int_equal(reads(p, p->client).type, SESSION_STDERR);
    assert_int_equal(reads(p, p->client).exit.value, 3);
    assert_true(ends(p, p->client));
}

static void bytes_behind_the_request_are_the_streams_first(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    writes(p->client, &(struct session_frame){.type = SESSION_SIGNAL, .signal = 15});
    struct id token = open_token(p);
    p->stream = attach(p, &token);
    assert_int_equal(reads(p, p->stream).type, SESSION_EXEC);
    assert_int_equal(reads(p, p->stream).signal, 15);
}

static void a_client_that_leaves_ends_the_guests_stream(void **state)
{
    struct play *p = *state;
    open_exec(p);
    close(p->client);
    p->client = -1;
    assert_true(ends(p, p->stream));
}

static void a_client_that_does_not_read_holds_the_guest_back_and_its_leaving_is_noticed(void **state)
{
    struct play *p = *state;
    static uint8_t frame[SESSION_HEADER_LEN + SESSION_PAYLOAD_MAX];
    struct wire_writer w;
    wire_writer_init(&w, frame, sizeof frame);
    open_exec(p);
    session_frame_write(
        &w, &(struct session_frame){.type = SESSION_STDOUT, .data = {p->in, SESSION_PAYLOAD_MAX}});
    size_t sent = 0, at = 0;
    for (int idle = 0; idle < 50; turn(p)) {
        ssize_t n = send(p->stream, frame + at, sizeof frame - at, MSG_DONTWAIT | MSG_NOSIGNAL);
        idle = n > 0 ? 0 : idle + 1;
        sent += n > 0 ? (size_t)n : 0;
        at = (at + (n > 0 ? (size_t)n : 0)) % sizeof frame;
    }
    assert_true(sent < 2u << 20); // two sockets' buffers and the relay's
    close(p->client);
    p->client = -1;
    assert_true(ends(p, p->stream));
}

static void a_guest_that_sends_no_frames_is_cut_off(void **state)
{
    struct play *p = *state;
    open_exec(p);
    assert_int_equal(write(p->stream, "this is no frame at all", 23), 23);
    assert_true(ends(p, p->stream));
    assert_true(ends(p, p->client));
}

static void a_guest_that_sends_a_clients_frame_is_cut_off(void **state)
{
    struct play *p = *state;
    open_exec(p);
    writes(p->stream, &(struct session_frame){.type = SESSION_STDIN, .data = BYTES("x")});
    assert_true(ends(p, p->client));
}

// --- tokens ---

static void a_token_serves_once(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    struct id token = open_token(p);
    p->stream = attach(p, &token);
    expect_head(p, 101);
    int again = attach(p, &token);
    assert_true(ends(p, again));
    close(again);
}

static void a_guessed_token_opens_nothing(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    struct id token = open_token(p);
    token.bytes[15] ^= 1;
    int guessed = attach(p, &token);
    assert_true(ends(p, guessed));
    close(guessed);
    token.bytes[15] ^= 1;
    p->stream = attach(p, &token); // and spoils nothing
    expect_head(p, 101);
}

static void a_token_is_of_no_use_to_another_environment(void **state)
{
    struct play *p = *state;
    call_ok(p->d, 201, "POST", "/v1/tenants/acme/environments",
            "{\"name\":\"db\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_A "\",\"memory_mib\":16}}");
    run(p, AGENT_CAP_SESSION);
    call_ok(p->d, 202, "POST", "/v1/tenants/acme/environments/db/start", NULL);
    helper_until(&p->h, "acme/db", "booting");
    p->client = ask(p, "exec", LS);
    struct id token = open_token(p);
    int stolen = vm_stream(helper_vm(&p->h, "acme/db"));
    agent_writes(stolen, &(struct agent_frame){.type = AGENT_ATTACH, .session = {.token = token}});
    assert_true(ends(p, stolen));
    close(stolen);
}

static void a_stream_after_its_client_left_is_closed(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    struct id token = open_token(p);
    close(p->client);
    p->client = -1;
    helper_run_ms(&p->h, 20);
    p->stream = attach(p, &token);
    assert_true(ends(p, p->stream));
}

// --- refusals ---

static void what_cannot_be_is_refused_with_its_code(void **state)
{
    struct play *p = *state;
    refused(p, "/v1/tenants/acme/environments/nobody/exec", LS, 404, "no-such-environment");
    refused(p, E "/exec", LS, 409, "not-running");
    refused(p, E "/console", NULL, 409, "not-running");
    refused(p, E "/exec", "{}", 422, "missing-member");
    refused(p, E "/exec", "{\"argv\":[\"x\"],\"env\":{\"A=\":\"b\"}}", 422, "invalid-member");
    refused(p, E "/copy", "{\"op\":\"eat\",\"path\":\"/\"}", 422, "invalid-member");
    refused(p, E "/copy", "{\"op\":\"symlink\",\"path\":\"/x\"}", 422, "invalid-member");
    assert_int_equal(call(p->d, "POST", E "/exec", NULL, LS)->status, 426);
    boot(p);
    refused(p, E "/exec", LS, 409, "no-agent");
    vm_hello_with(p->vm, 0);
    helper_until(&p->h, WEB, "ready");
    refused(p, E "/exec", LS, 409, "agent-cannot-exec");
}

static void an_agents_refusal_is_passed_on(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    struct agent_frame open = agent_reads(p, AGENT_OPEN);
    agent_writes(p->vm->agent, &(struct agent_frame){.type = AGENT_RESULT,
                                                     .tag = open.tag,
                                                     .receipt = {.code = RECEIPT_RATE_LIMITED,
                                                                 .detail = BYTES("no more processes")}});
    expect_head(p, 409);
}

static void an_environment_that_ends_meanwhile_ends_the_wait(void **state)
{
    struct play *p = *state;
    run(p, AGENT_CAP_SESSION);
    p->client = ask(p, "exec", LS);
    open_token(p);
    vm_exit(&p->h, p->vm, 9);
    expect_head(p, 409);
}

static void an_environment_has_so_many_sessions_and_no_more(void **state)
{
    struct play *p = *state;
    int clients[8];
    run(p, AGENT_CAP_SESSION);
    for (size_t i = 0; i < 8; i++) {
        clients[i] = ask(p, "exec", LS);
        agent_reads(p, AGENT_OPEN);
    }
    refused(p, E "/exec", LS, 409, "too-many-sessions");
    close(clients[0]);
    helper_run_ms(&p->h, 20);
    clients[0] = ask(p, "exec", LS);
    agent_reads(p, AGENT_OPEN);
    for (size_t i = 0; i < 8; i++)
        close(clients[i]);
}

// --- the console ---

static void a_console_is_frames_here_and_bytes_there(void **state)
{
    struct play *p = *state;
    char raw[16];
    boot(p); // an agent is not needed
    p->client = ask(p, "console", "");
    while (vm_order(p->vm) != VMCTL_CONSOLE)
        turn(p);
    p->stream = vm_console(p->vm);
    expect_head(p, 101);
    assert_int_equal(reads(p, p->client).type, SESSION_CREDIT);
    writes(p->client, &(struct session_frame){.type = SESSION_STDIN, .data = BYTES("ls\r")});
    read_exactly(p, p->stream, raw, 3);
    assert_memory_equal(raw, "ls\r", 3);
    assert_int_equal(reads(p, p->client).credit, 3);
    assert_int_equal(write(p->stream, "bin\r\n", 5), 5);
    struct session_frame f = reads(p, p->client);
    assert_int_equal(f.type, SESSION_STDOUT);
    assert_memory_equal(f.data.data, "bin\r\n", 5);
    writes(p->client, &(struct session_frame){.type = SESSION_RESIZE, .size = {132, 50}});
    while (vm_order(p->vm) != VMCTL_RESIZE)
        turn(p);
    close(p->stream); // a newer client has it
    p->stream = -1;
    assert_true(ends(p, p->client));
}

static void a_machine_without_a_console_says_so(void **state)
{
    struct play *p = *state;
    boot(p);
    p->client = ask(p, "console", "");
    while (vm_order(p->vm) != VMCTL_CONSOLE)
        turn(p);
    vm_no_console(p->vm);
    expect_head(p, 409);
}

static void a_consoles_client_that_sends_something_else_is_cut_off(void **state)
{
    struct play *p = *state;
    boot(p);
    p->client = ask(p, "console", "");
    while (vm_order(p->vm) != VMCTL_CONSOLE)
        turn(p);
    p->stream = vm_console(p->vm);
    expect_head(p, 101);
    writes(p->client, &(struct session_frame){.type = SESSION_SIGNAL, .signal = 9});
    assert_true(ends(p, p->client));
    assert_true(ends(p, p->stream));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(an_exec_reaches_the_agent_checked_and_whole),
        TEST(a_copy_says_what_is_to_be_done),
        TEST(frames_pass_both_ways_and_the_guests_end_is_the_clients),
        TEST(bytes_behind_the_request_are_the_streams_first),
        TEST(a_client_that_leaves_ends_the_guests_stream),
        TEST(a_client_that_does_not_read_holds_the_guest_back_and_its_leaving_is_noticed),
        TEST(a_guest_that_sends_no_frames_is_cut_off),
        TEST(a_guest_that_sends_a_clients_frame_is_cut_off),
        TEST(a_token_serves_once),
        TEST(a_guessed_token_opens_nothing),
        TEST(a_token_is_of_no_use_to_another_environment),
        TEST(a_stream_after_its_client_left_is_closed),
        TEST(what_cannot_be_is_refused_with_its_code),
        TEST(an_agents_refusal_is_passed_on),
        TEST(an_environment_that_ends_meanwhile_ends_the_wait),
        TEST(an_environment_has_so_many_sessions_and_no_more),
        TEST(a_console_is_frames_here_and_bytes_there),
        TEST(a_machine_without_a_console_says_so),
        TEST(a_consoles_client_that_sends_something_else_is_cut_off),
    };
    return cmocka_run_group_tests_name("sessions", tests, NULL, NULL);
}
