// Owns the CPUID table of the vCPU: what KVM supports, less what a cell has no use for. Called by kvm_cell.c.
//
// On KVM-PVM the table only steers KVM itself: CPUID at CPL3 answers with the host's values, and what works
// at CPL3 is what the host's kernel has switched on. So there the host's own CPUID decides, and the table is
// a short constant one (asking KVM for all it supports takes a third of a millisecond, as each CPUID traps in
// turn).
#include "guest_cpuid.h"

#include <cpuid.h>
#include <errno.h>
#include <sys/auxv.h>
#include <sys/ioctl.h>

#include "common/checked.h"
#include "kvm_cell.h"

#define ENTRIES_MAX 128u

#define LEAF1_ECX_XSAVE    (1u << 26)
#define LEAF1_ECX_OSXSAVE  (1u << 27)
#define LEAF7_EBX_FSGSBASE (1u << 0)
#define HWCAP2_FSGSBASE    (1u << 1)
// x87, SSE, AVX, AVX-512. Not AMX and PKRU: a cell's kernel neither saves nor switches anything on for them.
#define XCR0_WANTED 0xe7u

struct table {
    struct kvm_cpuid2 head;
    struct kvm_cpuid_entry2 entries[ENTRIES_MAX];
};

// Bits taken away from what KVM supports, each with its reason.
static const struct {
    uint32_t function, index;
    uint32_t eax, ebx, ecx, edx;
} hidden[] = {
    {0x00000001, 0, 0, 0, 1u << 3 | 1u << 21 | 1u << 24,
     0}, // MONITOR, x2APIC, TSC deadline: there is no APIC
    {0x00000007, 0, 0, 0, 1u << 3 | 1u << 7, 1u << 22 | 1u << 24 | 1u << 25}, // PKU, shadow stack; AMX
    {0x00000007, 1, 1u << 21, 0, 0, 0},                                       // AMX-FP16
    {0x0000000d, 0, ~XCR0_WANTED, 0, 0, ~0u}, // vector state beyond XCR0_WANTED
    {0x40000001, 0, ~0u, 0, 0, 0},            // KVM's paravirtual MSRs: nothing of a cell runs at CPL0
};

static struct kvm_cpuid_entry2 *find(struct table *t, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < t->head.nent; i++)
        if (t->entries[i].function == function && t->entries[i].index == index)
            return &t->entries[i];
    return NULL;
}

static int read_supported(const struct kvm_cell *cell, struct table *t, struct err *err)
{
    t->head.nent = ENTRIES_MAX;
    if (ioctl(cell->vm.dev_fd, KVM_GET_SUPPORTED_CPUID, &t->head) < 0)
        return err_errno(err, -errno, "KVM_GET_SUPPORTED_CPUID");
    for (size_t i = 0; i < ARRAY_LEN(hidden); i++) {
        struct kvm_cpuid_entry2 *e = find(t, hidden[i].function, hidden[i].index);
        if (!e)
            continue;
        e->eax &= ~hidden[i].eax;
        e->ebx &= ~hidden[i].ebx;
        e->ecx &= ~hidden[i].ecx;
        e->edx &= ~hidden[i].edx;
    }
    return 0;
}

static void use_supported(struct kvm_cell *cell, struct table *t)
{
    const struct kvm_cpuid_entry2 none = {0};
    struct kvm_cpuid_entry2 *leaf1 = find(t, 1, 0);
    const struct kvm_cpuid_entry2 *leaf7 = find(t, 7, 0);
    const struct kvm_cpuid_entry2 *leafd = find(t, 0xd, 0);
    leaf7 = leaf7 ? leaf7 : &none;
    leafd = leafd ? leafd : &none;
    if (leaf1) {
        cell->hwcap = leaf1->edx;
        cell->has_xsave = leaf1->ecx & LEAF1_ECX_XSAVE;
        leaf1->ebx &= 0x0000ffffu; // one logical processor, APIC id 0
    }
    cell->has_fsgsbase = leaf7->ebx & LEAF7_EBX_FSGSBASE;
    cell->xcr0 = cell->has_xsave ? leafd->eax & XCR0_WANTED : 0;
}

// Enough for KVM to let the vCPU into 64-bit mode with SYSCALL, NX and the host's vector state.
static void use_host(struct kvm_cell *cell, struct table *t)
{
    unsigned eax, ebx, ecx, edx;
    __cpuid(1, eax, ebx, ecx, edx);
    cell->hwcap = edx;
    cell->has_xsave = ecx & LEAF1_ECX_OSXSAVE;
    cell->has_fsgsbase =
        getauxval(AT_HWCAP2) & HWCAP2_FSGSBASE; // whether the host's kernel has switched it on
    cell->xcr0 = 0;
    if (cell->has_xsave) {
        uint32_t low, high;
        __asm__("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
        cell->xcr0 = low & XCR0_WANTED;
    }
    const struct kvm_cpuid_entry2 entries[] = {
        {.function = 0, .eax = 0xd},
        {.function = 1, .edx = cell->hwcap},
        {.function = 0xd, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX, .eax = (uint32_t)cell->xcr0},
        {.function = 0x80000000, .eax = 0x80000008},
        {.function = 0x80000001, .edx = 1u << 11 | 1u << 20 | 1u << 29}, // SYSCALL, NX, long mode
        {.function = 0x80000008, .eax = 48 << 8 | 40},                   // address widths
    };
    t->head.nent = ARRAY_LEN(entries);
    for (size_t i = 0; i < ARRAY_LEN(entries); i++)
        t->entries[i] = entries[i];
}

int guest_cpuid_set(struct kvm_cell *cell, struct err *err)
{
    struct table table;
    table.head.nent = 0;
    table.head.padding = 0;
    if (cell->flavour == CELL_FLAVOUR_PVM) {
        use_host(cell, &table);
    } else {
        int rc = read_supported(cell, &table, err);
        if (rc < 0)
            return rc;
        use_supported(cell, &table);
    }
    if (ioctl(cell->vm.vcpus[0].fd, KVM_SET_CPUID2, &table.head) < 0)
        return err_errno(err, -errno, "KVM_SET_CPUID2");
    return 0;
}
