// Tests of the boot tables (server/vmm/boot/tables.c): walks what was built the way a CPU does.
#include "testing.h"

#include <string.h>

#include "boot/layout.h"
#include "boot/tables.h"

#define MIB     (1ull << 20)
#define PRESENT 0x1u
#define WRITE   0x2u
#define USER    0x4u
#define LARGE   0x80u
#define NX      (1ull << 63)

static struct guest_memory mem;
static const struct cell_kernel_header kernel = {.syscall_saved = 0x12345};

// The access that a CPU would grant for an address: PRESENT, WRITE and USER bits of all levels together, 0 =
// none; and where it leads.
static uint64_t walk(uint64_t va, uint64_t *ret_gpa)
{
    uint64_t table = BOOT_PML4_GPA, rights = PRESENT | WRITE | USER;
    for (int shift = 39; shift >= 12; shift -= 9) {
        const uint64_t *entry = guest_memory_at(&mem, table + ((va >> shift) & 511) * 8, 8);
        assert_non_null(entry);
        if (!(*entry & PRESENT))
            return 0;
        assert_false(*entry & NX);
        rights &= *entry;
        table = *entry & 0x000ffffffffff000u;
        if (shift == 12 || (*entry & LARGE)) {
            *ret_gpa = table + (va & ((1ull << shift) - 1));
            return rights;
        }
    }
    return 0;
}

static int build(uint64_t mib)
{
    struct err err;
    if (guest_memory_init(&mem, mib * MIB, GUEST_MEMORY_SMALL_PAGES, &err) < 0)
        return -1;
    boot_tables_write(&mem, &kernel);
    return 0;
}

static int setup(void **state)
{
    (void)state;
    return build(64);
}

static int teardown(void **state)
{
    (void)state;
    guest_memory_done(&mem);
    return 0;
}

static void page_zero_is_absent(void **state)
{
    (void)state;
    uint64_t gpa = 0;
    assert_int_equal(walk(0, &gpa), 0);
    assert_int_equal(walk(0xfff, &gpa), 0);
}

static void the_boot_pages_are_supervisor(void **state)
{
    (void)state;
    for (uint64_t va = BOOT_SUPER_GPA; va < BOOT_SUPER_END; va += 0x1000) {
        uint64_t gpa = 0;
        assert_int_equal(walk(va, &gpa), PRESENT | WRITE);
        assert_int_equal(gpa, va);
    }
}

static void all_other_memory_is_the_guests_one_to_one(void **state)
{
    (void)state;
    for (uint64_t va = BOOT_SUPER_END; va < 64 * MIB; va += 0x1000) {
        uint64_t gpa = 0;
        assert_int_equal(walk(va + 8, &gpa), PRESENT | WRITE | USER);
        assert_int_equal(gpa, va + 8);
    }
}

static void what_is_no_memory_is_absent(void **state)
{
    (void)state;
    const uint64_t absent[] = {64 * MIB,   1ull << 30, 0xcfffffff, 0xd0200000,
                               0xffffffff, 1ull << 32, 1ull << 47};
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        uint64_t gpa = 0;
        assert_int_equal(walk(absent[i], &gpa), 0);
    }
}

static void the_device_pages_are_the_guests(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < CELL_DEVICES_MAX; i++) {
        uint64_t gpa = 0;
        const uint64_t va = CELL_MMIO_GPA + i * CELL_MMIO_STRIDE + 0x50;
        assert_int_equal(walk(va, &gpa), PRESENT | WRITE | USER);
        assert_int_equal(gpa, va);
    }
}

static void the_largest_memory_is_mapped_to_its_end(void **state)
{
    (void)state;
    guest_memory_done(&mem);
    assert_int_equal(build(3072), 0);
    uint64_t gpa = 0;
    assert_int_equal(walk(0xbfffffff, &gpa), PRESENT | WRITE | USER);
    assert_int_equal(gpa, 0xbfffffff);
    assert_int_equal(walk(0xc0000000, &gpa), 0);
}

static void the_io_bitmap_opens_the_cells_ports_only(void **state)
{
    (void)state;
    const uint8_t *tss = guest_memory_at(&mem, BOOT_TSS_GPA, BOOT_TSS_BYTES);
    uint16_t base;
    memcpy(&base, tss + 102, sizeof base);
    assert_int_equal(base, 0x68);
    for (unsigned port = 0; port < 128; port++) {
        const bool open = !(tss[base + port / 8] >> port % 8 & 1);
        assert_int_equal(open, port >= CELL_PORT_IDLE && port < CELL_PORT_FAULT);
    }
    assert_int_equal(tss[BOOT_TSS_BYTES - 1], 0xff); // the byte that closes the bitmap
}

static void every_gate_leads_to_its_stub(void **state)
{
    (void)state;
    const uint64_t *idt = guest_memory_at(&mem, BOOT_IDT_GPA, BOOT_VECTORS * 16);
    for (size_t v = 0; v < BOOT_VECTORS; v++) {
        const uint64_t low = idt[v * 2];
        const uint64_t target = (low & 0xffff) | (low >> 48) << 16 | idt[v * 2 + 1] << 32;
        assert_int_equal(target, BOOT_STUBS_GPA + v * BOOT_STUB_STRIDE);
        assert_int_equal(low >> 16 & 0xffff, BOOT_SEL_KERNEL_CS);
        assert_int_equal(low >> 40 & 0x9f, 0x8e); // present interrupt gate
        assert_int_equal(low >> 45 & 3, v == 3 ? 3 : 0);
        const uint8_t *stub = guest_memory_at(&mem, target, 16);
        const uint8_t code[] = {0x50, 0xb8, (uint8_t)v, 0, 0, 0, 0xe7, CELL_PORT_FAULT, 0xf4};
        assert_memory_equal(stub, code, sizeof code);
    }
}

static void the_system_call_stub_turns_round_into_the_kernel(void **state)
{
    (void)state;
    const uint8_t *stub = guest_memory_at(&mem, BOOT_SYSCALL_GPA, 16);
    const uint8_t code[] = {0x48, 0x89, 0x0c, 0x25, 0x38, 0xf0, 0,    0,
                            0xb9, 0x45, 0x23, 0x01, 0,    0x48, 0x0f, 0x07};
    assert_memory_equal(stub, code, sizeof code);
}

static void vectors_have_names_and_error_codes(void **state)
{
    (void)state;
    assert_string_equal(boot_vector_name(14), "page fault");
    assert_string_equal(boot_vector_name(9), "unknown vector");
    assert_string_equal(boot_vector_name(4000), "unknown vector");
    assert_true(boot_vector_has_error(8) && boot_vector_has_error(13) && boot_vector_has_error(14));
    assert_false(boot_vector_has_error(6) || boot_vector_has_error(3) || boot_vector_has_error(4000));
}

#define CASE(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(page_zero_is_absent),
        CASE(the_boot_pages_are_supervisor),
        CASE(all_other_memory_is_the_guests_one_to_one),
        CASE(what_is_no_memory_is_absent),
        CASE(the_device_pages_are_the_guests),
        CASE(the_largest_memory_is_mapped_to_its_end),
        CASE(the_io_bitmap_opens_the_cells_ports_only),
        CASE(every_gate_leads_to_its_stub),
        CASE(the_system_call_stub_turns_round_into_the_kernel),
        cmocka_unit_test(vectors_have_names_and_error_codes),
    };
    return cmocka_run_group_tests_name("vmm/tables", tests, NULL, NULL);
}
