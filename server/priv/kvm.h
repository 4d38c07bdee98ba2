// /dev/kvm: opened once, handed to every envvm, and told apart: KVM-PVM (no hardware virtualization behind
// it; the guest's ring 0 is emulated) or hardware. Called by main.c and requests.c.
#pragma once

#include "proto/privctl.h"

enum kvm_kind { KVM_NONE, KVM_PVM, KVM_HARDWARE };

struct kvm {
    int fd; // -1 when there is none
    enum kvm_kind kind;
    char detail[PRIVCTL_TEXT_MAX + 1]; // what it is, or why there is none and the remedy
};

// Never fails: without KVM, kind is KVM_NONE.
void kvm_open(struct kvm *k, const char *path);
void kvm_close(struct kvm *k);
// "pvm", "hw", "none"
const char *kvm_kind_name(enum kvm_kind kind);
