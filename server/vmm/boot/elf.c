// Owns the validation of ELF files. Called by boot/cell with the first bytes of a file that a tenant chose;
// reads nothing else and maps nothing.
#include "boot/elf.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "common/checked.h"

#define PHNUM_MAX 64u

#ifndef EM_LOONGARCH
#define EM_LOONGARCH 258
#endif

// What a file is that does not begin like an ELF file: the first match names it.
static const struct {
    const char *magic;
    size_t len;
    const char *text;
} impostors[] = {
    {"#!", 2,
     "is a script: give the static ELF of its interpreter as the program and the script as an argument"},
    {"\x1f\x8b", 2, "is gzip-compressed: unpack it first"},
    {"\x28\xb5\x2f\xfd", 4, "is zstd-compressed: unpack it first"},
    {"\xfd"
     "7zXZ",
     5, "is xz-compressed: unpack it first"},
    {"MZ", 2, "is a Windows or EFI executable: build it for x86-64 Linux with -static"},
    {"\xcf\xfa\xed\xfe", 4, "is a macOS executable: build it for x86-64 Linux with -static"},
    {"\0asm", 4, "is WebAssembly: build it for x86-64 Linux with -static"},
    {"!<arch>\n", 8, "is a static library: link it into a program with -static"},
};

static const struct {
    uint16_t machine;
    const char *name;
} machines[] = {
    {EM_386, "32-bit x86"}, {EM_ARM, "32-bit ARM"}, {EM_AARCH64, "ARM64"}, {EM_RISCV, "RISC-V"},
    {EM_PPC64, "POWER"},    {EM_S390, "s390"},      {EM_MIPS, "MIPS"},     {EM_LOONGARCH, "LoongArch"},
};

static int refuse_no_elf(const uint8_t *head, size_t len, const char *what, struct err *err)
{
    if (len == 0)
        return err_set(err, -ENOEXEC, "the %s is empty: give a static x86-64 Linux ELF", what);
    for (size_t i = 0; i < ARRAY_LEN(impostors); i++)
        if (len >= impostors[i].len && memcmp(head, impostors[i].magic, impostors[i].len) == 0)
            return err_set(err, -ENOEXEC, "the %s %s", what, impostors[i].text);
    return err_set(err, -ENOEXEC, "the %s is not an ELF file: give a static x86-64 Linux ELF", what);
}

static int refuse_machine(uint16_t machine, const char *what, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(machines); i++)
        if (machines[i].machine == machine)
            return err_set(err, -ENOEXEC, "the %s is built for %s: build it for x86-64", what,
                           machines[i].name);
    return err_set(err, -ENOEXEC, "the %s is built for machine %u: build it for x86-64", what, machine);
}

static int check_type(uint16_t type, const struct elf_limits *limits, struct err *err)
{
    if (type == ET_EXEC || (type == ET_DYN && limits->pie_base))
        return 0;
    if (type == ET_DYN)
        return err_set(err, -ENOEXEC, "the %s is position independent: link it with -static -no-pie",
                       limits->what);
    if (type == ET_REL)
        return err_set(err, -ENOEXEC, "the %s is an object file: link it with -static", limits->what);
    if (type == ET_CORE)
        return err_set(err, -ENOEXEC, "the %s is a core dump: give the program that dumped it", limits->what);
    return err_set(err, -ENOEXEC, "the %s has ELF type %u: give a static executable", limits->what, type);
}

static int check_header(const uint8_t *head, size_t len, const struct elf_limits *limits, Elf64_Ehdr *ret,
                        struct err *err)
{
    const char *what = limits->what;
    if (len < SELFMAG || memcmp(head, ELFMAG, SELFMAG) != 0)
        return refuse_no_elf(head, len, what, err);
    Elf64_Ehdr untrusted_h;
    if (len < sizeof untrusted_h)
        return err_set(err, -ENOEXEC, "the %s is cut off inside its ELF header: copy it again", what);
    memcpy(&untrusted_h, head, sizeof untrusted_h);
    // The machine word lies at the same place in 32-bit files, so a wrong class is named by its machine.
    if (untrusted_h.e_ident[EI_DATA] == ELFDATA2LSB && untrusted_h.e_machine != EM_X86_64)
        return refuse_machine(untrusted_h.e_machine, what, err);
    if (untrusted_h.e_ident[EI_DATA] != ELFDATA2LSB)
        return err_set(err, -ENOEXEC, "the %s is for a big-endian machine: build it for x86-64", what);
    if (untrusted_h.e_ident[EI_CLASS] != ELFCLASS64)
        return err_set(err, -ENOEXEC, "the %s is built for x32: build it with -m64", what);
    if (untrusted_h.e_ident[EI_VERSION] != EV_CURRENT || untrusted_h.e_version != EV_CURRENT)
        return err_set(err, -ENOEXEC, "the %s has an unknown ELF version: build it again", what);
    const uint8_t abi = untrusted_h.e_ident[EI_OSABI];
    if (abi != ELFOSABI_SYSV && abi != ELFOSABI_GNU)
        return err_set(err, -ENOEXEC,
                       "the %s is built for another operating system (ELF ABI %u): build it for Linux", what,
                       abi);
    int rc = check_type(untrusted_h.e_type, limits, err);
    if (rc < 0)
        return rc;
    if (untrusted_h.e_phentsize != sizeof(Elf64_Phdr) || untrusted_h.e_phnum == 0 ||
        untrusted_h.e_phnum > PHNUM_MAX)
        return err_set(err, -ENOEXEC,
                       "the %s has %u program headers of %u bytes; 1 to %u of 56 are accepted: link it again",
                       what, untrusted_h.e_phnum, untrusted_h.e_phentsize, PHNUM_MAX);
    if (!range_inside(untrusted_h.e_phoff, (uint64_t)untrusted_h.e_phnum * sizeof(Elf64_Phdr), len))
        return err_set(err, -ENOEXEC,
                       "the %s has program headers outside its first %u bytes: link it again, or copy it "
                       "again if it was cut off",
                       what, ELF_HEAD_MAX);
    *ret = untrusted_h;
    return 0;
}

// Turns one PT_LOAD into a segment; untrusted_p is the file's word.
static int plan_segment(const Elf64_Phdr *untrusted_p, uint64_t file_len, const struct elf_limits *limits,
                        struct elf_plan *plan, struct err *err)
{
    const char *what = limits->what;
    struct elf_segment s = {.mem_len = untrusted_p->p_memsz,
                            .file_offset = untrusted_p->p_offset,
                            .file_len = untrusted_p->p_filesz};
    if (s.mem_len == 0)
        return 0;
    if (plan->n_segments == ELF_SEGMENTS_MAX)
        return err_set(err, -ENOEXEC, "the %s has more than %u segments: link it again", what,
                       ELF_SEGMENTS_MAX);
    if (s.file_len > s.mem_len)
        return err_set(err, -ENOEXEC, "the %s has a segment larger in the file than in memory: link it again",
                       what);
    if (s.file_len > 0 && !range_inside(s.file_offset, s.file_len, file_len))
        return err_set(err, -ENOEXEC, "the %s is cut off: a segment ends after the file does; copy it again",
                       what);
    if (add_overflows_u64(untrusted_p->p_vaddr, plan->base, &s.gpa) || s.gpa < limits->min_gpa)
        return err_set(err, -ENOEXEC,
                       "the %s has a segment at 0x%llx; addresses from 0x%llx on are accepted: link it there "
                       "or with -static-pie",
                       what, (unsigned long long)untrusted_p->p_vaddr, (unsigned long long)limits->min_gpa);
    if (s.gpa >= limits->end_gpa || s.mem_len > limits->end_gpa - s.gpa)
        return err_set(err, -ENOEXEC,
                       "the %s has a segment of %llu KiB at 0x%llx, but memory ends at 0x%llx: give it more "
                       "memory, or link it with -static-pie",
                       what, (unsigned long long)(s.mem_len >> 10), (unsigned long long)s.gpa,
                       (unsigned long long)limits->end_gpa);
    if (plan->n_segments > 0 && s.gpa < plan->end)
        return err_set(err, -ENOEXEC, "the %s has segments that overlap or are out of order: link it again",
                       what);
    plan->segments[plan->n_segments++] = s;
    plan->end = s.gpa + s.mem_len;
    return 0;
}

static bool segment_holds(const Elf64_Phdr *p, uint64_t base, uint64_t gpa)
{
    return p->p_type == PT_LOAD && gpa - (p->p_vaddr + base) < p->p_memsz;
}

static int plan_program_headers(const uint8_t *table, const Elf64_Ehdr *h, uint64_t file_len,
                                const struct elf_limits *limits, struct elf_plan *plan, struct err *err)
{
    bool entry_found = false;
    for (uint16_t i = 0; i < h->e_phnum; i++) {
        Elf64_Phdr untrusted_p;
        memcpy(&untrusted_p, table + i * sizeof untrusted_p, sizeof untrusted_p);
        if (untrusted_p.p_type == PT_INTERP)
            return err_set(err, -ENOEXEC, "the %s is dynamically linked: link it with -static", limits->what);
        if (untrusted_p.p_type != PT_LOAD)
            continue;
        int rc = plan_segment(&untrusted_p, file_len, limits, plan, err);
        if (rc < 0)
            return rc;
        if ((untrusted_p.p_flags & PF_X) && segment_holds(&untrusted_p, plan->base, plan->entry))
            entry_found = true;
    }
    if (plan->n_segments == 0)
        return err_set(err, -ENOEXEC, "the %s has nothing to load: link it again", limits->what);
    if (h->e_entry == 0)
        return err_set(err, -ENOEXEC,
                       "the %s has no entry point, like a shared library: link a program with -static",
                       limits->what);
    if (!entry_found)
        return err_set(err, -ENOEXEC, "the %s has its entry point in no executable segment: link it again",
                       limits->what);
    return 0;
}

// Where the table of program headers lands in the guest: the C library reads it there. 0 when in no segment.
static uint64_t find_phdr(const struct elf_plan *plan, uint64_t phoff, uint64_t len)
{
    for (size_t i = 0; i < plan->n_segments; i++) {
        const struct elf_segment *s = &plan->segments[i];
        if (phoff >= s->file_offset && range_inside(phoff - s->file_offset, len, s->file_len))
            return s->gpa + (phoff - s->file_offset);
    }
    return 0;
}

int elf_plan(const uint8_t *head, size_t head_len, uint64_t file_len, const struct elf_limits *limits,
             struct elf_plan *ret, struct err *err)
{
    Elf64_Ehdr h = {0};
    int rc = check_header(head, head_len, limits, &h, err);
    if (rc < 0)
        return rc;
    struct elf_plan plan = {.phnum = h.e_phnum};
    plan.base = h.e_type == ET_DYN ? limits->pie_base : 0;
    plan.entry = h.e_entry + plan.base; // a sum that wraps is in no segment
    rc = plan_program_headers(head + h.e_phoff, &h, file_len, limits, &plan, err);
    if (rc < 0)
        return rc;
    plan.phdr = find_phdr(&plan, h.e_phoff, (uint64_t)h.e_phnum * sizeof(Elf64_Phdr));
    *ret = plan;
    return 0;
}
