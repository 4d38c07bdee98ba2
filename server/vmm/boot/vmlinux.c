// Owns the validation of ELF kernels. Called by boot/linux; reads no files and maps nothing.
#include "boot/vmlinux.h"

#include <elf.h>
#include <errno.h>
#include <string.h>

#include "boot/bzimage.h"
#include "common/checked.h"

#define NOTE_PHYS32_ENTRY 18u // XEN_ELFNOTE_PHYS32_ENTRY
#define NOTE_ALIGN(n)     (((uint64_t)(n) + 3) & ~3ull)

bool vmlinux_is_elf(const uint8_t *head, size_t head_len)
{
    return head_len >= SELFMAG && memcmp(head, ELFMAG, SELFMAG) == 0;
}

static int check_header(const uint8_t *head, size_t len, uint64_t file_len, Elf64_Ehdr *ret, struct err *err)
{
    Elf64_Ehdr h;
    if (len < sizeof h)
        return err_set(err, -ENOEXEC, "the kernel is cut off inside its ELF header: copy it again");
    memcpy(&h, head, sizeof h);
    if (h.e_ident[EI_CLASS] != ELFCLASS64 || h.e_ident[EI_DATA] != ELFDATA2LSB || h.e_machine != EM_X86_64)
        return err_set(err, -ENOEXEC, "the kernel is not built for x86-64: give one that is");
    if (h.e_type != ET_EXEC && h.e_type != ET_DYN)
        return err_set(err, -ENOEXEC, "the kernel is an ELF file of type %u, not an executable: give vmlinux",
                       h.e_type);
    if (h.e_phentsize != sizeof(Elf64_Phdr) || h.e_phnum == 0)
        return err_set(err, -ENOEXEC, "the kernel has no program headers: give vmlinux as it was linked");
    const uint64_t table = (uint64_t)h.e_phnum * sizeof(Elf64_Phdr);
    if (!range_inside(h.e_phoff, table, len)) {
        const bool cut = range_inside(h.e_phoff, table, VMLINUX_HEAD_MAX) && file_len < VMLINUX_HEAD_MAX;
        return err_set(
            err, -ENOEXEC,
            cut ? "the kernel is cut off inside its program headers: copy it again"
                : "the kernel's program headers lie behind its first 4 KiB: give vmlinux as it was "
                  "linked");
    }
    *ret = h;
    return 0;
}

static int add_segment(const Elf64_Phdr *p, uint64_t file_len, uint64_t low_end, struct vmlinux_plan *plan,
                       struct err *err)
{
    if (p->p_memsz == 0)
        return 0;
    if (plan->n_segments == VMLINUX_SEGMENTS_MAX)
        return err_set(err, -ENOEXEC, "the kernel has more than %u segments: give vmlinux as it was linked",
                       VMLINUX_SEGMENTS_MAX);
    if (p->p_filesz > p->p_memsz || !range_inside(p->p_offset, p->p_filesz, file_len))
        return err_set(err, -ENOEXEC,
                       "the kernel is cut off: a segment of it is not in the file; copy it again");
    if (p->p_paddr < LINUX_HIGH_GPA || p->p_paddr < plan->end || p->p_paddr >= LINUX_LOW_END_MAX ||
        p->p_memsz > LINUX_LOW_END_MAX - p->p_paddr)
        return err_set(err, -ENOEXEC, "the kernel wants to lie at 0x%llx, where no kernel can: copy it again",
                       (unsigned long long)p->p_paddr);
    const uint64_t end = p->p_paddr + p->p_memsz;
    if (end > low_end)
        return err_set(err, -ENOMEM, "the kernel needs memory up to %llu MiB to start: give it more memory",
                       (unsigned long long)((end + (1u << 20) - 1) >> 20));
    plan->segments[plan->n_segments++] = (struct vmlinux_segment){
        .gpa = p->p_paddr, .file_offset = p->p_offset, .file_len = p->p_filesz, .mem_len = p->p_memsz};
    plan->end = end;
    return 0;
}

static bool in_segments(const struct vmlinux_plan *plan, uint64_t gpa)
{
    for (size_t i = 0; i < plan->n_segments; i++)
        if (gpa >= plan->segments[i].gpa && gpa - plan->segments[i].gpa < plan->segments[i].file_len)
            return true;
    return false;
}

int vmlinux_plan(const uint8_t *head, size_t head_len, uint64_t file_len, uint64_t low_end,
                 struct vmlinux_plan *ret, struct err *err)
{
    struct vmlinux_plan plan = {0};
    Elf64_Ehdr h = {0};
    int rc = check_header(head, head_len, file_len, &h, err);
    for (unsigned i = 0; rc == 0 && i < h.e_phnum; i++) {
        Elf64_Phdr p;
        memcpy(&p, head + h.e_phoff + i * sizeof p, sizeof p);
        if (p.p_type == PT_LOAD)
            rc = add_segment(&p, file_len, low_end, &plan, err);
        if (p.p_type == PT_NOTE && range_inside(p.p_offset, p.p_filesz, file_len)) {
            plan.notes_offset = p.p_offset;
            plan.notes_len = p.p_filesz;
        }
    }
    if (rc < 0)
        return rc;
    if (plan.n_segments == 0)
        return err_set(err, -ENOEXEC, "the kernel has nothing to load: give vmlinux as it was linked");
    plan.entry = h.e_entry;
    if (!in_segments(&plan, plan.entry))
        return err_set(err, -ENOEXEC, "the kernel's entry point is outside of it: copy it again");
    *ret = plan;
    return 0;
}

bool vmlinux_find_pvh(const struct vmlinux_plan *plan, const uint8_t *notes, size_t len, uint32_t *ret_entry)
{
    for (uint64_t at = 0; range_inside(at, sizeof(Elf64_Nhdr), len);) {
        Elf64_Nhdr n;
        memcpy(&n, notes + at, sizeof n);
        const uint64_t name = at + sizeof n, desc = name + NOTE_ALIGN(n.n_namesz);
        if (!range_inside(desc, n.n_descsz, len))
            return false;
        uint32_t entry;
        if (n.n_type == NOTE_PHYS32_ENTRY && n.n_namesz == 4 && memcmp(notes + name, "Xen", 4) == 0 &&
            n.n_descsz >= sizeof entry) {
            memcpy(&entry, notes + desc, sizeof entry);
            if (!in_segments(plan, entry))
                return false;
            *ret_entry = entry;
            return true;
        }
        at = desc + NOTE_ALIGN(n.n_descsz);
    }
    return false;
}
