// What tells a cell from a Linux guest, to the machine that both are; and what they may ask of it.
// Implemented by machine_cell.c and machine_linux.c, called by machine.c. I/O thread, unless said otherwise.
#pragma once

#include "machine.h"

struct machine_kind {
    enum guest_memory_pages pages;
    bool offloads; // its NIC's driver knows checksums and segmentation
    // Makes the VM on m->mem.
    int (*make_vm)(struct machine *m, struct err *err);
    // Plugs the devices in, fills memory and sets registers.
    int (*load)(struct machine *m, enum vmctl_cause *ret_cause, struct err *err);
    int (*start)(struct machine *m, struct err *err);
    // A device has something for the guest. Any thread, the device's lock held.
    void (*raise)(struct machine_slot *slot);
    // A vCPU thread wrote wake_fd. The outcome when the guest has ended, or NULL.
    const struct outcome *(*on_wake)(struct machine *m);
    // Console output passes by on its way to the log. May be NULL.
    void (*on_output)(struct machine *m, const uint8_t *untrusted_data, size_t len);
    // The guest ended: the last of what it wrote.
    void (*drain)(struct machine *m);
    // The guest stands still until it is released: wake_fd is written, and is_held() says so then.
    void (*hold)(struct machine *m);
    void (*release)(struct machine *m);
    bool (*is_held)(struct machine *m);
    uint64_t (*cpu_ns)(struct machine *m);                           // of the vCPUs
    void (*add_stats)(struct machine *m, struct vmctl_stats *stats); // of its own devices. May be NULL
    void (*balloon)(struct machine *m, uint32_t target_mib);         // may be NULL
    void (*stop)(struct machine *m);                                 // ends the vCPU threads
    void (*done)(struct machine *m); // closes what make_vm and load made; also when they failed or never ran
};

extern const struct machine_kind machine_kind_cell, machine_kind_linux;

// A slot for a device, in order. There are enough.
struct machine_slot *machine_slot_add(struct machine *m, struct virtio_device *dev);
// What a device is made with; slot is where it will be.
struct virtio_machine machine_for_device(struct machine *m, size_t slot);
// Registers the doorbells of a slot's device, at the window that begins at gpa.
int machine_add_doorbells(const struct machine_slot *slot, const struct kvm_vm *vm, uint64_t gpa,
                          struct err *err);
// Appends to the guest's log.
void machine_log(struct machine *m, const uint8_t *untrusted_data, size_t len);
void machine_note(struct machine *m, const char *text);
