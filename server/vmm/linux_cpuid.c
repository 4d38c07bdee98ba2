// Owns the CPUID tables of a Linux guest. Called by kvm_linux.
#include "linux_cpuid.h"

#include <errno.h>
#include <stdbool.h>
#include <stdlib.h>
#include <sys/ioctl.h>

#include "common/checked.h"
#include "common/cleanup.h"
#include "kvm.h"

#define BIT(n) (1u << (n))

// Taken away from and added to what KVM supports.
static const struct rule {
    uint32_t function, index;
    uint32_t hide_eax, hide_ebx, hide_ecx, hide_edx;
    uint32_t show_ecx;
} rules[] = {
    // MONITOR, VMX, OSXSAVE (KVM sets it as the guest's CR4 does); the TSC deadline timer (the in-kernel APIC
    // has it and kvm_linux asked), that there is a hypervisor
    {1, 0, 0, 0, BIT(3) | BIT(5) | BIT(27), 0, BIT(24) | BIT(31)},
    {5, 0, ~0u, ~0u, ~0u, ~0u, 0},                           // MONITOR's parameters
    {7, 0, 0, 0, 0, BIT(22) | BIT(24) | BIT(25), 0},         // AMX: its state takes 8 KiB of every thread
    {0xa, 0, ~0u, ~0u, ~0u, ~0u, 0},                         // performance counters: they tell of neighbours
    {0xd, 0, BIT(17) | BIT(18), 0, 0, 0, 0},                 // AMX's state
    {0x80000001, 0, 0, 0, BIT(2) | BIT(23) | BIT(24), 0, 0}, // SVM; performance counters
    {0x8000000a, 0, ~0u, ~0u, ~0u, ~0u, 0},                  // SVM's features
    {0x8000001f, 0, ~0u, ~0u, ~0u, ~0u, 0},                  // memory encryption
    {0x80000022, 0, ~0u, ~0u, ~0u, ~0u, 0},                  // performance counters
};

static unsigned log2_up(unsigned n)
{
    unsigned bits = 0;
    while (1u << bits < n)
        bits++;
    return bits;
}

static void apply_rules(struct kvm_cpuid_entry2 *e)
{
    for (size_t i = 0; i < ARRAY_LEN(rules); i++) {
        const struct rule *r = &rules[i];
        if (r->function != e->function || r->index != e->index)
            continue;
        e->eax &= ~r->hide_eax;
        e->ebx &= ~r->hide_ebx;
        e->ecx &= ~r->hide_ecx;
        e->edx &= ~r->hide_edx;
        e->ecx |= r->show_ecx;
    }
}

// ---- topology: one package of n cores with one thread each ----

static void set_leaf_1(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n)
{
    const uint32_t ids = 1u << log2_up(n);
    e->ebx = (e->ebx & 0xffffu) | ids << 16 | index << 24;
    e->edx = (e->edx & ~BIT(28)) | (n > 1 ? BIT(28) : 0);
}

// Intel's caches: the last level belongs to all, the others to one core.
static void set_leaf_4(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n)
{
    (void)index;
    const uint32_t cores = (1u << log2_up(n)) - 1, level = e->eax >> 5 & 7;
    if (e->eax & 0x1f)
        e->eax = (e->eax & 0x3fffu) | cores << 26 | (level >= 3 ? cores << 14 : 0);
}

static void set_leaf_80000001(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n)
{
    (void)index;
    e->ecx = (e->ecx & ~BIT(1)) | (n > 1 && (e->ecx & BIT(22)) ? BIT(1) : 0); // AMD: cores, not threads
}

static void set_leaf_80000008(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n)
{
    (void)index;
    e->ecx = (n - 1) | log2_up(n) << 12;
}

// AMD's caches, as Intel's.
static void set_leaf_8000001d(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n)
{
    (void)index;
    const uint32_t level = e->eax >> 5 & 7;
    e->eax = (e->eax & ~(0xfffu << 14)) | (level >= 3 ? (n - 1) << 14 : 0);
}

static void set_leaf_8000001e(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n)
{
    (void)n;
    e->eax = index;
    e->ebx = index; // one thread per core
    e->ecx = 0;     // one node
}

static const struct {
    uint32_t function;
    void (*set)(struct kvm_cpuid_entry2 *e, unsigned index, unsigned n);
} topology[] = {
    {1, set_leaf_1},
    {4, set_leaf_4},
    {0x80000001, set_leaf_80000001},
    {0x80000008, set_leaf_80000008},
    {0x8000001d, set_leaf_8000001d},
    {0x8000001e, set_leaf_8000001e},
};

static void remove_leaf(struct linux_cpuid *table, uint32_t function)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < table->head.nent; i++)
        if (table->entries[i].function != function)
            table->entries[kept++] = table->entries[i];
    table->head.nent = kept;
}

// ---- XSAVE, leaf 0xd: sub-leaf 0 is what XCR0 may hold and the bytes that takes, 1 the same of XSAVES,
// from 2 on a component each with its size and offset (Intel SDM 1, 13.2) ----

#define XSAVE_LEAF 0xdu
#define XSAVE_MIN  576u // legacy area and header

static struct kvm_cpuid_entry2 *find_entry(struct linux_cpuid *table, uint32_t function, uint32_t index)
{
    for (uint32_t i = 0; i < table->head.nent; i++)
        if (table->entries[i].function == function && table->entries[i].index == index)
            return &table->entries[i];
    return NULL;
}

// Components that were taken away leave no sub-leaf and no bytes: kernels add them up and compare. EBX of
// both sub-leaves follows the guest's XCR0, KVM sees to that.
static void fit_xsave(struct linux_cpuid *table)
{
    struct kvm_cpuid_entry2 *all = find_entry(table, XSAVE_LEAF, 0);
    const struct kvm_cpuid_entry2 *more = find_entry(table, XSAVE_LEAF, 1);
    if (!all)
        return;
    const uint64_t user = (uint64_t)all->edx << 32 | all->eax;
    const uint64_t any = user | (more ? (uint64_t)more->edx << 32 | more->ecx : 0);
    uint32_t bytes = XSAVE_MIN;
    for (uint32_t i = 0; i < table->head.nent; i++) {
        struct kvm_cpuid_entry2 *e = &table->entries[i];
        if (e->function != XSAVE_LEAF || e->index < 2 || e->index > 63)
            continue;
        if (!(any >> e->index & 1))
            e->eax = e->ebx = e->ecx = e->edx = 0;
        if ((user >> e->index & 1) && e->ebx + e->eax > bytes)
            bytes = e->ebx + e->eax;
    }
    all->ebx = all->ecx = bytes;
}

static void add_entry(struct linux_cpuid *table, const struct kvm_cpuid_entry2 *e)
{
    if (table->head.nent < LINUX_CPUID_ENTRIES_MAX)
        table->entries[table->head.nent++] = *e;
}

// Extended topology, leaf 0xb: level 0 is the thread, level 1 the core. KVM has it empty, and 0x1f (with
// dies) too.
static void set_extended_topology(struct linux_cpuid *table, unsigned index, unsigned n)
{
    const struct kvm_cpuid_entry2 levels[] = {
        {.function = 0xb, .index = 0, .eax = 0, .ebx = 1, .ecx = 1 << 8, .edx = index},
        {.function = 0xb, .index = 1, .eax = log2_up(n), .ebx = n, .ecx = 2 << 8 | 1, .edx = index},
    };
    const bool has_leaf =
        table->head.nent > 0 && table->entries[0].function == 0 && table->entries[0].eax >= 0xb;
    remove_leaf(table, 0x1f);
    remove_leaf(table, 0xb);
    for (size_t i = 0; has_leaf && i < ARRAY_LEN(levels); i++) {
        struct kvm_cpuid_entry2 e = levels[i];
        e.flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
        add_entry(table, &e);
    }
}

void linux_cpuid_adjust(struct linux_cpuid *table, unsigned index, unsigned n)
{
    if (table->head.nent > LINUX_CPUID_ENTRIES_MAX)
        table->head.nent = LINUX_CPUID_ENTRIES_MAX;
    for (uint32_t i = 0; i < table->head.nent; i++) {
        struct kvm_cpuid_entry2 *e = &table->entries[i];
        apply_rules(e);
        for (size_t t = 0; t < ARRAY_LEN(topology); t++)
            if (topology[t].function == e->function)
                topology[t].set(e, index, n);
    }
    fit_xsave(table);
    set_extended_topology(table, index, n);
}

// All that the guest may use is on from the start, as some firmware has it. Kernels set the same; under an
// emulator that does not tell KVM of it (QEMU's of SVM), KVM would take it away again at each entry, and have
// the wrong sizes in leaf 0xd.
static int set_xcr0(const struct kvm_vcpu *vcpu, struct linux_cpuid *table, struct err *err)
{
    const struct kvm_cpuid_entry2 *all = find_entry(table, XSAVE_LEAF, 0);
    if (!all || all->eax == 0)
        return 0;
    const struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0].value = (uint64_t)all->edx << 32 | all->eax};
    if (ioctl(vcpu->fd, KVM_SET_XCRS, &xcrs) < 0)
        return err_errno(err, -errno, "KVM_SET_XCRS to 0x%llx", (unsigned long long)xcrs.xcrs[0].value);
    return 0;
}

int linux_cpuid_set(const struct kvm_vm *vm, struct err *err)
{
    _cleanup_free_ struct linux_cpuid *table = calloc(1, sizeof *table);
    if (!table)
        return err_errno(err, -ENOMEM, "the CPUID table");
    table->head.nent = LINUX_CPUID_ENTRIES_MAX;
    if (ioctl(vm->dev_fd, KVM_GET_SUPPORTED_CPUID, &table->head) < 0)
        return err_errno(err, -errno, "KVM_GET_SUPPORTED_CPUID");
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        linux_cpuid_adjust(table, i, vm->n_vcpus);
        if (ioctl(vm->vcpus[i].fd, KVM_SET_CPUID2, &table->head) < 0)
            return err_errno(err, -errno, "KVM_SET_CPUID2");
        int rc = set_xcr0(&vm->vcpus[i], table, err);
        if (rc < 0)
            return rc;
    }
    return 0;
}
