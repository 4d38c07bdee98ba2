// A thread that runs one vCPU: what the vCPUs of cells and of Linux guests have in common. Embedded in
// theirs; the I/O thread starts it, kicks it out of the guest, holds it and stops it.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "kvm.h"

#define VCPU_EXITS_MAX 40u

// True: the guest goes on. False: the thread ends.
typedef bool vcpu_exit(void *arg);

// All are called on the vCPU's thread, with the thread's arg.
struct vcpu_ops {
    uint64_t valid_regs;                // KVM_SYNC_X86_*: what every exit leaves in the run page
    vcpu_exit *exits[VCPU_EXITS_MAX];   // by KVM's exit reason
    vcpu_exit *unexpected;              // any other
    void (*interrupted)(void *arg);     // a kick was served. May be NULL
    bool (*failed)(void *arg, int err); // KVM_RUN failed with this errno
    void (*held)(void *arg);  // stands still, until released or stopped. May be NULL. Also by hold()
    void (*ended)(void *arg); // the last thing of the thread
};

struct vcpu_thread {
    const struct vcpu_ops *ops;
    void *arg;
    const struct kvm_vcpu *vcpu;
    pthread_t thread;
    bool started;
    pid_t pid;
    atomic_int tid; // 0: not running yet, or no more
    atomic_bool stopping;
    atomic_uint hold; // futex: 1 = the guest is to stand still
    atomic_bool is_held;
};

// Prepares; nothing runs yet. ops, arg and vcpu outlive the thread. I/O thread, which never gets the kick
// signal from then on. 0 or -errno.
int vcpu_thread_init(struct vcpu_thread *t, const struct vcpu_ops *ops, void *arg,
                     const struct kvm_vcpu *vcpu, struct err *err);
// 0 or -errno.
int vcpu_thread_start(struct vcpu_thread *t, struct err *err);
// Takes the vCPU out of the guest, if it is there, for a moment. Any thread.
void vcpu_thread_kick(const struct vcpu_thread *t);
// The guest stands still, soon: ops->held tells. I/O thread.
void vcpu_thread_hold(struct vcpu_thread *t);
void vcpu_thread_release(struct vcpu_thread *t);
bool vcpu_thread_stopping(const struct vcpu_thread *t);
// CPU time used so far, in ns.
uint64_t vcpu_thread_cpu_ns(const struct vcpu_thread *t);
// Ends the thread, wherever the guest is, and waits for it. Fine for one that never ran.
void vcpu_thread_stop(struct vcpu_thread *t);
