// What a Linux guest finds at its I/O ports and in its device hole: the serial port, the ACPI sleep and reset
// registers, an empty PCI bus, virtio-mmio windows; nothing elsewhere, which reads as all ones. Driven by the exits of all vCPU
// threads; knows neither KVM nor what a power-off means to the machine.
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "serial.h"

#define LINUX_BUS_OUTPUT_MAX 8192u
#define LINUX_BUS_MMIO_MAX   32u

struct virtio_mmio;

// What the guest asked the machine for.
enum linux_request { LINUX_NOTHING, LINUX_POWEROFF, LINUX_RESET };

struct linux_bus_options {
    struct virtio_mmio *mmio; // one per window
    size_t n_mmio;            // <= LINUX_BUS_MMIO_MAX
    int serial_irq_fd;        // written when the serial port's line goes up
    int wake_fd;              // written when output waits
};

struct linux_bus {
    struct linux_bus_options options;
    pthread_mutex_t mmio_locks[LINUX_BUS_MMIO_MAX];
    pthread_mutex_t lock; // guards all below
    struct serial serial;
    uint8_t output[LINUX_BUS_OUTPUT_MAX]; // what the serial port sent
    size_t n_output;
    uint32_t pci_address;
    uint64_t n_dropped; // bytes for which there was no room
};

void linux_bus_init(struct linux_bus *bus, const struct linux_bus_options *options);
// Any vCPU thread. data: size * count bytes, of the guest (out) or for it (in); size 1, 2 or 4.
enum linux_request linux_bus_port(struct linux_bus *bus, uint16_t port, bool is_out, uint8_t *data,
                                  size_t size, size_t count);
// Any vCPU thread. len 1 to 8.
void linux_bus_mmio(struct linux_bus *bus, uint64_t gpa, bool is_write, uint8_t *data, uint32_t len);
// I/O thread: moves what the serial port sent to out, at most cap bytes. Returns how many.
size_t linux_bus_take_output(struct linux_bus *bus, uint8_t *out, size_t cap);
