// Owns the KVM set-up of a Linux guest. Called by machine_linux.
#include "kvm_linux.h"

#include <errno.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "boot/linux_layout.h"
#include "common/checked.h"
#include "linux_cpuid.h"

#define MSR_MISC_ENABLE    0x1a0u
#define MISC_FAST_STRING   0x1u
#define MSR_MTRR_DEF_TYPE  0x2ffu
#define MTRR_ON_WRITE_BACK 0x806u

#define CR0_PE   0x1u
#define CR0_ET   0x10u
#define CR0_PG   0x80000000u
#define CR4_PAE  0x20u
#define EFER_LMA 0x500u // and LME

static const struct {
    int cap;
    const char *name;
} required[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_IRQ_ROUTING, "KVM_CAP_IRQ_ROUTING"},
    {KVM_CAP_IRQFD, "KVM_CAP_IRQFD"},
    {KVM_CAP_TSC_DEADLINE_TIMER, "KVM_CAP_TSC_DEADLINE_TIMER"},
};

static int check_host(const struct kvm_vm *vm, unsigned n_vcpus, struct err *err)
{
    for (size_t i = 0; i < ARRAY_LEN(required); i++)
        if (ioctl(vm->dev_fd, KVM_CHECK_EXTENSION, required[i].cap) <= 0)
            return err_set(err, -ENOTSUP, "KVM of this host lacks %s: a newer Linux kernel has it",
                           required[i].name);
    const int max = ioctl(vm->dev_fd, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (max > 0 && n_vcpus > (unsigned)max)
        return err_set(err, -ENOTSUP, "%u vCPUs, and KVM of this host can have %d: give it fewer", n_vcpus,
                       max);
    return 0;
}

// Every GSI is an input of the I/O APIC and nothing else. KVM's own table has the first 16 at the PIC as
// well, which a hardware-reduced ACPI guest never masks.
static int route_interrupts(const struct kvm_vm *vm, struct err *err)
{
    struct {
        struct kvm_irq_routing head;
        struct kvm_irq_routing_entry entries[LINUX_GSI_COUNT];
    } table = {.head.nr = LINUX_GSI_COUNT};
    for (uint32_t i = 0; i < LINUX_GSI_COUNT; i++) {
        table.entries[i].gsi = i;
        table.entries[i].type = KVM_IRQ_ROUTING_IRQCHIP;
        table.entries[i].u.irqchip.irqchip = KVM_IRQCHIP_IOAPIC;
        table.entries[i].u.irqchip.pin = i;
    }
    if (ioctl(vm->vm_fd, KVM_SET_GSI_ROUTING, &table) < 0)
        return err_errno(err, -errno, "route interrupts");
    return 0;
}

static int set_msrs(const struct kvm_vcpu *vcpu, struct err *err)
{
    // As firmware leaves them.
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[2];
    } msrs = {.head.nmsrs = 2,
              .entries = {{.index = MSR_MISC_ENABLE, .data = MISC_FAST_STRING},
                          {.index = MSR_MTRR_DEF_TYPE, .data = MTRR_ON_WRITE_BACK}}};
    int n = ioctl(vcpu->fd, KVM_SET_MSRS, &msrs);
    if (n != 2)
        return err_errno(err, n < 0 ? -errno : -EINVAL, "set a vCPU's model-specific registers");
    return 0;
}

static int refuse_pvm(struct err *err)
{
    return err_set(
        err, -ENOTSUP,
        "this host's KVM has no hardware virtualization (KVM-PVM), and a stock Linux kernel cannot "
        "run without it: use a host with VT-x or AMD-V, or an environment of kind cell");
}

int kvm_linux_init(struct kvm_vm *vm, int dev_fd, const struct guest_memory *mem, unsigned n_vcpus,
                   struct err *err)
{
    // Memory before the interrupt controllers: the other way round some kernels need milliseconds more.
    int rc = kvm_vm_init(vm, dev_fd, mem, err);
    if (rc == 0)
        rc = check_host(vm, n_vcpus, err);
    if (rc == 0 && ioctl(vm->vm_fd, KVM_CREATE_IRQCHIP, 0) < 0)
        rc = err_errno(err, -errno, "make the interrupt controllers");
    if (rc == 0)
        rc = kvm_vm_add_vcpu(vm, err);
    if (rc == 0 && kvm_vm_is_pvm(vm))
        rc = refuse_pvm(err);
    while (rc == 0 && vm->n_vcpus < n_vcpus)
        rc = kvm_vm_add_vcpu(vm, err);
    if (rc == 0)
        rc = route_interrupts(vm, err);
    if (rc == 0)
        rc = linux_cpuid_set(vm, err);
    for (unsigned i = 0; rc == 0 && i < n_vcpus; i++)
        rc = set_msrs(&vm->vcpus[i], err);
    return rc;
}

int kvm_linux_add_irq(const struct kvm_vm *vm, uint32_t gsi, struct err *err)
{
    int fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (fd < 0)
        return err_errno(err, -errno, "make an interrupt");
    const struct kvm_irqfd irq = {.fd = (uint32_t)fd, .gsi = gsi};
    if (ioctl(vm->vm_fd, KVM_IRQFD, &irq) < 0) {
        int rc = err_errno(err, -errno, "register an interrupt");
        close(fd);
        return rc;
    }
    return fd;
}

// Up and down: an edge. A write to an irqfd would be one call instead of two, but what belongs to an I/O APIC
// KVM leaves to a worker thread then, which has to be scheduled before the guest hears of anything.
void kvm_linux_interrupt(const struct kvm_vm *vm, uint32_t gsi)
{
    // Cannot fail for an input that is routed, as all are.
    ioctl(vm->vm_fd, KVM_IRQ_LINE, &(struct kvm_irq_level){.irq = gsi, .level = 1});
    ioctl(vm->vm_fd, KVM_IRQ_LINE, &(struct kvm_irq_level){.irq = gsi, .level = 0});
}

static void enter_64(struct kvm_sregs *s)
{
    const struct kvm_segment code = {
        .limit = 0xffffffffu, .selector = LINUX_SEL_CS, .present = 1, .type = 11, .s = 1, .l = 1, .g = 1};
    s->cs = code;
    s->cr3 = LINUX_PML4_GPA;
    s->cr4 = CR4_PAE;
    s->cr0 = CR0_PG | CR0_ET | CR0_PE;
    s->efer = EFER_LMA;
}

static void enter_pvh(struct kvm_sregs *s)
{
    const struct kvm_segment code = {.limit = 0xffffffffu,
                                     .selector = LINUX_SEL_PVH_CS,
                                     .present = 1,
                                     .type = 11,
                                     .s = 1,
                                     .db = 1,
                                     .g = 1};
    s->cs = code;
    s->cr4 = 0;
    s->cr0 = CR0_ET | CR0_PE;
    s->efer = 0;
}

static int set_sregs(const struct kvm_vcpu *vcpu, enum linux_entry entry, struct err *err)
{
    struct kvm_sregs s;
    if (ioctl(vcpu->fd, KVM_GET_SREGS, &s) < 0)
        return err_errno(err, -errno, "KVM_GET_SREGS");
    const struct kvm_segment data = {
        .limit = 0xffffffffu, .selector = LINUX_SEL_DS, .present = 1, .type = 3, .s = 1, .db = 1, .g = 1};
    s.ds = s.es = s.fs = s.gs = s.ss = data;
    s.gdt = (struct kvm_dtable){.base = LINUX_GDT_GPA, .limit = LINUX_GDT_BYTES - 1};
    s.idt = (struct kvm_dtable){0};
    s.tr = (struct kvm_segment){.limit = 0x67, .selector = LINUX_SEL_TSS, .present = 1, .type = 11};
    if (entry == LINUX_ENTRY_64)
        enter_64(&s);
    else
        enter_pvh(&s);
    if (ioctl(vcpu->fd, KVM_SET_SREGS, &s) < 0)
        return err_errno(err, -errno, "KVM_SET_SREGS");
    return 0;
}

int kvm_linux_set_start(const struct kvm_vm *vm, const struct linux_start *start, struct err *err)
{
    const struct kvm_vcpu *vcpu = &vm->vcpus[0];
    int rc = set_sregs(vcpu, start->entry, err);
    if (rc < 0)
        return rc;
    // Interrupts stay off: the kernel switches them on.
    struct kvm_regs regs = {.rip = start->rip, .rflags = 2};
    if (start->entry == LINUX_ENTRY_64) {
        regs.rsi = LINUX_PARAMS_GPA;
        regs.rsp = regs.rbp = LINUX_STACK_GPA;
    } else {
        regs.rbx = LINUX_PVH_GPA;
    }
    if (ioctl(vcpu->fd, KVM_SET_REGS, &regs) < 0)
        return err_errno(err, -errno, "KVM_SET_REGS");
    return 0;
}
