// Where envvm puts what a Linux guest needs at its start, in the first MiB and in the device hole. Used by
// boot/linux, kvm_linux and machine_linux.
#pragma once

// Below LINUX_FIRMWARE_GPA (boot/bzimage.h): the guest's own as soon as it has read them.
#define LINUX_GDT_GPA     0x500u
#define LINUX_GDT_BYTES   0x28u
#define LINUX_PVH_GPA     0x6000u // start info, module list, memory map
#define LINUX_PARAMS_GPA  0x7000u // boot parameters, one page
#define LINUX_STACK_GPA   0x8ff0u // until the kernel has its own
#define LINUX_PML4_GPA    0x9000u
#define LINUX_PDPT_GPA    0xa000u
#define LINUX_PD_GPA      0xb000u // four page directories: 4 GiB in 2 MiB pages, one to one
#define LINUX_CMDLINE_GPA 0x20000u

// Above it, reserved.
#define LINUX_ACPI_GPA         0xe0000u
#define LINUX_RESET_VECTOR_GPA 0xffff0u

#define LINUX_SEL_PVH_CS 0x08u
#define LINUX_SEL_CS     0x10u // __BOOT_CS
#define LINUX_SEL_DS     0x18u // __BOOT_DS
#define LINUX_SEL_TSS    0x20u

// Devices.
#define LINUX_MMIO_GPA    0xd0000000u
#define LINUX_MMIO_STRIDE 0x1000u
#define LINUX_SERIAL_PORT 0x3f8u
#define LINUX_SLEEP_PORT  0x600u
#define LINUX_STATUS_PORT 0x601u
#define LINUX_RESET_PORT  0x604u
#define LINUX_RESET_VALUE 0x01u
#define LINUX_SERIAL_GSI  4u
#define LINUX_VIRTIO_GSI  5u // of the first device, then one each
#define LINUX_GSI_COUNT   24u
