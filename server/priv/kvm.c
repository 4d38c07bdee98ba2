// Owns the descriptor of /dev/kvm. Called by main.c and requests.c; runs no guest.
#include "kvm.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "common/cleanup.h"

// A read-only register of KVM-PVM's guest interface; it reads as its own name. Other KVMs do not know it.
#define PVM_MSR       0x4b564d11u
#define PVM_SIGNATURE 0x4d5650u // "PVM"

static const char *const kind_names[] = {[KVM_NONE] = "none", [KVM_PVM] = "pvm", [KVM_HARDWARE] = "hw"};

const char *kvm_kind_name(enum kvm_kind kind)
{
    return kind_names[kind];
}

// Only a vCPU can be asked.
static int detect(int kvm, enum kvm_kind *ret)
{
    _cleanup_close_ int vm = ioctl(kvm, KVM_CREATE_VM, 0);
    if (vm < 0)
        return -errno;
    _cleanup_close_ int vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
    if (vcpu < 0)
        return -errno;
    _Alignas(struct kvm_msrs) char bytes[sizeof(struct kvm_msrs) + sizeof(struct kvm_msr_entry)] = {0};
    struct kvm_msrs *msrs = (void *)bytes;
    msrs->nmsrs = 1;
    msrs->entries[0].index = PVM_MSR;
    int n = ioctl(vcpu, KVM_GET_MSRS, msrs);
    *ret = n == 1 && msrs->entries[0].data == PVM_SIGNATURE ? KVM_PVM : KVM_HARDWARE;
    return 0;
}

static const char *remedy(int error)
{
    switch (error) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
        return "enable virtualization in the firmware (or nested virtualization of this machine), and load "
               "kvm_intel or "
               "kvm_amd";
    case EACCES:
    case EPERM:
        return "let envpriv run as root and, in a container, with this device";
    default:
        return "see the kernel's log";
    }
}

static void set_unusable(struct kvm *k, const char *path, const char *what, int error)
{
    snprintf(k->detail, sizeof k->detail, "%s %s: %s: %s", what, path, strerror(error), remedy(error));
}

void kvm_open(struct kvm *k, const char *path)
{
    *k = (struct kvm){.fd = -1, .kind = KVM_NONE};
    _cleanup_close_ int fd = open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0) {
        set_unusable(k, path, "open", errno);
        return;
    }
    int version = ioctl(fd, KVM_GET_API_VERSION, 0);
    if (version != KVM_API_VERSION) {
        set_unusable(k, path, "ask the version of", version < 0 ? errno : ENODEV);
        return;
    }
    enum kvm_kind kind = KVM_NONE;
    int rc = detect(fd, &kind);
    if (rc < 0) {
        set_unusable(k, path, "make a virtual machine with", -rc);
        return;
    }
    k->fd = take_fd(&fd);
    k->kind = kind;
    snprintf(k->detail, sizeof k->detail, "%s",
             kind == KVM_PVM ? "KVM-PVM: cells run, unmodified Linux kernels do not"
                             : "hardware virtualization");
}

void kvm_close(struct kvm *k)
{
    cleanup_close(&k->fd);
    *k = (struct kvm){.fd = -1, .kind = KVM_NONE};
}
