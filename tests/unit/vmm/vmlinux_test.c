// Tests of the ELF kernel's plan (server/vmm/boot/vmlinux.c): a good one is planned exactly, each kind of bad
// one is refused with a sentence of its own.
#include "testing.h"

#include <elf.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "boot/vmlinux.h"

#define MIB      (1ull << 20)
#define FILE_LEN (8 * MIB)
#define LOW_END  (128 * MIB)

struct sample {
    Elf64_Ehdr header;
    Elf64_Phdr segments[3]; // text, data, notes
    struct vmlinux_plan plan;
    struct err err;
};

static int make_good(void **state)
{
    struct sample *s = calloc(1, sizeof *s);
    assert_non_null(s);
    memcpy(s->header.e_ident, ELFMAG, SELFMAG);
    s->header.e_ident[EI_CLASS] = ELFCLASS64;
    s->header.e_ident[EI_DATA] = ELFDATA2LSB;
    s->header.e_type = ET_EXEC;
    s->header.e_machine = EM_X86_64;
    s->header.e_entry = 16 * MIB + 0x40;
    s->header.e_phoff = sizeof s->header;
    s->header.e_phentsize = sizeof s->segments[0];
    s->header.e_phnum = 3;
    s->segments[0] = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_offset = MIB, .p_paddr = 16 * MIB, .p_filesz = 2 * MIB, .p_memsz = 2 * MIB};
    s->segments[1] = (Elf64_Phdr){
        .p_type = PT_LOAD, .p_offset = 4 * MIB, .p_paddr = 20 * MIB, .p_filesz = MIB, .p_memsz = 4 * MIB};
    s->segments[2] = (Elf64_Phdr){.p_type = PT_NOTE, .p_offset = 4 * MIB, .p_filesz = 64};
    *state = s;
    return 0;
}

static int done(void **state)
{
    free(*state);
    return 0;
}

static int plan(struct sample *s)
{
    uint8_t head[sizeof s->header + sizeof s->segments];
    memcpy(head, &s->header, sizeof s->header);
    memcpy(head + sizeof s->header, s->segments, sizeof s->segments);
    return vmlinux_plan(head, sizeof head, FILE_LEN, LOW_END, &s->plan, &s->err);
}

static void refused(struct sample *s, int rc, const char *text)
{
    assert_int_equal(plan(s), rc);
    if (!strstr(s->err.text, text))
        fail_msg("\"%s\" has no \"%s\"", s->err.text, text);
    assert_int_equal(s->plan.n_segments, 0);
}

static void a_good_kernel_is_planned_by_physical_address(void **state)
{
    struct sample *s = *state;
    assert_int_equal(plan(s), 0);
    assert_int_equal(s->plan.n_segments, 2);
    assert_int_equal(s->plan.segments[1].gpa, 20 * MIB);
    assert_int_equal(s->plan.segments[1].file_offset, 4 * MIB);
    assert_int_equal(s->plan.segments[1].file_len, MIB);
    assert_int_equal(s->plan.entry, 16 * MIB + 0x40);
    assert_int_equal(s->plan.end, 24 * MIB);
    assert_int_equal(s->plan.notes_len, 64);
}

static void a_file_for_another_machine_is_refused(void **state)
{
    struct sample *s = *state;
    s->header.e_machine = EM_AARCH64;
    refused(s, -ENOEXEC, "not built for x86-64");
}

static void an_object_file_is_refused(void **state)
{
    struct sample *s = *state;
    s->header.e_type = ET_REL;
    refused(s, -ENOEXEC, "not an executable");
}

static void headers_out_of_reach_are_refused(void **state)
{
    struct sample *s = *state;
    s->header.e_phoff = UINT64_MAX - 8;
    refused(s, -ENOEXEC, "program headers");
}

static void a_segment_beyond_the_file_is_refused(void **state)
{
    struct sample *s = *state;
    s->segments[1].p_offset = FILE_LEN - 1;
    refused(s, -ENOEXEC, "cut off");
    s->segments[1].p_offset = UINT64_MAX - 1;
    refused(s, -ENOEXEC, "cut off");
}

static void a_segment_where_no_kernel_can_lie_is_refused(void **state)
{
    struct sample *s = *state;
    s->segments[0].p_paddr = 0x1000;
    refused(s, -ENOEXEC, "where no kernel can");
    s->segments[0].p_paddr = 16 * MIB;
    s->segments[1].p_memsz = UINT64_MAX;
    refused(s, -ENOEXEC, "where no kernel can");
}

static void overlapping_segments_are_refused(void **state)
{
    struct sample *s = *state;
    s->segments[1].p_paddr = 17 * MIB;
    refused(s, -ENOEXEC, "where no kernel can");
}

static void too_little_memory_is_named(void **state)
{
    struct sample *s = *state;
    s->segments[1].p_memsz = 200 * MIB;
    refused(s, -ENOMEM, "up to 220 MiB");
}

static void an_entry_outside_is_refused(void **state)
{
    struct sample *s = *state;
    s->header.e_entry = 22 * MIB; // in a segment, but not in what the file has of it
    refused(s, -ENOEXEC, "entry point");
}

static void nothing_to_load_is_refused(void **state)
{
    struct sample *s = *state;
    s->segments[0].p_type = s->segments[1].p_type = PT_NULL;
    refused(s, -ENOEXEC, "nothing to load");
}

// ---- notes ----

struct notes {
    Elf64_Nhdr other;
    char other_name[4];
    uint32_t other_desc;
    Elf64_Nhdr xen;
    char xen_name[4];
    uint32_t entry;
};

static struct notes good_notes(void)
{
    return (struct notes){.other = {4, 4, 18},
                          .other_name = "GNU",
                          .xen = {4, 4, 18},
                          .xen_name = "Xen",
                          .entry = 16 * MIB + 0x100};
}

static void the_pvh_entry_is_found(void **state)
{
    struct sample *s = *state;
    const struct notes n = good_notes();
    uint32_t entry = 0;
    assert_int_equal(plan(s), 0);
    assert_true(vmlinux_find_pvh(&s->plan, (const uint8_t *)&n, sizeof n, &entry));
    assert_int_equal(entry, 16 * MIB + 0x100);
}

static void a_pvh_entry_outside_of_the_kernel_is_none(void **state)
{
    struct sample *s = *state;
    struct notes n = good_notes();
    uint32_t entry = 0;
    n.entry = 0x1000;
    assert_int_equal(plan(s), 0);
    assert_false(vmlinux_find_pvh(&s->plan, (const uint8_t *)&n, sizeof n, &entry));
    assert_int_equal(entry, 0);
}

static void notes_that_lie_about_lengths_end_the_search(void **state)
{
    struct sample *s = *state;
    struct notes n = good_notes();
    uint32_t entry = 0;
    assert_int_equal(plan(s), 0);
    n.other.n_descsz = UINT32_MAX;
    assert_false(vmlinux_find_pvh(&s->plan, (const uint8_t *)&n, sizeof n, &entry));
    n = good_notes();
    n.other.n_namesz = UINT32_MAX - 1;
    assert_false(vmlinux_find_pvh(&s->plan, (const uint8_t *)&n, sizeof n, &entry));
    n = good_notes();
    for (size_t len = 0; len < sizeof n; len++)
        assert_false(vmlinux_find_pvh(&s->plan, (const uint8_t *)&n, len, &entry));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_good_kernel_is_planned_by_physical_address, make_good, done),
        cmocka_unit_test_setup_teardown(a_file_for_another_machine_is_refused, make_good, done),
        cmocka_unit_test_setup_teardown(an_object_file_is_refused, make_good, done),
        cmocka_unit_test_setup_teardown(headers_out_of_reach_are_refused, make_good, done),
        cmocka_unit_test_setup_teardown(a_segment_beyond_the_file_is_refused, make_good, done),
        cmocka_unit_test_setup_teardown(a_segment_where_no_kernel_can_lie_is_refused, make_good, done),
        cmocka_unit_test_setup_teardown(overlapping_segments_are_refused, make_good, done),
        cmocka_unit_test_setup_teardown(too_little_memory_is_named, make_good, done),
        cmocka_unit_test_setup_teardown(an_entry_outside_is_refused, make_good, done),
        cmocka_unit_test_setup_teardown(nothing_to_load_is_refused, make_good, done),
        cmocka_unit_test_setup_teardown(the_pvh_entry_is_found, make_good, done),
        cmocka_unit_test_setup_teardown(a_pvh_entry_outside_of_the_kernel_is_none, make_good, done),
        cmocka_unit_test_setup_teardown(notes_that_lie_about_lengths_end_the_search, make_good, done),
    };
    return cmocka_run_group_tests_name("vmm/vmlinux", tests, NULL, NULL);
}
