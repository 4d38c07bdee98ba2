// What environments of kind linux go through, and pausing and restarting of both kinds (server/daemon/env:
// start_linux, run, reconcile), with the test as envpriv, envvm and agent.
#include "helper.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "common/cleanup.h"
#include "common/io.h"
#include "env/measure.h"

#define BOX "acme/box"
#define E   "/v1/tenants/acme/environments/box"

struct play {
    struct daemon *d;
    struct helper h;
    char kernel[DOC_DIGEST_CAP], disk[DOC_DIGEST_CAP];
};

struct image {
    const char *digest;
    json_t *details;
};

static int build_image(struct fixture *f, const struct store *store, struct store_txn *txn, void *arg)
{
    const struct image *image = arg;
    return image_add(store, txn, image->digest, image->details, &f->why);
}

static void add_details(struct play *p, const char *digest, json_t *details)
{
    struct image image = {digest, details};
    assert_non_null(details);
    assert_int_equal(mutate(p->d->f, build_image, &image), 0);
    json_decref(details);
}

// A blob with its file.
static void add_blob(struct play *p, const char *type, const char *first, size_t len,
                     char ret[DOC_DIGEST_CAP])
{
    char path[256], name[256];
    snprintf(path, sizeof path, "%s/images/new", p->d->f->dir);
    _cleanup_close_ int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(fd >= 0);
    assert_int_equal(pwrite(fd, first, strlen(first), 0), strlen(first));
    assert_int_equal(ftruncate(fd, (off_t)len), 0);
    assert_int_equal(measure_file(fd, ret), 0);
    snprintf(name, sizeof name, "%s/images/%s", p->d->f->dir, ret + 7);
    assert_int_equal(rename(path, name), 0);
    add_details(
        p, ret,
        json_pack("{s:I, s:s, s:s, s:i}", "size", (json_int_t)len, "type", type, "note", "", "refs", 0));
}

static void add_linux_image(struct play *p)
{
    add_blob(p, "kernel", "a kernel", 4096, p->kernel);
    add_blob(p, "disk", "a disk", 1 << 20, p->disk);
    add_details(p, DIGEST_A,
                json_pack("{s:i, s:s, s:i, s:{s:s, s:s, s:i, s:n, s:s, s:s, s:{}}}", "size", 1, "type",
                          "linux", "refs", 0, "linux", "envd", "linux-image-1", "kernel", p->kernel,
                          "disk_bytes", 1 << 20, "initrd", "disk", p->disk, "cmdline", "quiet", "labels"));
}

static const struct reply *create(struct play *p, int status, const char *more)
{
    char body[512];
    snprintf(body, sizeof body,
             "{\"name\":\"box\",\"spec\":{\"kind\":\"linux\",\"image\":\"" DIGEST_A "\"%s}}", more);
    return call_ok(p->d, status, "POST", "/v1/tenants/acme/environments", body);
}

static int setup(void **state)
{
    struct play *p = calloc(1, sizeof *p);
    assert_non_null(p);
    daemon_setup((void **)&p->d);
    helper_start(&p->h, p->d);
    make_tenant(p->d, "acme");
    add_linux_image(p);
    *state = p;
    return 0;
}

static int teardown(void **state)
{
    struct play *p = *state;
    void *d = p->d;
    daemon_stop(p->d);
    helper_stop(&p->h);
    daemon_start(p->d);
    free(p);
    return daemon_teardown(&d);
}

static void order(struct play *p, const char *what)
{
    char path[96];
    snprintf(path, sizeof path, E "/%s", what);
    call_ok(p->d, 202, "POST", path, NULL);
}

static struct helper_vm *start(struct play *p)
{
    while (!manager_helper_up(p->d->manager))
        helper_run_ms(&p->h, 5);
    order(p, "start");
    helper_until(&p->h, BOX, "booting");
    struct helper_vm *vm = helper_vm(&p->h, BOX);
    vm_hello(vm);
    helper_until(&p->h, BOX, "ready");
    return vm;
}

static void assert_status(struct play *p, const char *state, const char *reason)
{
    helper_until(&p->h, BOX, state);
    assert_string_equal(text_at("status.reason.code"), reason);
}

// Waits until the order has come.
static void until_order(struct play *p, struct helper_vm *vm, enum vmctl_type type)
{
    for (int i = 0; i < 5000; i++) {
        helper_run_ms(&p->h, 5);
        if (vm_order(vm) == type)
            return;
    }
    fail_msg("envvm was not told %d", (int)type);
}

static bool has_file(struct play *p, const char *path)
{
    char full[256];
    snprintf(full, sizeof full, "%s/%s", p->d->f->dir, path);
    return access(full, F_OK) == 0;
}

// --- specs ---

static void members_of_the_other_kind_are_refused_by_name(void **state)
{
    struct play *p = *state;
    create(p, 422, ",\"program\":\"" DIGEST_B "\"");
    assert_string_equal(text_at("code"), "unknown-member");
    assert_string_equal(text_at("member"), "/spec/program");
    call_ok(p->d, 422, "POST", "/v1/tenants/acme/environments",
            "{\"name\":\"c\",\"spec\":{\"kind\":\"cell\",\"program\":\"" DIGEST_A "\",\"vcpus\":2}}");
    assert_string_equal(text_at("member"), "/spec/vcpus");
    call_ok(p->d, 422, "POST", "/v1/tenants/acme/environments",
            "{\"name\":\"c\",\"spec\":{\"kind\":\"linux\"}}");
    assert_string_equal(text_at("code"), "missing-member");
}

static void sizes_out_of_range_are_refused(void **state)
{
    struct play *p = *state;
    static const char *const wrong[] = {
        ",\"memory_mib\":63",
        ",\"vcpus\":17",
        ",\"vcpus\":0",
        ",\"volumes\":[{\"name\":\"root\",\"size_mib\":1}]",
        ",\"volumes\":[{\"name\":\"a\",\"size_mib\":1},{\"name\":\"a\",\"size_mib\":1}]",
        ",\"volumes\":[{\"name\":\"../x\",\"size_mib\":1}]",
        ",\"cmdline\":\"a\\u0001\"",
        ",\"limits\":{\"disk\":{\"bytes_per_s\":-1}}",
        ",\"limits\":{\"disk\":{\"speed\":1}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        create(p, 422, wrong[i]);
}

static void a_blob_is_no_linux_image(void **state)
{
    struct play *p = *state;
    char body[256];
    snprintf(body, sizeof body, "{\"name\":\"x\",\"spec\":{\"kind\":\"linux\",\"image\":\"%s\"}}", p->kernel);
    call_ok(p->d, 422, "POST", "/v1/tenants/acme/environments", body);
    assert_string_equal(text_at("code"), "image-not-linux");
}

static void vcpus_and_disks_count_against_the_quota(void **state)
{
    struct play *p = *state;
    assert_int_equal(call(p->d, "PATCH", "/v1/tenants/acme", "If-Match: *\r\n",
                          "{\"spec\":{\"quota\":{\"vcpus\":2,\"disk_mib\":10}}}")
                         ->status,
                     200);
    create(p, 422, ",\"vcpus\":3");
    assert_string_equal(text_at("code"), "quota-exceeded");
    create(p, 422, ",\"disk_mib\":4,\"volumes\":[{\"name\":\"data\",\"size_mib\":7}]");
    assert_string_equal(text_at("code"), "quota-exceeded");
    create(p, 201, ",\"vcpus\":2,\"disk_mib\":4,\"volumes\":[{\"name\":\"data\",\"size_mib\":6}]");
    assert_int_equal(number_at(p->d->f, "usage/acme", "vcpus"), 2);
    assert_int_equal(number_at(p->d->f, "usage/acme", "disk_mib"), 10);
    assert_int_equal(call(p->d, "DELETE", E, "If-Match: *\r\n", NULL)->status, 202);
    helper_run_ms(&p->h, 50);
    assert_int_equal(number_at(p->d->f, "usage/acme", "vcpus"), 0);
    assert_int_equal(number_at(p->d->f, "usage/acme", "disk_mib"), 0);
}

static void what_a_disk_was_made_over_cannot_change(void **state)
{
    struct play *p = *state;
    create(p, 201, ",\"volumes\":[{\"name\":\"data\",\"size_mib\":6}]");
    static const char *const wrong[] = {"{\"spec\":{\"disk_mib\":9}}", "{\"spec\":{\"volumes\":[]}}",
                                        "{\"spec\":{\"volumes\":[{\"name\":\"data\",\"size_mib\":7}]}}"};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_int_equal(call(p->d, "PATCH", E, "If-Match: *\r\n", wrong[i])->status, 422);
        assert_string_equal(text_at("code"), "fixed-member");
    }
}

// --- starting ---

static void a_start_carries_kernel_log_image_overlay_and_volumes(void **state)
{
    struct play *p = *state;
    create(p, 201, ",\"vcpus\":4,\"memory_mib\":256,\"volumes\":[{\"name\":\"data\",\"size_mib\":2}]");
    start(p);
    assert_int_equal(p->h.n_spawn_fds, 5);
    assert_int_equal(p->h.spawn.kind, PRIVCTL_KIND_LINUX);
    assert_int_equal(p->h.spawn.cpu_percent, 500);
    assert_true(p->h.spawn.memory_max_bytes > 256u << 20);
    assert_true(has_file(p, "volumes/acme/box/data.raw"));
    call_ok(p->d, 200, "GET", E, NULL);
    assert_int_equal(strncmp(text_at("status.measurement"), "sha256:", 7), 0);
}

static void without_hardware_virtualization_it_is_refused_before_it_is_asked_for(void **state)
{
    struct play *p = *state;
    p->h.kvm = "pvm";
    helper_drop(&p->h); // and it says so when it is back
    create(p, 201, "");
    helper_run_ms(&p->h, 20);
    while (!manager_helper_up(p->d->manager))
        helper_run_ms(&p->h, 5);
    order(p, "start");
    assert_status(p, "failed", "no-hardware-kvm");
    assert_true(strlen(text_at("status.reason.remedy")) > 0);
    assert_int_equal(p->h.n_vms, 0);
}

static void a_part_whose_bytes_have_changed_fails_the_start(void **state)
{
    struct play *p = *state;
    char path[256];
    snprintf(path, sizeof path, "%s/images/%s", p->d->f->dir, p->disk + 7);
    _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);
    assert_int_equal(pwrite(fd, "other", 5, 100), 5);
    create(p, 201, "");
    while (!manager_helper_up(p->d->manager))
        helper_run_ms(&p->h, 5);
    order(p, "start");
    assert_status(p, "failed", "image-corrupt");
}

static void disks_go_with_their_environment(void **state)
{
    struct play *p = *state;
    create(p, 201, ",\"volumes\":[{\"name\":\"data\",\"size_mib\":2}]");
    struct helper_vm *vm = start(p);
    call(p->d, "DELETE", E, "If-Match: *\r\n", NULL);
    until_order(p, vm, VMCTL_QUIT);
    assert_true(has_file(p, "volumes/acme/box/data.raw"));
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 0, "");
    vm_exit(&p->h, vm, 0);
    for (int i = 0; i < 100 && has_file(p, "volumes/acme"); i++)
        helper_run_ms(&p->h, 20);
    assert_false(has_file(p, "volumes/acme"));
}

// --- ends ---

static void a_reboot_starts_it_again_and_counts_apart(void **state)
{
    struct play *p = *state;
    create(p, 201, "");
    struct helper_vm *vm = start(p);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_REBOOT, 0, "the guest asked for a restart");
    vm_exit(&p->h, vm, 0);
    helper_until(&p->h, BOX, "booting");
    assert_int_equal(p->h.n_vms, 2);
    assert_int_equal(number_at(p->d->f, "status/acme/box", "reboots"), 1);
    assert_int_equal(number_at(p->d->f, "status/acme/box", "restarts"), 0);
}

static void a_poweroff_stops_it(void **state)
{
    struct play *p = *state;
    create(p, 201, ",\"restart\":\"on-failure\"");
    struct helper_vm *vm = start(p);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_POWEROFF, 0, "the guest powered itself off");
    vm_exit(&p->h, vm, 0);
    assert_status(p, "stopped", "powered-off");
    helper_run_ms(&p->h, 300);
    assert_status(p, "stopped", "powered-off");
}

static void a_guest_that_ended_is_not_late_when_its_monitor_is(void **state)
{
    struct play *p = *state;
    create(p, 201, "");
    struct helper_vm *vm = start(p);
    order(p, "stop");
    helper_until(&p->h, BOX, "stopping");
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_POWEROFF, 0, "the guest powered itself off");
    helper_until(&p->h, BOX, "stopped");
    assert_true(vm->killed);
    assert_status(p, "stopped", "");
}

static void a_panic_fails_it_with_the_kernels_words(void **state)
{
    struct play *p = *state;
    create(p, 201, "");
    struct helper_vm *vm = start(p);
    vm_state(vm, VMCTL_FAILED, VMCTL_CAUSE_PANIC, 0, "Kernel panic - not syncing: sysrq");
    vm_exit(&p->h, vm, 0);
    assert_status(p, "failed", "kernel-panic");
    assert_string_equal(text_at("status.reason.text"), "Kernel panic - not syncing: sysrq");
}

static void a_silent_agent_fails_it_when_its_watchdog_says_so(void **state)
{
    struct play *p = *state;
    create(p, 201, ",\"watchdog_s\":1");
    struct helper_vm *vm = start(p);
    helper_run_ms(&p->h, 2500);
    assert_true(vm->killed);
    vm_exit(&p->h, vm, 9);
    assert_status(p, "failed", "guest-hung");
}

// --- pausing and restarting ---

static void pause_and_resume_go_through_envvm(void **state)
{
    struct play *p = *state;
    create(p, 201, ",\"watchdog_s\":1");
    call_ok(p->d, 409, "POST", E "/pause", NULL);
    assert_string_equal(text_at("code"), "not-running");
    struct helper_vm *vm = start(p);
    order(p, "pause");
    until_order(p, vm, VMCTL_PAUSE);
    vm_state(vm, VMCTL_PAUSED, VMCTL_CAUSE_NONE, 0, "");
    helper_until(&p->h, BOX, "paused");
    helper_run_ms(&p->h, 2500); // longer than its watchdog
    helper_until(&p->h, BOX, "paused");
    order(p, "resume");
    until_order(p, vm, VMCTL_RESUME);
    vm_state(vm, VMCTL_RUNNING, VMCTL_CAUSE_NONE, 0, "");
    helper_until(&p->h, BOX, "ready");
}

static void a_pause_that_envvm_does_not_answer_fails_and_is_done_when_it_does(void **state)
{
    struct play *p = *state;
    char path[160];
    p->d->timeout_ms = 3000;
    daemon_stop(p->d);
    helper_drop(&p->h);
    daemon_start(p->d);
    create(p, 201, "");
    struct helper_vm *vm = start(p);
    order(p, "pause");
    snprintf(path, sizeof path, "/v1/operations/%s?wait=20000", text_at("name"));
    until_order(p, vm, VMCTL_PAUSE);
    call_ok(p->d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "failed");
    assert_string_equal(text_at("status.error.code"), "monitor-silent");
    assert_string_equal(text_at("status.environment_state"), "ready");
    assert_int_equal(vm_order(vm), VMCTL_PAUSE); // it was asked once more
    vm_state(vm, VMCTL_PAUSED, VMCTL_CAUSE_NONE, 0, "");
    helper_until(&p->h, BOX, "paused");
}

static void a_paused_environment_stays_so_when_envd_comes_back(void **state)
{
    struct play *p = *state;
    create(p, 201, "");
    struct helper_vm *vm = start(p);
    order(p, "pause");
    until_order(p, vm, VMCTL_PAUSE);
    vm_state(vm, VMCTL_PAUSED, VMCTL_CAUSE_NONE, 0, "");
    helper_until(&p->h, BOX, "paused");
    daemon_stop(p->d);
    daemon_start(p->d);
    until_order(p, vm, VMCTL_QUERY);
    vm_state(vm, VMCTL_PAUSED, VMCTL_CAUSE_NONE, 0, "");
    helper_until(&p->h, BOX, "paused");
    order(p, "resume");
    until_order(p, vm, VMCTL_RESUME);
    vm_state(vm, VMCTL_RUNNING, VMCTL_CAUSE_NONE, 0, "");
    helper_until(&p->h, BOX, "booting"); // the agent finds its way back
    vm_hello(vm);
    helper_until(&p->h, BOX, "ready");
}

static void a_restart_ends_the_run_and_begins_another(void **state)
{
    struct play *p = *state;
    create(p, 201, "");
    struct helper_vm *vm = start(p);
    char path[160];
    call_ok(p->d, 202, "POST", E "/restart", "{\"grace_ms\":0}");
    snprintf(path, sizeof path, "/v1/operations/%s", text_at("name"));
    until_order(p, vm, VMCTL_QUIT);
    vm_state(vm, VMCTL_EXITED, VMCTL_CAUSE_NONE, 0, "stopped by the host");
    vm_exit(&p->h, vm, 0);
    helper_until(&p->h, BOX, "booting");
    assert_int_equal(p->h.n_vms, 2);
    call_ok(p->d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "pending");
    vm_hello(helper_vm(&p->h, BOX));
    helper_until(&p->h, BOX, "ready");
    call_ok(p->d, 200, "GET", path, NULL);
    assert_string_equal(text_at("status.state"), "done");
}

static void figures_of_a_silent_monitor_do_not_hold_up_the_reply(void **state)
{
    struct play *p = *state;
    create(p, 201, "");
    start(p);
    uint64_t begin = io_monotonic_ns();
    call_ok(p->d, 200, "GET", E "/stats", NULL);
    assert_true(io_monotonic_ns() - begin < 2000000000ull);
    assert_string_equal(text_at("state"), "ready");
    call_ok(p->d, 200, "GET", "/v1/stats?tenant=acme", NULL);
    call_ok(p->d, 404, "GET", "/v1/stats?tenant=nobody", NULL);
    call_ok(p->d, 404, "GET", "/v1/tenants/acme/environments/none/stats", NULL);
}

static void a_disk_that_fails_is_told_with_its_reason(void **state)
{
    struct play *p = *state;
    create(p, 201, "");
    struct helper_vm *vm = start(p);
    call_ok(p->d, 200, "GET", E "/stats", NULL);
    assert_string_equal(text_at("disk.last_error"), ""); // there is none
    vm_stats(vm, &(struct vmctl_stats){.disk_errors = 3, .disk_last_errno = ENOSPC});
    helper_run_ms(&p->h, 50);
    call_ok(p->d, 200, "GET", E "/stats", NULL);
    assert_string_equal(text_at("disk.last_error"), "No space left on device");
    assert_int_equal(number_in("disk.errors"), 3);
    assert_non_null(
        strstr(call_ok(p->d, 200, "GET", "/metrics", NULL)->body, "envd_guest_disk_errors_total 3\n"));
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(members_of_the_other_kind_are_refused_by_name),
        TEST(sizes_out_of_range_are_refused),
        TEST(a_blob_is_no_linux_image),
        TEST(vcpus_and_disks_count_against_the_quota),
        TEST(what_a_disk_was_made_over_cannot_change),
        TEST(a_start_carries_kernel_log_image_overlay_and_volumes),
        TEST(without_hardware_virtualization_it_is_refused_before_it_is_asked_for),
        TEST(a_part_whose_bytes_have_changed_fails_the_start),
        TEST(disks_go_with_their_environment),
        TEST(a_reboot_starts_it_again_and_counts_apart),
        TEST(a_poweroff_stops_it),
        TEST(a_guest_that_ended_is_not_late_when_its_monitor_is),
        TEST(a_panic_fails_it_with_the_kernels_words),
        TEST(a_silent_agent_fails_it_when_its_watchdog_says_so),
        TEST(pause_and_resume_go_through_envvm),
        TEST(a_pause_that_envvm_does_not_answer_fails_and_is_done_when_it_does),
        TEST(a_paused_environment_stays_so_when_envd_comes_back),
        TEST(a_restart_ends_the_run_and_begins_another),
        TEST(figures_of_a_silent_monitor_do_not_hold_up_the_reply),
        TEST(a_disk_that_fails_is_told_with_its_reason),
    };
    return cmocka_run_group_tests_name("env_manager_linux", tests, NULL, NULL);
}
