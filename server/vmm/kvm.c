// Owns the KVM descriptors of one VM and the order in which KVM wants things done. Called by machine; vcpu
// runs what is made here.
#include "kvm.h"

#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "boot/layout.h"
#include "common/checked.h"
#include "guest_cpuid.h"

#define TSS_ADDR                                                                                             \
    0xfffbd000ul // three pages that Intel CPUs without unrestricted guest mode need, outside of memory

#define MSR_STAR         0xc0000081u
#define MSR_LSTAR        0xc0000082u
#define MSR_SYSCALL_MASK 0xc0000084u
#define MSR_PVM          0x4b564d11u // reads as MSR_PVM_MAGIC on KVM-PVM, is unknown elsewhere
#define MSR_PVM_MAGIC    0x4d5650u

#define CR0_START    0x80050033u // PG AM WP NE ET MP PE
#define CR4_START    0x6a0u      // PAE PGE OSFXSR OSXMMEXCPT
#define CR4_FSGSBASE (1u << 16)
#define CR4_OSXSAVE  (1u << 18)
#define EFER_START   0xd01u // NXE LMA LME SCE
// TF, DF, NT and AC are the program's own. Not IF: on KVM-PVM interrupts would be lost for good, and there
// are none.
#define SYSCALL_MASK 0x44500u

static const struct {
    int cap;
    int at_least;
    const char *name;
} required[] = {
    {KVM_CAP_USER_MEMORY, 1, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_SET_TSS_ADDR, 1, "KVM_CAP_SET_TSS_ADDR"},
    {KVM_CAP_EXT_CPUID, 1, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_IOEVENTFD, 1, "KVM_CAP_IOEVENTFD"},
    {KVM_CAP_IMMEDIATE_EXIT, 1, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_SYNC_REGS, KVM_SYNC_X86_VALID_FIELDS, "KVM_CAP_SYNC_REGS"},
};

static int check_host(int dev_fd, struct err *err)
{
    int version = ioctl(dev_fd, KVM_GET_API_VERSION, 0);
    if (version < 0)
        return err_errno(err, -errno, "the descriptor passed as /dev/kvm is not KVM");
    if (version != KVM_API_VERSION)
        return err_set(err, -ENOTSUP, "KVM speaks API version %d, envvm %d", version, KVM_API_VERSION);
    for (size_t i = 0; i < ARRAY_LEN(required); i++) {
        int have = ioctl(dev_fd, KVM_CHECK_EXTENSION, required[i].cap);
        if (have < 0 || (have & required[i].at_least) != required[i].at_least)
            return err_set(err, -ENOTSUP, "KVM of this host lacks %s: a newer Linux kernel has it",
                           required[i].name);
    }
    return 0;
}

static int make_vm(struct kvm_vm *vm, const struct guest_memory *mem, struct err *err)
{
    vm->vm_fd = ioctl(vm->dev_fd, KVM_CREATE_VM, 0);
    if (vm->vm_fd < 0)
        return err_errno(err, -errno, "create a virtual machine");
    if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDR) < 0)
        return err_errno(err, -errno, "KVM_SET_TSS_ADDR");
    struct kvm_userspace_memory_region region = {.memory_size = mem->size_bytes,
                                                 .userspace_addr = (uint64_t)(uintptr_t)mem->hva};
    if (ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return err_errno(err, -errno, "give the virtual machine its memory");
    return 0;
}

static int make_vcpu(struct kvm_vm *vm, struct err *err)
{
    vm->vcpu_fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, 0);
    if (vm->vcpu_fd < 0)
        return err_errno(err, -errno, "create a vCPU");
    int bytes = ioctl(vm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(struct kvm_run))
        return err_set(err, -ENOTSUP, "KVM_GET_VCPU_MMAP_SIZE answers %d", bytes);
    void *run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
    if (run == MAP_FAILED)
        return err_errno(err, -errno, "map the vCPU's run page");
    vm->run = run;
    vm->run_bytes = (size_t)bytes;
    return 0;
}

static enum cell_flavour find_flavour(const struct kvm_vm *vm)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1, .entry.index = MSR_PVM};
    bool is_pvm = ioctl(vm->vcpu_fd, KVM_GET_MSRS, &msr) == 1 && msr.entry.data == MSR_PVM_MAGIC;
    return is_pvm ? CELL_FLAVOUR_PVM : CELL_FLAVOUR_HARDWARE;
}

// The guest reads the host's counter, so that the clock page can speak of it. KVM-PVM has no offset to begin
// with.
static int set_tsc(struct kvm_vm *vm, struct err *err)
{
    int khz = ioctl(vm->vcpu_fd, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return err_set(err, -ENOTSUP,
                       "KVM does not know the frequency of the TSC: the host's TSC is not stable");
    vm->tsc_khz = (uint32_t)khz;
    if (vm->flavour == CELL_FLAVOUR_PVM)
        return 0;
    uint64_t offset = 0;
    struct kvm_device_attr attr = {
        .group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uint64_t)(uintptr_t)&offset};
    if (ioctl(vm->vcpu_fd, KVM_SET_DEVICE_ATTR, &attr) < 0)
        return err_errno(err, -errno, "set the TSC offset (Linux 5.16 or later has it)");
    return 0;
}

int kvm_vm_init(struct kvm_vm *vm, int dev_fd, const struct guest_memory *mem, struct err *err)
{
    *vm = (struct kvm_vm){.dev_fd = dev_fd, .vm_fd = -1, .vcpu_fd = -1};
    int rc = check_host(dev_fd, err);
    if (rc == 0)
        rc = make_vm(vm, mem, err);
    if (rc == 0)
        rc = make_vcpu(vm, err);
    if (rc < 0)
        return rc;
    vm->flavour = find_flavour(vm);
    rc = guest_cpuid_set(vm, err);
    return rc < 0 ? rc : set_tsc(vm, err);
}

void kvm_vm_done(struct kvm_vm *vm)
{
    if (vm->run)
        munmap(vm->run, vm->run_bytes);
    if (vm->vcpu_fd >= 0)
        close(vm->vcpu_fd);
    if (vm->vm_fd >= 0)
        close(vm->vm_fd);
    *vm = (struct kvm_vm){.dev_fd = vm->dev_fd, .vm_fd = -1, .vcpu_fd = -1};
}

static int set_sregs(const struct kvm_vm *vm, struct err *err)
{
    struct kvm_sregs s;
    if (ioctl(vm->vcpu_fd, KVM_GET_SREGS, &s) < 0)
        return err_errno(err, -errno, "KVM_GET_SREGS");
    s.cr0 = CR0_START;
    s.cr3 = BOOT_PML4_GPA;
    s.cr4 = CR4_START | (vm->has_fsgsbase ? CR4_FSGSBASE : 0) | (vm->has_xsave ? CR4_OSXSAVE : 0);
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
    if (ioctl(vm->vcpu_fd, KVM_SET_SREGS, &s) < 0)
        return err_errno(err, -errno, "KVM_SET_SREGS");
    return 0;
}

static int set_msrs(const struct kvm_vm *vm, uint64_t lstar, struct err *err)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entries[3];
    } msrs = {.head.nmsrs = 3,
              .entries = {{.index = MSR_STAR, .data = BOOT_STAR},
                          {.index = MSR_LSTAR, .data = lstar},
                          {.index = MSR_SYSCALL_MASK, .data = SYSCALL_MASK}}};
    int n = ioctl(vm->vcpu_fd, KVM_SET_MSRS, &msrs);
    if (n != 3)
        return err_errno(err, n < 0 ? -errno : -EINVAL, "set the system-call registers");
    return 0;
}

int kvm_vm_set_start(const struct kvm_vm *vm, const struct kvm_start *start, struct err *err)
{
    int rc = set_sregs(vm, err);
    if (rc == 0)
        rc = set_msrs(vm, start->lstar, err);
    if (rc < 0)
        return rc;
    if (vm->has_xsave) {
        struct kvm_xcrs xcrs = {.nr_xcrs = 1, .xcrs[0].value = vm->xcr0};
        if (ioctl(vm->vcpu_fd, KVM_SET_XCRS, &xcrs) < 0)
            return err_errno(err, -errno, "KVM_SET_XCRS to 0x%llx", (unsigned long long)vm->xcr0);
    }
    const struct kvm_regs regs = {.rip = start->rip, .rdi = start->rdi, .rflags = KVM_CELL_RFLAGS};
    if (ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0)
        return err_errno(err, -errno, "KVM_SET_REGS");
    return 0;
}

int kvm_vm_add_doorbell(const struct kvm_vm *vm, uint64_t gpa, uint32_t value, int eventfd, struct err *err)
{
    const struct kvm_ioeventfd doorbell = {
        .datamatch = value, .addr = gpa, .len = 4, .fd = eventfd, .flags = KVM_IOEVENTFD_FLAG_DATAMATCH};
    if (ioctl(vm->vm_fd, KVM_IOEVENTFD, &doorbell) < 0)
        return err_errno(err, -errno, "register a doorbell");
    return 0;
}
