// Owns the texts about a guest's death. Called by vcpu; all it reads is the guest's and may be nonsense, so
// it is only ever printed as numbers.
#include "fault.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "boot/layout.h"
#include "boot/tables.h"

#define VECTOR_PAGE_FAULT 14u
#define NULL_PAGE_END     0x1000u

#define PF_PRESENT 0x1u
#define PF_WRITE   0x2u
#define PF_FETCH   0x10u

// What a fault stub of boot/tables.c leaves on the CPL0 stack, the error code taken out.
struct fault_frame {
    uint64_t rax, error, rip, cs, rflags, rsp;
};

static const char *who(const struct fault_context *c, uint64_t rip)
{
    if (rip >= BOOT_SUPER_GPA && rip < BOOT_SUPER_END)
        return "the CPL0 stubs";
    if (rip >= c->kernel->text_start && rip < c->kernel->text_end)
        return "the cell kernel";
    return "the program";
}

static void read_frame(const struct fault_context *c, uint64_t untrusted_rsp, bool has_error,
                       struct fault_frame *ret)
{
    *ret = (struct fault_frame){0};
    const size_t words = has_error ? 6 : 5;
    const void *at = guest_memory_at(c->mem, untrusted_rsp, words * 8);
    if (!at)
        return;
    uint64_t raw[6];
    memcpy(raw, at, words * 8);
    const uint64_t *frame = raw + (has_error ? 2 : 1);
    *ret = (struct fault_frame){.rax = raw[0],
                                .error = has_error ? raw[1] : 0,
                                .rip = frame[0],
                                .cs = frame[1],
                                .rflags = frame[2],
                                .rsp = frame[3]};
}

static void describe_page_fault(uint64_t address, uint64_t error, char *out, size_t cap)
{
    const char *verb = error & PF_FETCH ? "jump to" : error & PF_WRITE ? "write to" : "read of";
    const char *why = error & PF_PRESENT        ? "not allowed there"
                      : address < NULL_PAGE_END ? "a NULL pointer"
                                                : "no memory there";
    snprintf(out, cap, ": %s 0x%llx, %s", verb, (unsigned long long)address, why);
}

void fault_report_vector(const struct fault_context *c, uint32_t untrusted_vector, struct outcome *ret)
{
    const unsigned vector = untrusted_vector < BOOT_VECTORS ? untrusted_vector : (unsigned)BOOT_VECTORS;
    struct kvm_regs r = {0};
    struct kvm_sregs s = {0};
    ioctl(c->cell->vm.vcpus[0].fd, KVM_GET_REGS, &r);
    ioctl(c->cell->vm.vcpus[0].fd, KVM_GET_SREGS, &s);
    if (s.cs.selector & 3) { // no stub: with IOPL 3 the program can write to this port as well
        fault_report_stop(c, VMCTL_CAUSE_GUEST_FAULT, "write to the fault port", ret);
        return;
    }
    struct fault_frame f;
    read_frame(c, r.rsp, boot_vector_has_error(vector), &f);
    char detail[80] = "";
    if (vector == VECTOR_PAGE_FAULT)
        describe_page_fault(s.cr2, f.error, detail, sizeof detail);
    outcome_fail(ret, VMCTL_CAUSE_GUEST_FAULT,
                 "%s in %s%s (vector %u, error code 0x%llx, rip 0x%llx, rsp 0x%llx, rax 0x%llx, rbx 0x%llx, "
                 "rcx 0x%llx, "
                 "rdx 0x%llx, rsi 0x%llx, rdi 0x%llx, rbp 0x%llx)",
                 boot_vector_name(vector), who(c, f.rip), detail, vector, (unsigned long long)f.error,
                 (unsigned long long)f.rip, (unsigned long long)f.rsp, (unsigned long long)f.rax,
                 (unsigned long long)r.rbx, (unsigned long long)r.rcx, (unsigned long long)r.rdx,
                 (unsigned long long)r.rsi, (unsigned long long)r.rdi, (unsigned long long)r.rbp);
}

void fault_report_access(const struct fault_context *c, uint64_t gpa, bool is_write, struct outcome *ret)
{
    char text[80];
    snprintf(text, sizeof text, "%s 0x%llx, where neither memory nor a device is",
             is_write ? "write to" : "read of", (unsigned long long)gpa);
    fault_report_stop(c, VMCTL_CAUSE_GUEST_FAULT, text, ret);
}

void fault_report_shutdown(const struct fault_context *c, struct outcome *ret)
{
    struct kvm_sregs s = {0};
    ioctl(c->cell->vm.vcpus[0].fd, KVM_GET_SREGS, &s);
    // On AMD the registers are gone: KVM has reset the vCPU.
    if (s.cs.selector != BOOT_SEL_USER_CS && s.cs.selector != BOOT_SEL_KERNEL_CS)
        outcome_fail(ret, VMCTL_CAUSE_TRIPLE_FAULT, "triple fault (this CPU keeps no registers of it)");
    else
        fault_report_stop(c, VMCTL_CAUSE_TRIPLE_FAULT, "triple fault", ret);
}

void fault_report_stop(const struct fault_context *c, enum vmctl_cause cause, const char *text,
                       struct outcome *ret)
{
    struct kvm_regs r = {0};
    struct kvm_sregs s = {0};
    ioctl(c->cell->vm.vcpus[0].fd, KVM_GET_REGS, &r);
    ioctl(c->cell->vm.vcpus[0].fd, KVM_GET_SREGS, &s);
    outcome_fail(
        ret, cause,
        "%s, in %s (rip 0x%llx, cs 0x%x, rsp 0x%llx, rflags 0x%llx, rax 0x%llx, rbx 0x%llx, rcx 0x%llx, rdx "
        "0x%llx, cr2 0x%llx)",
        text, who(c, r.rip), (unsigned long long)r.rip, s.cs.selector, (unsigned long long)r.rsp,
        (unsigned long long)r.rflags, (unsigned long long)r.rax, (unsigned long long)r.rbx,
        (unsigned long long)r.rcx, (unsigned long long)r.rdx, (unsigned long long)s.cr2);
}
