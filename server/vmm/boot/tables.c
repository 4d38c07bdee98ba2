// Owns the supervisor pages of a cell: page tables, descriptor tables, CPL0 stubs. Called by boot/cell before
// the first entry; nothing else writes there. The guest cannot: they are supervisor pages and all its code
// runs at CPL3.
#include "boot/tables.h"

#include <stdbool.h>
#include <string.h>

#include "boot/layout.h"
#include "common/checked.h"

#define PAGE_SIZE       0x1000ull
#define LARGE_PAGE_SIZE 0x200000ull
#define ENTRIES         512u
#define IDT_BYTES       (BOOT_VECTORS * 16)

// Accessed and dirty are set from the start, so that no CPU has to write to the tables.
#define PTE_PRESENT   0x1u
#define PTE_WRITE     0x2u
#define PTE_USER      0x4u
#define PTE_ACCESSED  0x20u
#define PTE_DIRTY     0x40u
#define PTE_LARGE     0x80u
#define PTE_TABLE     (PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED)
#define PTE_SUPER     (PTE_PRESENT | PTE_WRITE | PTE_ACCESSED | PTE_DIRTY)
#define PTE_FOR_USER  (PTE_SUPER | PTE_USER)
#define TSS_RSP0      4u
#define TSS_IST1      36u
#define TSS_IO_BASE   102u
#define TSS_IO_BITMAP 0x68u

#define VECTOR_BREAKPOINT   3u
#define VECTOR_NMI          2u
#define VECTOR_DOUBLE_FAULT 8u
#define VECTOR_MACHINE      18u

_Static_assert(BOOT_GDT_GPA + BOOT_GDT_BYTES <= BOOT_TSS_GPA, "GDT fits");
_Static_assert(BOOT_TSS_GPA + BOOT_TSS_BYTES <= BOOT_IDT_GPA, "TSS fits");
_Static_assert(BOOT_IDT_GPA + IDT_BYTES <= BOOT_STUBS_GPA, "IDT fits");
_Static_assert(BOOT_SYSCALL_GPA + 32 <= BOOT_STUBS_END, "stubs fit");
_Static_assert(BOOT_SUPER_END == CELL_BOOT_GPA, "the pages for CPL3 begin where the contract says");

static const char *const vector_names[BOOT_VECTORS] = {
    [0] = "divide error",
    [1] = "debug trap",
    [2] = "NMI",
    [3] = "breakpoint",
    [4] = "overflow",
    [5] = "bound range exceeded",
    [6] = "invalid opcode",
    [7] = "no FPU",
    [8] = "double fault",
    [10] = "invalid TSS",
    [11] = "segment not present",
    [12] = "stack fault",
    [13] = "general protection",
    [14] = "page fault",
    [16] = "x87 error",
    [17] = "alignment check",
    [18] = "machine check",
    [19] = "SIMD error",
    [20] = "virtualization",
    [21] = "control protection",
};

const char *boot_vector_name(unsigned vector)
{
    const char *name = vector < BOOT_VECTORS ? vector_names[vector] : NULL;
    return name ? name : "unknown vector";
}

bool boot_vector_has_error(unsigned vector)
{
    const uint32_t with_error = 1u << 8 | 1u << 10 | 1u << 11 | 1u << 12 | 1u << 13 | 1u << 14 | 1u << 17 |
                                1u << 21 | 1u << 29 | 1u << 30;
    return vector < BOOT_VECTORS && (with_error >> vector & 1);
}

// Supervisor and boot pages are always there: memory is at least VMCTL_MEMORY_MIN_MIB.
static void *at(const struct guest_memory *mem, uint64_t gpa, uint64_t len)
{
    return guest_memory_at(mem, gpa, len);
}

static void write_page_tables(const struct guest_memory *mem)
{
    uint64_t *pml4 = at(mem, BOOT_PML4_GPA, PAGE_SIZE);
    uint64_t *pdpt = at(mem, BOOT_PDPT_GPA, PAGE_SIZE);
    uint64_t *pd = at(mem, BOOT_PD_GPA, 4 * PAGE_SIZE);
    uint64_t *pt = at(mem, BOOT_PT_GPA, PAGE_SIZE);
    pml4[0] = BOOT_PDPT_GPA | PTE_TABLE;
    // The first 2 MiB page by page, page 0 left out.
    pd[0] = BOOT_PT_GPA | PTE_TABLE;
    for (uint64_t i = 1; i < ENTRIES; i++)
        pt[i] = i * PAGE_SIZE | (i * PAGE_SIZE < BOOT_SUPER_END ? PTE_SUPER : PTE_FOR_USER);
    for (uint64_t gpa = LARGE_PAGE_SIZE; gpa < mem->size_bytes; gpa += LARGE_PAGE_SIZE)
        pd[gpa / LARGE_PAGE_SIZE] = gpa | PTE_FOR_USER | PTE_LARGE;
    pd[CELL_MMIO_GPA / LARGE_PAGE_SIZE] = CELL_MMIO_GPA | PTE_FOR_USER | PTE_LARGE;
    for (uint64_t gib = 0; gib < 4; gib++)
        if (gib << 30 < mem->size_bytes || gib == CELL_MMIO_GPA >> 30)
            pdpt[gib] = (BOOT_PD_GPA + gib * PAGE_SIZE) | PTE_TABLE;
}

static void write_gdt(const struct guest_memory *mem)
{
    uint64_t *gdt = at(mem, BOOT_GDT_GPA, BOOT_GDT_BYTES);
    gdt[1] = 0x00cf9b000000ffffu; // CPL0, 32 bit: unused, SYSCALL's order wants the slot
    gdt[2] = 0x00af9b000000ffffu; // BOOT_SEL_KERNEL_CS
    gdt[3] = 0x00cf93000000ffffu; // BOOT_SEL_KERNEL_DS
    gdt[4] = 0x00cffb000000ffffu; // CPL3, 32 bit: SYSRET's base slot
    gdt[5] = 0x00cff3000000ffffu; // BOOT_SEL_USER_DS
    gdt[6] = 0x00affb000000ffffu; // BOOT_SEL_USER_CS
    gdt[8] = (BOOT_TSS_BYTES - 1) | (uint64_t)BOOT_TSS_GPA << 16 | (uint64_t)0x8b << 40; // busy 64-bit TSS
    gdt[9] = 0;
}

// The I/O bitmap opens the cell's ports to CPL3 and nothing else; the fault port is for the stubs, which need
// no leave.
static void write_tss(const struct guest_memory *mem)
{
    uint8_t *tss = at(mem, BOOT_TSS_GPA, BOOT_TSS_BYTES);
    const uint64_t rsp0 = BOOT_STACK_END;
    const uint64_t ist1 = BOOT_IST_END;
    const uint16_t io_base = TSS_IO_BITMAP;
    memcpy(tss + TSS_RSP0, &rsp0, sizeof rsp0);
    memcpy(tss + TSS_IST1, &ist1, sizeof ist1);
    memcpy(tss + TSS_IO_BASE, &io_base, sizeof io_base);
    memset(tss + TSS_IO_BITMAP, 0xff, BOOT_TSS_BYTES - TSS_IO_BITMAP);
    static const uint16_t ports[] = {CELL_PORT_IDLE, CELL_PORT_EXIT, CELL_PORT_PANIC, CELL_PORT_FSBASE};
    for (size_t i = 0; i < ARRAY_LEN(ports); i++)
        tss[TSS_IO_BITMAP + ports[i] / 8] &=
            (uint8_t) ~(0xfu << ports[i] % 8); // a 32-bit access asks for four bits
}

static void write_gate(uint64_t *idt, size_t vector)
{
    const uint64_t stub = BOOT_STUBS_GPA + vector * BOOT_STUB_STRIDE;
    const uint64_t dpl =
        vector == VECTOR_BREAKPOINT ? 3 : 0; // the only vector a program may raise by instruction
    const bool own_stack = vector == VECTOR_NMI || vector == VECTOR_DOUBLE_FAULT || vector == VECTOR_MACHINE;
    idt[vector * 2] = (stub & 0xffff) | BOOT_SEL_KERNEL_CS << 16 | (uint64_t)own_stack << 32 |
                      (0x8e | dpl << 5) << 40 | (stub >> 16 & 0xffff) << 48;
    idt[vector * 2 + 1] = stub >> 32;
}

// Each gate leaves a frame that vcpu_fault.c reads: saved %rax, [error code,] rip, cs, rflags, rsp, ss.
static void write_fault_stub(uint8_t *stub, size_t vector)
{
    const uint8_t code[] = {
        0x50,                           // push %rax
        0xb8, (uint8_t)vector, 0, 0, 0, // mov $vector, %eax
        0xe7, CELL_PORT_FAULT,          // out %eax, $CELL_PORT_FAULT
        0xf4,                           // hlt: never reached
    };
    _Static_assert(sizeof code <= BOOT_STUB_STRIDE, "fits its slot");
    memcpy(stub, code, sizeof code);
}

// SYSCALL on hardware enters CPL0. Everything of the cell runs at CPL3, so this only turns round into the
// kernel; the program's return address takes the detour through memory because SYSRET needs %rcx.
static void write_syscall_stub(uint8_t *stub, uint64_t syscall_saved)
{
    const uint32_t slot = CELL_SHARED_GPA + offsetof(struct cell_shared, syscall_rip);
    const uint32_t target = (uint32_t)syscall_saved; // inside the kernel image: checked when it was loaded
    uint8_t code[] = {
        0x48, 0x89, 0x0c, 0x25, 0, 0, 0, 0, // mov %rcx, slot
        0xb9, 0,    0,    0,    0,          // mov $target, %ecx
        0x48, 0x0f, 0x07,                   // sysretq
    };
    memcpy(code + 4, &slot, sizeof slot);
    memcpy(code + 9, &target, sizeof target);
    memcpy(stub, code, sizeof code);
}

void boot_tables_write(const struct guest_memory *mem, const struct cell_kernel_header *kernel)
{
    write_page_tables(mem);
    write_gdt(mem);
    write_tss(mem);
    uint64_t *idt = at(mem, BOOT_IDT_GPA, IDT_BYTES);
    uint8_t *stubs = at(mem, BOOT_STUBS_GPA, BOOT_STUBS_END - BOOT_STUBS_GPA);
    for (size_t vector = 0; vector < BOOT_VECTORS; vector++) {
        write_gate(idt, vector);
        write_fault_stub(stubs + vector * BOOT_STUB_STRIDE, vector);
    }
    write_syscall_stub(stubs + (BOOT_SYSCALL_GPA - BOOT_STUBS_GPA), kernel->syscall_saved);
}
