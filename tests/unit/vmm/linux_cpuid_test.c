// Tests of what Linux guests see of the CPU (server/vmm/linux_cpuid.c).
#include "testing.h"

#include <string.h>

#include "linux_cpuid.h"

static struct linux_cpuid table;

static int setup(void **state)
{
    (void)state;
    static const struct kvm_cpuid_entry2 entries[] = {
        {.function = 0, .eax = 0x1f},
        {.function = 1, .ebx = 0x07ff0800, .ecx = ~0u, .edx = ~0u},
        {.function = 4, .index = 0, .eax = 0x21},
        {.function = 4, .index = 3, .eax = 0x63},
        {.function = 0xa, .eax = 0x12345678},
        {.function = 0xb},
        // x87, SSE, AVX, PKRU, and AMX's two
        {.function = 0xd, .index = 0, .eax = 0x60207, .ebx = 11008, .ecx = 11008},
        {.function = 0xd, .index = 1, .eax = 0xf, .ebx = 11008, .ecx = 1u << 11},
        {.function = 0xd, .index = 2, .eax = 256, .ebx = 576},
        {.function = 0xd, .index = 9, .eax = 8, .ebx = 2688},
        {.function = 0xd, .index = 11, .eax = 16, .ecx = 1},
        {.function = 0xd, .index = 17, .eax = 64, .ebx = 2752},
        {.function = 0xd, .index = 18, .eax = 8192, .ebx = 2816},
        {.function = 0x1f},
        {.function = 0x80000001, .ecx = ~0u},
        {.function = 0x80000008, .ecx = 0x7777},
        {.function = 0x8000000a, .eax = 1, .edx = ~0u},
        {.function = 0x8000001e, .eax = 99, .ebx = 99},
        {.function = 0x40000001, .eax = 0x1234},
    };
    memset(&table, 0, sizeof table);
    memcpy(table.entries, entries, sizeof entries);
    table.head.nent = sizeof entries / sizeof entries[0];
    return 0;
}

static const struct kvm_cpuid_entry2 *entry(uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < table.head.nent; i++)
        if (table.entries[i].function == function && table.entries[i].index == index)
            return &table.entries[i];
    return NULL;
}

static void each_vcpu_has_its_apic_id_everywhere(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++) { // on its own result
        linux_cpuid_adjust(&table, i, 4);
        assert_int_equal(entry(1, 0)->ebx >> 24, i);
        assert_int_equal(entry(0xb, 0)->edx, i);
        assert_int_equal(entry(0xb, 1)->edx, i);
        assert_int_equal(entry(0x8000001e, 0)->eax, i);
    }
}

static void there_is_one_package_of_n_cores(void **state)
{
    (void)state;
    linux_cpuid_adjust(&table, 0, 6);
    assert_int_equal(entry(1, 0)->ebx >> 16 & 0xff, 8);
    assert_int_equal(entry(0xb, 0)->ebx, 1);
    assert_int_equal(entry(0xb, 1)->eax, 3);
    assert_int_equal(entry(0xb, 1)->ebx, 6);
    assert_int_equal(entry(0xb, 1)->ecx, 0x201);
    assert_int_equal(entry(0xb, 1)->flags, KVM_CPUID_FLAG_SIGNIFCANT_INDEX);
    assert_null(entry(0x1f, 0));
    assert_int_equal(entry(4, 0)->eax >> 26, 7);
    assert_int_equal(entry(4, 0)->eax >> 14 & 0xfff, 0);
    assert_int_equal(entry(4, 3)->eax >> 14 & 0xfff, 7);
    assert_int_equal(entry(0x80000008, 0)->ecx, 3 << 12 | 5);
}

static void one_vcpu_has_no_siblings(void **state)
{
    (void)state;
    linux_cpuid_adjust(&table, 0, 1);
    assert_int_equal(entry(1, 0)->edx & 1u << 28, 0);
    assert_int_equal(entry(0xb, 1)->eax, 0);
    assert_int_equal(entry(0x80000001, 0)->ecx & 2, 0);
}

static void no_guest_sees_virtualization_or_counters(void **state)
{
    (void)state;
    linux_cpuid_adjust(&table, 0, 2);
    assert_int_equal(entry(1, 0)->ecx & (1u << 5 | 1u << 3), 0);
    assert_int_equal(entry(0x80000001, 0)->ecx & 1u << 2, 0);
    assert_int_equal(entry(0x8000000a, 0)->edx, 0);
    assert_int_equal(entry(0xa, 0)->eax, 0);
}

static void every_guest_sees_a_hypervisor_with_its_clock(void **state)
{
    (void)state;
    table.entries[1].ecx = 0;
    linux_cpuid_adjust(&table, 0, 2);
    assert_int_equal(entry(1, 0)->ecx, 1u << 31 | 1u << 24);
    assert_int_equal(entry(0x40000001, 0)->eax, 0x1234);
}

static void xsave_takes_no_more_than_what_is_left(void **state)
{
    (void)state;
    linux_cpuid_adjust(&table, 0, 2);
    assert_int_equal(entry(0xd, 0)->eax, 0x207);
    assert_int_equal(entry(0xd, 0)->ecx, 2696);
    assert_int_equal(entry(0xd, 0)->ebx, 2696);
    assert_int_equal(entry(0xd, 2)->eax, 256);
    assert_int_equal(entry(0xd, 11)->eax, 16); // XSAVES' own
    assert_int_equal(entry(0xd, 18)->eax, 0);
    assert_int_equal(entry(0xd, 18)->ebx, 0);
}

static void a_full_table_stays_one(void **state)
{
    (void)state;
    table.head.nent = LINUX_CPUID_ENTRIES_MAX + 5;
    linux_cpuid_adjust(&table, 0, 2);
    assert_in_range(table.head.nent, 1, LINUX_CPUID_ENTRIES_MAX);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(each_vcpu_has_its_apic_id_everywhere, setup),
        cmocka_unit_test_setup(there_is_one_package_of_n_cores, setup),
        cmocka_unit_test_setup(one_vcpu_has_no_siblings, setup),
        cmocka_unit_test_setup(no_guest_sees_virtualization_or_counters, setup),
        cmocka_unit_test_setup(every_guest_sees_a_hypervisor_with_its_clock, setup),
        cmocka_unit_test_setup(xsave_takes_no_more_than_what_is_left, setup),
        cmocka_unit_test_setup(a_full_table_stays_one, setup),
    };
    return cmocka_run_group_tests_name("vmm/linux_cpuid", tests, NULL, NULL);
}
