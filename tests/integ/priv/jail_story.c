// The jail as the process in it sees it, and as the host sees that process: nothing of the host, no rights,
// its limits.
#include "harness.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "proto/vmctl.h"

static struct host host;
static struct guest guest;
static struct probe_report report;

static int setup(void **state)
{
    (void)state;
    host_start(&host);
    host_net_up(&host, HARNESS_NET, HARNESS_GATEWAY);
    guest_start(&host, &guest, 1);
    assert_int_equal(guest_ask(&guest, PROBE_REPORT, NULL, 0, &report, sizeof report), sizeof report);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    close(guest.control);
    host_end(&host, SIGTERM, true);
    return 0;
}

static void it_has_a_user_of_its_own_without_groups(void **state)
{
    (void)state;
    assert_int_equal(report.uid, guest.uid);
    assert_int_equal(report.euid, guest.uid);
    assert_int_equal(report.gid, guest.uid);
    assert_int_equal(report.egid, guest.uid);
    assert_int_equal(report.n_groups, 0);
    assert_true(guest.uid >= 100000);
}

static void a_second_one_has_another_user(void **state)
{
    (void)state;
    struct guest other;
    guest_start(&host, &other, 2);
    assert_int_not_equal(other.uid, guest.uid);
    guest_end(&host, &other);
}

static void it_has_no_capability_in_any_set(void **state)
{
    (void)state;
    assert_int_equal(report.caps_effective, 0);
    assert_int_equal(report.caps_permitted, 0);
    assert_int_equal(report.caps_inheritable, 0);
    assert_int_equal(report.caps_bounding, 0);
    assert_int_equal(report.caps_ambient, 0);
    assert_int_equal(report.no_new_privs, 1);
}

static void its_namespaces_are_its_own(void **state)
{
    (void)state;
    static const char *const kinds[] = {"mnt", "pid", "ipc", "net", "uts"};
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char ours[64], theirs[64];
        struct stat a, b;
        snprintf(ours, sizeof ours, "/proc/self/ns/%s", kinds[i]);
        snprintf(theirs, sizeof theirs, "/proc/%d/ns/%s", guest.pid, kinds[i]);
        assert_int_equal(stat(ours, &a), 0);
        assert_int_equal(stat(theirs, &b), 0);
        assert_int_not_equal(a.st_ino, b.st_ino);
    }
    assert_int_equal(report.pid, 1);
    assert_int_equal(report.parent, 0);
    assert_int_equal(report.session, 1);
    assert_int_equal(report.n_interfaces, 1); // lo
    assert_string_equal(report.host_name, "web-1");
}

static void two_of_them_share_no_namespace(void **state)
{
    (void)state;
    static const char *const kinds[] = {"mnt", "pid", "ipc", "net", "uts"};
    struct guest other;
    guest_start(&host, &other, 2);
    guest_ask(&other, PROBE_REPORT, NULL, 0, &report, sizeof report);
    for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        char path[64];
        struct stat a, b;
        snprintf(path, sizeof path, "/proc/%d/ns/%s", guest.pid, kinds[i]);
        assert_int_equal(stat(path, &a), 0);
        snprintf(path, sizeof path, "/proc/%d/ns/%s", other.pid, kinds[i]);
        assert_int_equal(stat(path, &b), 0);
        assert_int_not_equal(a.st_ino, b.st_ino);
    }
    guest_end(&host, &other);
}

static void its_root_is_empty_and_read_only(void **state)
{
    (void)state;
    assert_int_equal(report.n_root_entries, 0);
    assert_int_equal(report.make_in_root, -EROFS);
    assert_int_equal(report.open_proc, -ENOENT);
    assert_int_equal(report.up_and_out, -ENOENT);
    char path[64], line[512];
    snprintf(path, sizeof path, "/proc/%d/mountinfo", guest.pid);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    unsigned n = 0;
    while (fgets(line, sizeof line, f))
        n++;
    fclose(f);
    assert_int_equal(n, 1); // nothing is mounted but the root
}

static void it_has_no_descriptor_but_the_contract_s(void **state)
{
    (void)state;
    assert_memory_equal(report.stdio, "\1\1\1", 3);
    assert_int_equal(report.n_config_fds, 5);
    // 0..4, CONFIG's, and the folder that the probe itself has open while it counts
    assert_in_range(report.n_fds, 5 + 5, 5 + 5 + 1);
    assert_int_equal(report.has_statm, 1);
    assert_int_equal(report.has_environment, 0);
    assert_string_equal(report.title, "acme/web-1");
}

static void the_configuration_arrives_unread(void **state)
{
    (void)state;
    static const char config[] = "not for envpriv to read";
    assert_int_equal(report.config_len, 4 + sizeof config);
    assert_memory_equal(report.config, "\1\0\0\0", 4); // VMCTL_CONFIG
    assert_string_equal(report.config + 4, config);
}

static void its_limits_are_set(void **state)
{
    (void)state;
    assert_int_equal(report.limit_core, 0);
    assert_int_equal(report.limit_locked, 0);
    assert_int_equal(report.limit_processes, 20);
    assert_int_equal(report.limit_file_bytes, LOG_BYTES);
    assert_in_range(report.limit_files, 64, 1024);
    assert_int_equal(report.file_mask, 0077);
    assert_int_equal(report.n_blocked_signals, 0);
    assert_int_equal(report.death_signal, SIGKILL);
}

static void it_cannot_grow_its_log(void **state)
{
    (void)state;
    assert_int_equal(guest_ask_number(&guest, PROBE_FILL_LOG, NULL, 0), -EFBIG);
}

static void read_cgroup_file(const char *controller, const char *file, char *ret, int cap)
{
    char id[ID_TEXT_CAP], path[256];
    id_format(&guest.vm, id);
    snprintf(path, sizeof path, "/sys/fs/cgroup/%senvd-%s/%s/%s", controller, harness_instance, id, file);
    FILE *f = fopen(path, "r");
    if (!f)
        fail_msg("%s: %s", path, strerror(errno));
    assert_non_null(fgets(ret, cap, f));
    fclose(f);
    ret[strcspn(ret, "\n")] = '\0';
}

static void assert_cgroup(const char *controller, const char *file, const char *value)
{
    char text[64];
    read_cgroup_file(controller, file, text, sizeof text);
    assert_string_equal(text, value);
}

static void its_cgroup_limits_are_set_and_it_is_in_it(void **state)
{
    (void)state;
    char pid[16];
    snprintf(pid, sizeof pid, "%d", guest.pid);
    if (access("/sys/fs/cgroup/memory", F_OK) == 0) {
        assert_cgroup("cpu/", "cpu.shares", "512");
        assert_cgroup("cpu/", "cpu.cfs_quota_us", "150000");
        assert_cgroup("memory/", "memory.limit_in_bytes", "67108864");
        assert_cgroup("pids/", "pids.max", "20");
        assert_cgroup("cpu/", "cgroup.procs", pid);
        assert_cgroup("memory/", "cgroup.procs", pid);
        assert_cgroup("pids/", "cgroup.procs", pid);
    } else {
        assert_cgroup("", "cpu.weight", "50");
        assert_cgroup("", "cpu.max", "150000 100000");
        assert_cgroup("", "memory.max", "67108864");
        assert_cgroup("", "pids.max", "20");
        assert_cgroup("", "cgroup.procs", pid);
    }
}

static void the_largest_configuration_fits(void **state)
{
    (void)state;
    static uint8_t config[VMCTL_CONFIG_MAX];
    struct privctl_message m;
    guest_request(&m, 3);
    m.spawn.vm_config = (struct wire_view){config, sizeof config};
    struct guest g;
    guest_start_with(&host, &g, &m);
    struct probe_report r;
    guest_ask(&g, PROBE_REPORT, NULL, 0, &r, sizeof r);
    assert_int_equal(r.config_len, 4 + sizeof config);
    guest_end(&host, &g);
}

// A program that passes the look at its headers but that the kernel will not execute.
static void a_failure_in_the_jail_is_told_on_the_control_socket(void **state)
{
    (void)state;
    struct host other = {.sock = -1};
    strcpy(other.folder, "/tmp/envpriv-story-XXXXXX");
    assert_non_null(mkdtemp(other.folder));
    char path[] = "/tmp/envpriv-story-program-XXXXXX";
    int fd = mkstemp(path);
    uint8_t elf[64] = {0x7f, 'E', 'L', 'F', 2, 1, 1, [18] = 62, [54] = 56};
    assert_int_equal(write(fd, elf, sizeof elf), sizeof elf);
    assert_int_equal(fchmod(fd, 0755), 0);
    close(fd);
    host_end(&host, SIGTERM, true); // one envpriv per instance
    host_launch(&other, path);
    host_hello(&other, host_connect(&other));
    host_net_up(&other, HARNESS_NET, HARNESS_GATEWAY);
    struct guest g;
    guest_start(&other, &g, 1);
    host_await_exit(&other, &g.vm);
    uint8_t bytes[1024];
    size_t n = (size_t)read(g.control, bytes, sizeof bytes);
    struct vmctl_message m;
    struct wire_error wrong;
    assert_true(vmctl_read(bytes, n, &m, &wrong));
    assert_int_equal(m.state.state, VMCTL_FAILED);
    assert_int_equal(m.state.cause, VMCTL_CAUSE_HOST);
    assert_non_null(memmem(m.state.reason.data, m.state.reason.len, "execute envvm: Exec format error", 32));
    close(g.control);
    host_end(&other, SIGTERM, true);
    unlink(path);
    host_start(&host);
    guest.control = dup(host.sock); // for teardown
}

int main(void)
{
    int rc = harness_enter();
    if (rc != 0)
        return rc;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(it_has_a_user_of_its_own_without_groups),
        cmocka_unit_test(a_second_one_has_another_user),
        cmocka_unit_test(it_has_no_capability_in_any_set),
        cmocka_unit_test(its_namespaces_are_its_own),
        cmocka_unit_test(its_root_is_empty_and_read_only),
        cmocka_unit_test(it_has_no_descriptor_but_the_contract_s),
        cmocka_unit_test(the_configuration_arrives_unread),
        cmocka_unit_test(its_limits_are_set),
        cmocka_unit_test(its_cgroup_limits_are_set_and_it_is_in_it),
        cmocka_unit_test(two_of_them_share_no_namespace),
        cmocka_unit_test(it_cannot_grow_its_log),
        cmocka_unit_test(the_largest_configuration_fits),
        cmocka_unit_test(a_failure_in_the_jail_is_told_on_the_control_socket),
    };
    return cmocka_run_group_tests_name("priv/jail", tests, setup, teardown);
}
