// The link to envpriv (server/daemon/env/priv_link.c), against a socket that plays envpriv.
#include "../testing.h"

#include <errno.h>
#include <event2/event.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "common/io.h"
#include "env/priv_link.h"

struct host {
    struct event_base *base;
    struct priv_link *link;
    char dir[64], path[96];
    int listener, peer;
    char seen[2048];
    int fd;
};

__attribute__((format(printf, 2, 3))) static void note(struct host *h, const char *format, ...)
{
    size_t n = strlen(h->seen);
    va_list ap;
    va_start(ap, format);
    vsnprintf(h->seen + n, sizeof h->seen - n, format, ap);
    va_end(ap);
}

static void on_up(void *arg, const struct priv_facts *facts)
{
    note(arg, "up %s %s %s;", facts->instance, facts->kvm, facts->cgroup);
}

static void on_entry(void *arg, const struct privctl_message *entry, int fd)
{
    struct host *h = arg;
    note(h, "entry %s/%s %u%s;", entry->entry.tenant, entry->entry.name, entry->entry.pid,
         fd >= 0 ? " fd" : "");
    if (fd >= 0)
        close(fd);
}

static void on_listed(void *arg)
{
    note(arg, "listed;");
}

static void on_exited(void *arg, const struct id *vm, int32_t wait_status)
{
    note(arg, "exited %u %d;", vm->bytes[0], wait_status);
}

static void on_answer(void *arg, const struct privctl_message *request, const struct privctl_message *answer,
                      int fd)
{
    struct host *h = arg;
    note(h, "%s: %s%s;", privctl_type_name(request->type),
         answer ? privctl_type_name(answer->type) : "broken", fd >= 0 ? " fd" : "");
    if (fd >= 0)
        close(fd);
}

static void on_down(void *arg, const char *reason)
{
    note(arg, "down %s;", reason);
}

static void listen_at(struct host *h)
{
    struct sockaddr_un sa = {.sun_family = AF_UNIX};
    snprintf(sa.sun_path, sizeof sa.sun_path, "%s", h->path);
    unlink(h->path);
    h->listener = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(h->listener, (struct sockaddr *)&sa, sizeof sa), 0);
    assert_int_equal(listen(h->listener, 4), 0);
}

static int setup(void **state)
{
    struct host *h = calloc(1, sizeof *h);
    assert_non_null(h);
    snprintf(h->dir, sizeof h->dir, "/tmp/envd-priv-XXXXXX");
    assert_non_null(mkdtemp(h->dir));
    snprintf(h->path, sizeof h->path, "%s/priv.sock", h->dir);
    h->base = event_base_new();
    h->peer = h->listener = h->fd = -1;
    *state = h;
    return 0;
}

static int teardown(void **state)
{
    struct host *h = *state;
    priv_link_free(h->link);
    if (h->peer >= 0)
        close(h->peer);
    if (h->listener >= 0)
        close(h->listener);
    unlink(h->path);
    rmdir(h->dir);
    event_base_free(h->base);
    free(h);
    return 0;
}

static void start(struct host *h)
{
    static const struct priv_link_cb cb = {on_up, on_entry, on_listed, on_exited, on_answer, on_down};
    h->link = priv_link_new(h->base, h->path, &cb, h);
    assert_non_null(h->link);
}

// Runs the loop until text was noted; 5 s at most.
static void run_until(struct host *h, const char *text)
{
    uint64_t end = io_monotonic_ns() + 5000000000ull;
    while (!strstr(h->seen, text)) {
        if (io_monotonic_ns() > end)
            fail_msg("\"%s\" did not happen, but: %s", text, h->seen);
        event_base_loop(h->base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
}

static void take_connection(struct host *h)
{
    uint64_t end = io_monotonic_ns() + 5000000000ull;
    while ((h->peer = accept4(h->listener, NULL, NULL, SOCK_CLOEXEC)) < 0) {
        assert_true(io_monotonic_ns() < end);
        event_base_loop(h->base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    struct timeval tv = {.tv_sec = 5};
    setsockopt(h->peer, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
}

static struct privctl_message hear(struct host *h, size_t *ret_n_fds)
{
    static uint8_t data[PRIVCTL_DATAGRAM_MAX];
    struct privctl_message m = {0};
    struct wire_error error;
    int fds[PRIVCTL_FDS_MAX];
    size_t n_fds = PRIVCTL_FDS_MAX;
    event_base_loop(h->base, EVLOOP_NONBLOCK);
    ssize_t n = io_recv_fds(h->peer, data, sizeof data, fds, &n_fds);
    assert_true(n > 0);
    assert_true(privctl_read(data, (size_t)n, &m, &error));
    for (size_t i = 0; i < n_fds; i++)
        close(fds[i]);
    if (ret_n_fds)
        *ret_n_fds = n_fds;
    return m;
}

static void say(struct host *h, const struct privctl_message *m, int fd)
{
    uint8_t data[2048];
    struct wire_writer w;
    wire_writer_init(&w, data, sizeof data);
    privctl_write(&w, m);
    assert_false(w.overflow);
    assert_int_equal(io_send_fds(h->peer, data, w.pos, &fd, fd >= 0 ? 1 : 0), 0);
}

#define VIEW(s) ((struct wire_view){(const uint8_t *)(s), strlen(s)})

static void say_hello(struct host *h)
{
    struct privctl_message m = hear(h, NULL);
    assert_int_equal(m.type, PRIVCTL_HELLO);
    say(h,
        &(struct privctl_message){
            .type = PRIVCTL_HELLO_OK,
            .tag = m.tag,
            .hello_ok = {PRIVCTL_VERSION, VIEW("abcd"), VIEW("pvm"), VIEW("KVM-PVM"), VIEW("v1")}},
        -1);
    run_until(h, "up ");
    m = hear(h, NULL);
    assert_int_equal(m.type, PRIVCTL_LIST);
}

// Connected, with nothing running.
static void come_up(struct host *h)
{
    listen_at(h);
    start(h);
    take_connection(h);
    say_hello(h);
    say(h, &(struct privctl_message){.type = PRIVCTL_OK}, -1);
    run_until(h, "listed;");
    h->seen[0] = '\0';
}

static struct privctl_message kill_of(uint8_t vm)
{
    return (struct privctl_message){.type = PRIVCTL_KILL, .vm = {{vm}}};
}

static void hello_list_and_then_requests(void **state)
{
    struct host *h = *state;
    listen_at(h);
    start(h);
    take_connection(h);
    struct privctl_message kill = kill_of(1);
    assert_int_equal(priv_link_request(h->link, &kill, NULL, 0), -ENOTCONN);
    say_hello(h);
    struct privctl_message entry = {
        .type = PRIVCTL_LIST_ENTRY,
        .entry = {.vm = {{7}}, .tenant = "acme", .name = "web", .pid = 4, .uid = 5}};
    entry.entry.pid = 41;
    say(h, &entry, h->peer);
    say(h, &(struct privctl_message){.type = PRIVCTL_OK}, -1);
    run_until(h, "listed;");
    assert_string_equal(h->seen, "up abcd pvm v1;entry acme/web 41 fd;listed;");
    assert_true(priv_link_up(h->link));
    assert_int_equal(priv_link_request(h->link, &kill, NULL, 0), 0);
    struct privctl_message m = hear(h, NULL);
    assert_int_equal(m.type, PRIVCTL_KILL);
    assert_int_not_equal(m.tag, 0);
}

static void answers_find_their_requests_in_any_order(void **state)
{
    struct host *h = *state;
    come_up(h);
    struct privctl_message kill = kill_of(1), forget = {.type = PRIVCTL_FORGET, .vm = {{2}}};
    assert_int_equal(priv_link_request(h->link, &kill, NULL, 0), 0);
    assert_int_equal(priv_link_request(h->link, &forget, NULL, 0), 0);
    struct privctl_message first = hear(h, NULL), second = hear(h, NULL);
    say(h, &(struct privctl_message){.type = PRIVCTL_OK, .tag = second.tag}, -1);
    say(h, &(struct privctl_message){.type = PRIVCTL_FAIL, .tag = first.tag, .fail = {ESRCH, VIEW("gone")}},
        -1);
    run_until(h, "KILL");
    assert_string_equal(h->seen, "FORGET: OK;KILL: FAIL;");
}

static void descriptors_of_a_request_go_along_and_stay_the_callers(void **state)
{
    struct host *h = *state;
    come_up(h);
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    int fds[] = {fd, fd, fd};
    uint8_t config[] = {1, 2, 3};
    struct privctl_message spawn = {
        .type = PRIVCTL_SPAWN,
        .spawn = {.vm = {{3}},
                  .tenant = "acme",
                  .name = "web",
                  .cpu_weight = 100,
                  .pids_max = 16,
                  .net = 1,
                  .memory_max_bytes = 64 << 20,
                  .mac = {2, 0, 0, 0, 0, 1},
                  .ipv4 = 0x0a4d0002,
                  .vm_config = {config, sizeof config}},
    };
    assert_int_equal(priv_link_request(h->link, &spawn, fds, 3), 0);
    size_t n_fds;
    struct privctl_message m = hear(h, &n_fds);
    assert_int_equal(n_fds, 3);
    assert_int_equal(fcntl(fd, F_GETFD) >= 0, 1);
    close(fd);
    say(h, &(struct privctl_message){.type = PRIVCTL_SPAWN_OK, .tag = m.tag, .spawn_ok = {{{3}}, 1, 2}},
        h->peer);
    run_until(h, "SPAWN");
    assert_string_equal(h->seen, "SPAWN: SPAWN_OK fd;");
}

static void a_broken_link_answers_what_was_asked_and_comes_back(void **state)
{
    struct host *h = *state;
    come_up(h);
    struct privctl_message kill = kill_of(1);
    assert_int_equal(priv_link_request(h->link, &kill, NULL, 0), 0);
    hear(h, NULL);
    close(h->peer);
    run_until(h, "down ");
    assert_string_equal(h->seen, "KILL: broken;down envpriv closed the connection;");
    assert_false(priv_link_up(h->link));
    h->seen[0] = '\0';
    take_connection(h);
    say_hello(h);
    say(h, &(struct privctl_message){.type = PRIVCTL_OK}, -1);
    run_until(h, "listed;");
    assert_true(priv_link_up(h->link));
}

static void an_outage_is_told_once(void **state)
{
    struct host *h = *state;
    start(h); // nobody listens
    run_until(h, "down ");
    uint64_t end = io_monotonic_ns() + 400000000ull;
    while (io_monotonic_ns() < end) {
        event_base_loop(h->base, EVLOOP_NONBLOCK);
        usleep(1000);
    }
    assert_null(strstr(strstr(h->seen, "down ") + 5, "down "));
    assert_non_null(strstr(h->seen, h->path));
    listen_at(h);
    take_connection(h); // it went on trying
}

static void exits_are_told_whenever_they_happen(void **state)
{
    struct host *h = *state;
    come_up(h);
    say(h, &(struct privctl_message){.type = PRIVCTL_EXITED, .entry = {.vm = {{5}}, .wait_status = 9}}, -1);
    run_until(h, "exited 5 9;");
}

static void an_answer_to_nothing_breaks_the_link(void **state)
{
    struct host *h = *state;
    come_up(h);
    say(h, &(struct privctl_message){.type = PRIVCTL_OK, .tag = 99}, -1);
    run_until(h, "never made");
}

static void a_message_out_of_order_breaks_the_link(void **state)
{
    struct host *h = *state;
    come_up(h);
    say(h,
        &(struct privctl_message){
            .type = PRIVCTL_LIST_ENTRY,
            .entry = {.vm = {{7}}, .tenant = "acme", .name = "web", .pid = 4, .uid = 5}},
        -1);
    run_until(h, "out of order");
}

static void garbage_breaks_the_link(void **state)
{
    struct host *h = *state;
    come_up(h);
    assert_int_equal(write(h->peer, "garbage", 7), 7);
    run_until(h, "malformed");
}

static void a_refused_hello_says_why(void **state)
{
    struct host *h = *state;
    listen_at(h);
    start(h);
    take_connection(h);
    hear(h, NULL);
    say(h, &(struct privctl_message){.type = PRIVCTL_FAIL, .fail = {EPERM, VIEW("you are not envd")}}, -1);
    run_until(h, "you are not envd");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(hello_list_and_then_requests),
        TEST(answers_find_their_requests_in_any_order),
        TEST(descriptors_of_a_request_go_along_and_stay_the_callers),
        TEST(a_broken_link_answers_what_was_asked_and_comes_back),
        TEST(an_outage_is_told_once),
        TEST(exits_are_told_whenever_they_happen),
        TEST(an_answer_to_nothing_breaks_the_link),
        TEST(a_message_out_of_order_breaks_the_link),
        TEST(garbage_breaks_the_link),
        TEST(a_refused_hello_says_why),
    };
    return cmocka_run_group_tests_name("env_priv_link", tests, NULL, NULL);
}
