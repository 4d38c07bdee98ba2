// The ACPI tables of a Linux guest: enough for an unmodified kernel to find its CPUs, its virtio-mmio devices
// and its serial port, and to power off and reset. Hardware-reduced: no legacy timers, buttons or SCI. Pure:
// a description in, bytes out; the caller puts them into guest memory. Source: ACPI 6.3, sections 5.2
// (tables), 6.4 (resources) and 20.2 (AML).
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "common/err.h"

#define ACPI_BYTES       0x2000u // all tables; the RSDP is at the start
#define ACPI_CPUS_MAX    16u
#define ACPI_DEVICES_MAX 32u

struct acpi_device { // virtio-mmio
    uint32_t gpa, bytes;
    uint32_t gsi; // edge-triggered, active high
};

struct acpi_machine {
    uint32_t gpa;   // where the tables will lie, 16-byte aligned, for Linux to find them below 1 MiB
    uint8_t n_cpus; // APIC ids 0 to n_cpus - 1
    const struct acpi_device *devices;
    size_t n_devices;
    uint16_t serial_port; // first of 8 ports
    uint32_t serial_gsi;
    uint16_t reset_port, sleep_control_port, sleep_status_port; // one byte each
    uint8_t reset_value;
};

// What a guest writes to the sleep control register to power off: SLP_EN and the type of \_S5.
#define ACPI_SLEEP_S5 (0x20u | 5u << 2)

// 0, or -EINVAL with err set and *ret untouched: a count is out of range or gpa is not aligned.
int acpi_build(const struct acpi_machine *machine, uint8_t ret[ACPI_BYTES], struct err *err);
