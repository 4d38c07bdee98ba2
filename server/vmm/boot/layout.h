// Where envvm's own supervisor pages of a cell lie (proto/cell.h says what is around them) and its segment
// selectors. Used by boot/tables, kvm (registers) and vcpu (to read fault frames).
#pragma once

#define BOOT_PML4_GPA 0x1000u
#define BOOT_PDPT_GPA 0x2000u
#define BOOT_PD_GPA   0x3000u // four page directories, one per GiB
#define BOOT_PT_GPA   0x7000u // the first 2 MiB
// One page holds all that is small: fewer pages touched, less resident memory.
#define BOOT_GDT_GPA   0x8000u
#define BOOT_TSS_GPA   0x8100u
#define BOOT_IDT_GPA   0x8200u
#define BOOT_STUBS_GPA 0x8400u
#define BOOT_STUBS_END 0x9000u
#define BOOT_STACK_GPA 0xa000u // CPL0 stack: faults from the top, double faults and NMI from the middle
#define BOOT_STACK_END 0xb000u
#define BOOT_IST_END   0xa800u
#define BOOT_SUPER_GPA 0x1000u // supervisor pages: [BOOT_SUPER_GPA, BOOT_SUPER_END)
#define BOOT_SUPER_END 0xe000u

#define BOOT_VECTORS     32ull
#define BOOT_STUB_STRIDE 16u
#define BOOT_SYSCALL_GPA (BOOT_STUBS_GPA + BOOT_VECTORS * BOOT_STUB_STRIDE)

// Linux's own selectors: SYSCALL/SYSRET dictate the order, and KVM-PVM expects these values.
#define BOOT_SEL_KERNEL_CS 0x10u
#define BOOT_SEL_KERNEL_DS 0x18u
#define BOOT_SEL_USER_DS   0x2bu
#define BOOT_SEL_USER_CS   0x33u
#define BOOT_SEL_TSS       0x40u
#define BOOT_GDT_BYTES     0x50u
#define BOOT_TSS_BYTES     0x79u // 0x68 and an I/O bitmap of 16 bytes with its closing 0xff
#define BOOT_STAR          (((uint64_t)0x23 << 48) | ((uint64_t)BOOT_SEL_KERNEL_CS << 32))
