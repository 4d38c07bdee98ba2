// Owns the registers of a cell's vCPU before its first instruction. Called by machine_cell.
#include "kvm_cell.h"

#include <errno.h>
#include <sys/ioctl.h>

#include "boot/layout.h"
#include "guest_cpuid.h"

#define MSR_STAR         0xc0000081u
#define MSR_LSTAR        0xc0000082u
#define MSR_SYSCALL_MASK 0xc0000084u

#define CR0_START    0x80050033u // PG AM WP NE ET MP PE
#define CR4_START    0x6a0u      // PAE PGE OSFXSR OSXMMEXCPT
#define CR4_FSGSBASE (1u << 16)
#define CR4_OSXSAVE  (1u << 18)
#define EFER_START   0xd01u // NXE LMA LME SCE
// TF, DF, NT and AC are the program's own. Not IF: on KVM-PVM interrupts would be lost for good, and there
// are none.
#define SYSCALL_MASK 0x44500u

// The guest reads the host's counter, so that the clock page can speak of it. KVM-PVM has no offset to begin
// with.
static int set_tsc(struct kvm_cell *cell, struct err *err)
{
    int khz = ioctl(cell->vm.vcpus[0].fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return err_set(err, -ENOTSUP,
                       "KVM does not know the frequency of the TSC: the host's TSC is not stable");
    cell->tsc_khz = (uint32_t)khz;
    if (cell->flavour == CELL_FLAVOUR_PVM)
        return 0;
    uint64_t offset = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uint64_t)(uintptr_t)&offset};
    if (ioctl(cell->vm.vcpus[0].fd, KVM_SET_DEVICE_ATTR, &attr) < 0)
        return err_errno(err, -errno, "set the TSC offset (Linux 5.16 or later has it)");
    return 0;
}

int kvm_cell_init(struct kvm_cell *cell, int dev_fd, const struct guest_memory *mem, struct err *err)
{
    *cell = (struct kvm_cell){0};
    int rc = kvm_vm_init(&cell->vm, dev_fd, mem, err);
    if (rc == 0)
        rc = kvm_vm_add_vcpu(&cell->vm, err);
    if (rc < 0)
        return rc;
    cell->flavour = kvm_vm_is_pvm(&cell->vm) ? CELL_FLAVOUR_PVM : CELL_FLAVOUR_HARDWARE;
    rc = guest_cpuid_set(cell, err);
    return rc < 0 ? rc : set_tsc(cell, err);
}

static int set_sregs(const struct kvm_cell *cell, struct err *err)
{
    struct kvm_sregs s;
    if (ioctl(cell->vm.vcpus[0].fd, KVM_GET_SREGS, &s) < 0)
        return err_errno(err, -errno, "KVM_GET_SREGS");
    s.cr0 = CR0_START;
    s.cr3 = BOOT_PML4_GPA;
    s.cr4 = CR4_START | (cell->has_fsgsbase ? CR4_FSGSBASE : 0) | (cell->has_xsave ? CR4_OSXSAVE : 0);
    s.efer = EFER_START;
    s.gdt = (struct kvm_dtable){.base = BOOT_GDT_GPA, .limit = BOOT_GDT_BYTES - 1};
    s.idt = (struct kvm_dtable){.base = BOOT_IDT_GPA, .limit = BOOT_VECTORS * 16 - 1};
    const struct kvm_segment code = {.limit = 0xffffffffu,
                                     .selector = BOOT_SEL_USER_CS,
                                     .present = 1,
                                     .type = 11,
                                     .dpl = 3,
                                     .s = 1,
                                     .l = 1,
                                     .g = 1};
    const struct kvm_segment data = {.limit = 0xffffffffu,
                                     .selector = BOOT_SEL_USER_DS,
                                     .present = 1,
                                     .type = 3,
                                     .dpl = 3,
                                     .s = 1,
                                     .db = 1,
                                     .g = 1};
    s.cs = code;
    s.ds = s.es = s.fs = s.gs = s.ss = data;
    s.tr = (struct kvm_segment){.base = BOOT_TSS_GPA,
                                .limit = BOOT_TSS_BYTES - 1,
                                .selector = BOOT_SEL_TSS,
                                .present = 1,
                                .type = 11};
    s.ldt = (struct kvm_segment){.unusable = 1, .type = 2};
    if (ioctl(cell->vm.vcpus[0].fd, KVM_SET_SREGS, &s) < 0)
        return err_errno(err, -errno, "KVM_SET_SREGS");
    return 0;
}

static int set_msrs(const struct kvm_cell *cell, uint64_t lstar, struct err *err)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[3];
    } msrs = {.head.nmsrs = 3,
              .entries = {{.index = MSR_STAR, .data = BOOT_STAR},
                          {.index = MSR_LSTAR, .data = lstar},
                          {.index = MSR_SYSCALL_MASK, .data = SYSCALL_MASK}}};
    int n = ioctl(cell->vm.vcpus[0].fd, KVM_SET_MSRS, &msrs);
    if (n != 3)
        return err_errno(err, n < 0 ? -errno : -EINVAL, "set the system-call registers");
    return 0;
}

int kvm_cell_set_start(const struct kvm_cell *cell, const struct kvm_start *start, struct err *err)
{
    int rc = set_sregs(cell, err);
    if (rc == 0)
        rc = set_msrs(cell, start->lstar, err);
    if (rc < 0)
        return rc;
    if (cell->has_xsave) {
        struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0].value = cell->xcr0};
        if (ioctl(cell->vm.vcpus[0].fd, KVM_SET_XCRS, &xcrs) < 0)
            return err_errno(err, -errno, "KVM_SET_XCRS to 0x%llx", (unsigned long long)cell->xcr0);
    }
    const struct kvm_regs regs = {.rip = start->rip, .rdi = start->rdi, .rflags = KVM_CELL_RFLAGS};
    if (ioctl(cell->vm.vcpus[0].fd, KVM_SET_REGS, &regs) < 0)
        return err_errno(err, -errno, "KVM_SET_REGS");
    return 0;
}
