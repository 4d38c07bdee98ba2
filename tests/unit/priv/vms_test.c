// Tests of the VMs' records (server/priv/vms.c).
#include "testing.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "vms.h"

static struct vms vms;

static int setup(void **state)
{
    (void)state;
    return vms_init(&vms);
}

static int teardown(void **state)
{
    (void)state;
    vms_done(&vms);
    return 0;
}

static struct vm *add(uint8_t id, pid_t pid)
{
    struct vm *vm = vms_reserve(&vms);
    assert_non_null(vm);
    vm->id.bytes[0] = id;
    vm->pid = pid;
    return vm;
}

static void slots_are_given_from_the_lowest(void **state)
{
    (void)state;
    struct vm *a = add(1, 11);
    struct vm *b = add(2, 12);
    assert_int_equal(vms_slot(&vms, a), 0);
    assert_int_equal(vms_slot(&vms, b), 1);
    vms_release(&vms, a);
    assert_int_equal(vms_slot(&vms, add(3, 13)), 0);
}

static void there_is_an_end_to_slots(void **state)
{
    (void)state;
    for (unsigned i = 0; i < VMS_MAX; i++)
        assert_non_null(vms_reserve(&vms));
    assert_null(vms_reserve(&vms));
    vms_release(&vms, &vms.slots[7]);
    assert_ptr_equal(vms_reserve(&vms), &vms.slots[7]);
}

static void a_released_vm_is_not_found_and_its_socket_closed(void **state)
{
    (void)state;
    struct vm *vm = add(1, 11);
    struct id id = vm->id;
    int fd = vm->control = open("/dev/null", O_RDONLY | O_CLOEXEC);
    assert_ptr_equal(vms_find(&vms, &id), vm);
    vms_release(&vms, vm);
    assert_null(vms_find(&vms, &id));
    assert_int_equal(fcntl(fd, F_GETFD), -1);
}

static void an_exited_vm_is_not_found_by_its_pid(void **state)
{
    (void)state;
    struct vm *vm = add(1, 11);
    assert_ptr_equal(vms_find_running(&vms, 11), vm);
    vms_set_exited(&vms, vm, 0);
    assert_null(vms_find_running(&vms, 11));
    assert_ptr_equal(vms_find(&vms, &vm->id), vm);
    assert_int_equal(vms_n_running(&vms), 0);
}

static void untold_exits_are_counted_once(void **state)
{
    (void)state;
    struct vm *a = add(1, 11);
    struct vm *b = add(2, 12);
    vms_set_told(&vms, a); // runs still: nothing to tell
    vms_set_exited(&vms, a, 0);
    vms_set_exited(&vms, b, 0);
    assert_int_equal(vms.n_untold, 2);
    vms_set_told(&vms, a);
    vms_set_told(&vms, a);
    assert_int_equal(vms.n_untold, 1);
    vms_release(&vms, a);
    vms_release(&vms, b); // nobody was told, nobody will be
    assert_int_equal(vms.n_untold, 0);
}

static void an_address_is_taken_while_its_vm_runs(void **state)
{
    (void)state;
    struct vm *vm = add(1, 11);
    vm->net = 3;
    vm->guest = (struct guest_address){.mac = {2, 0, 0, 0, 0, 1}, .ipv4 = 0x0a000002};
    struct guest_address same_ip = {.mac = {2, 0, 0, 0, 0, 9}, .ipv4 = 0x0a000002};
    struct guest_address same_mac = {.mac = {2, 0, 0, 0, 0, 1}, .ipv4 = 0x0a000009};
    struct guest_address other = {.mac = {2, 0, 0, 0, 0, 9}, .ipv4 = 0x0a000009};
    assert_true(vms_address_taken(&vms, 3, &same_ip));
    assert_true(vms_address_taken(&vms, 3, &same_mac));
    assert_false(vms_address_taken(&vms, 3, &other));
    assert_false(vms_address_taken(&vms, 4, &same_ip));
    assert_int_equal(vms_n_on_net(&vms, 3), 1);
    vms_set_exited(&vms, vm, 0);
    assert_false(vms_address_taken(&vms, 3, &same_ip));
    assert_int_equal(vms_n_on_net(&vms, 3), 0);
}

#define WITH_VMS(test) cmocka_unit_test_setup_teardown(test, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_VMS(slots_are_given_from_the_lowest),
        WITH_VMS(there_is_an_end_to_slots),
        WITH_VMS(a_released_vm_is_not_found_and_its_socket_closed),
        WITH_VMS(an_exited_vm_is_not_found_by_its_pid),
        WITH_VMS(untold_exits_are_counted_once),
        WITH_VMS(an_address_is_taken_while_its_vm_runs),
    };
    return cmocka_run_group_tests_name("priv/vms", tests, NULL, NULL);
}
