// Tests of the ACPI tables (server/vmm/acpi.c): every checksum and length holds, pointers lead from table to
// table, and the namespace has what Linux looks for.
#include "testing.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "acpi.h"

#define GPA 0xe0000u

static const struct acpi_device devices[] = {
    {0xd0000000, 0x200, 5}, {0xd0001000, 0x200, 6}, {0xd0002000, 0x200, 7}};

struct sample {
    struct acpi_machine machine;
    uint8_t bytes[ACPI_BYTES];
    struct err err;
};

static int make(void **state)
{
    struct sample *s = calloc(1, sizeof *s);
    assert_non_null(s);
    s->machine = (struct acpi_machine){.gpa = GPA,
                                       .n_cpus = 4,
                                       .devices = devices,
                                       .n_devices = 3,
                                       .serial_port = 0x3f8,
                                       .serial_gsi = 4,
                                       .reset_port = 0x604,
                                       .reset_value = 1,
                                       .sleep_control_port = 0x600,
                                       .sleep_status_port = 0x601};
    assert_int_equal(acpi_build(&s->machine, s->bytes, &s->err), 0);
    *state = s;
    return 0;
}

static int done(void **state)
{
    free(*state);
    return 0;
}

static uint64_t word(const uint8_t *p, unsigned bytes)
{
    uint64_t v = 0;
    memcpy(&v, p, bytes);
    return v;
}

static uint8_t sum(const uint8_t *p, size_t len)
{
    uint8_t n = 0;
    for (size_t i = 0; i < len; i++)
        n = (uint8_t)(n + p[i]);
    return n;
}

// The table at a guest address, checked as Linux checks it.
static const uint8_t *table_at(const struct sample *s, uint64_t gpa, const char *signature)
{
    assert_in_range(gpa, GPA, GPA + ACPI_BYTES - 36);
    const uint8_t *p = s->bytes + (gpa - GPA);
    assert_memory_equal(p, signature, 4);
    const uint64_t len = word(p + 4, 4);
    assert_in_range(len, 36, GPA + ACPI_BYTES - gpa);
    assert_int_equal(sum(p, len), 0);
    return p;
}

static const uint8_t *xsdt(const struct sample *s)
{
    return table_at(s, word(s->bytes + 24, 8), "XSDT");
}

static const uint8_t *fadt(const struct sample *s)
{
    return table_at(s, word(xsdt(s) + 36, 8), "FACP");
}

static const uint8_t *madt(const struct sample *s)
{
    return table_at(s, word(xsdt(s) + 44, 8), "APIC");
}

static const uint8_t *dsdt(const struct sample *s)
{
    return table_at(s, word(fadt(s) + 140, 8), "DSDT");
}

static void the_root_pointer_has_both_checksums(void **state)
{
    struct sample *s = *state;
    assert_memory_equal(s->bytes, "RSD PTR ", 8);
    assert_int_equal(s->bytes[15], 2);
    assert_int_equal(sum(s->bytes, 20), 0);
    assert_int_equal(sum(s->bytes, 36), 0);
}

static void tables_lead_to_each_other(void **state)
{
    struct sample *s = *state;
    assert_int_equal(word(xsdt(s) + 4, 4), 36 + 2 * 8);
    assert_int_equal(word(fadt(s) + 40, 4), word(fadt(s) + 140, 8));
    assert_non_null(madt(s));
    assert_non_null(dsdt(s));
}

static void the_machine_is_hardware_reduced_and_can_reset_and_sleep(void **state)
{
    const uint8_t *p = fadt(*state);
    assert_int_equal(word(p + 4, 4), 276);
    assert_int_equal(word(p + 112, 4), 1u << 20 | 1u << 10 | 3u << 4);
    const uint8_t reset[] = {1, 8, 0, 1, 0x04, 0x06, 0, 0, 0, 0, 0, 0, 1};
    assert_memory_equal(p + 116, reset, sizeof reset);
    const uint8_t control[] = {1, 8, 0, 1, 0x00, 0x06};
    assert_memory_equal(p + 244, control, sizeof control);
    const uint8_t status[] = {1, 8, 0, 1, 0x01, 0x06};
    assert_memory_equal(p + 256, status, sizeof status);
    assert_int_equal(ACPI_SLEEP_S5, 0x34);
}

static void each_vcpu_has_a_local_apic(void **state)
{
    struct sample *s = *state;
    const uint8_t *p = madt(s);
    assert_int_equal(word(p + 4, 4), 44 + 4 * 8 + 12);
    assert_int_equal(word(p + 36, 4), 0xfee00000);
    for (uint8_t cpu = 0; cpu < 4; cpu++) {
        const uint8_t entry[] = {0, 8, cpu, cpu, 1, 0, 0, 0};
        assert_memory_equal(p + 44 + cpu * 8, entry, sizeof entry);
    }
    const uint8_t io_apic[] = {1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0};
    assert_memory_equal(p + 44 + 32, io_apic, sizeof io_apic);
}

// Walks the scope: how many devices, each inside it, all bytes accounted for.
static void devices_fill_the_scope_exactly(void **state)
{
    struct sample *s = *state;
    const uint8_t *table = dsdt(s);
    const uint8_t *end = table + word(table + 4, 4);
    const uint8_t *p = table + 36;
    const uint8_t s5[] = {0x08, '_', 'S', '5', '_', 0x12, 0x45, 0, 1, 0x0a, 5};
    assert_memory_equal(p, s5, sizeof s5);
    p += sizeof s5;
    assert_int_equal(p[0], 0x10);
    assert_ptr_equal(p + 1 + ((p[1] & 0xf) | p[2] << 4), end);
    assert_memory_equal(p + 3, "\\_SB_", 5);
    unsigned n = 0;
    for (p += 8; p < end; n++) {
        assert_memory_equal(p, "\x5b\x82", 2);
        p += 2 + ((p[2] & 0xf) | p[3] << 4);
    }
    assert_ptr_equal(p, end);
    assert_int_equal(n, 4);
}

static bool contains(const uint8_t *table, const void *bytes, size_t len)
{
    return memmem(table, word(table + 4, 4), bytes, len) != NULL;
}

static void a_virtio_device_names_its_window_and_interrupt(void **state)
{
    const uint8_t *p = dsdt(*state);
    const uint8_t resources[] = {0x86, 9, 0, 1, 0,    0x10, 0, 0xd0, 0, 2,    0, 0,
                                 0x89, 6, 0, 3, 0x01, 6,    0, 0,    0, 0x79, 0};
    assert_true(contains(p, "\x0dLNRO0005", 10));
    assert_true(contains(p, "VR00", 4) && contains(p, "VR02", 4) && !contains(p, "VR03", 4));
    assert_true(contains(p, resources, sizeof resources));
}

static void the_serial_port_is_a_16550_compatible(void **state)
{
    const uint8_t *p = dsdt(*state);
    const uint8_t resources[] = {0x47, 1, 0xf8, 3, 0xf8, 3, 1, 8, 0x89, 6, 0, 3, 1, 4, 0, 0, 0, 0x79, 0};
    assert_true(contains(p, "\x0c\x41\xd0\x05\x01", 5));
    assert_true(contains(p, resources, sizeof resources));
}

static void the_largest_machine_fits(void **state)
{
    struct sample *s = *state;
    struct acpi_device many[ACPI_DEVICES_MAX];
    for (unsigned i = 0; i < ACPI_DEVICES_MAX; i++)
        many[i] = (struct acpi_device){0xd0000000u + i * 0x1000, 0x200, 5 + i};
    s->machine.devices = many;
    s->machine.n_devices = ACPI_DEVICES_MAX;
    s->machine.n_cpus = ACPI_CPUS_MAX;
    assert_int_equal(acpi_build(&s->machine, s->bytes, &s->err), 0);
    assert_true(contains(dsdt(s), "VR1F", 4));
    assert_int_equal(word(madt(s) + 4, 4), 44 + 16 * 8 + 12);
}

static void impossible_machines_are_refused(void **state)
{
    struct sample *s = *state;
    s->machine.n_cpus = 0;
    assert_int_equal(acpi_build(&s->machine, s->bytes, &s->err), -EINVAL);
    s->machine.n_cpus = ACPI_CPUS_MAX + 1;
    assert_int_equal(acpi_build(&s->machine, s->bytes, &s->err), -EINVAL);
    s->machine.n_cpus = 1;
    s->machine.n_devices = ACPI_DEVICES_MAX + 1;
    assert_int_equal(acpi_build(&s->machine, s->bytes, &s->err), -EINVAL);
    s->machine.n_devices = 3;
    s->machine.gpa = GPA + 8;
    assert_int_equal(acpi_build(&s->machine, s->bytes, &s->err), -EINVAL);
    assert_memory_equal(s->bytes, "RSD PTR ", 8); // untouched
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, done)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_root_pointer_has_both_checksums),
        TEST(tables_lead_to_each_other),
        TEST(the_machine_is_hardware_reduced_and_can_reset_and_sleep),
        TEST(each_vcpu_has_a_local_apic),
        TEST(devices_fill_the_scope_exactly),
        TEST(a_virtio_device_names_its_window_and_interrupt),
        TEST(the_serial_port_is_a_16550_compatible),
        TEST(the_largest_machine_fits),
        TEST(impossible_machines_are_refused),
    };
    return cmocka_run_group_tests_name("vmm/acpi", tests, NULL, NULL);
}
