// The life of envpriv and of what it starts: requests and refusals, envds that come and go, its own ends,
// orderly or not.
#include "harness.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "common/io.h"

static struct host host;

static int setup(void **state)
{
    (void)state;
    host_start(&host);
    host_net_up(&host, HARNESS_NET, HARNESS_GATEWAY);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    host_end(&host, SIGTERM, true);
    return 0;
}

static bool process_exists(pid_t pid)
{
    return kill(pid, 0) == 0;
}

static void await_gone(pid_t pid)
{
    for (int i = 0; i < 500 && process_exists(pid); i++)
        nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
    assert_false(process_exists(pid));
}

static void an_exit_is_told_with_its_status(void **state)
{
    (void)state;
    struct guest g;
    guest_start(&host, &g, 1);
    assert_int_equal(io_send_fds(g.control, "x\x2a", 2, NULL, 0), 0);
    host_await_exit(&host, &g.vm);
    assert_true(WIFEXITED(host.last_wait_status));
    assert_int_equal(WEXITSTATUS(host.last_wait_status), 42);
    struct privctl_message m = {.type = PRIVCTL_FORGET, .vm = g.vm};
    host_ask_ok(&host, &m);
    close(g.control);
}

static void after_an_exit_only_the_record_is_left(void **state)
{
    (void)state;
    unsigned before = leftovers();
    struct guest g;
    guest_start(&host, &g, 1);
    assert_true(leftovers() > before);
    struct privctl_message m = {.type = PRIVCTL_KILL, .vm = g.vm};
    host_ask_ok(&host, &m);
    host_await_exit(&host, &g.vm);
    assert_true(WIFSIGNALED(host.last_wait_status));
    assert_int_equal(leftovers(), before);
    host_ask_ok(&host, &m); // once more: it is as good as killed
    m = (struct privctl_message){.type = PRIVCTL_FORGET, .vm = g.vm};
    host_ask_ok(&host, &m);
    host_ask_fails(&host, &m, NULL, 0, ENOENT, "no VM with this id");
    close(g.control);
}

static void a_running_vm_cannot_be_forgotten(void **state)
{
    (void)state;
    struct guest g;
    guest_start(&host, &g, 1);
    struct privctl_message m = {.type = PRIVCTL_FORGET, .vm = g.vm};
    host_ask_fails(&host, &m, NULL, 0, EBUSY, "has not exited");
    guest_end(&host, &g);
}

static void a_network_with_a_vm_stays_up(void **state)
{
    (void)state;
    struct guest g;
    guest_start(&host, &g, 1);
    struct privctl_message m = {.type = PRIVCTL_NET_DOWN, .net = {.net = HARNESS_NET}};
    host_ask_fails(&host, &m, NULL, 0, EBUSY, "1 running environments");
    guest_end(&host, &g);
    host_ask_ok(&host, &m);
    host_ask_ok(&host, &m); // once more: it is down
    host_net_up(&host, HARNESS_NET, HARNESS_GATEWAY);
    host_net_up(&host, HARNESS_NET, HARNESS_GATEWAY); // once more: it is up
}

static void a_network_that_collides_is_refused(void **state)
{
    (void)state;
    struct privctl_message m = {.type = PRIVCTL_NET_UP, .net = {2, HARNESS_GATEWAY + 100, 25}};
    host_ask_fails(&host, &m, NULL, 0, EEXIST, "10.99.1.0/25 overlaps this host's route to 10.99.1.0/24");
    m.net.gateway = 0x7f010001;
    host_ask_fails(&host, &m, NULL, 0, EINVAL, "no address for a gateway");
    m = (struct privctl_message){.type = PRIVCTL_NET_UP,
                                 .net = {HARNESS_NET, HARNESS_GATEWAY + 1, HARNESS_PREFIX}};
    host_ask_fails(&host, &m, NULL, 0, EEXIST, "is up with another address");
}

static void another_tenants_network_is_apart(void **state)
{
    (void)state;
    host_net_up(&host, 2, HARNESS_GATEWAY + 256);
    struct privctl_message m;
    guest_request(&m, 1);
    m.spawn.net = 2;
    int fds[3];
    guest_files(fds);
    host_ask_fails(&host, &m, fds, 3, EINVAL, "not one for environments of network 2");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    m.spawn.ipv4 += 256;
    struct guest g;
    guest_start_with(&host, &g, &m);
    guest_end(&host, &g);
    m = (struct privctl_message){.type = PRIVCTL_NET_DOWN, .net = {.net = 2}};
    host_ask_ok(&host, &m);
}

static void the_same_address_twice_is_refused(void **state)
{
    (void)state;
    struct guest g;
    guest_start(&host, &g, 1);
    struct privctl_message m;
    int fds[3];
    guest_files(fds);
    guest_request(&m, 1);
    host_ask_fails(&host, &m, fds, 3, EEXIST, "with this id already");
    m.spawn.vm.bytes[0]++;
    host_ask_fails(&host, &m, fds, 3, EADDRINUSE, "has this MAC or address");
    m.spawn.ipv4++;
    host_ask_fails(&host, &m, fds, 3, EADDRINUSE, "has this MAC or address");
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    guest_end(&host, &g);
}

// Without the network namespaces that it keeps ready for the next VMs: their number varies.
static unsigned open_fds_of(pid_t pid)
{
    char path[64], target[64];
    snprintf(path, sizeof path, "/proc/%d/fd", pid);
    DIR *d = opendir(path);
    assert_non_null(d);
    unsigned n = 0;
    for (struct dirent *e; (e = readdir(d)) != NULL;) {
        ssize_t len = readlinkat(dirfd(d), e->d_name, target, sizeof target);
        n += len < 4 || memcmp(target, "net:", 4) != 0;
    }
    closedir(d);
    return n;
}

static void hostile_datagrams_leave_no_descriptor_behind(void **state)
{
    (void)state;
    unsigned before = open_fds_of(host.pid);
    int fds[8];
    for (unsigned i = 0; i < 8; i++)
        fds[i] = open("/dev/null", O_RDONLY | O_CLOEXEC);
    uint32_t seed = 1;
    for (unsigned i = 0; i < 1000; i++) {
        uint8_t bytes[512];
        for (unsigned n = 0; n < sizeof bytes; n++)
            bytes[n] = (uint8_t)((seed = seed * 1664525 + 1013904223) >> 24);
        bytes[0] = (uint8_t)(i % 15); // mostly types that exist
        bytes[1] = bytes[2] = bytes[3] = 0;
        assert_int_equal(io_send_fds(host.sock, bytes, 1 + i % sizeof bytes, fds, i % 9), 0);
        struct answer a;
        host_receive(&host, host.sock, &a);
        // Two kinds in this mix mean something: HELLO of the right version never, LIST with nothing after its
        // tag.
        assert_true(a.m.type == PRIVCTL_FAIL || a.m.type == PRIVCTL_OK);
    }
    for (unsigned i = 0; i < 8; i++)
        close(fds[i]);
    assert_int_equal(open_fds_of(host.pid), before);
    struct guest g;
    guest_start(&host, &g, 1); // and it still works
    guest_end(&host, &g);
}

static void refused_spawns_leave_nothing_behind(void **state)
{
    (void)state;
    unsigned fds_before = open_fds_of(host.pid);
    unsigned before = leftovers();
    struct privctl_message m;
    int fds[3];
    guest_files(fds);
    guest_request(&m, 1);
    m.spawn.memory_max_bytes = 4096;
    host_ask_fails(&host, &m, fds, 3, EINVAL, "memory limit");
    guest_request(&m, 1);
    m.spawn.pids_max = 1u << 30;
    host_ask_fails(&host, &m, fds, 3, EINVAL, "threads");
    guest_request(&m, 1);
    int swapped[3] = {fds[2], fds[1], fds[0]};
    host_ask_fails(&host, &m, swapped, 3, EINVAL, "kernel has to be opened for reading only");
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    int with_pipe[3] = {fds[0], pipes[0], fds[2]};
    host_ask_fails(&host, &m, with_pipe, 3, EINVAL, "program is not a regular file");
    close(pipes[0]);
    close(pipes[1]);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
    assert_int_equal(leftovers(), before);
    assert_int_equal(open_fds_of(host.pid), fds_before);
}

// A link in the way of the tap's name: what was made before it is taken back.
static void a_spawn_that_fails_half_way_is_undone(void **state)
{
    (void)state;
    unsigned fds_before = open_fds_of(host.pid);
    char command[128];
    snprintf(command, sizeof command, "ip link add name ev%st0 type bridge", harness_instance);
    assert_int_equal(system(command), 0);
    unsigned before = leftovers();
    struct privctl_message m;
    int fds[3];
    guest_files(fds);
    guest_request(&m, 1);
    struct answer a;
    host_ask(&host, &m, fds, 3, &a);
    assert_int_equal(a.m.type, PRIVCTL_FAIL);
    assert_int_equal(leftovers(), before - 1); // of the name that is ours even the link in the way went
    assert_int_equal(open_fds_of(host.pid), fds_before);
    struct answer again;
    host_ask(&host, &m, fds, 3, &again);
    assert_int_equal(again.m.type, PRIVCTL_SPAWN_OK);
    struct guest g = {.vm = m.spawn.vm, .control = again.fds[0]};
    guest_end(&host, &g);
    for (int i = 0; i < 3; i++)
        close(fds[i]);
}

static void list(struct host *h, struct answer *entries, unsigned cap, unsigned *ret_n)
{
    uint8_t bytes[64];
    struct wire_writer w;
    wire_writer_init(&w, bytes, sizeof bytes);
    const struct privctl_message m = {.type = PRIVCTL_LIST, .tag = ++h->next_tag};
    privctl_write(&w, &m);
    assert_int_equal(io_send_fds(h->sock, bytes, w.pos, NULL, 0), 0);
    for (*ret_n = 0;;) {
        struct answer a;
        host_receive(h, h->sock, &a);
        if (a.m.type == PRIVCTL_EXITED)
            continue;
        assert_int_equal(a.m.tag, m.tag);
        if (a.m.type == PRIVCTL_OK)
            return;
        assert_int_equal(a.m.type, PRIVCTL_LIST_ENTRY);
        assert_true(*ret_n < cap);
        entries[(*ret_n)++] = a;
    }
}

static void a_new_envd_takes_over_what_runs(void **state)
{
    (void)state;
    struct guest g, ended;
    guest_start(&host, &g, 1);
    guest_start(&host, &ended, 2);
    close(host.sock); // envd dies
    host.sock = -1;
    close(g.control);
    assert_int_equal(kill(ended.pid, SIGKILL), 0);
    await_gone(ended.pid);

    host_hello(&host, host_connect(&host));
    static struct answer entries[8];
    unsigned n;
    list(&host, entries, 8, &n);
    assert_int_equal(n, 2);
    assert_true(id_equals(&entries[0].m.entry.vm, &g.vm));
    assert_string_equal(entries[0].m.entry.tenant, "acme");
    assert_string_equal(entries[0].m.entry.name, "web-1");
    assert_int_equal(entries[0].m.entry.pid, g.pid);
    assert_int_equal(entries[0].m.entry.uid, g.uid);
    assert_false(entries[0].m.entry.exited);
    assert_true(entries[1].m.entry.exited);
    assert_true(WIFSIGNALED(entries[1].m.entry.wait_status));

    g.control = entries[0].fds[0];
    struct probe_report r;
    assert_int_equal(guest_ask(&g, PROBE_REPORT, NULL, 0, &r, sizeof r), sizeof r); // it answers its new envd
    close(entries[1].fds[0]);
    struct privctl_message m = {.type = PRIVCTL_FORGET, .vm = ended.vm};
    host_ask_ok(&host, &m);
    close(ended.control);
    guest_end(&host, &g);
    list(&host, entries, 8, &n);
    assert_int_equal(n, 0);
}

static void many_entries_reach_a_slow_envd(void **state)
{
    (void)state;
    enum { N = 60 };
    static struct guest guests[N];
    for (unsigned i = 0; i < N; i++)
        guest_start(&host, &guests[i], 1 + i);
    // More answers than the socket holds, asked for before the first is read.
    uint8_t bytes[64];
    enum { ROUNDS = 20 };
    for (unsigned i = 0; i < ROUNDS; i++) {
        struct wire_writer w;
        wire_writer_init(&w, bytes, sizeof bytes);
        privctl_write(&w, &(struct privctl_message){.type = PRIVCTL_LIST, .tag = 1000 + i});
        assert_int_equal(io_send_fds(host.sock, bytes, w.pos, NULL, 0), 0);
    }
    unsigned n_entries = 0, n_done = 0;
    while (n_done < ROUNDS) {
        struct answer a;
        host_receive(&host, host.sock, &a);
        n_entries += a.m.type == PRIVCTL_LIST_ENTRY;
        n_done += a.m.type == PRIVCTL_OK;
        if (a.n_fds)
            close(a.fds[0]);
    }
    assert_int_equal(n_entries, N * ROUNDS);
    for (unsigned i = 0; i < N; i++)
        guest_end(&host, &guests[i]);
}

static void a_second_live_envd_is_refused(void **state)
{
    (void)state;
    int second = host_connect(&host);
    struct answer a;
    host_receive(&host, second, &a);
    assert_int_equal(a.m.type, PRIVCTL_FAIL);
    assert_int_equal(a.m.fail.error, EBUSY);
    size_t n_fds = 0;
    assert_int_equal(io_recv_fds(second, a.bytes, sizeof a.bytes, NULL, &n_fds), 0); // then it is closed
    close(second);
    struct guest g;
    guest_start(&host, &g, 1); // the first one goes on
    guest_end(&host, &g);
}

static void before_hello_nothing_is_done(void **state)
{
    (void)state;
    close(host.sock);
    host.sock = host_connect(&host);
    struct privctl_message m = {.type = PRIVCTL_NET_DOWN, .net = {.net = HARNESS_NET}};
    host_ask_fails(&host, &m, NULL, 0, EPROTO, "before HELLO");
    m = (struct privctl_message){.type = PRIVCTL_HELLO, .version = PRIVCTL_VERSION + 1};
    host_ask_fails(&host, &m, NULL, 0, EPROTONOSUPPORT, "same release");
    host_hello(&host, host.sock);
}

// Starts an envpriv that must give up, and checks what it says.
static void assert_gives_up(const char *folder, const char *user, const char *words)
{
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    pid_t pid = fork();
    if (pid == 0) {
        dup2(pipes[1], STDERR_FILENO);
        host_execute(folder, host.envvm, user);
    }
    close(pipes[1]);
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(WEXITSTATUS(status), 1);
    char text[1024] = "";
    assert_true(read(pipes[0], text, sizeof text - 1) > 0);
    close(pipes[0]);
    if (!strstr(text, words))
        fail_msg("\"%s\" does not say \"%s\"", text, words);
}

static void a_folder_in_use_is_refused(void **state)
{
    (void)state;
    char wanted[64];
    snprintf(wanted, sizeof wanted, "in use by the envpriv with pid %d", host.pid);
    assert_gives_up(host.folder, "0", wanted);
}

static void an_instance_in_use_is_refused(void **state)
{
    (void)state;
    char folder[] = "/tmp/envpriv-story-XXXXXX";
    assert_non_null(mkdtemp(folder));
    assert_gives_up(folder, "0", "is in use by another envpriv: give this one another --instance");
    assert_int_equal(rmdir(folder), 0); // and it left nothing there
}

static void a_folder_that_the_user_may_not_write_is_refused(void **state)
{
    (void)state;
    char folder[] = "/tmp/envpriv-story-XXXXXX";
    assert_non_null(mkdtemp(folder)); // root's, 0700
    assert_gives_up(folder, "64177", "the folder has to be one that user 64177 may write");
    assert_int_equal(rmdir(folder), 0);
}

static void another_user_is_refused(void **state)
{
    (void)state;
    char path[96];
    snprintf(path, sizeof path, "%s/priv.sock", host.folder);
    // What its modes keep out is let in here, for the check behind them.
    assert_int_equal(chmod(host.folder, 0711), 0);
    assert_int_equal(chmod(path, 0666), 0);
    int pair[2];
    assert_int_equal(socketpair(AF_UNIX, SOCK_SEQPACKET, 0, pair), 0);
    pid_t pid = fork();
    if (pid == 0) {
        int sock = setuid(64177) == 0 ? host_connect(&host) : -1;
        _exit(io_send_fds(pair[1], "", 1, &sock, 1) == 0 ? 0 : 1);
    }
    char byte;
    int sock;
    size_t n_fds = 1;
    assert_int_equal(io_recv_fds(pair[0], &byte, 1, &sock, &n_fds), 1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    struct answer a;
    host_receive(&host, sock, &a);
    assert_int_equal(a.m.type, PRIVCTL_FAIL);
    assert_int_equal(a.m.fail.error, EACCES);
    close(sock);
    close(pair[0]);
    close(pair[1]);
}

static void sigterm_leaves_nothing(void **state)
{
    (void)state;
    struct guest g[3];
    for (unsigned i = 0; i < 3; i++)
        guest_start(&host, &g[i], 1 + i);
    int status = host_end(&host, SIGTERM, true);
    assert_true(WIFEXITED(status));
    assert_int_equal(WEXITSTATUS(status), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_false(process_exists(g[i].pid));
        close(g[i].control);
    }
    assert_int_equal(leftovers(), 0);
    setup(NULL);
}

static void sigkill_takes_the_vms_along_and_the_next_start_cleans_up(void **state)
{
    (void)state;
    struct guest g[3];
    for (unsigned i = 0; i < 3; i++)
        guest_start(&host, &g[i], 1 + i);
    struct probe_report r;
    guest_ask(&g[0], PROBE_REPORT, NULL, 0, &r,
              sizeof r); // one runs; the others may still be on their way into the jail
    host_end(&host, SIGKILL, false);
    for (unsigned i = 0; i < 3; i++) {
        int status;
        assert_int_equal(waitpid(g[i].pid, &status, 0), g[i].pid);
        if (i == 0)
            assert_true(WIFSIGNALED(status));
        close(g[i].control);
    }
    assert_true(leftovers() > 0); // bridge, tables, cgroups
    host_launch(&host, host.envvm);
    host_hello(&host, host_connect(&host));
    host_net_up(&host, HARNESS_NET, HARNESS_GATEWAY); // the bridge is gone, so it can be made
    guest_start(&host, &g[0], 1);
    guest_end(&host, &g[0]);
}

int main(void)
{
    int rc = harness_enter();
    if (rc != 0)
        return rc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_exit_is_told_with_its_status),
        cmocka_unit_test(after_an_exit_only_the_record_is_left),
        cmocka_unit_test(a_running_vm_cannot_be_forgotten),
        cmocka_unit_test(a_network_with_a_vm_stays_up),
        cmocka_unit_test(a_network_that_collides_is_refused),
        cmocka_unit_test(another_tenants_network_is_apart),
        cmocka_unit_test(the_same_address_twice_is_refused),
        cmocka_unit_test(hostile_datagrams_leave_no_descriptor_behind),
        cmocka_unit_test(refused_spawns_leave_nothing_behind),
        cmocka_unit_test(a_spawn_that_fails_half_way_is_undone),
        cmocka_unit_test(a_new_envd_takes_over_what_runs),
        cmocka_unit_test(many_entries_reach_a_slow_envd),
        cmocka_unit_test(a_second_live_envd_is_refused),
        cmocka_unit_test(before_hello_nothing_is_done),
        cmocka_unit_test(a_folder_in_use_is_refused),
        cmocka_unit_test(an_instance_in_use_is_refused),
        cmocka_unit_test(a_folder_that_the_user_may_not_write_is_refused),
        cmocka_unit_test(another_user_is_refused),
        cmocka_unit_test(sigterm_leaves_nothing),
        cmocka_unit_test(sigkill_takes_the_vms_along_and_the_next_start_cleans_up),
    };
    return cmocka_run_group_tests_name("priv/life", tests, setup, teardown);
}
