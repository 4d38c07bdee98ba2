// Tests of what envpriv accepts for a VM (server/priv/spawn.c): the checks that come before anything is made.
#include "testing.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/checked.h"
#include "priv.h"
#include "proto/logring.h"
#include "proto/vmctl.h"

static struct priv *priv;
static struct privctl_spawn request;
static struct err err;

static int setup(void **state)
{
    (void)state;
    static const uint8_t config[] = {1, 2, 3};
    priv = calloc(1, sizeof *priv);
    if (!priv || vms_init(&priv->vms) < 0)
        return -1;
    priv->nets[5] = (struct net){.up = true, .subnet = {0x0a010001, 24}};
    request = (struct privctl_spawn){.tenant = "acme",
                                     .name = "web",
                                     .memory_max_bytes = 64u << 20,
                                     .cpu_weight = 100,
                                     .pids_max = 16,
                                     .net = 5,
                                     .mac = {2, 1, 1, 1, 1, 1},
                                     .ipv4 = 0x0a010002,
                                     .vm_config = {config, sizeof config}};
    request.vm.bytes[0] = 1;
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vms_done(&priv->vms);
    free(priv);
    return 0;
}

static void a_good_request_passes(void **state)
{
    (void)state;
    assert_int_equal(spawn_check(priv, &request, &err), 0);
}

static void numbers_out_of_range_are_refused(void **state)
{
    (void)state;
    const struct privctl_spawn good = request;
#define REFUSED(field, value)                                                                                \
    do {                                                                                                     \
        request = good;                                                                                      \
        request.field = (value);                                                                             \
        assert_int_equal(spawn_check(priv, &request, &err), -EINVAL);                                        \
    } while (0)
    REFUSED(memory_max_bytes, 0);
    REFUSED(memory_max_bytes, 4096);
    REFUSED(memory_max_bytes, UINT64_MAX);
    REFUSED(cpu_weight, 0);
    REFUSED(cpu_weight, 10001);
    REFUSED(kind, PRIVCTL_KIND_COUNT);
    REFUSED(cpu_percent, PRIVCTL_CPU_PERCENT_MAX + 1);
    REFUSED(pids_max, 0);
    REFUSED(pids_max, 1);
    REFUSED(pids_max, UINT32_MAX);
    REFUSED(net, PRIVCTL_NET_MAX);
    REFUSED(net, UINT16_MAX);
    REFUSED(vm_config.len, 0);
    REFUSED(vm_config.len, VMCTL_CONFIG_MAX + 1);
    REFUSED(tenant[0], '/');
    REFUSED(name[0], '.');
    REFUSED(name[0], '\0');
#undef REFUSED
}

static void addresses_that_are_not_the_guests_are_refused(void **state)
{
    (void)state;
    static const uint32_t wrong[] = {0,          0x0a010001, 0x0a010000, 0x0a0100ff,
                                     0x0a010102, 0x7f000001, UINT32_MAX};
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        request.ipv4 = wrong[i];
        assert_int_equal(spawn_check(priv, &request, &err), -EINVAL);
    }
}

static void macs_that_are_not_a_guests_are_refused(void **state)
{
    (void)state;
    static const uint8_t wrong[][6] = {
        {0, 0, 0, 0, 0, 0},                   // globally administered
        {3, 1, 1, 1, 1, 1},                   // multicast
        {0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, // broadcast
        {0x02, 'e', 'n', 'v', 0, 5},          // the bridge's own
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        memcpy(request.mac, wrong[i], 6);
        assert_int_equal(spawn_check(priv, &request, &err), -EINVAL);
    }
}

static void a_network_that_is_not_up_is_refused(void **state)
{
    (void)state;
    request.net = 6;
    assert_int_equal(spawn_check(priv, &request, &err), -ENETDOWN);
}

static void an_id_in_use_is_refused(void **state)
{
    (void)state;
    struct vm *vm = vms_reserve(&priv->vms);
    vm->id = request.vm;
    assert_int_equal(spawn_check(priv, &request, &err), -EEXIST);
    vms_set_exited(&priv->vms, vm, 0); // not forgotten yet
    assert_int_equal(spawn_check(priv, &request, &err), -EEXIST);
}

static int file_of(off_t len, int flags)
{
    char path[64];
    int fd = memfd_create("spawn", MFD_CLOEXEC);
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, len), 0);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    int opened = open(path, flags | O_CLOEXEC);
    assert_true(opened >= 0);
    close(fd);
    return opened;
}

enum { KERNEL, PROGRAM, LOG, ARCHIVE };

static void good_files(int fds[4])
{
    fds[KERNEL] = file_of(4096, O_RDONLY);
    fds[PROGRAM] = file_of(4096, O_RDONLY);
    fds[LOG] = file_of(LOGRING_HEADER + LOGRING_CAPACITY_MIN, O_RDWR);
    fds[ARCHIVE] = file_of(4096, O_RDONLY);
}

static void close_all(const int *fds, size_t n)
{
    for (size_t i = 0; i < n; i++)
        close(fds[i]);
}

static void good_files_pass_with_and_without_archive(void **state)
{
    (void)state;
    int fds[4];
    good_files(fds);
    uint64_t log_bytes = 0;
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_CELL, fds, 4, &log_bytes, &err), 0);
    assert_int_equal(log_bytes, LOGRING_HEADER + LOGRING_CAPACITY_MIN);
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_CELL, fds, 3, &log_bytes, &err), 0);
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_CELL, fds, 2, &log_bytes, &err), -EINVAL);
    close_all(fds, 4);
}

static void of_kind_linux_any_number_of_disks_passes(void **state)
{
    (void)state;
    int fds[PRIVCTL_FDS_MAX + 1];
    uint64_t file_bytes = 0;
    for (size_t i = 0; i < ARRAY_LEN(fds); i++)
        fds[i] = file_of(4096, O_RDONLY);
    close(fds[1]);
    fds[1] = file_of(LOGRING_HEADER + LOGRING_CAPACITY_MIN, O_RDWR);
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_LINUX, fds, 1, &file_bytes, &err), -EINVAL);
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_LINUX, fds, 2, &file_bytes, &err), 0);
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_LINUX, fds, PRIVCTL_FDS_MAX, &file_bytes, &err), 0);
    assert_int_equal(file_bytes, LOGRING_HEADER + LOGRING_CAPACITY_MIN);
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_LINUX, fds, PRIVCTL_FDS_MAX + 1, &file_bytes, &err),
                     -EINVAL);
    close_all(fds, ARRAY_LEN(fds));
}

static void files_may_grow_to_the_largest_writable_one(void **state)
{
    (void)state;
    const int fds[] = {file_of(4096, O_RDONLY), file_of(LOGRING_HEADER + LOGRING_CAPACITY_MIN, O_RDWR),
                       file_of((off_t)1 << 40, O_RDONLY), file_of((off_t)3 << 30, O_RDWR)};
    uint64_t file_bytes = 0;
    assert_int_equal(spawn_check_fds(PRIVCTL_KIND_LINUX, fds, 4, &file_bytes, &err), 0);
    assert_int_equal(file_bytes, (uint64_t)3 << 30);
    close_all(fds, ARRAY_LEN(fds));
}

static void a_disk_is_a_regular_file_that_is_not_appended_to(void **state)
{
    (void)state;
    const int wrong[] = {open("/dev/null", O_RDWR | O_CLOEXEC), file_of(4096, O_RDWR | O_APPEND),
                         file_of(0, O_RDWR)};
    for (size_t i = 0; i < ARRAY_LEN(wrong); i++) {
        const int fds[] = {file_of(4096, O_RDONLY), file_of(LOGRING_HEADER + LOGRING_CAPACITY_MIN, O_RDWR),
                           wrong[i]};
        uint64_t file_bytes;
        assert_int_equal(spawn_check_fds(PRIVCTL_KIND_LINUX, fds, 3, &file_bytes, &err), -EINVAL);
        close_all(fds, ARRAY_LEN(fds));
    }
}

// Every descriptor in turn is something else.
static void wrong_descriptors_are_refused(void **state)
{
    (void)state;
    int pipes[2];
    assert_int_equal(pipe(pipes), 0);
    const int wrong[] = {
        open("/dev/null", O_RDWR | O_CLOEXEC),
        open("/", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
        pipes[0],
        pipes[1],
        open("/proc/self/exe", O_PATH | O_CLOEXEC),
        file_of(0, O_RDONLY),
        file_of(0, O_RDWR),
    };
    const size_t n_wrong = sizeof wrong / sizeof wrong[0];
    for (size_t place = 0; place < 4; place++) {
        for (size_t i = 0; i < n_wrong; i++) {
            int fds[4];
            good_files(fds);
            close(fds[place]);
            fds[place] = wrong[i];
            uint64_t log_bytes;
            assert_int_equal(spawn_check_fds(PRIVCTL_KIND_CELL, fds, 4, &log_bytes, &err), -EINVAL);
            fds[place] = file_of(1, O_RDONLY);
            close_all(fds, 4);
        }
    }
    close_all(wrong, n_wrong);
}

static void files_opened_the_wrong_way_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t place;
        int flags;
    } wrong[] = {
        {KERNEL, O_RDWR}, {PROGRAM, O_RDWR}, {ARCHIVE, O_RDWR}, {LOG, O_RDONLY}, {LOG, O_RDWR | O_APPEND},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int fds[4];
        good_files(fds);
        close(fds[wrong[i].place]);
        fds[wrong[i].place] = file_of(LOGRING_HEADER + LOGRING_CAPACITY_MIN, wrong[i].flags);
        uint64_t log_bytes;
        assert_int_equal(spawn_check_fds(PRIVCTL_KIND_CELL, fds, 4, &log_bytes, &err), -EINVAL);
        close_all(fds, 4);
    }
}

static void files_of_absurd_size_are_refused(void **state)
{
    (void)state;
    static const struct {
        size_t place;
        int flags;
        off_t len;
    } wrong[] = {
        {KERNEL, O_RDONLY, (off_t)1 << 40},
        {PROGRAM, O_RDONLY, (off_t)1 << 40},
        {ARCHIVE, O_RDONLY, (off_t)1 << 40},
        {LOG, O_RDWR, LOGRING_HEADER},
        {LOG, O_RDWR, LOGRING_HEADER + (off_t)LOGRING_CAPACITY_MAX + 1},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        int fds[4];
        good_files(fds);
        close(fds[wrong[i].place]);
        fds[wrong[i].place] = file_of(wrong[i].len, wrong[i].flags);
        uint64_t log_bytes;
        assert_int_equal(spawn_check_fds(PRIVCTL_KIND_CELL, fds, 4, &log_bytes, &err), -EINVAL);
        close_all(fds, 4);
    }
}

static void without_kvm_the_refusal_says_what_to_do(void **state)
{
    (void)state;
    struct kvm kvm;
    kvm_open(&kvm, "/tmp/there-is-no-such-device");
    assert_int_equal(kvm.fd, -1);
    assert_string_equal(kvm_kind_name(kvm.kind), "none");
    assert_non_null(strstr(kvm.detail, "No such file or directory: enable virtualization"));
    kvm_open(&kvm, "/dev/null"); // opens, but is no KVM
    assert_int_equal(kvm.fd, -1);
    assert_true(strlen(kvm.detail) > 0);
}

static void subnets_overlap_when_one_holds_the_other(void **state)
{
    (void)state;
    const struct subnet a = {0x0a010001, 24};
    assert_true(subnets_overlap(a, (struct subnet){0x0a0100fe, 24}));
    assert_true(subnets_overlap(a, (struct subnet){0x0a000001, 8}));
    assert_true(subnets_overlap((struct subnet){0x0a000001, 8}, a));
    assert_true(subnets_overlap(a, (struct subnet){0x0a010080, 32}));
    assert_false(subnets_overlap(a, (struct subnet){0x0a010101, 24}));
    assert_false(subnets_overlap(a, (struct subnet){0x0b000001, 8}));
}

#define WITH_PRIV(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(of_kind_linux_any_number_of_disks_passes),
        cmocka_unit_test(files_may_grow_to_the_largest_writable_one),
        cmocka_unit_test(a_disk_is_a_regular_file_that_is_not_appended_to),
        WITH_PRIV(a_good_request_passes),
        WITH_PRIV(numbers_out_of_range_are_refused),
        WITH_PRIV(addresses_that_are_not_the_guests_are_refused),
        WITH_PRIV(macs_that_are_not_a_guests_are_refused),
        WITH_PRIV(a_network_that_is_not_up_is_refused),
        WITH_PRIV(an_id_in_use_is_refused),
        cmocka_unit_test(good_files_pass_with_and_without_archive),
        cmocka_unit_test(wrong_descriptors_are_refused),
        cmocka_unit_test(files_opened_the_wrong_way_are_refused),
        cmocka_unit_test(files_of_absurd_size_are_refused),
        cmocka_unit_test(without_kvm_the_refusal_says_what_to_do),
        cmocka_unit_test(subnets_overlap_when_one_holds_the_other),
    };
    return cmocka_run_group_tests_name("priv/spawn", tests, NULL, NULL);
}
