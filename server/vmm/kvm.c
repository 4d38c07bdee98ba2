// Owns the KVM descriptors of one VM and the order in which KVM wants things done. Called by kvm_cell and
// kvm_linux; vCPU threads run what is made here.
#include "kvm.h"

#include <errno.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "common/checked.h"

#define TSS_ADDR                                                                                             \
    0xfffbd000ul // three pages that Intel CPUs without unrestricted guest mode need, outside of memory

#define MSR_PVM       0x4b564d11u // reads as MSR_PVM_MAGIC on KVM-PVM, is unknown elsewhere
#define MSR_PVM_MAGIC 0x4d5650u

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

static int map_region(const struct kvm_vm *vm, uint32_t slot, uint64_t gpa, const uint8_t *hva,
                      uint64_t bytes, struct err *err)
{
    struct kvm_userspace_memory_region region = {.slot = slot,
                                                 .guest_phys_addr = gpa,
                                                 .memory_size = bytes,
                                                 .userspace_addr = (uint64_t)(uintptr_t)hva};
    if (bytes > 0 && ioctl(vm->vm_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0)
        return err_errno(err, -errno, "give the virtual machine its memory");
    return 0;
}

int kvm_vm_init(struct kvm_vm *vm, int dev_fd, const struct guest_memory *mem, struct err *err)
{
    *vm = kvm_vm_none();
    vm->dev_fd = dev_fd;
    int rc = check_host(dev_fd, err);
    if (rc < 0)
        return rc;
    vm->vm_fd = ioctl(vm->dev_fd, KVM_CREATE_VM, 0);
    if (vm->vm_fd < 0)
        return err_errno(err, -errno, "create a virtual machine");
    if (ioctl(vm->vm_fd, KVM_SET_TSS_ADDR, TSS_ADDR) < 0)
        return err_errno(err, -errno, "KVM_SET_TSS_ADDR");
    rc = map_region(vm, 0, 0, mem->hva, mem->size_bytes, err);
    return rc < 0 ? rc : map_region(vm, 1, GUEST_MEMORY_HIGH_GPA, mem->high_hva, mem->high_bytes, err);
}

int kvm_vm_add_vcpu(struct kvm_vm *vm, struct err *err)
{
    struct kvm_vcpu *vcpu = &vm->vcpus[vm->n_vcpus];
    vcpu->fd = ioctl(vm->vm_fd, KVM_CREATE_VCPU, vm->n_vcpus);
    if (vcpu->fd < 0)
        return err_errno(err, -errno, "create a vCPU");
    vm->n_vcpus++;
    int bytes = ioctl(vm->dev_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (bytes < (int)sizeof(struct kvm_run))
        return err_set(err, -ENOTSUP, "KVM_GET_VCPU_MMAP_SIZE answers %d", bytes);
    void *run = mmap(NULL, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu->fd, 0);
    if (run == MAP_FAILED)
        return err_errno(err, -errno, "map the vCPU's run page");
    vcpu->run = run;
    vcpu->run_bytes = (size_t)bytes;
    return 0;
}

bool kvm_vm_is_pvm(const struct kvm_vm *vm)
{
    struct {
        struct kvm_msrs head;
        struct kvm_msr_entry entry;
    } msr = {.head.nmsrs = 1, .entry.index = MSR_PVM};
    return ioctl(vm->vcpus[0].fd, KVM_GET_MSRS, &msr) == 1 && msr.entry.data == MSR_PVM_MAGIC;
}

struct kvm_vm kvm_vm_none(void)
{
    return (struct kvm_vm){.dev_fd = -1, .vm_fd = -1};
}

void kvm_vm_done(struct kvm_vm *vm)
{
    for (unsigned i = 0; i < vm->n_vcpus; i++) {
        if (vm->vcpus[i].run)
            munmap(vm->vcpus[i].run, vm->vcpus[i].run_bytes);
        close(vm->vcpus[i].fd);
    }
    if (vm->vm_fd >= 0)
        close(vm->vm_fd);
    *vm = kvm_vm_none();
}

int kvm_vm_add_doorbell(const struct kvm_vm *vm, uint64_t gpa, uint32_t value, int eventfd, struct err *err)
{
    const struct kvm_ioeventfd doorbell = {
        .datamatch = value, .addr = gpa, .len = 4, .fd = eventfd, .flags = KVM_IOEVENTFD_FLAG_DATAMATCH};
    if (ioctl(vm->vm_fd, KVM_IOEVENTFD, &doorbell) < 0)
        return err_errno(err, -errno, "register a doorbell");
    return 0;
}
