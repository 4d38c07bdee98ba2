// A Linux guest's part of its machine: interrupts, disks, serial port, several vCPUs. Embedded in struct
// machine.
#pragma once

#include "kvm_linux.h"
#include "linux_bus.h"
#include "linux_vcpu.h"
#include "panic_watch.h"
#include "proto/vmctl.h"

struct block_backend;
struct virtio_balloon;
struct virtio_blk;

struct machine_linux {
    struct kvm_vm vm;
    struct linux_bus bus;
    struct linux_vcpus vcpus;
    struct panic_watch panic;
    struct block_backend *backends[VMCTL_DISKS_MAX];
    struct virtio_blk *disks[VMCTL_DISKS_MAX];
    uint64_t disk_said_ns[VMCTL_DISKS_MAX]; // when its log was told last of a request that failed; 0: never
    struct virtio_balloon *balloon;
    int serial_irq_fd; // 0: none yet
    struct loop_source *look_timer;
};
