// Tests of the ELF plan (server/vmm/boot/elf.c): good files are planned exactly, each kind of bad one is
// refused with a sentence of its own.
#include "testing.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "boot/elf.h"

#define FILE_LEN 0x10000u
#define MEMORY   0x2000000u

static const struct elf_limits limits = {
    .what = "program", .min_gpa = 0x200000, .end_gpa = MEMORY, .pie_base = 0x400000};

// A small file: header, three program headers, of which the first two are PT_LOAD.
struct sample {
    Elf64_Ehdr h;
    Elf64_Phdr p[3];
};

static struct sample good(void)
{
    struct sample s = {0};
    memcpy(s.h.e_ident, ELFMAG, SELFMAG);
    s.h.e_ident[EI_CLASS] = ELFCLASS64;
    s.h.e_ident[EI_DATA] = ELFDATA2LSB;
    s.h.e_ident[EI_VERSION] = EV_CURRENT;
    s.h.e_type = ET_EXEC;
    s.h.e_machine = EM_X86_64;
    s.h.e_version = EV_CURRENT;
    s.h.e_entry = 0x401234;
    s.h.e_phoff = sizeof s.h;
    s.h.e_phentsize = sizeof s.p[0];
    s.h.e_phnum = 3;
    s.p[0] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_R | PF_X,
                          .p_vaddr = 0x400000,
                          .p_filesz = 0x2000,
                          .p_memsz = 0x2000};
    s.p[1] = (Elf64_Phdr){.p_type = PT_LOAD,
                          .p_flags = PF_R | PF_W,
                          .p_offset = 0x2e10,
                          .p_vaddr = 0x403e10,
                          .p_filesz = 0x300,
                          .p_memsz = 0x1800};
    s.p[2] = (Elf64_Phdr){.p_type = PT_GNU_STACK};
    return s;
}

static int plan(const struct sample *s, struct elf_plan *ret, struct err *err)
{
    return elf_plan((const uint8_t *)s, sizeof *s, FILE_LEN, &limits, ret, err);
}

static void assert_refused(const struct sample *s, const char *contains)
{
    struct elf_plan p = {.entry = 77};
    struct err err = {0};
    assert_int_equal(plan(s, &p, &err), -ENOEXEC);
    if (!strstr(err.text, contains))
        fail_msg("\"%s\" does not contain \"%s\"", err.text, contains);
    assert_int_equal(p.entry, 77); // untouched
}

static void assert_bytes_refused(const void *data, size_t len, const char *contains)
{
    struct elf_plan p;
    struct err err = {0};
    assert_int_equal(elf_plan(data, len, len, &limits, &p, &err), -ENOEXEC);
    if (!strstr(err.text, contains))
        fail_msg("\"%s\" does not contain \"%s\"", err.text, contains);
}

static void a_static_executable_is_planned(void **state)
{
    (void)state;
    const struct sample s = good();
    struct elf_plan p;
    assert_int_equal(plan(&s, &p, NULL), 0);
    assert_int_equal(p.n_segments, 2);
    assert_int_equal(p.segments[0].gpa, 0x400000);
    assert_int_equal(p.segments[0].file_len, 0x2000);
    assert_int_equal(p.segments[1].gpa, 0x403e10);
    assert_int_equal(p.segments[1].file_offset, 0x2e10);
    assert_int_equal(p.segments[1].file_len, 0x300);
    assert_int_equal(p.segments[1].mem_len, 0x1800);
    assert_int_equal(p.base, 0);
    assert_int_equal(p.entry, 0x401234);
    assert_int_equal(p.phdr, 0x400040);
    assert_int_equal(p.phnum, 3);
    assert_int_equal(p.end, 0x405610);
}

static void a_static_pie_is_moved_to_its_base(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_type = ET_DYN;
    s.h.e_entry = 0x1234;
    s.p[0].p_vaddr = 0;
    s.p[1].p_vaddr = 0x3e10;
    struct elf_plan p;
    assert_int_equal(plan(&s, &p, NULL), 0);
    assert_int_equal(p.base, 0x400000);
    assert_int_equal(p.entry, 0x401234);
    assert_int_equal(p.segments[0].gpa, 0x400000);
    assert_int_equal(p.segments[1].gpa, 0x403e10);
    assert_int_equal(p.phdr, 0x400040);
}

static void a_pie_is_refused_where_addresses_are_fixed(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_type = ET_DYN;
    const struct elf_limits kernel = {.what = "kernel", .min_gpa = 0x30000, .end_gpa = 0x1c0000};
    struct elf_plan p;
    struct err err;
    assert_int_equal(elf_plan((const uint8_t *)&s, sizeof s, FILE_LEN, &kernel, &p, &err), -ENOEXEC);
    assert_string_equal(err.text, "the kernel is position independent: link it with -static -no-pie");
}

static void segments_may_share_a_page(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[1].p_vaddr = 0x402000;
    struct elf_plan p;
    assert_int_equal(plan(&s, &p, NULL), 0);
}

static void empty_segments_are_left_out(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[2] = (Elf64_Phdr){.p_type = PT_LOAD, .p_vaddr = 0x1000, .p_offset = UINT64_MAX};
    struct elf_plan p;
    assert_int_equal(plan(&s, &p, NULL), 0);
    assert_int_equal(p.n_segments, 2);
}

static void unloaded_program_headers_have_no_address(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[0].p_offset = 0x1000;
    struct elf_plan p;
    assert_int_equal(plan(&s, &p, NULL), 0);
    assert_int_equal(p.phdr, 0);
}

static void what_is_no_elf_is_named(void **state)
{
    (void)state;
    assert_bytes_refused("", 0, "the program is empty");
    assert_bytes_refused("#!/bin/sh\n", 10, "is a script");
    assert_bytes_refused("\x1f\x8b\x08", 3, "gzip");
    assert_bytes_refused("MZ\x90", 3, "Windows");
    assert_bytes_refused("!<arch>\n", 8, "static library");
    assert_bytes_refused("hello", 5, "not an ELF file");
    assert_bytes_refused("\x7f"
                         "EL",
                         3, "not an ELF file");
    assert_bytes_refused("\x7f"
                         "ELF",
                         4, "cut off inside its ELF header");
}

static void other_machines_are_named(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_machine = EM_AARCH64;
    assert_refused(&s, "built for ARM64");
    s.h.e_machine = EM_386;
    s.h.e_ident[EI_CLASS] = ELFCLASS32;
    assert_refused(&s, "built for 32-bit x86");
    s.h.e_machine = 4711;
    assert_refused(&s, "machine 4711");
    s = good();
    s.h.e_ident[EI_DATA] = ELFDATA2MSB;
    assert_refused(&s, "big-endian");
    s = good();
    s.h.e_ident[EI_CLASS] = ELFCLASS32;
    assert_refused(&s, "x32");
}

static void other_elf_types_are_named(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_type = ET_REL;
    assert_refused(&s, "object file");
    s.h.e_type = ET_CORE;
    assert_refused(&s, "core dump");
    s.h.e_type = 0xfe00;
    assert_refused(&s, "ELF type 65024");
    s = good();
    s.h.e_version = 2;
    assert_refused(&s, "unknown ELF version");
}

static void a_dynamically_linked_program_is_told_to_link_statically(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[2].p_type = PT_INTERP;
    assert_refused(&s, "the program is dynamically linked: link it with -static");
}

static void program_headers_must_lie_in_what_was_read(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_phoff = sizeof s - 8;
    assert_refused(&s, "outside its first 4096 bytes");
    s.h.e_phoff = UINT64_MAX - 8;
    assert_refused(&s, "outside its first 4096 bytes");
    s = good();
    s.h.e_phnum = 4;
    assert_refused(&s, "outside its first 4096 bytes");
}

static void strange_counts_and_sizes_are_refused(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_phnum = 0;
    assert_refused(&s, "0 program headers");
    s.h.e_phnum = 0xffff;
    assert_refused(&s, "65535 program headers");
    s = good();
    s.h.e_phentsize = 32;
    assert_refused(&s, "of 32 bytes");
}

static void too_many_segments_are_refused(void **state)
{
    (void)state;
    struct {
        Elf64_Ehdr h;
        Elf64_Phdr p[ELF_SEGMENTS_MAX + 1];
    } s = {.h = good().h};
    s.h.e_phnum = ELF_SEGMENTS_MAX + 1;
    for (unsigned i = 0; i <= ELF_SEGMENTS_MAX; i++)
        s.p[i] = (Elf64_Phdr){
            .p_type = PT_LOAD, .p_flags = PF_X, .p_vaddr = 0x401000 + i * 0x1000, .p_memsz = 0x1000};
    struct elf_plan p;
    struct err err;
    assert_int_equal(elf_plan((const uint8_t *)&s, sizeof s, FILE_LEN, &limits, &p, &err), -ENOEXEC);
    assert_non_null(strstr(err.text, "more than 16 segments"));
}

static void a_segment_that_ends_after_the_file_is_refused(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[1].p_offset = FILE_LEN - 0x200;
    assert_refused(&s, "a segment ends after the file does");
    s.p[1].p_offset = UINT64_MAX - 0x100; // the sum wraps
    assert_refused(&s, "a segment ends after the file does");
}

static void a_segment_larger_in_the_file_is_refused(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[0].p_memsz = s.p[0].p_filesz - 1;
    assert_refused(&s, "larger in the file than in memory");
}

static void segments_outside_memory_are_refused(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[0].p_vaddr = 0x1ff000;
    assert_refused(&s, "a segment at 0x1ff000; addresses from 0x200000 on are accepted");
    s = good();
    s.p[1].p_memsz = MEMORY;
    assert_refused(&s, "give it more memory");
    s.p[1].p_memsz = UINT64_MAX - 0x1000; // the end wraps
    assert_refused(&s, "give it more memory");
    s = good();
    s.p[1].p_vaddr = UINT64_MAX - 0x100;
    assert_refused(&s, "give it more memory");
    s = good();
    s.h.e_type = ET_DYN;
    s.p[1].p_vaddr = UINT64_MAX - 0x100; // wraps when moved
    assert_refused(&s, "a segment at 0x");
}

static void overlapping_segments_are_refused(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[1].p_vaddr = 0x401fff;
    assert_refused(&s, "overlap or are out of order");
    s.p[1].p_vaddr = 0x300000; // before the first
    assert_refused(&s, "overlap or are out of order");
}

static void the_entry_point_must_be_executable(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_entry = 0x403e20; // data
    assert_refused(&s, "entry point in no executable segment");
    s.h.e_entry = 0x400000 - 1;
    assert_refused(&s, "entry point in no executable segment");
    s.h.e_entry = UINT64_MAX;
    assert_refused(&s, "entry point in no executable segment");
}

static void a_shared_library_is_named(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_type = ET_DYN;
    s.h.e_entry = 0;
    s.p[0].p_vaddr = 0;
    s.p[1].p_vaddr = 0x3e10;
    assert_refused(&s, "like a shared library");
}

static void another_operating_system_is_named(void **state)
{
    (void)state;
    struct sample s = good();
    s.h.e_ident[EI_OSABI] = ELFOSABI_FREEBSD;
    assert_refused(&s, "another operating system (ELF ABI 9)");
    s.h.e_ident[EI_OSABI] = ELFOSABI_GNU; // glibc marks programs with IFUNCs
    struct elf_plan p;
    assert_int_equal(plan(&s, &p, NULL), 0);
}

static void a_file_without_segments_is_refused(void **state)
{
    (void)state;
    struct sample s = good();
    s.p[0].p_type = s.p[1].p_type = PT_NOTE;
    assert_refused(&s, "nothing to load");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_static_executable_is_planned),
        cmocka_unit_test(a_static_pie_is_moved_to_its_base),
        cmocka_unit_test(a_pie_is_refused_where_addresses_are_fixed),
        cmocka_unit_test(segments_may_share_a_page),
        cmocka_unit_test(empty_segments_are_left_out),
        cmocka_unit_test(unloaded_program_headers_have_no_address),
        cmocka_unit_test(what_is_no_elf_is_named),
        cmocka_unit_test(other_machines_are_named),
        cmocka_unit_test(other_elf_types_are_named),
        cmocka_unit_test(a_dynamically_linked_program_is_told_to_link_statically),
        cmocka_unit_test(program_headers_must_lie_in_what_was_read),
        cmocka_unit_test(strange_counts_and_sizes_are_refused),
        cmocka_unit_test(too_many_segments_are_refused),
        cmocka_unit_test(a_segment_that_ends_after_the_file_is_refused),
        cmocka_unit_test(a_segment_larger_in_the_file_is_refused),
        cmocka_unit_test(segments_outside_memory_are_refused),
        cmocka_unit_test(overlapping_segments_are_refused),
        cmocka_unit_test(the_entry_point_must_be_executable),
        cmocka_unit_test(a_shared_library_is_named),
        cmocka_unit_test(another_operating_system_is_named),
        cmocka_unit_test(a_file_without_segments_is_refused),
    };
    return cmocka_run_group_tests_name("vmm/elf", tests, NULL, NULL);
}
