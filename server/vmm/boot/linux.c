// Owns the loading of a Linux guest. Called by machine_linux before a vCPU runs: nothing of the guest
// contests what is written here. File contents never reach a decision without the plans of boot/bzimage and
// boot/vmlinux.
#include "boot/linux.h"

#include <errno.h>
#include <string.h>

#include "boot/bzimage.h"
#include "boot/file.h"
#include "boot/linux_layout.h"
#include "boot/vmlinux.h"
#include "common/checked.h"

#define PAGE_MASK     0xfffull
#define TABLE_BYTES   0x1000ull
#define DIRECTORIES   4ull // of pages: 4 GiB
#define LARGE_PAGE    0x200000ull
#define PTE_TABLE     0x3ull  // present, writable
#define PTE_LARGE     0x83ull // and a 2 MiB page
#define ELF_CMDLINE   2047u   // COMMAND_LINE_SIZE of x86, less the NUL
#define PVH_MODULES   0x40u   // behind LINUX_PVH_GPA
#define PVH_MEMORY    0x80u
#define PVH_BYTES     0x100u
#define PVH_MAGIC     0x336ec578u
#define E820_RAM      1u
#define E820_RESERVED 2u

_Static_assert(BZIMAGE_HEAD_MAX == VMLINUX_HEAD_MAX, "one read serves both");
_Static_assert(LINUX_ACPI_GPA >= LINUX_FIRMWARE_GPA && LINUX_ACPI_GPA + ACPI_BYTES <= LINUX_HIGH_GPA,
               "ACPI tables lie in what is reserved");
_Static_assert(LINUX_CMDLINE_GPA + BZIMAGE_CMDLINE_MAX < LINUX_FIRMWARE_GPA, "the command line is in RAM");

// What is known before the kernel is looked at.
struct load {
    const struct guest_memory *mem;
    const struct linux_source *source;
    uint8_t head[BZIMAGE_HEAD_MAX];
    size_t head_len;
    uint64_t kernel_len, initrd_len;
    uint64_t low_end; // of RAM below the hole
    uint64_t memory_bytes;
};

static int copy_initrd(const struct load *l, uint64_t gpa, struct err *err)
{
    return boot_file_copy(l->mem, l->source->initrd_fd, gpa, 0, l->initrd_len, "initial RAM disk", err);
}

// ---- bzImage ----

static int write_params(const struct load *l, const struct bzimage_plan *plan, struct err *err)
{
    uint8_t *params = guest_memory_at(l->mem, LINUX_PARAMS_GPA, BZIMAGE_PARAMS_BYTES);
    if (!params)
        return err_set(err, -ENOMEM, "no memory for the boot parameters");
    bzimage_write_params(plan, params);
    return 0;
}

static int load_bzimage(const struct load *l, struct linux_start *ret, struct err *err)
{
    const struct bzimage_request request = {.memory_bytes = l->memory_bytes,
                                            .initrd_bytes = l->initrd_len,
                                            .cmdline = l->source->cmdline,
                                            .cmdline_gpa = LINUX_CMDLINE_GPA,
                                            .rsdp_gpa = LINUX_ACPI_GPA};
    struct bzimage_plan plan;
    int rc = bzimage_plan(l->head, l->head_len, l->kernel_len, &request, &plan, err);
    if (rc == 0)
        rc = boot_file_copy(l->mem, l->source->kernel_fd, plan.load_gpa, plan.file_offset, plan.file_len,
                            "kernel", err);
    if (rc == 0)
        rc = copy_initrd(l, plan.initrd_gpa, err);
    if (rc == 0)
        rc = write_params(l, &plan, err);
    if (rc == 0)
        *ret = (struct linux_start){.entry = LINUX_ENTRY_64, .rip = plan.entry};
    return rc;
}

// ---- ELF ----

struct pvh_memory {
    uint64_t gpa, bytes;
    uint32_t type, zero;
};

struct pvh_start {
    struct {
        uint32_t magic, version, flags, n_modules;
        uint64_t modules_gpa, cmdline_gpa, rsdp_gpa, memory_gpa;
        uint32_t n_memory, zero;
    } info;
    uint8_t pad0[PVH_MODULES - 56];
    struct {
        uint64_t gpa, bytes, cmdline_gpa, zero;
    } module;
    uint8_t pad1[PVH_MEMORY - PVH_MODULES - 32];
    struct pvh_memory memory[4];
};
_Static_assert(sizeof(struct pvh_start) <= PVH_BYTES &&
                   __builtin_offsetof(struct pvh_start, module) == PVH_MODULES &&
                   __builtin_offsetof(struct pvh_start, memory) == PVH_MEMORY,
               "as drawn in Xen's public/arch-x86/hvm/start_info.h");

static int write_pvh(const struct load *l, uint64_t initrd_gpa, struct err *err)
{
    void *to = guest_memory_at(l->mem, LINUX_PVH_GPA, sizeof(struct pvh_start));
    if (!to)
        return err_set(err, -ENOMEM, "no memory for the start info");
    const bool has_initrd = l->initrd_len > 0, has_high = l->mem->high_bytes > 0;
    const struct pvh_start start = {
        .info = {.magic = PVH_MAGIC,
                 .version = 1,
                 .n_modules = has_initrd,
                 .modules_gpa = has_initrd ? LINUX_PVH_GPA + PVH_MODULES : 0,
                 .cmdline_gpa = LINUX_CMDLINE_GPA,
                 .rsdp_gpa = LINUX_ACPI_GPA,
                 .memory_gpa = LINUX_PVH_GPA + PVH_MEMORY,
                 .n_memory = has_high ? 4 : 3},
        .module = {.gpa = initrd_gpa, .bytes = l->initrd_len},
        .memory = {
            {.bytes = LINUX_FIRMWARE_GPA, .type = E820_RAM},
            {.gpa = LINUX_FIRMWARE_GPA, .bytes = LINUX_HIGH_GPA - LINUX_FIRMWARE_GPA, .type = E820_RESERVED},
            {.gpa = LINUX_HIGH_GPA, .bytes = l->low_end - LINUX_HIGH_GPA, .type = E820_RAM},
            {.gpa = LINUX_ABOVE_4G_GPA, .bytes = l->mem->high_bytes, .type = E820_RAM}}};
    memcpy(to, &start, sizeof start);
    return 0;
}

// The entry by the PVH note. 0 and *ret_entry (0: there is none), or -errno.
static int find_pvh(const struct load *l, const struct vmlinux_plan *plan, uint32_t *ret_entry,
                    struct err *err)
{
    uint8_t notes[VMLINUX_NOTES_MAX];
    const size_t len = plan->notes_len < sizeof notes ? (size_t)plan->notes_len : sizeof notes;
    *ret_entry = 0;
    int rc = boot_file_read(l->source->kernel_fd, notes, len, plan->notes_offset, "kernel", err);
    if (rc == 0)
        vmlinux_find_pvh(plan, notes, len, ret_entry);
    return rc;
}

// As high as there is memory, out of the way of what the kernel unpacks.
static int place_initrd(const struct load *l, uint64_t kernel_end, uint64_t *ret_gpa, struct err *err)
{
    const uint64_t gpa = l->initrd_len < l->low_end ? (l->low_end - l->initrd_len) & ~PAGE_MASK : 0;
    if (l->initrd_len > 0 && gpa < kernel_end)
        return err_set(
            err, -ENOMEM,
            "the initial RAM disk has %llu KiB and does not fit behind the kernel: give it more memory",
            (unsigned long long)(l->initrd_len >> 10));
    *ret_gpa = l->initrd_len > 0 ? gpa : 0;
    return 0;
}

static int enter_elf(const struct load *l, const struct vmlinux_plan *plan, uint64_t initrd_gpa,
                     struct linux_start *ret, struct err *err)
{
    uint32_t pvh = 0;
    int rc = find_pvh(l, plan, &pvh, err);
    if (rc < 0)
        return rc;
    if (pvh) {
        *ret = (struct linux_start){.entry = LINUX_ENTRY_PVH, .rip = pvh};
        return write_pvh(l, initrd_gpa, err);
    }
    struct bzimage_plan params = {.initrd_gpa = initrd_gpa,
                                  .initrd_bytes = l->initrd_len,
                                  .low_end = l->low_end,
                                  .high_bytes = l->mem->high_bytes,
                                  .cmdline_gpa = LINUX_CMDLINE_GPA,
                                  .rsdp_gpa = LINUX_ACPI_GPA};
    bzimage_bare_header(params.header);
    *ret = (struct linux_start){.entry = LINUX_ENTRY_64, .rip = plan->entry};
    return write_params(l, &params, err);
}

static int load_elf(const struct load *l, struct linux_start *ret, struct err *err)
{
    struct vmlinux_plan plan;
    uint64_t initrd_gpa = 0;
    if (strlen(l->source->cmdline) > ELF_CMDLINE)
        return err_set(err, -E2BIG, "the kernel command line has %zu bytes; this kernel takes %u: shorten it",
                       strlen(l->source->cmdline), ELF_CMDLINE);
    int rc = vmlinux_plan(l->head, l->head_len, l->kernel_len, l->low_end, &plan, err);
    if (rc == 0)
        rc = place_initrd(l, plan.end, &initrd_gpa, err);
    for (size_t i = 0; rc == 0 && i < plan.n_segments; i++)
        rc = boot_file_copy(l->mem, l->source->kernel_fd, plan.segments[i].gpa, plan.segments[i].file_offset,
                            plan.segments[i].file_len, "kernel", err);
    if (rc == 0)
        rc = copy_initrd(l, initrd_gpa, err);
    return rc < 0 ? rc : enter_elf(l, &plan, initrd_gpa, ret, err);
}

// ---- what both find ----

static void write_page_tables(uint64_t *pml4, uint64_t *pdpt, uint64_t *pd)
{
    pml4[0] = LINUX_PDPT_GPA | PTE_TABLE;
    for (uint64_t i = 0; i < DIRECTORIES; i++)
        pdpt[i] = (LINUX_PD_GPA + i * TABLE_BYTES) | PTE_TABLE;
    for (uint64_t i = 0; i < DIRECTORIES * 512; i++)
        pd[i] = i * LARGE_PAGE | PTE_LARGE;
}

// Null, 32-bit code for PVH, then what the boot protocol names: code at 0x10, data at 0x18; a TSS.
static const uint64_t gdt[LINUX_GDT_BYTES / 8] = {0, 0x00cf9b000000ffff, 0x00af9b000000ffff,
                                                  0x00cf93000000ffff, 0x00008b0000000067};

// What a BIOS has at its reset vector: kernels on hardware-reduced ACPI without EFI restart by jumping there
// in real mode. mov $RESET_PORT, %dx; mov $RESET_VALUE, %al; out %al, %dx; hlt; jmp to the hlt
static const uint8_t reset_code[] = {
    0xba, LINUX_RESET_PORT & 0xff, LINUX_RESET_PORT >> 8, 0xb0, LINUX_RESET_VALUE, 0xee, 0xf4, 0xeb, 0xfd};

static int write_tables(const struct load *l, struct err *err)
{
    const struct linux_source *source = l->source;
    const size_t cmdline_bytes = strlen(source->cmdline) + 1;
    uint64_t *pml4 = guest_memory_at(l->mem, LINUX_PML4_GPA, TABLE_BYTES);
    uint64_t *pdpt = guest_memory_at(l->mem, LINUX_PDPT_GPA, TABLE_BYTES);
    uint64_t *pd = guest_memory_at(l->mem, LINUX_PD_GPA, DIRECTORIES * TABLE_BYTES);
    void *gdt_at = guest_memory_at(l->mem, LINUX_GDT_GPA, sizeof gdt);
    char *cmdline = guest_memory_at(l->mem, LINUX_CMDLINE_GPA, cmdline_bytes);
    uint8_t *acpi = guest_memory_at(l->mem, LINUX_ACPI_GPA, ACPI_BYTES);
    uint8_t *reset = guest_memory_at(l->mem, LINUX_RESET_VECTOR_GPA, sizeof reset_code);
    if (!pml4 || !pdpt || !pd || !gdt_at || !cmdline || !acpi || !reset)
        return err_set(err, -ENOMEM, "no memory for the boot tables");
    write_page_tables(pml4, pdpt, pd);
    memcpy(gdt_at, gdt, sizeof gdt);
    memcpy(reset, reset_code, sizeof reset_code);
    memcpy(cmdline, source->cmdline, cmdline_bytes);
    return acpi_build(source->acpi, acpi, err);
}

static int read_head(struct load *l, struct err *err)
{
    int rc = boot_file_length(l->source->kernel_fd, "kernel", &l->kernel_len, err);
    if (rc == 0 && l->source->initrd_fd >= 0)
        rc = boot_file_length(l->source->initrd_fd, "initial RAM disk", &l->initrd_len, err);
    if (rc < 0)
        return rc;
    l->head_len = l->kernel_len < sizeof l->head ? (size_t)l->kernel_len : sizeof l->head;
    return boot_file_read(l->source->kernel_fd, l->head, l->head_len, 0, "kernel", err);
}

int linux_load(const struct guest_memory *mem, const struct linux_source *source,
               struct linux_start *ret_start, enum vmctl_cause *ret_cause, struct err *err)
{
    struct load l = {.mem = mem,
                     .source = source,
                     .low_end = mem->size_bytes,
                     .memory_bytes = mem->size_bytes + mem->high_bytes};
    int rc = read_head(&l, err);
    if (rc == 0)
        rc = vmlinux_is_elf(l.head, l.head_len) ? load_elf(&l, ret_start, err)
                                                : load_bzimage(&l, ret_start, err);
    *ret_cause = rc == -ENOMEM ? VMCTL_CAUSE_MEMORY : VMCTL_CAUSE_PROGRAM;
    if (rc < 0)
        return rc;
    *ret_cause = VMCTL_CAUSE_INTERNAL;
    return write_tables(&l, err);
}
